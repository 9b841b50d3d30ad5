//! Recorded footage out: from a range of wall time to access units in order.
//!
//! ```text
//! store (runs, gaps, segments) ─▶ timeline ─▶ Clip ─▶ Reader ─▶ Played {run, unit, npt}
//! disk  (closed and open files) ──────────────────────▶ ▲
//! hub   (what no file holds yet) ─────────────────────▶ ┘
//! ```
//!
//! # Words
//!
//! * [`Timeline`]: the runs and gaps of a range, as people see them.
//! * [`Clip`]: a range frozen into an ordered list of recorded stretches, so that a player's own
//!   time (npt) means the same for as long as it plays, whatever retention or recording do.
//! * [`Reader`]: a cursor over a clip. It delivers units as they were published (same numbers,
//!   times and bytes), first from files, then from the hub.
//!
//! # Invariants
//!
//! * Per run and track, numbers go up by one from unit to unit; where they do not, footage is
//!   missing (deleted, damaged, shed) and the unit is flagged as a discontinuity.
//! * npt never runs backwards by more than the reordering of B-frames, and gaps take none of it.
//! * File system calls are made on blocking threads, never on the async ones.

mod archive;
mod buffers;
mod clip;
mod disk;
mod find;
mod live;
mod npt;
mod reader;
mod seek;
mod segment;
#[cfg(test)]
pub(crate) mod tests;
mod timeline;

use crate::{
    proto::time::{WallSpan, WallTime},
    store::StoreError,
};

pub use archive::{Archive, Asked};
pub use clip::{BadToken, Clip};
pub use reader::{Played, Position, Reader};
pub use seek::{Direction, Landing};
pub use timeline::{GapSpan, RunSpan, Timeline};

/// A place in a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// In recorded time since the clip's start, gaps closed up.
    Npt(WallSpan),
    /// In wall time.
    Wall(WallTime),
}

/// Why footage could not be read. A missing or damaged file is none of these: it is passed over
/// like a gap and logged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaybackError {
    /// The index did not answer.
    #[error("look up footage")]
    Store(#[from] StoreError),
    /// A blocking thread died or the process is stopping.
    #[error("footage reader stopped")]
    Stopped,
}

/// Shorthand.
pub type Result<T, E = PlaybackError> = std::result::Result<T, E>;
