//! Header fields as values: Transport, Range, Session, RTP-Info and the small ones.
//!
//! Parsing is case-insensitive in names of parameters and units, and tolerant of blanks; what is
//! written is what the players were measured to understand.

use std::fmt;

use super::message::Headers;
use crate::proto::time::{Civil, WallSpan, WallTime};

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
        let list: Vec<Self> = split(value, ',')
            .map(str::trim)
            .filter(|spec| !spec.is_empty())
            .map(Self::parse)
            .collect::<Option<_>>()
            .ok_or(HeaderError("Transport"))?;
        if list.is_empty() { Err(HeaderError("Transport")) } else { Ok(list) }
    }

    fn parse(spec: &str) -> Option<Self> {
        let mut params = split(spec, ';').map(str::trim);
        let mut id = params.next()?.split('/').map(str::trim);
        let mut next_is =
            |name: &str| id.next().is_some_and(|part| part.eq_ignore_ascii_case(name));
        let rtp_avp = next_is("RTP") && next_is("AVP");
        let (known, lower) = match id.next().map(str::to_ascii_lowercase).as_deref() {
            None | Some("udp") => (true, Lower::Udp),
            Some("tcp") => (true, Lower::Tcp),
            Some(_) => (false, Lower::Udp),
        };
        let rtp_avp = rtp_avp && known && id.next().is_none();
        let mut transport = Self { rtp_avp, ..Self::unicast(lower) };
        for param in params {
            let (name, value) = param.split_once('=').unwrap_or((param, ""));
            let value = unquote(value.trim());
            match name.trim_end().to_ascii_lowercase().as_str() {
                "unicast" => transport.multicast = false,
                "multicast" => transport.multicast = true,
                "interleaved" => transport.interleaved = Some(pair(value, u8::checked_add)?),
                "client_port" => transport.client_port = Some(pair(value, u16::checked_add)?),
                "server_port" => transport.server_port = Some(pair(value, u16::checked_add)?),
                "port" => transport.port = Some(pair(value, u16::checked_add)?),
                // Of no use to a server, and often written wrongly by cameras.
                "ttl" => transport.ttl = value.parse().ok(),
                "ssrc" => transport.ssrc = u32::from_str_radix(value, 16).ok(),
                "mode" => {
                    transport.record = value
                        .split([',', ' '])
                        .any(|m| ["record", "receive"].iter().any(|r| m.eq_ignore_ascii_case(r)));
                }
                "destination" if !value.is_empty() => {
                    transport.destination = Some(value.to_owned());
                }
                "source" if !value.is_empty() => transport.source = Some(value.to_owned()),
                _ => {}
            }
        }
        Some(transport)
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

/// For a transport we speak; [`Self::rtp_avp`] is taken to be true.
impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.lower {
            Lower::Udp => "RTP/AVP",
            Lower::Tcp => "RTP/AVP/TCP",
        })?;
        f.write_str(if self.multicast { ";multicast" } else { ";unicast" })?;
        if let Some(destination) = &self.destination {
            write!(f, ";destination={destination}")?;
        }
        if let Some(source) = &self.source {
            write!(f, ";source={source}")?;
        }
        if let Some((rtp, rtcp)) = self.interleaved {
            write!(f, ";interleaved={rtp}-{rtcp}")?;
        }
        for (name, ports) in [
            ("port", self.port),
            ("client_port", self.client_port),
            ("server_port", self.server_port),
        ] {
            if let Some((rtp, rtcp)) = ports {
                write!(f, ";{name}={rtp}-{rtcp}")?;
            }
        }
        if let Some(ttl) = self.ttl {
            write!(f, ";ttl={ttl}")?;
        }
        if let Some(ssrc) = self.ssrc {
            write!(f, ";ssrc={ssrc:08X}")?;
        }
        if self.record {
            f.write_str(";mode=record")?;
        }
        Ok(())
    }
}

/// `a-b`, or `a` alone with the next number for RTCP.
fn pair<N: std::str::FromStr + From<u8> + Copy>(
    value: &str,
    add: fn(N, N) -> Option<N>,
) -> Option<(N, N)> {
    // `u16::from_str` takes a sign.
    let number = |text: &str| match text.trim() {
        text if text.bytes().all(|b| b.is_ascii_digit()) => text.parse::<N>().ok(),
        _ => None,
    };
    match value.split_once('-') {
        Some((first, second)) => Some((number(first)?, number(second)?)),
        None => {
            let first = number(value)?;
            Some((first, add(first, N::from(1))?))
        }
    }
}

/// At each `separator` outside double quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
}

