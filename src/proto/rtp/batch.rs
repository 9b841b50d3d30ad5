//! The packets of one access unit (or a few), ready to be written without a copy.
//!
//! # Layout
//!
//! ```text
//! headers: [$ channel length][RTP][payload header] [$ channel length][RTP][payload header] …
//! pieces:  headers 0..18, unit 4..1440,            headers 18..36, unit 1440..2000, …
//! packets: pieces 0..2,                            pieces 2..4, …
//! ```
//!
//! Four bytes for an interleaved frame's header stand before every RTP header. On the RTSP
//! connection they are sent with it, on UDP they are passed over, so both use one batch.
//!
//! # Invariants
//!
//! * Every packet begins with a piece of `headers` of at least 16 bytes.
//! * A batch owns (by reference count) the bytes it points to, so it may wait in a queue.

use std::{io::IoSlice, ops::Range};

use bytes::Bytes;

use super::{
    extension::{self, Replayed},
    limits,
    packet::{HEADER_LEN, Header},
};
use crate::proto::{access_unit::AccessUnit, rtsp::message::InterleavedFrame};

/// Packets of one track, in order. Made once and used again and again: [`Self::clear`] keeps the
/// memory.
#[derive(Debug, Default)]
pub struct PacketBatch {
    headers: Vec<u8>,
    sources: Vec<Bytes>,
    pieces: Vec<Piece>,
    /// For each packet, the first of its pieces; they reach to the next one's first.
    packets: Vec<usize>,
    framed_len: usize,
}

/// Bytes of `headers`, or of the source with this place.
#[derive(Clone, Copy, Debug)]
struct Piece {
    source: Option<usize>,
    start: usize,
    end: usize,
}

/// A place in a batch as it stands on the RTSP connection, for writes that end half-way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    piece: usize,
    offset: usize,
}

/// Packets that one system call may send: see [`PacketBatch::train`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Train {
    /// How many; at least one.
    pub packets: usize,
    /// How many slices they take.
    pub slices: usize,
    /// Bytes of each but the last.
    pub size: usize,
}

impl PacketBatch {
    /// The most slices one packet has.
    pub const MAX_SLICES: usize = 2 * super::packetize::MAX_AGGREGATED + 1;

    /// Without packets.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets go of all packets and of the units they point to.
    pub fn clear(&mut self) {
        self.headers.clear();
        self.sources.clear();
        self.pieces.clear();
        self.packets.clear();
        self.framed_len = 0;
    }

    /// How many packets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Bytes on the RTSP connection: packets and their interleaved headers.
    #[must_use]
    pub const fn framed_len(&self) -> usize {
        self.framed_len
    }

    /// Puts packet `index` as a datagram into `out`; how many slices were used. `None` when there
    /// is no such packet or `out` is too short ([`Self::MAX_SLICES`] always suffices).
    pub fn datagram<'a>(&'a self, index: usize, out: &mut [IoSlice<'a>]) -> Option<usize> {
        let mut used = 0;
        for (n, piece) in self.packet_pieces(index)?.iter().enumerate() {
            let skip = if n == 0 { InterleavedFrame::HEADER } else { 0 };
            *out.get_mut(used)? = IoSlice::new(self.bytes(piece, skip));
            used += 1;
        }
        Some(used)
    }

    /// Puts packet `index` and those after it into `out` as one train: at most `most` of them, all of
    /// one size but for the last, which may be shorter, as the kernel's UDP segmentation wants them.
    /// `None` as for [`Self::datagram`]; what does not fit behind the first is left for the next.
    pub fn train<'a>(
        &'a self,
        index: usize,
        most: usize,
        out: &mut [IoSlice<'a>],
    ) -> Option<Train> {
        let size = self.datagram_len(index)?;
        let mut train = Train { packets: 1, slices: self.datagram(index, out)?, size };
        let (mut last, mut bytes) = (size, size);
        while train.packets < most && last == size {
            let next = index + train.packets;
            let Some(len) = self.datagram_len(next) else { break };
            if len > size || bytes + len > limits::TRAIN {
                break;
            }
            let rest = out.get_mut(train.slices..).unwrap_or_default();
            let Some(slices) = self.datagram(next, rest) else { break };
            train.packets += 1;
            train.slices += slices;
            (last, bytes) = (len, bytes + len);
        }
        Some(train)
    }

