//! The one connection that writes, and the task that owns it.
//!
//! A durable commit costs a disk flush; a row costs microseconds. So the task takes whatever has
//! queued up while the last commit was under way and commits it together: a lone write is
//! answered at once, and a hundred recorders closing segments in the same second share a flush.
//! Each command runs inside a savepoint, so one that fails takes only itself back.
//!
//! # When the database does not work
//!
//! A disk that is full or fails may make SQLite roll the whole transaction back: then what had run
//! in it is answered with that cause, and what had not is run in the next one. A connection that
//! cannot be brought back to order is closed, and the next batch opens another. Nothing is kept to
//! be tried again here: whoever asked knows what is worth it, and has a bound.
//!
//! # The write-ahead log
//!
//! SQLite copies it into the database as it grows, but begins it anew only in a moment without
//! readers; under constant reading it would grow for ever. Beyond [`Settings::wal_limit`] a
//! checkpoint that waits for the readers of the moment cuts it back: new ones read the database
//! itself by then, so that is a wait for the longest read, and bounded.
//!
//! [`Settings::wal_limit`]: super::Settings::wal_limit

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use futures_util::future::BoxFuture;
use sqlx::{
    ConnectOptions, Connection, SqliteConnection, SqlitePool, sqlite::SqliteConnectOptions,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Result, Settings, StoreError, Trouble};

/// Commands that wait; beyond, [`Writer::write`] waits for room.
const QUEUE: usize = 1_024;
/// Commands in one transaction, so that the first is not kept waiting for long.
const BATCH: usize = 256;

/// How the shared transaction ended: told to each command in it.
type Outcome = Result<(), Arc<sqlx::Error>>;
/// Answers whoever asked for a command.
type Answer = Box<dyn FnOnce(Outcome) + Send>;

/// A queued command, whatever its result's type.
trait Command: Send {
    /// Runs it, in a transaction that is not committed yet.
    fn run(self: Box<Self>, connection: &mut SqliteConnection) -> BoxFuture<'_, Done>;
    /// Answers it without having run it.
    fn refuse(self: Box<Self>, cause: Arc<sqlx::Error>);
}

/// A command that has run.
struct Done {
    /// Whether to keep its changes.
    keep: bool,
    /// What of the database kept it from its work.
    cause: Option<Arc<sqlx::Error>>,
    answer: Answer,
}

struct Job<T, F> {
    what: &'static str,
    work: F,
    tell: oneshot::Sender<Result<T>>,
}

// Answers go nowhere when whoever asked has stopped waiting; that is no error.
impl<T, F> Command for Job<T, F>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T>> + Send + 'static,
{
    fn run(self: Box<Self>, connection: &mut SqliteConnection) -> BoxFuture<'_, Done> {
        let Self { what, work, tell } = *self;
        let running = work(connection);
        Box::pin(async move {
            let result = running.await;
            let keep = result.is_ok();
            let cause = match &result {
                Err(StoreError::Database { source, .. }) if Trouble::of(source).is_some() => {
                    Some(Arc::clone(source))
                }
                _ => None,
            };
            let answer = Box::new(move |outcome: Outcome| {
                let _ = tell.send(match (result, outcome) {
                    (Ok(_), Err(source)) => Err(StoreError::Transaction { what, source }),
                    (result, _) => result,
                });
            });
            Done { keep, cause, answer }
        })
    }

    fn refuse(self: Box<Self>, source: Arc<sqlx::Error>) {
        let _ = self.tell.send(Err(StoreError::Transaction { what: self.what, source }));
    }
}

/// What the writer says of itself, to be read at any time.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) wal_bytes: AtomicU64,
    pub(super) checkpoint_failures: AtomicU64,
    pub(super) trouble: watch::Sender<Option<Trouble>>,
    pub(super) state: watch::Sender<u64>,
    pub(super) unlinks: watch::Sender<u64>,
    /// When the writer last opened a new connection because the old one had broken.
    renewed: Mutex<Option<Instant>>,
}

impl Shared {
    pub(super) fn new(generation: u64) -> Self {
        Self {
            wal_bytes: AtomicU64::new(0),
            checkpoint_failures: AtomicU64::new(0),
            trouble: watch::Sender::new(None),
            state: watch::Sender::new(generation),
            unlinks: watch::Sender::new(0),
            renewed: Mutex::new(None),
        }
    }

    /// Whether a reader of this age was opened before the writer had to be opened anew: what broke
    /// that has broken this one.
    pub(super) fn outlived(&self, age: std::time::Duration) -> bool {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        renewed.is_some_and(|at| at.elapsed() < age)
    }

    /// Damage stays said until the database is opened anew: other pages may still be whole.
    fn met(&self, trouble: Option<Trouble>) {
        self.trouble.send_if_modified(|now| {
            let next = if *now == Some(Trouble::Damaged) { *now } else { trouble };
            std::mem::replace(now, next) != next
        });
    }
}

