//! Start-up after a crash: completes what was open when the process died.
//!
//! Only rows that are still open are looked at, so the time this takes depends on the number of
//! streams and not on the archive. Of each such file the boxes' headers are read, a torn end is
//! cut off behind the last whole fragment, the tail box is written, and the row is completed from
//! what the file holds. Then runs that still last end with their last footage, and every stream
//! that has no lasting gap gets one from there on: no second is left unaccounted for.
//!
//! A file whose volume is not configured now (an unplugged disk) is left alone with its row open.

use std::{collections::HashMap, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::time::timeout;

use super::rows::chain;
use crate::{
    clock::Clock,
    disk::{OpenSegment, Volumes},
    footage::{self, Mended},
    id::{RunId, StreamId},
    model::{Camera, Gap, RecordMode, RunRow, Segment},
    proto::{reason::GapReason, time::WallTime},
    store::{Store, StoreError},
};

/// How long a file may take to be finished whose recorder died.
const FINISHED_WITHIN: Duration = Duration::from_secs(5);
/// Files looked at side by side.
const AT_ONCE: usize = 8;
/// Rows a page.
const PAGE: u32 = 1_000;

/// What recovery did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Rows completed.
    pub completed: u64,
    /// Rows deleted: their file was gone, or held no whole fragment and was deleted with them.
    pub deleted: u64,
    /// Files of which a torn end was cut off.
    pub torn: u64,
    /// Gaps begun.
    pub gaps: u64,
    /// Files that could not be looked at; their rows stay open.
    pub errors: u64,
}

/// What became of one open row.
enum Outcome {
    Completed { end: WallTime, torn: bool },
    Deleted,
    Failed,
}

/// Completes what a crash left open. To be called before anything is recorded.
///
/// # Errors
///
/// The store's. A file that cannot be read is counted and logged, and stops nothing.
pub async fn recover(
    store: &Store,
    volumes: &Volumes,
    clock: &Clock,
) -> Result<Recovered, StoreError> {
    let mut recovered = Recovered::default();
    let mut ends: HashMap<RunId, WallTime> = HashMap::new();
    let rows = store.open_segments().await?;
    let mut outcomes = stream::iter(rows)
        .map(|row| async move { (row.opened.run, segment(store, volumes, row).await) })
        .buffer_unordered(AT_ONCE);
    while let Some((run, outcome)) = outcomes.next().await {
        match outcome? {
            Outcome::Completed { end, torn } => {
                recovered.completed += 1;
                recovered.torn += u64::from(torn);
                let latest = ends.entry(run).or_insert(end);
                *latest = end.max(*latest);
            }
            Outcome::Deleted => recovered.deleted += 1,
            Outcome::Failed => recovered.errors += 1,
        }
    }
    for run in store.open_runs().await? {
        recovered.gaps +=
            u64::from(end_run(store, &run, ends.get(&run.id).copied(), GapReason::Crash).await?);
    }
    for camera in store.cameras().await? {
        for stream in &camera.streams {
            if store.open_gap_of(stream.id).await?.is_some() {
                continue;
            }
            let (start, reason) = match last_end(store, stream.id).await? {
                Some(end) => (end, GapReason::Crash),
                None => (stream.created.min(clock.now()), GapReason::Starting),
            };
            let reason =
                if expected(&camera, stream.record) { reason } else { GapReason::Disabled };
            recovered.gaps += u64::from(begin_gap(store, stream.id, start, reason).await?);
        }
    }
    if recovered != Recovered::default() {
        tracing::info!(?recovered, "completed what was open when the last process ended");
    }
    Ok(recovered)
}

/// Ends what a recorder of this stream left that died: its files are completed as after a crash,
/// and its runs end with them. For each, the hub's name of its run and how far it goes: the number
/// after the last unit of each track.
pub(super) async fn take_over(
    store: &Store,
    volumes: &Volumes,
    stream: StreamId,
    reason: GapReason,
) -> Result<Vec<(RunId, Vec<u64>)>, StoreError> {
    let (mut ends, mut written) = (HashMap::new(), Vec::new());
    let left = volumes.open_segments().of(stream);
    let rows = if left.is_empty() { Vec::new() } else { store.open_segments().await? };
    for left in left {
        let id = left.opened.id;
        // With the recorder the right to write was dropped: what it had queued is still written.
        let finished =
            timeout(FINISHED_WITHIN, left.watch().wait_for(|p| p.finished)).await.is_ok();
        written.push((left.live_run, numbers_after(&left)));
        if !finished {
            tracing::error!(segment.path = %left.opened.path, "segment left open: its volume hangs");
            continue;
        }
        if let Some(row) = rows.iter().find(|r| r.opened.id == id) {
            let run = row.opened.run;
            if let Outcome::Completed { end, .. } = segment(store, volumes, row.clone()).await? {
                let latest = ends.entry(run).or_insert(end);
                *latest = end.max(*latest);
            }
        }
        volumes.open_segments().remove(stream, id);
    }
    for run in store.open_runs().await?.iter().filter(|r| r.stream == stream) {
        end_run(store, run, ends.get(&run.id).copied(), reason).await?;
    }
    Ok(written)
}

