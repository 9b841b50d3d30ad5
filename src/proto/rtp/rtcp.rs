//! RTCP (RFC 3550 §6): reports and good-byes out, reports in.

use bytes::BytesMut;

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
    let _ = (to, report, cname, bye, channel);
    todo!()
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

/// Parses a compound packet. Kinds we have no use for are passed over.
pub fn parse(data: &[u8]) -> Result<Received, RtcpError> {
    let _ = data;
    todo!()
}
