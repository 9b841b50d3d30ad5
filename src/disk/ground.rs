//! What the threads of a volume share: where it is, whether it is there, and how much room it has.
//!
//! # Room
//!
//! ```text
//!   free  ────────────▶ less
//!     │ early           │ min_free_bytes        │ half of that                │ 0
//!     │ retention is    │ Full: no new segment, │ nothing more is written     │ never reached
//!     │ asked           │ open ones go on       │ but tails and the index     │
//! ```
//!
//! `early` lies above `min_free_bytes` by what is written in a minute, so that retention is at work
//! before a segment has to wait. What lies below is kept for the tails of the segments that end then
//! and for a database on the same disk: a commit that finds no room would stop more than a camera.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use tokio::sync::watch;

use super::{
    counters::VolumeCounters,
    fs::{Fs, append_all},
    marker::{self, Claimed, Unclaimed},
    room::Room,
    state::{Availability, VolumeState},
};

/// Room is looked at after at most so many bytes.
const MOST_UNSEEN: u64 = 256 << 20;
/// And after no fewer.
const LEAST_UNSEEN: u64 = 256 << 10;
/// Retention is asked when there is less room left than is written in so many seconds.
const EARLY_SECONDS: u64 = 60;
/// What a probe writes.
const PROBE: usize = 4 << 10;
/// What it writes where writes found no room: enough that a segment gets somewhere.
const PROBE_FOR_ROOM: usize = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) root: PathBuf,
    pub(super) name: String,
    pub(super) fs: Arc<dyn Fs>,
    pub(super) min_free: u64,
    pub(super) counters: Arc<VolumeCounters>,
    pub(super) availability: Availability,
    claimed: Mutex<Option<Claimed>>,
    /// The id that it must carry: the index's word, or what it carried when it was first seen.
    expected: Mutex<Option<String>>,
    /// What stood in its place when it was last looked for: an id, or a folder without a marker.
    replaced: Mutex<Option<Option<String>>>,
    /// Written since room was last looked at.
    unseen: AtomicU64,
    /// Then room is looked at again.
    look_after: AtomicU64,
    /// Bytes a second, as the keeper measures.
    pub(super) rate: AtomicU64,
    /// A write found no room, whatever the file system says (a quota): only a probe ends that.
    found_none: AtomicBool,
    room: Arc<Room>,
}

impl Ground {
    pub(super) fn new(
        root: PathBuf,
        name: String,
        fs: Arc<dyn Fs>,
        min_free: u64,
        expected: Option<String>,
        changed: Arc<watch::Sender<u64>>,
        room: Arc<Room>,
    ) -> Self {
        Self {
            root,
            availability: Availability::new(name.clone(), changed),
            name,
            fs,
            min_free,
            counters: Arc::default(),
            claimed: Mutex::default(),
            expected: Mutex::new(expected),
            replaced: Mutex::default(),
            unseen: AtomicU64::new(0),
            look_after: AtomicU64::new(LEAST_UNSEEN),
            rate: AtomicU64::new(0),
            found_none: AtomicBool::new(false),
            room,
        }
    }

    /// Takes the volume into use, if it is there and ours. Blocks.
    pub(super) fn claim(&self) -> Result<(), Unclaimed> {
        let expected = lock(&self.expected).clone();
        let claimed = marker::claim(&*self.fs, &self.root, expected.as_deref());
        *lock(&self.replaced) = match &claimed {
            Err(Unclaimed::Replaced { by, .. }) => Some(by.clone()),
            _ => None,
        };
        let claimed = claimed?;
        *lock(&self.expected) = Some(claimed.id.clone());
        *lock(&self.claimed) = Some(claimed);
        Ok(())
    }

    pub(super) fn is_claimed(&self) -> bool {
        lock(&self.claimed).is_some()
    }

    /// It went away: its lock is given back, and files that are open are not written to any more.
    pub(super) fn release(&self) {
        *lock(&self.claimed) = None;
        self.availability.begin_generation();
    }

    /// From now on what carries this id is the volume: a disk was replaced on purpose.
    pub(super) fn expect(&self, id: &str) {
        *lock(&self.expected) = Some(id.to_owned());
        self.availability.try_now();
    }

    /// The id that it must carry, once that is known.
    pub(super) fn expected(&self) -> Option<String> {
        lock(&self.expected).clone()
    }

    /// What stands in its place, if that is not it: an id, or a folder without a marker.
    pub(super) fn replaced(&self) -> Option<Option<String>> {
        lock(&self.replaced).clone().filter(|_| !self.is_claimed())
    }

    /// The id it carries, once it was seen.
    pub(super) fn id(&self) -> Option<String> {
        lock(&self.claimed).as_ref().map(|c| c.id.clone())
    }

