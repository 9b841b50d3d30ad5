//! The hub: what is live now. One publisher a stream, many readers.
//!
//! ```text
//! ingest ──▶ Publisher ──▶ ring of Arc<AccessUnit> ──▶ Subscription (recorder, players, web)
//! ```
//!
//! # Why a shared ring and not a queue for each reader
//!
//! A queue a reader multiplies the bookkeeping and needs a policy each; one ring with a cursor a
//! reader costs an `Arc` clone a unit, and its bound is the stream's bound. The publisher never
//! waits: a reader that falls off the ring's end is moved to the oldest key frame still there and
//! told how many units it missed ([`Event::Lagged`]).
//!
//! # What stays in the ring
//!
//! Units from the newest key frame on (so that a player starts at once; from the one before it for a
//! moment, for those who began there just now), and those which cannot be read from disk yet
//! ([`Channel::mark_readable`]), so that recorded footage joins live without a hole; where what came
//! before an event is to be recorded, so much more ([`Channel::keep`]); never more than [`Limits::per_stream`] bytes a stream. When all streams together exceed
//! [`Limits::total`], a stream that publishes keeps only its newest group of pictures, and beyond
//! twice that nothing but the last unit: live then starts at the next key frame.
//!
//! # Viewers
//!
//! Whoever reads is counted, but for the recorder, and so is who waits for a run to begin: cameras
//! that are pulled on demand are pulled while there is one ([`Channel::viewers`]).
//!
//! The `std` mutexes guard a few pushes and are never held over an await.

mod haste;
mod ring;
#[cfg(test)]
mod tests;

use std::{
    borrow::Borrow,
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::sync::{Notify, watch};

use crate::{
    id::{RunId, StreamId},
    proto::{
        access_unit::{AccessUnit, Tracks},
        reason::GapReason,
        time::{WallSpan, WallTime},
    },
};

use haste::Waiting;
pub use haste::{Haste, Hurry};
use ring::Ring;

/// Bounds of the hub's memory, in payload bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For one stream.
    pub per_stream: usize,
    /// For all streams.
    pub total: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { per_stream: 8 << 20, total: 1 << 30 }
    }
}

/// Where a run's wall clock comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClockSource {
    /// Arrival at the recorder (lower envelope); tracks aligned by the camera's sender reports.
    SenderReport,
    /// Arrival at the recorder; tracks aligned by RTP-Info of the PLAY answer.
    RtpInfo,
    /// Arrival alone.
    Arrival,
}

impl ClockSource {
    /// The byte that stands for it in the file; never reused for another.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::SenderReport => 1,
            Self::RtpInfo => 2,
            Self::Arrival => 3,
        }
    }

    /// Inverse of [`Self::code`].
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::SenderReport),
            2 => Some(Self::RtpInfo),
            3 => Some(Self::Arrival),
            _ => None,
        }
    }
}

/// A run as its units see it. A change of parameters makes a new `Run` value with the same `id`.
#[derive(Clone, Debug)]
pub struct Run {
    /// Same for all footage up to the next gap.
    pub id: RunId,
    /// Of which stream.
    pub stream: StreamId,
    /// Counts steps back of the recorder's clock (FORMAT "Time in the index"). What the files say
    /// may be higher, where the recorder knew more: [`Channel::raise_epoch`].
    pub epoch: u32,
    /// When its media time 0 was, on the recorder's clock.
    pub started: WallTime,
    /// What its times rest on.
    pub clock_source: ClockSource,
    /// Why the run before it ended.
    pub previous_end: GapReason,
    /// The tracks, as of now.
    pub tracks: Tracks,
}

/// A position in a stream's publication order; grows for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// What a reader gets.
#[derive(Clone, Debug)]
pub enum Event {
    /// A unit, with the run (and so the parameters) it belongs to.
    Unit {
        /// Compare with [`Arc::ptr_eq`] to notice new parameters, by `id` to notice a new run.
        run: Arc<Run>,
        /// The unit.
        unit: Arc<AccessUnit>,
        /// Its position, for [`Channel::mark_readable`].
        position: Position,
    },
    /// The run is over. The next unit belongs to another.
    Ended {
        /// Which run.
        run: RunId,
        /// Why.
        reason: GapReason,
    },
    /// This reader was too slow: so many units were passed over. A key frame of the leading track
    /// comes next.
    Lagged {
        /// How many.
        units: u64,
    },
}

