//! UDP that stayed silent: a firewall or a router took what the camera sent.
//!
//! Over `auto` each session asks for TCP first and goes over to UDP only where that is refused; so
//! the attempt after a silent one is one over TCP by itself. What has to be remembered is that a
//! refusal is then no reason for another five seconds of silence: the attempt ends at once and the
//! next one asks for TCP again. With that refusal the memory is used up, so a camera that knows
//! nothing but UDP is tried over it every other time, and comes back when the way is open.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::limits;

/// Of one stream, over its attempts.
#[derive(Clone, Debug, Default)]
pub(super) struct Silent(Arc<Mutex<Option<Instant>>>);

impl Silent {
    /// Nothing came.
    pub(super) fn note(&self, now: Instant) {
        *self.lock() = Some(now + limits::UDP_REMEMBERED);
    }

    /// Whether nothing came lately; asked once.
    pub(super) fn take(&self, now: Instant) -> bool {
        self.lock().take().is_some_and(|until| now < until)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
