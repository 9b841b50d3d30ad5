//! A cursor over a clip: delivers its units in order, from files and then from the hub.
//!
//! # Order
//!
//! Within a segment all tracks are merged by decoding time; from segment to segment they follow
//! each other as recorded; from the hub they come as published. Each track is in order and whole:
//! a number that is missing sets [`Played::discontinuity`].
//!
//! # Retention
//!
//! A reader leases the minutes ahead of it (`disk/lease.rs`) and renews the lease at each key frame.
//! It needs no lease to be right: the file it reads stays open, and a segment that is gone when its
//! turn comes is passed over like a gap, and counted. In a pause the lease lapses after a minute.
//!
//! # Cancel safety
//!
//! Whatever waits for the disk or the index is kept in `pending` until it is done, so a
//! [`Reader::next`] that is dropped in the middle neither loses a unit nor repeats the work; a
//! unit is taken from its place only in the step that returns it.

use std::{
    fmt, io,
    ops::Range,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{
    Archive, Clip, Result, Target,
    buffers::Buffers,
    disk::Cursor,
    find::Place,
    npt::NptMap,
    segment::{Index, Segment},
};
use crate::{
    disk::Lease,
    hub::{Run, Subscription},
    id::RunId,
    model::RunRow,
    proto::{
        access_unit::{AccessUnit, TrackIndex, leading_track},
        time::{WallSpan, WallTime},
    },
};

/// Two ways of reckoning one moment differ by less than this, two units by more.
pub(super) const SLACK: WallSpan = WallSpan::from_micros(2_000);
/// Once a unit lies so far beyond the end, no other track has anything before it left.
const OVERRUN: WallSpan = WallSpan::from_secs(1);

/// What is leased ahead of the unit being read: the segment after this one too, as long as they
/// mostly are, so that it is still there when its turn comes.
const AHEAD: WallSpan = WallSpan::from_secs(180);

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
    pub(super) pending: Mutex<Option<BoxFuture<'static, Done>>>,
    pub(super) buffers: Buffers,
    /// End of the last picture or sound delivered.
    pub(super) reached: WallTime,
    pub(super) npt: WallSpan,
    pub(super) wall: WallTime,
    /// What is read next, spared from retention.
    pub(super) lease: Option<Lease>,
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

/// What `pending` brings.
pub(super) enum Done {
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
            lease: None,
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

    /// Leases what is read next; one that was broken, or that lapsed in a pause, is taken anew:
    /// what it held may be gone, what follows is not.
    pub(super) fn keep(&mut self, from: WallTime) {
        let range = from..from + AHEAD;
        if self.lease.as_ref().is_none_or(|lease| !lease.renew(range.clone())) {
            self.lease = Some(self.archive.leases().hold(self.clip.stream(), range));
        }
    }

    /// Nothing more is to be played.
    pub(super) fn finish(&mut self) {
        self.stage = Stage::Ended;
        self.live = None;
        self.lease = None;
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
            if matches!(self.stage, Stage::Live) {
                self.lease = None;
            } else if unit.random_access {
                self.keep(unit.wall);
            }
        }
        self.moved = true;
        self.reached = self.reached.max(end);
        Played { run, unit, npt, discontinuity }
    }
}

/// Where a unit lies to the end of what is to be played.
pub(super) enum Beyond {
    No,
    ThisTrack,
    AllDone,
}
