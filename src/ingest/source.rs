//! The seam between a camera protocol and everything else: nothing of how media came passes it.
//!
//! A source hands on what the camera sends, in the order it came, and judges nothing: whether a
//! unit is whole, when a run begins and which clock counts is [`flow`](super::flow)'s business.

use std::future::Future;

use bytes::Bytes;
use tokio::time::Instant;

use crate::proto::{
    access_unit::TrackIndex,
    codec::Parameters,
    time::{Timescale, WallTime},
};

use super::{PullError, PullTarget};

/// A camera that we call.
pub(super) trait Dial: Source {
    /// What it takes beside the target.
    type Context: Sync;

    /// Connects, learns the tracks, chooses among them and starts them. Bounded in time.
    fn connect(
        target: &PullTarget,
        context: &Self::Context,
    ) -> impl Future<Output = Result<Self, PullError>> + Send;
}

/// A connected camera, whoever called.
pub(super) trait Source: Sized + Send {
    /// The tracks that were started: video first.
    fn tracks(&self) -> &[SourceTrack];

    /// Whether what comes is lost when it is not fetched soon: packets over UDP.
    fn is_urgent(&self) -> bool;

    /// The next thing the camera says; `None` when it closed the connection. Cancel-safe.
    fn next(&mut self) -> impl Future<Output = Option<Result<SourceEvent, PullError>>> + Send;

    /// Says good-bye and waits for it to be heard. Bounded in time.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// A track as the camera describes it.
#[derive(Clone, Debug)]
pub(super) struct SourceTrack {
    /// Its RTP clock.
    pub(super) timescale: Timescale,
    /// Its codec, and the parameters where the description has them.
    pub(super) codec: SourceCodec,
    /// What the camera says of its frame rate; often a lie.
    pub(super) declared_fps: Option<f64>,
}

/// A codec, perhaps without its parameters.
#[derive(Clone, Debug)]
pub(super) enum SourceCodec {
    /// All that a decoder needs is known.
    Known(Parameters),
    /// What a decoder needs comes in-band.
    Coming {
        /// Whether it is video.
        video: bool,
    },
}

impl SourceCodec {
    pub(super) fn is_video(&self) -> bool {
        match self {
            Self::Known(parameters) => parameters.is_video(),
            Self::Coming { video } => *video,
        }
    }

    pub(super) fn parameters(&self) -> Option<&Parameters> {
        match self {
            Self::Known(parameters) => Some(parameters),
            Self::Coming { .. } => None,
        }
    }
}

/// A track the camera offers, taken or not: for the probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) media: String,
    pub(super) encoding: String,
    pub(super) clock_rate: u32,
    /// Index among [`Source::tracks`], when it was started.
    pub(super) taken: Option<TrackIndex>,
}

/// When something reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// On the recorder's clock.
    pub(super) wall: WallTime,
    /// On the monotonic clock.
    pub(super) at: Instant,
}

/// What a camera sends.
#[derive(Clone, Debug)]
pub(super) enum SourceEvent {
    /// A coded picture or an audio frame.
    Unit(SourceUnit),
    /// The camera's own clock beside a track's (RFC 3550 §6.4.1).
    SenderReport {
        /// Of which track.
        track: TrackIndex,
        /// NTP time stamp.
        ntp: u64,
        /// The same moment in ticks, on the same line as [`SourceUnit::ticks`].
        ticks: i64,
    },
    /// The units of the track that follow want these parameters.
    Parameters {
        /// Which track.
        track: TrackIndex,
        /// All of them.
        parameters: Parameters,
    },
    /// The track's source said good-bye, and no other took over.
    Bye {
        /// Of which track.
        track: TrackIndex,
    },
    /// A packet broke the rules and was passed over; the unit it belonged to is gone.
    Broken {
        /// Of which track, when that is known.
        detail: String,
    },
}

/// One unit as it came.
#[derive(Clone, Debug)]
pub(super) struct SourceUnit {
    /// Its track.
    pub(super) track: TrackIndex,
    /// Its RTP time stamp, extended beyond 32 bits.
    pub(super) ticks: i64,
    /// The same since the track's beginning, as RTP-Info has it; 0 for the first unit where the
    /// camera sends none.
    pub(super) elapsed: i64,
    /// When its first packet came.
    pub(super) arrival: Arrival,
    /// NAL units behind 4-byte lengths, parameter sets among them where the camera sends them; or one
    /// audio frame.
    pub(super) data: Bytes,
    /// Packets lost just before it.
    pub(super) lost: u16,
}
