//! Digest and Basic as a server needs them (RFC 7616, RFC 2617, RFC 2069, RFC 7617).
//!
//! # Why it is done so
//!
//! * Two challenges with one nonce: SHA-256 first, MD5 last, for ffmpeg obeys the last alone, and
//!   a client that mixes them up still gets by. `realm` stands before `nonce`, or VLC gives up.
//! * Answers without `qop` are taken for MD5 (VLC, GStreamer). What they lack, a count, is made up
//!   for by nonces that are good on one connection only and not for long.
//! * The response is verified over the `uri` the client gave: VLC signs SETUP with the
//!   Content-Base.
//! * Secrets are HA1 values; passwords never come here but by Basic, which is for TLS alone.

use std::{
    fmt,
    time::{Duration, Instant},
};

use zeroize::Zeroizing;

/// Bounds of a connection's nonces.
pub mod limits {
    use std::time::Duration;

    /// Nonces of one connection that are known at a time.
    pub const NONCES: usize = 8;
    /// A nonce not used for this long is stale.
    pub const IDLE: Duration = Duration::from_secs(300);
    /// A nonce is stale this long after its issue, used or not.
    pub const LIFE: Duration = Duration::from_secs(3600);
}

/// A digest algorithm we offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RFC 7616.
    Sha256,
    /// For all the players there are.
    Md5,
}

/// An `Authorization` header.
#[derive(Debug)]
pub enum Authorization {
    /// Digest.
    Digest(Digest),
    /// Basic. Take it over TLS only.
    Basic(Basic),
}

impl Authorization {
    /// Parses the header's value.
    pub fn parse(value: &str) -> Result<Self, AuthorizationError> {
        let _ = value;
        todo!()
    }
}

/// Why an `Authorization` header is of no use: answer 401 with new challenges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorizationError {
    /// Neither Digest nor Basic.
    #[error("unknown authorization scheme")]
    Scheme,
    /// Not `name=value, …`, or not base64.
    #[error("malformed authorization")]
    Syntax,
    /// A parameter is missing that must be there.
    #[error("authorization without {0}")]
    Missing(&'static str),
    /// An algorithm, qop or option that was not offered.
    #[error("authorization with a {0} that was not offered")]
    NotOffered(&'static str),
}

/// The answer to a Digest challenge.
#[derive(Clone, PartialEq, Eq)]
pub struct Digest {
    /// Who.
    pub username: String,
    /// As it was challenged.
    pub realm: String,
    nonce: String,
    uri: String,
    response: Vec<u8>,
    /// MD5 when not said.
    pub algorithm: Algorithm,
    counted: Option<Counted>,
}

/// What `qop=auth` adds.
#[derive(Clone, PartialEq, Eq)]
struct Counted {
    count: u32,
    count_text: String,
    cnonce: String,
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digest")
            .field("username", &self.username)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// A name and a password.
pub struct Basic {
    /// Who.
    pub username: String,
    /// Wiped when dropped.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Basic").field("username", &self.username).finish_non_exhaustive()
    }
}

/// H(user:realm:password) by each algorithm, lower-case hexadecimal.
#[derive(Clone, Copy)]
pub struct Ha1<'a> {
    /// By MD5: 32 digits.
    pub md5: &'a str,
    /// By SHA-256: 64 digits.
    pub sha256: &'a str,
}

/// What came of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It is who it says.
    Granted,
    /// The secret is right, but the nonce is not ours, too old, or its count was used: challenge
    /// again with `stale=true`. Not a failure for back-off.
    Stale,
    /// Wrong secret.
    Denied,
}

/// The nonces of one connection.
#[derive(Debug, Default)]
pub struct NonceBook {
    nonces: Vec<Nonce>,
}

#[derive(Debug)]
struct Nonce {
    text: String,
    issued: Instant,
    used: Instant,
    count: u32,
}

impl NonceBook {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { nonces: Vec::new() }
    }

    /// A new nonce from 128 random bits. When there are [`limits::NONCES`], the oldest goes.
    pub fn issue(&mut self, now: Instant, random: [u8; 16]) -> String {
        let _ = (now, random, Duration::ZERO);
        todo!()
    }

    /// Verifies an answer to a request of `method` and takes note of its nonce and count. Do it
    /// with a decoy secret for a user there is none of, so that both take the same time.
    pub fn verify(
        &mut self,
        now: Instant,
        answer: &Digest,
        method: &str,
        secret: Ha1<'_>,
    ) -> Verdict {
        let _ = (now, answer, method, secret);
        let _ = (&answer.nonce, &answer.uri, &answer.response, &answer.counted);
        if let Some(c) = &answer.counted {
            let _ = (c.count, &c.count_text, &c.cnonce);
        }
        if let Some(n) = self.nonces.first() {
            let _ = (&n.text, n.issued, n.used, n.count);
        }
        todo!()
    }
}

/// The values of the `WWW-Authenticate` headers of a 401, in this order.
#[must_use]
pub fn challenges(realm: &str, nonce: &str, stale: bool) -> [String; 2] {
    let _ = (realm, nonce, stale);
    todo!()
}
