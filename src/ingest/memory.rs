//! What one attempt leaves to the next.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::proto::{
    codec::Parameters,
    reason::GapReason,
    time::{WallSpan, WallTime},
};

use super::Resume;

/// Footage that begins this little before the end of what is there is the same moment seen twice
/// (a camera that replays its last pictures), or a clock that was set back a little: it is moved.
const OVERLAP: WallSpan = WallSpan::from_secs(2);

/// Shared by the attempts of one stream, which follow one another.
#[derive(Debug)]
pub(super) struct Memory(Mutex<State>);

#[derive(Debug)]
struct State {
    resume: Resume,
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
        Self(Mutex::new(State { resume, open: false, parameters: None }))
    }

    /// An attempt begins.
    pub(super) fn attempt_begins(&self) {
        let mut state = self.lock();
        if std::mem::take(&mut state.open) {
            state.resume.ended = GapReason::Internal;
        }
    }

    /// Where a run that would start at `start` belongs. `now`: the recorder's clock.
    pub(super) fn place(&self, start: WallTime, now: WallTime) -> Place {
        let Resume { epoch, footage_end, ended } = self.lock().resume;
        let here = |epoch, later| Place::Here { epoch, later, previous_end: ended };
        match footage_end {
            Some(end) if end > start => {
                if end - start <= OVERLAP {
                    here(epoch, end - start)
                } else if now < end {
                    // The clock was set back (FORMAT, "Time in the index").
                    here(epoch.saturating_add(1), WallSpan::ZERO)
                } else {
                    Place::TooEarly
                }
            }
            _ => here(epoch, WallSpan::ZERO),
        }
    }

    pub(super) fn run_begins(&self, epoch: u32, start: WallTime) {
        let mut state = self.lock();
        state.open = true;
        state.resume.epoch = epoch;
        state.resume.footage_end = Some(start);
    }

    /// Footage reaches to `end` now.
    pub(super) fn reaches(&self, end: WallTime) {
        let mut state = self.lock();
        state.resume.footage_end = state.resume.footage_end.max(Some(end));
    }

    pub(super) fn run_ends(&self, reason: GapReason) {
        let mut state = self.lock();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> WallTime {
        WallTime::from_micros(seconds * 1_000_000)
    }

    fn memory() -> Memory {
        let ended = GapReason::Disconnected;
        Memory::new(Resume { epoch: 3, footage_end: Some(at(1_000)), ended })
    }

    #[test]
    fn footage_after_the_last_stays_in_its_epoch() {
        let previous_end = GapReason::Disconnected;
        let here = Place::Here { epoch: 3, later: WallSpan::ZERO, previous_end };
        assert_eq!(memory().place(at(1_001), at(1_002)), here);
    }

    #[test]
    fn a_clock_set_back_begins_a_new_epoch() {
        let place = memory().place(at(400), at(401));
        assert!(matches!(place, Place::Here { epoch: 4, later: WallSpan::ZERO, .. }), "{place:?}");
    }

    #[test]
    fn pictures_replayed_after_a_quick_reconnect_are_moved_or_waited_out() {
        let moved = memory().place(at(999), at(1_001));
        assert!(
            matches!(moved, Place::Here { epoch: 3, later, .. } if later == WallSpan::from_secs(1))
        );
        assert_eq!(memory().place(at(990), at(1_001)), Place::TooEarly);
    }

    #[test]
    fn an_attempt_that_died_leaves_its_reason() {
        let memory = memory();
        memory.run_begins(3, at(2_000));
        memory.reaches(at(2_010));
        memory.attempt_begins();
        let place = memory.place(at(2_011), at(2_012));
        assert!(matches!(place, Place::Here { previous_end: GapReason::Internal, .. }));
    }
}
