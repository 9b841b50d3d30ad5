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

use std::{cmp::Reverse, io, path::Path, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::time::timeout;

use super::rows::chain;
use crate::{
    clock::Clock,
    disk::{Fs, OpenSegment, Volumes},
    footage::{self, MendError, Mended},
    id::{RunId, StreamId},
    model::{
        Camera, ClosedSegment, Gap, NewSegment, RecordMode, RunRow, Segment, TrackStart,
        WholeSegment,
    },
    proto::{reason::GapReason, time::WallTime},
    store::{JOINS, Store, StoreError},
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
    let rows = store.open_segments().await?;
    for outcome in complete_all(store, volumes, rows, GapReason::Crash).await? {
        recovered.count(&outcome);
    }
    for run in store.open_runs().await? {
        recovered.gaps += u64::from(end_run(store, &run, GapReason::Crash).await?);
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
            // What a schedule wanted of the time since is seen to when the stream is begun.
            let mode = camera.mode_of(stream);
            let wanted = camera.enabled && mode.wants_footage();
            let reason = if wanted { reason } else { idle_reason(&camera, mode) };
            recovered.gaps += u64::from(begin_gap(store, stream.id, start, reason).await?);
        }
    }
    if recovered != Recovered::default() {
        tracing::info!(?recovered, "completed what was open when the last process ended");
    }
    Ok(recovered)
}

/// Completes one row from its file, as after a crash; says where its footage ends.
pub(super) async fn complete(
    store: &Store,
    volumes: &Volumes,
    row: Segment,
) -> Result<Option<WallTime>, StoreError> {
    let outcomes = complete_all(store, volumes, vec![row], GapReason::DiskError).await?;
    Ok(outcomes.into_iter().find_map(|outcome| match outcome {
        Outcome::Completed { end, .. } => Some(end),
        _ => None,
    }))
}

