//! Keeping and taking out: locks, what goes next, what is still to be unlinked, and footage that is
//! put back into the index from its files.

use crate::{
    id::{CameraId, LockId, RunId, SegmentId, Slug, StreamId},
    model::{ClosedSegment, Gap, NewSegment, RetentionLimits, RunRow, WallRange},
    proto::time::WallTime,
};

/// A range of a camera's footage, of all its streams, that is not to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Its id.
    pub id: LockId,
    /// Whose footage.
    pub camera: CameraId,
    /// From here on.
    pub start: WallTime,
    /// Up to here; later than `start`.
    pub end: WallTime,
    /// Why, in its maker's words.
    pub note: String,
    /// When it was made.
    pub created: WallTime,
    /// Whose login made it.
    pub created_by: String,
}

impl Lock {
    /// What it protects: a segment that overlaps this range stays.
    #[must_use]
    pub const fn range(&self) -> WallRange {
        self.start..self.end
    }
}

/// Where a segment stands in the order of deletion of its stream: oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Age {
    /// A step back of the clock begins a new one; older ones go first.
    pub epoch: u32,
    /// Then by start.
    pub start: WallTime,
    /// Of two that start together.
    pub id: SegmentId,
}

/// A closed segment that may be deleted next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which, and how old.
    pub age: Age,
    /// Whose.
    pub stream: StreamId,
    /// Its end.
    pub end: WallTime,
    /// Size of its file.
    pub bytes: u64,
    /// Root folder of its volume.
    pub volume: String,
    /// Whether a lock overlaps it.
    pub locked: bool,
}

impl Candidate {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> SegmentId {
        self.age.id
    }

    /// Its time.
    #[must_use]
    pub const fn range(&self) -> WallRange {
        self.age.start..self.end
    }
}

/// How much closed footage a stream has on a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeUse {
    /// Whose.
    pub stream: StreamId,
    /// Root folder of the volume.
    pub volume: String,
    /// Sum of the files' sizes.
    pub bytes: u64,
    /// How many.
    pub segments: u64,
}

/// A stream that has footage or will have some: also hidden ones, and those of deleted cameras whose
/// footage was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FootageStream {
    /// Its id.
    pub stream: StreamId,
    /// Whose.
    pub camera: CameraId,
    /// The camera's name in paths and labels.
    pub slug: Slug,
    /// Main or sub.
    pub role: crate::id::Role,
    /// The limits that count: its own, else the camera's.
    pub retention: RetentionLimits,
    /// Footage is expected from here on.
    pub created: WallTime,
    /// Whether it is configured (neither hidden nor of a deleted camera).
    pub configured: bool,
    /// Sum of the sizes of its closed segments.
    pub bytes: u64,
}

/// What became of segments that were to be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Rows that are gone; their files wait in `unlink`.
    pub deleted: Vec<SegmentId>,
    /// Sum of their sizes.
    pub bytes: u64,
    /// Not deleted: a lock overlaps them.
    pub locked: Vec<SegmentId>,
    /// Not deleted: still being recorded.
    pub open: Vec<SegmentId>,
}

/// A file whose row is gone and that is to be unlinked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingUnlink {
    /// Names it towards `Store::unlinked`.
    pub id: i64,
    /// The segment that it was; its identity box says the same.
    pub segment: SegmentId,
    /// Root folder of its volume.
    pub volume: String,
    /// Path relative to the volume.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

/// A volume that the index knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeRow {
    /// Root folder.
    pub path: String,
    /// Id in its marker file, once known.
    pub marker: Option<String>,
    /// Closed segments on it.
    pub segments: u64,
    /// Sum of their sizes.
    pub bytes: u64,
}

/// A complete segment, as its file says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeSegment {
    /// What its row says at opening.
    pub opened: NewSegment,
    /// And at its close; the ids are the same.
    pub closed: ClosedSegment,
}

/// Rows made from files, for an index that is built anew.
///
/// One is one transaction: a few hundred segments are a good size. The runs of the segments stand
/// in this one or in one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Import {
    /// Runs; one that is there already is widened to hold both.
    pub runs: Vec<RunRow>,
    /// Segments; one that is there already, or waits to be unlinked, is left out.
    pub segments: Vec<WholeSegment>,
    /// Gaps that have ended, or the one that lasts; one that is there already is left out.
    pub gaps: Vec<Gap>,
}

/// What an [`Import`] changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Rows inserted.
    pub segments: u64,
    /// Left out: they were there.
    pub known: u64,
    /// Left out: their files wait to be unlinked.
    pub doomed: Vec<SegmentId>,
    /// Left out: no such stream.
    pub strangers: Vec<SegmentId>,
    /// Runs that segments got because they did not join the run they name.
    pub new_runs: Vec<RunId>,
}
