//! Finds messages in a stream of bytes, however they are cut.
//!
//! # Invariants
//!
//! * Every byte is looked at once: lines are taken off the buffer as they are complete, and the
//!   place up to which an incomplete one was searched is remembered.
//! * A limit is checked before anything is stored that it bounds.
//! * The same bytes give the same messages and the same error at whatever points they are cut.
//!   A malformed line is therefore reported at the end of its message's headers, when it is known
//!   whether a `CSeq` follows; only a start line that is no text at all is reported at once.
//! * After an error the connection is of no use: where the next message begins is not known.
//!
//! # What is tolerated
//!
//! Line ends of LF alone, empty lines before a message or a `$`, blanks around names and values,
//! folded header lines, a body length on a request of HTTP (see [`tunnel`]), blanks inside a request's URI.

use bytes::{Buf, Bytes, BytesMut};

use super::{
    message::{
        Headers, InterleavedFrame, Message, Method, Request, Response, Status, Version, is_control,
    },
    tunnel,
};

/// Bounds on what one message may hold, in bytes unless said otherwise.
pub mod limits {
    /// A start line or header line, without its line end.
    pub const LINE: usize = 8 << 10;
    /// Start line and header lines together, with their line ends.
    pub const HEAD: usize = 64 << 10;
    /// Header fields, counted.
    pub const HEADERS: usize = 100;
    /// A body.
    pub const BODY: usize = 256 << 10;
}

/// Why bytes are no message. Answer [`Self::status`], then close.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct DecodeError {
    /// What is wrong.
    pub fault: Fault,
    /// `CSeq` of the message, when its headers could still be read; for the answer.
    pub cseq: Option<u32>,
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Neither a request line nor a status line.
    #[error("malformed start line")]
    StartLine,
    /// A line without a colon, with an empty or unlawful name, or with control characters.
    #[error("malformed header line")]
    HeaderLine,
    /// `Content-Length` is no number, or there are two that differ.
    #[error("malformed Content-Length")]
    ContentLength,
    /// A start line longer than [`limits::LINE`].
    #[error("start line of more than {} bytes", limits::LINE)]
    StartLineTooLong,
    /// A header line longer than [`limits::LINE`].
    #[error("header line of more than {} bytes", limits::LINE)]
    HeaderLineTooLong,
    /// More than [`limits::HEAD`] bytes of header.
    #[error("header of more than {} bytes", limits::HEAD)]
    HeadTooLarge,
    /// More than [`limits::HEADERS`] header fields.
    #[error("more than {} header fields", limits::HEADERS)]
    TooManyHeaders,
    /// `Content-Length` above [`limits::BODY`].
    #[error("body of more than {} bytes", limits::BODY)]
    BodyTooLarge,
}

impl DecodeError {
    /// What to answer.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self.fault {
            Fault::StartLineTooLong => Status::REQUEST_URI_TOO_LARGE,
            Fault::BodyTooLarge => Status::REQUEST_ENTITY_TOO_LARGE,
            Fault::StartLine
            | Fault::HeaderLine
            | Fault::ContentLength
            | Fault::HeaderLineTooLong
            | Fault::HeadTooLarge
            | Fault::TooManyHeaders => Status::BAD_REQUEST,
        }
    }
}

/// The parser of one direction of one connection.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    /// So many bytes at the front of the buffer hold no line end.
    scanned: usize,
    /// What answers is an HTTP server.
    http: bool,
}

#[derive(Debug, Default)]
enum State {
    /// Between messages.
    #[default]
    Start,
    /// After a start line.
    Head(Head),
    /// After the empty line.
    Body { message: Message, length: usize },
    /// For good.
    Failed(DecodeError),
}

#[derive(Debug)]
struct Head {
    start: Option<StartLine>,
    headers: Headers,
    bytes: usize,
    /// What was wrong first.
    fault: Option<Fault>,
}

#[derive(Debug)]
enum StartLine {
    Request { method: Method, uri: String, version: Version },
    Response { version: Version, status: Status, reason: String },
}

impl StartLine {
    fn is_http(&self) -> bool {
        let (Self::Request { version, .. } | Self::Response { version, .. }) = self;
        tunnel::is_http(version)
    }
}

impl Decoder {
    /// At the start of a connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// At the start of a tunnel's half, for what the server answers: status lines are HTTP's, and
    /// bodies are left to the caller, for that of a tunnel never ends.
    #[must_use]
    pub fn of_http() -> Self {
        Self { http: true, ..Self::default() }
    }

