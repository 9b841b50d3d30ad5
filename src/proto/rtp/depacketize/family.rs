//! What H.264 (RFC 6184) and H.265 (RFC 7798) do each in their way: where a NAL unit's fields are,
//! and how payloads are put together.

use bytes::{Buf as _, Bytes};

use super::DepacketizeError;
use crate::proto::codec::sets::Codec;

/// A NAL unit's header; of H.264 only the first byte counts.
pub(super) type Header = [u8; 2];

/// What a payload holds.
#[derive(Debug)]
pub(super) enum Payload {
    /// One NAL unit.
    Single(Bytes),
    /// One whose header stands apart from the rest.
    Split(Header, Bytes),
    /// Several, each behind its length, and what goes before that.
    Aggregate(Aggregate),
    /// A part of one.
    Fragment { header: Header, first: bool, last: bool, data: Bytes },
    /// Of a kind that has no meaning here.
    Other,
}

/// NAL units that share a packet.
#[derive(Debug)]
pub(super) struct Aggregate {
    rest: Bytes,
    /// Bytes before the first length, without the one below, which stands there too or not.
    first: usize,
    /// Bytes before each length.
    before: usize,
    /// Bytes behind each length: a decoding order number and a time offset.
    behind: usize,
    /// How many of these are the time offset.
    offset: usize,
}

/// What a NAL unit is to the access unit it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A slice.
    Slice {
        /// The first of its picture.
        first: bool,
    },
    /// A delimiter: the access unit begins here.
    Delimiter,
    /// A parameter set; like [`Self::Before`].
    Set,
    /// Stands before the slices: behind them it belongs to the next access unit.
    Before,
    /// May stand behind the slices.
    Behind,
    /// No NAL unit.
    None,
}

pub(super) fn kind(codec: Codec, [first, _]: Header) -> u8 {
    match codec {
        Codec::H264 => first & 0x1f,
        Codec::H265 => (first >> 1) & 0x3f,
    }
}

/// Bytes of a NAL unit's header.
pub(super) const fn header_len(codec: Codec) -> usize {
    match codec {
        Codec::H264 => 1,
        Codec::H265 => 2,
    }
}

/// What a NAL unit of `len` bytes is that begins with `start`; `then` is the byte behind its header.
pub(super) fn part(codec: Codec, start: Header, then: Option<u8>, len: usize) -> Part {
    // The first bit of a slice header says so in both (H.264 §7.3.3, H.265 §7.3.6.1).
    let first = then.is_some_and(|byte| byte & 0x80 != 0);
    let alone = len <= header_len(codec);
    match (codec, kind(codec, start)) {
        // Ends of sequence and stream have no more than a header.
        (Codec::H264, 10 | 11) | (Codec::H265, 36 | 37) if len >= header_len(codec) => Part::Behind,
        _ if alone => Part::None,
        (Codec::H264, 1 | 2 | 5) | (Codec::H265, 0..=31) => Part::Slice { first },
        (Codec::H264, 3 | 4) => Part::Slice { first: false },
        (Codec::H264, 9) | (Codec::H265, 35) => Part::Delimiter,
        (Codec::H264, 7 | 8) | (Codec::H265, 32..=34) => Part::Set,
        (Codec::H264, 6 | 14..=18) | (Codec::H265, 39 | 41..=44) => Part::Before,
        (Codec::H264, 12 | 13 | 19..=23) | (Codec::H265, 38 | 40 | 45..=47) => Part::Behind,
        _ => Part::None,
    }
}

/// Takes a payload apart. `don`: H.265 with decoding order numbers (`sprop-max-don-diff` above 0).
pub(super) fn open(codec: Codec, don: bool, payload: Bytes) -> Result<Payload, DepacketizeError> {
    match codec {
        Codec::H264 => open_h264(payload),
        Codec::H265 => open_h265(don, payload),
    }
}

const SHORT: DepacketizeError = DepacketizeError::Malformed("a payload ends inside its header");

fn open_h264(mut payload: Bytes) -> Result<Payload, DepacketizeError> {
    let &first = payload.first().ok_or(SHORT)?;
    let aggregate = |first, behind, offset| {
        Payload::Aggregate(Aggregate { rest: payload.clone(), first, before: 0, behind, offset })
    };
    Ok(match first & 0x1f {
        1..=23 => Payload::Single(payload),
        // STAP-A; with a decoding order number: STAP-B, MTAP16, MTAP24.
        24 => aggregate(1, 0, 0),
        25 => aggregate(3, 0, 0),
        26 => aggregate(3, 3, 2),
        27 => aggregate(3, 4, 3),
        kind @ (28 | 29) => {
            let &fu = payload.get(1).ok_or(SHORT)?;
            let first_fragment = fu & 0x80 != 0;
            // FU-B: the decoding order number stands in the first fragment.
            let before = if kind == 29 && first_fragment { 4 } else { 2 };
            if payload.len() < before {
                return Err(SHORT);
            }
            payload.advance(before);
            Payload::Fragment {
                header: [(first & 0xe0) | (fu & 0x1f), 0],
                first: first_fragment,
                last: fu & 0x40 != 0,
                data: payload,
            }
        }
        _ => Payload::Other,
    })
}

fn open_h265(don: bool, mut payload: Bytes) -> Result<Payload, DepacketizeError> {
    let &[first, second] = payload.first_chunk::<2>().ok_or(SHORT)?;
    let number = if don { 2 } else { 0 };
    Ok(match (first >> 1) & 0x3f {
        0..=47 if !don => Payload::Single(payload),
        0..=47 if payload.len() < 4 => return Err(SHORT),
        0..=47 => Payload::Split([first, second], payload.split_off(4)),
        48 => Payload::Aggregate(Aggregate {
            rest: payload,
            first: if don { 3 } else { 2 },
            before: usize::from(don),
            behind: 0,
            offset: 0,
        }),
        49 => {
            let &fu = payload.get(2).ok_or(SHORT)?;
            let first_fragment = fu & 0x80 != 0;
            let before = 3 + if first_fragment { number } else { 0 };
            if payload.len() < before {
                return Err(SHORT);
            }
            payload.advance(before);
            Payload::Fragment {
                header: [(first & 0x81) | ((fu & 0x3f) << 1), second],
                first: first_fragment,
                last: fu & 0x40 != 0,
                data: payload,
            }
        }
        50 => return Err(DepacketizeError::Malformed("payload content information (PACI)")),
        _ => Payload::Other,
    })
}

impl Aggregate {
    /// The next NAL unit and its time offset. Zeros behind the last one are padding.
    pub(super) fn next(&mut self) -> Result<Option<(Bytes, u32)>, DepacketizeError> {
        const BROKEN: DepacketizeError =
            DepacketizeError::Malformed("an aggregate's lengths do not add up");
        let before = std::mem::take(&mut self.first) + self.before;
        let fixed = before + 2 + self.behind;
        if self.rest.len() < fixed {
            let padding = self.rest.iter().all(|&byte| byte == 0);
            return if padding { Ok(None) } else { Err(BROKEN) };
        }
        let head = self.rest.split_to(fixed);
        let word = |from: usize, len: usize| {
            let bytes = head.get(from..from + len).unwrap_or_default();
            bytes.iter().fold(0, |word, &byte| word << 8 | u32::from(byte))
        };
        let len = word(before, 2) as usize;
        if len > self.rest.len() {
            return Err(BROKEN);
        }
        let offset = word(before + 2 + self.behind - self.offset, self.offset);
        Ok(Some((self.rest.split_to(len), offset)))
    }
}
