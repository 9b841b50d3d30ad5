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
//! * A right answer over a nonce that is not (or no longer) good is told from a wrong answer:
//!   the one is asked again with `stale=true` and the person never notices, the other is a failure.
//! * Secrets are HA1 values; passwords never come here but by Basic, which is for TLS alone.

use std::{fmt, time::Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::Md5;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
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
        let value = value.trim();
        let (scheme, rest) = value.split_once([' ', '\t']).ok_or(AuthorizationError::Syntax)?;
        if scheme.eq_ignore_ascii_case("Digest") {
            Digest::parse(rest).map(Self::Digest)
        } else if scheme.eq_ignore_ascii_case("Basic") {
            Basic::parse(rest.trim()).map(Self::Basic)
        } else {
            Err(AuthorizationError::Scheme)
        }
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
    /// Lower-case hexadecimal, if it is any.
    response: String,
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

impl Algorithm {
    /// As `algorithm=` names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Md5 => "MD5",
        }
    }

    /// Of the parts with colons between, lower-case hexadecimal.
    pub(super) fn hash(self, parts: &[&str]) -> String {
        fn hex_of<D: sha2::Digest>(parts: &[&str]) -> String {
            let mut hash = D::new();
            for (n, part) in parts.iter().enumerate() {
                if n > 0 {
                    hash.update(b":");
                }
                hash.update(part.as_bytes());
            }
            hex(&hash.finalize())
        }
        match self {
            Self::Sha256 => hex_of::<Sha256>(parts),
            Self::Md5 => hex_of::<Md5>(parts),
        }
    }

    /// H(user:realm:password), to be kept instead of a password: see [`Ha1`].
    #[must_use]
    pub fn ha1(self, user: &str, realm: &str, password: &str) -> Zeroizing<String> {
        Zeroizing::new(self.hash(&[user, realm, password]))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Digest {
    fn parse(rest: &str) -> Result<Self, AuthorizationError> {
        use AuthorizationError::{Missing, NotOffered, Syntax};

        let mut params = Params::parse(rest).ok_or(Syntax)?;
        let algorithm = match params.take("algorithm") {
            None => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("MD5") => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("SHA-256") => Algorithm::Sha256,
            Some(_) => return Err(NotOffered("algorithm")),
        };
        if params.take("userhash").is_some_and(|hashed| hashed.eq_ignore_ascii_case("true")) {
            return Err(NotOffered("userhash"));
        }
        let counted = match params.take("qop") {
            Some(qop) if qop.eq_ignore_ascii_case("auth") => {
                let count_text = params.take("nc").ok_or(Missing("nc"))?;
                let digits = !count_text.is_empty()
                    && count_text.bytes().all(|byte| byte.is_ascii_hexdigit());
                let count = u32::from_str_radix(&count_text, 16).ok().filter(|_| digits);
                Some(Counted {
                    count: count.ok_or(Syntax)?,
                    count_text,
                    cnonce: params.take("cnonce").ok_or(Missing("cnonce"))?,
                })
            }
            Some(_) => return Err(NotOffered("qop")),
            // RFC 7616 §3.4 wants it always; for MD5 there are RFC 2069's clients.
            None if algorithm == Algorithm::Md5 => None,
            None => return Err(Missing("qop")),
        };
        let mut take = |name| params.take(name).ok_or(Missing(name));
        Ok(Self {
            username: take("username")?,
            realm: take("realm")?,
            nonce: take("nonce")?,
            uri: take("uri")?,
            response: take("response")?.to_ascii_lowercase(),
            algorithm,
            counted,
        })
    }

    /// What `response` must be, lower-case hexadecimal (RFC 7616 §3.4.1; without qop RFC 2069
    /// §2.1.2).
    fn expected(&self, method: &str, secret: Ha1<'_>) -> String {
        let ha1 = match self.algorithm {
            Algorithm::Md5 => secret.md5,
            Algorithm::Sha256 => secret.sha256,
        };
        let ha2 = self.algorithm.hash(&[method, &self.uri]);
        match &self.counted {
            None => self.algorithm.hash(&[ha1, &self.nonce, &ha2]),
            Some(Counted { count_text, cnonce, .. }) => {
                self.algorithm.hash(&[ha1, &self.nonce, count_text, cnonce, "auth", &ha2])
            }
        }
    }
}

impl Basic {
    fn parse(encoded: &str) -> Result<Self, AuthorizationError> {
        let decoded = STANDARD.decode(encoded).map_err(|_| AuthorizationError::Syntax)?;
        let decoded = Zeroizing::new(decoded);
        let text = std::str::from_utf8(&decoded).map_err(|_| AuthorizationError::Syntax)?;
        let (username, password) = text.split_once(':').ok_or(AuthorizationError::Syntax)?;
        Ok(Self { username: username.to_owned(), password: Zeroizing::new(password.to_owned()) })
    }

    /// Whether it is the password that `secret` was made of.
    #[must_use]
    pub fn matches(&self, realm: &str, secret: Ha1<'_>) -> bool {
        let shown = Algorithm::Sha256.ha1(&self.username, realm, &self.password);
        shown.as_bytes().ct_eq(secret.sha256.as_bytes()).into()
    }
}

/// `name=value` pairs, values as tokens or quoted strings (RFC 7235 §2.1).
struct Params(Vec<(String, String)>);

impl Params {
    fn parse(mut rest: &str) -> Option<Self> {
        let mut params = Vec::new();
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                return Some(Self(params));
            }
            let (name, after) = rest.split_once('=')?;
            let (value, after) = parse_value(after.trim_start())?;
            params.push((name.trim_end().to_ascii_lowercase(), value));
            rest = after.trim_start();
            if !rest.is_empty() && !rest.starts_with(',') {
                return None;
            }
        }
    }

    /// The first of that name.
    fn take(&mut self, name: &str) -> Option<String> {
        self.0.iter_mut().find(|(n, _)| n == name).map(|(_, value)| std::mem::take(value))
    }
}

