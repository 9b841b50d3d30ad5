//! How one stream is, for the API: written by its attempts, read by anybody, never waiting.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use tokio::{sync::watch, time::Instant};

use crate::{
    clock::Clock,
    proto::{
        access_unit::Track,
        reason::GapReason,
        time::{WallSpan, WallTime},
    },
    task::Health,
};

/// What the stream's supervisor is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PullState {
    /// An attempt is on its way; no unit has been published yet.
    Connecting,
    /// Nobody publishes to it; whoever does is taken in at once.
    Waiting,
    /// Units are being published.
    Running,
    /// The last attempt failed; the next one waits.
    BackingOff,
    /// Nobody tries: disabled, deleted, or the process is going down.
    Stopped,
}

/// The video track as measured.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoStatus {
    /// `H.264`, `H.265`.
    pub codec: &'static str,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Pictures a second, measured; `None` until there were enough.
    pub fps: Option<f64>,
}

/// The audio track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioStatus {
    /// `AAC`, `G.711 µ-law`, `G.711 A-law`.
    pub codec: &'static str,
    /// Samples a second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u8,
    /// Set up, but nothing comes.
    pub silent: bool,
}

/// A stream's state at one moment (API.md, `GET /cameras/{slug}/status`).
#[derive(Clone, Debug, PartialEq)]
pub struct StatusSnapshot {
    /// What its supervisor does.
    pub state: PullState,
    /// Since when.
    pub since: WallTime,
    /// Why the last attempt ended; `None` while running.
    pub reason: Option<GapReason>,
    /// The same in plain words.
    pub detail: Option<Arc<str>>,
    /// When the next attempt begins, while backing off.
    pub retry_at: Option<WallTime>,
    /// The video track; stays known after a run ended.
    pub video: Option<VideoStatus>,
    /// The audio track; stays known after a run ended.
    pub audio: Option<AudioStatus>,
    /// Payload bits a second over the last seconds; 0 unless running.
    pub bitrate_bps: u64,
    /// When the last unit arrived.
    pub last_unit_at: Option<WallTime>,
    /// How many times a run has begun after the first.
    pub reconnects: u64,
    /// Units published, all tracks.
    pub units: u64,
    /// Payload bytes published.
    pub bytes: u64,
    /// Units dropped because packets of them were lost.
    pub damaged: u64,
    /// How many times a track other than video fell silent while video went on.
    pub silences: u64,
}

/// The live state of one stream. Shared by its supervisor, its attempts and the API.
#[derive(Debug)]
pub struct StreamStatus {
    health: watch::Sender<Health>,
    /// A small, sync-only state; locked for a copy, and by the attempt once a second.
    media: Mutex<Media>,
    /// The wall time of `since` and `retry_at` as it was first told: told again it is the same.
    told: Mutex<[Option<(Instant, WallTime)>; 2]>,
    last_unit_us: AtomicI64,
    runs: AtomicU64,
    units: AtomicU64,
    bytes: AtomicU64,
    damaged: AtomicU64,
    silences: AtomicU64,
    absent: watch::Sender<Option<Instant>>,
}

#[derive(Clone, Debug, Default)]
struct Media {
    video: Option<VideoStatus>,
    audio: Option<AudioStatus>,
    bitrate_bps: u64,
}

const NEVER: i64 = i64::MIN;

