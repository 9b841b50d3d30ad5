//! One RTP packet: its fixed header written, and all of it parsed.

use bytes::{Buf as _, Bytes};

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
        let truncated = PacketError::Truncated(data.len());
        let Some(&[first, second, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3]) =
            data.first_chunk::<HEADER_LEN>()
        else {
            return Err(truncated);
        };
        if first >> 6 != 2 {
            return Err(PacketError::Version(first >> 6));
        }
        let header = Header {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([i0, i1, i2, i3]),
        };
        let mut payload = data;
        // What is passed over is not split off: that would count one more owner, and one less.
        let fixed = HEADER_LEN + 4 * usize::from(first & 0x0f);
        if payload.len() < fixed {
            return Err(truncated);
        }
        payload.advance(fixed);
        let mut extension = None;
        if first & 0x10 != 0 {
            let Some(&[p0, p1, l0, l1]) = payload.first_chunk::<4>() else { return Err(truncated) };
            let len = 4 * usize::from(u16::from_be_bytes([l0, l1]));
            if payload.len() < 4 + len {
                return Err(truncated);
            }
            payload.advance(4);
            extension = Some((u16::from_be_bytes([p0, p1]), payload.split_to(len)));
        }
        if first & 0x20 != 0 {
            let padding = payload.last().copied().unwrap_or(0);
            let kept = payload.len().checked_sub(usize::from(padding)).filter(|_| padding > 0);
            payload.truncate(kept.ok_or(PacketError::Padding(padding))?);
        }
        Ok(Self { header, extension, payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: Header = Header {
        marker: true,
        payload_type: 96,
        sequence: 0xfffe,
        timestamp: 0x0102_0304,
        ssrc: 0xdead_beef,
    };

    /// First byte's low six bits, and what follows the fixed header.
    fn parse(flags: u8, rest: &[u8]) -> Result<Packet, PacketError> {
        let mut bytes = HEADER.to_bytes().to_vec();
        bytes[0] |= flags;
        bytes.extend_from_slice(rest);
        Packet::parse(bytes.into())
    }

    #[test]
    fn a_header_is_written_as_rfc_3550_draws_it() {
        assert_eq!(HEADER.to_bytes(), *b"\x80\xe0\xff\xfe\x01\x02\x03\x04\xde\xad\xbe\xef");
    }

    #[test]
    fn contributing_sources_extension_and_padding_are_taken_off() {
        let rest = b"csrccsrc\xab\xac\x00\x01wordpayload\x00\x00\x03";
        let packet = parse(0x32, rest).expect("parses");
        assert_eq!(packet.header, HEADER);
        assert_eq!(packet.extension, Some((0xabac, Bytes::from_static(b"word"))));
        assert_eq!(packet.payload, &b"payload"[..]);
    }

    #[test]
    fn a_packet_that_ends_too_soon_is_an_error() {
        for (flags, rest) in
            [(0x01, &b"csr"[..]), (0x10, b"\xab\xac\x00"), (0x10, b"\xab\xac\x00\x02word")]
        {
            assert!(matches!(parse(flags, rest), Err(PacketError::Truncated(_))), "{rest:?}");
        }
        let short = Bytes::from_static(b"\x80\xe0\xff");
        assert_eq!(Packet::parse(short), Err(PacketError::Truncated(3)));
    }

    #[test]
    fn padding_must_be_there_and_fit() {
        assert_eq!(parse(0x20, b""), Err(PacketError::Padding(0)));
        assert_eq!(parse(0x20, b"ab\x00"), Err(PacketError::Padding(0)));
        assert_eq!(parse(0x20, b"ab\x04"), Err(PacketError::Padding(4)));
        assert_eq!(parse(0x20, b"ab\x03").map(|p| p.payload.len()), Ok(0));
    }

    #[test]
    fn another_version_is_no_rtp() {
        assert_eq!(Packet::parse(Bytes::from_static(&[0x40; 20])), Err(PacketError::Version(1)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn line_noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let len = bytes.len();
            if let Ok(packet) = Packet::parse(bytes.into()) {
                prop_assert!(packet.payload.len() + HEADER_LEN <= len);
            }
        }
    }
}
