//! Looks at a camera without recording it: what it offers, what it really sends, what is wrong.

use std::time::Duration;

use crate::clock::Clock;

use super::{PullError, PullTarget};

/// One track, as offered and as measured.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct ProbedTrack {
    /// `video`, `audio`, `application`.
    pub media: String,
    /// As people write it: `H.264`, `AAC`; for what Vedette cannot record, the SDP's own name.
    pub codec: String,
    /// RFC 6381 name, when the parameters are known.
    pub rfc6381: Option<String>,
    /// Whether Vedette records it.
    pub usable: bool,
    /// RTP clock rate.
    pub clock_rate: u32,
    /// Pixels.
    pub width: Option<u32>,
    /// Pixels.
    pub height: Option<u32>,
    /// Channels.
    pub channels: Option<u8>,
    /// What the camera says.
    pub declared_fps: Option<f64>,
    /// What it sends.
    pub measured_fps: Option<f64>,
    /// Payload bits a second.
    pub bitrate_bps: u64,
    /// Between key frames.
    pub key_frame_interval_seconds: Option<f64>,
    /// Units received.
    pub units: u64,
    /// Units that lost a packet.
    pub damaged: u64,
}

/// What a probe found.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct ProbeReport {
    /// Its tracks, in the order of its SDP.
    pub tracks: Vec<ProbedTrack>,
    /// How long it was watched, seconds.
    pub watched_seconds: f64,
    /// What is wrong, in plain words; empty when all is well.
    pub problems: Vec<String>,
}

/// Connects, watches for `duration`, disconnects. A camera that cannot be watched to the end still
/// gives a report: the failure stands among the problems.
///
/// # Errors
///
/// When nothing could be learned: no connection, refused, no SDP.
pub async fn probe(
    target: &PullTarget,
    duration: Duration,
    clock: &Clock,
) -> Result<ProbeReport, PullError> {
    let _ = (target, duration, clock);
    todo!()
}
