//! The segment file: fragmented MP4, written and read without copying a frame.
//!
//! ```text
//! ftyp moov{… uuid(identity)}  ( prft moof mdat )*  uuid(tail)
//! ```
//!
//! What each box holds and why is decided in the format's own document; here is how it is reached:
//!
//! * [`write_header`], [`write_fragment`], [`write_tail`] give the bytes around the payload. The
//!   caller writes them and the units' own slices with one gathered write a fragment.
//! * [`read_header`], [`read_fragment`], [`read_tail`] give tables of where each unit lies.
//! * [`scan()`] walks a whole file and says where its last whole fragment ends.
//!
//! # mp4-atom
//!
//! The boxes of the header are mp4-atom's (leaves; the containers around them are ours, for it has
//! no place for a `uuid` in `moov` nor for a `ulaw` entry in `stsd`). `moof` is written by hand: it
//! is five boxes of fixed shape, once a second a camera, and mp4-atom would have each sample's
//! entry built up in vectors first. Tests decode it with mp4-atom. None of its types is in this
//! module's interface.
//!
//! # Units
//!
//! Times in the file are ticks of the track's timescale since the file's time 0, which is
//! [`TrackStart::first_dts`] in the run; offsets are bytes from the start of the file.
//!
//! # Limits
//!
//! Files come from disks that fail and from hands that mean ill: every count and size is checked
//! against what is there before anything is allocated. See [`limits`].

mod boxes;
mod entry;
mod fragment;
mod fragment_read;
mod header;
mod identity;
mod scan;
mod tail;
#[cfg(test)]
mod tests;

pub use fragment::{FragmentHead, FragmentTrack, Sample, checksum, index, write_fragment};
pub use fragment_read::read_fragment;
pub use header::{Header, read_header, write_header};
pub use identity::{Identity, TrackStart};
pub use scan::{Scan, Torn, Verify, scan, scan_verifying};
pub use tail::{TRAILER_LEN, Tail, read_tail, tail_len, write_tail};

use super::{
    access_unit::TrackIndex,
    time::{MediaTime, WallTime},
};

/// What no file may exceed.
pub mod limits {
    /// Bytes of `ftyp` and `moov`, and of one `moof`.
    pub const HEADER: u64 = 4 << 20;
    /// Tracks of a file.
    pub const TRACKS: usize = 16;
    /// Units of one fragment, all tracks: a second of sound in the smallest packets is far below.
    pub const FRAGMENT_SAMPLES: usize = 1 << 16;
    /// Payload bytes of one fragment: `trun` holds the offset into it in 31 bits.
    pub const FRAGMENT_PAYLOAD: u64 = (i32::MAX as u64) - HEADER;
    /// Fragments of a file.
    pub const FRAGMENTS: usize = 1 << 16;
    /// Units of a file, all tracks.
    pub const SAMPLES: usize = 1 << 20;
    /// Bytes of the tail box.
    pub const TAIL: u64 = 32 << 20;
    /// Bytes of a name in the identity.
    pub const NAME: usize = 255;
    /// Bytes of one parameter set or audio configuration.
    pub const PARAMETER_SET: usize = u16::MAX as usize;
}

/// Where a unit lies, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleRef {
    /// Decoding time in the file.
    pub dts: MediaTime,
    /// Ticks to the next unit's decoding time.
    pub duration: u32,
    /// Presentation time minus decoding time.
    pub cts: i32,
    /// Decoding can begin here.
    pub sync: bool,
    /// Of its first byte, from the start of the file.
    pub offset: u64,
    /// Bytes.
    pub size: u32,
}

impl SampleRef {
    /// Presentation time in the file.
    #[must_use]
    pub fn pts(&self) -> MediaTime {
        self.dts + MediaTime::from_ticks(i64::from(self.cts))
    }
}

/// A point where media time and wall time meet (`prft`): when the first unit of a fragment was
/// captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The fragment's first track.
    pub track: TrackIndex,
    /// Presentation time in the file of that track's first unit in the fragment.
    pub pts: MediaTime,
    /// The same moment on the recorder's clock; whole microseconds.
    pub wall: WallTime,
}

/// One fragment, without its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentRef {
    /// Of its first byte (`prft`).
    pub offset: u64,
    /// When it begins.
    pub anchor: Anchor,
}

/// One fragment as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Counts from 1 in the file.
    pub sequence: u32,
    /// When it begins; `None` when it has no `prft`.
    pub anchor: Option<Anchor>,
    /// Its units by track, in decoding order: as many lists as the file has tracks.
    pub tracks: Vec<Vec<SampleRef>>,
    /// Of its payload; `None` when it has none.
    pub checksum: Option<u32>,
}

/// Why nothing could be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Too much for one file or fragment: see [`limits`].
    #[error("{0} beyond what a file may hold")]
    TooLarge(&'static str),
    /// A caller's mistake: the reason.
    #[error("cannot be written: {0}")]
    Invalid(&'static str),
    /// A box's encoder refused.
    #[error("encode {0}")]
    Encode(&'static str),
}

/// Why bytes were not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// More bytes are needed: at least this many from where reading began. Asking again with them
    /// makes progress; a file that ends before is torn.
    #[error("incomplete, {needed} bytes are needed")]
    Incomplete {
        /// Length of the input that is needed.
        needed: u64,
    },
    /// Beyond [`limits`].
    #[error("{0} beyond what a file may hold")]
    TooLarge(&'static str),
    /// A box that must be there is not.
    #[error("no {0}")]
    Missing(&'static str),
    /// Not what the box must hold.
    #[error("damaged {0}")]
    Damaged(&'static str),
    /// Written by a newer version in a way this one cannot read.
    #[error("format version {0} is newer than this program")]
    Newer(u8),
    /// A codec this version does not know.
    #[error("sample entry {0:?} is not known")]
    UnknownCodec(String),
}
