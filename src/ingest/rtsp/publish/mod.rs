//! Cameras and encoders that push: what the RTSP server takes in becomes a source like a pull.
//!
//! ```text
//! rtsp_server: ANNOUNCE ─▶ Announcement ─▶ Berth::claim ─▶ Claim (the one place of a stream)
//!              RECORD   ─▶ Claim::record ─▶ Feed ──bounded──▶ Published (Source) ─▶ flow ─▶ hub
//! ```
//!
//! # Invariants
//!
//! * A stream has one publisher at a time: a second is refused, or takes over where the camera's
//!   settings say so.
//! * A [`Feed`] never waits: packets that find it full are dropped and counted, and the receiver
//!   finds them missing as if the network had lost them. So nothing a recorder does reaches a
//!   connection.
//! * When a run cannot go on (silence, a clock that jumps) the feed closes, and with it the session.

mod berth;
mod source;

use crate::{
    ingest::PullError,
    proto::{
        access_unit::TrackIndex,
        rtsp::client::describe::{Description, Format},
    },
};

use super::choice::{self, Chosen};

pub use berth::{Berth, Berths, Busy, Claim, Feed, Kind, Left, Line, Open, Reports};
pub(in crate::ingest) use source::Published;

/// Bounds between a connection and the task that records what comes on it.
pub mod limits {
    use std::time::Duration;

    /// Packets that wait; more are dropped.
    pub const PACKETS: usize = 4_096;
    /// Bytes of them; more are dropped.
    pub const BYTES: usize = 16 << 20;
    /// Between receiver reports (RFC 3550 §6.2).
    pub(super) const REPORTS: Duration = Duration::from_secs(5);
}

/// What a publisher says it will send, and what of it is taken.
#[derive(Clone, Debug)]
pub struct Announcement {
    description: Description,
    audio: bool,
    /// For each of the description's media.
    taken: Vec<Option<TrackIndex>>,
}

/// Nothing of what is announced can be recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

impl Announcement {
    /// Reads one: the first video track and the first sound track that can be recorded are taken.
    ///
    /// # Errors
    ///
    /// [`Unusable`] when there is none.
    pub fn new(description: Description, audio: bool) -> Result<Self, Unusable> {
        let chosen = chosen(&description, audio)?;
        let place = |media: usize| chosen.iter().position(|chosen| chosen.media == media);
        let index = |media| place(media).and_then(|at| u8::try_from(at).ok()).map(TrackIndex);
        let taken = (0..description.media.len()).map(index).collect();
        Ok(Self { description, audio, taken })
    }

    /// Which track media number `media` will be; `None`: it is not recorded.
    #[must_use]
    pub fn track(&self, media: usize) -> Option<TrackIndex> {
        self.taken.get(media).copied().flatten()
    }

    /// What is announced and not recorded, in words.
    pub fn left_out(&self) -> impl Iterator<Item = String> {
        let media = self.description.media.iter().zip(&self.taken);
        media.filter(|(_, taken)| taken.is_none()).map(|(media, _)| {
            let name = media.formats.first().map_or_else(|| "nothing".to_owned(), Format::name);
            format!("{}/{name}", media.kind)
        })
    }

    fn chosen(&self) -> Result<Vec<Chosen>, Unusable> {
        chosen(&self.description, self.audio)
    }
}

fn chosen(description: &Description, audio: bool) -> Result<Vec<Chosen>, Unusable> {
    // Who publishes says `sendonly` of what comes to us: no back channel of a camera's.
    let mut description = description.clone();
    for media in &mut description.media {
        media.send_only = false;
    }
    choice::choose(&description, audio, None).map_err(|error| match error {
        PullError::NoUsableTrack { offered } if offered.is_empty() => {
            Unusable("nothing is announced".to_owned())
        }
        PullError::NoUsableTrack { offered } => {
            Unusable(format!("none of {} can be recorded", offered.join(", ")))
        }
        other => Unusable(other.to_string()),
    })
}

#[cfg(test)]
mod tests;
