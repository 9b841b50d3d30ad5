//! Deleting footage: rows first, in small transactions, and what is left stays true.
//!
//! In the transaction that takes out a segment's row its file is put into `unlink`, its run is cut
//! so that no run has a hole, and the stretch becomes a `deleted` gap: recorded time and gaps still
//! add up to all the time since the stream was created.
//!
//! # How a run is cut
//!
//! ```text
//! run 7   [s0 s1 s2 s3 …    without s0: begins with s1
//!                           without s2: s0 s1 get a run of their own, 7 begins with s3
//! ```
//!
//! What is at the end keeps the id, since the recorder may be adding to it. A run that ends with
//! what is deleted ends before it; one of which nothing is left goes.

use std::collections::{HashMap, hash_map::Entry};

use sqlx::SqliteConnection;

use super::{
    Result, Store,
    columns::{unsigned, wall},
    failed, gap, lock,
};
use crate::{
    clock::Clock,
    id::{RunId, SegmentId, StreamId},
    model::{Deleted, WallRange},
    proto::{reason::GapReason, time::WallTime},
};

/// Segments in one command, so that no other write waits for long: some ten milliseconds.
const AT_ONCE: usize = 64;

#[derive(sqlx::FromRow)]
struct Row {
    id: SegmentId,
    stream: StreamId,
    run: RunId,
    start_us: i64,
    end_us: i64,
    closed: bool,
    volume: i64,
    path: String,
    bytes: i64,
}

#[derive(sqlx::FromRow)]
struct Run {
    stream: StreamId,
    lane: i64,
    epoch: i64,
    start_us: i64,
    end_us: Option<i64>,
}

const SEGMENT: &str = "select id, stream, run, start_us, end_us, closed, volume, path, bytes
                       from segment where id = ?1";
/// Rows that are open are not taken for time.
const CLOSE_AT: &str = "update segment set closed = 1, end_us = ?2 where id = ?1 and closed = 0";
const DELETE: &str = "delete from segment where id = ?1";
const UNLINK: &str = "insert into unlink (volume, path, segment, bytes) values (?1, ?2, ?3, ?4)
                      on conflict (volume, path) do nothing";
const RUN: &str = "select stream, lane, epoch, start_us, end_us from run where id = ?1";
/// The neighbours of a segment in its run, whose row is gone already.
pub(super) const BEFORE: &str = "
    select case closed when 1 then end_us end from segment
    where run = ?1 and (start_us, id) < (?2, ?3)
    order by start_us desc, id desc limit 1";
pub(super) const BEHIND: &str = "
    select start_us from segment
    where run = ?1 and (start_us, id) > (?2, ?3)
    order by start_us, id limit 1";
const BEGIN_LATER: &str = "update run set start_us = ?2 where id = ?1";
const END_EARLIER: &str = "update run set end_us = ?2 where id = ?1";
const DELETE_RUN: &str = "delete from run where id = ?1";
const SPLIT_OFF: &str = "insert into run (id, stream, lane, epoch, start_us, end_us)
                         values (?1, ?2, ?3, ?4, ?5, ?6)";
pub(super) const MOVE: &str =
    "update segment set run = ?2 where run = ?1 and (start_us, id) < (?3, ?4)";

/// Why segments go.
#[derive(Clone, Copy)]
enum Cause {
    /// They are to be deleted, unless locked; their files too.
    Deletion,
    /// Their files are lost.
    Lost(GapReason),
}

impl Store {
    /// Deletes closed segments that no lock overlaps (checked in the deleting transaction), a few
    /// in each transaction; ids that are not there are passed over. Their files are to be unlinked
    /// by whoever works off [`Self::pending_unlinks`].
    ///
    /// What was done before an error stays done; asking again with the same ids is harmless.
    pub async fn delete_segments(&self, ids: &[SegmentId]) -> Result<Deleted> {
        self.take_out(ids, Cause::Deletion).await
    }

    /// Takes out rows of segments whose files are lost, locked ones too: the stretch becomes a gap
    /// for `reason`, and nothing is put into `unlink`.
    pub async fn forget_segments(&self, ids: &[SegmentId], reason: GapReason) -> Result<Deleted> {
        self.take_out(ids, Cause::Lost(reason)).await
    }

    /// The same for one whose row is open, though its run goes on behind it: up to `end`. Without
    /// effect when the row is gone.
    pub async fn forget_open(&self, id: SegmentId, end: WallTime, reason: GapReason) -> Result<()> {
        let clock = self.clock.clone();
        self.writer
            .write("take out an open segment", move |db| {
                Box::pin(async move {
                    sqlx::query(CLOSE_AT)
                        .bind(id)
                        .bind(end.as_micros())
                        .execute(&mut *db)
                        .await
                        .map_err(failed("close a segment to take it out"))?;
                    take_out(db, &clock, &[id], Cause::Lost(reason)).await.map(drop)
                })
            })
            .await
    }

    async fn take_out(&self, ids: &[SegmentId], cause: Cause) -> Result<Deleted> {
        let mut total = Deleted::default();
        for ids in ids.chunks(AT_ONCE) {
            let (ids, clock) = (ids.to_vec(), self.clock.clone());
            let done = self
                .writer
                .write("delete segments", move |db| {
                    Box::pin(async move { take_out(db, &clock, &ids, cause).await })
                })
                .await?;
            if !done.deleted.is_empty() && matches!(cause, Cause::Deletion) {
                self.writer.unlinks_added();
            }
            total.deleted.extend(done.deleted);
            total.bytes = total.bytes.saturating_add(done.bytes);
            total.locked.extend(done.locked);
            total.open.extend(done.open);
        }
        Ok(total)
    }
}

