//! Volumes that come back: what was open on them when they went is completed, and what they hold
//! that the index missed is adopted.
//!
//! While a volume is away its rows stay as they are. A disk that was pulled out in the middle of a
//! write may hold less than was written to it: then the run ends where its footage does.

use std::{collections::HashSet, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{adopt, recovery, rows::chain};
use crate::{
    clock::Clock,
    disk::Volumes,
    id::RunId,
    proto::reason::GapReason,
    store::{Store, StoreError},
};

/// Works until `stop`.
pub async fn run(store: Store, volumes: Arc<Volumes>, clock: Clock, stop: CancellationToken) {
    let mut changed = volumes.changed();
    let mut there = HashSet::new();
    let mut first = true;
    loop {
        changed.mark_unchanged();
        if let Err(error) = remember(&store, &volumes).await {
            tracing::warn!(
                error = chain(&error),
                "the index does not know the volumes' markers yet"
            );
        }
        let now: HashSet<String> = readable(&volumes);
        for volume in now.difference(&there).filter(|_| !first) {
            match returned(&store, &volumes, &clock, volume).await {
                Ok(mended) => tracing::info!(%volume, mended, "a volume is back"),
                Err(error) => {
                    tracing::error!(%volume, error = chain(&error), "see to a volume that is back");
                }
            }
        }
        (there, first) = (now, false);
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changed.changed() => if changed.is_err() { return },
        }
    }
}

fn readable(volumes: &Volumes) -> HashSet<String> {
    let there = volumes.all().iter().filter(|v| v.state().can_be_read());
    there.map(|v| v.name().to_owned()).collect()
}

/// Has the index know the markers of the volumes that are there.
async fn remember(store: &Store, volumes: &Volumes) -> Result<(), StoreError> {
    let known = store.known_volumes().await?;
    for (name, id) in volumes.markers() {
        let same = known.iter().any(|v| v.path == name && v.marker.as_deref() == Some(&id));
        if !same {
            store.set_volume_marker(&name, &id).await?;
        }
    }
    Ok(())
}

async fn returned(
    store: &Store,
    volumes: &Volumes,
    clock: &Clock,
    volume: &str,
) -> Result<u64, StoreError> {
    let mut mended = 0;
    for row in store.open_segments().await? {
        let (id, on_it) = (row.opened.id, row.opened.volume == volume);
        // One that is being written is its recorder's.
        if !on_it || volumes.open_segments().get(id).is_some() {
            continue;
        }
        if let Some(end) = recovery::complete(store, volumes, row).await? {
            store.cut_run(id, end, GapReason::DiskError, RunId::generate(clock)).await?;
            mended += 1;
        }
    }
    for camera in store.cameras().await? {
        for stream in &camera.streams {
            let (slug, now) = (&camera.slug, clock.now());
            mended +=
                adopt::unindexed(store, volumes, slug, stream.role, stream.id, now, false).await?;
        }
    }
    Ok(mended)
}
