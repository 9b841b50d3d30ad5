//! A cursor over a clip: seeks, reads, joins.

use std::sync::Arc;

use super::{Clip, Result, Target};
use crate::{
    hub::Run,
    id::RunId,
    proto::{
        access_unit::AccessUnit,
        time::{WallSpan, WallTime},
    },
};

/// Which way to look for footage from inside a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Direction {
    /// The next.
    #[default]
    Forward,
    /// The last before.
    Backward,
}

/// Where a seek really landed: at a key frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landing {
    /// Capture time of the first picture.
    pub wall: WallTime,
    /// The same in recorded time.
    pub npt: WallSpan,
    /// npt of each track's first unit, by track index of the clip; `None` where it is not known
    /// yet (then take that of the first unit when it comes).
    pub first: Vec<Option<WallSpan>>,
}

/// A unit in its place.
#[derive(Clone, Debug)]
pub struct Played {
    /// The run it belongs to, with the parameters in force.
    pub run: Arc<Run>,
    /// The unit as it was published (a file's unit has all bytes in `body`).
    pub unit: Arc<AccessUnit>,
    /// Its presentation time in recorded time since the clip's start.
    pub npt: WallSpan,
    /// Footage is missing between the unit before and this one, or the run is another: a gap was
    /// skipped. The first unit after a seek is none. The unit of the leading track that carries it is a key frame.
    pub discontinuity: bool,
}

/// Where a reader stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Run of the unit delivered last; `None` before the first.
    pub run: Option<RunId>,
    /// For each track the number of the next unit; `None` where none was delivered since the seek.
    pub next: Vec<Option<u64>>,
    /// npt and wall of the unit of the leading track delivered last (of the landing before the first).
    pub npt: WallSpan,
    /// The same on the wall clock.
    pub wall: WallTime,
}

/// A cursor over a [`Clip`].
#[derive(Debug)]
pub struct Reader {
    clip: Arc<Clip>,
}

impl Reader {
    /// Its clip.
    #[must_use]
    pub fn clip(&self) -> &Arc<Clip> {
        &self.clip
    }

    /// Moves to the key frame at or before `target`; inside a gap to the next (or last) footage;
    /// beyond the ends to the first or last key frame. `None` when nothing is left of the clip.
    /// Takes away an end set by [`Self::set_end`]. Not cancel-safe: seek again.
    ///
    /// # Errors
    ///
    /// When the index does not answer.
    pub async fn seek(&mut self, target: Target, direction: Direction) -> Result<Option<Landing>> {
        todo!()
    }

    /// Stop before the first unit presented at or after `end`; `None`: at the clip's own end.
    pub fn set_end(&mut self, end: Option<Target>) {
        todo!()
    }

    /// The next unit; `None` at the end (and again and again after it, until a seek). At the live
    /// edge it waits for the camera. Cancel-safe: dropped and called again it loses nothing.
    ///
    /// # Errors
    ///
    /// When the index does not answer; calling again tries again at the same place.
    pub async fn next(&mut self) -> Result<Option<Played>> {
        todo!()
    }

    /// For a pause: lets go of the hub and of buffers. [`Self::next`] goes on at the very unit, by
    /// then from disk. Without it a reader parked at the live edge is right too, when it lags.
    pub fn rest(&mut self) {
        todo!()
    }

    /// Whether everything on disk has been delivered and units now come as the camera sends them.
    #[must_use]
    pub fn is_live(&self) -> bool {
        todo!()
    }

    /// Where it stands.
    #[must_use]
    pub fn position(&self) -> Position {
        todo!()
    }

    /// npt of a wall time and back on this reader's clip, which, other than the frozen
    /// [`Clip`]'s, goes on for as long as the reader follows live.
    #[must_use]
    pub fn wall_to_npt(&self, wall: WallTime) -> WallSpan {
        todo!()
    }

    /// Inverse of [`Self::wall_to_npt`].
    #[must_use]
    pub fn npt_to_wall(&self, npt: WallSpan) -> WallTime {
        todo!()
    }
}
