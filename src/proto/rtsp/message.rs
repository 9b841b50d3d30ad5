//! Requests, responses and interleaved frames, as values, and how they are written.
//!
//! # Invariants
//!
//! * What [`super::parse`] makes holds no control characters outside bodies, and what is written
//!   never holds a line end inside a line: a header's value is cleaned on its way out, so that
//!   text echoed from a client cannot become a header of ours.
//! * Names of methods are case-sensitive (RFC 2326 §10), names of headers are not (§4.2).

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// `OPTIONS`
    Options,
    /// `DESCRIBE`
    Describe,
    /// `ANNOUNCE`
    Announce,
    /// `SETUP`
    Setup,
    /// `PLAY`
    Play,
    /// `PAUSE`
    Pause,
    /// `TEARDOWN`
    Teardown,
    /// `GET_PARAMETER`
    GetParameter,
    /// `SET_PARAMETER`
    SetParameter,
    /// `RECORD`
    Record,
    /// `REDIRECT`
    Redirect,
    /// Any other, as it was written.
    Other(String),
}

impl Method {
    /// The method called `name`, exactly so.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        match name {
            "OPTIONS" => Self::Options,
            "DESCRIBE" => Self::Describe,
            "ANNOUNCE" => Self::Announce,
            "SETUP" => Self::Setup,
            "PLAY" => Self::Play,
            "PAUSE" => Self::Pause,
            "TEARDOWN" => Self::Teardown,
            "GET_PARAMETER" => Self::GetParameter,
            "SET_PARAMETER" => Self::SetParameter,
            "RECORD" => Self::Record,
            "REDIRECT" => Self::Redirect,
            other => Self::Other(other.to_owned()),
        }
    }

    /// As it stands in a request line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Options => "OPTIONS",
            Self::Describe => "DESCRIBE",
            Self::Announce => "ANNOUNCE",
            Self::Setup => "SETUP",
            Self::Play => "PLAY",
            Self::Pause => "PAUSE",
            Self::Teardown => "TEARDOWN",
            Self::GetParameter => "GET_PARAMETER",
            Self::SetParameter => "SET_PARAMETER",
            Self::Record => "RECORD",
            Self::Redirect => "REDIRECT",
            Self::Other(name) => name,
        }
    }

    /// For a metric's label: the name, or `other`, so that a client cannot make new series.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Options => "OPTIONS",
            Self::Describe => "DESCRIBE",
            Self::Announce => "ANNOUNCE",
            Self::Setup => "SETUP",
            Self::Play => "PLAY",
            Self::Pause => "PAUSE",
            Self::Teardown => "TEARDOWN",
            Self::GetParameter => "GET_PARAMETER",
            Self::SetParameter => "SET_PARAMETER",
            Self::Record => "RECORD",
            Self::Redirect => "REDIRECT",
            Self::Other(_) => "other",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The protocol a start line names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// `RTSP/1.0`: the one we speak.
    Rtsp10,
    /// Any other (`RTSP/2.0`, `HTTP/1.1`), as it was written. A server answers 505.
    Other(String),
}

impl Version {
    /// As it stands in a start line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Rtsp10 => "RTSP/1.0",
            Self::Other(text) => text,
        }
    }
}

macro_rules! statuses {
    ($($name:ident = $code:literal $reason:literal,)*) => {
        /// A status code; any three digits, since peers invent their own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct Status(u16);

        impl Status {
            $(#[doc = concat!("`", $code, " ", $reason, "`")] pub const $name: Self = Self($code);)*

            /// The phrase that goes with it; empty when it is not one of ours.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self.0 { $($code => $reason,)* _ => "" }
            }
        }
    };
}

