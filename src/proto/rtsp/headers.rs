//! Header fields as values: Transport, Range, Session, RTP-Info and the small ones.
//!
//! Parsing is case-insensitive in names of parameters and units, and tolerant of blanks; what is
//! written is what the players were measured to understand.

use std::fmt;

use super::message::Headers;
use crate::proto::time::{WallSpan, WallTime};

/// A header field's value cannot be understood: answer 400 (for `Range`, 457).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub struct HeaderError(pub &'static str);

/// What carries RTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lower {
    /// UDP: the default.
    Udp,
    /// The RTSP connection itself.
    Tcp,
}

/// One way to deliver a track (RFC 2326 §12.39): one element of a `Transport` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// `RTP/AVP`. False for anything else (`RTP/SAVP`, `RAW/RAW`), which we do not speak.
    pub rtp_avp: bool,
    /// UDP or the RTSP connection.
    pub lower: Lower,
    /// `multicast` was asked for. (RFC 2326 makes it the default; no player means it so.)
    pub multicast: bool,
    /// Channels of RTP and RTCP.
    pub interleaved: Option<(u8, u8)>,
    /// The client's ports for RTP and RTCP.
    pub client_port: Option<(u16, u16)>,
    /// The server's ports for RTP and RTCP.
    pub server_port: Option<(u16, u16)>,
    /// Ports of a multicast group.
    pub port: Option<(u16, u16)>,
    /// Multicast time to live.
    pub ttl: Option<u8>,
    /// Synchronisation source of the sender.
    pub ssrc: Option<u32>,
    /// `mode=record` (or `receive`): the client will send.
    pub record: bool,
    /// Where to send to.
    pub destination: Option<String>,
    /// Where packets come from.
    pub source: Option<String>,
}

impl Transport {
    /// The list of a `Transport` header, in the order of preference.
    pub fn parse_list(value: &str) -> Result<Vec<Self>, HeaderError> {
        let _ = value;
        todo!()
    }

    /// Unicast RTP/AVP over `lower` with nothing else said.
    #[must_use]
    pub const fn unicast(lower: Lower) -> Self {
        Self {
            rtp_avp: true,
            lower,
            multicast: false,
            interleaved: None,
            client_port: None,
            server_port: None,
            port: None,
            ttl: None,
            ssrc: None,
            record: false,
            destination: None,
            source: None,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

/// What to play (RFC 2326 §12.29).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// In normal play time.
    Npt(NptRange),
    /// In UTC.
    Clock(ClockRange),
    /// In a unit we do not have (`smpte`): 457.
    Unsupported,
}

/// A place in normal play time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Npt {
    /// The live edge.
    Now,
    /// After the start.
    At(WallSpan),
}

/// `npt=a-b`; b before a plays in reverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct NptRange {
    /// Open when `None`.
    pub start: Option<Npt>,
    /// Open when `None`.
    pub end: Option<Npt>,
}

/// `clock=a-b`; b before a plays in reverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ClockRange {
    /// Open when `None`.
    pub start: Option<WallTime>,
    /// Open when `None`.
    pub end: Option<WallTime>,
}

impl Range {
    /// A `Range` header; what follows a `;` (`time=`) is ignored.
    pub fn parse(value: &str) -> Result<Self, HeaderError> {
        let _ = value;
        todo!()
    }
}

/// `npt=60.000-120.500`, `npt=now-`, `clock=20261122T100000.250Z-`.
impl fmt::Display for Range {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

/// A session's id and the silence after which it ends, in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Opaque.
    pub id: String,
    /// Seconds; 60 when not said.
    pub timeout: Option<u32>,
}

impl Session {
    /// `Session: id;timeout=60`.
    pub fn parse(value: &str) -> Result<Self, HeaderError> {
        let _ = value;
        todo!()
    }
}

/// Without a blank before `timeout`: ffmpeg reads it only so.
impl fmt::Display for Session {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

/// One track's entry of `RTP-Info`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpInfo {
    /// The track's control URL, absolute. Holds no `,` or `;`.
    pub url: String,
    /// Sequence number of the first packet.
    pub seq: Option<u16>,
    /// RTP time of the first packet.
    pub rtptime: Option<u32>,
}

impl RtpInfo {
    /// The entries of an `RTP-Info` header.
    pub fn parse_list(value: &str) -> Result<Vec<Self>, HeaderError> {
        let _ = value;
        todo!()
    }

    /// An `RTP-Info` header, in the order given: it must be that of the SDP.
    #[must_use]
    pub fn write_list(entries: &[Self]) -> String {
        let _ = entries;
        todo!()
    }
}

/// `Scale` or `Speed`: a finite number other than 0.
pub fn factor(value: &str) -> Result<f64, HeaderError> {
    let _ = value;
    todo!()
}

/// All option tags of `Require` and `Proxy-Require`.
#[must_use]
pub fn required(headers: &Headers) -> Vec<&str> {
    let _ = headers;
    todo!()
}

/// Whether an `Accept` header (or its absence) allows `kind/subtype`, such as `application/sdp`.
#[must_use]
pub fn accepts(headers: &Headers, media_type: &str) -> bool {
    let _ = (headers, media_type);
    todo!()
}

/// `yes` or `no`: `Rate-Control` and `Immediate` (ONVIF Streaming §6.4, §6.10).
pub fn yes_no(value: &str) -> Result<bool, HeaderError> {
    let _ = value;
    todo!()
}

/// Which pictures to send (ONVIF Streaming §6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    /// All.
    All,
    /// Key frames, no closer than this in media time when it is given.
    Intra(Option<WallSpan>),
    /// Key frames and those that others are predicted from.
    Predicted,
}

impl Frames {
    /// `all`, `intra`, `intra/4000` (milliseconds) or `predicted`.
    pub fn parse(value: &str) -> Result<Self, HeaderError> {
        let _ = value;
        todo!()
    }
}
