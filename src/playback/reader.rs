//! A cursor over a clip: delivers its units in order, from files and then from the hub.
//!
//! # Order
//!
//! Within a segment all tracks are merged by decoding time; from segment to segment they follow
//! each other as recorded; from the hub they come as published. Each track is in order and whole:
//! a number that is missing sets [`Played::discontinuity`].
//!
//! # Cancel safety
//!
//! Whatever waits for the disk or the index is kept in `pending` until it is done, so a
//! [`Reader::next`] that is dropped in the middle neither loses a unit nor repeats the work; a
//! unit is taken from its place only in the step that returns it.

use std::{
    fmt, io,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{
    Archive, Clip, Result, Target,
    archive::{Place, same_decoders},
    buffers::Buffers,
    npt::NptMap,
    segment::{Index, Segment},
};
use crate::{
    hub::{Run, Subscription},
    id::RunId,
    model::RunRow,
    proto::{
        access_unit::{AccessUnit, TrackIndex, leading_track},
        fmp4::SampleRef,
        time::{WallSpan, WallTime},
    },
};

/// Bounds of one read.
mod limits {
    /// Fragments smaller than this are read together.
    pub(super) const COALESCE: u64 = 1 << 20;
    /// Of a fragment larger than this only the unit wanted is read.
    pub(super) const FRAGMENT: u64 = 16 << 20;
}

pub(super) const FOREVER: WallTime = WallTime::from_micros(i64::MAX);
/// Two ways of reckoning one moment differ by less than this, two units by more.
pub(super) const SLACK: WallSpan = WallSpan::from_micros(2_000);
/// Once a unit lies so far beyond the end, no other track has anything before it left.
const OVERRUN: WallSpan = WallSpan::from_secs(1);

/// A unit in its place.
#[derive(Clone, Debug)]
pub struct Played {
    /// The run it belongs to, with the parameters in force.
    pub run: Arc<Run>,
    /// The unit as it was published (a file's unit has all bytes in `body`).
    pub unit: Arc<AccessUnit>,
    /// Its presentation time in recorded time since the clip's start.
    pub npt: WallSpan,
    /// Footage is missing between the unit of this track before and this one: a gap was skipped or
    /// units are lost. Never on the first unit of a track after a seek. The leading track goes on
    /// with a key frame.
    pub discontinuity: bool,
}

/// Where a reader stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Run of the unit delivered last, or landed on; `None` before the first.
    pub run: Option<RunId>,
    /// For each track the number of the next unit; `None` where none was delivered since the seek.
    pub next: Vec<Option<u64>>,
    /// npt of the unit of the leading track delivered last (of the landing before the first).
    pub npt: WallSpan,
    /// The same on the wall clock.
    pub wall: WallTime,
}

/// A cursor over a [`Clip`].
pub struct Reader {
    pub(super) archive: Archive,
    pub(super) clip: Arc<Clip>,
    /// The clip's, growing while live is followed.
    pub(super) map: NptMap,
    pub(super) leading: TrackIndex,
    /// Set by [`Self::set_end`].
    pub(super) end: Option<WallSpan>,
    /// The stretch being played.
    pub(super) at: usize,
    pub(super) tracks: Vec<TrackState>,
    /// Whose units were delivered last; `None` until the first key frame was found.
    pub(super) playing: Option<Playing>,
    /// Something was delivered since the seek, so that a new run is a discontinuity.
    moved: bool,
    /// Units of the leading track are missing: wait for a key frame.
    need_key: bool,
    pub(super) stage: Stage,
    pub(super) live: Option<Subscription>,
    /// In a mutex only to make a reader `Sync`, which a future need not be; it is never locked.
    pending: Mutex<Option<BoxFuture<'static, Done>>>,
    buffers: Buffers,
    /// End of the last picture or sound delivered.
    pub(super) reached: WallTime,
    pub(super) npt: WallSpan,
    pub(super) wall: WallTime,
}

/// Where units come from now.
#[derive(Debug)]
pub(super) enum Stage {
    /// To be looked for.
    Find(Place),
    /// The index is asked what came after the last stretch known.
    Refresh(Place),
    Disk(Box<Cursor>),
    Live,
    Ended,
}

