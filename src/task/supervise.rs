//! The supervisor itself.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::{JoinError, JoinSet},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, error, info, warn};

use super::{
    backoff::{Backoff, Policy},
    chain,
};
use crate::proto::reason::GapReason;

/// Which class of wait follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// May mend itself: a reboot, a cable, a full client table.
    Soon,
    /// Only a person can mend it: a password, an address.
    Slow,
}

/// What the supervisor must know of an error.
pub trait Failure: std::error::Error + Send + Sync + 'static {
    /// When to try again.
    fn retry(&self) -> Retry;
    /// Its name in gaps, metrics and the API.
    fn reason(&self) -> GapReason;
}

/// What an attempt is given.
#[derive(Clone, Debug)]
pub struct Attempt {
    stop: CancellationToken,
    working: Arc<OnceLock<Instant>>,
    health: watch::Sender<Health>,
}

impl Attempt {
    /// Cancelled when the attempt must end; it then has [`Policy::stop_within`].
    #[must_use]
    pub const fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Says that the attempt does its work from now on. Later calls change nothing.
    pub fn works(&self) {
        let now = Instant::now();
        if self.working.set(now).is_ok() {
            self.health.send_replace(Health::Working { since: now });
        }
    }
}

/// How a supervised task is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// An attempt has begun and does not work yet.
    Starting {
        /// Since when.
        since: Instant,
        /// Why the one before ended, if there was one.
        last: Option<Ended>,
    },
    /// It works.
    Working {
        /// Since when.
        since: Instant,
    },
    /// The last attempt ended; the next one waits.
    BackingOff {
        /// Since when.
        since: Instant,
        /// When the next attempt begins.
        retry_at: Instant,
        /// Why the last one ended.
        last: Ended,
    },
    /// Nobody tries any more.
    Stopped {
        /// Since when.
        since: Instant,
    },
}

/// Why an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The closed enum's word for it.
    pub reason: GapReason,
    /// In plain words, causes included; holds no secret.
    pub detail: Arc<str>,
}

/// Bounds how many attempts are connecting at once, over all tasks that share it: a thousand
/// cameras behind one switch come back together, and each handshake costs sockets and CPU.
#[derive(Clone, Debug)]
pub struct Connects(Arc<Semaphore>);

impl Connects {
    /// At most `limit` at once.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Semaphore::new(limit)))
    }

    /// Waits for a place; it is given back when the permit is dropped. First come, first served.
    /// Cancel-safe.
    pub async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.0).acquire_owned().await.ok()
    }
}

impl Default for Connects {
    /// 256, as CAMERAS.md promises.
    fn default() -> Self {
        Self::new(256)
    }
}

/// Keeps `attempt` running until `shutdown`, starting it again when it ends.
///
/// Each wait is counted from the *start* of the attempt that failed, so that a connect time-out is
/// not added to the wait; the next attempt still begins no sooner than a tenth of it after.
///
/// Dropping the future aborts the attempt; cancel `shutdown` and await it instead.
pub async fn supervise<E, A, F>(
    policy: Policy,
    health: watch::Sender<Health>,
    shutdown: CancellationToken,
    mut attempt: A,
) where
    E: Failure,
    A: FnMut(Attempt) -> F,
    F: Future<Output = Result<(), E>> + Send + 'static,
{
    let mut backoff = Backoff::new(policy);
    let mut last = None;
    let mut failing_since = None;
    while !shutdown.is_cancelled() {
        let started = Instant::now();
        health.send_replace(Health::Starting { since: started, last: last.take() });
        let context = Attempt {
            stop: shutdown.child_token(),
            working: Arc::default(),
            health: health.clone(),
        };
        let working = Arc::clone(&context.working);
        let outcome = run_one(attempt(context), &shutdown, policy.stop_within).await;
        if shutdown.is_cancelled() {
            break;
        }
        let now = Instant::now();
        if working.get().is_some_and(|at| now - *at >= policy.recovered_after) {
            backoff.reset();
            failing_since = None;
        }
        let failing_for = now - *failing_since.get_or_insert(now);
        let (retry, ended) = verdict(&outcome);
        let distance = match retry {
            Retry::Soon => backoff.soon(failing_for, rand::random()),
            Retry::Slow => backoff.slow(rand::random()),
        };
        let retry_at = (started + distance).max(now + distance / 10);
        warn!(
            reason = %ended.reason,
            retry_in_ms = (retry_at - now).as_millis() as u64,
            "attempt ended: {}", ended.detail,
        );
        health.send_replace(Health::BackingOff { since: now, retry_at, last: ended.clone() });
        last = Some(ended);
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = sleep(retry_at - now) => {}
        }
    }
    health.send_replace(Health::Stopped { since: Instant::now() });
    info!("stopped");
}

/// Runs one attempt as a task. `None`: it did not stop in time and was aborted.
async fn run_one<E, F>(
    attempt: F,
    shutdown: &CancellationToken,
    stop_within: Duration,
) -> Option<Result<Result<(), E>, JoinError>>
where
    E: Failure,
    F: Future<Output = Result<(), E>> + Send + 'static,
{
    let mut task = JoinSet::new();
    task.spawn(attempt.instrument(Span::current()));
    tokio::select! {
        outcome = task.join_next() => return outcome,
        () = shutdown.cancelled() => {}
    }
    match timeout(stop_within, task.join_next()).await {
        Ok(outcome) => outcome,
        Err(_) => {
            error!("did not stop within {} ms, aborted", stop_within.as_millis());
            task.shutdown().await;
            None
        }
    }
}

fn verdict<E: Failure>(outcome: &Option<Result<Result<(), E>, JoinError>>) -> (Retry, Ended) {
    match outcome {
        Some(Ok(Err(failure))) => {
            let ended = Ended { reason: failure.reason(), detail: chain(failure).into() };
            (failure.retry(), ended)
        }
        Some(Ok(Ok(()))) => (Retry::Soon, internal("ended without an error".to_owned())),
        Some(Err(failed)) => (Retry::Soon, internal(format!("panicked: {failed}"))),
        None => (Retry::Soon, internal("aborted".to_owned())),
    }
}

fn internal(detail: String) -> Ended {
    Ended { reason: GapReason::Internal, detail: detail.into() }
}

#[cfg(test)]
#[path = "supervise_tests.rs"]
mod tests;
