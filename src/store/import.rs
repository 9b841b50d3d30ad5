//! Footage that is put (back) into the index from its files: by the thousand when the index is
//! built anew, or one by one when a row had been lost.

use super::{Result, Store};
use crate::model::{Import, Imported, WholeSegment};

impl Store {
    /// Inserts rows for an index that is built anew, in one transaction; idempotent by id.
    ///
    /// Runs and gaps are taken as they are: that they tile the time is the caller's doing.
    pub async fn import(&self, rows: Import) -> Result<Imported> {
        let _ = rows;
        todo!()
    }

    /// Adopts closed segments whose rows had been lost into a timeline that is in use: each joins
    /// the run it names where that leaves no hole, else gets one of its own, and gaps make room
    /// for it. Idempotent by id.
    pub async fn adopt_segments(&self, segments: Vec<WholeSegment>) -> Result<Imported> {
        let _ = segments;
        todo!()
    }
}