/// A run while it is played.
#[derive(Debug)]
pub(super) struct Playing {
    /// In which stretch.
    pub(super) at: usize,
    pub(super) run: Arc<Run>,
    /// As the index calls it.
    pub(super) recorded: RunId,
    /// As the hub calls it, as far as known.
    pub(super) live: RunId,
    pub(super) epoch: u32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct TrackState {
    /// Number of the next unit in the run; `None`: the first one from `not_before` on.
    pub(super) next: Option<u64>,
    pub(super) not_before: WallTime,
    pub(super) last_wall: Option<WallTime>,
    /// Flag the next unit.
    broken: bool,
    /// It has come to the end of the range.
    done: bool,
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

/// What `pending` brings.
enum Done {
    Found(Result<Option<Segment>>),
    Runs(Result<Vec<RunRow>>),
    Bytes(Range<u64>, io::Result<Bytes>),
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("stream", &self.clip.stream())
            .field("position", &self.position())
            .field("live", &self.is_live())
            .finish_non_exhaustive()
    }
}

impl Reader {
    pub(super) fn new(archive: Archive, clip: Arc<Clip>) -> Self {
        let wall = clip.map.start();
        let tracks = vec![TrackState::default(); clip.tracks().len()];
        Self {
            archive,
            map: clip.map.clone(),
            leading: leading_track(clip.tracks()),
            end: None,
            at: 0,
            tracks,
            playing: None,
            moved: false,
            need_key: false,
            stage: Stage::Find(Place::at(wall)),
            live: None,
            pending: Mutex::new(None),
            buffers: Buffers::default(),
            reached: wall,
            npt: clip.map.wall_to_npt(wall),
            wall,
            clip,
        }
    }

    /// Its clip.
    #[must_use]
    pub fn clip(&self) -> &Arc<Clip> {
        &self.clip
    }

    /// Stop before the first unit presented at or after `end`; `None`: at the clip's own end.
    pub fn set_end(&mut self, end: Option<Target>) {
        self.end = end.map(|end| match end {
            Target::Npt(npt) => npt,
            Target::Wall(wall) => self.wall_to_npt(wall),
        });
        for track in &mut self.tracks {
            track.done = false;
        }
    }

    /// The next unit; `None` at the end (and again and again after it, until a seek). At the live
    /// edge it waits for the camera. Cancel-safe: dropped and called again it loses nothing.
    ///
    /// # Errors
    ///
    /// When the index does not answer; calling again tries again at the same place.
    pub async fn next(&mut self) -> Result<Option<Played>> {
        loop {
            let played = match &self.stage {
                Stage::Ended => return Ok(None),
                Stage::Live => self.listen().await,
                Stage::Disk(_) => self.read().await,
                &Stage::Find(place) => {
                    self.find(place).await?;
                    None
                }
                &Stage::Refresh(place) => {
                    self.refresh(place).await?;
                    None
                }
            };
            if played.is_some() {
                return Ok(played);
            }
        }
    }

    /// For a pause: lets go of the hub, of files and buffers. [`Self::next`] goes on at the very
    /// unit, by then from disk. Without it a reader parked at the live edge is right too, once it
    /// lags.
    pub fn rest(&mut self) {
        self.pending = Mutex::new(None);
        self.buffers.clear();
        match self.stage {
            Stage::Disk(_) | Stage::Live => self.back_to_disk(),
            Stage::Refresh(place) => self.stage = Stage::Find(place),
            Stage::Find(_) | Stage::Ended => {}
        }
        self.live = None;
    }

    /// Whether everything on disk has been delivered and units now come as the camera sends them.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.stage, Stage::Live)
    }

    /// Where it stands.
    #[must_use]
    pub fn position(&self) -> Position {
        Position {
            run: self.playing.as_ref().map(|p| p.run.id),
            next: self.tracks.iter().map(|t| t.next).collect(),
            npt: self.npt,
            wall: self.wall,
        }
    }

    /// npt of a wall time on this reader's clip, which, other than the frozen [`Clip`], goes on for
    /// as long as the reader follows live.
    #[must_use]
    pub fn wall_to_npt(&self, wall: WallTime) -> WallSpan {
        self.map.wall_to_npt(wall)
    }

    /// Inverse of [`Self::wall_to_npt`].
    #[must_use]
    pub fn npt_to_wall(&self, npt: WallSpan) -> WallTime {
        self.map.npt_to_wall(npt)
    }
}

