//! The index side of a recorder: rows in the order in which things happened, whatever the
//! database does meanwhile.
//!
//! Recording never waits for SQLite and never ends because of it. Rows wait in a bounded queue
//! ([`QUEUE`]: more than an hour of them); the first is tried again and again with a growing pause.
//! When the queue is full the newest is given up, and after [`ATTEMPTS`] the oldest: it is logged
//! and counted. The files still say everything: a row that was left open is completed at the next
//! start, and one that is missing is made by `vedette check --repair`.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

use super::counters::RecorderCounters;
use crate::{
    disk::Volumes,
    id::{RunId, StreamId},
    model::{ClosedSegment, Gap, NewSegment, RunRow},
    proto::time::WallTime,
    store::{Store, StoreError},
};

/// Rows that may wait.
const QUEUE: usize = 256;
/// Tries of one row while recording.
const ATTEMPTS: u32 = 20;
/// Tries of one row when stopping.
const LAST_ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Something to be said to the index.
#[derive(Clone, Debug)]
pub(super) enum Row {
    OpenRun(RunRow),
    OpenSegment(NewSegment),
    CloseSegment(ClosedSegment),
    CloseRun(RunId, WallTime),
    OpenGap(Gap),
    CloseGap(WallTime),
}

/// Where the recorder puts rows.
#[derive(Debug)]
pub(super) struct Rows {
    queue: mpsc::Sender<Row>,
    counters: Arc<RecorderCounters>,
    stream: StreamId,
}

/// Writes them.
#[derive(Debug)]
pub(super) struct RowWriter {
    queue: mpsc::Receiver<Row>,
    counters: Arc<RecorderCounters>,
    stream: StreamId,
    store: Store,
    volumes: Arc<Volumes>,
}

/// Both ends.
pub(super) fn rows(
    stream: StreamId,
    store: Store,
    volumes: Arc<Volumes>,
    counters: Arc<RecorderCounters>,
) -> (Rows, RowWriter) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let rows = Rows { queue: sender, counters: Arc::clone(&counters), stream };
    (rows, RowWriter { queue, counters, stream, store, volumes })
}

impl Rows {
    pub(super) fn put(&self, row: Row) {
        self.counters.rows_waiting.fetch_add(1, Relaxed);
        if let Err(error) = self.queue.try_send(row) {
            self.counters.rows_waiting.fetch_sub(1, Relaxed);
            self.counters.rows_lost.fetch_add(1, Relaxed);
            tracing::error!(stream = %self.stream, %error, "the index is too far behind: row lost");
        }
    }
}

impl RowWriter {
    /// Writes rows until the other end is dropped and the queue is empty.
    pub(super) async fn run(mut self, stopping: CancellationToken) {
        while let Some(row) = self.queue.recv().await {
            self.write(&row, &stopping).await;
            self.counters.rows_waiting.fetch_sub(1, Relaxed);
            if let Row::CloseSegment(closed) = row {
                // Also when that failed: its file says the rest, and memory is not to pile up.
                self.volumes.open_segments().remove(self.stream, closed.id);
            }
        }
    }

    async fn write(&self, row: &Row, stopping: &CancellationToken) {
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let Err(error) = self.attempt(row.clone()).await else { return };
            let most = if stopping.is_cancelled() { LAST_ATTEMPTS } else { ATTEMPTS };
            let error = chain(&error);
            if attempt >= most {
                self.counters.rows_lost.fetch_add(1, Relaxed);
                tracing::error!(stream = %self.stream, ?row, %error, "row given up");
                return;
            }
            tracing::warn!(stream = %self.stream, %error, attempt, "row not written, trying again");
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
        let store = &self.store;
        match row {
            Row::OpenRun(run) => store.open_run(run).await,
            Row::OpenSegment(segment) => store.open_segment(segment).await,
            Row::CloseSegment(closed) => store.close_segment(closed).await,
            Row::CloseRun(run, end) => store.close_run(run, end).await,
            Row::OpenGap(gap) => store.open_gap(gap).await,
            Row::CloseGap(end) => store.close_gap(self.stream, end).await,
        }
    }
}

/// An error with its causes, for the log.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
