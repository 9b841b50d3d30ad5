//! The timeline of a stream made anew from its segments: by a rebuild and by `check --repair`.

use sqlx::{SqliteConnection, SqliteExecutor};

use super::{Result, Store, StoreError, columns::wall, failed, packed};
use crate::{
    id::{RunId, SegmentId, StreamId},
    model::{Gap, RunRow, TrackStart},
    proto::time::WallTime,
};

/// What to put in the place of what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Runs as they were read, which `runs` replaces; others of the stream stay as they are.
    pub old_runs: Vec<RunRow>,
    /// All gaps as they were read, which `gaps` replaces.
    pub old_gaps: Vec<Gap>,
    /// Runs as they are to be.
    pub runs: Vec<RunRow>,
    /// Gaps as they are to be.
    pub gaps: Vec<Gap>,
    /// Segments that belong to another run than their row says: one of `runs`.
    pub moved: Vec<(SegmentId, RunId)>,
    /// Segments that end elsewhere than their row says.
    pub ends: Vec<(SegmentId, WallTime)>,
}

const RUNS: &str = "select id, lane, start_us, end_us, epoch from run where stream = ?1";
const OTHER_GAP: &str = "select 1 from gap where stream = ?1 limit 1";

/// As in `run.rs`: beyond, the clock is unusable.
const LANES: usize = 64;

/// What is taken of a lane.
struct Lane {
    /// By rows that stay: few.
    others: Vec<(i64, i64)>,
    /// How far ours reach.
    reach: i64,
}

#[derive(Default)]
struct Lanes(Vec<Lane>);

impl Lanes {
    fn lane(&mut self, lane: usize) -> Option<&mut Lane> {
        if self.0.len() <= lane {
            self.0.resize_with(lane + 1, || Lane { others: Vec::new(), reach: i64::MIN });
        }
        self.0.get_mut(lane)
    }

    fn hold(&mut self, lane: i64, start: i64, end: Option<i64>) {
        let lane = usize::try_from(lane).unwrap_or(0).min(LANES - 1);
        if let Some(lane) = self.lane(lane) {
            lane.others.push((start, end.unwrap_or(i64::MAX)));
        }
    }

    /// The first lane where this overlaps nothing; to be asked in the order of starts.
    fn place(&mut self, start: i64, end: Option<i64>) -> i64 {
        let until = end.unwrap_or(i64::MAX);
        let free = |lane: &Lane| {
            let apart = |&(from, to): &(i64, i64)| to <= start || from >= until.max(start + 1);
            lane.reach <= start && lane.others.iter().all(apart)
        };
        let place = self.0.iter().position(free).unwrap_or(self.0.len()).min(LANES - 1);
        if let Some(lane) = self.lane(place) {
            lane.reach = lane.reach.max(until);
        }
        i64::try_from(place).unwrap_or(0)
    }
}

/// As [`Store::next_of_run`].
pub(super) async fn next_of_run(
    db: impl SqliteExecutor<'_>,
    run: RunId,
    start: WallTime,
) -> Result<Option<(WallTime, Vec<TrackStart>)>> {
    let next: Option<(i64, Vec<u8>)> = sqlx::query_as(
        "select start_us, track_starts from segment where run = ?1 and start_us > ?2
         order by start_us limit 1",
    )
    .bind(run)
    .bind(start.as_micros())
    .fetch_optional(db)
    .await
    .map_err(failed("find the next segment of a run"))?;
    let Some((start, starts)) = next else { return Ok(None) };
    let starts = packed::unpack_starts(&starts).map_err(|_| StoreError::Corrupt("track starts"))?;
    Ok(Some((wall(start), starts)))
}

impl Store {
    /// Where the last closed segment of a run ends; `None` when it has none.
    pub async fn end_of_run(&self, run: RunId) -> Result<Option<WallTime>> {
        // Segments of a run follow each other, so the last one ends last.
        let end: Option<i64> = sqlx::query_scalar(
            "select end_us from segment where run = ?1 and closed = 1
             order by start_us desc limit 1",
        )
        .bind(run)
        .fetch_optional(&self.readers)
        .await
        .map_err(failed("find the end of a run"))?;
        Ok(end.map(wall))
    }

    /// Where the segment of a run begins that follows the one from `start`, and each of its tracks.
    pub async fn next_of_run(
        &self,
        run: RunId,
        start: WallTime,
    ) -> Result<Option<(WallTime, Vec<TrackStart>)>> {
        next_of_run(&self.readers, run, start).await
    }

    /// A run by its id.
    pub async fn run(&self, id: RunId) -> Result<Option<RunRow>> {
        let row: Option<super::run::Row> =
            sqlx::query_as("select id, stream, epoch, start_us, end_us from run where id = ?1")
                .bind(id)
                .fetch_optional(&self.readers)
                .await
                .map_err(failed("read a run"))?;
        row.map(super::run::Row::into_run).transpose()
    }

