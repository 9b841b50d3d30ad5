//! `prft`, `moof` and the header of `mdat`.

use bytes::BytesMut;

use super::{Fragment, ReadError, SampleRef, WriteError};
use crate::proto::{
    access_unit::TrackIndex,
    time::{MediaTime, WallTime},
};

/// A unit about to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Ticks to the next unit's decoding time.
    pub duration: u32,
    /// Presentation time minus decoding time.
    pub cts: i32,
    /// Payload bytes.
    pub size: u32,
    /// Decoding can begin here.
    pub sync: bool,
}

/// One track's part of a fragment.
#[derive(Clone, Copy, Debug)]
pub struct FragmentTrack<'a> {
    /// Which track.
    pub track: TrackIndex,
    /// Decoding time in the file of the first sample.
    pub dts: MediaTime,
    /// In decoding order; the payloads are written in the same order.
    pub samples: &'a [Sample],
}

/// What [`write_fragment`] appended, and what must follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentHead {
    /// Bytes appended: `prft`, `moof`, header of `mdat`. The payload begins here.
    pub len: u64,
    /// Bytes of payload the caller appends: all samples of the first track, then of the next.
    pub payload_len: u64,
}

/// Appends everything of a fragment but its payload. `sequence` counts from 1 in the file; `wall`
/// is when the first sample of the first track was captured. Tracks without samples are left out;
/// one at least must have some. On an error nothing is appended.
pub fn write_fragment(
    _out: &mut BytesMut,
    _sequence: u32,
    _wall: WallTime,
    _tracks: &[FragmentTrack<'_>],
) -> Result<FragmentHead, WriteError> {
    todo!()
}

/// Where the samples of a fragment come to lie when its payload begins at `payload_offset` of the
/// file: the same as [`read_fragment`] will find.
pub fn index<'a>(
    tracks: &'a [FragmentTrack<'a>],
    payload_offset: u64,
) -> impl Iterator<Item = (TrackIndex, SampleRef)> + 'a {
    let mut offset = payload_offset;
    tracks.iter().flat_map(move |part| {
        part.samples.iter().scan((part.dts, offset), |_, _| None::<(TrackIndex, SampleRef)>)
    })
}

/// Reads a fragment's tables. `data` begins with the fragment's `prft` (or `moof`), which stands at
/// `offset` of the file, and reaches at least to the end of `moof`; `tracks` is how many the file
/// has. Offsets are not checked against the length of the file: [`super::scan`] does that.
pub fn read_fragment(_data: &[u8], _offset: u64, _tracks: usize) -> Result<Fragment, ReadError> {
    todo!()
}
