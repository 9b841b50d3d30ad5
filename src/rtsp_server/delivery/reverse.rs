//! Footage backwards: key frames, or whole groups of pictures, from one to the one before.
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

/// No group is waited for longer than it takes to show this.
const LONGEST: WallSpan = WallSpan::from_secs(10);

/// A cursor that runs backwards over a [`Feed`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Reverse {
    /// What is presented before this is still to come.
    before: WallSpan,
    /// Not beyond this.
    floor: WallSpan,
    /// Not key frames alone but all pictures behind each, forwards.
    whole: bool,
    /// Where it begins, until that is asked for.
    from: Option<WallSpan>,
    /// Key frame of the group that is being delivered.
    reading: Option<WallSpan>,
}

impl Reverse {
    pub(super) const fn new(before: WallSpan, floor: WallSpan, whole: bool) -> Self {
        Self { before, floor, whole, from: Some(before), reading: None }
    }

    pub(super) fn set_floor(&mut self, floor: WallSpan) {
        self.floor = floor;
    }

    pub(super) const fn is_whole(&self) -> bool {
        self.whole
    }

    /// What is presented when the first group is sent, whose first unit is at `first`: a group is
    /// shown from its end. Only of whole groups, and once.
    pub(super) fn take_from(&mut self, first: WallSpan) -> Option<WallSpan> {
        let from = self.from.take().filter(|_| self.whole)?;
        Some(from.min(first + LONGEST))
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
            if let Some(item) = &item
                && self.whole
                && (item.at == key || !item.unit.random_access)
            {
                if item.at >= self.before {
                    continue;
                }
                return Ok(Some(item.clone()));
            }
            // What cannot be read is passed over, which leads forward again: nothing is shown twice.
            let item = item.filter(|item| item.at < self.before && !self.whole);
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
        let within = |key: &WallSpan| self.whole || *key >= self.floor;
        self.reading = found.filter(|key| *key < self.before && within(key));
        Ok(self.reading.is_some())
    }
}
