//! Steps of the wall clock, and whether it may be believed. Pure: readings in, changes out.
//!
//! # What is a step
//!
//! Between two readings wall time and monotonic time pass equally, but for what NTP slews (a few
//! parts in ten thousand) and for sleep (counted apart). What differs by more than
//! [`limits::FLOOR`] and [`limits::SLEW`] of the time between is a clock that was set.
//!
//! # Whom to believe
//!
//! A clock that is years ahead makes everything look old enough to be deleted. So the watch keeps
//! the time it *believes*: the wall clock for as long as that goes with the monotonic clock, give
//! or take an hour at once. When the wall clock is suddenly more than an hour ahead of what it was,
//! or of the time believed in, deletion by age is held: until the clock is back where it is believed
//! to be, until somebody confirms it, or for [`limits::HOLD`] of uptime. Both are remembered from
//! process to process. A clock that is behind deletes nothing too early, but what is recorded by it
//! looks old as soon as it is less behind. The time believed in before is remembered for as long as
//! deletion would be held, so that a machine without a battery-backed clock boots in 1970, gets the
//! time from NTP, and nothing has happened.

use std::{collections::VecDeque, time::Duration};

use super::Reading;
use crate::proto::time::{WallSpan, WallTime};

pub(super) mod limits {
    use super::{Duration, WallSpan};

    /// Less is no step, however soon: what it takes to read two clocks.
    pub(in super::super) const FLOOR: i64 = 20_000;
    /// Nor what passes at less than 2 % of the time between: footage follows that.
    pub(in super::super) const SLEW: i64 = 50;
    /// Ahead by more, and ages are not believed.
    pub(in super::super) const AHEAD: WallSpan = WallSpan::from_secs(3_600);
    /// Of uptime, until a clock is believed that nobody has confirmed.
    pub(in super::super) const HOLD: Duration = Duration::from_secs(24 * 3_600);
    /// Changes that wait to be told.
    pub(in super::super) const CHANGES: usize = 64;
}

/// The wall clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// By so much; negative: back.
    pub by: WallSpan,
    /// What it said right after.
    pub at: WallTime,
}

/// Deletion by age is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// What the wall clock said when that began.
    pub since: WallTime,
    /// How far it is ahead of the time believed in.
    pub ahead: WallSpan,
    /// Uptime after which it will be believed.
    pub left: Duration,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The wall clock was set.
    Stepped(Step),
    /// The machine slept.
    Slept(WallSpan),
    /// Deletion by age is held from now on.
    Held(Held),
    /// The wall clock is back where it was believed to be: held no longer.
    Back,
    /// Somebody said that the wall clock is right: held no longer.
    Confirmed,
    /// It has said the same for a day: held no longer.
    Accepted,
}

/// What there was so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepCounts {
    /// Steps forward.
    pub forward: u64,
    /// Steps back.
    pub back: u64,
    /// Times that the machine slept.
    pub suspends: u64,
    /// The newest step.
    pub last: Option<Step>,
}

/// What is to be remembered for the next process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Believed {
    /// The time believed in, now.
    pub wall: WallTime,
    /// What the wall clock said then: footage bears that.
    pub said: WallTime,
    /// While deletion is held: since when by the wall clock, and the uptime since.
    pub held: Option<(WallTime, Duration)>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Watch {
    last: Reading,
    /// The time believed in, at `last`.
    believed: WallTime,
    held: Option<(WallTime, Duration)>,
    /// Uptime for which the wall clock has been more than an hour behind.
    behind: Duration,
    counts: StepCounts,
    changes: VecDeque<Change>,
}

impl Watch {
    /// Begins with what was believed before: by the last process, or else by its newest footage.
    #[must_use]
    pub fn new(now: Reading, before: Option<Believed>) -> Self {
        let before = before.unwrap_or(Believed { wall: now.wall, said: now.wall, held: None });
        let mut watch = Self {
            last: now,
            believed: before.wall,
            held: before.held,
            behind: Duration::ZERO,
            counts: StepCounts::default(),
            changes: VecDeque::new(),
        };
        // What passed meanwhile nobody knows; so all of it counts as moved.
        watch.judge(now.wall, now.wall - before.said, Duration::ZERO);
        watch
    }

    /// Takes a reading in; once a second, and before each use of the time.
    pub fn take(&mut self, now: Reading) {
        let Some(passed) = now.at.checked_duration_since(self.last.at) else {
            // An older reading of another task.
            return;
        };
        let slept = now.asleep - self.last.asleep;
        let slept = if slept.as_micros() > limits::FLOOR { slept } else { WallSpan::ZERO };
        let true_span = WallSpan::from(passed) + slept;
        let moved = (now.wall - self.last.wall) - true_span;
        let slewed = true_span.as_micros() / limits::SLEW;
        self.believed = self.believed + true_span;
        if slept > WallSpan::ZERO {
            self.counts.suspends += 1;
            self.tell(Change::Slept(slept));
        }
        if moved.as_micros().saturating_abs() > limits::FLOOR.saturating_add(slewed) {
            let step = Step { by: moved, at: now.wall };
            let forward = moved > WallSpan::ZERO;
            *(if forward { &mut self.counts.forward } else { &mut self.counts.back }) += 1;
            self.counts.last = Some(step);
            self.tell(Change::Stepped(step));
        }
        self.last = now;
        self.judge(now.wall, moved, passed);
    }

    fn judge(&mut self, wall: WallTime, moved: WallSpan, passed: Duration) {
        let ahead = wall - self.believed;
        let near = ahead <= limits::AHEAD && ahead >= WallSpan::ZERO - limits::AHEAD;
        if near {
            self.believed = wall;
            self.behind = Duration::ZERO;
            if self.held.take().is_some() {
                self.tell(Change::Back);
            }
            return;
        }
        if let Some((_, uptime)) = &mut self.held {
            *uptime = uptime.saturating_add(passed);
            if *uptime >= limits::HOLD {
                self.accept(Change::Accepted);
            }
            return;
        }
        if ahead > limits::AHEAD || moved > limits::AHEAD {
            self.held = Some((wall, Duration::ZERO));
            self.behind = Duration::ZERO;
            if let Some(held) = self.held() {
                self.tell(Change::Held(held));
            }
            return;
        }
        self.behind = self.behind.saturating_add(passed);
        if self.behind >= limits::HOLD {
            self.believed = wall;
            self.behind = Duration::ZERO;
        }
    }

    fn accept(&mut self, why: Change) {
        self.held = None;
        self.believed = self.last.wall;
        self.behind = Duration::ZERO;
        self.tell(why);
    }

    /// Somebody says that the wall clock is right; `false` when nothing was held.
    pub fn confirm(&mut self) -> bool {
        let held = self.held.is_some();
        if held {
            self.accept(Change::Confirmed);
        }
        held
    }

    /// Whether and why deletion by age is held.
    #[must_use]
    pub fn held(&self) -> Option<Held> {
        let (since, uptime) = self.held?;
        let ahead = self.last.wall - self.believed;
        Some(Held { since, ahead, left: limits::HOLD.saturating_sub(uptime) })
    }

    /// What there was so far.
    #[must_use]
    pub const fn counts(&self) -> StepCounts {
        self.counts
    }

    /// To be remembered for the next process.
    #[must_use]
    pub const fn believed(&self) -> Believed {
        Believed { wall: self.believed, said: self.last.wall, held: self.held }
    }

    /// The next thing that happened, to be logged. Where nobody asks the oldest are forgotten.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    fn tell(&mut self, change: Change) {
        if self.changes.len() >= limits::CHANGES {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
