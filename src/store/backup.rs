//! A consistent copy of the index while it is written.
//!
//! `VACUUM INTO` on a connection of its own reads one snapshot, so writes go on meanwhile (the
//! write-ahead log cannot be cut back until it is done). The copy is written beside its place,
//! synced, and renamed: under its name it is whole and durable, or not there.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};

use super::{Result, Store, StoreError, check::unusable};

/// Copies made before migrations that are kept.
const KEPT: usize = 3;

impl Store {
    /// Copies the index to `to` and answers with its size when that is durable. The copy appears
    /// under its name whole or not at all, replacing a file that is there; mode 0600. Secrets in
    /// it are sealed; it opens with the key file of today.
    pub async fn backup(&self, to: &Path) -> Result<u64> {
        copy(&self.readers.connect_options().as_ref().clone(), to).await
    }
}

/// Copies a database that is about to be migrated to version `to`.
pub(super) async fn before_migration(
    path: &Path,
    options: &SqliteConnectOptions,
    to: i64,
) -> Result<()> {
    let stem = before(path, "");
    let copied = before(path, &format!("{to:04}"));
    let bytes = copy(options, &copied).await?;
    tracing::info!(path = %copied.display(), bytes, "the index was copied before its migration");
    blocking(move || {
        let name = stem.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut copies = Vec::new();
        for entry in fs::read_dir(folder(&stem))? {
            let entry = entry?;
            let of_ours =
                entry.file_name().to_string_lossy().strip_prefix(&name).is_some_and(|version| {
                    version.len() >= 4 && version.bytes().all(|b| b.is_ascii_digit())
                });
            if of_ours {
                copies.push(entry.path());
            }
        }
        copies.sort();
        let surplus = copies.len().saturating_sub(KEPT);
        copies.iter().take(surplus).try_for_each(fs::remove_file)
    })
    .await
}

/// `<path>.before-<version>`.
fn before(path: &Path, version: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".before-");
    name.push(version);
    name.into()
}

async fn copy(options: &SqliteConnectOptions, to: &Path) -> Result<u64> {
    let mut draft = to.as_os_str().to_owned();
    draft.push(format!(".{:016x}.new", rand::random::<u64>()));
    let (draft, to) = (PathBuf::from(draft), to.to_owned());
    let made = copy_into(options, &draft).await;
    let finished = match made {
        Ok(()) => {
            let draft = draft.clone();
            blocking(move || {
                let file = File::open(&draft)?;
                file.sync_all()?;
                let bytes = file.metadata()?.len();
                fs::rename(&draft, &to)?;
                File::open(folder(&to))?.sync_all()?;
                Ok(bytes)
            })
            .await
        }
        Err(error) => Err(error),
    };
    if finished.is_err() {
        // Whatever there is of it is worth nothing.
        let _ = tokio::fs::remove_file(&draft).await;
    }
    finished
}

async fn copy_into(options: &SqliteConnectOptions, draft: &Path) -> Result<()> {
    let file = draft.to_owned();
    // SQLite takes an empty file for its own; so its mode is right from the beginning.
    blocking(move || {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map(|_| ())
    })
    .await?;
    let name = draft.to_str().ok_or_else(|| {
        StoreError::Backup(io::Error::new(io::ErrorKind::InvalidInput, "the name is not UTF-8"))
    })?;
    let mut connection =
        options.clone().read_only(true).connect().await.map_err(unusable("open for a copy"))?;
    let copied = sqlx::query("vacuum into ?1").bind(name).execute(&mut connection).await;
    let closed = connection.close().await;
    copied.map_err(unusable("copy the database"))?;
    closed.map_err(unusable("close after a copy"))
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)
        .flatten()
        .map_err(StoreError::Backup)
}
