//! What the API reaches of the running recorder: its cameras, its volumes, retention and the clock.
//! Implemented by `app`; this module starts and stops nothing.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::{
    disk::{self, VolumeState},
    id::{CameraId, StreamId},
    ingest::StatusSnapshot,
    model::{Camera, Coverage, WallRange},
    onvif::EventsState,
    proto::{
        reason::GapReason,
        time::{WallSpan, WallTime},
    },
    store::StoreError,
};

/// The running cameras, as the API reaches them.
pub trait CameraControl: Send + Sync + 'static {
    /// Makes what runs be as `camera` says: starts it, or restarts the streams whose settings
    /// changed, old ones awaited first, or stops them when it is disabled.
    fn apply(&self, camera: Camera) -> BoxFuture<'_, ()>;
    /// Stops it for good; done when its last segment is complete.
    fn remove(&self, camera: Camera) -> BoxFuture<'_, ()>;
    /// How a stream is; `None` when nobody pulls it.
    fn status(&self, stream: StreamId) -> Option<StreamState>;
    /// Something happened at a camera: where events are recorded, what surrounds it is kept.
    fn event(&self, camera: CameraId, kind: &str, start: WallTime, end: Option<WallTime>);
    /// How much of what was expected is recorded; `None` when it cannot be said. May be some
    /// seconds old.
    fn completeness(&self, stream: StreamId) -> BoxFuture<'_, Option<Completeness>>;
    /// How listening to a camera's events goes; `None` when nobody does.
    fn events(&self, _camera: CameraId) -> Option<EventsState> {
        None
    }
    /// What keeps the recorder from recording as configured, in words without names; empty when
    /// nothing does.
    fn problems(&self) -> Vec<String>;
}

/// How a stream is.
#[derive(Clone, Debug)]
pub struct StreamState {
    /// Its pull.
    pub pull: StatusSnapshot,
    /// What it is pulled for, if anything.
    pub wanted: WantedName,
    /// When its schedule changes that.
    pub next_change: Option<WallTime>,
    /// How many watch it live.
    pub viewers: usize,
    /// Whether its footage goes to disk right now.
    pub recording: bool,
    /// What keeps its footage from the disk, if anything on our side does.
    pub trouble: Option<Trouble>,
    /// Rows that wait for the index: footage is on disk and not yet to be found.
    pub rows_waiting: u64,
}

/// What a stream is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Wanted)]
pub enum WantedName {
    /// Nothing: the camera is switched off.
    Off,
    /// Nothing: it is on demand, and nobody watches.
    Idle,
    /// To be taken in when it publishes: it is not to be recorded now, and nobody watches.
    Open,
    /// Somebody watches it live, or did some seconds ago.
    Watched,
    /// It is pulled because an event may come, or its hours begin in a moment.
    Standby,
    /// It is to be recorded.
    Recording,
}

/// Why a stream that should be recorded is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// As the gap says.
    pub reason: GapReason,
    /// For people.
    pub detail: String,
}

/// What is on record of a stream, and what is not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Completeness {
    /// The last 24 hours.
    pub day: Arc<Coverage>,
    /// Since the stream was created.
    pub ever: Arc<Coverage>,
}

/// Volumes, retention and the clock, as the API reaches them.
pub trait StorageControl: Send + Sync + 'static {
    /// Every volume as last seen.
    fn volumes(&self) -> Vec<VolumeReport>;
    /// What each stream has on record, hidden ones and those of deleted cameras too.
    fn footage(&self) -> Vec<StreamFootage>;
    /// What retention would delete next, and which limits it cannot bring about. Bounded work.
    fn plan(&self) -> BoxFuture<'_, Result<PlanReport, StoreError>>;
    /// Whether deletion by age is held because the clock may be wrong.
    fn age_hold(&self) -> Option<HoldReport>;
    /// An administrator says that the clock is right: deletion by age goes on. Whether it was held.
    fn confirm_clock(&self) -> bool;
    /// Notes on the volumes that a camera was deleted with its footage, so that a lost index does not
    /// bring it back.
    fn camera_deleted(&self, camera: CameraId) -> BoxFuture<'_, ()>;
    /// Has the disk that stands in a volume's place be that volume from now on. Done when the index
    /// remembers it; what lay on the old disk is taken out of the index by and by.
    fn accept_volume(&self, name: String) -> BoxFuture<'_, Result<(), NotAccepted>>;
    /// What keeps volumes and index from being written as configured, in words; empty when nothing
    /// does.
    fn problems(&self) -> Vec<String>;
    /// What somebody should know although everything is recorded: in words without names.
    fn warnings(&self) -> Vec<String>;
}

