//! What a stream hands to a volume, and what it hears back.

use std::{io, sync::Arc};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{open::OpenSegment, state::is_full};
use crate::{
    id::{Role, RunId, SegmentId, Slug},
    model::NewSegment,
    proto::{access_unit::Tracks, reason::GapReason},
};

/// A segment that is to be opened.
#[derive(Debug)]
pub struct Draft {
    /// Its row; `volume` and `path` are filled in when the file has its name.
    pub row: NewSegment,
    /// Camera, for the path.
    pub camera: Slug,
    /// Stream, for the path.
    pub role: Role,
    /// Its tracks.
    pub tracks: Tracks,
    /// The hub's name of its run.
    pub live_run: RunId,
    /// `ftyp` and `moov`.
    pub header: Bytes,
}

/// Why a segment takes no more.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The system's word.
    #[error("write to the volume")]
    Io(#[source] io::Error),
    /// The system's word at a sync: what came after the last good one is not to be trusted.
    #[error("sync the volume")]
    Sync(#[source] Arc<io::Error>),
    /// The volume has less room than is to stay free.
    #[error("the volume has no room left")]
    NoRoom,
    /// The disk is too slow, and this stream had most waiting.
    #[error("the disk is too slow: what waited was taken out of its queue")]
    Shed,
    /// The volume is away, or was since the segment was opened.
    #[error("the volume is not there")]
    Away,
    /// Our own fault.
    #[error("the volume's writer panicked")]
    Panicked,
}

impl Fault {
    /// The reason of the gap that begins.
    #[must_use]
    pub fn reason(&self) -> GapReason {
        match self {
            Self::NoRoom => GapReason::DiskFull,
            Self::Io(error) if is_full(error) => GapReason::DiskFull,
            Self::Sync(error) if is_full(error) => GapReason::DiskFull,
            Self::Io(_) | Self::Sync(_) | Self::Away => GapReason::DiskError,
            Self::Shed => GapReason::Overload,
            Self::Panicked => GapReason::Internal,
        }
    }
}

/// What became of something submitted; sent in the order of submission for each segment.
#[derive(Debug)]
pub enum Completion {
    /// The file is there and holds its header; the segment is in the registry.
    Opened(Arc<OpenSegment>),
    /// One more fragment can be read.
    Written {
        /// Of which segment.
        segment: SegmentId,
    },
    /// Writing failed; nothing more of this segment will be written, but for a tail.
    Failed {
        /// Which segment.
        segment: SegmentId,
        /// Whether the file was made.
        opened: bool,
        /// So many of its fragments are kept: fewer than were written after a failed sync.
        kept: usize,
        /// Why.
        fault: Fault,
    },
    /// Nothing more will be written to the segment: what was written so far is all of it.
    Finished {
        /// Which segment.
        segment: SegmentId,
    },
    /// After [`Self::Finished`]: what was written was synced.
    Closed {
        /// Which segment.
        segment: SegmentId,
        /// File size.
        bytes: u64,
        /// So many of its fragments are kept: fewer than were written after a failed sync.
        kept: usize,
        /// The sync worked; else nobody knows how much of the file is there, and its row is to
        /// stay open until somebody has looked.
        durable: bool,
    },
}

/// Where completions go.
pub type Completions = mpsc::UnboundedSender<Completion>;
