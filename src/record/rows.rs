//! The index side of a recorder: rows in the order in which things happened, whatever the
//! database does meanwhile.
//!
//! Recording never waits for SQLite and never ends because of it. Rows wait in a queue, and the
//! first is tried again with a growing pause for as long as the database may come back by itself:
//! full, locked, read-only.
//!
//! # When too many wait
//!
//! The files say everything that a row says, so a row need not be kept to be made later. Beyond
//! [`SEGMENT_ROWS`] a stream gives up the rows of its oldest segments and notes from when on: when
//! the database works again, the files from there on that have no row are adopted
//! ([`adopt`]). What begins and ends runs stays, since the index cannot do without it;
//! it is a few rows, unless a camera comes and goes all the while: beyond [`ROWS`] those too are
//! given up and made of the files, and counted. So memory is bounded by streams, and no footage is
//! lost to the index.
//!
//! When the process ends first, the next one looks for files that are newer than the newest row of
//! their stream: nothing of this needs to be remembered.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{adopt, counters::RecorderCounters};
pub(super) use crate::task::chain;
use crate::{
    clock::Clock,
    disk::Volumes,
    id::{Role, RunId, SegmentId, Slug, StreamId},
    model::{ClosedSegment, Gap, NewSegment, RunRow},
    proto::{reason::GapReason, time::WallTime},
    store::{Store, StoreError},
};

/// Rows of segments that a stream may have waiting: about an hour of them.
const SEGMENT_ROWS: usize = 128;
/// Rows of all kinds that it may have waiting.
const ROWS: usize = 512;
/// Tries of one row when stopping.
const LAST_ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Something to be said to the index.
#[derive(Clone, Debug)]
pub(super) enum Row {
    /// A run begins with this segment; the gap before it ends.
    BeginRun(RunRow, NewSegment),
    /// A run whose first segment will be adopted begins.
    OpenRun(RunRow),
    OpenSegment(NewSegment),
    CloseSegment(ClosedSegment),
    /// Nobody knows how much of it is there: its row stays open.
    LeaveOpen(SegmentId),
    /// Nothing of it is there.
    Forget(SegmentId),
    /// A run ends, and a gap begins.
    EndRun(RunId, WallTime, GapReason),
    /// The footage of a segment ends earlier than was thought, in the middle of its run or at its
    /// end.
    CutRun(SegmentId, WallTime, GapReason),
    OpenGap(Gap),
    /// From here on the gap that lasts has another reason.
    TurnGap(WallTime, GapReason),
}

impl Row {
    /// The segment that it is about, and that could be adopted instead.
    const fn of_segment(&self) -> bool {
        matches!(self, Self::BeginRun(..) | Self::OpenSegment(_) | Self::CloseSegment(_))
    }

    /// The segment of which no more comes after it.
    const fn closes(&self) -> Option<SegmentId> {
        match self {
            Self::CloseSegment(ClosedSegment { id, .. })
            | Self::LeaveOpen(id)
            | Self::Forget(id) => Some(*id),
            _ => None,
        }
    }
}

/// Whose rows.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) slug: Slug,
    pub(super) role: Role,
    pub(super) stream: StreamId,
}

#[derive(Debug, Default)]
struct State {
    rows: VecDeque<Row>,
    /// How many of them are of segments.
    of_segments: usize,
    /// Files from here on may have no row.
    adopt_from: Option<WallTime>,
    /// Segments whose opening was given up: their closing says nothing without it.
    given_up: HashSet<SegmentId>,
    /// The other end was dropped.
    ended: bool,
}

impl State {
    fn push(&mut self, row: Row) {
        self.of_segments += usize::from(row.of_segment());
        self.rows.push_back(row);
    }

    fn pop(&mut self) -> Option<Row> {
        let row = self.rows.pop_front()?;
        self.of_segments -= usize::from(row.of_segment());
        Some(row)
    }

    fn adopt(&mut self, from: WallTime) {
        self.adopt_from = Some(self.adopt_from.map_or(from, |at| at.min(from)));
    }

    /// Gives up rows until the bounds hold; says how many, and which segments had closed.
    fn shrink(&mut self) -> (u64, Vec<SegmentId>) {
        let (mut given_up, mut closed) = (0, Vec::new());
        if self.of_segments > SEGMENT_ROWS {
            given_up += self.give_up_segments(&mut closed);
        }
        while self.rows.len() > ROWS {
            let Some(row) = self.pop() else { break };
            given_up += 1;
            match row {
                Row::BeginRun(run, _) | Row::OpenRun(run) => self.adopt(run.start),
                Row::CloseSegment(c) => closed.push(c.id),
                _ => {}
            }
        }
        (given_up, closed)
    }

