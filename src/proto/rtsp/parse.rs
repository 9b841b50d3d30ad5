//! Finds messages in a stream of bytes, however they are cut.
//!
//! # Invariants
//!
//! * Every byte is looked at once: lines are taken off the buffer as they are complete, and the
//!   place up to which an incomplete one was searched is remembered.
//! * A limit is checked before anything is stored that it bounds.
//! * The same bytes give the same messages and the same error at whatever points they are cut.
//! * After an error the connection is of no use: where the next message begins is not known.
//!
//! # What is tolerated
//!
//! Line ends of LF alone, empty lines before a message or a `$`, blanks around names and values,
//! folded header lines, blanks inside a request's URI.

use bytes::BytesMut;

use super::message::{Message, Status};

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
    scanned: usize,
}

impl Decoder {
    /// At the start of a connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next message off the front of `buf`; `None` when it is not complete yet. The
    /// buffer must be the same one every time, with bytes only added at its end.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Message>, DecodeError> {
        let _ = (buf, self.scanned);
        todo!()
    }

    /// Whether part of a request or response was seen and the rest is still to come: the state in
    /// which the time for a header to be complete runs.
    #[must_use]
    pub fn mid_message(&self) -> bool {
        todo!()
    }
}
