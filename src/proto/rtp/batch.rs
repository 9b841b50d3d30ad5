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

use std::io::IoSlice;

use bytes::Bytes;

/// Packets of one track, in order. Made once and used again and again: [`Self::clear`] keeps the
/// memory.
#[derive(Debug, Default)]
pub struct PacketBatch {
    headers: Vec<u8>,
    sources: Vec<Bytes>,
}

/// A place in a batch as it stands on the RTSP connection, for writes that end half-way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    piece: usize,
    offset: usize,
}

impl PacketBatch {
    /// Without packets.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets go of all packets and of the units they point to.
    pub fn clear(&mut self) {
        todo!()
    }

    /// How many packets.
    #[must_use]
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes on the RTSP connection: packets and their interleaved headers.
    #[must_use]
    pub fn framed_len(&self) -> usize {
        todo!()
    }

    /// Puts packet `index` as a datagram into `out`; how many slices were used. `None` when there
    /// is no such packet or `out` is too short ([`Self::MAX_SLICES`] always suffices).
    pub fn datagram<'a>(&'a self, index: usize, out: &mut [IoSlice<'a>]) -> Option<usize> {
        let _ = (index, out);
        todo!()
    }

    /// The most slices one packet has.
    pub const MAX_SLICES: usize = 32;

    /// Fills `out` with what stands from `at` on, interleaved headers included; how many slices
    /// were used: 0 only at the end.
    pub fn framed<'a>(&'a self, at: Cursor, out: &mut [IoSlice<'a>]) -> usize {
        let _ = (at, out);
        todo!()
    }

    /// Moves `at` on by `written` bytes. True when all is written.
    pub fn advance(&self, at: &mut Cursor, written: usize) -> bool {
        let _ = (at.piece, at.offset, &self.headers, &self.sources, written);
        todo!()
    }
}
