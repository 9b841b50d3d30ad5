//! Table `footage_lock`: ranges of a camera's footage that are not deleted.

use super::{Result, Store};
use crate::{
    id::{CameraId, LockId},
    model::{Lock, WallRange},
};

/// Locks there may be in all. They are looked through when footage is deleted.
pub const MOST_LOCKS: u32 = 10_000;

impl Store {
    /// Adds one; from its answer on nothing in its range is deleted. `NotFound` without such a
    /// camera (one deleted with its footage kept counts), `Limit` beyond [`MOST_LOCKS`].
    pub async fn insert_lock(&self, lock: Lock) -> Result<()> {
        let _ = lock;
        todo!()
    }

    /// Takes one out; says which it was.
    pub async fn delete_lock(&self, id: LockId) -> Result<Option<Lock>> {
        let _ = id;
        todo!()
    }

    /// One of them.
    pub async fn lock(&self, id: LockId) -> Result<Option<Lock>> {
        let _ = id;
        todo!()
    }

    /// A page of locks, of all cameras or of one, by id after `after` (older ones first).
    pub async fn locks_page(
        &self,
        camera: Option<CameraId>,
        after: Option<LockId>,
        limit: u32,
    ) -> Result<Vec<Lock>> {
        let _ = (camera, after, limit);
        todo!()
    }

    /// Locks of a camera that overlap the range, by start; at most `limit`.
    pub async fn locks_overlapping(
        &self,
        camera: CameraId,
        range: WallRange,
        limit: u32,
    ) -> Result<Vec<Lock>> {
        let _ = (camera, range, limit);
        todo!()
    }
}
