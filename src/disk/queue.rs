//! The queue of a volume: what streams hand over and what they hear back. Bounded by bytes, and
//! never waited for by a stream.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    counters::VolumeCounters,
    open::{Fragment, OpenSegment},
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

#[derive(Debug)]
pub(super) enum Command {
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
    pub(super) fn next(&self) -> Option<(Command, usize)> {
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

    pub(super) fn done(&self, cost: usize) {
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

/// What a poisoned mutex guards here is changed in steps that leave it whole.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
