//! Wall time that only goes forward. Pure.
//!
//! Units of one run are placed by when they arrived. Were that read off the wall clock as it stands,
//! a clock that NTP puts right by half a second would put half a second into the middle of the
//! footage, or run over it twice. So within a run wall time is the clock at its beginning plus what
//! the monotonic clock counts; where the two have come apart it is led back by at most
//! [`SLEW`] of the time that passes. Further apart than [`LIMIT`] the clock was set, and the run is
//! over: what follows is told by the new clock.

use tokio::time::Instant;

use crate::proto::time::{WallSpan, WallTime};

/// Parts of the passing time that wall time may be led by: half a percent, which leaves the slope
/// of a run (2 %) room for the camera's own drift.
const SLEW: i64 = 200;
/// Further apart is a clock that was set.
const LIMIT: WallSpan = WallSpan::from_secs(2);

/// A wall clock that is led and never set.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    wall: WallTime,
    at: Instant,
}

impl Steady {
    /// Begins where the wall clock stands.
    #[must_use]
    pub const fn new(wall: WallTime, at: Instant) -> Self {
        Self { wall, at }
    }

    /// The newest moment taken in, on both clocks.
    #[must_use]
    pub const fn moment(&self) -> (WallTime, Instant) {
        (self.wall, self.at)
    }

    /// The steady wall time at `at`, for which the wall clock says `wall`. It grows with `at`, also
    /// when it is asked about moments out of order.
    ///
    /// # Errors
    ///
    /// With how far the wall clock was set; it goes on saying so until a new one is begun.
    pub fn take(&mut self, wall: WallTime, at: Instant) -> Result<WallTime, WallSpan> {
        let Some(passed) = at.checked_duration_since(self.at).map(WallSpan::from) else {
            // Of before the last one: by the line that leads there.
            return Ok(self.wall - WallSpan::from(self.at.saturating_duration_since(at)));
        };
        let here = self.wall + passed;
        let off = wall - here;
        if off > LIMIT || off < WallSpan::ZERO - LIMIT {
            return Err(off);
        }
        let most = passed.as_micros() / SLEW;
        let led = WallSpan::from_micros(off.as_micros().clamp(-most, most));
        *self = Self { wall: here + led, at };
        Ok(self.wall)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;

    fn wall(ms: i64) -> WallTime {
        WallTime::from_micros(1_795_341_600_000_000 + ms * 1_000)
    }

    #[test]
    fn a_clock_put_right_by_a_second_is_followed_without_a_jump() {
        for set in [1_000, -1_000] {
            let begin = Instant::now();
            let mut steady = Steady::new(wall(0), begin);
            let mut last = wall(0);
            for ms in (40..300_000).step_by(40) {
                let said = if ms < 10_000 { wall(ms) } else { wall(ms + set) };
                let at = begin + Duration::from_millis(ms.unsigned_abs());
                let now = steady.take(said, at).unwrap();
                let step = (now - last).as_micros();
                assert!((39_800..=40_200).contains(&step), "{step} µs for 40 ms");
                last = now;
            }
            assert_eq!(last, wall(299_960 + set));
        }
    }

    #[test]
    fn a_clock_that_is_set_is_said_to_be() {
        let begin = Instant::now();
        let mut steady = Steady::new(wall(0), begin);
        let later = begin + Duration::from_secs(1);
        for set in [-3_600_000, -2_100, 2_100, 63_072_000_000] {
            let off = steady.take(wall(1_000 + set), later).unwrap_err();
            assert_eq!(off.as_micros(), set * 1_000);
        }
        assert_eq!(steady.take(wall(1_000), later), Ok(wall(1_000)), "and nothing was bent");
    }

    #[test]
    fn many_small_steps_one_way_are_a_clock_that_was_set() {
        let begin = Instant::now();
        let mut steady = Steady::new(wall(0), begin);
        let steps = (1..100).map(|n: i64| {
            let at = begin + Duration::from_secs(n.unsigned_abs());
            steady.take(wall(n * 1_000 - n * 300), at)
        });
        assert!(steps.into_iter().any(|step| step.is_err()));
    }

    proptest! {
        #[test]
        fn wall_time_grows_with_time_whatever_the_clock_does(
            moments in prop::collection::vec((0_i64..600_000, -1_900_i64..1_900), 2..60),
        ) {
            let begin = Instant::now();
            let mut steady = Steady::new(wall(0), begin);
            let mut told = Vec::new();
            for (ms, off) in moments {
                let at = begin + Duration::from_millis(ms.unsigned_abs());
                if let Ok(now) = steady.take(wall(ms + off), at) {
                    told.push((ms, now));
                }
            }
            // Only what is told in order must be in order: the line behind is not kept.
            for pair in told.windows(2).filter(|pair| pair[0].0 <= pair[1].0) {
                prop_assert!(pair[0].1 <= pair[1].1, "{pair:?}");
            }
        }
    }
}
