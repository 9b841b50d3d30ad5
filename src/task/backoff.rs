//! How long to wait before the next attempt. Pure: time and chance come in as arguments.

use std::time::Duration;

/// When to try again, and how long to wait for a task that was told to stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Between attempts while the failure is young.
    pub first: Duration,
    /// Each wait is stretched or shortened by up to this share, so that a hundred cameras behind
    /// one rebooting switch do not come back in the same millisecond.
    pub jitter: f64,
    /// How long attempts stay `first` apart before the wait doubles from attempt to attempt.
    pub patience: Duration,
    /// The longest wait for what may mend itself.
    pub max: Duration,
    /// The first wait for what only a person can mend. Cameras lock accounts.
    pub slow_first: Duration,
    /// The longest wait for what only a person can mend.
    pub slow_max: Duration,
    /// An attempt that worked for this long starts the back-off over.
    pub recovered_after: Duration,
    /// How long a task that was told to stop may take, before it is aborted.
    pub stop_within: Duration,
}

impl Policy {
    /// For cameras (CAMERAS.md, "What the supervisor promises").
    pub const CAMERA: Self = Self {
        first: Duration::from_secs(1),
        jitter: 0.3,
        patience: Duration::from_secs(300),
        max: Duration::from_secs(30),
        slow_first: Duration::from_secs(60),
        slow_max: Duration::from_secs(300),
        recovered_after: Duration::from_secs(10),
        stop_within: Duration::from_secs(4),
    };

    /// For cameras that call us: when one has left, the next may come at once.
    pub const PUBLISHER: Self = Self {
        first: Duration::from_millis(10),
        max: Duration::from_millis(10),
        slow_first: Duration::from_millis(10),
        slow_max: Duration::from_millis(10),
        ..Self::CAMERA
    };
}

/// The state of one task's back-off.
#[derive(Clone, Debug)]
pub struct Backoff {
    policy: Policy,
    /// How long it has been failing, as told through [`Self::soon`].
    doubled: u32,
    slow: u32,
}

impl Backoff {
    /// Nothing has failed yet.
    #[must_use]
    pub const fn new(policy: Policy) -> Self {
        Self { policy, doubled: 0, slow: 0 }
    }

    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Starts over: the task worked for long enough.
    pub const fn reset(&mut self) {
        self.doubled = 0;
        self.slow = 0;
    }

    /// The distance from the start of the failed attempt to the start of the next, for what may
    /// mend itself. `failing_for`: since the first failure of this row. `chance`: evenly from 0 to 1.
    pub fn soon(&mut self, failing_for: Duration, chance: f64) -> Duration {
        self.slow = 0;
        if failing_for >= self.policy.patience {
            self.doubled = self.doubled.saturating_add(1);
        }
        let wait = doubled(self.policy.first, self.doubled, self.policy.max);
        self.jittered(wait, chance)
    }

    /// The same for what only a person can mend.
    pub fn slow(&mut self, chance: f64) -> Duration {
        let wait = doubled(self.policy.slow_first, self.slow, self.policy.slow_max);
        self.slow = self.slow.saturating_add(1);
        self.jittered(wait, chance)
    }

    fn jittered(&self, wait: Duration, chance: f64) -> Duration {
        wait.mul_f64(1.0 + self.policy.jitter * (chance.clamp(0.0, 1.0) * 2.0 - 1.0))
    }
}

fn doubled(first: Duration, times: u32, max: Duration) -> Duration {
    first.checked_mul(1 << times.min(20)).map_or(max, |wait| wait.min(max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICY: Policy = Policy::CAMERA;

    #[test]
    fn for_five_minutes_attempts_stay_a_second_apart() {
        let mut backoff = Backoff::new(POLICY);
        for second in 0..299 {
            assert_eq!(backoff.soon(Duration::from_secs(second), 0.5), Duration::from_secs(1));
        }
    }

    #[test]
    fn after_five_minutes_the_wait_doubles_up_to_thirty_seconds() {
        let mut backoff = Backoff::new(POLICY);
        let waits: Vec<_> =
            (0..7).map(|n| backoff.soon(Duration::from_secs(300 + n), 0.5).as_secs()).collect();
        assert_eq!(waits, [2, 4, 8, 16, 30, 30, 30]);
        backoff.reset();
        assert_eq!(backoff.soon(Duration::ZERO, 0.5), Duration::from_secs(1));
    }

    #[test]
    fn a_wrong_password_is_tried_once_a_minute_and_later_every_five() {
        let mut backoff = Backoff::new(POLICY);
        let waits: Vec<_> = (0..5).map(|_| backoff.slow(0.5).as_secs()).collect();
        assert_eq!(waits, [60, 120, 240, 300, 300]);
    }

    proptest! {
        #[test]
        fn jitter_stays_within_thirty_percent(chance in 0.0..=1.0_f64, failing in 0_u64..100_000) {
            let wait = Backoff::new(POLICY).soon(Duration::from_secs(failing), chance).as_secs_f64();
            let base = if failing < 300 { 1.0 } else { 2.0 };
            prop_assert!((base * 0.7 - 1e-6..=base * 1.3 + 1e-6).contains(&wait));
        }
    }
}