/// Where a new reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest unit still held (joining recorded footage to live).
    Oldest,
    /// At the newest key frame of the leading track, when it is held; else at the next one.
    KeyFrame,
    /// At the next unit to be published.
    Next,
}

/// All live streams.
#[derive(Debug, Default)]
pub struct Hub {
    limits: Limits,
    used: Arc<AtomicUsize>,
    channels: Mutex<HashMap<StreamId, Arc<Channel>>>,
}

impl Hub {
    /// An empty hub.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The channel of `stream`, made when it is first asked for.
    pub fn channel(&self, stream: StreamId) -> Arc<Channel> {
        let mut channels = lock(&self.channels);
        let make = || Arc::new(Channel::new(stream, self.limits, Arc::clone(&self.used)));
        Arc::clone(channels.entry(stream).or_insert_with(make))
    }

    /// Forgets `stream`; its readers see the end.
    pub fn remove(&self, stream: StreamId) {
        let removed = lock(&self.channels).remove(&stream);
        if let Some(channel) = removed {
            lock(&channel.ring).close();
            channel.notify();
        }
    }

    /// Payload bytes held for all streams.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// One live stream.
#[derive(Debug)]
pub struct Channel {
    stream: StreamId,
    ring: Mutex<Ring>,
    /// Carries no value: a wake-up for "the ring has changed".
    wake: watch::Sender<()>,
    /// Readers that sleep until `wake`. Most of the time there are none: a recorder looks now and
    /// then, and waking nobody costs as much as waking somebody.
    asleep: AtomicUsize,
    /// How many read, or wait for a run; the recorder is none of them.
    viewers: watch::Sender<usize>,
    /// A wake-up for the recorder: see [`Self::much_gathered`].
    much: Notify,
    waiting: Waiting,
    damaged: AtomicU64,
    epoch: AtomicU32,
}

/// Somebody publishes to this stream already.
#[derive(Debug, thiserror::Error)]
#[error("stream {0} has a publisher already")]
pub struct AlreadyPublishing(pub StreamId);

impl Channel {
    fn new(stream: StreamId, limits: Limits, used: Arc<AtomicUsize>) -> Self {
        Self {
            stream,
            ring: Mutex::new(Ring::new(limits, used)),
            wake: watch::Sender::new(()),
            asleep: AtomicUsize::new(0),
            viewers: watch::Sender::new(0),
            much: Notify::new(),
            waiting: Waiting::default(),
            damaged: AtomicU64::new(0),
            epoch: AtomicU32::new(0),
        }
    }

    fn notify(&self) {
        self.wake.send_replace(());
    }

    /// Says that the thread of `haste` brings this stream's units from now on.
    pub fn served_by(&self, haste: Haste) {
        self.waiting.served_by(haste);
    }

    /// Asks that units are brought as soon as they come, as every reader but the recorder does.
    #[must_use]
    pub fn hurry(self: &Arc<Self>) -> Hurry {
        Hurry::new(Arc::clone(self))
    }

    /// Begins a run. It ends when the [`Publisher`] says so or is dropped
    /// ([`GapReason::Internal`]: a task that died).
    ///
    /// # Errors
    ///
    /// When another publisher is at it.
    pub fn publish(self: &Arc<Self>, run: Run) -> Result<Publisher, AlreadyPublishing> {
        let run = Arc::new(run);
        if !lock(&self.ring).begin(Arc::clone(&run)) {
            return Err(AlreadyPublishing(self.stream));
        }
        self.notify();
        Ok(Publisher { channel: Arc::clone(self), run, ended: false })
    }

    /// The run now being published, if one is.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Run>> {
        lock(&self.ring).current()
    }

