//! When a segment was really recorded, as far as a clock that was wrong now and then allows to say.
//!
//! Segments of a stream are ordered by (epoch, start), which is the order of their recording. The
//! wall times in them may be wrong: a machine without a battery for its clock starts in 1970, a
//! bad time server says 2050 for a minute. Two rules mend that, both so that footage is rather kept
//! for too long than lost:
//!
//! * No segment is older than one that was recorded before it: 1970 after 2026 counts as 2026. Nor is
//!   one older than its stream. Where both were made by a clock that had not been set, nobody knows,
//!   and the segment counts as new.
//! * A time in the future is wrong. Such a segment was recorded before the next epoch began, and
//!   counts as recorded then; where no epoch followed, nobody knows, and it counts as new.

use super::Candidate;
use crate::proto::time::{WallSpan, WallTime};

/// A time so far ahead of now is wrong.
const FUTURE: WallSpan = WallSpan::from_secs(3_600);
/// 2026-01-01: before Vedette was made nothing was recorded with it.
const MADE: WallTime = WallTime::from_micros(1_767_225_600_000_000);
const UNKNOWN: WallTime = WallTime::from_micros(i64::MAX);
const BEGINNING: WallTime = WallTime::from_micros(i64::MIN);

/// Wall times as far as they can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reckoned {
    /// Not before this.
    pub(super) start: WallTime,
    /// Not after this.
    pub(super) end: WallTime,
}

/// Whether a segment's time cannot be true, so that later epochs are to be asked for.
#[must_use]
pub fn is_future(candidate: &Candidate, now: WallTime) -> bool {
    candidate.end > now + FUTURE
}

/// Goes through segments in order; what it says never runs backwards.
#[derive(Debug)]
pub(super) struct Reckoner<'a> {
    floor: Reckoned,
    /// Where epochs begin.
    epochs: &'a [(u32, WallTime)],
    now: WallTime,
}

impl<'a> Reckoner<'a> {
    /// For a stream that was made at `created`.
    pub(super) fn new(epochs: &'a [(u32, WallTime)], created: WallTime, now: WallTime) -> Self {
        let believed = (MADE..=now + FUTURE).contains(&created);
        let floor = if believed { created } else { BEGINNING };
        Self { floor: Reckoned { start: floor, end: floor }, epochs, now }
    }

    pub(super) fn next(&mut self, candidate: &Candidate) -> Reckoned {
        let (start, end) = if is_future(candidate, self.now) {
            let believed = |(epoch, at): &&(u32, WallTime)| {
                *epoch > candidate.epoch && (MADE..=self.now + FUTURE).contains(at)
            };
            let next = self.epochs.iter().filter(believed).map(|(_, at)| *at).min();
            (next.unwrap_or(UNKNOWN), next.unwrap_or(UNKNOWN))
        } else if candidate.end < MADE && self.floor.end < MADE {
            (UNKNOWN, UNKNOWN)
        } else {
            (candidate.start, candidate.end)
        };
        let known = Reckoned { start: start.max(self.floor.start), end: end.max(self.floor.end) };
        // What nobody knows says nothing about what follows.
        if end != UNKNOWN {
            self.floor = known;
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SegmentId;

    fn at(seconds: i64) -> WallTime {
        WallTime::from_micros(seconds * 1_000_000)
    }

    fn candidate(epoch: u32, from: i64) -> Candidate {
        let (id, start, end) = (SegmentId(from), at(from), at(from + 60));
        Candidate { id, epoch, start, end, bytes: 1, held: None }
    }

    const NOW: i64 = 1_800_000_000;

    fn ends(candidates: &[Candidate], epochs: &[(u32, WallTime)]) -> Vec<WallTime> {
        let mut reckoner = Reckoner::new(epochs, at(NOW - 700), at(NOW));
        candidates.iter().map(|c| reckoner.next(c).end).collect()
    }

    #[test]
    fn what_a_clock_in_1970_recorded_is_no_older_than_what_came_before() {
        let line =
            [candidate(0, NOW - 600), candidate(1, 5), candidate(1, 65), candidate(1, NOW - 60)];
        assert_eq!(ends(&line, &[]), [at(NOW - 540), at(NOW - 540), at(NOW - 540), at(NOW)]);
    }

    #[test]
    fn the_first_footage_of_a_clock_that_was_not_set_is_as_old_as_its_stream_or_new() {
        let made = |created| {
            let mut reckoner = Reckoner::new(&[], at(created), at(NOW));
            [candidate(0, 20), candidate(0, NOW - 60)].map(|c| reckoner.next(&c).end)
        };
        assert_eq!(made(NOW - 5_000), [at(NOW - 5_000), at(NOW)]);
        assert_eq!(
            made(10),
            [UNKNOWN, at(NOW)],
            "the camera too was made before the clock was set"
        );
    }

    #[test]
    fn what_a_clock_in_the_future_recorded_is_no_newer_than_the_next_epoch() {
        let line =
            [candidate(0, NOW - 600), candidate(0, NOW + 9_000_000), candidate(1, NOW - 500)];
        let epochs = [(1, at(NOW - 500)), (2, at(NOW - 100))];
        assert_eq!(ends(&line, &epochs), [at(NOW - 540), at(NOW - 500), at(NOW - 440)]);
    }

    #[test]
    fn a_future_that_1970_followed_counts_as_new_and_so_does_1970() {
        let epochs = [(1, at(20))];
        let mut reckoner = Reckoner::new(&epochs, at(NOW + 9_000), at(NOW));
        let line = [candidate(0, NOW + 9_000), candidate(1, 20)];
        assert_eq!(line.map(|c| reckoner.next(&c).end), [UNKNOWN, UNKNOWN]);
    }

    #[test]
    fn a_future_that_nothing_followed_counts_as_new() {
        let line = [candidate(0, NOW - 600), candidate(0, NOW + 9_000_000)];
        assert_eq!(ends(&line, &[])[1], UNKNOWN);
        assert!(!is_future(&candidate(0, NOW + 3_000), at(NOW)), "clocks that differ a little");
    }
}
