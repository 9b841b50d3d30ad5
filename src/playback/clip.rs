//! A frozen range of footage and its two clocks.

use crate::{
    id::StreamId,
    proto::{
        access_unit::Tracks,
        time::{WallSpan, WallTime},
    },
};

/// A range of one stream's footage, frozen when it was made.
#[derive(Clone, Debug)]
pub struct Clip {
    stream: StreamId,
    tracks: Tracks,
}

/// The text is no token of a clip of this stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such clip")]
pub struct BadToken;

impl Clip {
    /// Whose footage.
    #[must_use]
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// The tracks of its first footage: what an SDP describes.
    #[must_use]
    pub fn tracks(&self) -> &Tracks {
        &self.tracks
    }

    /// Wall time of npt 0: its first key frame.
    #[must_use]
    pub fn start(&self) -> WallTime {
        todo!()
    }

    /// Wall time of its end, as known when it was made.
    #[must_use]
    pub fn end(&self) -> WallTime {
        todo!()
    }

    /// Recorded time in it, as known when it was made: the npt of its end.
    #[must_use]
    pub fn duration(&self) -> WallSpan {
        todo!()
    }

    /// Whether playing goes on into live at its end.
    #[must_use]
    pub fn is_open_ended(&self) -> bool {
        todo!()
    }

    /// The wall time of a place in recorded time; clamped to the clip.
    #[must_use]
    pub fn npt_to_wall(&self, npt: WallSpan) -> WallTime {
        todo!()
    }

    /// The recorded time of a wall time; inside a gap that of the next footage; clamped.
    #[must_use]
    pub fn wall_to_npt(&self, wall: WallTime) -> WallSpan {
        todo!()
    }

    /// Text for a URL (`[A-Za-z0-9_-]`, under 100 characters) from which
    /// [`Archive::clip_from_token`](super::Archive::clip_from_token) makes this clip again, with
    /// the same npt. Not a secret and not a right: check the reader's rights on the stream.
    #[must_use]
    pub fn token(&self) -> String {
        todo!()
    }
}
