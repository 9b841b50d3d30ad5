//! Retention as a task of the recorder: supervised, and stopped when nothing records any more.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use crate::{
    config,
    retention::{self, Parts, Retention, Settings},
    task::{self, Health},
};

/// Retention and its task.
pub(super) struct Retaining {
    retention: Arc<Retention>,
    stop: CancellationToken,
    task: TaskTracker,
    health: watch::Sender<Health>,
}

impl Retaining {
    /// Ready; nothing is deleted before [`Self::start`].
    pub(super) fn new(config: &config::Retention, parts: Parts) -> Self {
        let settings = Settings { events: config.events, audit: config.audit, gaps: config.gaps };
        let health = Health::Stopped { since: tokio::time::Instant::now() };
        Self {
            retention: Retention::new(settings, parts),
            stop: CancellationToken::new(),
            task: TaskTracker::new(),
            health: watch::Sender::new(health),
        }
    }

    /// For the API and the metrics.
    pub(super) const fn retention(&self) -> &Arc<Retention> {
        &self.retention
    }

    /// How the task does.
    pub(super) fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Begins to delete. To be called once what a crash left open is complete.
    pub(super) fn start(&self) {
        let retention = Arc::clone(&self.retention);
        let attempt = move |attempt| Arc::clone(&retention).run(attempt);
        let (health, stop) = (self.health.clone(), self.stop.clone());
        let span = tracing::info_span!("retention");
        let run = task::supervise(retention::POLICY, health, stop, attempt).instrument(span);
        self.task.spawn(run);
        self.task.close();
    }

    /// Ends it between two steps.
    pub(super) async fn shut_down(&self) {
        self.stop.cancel();
        self.task.wait().await;
    }
}
