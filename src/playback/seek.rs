//! Where playing begins: the key frame for a time asked for.
//!
//! 1. The map says which stretch, and the wall time in it.
//! 2. The segment that holds the time (or the next one, where retention took it) names the key
//!    frame at or before it.
//! 3. Where the time lies beyond what can be read from disk, the hub may hold a newer one.

use std::sync::Arc;

use super::{
    Reader, Result, Target,
    archive::{FOREVER, same_decoders},
    disk::Cursor,
    find::Place,
    npt::Stretch,
    reader::{Playing, SLACK, Stage},
    segment::Segment,
};
use crate::{
    hub::{Event, Run, Start, Subscription},
    proto::{
        access_unit::AccessUnit,
        time::{WallSpan, WallTime},
    },
};

/// Which way to look for footage from inside a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Direction {
    /// The next.
    #[default]
    Forward,
    /// The last before.
    Backward,
}

/// Where a seek really landed: at a key frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landing {
    /// Capture time of the first picture.
    pub wall: WallTime,
    /// The same in recorded time.
    pub npt: WallSpan,
    /// npt of each track's first unit, by track index of the clip; `None` where it is not known
    /// yet (then take that of the first unit when it comes).
    pub first: Vec<Option<WallSpan>>,
}

/// A key frame on disk.
struct Key {
    at: usize,
    segment: Segment,
    sample: usize,
    wall: WallTime,
}

/// The smallest step of wall time.
const TICK: WallSpan = WallSpan::from_micros(1);

impl Reader {
    /// Moves to the key frame at or before `target`; inside a gap to the next (or last) footage;
    /// beyond the ends to the first or last key frame. `None` when nothing is left of the clip.
    /// Takes away an end set by [`Self::set_end`]. Not cancel-safe: seek again.
    ///
    /// # Errors
    ///
    /// When the index does not answer.
    pub async fn seek(&mut self, target: Target, direction: Direction) -> Result<Option<Landing>> {
        self.rest();
        self.set_end(None);
        if self.clip.frozen.open_ended {
            let rows = self.archive.runs(self.clip.stream(), self.map.last().start..FOREVER);
            let rows = rows.await?;
            self.extend(&rows);
        }
        let (at, wall) = match target {
            Target::Npt(npt) => self.map.at_npt(npt),
            Target::Wall(wall) => self.map.at_wall(wall, direction),
        };
        let found = match direction {
            Direction::Forward => match self.key_forward(at, wall).await? {
                None => self.key_backward(at, wall).await?,
                found => found,
            },
            Direction::Backward => match self.key_backward(at, wall).await? {
                None => self.key_forward(at, wall).await?,
                found => found,
            },
        };
        let newest = at + 1 == self.map.len() && self.clip.frozen.open_ended;
        let beyond = found.as_ref().map_or(WallTime::from_micros(0), |key| key.wall + SLACK);
        if newest && let Some((run, unit, hub)) = self.live_key(beyond, wall) {
            return Ok(self.land_live(at, run, &unit, hub));
        }
        match found {
            Some(key) => Ok(self.land(key)),
            None => {
                self.stage = Stage::Ended;
                Ok(None)
            }
        }
    }

    fn land(&mut self, key: Key) -> Option<Landing> {
        let Key { at, segment, sample, wall } = key;
        let index = Arc::clone(&segment.index);
        let stretch = self.map.get(at).copied()?;
        if !same_decoders(self.clip.tracks(), &index.tracks) {
            self.stage = Stage::Ended;
            return None;
        }
        self.forget();
        self.keep(wall);
        let live = segment.live_run().unwrap_or(index.run);
        let run = Arc::new(index.run());
        self.begin(
            Playing { at, run, recorded: index.run, live, epoch: index.epoch },
            wall,
            index.number(index.leading, sample),
        );
        let cursor = Cursor::new(segment, self.starts(&index));
        let npt = stretch.npt_of(wall);
        let first = self.clip_tracks().map(|track| {
            let from = cursor.at.get(track.as_usize()).copied()?;
            let unit = index.samples(track).get(from)?;
            Some(stretch.npt_of(index.wall(track, unit)))
        });
        let first = first.collect();
        (self.npt, self.wall) = (npt, wall);
        self.stage = Stage::Disk(Box::new(cursor));
        Some(Landing { wall, npt, first })
    }

