//! RTCP (RFC 3550 §6): reports and good-byes, out and in.

use bytes::{BufMut, BytesMut};
use rtcp_types::{
    Bye, Compound, CompoundBuilder, PayloadFeedback, Pli, ReceiverReport, ReportBlock, RtcpPacket,
    RtcpPacketParser, RtcpPacketWriter, RtcpPacketWriterExt, RtcpParseError, Sdes, SdesBuilder,
    SdesChunk, SdesItem, SenderReport as WireReport,
};

use crate::proto::rtsp::message::InterleavedFrame;

/// What tells RTCP from RTP (RFC 5761 §4).
const RTCP_TYPES: std::ops::RangeInclusive<u8> = 192..=223;

/// The longest CNAME the wire can say, in bytes.
const MAX_CNAME: usize = 255;

/// A sender report (§6.4.1), without reception blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderReport {
    /// Whose.
    pub ssrc: u32,
    /// Wall clock, NTP.
    pub ntp: u64,
    /// The RTP time of that instant.
    pub timestamp: u32,
    /// Packets sent since the start, wraps.
    pub packets: u32,
    /// Payload bytes sent since the start, wraps.
    pub octets: u32,
}

/// Appends a compound packet to `to`: the report, the source's CNAME, and BYE when asked for.
/// With `channel`, as an interleaved frame.
pub fn write(
    to: &mut BytesMut,
    report: &SenderReport,
    cname: &str,
    bye: bool,
    channel: Option<u8>,
) {
    let mut packet = Compound::builder()
        .add_packet(
            WireReport::builder(report.ssrc)
                .ntp_timestamp(report.ntp)
                .rtp_timestamp(report.timestamp)
                .packet_count(report.packets)
                .octet_count(report.octets),
        )
        .add_packet(description(report.ssrc, cname));
    if bye {
        packet = packet.add_packet(Bye::builder().add_source(report.ssrc));
    }
    put(to, &packet, channel);
}

/// One block of a receiver report (§6.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentBlock {
    /// How the source is received.
    pub block: ReceptionBlock,
    /// The middle of the last sender report's NTP time; 0 where there was none.
    pub last_report: u32,
    /// Since it came, in 65,536ths of a second.
    pub delay: u32,
}

/// Appends a receiver report of source `ssrc` to `to`, with its CNAME. Without a block it says only
/// that somebody listens. With `key_of` that source is asked for a picture that stands for itself
/// (picture loss indication, RFC 4585 §6.3.1).
pub fn write_receiver(
    to: &mut BytesMut,
    ssrc: u32,
    block: Option<&SentBlock>,
    key_of: Option<u32>,
    cname: &str,
    channel: Option<u8>,
) {
    let mut report = ReceiverReport::builder(ssrc);
    if let Some(SentBlock { block, last_report, delay }) = block {
        report = report.add_report_block(
            ReportBlock::builder(block.ssrc)
                .fraction_lost(block.fraction_lost)
                .cumulative_lost(block.lost.cast_unsigned() & 0xff_ffff)
                .extended_sequence_number(block.highest_sequence)
                .interarrival_jitter(block.jitter)
                .last_sender_report_timestamp(*last_report)
                .delay_since_last_sender_report_timestamp(*delay),
        );
    }
    let mut packet = Compound::builder().add_packet(report).add_packet(description(ssrc, cname));
    if let Some(source) = key_of {
        let asked = PayloadFeedback::builder_owned(Pli::builder());
        packet = packet.add_packet(asked.sender_ssrc(ssrc).media_ssrc(source));
    }
    put(to, &packet, channel);
}

fn description(ssrc: u32, cname: &str) -> SdesBuilder<'_> {
    let cname = cname.get(..cname.floor_char_boundary(MAX_CNAME)).unwrap_or_default();
    let item = SdesItem::builder(SdesItem::CNAME, cname);
    Sdes::builder().add_chunk(SdesChunk::builder(ssrc).add_item(item))
}

