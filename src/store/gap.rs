//! Table `gap`: time without footage, and why. Lanes as in [`super::run`].

use sqlx::SqliteConnection;

use super::{
    Result, Store,
    columns::{reason, wall},
    failed,
    run::free_lane,
};
use crate::{
    id::StreamId,
    model::{Gap, WallRange},
    proto::{reason::GapReason, time::WallTime},
};

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    stream: StreamId,
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

const LASTING: &str = "select stream, start_us, end_us, reason from gap
                       where stream = ?1 and end_us is null";
/// Of all streams.
pub(super) const ALL_LASTING: &str = "select stream, start_us, end_us, reason from gap
                                      where end_us is null";
const INSERT: &str = "insert into gap (stream, lane, start_us, end_us, reason)
                      values (?1, ?2, ?3, ?4, ?5)";
const LANE_END: &str = "select end_us from gap
                        where stream = ?1 and lane = ?2
                        order by start_us desc limit 1";
/// A gap that would end where it began, or before (the clock stepped back in it).
const DELETE_EMPTY: &str = "delete from gap
                            where stream = ?1 and end_us is null and start_us >= ?2";
const END: &str = "update gap set end_us = ?2 where stream = ?1 and end_us is null";
/// As in `run.rs`.
pub(super) const OVERLAPPING: &str = "
    with recursive lanes (lane) as (
        select min(lane) from gap where stream = ?1
        union all
        select (select min(gap.lane) from gap where gap.stream = ?1 and gap.lane > lanes.lane)
        from lanes where lanes.lane is not null
    )
    select gap.stream, gap.start_us, gap.end_us, gap.reason
    from lanes cross join gap on gap.stream = ?1 and gap.lane = lanes.lane and gap.start_us = (
        select max(before.start_us) from gap as before
        where before.stream = ?1 and before.lane = lanes.lane and before.start_us <= ?2
    )
    where gap.end_us is null or gap.end_us > ?2
    union all
    select gap.stream, gap.start_us, gap.end_us, gap.reason
    from lanes cross join gap
    where gap.stream = ?1 and gap.lane = lanes.lane and gap.start_us > ?2 and gap.start_us < ?3
    order by start_us
    limit ?4";

impl Store {
    /// Begins a gap, unless one is open; then nothing changes and the older reason stays.
    ///
    /// A gap that has its `end` already is recorded as ended (if it has any length).
    pub async fn open_gap(&self, gap: Gap) -> Result<()> {
        if gap.end.is_some_and(|end| end <= gap.start) {
            return Ok(());
        }
        self.writer
            .write("begin a gap", move |db| {
                Box::pin(async move {
                    let lasting: Option<Row> = sqlx::query_as(LASTING)
                        .bind(gap.stream)
                        .fetch_optional(&mut *db)
                        .await
                        .map_err(failed("look for a gap"))?;
                    if lasting.is_some() {
                        return Ok(());
                    }
                    insert(db, gap).await
                })
            })
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

async fn insert(db: &mut SqliteConnection, gap: Gap) -> Result<()> {
    let lane = free_lane(db, LANE_END, gap.stream, gap.start).await?;
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
