//! Lists in a blob: where a segment's tracks begin, and its key frames.
//!
//! Varints (LEB128, 7 bits a byte, low ones first). Signed numbers are zigzagged. Each list runs
//! to the blob's end. A key frame is the difference in time and offset from the one before:
//! 60 of them take about 300 bytes, where a row each would take 60 rows.

use crate::{
    model::{KeyFrame, TrackStart},
    proto::time::{MediaTime, WallSpan},
};

/// A blob cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

pub(super) fn pack_keys(keys: &[KeyFrame]) -> Vec<u8> {
    let mut blob = Vec::with_capacity(keys.len() * 6);
    let mut last = KeyFrame { at: WallSpan::ZERO, offset: 0 };
    for key in keys {
        put(&mut blob, zigzag(key.at.as_micros().wrapping_sub(last.at.as_micros())));
        put(&mut blob, zigzag(key.offset.wrapping_sub(last.offset).cast_signed()));
        last = *key;
    }
    blob
}

pub(super) fn unpack_keys(mut blob: &[u8]) -> Result<Vec<KeyFrame>, Unreadable> {
    let mut keys = Vec::new();
    let (mut at, mut offset) = (0_i64, 0_u64);
    while !blob.is_empty() {
        at = at.wrapping_add(unzigzag(take(&mut blob)?));
        offset = offset.wrapping_add(unzigzag(take(&mut blob)?).cast_unsigned());
        keys.push(KeyFrame { at: WallSpan::from_micros(at), offset });
    }
    Ok(keys)
}

pub(super) fn pack_starts(tracks: &[TrackStart]) -> Vec<u8> {
    let mut blob = Vec::with_capacity(tracks.len() * 12);
    for track in tracks {
        put(&mut blob, track.first_number);
        put(&mut blob, zigzag(track.first_dts.ticks()));
        put(&mut blob, zigzag(track.file_dts.ticks()));
    }
    blob
}

pub(super) fn unpack_starts(mut blob: &[u8]) -> Result<Vec<TrackStart>, Unreadable> {
    let mut tracks = Vec::new();
    while !blob.is_empty() {
        tracks.push(TrackStart {
            first_number: take(&mut blob)?,
            first_dts: MediaTime::from_ticks(unzigzag(take(&mut blob)?)),
            file_dts: MediaTime::from_ticks(unzigzag(take(&mut blob)?)),
        });
    }
    Ok(tracks)
}

const fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)).cast_unsigned()
}

const fn unzigzag(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -(n & 1).cast_signed()
}

fn put(blob: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        blob.push(n as u8 | 0x80);
        n >>= 7;
    }
    blob.push(n as u8);
}

fn take(blob: &mut &[u8]) -> Result<u64, Unreadable> {
    let mut n = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = blob.split_first().ok_or(Unreadable)?;
        *blob = rest;
        let bits = u64::from(byte & 0x7f);
        if (bits << shift) >> shift != bits {
            return Err(Unreadable);
        }
        n |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(n);
        }
    }
    Err(Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(at: i64, offset: u64) -> KeyFrame {
        KeyFrame { at: WallSpan::from_micros(at), offset }
    }

    #[test]
    fn a_minute_of_key_frames_fits_in_400_bytes() {
        let keys: Vec<_> =
            (0..60).map(|i| key(i * 1_000_417, 1_400 + i as u64 * 612_345)).collect();
        assert!(pack_keys(&keys).len() < 400, "{}", pack_keys(&keys).len());
    }

    proptest! {
        #[test]
        fn key_frames_come_out_as_they_went_in(list: Vec<(i64, u64)>) {
            let keys: Vec<_> = list.into_iter().map(|(at, offset)| key(at, offset)).collect();
            prop_assert_eq!(unpack_keys(&pack_keys(&keys)), Ok(keys));
        }

        #[test]
        fn track_starts_come_out_as_they_went_in(list: Vec<(u64, i64, i64)>) {
            let tracks: Vec<_> = list
                .into_iter()
                .map(|(first_number, first, file)| TrackStart {
                    first_number,
                    first_dts: MediaTime::from_ticks(first),
                    file_dts: MediaTime::from_ticks(file),
                })
                .collect();
            prop_assert_eq!(unpack_starts(&pack_starts(&tracks)), Ok(tracks));
        }

        #[test]
        fn a_list_that_was_cut_short_is_noticed(list in prop::collection::vec(any::<(i64, u64)>(), 1..20)) {
            let keys: Vec<_> = list.into_iter().map(|(at, offset)| key(at, offset)).collect();
            let mut blob = pack_keys(&keys);
            blob.pop();
            let cut = unpack_keys(&blob);
            prop_assert!(cut.map_or(true, |some| some.len() < keys.len()));
        }

        #[test]
        fn garbage_is_refused_or_read_but_never_panics(garbage: Vec<u8>) {
            let _ = unpack_keys(&garbage);
            let _ = unpack_starts(&garbage);
        }
    }
}