/// Why the disk that stands in a volume's place is not taken for it.
#[derive(Debug, thiserror::Error)]
pub enum NotAccepted {
    /// The disk's.
    #[error(transparent)]
    Disk(#[from] disk::NotAccepted),
    /// The index's.
    #[error("the index")]
    Store(#[from] StoreError),
}

/// A volume.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeReport {
    /// Its root folder, by which rows name it.
    pub path: String,
    /// How it is.
    pub state: VolumeState,
    /// Why it is not ready.
    pub reason: Option<String>,
    /// Something else stands in its place, which an administrator may accept.
    pub replaced: bool,
    /// Since when.
    pub since: Option<WallTime>,
    /// Bytes of footage on it.
    pub bytes: u64,
    /// Free bytes of its file system.
    pub free_bytes: u64,
    /// Size of its file system.
    pub total_bytes: u64,
    /// As configured.
    pub max_bytes: Option<u64>,
    /// As configured.
    pub min_free_bytes: u64,
    /// How long what waits for the writer takes to be written: `kill -9` loses so much more.
    pub queue_seconds: f64,
    /// Bytes a second written of late; `None` until that is known.
    pub write_bytes_per_second: Option<f64>,
    /// Until it is full if it goes on filling up like this; `None` when it does not fill up, or
    /// the rate is not known yet.
    pub days_left: Option<f64>,
    /// How many days of footage fit on it at that rate.
    pub holds_days: Option<f64>,
}

/// Why retention deletes, or would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Limit)]
pub enum LimitName {
    /// Older than `max_age_seconds`.
    Age,
    /// The stream has more than `max_bytes`.
    StreamBytes,
    /// The volume has more than its `max_bytes`.
    VolumeBytes,
    /// The file system has less than `min_free_bytes` left.
    FreeSpace,
}

/// A segment that would go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedDeletion {
    /// Whose.
    pub stream: StreamId,
    /// What it holds.
    pub range: WallRange,
    /// Its size.
    pub bytes: u64,
    /// Where it is.
    pub volume: String,
    /// Because of which limit.
    pub limit: LimitName,
}

/// What holds back footage that a limit wants gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Obstacle)]
pub enum ObstacleName {
    /// Only locked footage is left.
    Locked,
    /// It is being played or exported.
    Leased,
    /// The clock may be wrong, so nothing goes because of its age.
    Clock,
    /// What is left is being recorded right now.
    Recording,
    /// It is not footage that takes the room.
    OthersFiles,
    /// No footage is left, and the limit is still not met.
    Unattainable,
    /// The volume is not there.
    VolumeAway,
}

/// A limit, and whether it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitReport {
    /// Which.
    pub limit: LimitName,
    /// Of which stream, if it is one's.
    pub stream: Option<StreamId>,
    /// Of which volume, if it is one's.
    pub volume: Option<String>,
    /// What is allowed: seconds of an age, else bytes.
    pub allowed: u64,
    /// What there is, in the same unit.
    pub now: u64,
    /// What there will be after the deletions that are planned.
    pub after: u64,
    /// What keeps it from being met, if anything does.
    pub blocked_by: Option<ObstacleName>,
}

/// What retention would do now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlanReport {
    /// When it was worked out.
    pub at: WallTime,
    /// In the order in which they would go.
    pub deletions: Vec<PlannedDeletion>,
    /// There are more.
    pub more: bool,
    /// Limits that are not met, or are about to be.
    pub limits: Vec<LimitReport>,
    /// Nothing is deleted now, and why (a rebuild is under way).
    pub paused: Option<String>,
}

/// What a stream has on record, on all volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamFootage {
    /// Which.
    pub stream: StreamId,
    /// Bytes of closed segments.
    pub bytes: u64,
    /// Where its oldest footage begins.
    pub oldest: Option<WallTime>,
}

/// Deletion by age is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldReport {
    /// Since when.
    pub since: WallTime,
    /// How far the clock went forward.
    pub jump: WallSpan,
    /// When it ends by itself.
    pub until: Option<WallTime>,
}