fn unquote(text: &str) -> &str {
    text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text)
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
        Self::try_parse(value).ok_or(HeaderError("Range"))
    }

    fn try_parse(value: &str) -> Option<Self> {
        let (range, _) = value.split_once(';').unwrap_or((value, ""));
        let (unit, range) = range.split_once('=')?;
        let unit = unit.trim();
        if unit.eq_ignore_ascii_case("npt") {
            let (start, end) = ends(range, parse_npt)?;
            Some(Self::Npt(NptRange { start, end }))
        } else if unit.eq_ignore_ascii_case("clock") {
            let (start, end) = ends(range, parse_clock)?;
            Some(Self::Clock(ClockRange { start, end }))
        } else {
            Some(Self::Unsupported)
        }
    }
}

/// Either end may be open, not both. A time alone, without its hyphen, is a start.
fn ends<T>(range: &str, parse: fn(&str) -> Option<T>) -> Option<(Option<T>, Option<T>)> {
    let (start, end) = range.split_once('-').unwrap_or((range, ""));
    let end_of = |text: &str| match text.trim() {
        "" => Some(None),
        text => parse(text).map(Some),
    };
    match (end_of(start)?, end_of(end)?) {
        (None, None) => None,
        both => Some(both),
    }
}

/// RFC 2326 §3.6: `now`, seconds, or hours:minutes:seconds; seconds with a fraction.
fn parse_npt(text: &str) -> Option<Npt> {
    if text.eq_ignore_ascii_case("now") {
        return Some(Npt::Now);
    }
    let (whole, micros) = parse_fraction(text)?;
    let mut parts = whole.rsplit(':').map(digits);
    let seconds = parts.next()??;
    let total = match (parts.next(), parts.next(), parts.next()) {
        (None, ..) => seconds,
        (Some(minutes), Some(hours), None) => {
            let minutes = minutes.filter(|&m| m < 60 && seconds < 60)?;
            hours?.checked_mul(3_600)?.checked_add(minutes * 60 + seconds)?
        }
        _ => return None,
    };
    let micros = i64::try_from(total).ok()?.checked_mul(1_000_000)?.checked_add(micros)?;
    Some(Npt::At(WallSpan::from_micros(micros)))
}

/// RFC 2326 §3.7: `19961108T143720.25Z`.
fn parse_clock(text: &str) -> Option<WallTime> {
    let text = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let (date, time) = text.split_once(['T', 't'])?;
    let (time, micros) = parse_fraction(time)?;
    if date.len() != 8 || time.len() != 6 {
        return None;
    }
    let field = |text: &str, at: usize| text.get(at..at + 2).and_then(digits);
    let second = field(time, 4)?;
    // A leap second is counted as the second before it once more.
    let leap = second == 60;
    let civil = Civil {
        year: i64::try_from(digits(date.get(..4)?)?).ok()?,
        month: u8::try_from(field(date, 4)?).ok()?,
        day: u8::try_from(field(date, 6)?).ok()?,
        hour: u8::try_from(field(time, 0)?).ok()?,
        minute: u8::try_from(field(time, 2)?).ok()?,
        second: if leap { 59 } else { u8::try_from(second).ok()? },
        micros: u32::try_from(micros).ok()?,
    };
    WallTime::from_civil(civil)
}

/// What stands before the point, and the fraction behind it in microseconds, cut off.
fn parse_fraction(text: &str) -> Option<(&str, i64)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let micros = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(6)
        .fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    Some((whole, micros))
}

/// Digits alone, at least one.
fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// `npt=60.000-120.500`, `npt=now-`, `clock=20261122T100000.25Z-`.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Npt(NptRange { start, end }) => {
                f.write_str("npt=")?;
                start.iter().try_for_each(|t| t.fmt(f))?;
                f.write_str("-")?;
                end.iter().try_for_each(|t| t.fmt(f))
            }
            Self::Clock(ClockRange { start, end }) => {
                f.write_str("clock=")?;
                start.iter().try_for_each(|t| write_clock(f, *t))?;
                f.write_str("-")?;
                end.iter().try_for_each(|t| write_clock(f, *t))
            }
            Self::Unsupported => f.write_str("smpte=-"),
        }
    }
}

/// Seconds, with as many digits as it takes, three at least.
impl fmt::Display for Npt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::At(span) = self else { return f.write_str("now") };
        let us = span.as_micros().max(0);
        let (seconds, fraction) = (us / 1_000_000, us % 1_000_000);
        if fraction % 1_000 == 0 {
            write!(f, "{seconds}.{:03}", fraction / 1_000)
        } else {
            write!(f, "{seconds}.{fraction:06}")
        }
    }
}