/// Bookkeeping.
impl Reader {
    pub(super) fn clip_tracks(&self) -> impl Iterator<Item = TrackIndex> + use<> {
        let count = u8::try_from(self.tracks.len()).unwrap_or(u8::MAX);
        (0..count).map(TrackIndex)
    }

    /// A seek: nothing was delivered.
    pub(super) fn forget(&mut self) {
        self.moved = false;
        self.playing = None;
        for track in &mut self.tracks {
            *track = TrackState::default();
        }
    }

    /// A run is entered at this key frame of the leading track.
    pub(super) fn begin(&mut self, playing: Playing, key: WallTime, number: u64) {
        self.at = playing.at;
        self.playing = Some(playing);
        self.need_key = false;
        self.reached = key;
        let moved = self.moved;
        for track in &mut self.tracks {
            let broken = track.broken || (moved && track.last_wall.is_some());
            *track = TrackState { not_before: key, broken, ..TrackState::default() };
        }
        if let Some(leading) = self.tracks.get_mut(self.leading.as_usize()) {
            leading.next = Some(number);
        }
    }

    /// Where each track goes on in a segment of the run being played.
    pub(super) fn starts(&self, index: &Index) -> Vec<usize> {
        let start = |(track, state): (TrackIndex, &TrackState)| match state.next {
            Some(number) => index.at_number(track, number),
            None => index.at_wall(track, state.not_before),
        };
        self.clip_tracks().zip(&self.tracks).map(start).collect()
    }

    pub(super) fn extend(&mut self, rows: &[RunRow]) {
        self.map.extend(rows, self.reached_in_last());
    }

    /// Whether a unit of the run being played is next in its track. Notes what is missing.
    pub(super) fn wants(
        &mut self,
        track: TrackIndex,
        number: u64,
        wall: WallTime,
        random_access: bool,
    ) -> bool {
        let leads = track == self.leading;
        let Some(state) = self.tracks.get_mut(track.as_usize()) else { return false };
        match state.next {
            Some(next) if number < next => return false,
            Some(next) if number > next => {
                state.broken |= self.moved;
                self.need_key |= leads;
            }
            Some(_) => {}
            None if wall < state.not_before => return false,
            None => {}
        }
        if leads && self.need_key && !random_access {
            return false;
        }
        true
    }

    /// Whether a unit lies beyond the end of what is to be played, and whether that is all then.
    pub(super) fn beyond(&mut self, track: TrackIndex, decoded: WallTime) -> Beyond {
        let npt = self.map.get(self.at).map(|s| s.npt_of(decoded));
        let over_end = self.end.zip(npt).map(|(end, npt)| npt - end);
        let over_until = self.clip.frozen.until.map(|until| decoded - until);
        let over = over_end.into_iter().chain(over_until).max();
        let Some(over) = over.filter(|over| *over >= WallSpan::ZERO) else { return Beyond::No };
        if let Some(state) = self.tracks.get_mut(track.as_usize()) {
            state.done = true;
        }
        let all = self.tracks.iter().all(|t| t.done || t.last_wall.is_none());
        if all || over >= OVERRUN { Beyond::AllDone } else { Beyond::ThisTrack }
    }

    /// Nothing more is to be played.
    pub(super) fn finish(&mut self) {
        self.stage = Stage::Ended;
        self.live = None;
        self.buffers.clear();
    }

    pub(super) fn deliver(
        &mut self,
        run: Arc<Run>,
        unit: Arc<AccessUnit>,
        end: WallTime,
    ) -> Played {
        let npt = self.map.get(self.at).map_or(self.npt, |s| s.npt_of(unit.wall));
        let mut discontinuity = false;
        if let Some(state) = self.tracks.get_mut(unit.track.as_usize()) {
            state.next = Some(unit.number.saturating_add(1));
            state.last_wall = Some(unit.wall);
            discontinuity = std::mem::take(&mut state.broken);
        }
        if unit.track == self.leading {
            self.need_key = false;
            (self.npt, self.wall) = (npt, unit.wall);
        }
        self.moved = true;
        self.reached = self.reached.max(end);
        Played { run, unit, npt, discontinuity }
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
    async fn find(&mut self, place: Place) -> Result<()> {
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
    async fn refresh(&mut self, place: Place) -> Result<()> {
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
    async fn read(&mut self) -> Option<Played> {
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

/// Where a unit lies to the end of what is to be played.
pub(super) enum Beyond {
    No,
    ThisTrack,
    AllDone,
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
