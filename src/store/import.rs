//! Footage that is put (back) into the index from its files: by the thousand when the index is
//! built anew, or one by one when a row had been lost.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use super::{
    Result, Store,
    columns::wall,
    cut, failed, gap,
    lane::{RUN_FITS, free_lane},
    rewrite, run, segment, unlink,
};
use crate::{
    clock::Clock,
    id::{RunId, SegmentId},
    model::{ClosedSegment, Import, Imported, NewSegment, RunRow, WallRange, WholeSegment},
    proto::{
        reason::GapReason,
        time::{WallSpan, WallTime},
    },
};

/// The end of a file as its fragments tell it, and what the recorder put there (the beginning of the
/// next, or its run's end), are not further apart when nothing is missing: what a clock that is 2 %
/// off makes of a fragment.
pub const JOINS: WallSpan = WallSpan::from_micros(10_000);
/// Segments in one command when adopting.
const AT_ONCE: usize = 64;
/// Where a run is put while its lane is chosen.
const NOWHERE: i64 = -1;

/// The one before a segment in its run.
const BEFORE: &str = "select id, end_us, closed from segment where run = ?1 and start_us < ?2
                      order by start_us desc limit 1";
const IS_KNOWN: &str = "select 1 from segment where id = ?1";
const IS_STREAM: &str = "
    select 1 from stream cross join camera on camera.id = stream.camera
    where stream.id = ?1 and camera.doomed_us is null";
const PUT_ASIDE: &str = "update run set lane = ?2 where id = ?1";
const PUT_BACK: &str = "update run set lane = ?2, start_us = ?3, end_us = ?4 where id = ?1";

/// Whether a segment from a file can have a row.
enum Place {
    Free,
    Known,
    Doomed,
    Stranger,
}

impl Store {
    /// Inserts rows for an index that is built anew, in one transaction; idempotent by id.
    ///
    /// Runs and gaps are taken as they are: that they tile the time is the caller's doing. A
    /// segment whose run is not there gets one of its own time.
    pub async fn import(&self, rows: Import) -> Result<Imported> {
        self.writer
            .write("import rows", move |db| Box::pin(async move { import(db, rows).await }))
            .await
    }

    /// Adopts closed segments whose rows had been lost into a timeline that is in use: each joins
    /// the run it names where that leaves no hole, else gets one of its own, and gaps make room
    /// for it. Where a run turns out to have a hole beside it, the run is cut. Idempotent by id.
    pub async fn adopt_segments(&self, segments: Vec<WholeSegment>) -> Result<Imported> {
        let mut total = Imported::default();
        let mut segments = segments;
        // In order of time, so that what belongs together becomes one run.
        segments.sort_by_key(|s| (s.opened.stream, s.opened.epoch, s.opened.start, s.opened.id));
        let mut segments = segments.into_iter().peekable();
        while segments.peek().is_some() {
            let some: Vec<_> = segments.by_ref().take(AT_ONCE).collect();
            let clock = self.clock.clone();
            let adopted = self
                .writer
                .write("adopt segments", move |db| {
                    Box::pin(async move { adopt(db, &clock, some).await })
                })
                .await?;
            total.segments += adopted.segments;
            total.known += adopted.known;
            total.doomed.extend(adopted.doomed);
            total.strangers.extend(adopted.strangers);
            total.new_runs.extend(adopted.new_runs);
        }
        Ok(total)
    }
}