    /// Gives up the rows of the older half of the segments.
    fn give_up_segments(&mut self, all_closed: &mut Vec<SegmentId>) -> u64 {
        let (mut left, mut count) = (SEGMENT_ROWS / 2, 0);
        let rows = std::mem::take(&mut self.rows);
        self.of_segments = 0;
        for row in rows {
            if !row.of_segment() || left == 0 {
                let orphan = matches!(&row, Row::CloseSegment(c) if self.given_up.remove(&c.id));
                if orphan {
                    all_closed.extend(row.closes());
                } else {
                    self.push(row);
                }
                continue;
            }
            left -= 1;
            count += 1;
            all_closed.extend(row.closes());
            match row {
                Row::BeginRun(run, segment) => {
                    self.adopt(segment.start);
                    self.given_up.insert(segment.id);
                    self.push(Row::OpenRun(run));
                }
                Row::OpenSegment(segment) => {
                    self.adopt(segment.start);
                    self.given_up.insert(segment.id);
                }
                Row::CloseSegment(closed) => {
                    if !self.given_up.remove(&closed.id) {
                        // Its row stands open; it is completed from its file.
                        self.adopt(closed.end);
                    }
                }
                other => self.push(other),
            }
        }
        count
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    wake: Notify,
}

impl Shared {
    /// Guards moves of rows, never held over an await.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the recorder puts rows.
#[derive(Debug)]
pub(super) struct Rows {
    shared: Arc<Shared>,
    counters: Arc<RecorderCounters>,
    volumes: Arc<Volumes>,
    stream: StreamId,
}

/// Writes them.
#[derive(Debug)]
pub(super) struct RowWriter {
    shared: Arc<Shared>,
    counters: Arc<RecorderCounters>,
    place: Place,
    store: Store,
    clock: Clock,
    volumes: Arc<Volumes>,
}

/// Both ends.
pub(super) fn rows(
    place: Place,
    store: Store,
    clock: Clock,
    volumes: Arc<Volumes>,
    counters: Arc<RecorderCounters>,
) -> (Rows, RowWriter) {
    let shared = Arc::<Shared>::default();
    let rows = Rows {
        shared: Arc::clone(&shared),
        counters: Arc::clone(&counters),
        volumes: Arc::clone(&volumes),
        stream: place.stream,
    };
    (rows, RowWriter { shared, counters, place, store, clock, volumes })
}

impl Rows {
    pub(super) fn put(&self, row: Row) {
        let mut state = self.shared.lock();
        let swallowed = row.closes().filter(|id| state.given_up.remove(id));
        let (given_up, mut closed) = match (swallowed, row) {
            // Its file is complete now and will be found.
            (Some(id), Row::CloseSegment(row)) => {
                state.adopt(row.end);
                (0, vec![id])
            }
            (Some(id), _) => (0, vec![id]),
            (None, row) => {
                state.push(row);
                state.shrink()
            }
        };
        let waiting = state.rows.len() as u64;
        drop(state);
        // Memory is not to pile up for what files say.
        for id in closed.drain(..) {
            self.volumes.open_segments().remove(self.stream, id);
        }
        self.counters.rows_waiting.store(waiting, Relaxed);
        if given_up > 0 {
            self.counters.rows_lost.fetch_add(given_up, Relaxed);
            tracing::warn!(
                stream = %self.stream,
                rows = given_up,
                "the index is too far behind: these will be made from the files"
            );
        }
        self.shared.wake.notify_one();
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.wake.notify_one();
    }
}

/// What became of a row.
enum Tried {
    Written,
    /// It cannot be written now, nor later.
    Refused,
    /// There is no more time.
    GivenUp,
}

impl RowWriter {
    /// Writes rows until the other end is dropped and the queue is empty.
    pub(super) async fn run(self, stopping: CancellationToken) {
        loop {
            let (row, ended) = {
                let mut state = self.shared.lock();
                (state.pop(), state.ended)
            };
            self.counters.rows_waiting.store(self.shared.lock().rows.len() as u64, Relaxed);
            let Some(row) = row else {
                self.adopt_what_was_given_up(&stopping).await;
                if ended {
                    return;
                }
                self.shared.wake.notified().await;
                continue;
            };
            match self.write(&row, &stopping).await {
                Tried::Written => {}
                Tried::Refused => self.refused(&row),
                Tried::GivenUp => {
                    // The next start finds the files; with the database gone, no row gets through.
                    let rest = std::mem::take(&mut self.shared.lock().rows);
                    self.forget(std::iter::once(&row).chain(&rest));
                    continue;
                }
            }
            self.forget(std::iter::once(&row));
        }
    }

