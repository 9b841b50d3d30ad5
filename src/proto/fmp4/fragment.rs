//! Writing `prft`, `moof` and the header of `mdat`.
//!
//! # What is left out of the tables
//!
//! Durations that are all the same stand once, in `tfhd`; so do flags of tracks whose samples are
//! all sync samples or all not; a leading sync sample alone has the flags meant for that case.
//! Composition offsets are written only where one is not zero. So a typical sample costs 4 to 8
//! bytes. Nothing is left to `trex`: a fragment can be read without the header.
//!
//! # The checksum
//!
//! A `uuid` box in `moof` holds the CRC-32 (that of the tail box) of the payload. What a power cut
//! left of bytes that were never synced may be zeros or garbage of the right length: by this alone
//! they are told from footage. Fragments without one are older; readers pass over it.
//!
//! ```text
//! size u32 | "uuid" | UUID | version u8 | CRC-32 of the content of mdat u32
//! ```

use bytes::{BufMut, BytesMut};

use super::{SampleRef, WriteError, limits};
use crate::proto::{
    access_unit::TrackIndex,
    time::{MediaTime, WallTime},
};

/// Marks the checksum's box as ours; made up once, never to change.
pub(super) const CHECKSUM_UUID: [u8; 16] = [
    0x5e, 0x8d, 0x1c, 0x52, 0x0b, 0x1f, 0x4d, 0x3a, 0x9c, 0x76, 0x1d, 0x53, 0xf4, 0x0e, 0x2a, 0x93,
];
pub(super) const CHECKSUM_VERSION: u8 = 1;

/// Needs no other sample (ISO/IEC 14496-12 §8.8.3.1).
const SYNC: u32 = 0x0200_0000;

/// Needs others, and decoding cannot begin with it.
const NOT_SYNC: u32 = 0x0101_0000;

/// The bit that tells the two apart.
pub(super) const IS_NOT_SYNC: u32 = 0x0001_0000;

pub(super) mod tfhd {
    pub(in crate::proto::fmp4) const BASE_DATA_OFFSET: u32 = 0x01;
    pub(in crate::proto::fmp4) const DESCRIPTION: u32 = 0x02;
    pub(in crate::proto::fmp4) const DURATION: u32 = 0x08;
    pub(in crate::proto::fmp4) const SIZE: u32 = 0x10;
    pub(in crate::proto::fmp4) const FLAGS: u32 = 0x20;
    pub(in crate::proto::fmp4) const BASE_IS_MOOF: u32 = 0x02_0000;
}

pub(super) mod trun {
    pub(in crate::proto::fmp4) const DATA_OFFSET: u32 = 0x01;
    pub(in crate::proto::fmp4) const FIRST_FLAGS: u32 = 0x04;
    pub(in crate::proto::fmp4) const DURATION: u32 = 0x100;
    pub(in crate::proto::fmp4) const SIZE: u32 = 0x200;
    pub(in crate::proto::fmp4) const FLAGS: u32 = 0x400;
    pub(in crate::proto::fmp4) const CTS: u32 = 0x800;
}

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

/// The id of a track in the file. Ids count from 1 (0 is forbidden).
pub(super) fn track_id(index: usize) -> u32 {
    u32::try_from(index).map_or(u32::MAX, |index| index.saturating_add(1))
}

/// Appends everything of a fragment but its payload. `sequence` counts from 1 in the file; `wall`
/// is when the first sample of the first track was captured; `checksum` is of the payload
/// ([`checksum`]). Tracks without samples are left out; one at least must have some. On an error
/// nothing is appended.
pub fn write_fragment(
    out: &mut BytesMut,
    sequence: u32,
    wall: WallTime,
    tracks: &[FragmentTrack<'_>],
    checksum: Option<u32>,
) -> Result<FragmentHead, WriteError> {
    let payload_len = check(tracks)?;
    let start = out.len();
    let used = || tracks.iter().filter(|part| !part.samples.is_empty());
    let Some((first, sample)) = used().find_map(|part| Some((part, part.samples.first()?))) else {
        return Err(WriteError::Invalid("a fragment without samples"));
    };

    out.put_u32(32);
    out.put_slice(b"prft");
    out.put_u32(0x0100_0000); // version 1; flags 0: the time is when the picture was captured
    out.put_u32(track_id(first.track.as_usize()));
    out.put_u64(wall.to_ntp());
    // Reordering of unknown depth may put the first presentation some ticks before time 0.
    out.put_u64((first.dts.ticks() + i64::from(sample.cts)).max(0).cast_unsigned());

    let moof = out.len();
    begin(out, b"moof");
    out.put_u32(16);
    out.put_slice(b"mfhd");
    out.put_u32(0);
    out.put_u32(sequence);
    let mut offsets = [0; limits::TRACKS]; // where each `trun` has its data offset
    for (part, place) in used().zip(&mut offsets) {
        *place = put_traf(out, part);
    }
    if let Some(checksum) = checksum {
        out.put_u32(8 + 16 + 1 + 4);
        out.put_slice(b"uuid");
        out.put_slice(&CHECKSUM_UUID);
        out.put_u8(CHECKSUM_VERSION);
        out.put_u32(checksum);
    }
    end(out, moof);

    let payload = out.len() + 8;
    let mut data_offset = payload - moof;
    for (part, &place) in used().zip(&offsets) {
        // Below 2^31 by what `check` allows.
        patch(out, place, u32::try_from(data_offset).unwrap_or(u32::MAX));
        data_offset += part.samples.iter().map(|s| s.size as usize).sum::<usize>();
    }
    out.put_u32(u32::try_from(payload_len + 8).unwrap_or(u32::MAX));
    out.put_slice(b"mdat");
    Ok(FragmentHead { len: (payload - start) as u64, payload_len })
}

/// The checksum of a payload that is made of `parts`.
#[must_use]
pub fn checksum<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    parts.into_iter().for_each(|part| crc.update(part));
    crc.finalize()
}