    /// Replaces runs and gaps of a stream in one transaction.
    ///
    /// # Errors
    ///
    /// `Conflict` when what is to be replaced is no longer as it was read (a run ended meanwhile,
    /// say): then it is to be read and made again.
    pub async fn rewrite_timeline(&self, stream: StreamId, rewrite: Rewrite) -> Result<()> {
        self.writer
            .write("rewrite a timeline", move |db| {
                Box::pin(async move {
                    runs(db, stream, &rewrite).await?;
                    gaps(db, stream, &rewrite).await
                })
            })
            .await
    }
}

async fn runs(db: &mut SqliteConnection, stream: StreamId, rewrite: &Rewrite) -> Result<()> {
    const CHANGED: StoreError = StoreError::Conflict("another timeline");
    let stored: Vec<(RunId, i64, i64, Option<i64>, i64)> = sqlx::query_as(RUNS)
        .bind(stream)
        .fetch_all(&mut *db)
        .await
        .map_err(failed("read a stream's runs"))?;
    let (mut lanes, mut found) = (Lanes::default(), 0);
    let old: std::collections::HashMap<RunId, &RunRow> =
        rewrite.old_runs.iter().map(|r| (r.id, r)).collect();
    let mut known = std::collections::HashSet::new();
    for (id, lane, start, end, _) in stored {
        known.insert(id);
        match old.get(&id) {
            Some(row) if row.start == wall(start) && row.end == end.map(wall) => found += 1,
            Some(_) => return Err(CHANGED),
            None => lanes.hold(lane, start, end),
        }
    }
    if found != old.len() {
        return Err(CHANGED);
    }
    let mut runs: Vec<&RunRow> = rewrite.runs.iter().collect();
    runs.sort_by_key(|r| (r.start, r.epoch, r.id));
    for run in &runs {
        let (start, end) = (run.start.as_micros(), run.end.map(WallTime::as_micros));
        let lane = lanes.place(start, end);
        let sql = if known.contains(&run.id) {
            "update run set lane = ?2, epoch = ?3, start_us = ?4, end_us = ?5
             where id = ?1 and stream = ?6"
        } else {
            "insert into run (id, lane, epoch, start_us, end_us, stream)
             values (?1, ?2, ?3, ?4, ?5, ?6)"
        };
        sqlx::query(sql)
            .bind(run.id)
            .bind(lane)
            .bind(run.epoch)
            .bind(start)
            .bind(end)
            .bind(stream)
            .execute(&mut *db)
            .await
            .map_err(failed("rewrite a run"))?;
    }
    for (segment, run) in &rewrite.moved {
        sqlx::query("update segment set run = ?2 where id = ?1")
            .bind(segment)
            .bind(run)
            .execute(&mut *db)
            .await
            .map_err(failed("move a segment to another run"))?;
    }
    for (segment, end) in &rewrite.ends {
        sqlx::query("update segment set end_us = max(start_us, ?2) where id = ?1")
            .bind(segment)
            .bind(end.as_micros())
            .execute(&mut *db)
            .await
            .map_err(failed("move the end of a segment"))?;
    }
    let kept: std::collections::HashSet<RunId> = runs.iter().map(|r| r.id).collect();
    for id in old.keys().filter(|id| !kept.contains(id)) {
        // The foreign key of `segment` refuses to orphan one: then the caller has missed it.
        sqlx::query("delete from run where id = ?1")
            .bind(id)
            .execute(&mut *db)
            .await
            .map_err(failed("take out a run"))?;
    }
    Ok(())
}

async fn gaps(db: &mut SqliteConnection, stream: StreamId, rewrite: &Rewrite) -> Result<()> {
    for gap in &rewrite.old_gaps {
        let done = sqlx::query(
            "delete from gap where stream = ?1 and start_us = ?2 and end_us is ?3 and reason = ?4",
        )
        .bind(stream)
        .bind(gap.start.as_micros())
        .bind(gap.end.map(WallTime::as_micros))
        .bind(gap.reason.as_str())
        .execute(&mut *db)
        .await
        .map_err(failed("take out a gap"))?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Conflict("another timeline"));
        }
    }
    // One that was not there when the others were read: runs have begun or ended since.
    let other: Option<i64> = sqlx::query_scalar(OTHER_GAP)
        .bind(stream)
        .fetch_optional(&mut *db)
        .await
        .map_err(failed("look for another gap"))?;
    if other.is_some() {
        return Err(StoreError::Conflict("another timeline"));
    }
    let mut lanes = Lanes::default();
    let mut gaps: Vec<&Gap> = rewrite.gaps.iter().collect();
    gaps.sort_by_key(|g| (g.start, g.end));
    for gap in gaps {
        let (start, end) = (gap.start.as_micros(), gap.end.map(WallTime::as_micros));
        let lane = lanes.place(start, end);
        sqlx::query(
            "insert into gap (stream, lane, start_us, end_us, reason) values (?1, ?2, ?3, ?4, ?5)",
        )
        .bind(stream)
        .bind(lane)
        .bind(start)
        .bind(end)
        .bind(gap.reason.as_str())
        .execute(&mut *db)
        .await
        .map_err(failed("write a gap"))?;
    }
    Ok(())
}
