//! The keeper of a volume: a thread that looks after it once a second, and the only one who says
//! that it is well again.
//!
//! It sees a volume that was unmounted or replaced under us (its marker, its device), keeps the
//! count of free bytes fresh while nothing is written, and tries a volume that failed: with a probe
//! (a small file that is written and synced), after a pause that grows while it fails and shrinks
//! back once the volume has been well for [`WELL_AFTER`]. It has a thread of its own because the
//! writer and the sync thread may hang in the very calls that tell of the trouble.

use std::{sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::time::Instant;

use super::{
    ground::Ground,
    marker::Unclaimed,
    state::{VolumeState, Woken, state_of},
};

/// How often a volume is looked at, and tried when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between two looks.
    pub look: Duration,
    /// Between a failure and the first try.
    pub first: Duration,
    /// Longest time between two tries.
    pub longest: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let (look, first) = (Duration::from_secs(1), Duration::from_secs(1));
        Self { look, first, longest: Duration::from_secs(30) }
    }
}

/// A volume that was well for so long gets a fresh start when it fails again.
const WELL_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Keeper {
    ground: Arc<Ground>,
    pace: Pace,
    pause: Duration,
    /// When the next try is due, while it is not well.
    try_at: Option<Instant>,
    /// Since when it is well.
    well: Option<Instant>,
    measured: Option<(Instant, u64)>,
}

impl Keeper {
    pub(super) fn new(ground: Arc<Ground>, pace: Pace) -> Self {
        Self { ground, pace, pause: pace.first, try_at: None, well: None, measured: None }
    }

    /// Works until stopped.
    pub(super) fn run(mut self) {
        loop {
            let due = self.try_at.map(|at| at.saturating_duration_since(Instant::now()));
            let wait = due.map_or(self.pace.look, |due| due.min(self.pace.look));
            let now = match self.ground.availability.wait(wait) {
                Woken::Stopped => return,
                Woken::Try => *self.try_at.insert(Instant::now()),
                Woken::Asked | Woken::Time => Instant::now(),
            };
            self.tick(now);
        }
    }

    fn tick(&mut self, now: Instant) {
        self.measure(now);
        self.see_whether_it_is_there();
        let ground = Arc::clone(&self.ground);
        if ground.is_claimed() {
            ground.look_at_room();
        }
        let availability = &ground.availability;
        match availability.state() {
            VolumeState::Ready => {
                let since = *self.well.get_or_insert(now);
                if now - since >= WELL_AFTER {
                    self.pause = self.pace.first;
                }
                self.try_at = None;
            }
            // It says itself when there is room; no write has failed.
            VolumeState::Full if !ground.has_found_none() => {
                if ground.has_room() {
                    availability.set(VolumeState::Ready, None);
                }
            }
            _ => self.try_again(now),
        }
    }

    fn try_again(&mut self, now: Instant) {
        self.well = None;
        let due = *self.try_at.get_or_insert(now + self.pause);
        if now < due {
            return;
        }
        let ground = Arc::clone(&self.ground);
        let availability = &ground.availability;
        let claimed = if ground.is_claimed() { Ok(()) } else { ground.claim() };
        match claimed {
            Ok(()) => match ground.probe() {
                Ok(()) => {
                    ground.look_at_room();
                    self.try_at = None;
                    if ground.has_room() {
                        availability.set(VolumeState::Ready, None);
                    } else {
                        availability.set(VolumeState::Full, Some("it has no room".to_owned()));
                    }
                    return self.grow();
                }
                Err(error) => availability.set(state_of(&error), Some(error.to_string())),
            },
            Err(Unclaimed::Away { state, why }) => availability.set(state, Some(why)),
            Err(Unclaimed::Replaced { why, .. }) => {
                availability.set(VolumeState::Missing, Some(why));
            }
            Err(Unclaimed::InUse) => {
                let why = "another process uses it".to_owned();
                availability.set(VolumeState::Failing, Some(why));
            }
        }
        self.grow();
        // A disk that is put back is seen within a few looks, however long it was away.
        let away = availability.state() == VolumeState::Missing;
        let pause = if away { self.pause.min(self.pace.look * 2) } else { self.pause };
        self.try_at = Some(now + pause);
    }

    fn grow(&mut self) {
        self.pause = (self.pause * 2).min(self.pace.longest);
    }

    fn see_whether_it_is_there(&mut self) {
        let ground = &self.ground;
        if !ground.is_claimed() {
            return;
        }
        match ground.is_ours() {
            Ok(Ok(())) => {}
            Ok(Err(why)) => {
                ground.release();
                ground.availability.set(VolumeState::Missing, Some(why));
                self.try_at = Some(Instant::now());
            }
            // The marker cannot be read: a disk that fails.
            Err(error) => ground.availability.set(state_of(&error), Some(error.to_string())),
        }
    }

    /// Bytes a second, smoothed over about ten looks.
    fn measure(&mut self, now: Instant) {
        let written = self.ground.counters.bytes_written.load(Relaxed);
        let Some((at, before)) = self.measured.replace((now, written)) else { return };
        let micros = u64::try_from((now - at).as_micros()).unwrap_or(u64::MAX).max(1);
        let rate = (written - before).saturating_mul(1_000_000) / micros;
        let smooth = self.ground.rate.load(Relaxed);
        self.ground.rate.store(smooth - smooth / 8 + rate / 8, Relaxed);
    }
}
