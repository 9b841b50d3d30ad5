//! The one place of a stream, whoever is in it, and the way of packets from there.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{Announcement, limits};
use crate::{
    id::StreamId,
    model::Source,
    proto::{access_unit::TrackIndex, reason::GapReason},
};

/// The places of all streams that are published. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Berths(Arc<Mutex<BTreeMap<StreamId, Arc<Berth>>>>);

impl Berths {
    /// The place of `stream`, when it is published and switched on.
    #[must_use]
    pub fn get(&self, stream: StreamId) -> Option<Arc<Berth>> {
        self.lock().get(&stream).cloned()
    }

    /// Makes one, for as long as it is held: who comes from now on comes to this one.
    #[must_use]
    pub fn open(&self, stream: StreamId, source: Source, audio: bool) -> Open {
        let take_over = matches!(source, Source::Publish { take_over: true });
        let berth =
            Arc::new(Berth { take_over, audio, state: Mutex::default(), arrived: Notify::new() });
        self.lock().insert(stream, Arc::clone(&berth));
        Open { berths: self.clone(), stream, berth }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<StreamId, Arc<Berth>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is there. Dropping it sends its publisher away.
#[derive(Debug)]
pub struct Open {
    berths: Berths,
    stream: StreamId,
    berth: Arc<Berth>,
}

impl Open {
    /// The place.
    #[must_use]
    pub fn berth(&self) -> Arc<Berth> {
        Arc::clone(&self.berth)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut berths = self.berths.lock();
        if berths.get(&self.stream).is_some_and(|berth| Arc::ptr_eq(berth, &self.berth)) {
            berths.remove(&self.stream);
        }
        drop(berths);
        let mut state = self.berth.lock();
        state.closed = true;
        state.waiting = None;
        if let Some(holder) = state.holder.take() {
            holder.cancel();
        }
    }
}

/// The place of one stream's publisher.
#[derive(Debug)]
pub struct Berth {
    take_over: bool,
    audio: bool,
    /// Held for a look only.
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Cancelled when its holder has to go.
    holder: Option<CancellationToken>,
    /// It records, and nobody takes it up yet.
    waiting: Option<Intake>,
    closed: bool,
}

/// Somebody else is publishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("somebody else is publishing to this camera")]
pub struct Busy;

impl Berth {
    /// Whether sound is wanted.
    #[must_use]
    pub const fn audio(&self) -> bool {
        self.audio
    }

    /// Takes the place, from whoever has it where the settings say so.
    ///
    /// # Errors
    ///
    /// [`Busy`] when it is taken.
    pub fn claim(self: &Arc<Self>) -> Result<Claim, Busy> {
        let mut state = self.lock();
        match state.holder.take() {
            _ if state.closed => return Err(Busy),
            Some(holder) if !self.take_over => {
                state.holder = Some(holder);
                return Err(Busy);
            }
            Some(holder) => {
                holder.cancel();
                state.waiting = None;
            }
            None => {}
        }
        let evicted = CancellationToken::new();
        state.holder = Some(evicted.clone());
        Ok(Claim { berth: Arc::clone(self), evicted })
    }

    /// Waits for a publisher that records. Cancel-safe.
    pub(in crate::ingest) async fn arrival(&self) -> Intake {
        loop {
            let arrived = self.arrived.notified();
            if let Some(intake) = self.lock().waiting.take() {
                return intake;
            }
            arrived.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place, held. Free again when dropped.
#[derive(Debug)]
pub struct Claim {
    berth: Arc<Berth>,
    evicted: CancellationToken,
}

impl Claim {
    /// Cancelled when another took over, or the camera is published to no more.
    #[must_use]
    pub const fn evicted(&self) -> &CancellationToken {
        &self.evicted
    }

    /// Media begin to come: for those of `lines`, by the announcement's tracks. `None` when the
    /// place is lost.
    #[must_use]
    pub fn record(
        &self,
        announcement: &Announcement,
        lines: Vec<Line>,
        reports: Reports,
    ) -> Option<Feed> {
        let mut state = self.berth.lock();
        if self.evicted.is_cancelled() {
            return None;
        }
        let (sender, pieces) = mpsc::channel(limits::PACKETS);
        let bytes = Arc::new(AtomicUsize::new(0));
        let left = Arc::new(OnceLock::new());
        state.waiting = Some(Intake {
            began: Instant::now(),
            announcement: announcement.clone(),
            lines,
            reports,
            pieces,
            bytes: Arc::clone(&bytes),
            left: Arc::clone(&left),
        });
        drop(state);
        self.berth.arrived.notify_one();
        Some(Feed { pieces: sender, bytes, left })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.berth.lock();
        if !self.evicted.is_cancelled() {
            state.holder = None;
            // What was not taken up ends when its feed is dropped.
        }
    }
}

/// How one track comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which of the announcement's.
    pub track: TrackIndex,
    /// Channel of its reports, where they are framed; `None`: datagrams.
    pub rtcp_channel: Option<u8>,
}

/// Where receiver reports go: written by the recorder's task, must not wait.
#[derive(Clone)]
pub struct Reports(Arc<dyn Fn(TrackIndex, Bytes) + Send + Sync>);

impl Reports {
    /// `send` is called with a track and its report, framed where its line says so.
    pub fn new(send: impl Fn(TrackIndex, Bytes) + Send + Sync + 'static) -> Self {
        Self(Arc::new(send))
    }

    pub(super) fn send(&self, track: TrackIndex, report: Bytes) {
        (self.0)(track, report);
    }
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reports")
    }
}

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An RTP packet.
    Rtp,
    /// A compound RTCP packet.
    Rtcp,
}

#[derive(Debug)]
pub(super) struct Piece {
    pub(super) track: TrackIndex,
    pub(super) kind: Kind,
    pub(super) data: Bytes,
    pub(super) at: Instant,
}

/// Why a publisher sends no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// TEARDOWN.
    SaidGoodbye,
    /// PAUSE.
    Paused,
    /// It sent nothing for too long.
    Silent,
    /// Another took its place.
    Replaced,
    /// The server stops.
    Stopping,
    /// Its connection broke: the feed is gone without a word.
    Gone,
}

impl Left {
    pub(in crate::ingest) const fn reason(self) -> GapReason {
        match self {
            Self::SaidGoodbye | Self::Paused | Self::Replaced | Self::Gone => {
                GapReason::Disconnected
            }
            Self::Silent => GapReason::Stalled,
            Self::Stopping => GapReason::VedetteDown,
        }
    }

