//! Why an attempt to pull a camera ended, by what the reader will do about it.

use std::{io, time::Duration};

use super::rtsp::publish::Left;
use crate::{
    proto::{reason::GapReason, time::WallSpan},
    task::{Failure, Retry},
};

/// Why one attempt to pull a camera ended.
///
/// Messages name the attempt; what went wrong underneath is the `source`, printed once where the
/// error is handled. None holds a password: addresses are stored without credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// No route, no name, refused: there is no connection.
    #[error("connect to {address}")]
    Connect {
        /// Host and port.
        address: String,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// Nobody answered the connection in time.
    #[error("connect to {address}: no answer within {} s", .within.as_secs())]
    ConnectTimeout {
        /// Host and port.
        address: String,
        /// How long we waited.
        within: Duration,
    },
    /// Connected, but a request was never answered.
    #[error("no answer to {method} within {} s", .within.as_secs())]
    NoAnswer {
        /// The RTSP method.
        method: &'static str,
        /// How long we waited.
        within: Duration,
    },
    /// Wrong or missing user name or password.
    #[error("the camera refused the user name or password ({method})")]
    Unauthorized {
        /// The RTSP method.
        method: &'static str,
    },
    /// It is not who it should be: its certificate is not trusted.
    #[error("the camera's certificate is not trusted: {detail}")]
    Untrusted {
        /// Why not.
        detail: String,
    },
    /// Nothing lives at that path.
    #[error("the camera knows no such path (404 to {method})")]
    NotFound {
        /// The RTSP method.
        method: &'static str,
    },
    /// Any other refusal.
    #[error("the camera answered {method} with status {status}")]
    Refused {
        /// The RTSP method.
        method: &'static str,
        /// The RTSP status.
        status: u16,
    },
    /// The connection broke or was closed while media came.
    #[error("the camera closed the connection{}", .detail.as_deref().map(|d| format!(": {d}")).unwrap_or_default())]
    Disconnected {
        /// The system's word, if there was one.
        detail: Option<String>,
    },
    /// Who published does so no more.
    #[error("{}", .0.words())]
    PublisherLeft(Left),
    /// It said that no more video will come, and none came.
    #[error("the camera ended its video (RTCP BYE)")]
    Ended,
    /// What the camera says cannot be understood.
    #[error("cannot understand the camera: {detail}")]
    Protocol {
        /// Which rule it broke, on one line.
        detail: String,
    },
    /// No track that can be recorded.
    #[error("no track that can be recorded, the camera offers {}", list(.offered))]
    NoUsableTrack {
        /// Its tracks, as `media/encoding`.
        offered: Vec<String>,
    },
    /// The video track's parameter sets never came.
    #[error("no parameter sets within {} s", .within.as_secs())]
    NoParameters {
        /// How long we waited.
        within: Duration,
    },
    /// Connected and silent.
    #[error("no video for {:.1} s", .silence.as_secs_f64())]
    Stalled {
        /// For how long.
        silence: Duration,
    },
    /// A session over UDP of which not one datagram arrived.
    #[error("nothing came over UDP within {} s: a firewall or router on the way may keep it back", .within.as_secs())]
    UdpSilent {
        /// How long we waited.
        within: Duration,
    },
    /// TCP is refused, and UDP was silent the last time: there is no way left to try.
    #[error("the camera refuses TCP, and over UDP nothing arrived the last time")]
    NoWay,
    /// Packet loss left too long a hole in the video.
    #[error("{:.1} s of video lost to missing packets", .hole.as_secs_f64())]
    PacketLoss {
        /// How long.
        hole: Duration,
    },
    /// The media clock jumped, or ran off the recorder's.
    #[error("the camera's media clock {detail}")]
    ClockJump {
        /// Which way and how far.
        detail: String,
    },
    /// The recorder's own clock was set by more than a run can follow.
    #[error("the recorder's clock was set by {:+.1} s", .by.as_secs_f64())]
    ClockSet {
        /// By so much; negative: back.
        by: WallSpan,
    },
    /// The machine was suspended.
    #[error("the recorder's machine slept for {:.1} s", .slept.as_secs_f64())]
    Slept {
        /// For how long.
        slept: Duration,
    },
    /// The stream is being published by somebody else.
    #[error("the stream has a publisher already")]
    AlreadyPublishing,
    /// Vedette's own fault.
    #[error("internal: {0}")]
    Internal(String),
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl Failure for PullError {
    // No `_` arms: whoever adds a variant decides here.
    fn retry(&self) -> Retry {
        match self {
            Self::Unauthorized { .. }
            | Self::Untrusted { .. }
            | Self::NotFound { .. }
            | Self::NoUsableTrack { .. } => Retry::Slow,
            Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::NoAnswer { .. }
            | Self::Refused { .. }
            | Self::Disconnected { .. }
            | Self::PublisherLeft(_)
            | Self::Ended
            | Self::Protocol { .. }
            | Self::NoParameters { .. }
            | Self::Stalled { .. }
            | Self::UdpSilent { .. }
            | Self::NoWay
            | Self::PacketLoss { .. }
            | Self::ClockJump { .. }
            | Self::ClockSet { .. }
            | Self::Slept { .. }
            | Self::AlreadyPublishing
            | Self::Internal(_) => Retry::Soon,
        }
    }

    fn reason(&self) -> GapReason {
        match self {
            Self::Connect { .. } | Self::ConnectTimeout { .. } => GapReason::Unreachable,
            Self::NoAnswer { .. } | Self::Stalled { .. } | Self::UdpSilent { .. } => {
                GapReason::Stalled
            }
            Self::Unauthorized { .. } => GapReason::Unauthorized,
            Self::Untrusted { .. } | Self::NotFound { .. } | Self::Refused { .. } | Self::NoWay => {
                GapReason::Refused
            }
            Self::Disconnected { .. } | Self::Ended => GapReason::Disconnected,
            Self::PublisherLeft(left) => left.reason(),
            Self::Protocol { .. } | Self::NoParameters { .. } => GapReason::ProtocolError,
            Self::NoUsableTrack { .. } => GapReason::NoUsableTrack,
            Self::PacketLoss { .. } => GapReason::PacketLoss,
            Self::ClockJump { .. } | Self::ClockSet { .. } => GapReason::ClockJump,
            Self::Slept { .. } => GapReason::VedetteDown,
            Self::AlreadyPublishing | Self::Internal(_) => GapReason::Internal,
        }
    }
}
