//! Telling a task to stop, and why: the reason stands in the gap it leaves.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use crate::proto::reason::GapReason;

/// A cancellation token that carries a reason. Clones are the same stop.
#[derive(Clone, Debug)]
pub struct Stop {
    token: CancellationToken,
    reason: Arc<OnceLock<GapReason>>,
}

impl Stop {
    /// A stop that also comes when `parent` is cancelled (the process goes down).
    #[must_use]
    pub fn child_of(parent: &CancellationToken) -> Self {
        Self { token: parent.child_token(), reason: Arc::new(OnceLock::new()) }
    }

    /// Asks to stop. The first reason stands.
    pub fn stop(&self, reason: GapReason) {
        let _ = self.reason.set(reason);
        self.token.cancel();
    }

    /// Cancelled when somebody asked.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Why; [`GapReason::VedetteDown`] when the parent was cancelled.
    #[must_use]
    pub fn reason(&self) -> GapReason {
        self.reason.get().copied().unwrap_or(GapReason::VedetteDown)
    }
}
