//! `vedette reindex`, `check` and `backup`.

use std::{collections::HashMap, path::Path, sync::Arc};

use anyhow::{Context, bail};
use tokio_util::sync::CancellationToken;

use super::{configured, files, known_markers, restore, sealer, site_of, told};
use crate::{
    clock::Clock,
    config::Config,
    disk::{self, VolumeError, Volumes},
    rebuild::{self, Checked, Progress, Reindexed, UNDER_WAY},
    record,
    seal::Sealer,
    store::{Store, StoreError},
};

/// Rows of `unlink` a page.
const UNLINKS: u32 = 1_000;
/// Why an index that is made by [`reindex`] is not whole.
const ASKED: &str = "vedette reindex";

/// What `reindex` says.
#[derive(Debug, serde::Serialize)]
pub struct Outcome {
    /// What was done.
    #[serde(flatten)]
    pub done: Reindexed,
    /// The old index.
    pub kept: Option<std::path::PathBuf>,
}

/// Makes the whole index again from the files, beside the old one, and puts it in its place. One
/// that was interrupted goes on.
///
/// # Errors
///
/// When a recorder is at work, or with what went wrong; the old index is then as it was.
pub async fn reindex(config: &Config, stop: CancellationToken) -> anyhow::Result<Outcome> {
    let clock = Clock::system();
    let database = &config.database.path;
    let sealer = sealer(config)?;
    let _lock = files::Lock::take(database)?;
    let volumes = claim(config, HashMap::new())?;
    // One that was made and not put in its place yet is older than what is asked for now.
    files::finish_swap(database, &clock).context("finish what was begun before")?;
    let draft = files::with(database, ".rebuild");
    let going_on = draft.exists();
    let store = match Store::open(&draft, clock.clone(), sealer.clone()).await {
        Err(StoreError::Unusable { .. }) => {
            files::keep_aside(&draft, "corrupt", &clock)?;
            Store::open(&draft, clock.clone(), sealer.clone()).await
        }
        opened => opened,
    };
    let store = store.with_context(|| format!("open {}", draft.display()))?;
    store.set_meta(UNDER_WAY, ASKED).await?;
    let site = Arc::new(site_of(&volumes, &clock));
    for volume in &site.away {
        tracing::warn!(volume, "the volume is not there: its footage is put in when it is back");
    }
    if going_on {
        tracing::info!(index = %draft.display(), "going on with what was begun before");
    }
    // What the old index knows is newer than any copy; if it can be read.
    carry_over(&store, database, &clock, &sealer).await;
    restore(&store, &site, &sealer).await?;
    let progress = Progress::default();
    progress.begin(ASKED);
    let work = rebuild::rebuild(&store, site, None, &progress, ASKED, stop);
    let done = told(&progress, true, work).await;
    store.close().await;
    volumes.shut_down().await;
    let done = done?;
    files::is_made(database).context("finish the new index")?;
    let kept = files::finish_swap(database, &clock).context("put the new index in its place")?;
    Ok(Outcome { done, kept })
}

/// Cameras, accounts, locks and files to be unlinked of an index that can still be read.
async fn carry_over(store: &Store, database: &Path, clock: &Clock, sealer: &Sealer) {
    if !database.exists() {
        return;
    }
    let carried = async {
        let old = Store::open(database, clock.clone(), sealer.clone()).await?;
        let carried = async {
            let restored = store.restore_state(old.state().await?).await?;
            // Files whose rows are gone are not to be footage again.
            let mut after = None;
            loop {
                let page = old.pending_unlinks(after, UNLINKS).await?;
                let Some(last) = page.last() else { return Ok(restored) };
                after = Some(last.id);
                store.unlink_files(page).await?;
            }
        };
        let carried: Result<_, StoreError> = carried.await;
        old.close().await;
        carried
    };
    match carried.await {
        Ok(restored) => tracing::info!(?restored, "taken from the old index"),
        Err(error) => {
            let error = rebuild::chain(&error);
            tracing::warn!(error, "the old index gives nothing: state.json of the volumes does");
        }
    }
}

/// `known`: the markers that the volumes must carry.
fn claim(config: &Config, known: HashMap<String, String>) -> anyhow::Result<Arc<Volumes>> {
    let options = disk::Options { known, ..disk::Options::default() };
    match Volumes::open_with(super::super::volume_settings(config), options) {
        Err(error @ VolumeError::InUse { .. }) => {
            bail!("{error}: stop the vedette that records there first")
        }
        opened => opened.context("open the volumes"),
    }
}

/// What `check` is to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckOptions {
    /// Mend what is found.
    pub repair: bool,
    /// Read every box.
    pub deep: bool,
}

/// Compares the index with the files.
///
/// # Errors
///
/// When it cannot be compared; when it is to be mended and a recorder is at work.
pub async fn check(
    config: &Config,
    options: CheckOptions,
    stop: CancellationToken,
) -> anyhow::Result<Checked> {
    let clock = Clock::system();
    let database = &config.database.path;
    if !database.exists() {
        bail!("there is no index {}; `vedette reindex` makes one", database.display());
    }
    let lock = files::Lock::try_take(database)?;
    let in_use = lock.is_none();
    if in_use && options.repair {
        bail!("the index is in use: stop vedette first, or check without --repair");
    }
    // Who only looks keeps nobody from starting.
    let _lock = lock.filter(|_| options.repair);
    let store = Store::open(database, clock.clone(), sealer(config)?).await;
    let store = store.with_context(|| {
        format!(
            "open the index {}; if it is damaged, `vedette reindex` makes it again",
            database.display()
        )
    })?;
    let progress = Progress::default();
    progress.begin("vedette check");
    let looking = rebuild::check::Options { deep: options.deep, repair: options.repair, in_use };
    let checked = if options.repair {
        let volumes = claim(config, known_markers(&store).await?)?;
        record::recover(&store, &volumes, &clock).await.context("complete what was open")?;
        let site = Arc::new(site_of(&volumes, &clock));
        let work = rebuild::check(&store, site, looking, &progress, stop);
        let checked = told(&progress, true, work).await;
        volumes.shut_down().await;
        checked
    } else {
        let markers = known_markers(&store).await?;
        let site = Arc::new(configured(config, &clock, &markers));
        told(&progress, true, rebuild::check(&store, site, looking, &progress, stop)).await
    };
    store.close().await;
    Ok(checked?)
}

/// Copies the index to `to` while it may be in use; its size.
///
/// # Errors
///
/// When it cannot be read, or the copy not be written.
pub async fn backup(config: &Config, to: &Path) -> anyhow::Result<u64> {
    let database = &config.database.path;
    if !database.exists() {
        bail!("there is no index {}", database.display());
    }
    if to == database {
        bail!("a copy in the place of the index is none");
    }
    let store = Store::open(database, Clock::system(), sealer(config)?)
        .await
        .with_context(|| format!("open the index {}", database.display()))?;
    let copied = store.backup(to).await;
    store.close().await;
    copied.with_context(|| format!("copy the index to {}", to.display()))
}