    fn land_live(
        &mut self,
        at: usize,
        run: Arc<Run>,
        key: &AccessUnit,
        hub: Subscription,
    ) -> Option<Landing> {
        let stretch = self.map.get(at).copied()?;
        self.forget();
        let (id, epoch) = (run.id, run.epoch);
        let playing = Playing { at, run, recorded: id, live: id, epoch };
        self.begin(playing, key.wall, key.number);
        self.live = Some(hub);
        self.stage = Stage::Live;
        (self.npt, self.wall) = (stretch.npt_of(key.wall), key.wall);
        let first = self.clip_tracks().map(|t| (t == self.leading).then_some(self.npt)).collect();
        Some(Landing { wall: self.wall, npt: self.npt, first })
    }

    /// The key frame at or before `wall` in the stretch `at`; where there is none, the first after.
    async fn key_forward(&self, at: usize, wall: WallTime) -> Result<Option<Key>> {
        for next in at..self.map.len() {
            let Some(stretch) = self.map.get(next).copied() else { break };
            let mut wall = if next == at { wall } else { stretch.start };
            if let Some(end) = stretch.end.filter(|end| wall >= *end) {
                wall = end - TICK; // Clamped to the clip's end: its last key frame.
            }
            let mut place = Place::at(wall);
            while let Some(segment) = self.segment(&stretch, place).await? {
                place = Place::after(&segment.index);
                if let Some(key) = key_in(next, &stretch, segment, wall) {
                    return Ok(Some(key));
                }
            }
            if next == at
                && let Some(key) = self.key_before(next, &stretch, wall).await?
            {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// The last key frame at or before `wall` in the stretch `at` or those before it.
    async fn key_backward(&self, at: usize, wall: WallTime) -> Result<Option<Key>> {
        for last in (0..=at).rev() {
            let Some(stretch) = self.map.get(last).copied() else { break };
            let wall = if last == at { wall } else { stretch.end.unwrap_or(wall) - TICK };
            if let Some(key) = self.key_before(last, &stretch, wall).await? {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    async fn key_before(
        &self,
        at: usize,
        stretch: &Stretch,
        wall: WallTime,
    ) -> Result<Option<Key>> {
        let mut before = wall + TICK;
        let stream = self.clip.stream();
        while let Some(segment) = self.archive.last_segment(stream, stretch, before).await? {
            before = segment.index.start;
            if let Some(key) = key_in(at, stretch, segment, wall).filter(|key| key.wall <= wall) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    async fn segment(&self, stretch: &Stretch, place: Place) -> Result<Option<Segment>> {
        self.archive.next_segment(self.clip.stream(), stretch, place).await
    }

    /// The newest key frame the hub holds after `beyond` and not after `wall`, with a subscription
    /// that will bring it.
    fn live_key(
        &self,
        beyond: WallTime,
        wall: WallTime,
    ) -> Option<(Arc<Run>, Arc<AccessUnit>, Subscription)> {
        let last = self.map.last();
        let channel = self.archive.hub().channel(self.clip.stream());
        let hub = channel.subscribe(Start::Oldest);
        let mut look = channel.subscribe(Start::Oldest);
        let mut newest = None;
        while let Ok(Some(event)) = look.try_next() {
            let Event::Unit { run, unit, .. } = event else { continue };
            if unit.track == self.leading
                && unit.random_access
                && run.epoch == last.epoch
                && unit.wall >= last.start.max(beyond)
                && unit.wall <= wall
                && same_decoders(self.clip.tracks(), &run.tracks)
            {
                newest = Some((run, unit));
            }
        }
        newest.map(|(run, unit)| (run, unit, hub))
    }
}

fn key_in(at: usize, stretch: &Stretch, segment: Segment, wall: WallTime) -> Option<Key> {
    let index = &segment.index;
    let sample = index.key_for(wall, stretch.start - SLACK)?;
    let wall = index.wall(index.leading, index.samples(index.leading).get(sample)?);
    (!stretch.hides(wall)).then(|| Key { at, segment, sample, wall })
}
