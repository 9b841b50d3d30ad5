//! Basic and Digest as a client needs them (RFC 7617, RFC 7616, RFC 2617, RFC 2069).
//!
//! # Why it is done so
//!
//! * SHA-256 before MD5, Digest before Basic; what we cannot answer is passed over.
//! * Nothing is sent before it was asked for, so a camera that wants no login learns none.
//! * A challenge belongs to one connection: the next one asks again.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::proto::rtsp::{
    auth::{Algorithm, parse_value},
    message::Headers,
};

/// Challenges of one answer that are looked at.
const MAX_CHALLENGES: usize = 8;

/// Who we are to the camera.
#[derive(Clone)]
pub struct Credentials {
    /// The login.
    pub username: String,
    /// Wiped when dropped.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Digest {
        realm: String,
        nonce: String,
        opaque: Option<String>,
        algorithm: Algorithm,
        /// Whether it was named, and so is named in the answer.
        named: bool,
        /// `qop=auth` was offered.
        counted: bool,
        stale: bool,
    },
}

impl Challenge {
    fn rank(&self) -> u8 {
        match self {
            Self::Basic => 0,
            Self::Digest { algorithm: Algorithm::Md5, .. } => 1,
            Self::Digest { algorithm: Algorithm::Sha256, .. } => 2,
        }
    }
}

/// What a 401 means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing we could answer: no credentials, or no scheme that we know.
    NotAnswerable,
    /// A login.
    Login,
    /// The same again, with a new nonce.
    Stale,
}

/// One connection's login.
#[derive(Debug)]
pub(super) struct Login {
    credentials: Option<Credentials>,
    seed: [u8; 16],
    challenge: Option<Challenge>,
    count: u32,
    /// The camera has taken it, on this connection.
    pub(super) accepted: bool,
}

impl Login {
    pub(super) const fn new(credentials: Option<Credentials>, seed: [u8; 16]) -> Self {
        Self { credentials, seed, challenge: None, count: 0, accepted: false }
    }

    /// Takes the challenges of a 401.
    pub(super) fn challenged(&mut self, headers: &Headers) -> Asked {
        let best = headers
            .get_all("WWW-Authenticate")
            .flat_map(challenges)
            .take(MAX_CHALLENGES)
            .max_by_key(Challenge::rank);
        let (Some(best), Some(_)) = (best, &self.credentials) else { return Asked::NotAnswerable };
        let stale = matches!(best, Challenge::Digest { stale: true, .. });
        self.challenge = Some(best);
        self.count = 0;
        if stale { Asked::Stale } else { Asked::Login }
    }

    /// The `Authorization` of the next request; `None` while none was asked for.
    pub(super) fn answer(&mut self, method: &str, uri: &str) -> Option<String> {
        let credentials = self.credentials.as_ref()?;
        let (user, password) = (&credentials.username, &credentials.password);
        match self.challenge.as_ref()? {
            Challenge::Basic => {
                let plain = Zeroizing::new(format!("{user}:{}", password.as_str()));
                Some(format!("Basic {}", STANDARD.encode(plain.as_bytes())))
            }
            Challenge::Digest { realm, nonce, opaque, algorithm, named, counted, .. } => {
                let ha1 = algorithm.ha1(user, realm, password);
                let ha2 = algorithm.hash(&[method, uri]);
                self.count = self.count.wrapping_add(1);
                let count = format!("{:08x}", self.count);
                let seed: String = self.seed.iter().map(|byte| format!("{byte:02x}")).collect();
                let mut cnonce = Algorithm::Md5.hash(&[&seed, nonce, &count]);
                cnonce.truncate(16);
                let response = if *counted {
                    algorithm.hash(&[&ha1, nonce, &count, &cnonce, "auth", &ha2])
                } else {
                    algorithm.hash(&[&ha1, nonce, &ha2])
                };
                let (user, realm, nonce) = (quoted(user), quoted(realm), quoted(nonce));
                let mut value = format!(
                    "Digest username={user}, realm={realm}, nonce={nonce}, uri={}, response=\"{response}\"",
                    quoted(uri)
                );
                if *named {
                    value.push_str(&format!(", algorithm={}", algorithm.as_str()));
                }
                if let Some(opaque) = opaque {
                    value.push_str(&format!(", opaque={}", quoted(opaque)));
                }
                if *counted {
                    value.push_str(&format!(", qop=auth, nc={count}, cnonce=\"{cnonce}\""));
                }
                Some(value)
            }
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The challenges of one header: several may stand in it, one behind the other.
fn challenges(value: &str) -> Vec<Challenge> {
    let mut found: Vec<(&str, Vec<(String, String)>)> = Vec::new();
    let mut rest = value;
    while found.len() <= MAX_CHALLENGES {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            break;
        }
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let after = after.trim_start();
        if let Some(value) = after.strip_prefix('=') {
            // A value that never ends takes what there is.
            let Some((value, after)) = parse_value(value.trim_start()) else { break };
            if let Some((_, params)) = found.last_mut() {
                params.push((word.to_ascii_lowercase(), value));
            }
            rest = after;
        } else {
            found.push((word, Vec::new()));
            rest = after;
        }
    }
    found.iter().filter_map(|(scheme, params)| challenge(scheme, params)).collect()
}

fn challenge(scheme: &str, params: &[(String, String)]) -> Option<Challenge> {
    if scheme.eq_ignore_ascii_case("Basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("Digest") {
        return None;
    }
    let get = |name: &str| params.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let algorithm = match get("algorithm").map(str::trim) {
        None | Some("") => Algorithm::Md5,
        Some(name) if name.eq_ignore_ascii_case("MD5") => Algorithm::Md5,
        Some(name) if name.eq_ignore_ascii_case("SHA-256") => Algorithm::Sha256,
        Some(_) => return None,
    };
    let qop = get("qop");
    let counted =
        qop.is_some_and(|qop| qop.split(',').any(|q| q.trim().eq_ignore_ascii_case("auth")));
    // Only `auth-int` is offered: not ours.
    if qop.is_some_and(|qop| !qop.trim().is_empty()) && !counted {
        return None;
    }
    Some(Challenge::Digest {
        realm: get("realm").unwrap_or_default().to_owned(),
        nonce: get("nonce")?.to_owned(),
        opaque: get("opaque").map(str::to_owned),
        algorithm,
        named: get("algorithm").is_some(),
        counted,
        stale: get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
    })
}