/// A value at the front of `text`, and what follows it.
pub(super) fn parse_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (token, rest) = text.split_at_checked(end)?;
        return Some((token.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => value.push(chars.next()?),
            other => value.push(other),
        }
    }
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

impl Nonce {
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.used) <= limits::IDLE
            && now.saturating_duration_since(self.issued) <= limits::LIFE
    }
}

impl NonceBook {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { nonces: Vec::new() }
    }

    /// A new nonce from 128 random bits. When there are [`limits::NONCES`], the oldest goes.
    pub fn issue(&mut self, now: Instant, random: [u8; 16]) -> String {
        if self.nonces.len() >= limits::NONCES {
            self.nonces.remove(0);
        }
        let text = hex(&random);
        self.nonces.push(Nonce { text: text.clone(), issued: now, used: now, count: 0 });
        text
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
        let expected = answer.expected(method, secret);
        // Lengths are no secret; of equal lengths the time does not tell where they differ.
        if !bool::from(expected.as_bytes().ct_eq(answer.response.as_bytes())) {
            return Verdict::Denied;
        }
        let known = self.nonces.iter_mut().find(|nonce| nonce.text == answer.nonce);
        let Some(nonce) = known.filter(|nonce| nonce.is_fresh(now)) else {
            return Verdict::Stale;
        };
        if let Some(Counted { count, .. }) = answer.counted {
            // One connection keeps its requests in order, so the count must rise.
            if count <= nonce.count {
                return Verdict::Stale;
            }
            nonce.count = count;
        }
        nonce.used = now;
        Verdict::Granted
    }
}

/// The values of the `WWW-Authenticate` headers of a 401, in this order.
#[must_use]
pub fn challenges(realm: &str, nonce: &str, stale: bool) -> [String; 2] {
    [Algorithm::Sha256, Algorithm::Md5].map(|algorithm| {
        let realm: String = realm.chars().filter(|c| !matches!(c, '"' | '\\')).collect();
        let stale = if stale { ", stale=true" } else { "" };
        let algorithm = algorithm.as_str();
        format!(
            "Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={algorithm}, \
             qop=\"auth\"{stale}"
        )
    })
}

/// The value of a `WWW-Authenticate` header that offers Basic. Over TLS only.
#[must_use]
pub fn basic_challenge(realm: &str) -> String {
    let realm: String = realm.chars().filter(|c| !matches!(c, '"' | '\\')).collect();
    format!("Basic realm=\"{realm}\", charset=\"UTF-8\"")
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
