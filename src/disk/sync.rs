//! The sync thread of a volume: what was written becomes durable every interval, and the writer
//! never waits for it.
//!
//! Few dirty files are synced one by one (`fdatasync`); above [`ONE_BY_ONE`] one `syncfs` is
//! cheaper than many waits for the same journal. New directory entries are synced too: a file
//! whose name is lost is lost.
//!
//! A closed segment's owner hears of it only after the sync that covers its last byte. So a row
//! never says "complete" of bytes that a power cut can still take: such a row is still open then,
//! and recovery looks at the file.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    counters::VolumeCounters,
    fs::{Fs, FsFile},
    queue::{Completion, Completions},
};
use crate::id::SegmentId;

/// Up to so many dirty files are synced each on its own.
pub(super) const ONE_BY_ONE: usize = 16;

#[derive(Debug)]
struct DirtyFile {
    file: Arc<dyn FsFile>,
    closed: Option<(u64, Completions)>,
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<SegmentId, DirtyFile>,
    folders: BTreeSet<PathBuf>,
    /// Sync without waiting for the interval.
    now: bool,
    stopped: bool,
}

/// What is dirty, shared by the writer and the sync thread.
#[derive(Debug)]
pub(super) struct Syncer {
    root: PathBuf,
    fs: Arc<dyn Fs>,
    interval: Duration,
    state: Mutex<State>,
    wake: Condvar,
    counters: Arc<VolumeCounters>,
    failure: Arc<super::Failure>,
}

impl Syncer {
    pub(super) fn new(
        root: PathBuf,
        fs: Arc<dyn Fs>,
        interval: Duration,
        counters: Arc<VolumeCounters>,
        failure: Arc<super::Failure>,
    ) -> Self {
        let (state, wake) = (Mutex::default(), Condvar::new());
        Self { root, fs, interval, state, wake, counters, failure }
    }

    /// `file` has bytes that are not durable.
    pub(super) fn touch(&self, segment: SegmentId, file: &Arc<dyn FsFile>) {
        let dirty = || DirtyFile { file: Arc::clone(file), closed: None };
        self.lock().files.entry(segment).or_insert_with(dirty);
    }

    /// `folder` has entries that are not durable.
    pub(super) fn touch_folder(&self, folder: &Path) {
        self.lock().folders.insert(folder.to_owned());
    }

    /// `file` is complete; its owner wants to hear when it is durable.
    pub(super) fn close(
        &self,
        segment: SegmentId,
        file: Arc<dyn FsFile>,
        bytes: u64,
        completions: Completions,
        now: bool,
    ) {
        let mut state = self.lock();
        state.files.insert(segment, DirtyFile { file, closed: Some((bytes, completions)) });
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
        loop {
            let (files, folders, stopped) = {
                let idle = |s: &mut State| !s.now && !s.stopped;
                let waited = self.wake.wait_timeout_while(self.lock(), self.interval, idle);
                let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
                state.now = false;
                (
                    std::mem::take(&mut state.files),
                    std::mem::take(&mut state.folders),
                    state.stopped,
                )
            };
            self.round(files, &folders);
            if stopped {
                return;
            }
        }
    }

    fn round(&self, files: HashMap<SegmentId, DirtyFile>, folders: &BTreeSet<PathBuf>) {
        if let Ok(space) = self.fs.space(&self.root) {
            self.counters.free_bytes.store(space.free, Relaxed);
            self.counters.total_bytes.store(space.total, Relaxed);
        }
        if files.is_empty() && folders.is_empty() {
            return;
        }
        let began = Instant::now();
        let whole = (files.len() > ONE_BY_ONE).then(|| self.checked(self.fs.sync_all(&self.root)));
        let mut closed = Vec::new();
        for (segment, dirty) in files {
            let durable = whole.unwrap_or_else(|| self.checked(dirty.file.sync()));
            if let Some((bytes, completions)) = dirty.closed {
                closed.push((completions, Completion::Closed { segment, bytes, durable }));
            }
        }
        if whole.is_none() {
            for folder in folders {
                self.checked(self.fs.sync_folder(folder));
            }
        }
        self.counters.sync_latency.record(began.elapsed());
        // Last: a file is durable only when its name is.
        for (completions, completion) in closed {
            let _ = completions.send(completion);
        }
    }

    fn checked(&self, outcome: std::io::Result<()>) -> bool {
        if let Err(error) = &outcome {
            self.counters.sync_errors.fetch_add(1, Relaxed);
            self.failure.set(error);
            tracing::error!(volume = %self.root.display(), %error, "sync failed");
        }
        outcome.is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
