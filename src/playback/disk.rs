//! Going through the files of a clip, from segment to segment and stretch to stretch.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::BoxFuture;

use super::{
    Result,
    archive::{FOREVER, same_decoders},
    find::Place,
    reader::{Beyond, Done, Played, Playing, Reader, SLACK, Stage},
    segment::{Index, Segment},
};
use crate::{
    id::RunId,
    proto::{access_unit::TrackIndex, fmp4::SampleRef, time::WallTime},
};

/// Bounds of one read.
mod limits {
    /// Fragments smaller than this are read together.
    pub(super) const COALESCE: u64 = 1 << 20;
    /// Of a fragment larger than this only the unit wanted is read.
    pub(super) const FRAGMENT: u64 = 16 << 20;
}

/// A place in each track of a segment.
#[derive(Debug)]
pub(super) struct Cursor {
    segment: Segment,
    /// Next sample by track; empty until the first key frame was found.
    pub(super) at: Vec<usize>,
    /// Fragments are read together until a read fails: then one by one, to lose only the bad one.
    coalesce: bool,
    /// A damaged fragment was logged.
    warned: bool,
    /// The leading track has come to where the stretch is cut.
    hidden: bool,
}

impl Cursor {
    pub(super) fn new(segment: Segment, at: Vec<usize>) -> Self {
        Self { segment, at, coalesce: true, warned: false, hidden: false }
    }

    fn advance(&mut self, track: TrackIndex) {
        if let Some(at) = self.at.get_mut(track.as_usize()) {
            *at += 1;
        }
    }

    /// Leaves out the rest of a track.
    fn skip_track(&mut self, track: TrackIndex) {
        let len = self.segment.index.samples(track).len();
        if let Some(at) = self.at.get_mut(track.as_usize()) {
            *at = len;
        }
    }

    /// Leaves out what lies in a damaged part of the file.
    fn skip_bytes(&mut self, bytes: &Range<u64>) {
        let index = Arc::clone(&self.segment.index);
        for (track, at) in (0_u8..).map(TrackIndex).zip(&mut self.at) {
            let rest = index.samples(track).get(*at..).unwrap_or_default();
            *at += rest.iter().take_while(|s| bytes.contains(&s.offset)).count();
        }
    }

    /// The sample with the earliest decoding time of all tracks; the leading one at a tie.
    fn earliest(&self) -> Option<(TrackIndex, usize, SampleRef, WallTime)> {
        let index = &self.segment.index;
        let next = (0_u8..).map(TrackIndex).zip(&self.at).filter_map(|(track, &at)| {
            let sample = *index.samples(track).get(at)?;
            Some((track, at, sample, index.dts_wall(track, &sample)))
        });
        next.min_by_key(|(track, _, _, wall)| (*wall, *track != index.leading, *track))
    }
}

/// Reading from disk.
impl Reader {
    /// Waits for what is under way, or for what `start` begins. Cancel-safe.
    async fn wait(
        pending: &mut Mutex<Option<BoxFuture<'static, Done>>>,
        start: impl FnOnce() -> BoxFuture<'static, Done>,
    ) -> Done {
        let pending = pending.get_mut().unwrap_or_else(PoisonError::into_inner);
        let done = pending.get_or_insert_with(start).await;
        *pending = None;
        done
    }