// RFC 2326 §7.1.1 and §11.3.
statuses! {
    CONTINUE = 100 "Continue",
    OK = 200 "OK",
    CREATED = 201 "Created",
    LOW_ON_STORAGE_SPACE = 250 "Low on Storage Space",
    MULTIPLE_CHOICES = 300 "Multiple Choices",
    MOVED_PERMANENTLY = 301 "Moved Permanently",
    MOVED_TEMPORARILY = 302 "Moved Temporarily",
    SEE_OTHER = 303 "See Other",
    NOT_MODIFIED = 304 "Not Modified",
    USE_PROXY = 305 "Use Proxy",
    BAD_REQUEST = 400 "Bad Request",
    UNAUTHORIZED = 401 "Unauthorized",
    PAYMENT_REQUIRED = 402 "Payment Required",
    FORBIDDEN = 403 "Forbidden",
    NOT_FOUND = 404 "Not Found",
    METHOD_NOT_ALLOWED = 405 "Method Not Allowed",
    NOT_ACCEPTABLE = 406 "Not Acceptable",
    PROXY_AUTHENTICATION_REQUIRED = 407 "Proxy Authentication Required",
    REQUEST_TIMEOUT = 408 "Request Time-out",
    GONE = 410 "Gone",
    LENGTH_REQUIRED = 411 "Length Required",
    PRECONDITION_FAILED = 412 "Precondition Failed",
    REQUEST_ENTITY_TOO_LARGE = 413 "Request Entity Too Large",
    REQUEST_URI_TOO_LARGE = 414 "Request-URI Too Large",
    UNSUPPORTED_MEDIA_TYPE = 415 "Unsupported Media Type",
    PARAMETER_NOT_UNDERSTOOD = 451 "Parameter Not Understood",
    CONFERENCE_NOT_FOUND = 452 "Conference Not Found",
    NOT_ENOUGH_BANDWIDTH = 453 "Not Enough Bandwidth",
    SESSION_NOT_FOUND = 454 "Session Not Found",
    METHOD_NOT_VALID_IN_THIS_STATE = 455 "Method Not Valid in This State",
    HEADER_FIELD_NOT_VALID = 456 "Header Field Not Valid for Resource",
    INVALID_RANGE = 457 "Invalid Range",
    PARAMETER_IS_READ_ONLY = 458 "Parameter Is Read-Only",
    AGGREGATE_OPERATION_NOT_ALLOWED = 459 "Aggregate Operation Not Allowed",
    ONLY_AGGREGATE_OPERATION_ALLOWED = 460 "Only Aggregate Operation Allowed",
    UNSUPPORTED_TRANSPORT = 461 "Unsupported Transport",
    DESTINATION_UNREACHABLE = 462 "Destination Unreachable",
    INTERNAL_SERVER_ERROR = 500 "Internal Server Error",
    NOT_IMPLEMENTED = 501 "Not Implemented",
    BAD_GATEWAY = 502 "Bad Gateway",
    SERVICE_UNAVAILABLE = 503 "Service Unavailable",
    GATEWAY_TIMEOUT = 504 "Gateway Time-out",
    VERSION_NOT_SUPPORTED = 505 "RTSP Version Not Supported",
    OPTION_NOT_SUPPORTED = 551 "Option Not Supported",
}

impl Status {
    /// `None` outside 100 to 999.
    #[must_use]
    pub const fn from_u16(code: u16) -> Option<Self> {
        if code >= 100 && code <= 999 { Some(Self(code)) } else { None }
    }

    /// The three digits.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        self.0
    }

    /// 2xx.
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.0 >= 200 && self.0 < 300
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Header fields in the order they came; a name may stand more than once.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

/// Without credentials: messages are logged.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = |name: &str| {
            ["Authorization", "Proxy-Authorization"].iter().any(|s| s.eq_ignore_ascii_case(name))
        };
        f.debug_map()
            .entries(self.iter().map(|(name, v)| (name, if secret(name) { "***" } else { v })))
            .finish()
    }
}

impl Headers {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The first value of `name`, in whatever case that is written.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Every value of `name`, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }

    /// One more field, after those there are.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// All fields in order: name as written, value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `CSeq`; `None` when it is missing or no number.
    #[must_use]
    pub fn cseq(&self) -> Option<u32> {
        self.get("CSeq")?.trim().parse().ok()
    }

    /// Continues the last field's value: a folded line (RFC 2616 §2.2).
    pub(super) fn unfold(&mut self, more: &str) -> bool {
        let Some((_, value)) = self.0.last_mut() else { return false };
        if !value.is_empty() && !more.is_empty() {
            value.push(' ');
        }
        value.push_str(more);
        true
    }

    fn write(&self, to: &mut BytesMut) {
        for (name, value) in self.iter() {
            write_clean(to, name);
            to.put_slice(b": ");
            write_clean(to, value);
            to.put_slice(b"\r\n");
        }
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it asks for.
    pub method: Method,
    /// Of what: an absolute URI or `*`, as it was written.
    pub uri: String,
    /// In which protocol.
    pub version: Version,
    /// Header fields.
    pub headers: Headers,
    /// As many bytes as `Content-Length` said.
    pub body: Bytes,
}