impl StreamStatus {
    /// Of a stream that nobody has begun to pull.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            health: watch::Sender::new(Health::Stopped { since: Instant::now() }),
            media: Mutex::default(),
            told: Mutex::default(),
            last_unit_us: AtomicI64::new(NEVER),
            runs: AtomicU64::new(0),
            units: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            silences: AtomicU64::new(0),
            absent: watch::Sender::new(None),
        })
    }

    /// The supervisor's word; also to wait for a change.
    #[must_use]
    pub const fn health(&self) -> &watch::Sender<Health> {
        &self.health
    }

    /// Everything, as of now.
    #[must_use]
    pub fn snapshot(&self, clock: &Clock) -> StatusSnapshot {
        let health = self.health.borrow().clone();
        let (wall, now) = (clock.now(), Instant::now());
        let counted = |instant: Instant| {
            wall + WallSpan::from(instant.saturating_duration_since(now))
                - WallSpan::from(now.saturating_duration_since(instant))
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let [told_since, told_retry] = &mut *told;
        // Two clocks are read one after the other, so counting again would wobble.
        let at = |told: &mut Option<(Instant, WallTime)>, instant: Instant| match *told {
            Some((of, wall)) if of == instant => wall,
            _ => told.insert((instant, counted(instant))).1,
        };
        let mut waits = false;
        let (state, since, last, retry_at) = match health {
            Health::Starting { since, last } if self.absent.borrow().is_some() => {
                waits = true;
                (PullState::Waiting, since, last, None)
            }
            Health::Starting { since, last } => (PullState::Connecting, since, last, None),
            Health::Working { since } => (PullState::Running, since, None, None),
            Health::BackingOff { since, retry_at, last } => {
                (PullState::BackingOff, since, Some(last), Some(at(told_retry, retry_at)))
            }
            Health::Stopped { since } => (PullState::Stopped, since, None, None),
        };
        let since = at(told_since, since);
        drop(told);
        let media = self.lock().clone();
        let last_unit_us = self.last_unit_us.load(Ordering::Relaxed);
        let running = state == PullState::Running;
        StatusSnapshot {
            state,
            since,
            reason: last.as_ref().map(|ended| ended.reason),
            detail: match last {
                None if waits => Some(Arc::from("waiting for a publisher")),
                Some(ended) if waits => {
                    Some(format!("waiting for a publisher: {}", ended.detail).into())
                }
                last => last.map(|ended| ended.detail),
            },
            retry_at,
            video: media.video,
            audio: media.audio,
            bitrate_bps: if running { media.bitrate_bps } else { 0 },
            last_unit_at: (last_unit_us != NEVER).then(|| WallTime::from_micros(last_unit_us)),
            reconnects: self.runs.load(Ordering::Relaxed).saturating_sub(1),
            units: self.units.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            damaged: self.damaged.load(Ordering::Relaxed),
            silences: self.silences.load(Ordering::Relaxed),
        }
    }

    /// Since when nobody publishes to it; `None` while somebody does, and where it is pulled.
    #[must_use]
    pub fn absent(&self) -> watch::Receiver<Option<Instant>> {
        self.absent.subscribe()
    }

    pub(super) fn waits_for_a_publisher(&self, waits: bool) {
        self.absent.send_replace(waits.then(Instant::now));
    }

    pub(super) fn run_began(&self) {
        self.runs.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn unit(&self, bytes: usize, arrival: WallTime) {
        self.units.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.last_unit_us.store(arrival.as_micros(), Ordering::Relaxed);
    }

    pub(super) fn damaged(&self, units: u64) {
        self.damaged.fetch_add(units, Ordering::Relaxed);
    }

    pub(super) fn silence(&self, silent: bool) {
        if silent {
            self.silences.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(audio) = &mut self.lock().audio {
            audio.silent = silent;
        }
    }

    /// Takes over what the tracks say of themselves.
    pub(super) fn tracks(&self, tracks: &[Track]) {
        let mut media = self.lock();
        let fps = media.video.as_ref().and_then(|v| v.fps);
        media.video = tracks.iter().find_map(|t| {
            let (width, height) = t.parameters.dimensions()?;
            Some(VideoStatus { codec: t.parameters.name(), width, height, fps })
        });
        media.audio = tracks.iter().find_map(|t| {
            let (sample_rate, channels) = t.parameters.sound()?;
            let codec = t.parameters.name();
            Some(AudioStatus { codec, sample_rate, channels, silent: false })
        });
    }

    pub(super) fn measured(&self, fps: Option<f64>, bitrate_bps: u64) {
        let mut media = self.lock();
        media.bitrate_bps = bitrate_bps;
        if let Some(video) = &mut media.video {
            video.fps = fps;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Media> {
        // Poison only says that an attempt panicked; each write leaves the state whole.
        self.media.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_moment_a_state_began_is_told_the_same_each_time() {
        let clock = Clock::manual(WallTime::from_micros(1_000_000_000));
        let status = StreamStatus::new();
        let first = status.snapshot(&clock).since;
        // The wall clock gains a microsecond on the monotonic one, as two reads one after the other do.
        clock.advance(WallSpan::from_micros(1));
        assert_eq!(status.snapshot(&clock).since, first);
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        clock.advance(WallSpan::from_secs(1));
        status.health().send_replace(Health::Stopped { since: Instant::now() });
        assert_eq!(status.snapshot(&clock).since, first + WallSpan::from_micros(1_000_001));
    }
}
