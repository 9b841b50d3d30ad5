//! Events: what the recorder notes of itself, for people to read later. Cameras that come and go,
//! recordings that pause, volumes, the clock, the index.
//!
//! ```text
//! streams ─┐ (watch.rs)
//! volumes ─┼──▶ Journal ──▶ bounded queue ──▶ Calm ──▶ Writer ──▶ store
//! clock   ─┘    never waits    1,024          a few    rows of one transaction
//! ```
//!
//! # Invariants
//!
//! * Who tells never waits. With the queue full, which takes an index that cannot be written for
//!   long, what is told is dropped and counted; when the index is back an event says how many.
//! * What happens over and over is told a few times and then summed up ([`calm`]).
//! * An event is worth no footage: what cannot be written by the end of the drain is dropped.
//!
//! Events are pruned by age by retention, as marks and audit are.

mod calm;
#[cfg(test)]
mod tests;
pub(super) mod watch;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    id::{CameraId, EventId, StreamId},
    model::{Event, EventKind},
    proto::time::WallTime,
    rebuild::chain,
    store::Store,
};
use calm::Calm;

/// What may wait for the index.
const QUEUE: usize = 1_024;
/// Rows in one transaction.
const AT_ONCE: usize = 128;
/// Rows that could not be written are tried again after so long.
const AGAIN: Duration = Duration::from_secs(2);

/// What news are about: those of one topic are held back together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Topic {
    /// The recorder as a whole.
    Recorder,
    /// A stream's connection.
    Camera(StreamId),
    /// A stream's recording.
    Recording(StreamId),
    /// Readers of a stream.
    Readers(StreamId),
    /// A volume.
    Volume(String),
    /// A limit, in words.
    Limit(String),
    /// The recorder's clock.
    Clock,
    /// The index.
    Index,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    pub(super) topic: Topic,
    pub(super) kind: EventKind,
    pub(super) camera: Option<CameraId>,
    pub(super) stream: Option<StreamId>,
    pub(super) at: WallTime,
    /// A sentence, without secrets.
    pub(super) detail: String,
}

/// What became of events.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Written.
    pub(super) written: AtomicU64,
    /// Lost: the queue was full, or the index was away at the end.
    pub(super) dropped: AtomicU64,
}

/// Takes news. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    queue: mpsc::Sender<News>,
    counters: Arc<Counters>,
    clock: Clock,
}

/// Writes them.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Receiver<News>,
    counters: Arc<Counters>,
    clock: Clock,
    store: Store,
    calm: Calm,
    /// How many were dropped when that was last noted.
    told: u64,
}

impl Journal {
    /// One, and the task that writes.
    pub(super) fn new(store: Store, clock: Clock) -> (Self, Writer) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let counters = Arc::<Counters>::default();
        let journal = Self { queue: sender, counters: Arc::clone(&counters), clock: clock.clone() };
        (journal, Writer { queue, counters, clock, store, calm: Calm::default(), told: 0 })
    }

    /// One that writes nothing: its news are read by a test.
    #[cfg(test)]
    pub(super) fn unread(clock: Clock) -> (Self, mpsc::Receiver<News>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        (Self { queue, counters: Arc::default(), clock }, receiver)
    }

    /// What became of events.
    pub(super) const fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Something happened to the recorder, now.
    pub(super) fn tell(&self, topic: Topic, kind: EventKind, detail: impl Into<String>) {
        self.put(topic, kind, None, detail.into());
    }

    /// Something happened to a stream, now.
    pub(super) fn tell_of(
        &self,
        (camera, stream): (CameraId, StreamId),
        topic: Topic,
        kind: EventKind,
        detail: impl Into<String>,
    ) {
        self.put(topic, kind, Some((camera, stream)), detail.into());
    }

    fn put(&self, topic: Topic, kind: EventKind, of: Option<(CameraId, StreamId)>, detail: String) {
        let (camera, stream) = of.unzip();
        let news = News { topic, kind, camera, stream, at: self.clock.now(), detail };
        // After the writer's end nothing is written any more; that is no loss worth telling.
        if let Err(TrySendError::Full(_)) = self.queue.try_send(news) {
            self.counters.dropped.fetch_add(1, Relaxed);
        }
    }
}

impl Writer {
    /// Writes until it is stopped, and then what is still there, once.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut waiting: Vec<News> = Vec::new();
        while !stop.is_cancelled() {
            let due = self.calm.due();
            let mut came = Vec::new();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                n = self.queue.recv_many(&mut came, AT_ONCE) => if n == 0 { break },
            }
            waiting.extend(self.may_be_told(came, false));
            while !self.write(&mut waiting).await {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(AGAIN) => {}
                }
            }
        }
        self.queue.close();
        let mut came = Vec::new();
        while let Ok(news) = self.queue.try_recv() {
            came.push(news);
        }
        waiting.extend(self.may_be_told(came, true));
        if !self.write(&mut waiting).await {
            self.counters.dropped.fetch_add(waiting.len() as u64, Relaxed);
            tracing::warn!(
                events = waiting.len(),
                "events are not noted: the index cannot be written"
            );
        }
    }

    fn may_be_told(&mut self, came: Vec<News>, end: bool) -> Vec<News> {
        let now = Instant::now();
        let mut told: Vec<News> =
            came.into_iter().filter_map(|news| self.calm.take(news, now)).collect();
        told.extend(self.calm.poll(now, end));
        let dropped = self.counters.dropped.load(Relaxed);
        let missing = dropped - self.told;
        if missing > 0 {
            self.told = dropped;
            told.push(News {
                topic: Topic::Recorder,
                kind: EventKind::EventsDropped,
                camera: None,
                stream: None,
                at: self.clock.now(),
                detail: format!("{missing} events are not here: more happened than could be noted"),
            });
        }
        told
    }

    /// Whether nothing waits any more.
    async fn write(&self, waiting: &mut Vec<News>) -> bool {
        if waiting.is_empty() {
            return true;
        }
        let event = |news: &News| Event {
            id: EventId::generate(&self.clock),
            at: news.at,
            kind: news.kind,
            camera: news.camera,
            stream: news.stream,
            detail: news.detail.clone(),
        };
        match self.store.insert_events(waiting.iter().map(event).collect()).await {
            Ok(()) => {
                self.counters.written.fetch_add(waiting.len() as u64, Relaxed);
                waiting.clear();
                true
            }
            Err(error) => {
                tracing::debug!(error = chain(&error), "events wait");
                false
            }
        }
    }
}
