//! The whole index from the files: into an empty one, or behind the back of a recorder that goes on
//! recording.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{
    Progress, RebuildError, Site, UNDER_WAY, chain, deleted,
    pass::{self, Learned, Pass},
    state,
};
use crate::{
    disk::Volumes,
    footage::ReadError,
    id::StreamId,
    model::State,
    store::{Restored, Store},
};

/// Files named one by one in a report; beyond, they are only counted.
const NAMED: usize = 1_000;

/// What a rebuild has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reindexed {
    /// Files that have the form of a segment's.
    pub files: u64,
    /// Rows put in.
    pub segments: u64,
    /// Torn files that were made whole.
    pub mended: u64,
    /// Streams whose runs and gaps were written.
    pub streams: u64,
    /// Files in which there is not one whole fragment.
    pub empty: u64,
    /// Written by a later version; left alone.
    pub newer: Vec<PathBuf>,
    /// Could not be read; left alone.
    pub unreadable: Vec<PathBuf>,
    /// Of cameras that were deleted with their footage: not put in, and to be unlinked.
    pub deleted: u64,
    /// Not the recorder's; left alone.
    pub foreign: Vec<PathBuf>,
    /// Volumes that were not there.
    pub away: Vec<String>,
}

/// Puts cameras, accounts and locks back from the newest `state.json`. Harmless where they are there
/// already. `None`: no volume has one.
///
/// # Errors
///
/// The index's.
pub async fn restore(
    store: &Store,
    site: &Arc<Site>,
    ours: impl Fn(&State) -> bool + Send + 'static,
) -> Result<Option<Restored>, RebuildError> {
    let at = Arc::clone(site);
    let read = move || state::newest(&*at.fs, &at.places, ours);
    let (newest, wrong) =
        tokio::task::spawn_blocking(read).await.map_err(|_| RebuildError::Panicked)?;
    for error in wrong {
        tracing::error!(error, "a volume's state.json is passed over");
    }
    let restored = match newest {
        Some(newest) => Some(store.restore_state(newest).await?),
        None => None,
    };
    // After the locks, which go before it.
    deleted::not_again(store, site).await?;
    if restored.is_some_and(|restored| !restored.key_fits) {
        tracing::error!(
            "the key file is another one than the cameras' passwords were sealed with: put the old \
             one back, or enter the passwords again"
        );
    }
    Ok(restored)
}

/// Puts everything into the index that is in files and not in it. May be interrupted and asked again.
///
/// [`UNDER_WAY`] stands in the index from before the first row until it is through. `live`: the
/// volumes of the recorder that is at work on this index.
///
/// # Errors
///
/// [`RebuildError`].
pub async fn rebuild(
    store: &Store,
    site: Arc<Site>,
    live: Option<&Volumes>,
    progress: &Progress,
    why: &str,
    stop: CancellationToken,
) -> Result<Reindexed, RebuildError> {
    store.set_meta(UNDER_WAY, why).await?;
    let folders = pass::folders(&site).await?;
    progress.expect(pass::count(&site, &folders.of).await?);
    let mut report =
        Reindexed { away: site.away.clone(), foreign: folders.foreign, ..Reindexed::default() };
    let gone = deleted::cameras(&site).await?;
    let (at, stopped) = (Arc::clone(&site), stop.clone());
    let pass = Pass { store, site: at, live, anew: true, gone, progress, stop: stopped };
    let mut known = pass.known().await?;
    let mut settled: BTreeSet<StreamId> = BTreeSet::new();
    for (folder, at) in &folders.of {
        if stop.is_cancelled() {
            return Err(RebuildError::Stopped);
        }
        let (files, foreign) = pass::list(&site, folder, at).await?;
        report.foreign.extend(foreign);
        report.files += files.len() as u64;
        let learned = pass.adopt(folder, files, &mut known).await?;
        report.segments += learned.imported;
        report.mended += learned.mended;
        report.deleted += learned.deleted;
        for unread in &learned.unread {
            let path = site.places.get(unread.found.place).map(|p| p.root.join(&unread.found.path));
            let path = path.unwrap_or_default();
            match &unread.error {
                ReadError::Empty => report.empty += 1,
                ReadError::Foreign => report.foreign.push(path),
                ReadError::Newer(_) => report.newer.push(path),
                ReadError::Io { .. } | ReadError::Damaged(_) => {
                    tracing::warn!(
                        path = %path.display(), error = chain(&unread.error), "left alone"
                    );
                    report.unreadable.push(path);
                }
            }
        }
        for stream in known.iter().filter(|k| learned.streams.contains(&k.stream)) {
            report.streams += u64::from(pass.settle(stream, &learned).await?);
            settled.insert(stream.stream);
        }
    }
    // Those of which there is no file.
    for stream in known.iter().filter(|k| !settled.contains(&k.stream)) {
        report.streams += u64::from(pass.settle(stream, &Learned::default()).await?);
    }
    for list in [&mut report.newer, &mut report.unreadable, &mut report.foreign] {
        if list.len() > NAMED {
            tracing::warn!(files = list.len(), "not all files that were left alone are named");
            list.truncate(NAMED);
        }
    }
    store.set_meta(UNDER_WAY, "").await?;
    Ok(report)
}
