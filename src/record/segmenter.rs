//! Where fragments and segments are cut. Pure: units and `now` in, decisions out.
//!
//! ```text
//! push, end_run, break_off, shed, handle_timeout ──▶ Segmenter ──▶ poll_output: Open (Append)* (Rotate | EndRun)
//! ```
//!
//! # Where it cuts
//!
//! * A **fragment** ends before each key frame of the leading track, and when it is about half a
//!   second long. When nothing arrives any more, a timer ends it.
//! * A **segment** ends before the first key frame at or after its length, and before the key frame
//!   that needs other sample entries. It goes over from one to the next by order of publication,
//!   in all tracks at once, so that no unit is lost or doubled.
//! * A **run** ends when the camera's does, and where there is a hole: over a second without video
//!   (three times the usual interval, for slow cameras), units that were passed over or that the
//!   disk did not take. What follows begins a new run at the next key frame.
//!
//! # Durations
//!
//! A unit lasts until its track's next one. A fragment of video that ends at its length therefore
//! ends when the next unit is there, and the timer holds one unit back. Audio says itself how long
//! it lasts. The last unit of a run lasts as long as the one before. Each fragment states its own
//! decoding time, so a duration that was guessed shifts nothing behind it.
//!
//! # Times in a file
//!
//! All tracks of a file share one moment as time 0: when its first unit was captured (by decoding
//! time on the wall clock). Ticks are the camera's from there on. A track that only appears later
//! gets its place from its last unit in this run, or from the run's start; time 0 is then early
//! enough for that unit's successor.
//!
//! A player goes by the ticks of a file, and two tracks whose clocks are not what they say come
//! apart in it (8,012 ticks of sound a second that are declared as 8,000: 90 ms in a minute). So a
//! file in which they have come apart by [`limits::APART`] is not continued beyond the next key frame.
//!
//! # Invariants
//!
//! * Every unit from the run's first key frame on is in exactly one `Append`, in order, unless it
//!   is counted in [`Segmenter::dropped`] or by [`Segmenter::shed`].
//! * `Open` comes right before its first `Append`; the first unit of that fragment's first track is
//!   a key frame of the leading track.

mod intervals;
mod pending;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;

use self::{
    intervals::Intervals,
    pending::{Flush, Held, Seen, Segment, TrackState, decoded_at},
};
use crate::{
    hub::{Position, Run},
    id::RunId,
    proto::{
        access_unit::{AccessUnit, Track, TrackIndex, leading_track},
        fmp4::Sample,
        reason::GapReason,
        time::{MediaTime, Timescale, WallSpan, WallTime},
    },
};

/// What no segment or fragment may exceed, and how long units wait.
pub mod limits {
    use super::Duration;
    use crate::proto::time::WallSpan;

    /// A fragment ends when it is so long. What is not written is what `kill -9` takes: with half a
    /// second here, a tenth until somebody looks, and the timer below, it stays below the second
    /// that is promised. Cameras send a key frame each second or two: that makes two fragments a
    /// second where a length just below a second would, too.
    pub const FRAGMENT: WallSpan = WallSpan::from_micros(500_000);
    /// A track that has been silent for longer does not go on from its last unit.
    pub const SILENT: WallSpan = WallSpan::from_secs(1);
    /// A fragment ends when its payload is so large: the camera sends ten times what cameras send.
    pub const FRAGMENT_BYTES: usize = 32 << 20;
    /// Units that waited so long are written though the fragment is not full. A little over its
    /// length, so that a unit just about to arrive ends the fragment and not this timer.
    pub const FLUSH_AFTER: Duration = Duration::from_millis(650);
    /// The video unit held back for its duration is written after so long with a guessed one.
    pub const HOLD: Duration = Duration::from_secs(2);
    /// Without a key frame for so long the segment is given up: it could not be decoded from
    /// anywhere but its start, and the index bounds how long a segment may be.
    pub const SEGMENT: WallSpan = WallSpan::from_secs(30 * 60);
    /// Longest length to ask for; the rest up to [`SEGMENT`] is for the key frame to come.
    pub const LENGTH: WallSpan = WallSpan::from_secs(15 * 60);
    /// Longest time without video that is not yet a gap.
    pub const HOLE: WallSpan = WallSpan::from_secs(1);
    /// Tracks whose clocks come apart in a file by so much are anchored anew: in the next segment,
    /// which then begins with the next key frame.
    pub const APART: WallSpan = WallSpan::from_millis(30);
    /// Units kept for the next segment while its key frame is awaited.
    pub const EARLY: usize = 1_024;
}

