//! The tail box, a `uuid` at the end of a closed file: every sample in one read.
//!
//! # Layout
//!
//! ```text
//! size u32 | "uuid" | UUID | version u8 | body | trailer
//! trailer: "vdtail\0\1" | size of the box u32 | CRC-32 of the box up to here u32
//! ```
//!
//! The trailer is the end of the file, so the box is found from there. The body is made of numbers
//! of varying length, in which runs of like samples are small (about 3 bytes a sample):
//!
//! ```text
//! body:     tracks, (track)*, fragments, (fragment)*
//! track:    samples, (chunk)* until there are as many
//! chunk:    samples, ±offset from the end of the last chunk, ±dts from the end of the last chunk,
//!           (size·2 + sync, ±duration from the one before, ±cts from the one before)*
//! fragment: ±offset, track, ±pts, ±wall microseconds: each from the one before
//! ```
//!
//! A tail that does not match its checksum is as good as none: the fragments say the same.

use bytes::{BufMut, BytesMut};

use super::{
    Anchor, FragmentRef, ReadError, SampleRef, WriteError,
    boxes::{BoxHeader, Reader, put_signed, put_varint},
    limits,
};
use crate::proto::{
    access_unit::TrackIndex,
    time::{MediaTime, WallTime},
};

/// Marks the box as ours; made up once, never to change.
pub(super) const UUID: [u8; 16] = [
    0x5e, 0x8d, 0x1c, 0x52, 0x0b, 0x1f, 0x4d, 0x3a, 0x9c, 0x76, 0x1d, 0x53, 0xf4, 0x0e, 0x2a, 0x92,
];

const VERSION: u8 = 1;

const MAGIC: [u8; 8] = *b"vdtail\0\x01";

const DAMAGED: ReadError = ReadError::Damaged("tail");

/// A file's tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Samples by track.
    pub tracks: Vec<Vec<SampleRef>>,
    /// Fragments in order.
    pub fragments: Vec<FragmentRef>,
}

/// Bytes at the very end of a file from which [`tail_len`] tells whether there is a tail.
pub const TRAILER_LEN: usize = 16;

/// Appends the tail box. Samples of a track must be in the order they were written. On an error
/// nothing is appended.
pub fn write_tail(
    out: &mut BytesMut,
    tracks: &[&[SampleRef]],
    fragments: &[FragmentRef],
) -> Result<(), WriteError> {
    let samples: usize = tracks.iter().map(|samples| samples.len()).sum();
    if tracks.len() > limits::TRACKS {
        return Err(WriteError::TooLarge("number of tracks"));
    }
    if samples > limits::SAMPLES || fragments.len() > limits::FRAGMENTS {
        return Err(WriteError::TooLarge("number of units in a file"));
    }
    let start = out.len();
    out.put_u32(0);
    out.put_slice(b"uuid");
    out.put_slice(&UUID);
    out.put_u8(VERSION);
    put_varint(out, tracks.len() as u64);
    for samples in tracks {
        put_track(out, samples);
    }
    put_varint(out, fragments.len() as u64);
    let mut last = FragmentRef::FIRST;
    for fragment in fragments {
        let (a, b) = (last.anchor, fragment.anchor);
        put_signed(out, difference(fragment.offset, last.offset));
        out.put_u8(b.track.0);
        put_signed(out, b.pts.ticks().wrapping_sub(a.pts.ticks()));
        put_signed(out, b.wall.as_micros().wrapping_sub(a.wall.as_micros()));
        last = *fragment;
    }
    let len = out.len() - start + TRAILER_LEN;
    let Some(size) = u32::try_from(len).ok().filter(|&size| u64::from(size) <= limits::TAIL) else {
        out.truncate(start);
        return Err(WriteError::TooLarge("tail"));
    };
    out.put_slice(&MAGIC);
    out.put_u32(size);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&size.to_be_bytes());
    }
    let crc = crc32(out.get(start..).unwrap_or_default());
    out.put_u32(crc);
    Ok(())
}

fn difference(a: u64, b: u64) -> i64 {
    a.wrapping_sub(b).cast_signed()
}

impl FragmentRef {
    /// What the first one is counted from.
    const FIRST: Self = Self {
        offset: 0,
        anchor: Anchor {
            track: TrackIndex(0),
            pts: MediaTime::ZERO,
            wall: WallTime::from_micros(0),
        },
    };
}

/// Where the next sample would lie, and when it would be, if it followed the one before.
#[derive(Clone, Copy, Default)]
struct Next {
    offset: u64,
    dts: i64,
}

impl Next {
    fn after(sample: &SampleRef) -> Self {
        Self {
            offset: sample.offset.wrapping_add(u64::from(sample.size)),
            dts: sample.dts.ticks().wrapping_add(i64::from(sample.duration)),
        }
    }

    fn is(self, sample: &SampleRef) -> bool {
        self.offset == sample.offset && self.dts == sample.dts.ticks()
    }
}

fn put_track(out: &mut BytesMut, samples: &[SampleRef]) {
    put_varint(out, samples.len() as u64);
    let mut next = Next::default();
    let (mut duration, mut cts) = (0, 0);
    for chunk in samples.chunk_by(|a, b| Next::after(a).is(b)) {
        let Some(first) = chunk.first() else { continue };
        put_varint(out, chunk.len() as u64);
        put_signed(out, difference(first.offset, next.offset));
        put_signed(out, first.dts.ticks().wrapping_sub(next.dts));
        for sample in chunk {
            put_varint(out, u64::from(sample.size) << 1 | u64::from(sample.sync));
            put_signed(out, i64::from(sample.duration) - duration);
            put_signed(out, i64::from(sample.cts) - cts);
            (duration, cts) = (i64::from(sample.duration), i64::from(sample.cts));
            next = Next::after(sample);
        }
    }
}

