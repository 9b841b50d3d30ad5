//! All SQL. SQLite through sqlx: one writer that groups what is asked of it into transactions,
//! and a pool of readers (WAL).
//!
//! ```text
//! recorder, http, … ──▶ bounded queue ──▶ writer task ──▶ one connection   (writer.rs)
//! playback, http, … ───────────────────▶ pool of read-only connections     (the files by table)
//! ```
//!
//! # Invariants
//!
//! * A write is answered after its transaction is durable (`synchronous=FULL`), so a file may be
//!   unlinked as soon as the deletion of its row is answered.
//! * Recorded time and gaps add up to all the time since a stream was created, whatever is deleted,
//!   pruned or adopted; no run has a hole; no footage that is locked is deleted.
//! * Deletion comes in small transactions: recorders never wait long for it.
//! * One writer, so what is checked at the start of a command still holds at its end.
//! * No secret reaches SQL in the clear: camera passwords are sealed here, accounts come with
//!   hashes and sealed Digest secrets.
//! * No range query reads rows from before the range beyond a constant (tested against SQLite's
//!   query plans): the first page of a year-old archive costs what it cost on the first day.
//!
//! Domain types go in and come out ([`crate::model`]); sqlx stays inside. Times are integers,
//! microseconds UTC; `migrations/` says what each column means.

mod age;
mod backup;
mod camera;
mod check;
mod columns;
mod coverage;
mod cut;
mod delete;
mod doom;
mod error;
mod gap;
mod history;
mod import;
mod lane;
mod lock;
mod mark;
mod meta;
mod packed;
mod prune;
mod rewrite;
mod run;
mod segment;
mod state;
#[cfg(test)]
mod tests;
mod token;
mod trust;
mod turn;
mod unlink;
mod user;
mod volume;
mod writer;

