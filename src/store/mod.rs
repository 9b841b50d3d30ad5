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
mod columns;
mod coverage;
mod delete;
mod error;
mod gap;
mod history;
mod import;
mod lock;
mod mark;
mod meta;
mod packed;
mod prune;
mod run;
mod segment;
mod state;
#[cfg(test)]
mod tests;
mod token;
mod unlink;
mod user;
mod volume;
mod writer;

use std::{
    fs::{DirBuilder, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
    sync::Arc,
    time::Duration,
};

use sqlx::{
    ConnectOptions, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

pub use self::{
    coverage::Lasting,
    error::{Result, StoreError, Trouble, Unusable},
    lock::MOST_LOCKS,
    mark::MAX_MARK,
    segment::MAX_SEGMENT,
    state::Restored,
};
use self::{error::failed, writer::Writer};
use crate::{clock::Clock, seal::Sealer};

/// Readers at once; more wait. SQLite reads are short and there are few cores.
const READERS: u32 = 4;
/// How long a connection waits for another process that holds the lock (a backup, say).
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// The WAL file is cut back to this at a checkpoint after it grew beyond.
const WAL_LIMIT_BYTES: &str = "67108864";
/// A read that gets no connection for so long fails.
const READER_WAIT: Duration = Duration::from_secs(10);

/// The index. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    writer: Arc<Writer>,
    readers: SqlitePool,
    clock: Clock,
    sealer: Sealer,
}

impl Store {
    /// Opens or makes the database at `path` (with the folders above it) and migrates it.
    ///
    /// Fails with [`StoreError::WrongKey`] when its secrets were sealed with another key than
    /// `sealer`'s, so that a lost key file shows at start and not as cameras refusing logins.
    pub async fn open(path: &Path, clock: Clock, sealer: Sealer) -> Result<Self> {
        make_private_file(path).map_err(StoreError::File)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();

        // No `pragma optimize`, ever: without statistics SQLite plans each query the same way in
        // every installation, and that way is tested.
        let mut connection = options
            .clone()
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("journal_size_limit", WAL_LIMIT_BYTES)
            .connect()
            .await
            .map_err(failed("open for writing"))?;
        sqlx::migrate!().run(&mut connection).await.map_err(StoreError::Migrate)?;
        meta::check_key(&mut connection, &sealer).await?;

        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(READER_WAIT)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_with(options.read_only(true))
            .await
            .map_err(failed("open for reading"))?;
        let writer = Writer::start(connection, readers.clone());
        Ok(Self { writer: Arc::new(writer), readers, clock, sealer })
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
        todo!()
    }

    /// Checkpoints that could not cut the write-ahead log back although it had grown too large.
    #[must_use]
    pub fn checkpoint_failures(&self) -> u64 {
        todo!()
    }

    /// What the writer met last: `None` while transactions go through.
    #[must_use]
    pub fn watch_trouble(&self) -> tokio::sync::watch::Receiver<Option<Trouble>> {
        todo!()
    }

    /// Answers when the writer and a reader work.
    pub async fn ping(&self) -> Result<()> {
        self.writer.write("ping", |_| Box::pin(async { Ok(()) })).await?;
        sqlx::query("select 1").execute(&self.readers).await.map(|_| ()).map_err(failed("ping"))
    }
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
