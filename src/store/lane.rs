//! Lanes: what makes overlap queries on `run` and `gap` cheap.
//!
//! A run or a gap may last for months, so "which one reaches into this range from before" cannot
//! be answered by looking back a fixed time. Within a lane of a stream rows never overlap: only the
//! last one that begins before the range can reach into it, and the index finds it in one step. A
//! row goes into the first lane in which its time is free; a second one comes into use only where
//! the clock stepped back.

use sqlx::SqliteConnection;

use super::{Result, error::failed};
use crate::{id::StreamId, proto::time::WallTime};

/// Whether [?3, ?4) is free in lane ?2 of stream ?1. What begins together with a row of the lane
/// does not fit even if that row is of no length, so that the last one before an instant is one.
macro_rules! fits {
    ($table:literal) => {
        concat!(
            "select not exists (
                 select 1 from ",
            $table,
            "
                 where stream = ?1 and lane = ?2 and start_us > ?3 and start_us < ?4
             ) and coalesce((
                 select end_us is not null and end_us <= ?3 and start_us < ?3
                 from ",
            $table,
            "
                 where stream = ?1 and lane = ?2 and start_us <= ?3
                 order by start_us desc limit 1
             ), 1)"
        )
    };
}

pub(super) const RUN_FITS: &str = fits!("run");
pub(super) const GAP_FITS: &str = fits!("gap");

/// The lanes of stream ?1 that hold anything, as the table `lanes`: one step in the index for each.
macro_rules! lanes {
    ($table:literal) => {
        concat!(
            "with recursive lanes (lane) as (
                 select min(lane) from ",
            $table,
            " where stream = ?1
                 union all
                 select (select min(more.lane) from ",
            $table,
            " as more where more.stream = ?1 and more.lane > lanes.lane)
                 from lanes where lanes.lane is not null
             )"
        )
    };
}
pub(super) use lanes;

/// At most so many, one more a step back of the clock: beyond, the clock is unusable, and an
/// overlap within the last lane may hide footage from range queries, but not lose it.
const LANES: i64 = 64;

/// The first lane of `stream` in which this time is free. `fits` is one of those above.
pub(super) async fn free_lane(
    db: &mut SqliteConnection,
    fits: &'static str,
    stream: StreamId,
    start: WallTime,
    end: Option<WallTime>,
) -> Result<i64> {
    for lane in 0..LANES {
        let free: bool = sqlx::query_scalar(fits)
            .bind(stream)
            .bind(lane)
            .bind(start.as_micros())
            .bind(end.map_or(i64::MAX, WallTime::as_micros))
            .fetch_one(&mut *db)
            .await
            .map_err(failed("look for a lane"))?;
        if free {
            return Ok(lane);
        }
    }
    Ok(LANES - 1)
}
