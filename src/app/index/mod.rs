//! Opening the index, and what to do when it cannot be opened: it is kept aside, an empty one takes
//! its place with cameras, accounts and locks from the volumes' `state.json`, recording begins at
//! once, and the footage is put in again behind its back.
//!
//! ```text
//! vedette.db            the index
//! vedette.db.lock       held by the process that records, or makes the index again
//! vedette.db.rebuild    being made by `vedette reindex`; it goes on with it when it is asked again
//! vedette.db.rebuilt    made; takes the index's place now, or at the next start
//! vedette.db.<why>-<t>  one that was replaced: nothing here overwrites or deletes it
//! ```

mod commands;
mod files;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, io::IsTerminal, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

pub use commands::{CheckOptions, Outcome, backup, check, reindex};
pub(super) use files::Lock;

use crate::{
    clock::Clock,
    config::Config,
    disk::{Fs, RealFs, Volumes, volume_marker},
    id::EventId,
    model::{Event, EventKind, State},
    rebuild::{self, Place, Progress, RebuildError, Site, UNDER_WAY, chain},
    seal::Sealer,
    store::{Store, StoreError},
};

/// The index of a recorder, opened.
pub(super) struct Index {
    pub(super) store: Store,
    pub(super) sealer: Sealer,
    /// Why it has to be made again from the files, if it has.
    pub(super) lost: Option<String>,
    /// As long as this process uses it.
    pub(super) lock: Lock,
}

/// Opens it for recording.
pub(super) async fn open(config: &Config, clock: &Clock) -> anyhow::Result<Index> {
    let path = &config.database.path;
    let sealer = sealer(config)?;
    let lock = Lock::take(path)?;
    files::finish_swap(path, clock).context("put the index that was made again in its place")?;
    let open = || Store::open(path, clock.clone(), sealer.clone());
    let mut lost = None;
    let store = match open().await {
        Err(error @ StoreError::Unusable { .. }) => {
            let why = chain(&error);
            let aside = files::keep_aside(path, "corrupt", clock)
                .context("keep the index aside that cannot be used")?;
            let aside = aside.map(|a| a.display().to_string()).unwrap_or_default();
            tracing::error!(
                error = why,
                kept = aside,
                "THE INDEX CANNOT BE USED. It is kept aside; recording goes on with a new one, and \
                 all footage is put into that again from its files. Nothing is deleted meanwhile"
            );
            lost = Some(format!("the index could not be used ({why}); it is kept as {aside}"));
            open().await
        }
        opened => opened,
    };
    let store = store.with_context(|| format!("open the index {}", path.display()))?;
    let markers = known_markers(&store).await?;
    let site = Arc::new(configured(config, clock, &markers));
    if lost.is_none() && is_empty(&store).await? && has_footage(&site).await? {
        tracing::error!(
            index = %path.display(),
            "THE INDEX IS EMPTY, and the volumes hold footage: all of it is put in again"
        );
        lost = Some("the index was not there, and the volumes hold footage".to_owned());
    }
    let news = lost.is_some();
    if lost.is_none() {
        // One that was begun before and interrupted.
        lost = store.meta(UNDER_WAY).await?.filter(|why| !why.is_empty());
    }
    if let Some(why) = &lost {
        // Before anything else: until this is gone, nothing is deleted.
        store.set_meta(UNDER_WAY, why).await?;
        restore(&store, &site, &sealer).await?;
        if news {
            note(&store, clock, EventKind::IndexLost, why.clone()).await;
        }
    }
    Ok(Index { store, sealer, lost, lock })
}

/// Cameras, accounts and locks from the volumes.
async fn restore(store: &Store, site: &Arc<Site>, sealer: &Sealer) -> anyhow::Result<()> {
    let sealer = sealer.clone();
    // As the index's own check of the key is sealed.
    let ours = move |state: &State| {
        state.key_check.as_ref().is_some_and(|k| sealer.open("key_check", &k.0).is_some())
    };
    match rebuild::restore(store, site, ours).await? {
        Some(restored) => tracing::info!(?restored, "restored from state.json"),
        None => tracing::error!(
            "no volume has a state.json: cameras, accounts and locks are lost; footage comes back \
             under deleted cameras, and a camera made anew under the same name takes it over"
        ),
    }
    Ok(())
}

/// Puts the footage into the index again while it is recorded on; until it is through, or stopped.
pub(super) async fn rebuild_behind(
    store: Store,
    volumes: Arc<Volumes>,
    clock: Clock,
    progress: Arc<Progress>,
    why: String,
    stop: CancellationToken,
) {
    const AGAIN: Duration = Duration::from_secs(60);
    progress.begin(&why);
    loop {
        let site = Arc::new(site_of(&volumes, &clock));
        let work = rebuild::rebuild(&store, site, Some(&*volumes), &progress, &why, stop.clone());
        match told(&progress, false, work).await {
            Ok(done) => {
                tracing::warn!(
                    segments = done.segments, streams = done.streams, mended = done.mended,
                    empty = done.empty, newer = done.newer.len(), unreadable = done.unreadable.len(),
                    foreign = done.foreign.len(), away = ?done.away,
                    "the index is whole again"
                );
                progress.end();
                note(&store, &clock, EventKind::IndexRebuilt, why).await;
                return;
            }
            Err(RebuildError::Stopped) => return,
            Err(error) => {
                let error = chain(&error);
                tracing::error!(error, "the index is not whole; going on in a minute");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(AGAIN) => {}
                }
            }
        }
    }
}