/// How a segment begins.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The hub's run, with the tracks of this segment.
    pub run: Arc<Run>,
    /// The first of a recorded run, with the reason of the gap before it.
    pub first: Option<GapReason>,
    /// Wall time of its first key frame.
    pub start: WallTime,
    /// By track.
    pub tracks: Vec<TrackOpening>,
}

/// How a track begins in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackOpening {
    /// Number of its first unit: of the next one, if it has none yet.
    pub first_number: u64,
    /// Time in the run of the file's time 0, ticks.
    pub base: MediaTime,
    /// Time in the file of its first unit; zero if it has none yet.
    pub file_dts: MediaTime,
}

/// One track's units of a fragment.
#[derive(Clone, Debug)]
pub struct Part {
    /// Which track.
    pub track: TrackIndex,
    /// Decoding time in the file of the first.
    pub dts: MediaTime,
    /// Their tables.
    pub samples: Vec<Sample>,
    /// Themselves.
    pub units: Vec<Arc<AccessUnit>>,
}

/// A fragment to be written.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Leading track first; none is empty.
    pub parts: Vec<Part>,
    /// Begins with a key frame of the leading track.
    pub key: bool,
    /// When the first unit of the first part was captured.
    pub wall: WallTime,
    /// Where the footage of the leading track ends with it.
    pub end: WallTime,
    /// When this is written, everything up to here is (or was dropped).
    pub readable: Position,
}

/// A decision.
#[derive(Debug)]
pub enum Output {
    /// Begin a file.
    Open(Opening),
    /// Append to it.
    Append(Plan),
    /// Close it; the run goes on with another.
    Rotate {
        /// Where the next one begins, and so where this one ends.
        next_start: WallTime,
    },
    /// Close it, if one is open; the run is over.
    EndRun {
        /// Why.
        reason: GapReason,
    },
}

#[derive(Debug)]
struct HubRun {
    id: RunId,
    seen: Vec<Seen>,
    intervals: Intervals,
}

/// See the module.
#[derive(Debug)]
pub struct Segmenter {
    length: WallSpan,
    outputs: VecDeque<Output>,
    hub_run: Option<HubRun>,
    segment: Option<Segment>,
    /// A recorded run is open: an `EndRun` is owed.
    recording: bool,
    /// Why nothing is recorded, when the recorder itself is to blame.
    broken: Option<GapReason>,
    last: Option<Position>,
    dropped: u64,
}

impl Segmenter {
    /// Segments of about `length`.
    #[must_use]
    pub fn new(length: Duration) -> Self {
        Self {
            length: WallSpan::from(length).min(limits::LENGTH),
            outputs: VecDeque::new(),
            hub_run: None,
            segment: None,
            recording: false,
            broken: None,
            last: None,
            dropped: 0,
        }
    }

    /// Units that were not recorded, in all: before a key frame, or beyond limits.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether units are being gathered for a segment.
    #[must_use]
    pub const fn is_gathering(&self) -> bool {
        self.segment.is_some()
    }

    /// Everything up to here was decided on: written, queued in an output, or dropped.
    #[must_use]
    pub fn settled(&self) -> Option<Position> {
        let last = self.last?;
        let Some(segment) = &self.segment else { return Some(last) };
        let held = segment.tracks.iter().filter_map(|t| t.pending.first()).chain(&segment.early);
        match held.map(|h| h.position.0).min() {
            None => Some(last),
            Some(first) => first.checked_sub(1).map(Position),
        }
    }

    /// The segment ends with the next key frame, whatever its length: its volume is to be left.
    pub fn leave_at_next_key(&mut self) {
        if let Some(segment) = &mut self.segment {
            segment.cut_at_next_key = true;
        }
    }

