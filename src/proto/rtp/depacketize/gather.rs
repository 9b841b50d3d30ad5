//! What several packets make up, while it comes: what a loss does to it is the same for every codec
//! that has no boundaries of its own to begin again at.
//!
//! # Invariants
//!
//! * At most one frame is open.
//! * Once a packet of it is missing, or breaks the rules, what else has its time is passed over.

use std::time::Duration;

use super::Told;
use crate::proto::rtp::extension::Replayed;

/// A frame that came in part.
#[derive(Debug)]
pub(super) struct Open<T> {
    /// Of its first packet, as the next two.
    pub(super) ticks: i64,
    pub(super) arrived: Duration,
    pub(super) replayed: Option<Replayed>,
    pub(super) part: T,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Gather<T> {
    pub(super) told: Told,
    pub(super) open: Option<Open<T>>,
    skipping: Option<i64>,
}

impl<T> Gather<T> {
    pub(super) fn new() -> Self {
        Self { told: Told::default(), open: None, skipping: None }
    }

    /// Of the next packet, before anything is made of it.
    pub(super) fn add(&mut self, lost: u16, fresh: bool) {
        self.told.add(lost, fresh);
        if lost > 0 || fresh {
            let hit = self.open.as_ref().map(|open| open.ticks);
            self.abandon();
            // What a new source sends may have the same time.
            self.skipping = if fresh { None } else { hit.or(self.skipping) };
        }
    }

    /// Whether the open frame has another time than this.
    pub(super) fn has_another_than(&self, ticks: i64) -> bool {
        self.open.as_ref().is_some_and(|open| open.ticks != ticks)
    }

    /// Whether what has this time is passed over; if not, nothing is any more.
    pub(super) fn skips(&mut self, ticks: i64) -> bool {
        let skips = self.skipping == Some(ticks);
        if !skips {
            self.skipping = None;
        }
        skips
    }

    /// What else has this time is of no use.
    pub(super) const fn skip(&mut self, ticks: i64) {
        self.skipping = Some(ticks);
    }

    /// A frame whose beginning was lost.
    pub(super) const fn skip_headless(&mut self, ticks: i64) {
        self.told.drop_one();
        self.skip(ticks);
    }

    /// Drops what is open.
    pub(super) fn abandon(&mut self) {
        if self.open.take().is_some() {
            self.told.drop_one();
        }
    }
}
