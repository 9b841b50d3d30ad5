//! AV1 (AOMedia's RTP payload format, version 1.0): elements put together to OBUs, and each OBU given
//! its size, as files want them. Temporal delimiters and padding are left out.

use std::{collections::VecDeque, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    Codec, DepacketizeError, Frame,
    gather::{Gather, Open},
    limits,
};
use crate::proto::{
    codec::{
        Parameters,
        av1::{self, Obu, ObuKind, leb128, to_leb128},
    },
    rtp::{
        extension::Replayed,
        packet::Packet,
        packetize::av1::{CONTINUED, CONTINUES},
        receive::Received,
    },
};

/// The flag in an OBU's header that says a size follows.
const HAS_SIZE: u8 = 0x02;

/// See the module.
#[derive(Debug)]
pub(super) struct Av1 {
    parameters: Option<Parameters>,
    units: Gather<Elements>,
}

/// A temporal unit that came in part. Nothing is copied before it is whole: only then are sizes
/// known.
#[derive(Debug, Default)]
struct Elements {
    /// Slices of packets; whether each is the first of an OBU.
    pieces: Vec<(bool, Bytes)>,
    bytes: usize,
    /// The last element goes on in the next packet.
    continued: bool,
}

const fn malformed(what: &'static str) -> DepacketizeError {
    DepacketizeError::Malformed(what)
}

impl Av1 {
    pub(super) fn new() -> Self {
        Self { parameters: None, units: Gather::new() }
    }

    fn take(
        &mut self,
        received: Received,
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), DepacketizeError> {
        let Received { packet, ticks, arrived, lost, fresh } = received;
        self.units.add(lost, fresh);
        // It was not said to be whole; but nothing is missing before the next.
        let unended = self.units.has_another_than(ticks);
        let before = if unended { self.finish(frames) } else { Ok(()) };
        self.go_on((ticks, arrived), packet, frames)?;
        before
    }

    /// With a packet of the unit that is open, or the first of another.
    fn go_on(
        &mut self,
        (ticks, arrived): (i64, Duration),
        packet: Packet,
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), DepacketizeError> {
        if self.units.skips(ticks) {
            return Ok(());
        }
        let replayed = Replayed::of(&packet);
        let mut data = packet.payload;
        let &header = data.first().ok_or(malformed("an empty AV1 packet"))?;
        data = data.split_off(1);
        let goes_on = header & CONTINUES != 0;
        let open = match &mut self.units.open {
            Some(open) if open.part.continued == goes_on => open,
            Some(_) => return Err(malformed("an AV1 element without its other part")),
            None if goes_on => {
                self.units.skip_headless(ticks);
                return Ok(());
            }
            None => {
                self.units.open.insert(Open { ticks, arrived, replayed, part: Elements::default() })
            }
        };
        open.part.add(header, data)?;
        if packet.header.marker {
            self.finish(frames)?;
        }
        Ok(())
    }

    fn finish(&mut self, frames: &mut VecDeque<Frame>) -> Result<(), DepacketizeError> {
        let Some(open) = self.units.open.take() else { return Ok(()) };
        let whole = if open.part.continued { None } else { open.part.join() };
        let Some(data) = whole else {
            self.units.told.drop_one();
            return Err(malformed("an AV1 temporal unit that is not whole"));
        };
        let new = match &self.parameters {
            Some(known) => known.updated_by(&data),
            None => av1::sequence_header_of(&data)
                .and_then(|header| av1::Parameters::new(Bytes::copy_from_slice(header)).ok())
                .map(Parameters::Av1),
        };
        if new.is_some() {
            self.parameters.clone_from(&new);
        }
        if !data.is_empty() {
            let told = &mut self.units.told;
            frames.push_back(told.frame(open.ticks, open.arrived, data, new, open.replayed));
        }
        Ok(())
    }
}

impl Elements {
    /// The elements of a packet.
    fn add(&mut self, header: u8, mut data: Bytes) -> Result<(), DepacketizeError> {
        let count = usize::from(header >> 4 & 3);
        let mut begins = header & CONTINUES == 0;
        let mut n = 0;
        while !data.is_empty() {
            n += 1;
            let element = if n == count {
                std::mem::take(&mut data)
            } else {
                let (size, rest) = leb128(&data).ok_or(malformed("an AV1 element's length"))?;
                let used = data.len() - rest.len();
                if rest.len() < size {
                    return Err(malformed("an AV1 element longer than its packet"));
                }
                data.split_to(used + size).split_off(used)
            };
            if !element.is_empty() {
                self.bytes += element.len();
                if self.bytes > limits::FRAME || self.pieces.len() >= limits::PIECES {
                    return Err(DepacketizeError::TooLong);
                }
                self.pieces.push((begins, element));
            }
            begins = true;
        }
        if count > n {
            return Err(malformed("fewer AV1 elements than it says"));
        }
        self.continued = header & CONTINUED != 0;
        Ok(())
    }

    /// Its OBUs with their sizes. `None` when one is none.
    fn join(&self) -> Option<Bytes> {
        // Each size takes up to 5 bytes, and there are not more OBUs than pieces.
        let mut whole = BytesMut::with_capacity(self.bytes + 5 * self.pieces.len());
        let mut rest = self.pieces.as_slice();
        while let Some((first, after)) = rest.split_first() {
            let more = after.iter().take_while(|(begins, _)| !begins).count();
            let (more, after) = after.split_at_checked(more)?;
            rest = after;
            let len: usize = more.iter().map(|(_, piece)| piece.len()).sum();
            put_obu(&first.1, more, len, &mut whole)?;
        }
        Some(whole.freeze())
    }
}

/// An OBU that begins with `first` and goes on in `more`, of `len` bytes together.
fn put_obu(first: &Bytes, more: &[(bool, Bytes)], len: usize, to: &mut BytesMut) -> Option<()> {
    // Only the header counts here, but a size it may have must be passed over.
    let &byte = first.first()?;
    let unsized_first = [byte & !HAS_SIZE, first.get(1).copied().unwrap_or(0)];
    let (obu, _) = Obu::split(&unsized_first)?;
    if matches!(obu.kind, ObuKind::TemporalDelimiter | ObuKind::Dispensable) {
        return Some(());
    }
    let header = obu.header.1;
    let behind = first.get(header..)?;
    let (behind, announced) = if byte & HAS_SIZE != 0 {
        let (size, behind) = leb128(behind)?;
        (behind, Some(size))
    } else {
        (behind, None)
    };
    let size = behind.len() + len;
    // One that has its size and is followed by another within one element would break the rules.
    if announced.is_some_and(|announced| announced != size) {
        return None;
    }
    to.put_u8(byte | HAS_SIZE);
    to.put_slice(first.get(1..header)?);
    let (bytes, used) = to_leb128(u32::try_from(size).ok()?);
    to.put_slice(bytes.get(..used)?);
    to.put_slice(behind);
    for (_, piece) in more {
        to.put_slice(piece);
    }
    Some(())
}

impl Codec for Av1 {
    fn push(
        &mut self,
        packet: Received,
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), DepacketizeError> {
        let ticks = packet.ticks;
        self.take(packet, frames).inspect_err(|_| {
            // What `finish` refuses is gone already, and may be the one before.
            if self.units.open.is_some() && !self.units.has_another_than(ticks) {
                self.units.abandon();
                self.units.skip(ticks);
            }
        })
    }

    fn parameters(&self) -> Option<&Parameters> {
        self.parameters.as_ref()
    }

    fn remember(&mut self, known: &Parameters) {
        if matches!(known, Parameters::Av1(_)) {
            self.parameters = Some(known.clone());
        }
    }
}
