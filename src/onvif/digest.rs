//! HTTP Digest (RFC 7616) as the side that logs in. Cameras that want it challenge first; Basic is
//! never answered, since it would send the password itself.

use md5::Md5;
use sha2::Sha256;

use crate::model::Secret;

/// A challenge we can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    sha256: bool,
    /// `qop=auth` is offered.
    counted: bool,
    /// `algorithm=` as it was spelt, if it was.
    algorithm: Option<String>,
}

impl Challenge {
    /// The strongest that we can answer among the values of `WWW-Authenticate`.
    pub(super) fn strongest<'a>(values: impl Iterator<Item = &'a str>) -> Option<Self> {
        values.filter_map(Self::parse).max_by_key(|challenge| challenge.sha256)
    }

    /// One challenge a header, as cameras send it.
    fn parse(value: &str) -> Option<Self> {
        let (scheme, rest) = value.trim_start().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let (mut realm, mut nonce, mut opaque, mut algorithm) = (None, None, None, None);
        let (mut counted, mut asks_qop) = (false, false);
        for (name, value) in Parameters(rest) {
            match name.to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "nonce" => nonce = Some(value),
                "opaque" => opaque = Some(value),
                "algorithm" => algorithm = Some(value),
                "qop" => {
                    asks_qop = true;
                    counted = value.split(',').any(|q| q.trim().eq_ignore_ascii_case("auth"));
                }
                _ => {}
            }
        }
        let sha256 = match algorithm.as_deref() {
            None => false,
            Some(name) if name.eq_ignore_ascii_case("md5") => false,
            Some(name) if name.eq_ignore_ascii_case("sha-256") => true,
            Some(_) => return None,
        };
        // Only `auth-int`: nobody offers that alone, and we do not answer it.
        if asks_qop && !counted {
            return None;
        }
        Some(Self { realm: realm?, nonce: nonce?, opaque, sha256, counted, algorithm })
    }

    /// The value of `Authorization`.
    pub(super) fn answer(
        &self,
        (username, password): (&str, &Secret),
        method: &str,
        uri: &str,
        cnonce: &str,
    ) -> String {
        let hash = |parts: &[&str]| {
            if self.sha256 { hash::<Sha256>(parts) } else { hash::<Md5>(parts) }
        };
        let secret = zeroize::Zeroizing::new(hash(&[username, &self.realm, password.expose()]));
        let request = hash(&[method, uri]);
        let response = if self.counted {
            hash(&[&secret, &self.nonce, "00000001", cnonce, "auth", &request])
        } else {
            hash(&[&secret, &self.nonce, &request])
        };
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let mut out = format!(
            "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{response}\"",
            quoted(username),
            quoted(&self.realm),
            quoted(&self.nonce),
        );
        if self.counted {
            out.push_str(&format!(", qop=auth, nc=00000001, cnonce=\"{cnonce}\""));
        }
        if let Some(algorithm) = &self.algorithm {
            out.push_str(&format!(", algorithm={algorithm}"));
        }
        if let Some(opaque) = &self.opaque {
            out.push_str(&format!(", opaque=\"{}\"", quoted(opaque)));
        }
        out
    }
}

/// Of the parts with colons between, lower-case hexadecimal.
fn hash<D: sha2::Digest>(parts: &[&str]) -> String {
    let mut hash = D::new();
    for (n, part) in parts.iter().enumerate() {
        if n > 0 {
            hash.update(b":");
        }
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `name=value, name="value"`; ends at what makes no sense.
struct Parameters<'a>(&'a str);

impl Iterator for Parameters<'_> {
    type Item = (String, String);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.0.trim_start_matches([',', ' ', '\t']).split_once('=')?;
        let rest = rest.trim_start();
        let mut value = String::new();
        let mut end = rest.len();
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut escaped = false;
            for (at, c) in quoted.char_indices() {
                match c {
                    _ if escaped => {
                        value.push(c);
                        escaped = false;
                    }
                    '\\' => escaped = true,
                    '"' => {
                        end = at + 2;
                        break;
                    }
                    c => value.push(c),
                }
            }
        } else {
            end = rest.find(',').unwrap_or(rest.len());
            rest.get(..end).unwrap_or_default().trim().clone_into(&mut value);
        }
        self.0 = rest.get(end..).unwrap_or_default();
        Some((name.trim().to_owned(), value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 7616 §3.9.1.
    #[test]
    fn the_answers_of_the_standards_own_example_come_out() {
        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let password = Secret::new("Circle of Life".to_owned());
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let value = format!(
                "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", \
                 algorithm={algorithm}, nonce=\"{nonce}\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
            );
            let challenge = Challenge::parse(&value).unwrap();
            let answer = challenge.answer(("Mufasa", &password), "GET", "/dir/index.html", cnonce);
            assert!(answer.contains(&format!("response=\"{response}\"")), "{answer}");
            assert!(!answer.contains("Circle"));
        }
    }

    #[test]
    fn sha_256_is_answered_rather_than_md5_and_basic_never() {
        let values = [
            "Basic realm=\"a\"",
            "Digest realm=\"a\", nonce=\"1\", algorithm=MD5",
            "Digest realm=\"a\", nonce=\"2\", algorithm=SHA-256",
            "Digest realm=\"a\", nonce=\"3\", algorithm=SHA-512-256",
        ];
        assert_eq!(Challenge::strongest(values.into_iter()).unwrap().nonce, "2");
        assert_eq!(Challenge::strongest(["Basic realm=\"a\""].into_iter()), None);
    }

    proptest! {
        #[test]
        fn any_challenge_is_read_without_panic(value in "(Digest |realm|nonce|qop|=|\"|,|\\\\|é|[a-z]| ){0,40}") {
            let _ = Challenge::parse(&value);
        }
    }
}