    /// Takes the next message off the front of `buf`; `None` when it is not complete yet. The
    /// buffer must be the same one every time, with bytes only added at its end.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Message>, DecodeError> {
        loop {
            self.state = match std::mem::take(&mut self.state) {
                State::Start => {
                    if self.scanned == 0 {
                        let blank = buf.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
                        buf.advance(blank);
                        if buf.first() == Some(&b'$') {
                            return Ok(take_frame(buf).map(Message::Data));
                        }
                    }
                    match self.take_line(buf) {
                        Ok(None) => return Ok(None),
                        Ok(Some(line)) => match Head::begin(&line, self.http) {
                            Ok(head) => State::Head(head),
                            Err(fault) => return self.fail(fault, None),
                        },
                        Err(LineTooLong) => return self.fail(Fault::StartLineTooLong, None),
                    }
                }
                State::Head(mut head) => match self.take_line(buf) {
                    Ok(None) => {
                        self.state = State::Head(head);
                        return Ok(None);
                    }
                    Ok(Some(line)) if line.is_empty() => match head.finish() {
                        Ok((message, length)) => State::Body { message, length },
                        Err((fault, cseq)) => return self.fail(fault, cseq),
                    },
                    Ok(Some(line)) => {
                        if let Err(fault) = head.line(&line) {
                            return self.fail(fault, head.headers.cseq());
                        }
                        State::Head(head)
                    }
                    Err(LineTooLong) => {
                        return self.fail(Fault::HeaderLineTooLong, head.headers.cseq());
                    }
                },
                State::Body { mut message, length } => {
                    if buf.len() < length {
                        self.state = State::Body { message, length };
                        return Ok(None);
                    }
                    let bytes = buf.split_to(length).freeze();
                    match &mut message {
                        Message::Request(request) => request.body = bytes,
                        Message::Response(response) => response.body = bytes,
                        Message::Data(_) => {}
                    }
                    return Ok(Some(message));
                }
                State::Failed(error) => {
                    self.state = State::Failed(error.clone());
                    return Err(error);
                }
            };
        }
    }

    /// Whether part of a request or response was seen and the rest is still to come: the state in
    /// which the time for a header to be complete runs.
    #[must_use]
    pub const fn mid_message(&self) -> bool {
        match self.state {
            State::Start => self.scanned > 0,
            State::Head(_) | State::Body { .. } => true,
            State::Failed(_) => false,
        }
    }

    fn fail(&mut self, fault: Fault, cseq: Option<u32>) -> Result<Option<Message>, DecodeError> {
        let error = DecodeError { fault, cseq };
        self.state = State::Failed(error.clone());
        Err(error)
    }

    /// The next line without its end.
    fn take_line(&mut self, buf: &mut BytesMut) -> Result<Option<Bytes>, LineTooLong> {
        // Where the line end of the longest line stands, if that is a CR LF.
        const LAST: usize = limits::LINE + 1;
        let searched = buf.len().min(LAST + 1);
        let fresh = buf.get(self.scanned..searched).unwrap_or_default();
        let Some(at) = fresh.iter().position(|&b| b == b'\n') else {
            self.scanned = searched;
            return if searched > LAST { Err(LineTooLong) } else { Ok(None) };
        };
        let mut line = buf.split_to(self.scanned + at + 1).freeze();
        self.scanned = 0;
        line.truncate(line.len() - 1);
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        if line.len() > limits::LINE { Err(LineTooLong) } else { Ok(Some(line)) }
    }
}

struct LineTooLong;

fn take_frame(buf: &mut BytesMut) -> Option<InterleavedFrame> {
    let &[_, channel, high, low] = buf.first_chunk::<{ InterleavedFrame::HEADER }>()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if buf.len() < InterleavedFrame::HEADER + length {
        return None;
    }
    buf.advance(InterleavedFrame::HEADER);
    Some(InterleavedFrame { channel, payload: buf.split_to(length).freeze() })
}

impl Head {
    /// `Err` for bytes that are no text: nobody who sends them is waiting for a `CSeq`.
    fn begin(line: &[u8], http: bool) -> Result<Self, Fault> {
        if line.iter().copied().any(is_control) || std::str::from_utf8(line).is_err() {
            return Err(Fault::StartLine);
        }
        let start = parse_start_line(&String::from_utf8_lossy(line), http);
        let fault = if start.is_none() { Some(Fault::StartLine) } else { None };
        Ok(Self { start, headers: Headers::new(), bytes: line.len() + LINE_END, fault })
    }

