//! Table `unlink`: files whose rows are gone.

use tokio::sync::watch;

use super::{Result, Store};
use crate::model::PendingUnlink;

impl Store {
    /// Files to be unlinked, in the order of their deletion, after the one with id `after`; at most
    /// `limit`. Work these off at start too; pass over those of a volume that is not there.
    pub async fn pending_unlinks(
        &self,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<PendingUnlink>> {
        let _ = (after, limit);
        todo!()
    }

    /// Forgets them: they are unlinked and their folders are synced (or they were not there).
    pub async fn unlinked(&self, ids: &[i64]) -> Result<()> {
        let _ = ids;
        todo!()
    }

    /// Puts files that have no row into `unlink`: (volume, path, segment, bytes).
    pub async fn unlink_files(&self, files: Vec<PendingUnlink>) -> Result<()> {
        let _ = files;
        todo!()
    }

    /// How many files wait, and the sum of their sizes.
    pub async fn unlinks_waiting(&self) -> Result<(u64, u64)> {
        todo!()
    }

    /// Changes when there may be more of them.
    #[must_use]
    pub fn watch_unlinks(&self) -> watch::Receiver<u64> {
        todo!()
    }

    /// Whether this file waits to be unlinked: such a one is never adopted.
    pub async fn is_doomed(&self, volume: &str, path: &str) -> Result<bool> {
        let _ = (volume, path);
        todo!()
    }
}
