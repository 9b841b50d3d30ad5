//! Start-up after a crash: completes what was open when the process died.
//!
//! Only rows that are still open are looked at, so the time this takes depends on the number of
//! streams and not on the archive. Of each such file the boxes' headers are read, a torn end is
//! cut off behind the last whole fragment, the tail box is written, and the row is completed from
//! what the file holds. Then runs that still last end with their last footage, and every stream
//! that has no lasting gap gets one from there on: no second is left unaccounted for.
//!
//! A file whose volume is away (an unplugged disk) is left alone with its row open, and completed when
//! the volume is back; its run ends meanwhile with the footage that is there. A file in which
//! something is that cannot be read is kept under another name, and its row goes: it must not be
//! looked at again at every start.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::Path,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio::time::timeout;

use super::rows::chain;
use crate::{
    clock::Clock,
    disk::{Fs, OpenSegment, Volumes},
    footage::{self, MendError, Mended},
    id::{RunId, StreamId},
    model::{Camera, Gap, RecordMode, RunRow, Segment, WholeSegment},
    proto::{reason::GapReason, time::WallTime},
    store::{Store, StoreError},
};

/// How long a file may take to be finished whose recorder died.
const FINISHED_WITHIN: Duration = Duration::from_secs(5);
/// Files looked at side by side.
const AT_ONCE: usize = 8;

/// What recovery did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Rows completed.
    pub completed: u64,
    /// Rows deleted: their file was gone, or held no whole fragment and was deleted with them.
    pub deleted: u64,
    /// Files of which a torn end was cut off.
    pub torn: u64,
    /// Files that cannot be read though something is in them: kept under another name
    /// ([`ASIDE`]), their rows deleted.
    pub aside: u64,
    /// Gaps begun.
    pub gaps: u64,
    /// Files that could not be looked at, on a volume that is away or fails; their rows stay open.
    pub errors: u64,
}

/// What is added to the name of a file that cannot be read.
pub const ASIDE: &str = "damaged";

/// What became of one open row.
enum Outcome {
    Completed { end: WallTime, torn: bool },
    Deleted,
    Aside,
    Failed,
}

impl Recovered {
    fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Completed { torn, .. } => {
                self.completed += 1;
                self.torn += u64::from(*torn);
            }
            Outcome::Deleted => self.deleted += 1,
            Outcome::Aside => self.aside += 1,
            Outcome::Failed => self.errors += 1,
        }
    }
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
    let runs = store.open_runs().await?;
    let lasting: HashSet<RunId> = runs.iter().map(|r| r.id).collect();
    let rows = store.open_segments().await?;
    let ends = complete(store, volumes, rows, &lasting, &mut recovered).await?;
    for run in runs {
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

/// Completes rows; where each run's footage ends that was completed.
async fn complete(
    store: &Store,
    volumes: &Volumes,
    rows: Vec<Segment>,
    lasting: &HashSet<RunId>,
    recovered: &mut Recovered,
) -> Result<HashMap<RunId, WallTime>, StoreError> {
    let mut ends: HashMap<RunId, WallTime> = HashMap::new();
    let mut outcomes = stream::iter(rows)
        .map(|row| async move {
            let run = row.opened.run;
            (run, segment(store, volumes, row, lasting.contains(&run)).await)
        })
        .buffer_unordered(AT_ONCE);
    while let Some((run, outcome)) = outcomes.next().await {
        let outcome = outcome?;
        recovered.count(&outcome);
        if let Outcome::Completed { end, .. } = outcome {
            let latest = ends.entry(run).or_insert(end);
            *latest = end.max(*latest);
        }
    }
    Ok(ends)
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
            if let Outcome::Completed { end, .. } =
                segment(store, volumes, row.clone(), true).await?
            {
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
        None => store.end_of_run(run.id).await?.unwrap_or(run.start),
    };
    store.close_run(run.id, end).await?;
    // The crash may have come between the beginning of the run and the end of the gap before it.
    let gap = store.open_gap_of(run.stream).await?;
    if gap.is_some_and(|gap| gap.start < end) {
        store.close_gap(run.stream, run.start).await?;
    }
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
    let run = store.newest_run(stream).await?;
    Ok(run.map(|r| r.end.unwrap_or(r.start)))
}

/// Completes one row from its file, as after a crash; says where its footage ends. `in_run`: its run
/// reaches over it, or still lasts.
pub(super) async fn complete_row(
    store: &Store,
    volumes: &Volumes,
    row: Segment,
    in_run: bool,
) -> Result<Option<WallTime>, StoreError> {
    Ok(match segment(store, volumes, row, in_run).await? {
        Outcome::Completed { end, .. } => Some(end),
        Outcome::Deleted | Outcome::Aside | Outcome::Failed => None,
    })
}

/// Completes one row. `lasting`: its run has not been ended without it.
async fn segment(
    store: &Store,
    volumes: &Volumes,
    row: Segment,
    lasting: bool,
) -> Result<Outcome, StoreError> {
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
        move || match footage::mend(&*fs, &path, &row) {
            Ok(Some(mended)) => Looked::Whole(Box::new(mended)),
            Ok(None) => Looked::Nothing,
            // Another segment's file in the place of ours: that is not harmed.
            Err(MendError::Foreign) => Looked::Gone,
            Err(error @ MendError::Header(_)) => match keep_aside(&*fs, &path) {
                Ok(()) => Looked::Aside(chain(&error)),
                Err(error) => Looked::Failed(chain(&error)),
            },
            Err(error) => Looked::Failed(chain(&error)),
        }
    });
    let looked = looked.await.unwrap_or_else(|error| Looked::Failed(error.to_string()));
    match looked {
        Looked::Whole(mended) => {
            let Mended { closed, torn } = *mended;
            let end = closed.end;
            if lasting {
                store.close_segment(closed).await?;
            } else {
                // Its run was ended without it, when its volume was away.
                store.delete_segment(row.id).await?;
                store.adopt_segments(vec![WholeSegment { opened: row, closed }]).await?;
            }
            Ok(Outcome::Completed { end, torn })
        }
        Looked::Nothing => {
            store.delete_segment(row.id).await?;
            // Also prunes the folders; a file that is gone is no error.
            if let Err(error) = volumes.remove(&row.volume, &row.path).await {
                tracing::warn!(segment.path = %row.path, %error, "cannot delete an empty segment");
            }
            Ok(Outcome::Deleted)
        }
        Looked::Gone => {
            store.delete_segment(row.id).await?;
            tracing::error!(segment.path = %row.path, "another segment's file is in its place");
            Ok(Outcome::Deleted)
        }
        Looked::Aside(error) => {
            store.delete_segment(row.id).await?;
            tracing::error!(
                segment.path = %row.path, error,
                "cannot be read; the file is kept as .{ASIDE}, the time counts as missing"
            );
            Ok(Outcome::Aside)
        }
        Looked::Failed(error) => {
            tracing::error!(segment.path = %row.path, error, "segment left open");
            Ok(Outcome::Failed)
        }
    }
}

/// What a look at the file of an open row gave.
enum Looked {
    Whole(Box<Mended>),
    Nothing,
    Gone,
    Aside(String),
    Failed(String),
}

/// Nothing of it is lost, and nothing looks at it again.
fn keep_aside(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".");
    aside.push(ASIDE);
    fs.rename(path, Path::new(&aside))?;
    path.parent().map_or(Ok(()), |folder| fs.sync_folder(folder))
}
