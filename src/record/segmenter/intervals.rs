//! Slow cameras and lost packets, told apart.

use std::collections::VecDeque;

use crate::proto::time::WallSpan;

/// The last few distances between video units, to know a slow camera from lost packets.
#[derive(Debug, Default)]
pub(super) struct Intervals {
    recent: VecDeque<WallSpan>,
}

impl Intervals {
    /// Enough for a median that a few lost frames do not move.
    const KEPT: usize = 15;

    pub(super) fn push(&mut self, interval: WallSpan) {
        if self.recent.len() >= Self::KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(interval);
    }

    /// Nothing is known of a run's first unit: then any interval may be the usual one.
    pub(super) fn three_times_median(&self) -> WallSpan {
        let mut sorted: Vec<_> = self.recent.iter().copied().collect();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied();
        median.map_or(WallSpan::from_micros(i64::MAX), |m| m + m + m)
    }
}
