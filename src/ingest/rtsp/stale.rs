//! Sessions that ended without the camera saying so, and may still hold a place there.
//!
//! Over TCP a camera sees the connection go, and the session with it. Two do not: one that sends
//! over UDP, and live555 before it learned to look (2017-06-04), which goes on sending to whoever
//! gets the socket's number next. Such a session is ended over the next connection, before its first
//! SETUP; where that is not answered, it is waited out.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// What was left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// The session's id.
    pub(super) session: String,
    /// When it is over at the latest, by its own time-out.
    pub(super) until: Instant,
}

/// Of one stream, over its attempts: at most one, for the next attempt deals with it first.
#[derive(Clone, Debug, Default)]
pub(super) struct Stale(Arc<Mutex<Option<Left>>>);

impl Stale {
    /// What was left behind and is not over by itself.
    pub(super) fn get(&self, now: Instant) -> Option<Left> {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if left.as_ref().is_some_and(|left| left.until <= now) {
            *left = None;
        }
        left.clone()
    }

    pub(super) fn put(&self, left: Option<Left>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = left;
    }
}
