//! Payloads into frames, by each codec's RFC: what [`receive`](super::receive) puts in order comes
//! out as coded pictures and sound frames.
//!
//! A unit that lost a packet is dropped; what was not hit comes out whole, and says how many packets
//! and units are missing before it. What breaks the rules of its format costs the unit it is in.
//!
//! # A further codec
//!
//! A file of its own with a type that implements `Codec` and keeps a `Told` (or a `Gather`, where
//! several packets make up a frame), a variant of `Kind`, a line in [`Depacketizer::new`], and its variant in `Kind::codec` and
//! `Kind::codec_ref`.

mod aac;
mod av1;
mod family;
mod gather;
mod latm;
mod mjpeg;
mod nal;
mod sound;

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;

use super::{extension::Replayed, receive::Received};
use crate::proto::codec::{Parameters, g711::Law, sets};

/// What a frame may cost. Checked before memory is taken.
pub mod limits {
    /// The most bytes of one frame.
    pub const FRAME: usize = 16 << 20;
    /// The most packets, fragments and NAL units of one frame.
    pub const PIECES: usize = 32_768;
    /// A frame that is one packet is copied up to this size, not sliced: a slice keeps alive all
    /// that was read from the socket with it, for as long as the frame lives.
    pub const COPIED: usize = 2_048;
    /// The most bytes of a configuration in SDP.
    pub const CONFIG: usize = 1_024;
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
    /// When it was captured and how it hangs together with others, where the camera says so in its
    /// packets (ONVIF replay).
    pub replayed: Option<Replayed>,
}

/// Why a track cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// No depacketizer for this encoding.
    #[error("no depacketizer for {0}")]
    Encoding(String),
    /// Nothing says how its time counts.
    #[error("{0}: no clock rate")]
    ClockRate(String),
    /// A format parameter that cannot be served.
    #[error("{encoding}: {detail}")]
    Format {
        /// Which encoding.
        encoding: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// Known, and left out of recordings.
    #[error("{encoding} is {reason}")]
    Unrecorded {
        /// Which encoding.
        encoding: &'static str,
        /// Why.
        reason: &'static str,
    },
}

/// What cameras are known to offer and no file can hold, though it could be received: MP4 has no
/// sample entry for it that players read. (ffmpeg alone takes a WAVE format tag behind `ms`; VLC,
/// GStreamer and browsers do not. Coding it anew is out of the question here.)
fn unrecorded(encoding: &str) -> Option<Unsupported> {
    let (encoding, reason) = match encoding {
        "g722" => ("G.722", "not recorded: no player reads it from MP4"),
        name if name.starts_with("g726-") || name.starts_with("aal2-g726-") => {
            ("G.726", "not recorded: no player reads it from MP4")
        }
        "vnd.onvif.metadata" => ("ONVIF metadata", "not recorded: neither picture nor sound"),
        _ => return None,
    };
    Some(Unsupported::Unrecorded { encoding, reason })
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

/// What the next frame says of what is missing before it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    lost: u16,
    dropped: u16,
    fresh: bool,
}

impl Told {
    /// Of the next packet.
    pub(super) const fn add(&mut self, lost: u16, fresh: bool) {
        self.lost = self.lost.saturating_add(lost);
        self.fresh |= fresh;
    }

    /// A frame was dropped.
    pub(super) const fn drop_one(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
    }

    /// The next frame.
    pub(super) fn frame(
        &mut self,
        ticks: i64,
        arrived: Duration,
        data: Bytes,
        parameters: Option<Parameters>,
        replayed: Option<Replayed>,
    ) -> Frame {
        let Self { lost, dropped, fresh } = std::mem::take(self);
        Frame { ticks, arrived, data, lost, dropped, fresh, parameters, replayed }
    }
}

/// A frame that is one packet, or a part of one.
pub(super) fn own(data: Bytes) -> Bytes {
    if data.len() <= limits::COPIED { Bytes::copy_from_slice(&data) } else { data }
}

/// `config`: bytes in hexadecimal.
pub(super) fn hexadecimal(text: &str) -> Option<Bytes> {
    let digits = text.trim().trim_matches('"').as_bytes();
    if digits.is_empty() || digits.len() > 2 * limits::CONFIG {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let byte = |pair: &[u8]| match *pair {
        [high, low] => Some(nibble(high)? << 4 | nibble(low)?),
        _ => None,
    };
    digits.chunks(2).map(byte).collect::<Option<Vec<u8>>>().map(Bytes::from)
}

/// By payload format.
#[derive(Debug)]
enum Kind {
    /// H.264 and H.265.
    Nal(Box<nal::Nal>),
    Aac(Box<aac::Aac>),
    Mjpeg(Box<mjpeg::Mjpeg>),
    Av1(Box<av1::Av1>),
    Latm(Box<latm::Latm>),
    /// Opus, L16 and G.711.
    Sound(sound::Sound),
}

impl Kind {
    fn codec(&mut self) -> &mut dyn Codec {
        match self {
            Self::Nal(codec) => &mut **codec,
            Self::Aac(codec) => &mut **codec,
            Self::Mjpeg(codec) => &mut **codec,
            Self::Av1(codec) => &mut **codec,
            Self::Latm(codec) => &mut **codec,
            Self::Sound(codec) => codec,
        }
    }

    fn codec_ref(&self) -> &dyn Codec {
        match self {
            Self::Nal(codec) => &**codec,
            Self::Aac(codec) => &**codec,
            Self::Mjpeg(codec) => &**codec,
            Self::Av1(codec) => &**codec,
            Self::Latm(codec) => &**codec,
            Self::Sound(codec) => codec,
        }
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
        let nal = |codec| nal::Nal::new(codec, format).map(|nal| Kind::Nal(Box::new(nal)));
        let g711 = |law| Ok(Kind::Sound(sound::Sound::g711(law, format)));
        let kind = match &*format.encoding.trim().to_ascii_lowercase() {
            "h264" => nal(sets::Codec::H264),
            "h265" | "hevc" => nal(sets::Codec::H265),
            "mpeg4-generic" => aac::Aac::new(format).map(|aac| Kind::Aac(Box::new(aac))),
            "pcmu" => g711(Law::Mu),
            "pcma" => g711(Law::A),
            "jpeg" => Ok(Kind::Mjpeg(Box::new(mjpeg::Mjpeg::new()))),
            "av1" => Ok(Kind::Av1(Box::new(av1::Av1::new()))),
            "mp4a-latm" => latm::Latm::new(format).map(|codec| Kind::Latm(Box::new(codec))),
            "opus" => sound::Sound::opus(format).map(Kind::Sound),
            "l16" => Ok(Kind::Sound(sound::Sound::pcm(format))),
            name => match unrecorded(name) {
                Some(unrecorded) => Err(unrecorded),
                None => Err(Unsupported::Encoding(format.encoding.chars().take(32).collect())),
            },
        }?;
        if format.clock_rate == 0 {
            return Err(Unsupported::ClockRate(format.encoding.chars().take(32).collect()));
        }
        Ok(Self { kind, frames: VecDeque::new() })
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

#[cfg(test)]
mod tests;
