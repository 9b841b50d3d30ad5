//! What one attempt leaves to the next.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::proto::{
    codec::Parameters,
    reason::GapReason,
    time::{WallSpan, WallTime},
};

use super::Resume;

/// Footage that begins this little before the end of what is there is the same moment seen twice
/// (a camera that replays its last pictures), or a clock that was set back a little: it is moved,
/// and led back by the run's clock. Less than what that gives up on, by as much as jitter takes.
const OVERLAP: WallSpan = WallSpan::from_micros(1_500_000);

/// One moment on both of the recorder's clocks.
pub(super) type Moment = Option<(WallTime, Instant)>;

/// Shared by the attempts of one stream, which follow one another.
#[derive(Debug)]
pub(super) struct Memory(Mutex<State>);

#[derive(Debug)]
struct State {
    resume: Resume,
    /// The recorder's clocks when the last run began or ended; `None` before the first.
    noted: Moment,
    /// A run is being published. Still set when the next attempt begins: the last one panicked.
    open: bool,
    parameters: Option<Parameters>,
}

/// Where a new run may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In this epoch, so much later than its clock says.
    Here { epoch: u32, later: WallSpan, previous_end: GapReason },
    /// The camera replays what is recorded already: at a later key frame.
    TooEarly,
}

impl Memory {
    pub(super) fn new(resume: Resume) -> Self {
        Self(Mutex::new(State { resume, noted: None, open: false, parameters: None }))
    }

    /// An attempt begins.
    pub(super) fn attempt_begins(&self) {
        let mut state = self.lock();
        if std::mem::take(&mut state.open) {
            state.resume.ended = GapReason::Internal;
        }
    }

    /// Where a run that would start at `start` belongs. `now`, `at`: the recorder's clocks.
    pub(super) fn place(&self, start: WallTime, now: WallTime, at: Instant) -> Place {
        let state = self.lock();
        let Resume { epoch, footage_end, ended } = state.resume;
        let here = |epoch, later| Place::Here { epoch, later, previous_end: ended };
        match footage_end {
            Some(end) if end > start => {
                if end - start <= OVERLAP {
                    here(epoch, end - start)
                } else if state.was_set_back(now, at, end) {
                    // FORMAT, "Time in the index".
                    here(epoch.saturating_add(1), WallSpan::ZERO)
                } else {
                    Place::TooEarly
                }
            }
            _ => here(epoch, WallSpan::ZERO),
        }
    }

    pub(super) fn run_begins(&self, epoch: u32, start: WallTime, moment: Moment) {
        let mut state = self.lock();
        state.open = true;
        state.resume.epoch = epoch;
        state.resume.footage_end = Some(start);
        state.noted = moment.or(state.noted);
    }

    /// Footage reaches to `end` now.
    pub(super) fn reaches(&self, end: WallTime) {
        let mut state = self.lock();
        state.resume.footage_end = state.resume.footage_end.max(Some(end));
    }

    pub(super) fn run_ends(&self, reason: GapReason, moment: Moment) {
        let mut state = self.lock();
        state.noted = moment.or(state.noted);
        state.open = false;
        state.resume.ended = reason;
    }

    pub(super) fn parameters(&self) -> Option<Parameters> {
        self.lock().parameters.clone()
    }

    pub(super) fn remember(&self, parameters: Option<&Parameters>) {
        if let Some(parameters) = parameters {
            self.lock().parameters = Some(parameters.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Poison only says that an attempt panicked; each write leaves the state whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether the recorder's clock was, since there is footage up to `end`.
    fn was_set_back(&self, now: WallTime, at: Instant, end: WallTime) -> bool {
        match self.noted {
            Some((then, was)) => {
                let passed = WallSpan::from(at.saturating_duration_since(was));
                then + passed - now > OVERLAP
            }
            // Of another process: its footage is from the future.
            None => now < end,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: i64) -> WallTime {
        WallTime::from_micros(seconds * 1_000_000)
    }

    fn memory() -> Memory {
        Memory::new(Resume {
            epoch: 3,
            footage_end: Some(at(1_000)),
            ended: GapReason::Disconnected,
        })
    }

    fn here(epoch: u32, later: WallSpan) -> Place {
        Place::Here { epoch, later, previous_end: GapReason::Disconnected }
    }

    #[test]
    fn footage_after_the_last_stays_in_its_epoch() {
        assert_eq!(memory().place(at(1_001), at(1_002), Instant::now()), here(3, WallSpan::ZERO));
    }

    #[test]
    fn a_clock_that_was_set_back_between_two_processes_begins_a_new_epoch() {
        assert_eq!(memory().place(at(400), at(401), Instant::now()), here(4, WallSpan::ZERO));
    }

    #[test]
    fn a_clock_that_was_set_back_between_two_runs_begins_a_new_epoch_at_once() {
        let (memory, began) = (memory(), Instant::now());
        memory.run_begins(3, at(2_000), Some((at(2_000), began)));
        memory.reaches(at(2_100));
        memory
            .run_ends(GapReason::Disconnected, Some((at(2_100), began + Duration::from_secs(100))));
        // Five seconds back, seven seconds later: by the clock it could be a replay.
        let later = began + Duration::from_secs(107);
        assert_eq!(memory.place(at(2_097), at(2_102), later), here(4, WallSpan::ZERO));
        assert_eq!(memory.place(at(2_097), at(2_107), later), Place::TooEarly);
    }

    #[test]
    fn the_long_last_picture_of_a_slow_camera_is_no_clock_that_was_set() {
        let (memory, began) = (memory(), Instant::now());
        memory.run_begins(3, at(2_000), Some((at(2_000), began)));
        // A picture each ten seconds: the last one is taken to last as long.
        memory.reaches(at(2_110));
        memory
            .run_ends(GapReason::Disconnected, Some((at(2_102), began + Duration::from_secs(102))));
        let back = began + Duration::from_secs(104);
        assert_eq!(memory.place(at(2_104), at(2_104), back), Place::TooEarly);
    }

    #[test]
    fn pictures_replayed_after_a_quick_reconnect_are_moved_or_waited_out() {
        let now = Instant::now();
        assert_eq!(memory().place(at(999), at(1_001), now), here(3, WallSpan::from_secs(1)));
        assert_eq!(memory().place(at(990), at(1_001), now), Place::TooEarly);
    }

    #[test]
    fn an_attempt_that_died_leaves_its_reason() {
        let (memory, began) = (memory(), Instant::now());
        memory.run_begins(3, at(2_000), Some((at(2_000), began)));
        memory.reaches(at(2_010));
        memory.attempt_begins();
        let place = memory.place(at(2_011), at(2_012), began + Duration::from_secs(12));
        assert!(matches!(place, Place::Here { previous_end: GapReason::Internal, .. }));
    }
}