    /// How many read this stream or wait for it, apart from its recorder.
    #[must_use]
    pub fn viewers(&self) -> watch::Receiver<usize> {
        self.viewers.subscribe()
    }

    /// Waits for a run to be published: whoever does is a viewer. Cancel-safe.
    pub async fn wait_for_run(&self) -> Arc<Run> {
        let _viewer = Viewer::new(&self.viewers);
        let mut wake = self.wake.subscribe();
        loop {
            if let Some(run) = self.current() {
                return run;
            }
            // The sender lives in `self`, so this cannot fail while we are borrowed.
            let _ = wake.changed().await;
        }
    }

    /// Waits until about an eighth of what the ring may hold has been published since the last
    /// time. For the one reader that looks now and then: a burst (a camera that sends the group of
    /// pictures it has at hand) must not overtake it. Cancel-safe.
    pub async fn much_gathered(&self) {
        self.much.notified().await;
    }

    /// Notes units that came damaged, and so are not published.
    pub fn count_damaged(&self, units: u64) {
        self.damaged.fetch_add(units, Ordering::Relaxed);
    }

    /// How many were noted so far.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Says that footage of this stream is recorded in `epoch`: runs to come begin in no older one.
    pub fn raise_epoch(&self, epoch: u32) {
        self.epoch.fetch_max(epoch, Ordering::Relaxed);
    }

    /// The newest epoch that is recorded in, as far as it is known here.
    #[must_use]
    pub fn least_epoch(&self) -> u32 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// A new reader.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>, start: Start) -> Subscription {
        let wake = self.wake.subscribe();
        let (cursor, seek_key) = lock(&self.ring).cursor(start);
        let hurry = Some(self.hurry());
        let viewer = Some(Viewer::new(self.viewers.clone()));
        let channel = Arc::clone(self);
        Subscription { channel, wake, cursor, seek_key, _hurry: hurry, _viewer: viewer }
    }

    /// A reader that records: from now on nothing is let go of before [`Self::mark_readable`],
    /// within the bounds.
    ///
    /// It begins behind what a recorder before it has marked, so that nothing is recorded twice,
    /// with the oldest unit still held; and with the next run when none is published now, unless
    /// that recorder died and left something.
    #[must_use]
    pub fn subscribe_to_record(self: &Arc<Self>) -> Subscription {
        self.subscribe_to_record_from(None)
    }

    /// The same for one that begins in the middle of what is published: with the key frame at or
    /// before `from` ([`Self::key_frame`]), unless there is a recorder before it to go on from.
    #[must_use]
    pub fn subscribe_to_record_from(self: &Arc<Self>, from: Option<WallTime>) -> Subscription {
        let wake = self.wake.subscribe();
        let cursor = lock(&self.ring).hold(from);
        let channel = Arc::clone(self);
        Subscription { channel, wake, cursor, seek_key: false, _hurry: None, _viewer: None }
    }

    /// The wall time of the key frame from which `from` can be recorded: the newest one at or
    /// before it, else the oldest one after; not what is recorded already. `None` where nothing of
    /// that time is held.
    #[must_use]
    pub fn key_frame(&self, from: WallTime) -> Option<WallTime> {
        lock(&self.ring).key_frame(from).map(|(_, wall)| wall)
    }

    /// Has units kept that are up to so old, from the key frame before, within the bounds; `None`:
    /// no more than anybody needs.
    pub fn keep(&self, span: Option<WallSpan>) {
        lock(&self.ring).keep(span);
    }

    /// Says that everything up to `position` can now be read from disk. Before this and
    /// [`Self::subscribe_to_record`] nothing is kept on that account (a stream that nobody records
    /// keeps its newest group only).
    pub fn mark_readable(&self, position: Position) {
        lock(&self.ring).mark_readable(position);
    }

    /// Says that nobody records this stream any more.
    pub fn forget_readable(&self) {
        lock(&self.ring).forget_readable();
    }
}

/// The right to publish one run of one stream.
#[derive(Debug)]
pub struct Publisher {
    channel: Arc<Channel>,
    run: Arc<Run>,
    ended: bool,
}