/// How to open the database, for the writer to do it again.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) options: SqliteConnectOptions,
    pub(super) settings: Settings,
}

/// Handle on the writer task.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Command>>,
    closing: CancellationToken,
    task: TaskTracker,
    pub(super) shared: Arc<Shared>,
}

impl Writer {
    /// Takes over `connection`; closes `readers` when it ends.
    pub(super) fn start(
        connection: SqliteConnection,
        access: Access,
        readers: SqlitePool,
        shared: Arc<Shared>,
    ) -> Self {
        let (queue, commands) = mpsc::channel(QUEUE);
        let closing = CancellationToken::new();
        let task = TaskTracker::new();
        let lead = Lead {
            connection: Some(connection),
            access,
            shared: Arc::clone(&shared),
            checkpoint_after: None,
        };
        task.spawn(lead.run(readers, commands, closing.clone()));
        Self { queue, closing, task, shared }
    }

    /// Has `work` run in the writer's transaction; answers when that is durable.
    ///
    /// What `work` changed is taken back when it fails, and only that. Not cancel-safe in the
    /// sense that a caller who stops waiting does not take the command out of the queue.
    pub(super) async fn write<T, F>(&self, what: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let job = Box::new(Job { what, work, tell });
        self.queue.send(job).await.map_err(|_| StoreError::Closed)?;
        told.await.map_err(|_| StoreError::Closed)?
    }

    /// There may be more files to unlink.
    pub(super) fn unlinks_added(&self) {
        self.shared.unlinks.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Has `work` run beside the writer; it is waited for at the close, by when its writes fail.
    pub(super) fn beside(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.task.spawn(work);
    }

    pub(super) async fn close(&self) {
        self.closing.cancel();
        self.task.close();
        self.task.wait().await;
    }
}

/// The task's own.
struct Lead {
    /// `None` while it has broken.
    connection: Option<SqliteConnection>,
    access: Access,
    shared: Arc<Shared>,
    /// No checkpoint that waits for readers before this: the last one waited in vain.
    checkpoint_after: Option<Instant>,
}

impl Lead {
    async fn run(
        mut self,
        readers: SqlitePool,
        mut commands: mpsc::Receiver<Box<dyn Command>>,
        closing: CancellationToken,
    ) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut closed = false;
        loop {
            // Cancel-safe: `recv_many` takes nothing out unless it is the branch that completes.
            tokio::select! {
                biased;
                () = closing.cancelled(), if !closed => {
                    // Nothing new comes in; what is queued still comes out, and then 0.
                    commands.close();
                    closed = true;
                }
                received = commands.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        break;
                    }
                    self.transact(&mut batch).await;
                }
            }
        }
        // Readers first: the checkpoint cannot cut the WAL file while one of them looks at it.
        readers.close().await;
        let Some(mut connection) = self.connection else { return };
        if let Err(error) =
            sqlx::query("pragma wal_checkpoint(truncate)").execute(&mut connection).await
        {
            tracing::warn!(%error, "the database could not be checkpointed, the next start does it");
        }
        if let Err(error) = connection.close().await {
            tracing::warn!(%error, "the database did not close cleanly");
        }
    }

    /// Runs and commits a batch, and answers each command in it.
    async fn transact(&mut self, batch: &mut Vec<Box<dyn Command>>) {
        let mut waiting = std::mem::take(batch).into_iter();
        while !waiting.as_slice().is_empty() {
            let mut done = Vec::with_capacity(waiting.len());
            let ended = match self.connected().await {
                Ok(connection) => transaction(connection, &mut waiting, &mut done).await,
                Err(source) => Err(Broken { source: Arc::new(source), within: false }),
            };
            let trouble = done.iter().find_map(|d| d.cause.as_deref().and_then(Trouble::of));
            let outcome = match ended {
                Ok(()) => {
                    self.shared.met(trouble);
                    if trouble.is_some_and(lasts) {
                        self.connection = None;
                    }
                    Ok(())
                }
                Err(Broken { source, within }) => {
                    tracing::error!(error = %source, commands = done.len(), "a transaction failed");
                    self.shared.met(Trouble::of(&source).or(Some(Trouble::Io)));
                    self.mend(&source).await;
                    if !within {
                        // It could not begin, or not be made durable: the next one could no more.
                        waiting.by_ref().for_each(|command| command.refuse(Arc::clone(&source)));
                    }
                    Err(source)
                }
            };
            done.into_iter().for_each(|done| (done.answer)(outcome.clone()));
        }
        self.look_after().await;
    }

    async fn connected(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let connection = self.access.options.connect().await?;
                // Readers opened before hold on to the same broken files.
                let mut renewed =
                    self.shared.renewed.lock().unwrap_or_else(PoisonError::into_inner);
                *renewed = Some(Instant::now());
                tracing::info!("the database was opened anew");
                connection
            }
        };
        Ok(self.connection.insert(connection))
    }

    /// After a transaction that failed: brings the connection back to order, or gives it up.
    async fn mend(&mut self, cause: &sqlx::Error) {
        /// `SQLITE_ERROR`: here, that there is no transaction (any more).
        const ROLLED_BACK: &str = "1";
        let Some(connection) = &mut self.connection else { return };
        // SQLite may have rolled back by itself already (disk full, I/O error): then this fails.
        let in_order = match sqlx::query("rollback").execute(&mut *connection).await {
            Ok(_) => true,
            Err(sqlx::Error::Database(error)) => error.code().as_deref() == Some(ROLLED_BACK),
            Err(_) => false,
        };
        if !in_order || Trouble::of(cause).is_some_and(lasts) {
            self.connection = None;
        }
    }

    /// Between transactions: what others want to know, and the WAL's size.
    async fn look_after(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        if let Ok(generation) = generation(connection).await {
            self.shared
                .state
                .send_if_modified(|now| std::mem::replace(now, generation) != generation);
        }
        let wal = &self.access.settings.wal;
        let bytes = tokio::fs::metadata(wal).await.map_or(0, |file| file.len());
        self.shared.wal_bytes.store(bytes, Relaxed);
        let due = self.checkpoint_after.is_none_or(|after| after <= Instant::now());
        if bytes <= self.access.settings.wal_limit || !due {
            return;
        }
        let cut = checkpoint(connection, &self.access.settings).await;
        if matches!(cut, Ok(true)) {
            self.checkpoint_after = None;
            let bytes = tokio::fs::metadata(wal).await.map_or(0, |file| file.len());
            self.shared.wal_bytes.store(bytes, Relaxed);
            return;
        }
        self.shared.checkpoint_failures.fetch_add(1, Relaxed);
        self.checkpoint_after = Some(Instant::now() + self.access.settings.checkpoint_pause);
        let error = cut.err().map(|e| e.to_string());
        tracing::warn!(bytes, error, "the write-ahead log could not be cut back: a long read?");
    }
}