    pub(in crate::ingest) const fn words(self) -> &'static str {
        match self {
            Self::SaidGoodbye => "the publisher said good-bye",
            Self::Paused => "the publisher paused",
            Self::Silent => "the publisher fell silent",
            Self::Replaced => "another publisher took over",
            Self::Stopping => "the RTSP server stops",
            Self::Gone => "the publisher's connection is gone",
        }
    }
}

/// The way in for packets. Dropping the last clone ends the run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Feed {
    pieces: mpsc::Sender<Piece>,
    bytes: Arc<AtomicUsize>,
    left: Arc<OnceLock<Left>>,
}

impl Feed {
    /// Hands a packet down; drops it when too many wait, and says `false`.
    pub fn push(&self, track: TrackIndex, kind: Kind, data: Bytes, at: Instant) -> bool {
        let length = data.len();
        let waiting = self.bytes.fetch_add(length, Ordering::Relaxed);
        let full = waiting.saturating_add(length) > limits::BYTES;
        if full || self.pieces.try_send(Piece { track, kind, data, at }).is_err() {
            self.bytes.fetch_sub(length, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Says why nothing more will come; the first word counts.
    pub fn leave(&self, why: Left) {
        let _ = self.left.set(why);
    }

    /// Until nobody takes what is handed down.
    pub async fn closed(&self) {
        self.pieces.closed().await;
    }
}

/// A publisher that records, on its way to become a source.
#[derive(Debug)]
pub(in crate::ingest) struct Intake {
    /// Since when packets are handed down: they may wait for somebody who takes it up.
    pub(super) began: Instant,
    pub(super) announcement: Announcement,
    pub(super) lines: Vec<Line>,
    pub(super) reports: Reports,
    pieces: mpsc::Receiver<Piece>,
    bytes: Arc<AtomicUsize>,
    left: Arc<OnceLock<Left>>,
}

impl Intake {
    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Piece> {
        let piece = self.pieces.recv().await?;
        self.bytes.fetch_sub(piece.data.len(), Ordering::Relaxed);
        Some(piece)
    }

    pub(super) fn why_left(&self) -> Left {
        self.left.get().copied().unwrap_or(Left::Gone)
    }
}
