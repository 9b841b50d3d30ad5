//! One RTP packet: its fixed header written, and all of it parsed.

use bytes::Bytes;

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 12;

/// The fixed header (RFC 3550 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Video: the last packet of its access unit.
    pub marker: bool,
    /// 0 to 127.
    pub payload_type: u8,
    /// Rises by one a packet, wraps.
    pub sequence: u16,
    /// Ticks of the track's clock, wraps.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

impl Header {
    /// Without padding, extension and contributing sources.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let s = self.sequence.to_be_bytes();
        let t = self.timestamp.to_be_bytes();
        let i = self.ssrc.to_be_bytes();
        let second = (self.payload_type & 0x7f) | if self.marker { 0x80 } else { 0 };
        [0x80, second, s[0], s[1], t[0], t[1], t[2], t[3], i[0], i[1], i[2], i[3]]
    }
}

/// A packet as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The fixed header.
    pub header: Header,
    /// The header extension: "defined by profile", and its words.
    pub extension: Option<(u16, Bytes)>,
    /// Without padding.
    pub payload: Bytes,
}

/// Why bytes are no RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Not version 2.
    #[error("RTP version {0}")]
    Version(u8),
    /// Ends inside its header, extension or padding.
    #[error("RTP packet of {0} bytes ends too soon")]
    Truncated(usize),
    /// Padding of no bytes, or of more than there are.
    #[error("RTP padding of {0} bytes")]
    Padding(u8),
}

impl Packet {
    /// Parses a whole datagram or interleaved frame. Slices, does not copy.
    pub fn parse(data: Bytes) -> Result<Self, PacketError> {
        let _ = data;
        todo!()
    }
}
