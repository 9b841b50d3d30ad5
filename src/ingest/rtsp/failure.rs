//! retina's errors in our words. It says more in prose than in types; the prefixes matched here
//! are those of the version pinned in Cargo.toml, and a test holds them.

use retina::Error;

use crate::{ingest::PullError, model::shown};

/// What an error means for the session.
#[derive(Debug)]
pub(super) enum Verdict {
    /// This packet is lost, the session goes on.
    Packet(String),
    /// The session is over.
    Fatal(PullError),
}

/// Why a request failed.
pub(super) fn of_request(method: &'static str, error: &Error) -> PullError {
    match error.status_code() {
        Some(401) => PullError::Unauthorized { method },
        Some(404) => PullError::NotFound { method },
        // retina uses the same variant for an answer of 200 whose content it cannot use.
        Some(200..=299) => PullError::Protocol { detail: first_line(error) },
        Some(status) => PullError::Refused { method, status },
        None => of_connection(error),
    }
}

/// What an error in mid-stream means.
pub(super) fn of_stream(error: &Error) -> Verdict {
    let text = error.to_string();
    // Packet errors name their stream; a foreign SSRC or a sequence that starts over stays wrong
    // for every packet to come.
    let names_stream = text.contains("\nstream: ");
    let lasting = ["wrong ssrc", "Out-of-order packet or large loss", "Error receiving UDP"]
        .iter()
        .any(|prefix| text.starts_with(prefix));
    if names_stream && !lasting {
        return Verdict::Packet(first_line(error));
    }
    if names_stream {
        return Verdict::Fatal(PullError::Protocol { detail: first_line(error) });
    }
    Verdict::Fatal(of_connection(error))
}

fn of_connection(error: &Error) -> PullError {
    let text = error.to_string();
    let broken =
        ["Error reading from RTSP peer", "Error writing to RTSP peer", "Unable to connect"]
            .iter()
            .any(|prefix| text.starts_with(prefix));
    if broken {
        PullError::Disconnected { detail: Some(first_line(error)) }
    } else {
        PullError::Protocol { detail: first_line(error) }
    }
}

/// The sentence, without the connection and message contexts below it. Bounded, and without
/// secrets: it may quote the camera, which may quote its own address.
fn first_line(error: &Error) -> String {
    let text = error.to_string();
    shown(text.lines().next().unwrap_or_default()).chars().take(200).collect()
}
