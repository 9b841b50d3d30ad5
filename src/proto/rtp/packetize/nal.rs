//! NAL units: RFC 6184 (H.264, packetization mode 1) and RFC 7798 (H.265), which differ in how long
//! a NAL unit's header is and where its fields are.
//!
//! Units that go together into one packet are aggregated (parameter sets, small slices); those that
//! do not fit into one are fragmented. NAL units of types the payload formats keep for themselves
//! cannot be carried and are left out: no decoder has a use for them (they are unspecified).

use std::ops::Range;

use super::{super::batch::Writer, MAX_AGGREGATED, PacketizeError};
use crate::proto::access_unit::AccessUnit;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    H264,
    H265,
}

/// A NAL unit header; of H.264 only the first byte counts.
type NalHeader = [u8; 2];

impl Family {
    /// Bytes of a NAL unit's header.
    const fn header_len(self) -> usize {
        match self {
            Self::H264 => 1,
            Self::H265 => 2,
        }
    }

    /// Whether a NAL unit of this type may stand in a packet.
    const fn carries(self, [first, _]: NalHeader) -> bool {
        match self {
            Self::H264 => matches!(first & 0x1f, 1..=23),
            Self::H265 => (first >> 1) & 0x3f < 48,
        }
    }

    /// The header of the aggregation packet that holds both.
    fn aggregate(self, [a0, a1]: NalHeader, [b0, b1]: NalHeader) -> NalHeader {
        let forbidden = (a0 | b0) & 0x80;
        match self {
            // STAP-A: the highest NRI.
            Self::H264 => [forbidden | (a0 & 0x60).max(b0 & 0x60) | 24, 0],
            // AP: the lowest layer and temporal id.
            Self::H265 => {
                let layer = |h0: u8, h1: u8| ((h0 & 1) << 5) | (h1 >> 3);
                let layer = layer(a0, a1).min(layer(b0, b1));
                let temporal = (a1 & 7).min(b1 & 7);
                [forbidden | (48 << 1) | (layer >> 5), (layer << 3) | temporal]
            }
        }
    }

    /// What stands before a fragment; of H.264 only the first two bytes.
    const fn fragment(self, [first, second]: NalHeader, start: bool, end: bool) -> [u8; 3] {
        let ends = if start { 0x80 } else { 0 } | if end { 0x40 } else { 0 };
        match self {
            Self::H264 => [(first & 0xe0) | 28, ends | (first & 0x1f), 0],
            Self::H265 => [(first & 0x81) | (49 << 1), second, ends | ((first >> 1) & 0x3f)],
        }
    }
}

pub(super) fn write(
    family: Family,
    unit: &AccessUnit,
    max: usize,
    to: &mut Writer<'_>,
) -> Result<(), PacketizeError> {
    let mut together = Together { family, max, nals: Default::default(), count: 0, size: 0 };
    for (bytes, at) in [(&unit.head, 0), (&unit.body, unit.head.len())] {
        let mut rest: &[u8] = bytes;
        while !rest.is_empty() {
            let (nal, after) = split_nal(rest).ok_or(PacketizeError::NalLength)?;
            let end = at + bytes.len() - after.len();
            rest = after;
            let header = match (family, nal) {
                (_, []) => continue,
                (Family::H264, &[first, ..]) => [first, 0],
                (Family::H265, &[first, second, ..]) => [first, second],
                (Family::H265, [_]) => return Err(PacketizeError::NalLength),
            };
            if family.carries(header) {
                together.add(Nal { header, range: end - nal.len()..end }, to);
            }
        }
    }
    together.flush(to);
    to.mark();
    Ok(())
}

/// The NAL unit behind a 4-byte length, and what follows it.
fn split_nal(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[derive(Clone, Debug, Default)]
struct Nal {
    header: NalHeader,
    /// In the unit, head and body.
    range: Range<usize>,
}

/// NAL units that wait for others to share a packet with.
struct Together {
    family: Family,
    /// Bytes a payload may have.
    max: usize,
    nals: [Nal; MAX_AGGREGATED],
    count: usize,
    /// Bytes of the aggregation packet's payload.
    size: usize,
}

impl Together {
    fn add(&mut self, nal: Nal, to: &mut Writer<'_>) {
        let adds = 2 + nal.range.len();
        if self.count == self.nals.len() || self.size + adds > self.max {
            self.flush(to);
        }
        if self.count == 0 {
            self.size = self.family.header_len();
        }
        if self.size + adds <= self.max {
            if let Some(slot) = self.nals.get_mut(self.count) {
                *slot = nal;
                self.count += 1;
                self.size += adds;
            }
        } else if nal.range.len() <= self.max {
            single(&nal, to);
        } else {
            fragments(self.family, &nal, self.max, to);
        }
    }

    fn flush(&mut self, to: &mut Writer<'_>) {
        let nals = self.nals.get(..self.count).unwrap_or_default();
        match nals {
            [] => {}
            [nal] => single(nal, to),
            [first, rest @ ..] => {
                // Not the first one's own header, which has its type, but one of an aggregate.
                let own = self.family.aggregate(first.header, first.header);
                let header = rest.iter().fold(own, |h, nal| self.family.aggregate(h, nal.header));
                let header = header.get(..self.family.header_len()).unwrap_or_default();
                to.begin(header);
                for nal in nals {
                    // At most `max`, which is below 64 KiB.
                    to.between(&(nal.range.len() as u16).to_be_bytes());
                    to.payload(nal.range.clone());
                }
                to.end();
            }
        }
        self.count = 0;
        self.size = 0;
    }
}

fn single(nal: &Nal, to: &mut Writer<'_>) {
    to.begin(&[]);
    to.payload(nal.range.clone());
    to.end();
}

/// At least two, since it does not fit into one packet.
fn fragments(family: Family, nal: &Nal, max: usize, to: &mut Writer<'_>) {
    let before = family.header_len() + 1;
    let most = max - before;
    let first = nal.range.start + family.header_len();
    for start in (first..nal.range.end).step_by(most) {
        let end = nal.range.end.min(start + most);
        let header = family.fragment(nal.header, start == first, end == nal.range.end);
        to.begin(header.get(..before).unwrap_or_default());
        to.payload(start..end);
        to.end();
    }
}
