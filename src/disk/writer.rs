//! The writer of a volume: one thread, one queue bounded by bytes.
//!
//! # Why a thread and not async files
//!
//! tokio's files are a blocking pool underneath: a thread hop for each call and no order between
//! streams. One thread a volume is as parallel as a disk is, keeps every file's writes in order
//! without a lock, and makes "how far behind is this disk" one number: the queue's bytes.
//!
//! # When the queue is full
//!
//! The submitter is told at once ([`Refused::Full`]) and sheds whole groups of pictures: a slow
//! disk never blocks a camera's socket and never takes memory without end. Opening and closing are
//! let in above the bound (a few KiB each), or else a full queue could not be ended in order.
//!
//! # When a write fails
//!
//! The file is cut back to its last whole fragment, the owner is told once, and everything else
//! that is queued for that file is dropped. What was written before stays readable.

use std::{
    collections::{HashMap, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
};

use bytes::Bytes;
use tokio::{sync::mpsc, time::Instant};

use super::{
    OpenSegments,
    counters::VolumeCounters,
    fs::{Fs, FsFile, append_all},
    open::{Fragment, OpenSegment},
    path,
    sync::Syncer,
};
use crate::{
    id::{Role, RunId, SegmentId, Slug},
    model::NewSegment,
    proto::access_unit::Tracks,
};

/// A segment that is to be opened.
#[derive(Debug)]
pub struct Draft {
    /// Its row; `volume` and `path` are filled in when the file has its name.
    pub row: NewSegment,
    /// Camera, for the path.
    pub camera: Slug,
    /// Stream, for the path.
    pub role: Role,
    /// Its tracks.
    pub tracks: Tracks,
    /// The hub's name of its run.
    pub live_run: RunId,
    /// `ftyp` and `moov`.
    pub header: Bytes,
}

/// What became of something submitted; sent in the order of submission for each segment.
#[derive(Debug)]
pub enum Completion {
    /// The file is there and holds its header; the segment is in the registry.
    Opened(Arc<OpenSegment>),
    /// One more fragment can be read.
    Written {
        /// Of which segment.
        segment: SegmentId,
    },
    /// Writing failed; nothing more of this segment will be written.
    Failed {
        /// Which segment.
        segment: SegmentId,
        /// Whether the file was made.
        opened: bool,
        /// Why.
        source: io::Error,
    },
    /// Nothing more will be written to the segment: what was written so far is all of it.
    Finished {
        /// Which segment.
        segment: SegmentId,
    },
    /// After [`Self::Finished`]: what was written was synced.
    Closed {
        /// Which segment.
        segment: SegmentId,
        /// File size.
        bytes: u64,
        /// The sync worked; else the bytes may not survive a power cut.
        durable: bool,
    },
}

/// Where completions go.
pub type Completions = mpsc::UnboundedSender<Completion>;

/// Why a submission was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// So many bytes wait already that the disk must be too slow.
    #[error("the disk's queue is full")]
    Full,
    /// The volume was shut down, or its thread died.
    #[error("the volume is closed")]
    Stopped,
}

/// Whether a write failed because there is no room.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

#[derive(Debug)]
enum Command {
    Open { draft: Box<Draft>, completions: Completions },
    Append { segment: SegmentId, parts: Vec<Bytes>, fragment: Arc<Fragment> },
    Close { segment: SegmentId, tail: Vec<Bytes>, now: bool },
}