    /// `Err` when a limit is passed.
    fn line(&mut self, line: &[u8]) -> Result<(), Fault> {
        self.bytes += line.len() + LINE_END;
        if self.bytes > limits::HEAD {
            return Err(Fault::HeadTooLarge);
        }
        if self.headers.len() >= limits::HEADERS && !is_folded(line) {
            return Err(Fault::TooManyHeaders);
        }
        if self.field(line).is_none() {
            self.fault.get_or_insert(Fault::HeaderLine);
        }
        Ok(())
    }

    fn field(&mut self, line: &[u8]) -> Option<()> {
        if line.iter().copied().any(is_control) {
            return None;
        }
        let text = String::from_utf8_lossy(line);
        if is_folded(line) {
            return self.headers.unfold(text.trim()).then_some(());
        }
        let (name, value) = text.split_once(':')?;
        let name = name.trim_end();
        if !is_token(name) {
            return None;
        }
        self.headers.push(name, value.trim());
        Some(())
    }

    /// The message, still without its body, and that body's length.
    fn finish(self) -> Result<(Message, usize), (Fault, Option<u32>)> {
        let cseq = self.headers.cseq();
        if let Some(fault) = self.fault {
            return Err((fault, cseq));
        }
        // The body of a tunnel's POST never ends, whatever length it states.
        let length = if self.start.as_ref().is_some_and(StartLine::is_http) {
            0
        } else {
            content_length(&self.headers).map_err(|fault| (fault, cseq))?
        };
        let (headers, body) = (self.headers, Bytes::new());
        let message = match self.start {
            Some(StartLine::Request { method, uri, version }) => {
                Message::Request(Request { method, uri, version, headers, body })
            }
            Some(StartLine::Response { version, status, reason }) => {
                Message::Response(Response { status, reason, version, headers, body })
            }
            None => return Err((Fault::StartLine, cseq)),
        };
        Ok((message, length))
    }
}

/// What a line end counts towards [`limits::HEAD`], however it is written.
const LINE_END: usize = 2;

fn is_folded(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

/// RFC 2326 §15.1 `token`.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn parse_start_line(line: &str, http: bool) -> Option<StartLine> {
    let line = line.trim();
    let (first, rest) = line.split_once([' ', '\t'])?;
    let protocol = if http { b"HTTP/" } else { b"RTSP/" };
    if first.len() > 5 && first.as_bytes().get(..5)?.eq_ignore_ascii_case(protocol) {
        let rest = rest.trim_start();
        let (code, reason) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
        let digits = code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit());
        let status = Status::from_u16(code.parse().ok().filter(|_| digits)?)?;
        let version = parse_version(first)?;
        return Some(StartLine::Response { version, status, reason: reason.trim().to_owned() });
    }
    let (uri, version) = rest.trim_start().rsplit_once([' ', '\t'])?;
    let uri = uri.trim_end();
    if !is_token(first) || uri.is_empty() {
        return None;
    }
    Some(StartLine::Request {
        method: Method::from_name(first),
        uri: uri.to_owned(),
        version: parse_version(version)?,
    })
}

/// Letters, a slash, digits with a point.
fn parse_version(text: &str) -> Option<Version> {
    if text.eq_ignore_ascii_case("RTSP/1.0") {
        return Some(Version::Rtsp10);
    }
    let (protocol, number) = text.split_once('/')?;
    let is_version = !protocol.is_empty()
        && protocol.bytes().all(|b| b.is_ascii_alphabetic())
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    is_version.then(|| Version::Other(text.to_owned()))
}

fn content_length(headers: &Headers) -> Result<usize, Fault> {
    let mut length: Option<usize> = None;
    for value in headers.get_all("Content-Length") {
        if value.is_empty() || !value.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Fault::ContentLength);
        }
        // All digits: what does not parse is too many of them.
        let this = value.parse().unwrap_or(usize::MAX);
        if *length.get_or_insert(this) != this {
            return Err(Fault::ContentLength);
        }
    }
    match length.unwrap_or(0) {
        length if length > limits::BODY => Err(Fault::BodyTooLarge),
        length => Ok(length),
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