fn put(to: &mut BytesMut, packet: &CompoundBuilder<'_>, channel: Option<u8>) {
    // The builders refuse what does not fit the wire; nothing here can be of that kind.
    let size = packet.calculate_size().unwrap_or(0);
    if let Some(channel) = channel {
        to.put_slice(&InterleavedFrame::header(channel, u16::try_from(size).unwrap_or(0)));
    }
    let start = to.len();
    to.put_bytes(0, size);
    if let Some(place) = to.get_mut(start..) {
        let written = packet.write_into(place);
        debug_assert_eq!(written.ok(), Some(size));
    }
}

/// What a peer's compound packet says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Sender reports.
    pub sender_reports: Vec<SenderReport>,
    /// Reception blocks of its sender and receiver reports.
    pub blocks: Vec<ReceptionBlock>,
    /// Sources that say good-bye.
    pub byes: Vec<u32>,
}

/// How one source is received (§6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceptionBlock {
    /// Which source.
    pub ssrc: u32,
    /// Share lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Packets lost in all; negative with duplicates.
    pub lost: i32,
    /// Highest sequence number, with wraps above.
    pub highest_sequence: u32,
    /// In ticks.
    pub jitter: u32,
}

/// Not RTCP.
#[derive(Debug, thiserror::Error)]
#[error("malformed RTCP")]
pub struct RtcpError;

/// Parses a compound packet, as far as it can be understood: players write SDES and padding in ways
/// of their own, and a report must not be lost by what follows it. Kinds we have no use for are
/// passed over. It is an error when not even the first packet in it is one.
pub fn parse(data: &[u8]) -> Result<Received, RtcpError> {
    let mut received = Received::default();
    let mut rest = data;
    while let Some((packet, after)) = split_packet(rest) {
        if received.take(packet).is_err() {
            break;
        }
        rest = after;
    }
    // `rest` grew shorter by each packet understood.
    if rest.len() < data.len() { Ok(received) } else { Err(RtcpError) }
}

/// The first packet of a compound and what follows it.
fn split_packet(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let &[first, kind, high, low] = data.first_chunk::<4>()?;
    let words = 1 + usize::from(u16::from_be_bytes([high, low]));
    let is_rtcp = first >> 6 == 2 && RTCP_TYPES.contains(&kind);
    data.split_at_checked(4 * words).filter(|_| is_rtcp)
}

impl Received {
    fn take(&mut self, packet: &[u8]) -> Result<(), RtcpParseError> {
        match packet.get(1).copied() {
            Some(WireReport::PACKET_TYPE) => {
                let sr = WireReport::parse(packet)?;
                self.sender_reports.push(SenderReport {
                    ssrc: sr.ssrc(),
                    ntp: sr.ntp_timestamp(),
                    timestamp: sr.rtp_timestamp(),
                    packets: sr.packet_count(),
                    octets: sr.octet_count(),
                });
                self.blocks.extend(sr.report_blocks().map(ReceptionBlock::from));
            }
            Some(ReceiverReport::PACKET_TYPE) => {
                let rr = ReceiverReport::parse(packet)?;
                self.blocks.extend(rr.report_blocks().map(ReceptionBlock::from));
            }
            Some(Bye::PACKET_TYPE) => self.byes.extend(Bye::parse(packet)?.ssrcs()),
            _ => {}
        }
        Ok(())
    }
}

