//! Which epoch a run is recorded in, and that no two runs of one epoch ever overlap. Pure.
//!
//! Footage bears the recorder's time, and that can be set back. What would then lie over footage
//! that is there already begins a new epoch (FORMAT "Time in the index"). So the recorder keeps how
//! far footage of the newest epoch reaches: as the index has it when it starts, and from then on as
//! it hands fragments over.
//!
//! The puller that made the run reckons the same for its part, but only the recorder knows to the
//! microsecond: a run's last picture is taken to last as long as the one before, which may be a
//! little longer than it did. A run that begins within [`TRIM`] of such an end is no older time, and
//! is recorded as beginning there.

use super::segmenter::Output;
use crate::{
    model::RunRow,
    proto::time::{WallSpan, WallTime},
};

/// An overlap that is only a matter of reckoning.
const TRIM: WallSpan = WallSpan::from_secs(1);

/// The epochs of one stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Epochs {
    /// The newest epoch, and how far its footage reaches.
    newest: Option<(u32, WallTime)>,
    /// Of the run being recorded.
    current: u32,
    /// How much later than its units say the run is recorded.
    later: WallSpan,
}

impl Epochs {
    /// Takes over what the index has.
    pub(super) fn learn(&mut self, runs: &[RunRow]) {
        let ends = runs.iter().map(|run| (run.epoch, run.end.unwrap_or(run.start)));
        self.newest = ends.chain(self.newest).max();
    }

    /// Of the run being recorded.
    pub(super) const fn current(&self) -> u32 {
        self.current
    }

    /// Puts what the segmenter decided in its place. To be called for each decision, in order.
    pub(super) fn place(&mut self, output: &mut Output) {
        match output {
            Output::Open(opening) => {
                if opening.first.is_some() {
                    self.begin(opening.run.epoch, opening.start);
                }
                opening.start = opening.start + self.later;
            }
            Output::Append(plan) => {
                plan.wall = plan.wall + self.later;
                plan.end = plan.end + self.later;
                self.newest = self.newest.max(Some((self.current, plan.end)));
            }
            Output::Rotate { next_start } => *next_start = *next_start + self.later,
            Output::EndRun { .. } => {}
        }
    }

    /// A run begins at `start`; `live` is the epoch its puller gave it.
    fn begin(&mut self, live: u32, start: WallTime) {
        (self.current, self.later) = match self.newest {
            Some((epoch, end)) if live <= epoch && start < end => {
                if end - start <= TRIM {
                    (epoch, end - start)
                } else {
                    (epoch.saturating_add(1), WallSpan::ZERO)
                }
            }
            Some((epoch, _)) => (live.max(epoch), WallSpan::ZERO),
            None => (live, WallSpan::ZERO),
        };
        self.newest = self.newest.max(Some((self.current, start + self.later)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{RunId, StreamId};
    use proptest::prelude::*;

    fn at(ms: i64) -> WallTime {
        WallTime::from_micros(ms * 1_000)
    }

    fn row(epoch: u32, start: i64, end: i64) -> RunRow {
        let (start, end) = (at(start), Some(at(end)));
        RunRow { id: RunId(1), stream: StreamId(1), epoch, start, end }
    }

    fn after(runs: &[RunRow], live: u32, start: i64) -> (u32, i64) {
        let mut epochs = Epochs::default();
        epochs.learn(runs);
        epochs.begin(live, at(start));
        (epochs.current(), start + epochs.later.as_micros() / 1_000)
    }

    #[test]
    fn what_follows_the_newest_footage_stays_in_its_epoch() {
        assert_eq!(after(&[], 0, 5_000), (0, 5_000));
        assert_eq!(after(&[row(0, 0, 5_000)], 0, 5_000), (0, 5_000));
        assert_eq!(after(&[row(0, 0, 90_000), row(1, 0, 5_000)], 0, 6_000), (1, 6_000));
    }

    #[test]
    fn what_would_lie_over_it_begins_a_new_one() {
        assert_eq!(after(&[row(0, 0, 5_000)], 0, 3_999), (1, 3_999));
        assert_eq!(after(&[row(0, 0, 5_000), row(3, 100, 200)], 0, -50_000), (4, -50_000));
    }

    #[test]
    fn a_run_that_begins_a_moment_too_early_begins_where_the_last_one_ends() {
        assert_eq!(after(&[row(2, 0, 5_000)], 2, 4_960), (2, 5_000));
    }

    #[test]
    fn what_the_puller_knows_counts_where_it_knows_more() {
        assert_eq!(after(&[row(2, 0, 5_000)], 4, 1_000), (4, 1_000));
    }

    proptest! {
        #[test]
        fn runs_of_one_epoch_never_overlap(
            runs in prop::collection::vec((-100_000_i64..100_000, 1_i64..40_000), 1..40),
        ) {
            let mut epochs = Epochs::default();
            let mut recorded: Vec<(u32, WallTime, WallTime)> = Vec::new();
            for (start, length) in runs {
                epochs.begin(0, at(start));
                let (start, end) = (at(start) + epochs.later, at(start + length) + epochs.later);
                epochs.newest = epochs.newest.max(Some((epochs.current, end)));
                let epoch = epochs.current();
                for &(_, from, to) in recorded.iter().filter(|(e, ..)| *e == epoch) {
                    prop_assert!(to <= start || end <= from);
                }
                prop_assert!(recorded.last().is_none_or(|&(last, ..)| last <= epoch));
                recorded.push((epoch, start, end));
            }
        }
    }
}