async fn import(db: &mut SqliteConnection, rows: Import) -> Result<Imported> {
    let mut done = Imported::default();
    for row in rows.runs {
        if !is_there(db, IS_STREAM, row.stream.0).await? {
            continue;
        }
        match run::of_id(db, row.id).await? {
            None => run::insert(db, row).await?,
            Some(known) => {
                let end = known.end.zip(row.end).map(|(a, b)| a.max(b));
                widen(db, &known, known.start.min(row.start), end).await?;
            }
        }
    }
    for whole in rows.segments {
        if !admit(db, &whole, &mut done).await? {
            continue;
        }
        let WholeSegment { opened, closed } = whole;
        if run::of_id(db, opened.run).await?.is_none() {
            run::insert(db, own_run(&opened, opened.run, closed.end)).await?;
        }
        put(db, opened, closed).await?;
        done.segments += 1;
    }
    for row in rows.gaps {
        let empty = row.end.is_some_and(|end| end <= row.start);
        if empty
            || !is_there(db, IS_STREAM, row.stream.0).await?
            || gap::is_known(db, &row).await?
            || (row.end.is_none() && gap::lasts(db, row.stream).await?)
        {
            continue;
        }
        gap::insert(db, row).await?;
    }
    Ok(done)
}

async fn adopt(
    db: &mut SqliteConnection,
    clock: &Clock,
    segments: Vec<WholeSegment>,
) -> Result<Imported> {
    let mut done = Imported::default();
    // Runs made here in place of the ones that are named.
    let mut instead: HashMap<RunId, RunId> = HashMap::new();
    for whole in segments {
        if !admit(db, &whole, &mut done).await? {
            continue;
        }
        let WholeSegment { mut opened, mut closed } = whole;
        let named = opened.run;
        closed.end = closed.end.clamp(opened.start, opened.start + segment::MAX_SEGMENT);
        let mut beside = None;
        for id in [Some(named), instead.get(&named).copied()].into_iter().flatten() {
            let Some(run) = run::of_id(db, id).await? else { continue };
            let found = Beside::find(db, id, &opened, &closed).await?;
            // As the recorder has it: a segment ends where the next one begins.
            let end = found.follows.unwrap_or(closed.end);
            let range = opened.start..end;
            if joins(&run, &opened, &range) {
                join(db, &run, &range).await?;
                (opened.run, closed.end) = (id, end);
                beside = Some(found);
                break;
            }
        }
        let range = opened.start..closed.end;
        if beside.is_none() {
            if run::of_id(db, named).await?.is_some() {
                opened.run = RunId::generate(clock);
                instead.insert(named, opened.run);
                done.new_runs.push(opened.run);
            }
            run::insert(db, own_run(&opened, opened.run, range.end)).await?;
            gap::carve(db, opened.stream, range).await?;
        }
        let (id, start, end) = (opened.id, opened.start, closed.end);
        put(db, opened, closed).await?;
        done.segments += 1;
        let Some(Beside { before, is_last, follows }) = beside else { continue };
        if !is_last && follows.is_none() {
            cut::cut(db, id, end, GapReason::Crash, RunId::generate(clock)).await?;
        }
        if let Some((before, its_end)) = before.filter(|&(_, end)| end < start - JOINS) {
            cut::cut(db, before, its_end, GapReason::Crash, RunId::generate(clock)).await?;
        }
    }
    Ok(done)
}

/// What a run has beside a segment that is to join it.
struct Beside {
    /// The closed segment before it, and its end.
    before: Option<(SegmentId, WallTime)>,
    /// None is behind it.
    is_last: bool,
    /// Where the next one begins, if nothing is missing up to there.
    follows: Option<WallTime>,
}

impl Beside {
    async fn find(
        db: &mut SqliteConnection,
        run: RunId,
        opened: &NewSegment,
        closed: &ClosedSegment,
    ) -> Result<Self> {
        let before: Option<(SegmentId, i64, bool)> = sqlx::query_as(BEFORE)
            .bind(run)
            .bind(opened.start.as_micros())
            .fetch_optional(&mut *db)
            .await
            .map_err(failed("find the segment before"))?;
        let next = rewrite::next_of_run(&mut *db, run, opened.start).await?;
        let mut follows = None;
        if let Some((next, starts)) = &next {
            let next = *next;
            // Where pictures come seldom, the time of the last one is a guess, and only the numbers
            // say that none is missing.
            let numbers = opened.tracks.iter().zip(&closed.tracks);
            let numbers = numbers.map(|(t, total)| t.first_number.saturating_add(total.samples));
            let meets = next - closed.end <= JOINS && closed.end - next <= JOINS;
            let counts = numbers.eq(starts.iter().map(|t| t.first_number));
            follows = (meets || counts).then_some(next);
        }
        let before = before.filter(|&(.., closed)| closed).map(|(id, end, _)| (id, wall(end)));
        Ok(Self { before, is_last: next.is_none(), follows })
    }
}

