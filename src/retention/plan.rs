//! What is to be deleted next, and why: pure.
//!
//! # The limits, in the order in which they are enforced
//!
//! 1. [`Reason::Age`]: footage of a stream older than its `max_age_seconds`.
//! 2. [`Reason::StreamBytes`]: the oldest of a stream beyond its `max_bytes`.
//! 3. [`Reason::VolumeBytes`]: the oldest on a volume beyond its `max_bytes`.
//! 4. [`Reason::FreeSpace`]: the oldest on a volume while less than `min_free_bytes` is free.
//!
//! What an earlier one takes counts for the later ones, so nothing goes that need not. A stream
//! with no limit of its own keeps its footage until the volume is nearly full.
//!
//! # Ahead of the writer
//!
//! A limit on bytes is enforced a *reserve* before it is reached: room for what will be written
//! until the next rounds, so that space is there before a write fails for want of it. Beyond the
//! reserve a little more is taken at once (`Band`), so that a plan that was carried out leaves
//! nothing to plan.
//!
//! # What is never deleted
//!
//! Locked footage; footage being read (a lease), unless the volume is full and nothing else is
//! left; anything on a volume that is not there or cannot be written. And nothing in vain: when
//! others' files take so much that deleting everything would not free what is asked, nothing goes
//! for that limit.
//!
//! # Order
//!
//! Oldest first within the limit enforced: (epoch, start) within a stream, across the streams of a
//! volume by reckoned start (`reckon.rs`), which never runs against (epoch, start).
//!
//! # Work
//!
//! Candidates come in pages. A plan that needs more of a stream says so ([`Plan::wants`]) and is
//! made again with them; one plan holds at most [`limits::PHASE`] segments a phase and says
//! [`Plan::more`] when there would be others.

mod pick;
mod reckon;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::{
    id::{SegmentId, StreamId},
    model::RetentionLimits,
    proto::time::{WallSpan, WallTime},
};

pub use reckon::is_future;

/// Bounds of one plan.
pub mod limits {
    /// Segments in one step, which is one transaction.
    pub const BATCH: usize = 64;
    /// Segments one phase of a plan takes (of each volume, in the phases that go by volume).
    pub const PHASE: usize = 1_024;
}

/// Which limit footage goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Older than the stream's limit.
    Age,
    /// The stream takes more than its limit.
    StreamBytes,
    /// The volume holds more than its limit.
    VolumeBytes,
    /// Too little is free on the volume's file system.
    FreeSpace,
}

impl Reason {
    /// All, in the order in which they are enforced.
    pub const ALL: [Self; 4] = [Self::Age, Self::StreamBytes, Self::VolumeBytes, Self::FreeSpace];

    /// As in the API and in labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::StreamBytes => "stream_bytes",
            Self::VolumeBytes => "volume_bytes",
            Self::FreeSpace => "free_space",
        }
    }
}

/// Why a limit cannot be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Blocked {
    /// The clock is in doubt, so nothing is deleted by age.
    Clock,
    /// What is left is locked.
    Locked,
    /// What is left is being read.
    Leased,
    /// What is left is being recorded.
    Recording,
    /// Files that are not ours take the room.
    OthersFiles,
    /// It asks for more than the volume has.
    Unattainable,
    /// The footage is on a volume that is not there, or cannot be written.
    VolumeAway,
}

impl Blocked {
    /// All.
    pub const ALL: [Self; 7] = [
        Self::Clock,
        Self::Locked,
        Self::Leased,
        Self::Recording,
        Self::OthersFiles,
        Self::Unattainable,
        Self::VolumeAway,
    ];

    /// As in the API and in labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Locked => "locked",
            Self::Leased => "leased",
            Self::Recording => "recording",
            Self::OthersFiles => "others_files",
            Self::Unattainable => "unattainable",
            Self::VolumeAway => "volume_away",
        }
    }
}

/// Why a segment may not be deleted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Somebody locked it.
    Locked,
    /// Somebody reads it.
    Leased,
}

/// A closed segment that may be deleted, as far as the limits go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub id: SegmentId,
    /// Its epoch: what was recorded later never has a lower one.
    pub epoch: u32,
    /// Wall time of its first unit.
    pub start: WallTime,
    /// Wall time of the end of its last.
    pub end: WallTime,
    /// File size.
    pub bytes: u64,
    /// Set while it is to be left alone.
    pub held: Option<Held>,
}

impl Candidate {
    /// The order within a stream.
    #[must_use]
    pub const fn key(&self) -> (u32, WallTime, SegmentId) {
        (self.epoch, self.start, self.id)
    }
}

/// The footage of one stream on one volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Index into [`Input::volumes`]; `None` when no such volume is configured.
    pub volume: Option<usize>,
    /// Of all its closed segments.
    pub bytes: u64,
    /// The oldest of them, in order; locked ones may be left out where others follow.
    pub oldest: Vec<Candidate>,
    /// There are others after these.
    pub more: bool,
}

/// One stream, whether it is configured, hidden, or of a deleted camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInput {
    /// Which.
    pub id: StreamId,
    /// What holds for it: its own limits or its camera's.
    pub limits: RetentionLimits,
    /// When it was made: it has no older footage, whatever a clock said.
    pub created: WallTime,
    /// So much is in segments still open.
    pub open_bytes: u64,
    /// The largest segment known of it: the least reserve.
    pub largest: u64,
    /// Where later epochs begin, where a segment's time lies in the future (`reckon.rs`).
    pub epochs: Vec<(u32, WallTime)>,
    /// Its footage by volume.
    pub lanes: Vec<Lane>,
}

