//! AV1 (AOMedia's RTP payload format, version 1.0): OBUs without their sizes, as many as fit into a
//! packet, each behind its length; what does not fit goes on in the next.

use std::ops::Range;

use super::{super::batch::Writer, MAX_AGGREGATED, PacketizeError};
use crate::proto::{
    access_unit::AccessUnit,
    codec::av1::{Obu, ObuKind, to_leb128},
};

/// The aggregation header: the first element goes on from the packet before, the last one goes on
/// in the next, the first packet of a coded video sequence. The count is left at 0: every element
/// has its length.
pub(in crate::proto::rtp) const CONTINUES: u8 = 0x80;
pub(in crate::proto::rtp) const CONTINUED: u8 = 0x40;
pub(in crate::proto::rtp) const BEGINS_SEQUENCE: u8 = 0x08;

/// An element is not cut for less room than this.
const LEAST_ROOM: usize = 16;

/// An OBU, or what is left of it.
#[derive(Clone, Debug, Default)]
struct Element {
    /// Its header's bytes, as long as they have not been sent.
    header: ([u8; 2], usize),
    /// Of the unit, head and body.
    payload: Range<usize>,
}

impl Element {
    fn len(&self) -> usize {
        self.header.1 + self.payload.len()
    }

    /// Its first `len` bytes, at least as many as the header has, and leaves the rest.
    fn split_to(&mut self, len: usize) -> Self {
        let end = self.payload.end.min(self.payload.start + len.saturating_sub(self.header.1));
        let first = Self { header: self.header, payload: self.payload.start..end };
        self.header.1 = 0;
        self.payload.start = end;
        first
    }
}

pub(super) fn write(
    unit: &AccessUnit,
    max: usize,
    to: &mut Writer<'_>,
) -> Result<(), PacketizeError> {
    let mut packet = Packet { max, ..Packet::default() };
    packet.begin(if unit.random_access { BEGINS_SEQUENCE } else { 0 });
    for (bytes, at) in [(&unit.head, 0), (&unit.body, unit.head.len())] {
        let mut rest: &[u8] = bytes;
        while !rest.is_empty() {
            let (obu, after) = Obu::split(rest).ok_or(PacketizeError::Obu)?;
            let end = at + bytes.len() - after.len();
            rest = after;
            if !matches!(obu.kind, ObuKind::TemporalDelimiter | ObuKind::Dispensable) {
                let payload = end - obu.payload.len()..end;
                packet.add(Element { header: obu.header, payload }, to);
            }
        }
    }
    packet.flush(false, to);
    to.mark();
    Ok(())
}

/// The packet that is being filled.
#[derive(Default)]
struct Packet {
    max: usize,
    flags: u8,
    elements: [Element; MAX_AGGREGATED],
    count: usize,
    /// Bytes of payload so far.
    size: usize,
}

impl Packet {
    fn begin(&mut self, flags: u8) {
        (self.flags, self.count, self.size) = (flags, 0, 1);
    }

    fn add(&mut self, mut element: Element, to: &mut Writer<'_>) {
        loop {
            let room = self.max.saturating_sub(self.size);
            let full = self.count == self.elements.len();
            if !full && framed(element.len()) <= room {
                self.put(element);
                return;
            }
            if full || (self.count > 0 && room < LEAST_ROOM) {
                self.flush(false, to);
                continue;
            }
            // `limits::LEAST_PACKET` leaves room for a length, a header and more.
            let length = to_leb128(room as u32).1;
            self.put(element.split_to(room - length));
            self.flush(true, to);
        }
    }

    fn put(&mut self, element: Element) {
        self.size += framed(element.len());
        if let Some(slot) = self.elements.get_mut(self.count) {
            *slot = element;
            self.count += 1;
        }
    }

    fn flush(&mut self, continued: bool, to: &mut Writer<'_>) {
        let elements = self.elements.get(..self.count).unwrap_or_default();
        if !elements.is_empty() {
            to.begin(&[self.flags | if continued { CONTINUED } else { 0 }]);
            for element in elements {
                // Below 64 KiB, as the packet.
                let (length, used) = to_leb128(element.len() as u32);
                to.between(length.get(..used).unwrap_or_default());
                to.between(element.header.0.get(..element.header.1).unwrap_or_default());
                to.payload(element.payload.clone());
            }
            to.end();
            self.begin(if continued { CONTINUES } else { 0 });
        }
    }
}

/// Bytes of an element behind its length.
fn framed(len: usize) -> usize {
    to_leb128(u32::try_from(len).unwrap_or(u32::MAX)).1 + len
}