fn numbers_after(segment: &OpenSegment) -> Vec<u64> {
    let mut numbers: Vec<u64> = segment.opened.tracks.iter().map(|t| t.first_number).collect();
    for fragment in segment.fragments(0) {
        for part in &fragment.tracks {
            if let Some(number) = numbers.get_mut(part.track.as_usize()) {
                *number += part.samples.len() as u64;
            }
        }
    }
    numbers
}

/// Ends a run with its last footage; says whether a gap begins there.
async fn end_run(
    store: &Store,
    run: &RunRow,
    end: Option<WallTime>,
    reason: GapReason,
) -> Result<bool, StoreError> {
    let end = match end {
        Some(end) => end,
        None => end_of_run(store, run).await?,
    };
    store.close_run(run.id, end).await?;
    begin_gap(store, run.stream, end, reason).await
}

fn expected(camera: &Camera, stream: Option<RecordMode>) -> bool {
    camera.enabled && stream.unwrap_or(camera.record) == RecordMode::Always
}

/// Begins a gap if none lasts; says whether it did.
async fn begin_gap(
    store: &Store,
    stream: StreamId,
    start: WallTime,
    reason: GapReason,
) -> Result<bool, StoreError> {
    if store.open_gap_of(stream).await?.is_some() {
        return Ok(false);
    }
    store.open_gap(Gap { stream, start, end: None, reason }).await?;
    Ok(true)
}

/// Where the last run of a stream ended.
async fn last_end(store: &Store, stream: StreamId) -> Result<Option<WallTime>, StoreError> {
    let runs = store.runs(stream).await?;
    Ok(runs.into_iter().max_by_key(|r| (r.epoch, r.start)).map(|r| r.end.unwrap_or(r.start)))
}

/// Where the footage of a run ends, all of whose segments were closed in order.
async fn end_of_run(store: &Store, run: &RunRow) -> Result<WallTime, StoreError> {
    let forever = WallTime::from_micros(i64::MAX);
    // Nearly always the newest segment of the stream is its last.
    let last = store.segment_before(run.stream, forever).await?;
    if let Some(last) = last.filter(|last| last.opened.run == run.id) {
        return Ok(last.end);
    }
    // Else the clock stepped back: footage of an older epoch bears a later time.
    let (mut end, mut after) = (run.start, None);
    loop {
        let page = store.segments_overlapping(run.stream, run.start..forever, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(end) };
        after = Some((last.opened.start, last.opened.id));
        let own = page.iter().filter(|s| s.opened.run == run.id).map(|s| s.end);
        end = own.fold(end, WallTime::max);
    }
}

async fn segment(store: &Store, volumes: &Volumes, row: Segment) -> Result<Outcome, StoreError> {
    let row = row.opened;
    let path = match volumes.absolute(&row.volume, &row.path) {
        Ok(path) => path,
        Err(error) => {
            tracing::warn!(segment.path = %row.path, %error, "segment left open");
            return Ok(Outcome::Failed);
        }
    };
    let looked = tokio::task::spawn_blocking({
        let (row, fs) = (row.clone(), volumes.fs());
        move || footage::mend(&*fs, &path, &row)
    });
    let mended = match looked.await {
        Ok(Ok(mended)) => mended,
        Ok(Err(error)) => {
            let error = chain(&error);
            tracing::error!(segment.path = %row.path, %error, "segment left open");
            return Ok(Outcome::Failed);
        }
        Err(error) => {
            tracing::error!(segment.path = %row.path, %error, "segment left open");
            return Ok(Outcome::Failed);
        }
    };
    let Some(Mended { closed, torn }) = mended else {
        store.delete_segment(row.id).await?;
        // Also prunes the folders; a file that is gone is no error.
        if let Err(error) = volumes.remove(&row.volume, &row.path).await {
            tracing::warn!(segment.path = %row.path, %error, "cannot delete an empty segment");
        }
        return Ok(Outcome::Deleted);
    };
    let end = closed.end;
    store.close_segment(closed).await?;
    Ok(Outcome::Completed { end, torn })
}
