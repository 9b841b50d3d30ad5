//! Payloads into frames, by each codec's RFC: what [`receive`](super::receive) puts in order comes
//! out as coded pictures and sound frames.
//!
//! # A further codec
//!
//! A file of its own with a type that implements [`Codec`], a variant of [`Kind`], a line in
//! [`Depacketizer::new`] and one in [`Kind::codec`].

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;

use super::receive::Received;
use crate::proto::codec::Parameters;

/// What a frame may cost. Checked before memory is taken.
pub mod limits {
    /// The most bytes of one frame.
    pub const FRAME: usize = 16 << 20;
    /// The most packets, fragments and NAL units of one frame.
    pub const PIECES: usize = 32_768;
}

/// A track as SDP describes it: `a=rtpmap` (or a static payload type) and `a=fmtp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format<'a> {
    /// Encoding name, in any case: `H264`, `mpeg4-generic`, `PCMU`.
    pub encoding: &'a str,
    /// Ticks a second.
    pub clock_rate: u32,
    /// Channels, where it says so.
    pub channels: Option<u8>,
    /// `a=fmtp` behind the payload type; empty where there is none.
    pub fmtp: &'a str,
}

impl<'a> Format<'a> {
    /// The value of a format parameter, whatever case its name is in.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&'a str> {
        self.fmtp.split(';').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// One coded picture, or one frame of sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// RTP time, on the line of [`Received::ticks`].
    pub ticks: i64,
    /// When its first packet came.
    pub arrived: Duration,
    /// NAL units behind 4-byte lengths, parameter sets among them where the camera sent them; or
    /// one frame of sound.
    pub data: Bytes,
    /// Packets lost since the frame before, within dropped frames too.
    pub lost: u16,
    /// Frames dropped since the frame before, as far as they were seen at all.
    pub dropped: u16,
    /// The first of another source, or after a restart.
    pub fresh: bool,
    /// Where it brings new ones: from this frame on these count.
    pub parameters: Option<Parameters>,
    /// When it was captured, where the camera says so in each packet (ONVIF replay): NTP.
    pub captured: Option<u64>,
}

/// Why a track cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// No depacketizer for this encoding.
    #[error("no depacketizer for {0}")]
    Encoding(String),
    /// A format parameter that cannot be served.
    #[error("{encoding}: {detail}")]
    Format {
        /// Which encoding.
        encoding: &'static str,
        /// What is wrong.
        detail: String,
    },
}

/// A packet that breaks the rules of its payload format. What it belonged to is dropped; the next
/// frame is taken as if nothing had been.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DepacketizeError {
    /// It contradicts its payload format.
    #[error("{0}")]
    Malformed(&'static str),
    /// More than [`limits::FRAME`] or [`limits::PIECES`].
    #[error("a frame beyond {} MiB or {} pieces", limits::FRAME >> 20, limits::PIECES)]
    TooLong,
}

/// One payload format's depacketizer.
pub(super) trait Codec {
    /// Takes the next packet in; frames go to `frames`.
    fn push(
        &mut self,
        packet: Received,
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), DepacketizeError>;

    /// What is known of the codec's parameters by now, from SDP or in-band.
    fn parameters(&self) -> Option<&Parameters>;

    /// What was known of them in an earlier session. Only for those that may come in-band.
    fn remember(&mut self, known: &Parameters) {
        let _ = known;
    }
}

/// By payload format.
#[derive(Debug)]
enum Kind {}

impl Kind {
    fn codec(&mut self) -> &mut dyn Codec {
        match *self {}
    }

    fn codec_ref(&self) -> &dyn Codec {
        match *self {}
    }
}

/// One track's packets into frames. After each [`push`](Self::push) ask [`poll`](Self::poll) until
/// it has no more.
#[derive(Debug)]
pub struct Depacketizer {
    kind: Kind,
    frames: VecDeque<Frame>,
}

impl Depacketizer {
    /// For a track with this description.
    ///
    /// # Errors
    ///
    /// When there is none for it.
    pub fn new(format: &Format<'_>) -> Result<Self, Unsupported> {
        Err(Unsupported::Encoding(format.encoding.chars().take(32).collect()))
    }

    /// The codec's parameters as of now: from the description, or in-band. `None` where they are
    /// still to come.
    #[must_use]
    pub fn parameters(&self) -> Option<&Parameters> {
        self.kind.codec_ref().parameters()
    }

    /// Parameters of an earlier session with the same camera: those that go with the same SPS are
    /// taken over, so that a second PPS which comes only in-band is known from the first key frame.
    pub fn remember(&mut self, known: &Parameters) {
        self.kind.codec().remember(known);
    }

    /// The next packet of the track.
    ///
    /// # Errors
    ///
    /// When it breaks the payload format; the frame it belonged to is dropped.
    pub fn push(&mut self, packet: Received) -> Result<(), DepacketizeError> {
        self.kind.codec().push(packet, &mut self.frames)
    }

    /// The next frame.
    pub fn poll(&mut self) -> Option<Frame> {
        self.frames.pop_front()
    }
}