    fn datagram_len(&self, index: usize) -> Option<usize> {
        let pieces = self.packet_pieces(index)?;
        let framed: usize = pieces.iter().map(|p| p.end - p.start).sum();
        framed.checked_sub(InterleavedFrame::HEADER)
    }

    /// Fills `out` with what stands from `at` on, interleaved headers included; how many slices
    /// were used: 0 only at the end.
    pub fn framed<'a>(&'a self, at: Cursor, out: &mut [IoSlice<'a>]) -> usize {
        let rest = self.pieces.get(at.piece..).unwrap_or_default();
        let mut used = 0;
        for (slot, piece) in out.iter_mut().zip(rest) {
            let skip = if used == 0 { at.offset } else { 0 };
            *slot = IoSlice::new(self.bytes(piece, skip));
            used += 1;
        }
        used
    }

    /// Moves `at` on by `written` bytes. True when all is written.
    pub fn advance(&self, at: &mut Cursor, written: usize) -> bool {
        at.offset += written;
        while let Some(piece) = self.pieces.get(at.piece) {
            let Some(beyond) = at.offset.checked_sub(piece.end - piece.start) else { return false };
            at.piece += 1;
            at.offset = beyond;
        }
        true
    }

    fn packet_pieces(&self, index: usize) -> Option<&[Piece]> {
        let first = *self.packets.get(index)?;
        let end = self.packets.get(index + 1).copied().unwrap_or(self.pieces.len());
        self.pieces.get(first..end)
    }

    fn bytes(&self, piece: &Piece, skip: usize) -> &[u8] {
        let all = match piece.source {
            None => Some(self.headers.as_slice()),
            Some(source) => self.sources.get(source).map(Bytes::as_ref),
        };
        all.and_then(|all| all.get(piece.start + skip..piece.end)).unwrap_or_default()
    }
}

/// The fixed header's flag for an extension.
const EXTENDED: u8 = 0x10;

/// Appends the packets of one unit; [`Self::undo`] takes them back.
pub(super) struct Writer<'a> {
    batch: &'a mut PacketBatch,
    header: Header,
    channel: u8,
    before: Mark,
    /// Place of `head` among the sources; `body` is the next.
    head: usize,
    head_len: usize,
    octets: usize,
    /// Where in `headers` the packet being written begins.
    packet: usize,
    /// Of the packets to come, and the bytes it took in the one begun last.
    extension: Option<Replayed>,
    extended: usize,
}

/// The lengths of a batch.
#[derive(Clone, Copy)]
struct Mark {
    headers: usize,
    sources: usize,
    pieces: usize,
    packets: usize,
    framed_len: usize,
}

impl<'a> Writer<'a> {
    /// `header` is that of the first packet, without its marker.
    pub(super) fn new(
        batch: &'a mut PacketBatch,
        unit: &AccessUnit,
        header: Header,
        channel: u8,
    ) -> Self {
        let before = Mark {
            headers: batch.headers.len(),
            sources: batch.sources.len(),
            pieces: batch.pieces.len(),
            packets: batch.packets.len(),
            framed_len: batch.framed_len,
        };
        let (head, head_len) = (batch.sources.len(), unit.head.len());
        batch.sources.push(unit.head.clone());
        batch.sources.push(unit.body.clone());
        Self {
            batch,
            header,
            channel,
            before,
            head,
            head_len,
            octets: 0,
            packet: 0,
            extension: None,
            extended: 0,
        }
    }

    /// A header extension for the packets to come; [`Self::conclude`] completes the last one's.
    pub(super) fn extend(&mut self, extension: Replayed) {
        self.extension = Some(extension);
    }

    /// No packet of the unit comes any more.
    pub(super) fn conclude(&mut self) {
        let Some(extension) = self.extension.take().filter(|_| self.extended > 0) else { return };
        let alone = self.packets() == 1;
        let last = if alone { extension } else { extension.further() }.to_bytes();
        let start = self.packet + InterleavedFrame::HEADER + HEADER_LEN;
        if let Some(place) = self.batch.headers.get_mut(start..start + extension::LEN) {
            place.copy_from_slice(&last);
        }
    }

