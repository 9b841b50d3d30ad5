//! Footage that turns out to end earlier than its run: the run is cut there.
//!
//! A run has no hole. Where the end of a segment is lost after its run went on (a sync that failed,
//! a disk that was pulled out, a write that failed while the next segment was begun elsewhere), the
//! run ends with what is left, and the hole is a gap. Where there are segments behind the hole, it is
//! what lies before it that gets a run of its own: what is at the end keeps the id, since the recorder
//! may be adding to it. All in one transaction.

use sqlx::SqliteConnection;

use super::{Result, Store, columns::wall, failed};
use crate::{
    id::{RunId, SegmentId, StreamId},
    model::{Gap, RunRow},
    proto::{reason::GapReason, time::WallTime},
};

const OF_SEGMENT: &str = "
    select segment.stream, segment.run, segment.start_us as at_us, run.epoch, run.start_us, run.end_us
    from segment join run on run.id = segment.run
    where segment.id = ?1";
const NEXT: &str = "select start_us from segment where run = ?1 and start_us > ?2
                    order by start_us limit 1";
const SET_END: &str = "update run set end_us = max(start_us, ?2) where id = ?1";
const BEGIN_LATER: &str = "update run set start_us = ?2 where id = ?1";
const MOVE: &str = "update segment set run = ?3 where run = ?1 and start_us <= ?2";
/// The gap that began where the run was thought to end begins earlier now.
const WIDEN: &str = "update gap set start_us = ?3 where stream = ?1 and start_us = ?2
                     and (end_us is null or end_us > ?3)";

#[derive(sqlx::FromRow)]
struct Row {
    stream: StreamId,
    run: RunId,
    at_us: i64,
    epoch: i64,
    start_us: i64,
    end_us: Option<i64>,
}

impl Store {
    /// Notes that the footage of `segment` ends at `end`, though its run goes on, or ended later.
    ///
    /// The run is cut there: it begins with the next segment, what is before the cut becomes the run
    /// `split`, and what lies between is a gap of this reason. Where there is no next segment, the run
    /// ends, and the gap behind it begins earlier (or one begins, if the run still lasted and none
    /// does). Without effect when the row is gone, or when nothing ends earlier than before.
    pub async fn cut_run(
        &self,
        segment: SegmentId,
        end: WallTime,
        reason: GapReason,
        split: RunId,
    ) -> Result<()> {
        self.writer
            .write("cut a run", move |db| {
                Box::pin(async move { cut(db, segment, end, reason, split).await })
            })
            .await
    }
}

pub(super) async fn cut(
    db: &mut SqliteConnection,
    segment: SegmentId,
    end: WallTime,
    reason: GapReason,
    split: RunId,
) -> Result<()> {
    let what = "cut a run";
    let row: Option<Row> = sqlx::query_as(OF_SEGMENT)
        .bind(segment)
        .fetch_optional(&mut *db)
        .await
        .map_err(failed(what))?;
    let Some(row) = row else { return Ok(()) };
    let next: Option<i64> = sqlx::query_scalar(NEXT)
        .bind(row.run)
        .bind(row.at_us)
        .fetch_optional(&mut *db)
        .await
        .map_err(failed(what))?;
    let end = end.max(wall(row.start_us));
    let earlier = next.or(row.end_us).is_none_or(|was| was > end.as_micros());
    if !earlier {
        return Ok(());
    }
    let Some(next) = next else {
        sqlx::query(SET_END)
            .bind(row.run)
            .bind(end.as_micros())
            .execute(&mut *db)
            .await
            .map_err(failed(what))?;
        let moved = match row.end_us {
            Some(was) => sqlx::query(WIDEN)
                .bind(row.stream)
                .bind(was)
                .bind(end.as_micros())
                .execute(&mut *db)
                .await
                .map_err(failed(what))?
                .rows_affected(),
            None => 0,
        };
        if moved == 0 && row.end_us.is_none() {
            let gap = Gap { stream: row.stream, start: end, end: None, reason };
            super::gap::begin(db, gap).await?;
        }
        return Ok(());
    };
    // Before anything is put in its place: runs of a lane do not overlap.
    sqlx::query(BEGIN_LATER)
        .bind(row.run)
        .bind(next)
        .execute(&mut *db)
        .await
        .map_err(failed(what))?;
    let run = RunRow {
        id: split,
        stream: row.stream,
        epoch: u32::try_from(row.epoch).unwrap_or_default(),
        start: wall(row.start_us),
        end: Some(end),
    };
    super::run::insert(db, run).await?;
    sqlx::query(MOVE)
        .bind(row.run)
        .bind(row.at_us)
        .bind(split)
        .execute(&mut *db)
        .await
        .map_err(failed(what))?;
    let gap = Gap { stream: row.stream, start: end, end: Some(wall(next)), reason };
    super::gap::insert(db, gap).await
}
