//! Whom a camera behind `rtsps://` is taken for. None of it is a secret.

use serde::{Deserialize, Serialize};

/// Which certificate a camera behind `rtsps://` must show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "TrustText", into = "TrustText")]
pub enum Trust {
    /// One that an authority of the system stands for.
    #[default]
    System,
    /// One that these authorities stand for, in PEM.
    Authority(String),
    /// The one with this SHA-256, whatever else it says.
    Fingerprint([u8; 32]),
}

impl Trust {
    /// Whether nothing was said.
    #[must_use]
    pub const fn is_system(&self) -> bool {
        matches!(self, Self::System)
    }
}

/// The same as it is written: at most one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Tls)]
pub struct TrustText {
    /// Certificates of the authorities that may stand for the camera's, in PEM, instead of the
    /// system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// SHA-256 of the camera's own certificate, as `openssl x509 -fingerprint -sha256` prints it:
    /// that one is taken, whatever names and dates stand in it, and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "3A:7F:…")]
    pub fingerprint: Option<String>,
}

/// No trust is written so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTrust {
    /// Which of them counts?
    #[error("give either `ca` or `fingerprint`; null takes the other away")]
    Both,
    /// Too short, too long, or no hexadecimal.
    #[error("must be a SHA-256 in hexadecimal: 64 digits, with or without colons")]
    Fingerprint,
}

impl TryFrom<TrustText> for Trust {
    type Error = BadTrust;

    fn try_from(text: TrustText) -> Result<Self, BadTrust> {
        match (text.ca, text.fingerprint) {
            (None, None) => Ok(Self::System),
            (Some(ca), None) => Ok(Self::Authority(ca)),
            (None, Some(print)) => {
                fingerprint(&print).map(Self::Fingerprint).ok_or(BadTrust::Fingerprint)
            }
            (Some(_), Some(_)) => Err(BadTrust::Both),
        }
    }
}

impl From<Trust> for TrustText {
    fn from(trust: Trust) -> Self {
        match trust {
            Trust::System => Self::default(),
            Trust::Authority(ca) => Self { ca: Some(ca), fingerprint: None },
            Trust::Fingerprint(print) => {
                let bytes: Vec<_> = print.iter().map(|byte| format!("{byte:02X}")).collect();
                Self { ca: None, fingerprint: Some(bytes.join(":")) }
            }
        }
    }
}

/// As openssl prints it (`sha256 Fingerprint=3A:7F:…`), as others do (`sha256:3a7f…`), or the digits
/// alone.
fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    let text = text.rsplit_once('=').map_or(text, |(_, digits)| digits);
    let named = text.get(..7).is_some_and(|name| name.eq_ignore_ascii_case("sha256:"));
    let text = if named { text.get(7..)? } else { text };
    let digits = text.bytes().filter(|byte| !matches!(byte, b':' | b' '));
    let digits: Option<Vec<u8>> =
        digits.map(|byte| char::from(byte).to_digit(16)?.try_into().ok()).collect();
    let mut bytes = [0; 32];
    let digits = digits.filter(|digits| digits.len() == bytes.len() * 2)?;
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().fold(0, |all, digit| all << 4 | digit);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:\
        10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:FF";

    fn read(print: &str) -> Result<Trust, BadTrust> {
        Trust::try_from(TrustText { ca: None, fingerprint: Some(print.to_owned()) })
    }

    #[test]
    fn a_fingerprint_is_read_as_tools_print_it_and_shown_as_openssl_does() {
        let plain = SHOWN.replace(':', "").to_lowercase();
        let print = read(SHOWN).unwrap();
        for text in [
            plain.clone(),
            format!("sha256:{plain}"),
            format!("SHA256:{SHOWN}"),
            format!(" sha256 Fingerprint={SHOWN}\n"),
        ] {
            assert_eq!(read(&text), Ok(print.clone()), "{text}");
        }
        assert_eq!(TrustText::from(print).fingerprint.as_deref(), Some(SHOWN));
    }

    #[test]
    fn what_is_no_sha_256_is_refused() {
        for text in ["", "sha256:", "sha1 Fingerprint=00:01", &SHOWN[3..], &format!("{SHOWN}:00")] {
            assert_eq!(read(text), Err(BadTrust::Fingerprint), "{text}");
        }
        assert_eq!(read(&SHOWN.replace('F', "G")), Err(BadTrust::Fingerprint));
        assert_eq!(read(&SHOWN.replace("00:", "é:")), Err(BadTrust::Fingerprint));
    }

    #[test]
    fn what_is_stored_is_read_again() {
        for trust in
            [Trust::System, Trust::Authority("PEM".to_owned()), Trust::Fingerprint([7; 32])]
        {
            let text = serde_json::to_string(&trust).unwrap();
            assert_eq!(serde_json::from_str::<Trust>(&text).unwrap(), trust, "{text}");
        }
        let both = r#"{"ca":"x","fingerprint":"y"}"#;
        assert!(serde_json::from_str::<Trust>(both).is_err());
    }
}
