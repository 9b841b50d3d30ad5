//! From a gap to footage and back: one happening, one transaction. Between two, a power cut would
//! leave a run under a gap that still lasts, or a run that ended and no gap.

use super::{Result, Store, gap, run, segment};
use crate::{
    id::RunId,
    model::{Gap, NewSegment, RunRow},
    proto::time::WallTime,
};

impl Store {
    /// Records that a run has begun with its first segment, and ends the gap that lasted. Idempotent;
    /// where the run has ended already, no gap ends.
    pub async fn begin_run(&self, run: RunRow, first: NewSegment) -> Result<()> {
        self.writer
            .write("begin a run", move |db| {
                Box::pin(async move {
                    let (id, stream, start) = (run.id, run.stream, run.start);
                    run::insert(db, run).await?;
                    segment::open(db, &first).await?;
                    let ended = run::of_id(db, id).await?.is_none_or(|run| run.end.is_some());
                    if ended { Ok(()) } else { gap::end_with_footage(db, stream, start).await }
                })
            })
            .await
    }

    /// Records that a run has ended, and that a gap lasts from there on, unless one does already.
    ///
    /// The gap begins where the run ends by its row; for a run that is not there (it was empty, or
    /// its row was lost), where `gap` says. Idempotent.
    pub async fn end_run(&self, run: RunId, end: WallTime, gap: Gap) -> Result<()> {
        self.writer
            .write("end a run", move |db| {
                Box::pin(async move {
                    run::end(db, run, end).await?;
                    let known = run::of_id(db, run).await?;
                    let start = known.and_then(|run| run.end).unwrap_or(gap.start);
                    if gap.end.is_some_and(|end| end <= start) {
                        return Ok(());
                    }
                    gap::begin(db, Gap { start, ..gap }).await
                })
            })
            .await
    }
}
