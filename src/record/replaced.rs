//! Volumes that were replaced by other disks: what lay on the old one is footage no longer.
//!
//! In the moment in which an administrator accepts the new disk the index has the old one's rows under
//! another name (`Store::replace_volume`), so what is recorded on the new one is never mistaken for
//! them. Here they are taken out, locked ones too, some in a transaction with a pause after it, and
//! their time becomes gaps for `disk_error`: there was footage, and it is lost. A stop or a crash in
//! between is no matter: the next start goes on.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{recovery, rows::chain};
use crate::{
    disk::Volumes,
    proto::reason::GapReason,
    store::{Store, StoreError},
};

/// Segments in one transaction.
const BATCH: u32 = 64;
/// After each: the index is others' too.
const PAUSE: Duration = Duration::from_millis(20);
/// What could not be done is tried again after so long.
const AGAIN: Duration = Duration::from_secs(5);

/// Works until `stop`, at the start and whenever it is woken.
pub async fn run(store: Store, volumes: Arc<Volumes>, wake: Arc<Notify>, stop: CancellationToken) {
    loop {
        let done = forget(&store, &volumes, &stop).await.unwrap_or_else(|error| {
            tracing::error!(error = chain(&error), "forget what was on a disk that was replaced");
            false
        });
        tokio::select! {
            () = stop.cancelled() => return,
            () = wake.notified() => {}
            () = sleep(AGAIN), if !done => {}
        }
    }
}

/// Takes out what lay on volumes that were replaced; whether nothing of it is left.
///
/// # Errors
///
/// The store's; what was done stays done.
pub async fn forget(
    store: &Store,
    volumes: &Volumes,
    stop: &CancellationToken,
) -> Result<bool, StoreError> {
    let mut done = true;
    for volume in store.replaced_volumes().await? {
        let mut segments = 0;
        loop {
            let ids = store.segments_on(&volume, BATCH).await?;
            if ids.is_empty() {
                break;
            }
            if stop.is_cancelled() {
                return Ok(false);
            }
            let lost = store.forget_segments(&ids, GapReason::DiskError).await?;
            segments += lost.deleted.len();
            sleep(PAUSE).await;
        }
        let mut open = store.open_segments().await?;
        open.retain(|row| row.opened.volume == volume);
        // The last of a run first, as after a crash.
        open.sort_by_key(|r| (r.opened.run, Reverse((r.opened.sequence, r.opened.start))));
        for row in open {
            if volumes.open_segments().get(row.opened.id).is_some() {
                // Its recorder has not given it up yet.
                done = false;
                continue;
            }
            recovery::take_out(store, &row.opened, GapReason::DiskError).await?;
            segments += 1;
        }
        store.forget_volume(&volume).await?;
        tracing::warn!(%volume, segments, "rows of footage on a disk that was replaced are taken out");
    }
    Ok(done)
}
