//! The only place that reads the system's clocks, and the judge of what they say.
//!
//! Wall time comes from [`Clock`], which a test replaces by one it moves by hand. Monotonic time
//! is [`tokio::time::Instant`], which a test pauses. Nothing uses local time.
//!
//! A wall clock can be set: by NTP after a boot without a battery-backed clock, by a person, by a
//! hypervisor. [`Watch`] tells such steps from time that passed, [`AgeHold`] keeps a clock that is
//! wrong from deleting footage, and [`Steady`] keeps a small correction from bending a run.

mod hold;
mod steady;
mod watch;

pub use hold::AgeHold;
pub use steady::Steady;
pub use watch::{Believed, Change, Held, Step, StepCounts, Watch};

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use tokio::time::Instant;

use crate::proto::time::{WallSpan, WallTime};

/// Wall clock, cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    Manual(Arc<Manual>),
}

#[derive(Debug, Default)]
struct Manual {
    wall: AtomicI64,
    asleep: AtomicI64,
}

/// What the clocks say at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// UTC.
    pub wall: WallTime,
    /// The monotonic clock, which stands still while the machine sleeps.
    pub at: Instant,
    /// How long the machine has slept since it was booted.
    pub asleep: WallSpan,
}

/// How close together two readings have to be to count as one moment.
const AT_ONCE: WallSpan = WallSpan::from_micros(500);
/// How often that is tried.
const TRIES: usize = 8;

impl Clock {
    /// The system's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until [`Self::advance`] or [`Self::set`]; clones share it.
    #[must_use]
    pub fn manual(at: WallTime) -> Self {
        let manual = Manual { wall: AtomicI64::new(at.as_micros()), asleep: AtomicI64::new(0) };
        Self(Source::Manual(Arc::new(manual)))
    }

    /// UTC now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock module")]
    pub fn now(&self) -> WallTime {
        match &self.0 {
            Source::Manual(manual) => WallTime::from_micros(manual.wall.load(Ordering::SeqCst)),
            Source::System => {
                let now = std::time::SystemTime::now();
                let us = match now.duration_since(std::time::UNIX_EPOCH) {
                    Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
                    Err(before) => {
                        i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us)
                    }
                };
                WallTime::from_micros(us)
            }
        }
    }

    /// All clocks at one moment: read again when the thread was interrupted between them, so that
    /// a busy machine does not look like a clock that was set.
    #[must_use]
    pub fn read(&self) -> Reading {
        let mut tries = (0..TRIES).map(|_| {
            let at = Instant::now();
            let (wall, asleep) = (self.now(), self.asleep());
            (WallSpan::from(at.elapsed()), Reading { wall, at, asleep })
        });
        let late = || Reading { wall: self.now(), at: Instant::now(), asleep: self.asleep() };
        let Some(mut best) = tries.next() else { return late() };
        while best.0 > AT_ONCE
            && let Some(next) = tries.next()
        {
            best = if next.0 < best.0 { next } else { best };
        }
        best.1
    }

    /// How long the machine has slept since it was booted: time that passed, but that the monotonic
    /// clock does not count.
    #[must_use]
    pub fn asleep(&self) -> WallSpan {
        match &self.0 {
            Source::Manual(manual) => WallSpan::from_micros(manual.asleep.load(Ordering::SeqCst)),
            Source::System => {
                use rustix::time::{ClockId, clock_gettime};
                let us = |clock| {
                    let time = clock_gettime(clock);
                    time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1_000)
                };
                let monotonic = us(ClockId::Monotonic);
                WallSpan::from_micros(us(ClockId::Boottime).saturating_sub(monotonic).max(0))
            }
        }
    }

    /// Moves a manual clock; the system's clock stays as it is.
    pub fn advance(&self, by: WallSpan) {
        if let Source::Manual(manual) = &self.0 {
            manual.wall.fetch_add(by.as_micros(), Ordering::SeqCst);
        }
    }

    /// Sets a manual clock; the system's clock stays as it is.
    pub fn set(&self, to: WallTime) {
        if let Source::Manual(manual) = &self.0 {
            manual.wall.store(to.as_micros(), Ordering::SeqCst);
        }
    }

    /// Has the machine of a manual clock sleep: wall time passes and monotonic time does not.
    pub fn sleep(&self, by: WallSpan) {
        if let Source::Manual(manual) = &self.0 {
            manual.wall.fetch_add(by.as_micros(), Ordering::SeqCst);
            manual.asleep.fetch_add(by.as_micros(), Ordering::SeqCst);
        }
    }
}