/// Bytes of payload, if all is within limits.
fn check(tracks: &[FragmentTrack<'_>]) -> Result<u64, WriteError> {
    if tracks.len() > limits::TRACKS {
        return Err(WriteError::TooLarge("number of tracks"));
    }
    let samples: usize = tracks.iter().map(|part| part.samples.len()).sum();
    if samples > limits::FRAGMENT_SAMPLES {
        return Err(WriteError::TooLarge("number of units in a fragment"));
    }
    let payload = tracks.iter().flat_map(|p| p.samples).map(|s| u64::from(s.size)).sum();
    if payload > limits::FRAGMENT_PAYLOAD {
        return Err(WriteError::TooLarge("payload of a fragment"));
    }
    for (at, part) in tracks.iter().enumerate() {
        if part.track.as_usize() >= limits::TRACKS {
            return Err(WriteError::TooLarge("number of tracks"));
        }
        if tracks.iter().take(at).any(|other| other.track == part.track) {
            return Err(WriteError::Invalid("a track twice in a fragment"));
        }
        // 2^62 ticks leave room to add the fragment's own durations.
        if !(0..1 << 62).contains(&part.dts.ticks()) {
            return Err(WriteError::Invalid("a decoding time before the file's time 0"));
        }
    }
    Ok(payload)
}

/// Appends a `traf`; returns where its data offset is to be put.
fn put_traf(out: &mut BytesMut, part: &FragmentTrack<'_>) -> usize {
    let samples = part.samples;
    let (first, rest) = samples.split_first().map_or((None, samples), |(f, rest)| (Some(f), rest));
    let duration = first.map_or(0, |first| first.duration);
    let same_duration = rest.iter().all(|s| s.duration == duration);
    let has_cts = samples.iter().any(|s| s.cts != 0);
    let first_sync = first.is_some_and(|first| first.sync);
    let rest_sync = rest.first().map_or(first_sync, |s| s.sync);
    let same_flags = rest.iter().all(|s| s.sync == rest_sync);

    let traf = out.len();
    begin(out, b"traf");

    let tfhd = out.len();
    begin(out, b"tfhd");
    out.put_u32(
        tfhd::BASE_IS_MOOF
            | if same_duration { tfhd::DURATION } else { 0 }
            | if same_flags { tfhd::FLAGS } else { 0 },
    );
    out.put_u32(track_id(part.track.as_usize()));
    if same_duration {
        out.put_u32(duration);
    }
    if same_flags {
        out.put_u32(flags(rest_sync));
    }
    end(out, tfhd);

    out.put_u32(20);
    out.put_slice(b"tfdt");
    out.put_u32(0x0100_0000); // version 1: 64 bits
    out.put_u64(part.dts.ticks().cast_unsigned());

    let trun = out.len();
    begin(out, b"trun");
    let first_flags = same_flags && first_sync != rest_sync;
    out.put_u32(
        0x0100_0000 // version 1: composition offsets are signed
            | trun::DATA_OFFSET
            | trun::SIZE
            | if first_flags { trun::FIRST_FLAGS } else { 0 }
            | if same_duration { 0 } else { trun::DURATION }
            | if same_flags { 0 } else { trun::FLAGS }
            | if has_cts { trun::CTS } else { 0 },
    );
    out.put_u32(u32::try_from(samples.len()).unwrap_or(u32::MAX));
    let place = out.len();
    out.put_u32(0);
    if first_flags {
        out.put_u32(flags(first_sync));
    }
    for sample in samples {
        if !same_duration {
            out.put_u32(sample.duration);
        }
        out.put_u32(sample.size);
        if !same_flags {
            out.put_u32(flags(sample.sync));
        }
        if has_cts {
            out.put_i32(sample.cts);
        }
    }
    end(out, trun);
    end(out, traf);
    place
}

const fn flags(sync: bool) -> u32 {
    if sync { SYNC } else { NOT_SYNC }
}

fn begin(out: &mut BytesMut, kind: &[u8; 4]) {
    out.put_u32(0);
    out.put_slice(kind);
}

fn end(out: &mut BytesMut, start: usize) {
    let len = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    patch(out, start, len);
}

fn patch(out: &mut BytesMut, at: usize, value: u32) {
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// Where the samples of a fragment come to lie when its payload begins at `payload_offset` of the
/// file: the same as [`read_fragment`](super::read_fragment) will find.
pub fn index<'a>(
    tracks: &'a [FragmentTrack<'a>],
    payload_offset: u64,
) -> impl Iterator<Item = (TrackIndex, SampleRef)> + 'a {
    let mut offset = payload_offset;
    let mut samples = tracks.iter().flat_map(|part| {
        part.samples.iter().scan(part.dts, move |dts, sample| {
            let at = *dts;
            *dts = at + MediaTime::from_ticks(i64::from(sample.duration));
            Some((part.track, at, sample))
        })
    });
    std::iter::from_fn(move || {
        let (track, dts, &Sample { duration, cts, size, sync }) = samples.next()?;
        let sample = SampleRef { dts, duration, cts, sync, offset, size };
        offset += u64::from(size);
        Some((track, sample))
    })
}