    /// Whether what stands there is still what was taken into use. Cheap; for each new file.
    pub(super) fn is_here(&self) -> bool {
        let device = lock(&self.claimed).as_ref().map(|c| c.device);
        device.is_some_and(|d| self.fs.device(&self.root).is_ok_and(|now| now == d))
    }

    /// The same with its marker read.
    pub(super) fn is_ours(&self) -> io::Result<Result<(), String>> {
        let claimed = lock(&self.claimed).as_ref().map(|c| (c.device, c.id.clone()));
        let Some((device, id)) = claimed else { return Ok(Err("it is not there".to_owned())) };
        let now = match self.fs.device(&self.root) {
            Ok(now) => now,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Ok(Err("its folder is missing: is the disk mounted?".to_owned()));
            }
            Err(e) => return Err(e),
        };
        match marker::read(&*self.fs, &self.root)? {
            None => Ok(Err("its marker is gone: was the disk unmounted?".to_owned())),
            Some(other) if other != id => {
                Ok(Err(format!("another volume is mounted there ({other}, expected {id})")))
            }
            Some(_) if now != device => Ok(Err("it was away, and is back".to_owned())),
            Some(_) => Ok(Ok(())),
        }
    }

    /// Writes, syncs and deletes something small.
    pub(super) fn probe(&self) -> io::Result<()> {
        let path = marker::own_folder(&self.root).join("probe");
        match self.fs.remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let size = if self.found_none.load(Relaxed) { PROBE_FOR_ROOM } else { PROBE };
        let file = self.fs.create_file(&path)?;
        let outcome =
            append_all(&*file, &[Bytes::from(vec![0x56; size])]).and_then(|()| file.sync());
        let removed = self.fs.remove_file(&path);
        outcome?;
        removed?;
        self.found_none.store(false, Relaxed);
        Ok(())
    }

    /// Whether a write of `bytes` leaves what is to stay free in any case.
    pub(super) fn may_write(&self, bytes: u64) -> bool {
        let floor = self.min_free / 2;
        if floor == 0 || self.counters.total_bytes.load(Relaxed) == 0 {
            return true;
        }
        let left = || {
            let free = self.counters.free_bytes.load(Relaxed);
            free.saturating_sub(self.unseen.load(Relaxed))
        };
        if left() >= floor + bytes {
            return true;
        }
        self.look_at_room();
        left() >= floor + bytes
    }

    /// So many bytes were written.
    pub(super) fn wrote(&self, bytes: u64) {
        let unseen = self.unseen.fetch_add(bytes, Relaxed) + bytes;
        if unseen >= self.look_after.load(Relaxed) {
            self.look_at_room();
        }
    }

    /// A write found no room.
    pub(super) fn found_no_room(&self) {
        self.found_none.store(true, Relaxed);
        self.ask_for_room();
    }

    pub(super) fn has_found_none(&self) -> bool {
        self.found_none.load(Relaxed)
    }

    /// Whether as much is free as new segments need.
    pub(super) fn has_room(&self) -> bool {
        // Zero of zero: the file system does not say.
        let total = self.counters.total_bytes.load(Relaxed);
        total == 0 || self.counters.free_bytes.load(Relaxed) > self.min_free
    }

    /// Where retention is asked for room: see the module.
    pub(super) fn early(&self) -> u64 {
        let total = self.counters.total_bytes.load(Relaxed);
        let a_minute = self.rate.load(Relaxed).saturating_mul(EARLY_SECONDS);
        self.min_free.saturating_add(a_minute.min(total / 20))
    }

    /// Sees how much is free; turns a ready volume full, and asks for room.
    pub(super) fn look_at_room(&self) {
        self.unseen.store(0, Relaxed);
        let Ok(space) = self.fs.space(&self.root) else { return };
        self.counters.free_bytes.store(space.free, Relaxed);
        self.counters.total_bytes.store(space.total, Relaxed);
        let above = space.free.saturating_sub(self.min_free);
        let above = if above == 0 { space.free.saturating_sub(self.min_free / 2) } else { above };
        self.look_after.store((above / 4).clamp(LEAST_UNSEEN, MOST_UNSEEN), Relaxed);
        if space.total == 0 {
            return;
        }
        if !self.has_room() && self.availability.state() == VolumeState::Ready {
            let (free, keep) = (space.free, self.min_free);
            let why = format!("{free} bytes are free, {keep} are to stay free");
            self.availability.set(VolumeState::Full, Some(why));
        }
        if space.free <= self.early() {
            self.ask_for_room();
        }
    }

    fn ask_for_room(&self) {
        self.room.ask(&self.name);
    }
}

/// What is guarded here is replaced whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