/// Counts what cannot have a row; says whether this one can.
async fn admit(
    db: &mut SqliteConnection,
    whole: &WholeSegment,
    done: &mut Imported,
) -> Result<bool> {
    let opened = &whole.opened;
    match place(db, opened).await? {
        Place::Free => return Ok(true),
        Place::Known => done.known += 1,
        Place::Doomed => done.doomed.push(opened.id),
        Place::Stranger => done.strangers.push(opened.id),
    }
    Ok(false)
}

async fn place(db: &mut SqliteConnection, opened: &NewSegment) -> Result<Place> {
    if is_there(db, IS_KNOWN, opened.id.0).await? {
        return Ok(Place::Known);
    }
    if unlink::is_doomed(db, &opened.volume, &opened.path).await? {
        return Ok(Place::Doomed);
    }
    let known = is_there(db, IS_STREAM, opened.stream.0).await?;
    Ok(if known { Place::Free } else { Place::Stranger })
}

async fn is_there(db: &mut SqliteConnection, sql: &'static str, id: i64) -> Result<bool> {
    let row: Option<i64> = sqlx::query_scalar(sql)
        .bind(id)
        .fetch_optional(db)
        .await
        .map_err(failed("look for a row to import"))?;
    Ok(row.is_some())
}

fn own_run(opened: &NewSegment, id: RunId, end: WallTime) -> RunRow {
    let NewSegment { stream, epoch, start, .. } = *opened;
    RunRow { id, stream, epoch, start, end: Some(end.max(start)) }
}

/// Whether a segment may become part of a run without leaving a hole.
fn joins(run: &RunRow, opened: &NewSegment, range: &WallRange) -> bool {
    run.stream == opened.stream
        && run.epoch == opened.epoch
        && range.end >= run.start - JOINS
        && run.end.is_none_or(|end| range.start <= end + JOINS)
}

/// Makes a run as long as to hold a segment that joins it.
async fn join(db: &mut SqliteConnection, run: &RunRow, range: &WallRange) -> Result<()> {
    // Footage from here on; what lies between the two is part of it.
    let from = run.end.map_or(range.start, |end| range.start.min(end));
    let to = range.end.max(run.start.min(range.end + JOINS));
    widen(db, run, run.start.min(range.start), run.end.map(|end| end.max(range.end))).await?;
    gap::carve(db, run.stream, from..to).await
}

async fn widen(
    db: &mut SqliteConnection,
    run: &RunRow,
    start: WallTime,
    end: Option<WallTime>,
) -> Result<()> {
    if (start, end) == (run.start, run.end) {
        return Ok(());
    }
    let aside = sqlx::query(PUT_ASIDE).bind(run.id).bind(NOWHERE).execute(&mut *db).await;
    aside.map_err(failed("widen a run"))?;
    let lane = free_lane(db, RUN_FITS, run.stream, start, end).await?;
    sqlx::query(PUT_BACK)
        .bind(run.id)
        .bind(lane)
        .bind(start.as_micros())
        .bind(end.map(WallTime::as_micros))
        .execute(db)
        .await
        .map(|_| ())
        .map_err(failed("widen a run"))
}

async fn put(
    db: &mut SqliteConnection,
    opened: NewSegment,
    mut closed: crate::model::ClosedSegment,
) -> Result<()> {
    closed.id = opened.id;
    segment::open(db, &opened).await?;
    segment::close(db, closed).await
}