impl From<ReportBlock<'_>> for ReceptionBlock {
    fn from(block: ReportBlock<'_>) -> Self {
        // 24 bits, signed.
        let lost = (block.cumulative_lost() << 8).cast_signed() >> 8;
        Self {
            ssrc: block.ssrc(),
            fraction_lost: block.fraction_lost(),
            lost,
            highest_sequence: block.extended_sequence_number(),
            jitter: block.interarrival_jitter(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REPORT: SenderReport = SenderReport {
        ssrc: 0x1122_3344,
        ntp: 0xe8f1_0203_8000_0000,
        timestamp: 90_000,
        packets: 7,
        octets: 1_234,
    };

    fn written(bye: bool, channel: Option<u8>) -> BytesMut {
        let mut bytes = BytesMut::new();
        write(&mut bytes, &REPORT, "vedette", bye, channel);
        bytes
    }

    #[test]
    fn a_report_is_written_as_rfc_3550_draws_it() {
        let expected = b"\x80\xc8\x00\x06\x11\x22\x33\x44\xe8\xf1\x02\x03\x80\x00\x00\x00\
            \x00\x01\x5f\x90\x00\x00\x00\x07\x00\x00\x04\xd2\
            \x81\xca\x00\x04\x11\x22\x33\x44\x01\x07vedette\x00\x00\x00\
            \x81\xcb\x00\x01\x11\x22\x33\x44";
        assert_eq!(&written(true, None)[..], &expected[..]);
        assert_eq!(&written(false, None)[..], &expected[..expected.len() - 8]);
        let framed = written(true, Some(3));
        assert_eq!(&framed[..4], &[b'$', 3, 0, expected.len() as u8]);
        assert_eq!(&framed[4..], &expected[..]);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let received = parse(&written(true, None)).expect("parses");
        assert_eq!(received.sender_reports, [REPORT]);
        assert_eq!(received.byes, [REPORT.ssrc]);
    }

    #[test]
    fn a_cname_too_long_for_the_wire_is_cut() {
        let mut bytes = BytesMut::new();
        write(&mut bytes, &REPORT, &"é".repeat(200), true, None);
        assert_eq!(parse(&bytes).expect("parses").byes, [REPORT.ssrc]);
    }

    #[test]
    fn a_players_receiver_report_is_understood() {
        // As VLC ends: RR with one block, SDES, BYE.
        let bytes = b"\x81\xc9\x00\x07\x00\x00\x00\x09\x11\x22\x33\x44\x40\xff\xff\xfe\
            \x00\x01\x00\x05\x00\x00\x00\x2a\x00\x00\x00\x00\x00\x00\x00\x00\
            \x81\xca\x00\x02\x00\x00\x00\x09\x01\x02ab\
            \x81\xcb\x00\x01\x00\x00\x00\x09";
        let received = parse(bytes).expect("parses");
        let block = ReceptionBlock {
            ssrc: REPORT.ssrc,
            fraction_lost: 64,
            lost: -2,
            highest_sequence: 0x1_0005,
            jitter: 42,
        };
        assert_eq!((received.blocks, received.byes), (vec![block], vec![9]));
    }

    #[test]
    fn an_empty_receiver_report_is_one_too() {
        let empty = b"\x80\xc9\x00\x01\x00\x00\x00\x09";
        assert_eq!(parse(empty).ok(), Some(Received::default()));
    }

    #[test]
    fn a_report_cut_short_is_an_error_but_not_what_follows_it() {
        let whole = written(true, None);
        for len in 0..28 {
            assert!(parse(&whole[..len]).is_err(), "{len} bytes");
        }
        for len in 28..whole.len() {
            let received = parse(&whole[..len]).expect("the report is whole");
            assert_eq!((received.sender_reports, received.byes), (vec![REPORT], vec![]));
        }
    }

    #[test]
    fn a_malformed_description_does_not_cost_the_report() {
        // An item said to be longer than its chunk, then a good-bye.
        let bytes = b"\x80\xc9\x00\x01\x00\x00\x00\x09\
            \x81\xca\x00\x02\x00\x00\x00\x09\x01\x40ab\
            \x81\xcb\x00\x01\x00\x00\x00\x09";
        assert_eq!(parse(bytes).expect("parses").byes, [9]);
    }

    #[test]
    fn rtp_and_other_versions_are_no_rtcp() {
        assert!(parse(b"\x80\x60\x00\x01\x00\x00\x00\x09").is_err());
        assert!(parse(b"\x40\xc9\x00\x01\x00\x00\x00\x09").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn line_noise_never_panics(
            kind in 200_u8..208,
            mut bytes in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            if let [first, second, length @ ..] = &mut bytes[..] {
                *first = *first & 0x3f | 0x80;
                *second = kind;
                let words = (length.len() / 4) as u8;
                if let [high, low, ..] = length {
                    (*high, *low) = (0, *low % (words + 1));
                }
            }
            let _ = parse(&bytes);
        }
    }
}