impl Publisher {
    /// The run as of now.
    #[must_use]
    pub fn run(&self) -> &Arc<Run> {
        &self.run
    }

    /// Appends a unit. Never waits.
    pub fn push(&mut self, unit: AccessUnit) {
        let much = lock(&self.channel.ring).push(&self.run, Arc::new(unit));
        // Whoever was counted after the ring was locked sees the unit in it.
        if self.channel.asleep.load(Ordering::Relaxed) > 0 {
            self.channel.notify();
        }
        if much {
            self.channel.much.notify_one();
        }
    }

    /// Changes the tracks for the units that follow; the next video unit must be a key frame.
    pub fn set_tracks(&mut self, tracks: Tracks) {
        self.run = Arc::new(Run { tracks, ..Run::clone(&self.run) });
        lock(&self.channel.ring).replace_run(Arc::clone(&self.run));
        self.channel.notify();
    }

    /// Ends the run.
    pub fn end(mut self, reason: GapReason) {
        self.finish(reason);
    }

    fn finish(&mut self, reason: GapReason) {
        if !std::mem::replace(&mut self.ended, true) {
            lock(&self.channel.ring).end(self.run.id, reason);
            self.channel.notify();
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.finish(GapReason::Internal);
    }
}

/// One reader of one stream.
#[derive(Debug)]
pub struct Subscription {
    channel: Arc<Channel>,
    wake: watch::Receiver<()>,
    cursor: u64,
    /// Waiting for the next key frame of the leading track.
    seek_key: bool,
    /// Not of the recorder.
    _hurry: Option<Hurry>,
    /// Not of the recorder.
    _viewer: Option<Viewer<watch::Sender<usize>>>,
}

/// Counted among those that watch.
#[derive(Debug)]
struct Viewer<S: Borrow<watch::Sender<usize>>>(S);

impl<S: Borrow<watch::Sender<usize>>> Viewer<S> {
    fn new(count: S) -> Self {
        count.borrow().send_modify(|n| *n += 1);
        Self(count)
    }
}

impl<S: Borrow<watch::Sender<usize>>> Drop for Viewer<S> {
    fn drop(&mut self) {
        let count: &watch::Sender<usize> = self.0.borrow();
        count.send_modify(|n| *n = n.saturating_sub(1));
    }
}

/// Counted among those that sleep.
struct Asleep<'a>(&'a AtomicUsize);

impl<'a> Asleep<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Subscription {
    /// The next event, waiting for it; `None` when the stream was removed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        if let Ok(Some(event)) = self.try_next() {
            return Some(event);
        }
        // From here on it is woken; so it looks once more, for what came before it was counted.
        let Self { channel, wake, cursor, seek_key, .. } = self;
        let _asleep = Asleep::new(&channel.asleep);
        loop {
            wake.mark_unchanged();
            match lock(&channel.ring).read(cursor, seek_key) {
                Ok(Some(event)) => return Some(event),
                Ok(None) => {}
                Err(Closed) => return None,
            }
            if wake.changed().await.is_err() {
                return None;
            }
        }
    }

    /// The next event if there is one now.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the stream was removed and everything has been read.
    pub fn try_next(&mut self) -> Result<Option<Event>, Closed> {
        lock(&self.channel.ring).read(&mut self.cursor, &mut self.seek_key)
    }

    /// Passes over everything up to the newest key frame held, or else to the next one; returns
    /// how many units that were. For readers that fell behind.
    pub fn skip_to_key_frame(&mut self) -> u64 {
        let ring = lock(&self.channel.ring);
        let (cursor, seek_key) = ring.cursor(Start::KeyFrame);
        if cursor <= self.cursor {
            self.seek_key = true;
            return 0;
        }
        let skipped = cursor - self.cursor;
        self.cursor = cursor;
        self.seek_key = seek_key;
        skipped
    }
}

/// The stream is gone.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream is gone")]
pub struct Closed;

/// A poisoned mutex only says that another task panicked; the ring's state is changed in steps
/// that leave it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
