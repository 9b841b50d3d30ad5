//! All SQL. SQLite through sqlx: one writer connection that groups what is asked of it into
//! transactions, and a pool of readers (WAL).
//!
//! Signatures fixed; implementation to come from the store work package.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use crate::{
    clock::Clock,
    id::{CameraId, RunId, SegmentId, Slug, StreamId, TokenId, UserId},
    proto::{reason::GapReason, time::WallTime},
};

use crate::{model::*, seal::Sealer};

/// Why the index could not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// SQLite's or sqlx's word.
    #[error("database: {what}")]
    Database {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: sqlx::Error,
    },
    /// A unique name is taken.
    #[error("{0} exists already")]
    Conflict(&'static str),
    /// A value in the database that this version cannot read.
    #[error("database: unreadable {0}")]
    Corrupt(&'static str),
    /// The writer is gone: the process is stopping.
    #[error("the store is closed")]
    Closed,
    /// Migrations failed.
    #[error("migrate the database")]
    Migrate(#[source] sqlx::migrate::MigrateError),
}

/// Shorthand.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// The index. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    _todo: Arc<()>,
}

#[expect(clippy::todo, unused_variables, reason = "stub")]
impl Store {
    /// Opens or makes the database at `path` and migrates it.
    pub async fn open(path: &Path, clock: Clock, sealer: Sealer) -> Result<Self> {
        todo!()
    }
    /// Waits for what is queued, checkpoints, closes.
    pub async fn close(&self) {
        todo!()
    }
    /// Answers when the writer and a reader work.
    pub async fn ping(&self) -> Result<()> {
        todo!()
    }

    /// All cameras, by slug.
    pub async fn cameras(&self) -> Result<Vec<Camera>> {
        todo!()
    }
    /// A page of cameras by slug, after `after`.
    pub async fn cameras_page(&self, after: Option<&Slug>, limit: u32) -> Result<Vec<Camera>> {
        todo!()
    }
    /// One camera.
    pub async fn camera_by_slug(&self, slug: &Slug) -> Result<Option<Camera>> {
        todo!()
    }
    /// Adds; `Conflict` when the slug is taken. A slug that was deleted with its footage kept gets the old camera's and streams' ids back.
    pub async fn insert_camera(&self, camera: Camera) -> Result<Camera> {
        todo!()
    }
    /// Replaces everything but id and slug.
    pub async fn update_camera(&self, camera: &Camera) -> Result<()> {
        todo!()
    }
    /// Deletes. With `keep_footage` its rows stay for adoption (hidden from lists); else the paths of files to unlink come back: (volume, path).
    pub async fn delete_camera(
        &self,
        id: CameraId,
        keep_footage: bool,
    ) -> Result<Vec<(String, String)>> {
        todo!()
    }

    /// Records that a run has begun (idempotent).
    pub async fn open_run(&self, run: RunRow) -> Result<()> {
        todo!()
    }
    /// Records its end.
    pub async fn close_run(&self, run: RunId, end: WallTime) -> Result<()> {
        todo!()
    }
    /// Runs that overlap the range, by start; at most `limit`.
    pub async fn runs_overlapping(
        &self,
        stream: StreamId,
        range: WallRange,
        limit: u32,
    ) -> Result<Vec<RunRow>> {
        todo!()
    }
    /// All runs of a stream, oldest first.
    pub async fn runs(&self, stream: StreamId) -> Result<Vec<RunRow>> {
        todo!()
    }

    /// Inserts the row of a segment that opens.
    pub async fn open_segment(&self, segment: NewSegment) -> Result<()> {
        todo!()
    }
    /// Completes it (one transaction: row, key frames, totals).
    pub async fn close_segment(&self, closed: ClosedSegment) -> Result<()> {
        todo!()
    }
    /// Rows still open, for start-up recovery.
    pub async fn open_segments(&self) -> Result<Vec<Segment>> {
        todo!()
    }
    /// Takes a row out (its file held nothing, or is gone).
    pub async fn delete_segment(&self, id: SegmentId) -> Result<()> {
        todo!()
    }
    /// Segments that overlap the range, by start, after the cursor (start, id); at most `limit`.
    pub async fn segments_overlapping(
        &self,
        stream: StreamId,
        range: WallRange,
        after: Option<(WallTime, SegmentId)>,
        limit: u32,
    ) -> Result<Vec<Segment>> {
        todo!()
    }
    /// The segment that holds `at`, or the first one after it.
    pub async fn segment_at_or_after(
        &self,
        stream: StreamId,
        at: WallTime,
    ) -> Result<Option<Segment>> {
        todo!()
    }
    /// The last segment that starts before `at`.
    pub async fn segment_before(&self, stream: StreamId, at: WallTime) -> Result<Option<Segment>> {
        todo!()
    }
    /// Key frames of a closed segment.
    pub async fn key_frames(&self, id: SegmentId) -> Result<Vec<KeyFrame>> {
        todo!()
    }
    /// The totals of a closed segment's tracks.
    pub async fn track_totals(&self, id: SegmentId) -> Result<Vec<TrackTotals>> {
        todo!()
    }

    /// Begins a gap, unless one is open; then nothing changes and the older reason stays.
    pub async fn open_gap(&self, gap: Gap) -> Result<()> {
        todo!()
    }
    /// Ends the open gap, if there is one; one of no length is taken out.
    pub async fn close_gap(&self, stream: StreamId, end: WallTime) -> Result<()> {
        todo!()
    }
    /// The gap that lasts, if one does.
    pub async fn open_gap_of(&self, stream: StreamId) -> Result<Option<Gap>> {
        todo!()
    }
    /// Gaps that overlap the range, by start; at most `limit`.
    pub async fn gaps_overlapping(
        &self,
        stream: StreamId,
        range: WallRange,
        limit: u32,
    ) -> Result<Vec<Gap>> {
        todo!()
    }
    /// How much of the range is recorded and what is missing, by reason. What lasts is cut at the range's end.
    pub async fn coverage(&self, stream: StreamId, range: WallRange) -> Result<Coverage> {
        todo!()
    }
    /// (bytes, oldest start) of all closed segments of each stream.
    pub async fn usage(&self) -> Result<BTreeMap<StreamId, (u64, WallTime)>> {
        todo!()
    }

    /// A value by key (epoch, host id …).
    pub async fn meta(&self, key: &str) -> Result<Option<String>> {
        todo!()
    }
    /// Sets it.
    pub async fn set_meta(&self, key: &str, value: &str) -> Result<()> {
        todo!()
    }

    /// An account by login.
    pub async fn user_by_name(&self, name: &str) -> Result<Option<User>> {
        todo!()
    }
    /// An account by id.
    pub async fn user(&self, id: UserId) -> Result<Option<User>> {
        todo!()
    }
    /// Adds or replaces an account of that name.
    pub async fn put_user(&self, user: &User) -> Result<()> {
        todo!()
    }
    /// How many accounts there are.
    pub async fn count_users(&self) -> Result<u64> {
        todo!()
    }
    /// Adds a token.
    pub async fn insert_token(&self, token: &Token) -> Result<()> {
        todo!()
    }
    /// A token by its hash.
    pub async fn token_by_hash(&self, hash: &[u8; 32]) -> Result<Option<Token>> {
        todo!()
    }
    /// Tokens of a user.
    pub async fn tokens(&self, user: UserId) -> Result<Vec<Token>> {
        todo!()
    }
    /// Deletes a token.
    pub async fn delete_token(&self, id: TokenId) -> Result<bool> {
        todo!()
    }

    #[doc(hidden)]
    pub fn unused(_: GapReason) {}
}