impl Command {
    fn cost(&self) -> usize {
        match self {
            Self::Open { draft, .. } => draft.header.len(),
            Self::Append { parts, .. } => parts.iter().map(Bytes::len).sum(),
            Self::Close { tail, .. } => tail.iter().map(Bytes::len).sum(),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    commands: VecDeque<Command>,
    /// Of the queued commands and the one being carried out.
    bytes: usize,
    stopped: bool,
}

/// The queue between streams and the thread.
#[derive(Debug)]
pub(super) struct Queue {
    limit: usize,
    state: Mutex<State>,
    wake: Condvar,
    counters: Arc<VolumeCounters>,
}

impl Queue {
    pub(super) fn new(limit: usize, counters: Arc<VolumeCounters>) -> Self {
        Self { limit, state: Mutex::default(), wake: Condvar::new(), counters }
    }

    fn submit(&self, command: Command) -> Result<(), Refused> {
        let cost = command.cost();
        let bounded = matches!(command, Command::Append { .. });
        {
            let mut state = lock(&self.state);
            if state.stopped {
                return Err(Refused::Stopped);
            }
            // One fragment larger than the whole bound still gets through an idle disk.
            if bounded && state.bytes > 0 && state.bytes + cost > self.limit {
                self.counters.refused.fetch_add(1, Relaxed);
                return Err(Refused::Full);
            }
            state.bytes += cost;
            state.commands.push_back(command);
            self.counters.queue_bytes.store(state.bytes as u64, Relaxed);
        }
        self.wake.notify_one();
        Ok(())
    }

    /// Takes no more; what is queued is still written.
    pub(super) fn stop(&self) {
        lock(&self.state).stopped = true;
        self.wake.notify_one();
    }

    /// The next command, waiting for it; `None` when stopped and empty.
    fn next(&self) -> Option<(Command, usize)> {
        let mut state = lock(&self.state);
        loop {
            if let Some(command) = state.commands.pop_front() {
                let cost = command.cost();
                return Some((command, cost));
            }
            if state.stopped {
                return None;
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self, cost: usize) {
        let mut state = lock(&self.state);
        state.bytes = state.bytes.saturating_sub(cost);
        self.counters.queue_bytes.store(state.bytes as u64, Relaxed);
    }
}

/// The right to write one segment. Dropping it without [`Self::close`] (a task that died) ends the
/// file where it is; its row stays open for recovery.
#[derive(Debug)]
pub struct SegmentWriter {
    segment: SegmentId,
    queue: Arc<Queue>,
    closed: bool,
}

impl SegmentWriter {
    pub(super) fn open(
        queue: &Arc<Queue>,
        draft: Draft,
        completions: Completions,
    ) -> Result<Self, Refused> {
        let segment = draft.row.id;
        queue.submit(Command::Open { draft: Box::new(draft), completions })?;
        Ok(Self { segment, queue: Arc::clone(queue), closed: false })
    }

    /// Queues one fragment, as the slices it is made of. `fragment` says where it will stand.
    ///
    /// # Errors
    ///
    /// [`Refused`]: nothing of it was taken.
    pub fn append(&self, parts: Vec<Bytes>, fragment: Arc<Fragment>) -> Result<(), Refused> {
        self.queue.submit(Command::Append { segment: self.segment, parts, fragment })
    }

    /// Queues the tail box and the end. [`Completion::Closed`] comes after the next sync, which
    /// does not wait for its interval when `now` is set.
    ///
    /// # Errors
    ///
    /// [`Refused::Stopped`].
    pub fn close(mut self, tail: Vec<Bytes>, now: bool) -> Result<(), Refused> {
        self.closed = true;
        self.queue.submit(Command::Close { segment: self.segment, tail, now })
    }
}

impl Drop for SegmentWriter {
    fn drop(&mut self) {
        if !self.closed {
            let close = Command::Close { segment: self.segment, tail: Vec::new(), now: false };
            // Refused only when the thread is gone, and then nothing is open any more.
            let _ = self.queue.submit(close);
        }
    }
}

#[derive(Debug)]
struct OpenFile {
    file: Arc<dyn FsFile>,
    segment: Arc<OpenSegment>,
    completions: Completions,
    /// Whole boxes written.
    len: u64,
    failed: bool,
}

/// The thread's own state.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) root: PathBuf,
    /// As rows name it.
    pub(super) name: String,
    pub(super) fs: Arc<dyn Fs>,
    pub(super) queue: Arc<Queue>,
    pub(super) syncer: Arc<Syncer>,
    pub(super) open: Arc<OpenSegments>,
    pub(super) counters: Arc<VolumeCounters>,
    pub(super) failure: Arc<super::Failure>,
}

impl Writer {
    /// Works until the queue is stopped and empty.
    pub(super) fn run(self) {
        // Also when a panic ends this thread, submitters must hear that nobody writes any more.
        let _stop = StopOnDrop(Arc::clone(&self.queue));
        let mut files: HashMap<SegmentId, OpenFile> = HashMap::new();
        while let Some((command, cost)) = self.queue.next() {
            match command {
                Command::Open { draft, completions } => {
                    self.open(&mut files, *draft, completions);
                }
                Command::Append { segment, parts, fragment } => {
                    if let Some(file) = files.get_mut(&segment) {
                        self.append(file, &parts, fragment);
                    }
                }
                Command::Close { segment, tail, now } => {
                    if let Some(file) = files.remove(&segment) {
                        self.close(file, &tail, now);
                    }
                }
            }
            self.counters.open_files.store(files.len() as u64, Relaxed);
            self.queue.done(cost);
        }
        for (_, file) in files.drain() {
            self.close(file, &[], true);
        }
    }

    fn open(
        &self,
        files: &mut HashMap<SegmentId, OpenFile>,
        draft: Draft,
        completions: Completions,
    ) {
        let id = draft.row.id;
        let header = [draft.header.clone()];
        let made = self.create(&draft).and_then(|(file, relative, absolute)| {
            match self.timed(&*file, &header) {
                Ok(()) => Ok((file, relative, absolute)),
                Err(e) => {
                    // A file without a header is nobody's footage.
                    let _ = std::fs::remove_file(&absolute);
                    Err(e)
                }
            }
        });
        let (file, relative, absolute) = match made {
            Ok(made) => made,
            Err(source) => {
                self.failure.set(&source);
                self.send(&completions, Completion::Failed { segment: id, opened: false, source });
                return;
            }
        };
        let len = draft.header.len() as u64;
        let row = NewSegment { volume: self.name.clone(), path: relative, ..draft.row };
        let segment = Arc::new(OpenSegment::new(row, draft.tracks, draft.live_run, len, absolute));
        self.open.add(Arc::clone(&segment));
        self.syncer.touch(id, &file);
        self.send(&completions, Completion::Opened(Arc::clone(&segment)));
        files.insert(id, OpenFile { file, segment, completions, len, failed: false });
    }

    /// Makes the file under the first name that is free.
    fn create(&self, draft: &Draft) -> io::Result<(Arc<dyn FsFile>, String, PathBuf)> {
        let folder = path::folder(&draft.camera, draft.role, draft.row.start);
        let absolute = self.root.join(&folder);
        self.create_folder(&absolute)?;
        let (mut n, mut pruned) = (0, 0);
        loop {
            let name = path::file_name(draft.row.start, n);
            let file = absolute.join(&name);
            match self.fs.create_file(&file) {
                Ok(made) => return Ok((made, format!("{folder}/{name}"), file)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && n < MAX_REPEATS => n += 1,
                // Somebody deleted the last file in it just now, and the empty folder with it.
                Err(e) if e.kind() == io::ErrorKind::NotFound && pruned < MAX_PRUNED => {
                    pruned += 1;
                    self.create_folder(&absolute)?;
                }
                Err(e) => return Err(e),
            }
        }
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        if self.fs.create_folder(folder)? {
            // Every level may be new.
            let below = folder.ancestors().take_while(|a| a.starts_with(&self.root));
            below.for_each(|a| self.syncer.touch_folder(a));
        } else {
            self.syncer.touch_folder(folder);
        }
        Ok(())
    }

    fn append(&self, open: &mut OpenFile, parts: &[Bytes], fragment: Arc<Fragment>) {
        if open.failed {
            return;
        }
        let segment = open.segment.opened.id;
        match self.timed(&*open.file, parts) {
            Ok(()) => {
                open.len = fragment.end_offset();
                self.failure.clear();
                self.syncer.touch(segment, &open.file);
                open.segment.push(fragment);
                self.send(&open.completions, Completion::Written { segment });
            }
            Err(source) => {
                open.failed = true;
                self.failure.set(&source);
                self.cut(open);
                let failed = Completion::Failed { segment, opened: true, source };
                self.send(&open.completions, failed);
            }
        }
    }

    fn close(&self, mut open: OpenFile, tail: &[Bytes], now: bool) {
        let tail_len: usize = tail.iter().map(Bytes::len).sum();
        if !open.failed && tail_len > 0 {
            match self.timed(&*open.file, tail) {
                Ok(()) => open.len += tail_len as u64,
                // The tail only repeats what the fragments say: the segment is whole without.
                Err(source) => {
                    self.failure.set(&source);
                    self.cut(&open);
                }
            }
        }
        open.segment.finish();
        let segment = open.segment.opened.id;
        self.send(&open.completions, Completion::Finished { segment });
        self.syncer.close(segment, open.file, open.len, open.completions, now);
    }

    fn timed(&self, file: &dyn FsFile, parts: &[Bytes]) -> io::Result<()> {
        let began = Instant::now();
        let outcome = append_all(file, parts);
        self.counters.write_latency.record(began.elapsed());
        match &outcome {
            Ok(()) => {
                let bytes: usize = parts.iter().map(Bytes::len).sum();
                self.counters.bytes_written.fetch_add(bytes as u64, Relaxed);
            }
            Err(_) => {
                self.counters.write_errors.fetch_add(1, Relaxed);
            }
        }
        outcome
    }

    fn cut(&self, open: &OpenFile) {
        if let Err(error) = open.file.truncate(open.len) {
            // Then the torn bytes stay: players stop before them, and `reindex` cuts them.
            tracing::warn!(
                segment.path = %open.segment.opened.path,
                %error,
                "cannot cut a segment back after a failed write"
            );
        }
    }

    fn send(&self, completions: &Completions, completion: Completion) {
        // A recorder that is gone has nobody left to tell.
        let _ = completions.send(completion);
    }
}

/// How often one millisecond's name may repeat before we call the folder broken.
const MAX_REPEATS: u32 = 10_000;

/// How often a folder may vanish between being made and being used.
const MAX_PRUNED: u32 = 3;

struct StopOnDrop(Arc<Queue>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What a poisoned mutex guards here is changed in steps that leave it whole.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A volume's path as rows name it.
pub(super) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
