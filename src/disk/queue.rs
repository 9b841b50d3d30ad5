//! The queue of a volume. Bounded by bytes, fair between streams, and never waited for by a stream.
//!
//! # When it is full
//!
//! The bound is for all streams of a volume together, and who is over the fair share gives way:
//! when a fragment finds no room, the stream that has most bytes waiting loses its newest fragment,
//! until there is room; and when that is the stream that asks, it is refused. So a camera that sends
//! twenty times what the others send cannot keep them from the disk, and a stream that has nothing
//! waiting always gets in. A stream that lost a fragment loses all that follow in that segment: what
//! is on disk ends with a whole fragment and without a hole, and the recorder begins anew with a key
//! frame.
//!
//! Opening and closing are let in above the bound (a few KiB each), or else a full queue could not
//! be ended in order.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    completion::{Completions, Draft},
    counters::VolumeCounters,
    open::Fragment,
};
use crate::id::{SegmentId, StreamId};

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
    Open {
        draft: Box<Draft>,
        completions: Completions,
    },
    Append {
        segment: SegmentId,
        parts: Vec<Bytes>,
        fragment: Arc<Fragment>,
    },
    /// Fragments of this segment stood here and were taken out.
    Shed {
        segment: SegmentId,
    },
    /// A sync failed: of this segment only `durable` bytes are to be trusted.
    Distrust {
        segment: SegmentId,
        durable: u64,
        why: Arc<std::io::Error>,
    },
    Close {
        segment: SegmentId,
        tail: Vec<Bytes>,
        /// So many fragments the tail is about: with fewer in the file it would lie.
        fragments: usize,
        now: bool,
    },
}

impl Command {
    fn cost(&self) -> usize {
        match self {
            Self::Open { draft, .. } => draft.header.len(),
            Self::Append { parts, .. } => parts.iter().map(Bytes::len).sum(),
            Self::Close { tail, .. } => tail.iter().map(Bytes::len).sum(),
            Self::Shed { .. } | Self::Distrust { .. } => 0,
        }
    }
}

#[derive(Debug)]
struct Queued {
    command: Command,
    stream: StreamId,
    cost: usize,
    at: Instant,
}

/// What the writer took out and has to give back with [`Queue::done`].
#[derive(Debug)]
pub(super) struct Ticket {
    stream: StreamId,
    cost: usize,
}

#[derive(Debug, Default)]
struct State {
    commands: VecDeque<Queued>,
    /// Of the queued commands and the one being carried out.
    bytes: usize,
    /// The same by stream; none is zero.
    streams: HashMap<StreamId, usize>,
    /// Segments that lost a fragment: they take no more.
    shed: HashSet<SegmentId>,
    /// Since when the one being carried out has waited.
    under_way: Option<Instant>,
    stopped: bool,
}

impl State {
    fn of(&self, stream: StreamId) -> usize {
        self.streams.get(&stream).copied().unwrap_or_default()
    }

    fn add(&mut self, stream: StreamId, cost: usize) {
        self.bytes += cost;
        if cost > 0 {
            *self.streams.entry(stream).or_default() += cost;
        }
    }

    fn take(&mut self, stream: StreamId, cost: usize) {
        self.bytes = self.bytes.saturating_sub(cost);
        if let Some(bytes) = self.streams.get_mut(&stream) {
            *bytes = bytes.saturating_sub(cost);
            if *bytes == 0 {
                self.streams.remove(&stream);
            }
        }
    }

    /// Takes the newest fragment of `stream` out; says how large it was.
    fn evict(&mut self, stream: StreamId) -> Option<usize> {
        let appends =
            |q: &Queued| q.stream == stream && matches!(q.command, Command::Append { .. });
        let at = self.commands.iter().rposition(appends)?;
        let queued = self.commands.get_mut(at)?;
        let Command::Append { segment, .. } = queued.command else { return None };
        let cost = std::mem::take(&mut queued.cost);
        if self.shed.insert(segment) {
            queued.command = Command::Shed { segment };
        } else {
            self.commands.remove(at);
        }
        self.take(stream, cost);
        Some(cost)
    }

    /// Makes room for a fragment of `stream`, or says that it is the one to give way.
    fn make_room(&mut self, stream: StreamId, cost: usize, limit: usize) -> Result<u64, Refused> {
        let mut evicted = 0;
        // One fragment larger than the whole bound still gets through an idle disk.
        while self.bytes > 0 && self.bytes + cost > limit {
            let own = self.of(stream) + cost;
            let most = self.streams.iter().max_by_key(|(s, bytes)| (**bytes, **s));
            let most = most.filter(|(s, bytes)| **s != stream && **bytes > own).map(|(s, _)| *s);
            most.and_then(|s| self.evict(s)).ok_or(Refused::Full)?;
            evicted += 1;
        }
        Ok(evicted)
    }
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