fn write_clock(f: &mut fmt::Formatter<'_>, at: WallTime) -> fmt::Result {
    let c = at.civil();
    write!(f, "{:04}{:02}{:02}T", c.year, c.month, c.day)?;
    write!(f, "{:02}{:02}{:02}", c.hour, c.minute, c.second)?;
    if c.micros != 0 {
        let fraction = format!("{:06}", c.micros);
        write!(f, ".{}", fraction.trim_end_matches('0'))?;
    }
    f.write_str("Z")
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
        let mut params = value.split(';').map(str::trim);
        let id = params.next().filter(|id| !id.is_empty()).ok_or(HeaderError("Session"))?;
        let timeout = params
            .filter_map(|param| param.split_once('='))
            .find(|(name, _)| name.trim_end().eq_ignore_ascii_case("timeout"))
            .and_then(|(_, seconds)| seconds.trim().parse().ok());
        Ok(Self { id: id.to_owned(), timeout })
    }
}

/// Without a blank before `timeout`: ffmpeg reads it only so.
impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        self.timeout.map_or(Ok(()), |seconds| write!(f, ";timeout={seconds}"))
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
        split(value, ',').map(|entry| Self::parse(entry).ok_or(HeaderError("RTP-Info"))).collect()
    }

    fn parse(entry: &str) -> Option<Self> {
        let mut info = Self { url: String::new(), seq: None, rtptime: None };
        for param in split(entry, ';') {
            let (name, value) = param.split_once('=')?;
            let value = unquote(value.trim());
            match name.trim().to_ascii_lowercase().as_str() {
                "url" => value.clone_into(&mut info.url),
                "seq" => info.seq = value.parse().ok(),
                "rtptime" => info.rtptime = value.parse().ok(),
                _ => {}
            }
        }
        (!info.url.is_empty()).then_some(info)
    }

    /// An `RTP-Info` header, in the order given: it must be that of the SDP.
    #[must_use]
    pub fn write_list(entries: &[Self]) -> String {
        entries.iter().map(Self::to_string).collect::<Vec<_>>().join(",")
    }
}

impl fmt::Display for RtpInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "url={}", self.url)?;
        if let Some(seq) = self.seq {
            write!(f, ";seq={seq}")?;
        }
        self.rtptime.map_or(Ok(()), |rtptime| write!(f, ";rtptime={rtptime}"))
    }
}

/// `Scale` or `Speed`: a finite number other than 0.
pub fn factor(value: &str) -> Result<f64, HeaderError> {
    let factor: f64 = value.trim().parse().map_err(|_| HeaderError("factor"))?;
    if factor.is_finite() && factor != 0.0 { Ok(factor) } else { Err(HeaderError("factor")) }
}

/// All option tags of `Require` and `Proxy-Require`.
#[must_use]
pub fn required(headers: &Headers) -> Vec<&str> {
    headers
        .get_all("Require")
        .chain(headers.get_all("Proxy-Require"))
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|tag| !tag.is_empty())
        .collect()
}

/// Whether an `Accept` header (or its absence) allows `kind/subtype`, such as `application/sdp`.
#[must_use]
pub fn accepts(headers: &Headers, media_type: &str) -> bool {
    let (kind, _) = media_type.split_once('/').unwrap_or((media_type, ""));
    let mut best: Option<(u8, bool)> = None;
    let mut said = false;
    for range in headers.get_all("Accept").flat_map(|value| value.split(',')) {
        let mut params = range.split(';').map(str::trim);
        let Some(range) = params.next().filter(|range| !range.is_empty()) else { continue };
        said = true;
        let closeness = match range.split_once('/') {
            _ if range.eq_ignore_ascii_case(media_type) => 2,
            Some((k, "*")) if k.eq_ignore_ascii_case(kind) => 1,
            Some(("*", "*")) => 0,
            _ => continue,
        };
        let refused = params
            .filter_map(|param| param.split_once('='))
            .filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
            .any(|(_, q)| q.trim().parse::<f32>().is_ok_and(|q| q <= 0.0));
        if best.is_none_or(|(other, _)| closeness > other) {
            best = Some((closeness, !refused));
        }
    }
    best.map_or(!said, |(_, allowed)| allowed)
}

/// `yes` or `no`: `Rate-Control` and `Immediate` (ONVIF Streaming §6.4, §6.10).
pub fn yes_no(value: &str) -> Result<bool, HeaderError> {
    match value.trim() {
        value if value.eq_ignore_ascii_case("yes") => Ok(true),
        value if value.eq_ignore_ascii_case("no") => Ok(false),
        _ => Err(HeaderError("yes or no")),
    }
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
        let value = value.trim().to_ascii_lowercase();
        match (value.as_str(), value.strip_prefix("intra/")) {
            ("all", _) => Ok(Self::All),
            ("intra", _) => Ok(Self::Intra(None)),
            ("predicted", _) => Ok(Self::Predicted),
            (_, Some(ms)) => digits(ms.trim())
                .and_then(|ms| i64::try_from(ms).ok()?.checked_mul(1_000))
                .map(|us| Self::Intra(Some(WallSpan::from_micros(us))))
                .ok_or(HeaderError("Frames")),
            _ => Err(HeaderError("Frames")),
        }
    }
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
