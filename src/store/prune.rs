//! Pruning by age, in small transactions.

use super::{Result, Store};
use crate::proto::time::WallTime;

impl Store {
    /// Folds gaps that ended before `before`, and before which no footage is left, into one
    /// `deleted` gap at their stream's beginning. Says how many rows went.
    pub async fn prune_gaps(&self, before: WallTime) -> Result<u64> {
        let _ = before;
        todo!()
    }

    /// Deletes events from before `before`; says how many.
    pub async fn prune_events(&self, before: WallTime) -> Result<u64> {
        let _ = before;
        todo!()
    }

    /// Deletes audit rows from before `before`; says how many.
    pub async fn prune_audit(&self, before: WallTime) -> Result<u64> {
        let _ = before;
        todo!()
    }
}
