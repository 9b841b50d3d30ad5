//! Footage backwards: from one key frame to the one before.
//!
//! # Invariants
//!
//! * Each step begins before where the one before it began, whatever the files hold: it comes to
//!   an end.
//! * Nothing is noted before it is done, so that a [`Reverse::next`] that is given up half-way is
//!   simply asked again.

use crate::{
    playback::{Direction, PlaybackError, Target},
    proto::{access_unit::TrackIndex, time::WallSpan},
    rtsp_server::footage::{Feed, Item},
};

/// The smallest step of npt.
pub(super) const TICK: WallSpan = WallSpan::from_micros(1);

/// A cursor that runs backwards over a [`Feed`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Reverse {
    /// What is presented before this is still to come.
    before: WallSpan,
    /// Not beyond this.
    floor: WallSpan,
    /// Key frame that was gone to, and is not delivered yet.
    reading: Option<WallSpan>,
}

impl Reverse {
    pub(super) const fn new(before: WallSpan, floor: WallSpan) -> Self {
        Self { before, floor, reading: None }
    }

    pub(super) fn set_floor(&mut self, floor: WallSpan) {
        self.floor = floor;
    }

    /// The next unit of the leading track; `None` at the beginning.
    pub(super) async fn next(
        &mut self,
        feed: &mut Feed,
        lead: TrackIndex,
    ) -> Result<Option<Item>, PlaybackError> {
        loop {
            let Some(key) = self.reading else {
                if !self.step_back(feed).await? {
                    return Ok(None);
                }
                continue;
            };
            let item = feed.next().await?;
            if item.as_ref().is_some_and(|item| item.unit.track != lead) {
                continue;
            }
            // What cannot be read is passed over, which leads forward again: nothing is shown twice.
            let item = item.filter(|item| item.at < self.before);
            (self.before, self.reading) = (key, None);
            if item.is_some() {
                return Ok(item);
            }
        }
    }

    /// Goes to the key frame before; false when there is none.
    async fn step_back(&mut self, feed: &mut Feed) -> Result<bool, PlaybackError> {
        if self.before <= self.floor {
            return Ok(false);
        }
        let found = feed.seek(Target::Npt(self.before - TICK), Direction::Backward).await?;
        self.reading = found.filter(|key| *key < self.before && *key >= self.floor);
        Ok(self.reading.is_some())
    }
}