/// Bytes of the tail box, from the last bytes of a file ([`TRAILER_LEN`] at least; read some
/// 64 KiB, and that is mostly the whole of it). `None`: the file has none.
#[must_use]
pub fn tail_len(end_of_file: &[u8]) -> Option<u64> {
    let trailer = end_of_file.last_chunk::<TRAILER_LEN>()?;
    let mut reader = Reader::new(trailer.strip_prefix(&MAGIC)?);
    let size = u64::from(reader.u32()?);
    (size <= limits::TAIL).then_some(size)
}

/// Reads the tail box from the last bytes of a file: at least [`tail_len`] of them.
pub fn read_tail(end_of_file: &[u8]) -> Result<Tail, ReadError> {
    let len = tail_len(end_of_file).ok_or(ReadError::Missing("tail"))?;
    let start = usize::try_from(len).ok().and_then(|len| end_of_file.len().checked_sub(len));
    let start = start.ok_or(ReadError::Incomplete { needed: len })?;
    let whole = end_of_file.get(start..).unwrap_or_default();
    let (checked, crc) = whole.split_last_chunk::<4>().ok_or(DAMAGED)?;
    if crc32(checked) != u32::from_be_bytes(*crc) {
        return Err(ReadError::Damaged("checksum of the tail"));
    }
    let header = BoxHeader::read(whole).map_err(|_| DAMAGED)?;
    if header.kind != *b"uuid" || header.len != len {
        return Err(DAMAGED);
    }
    let (body, _) = header.split(whole).map_err(|_| DAMAGED)?;
    let (body, _trailer) = body.split_last_chunk::<TRAILER_LEN>().ok_or(DAMAGED)?;
    let mut reader = Reader::new(body.strip_prefix(&UUID).ok_or(DAMAGED)?);
    match reader.u8() {
        Some(VERSION) => read_body(reader).ok_or(DAMAGED),
        Some(version) => Err(ReadError::Newer(version)),
        None => Err(DAMAGED),
    }
}

fn read_body(mut reader: Reader<'_>) -> Option<Tail> {
    let tracks = usize::try_from(reader.varint()?).ok().filter(|&n| n <= limits::TRACKS)?;
    let mut left = limits::SAMPLES;
    let tracks =
        (0..tracks).map(|_| read_samples(&mut reader, &mut left)).collect::<Option<_>>()?;
    let count = usize::try_from(reader.varint()?).ok()?;
    // Each takes 4 bytes at least.
    if count > limits::FRAGMENTS || count > reader.remaining() / 4 {
        return None;
    }
    let mut fragments = Vec::with_capacity(count);
    let mut last = FragmentRef::FIRST;
    for _ in 0..count {
        let offset = last.offset.checked_add_signed(reader.signed()?)?;
        let track = TrackIndex(reader.u8()?);
        let pts = last.anchor.pts.ticks().checked_add(reader.signed()?)?;
        let wall = last.anchor.wall.as_micros().checked_add(reader.signed()?)?;
        let (pts, wall) = (MediaTime::from_ticks(pts), WallTime::from_micros(wall));
        last = FragmentRef { offset, anchor: Anchor { track, pts, wall } };
        fragments.push(last);
    }
    Some(Tail { tracks, fragments })
}

fn read_samples(reader: &mut Reader<'_>, left: &mut usize) -> Option<Vec<SampleRef>> {
    let count = usize::try_from(reader.varint()?).ok()?;
    // Each takes 3 bytes at least.
    if count > reader.remaining() / 3 {
        return None;
    }
    *left = left.checked_sub(count)?;
    let mut samples = Vec::with_capacity(count);
    let mut next = Next::default();
    let (mut duration, mut cts) = (0_i64, 0_i64);
    while samples.len() < count {
        let chunk = usize::try_from(reader.varint()?).ok()?;
        if chunk == 0 || chunk > count - samples.len() {
            return None;
        }
        next.offset = next.offset.checked_add_signed(reader.signed()?)?;
        next.dts = next.dts.checked_add(reader.signed()?)?;
        for _ in 0..chunk {
            let size = reader.varint()?;
            duration = duration.checked_add(reader.signed()?)?;
            cts = cts.checked_add(reader.signed()?)?;
            let sample = SampleRef {
                dts: MediaTime::from_ticks(next.dts),
                duration: u32::try_from(duration).ok()?,
                cts: i32::try_from(cts).ok()?,
                sync: size & 1 == 1,
                offset: next.offset,
                size: u32::try_from(size >> 1).ok()?,
            };
            next.offset = sample.offset.checked_add(u64::from(sample.size))?;
            next.dts = next.dts.checked_add(i64::from(sample.duration))?;
            samples.push(sample);
        }
    }
    Some(samples)
}

/// CRC-32 as in Ethernet and zip (polynomial 0x04C11DB7, reflected).
fn crc32(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut n = 0;
        while n < 256 {
            let mut crc = n as u32;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
                bit += 1;
            }
            #[expect(clippy::indexing_slicing, reason = "at compile time")]
            {
                table[n] = crc;
            }
            n += 1;
        }
        table
    };
    !data.iter().fold(u32::MAX, |crc, &byte| {
        let place = usize::from(crc as u8 ^ byte);
        TABLE.get(place).copied().unwrap_or(0) ^ (crc >> 8)
    })
}

#[cfg(test)]
#[path = "tail_tests.rs"]
mod tests;
