//! The wall clock for ages: it says nothing while it must not be believed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    Clock,
    watch::{Believed, Change, Held, StepCounts, Watch},
};
use crate::proto::time::WallTime;

/// A [`Watch`] and its clock, shared by who ticks it, who deletes by age and who shows it.
///
/// Each use reads the clock and judges it in one step, so that between a jump and the next tick
/// nothing is deleted by the wrong time.
#[derive(Clone, Debug)]
pub struct AgeHold {
    clock: Clock,
    /// Small, and never held over anything that waits. `None`: the clock is always believed.
    watch: Option<Arc<Mutex<Watch>>>,
}

impl AgeHold {
    /// Begins to watch `clock`; `before` as in [`Watch::new`].
    #[must_use]
    pub fn new(clock: Clock, before: Option<Believed>) -> Self {
        let watch = Watch::new(clock.read(), before);
        Self { clock, watch: Some(Arc::new(Mutex::new(watch))) }
    }

    /// Believes `clock` whatever it says: for tools and tests.
    #[must_use]
    pub const fn never(clock: Clock) -> Self {
        Self { clock, watch: None }
    }

    /// The time by which to reckon ages.
    ///
    /// # Errors
    ///
    /// Why nothing may be deleted for its age now.
    pub fn now(&self) -> Result<WallTime, Held> {
        let Some(mut watch) = self.look() else { return Ok(self.clock.now()) };
        let reading = self.clock.read();
        watch.take(reading);
        watch.held().map_or(Ok(reading.wall), Err)
    }

    /// Whether and why deletion by age is held.
    #[must_use]
    pub fn held(&self) -> Option<Held> {
        self.now().err()
    }

    /// Somebody says that the wall clock is right; `false` when nothing was held.
    #[must_use]
    pub fn confirm(&self) -> bool {
        self.look().is_some_and(|mut watch| {
            watch.take(self.clock.read());
            watch.confirm()
        })
    }

    /// Steps and sleep so far.
    #[must_use]
    pub fn counts(&self) -> StepCounts {
        self.look().map(|watch| watch.counts()).unwrap_or_default()
    }

    /// Looks at the clock and says what happened since the last time; to be called each second.
    #[must_use]
    pub fn tick(&self) -> Vec<Change> {
        let Some(mut watch) = self.look() else { return Vec::new() };
        watch.take(self.clock.read());
        std::iter::from_fn(|| watch.poll_change()).collect()
    }

    /// To be remembered for the next process; `None` when nothing is watched.
    #[must_use]
    pub fn believed(&self) -> Option<Believed> {
        self.look().map(|watch| watch.believed())
    }

    fn look(&self) -> Option<MutexGuard<'_, Watch>> {
        // Poison only says that somebody panicked: each reading leaves the watch whole.
        self.watch.as_ref().map(|watch| watch.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