/// Looks at the files side by side, then completes the rows; the time of what is lost within a run,
/// or at the end of one that had ended, becomes a gap of this reason.
async fn complete_all(
    store: &Store,
    volumes: &Volumes,
    rows: Vec<Segment>,
    reason: GapReason,
) -> Result<Vec<Outcome>, StoreError> {
    let mut looked: Vec<(NewSegment, Looked)> = stream::iter(rows)
        .map(|row| async move {
            let looked = look(volumes, &row.opened).await;
            (row.opened, looked)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    // The last of a run first: where one before it turns out to be short, the run is split there,
    // and what is behind it moves to another.
    looked.sort_by_key(|(row, _)| (row.run, Reverse((row.sequence, row.start))));
    let mut outcomes = Vec::with_capacity(looked.len());
    for (row, looked) in looked {
        outcomes.push(apply(store, volumes, row, looked, reason).await?);
    }
    Ok(outcomes)
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
    let (mut written, mut finished) = (Vec::new(), Vec::new());
    for left in volumes.open_segments().of(stream) {
        let id = left.opened.id;
        // With the recorder the right to write was dropped: what it had queued is still written.
        // Then it is synced, and cut where that fails: only after that the file is ours.
        let mut progress = left.watch();
        let settled = async {
            let _ = progress.wait_for(|p| p.finished).await;
            volumes.sync_now();
            let _ = progress.wait_for(|p| p.settled).await;
        };
        let done = timeout(FINISHED_WITHIN, settled).await.is_ok();
        written.push((left.live_run, numbers_after(&left)));
        if done {
            finished.push(id);
        } else {
            tracing::error!(segment.path = %left.opened.path, "segment left open: its volume hangs");
        }
    }
    if !finished.is_empty() {
        let mut rows = store.open_segments().await?;
        rows.retain(|row| finished.contains(&row.opened.id));
        complete_all(store, volumes, rows, reason).await?;
        finished.into_iter().for_each(|id| volumes.open_segments().remove(stream, id));
    }
    for run in store.open_runs().await?.iter().filter(|r| r.stream == stream) {
        end_run(store, run, reason).await?;
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
async fn end_run(store: &Store, run: &RunRow, reason: GapReason) -> Result<bool, StoreError> {
    let end = store.end_of_run(run.id).await?.unwrap_or(run.start);
    // A gap that lasts over footage: an older version ended it in a transaction of its own.
    let gap = store.open_gap_of(run.stream).await?;
    if gap.is_some_and(|gap| gap.start < end) {
        store.close_gap(run.stream, run.start).await?;
    }
    let lasts = store.open_gap_of(run.stream).await?.is_some();
    let gap = Gap { stream: run.stream, start: end, end: None, reason };
    store.end_run(run.id, end, gap).await?;
    Ok(!lasts)
}

fn idle_reason(camera: &Camera, mode: RecordMode) -> GapReason {
    if camera.enabled { mode.idle_reason() } else { GapReason::Disabled }
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

async fn look(volumes: &Volumes, row: &NewSegment) -> Looked {
    let path = match volumes.absolute(&row.volume, &row.path) {
        Ok(path) => path,
        Err(error) => return Looked::Failed(chain(&error)),
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
    looked.await.unwrap_or_else(|error| Looked::Failed(error.to_string()))
}

/// Makes the row, and the run it is in, what the file says.
async fn apply(
    store: &Store,
    volumes: &Volumes,
    row: NewSegment,
    looked: Looked,
    reason: GapReason,
) -> Result<Outcome, StoreError> {
    match looked {
        Looked::Whole(mended) => {
            let torn = mended.torn;
            let end = put(store, row, *mended, reason).await?;
            Ok(Outcome::Completed { end, torn })
        }
        Looked::Nothing => {
            take_out(store, &row, reason).await?;
            // Also prunes the folders; a file that is gone is no error.
            if let Err(error) = volumes.remove(&row.volume, &row.path).await {
                tracing::warn!(segment.path = %row.path, %error, "cannot delete an empty segment");
            }
            Ok(Outcome::Deleted)
        }
        Looked::Gone => {
            take_out(store, &row, reason).await?;
            tracing::error!(segment.path = %row.path, "another segment's file is in its place");
            Ok(Outcome::Deleted)
        }
        Looked::Aside(error) => {
            take_out(store, &row, reason).await?;
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

/// What the index has behind a row, in its run.
enum Behind {
    /// Nothing: it is the last of a run that lasts.
    Nothing,
    /// The run's end.
    End(WallTime),
    /// A segment.
    Next(WallTime, Vec<TrackStart>),
}

impl Behind {
    /// Up to where the index has the time of the row for recorded.
    const fn until(&self) -> Option<WallTime> {
        match self {
            Self::Nothing => None,
            Self::End(at) | Self::Next(at, _) => Some(*at),
        }
    }

    /// Whether nothing is missing between it and what the file holds.
    ///
    /// Between two segments the numbers of the units tell, exactly: a fragment may be one picture
    /// long, and pictures may come seldom.
    fn follows(&self, row: &NewSegment, file: &Mended) -> bool {
        match self {
            Self::Nothing => true,
            Self::End(at) => *at - file.closed.end <= JOINS && file.closed.end - *at <= JOINS,
            Self::Next(_, tracks) => {
                let leading = file.leading.as_usize();
                let first = |tracks: &[TrackStart]| tracks.get(leading).map(|t| t.first_number);
                let here = file.closed.tracks.get(leading).map_or(0, |t| t.samples);
                first(&row.tracks).map(|n| n.saturating_add(here)) == first(tracks)
            }
        }
    }
}

async fn behind(store: &Store, row: &NewSegment) -> Result<Behind, StoreError> {
    if let Some((start, tracks)) = store.next_of_run(row.run, row.start).await? {
        return Ok(Behind::Next(start, tracks));
    }
    Ok(match store.run(row.run).await? {
        Some(run) => run.end.map_or(Behind::Nothing, Behind::End),
        None => Behind::End(row.start),
    })
}

/// Completes a row; where its footage ends.
async fn put(
    store: &Store,
    row: NewSegment,
    file: Mended,
    reason: GapReason,
) -> Result<WallTime, StoreError> {
    let behind = behind(store, &row).await?;
    let follows = behind.follows(&row, &file);
    let closed = file.closed;
    let Some(until) = behind.until() else {
        let end = closed.end;
        store.close_segment(closed).await?;
        return Ok(end);
    };
    if until > row.start && follows {
        // As the recorder has it: a segment ends where the next one begins.
        store.close_segment(ClosedSegment { end: until, ..closed }).await?;
        return Ok(until);
    }
    // Its end is lost, or its run was ended without it when its volume was away: it is taken out, and
    // put in as what it is.
    take_out(store, &row, reason).await?;
    let end = closed.end;
    store.adopt_segments(vec![WholeSegment { opened: row, closed }]).await?;
    Ok(end)
}

/// Takes out a row, and its time out of its run.
pub(super) async fn take_out(
    store: &Store,
    row: &NewSegment,
    reason: GapReason,
) -> Result<(), StoreError> {
    let until = behind(store, row).await?.until().filter(|&until| until > row.start);
    let Some(end) = until else {
        store.delete_segment(row.id).await?;
        // Takes it out if nothing is left of it.
        if let Some(run) = store.run(row.run).await?.filter(|r| r.end == Some(r.start)) {
            store.close_run(run.id, run.start).await?;
        }
        return Ok(());
    };
    store.forget_open(row.id, end, reason).await?;
    Ok(())
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
