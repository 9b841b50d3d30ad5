//! Deleting footage: rows first, in small transactions, and what is left stays true.
//!
//! In the transaction that takes out a segment's row its file is put into `unlink`, its run is cut
//! so that no run has a hole, and the stretch becomes a `deleted` gap: recorded time and gaps still
//! add up to all the time since the stream was created.

use super::{Result, Store};
use crate::{id::SegmentId, model::Deleted, proto::reason::GapReason};

impl Store {
    /// Deletes closed segments that no lock overlaps (checked in the deleting transaction), a few
    /// in each transaction; ids that are not there are passed over. Their files are to be unlinked
    /// by whoever works off [`Self::pending_unlinks`].
    ///
    /// What was done before an error stays done; asking again with the same ids is harmless.
    pub async fn delete_segments(&self, ids: &[SegmentId]) -> Result<Deleted> {
        let _ = ids;
        todo!()
    }

    /// Takes out rows of segments whose files are lost, locked ones too: the stretch becomes a gap
    /// for `reason`, and nothing is put into `unlink`.
    pub async fn forget_segments(&self, ids: &[SegmentId], reason: GapReason) -> Result<Deleted> {
        let _ = (ids, reason);
        todo!()
    }
}
