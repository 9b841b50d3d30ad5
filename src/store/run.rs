//! Table `run`: footage without a gap.
//!
//! Its lanes: [`super::lane`].

use sqlx::SqliteConnection;

use super::{
    Result, Store,
    columns::{small, wall},
    failed,
    lane::{RUN_FITS, free_lane, lanes},
};
use crate::{
    id::{RunId, StreamId},
    model::{RunRow, WallRange},
    proto::time::WallTime,
};

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    id: RunId,
    stream: StreamId,
    epoch: i64,
    start_us: i64,
    end_us: Option<i64>,
}

impl Row {
    pub(super) fn into_run(self) -> Result<RunRow> {
        Ok(RunRow {
            id: self.id,
            stream: self.stream,
            epoch: small(self.epoch, "run epoch")?,
            start: wall(self.start_us),
            end: self.end_us.map(wall),
        })
    }
}

const INSERT: &str = "insert into run (id, stream, lane, epoch, start_us, end_us)
                      values (?1, ?2, ?3, ?4, ?5, ?6)";
/// Runs of a lane that reach into [?2, ?3) from before, and those that begin in it.
pub(super) const OVERLAPPING: &str = concat!(
    lanes!("run"),
    "
    select run.id, run.stream, run.epoch, run.start_us, run.end_us
    from lanes cross join run on run.id = (
        select before.id from run as before
        where before.stream = ?1 and before.lane = lanes.lane and before.start_us <= ?2
        order by before.start_us desc, before.id desc limit 1
    )
    where run.end_us is null or run.end_us > ?2
    union all
    select run.id, run.stream, run.epoch, run.start_us, run.end_us
    from lanes cross join run
    where run.stream = ?1 and run.lane = lanes.lane and run.start_us > ?2 and run.start_us < ?3
        and (run.end_us is null or run.end_us > run.start_us)
    order by start_us, id
    limit ?4"
);
const BY_ID: &str = "select id, stream, epoch, start_us, end_us from run where id = ?1";
const OF_STREAM: &str = "select id, stream, epoch, start_us, end_us from run
                         where stream = ?1 order by start_us, id";
pub(super) const LASTING: &str = "select id, stream, epoch, start_us, end_us from run
                                  where end_us is null order by stream, start_us";
const END: &str = "update run set end_us = max(start_us, ?2) where id = ?1 and end_us is null";
const DELETE_EMPTY: &str = "delete from run
                            where id = ?1 and end_us = start_us
                              and not exists (select 1 from segment where segment.run = run.id)";

impl Store {
    /// Records that a run has begun (idempotent).
    ///
    /// A run that has its `end` already is recorded as ended.
    pub async fn open_run(&self, run: RunRow) -> Result<()> {
        self.writer
            .write("begin a run", move |db| Box::pin(async move { insert(db, run).await }))
            .await
    }

    /// Records its end. A run that has ended stays as it is; one of no length and without
    /// segments is taken out.
    pub async fn close_run(&self, run: RunId, end: WallTime) -> Result<()> {
        self.writer
            .write("end a run", move |db| Box::pin(async move { self::end(db, run, end).await }))
            .await
    }

    /// Runs that overlap the range, by start; at most `limit`.
    pub async fn runs_overlapping(
        &self,
        stream: StreamId,
        range: WallRange,
        limit: u32,
    ) -> Result<Vec<RunRow>> {
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
            .map_err(failed("list runs of a range"))?;
        rows.into_iter().map(Row::into_run).collect()
    }

    /// All runs of a stream, oldest first.
    pub async fn runs(&self, stream: StreamId) -> Result<Vec<RunRow>> {
        let rows: Vec<Row> = sqlx::query_as(OF_STREAM)
            .bind(stream)
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list runs"))?;
        rows.into_iter().map(Row::into_run).collect()
    }

    /// Runs of all streams that have not ended: after a crash, those that recovery has to end.
    pub async fn open_runs(&self) -> Result<Vec<RunRow>> {
        let rows: Vec<Row> = sqlx::query_as(LASTING)
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list runs that last"))?;
        rows.into_iter().map(Row::into_run).collect()
    }
}

pub(super) async fn end(db: &mut SqliteConnection, run: RunId, end: WallTime) -> Result<()> {
    sqlx::query(END)
        .bind(run)
        .bind(end.as_micros())
        .execute(&mut *db)
        .await
        .map_err(failed("end a run"))?;
    delete_empty(db, run).await
}

/// Takes out a run that ended where it began, and of which there is no segment.
pub(super) async fn delete_empty(db: &mut SqliteConnection, run: RunId) -> Result<()> {
    sqlx::query(DELETE_EMPTY)
        .bind(run)
        .execute(db)
        .await
        .map(|_| ())
        .map_err(failed("take out an empty run"))
}

pub(super) async fn of_id(db: &mut SqliteConnection, id: RunId) -> Result<Option<RunRow>> {
    let row: Option<Row> = sqlx::query_as(BY_ID)
        .bind(id)
        .fetch_optional(db)
        .await
        .map_err(failed("look for a run"))?;
    row.map(Row::into_run).transpose()
}

pub(super) async fn insert(db: &mut SqliteConnection, run: RunRow) -> Result<()> {
    let known: Option<i64> = sqlx::query_scalar("select 1 from run where id = ?1")
        .bind(run.id)
        .fetch_optional(&mut *db)
        .await
        .map_err(failed("look for a run"))?;
    if known.is_some() {
        return Ok(());
    }
    let end = run.end.map(|end| end.max(run.start));
    let lane = free_lane(db, RUN_FITS, run.stream, run.start, end).await?;
    sqlx::query(INSERT)
        .bind(run.id)
        .bind(run.stream)
        .bind(lane)
        .bind(run.epoch)
        .bind(run.start.as_micros())
        .bind(end.map(WallTime::as_micros))
        .execute(db)
        .await
        .map(|_| ())
        .map_err(failed("begin a run"))
}