    /// Goes to the next segment, or to the next stretch, or to the live edge.
    pub(super) async fn find(&mut self, place: Place) -> Result<()> {
        let Some(stretch) = self.map.get(self.at).copied() else {
            self.stage = Stage::Ended;
            return Ok(());
        };
        let (archive, stream) = (self.archive.clone(), self.clip.stream());
        let start = || -> BoxFuture<'static, Done> {
            let find = async move { archive.next_segment(stream, &stretch, place).await };
            Box::pin(async move { Done::Found(find.await) })
        };
        let Done::Found(found) = Self::wait(&mut self.pending, start).await else {
            return Ok(());
        };
        match found? {
            Some(segment) => self.enter(segment),
            None if self.at + 1 < self.map.len() => self.next_stretch(),
            None if self.clip.frozen.open_ended => self.stage = Stage::Refresh(place),
            None => self.stage = Stage::Ended,
        }
        Ok(())
    }

    /// Asks what was recorded after the last stretch known.
    pub(super) async fn refresh(&mut self, place: Place) -> Result<()> {
        let (archive, stream) = (self.archive.clone(), self.clip.stream());
        let range = self.map.last().start..FOREVER;
        let start = || -> BoxFuture<'static, Done> {
            Box::pin(async move { Done::Runs(archive.runs(stream, range).await) })
        };
        let Done::Runs(rows) = Self::wait(&mut self.pending, start).await else {
            return Ok(());
        };
        let rows = rows?;
        self.extend(&rows);
        self.stage = Stage::Find(place);
        if self.at + 1 < self.map.len() {
            self.next_stretch();
        } else {
            self.at_edge();
        }
        Ok(())
    }

    fn next_stretch(&mut self) {
        self.at += 1;
        self.stage = match self.map.get(self.at) {
            Some(stretch) => Stage::Find(Place::at(stretch.start)),
            None => Stage::Ended,
        };
    }

    fn enter(&mut self, segment: Segment) {
        self.buffers.clear();
        if !same_decoders(self.clip.tracks(), &segment.index.tracks) {
            self.stage = Stage::Ended;
            return;
        }
        self.keep(segment.index.start);
        let mut cursor = Cursor::new(segment, Vec::new());
        self.start(&mut cursor);
        self.stage = Stage::Disk(Box::new(cursor));
    }

    /// Finds where a segment is to be played from; whether that is known. It is not for a run's
    /// first segment as long as its first key frame is not on disk.
    fn start(&mut self, cursor: &mut Cursor) -> bool {
        let index = Arc::clone(&cursor.segment.index);
        let live_run = cursor.segment.live_run();
        if self.goes_on(&index, live_run) {
            if let Some(playing) = &mut self.playing {
                playing.recorded = index.run;
                playing.live = live_run.unwrap_or(playing.live);
                let known = playing.run.id == index.run && playing.run.tracks == index.tracks;
                if !known {
                    playing.run = Arc::new(index.run());
                }
            }
            cursor.at = self.starts(&index);
            return true;
        }
        let Some(stretch) = self.map.get(self.at).copied() else { return false };
        let leading = self.tracks.get(self.leading.as_usize());
        let from = match &self.playing {
            // A run the recorder began in the middle of what was followed live.
            Some(playing) if playing.at == self.at && playing.epoch == index.epoch => {
                let played = leading.and_then(|t| t.last_wall);
                played.map_or(stretch.start - SLACK, |wall| wall + SLACK)
            }
            _ => stretch.start - SLACK,
        };
        let Some(key) = index.key_for(from, from) else { return false };
        let Some(sample) = index.samples(index.leading).get(key) else { return false };
        let wall = index.wall(index.leading, sample);
        let playing = Playing {
            at: self.at,
            run: Arc::new(index.run()),
            recorded: index.run,
            live: live_run.unwrap_or(index.run),
            epoch: index.epoch,
        };
        self.begin(playing, wall, index.number(index.leading, key));
        cursor.at = self.starts(&index);
        true
    }

    /// Whether a segment belongs to the run being played.
    fn goes_on(&self, index: &Index, live_run: Option<RunId>) -> bool {
        let Some(playing) = self.playing.as_ref() else { return false };
        if playing.at != self.at || playing.epoch != index.epoch {
            return false;
        }
        if [playing.recorded, playing.live].contains(&index.run) || live_run == Some(playing.live) {
            return true;
        }
        // The index may call a part of a live run by another name; its numbers go on all the same.
        let next = self.tracks.get(self.leading.as_usize()).and_then(|t| t.next);
        let first = index.number(index.leading, 0);
        let last = index.number(index.leading, index.samples(index.leading).len());
        next.is_some_and(|next| first > 0 && (first..=last).contains(&next))
    }

    /// The next unit of the segment; `None` when another step is to be tried.
    pub(super) async fn read(&mut self) -> Option<Played> {
        let Stage::Disk(mut cursor) = std::mem::replace(&mut self.stage, Stage::Ended) else {
            return None;
        };
        // Nothing may wait between here and the stage being put back: see `fetch`.
        let step = self.step(&mut cursor);
        if matches!(step, Step::Away) {
            return None;
        }
        self.stage = Stage::Disk(cursor);
        match step {
            Step::Play(played) => Some(*played),
            Step::Fetch(range) => {
                self.fetch(range).await;
                None
            }
            Step::Again | Step::Away => None,
        }
    }

    fn step(&mut self, cursor: &mut Cursor) -> Step {
        if cursor.at.is_empty() && !self.start(cursor) {
            return self.exhausted(cursor);
        }
        let Some((track, at, sample, decoded)) = cursor.earliest() else {
            return self.exhausted(cursor);
        };
        let index = Arc::clone(&cursor.segment.index);
        if self.map.get(self.at).is_some_and(|s| s.hides(decoded)) {
            cursor.hidden |= track == self.leading;
            cursor.skip_track(track);
            return Step::Again;
        }
        let (number, wall) = (index.number(track, at), index.wall(track, &sample));
        if !self.wants(track, number, wall, sample.sync) {
            cursor.advance(track);
            return Step::Again;
        }
        match self.beyond(track, decoded) {
            Beyond::No => {}
            Beyond::ThisTrack => {
                cursor.skip_track(track);
                return Step::Again;
            }
            Beyond::AllDone => {
                self.finish();
                return Step::Away;
            }
        }
        let Some(body) = self.buffers.get(sample.offset, sample.size) else {
            return Step::Fetch(part(cursor, &sample));
        };
        cursor.advance(track);
        let unit = Arc::new(index.unit(track, at, &sample, body));
        let Some(run) = self.playing.as_ref().map(|p| Arc::clone(&p.run)) else {
            return Step::Again;
        };
        Step::Play(Box::new(self.deliver(run, unit, index.end_wall(track, &sample))))
    }

    /// Nothing is left of a segment, as far as it was known.
    fn exhausted(&mut self, cursor: &mut Cursor) -> Step {
        if cursor.hidden {
            self.next_stretch();
            return Step::Away;
        }
        // Asked in this order: what was added before it finished is seen.
        let finished = cursor.segment.open.as_ref().is_none_or(|o| o.progress().finished);
        if cursor.segment.grow() {
            return Step::Again;
        }
        if finished {
            self.stage = Stage::Find(Place::after(&cursor.segment.index));
            return Step::Away;
        }
        self.stage = Stage::Ended;
        let subscribed = self.live.is_some();
        self.at_edge();
        if subscribed || !self.clip.frozen.open_ended { Step::Away } else { Step::Again }
    }

    /// Reads a part of the file. Cancel-safe.
    async fn fetch(&mut self, range: Range<u64>) {
        let Stage::Disk(cursor) = &mut self.stage else { return };
        let file = cursor.segment.file.clone();
        let start = || -> BoxFuture<'static, Done> {
            Box::pin(async move {
                let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
                let read = file.read_at(range.start, len).await;
                Done::Bytes(range, read)
            })
        };
        let Done::Bytes(range, read) = Self::wait(&mut self.pending, start).await else { return };
        match read {
            Ok(bytes) => self.buffers.put(range, bytes),
            Err(_) if cursor.coalesce => cursor.coalesce = false,
            Err(error) => {
                if !std::mem::replace(&mut cursor.warned, true) {
                    let error: &dyn std::error::Error = &error;
                    let id = cursor.segment.index.id;
                    tracing::warn!(segment.id = %id, offset = range.start, error, "fragment passed over");
                }
                cursor.skip_bytes(&range);
            }
        }
    }
}

/// What a look at a segment brings.
enum Step {
    Play(Box<Played>),
    /// These bytes are needed first.
    Fetch(Range<u64>),
    /// Something was left out or added.
    Again,
    /// The stage is another.
    Away,
}

/// What to read for a unit: its fragment, with small ones those that follow.
fn part(cursor: &Cursor, sample: &SampleRef) -> Range<u64> {
    let unit = sample.offset..sample.offset.saturating_add(u64::from(sample.size));
    let more = if cursor.coalesce { limits::COALESCE } else { 0 };
    let whole = cursor.segment.index.payload_at(sample.offset, more);
    whole.filter(|r| r.end >= unit.end && r.end - r.start <= limits::FRAGMENT).unwrap_or(unit)
}