/// One volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeInput {
    /// As rows name it.
    pub name: Arc<str>,
    /// Footage may take so much.
    pub max_bytes: Option<u64>,
    /// So much is to stay free.
    pub min_free: u64,
    /// Room on its file system (free, in all), where it says.
    pub space: Option<(u64, u64)>,
    /// Files on it can be deleted now.
    pub usable: bool,
    /// Nothing can be written for want of room: leases are broken.
    pub full: bool,
    /// So much will be written before the next rounds have freed room.
    pub reserve: u64,
    /// So much is in segments still open.
    pub open_bytes: u64,
    /// Deleted, and not seen in the free space yet.
    pub freeing: u64,
}

/// All that a plan goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// UTC now.
    pub now: WallTime,
    /// The clock is in doubt: nothing goes by age.
    pub age_held: bool,
    /// Also load what goes next where nothing has to go yet.
    pub preview: bool,
    /// All configured.
    pub volumes: Vec<VolumeInput>,
    /// All that have footage.
    pub streams: Vec<StreamInput>,
}

/// A segment to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Whose.
    pub stream: StreamId,
    /// Which.
    pub id: SegmentId,
    /// Its first unit.
    pub start: WallTime,
    /// The end of its last.
    pub end: WallTime,
    /// File size.
    pub bytes: u64,
    /// Somebody reads it, and the volume is full.
    pub breaks_lease: bool,
}

/// Some segments that go together: one transaction, then their files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Why.
    pub reason: Reason,
    /// Where their files are: index into [`Input::volumes`].
    pub volume: usize,
    /// Which, oldest first; at most [`limits::BATCH`].
    pub segments: Vec<Pick>,
    /// Of all of them.
    pub bytes: u64,
}

/// Whom a limit binds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One stream.
    Stream(StreamId),
    /// One volume.
    Volume(Arc<str>),
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stream(id) => write!(f, "stream {id}"),
            Self::Volume(name) => write!(f, "volume {name}"),
        }
    }
}

/// How it stands with a limit once the plan is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is kept, and nothing has to go for it.
    Met,
    /// It is kept once this plan, and those that follow at once, are carried out.
    Underway,
    /// It cannot be kept.
    Blocked(Blocked),
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitState {
    /// Which.
    pub reason: Reason,
    /// Whose.
    pub scope: Scope,
    /// What it allows: microseconds of age, bytes of footage, or bytes to stay free.
    pub limit: u64,
    /// What there is now, in the same unit.
    pub now: u64,
    /// What there will be when the plan is carried out.
    pub after: u64,
    /// How it stands.
    pub state: State,
    /// What goes next for it, as far as it is known.
    pub next: Option<Next>,
}

/// What goes next for a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// Whose.
    pub stream: StreamId,
    /// Which.
    pub id: SegmentId,
    /// Its first unit.
    pub start: WallTime,
    /// The end of its last.
    pub end: WallTime,
    /// File size.
    pub bytes: u64,
    /// When it goes, for [`Reason::Age`].
    pub due: Option<WallTime>,
}

/// A lane of which more candidates are needed: indexes into [`Input::streams`] and its lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Want {
    /// Index of the stream.
    pub stream: usize,
    /// Index of its lane.
    pub lane: usize,
}

/// What goes next, and how it stands with each limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they are to be carried out.
    pub steps: Vec<Step>,
    /// Every limit there is: streams' first, then volumes'.
    pub limits: Vec<LimitState>,
    /// Load more of these and plan again; empty when the plan is whole.
    pub wants: Vec<Want>,
    /// There would be more to delete: plan again when this is carried out.
    pub more: bool,
}

impl Plan {
    /// All segments, in order.
    pub fn picks(&self) -> impl Iterator<Item = &Pick> {
        self.steps.iter().flat_map(|step| &step.segments)
    }

    /// Of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.steps.iter().map(|step| step.bytes).sum()
    }
}

/// A limit on bytes with its reserve: from `low` on something goes, until `goal` is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Band {
    low: u64,
    goal: u64,
}

/// A reserve takes at most this share of what it is a reserve of.
const MOST_RESERVE: u64 = 8;
/// How much more than the reserve is freed at once: this share of it.
const SLACK: u64 = 4;

impl Band {
    /// For bytes that may be used.
    fn below(limit: u64, reserve: u64) -> Self {
        let reserve = reserve.min(limit / MOST_RESERVE);
        let low = limit - reserve;
        Self { low, goal: low.saturating_sub(reserve / SLACK) }
    }

    /// For bytes that are to stay free; more than `min_free`, since a volume with just that is full.
    fn above(min_free: u64, reserve: u64, total: u64) -> Self {
        let reserve = reserve.min(total.saturating_sub(min_free) / MOST_RESERVE).max(1);
        let low = min_free.saturating_add(reserve);
        Self { low, goal: low.saturating_add(reserve / SLACK) }
    }
}

/// Plans.
#[must_use]
pub fn plan(input: &Input) -> Plan {
    let mut picker = pick::Picker::new(input);
    for stream in 0..input.streams.len() {
        picker.age(stream);
    }
    for stream in 0..input.streams.len() {
        picker.stream_bytes(stream);
    }
    for volume in 0..input.volumes.len() {
        picker.volume_bytes(volume);
    }
    for volume in 0..input.volumes.len() {
        picker.free_space(volume);
    }
    picker.finish()
}

/// How old the oldest may be.
fn age_limit(limits: &RetentionLimits) -> Option<WallSpan> {
    let seconds = i64::try_from(limits.max_age_seconds?).unwrap_or(i64::MAX);
    Some(WallSpan::from_secs(seconds))
}
