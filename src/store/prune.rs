//! Pruning by age, in small transactions.

use sqlx::SqliteConnection;

use super::{Result, Store, columns::wall, failed, gap, lane::lanes};
use crate::{
    id::StreamId,
    proto::{reason::GapReason, time::WallTime},
};

/// Rows in one command.
const AT_ONCE: i64 = 250;

/// When a stream's oldest footage begins: the first run of each lane.
pub(super) const FIRST_RUN: &str = concat!(
    lanes!("run"),
    "
    select min((select min(run.start_us) from run
                where run.stream = ?1 and run.lane = lanes.lane))
    from lanes"
);
/// Gaps that ended by ?2, oldest first.
pub(super) const OLD_GAPS: &str = "
    select lane, start_us, end_us from gap
    where stream = ?1 and start_us < ?2 and end_us <= ?2
    order by start_us limit ?3";
const DELETE_GAP: &str = "delete from gap where stream = ?1 and lane = ?2 and start_us = ?3";
pub(super) const DELETE_EVENTS: &str = "
    delete from event where id in (
        select id from event where at_us < ?1 order by at_us, id limit ?2)";
pub(super) const DELETE_AUDIT: &str = "
    delete from audit where id in (
        select id from audit where at_us < ?1 order by at_us, id limit ?2)";

impl Store {
    /// Folds gaps that ended before `before`, and before which no footage is left, into one
    /// `deleted` gap at their stream's beginning. Says how many rows went.
    ///
    /// Gaps between footage that is kept stay, however old: without them time would be missing.
    pub async fn prune_gaps(&self, before: WallTime) -> Result<u64> {
        let streams: Vec<StreamId> = sqlx::query_scalar("select id from stream order by id")
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list streams to prune"))?;
        let mut pruned = 0;
        for stream in streams {
            let mut snapshot = self.snapshot().await?;
            // Nearly always there is nothing to do: then nothing is asked of the writer.
            let mut more = old_gaps(&mut snapshot, stream, before, 2).await?.len() > 1;
            drop(snapshot);
            while more {
                let folded = self
                    .writer
                    .write("fold old gaps", move |db| {
                        Box::pin(async move { fold(db, stream, before).await })
                    })
                    .await?;
                pruned += folded;
                more = folded > 0;
            }
        }
        Ok(pruned)
    }

    /// Deletes events from before `before`; says how many.
    pub async fn prune_events(&self, before: WallTime) -> Result<u64> {
        self.prune(DELETE_EVENTS, before).await
    }

    /// Deletes audit rows from before `before`; says how many.
    pub async fn prune_audit(&self, before: WallTime) -> Result<u64> {
        self.prune(DELETE_AUDIT, before).await
    }

    async fn prune(&self, sql: &'static str, before: WallTime) -> Result<u64> {
        let mut pruned = 0;
        loop {
            let step = self.writer.write("prune by age", move |db| {
                Box::pin(async move {
                    sqlx::query(sql)
                        .bind(before.as_micros())
                        .bind(AT_ONCE)
                        .execute(db)
                        .await
                        .map(|done| done.rows_affected())
                        .map_err(failed("prune by age"))
                })
            });
            let deleted = step.await?;
            pruned += deleted;
            if deleted < AT_ONCE.unsigned_abs() {
                return Ok(pruned);
            }
        }
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    lane: i64,
    start_us: i64,
    end_us: i64,
}

/// The oldest gaps of a stream that may be folded.
async fn old_gaps(
    db: &mut SqliteConnection,
    stream: StreamId,
    before: WallTime,
    limit: i64,
) -> Result<Vec<Row>> {
    let first: Option<i64> = sqlx::query_scalar(FIRST_RUN)
        .bind(stream)
        .fetch_one(&mut *db)
        .await
        .map_err(failed("look for a stream's oldest footage"))?;
    let until = first.map_or(before.as_micros(), |first| first.min(before.as_micros()));
    sqlx::query_as(OLD_GAPS)
        .bind(stream)
        .bind(until)
        .bind(limit)
        .fetch_all(db)
        .await
        .map_err(failed("look for old gaps"))
}

/// Folds some; says how many rows fewer there are.
async fn fold(db: &mut SqliteConnection, stream: StreamId, before: WallTime) -> Result<u64> {
    let rows = old_gaps(db, stream, before, AT_ONCE).await?;
    let (Some(first), Some(end)) = (rows.first(), rows.iter().map(|row| row.end_us).max()) else {
        return Ok(0);
    };
    if rows.len() < 2 {
        return Ok(0);
    }
    for row in &rows {
        sqlx::query(DELETE_GAP)
            .bind(stream)
            .bind(row.lane)
            .bind(row.start_us)
            .execute(&mut *db)
            .await
            .map_err(failed("fold old gaps"))?;
    }
    let range = wall(first.start_us)..wall(end);
    gap::add_ended(db, stream, range, GapReason::Deleted).await?;
    Ok(rows.len() as u64 - 1)
}