/// Whether a connection that met this may stay in it when the disk is well again: its files may
/// have been opened read-only, or be gone.
const fn lasts(trouble: Trouble) -> bool {
    matches!(trouble, Trouble::Io | Trouble::ReadOnly)
}

/// How often what is mirrored to the volumes has changed.
pub(super) async fn generation(db: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let generation: i64 =
        sqlx::query_scalar("select generation from state_generation").fetch_one(db).await?;
    Ok(generation.unsigned_abs())
}

/// Waits for the readers of the moment and cuts the WAL file back; says whether it was.
async fn checkpoint(db: &mut SqliteConnection, settings: &Settings) -> Result<bool, sqlx::Error> {
    let patience = |time: std::time::Duration| {
        sqlx::AssertSqlSafe(format!("pragma busy_timeout = {}", time.as_millis()))
    };
    sqlx::query(patience(settings.checkpoint_wait)).execute(&mut *db).await?;
    let busy: Result<i64, _> =
        sqlx::query_scalar("pragma wal_checkpoint(truncate)").fetch_one(&mut *db).await;
    sqlx::query(patience(settings.busy_timeout)).execute(&mut *db).await?;
    busy.map(|busy| busy == 0)
}

/// A transaction that is not durable.
struct Broken {
    source: Arc<sqlx::Error>,
    /// One of its commands made SQLite roll it back, so another transaction may work.
    within: bool,
}

impl Broken {
    fn outside(source: sqlx::Error) -> Self {
        Self { source: Arc::new(source), within: false }
    }
}

async fn transaction(
    connection: &mut SqliteConnection,
    waiting: &mut std::vec::IntoIter<Box<dyn Command>>,
    done: &mut Vec<Done>,
) -> Result<(), Broken> {
    sqlx::query("begin immediate").execute(&mut *connection).await.map_err(Broken::outside)?;
    let mut last = None;
    while !waiting.as_slice().is_empty() {
        let broken = |source, last: Option<Arc<sqlx::Error>>| Broken {
            source: last.unwrap_or_else(|| Arc::new(source)),
            within: true,
        };
        // Before the command is taken: one that cannot begin is still there for the next one.
        if let Err(source) = sqlx::query("savepoint command").execute(&mut *connection).await {
            // Without a command that ran before, the next transaction would fare no better.
            return Err(Broken { within: !done.is_empty(), ..broken(source, last) });
        }
        let Some(command) = waiting.next() else { break };
        let ran = command.run(&mut *connection).await;
        last = ran.cause.clone();
        let keep = ran.keep;
        done.push(ran);
        if !keep
            && let Err(source) = sqlx::query("rollback to command").execute(&mut *connection).await
        {
            return Err(broken(source, last));
        }
        if let Err(source) = sqlx::query("release command").execute(&mut *connection).await {
            return Err(broken(source, last));
        }
    }
    sqlx::query("commit").execute(&mut *connection).await.map_err(Broken::outside)?;
    Ok(())
}