async fn take_out(
    db: &mut SqliteConnection,
    clock: &Clock,
    ids: &[SegmentId],
    cause: Cause,
) -> Result<Deleted> {
    let mut rows: Vec<Row> = Vec::with_capacity(ids.len());
    for id in ids {
        let row = sqlx::query_as(SEGMENT)
            .bind(id)
            .fetch_optional(&mut *db)
            .await
            .map_err(failed("read a segment to delete"))?;
        rows.extend::<Option<Row>>(row);
    }
    // Oldest first: so each hole grows at its end, and a run is split once.
    rows.sort_unstable_by_key(|row| (row.stream, row.start_us, row.id));
    rows.dedup_by_key(|row| row.id);

    let mut done = Deleted::default();
    let mut locks: HashMap<StreamId, lock::Ranges> = HashMap::new();
    let mut holes: Vec<(StreamId, WallRange)> = Vec::new();
    for row in rows {
        if !row.closed {
            done.open.push(row.id);
            continue;
        }
        if matches!(cause, Cause::Deletion) {
            let locks = match locks.entry(row.stream) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(lock::of_stream(db, row.stream).await?),
            };
            if locks.holding(row.start_us, row.end_us).is_some() {
                done.locked.push(row.id);
                continue;
            }
        }
        sqlx::query(DELETE)
            .bind(row.id)
            .execute(&mut *db)
            .await
            .map_err(failed("delete a segment"))?;
        if matches!(cause, Cause::Deletion) {
            sqlx::query(UNLINK)
                .bind(row.volume)
                .bind(&row.path)
                .bind(row.id)
                .bind(row.bytes)
                .execute(&mut *db)
                .await
                .map_err(failed("note a file to unlink"))?;
        }
        if let Some(hole) = cut(db, clock, &row).await? {
            match holes.last_mut() {
                Some((stream, last)) if *stream == row.stream && last.end == hole.start => {
                    last.end = hole.end;
                }
                _ => holes.push((row.stream, hole)),
            }
        }
        done.deleted.push(row.id);
        done.bytes = done.bytes.saturating_add(unsigned(row.bytes));
    }
    let reason = match cause {
        Cause::Deletion => GapReason::Deleted,
        Cause::Lost(reason) => reason,
    };
    for (stream, hole) in holes {
        gap::add_ended(db, stream, hole, reason).await?;
    }
    Ok(done)
}

/// Cuts a segment whose row is gone out of its run; says which stretch is no longer footage.
async fn cut(db: &mut SqliteConnection, clock: &Clock, gone: &Row) -> Result<Option<WallRange>> {
    const CUT: &str = "cut a run";
    let run: Option<Run> =
        sqlx::query_as(RUN).bind(gone.run).fetch_optional(&mut *db).await.map_err(failed(CUT))?;
    let Some(run) = run else { return Ok(None) };
    // `Some(None)`: the one before is still open, its end is not known.
    let before: Option<Option<i64>> = sqlx::query_scalar(BEFORE)
        .bind(gone.run)
        .bind(gone.start_us)
        .bind(gone.id)
        .fetch_optional(&mut *db)
        .await
        .map_err(failed(CUT))?;
    let behind: Option<i64> = sqlx::query_scalar(BEHIND)
        .bind(gone.run)
        .bind(gone.start_us)
        .bind(gone.id)
        .fetch_optional(&mut *db)
        .await
        .map_err(failed(CUT))?;

    let latest = run.end_us.unwrap_or(i64::MAX);
    let start = match before {
        None => run.start_us,
        Some(end) => end.unwrap_or(gone.start_us).clamp(run.start_us, latest),
    };
    let end = match (behind, run.end_us) {
        (Some(next), _) => next,
        (None, Some(end)) => end,
        // What comes next is not said yet: it joins the end of this one.
        (None, None) => gone.end_us,
    };
    let end = end.clamp(start, latest);
    let goes_on = behind.is_some() || run.end_us.is_none();
    if start == end && (goes_on || before.is_some()) {
        // Of no length, and its neighbours meet.
        return Ok(None);
    }
    match (before.is_some(), goes_on) {
        (false, false) => {
            let done = sqlx::query(DELETE_RUN).bind(gone.run).execute(&mut *db).await;
            done.map_err(failed(CUT))?;
        }
        (false, true) => begin_later(db, gone.run, end).await?,
        (true, false) => {
            let done = sqlx::query(END_EARLIER).bind(gone.run).bind(start).execute(&mut *db).await;
            done.map_err(failed(CUT))?;
        }
        (true, true) => {
            let island = RunId::generate(clock);
            sqlx::query(SPLIT_OFF)
                .bind(island)
                .bind(run.stream)
                .bind(run.lane)
                .bind(run.epoch)
                .bind(run.start_us)
                .bind(start)
                .execute(&mut *db)
                .await
                .map_err(failed("split a run"))?;
            sqlx::query(MOVE)
                .bind(gone.run)
                .bind(island)
                .bind(gone.start_us)
                .bind(gone.id)
                .execute(&mut *db)
                .await
                .map_err(failed("split a run's segments"))?;
            begin_later(db, gone.run, end).await?;
        }
    }
    Ok(Some(wall(start)..wall(end)))
}

async fn begin_later(db: &mut SqliteConnection, run: RunId, start_us: i64) -> Result<()> {
    sqlx::query(BEGIN_LATER)
        .bind(run)
        .bind(start_us)
        .execute(db)
        .await
        .map(|_| ())
        .map_err(failed("have a run begin later"))
}
