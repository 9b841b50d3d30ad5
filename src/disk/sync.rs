//! The sync thread of a volume: what was written becomes durable every interval, and the writer
//! never waits for it.
//!
//! Few dirty files are synced one by one (`fdatasync`); above [`ONE_BY_ONE`] one `syncfs` is
//! cheaper than many waits for the same journal. New directory entries are synced too, up to the
//! volume's root: a file whose name is lost is lost.
//!
//! A power cut takes what came after the last sync. So that this is no more than the interval that
//! was asked for, the thread rests for less than that: a fragment may have waited for a second
//! before it was written, and a sync takes its time.
//!
//! A closed segment's owner hears of it only after the sync that covers its last byte and its name.
//! So a row never says "complete" of bytes that a power cut can still take: such a row is still open
//! then, and recovery looks at the file.
//!
//! # When a sync fails
//!
//! The system may have thrown away what it could not write, and a later sync that works says
//! nothing about it. So of that file only what the last good sync covered is trusted: it is cut
//! back to there, its open segment ends, and its owner is told how many fragments are left. That
//! costs at most what a power cut costs, and what the index says is on the disk is there. A failed
//! `syncfs` does not say which file it was; then each is asked by itself.
//!
//! A folder that cannot be synced stays dirty, and nothing that was closed meanwhile is called
//! durable before it could.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    completion::{Completion, Completions},
    fs::FsFile,
    ground::Ground,
    open::OpenSegment,
    queue::{Command, Queue},
    state::VolumeState,
};
use crate::id::{SegmentId, StreamId};

/// Up to so many dirty files are synced each on its own.
pub(super) const ONE_BY_ONE: usize = 16;
/// What a power cut takes beyond what waits for a sync: a fragment may be so old when it is written.
const WRITTEN_AFTER: Duration = Duration::from_secs(1);

/// A segment that was closed and waits to be durable.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) segment: Arc<OpenSegment>,
    pub(super) completions: Completions,
    /// What the file holds is known: neither did a cut fail, nor a sync unnoticed.
    pub(super) known: bool,
}

#[derive(Debug)]
struct DirtyFile {
    file: Arc<dyn FsFile>,
    stream: StreamId,
    /// Whole boxes written.
    len: u64,
    closed: Option<Closed>,
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<SegmentId, DirtyFile>,
    folders: BTreeSet<PathBuf>,
    /// So many bytes of an open segment are durable.
    durable: HashMap<SegmentId, u64>,
    /// Of these a sync failed, and the writer has not yet cut them back.
    suspect: HashMap<SegmentId, Arc<io::Error>>,
    /// Sync without waiting for the interval.
    now: bool,
    stopped: bool,
}

/// What is dirty, shared by the writer and the sync thread.
#[derive(Debug)]
pub(super) struct Syncer {
    ground: Arc<Ground>,
    queue: Arc<Queue>,
    interval: Duration,
    state: Mutex<State>,
    wake: Condvar,
}

impl Syncer {
    pub(super) fn new(ground: Arc<Ground>, queue: Arc<Queue>, interval: Duration) -> Self {
        Self { ground, queue, interval, state: Mutex::default(), wake: Condvar::new() }
    }

    /// `file` has `len` bytes, not all of them durable.
    pub(super) fn touch(&self, segment: &OpenSegment, file: &Arc<dyn FsFile>, len: u64) {
        let (id, stream) = (segment.opened.id, segment.opened.stream);
        let fresh = || DirtyFile { file: Arc::clone(file), stream, len, closed: None };
        self.lock().files.entry(id).or_insert_with(fresh).len = len;
    }

    /// `folder` has entries that are not durable.
    pub(super) fn touch_folder(&self, folder: &Path) {
        self.lock().folders.insert(folder.to_owned());
    }

    /// The writer has cut a segment back of which a sync had failed.
    pub(super) fn cut(&self, segment: SegmentId) {
        self.lock().suspect.remove(&segment);
    }

    /// `file` is complete; its owner wants to hear when it is durable.
    pub(super) fn close(&self, file: Arc<dyn FsFile>, len: u64, closed: Closed, now: bool) {
        let (id, stream) = (closed.segment.opened.id, closed.segment.opened.stream);
        let mut state = self.lock();
        state.files.insert(id, DirtyFile { file, stream, len, closed: Some(closed) });
        state.now |= now;
        drop(state);
        if now {
            self.wake.notify_one();
        }
    }

    /// Asks for a round now.
    pub(super) fn sync_now(&self) {
        self.lock().now = true;
        self.wake.notify_one();
    }