impl Request {
    /// An RTSP/1.0 request with its `CSeq`, for clients and tests.
    #[must_use]
    pub fn new(method: Method, uri: impl Into<String>, cseq: u32) -> Self {
        let mut headers = Headers::new();
        headers.push("CSeq", cseq.to_string());
        Self { method, uri: uri.into(), version: Version::Rtsp10, headers, body: Bytes::new() }
    }

    /// With one more header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.headers.push(name, value.to_string());
        self
    }

    /// `CSeq`; `None` when it is missing or no number: answer 400.
    #[must_use]
    pub fn cseq(&self) -> Option<u32> {
        self.headers.cseq()
    }

    /// An answer that carries this request's `CSeq`.
    #[must_use]
    pub fn reply(&self, status: Status) -> Response {
        Response::to(self.cseq(), status)
    }

    /// Appends it to `to`. `Content-Length` is written here; do not put it among the headers.
    pub fn write(&self, to: &mut BytesMut) {
        write_clean(to, self.method.as_str());
        to.put_u8(b' ');
        write_clean(to, &self.uri);
        to.put_u8(b' ');
        write_clean(to, self.version.as_str());
        to.put_slice(b"\r\n");
        self.headers.write(to);
        write_body(to, &self.body);
    }
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// How it went.
    pub status: Status,
    /// The phrase beside the code; for people only.
    pub reason: String,
    /// In which protocol.
    pub version: Version,
    /// Header fields.
    pub headers: Headers,
    /// As many bytes as `Content-Length` said.
    pub body: Bytes,
}

impl Response {
    /// An answer to the request numbered `cseq`; without the header when that is not known.
    #[must_use]
    pub fn to(cseq: Option<u32>, status: Status) -> Self {
        let mut headers = Headers::new();
        if let Some(cseq) = cseq {
            headers.push("CSeq", cseq.to_string());
        }
        Self {
            status,
            reason: status.reason().to_owned(),
            version: Version::Rtsp10,
            headers,
            body: Bytes::new(),
        }
    }

    /// With one more header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.headers.push(name, value.to_string());
        self
    }

    /// With a body and its `Content-Type`.
    #[must_use]
    pub fn content(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.headers.push("Content-Type", content_type);
        self.body = body.into();
        self
    }

    /// `CSeq`; `None` when it is missing or no number.
    #[must_use]
    pub fn cseq(&self) -> Option<u32> {
        self.headers.cseq()
    }

    /// Appends it to `to`. `Content-Length` is written here; do not put it among the headers.
    pub fn write(&self, to: &mut BytesMut) {
        write_clean(to, self.version.as_str());
        to.put_slice(format!(" {} ", self.status).as_bytes());
        write_clean(to, &self.reason);
        to.put_slice(b"\r\n");
        self.headers.write(to);
        write_body(to, &self.body);
    }
}

/// A binary frame between messages (RFC 2326 §10.12): RTP or RTCP over the RTSP connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterleavedFrame {
    /// As agreed on in SETUP.
    pub channel: u8,
    /// One packet.
    pub payload: Bytes,
}

impl InterleavedFrame {
    /// Bytes of `$`, channel and length.
    pub const HEADER: usize = 4;

    /// The four bytes before a payload of `len` bytes.
    #[must_use]
    pub const fn header(channel: u8, len: u16) -> [u8; Self::HEADER] {
        let [high, low] = len.to_be_bytes();
        [b'$', channel, high, low]
    }
}

/// What stands in the byte stream of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A request.
    Request(Request),
    /// A response.
    Response(Response),
    /// A binary frame.
    Data(InterleavedFrame),
}

fn write_clean(to: &mut BytesMut, text: &str) {
    if text.bytes().any(is_control) {
        let clean: String =
            text.chars().map(|c| if c.is_ascii_control() { ' ' } else { c }).collect();
        to.put_slice(clean.as_bytes());
    } else {
        to.put_slice(text.as_bytes());
    }
}

fn write_body(to: &mut BytesMut, body: &Bytes) {
    if !body.is_empty() {
        to.put_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    to.put_slice(b"\r\n");
    to.put_slice(body);
}

/// A byte that has no place in a line.
pub(super) const fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}
