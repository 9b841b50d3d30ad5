//! The only place that reads the system's clocks.
//!
//! Wall time comes from [`Clock`], which a test replaces by one it moves by hand. Monotonic time
//! is [`tokio::time::Instant`], which a test pauses. Nothing uses local time.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use crate::proto::time::{WallSpan, WallTime};

/// Wall clock, cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until [`Self::advance`] or [`Self::set`]; clones share it.
    #[must_use]
    pub fn manual(at: WallTime) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(at.as_micros()))))
    }

    /// UTC now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock module")]
    pub fn now(&self) -> WallTime {
        match &self.0 {
            Source::Manual(us) => WallTime::from_micros(us.load(Ordering::SeqCst)),
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

    /// Moves a manual clock; the system's clock stays as it is.
    pub fn advance(&self, by: WallSpan) {
        if let Source::Manual(us) = &self.0 {
            us.fetch_add(by.as_micros(), Ordering::SeqCst);
        }
    }

    /// Sets a manual clock; the system's clock stays as it is.
    pub fn set(&self, to: WallTime) {
        if let Source::Manual(us) = &self.0 {
            us.store(to.as_micros(), Ordering::SeqCst);
        }
    }
}
