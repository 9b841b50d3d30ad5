//! How far it is, for a bar, for `/readyz` and for metrics.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

/// Counted in files.
#[derive(Debug, Default)]
pub struct Progress {
    running: AtomicBool,
    done: AtomicU64,
    total: AtomicU64,
    /// Set before it begins and kept when it is through.
    why: Mutex<Option<String>>,
}

impl Progress {
    /// Whether it is under way.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.load(Relaxed)
    }

    /// Files looked at.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done.load(Relaxed)
    }

    /// Files there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }

    /// Why it is, or was, needed since this process started; `None`: it was not.
    #[must_use]
    pub fn why(&self) -> Option<String> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It begins.
    pub fn begin(&self, why: &str) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
        self.running.store(true, Relaxed);
    }

    /// It is through.
    pub fn end(&self) {
        self.running.store(false, Relaxed);
    }

    pub(super) fn expect(&self, files: u64) {
        self.total.store(files, Relaxed);
        self.done.store(0, Relaxed);
    }

    pub(super) fn advance(&self, files: u64) {
        self.done.fetch_add(files, Relaxed);
    }
}