    /// Lets the thread end after one more round.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.wake.notify_one();
    }

    /// Works until stopped.
    pub(super) fn run(&self) {
        let mut took = Duration::ZERO;
        loop {
            let rest = self.interval.saturating_sub(WRITTEN_AFTER + took).max(self.interval / 4);
            let (files, folders, stopped) = {
                let idle = |s: &mut State| !s.now && !s.stopped;
                let waited = self.wake.wait_timeout_while(self.lock(), rest, idle);
                let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
                state.now = false;
                (
                    std::mem::take(&mut state.files),
                    std::mem::take(&mut state.folders),
                    state.stopped,
                )
            };
            let began = Instant::now();
            let round = AssertUnwindSafe(|| self.round(files, folders, stopped));
            if catch_unwind(round).is_err() {
                // Whose segments these were waits in vain: their rows stay open for recovery.
                self.ground.counters.panics.fetch_add(1, Relaxed);
                let why = "its sync thread panicked".to_owned();
                self.ground.availability.set(VolumeState::Failing, Some(why));
            }
            took = began.elapsed();
            if stopped {
                return;
            }
        }
    }

    fn round(&self, files: HashMap<SegmentId, DirtyFile>, folders: BTreeSet<PathBuf>, last: bool) {
        if files.is_empty() && folders.is_empty() {
            return;
        }
        let ground = &*self.ground;
        let began = Instant::now();
        // One that fails leaves the question which file it was: each is asked below.
        let whole =
            files.len() > ONE_BY_ONE && { self.checked(ground.fs.sync_all(&ground.root)).is_ok() };
        let mut closed = Vec::new();
        for (id, dirty) in files {
            let synced = if whole { Ok(()) } else { self.checked(dirty.file.sync()) };
            let suspect = self.lock().suspect.get(&id).cloned();
            match (synced, suspect, dirty.closed) {
                (Ok(()), None, None) => {
                    self.lock().durable.insert(id, dirty.len);
                }
                (Ok(()), None, Some(owner)) => closed.push((id, dirty.file, dirty.len, owner)),
                // The writer is about to cut it.
                (Ok(()), Some(_), None) => {}
                (Err(why), _, None) => self.distrust(id, dirty.stream, why),
                (_, _, Some(owner)) => {
                    let known = owner.known;
                    let (len, owner) = self.cut_closed(id, &*dirty.file, owner);
                    let known = known && self.checked(dirty.file.sync()).is_ok();
                    closed.push((id, dirty.file, len, Closed { known, ..owner }));
                }
            }
        }
        let mut named = true;
        if !whole {
            for folder in folders {
                // A folder that was pruned has no entries to sync.
                let gone = |e: &Arc<io::Error>| e.kind() == io::ErrorKind::NotFound;
                let synced = ground.fs.sync_folder(&folder);
                let synced = match synced {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Arc::new(e)),
                    other => self.checked(other),
                };
                if synced.is_err_and(|e| !gone(&e)) {
                    named = false;
                    self.lock().folders.insert(folder);
                }
            }
        }
        ground.counters.sync_latency.record(began.elapsed());
        // Last: a file is durable only when its name is.
        for (id, file, len, owner) in closed {
            if !named && !last {
                let stream = owner.segment.opened.stream;
                let dirty = DirtyFile { file, stream, len, closed: Some(owner) };
                self.lock().files.insert(id, dirty);
                continue;
            }
            self.lock().durable.remove(&id);
            let Closed { segment, completions, known } = owner;
            let kept = segment.progress().fragments;
            let durable = known && named;
            segment.settle();
            let told = Completion::Closed { segment: id, bytes: len, kept, durable };
            let _ = completions.send(told);
        }
    }

    /// Has the writer end an open segment and cut it back.
    fn distrust(&self, segment: SegmentId, stream: StreamId, why: Arc<io::Error>) {
        let durable = {
            let mut state = self.lock();
            state.suspect.insert(segment, Arc::clone(&why));
            state.durable.get(&segment).copied().unwrap_or_default()
        };
        // Refused only when the writer has ended, and with it all segments were closed.
        let _ = self.queue.submit(stream, Command::Distrust { segment, durable, why });
    }

    /// Cuts back a segment that nobody writes to any more; says where it ends now.
    fn cut_closed(&self, id: SegmentId, file: &dyn FsFile, mut owner: Closed) -> (u64, Closed) {
        let durable = {
            let mut state = self.lock();
            state.suspect.remove(&id);
            state.durable.get(&id).copied().unwrap_or_default()
        };
        self.ground.counters.distrusted.fetch_add(1, Relaxed);
        owner.known &= file.truncate(durable).is_ok();
        owner.segment.keep(durable);
        (durable, owner)
    }

    fn checked(&self, outcome: io::Result<()>) -> Result<(), Arc<io::Error>> {
        outcome.map_err(|error| {
            self.ground.counters.sync_errors.fetch_add(1, Relaxed);
            tracing::error!(volume = %self.ground.name, %error, "sync failed");
            self.ground.availability.failed(&error);
            Arc::new(error)
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
