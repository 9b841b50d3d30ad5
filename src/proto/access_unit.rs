//! The one currency: what a camera sends, what a file holds and what a player gets are all
//! sequences of [`AccessUnit`]s, live or recorded alike.
//!
//! # Invariants
//!
//! * `number` counts the units of one track within one run, from 0, without a break: recorded and
//!   live footage join at the live edge by it. A unit that was damaged and dropped before it was
//!   published has no number.
//! * `dts` never falls within one track of one run; `dts + cts` is the presentation time and the
//!   camera's own RTP ticks, unchanged, counted from the run's start.
//! * A video unit's NAL units stand behind 4-byte big-endian lengths (ISO/IEC 14496-15 §4.3.3). A
//!   random access unit carries its parameter sets in-band, in `head` where the camera did not send
//!   them so itself: any suffix of a stream that begins with one decodes alone.
//! * Payloads are reference-counted slices: they are copied once, out of the socket or the file.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    codec::Parameters,
    time::{MediaTime, Timescale, WallTime},
};

/// Which track of its stream a unit belongs to: an index into [`Tracks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackIndex(pub u8);

impl TrackIndex {
    /// As an index into per-track tables.
    #[must_use]
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

/// One coded picture, or one audio frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessUnit {
    /// Its track.
    pub track: TrackIndex,
    /// Its place among the units of its track in this run, from 0.
    pub number: u64,
    /// Decoding time, ticks of the track's timescale since the start of the run.
    pub dts: MediaTime,
    /// Presentation time minus decoding time, ticks; signed, not zero only with B-frames.
    pub cts: i32,
    /// When it was captured, as well as the recorder knows: the presentation time put on the
    /// recorder's own clock (FORMAT "Time in the index").
    pub wall: WallTime,
    /// Decoding can begin here (IDR, CRA, BLA; every audio frame).
    pub random_access: bool,
    /// Bytes that go before `body`: parameter sets the camera did not send in-band. Mostly empty.
    pub head: Bytes,
    /// The payload.
    pub body: Bytes,
}

impl AccessUnit {
    /// Payload bytes in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Whether there is no payload.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.body.is_empty()
    }

    /// Presentation time, ticks since the start of the run.
    #[must_use]
    pub fn pts(&self) -> MediaTime {
        self.dts + MediaTime::from_ticks(i64::from(self.cts))
    }
}

/// One elementary stream and how to decode it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// Ticks a second of its times.
    pub timescale: Timescale,
    /// Codec and its parameters.
    pub parameters: Parameters,
}

/// The tracks of a stream, in the order of its SDP. Shared, since every reader holds it.
pub type Tracks = Arc<[Track]>;

/// The track whose key frames rule where segments and playback begin: the first video track, else
/// the first track.
#[must_use]
pub fn leading_track(tracks: &[Track]) -> TrackIndex {
    let video = tracks.iter().position(|t| t.parameters.is_video()).unwrap_or(0);
    TrackIndex(u8::try_from(video).unwrap_or(0))
}