    /// The next decision; drain after every call that changes something.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let segment = self.segment.as_ref()?;
        let lead = &segment.tracks.get(segment.leading.as_usize())?.pending;
        let of_lead = match lead.as_slice() {
            [] => None,
            [only] => Some(only.at + limits::HOLD),
            [first, ..] => Some(first.at + limits::FLUSH_AFTER),
        };
        let others = segment.others().filter_map(|t| t.pending.first()).map(|h| h.at);
        // A file begins with a key frame, so before that one nothing else is written.
        let can_go_alone = segment.opened || lead.len() > 1;
        let of_others = others.filter(|_| can_go_alone).min().map(|at| at + limits::FLUSH_AFTER);
        of_lead.into_iter().chain(of_others).min()
    }

    /// Writes what has waited long enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return;
        }
        let Some(segment) = &mut self.segment else { return };
        let lead = segment.tracks.get(segment.leading.as_usize());
        let overdue =
            lead.and_then(|t| t.pending.first()).is_some_and(|h| now >= h.at + limits::HOLD);
        self.flush(if overdue { Flush::All } else { Flush::HoldBack });
    }

    /// The next unit of the stream, in order of publication.
    pub fn push(
        &mut self,
        now: Instant,
        run: &Arc<Run>,
        unit: Arc<AccessUnit>,
        position: Position,
    ) {
        if self.hub_run.as_ref().is_none_or(|r| r.id != run.id) {
            self.end_run(run.previous_end);
            let seen = run.tracks.iter().map(|_| Seen::default());
            let (seen, intervals) = (seen.collect(), Intervals::default());
            self.hub_run = Some(HubRun { id: run.id, seen, intervals });
        }
        let leading = leading_track(&run.tracks);
        let Some(track) = run.tracks.get(unit.track.as_usize()) else {
            self.last = Some(position);
            self.dropped += 1;
            return;
        };
        if unit.track == leading && track.parameters.is_video() && self.is_hole(track, &unit) {
            self.break_off(GapReason::PacketLoss);
        }
        let seen = Seen {
            next_number: unit.number + 1,
            passed_over: false,
            last: Some((unit.dts, decoded_at(track, &unit))),
        };
        let at = unit.track.as_usize();
        self.place(run, leading, Held { unit, position, at: now });
        // Only now: what was flushed to make room for this unit does not settle it.
        self.last = Some(position);
        if let Some(run) = &mut self.hub_run {
            if run.seen.len() <= at {
                run.seen.resize(at + 1, Seen::default());
            }
            if let Some(slot) = run.seen.get_mut(at) {
                *slot = seen;
            }
        }
    }

    /// The camera's run is over.
    pub fn end_run(&mut self, reason: GapReason) {
        self.finish(reason);
        self.hub_run = None;
        self.broken = None;
    }

    /// There is a hole in the camera's run: what came before it is written, and a new run begins
    /// with the next key frame.
    pub fn break_off(&mut self, reason: GapReason) {
        self.finish(reason);
        self.broken = Some(reason);
    }

    /// This reader was too slow and units were passed over.
    pub fn lagged(&mut self) {
        self.break_off(GapReason::Overload);
        if let Some(run) = &mut self.hub_run {
            run.seen.iter_mut().for_each(|s| s.passed_over = true);
        }
    }

    /// The disk did not take the last output: what waits is dropped, and outputs that stand in the
    /// queue with it. Says how many units that were.
    ///
    /// The run ends, however short what is lost is. A second without video is no gap where packets
    /// were lost, for units are numbered after that; these have their numbers, and within a run those
    /// have no hole: readers, and the seam from recorded to live footage, go by them.
    pub fn shed(&mut self, reason: GapReason) -> u64 {
        let queued = self.outputs.drain(..).map(|output| match output {
            Output::Append(plan) => plan.parts.iter().map(|p| p.units.len() as u64).sum(),
            _ => 0,
        });
        let queued: u64 = queued.sum();
        let segment = self.segment.take();
        let pending = segment
            .map_or(0, |s| s.early.len() + s.tracks.iter().map(|t| t.pending.len()).sum::<usize>());
        if std::mem::replace(&mut self.recording, false) {
            self.outputs.push_back(Output::EndRun { reason });
        }
        self.broken = Some(reason);
        queued + pending as u64
    }

    fn finish(&mut self, reason: GapReason) {
        self.flush(Flush::All);
        if let Some(segment) = self.segment.take() {
            self.dropped += segment.early.len() as u64;
        }
        if std::mem::replace(&mut self.recording, false) {
            self.outputs.push_back(Output::EndRun { reason });
        }
    }

    fn is_hole(&mut self, track: &Track, unit: &AccessUnit) -> bool {
        let Some(run) = &mut self.hub_run else { return false };
        let last = run.seen.get(unit.track.as_usize()).and_then(|s| s.last);
        let Some((dts, _)) = last else { return false };
        let interval = (unit.dts - dts).to_span(track.timescale);
        let hole = interval > limits::HOLE && interval > run.intervals.three_times_median();
        run.intervals.push(interval);
        hole && self.segment.is_some()
    }

    fn place(&mut self, run: &Arc<Run>, leading: TrackIndex, held: Held) {
        let leads = held.unit.track == leading;
        let starts = leads && held.unit.random_access;
        let Some(segment) = &mut self.segment else {
            if starts {
                let first = self.broken.take().unwrap_or(run.previous_end);
                self.begin(run, leading, (!self.recording).then_some(first), Vec::new(), held);
            } else {
                self.dropped += 1;
            }
            return;
        };
        let changed = !Arc::ptr_eq(&segment.run, run) && !same_entries(&segment.run, run);
        if !changed {
            segment.run = Arc::clone(run);
        }
        let track = run.tracks.get(held.unit.track.as_usize());
        let timescale = track.map_or(Timescale::VIDEO, |t| t.timescale);
        let age = (held.unit.dts - segment.first_dts).to_span(timescale);
        let due = segment.cut_at_next_key || age >= self.length;
        if starts && (changed || due) {
            self.flush(Flush::Before(held.unit.dts));
            let early = self.segment.take().map(|s| s.early).unwrap_or_default();
            self.outputs.push_back(Output::Rotate { next_start: held.unit.wall });
            self.begin(run, leading, None, early, held);
            return;
        }
        if leads && age >= limits::SEGMENT {
            tracing::warn!(stream = %run.stream, "no key frame for half an hour");
            self.dropped += 1;
            self.break_off(GapReason::ProtocolError);
            return;
        }
        if changed && !same_entry(&segment.run, run, held.unit.track) {
            // Other sample entries are needed, and the key frame that begins their file is next.
            if leads || segment.early.len() >= limits::EARLY {
                self.dropped += 1;
            } else {
                segment.early.push(held);
            }
            return;
        }
        // Where every picture is one to begin with, a fragment each would be mostly tables.
        let cuts = track.is_some_and(|t| !t.parameters.is_all_random_access());
        if leads && ((cuts && starts) || segment.is_full(timescale, &held.unit)) {
            self.flush(Flush::Before(held.unit.dts));
        }
        self.hold(held);
    }

    /// Begins a segment with the key frame `key`; the file is opened with its first fragment.
    fn begin(
        &mut self,
        run: &Arc<Run>,
        leading: TrackIndex,
        first: Option<GapReason>,
        early: Vec<Held>,
        key: Held,
    ) {
        let tracks = run.tracks.iter().map(|_| TrackState::default()).collect();
        self.segment = Some(Segment {
            run: Arc::clone(run),
            leading,
            first,
            start: key.unit.wall,
            origin: key.unit.wall,
            first_dts: key.unit.dts,
            end: key.unit.wall,
            tracks,
            pending_bytes: 0,
            opened: false,
            cut_at_next_key: false,
            early: Vec::new(),
        });
        early.into_iter().for_each(|held| self.hold(held));
        self.hold(key);
    }

    /// Adds to the pending fragment.
    fn hold(&mut self, held: Held) {
        let Some(segment) = &mut self.segment else { return };
        let opened = segment.opened;
        let Some(track) = segment.tracks.get_mut(held.unit.track.as_usize()) else {
            self.dropped += 1;
            return;
        };
        if opened && !track.begun {
            // The header already says where this track begins. What does not fit that waits for
            // the next segment; it takes lost units or a broken clock to get here.
            let fits = !track.unplaced
                && held.unit.number == track.first_number
                && held.unit.dts >= track.base;
            if !fits {
                segment.cut_at_next_key = true;
                self.dropped += 1;
                return;
            }
        }
        track.begun = true;
        if opened && let Some(described) = segment.run.tracks.get(held.unit.track.as_usize()) {
            track.off = track.off_wall(described, &held.unit, segment.origin);
            segment.cut_at_next_key |= segment.is_apart(held.unit.track);
        }
        let Some(track) = segment.tracks.get_mut(held.unit.track.as_usize()) else { return };
        segment.pending_bytes += held.unit.len();
        track.pending.push(held);
    }

    fn flush(&mut self, how: Flush) {
        let Some(segment) = &mut self.segment else { return };
        let Some(hub_run) = &self.hub_run else { return };
        if segment.tracks.iter().all(|t| t.pending.is_empty()) {
            return;
        }
        if !std::mem::replace(&mut segment.opened, true) {
            let tracks = segment.open(&hub_run.seen);
            let (run, first) = (Arc::clone(&segment.run), segment.first);
            self.recording = true;
            let opening = Opening { run, first, start: segment.start, tracks };
            self.outputs.push_back(Output::Open(opening));
        }
        if let Some(plan) = segment.plan(how) {
            self.outputs.push_back(Output::Append(Plan {
                readable: self.settled().unwrap_or(Position(0)),
                ..plan
            }));
        }
    }
}

/// Whether both runs' tracks can stand in one file.
fn same_entries(a: &Run, b: &Run) -> bool {
    a.tracks.len() == b.tracks.len()
        && (0..a.tracks.len())
            .all(|i| same_entry(a, b, TrackIndex(u8::try_from(i).unwrap_or(u8::MAX))))
}

fn same_entry(a: &Run, b: &Run, track: TrackIndex) -> bool {
    match (a.tracks.get(track.as_usize()), b.tracks.get(track.as_usize())) {
        (Some(a), Some(b)) => {
            a.timescale == b.timescale && !a.parameters.needs_new_sample_entry(&b.parameters)
        }
        _ => false,
    }
}
