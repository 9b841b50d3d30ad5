//! The one connection that writes, and the task that owns it.
//!
//! A durable commit costs a disk flush; a row costs microseconds. So the task takes whatever has
//! queued up while the last commit was under way and commits it together: a lone write is
//! answered at once, and a hundred recorders closing segments in the same second share a flush.
//! Each command runs inside a savepoint, so one that fails takes only itself back.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::{Connection, SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Result, StoreError};

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
            let answer = Box::new(move |outcome: Outcome| {
                let _ = tell.send(match (result, outcome) {
                    (Ok(_), Err(source)) => Err(StoreError::Transaction { what, source }),
                    (result, _) => result,
                });
            });
            Done { keep, answer }
        })
    }

    fn refuse(self: Box<Self>, source: Arc<sqlx::Error>) {
        let _ = self.tell.send(Err(StoreError::Transaction { what: self.what, source }));
    }
}

/// Handle on the writer task.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Command>>,
    closing: CancellationToken,
    task: TaskTracker,
}

impl Writer {
    /// Takes over `connection`; closes `readers` when it ends.
    pub(super) fn start(connection: SqliteConnection, readers: SqlitePool) -> Self {
        let (queue, commands) = mpsc::channel(QUEUE);
        let closing = CancellationToken::new();
        let task = TaskTracker::new();
        task.spawn(run(connection, readers, commands, closing.clone()));
        task.close();
        Self { queue, closing, task }
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

    pub(super) async fn close(&self) {
        self.closing.cancel();
        self.task.wait().await;
    }
}

async fn run(
    mut connection: SqliteConnection,
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
                transact(&mut connection, &mut batch).await;
            }
        }
    }
    // Readers first: the checkpoint cannot cut the WAL file while one of them looks at it.
    readers.close().await;
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
async fn transact(connection: &mut SqliteConnection, batch: &mut Vec<Box<dyn Command>>) {
    let mut waiting = std::mem::take(batch).into_iter();
    let mut answers = Vec::with_capacity(waiting.len());
    let outcome = transaction(connection, &mut waiting, &mut answers).await.map_err(Arc::new);
    if let Err(source) = &outcome {
        tracing::error!(error = %source, commands = answers.len(), "a transaction failed");
        // SQLite may have rolled back by itself already (disk full, I/O error): then this fails.
        let _ = sqlx::query("rollback").execute(&mut *connection).await;
        waiting.for_each(|command| command.refuse(Arc::clone(source)));
    }
    answers.into_iter().for_each(|answer| answer(outcome.clone()));
}

async fn transaction(
    connection: &mut SqliteConnection,
    waiting: &mut std::vec::IntoIter<Box<dyn Command>>,
    answers: &mut Vec<Answer>,
) -> Result<(), sqlx::Error> {
    sqlx::query("begin immediate").execute(&mut *connection).await?;
    while !waiting.as_slice().is_empty() {
        // Before the command is taken: one that cannot begin is still there to be refused.
        sqlx::query("savepoint command").execute(&mut *connection).await?;
        let Some(command) = waiting.next() else { break };
        let done = command.run(&mut *connection).await;
        answers.push(done.answer);
        if !done.keep {
            sqlx::query("rollback to command").execute(&mut *connection).await?;
        }
        sqlx::query("release command").execute(&mut *connection).await?;
    }
    sqlx::query("commit").execute(&mut *connection).await?;
    Ok(())
}
