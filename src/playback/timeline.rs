//! Runs and gaps of a range, as people see them. Pure.

use crate::{
    model::{Gap, RunRow, WallRange},
    proto::{reason::GapReason, time::WallTime},
};

/// What a range holds. Runs do not overlap each other, gaps do not overlap runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// Footage, oldest first.
    pub runs: Vec<RunSpan>,
    /// Missing footage, oldest first.
    pub gaps: Vec<GapSpan>,
}

/// Footage without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunSpan {
    /// Where it begins, or the asked range does.
    pub start: WallTime,
    /// Where it ends, or the asked range does; `None` while it is being recorded.
    pub end: Option<WallTime>,
}

/// Time without footage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapSpan {
    /// Where footage ends.
    pub start: WallTime,
    /// Where it begins again; `None` while it lasts.
    pub end: Option<WallTime>,
    /// Why.
    pub reason: GapReason,
}

impl Timeline {
    /// Merges rows into what `range` shows; `now` decides whether something open still lasts at
    /// the range's end.
    #[must_use]
    pub fn new(runs: &[RunRow], gaps: &[Gap], range: &WallRange, now: WallTime) -> Self {
        todo!()
    }
}
