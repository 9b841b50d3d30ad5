//! Table `gap`: time without footage, and why. Its lanes: [`super::lane`].

use sqlx::SqliteConnection;

use super::{
    Result, Store,
    columns::{reason, wall},
    failed,
    lane::{GAP_FITS, free_lane, lanes},
};
use crate::{
    id::StreamId,
    model::{Gap, WallRange},
    proto::{
        reason::GapReason,
        time::{WallSpan, WallTime},
    },
};

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    stream: StreamId,
    lane: i64,
    start_us: i64,
    end_us: Option<i64>,
    reason: String,
}

impl Row {
    pub(super) fn into_gap(self) -> Result<Gap> {
        Ok(Gap {
            stream: self.stream,
            start: wall(self.start_us),
            end: self.end_us.map(wall),
            reason: reason(&self.reason)?,
        })
    }
}

const LASTING: &str = "select stream, lane, start_us, end_us, reason from gap
                       where stream = ?1 and end_us is null";
/// Of all streams.
pub(super) const ALL_LASTING: &str = "select stream, lane, start_us, end_us, reason from gap
                                      where end_us is null";
/// Two begin together in one lane only where all lanes are full: then the longer one stays.
const INSERT: &str = "insert into gap (stream, lane, start_us, end_us, reason)
                      values (?1, ?2, ?3, ?4, ?5)
                      on conflict (stream, lane, start_us)
                      do update set end_us = max(end_us, excluded.end_us)";
const DELETE: &str = "delete from gap where stream = ?1 and lane = ?2 and start_us = ?3";
/// Gaps that one range may overlap and still be dealt with as a whole.
const OVERLAPPED: u32 = 1_000;
/// Footage that was in memory begins at most so long before the gap that lasts: what is kept from
/// before an event, and a group of pictures.
const FROM_MEMORY: WallSpan = WallSpan::from_secs(60);
/// A gap that would end where it began, or before (the clock stepped back in it).
const DELETE_EMPTY: &str = "delete from gap
                            where stream = ?1 and end_us is null and start_us >= ?2";
const END: &str = "update gap set end_us = ?2 where stream = ?1 and end_us is null";
/// As in `run.rs`.
pub(super) const OVERLAPPING: &str = concat!(
    lanes!("gap"),
    "
    select gap.stream, gap.lane, gap.start_us, gap.end_us, gap.reason
    from lanes cross join gap on gap.stream = ?1 and gap.lane = lanes.lane and gap.start_us = (
        select max(before.start_us) from gap as before
        where before.stream = ?1 and before.lane = lanes.lane and before.start_us <= ?2
    )
    where gap.end_us is null or gap.end_us > ?2
    union all
    select gap.stream, gap.lane, gap.start_us, gap.end_us, gap.reason
    from lanes cross join gap
    where gap.stream = ?1 and gap.lane = lanes.lane and gap.start_us > ?2 and gap.start_us < ?3
    order by start_us
    limit ?4"
);

impl Store {
    /// Begins a gap, unless one is open; then nothing changes and the older reason stays.
    ///
    /// A gap that has its `end` already is recorded as ended (if it has any length).
    pub async fn open_gap(&self, gap: Gap) -> Result<()> {
        if gap.end.is_some_and(|end| end <= gap.start) {
            return Ok(());
        }
        self.writer
            .write("begin a gap", move |db| Box::pin(async move { begin(db, gap).await }))
            .await
    }

    /// Ends the open gap, if there is one; one of no length is taken out.
    pub async fn close_gap(&self, stream: StreamId, end: WallTime) -> Result<()> {
        self.writer
            .write("end a gap", move |db| Box::pin(async move { self::end(db, stream, end).await }))
            .await
    }

    /// Where a gap lasts whose reason is one of `from`, has it end at `at` and one for `reason`
    /// begin there; a gap that begins later than `at` gets the new reason as a whole.
    ///
    /// One step, so that footage that begins meanwhile finds either gap and ends it. Says which
    /// reason the gap that lasts has afterwards; `None` when none lasts.
    pub async fn turn_gap(
        &self,
        stream: StreamId,
        at: WallTime,
        reason: GapReason,
        from: fn(GapReason) -> bool,
    ) -> Result<Option<GapReason>> {
        self.writer
            .write("turn a gap", move |db| {
                Box::pin(async move {
                    let lasting: Option<Row> = sqlx::query_as(LASTING)
                        .bind(stream)
                        .fetch_optional(&mut *db)
                        .await
                        .map_err(failed("look for a gap"))?;
                    let Some(lasting) = lasting.map(Row::into_gap).transpose()? else {
                        return Ok(None);
                    };
                    if lasting.reason == reason || !from(lasting.reason) {
                        return Ok(Some(lasting.reason));
                    }
                    let at = at.max(lasting.start);
                    self::end(db, stream, at).await?;
                    insert(db, Gap { stream, start: at, end: None, reason }).await?;
                    Ok(Some(reason))
                })
            })
            .await
    }

    /// The gap that lasts, if one does.
    pub async fn open_gap_of(&self, stream: StreamId) -> Result<Option<Gap>> {
        let row: Option<Row> = sqlx::query_as(LASTING)
            .bind(stream)
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("read the gap that lasts"))?;
        row.map(Row::into_gap).transpose()
    }

    /// Gaps that overlap the range, by start; at most `limit`.
    pub async fn gaps_overlapping(
        &self,
        stream: StreamId,
        range: WallRange,
        limit: u32,
    ) -> Result<Vec<Gap>> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<Row> = sqlx::query_as(OVERLAPPING)
            .bind(stream)
            .bind(range.start.as_micros())
            .bind(range.end.as_micros())
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list gaps of a range"))?;
        rows.into_iter().map(Row::into_gap).collect()
    }
}

