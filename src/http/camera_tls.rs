//! `tls` in a request's body: which certificate a camera must show.

use super::extract::Fields;
use crate::{
    ingest,
    model::{BadTrust, Trust, TrustText},
};

/// Longest list of authorities, bytes: a dozen of them, with the words tools put between.
const MAX_CA: usize = 32 << 10;
/// Longest fingerprint, with what tools print around it.
const MAX_FINGERPRINT: usize = 200;

/// Reads it, and names what is wrong in it.
pub(super) fn read(f: &mut Fields<'_>) -> Trust {
    let Some(map) = f.object("tls") else { return Trust::System };
    let path = f.path("tls");
    let mut inner = Fields::new(&path, map, f.mistakes());
    let text = TrustText {
        ca: text(&mut inner, "ca", MAX_CA),
        fingerprint: text(&mut inner, "fingerprint", MAX_FINGERPRINT),
    };
    let trust = match Trust::try_from(text) {
        Ok(trust) => trust,
        Err(bad) => {
            let field = match bad {
                BadTrust::Both => "ca",
                BadTrust::Fingerprint => "fingerprint",
            };
            inner.mistake(field, bad.to_string());
            Trust::System
        }
    };
    if let Trust::Authority(pem) = &trust {
        if pem.contains("PRIVATE KEY") {
            inner.mistake("ca", "holds a private key; only certificates belong here");
        } else if let Err(why) = ingest::check_authority(pem) {
            inner.mistake("ca", format!("must hold certificates in PEM: {why}"));
        }
    }
    inner.finish();
    trust
}

/// A text with line breaks in it.
fn text(f: &mut Fields<'_>, name: &str, max: usize) -> Option<String> {
    match f.value(name)? {
        serde_json::Value::String(text) if text.len() <= max => Some(text),
        _ => {
            f.mistake(name, format!("must be a text of at most {max} bytes"));
            None
        }
    }
}
