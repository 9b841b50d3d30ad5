//! What was being deleted when the index was lost: it does not come back.

use std::{collections::HashMap, io, path::Path, sync::Arc};

use super::{RebuildError, Site};
use crate::{
    disk::{Fs, deleted},
    footage::Footage,
    id::{CameraId, StreamId},
    model::PendingUnlink,
    proto::time::WallTime,
    store::Store,
};

/// Puts the files whose rows were being deleted into `unlink`, but for those that a lock holds: so
/// nothing adopts them, and retention goes on where it was. To be asked when the locks are back.
pub(super) async fn not_again(store: &Store, site: &Arc<Site>) -> Result<(), RebuildError> {
    let noted = read(site, deleted::segments).await?;
    if noted.is_empty() {
        return Ok(());
    }
    let state = store.state().await?;
    let cameras: HashMap<StreamId, CameraId> =
        state.cameras.iter().flat_map(|c| c.streams.iter().map(move |s| (s.id, c.id))).collect();
    let is_locked = |file: &deleted::DeletedSegment| {
        let of = cameras.get(&file.stream);
        state.locks.iter().any(|lock| {
            Some(&lock.camera) == of && lock.start_us < file.end_us && file.start_us < lock.end_us
        })
    };
    let (locked, gone): (Vec<_>, Vec<_>) = noted.into_iter().partition(|(_, file)| is_locked(file));
    tracing::info!(files = gone.len(), locked = locked.len(), "were being deleted");
    let unlink = |(volume, file): (String, deleted::DeletedSegment)| PendingUnlink {
        id: 0,
        segment: file.segment,
        volume,
        path: file.path,
        bytes: file.bytes,
    };
    store.unlink_files(gone.into_iter().map(unlink).collect()).await?;
    Ok(())
}

/// Cameras that were deleted with their footage, and when.
pub(super) async fn cameras(site: &Arc<Site>) -> Result<HashMap<CameraId, WallTime>, RebuildError> {
    let mut gone: HashMap<CameraId, WallTime> = HashMap::new();
    for (_, noted) in read(site, deleted::cameras).await? {
        let before = WallTime::from_micros(noted.before_us);
        let entry = gone.entry(noted.camera).or_insert(before);
        *entry = before.max(*entry);
    }
    Ok(gone)
}

/// A file that has no row and is to go.
pub(super) fn unlink(footage: &Footage) -> PendingUnlink {
    PendingUnlink {
        id: 0,
        segment: footage.opened.id,
        volume: footage.opened.volume.clone(),
        path: footage.opened.path.clone(),
        bytes: footage.closed.bytes,
    }
}

/// Of all volumes that are there. A note that cannot be read is passed over, and said.
async fn read<T: Send + 'static>(
    site: &Arc<Site>,
    of: fn(&dyn Fs, &Path) -> io::Result<Vec<T>>,
) -> Result<Vec<(String, T)>, RebuildError> {
    let site = Arc::clone(site);
    let read = move || {
        let mut all = Vec::new();
        for place in &site.places {
            match of(&*site.fs, &place.root) {
                Ok(noted) => all.extend(noted.into_iter().map(|n| (place.volume.clone(), n))),
                Err(error) => {
                    tracing::error!(volume = %place.volume, %error, "what was being deleted there cannot be read");
                }
            }
        }
        all
    };
    tokio::task::spawn_blocking(read).await.map_err(|_| RebuildError::Panicked)
}
