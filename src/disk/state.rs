//! How a volume does: one state for the writer, the recorders, retention, the API and the log.
//!
//! ```text
//!            write or sync failed            probe worked
//!   Ready ───────────────────────▶ Failing ─────────────▶ Ready
//!     │ too little room, ENOSPC, EDQUOT        room again
//!     ├───────────────────────────▶ Full ───────────────▶ Ready
//!     │ EROFS                                 probe worked
//!     ├───────────────────────────▶ ReadOnly ───────────▶ Ready
//!     │ folder or marker gone, another's marker   it is back
//!     └───────────────────────────▶ Missing ────────────▶ Ready
//! ```
//!
//! Whoever meets a failure says so here; only the volume's keeper (`keeper.rs`) says that it is
//! well again, after it has written and synced something. So one lucky write does not call a
//! failing disk well, and a hundred streams do not each find out for themselves.
//!
//! The `std` mutex guards three small fields and is never held over anything that waits.

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

/// How a volume does.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum VolumeState {
    /// It is written to.
    Ready,
    /// It has less room than is to stay free; retention is asked to make some.
    Full,
    /// Writes or syncs fail, or do not end.
    Failing,
    /// It is mounted read-only.
    ReadOnly,
    /// It is not there: not mounted, unplugged, or another volume stands in its place.
    Missing,
}

impl VolumeState {
    /// All of them, for metrics that must exist from the start.
    pub const ALL: [Self; 5] =
        [Self::Ready, Self::Full, Self::Failing, Self::ReadOnly, Self::Missing];

    /// Snake case: metric label, API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Full => "full",
            Self::Failing => "failing",
            Self::ReadOnly => "read_only",
            Self::Missing => "missing",
        }
    }

    /// Whether files on it can be read and deleted.
    #[must_use]
    pub const fn can_be_read(self) -> bool {
        !matches!(self, Self::Missing)
    }
}

/// Whether a write failed because there is no room.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// The state that a failure means. [`io::ErrorKind::NotFound`] and the like are a matter for the
/// keeper, who looks whether the volume is still there.
pub(super) fn state_of(error: &io::Error) -> VolumeState {
    if is_full(error) {
        return VolumeState::Full;
    }
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => VolumeState::ReadOnly,
        _ => VolumeState::Failing,
    }
}

#[derive(Debug)]
struct Inner {
    state: VolumeState,
    /// Why it is not ready, for people.
    why: Option<String>,
    since: Instant,
}

/// The state of one volume, shared by all that see to it.
#[derive(Debug)]
pub(super) struct Availability {
    name: String,
    inner: Mutex<Inner>,
    /// Of all volumes together: carries how often any of them changed.
    changed: Arc<watch::Sender<u64>>,
    /// Grows when the volume was away: files opened before are not to be written to.
    generation: AtomicU64,
    /// What the keeper waits for.
    bell: Mutex<Bell>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct Bell {
    look: bool,
    try_now: bool,
    stopped: bool,
}

/// Why the keeper woke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// Something happened.
    Asked,
    /// Something was done about it: it is to be tried at once.
    Try,
    Time,
    Stopped,
}

impl Availability {
    pub(super) fn new(name: String, changed: Arc<watch::Sender<u64>>) -> Self {
        let inner = Inner { state: VolumeState::Ready, why: None, since: Instant::now() };
        Self {
            name,
            inner: Mutex::new(inner),
            changed,
            generation: AtomicU64::new(0),
            bell: Mutex::default(),
            rung: Condvar::new(),
        }
    }

    pub(super) fn state(&self) -> VolumeState {
        self.lock().state
    }

    pub(super) fn why(&self) -> Option<String> {
        self.lock().why.clone()
    }

    pub(super) fn since(&self) -> Instant {
        self.lock().since
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// Files that are open are not to be written to any more.
    pub(super) fn begin_generation(&self) {
        self.generation.fetch_add(1, Relaxed);
    }

    /// An operation failed.
    pub(super) fn failed(&self, error: &io::Error) {
        let state = state_of(error);
        // A volume that is not there fails in many ways; what the keeper saw says more.
        if self.state() != VolumeState::Missing {
            self.set(state, Some(error.to_string()));
        }
        self.look();
    }

    /// Says how it does; `why` is for people.
    pub(super) fn set(&self, state: VolumeState, why: Option<String>) {
        {
            let mut inner = self.lock();
            if inner.state == state {
                inner.why = why;
                return;
            }
            inner.state = state;
            inner.since = Instant::now();
            inner.why.clone_from(&why);
        }
        match &why {
            None => tracing::info!(volume = %self.name, "volume is ready"),
            Some(why) => {
                tracing::error!(volume = %self.name, state = state.as_str(), %why, "volume is not ready");
            }
        }
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Has the keeper look now.
    pub(super) fn look(&self) {
        self.ring(|bell| bell.look = true);
    }

    /// Has the keeper look and, where it failed, try now.
    pub(super) fn try_now(&self) {
        self.ring(|bell| bell.try_now = true);
    }

    /// Has the keeper end.
    pub(super) fn stop(&self) {
        self.ring(|bell| bell.stopped = true);
    }

    fn ring(&self, how: impl FnOnce(&mut Bell)) {
        how(&mut self.bell.lock().unwrap_or_else(PoisonError::into_inner));
        self.rung.notify_all();
    }

    /// Waits for [`Self::look`], [`Self::stop`], or for so long.
    pub(super) fn wait(&self, at_most: Duration) -> Woken {
        let bell = self.bell.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |b: &mut Bell| !b.look && !b.try_now && !b.stopped;
        let waited = self.rung.wait_timeout_while(bell, at_most, idle);
        let (mut bell, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let (look, try_now) = (std::mem::take(&mut bell.look), std::mem::take(&mut bell.try_now));
        match (bell.stopped, try_now, look) {
            (true, ..) => Woken::Stopped,
            (_, true, _) => Woken::Try,
            (_, _, true) => Woken::Asked,
            _ => Woken::Time,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
