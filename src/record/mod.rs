//! Turns live access units into segment files on disk and rows in the index.
//!
//! ```text
//! hub ──▶ segmenter ──▶ proto::fmp4 ──▶ disk ──────▶ store
//!         where to cut  bytes           file         rows
//!         (pure)        (pure)          (its thread) (own queue)
//! ```
//!
//! # Why the row comes first, and is completed last
//!
//! A segment has its final name from the first byte and can be played while it grows, so its row
//! is there from its first fragment on, marked open. It is completed when the file is complete and
//! synced. After a crash the rows still open say exactly which files to look at ([`recover`]), so
//! a start does not depend on how much footage there is.
//!
//! # Invariants
//!
//! * A segment begins with a key frame of the leading track and decodes alone.
//! * Within a run each segment begins exactly where the one before it ended; a hole ends the run
//!   and stands in the index as a gap with its reason.
//! * Nothing here waits while a camera's units pile up: disk and index have bounded queues, and
//!   each says what happens when it is full.

pub mod adopt;
mod counters;
mod epoch;
mod file;
mod recorder;
mod recovery;
pub mod replaced;
pub mod returned;
mod rows;
pub mod segmenter;
#[cfg(test)]
mod segmenter_tests;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use counters::RecorderCounters;
pub use recorder::Recorder;
pub use recovery::{ASIDE, Recovered, recover};

use crate::{
    id::{CameraId, Role, SegmentId, Slug, StreamId},
    proto::{reason::GapReason, time::WallTime},
};

/// How to record.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// A segment ends with the first key frame after this.
    pub segment: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { segment: Duration::from_secs(60) }
    }
}

/// What to record.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its camera.
    pub camera: CameraId,
    /// The camera's name in paths.
    pub slug: Slug,
    /// The stream.
    pub stream: StreamId,
    /// The stream's name in paths.
    pub role: Role,
    /// The only volume to use; else the one with most room.
    pub volume: Option<String>,
}

/// How a recorder does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecorderStatus {
    /// For the camera, or for a key frame.
    Waiting,
    /// All is well.
    Recording {
        /// The segment being written.
        segment: SegmentId,
        /// Wall time of its first fragment.
        since: WallTime,
    },
    /// The disk fails; it is tried again.
    Failing {
        /// As the gap says.
        reason: GapReason,
        /// For people.
        error: String,
    },
    /// It was stopped.
    Stopped,
}