    pub(super) fn submit(&self, stream: StreamId, command: Command) -> Result<(), Refused> {
        let cost = command.cost();
        {
            let mut state = lock(&self.state);
            if state.stopped {
                return Err(Refused::Stopped);
            }
            if let Command::Append { segment, .. } = &command {
                let room = if state.shed.contains(segment) {
                    Err(Refused::Full)
                } else {
                    state.make_room(stream, cost, self.limit)
                };
                match room {
                    Ok(evicted) => self.counters.evicted.fetch_add(evicted, Relaxed),
                    Err(refused) => {
                        self.counters.refused.fetch_add(1, Relaxed);
                        self.counters.queue_bytes.store(state.bytes as u64, Relaxed);
                        return Err(refused);
                    }
                };
            }
            if let Command::Close { segment, .. } = &command {
                state.shed.remove(segment);
            }
            state.add(stream, cost);
            state.commands.push_back(Queued { command, stream, cost, at: Instant::now() });
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
    pub(super) fn next(&self) -> Option<(Command, Ticket)> {
        let mut state = lock(&self.state);
        loop {
            if let Some(Queued { command, stream, cost, at }) = state.commands.pop_front() {
                state.under_way = Some(at);
                return Some((command, Ticket { stream, cost }));
            }
            if state.stopped {
                return None;
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn done(&self, ticket: &Ticket) {
        let mut state = lock(&self.state);
        state.under_way = None;
        state.take(ticket.stream, ticket.cost);
        self.counters.queue_bytes.store(state.bytes as u64, Relaxed);
    }

    /// Whether it is at most half full: then a stream that was shed may begin again.
    pub(super) fn is_relaxed(&self) -> bool {
        lock(&self.state).bytes <= self.limit / 2
    }

    /// How long the oldest thing in it has waited.
    pub(super) fn age(&self) -> Duration {
        let state = lock(&self.state);
        let oldest = state.under_way.or_else(|| state.commands.front().map(|q| q.at));
        oldest.map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// Bytes of footage that wait.
    pub(super) fn bytes(&self) -> usize {
        lock(&self.state).bytes
    }
}

/// The right to write one segment. Dropping it without [`Self::close`] (a task that died) ends the
/// file where it is; its row stays open for recovery.
#[derive(Debug)]
pub struct SegmentWriter {
    segment: SegmentId,
    stream: StreamId,
    queue: Arc<Queue>,
    counters: Arc<VolumeCounters>,
    closed: bool,
}

impl SegmentWriter {
    pub(super) fn open(
        queue: &Arc<Queue>,
        counters: &Arc<VolumeCounters>,
        draft: Draft,
        completions: Completions,
    ) -> Result<Self, Refused> {
        let (segment, stream) = (draft.row.id, draft.row.stream);
        queue.submit(stream, Command::Open { draft: Box::new(draft), completions })?;
        counters.assigned.fetch_add(1, Relaxed);
        let (queue, counters) = (Arc::clone(queue), Arc::clone(counters));
        Ok(Self { segment, stream, queue, counters, closed: false })
    }

    /// Queues one fragment, as the slices it is made of. `fragment` says where it will stand.
    ///
    /// # Errors
    ///
    /// [`Refused`]: nothing of it was taken.
    pub fn append(&self, parts: Vec<Bytes>, fragment: Arc<Fragment>) -> Result<(), Refused> {
        let append = Command::Append { segment: self.segment, parts, fragment };
        self.queue.submit(self.stream, append)
    }

    /// Queues the tail box, which is written if the file holds so many `fragments` then, and the
    /// end. [`Completion::Closed`](super::Completion::Closed) comes
    /// after the next sync, which does not wait for its interval when `now` is set.
    ///
    /// # Errors
    ///
    /// [`Refused::Stopped`].
    pub fn close(mut self, tail: Vec<Bytes>, fragments: usize, now: bool) -> Result<(), Refused> {
        self.closed = true;
        let close = Command::Close { segment: self.segment, tail, fragments, now };
        self.queue.submit(self.stream, close)
    }
}

impl Drop for SegmentWriter {
    fn drop(&mut self) {
        self.counters.assigned.fetch_sub(1, Relaxed);
        if !self.closed {
            let (segment, tail) = (self.segment, Vec::new());
            // Whoever takes its place waits for the file.
            let close = Command::Close { segment, tail, fragments: 0, now: true };
            // Refused only when the thread is gone, and then nothing is open any more.
            let _ = self.queue.submit(self.stream, close);
        }
    }
}

/// What a poisoned mutex guards here is changed in steps that leave it whole.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