/// Begins a gap where none lasts.
pub(super) async fn begin(db: &mut SqliteConnection, gap: Gap) -> Result<()> {
    let lasting: Option<Row> = sqlx::query_as(LASTING)
        .bind(gap.stream)
        .fetch_optional(&mut *db)
        .await
        .map_err(failed("look for a gap"))?;
    if lasting.is_some() { Ok(()) } else { insert(db, gap).await }
}

pub(super) async fn insert(db: &mut SqliteConnection, gap: Gap) -> Result<()> {
    let lane = free_lane(db, GAP_FITS, gap.stream, gap.start, gap.end).await?;
    sqlx::query(INSERT)
        .bind(gap.stream)
        .bind(lane)
        .bind(gap.start.as_micros())
        .bind(gap.end.map(WallTime::as_micros))
        .bind(gap.reason.as_str())
        .execute(db)
        .await
        .map(|_| ())
        .map_err(failed("begin a gap"))
}

async fn overlapped(
    db: &mut SqliteConnection,
    stream: StreamId,
    from_us: i64,
    to_us: i64,
) -> Result<Vec<Row>> {
    sqlx::query_as(OVERLAPPING)
        .bind(stream)
        .bind(from_us)
        .bind(to_us)
        .bind(OVERLAPPED)
        .fetch_all(db)
        .await
        .map_err(failed("look for gaps"))
}

async fn take_out(db: &mut SqliteConnection, row: &Row) -> Result<()> {
    sqlx::query(DELETE)
        .bind(row.stream)
        .bind(row.lane)
        .bind(row.start_us)
        .execute(db)
        .await
        .map(|_| ())
        .map_err(failed("take out a gap"))
}

/// Inserts a gap that has ended; those of its reason that it touches become one with it. None of
/// no length.
pub(super) async fn add_ended(
    db: &mut SqliteConnection,
    stream: StreamId,
    range: WallRange,
    reason: GapReason,
) -> Result<()> {
    let (mut start, mut end) = (range.start.as_micros(), range.end.as_micros());
    if start >= end {
        return Ok(());
    }
    let (from, to) = (start.saturating_sub(1), end.saturating_add(1));
    for row in overlapped(db, stream, from, to).await? {
        if let Some(row_end) = row.end_us
            && row.reason == reason.as_str()
        {
            start = start.min(row.start_us);
            end = end.max(row_end);
            take_out(db, &row).await?;
        }
    }
    insert(db, Gap { stream, start: wall(start), end: Some(wall(end)), reason }).await
}

/// Takes the range out of all gaps: there is footage.
pub(super) async fn carve(
    db: &mut SqliteConnection,
    stream: StreamId,
    range: WallRange,
) -> Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    for row in overlapped(db, stream, range.start.as_micros(), range.end.as_micros()).await? {
        take_out(db, &row).await?;
        let gap = row.into_gap()?;
        if gap.start < range.start {
            insert(db, Gap { end: Some(range.start), ..gap }).await?;
        }
        if gap.end.is_none_or(|end| end > range.end) {
            insert(db, Gap { start: range.end, ..gap }).await?;
        }
    }
    Ok(())
}

/// Whether a gap of this stream lasts.
pub(super) async fn lasts(db: &mut SqliteConnection, stream: StreamId) -> Result<bool> {
    let lasting: Option<Row> = sqlx::query_as(LASTING)
        .bind(stream)
        .fetch_optional(db)
        .await
        .map_err(failed("look for a gap that lasts"))?;
    Ok(lasting.is_some())
}

/// Whether exactly this gap is there.
pub(super) async fn is_known(db: &mut SqliteConnection, gap: &Gap) -> Result<bool> {
    let until = gap.start.as_micros().saturating_add(1);
    let rows = overlapped(db, gap.stream, gap.start.as_micros(), until).await?;
    let (start, end) = (gap.start.as_micros(), gap.end.map(WallTime::as_micros));
    Ok(rows.iter().any(|row| (row.start_us, row.end_us) == (start, end)))
}

/// Ends the gap that lasts where footage begins. Footage that was in memory may begin before that
/// gap does, where its reason changed meanwhile: there is none in what is recorded.
pub(super) async fn end_with_footage(
    db: &mut SqliteConnection,
    stream: StreamId,
    start: WallTime,
) -> Result<()> {
    let lasting: Option<Row> = sqlx::query_as(LASTING)
        .bind(stream)
        .fetch_optional(&mut *db)
        .await
        .map_err(failed("look for a gap"))?;
    end(db, stream, start).await?;
    match lasting.map(|gap| start..wall(gap.start_us)) {
        Some(range) if !range.is_empty() && range.end - range.start <= FROM_MEMORY => {
            carve(db, stream, range).await
        }
        _ => Ok(()),
    }
}

/// Ends the gap of a stream that lasts, if there is one.
pub(super) async fn end(db: &mut SqliteConnection, stream: StreamId, end: WallTime) -> Result<()> {
    for sql in [DELETE_EMPTY, END] {
        sqlx::query(sql)
            .bind(stream)
            .bind(end.as_micros())
            .execute(&mut *db)
            .await
            .map_err(failed("end a gap"))?;
    }
    Ok(())
}
