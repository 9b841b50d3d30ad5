//! Deletes footage that its limits do not allow any longer: the row first, then the file.
//!
//! ```text
//! index (limits, sums, oldest) ─┐
//! volumes (room, leases) ───────┼─▶ plan (pure) ─▶ steps ─▶ rows ─▶ files ─▶ `unlinked`
//! clock (may ages be believed?) ┘     what, and why    64 at once   synced     row of the file
//! ```
//!
//! What goes, in which order and why is [`plan`]'s; this module asks, carries out and tells.
//!
//! # When
//!
//! Every [`EVERY`], and at once when a volume asks for room, a volume comes back, or cameras or
//! locks change. A volume's reserve is what is written to it in two such rounds, so room is made
//! before a write fails for want of it.
//!
//! # Not in the way of recording
//!
//! Rows go in transactions of at most [`plan::limits::BATCH`] and share the index's one writer with
//! everybody; between two of them there is a pause, unless a volume is full. Files are unlinked on
//! blocking threads, some at a time, a volume never waiting for another's disk.
//!
//! # What a crash leaves
//!
//! A file whose row is gone stands in the index's `unlink` table until it is unlinked and its
//! folder is synced; what stands there at start is worked off first.
//!
//! # When nothing is deleted
//!
//! While the index is being made anew from the files, since locks may not be back; by age, while the
//! clock may be wrong ([`AgeHold`]); and nothing of a volume that is not there.

mod forecast;
mod lanes;
mod notes;
pub mod plan;
mod report;
mod round;
mod settle;
#[cfg(test)]
mod tests;
mod unlink;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{AgeHold, Clock},
    disk::Volumes,
    proto::{reason::GapReason, time::WallSpan},
    store::{Store, StoreError},
    task::{Attempt, Failure, Policy, Retry},
};

pub use forecast::{Pace, Room};
pub use report::{Counters, OnHold, Report, StepReport, StreamReport, VolumeReport};
pub use round::Round;

/// Rounds are so far apart when nothing asks for one.
pub const EVERY: Duration = Duration::from_secs(30);
/// And this far at least, so that a volume that asks without end does not keep the index busy.
const AT_LEAST: Duration = Duration::from_secs(1);
/// The same after a round that found nothing to delete.
const IN_VAIN: Duration = Duration::from_secs(4);
/// Rows are pruned by age so often.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);
/// Seconds of writing that a volume's reserve holds: two rounds.
const RESERVE_SECONDS: u64 = 2 * EVERY.as_secs();

/// How the task is started again after a failure.
pub const POLICY: Policy = Policy { max: Duration::from_secs(30), ..Policy::CAMERA };

/// For how long rows that are no footage are kept; `None`: for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Events.
    pub events: Option<Duration>,
    /// Who changed what.
    pub audit: Option<Duration>,
    /// Gaps before which no footage is left.
    pub gaps: Option<Duration>,
}

/// What retention works with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The index.
    pub store: Store,
    /// The files.
    pub volumes: Arc<Volumes>,
    /// UTC.
    pub clock: Clock,
    /// Whether it may be believed.
    pub age: AgeHold,
}

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// The index did not answer.
    #[error("retention")]
    Store(#[from] StoreError),
}

impl Failure for RetentionError {
    fn retry(&self) -> Retry {
        Retry::Soon
    }

    fn reason(&self) -> GapReason {
        GapReason::Internal
    }
}

/// Shorthand.
pub type Result<T, E = RetentionError> = std::result::Result<T, E>;

/// Deletes what limits do not allow. One for the whole recorder.
#[derive(Debug)]
pub struct Retention {
    settings: Settings,
    parts: Parts,
    /// One round at a time.
    work: tokio::sync::Mutex<round::Work>,
    /// Guards numbers and is never held over an await.
    observed: Mutex<BTreeMap<String, settle::Observed>>,
    counters: Counters,
    report: watch::Sender<Arc<Report>>,
    bell: Notify,
}

impl Retention {
    /// Ready to run.
    #[must_use]
    pub fn new(settings: Settings, parts: Parts) -> Arc<Self> {
        let work = round::Work::new(&parts);
        Arc::new(Self {
            settings,
            work: tokio::sync::Mutex::new(work),
            observed: Mutex::default(),
            counters: Counters::default(),
            report: watch::Sender::default(),
            bell: Notify::new(),
            parts,
        })
    }

    /// How it stood with all limits when the last round was planned. Costs nothing.
    #[must_use]
    pub fn report(&self) -> Arc<Report> {
        self.report.borrow().clone()
    }

    /// Changes with each round.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Report>> {
        self.report.subscribe()
    }

    /// Counters and gauges.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Has a round begin soon: a limit, a lock, or what is believed of the clock has changed.
    pub fn wake(&self) {
        self.bell.notify_one();
    }

    /// Rounds until it is told to stop.
    ///
    /// # Errors
    ///
    /// When a round failed; what it had done stays done.
    pub async fn run(self: Arc<Self>, attempt: Attempt) -> Result<()> {
        let stop = attempt.stop().clone();
        let mut changed = self.parts.store.watch_state();
        let mut doomed = self.parts.store.watch_unlinks();
        let mut volumes = self.parts.volumes.changed();
        let mut rounds = interval(EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut prune_at = Instant::now();
        let room = Arc::clone(self.parts.volumes.room());
        loop {
            let began = Instant::now();
            changed.mark_unchanged();
            doomed.mark_unchanged();
            volumes.mark_unchanged();
            let round = match self.round_until(&stop).await {
                Ok(round) => round,
                Err(error) => {
                    self.counters.failures.fetch_add(1, Relaxed);
                    return Err(error);
                }
            };
            attempt.works();
            if prune_at <= began && !stop.is_cancelled() {
                self.prune(&stop).await?;
                prune_at = began + PRUNE_EVERY;
            }
            if round.more && !stop.is_cancelled() {
                continue;
            }
            rounds.reset();
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = rounds.tick() => {}
                () = self.bell.notified() => {}
                _ = room.asked() => {}
                Ok(()) = changed.changed() => {}
                Ok(()) = doomed.changed() => {}
                Ok(()) = volumes.changed() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = sleep_until(began + if round.deleted > 0 { AT_LEAST } else { IN_VAIN }) => {}
            }
        }
    }

    /// Prunes what is no footage. Each call of the store is bounded in what one transaction does.
    async fn prune(&self, stop: &CancellationToken) -> Result<()> {
        // By age, so with the clock in doubt not at all.
        let Ok(now) = self.parts.age.now() else { return Ok(()) };
        let store = &self.parts.store;
        let before = |kept: Option<Duration>| kept.map(|kept| now - WallSpan::from(kept));
        let mut pruned = 0;
        if let Some(before) = before(self.settings.events) {
            pruned += store.prune_events(before).await?;
            pruned += store.prune_marks(before).await?;
        }
        if let Some(before) = before(self.settings.audit).filter(|_| !stop.is_cancelled()) {
            pruned += store.prune_audit(before).await?;
        }
        if let Some(before) = before(self.settings.gaps).filter(|_| !stop.is_cancelled()) {
            pruned += store.prune_gaps(before).await?;
        }
        if pruned > 0 {
            tracing::info!(rows = pruned, "events, audit and gaps pruned by age");
        }
        self.counters.pruned.fetch_add(pruned, Relaxed);
        Ok(())
    }
}
