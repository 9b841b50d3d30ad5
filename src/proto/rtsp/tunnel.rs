//! RTSP within HTTP, as QuickTime began it and ffmpeg, GStreamer and live555 do it still: a GET
//! whose answer never ends carries what the server says, a POST whose body never ends carries, in
//! base64, what the client says. A cookie says which two belong together.
//!
//! What both ends share stands here; how a client opens one is in
//! [`client::tunnel`](super::client::tunnel).
//!
//! # What is tolerated
//!
//! Line ends and blanks anywhere in the base64; padding in its middle, for clients encode message
//! by message. `Content-Length` of the POST is whatever the client made up.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{BufMut as _, BytesMut};

use super::message::{Method, Request, Version};

/// The most bytes that [`wrap`] takes, so that what it makes has a bound too.
pub const WRAPPED: usize = 48 << 10;

/// Longest cookie, bytes.
pub const COOKIE: usize = 128;

/// What a tunnel's answers are.
pub const CONTENT_TYPE: &str = "application/x-rtsp-tunnelled";

/// Whether a connection begins as HTTP; `None` while that cannot be told.
#[must_use]
pub fn begins_as_http(bytes: &[u8]) -> Option<bool> {
    let begins = |word: &[u8]| {
        let seen = bytes.len().min(word.len());
        (bytes.get(..seen) == word.get(..seen)).then_some(seen == word.len())
    };
    match begins(b"GET ").or_else(|| begins(b"POST ")) {
        Some(true) => Some(true),
        Some(false) => None,
        None => Some(false),
    }
}

/// Whether a request is of HTTP, by its version.
pub(super) fn is_http(version: &Version) -> bool {
    matches!(version, Version::Other(name) if name.get(..5).is_some_and(|p| p.eq_ignore_ascii_case("HTTP/")))
}

/// One of the two halves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Half {
    /// GET: from the server.
    Get {
        /// Which tunnel.
        cookie: String,
    },
    /// POST: to the server.
    Post {
        /// Which tunnel.
        cookie: String,
    },
}

impl Half {
    /// Reads the request that begins it; `None` when it is for no tunnel.
    #[must_use]
    pub fn of(request: &Request) -> Option<Self> {
        if !is_http(&request.version) {
            return None;
        }
        let cookie = request.headers.get("x-sessioncookie")?;
        let fit = !cookie.is_empty()
            && cookie.len() <= COOKIE
            && cookie.bytes().all(|byte| byte.is_ascii_graphic());
        let cookie = fit.then(|| cookie.to_owned())?;
        match &request.method {
            Method::Other(name) if name == "GET" => Some(Self::Get { cookie }),
            Method::Other(name) if name == "POST" => Some(Self::Post { cookie }),
            _ => None,
        }
    }
}

/// What a GET is answered with; the rest of the answer is RTSP as it is.
pub const ANSWER: &str = "HTTP/1.0 200 OK\r\nConnection: close\r\nCache-Control: no-store\r\n\
                          Pragma: no-cache\r\nContent-Type: application/x-rtsp-tunnelled\r\n\r\n";

/// Appends the next bytes of a POST's body to `out`: how many of `bytes` that were, at most
/// [`WRAPPED`]. What is appended is whole groups, so that it can be read when it arrives.
pub fn wrap(bytes: &[u8], out: &mut BytesMut) -> usize {
    let bytes = bytes.get(..WRAPPED).unwrap_or(bytes);
    out.put_slice(STANDARD.encode(bytes).as_bytes());
    bytes.len()
}

/// A body that is no base64. The connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what comes through the tunnel is no base64")]
pub struct NotBase64;

/// Decodes a body, however it is cut.
#[derive(Debug, Default)]
pub struct Unwrapper {
    group: [u8; 4],
    filled: usize,
    failed: bool,
}

impl Unwrapper {
    /// At the beginning of a body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends to `out` what `text` adds: at most three bytes for four.
    ///
    /// # Errors
    ///
    /// When it is no base64, for good; what came before it is in `out`.
    pub fn push(&mut self, text: &[u8], out: &mut BytesMut) -> Result<(), NotBase64> {
        for &byte in text {
            if self.failed {
                return Err(NotBase64);
            }
            if matches!(byte, b'\r' | b'\n' | b' ' | b'\t') {
                continue;
            }
            if let Some(place) = self.group.get_mut(self.filled) {
                *place = byte;
                self.filled += 1;
            }
            if self.filled == self.group.len() {
                self.filled = 0;
                let mut decoded = [0; 3];
                match STANDARD.decode_slice(self.group, &mut decoded) {
                    Ok(length) => out.put_slice(decoded.get(..length).unwrap_or_default()),
                    Err(_) => self.failed = true,
                }
            }
        }
        if self.failed { Err(NotBase64) } else { Ok(()) }
    }
}

#[cfg(test)]
#[path = "tunnel_tests.rs"]
mod tests;