use std::{
    fs::{DirBuilder, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use sqlx::{
    ConnectOptions, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::watch;

use self::{
    check::unusable,
    error::failed,
    writer::{Access, Shared, Writer},
};
pub use self::{
    coverage::Lasting,
    error::{Result, StoreError, Trouble, Unusable},
    import::JOINS,
    lock::MOST_LOCKS,
    mark::MAX_MARK,
    rewrite::Rewrite,
    segment::MAX_SEGMENT,
    state::Restored,
};
use crate::{clock::Clock, seal::Sealer};

/// Readers at once; more wait. SQLite reads are short and there are few cores.
const READERS: u32 = 4;
/// A read that gets no connection for so long fails.
const READER_WAIT: Duration = Duration::from_secs(10);

/// How the database is treated; [`Settings::of`] unless a test knows better.
#[derive(Clone, Debug)]
struct Settings {
    /// How long a connection waits for another process that holds the lock (a backup, say).
    busy_timeout: Duration,
    /// The write-ahead log is cut back when it has grown beyond, bytes.
    wal_limit: u64,
    /// How long that waits for reads under way; writes wait too.
    checkpoint_wait: Duration,
    /// After it waited in vain: how long until it is tried again.
    checkpoint_pause: Duration,
    /// The log's file.
    wal: PathBuf,
}

impl Settings {
    fn of(path: &Path) -> Self {
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        Self {
            busy_timeout: Duration::from_secs(10),
            wal_limit: 64 << 20,
            checkpoint_wait: Duration::from_millis(500),
            checkpoint_pause: Duration::from_secs(5),
            wal: wal.into(),
        }
    }
}

/// The index. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    writer: Arc<Writer>,
    readers: SqlitePool,
    clock: Clock,
    sealer: Sealer,
}

impl Store {
    /// Opens or makes the database at `path` (with the folders above it) and migrates it; one that
    /// holds something is copied before that, to a file beside it.
    ///
    /// Fails with [`StoreError::Unusable`] when it is damaged or no database: it is left as it is,
    /// to be kept aside. Fails with [`StoreError::WrongKey`] when its secrets were sealed with
    /// another key than `sealer`'s, so that a lost key file shows at start and not as cameras
    /// refusing logins.
    pub async fn open(path: &Path, clock: Clock, sealer: Sealer) -> Result<Self> {
        Self::open_with(path, clock, sealer, Settings::of(path)).await
    }

    async fn open_with(
        path: &Path,
        clock: Clock,
        sealer: Sealer,
        settings: Settings,
    ) -> Result<Self> {
        make_private_file(path).map_err(StoreError::File)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .foreign_keys(true)
            .busy_timeout(settings.busy_timeout)
            .disable_statement_logging();
        // No `pragma optimize`, ever: without statistics SQLite plans each query the same way in
        // every installation, and that way is tested.
        let writing = options
            .clone()
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("journal_size_limit", settings.wal_limit.to_string());

        let mut connection = writing.connect().await.map_err(unusable("open for writing"))?;
        check::migrate(&mut connection, path, &options).await?;
        check::look(&mut connection, path).await?;
        meta::check_key(&mut connection, &sealer).await?;
        let generation =
            writer::generation(&mut connection).await.map_err(unusable("read the generation"))?;
        let marked = doom::marked(&mut connection).await?;

        let shared = Arc::new(Shared::new(generation));
        let readers = readers(options.read_only(true), Arc::clone(&shared)).await?;
        let access = Access { options: writing, settings };
        let writer = Arc::new(Writer::start(connection, access, readers.clone(), shared));
        if !marked.is_empty() {
            tracing::info!(cameras = marked.len(), "going on with deleting cameras' footage");
            let worker = Arc::clone(&writer);
            writer.beside(async move {
                for camera in marked {
                    if let Err(error) = doom::finish(&worker, camera).await {
                        tracing::warn!(%error, "a deleted camera's footage is left for the next start");
                    }
                }
            });
        }
        Ok(Self { writer, readers, clock, sealer })
    }

    /// Waits for what is queued and for reads under way, checkpoints, closes.
    ///
    /// Writes asked for later fail with [`StoreError::Closed`]. Any clone may call it, more than
    /// once too: each call returns when all is closed.
    pub async fn close(&self) {
        self.writer.close().await;
    }

    /// Size of the write-ahead log after the last transaction, bytes.
    #[must_use]
    pub fn wal_bytes(&self) -> u64 {
        self.writer.shared.wal_bytes.load(Relaxed)
    }

    /// Checkpoints that could not cut the write-ahead log back although it had grown too large.
    #[must_use]
    pub fn checkpoint_failures(&self) -> u64 {
        self.writer.shared.checkpoint_failures.load(Relaxed)
    }

    /// What the writer met last: `None` while transactions go through. Damage stays.
    #[must_use]
    pub fn watch_trouble(&self) -> watch::Receiver<Option<Trouble>> {
        self.writer.shared.trouble.subscribe()
    }

    /// Has a pragma run on the writer's connection. This is how tests make it fail: `query_only`,
    /// `max_page_count`, `busy_timeout`.
    #[doc(hidden)]
    pub async fn pragma(&self, pragma: &'static str) -> Result<()> {
        let run = self.writer.write("pragma", move |db| {
            Box::pin(async move {
                sqlx::query(pragma).fetch_all(db).await.map(|_| ()).map_err(failed("pragma"))
            })
        });
        run.await
    }

    /// Answers when the writer and a reader work.
    pub async fn ping(&self) -> Result<()> {
        self.writer.write("ping", |_| Box::pin(async { Ok(()) })).await?;
        sqlx::query("select 1").execute(&self.readers).await.map(|_| ()).map_err(failed("ping"))
    }
}

impl Store {
    /// Several reads that must fit together.
    async fn snapshot(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>> {
        self.readers.begin().await.map_err(failed("begin to read"))
    }
}

async fn readers(options: SqliteConnectOptions, shared: Arc<Shared>) -> Result<SqlitePool> {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(READER_WAIT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .before_acquire(move |_, meta| {
            let usable = !shared.outlived(meta.age);
            Box::pin(async move { Ok(usable) })
        })
        .connect_with(options)
        .await
        .map_err(unusable("open for reading"))
}

/// SQLite gives its `-wal` and `-shm` files the mode of the database file.
fn make_private_file(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o750).create(parent)?;
    }
    // Not truncated: it may be there.
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}