    /// Takes segments that are complete out of the registry: also when their rows were not written,
    /// since their files say the rest, and memory is not to pile up.
    fn forget<'a>(&self, rows: impl Iterator<Item = &'a Row>) {
        for id in rows.filter_map(Row::closes) {
            self.volumes.open_segments().remove(self.place.stream, id);
        }
    }

    /// A row that the index does not take: what it says is made from the files.
    fn refused(&self, row: &Row) {
        self.counters.rows_lost.fetch_add(1, Relaxed);
        let mut state = self.shared.lock();
        match row {
            Row::BeginRun(_, segment) | Row::OpenSegment(segment) => {
                state.adopt(segment.start);
                state.given_up.insert(segment.id);
            }
            Row::CloseSegment(closed) => state.adopt(closed.end),
            _ => {}
        }
    }

    async fn adopt_what_was_given_up(&self, stopping: &CancellationToken) {
        let Some(from) = self.shared.lock().adopt_from else { return };
        if stopping.is_cancelled() {
            return;
        }
        match adopt::adopt(&self.store, &self.volumes, &self.place, from, self.clock.now()).await {
            Ok(adopted) => {
                self.shared.lock().adopt_from = None;
                self.counters.adopted.fetch_add(adopted, Relaxed);
                tracing::info!(stream = %self.place.stream, adopted, "rows made from files");
            }
            Err(error) => {
                tracing::warn!(stream = %self.place.stream, error = chain(&error), "rows not made from files");
                tokio::select! {
                    () = sleep(LONGEST_PAUSE) => self.shared.wake.notify_one(),
                    () = self.shared.wake.notified() => self.shared.wake.notify_one(),
                }
            }
        }
    }

    async fn write(&self, row: &Row, stopping: &CancellationToken) -> Tried {
        let mut pause = FIRST_PAUSE;
        let mut last_attempts = 0;
        loop {
            let Err(error) = self.attempt(row.clone()).await else { return Tried::Written };
            let closed = matches!(error, StoreError::Closed);
            let transient = closed || error.is_transient();
            let error = chain(&error);
            let stream = self.place.stream;
            if !transient {
                tracing::error!(%stream, ?row, %error, "the index does not take a row");
                return Tried::Refused;
            }
            last_attempts += u32::from(stopping.is_cancelled());
            if last_attempts >= LAST_ATTEMPTS || (closed && stopping.is_cancelled()) {
                self.counters.rows_lost.fetch_add(1, Relaxed);
                tracing::error!(%stream, %error, "rows not written: the next start makes them from the files");
                return Tried::GivenUp;
            }
            self.counters.rows_retried.fetch_add(1, Relaxed);
            tracing::warn!(%stream, %error, "row not written, trying again");
            tokio::select! {
                () = sleep(pause) => {}
                // Then in quick succession.
                () = stopping.cancelled(), if pause > FIRST_PAUSE => {}
            }
            pause =
                if stopping.is_cancelled() { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        }
    }

    async fn attempt(&self, row: Row) -> Result<(), StoreError> {
        let (store, stream) = (&self.store, self.place.stream);
        match row {
            Row::BeginRun(run, segment) => store.begin_run(run, segment).await,
            Row::OpenRun(run) => {
                let start = run.start;
                store.open_run(run).await?;
                store.close_gap(stream, start).await
            }
            Row::OpenSegment(segment) => store.open_segment(segment).await,
            Row::CloseSegment(closed) => store.close_segment(closed).await,
            Row::LeaveOpen(_) => Ok(()),
            Row::Forget(segment) => store.delete_segment(segment).await,
            Row::EndRun(run, end, reason) => {
                store.end_run(run, end, Gap { stream, start: end, end: None, reason }).await
            }
            Row::CutRun(segment, end, reason) => {
                store.cut_run(segment, end, reason, RunId::generate(&self.clock)).await
            }
            Row::OpenGap(gap) => store.open_gap(gap).await,
            Row::TurnGap(at, reason) => {
                store.turn_gap(stream, at, reason, |_| true).await.map(drop)
            }
        }
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