    /// Begins the next packet with the payload's first bytes.
    pub(super) fn begin(&mut self, payload_header: &[u8]) {
        self.packet = self.batch.headers.len();
        self.batch.packets.push(self.batch.pieces.len());
        self.batch.headers.extend_from_slice(&[0; InterleavedFrame::HEADER]);
        self.batch.headers.extend_from_slice(&self.header.to_bytes());
        self.extended = 0;
        if let Some(extension) = self.extension {
            let alone = self.packets() == 1;
            let extension = if alone { extension } else { extension.further() }.first().to_bytes();
            let first = self.packet + InterleavedFrame::HEADER;
            if let Some(byte) = self.batch.headers.get_mut(first) {
                *byte |= EXTENDED;
            }
            self.batch.headers.extend_from_slice(&extension);
            self.extended = extension.len();
        }
        self.batch.headers.extend_from_slice(payload_header);
        self.header_piece(self.packet);
    }

    /// More bytes that are not in the unit; of the packet begun last.
    pub(super) fn between(&mut self, bytes: &[u8]) {
        let start = self.batch.headers.len();
        self.batch.headers.extend_from_slice(bytes);
        match self.batch.pieces.last_mut() {
            Some(piece) if piece.source.is_none() => piece.end = self.batch.headers.len(),
            _ => self.header_piece(start),
        }
    }

    fn header_piece(&mut self, start: usize) {
        self.batch.pieces.push(Piece { source: None, start, end: self.batch.headers.len() });
    }

    /// These bytes of the unit, counted over head and body.
    pub(super) fn payload(&mut self, range: Range<usize>) {
        let in_head = range.start.min(self.head_len)..range.end.min(self.head_len);
        let in_body = range.start.max(self.head_len) - self.head_len
            ..range.end.max(self.head_len) - self.head_len;
        for (source, range) in [(self.head, in_head), (self.head + 1, in_body)] {
            if !range.is_empty() {
                let (start, end) = (range.start, range.end);
                self.batch.pieces.push(Piece { source: Some(source), start, end });
            }
        }
    }

    /// Ends the packet begun last.
    pub(super) fn end(&mut self) {
        let first = self.batch.packets.last().copied().unwrap_or(0);
        let pieces = self.batch.pieces.get(first..).unwrap_or_default();
        let framed: usize = pieces.iter().map(|p| p.end - p.start).sum();
        let len = framed - InterleavedFrame::HEADER;
        // The caller keeps packets below 64 KiB (`limits::TCP_PACKET`).
        let prefix = InterleavedFrame::header(self.channel, u16::try_from(len).unwrap_or(u16::MAX));
        let place = self.packet..self.packet + InterleavedFrame::HEADER;
        if let Some(place) = self.batch.headers.get_mut(place) {
            place.copy_from_slice(&prefix);
        }
        self.batch.framed_len += framed;
        self.octets += len - HEADER_LEN - self.extended;
        self.header.sequence = self.header.sequence.wrapping_add(1);
    }

    /// Moves RTP time on for the packets to come.
    pub(super) fn later(&mut self, ticks: u32) {
        self.header.timestamp = self.header.timestamp.wrapping_add(ticks);
    }

    /// Sets the marker of the packet ended last.
    pub(super) fn mark(&mut self) {
        if self.packets() > 0
            && let Some(byte) =
                self.batch.headers.get_mut(self.packet + InterleavedFrame::HEADER + 1)
        {
            *byte |= 0x80;
        }
    }

    /// Packets written.
    pub(super) fn packets(&self) -> usize {
        self.batch.packets.len() - self.before.packets
    }

    /// Bytes of payload written.
    pub(super) const fn octets(&self) -> usize {
        self.octets
    }

    /// The batch as it was.
    pub(super) fn undo(self) {
        let Mark { headers, sources, pieces, packets, framed_len } = self.before;
        self.batch.headers.truncate(headers);
        self.batch.sources.truncate(sources);
        self.batch.pieces.truncate(pieces);
        self.batch.packets.truncate(packets);
        self.batch.framed_len = framed_len;
    }
}