/// An event of the index itself.
async fn note(store: &Store, clock: &Clock, kind: EventKind, detail: String) {
    let (id, at) = (EventId::generate(clock), clock.now());
    let event = Event { id, at, kind, camera: None, stream: None, detail };
    if let Err(error) = store.insert_events(vec![event]).await {
        tracing::warn!(error = chain(&error), "an event is not noted");
    }
}

/// Says how far it is while `work` goes on: a bar on a terminal, else lines in the log.
async fn told<T>(progress: &Progress, bar: bool, work: impl Future<Output = T>) -> T {
    let bar = bar && std::io::stderr().is_terminal();
    let mut beat = interval(if bar { Duration::from_millis(200) } else { Duration::from_secs(10) });
    beat.tick().await;
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => {
                if bar {
                    // The bar's line is cleared.
                    eprint!("\r\x1b[K");
                }
                return done;
            }
            _ = beat.tick() => {
                let (done, total) = (progress.done(), progress.total());
                if bar {
                    let percent = done.saturating_mul(100).checked_div(total).unwrap_or(0);
                    let filled = usize::try_from(percent.min(100) / 4).unwrap_or(0);
                    eprint!(
                        "\r[{}{}] {percent:3} %  {done} of {total} files",
                        "#".repeat(filled), "-".repeat(25 - filled)
                    );
                } else {
                    tracing::info!(done, total, "files looked at");
                }
            }
        }
    }
}

fn sealer(config: &Config) -> anyhow::Result<Sealer> {
    let key = &config.database.key_file;
    for file in [key, &config.database.path] {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("make the folder {}", folder.display()))?;
        }
    }
    Sealer::open_or_create(key)
        .with_context(|| format!("read or make the key file {}", key.display()))
}

/// Whether nobody has used it yet: the first start makes an administrator.
async fn is_empty(store: &Store) -> Result<bool, StoreError> {
    let state = store.state().await?;
    Ok(state.users.is_empty() && state.cameras.is_empty())
}

async fn has_footage(site: &Arc<Site>) -> anyhow::Result<bool> {
    let site = Arc::clone(site);
    let look = move || {
        let state = |p: &Place| p.root.join(rebuild::state::FILE).exists();
        site.places.iter().any(state) || rebuild::has_footage(&*site.fs, &site.places)
    };
    Ok(tokio::task::spawn_blocking(look).await?)
}

/// The markers of the volumes that there is footage of: what does not carry them is not they.
pub(super) async fn known_markers(store: &Store) -> Result<HashMap<String, String>, StoreError> {
    let open = store.open_segments().await?;
    let used = |path: &str| open.iter().any(|s| s.opened.volume == path);
    let known = store.known_volumes().await?.into_iter();
    let known = known.filter(|v| v.segments > 0 || used(&v.path));
    Ok(known.filter_map(|v| Some((v.path, v.marker?))).collect())
}

/// The volumes by their settings, when they are not taken into use.
fn configured(config: &Config, clock: &Clock, markers: &HashMap<String, String>) -> Site {
    let fs: Arc<dyn Fs> = Arc::new(RealFs);
    let (mut places, mut away) = (Vec::new(), Vec::new());
    for volume in &config.volumes {
        let name = super::name_of(&volume.path);
        let expected = markers.get(&name);
        let carries = volume_marker(&*fs, &volume.path).ok().flatten();
        if volume.path.is_dir() && (expected.is_none() || carries.as_ref() == expected) {
            places.push(Place { volume: name, root: volume.path.clone() });
        } else {
            away.push(name);
        }
    }
    Site { places, away, fs, clock: clock.clone() }
}

/// The volumes as they are.
fn site_of(volumes: &Volumes, clock: &Clock) -> Site {
    let (mut places, mut away) = (Vec::new(), Vec::new());
    for volume in volumes.all() {
        let (name, root): (String, PathBuf) =
            (volume.name().to_owned(), volume.settings().path.clone());
        if is_there(volumes, &name) {
            places.push(Place { volume: name, root });
        } else {
            away.push(name);
        }
    }
    Site { places, away, fs: volumes.fs(), clock: clock.clone() }
}

/// Whether its files can be looked at now.
fn is_there(volumes: &Volumes, name: &str) -> bool {
    volumes.absolute(name, "-").is_ok()
}

/// Keeps `state.json` of all volumes as the index has it.
pub(super) fn mirror(store: &Store, volumes: &Arc<Volumes>) -> rebuild::Mirror {
    let (of, clock) = (Arc::clone(volumes), Clock::system());
    let places = rebuild::mirror::Places::new(move || site_of(&of, &clock).places);
    rebuild::Mirror::new(store.clone(), volumes.fs(), places)
}

/// How far a rebuild is that is under way, for `/readyz`.
pub(super) fn under_way(progress: &Progress) -> Option<String> {
    progress.is_running().then(|| {
        format!(
            "the index is being made again ({} of {} files): {}",
            progress.done(),
            progress.total(),
            progress.why().unwrap_or_default()
        )
    })
}
