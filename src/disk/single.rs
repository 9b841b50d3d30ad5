//! One volume in use: its ground, its queue and its three threads.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed, mpsc},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{
    completion::{Completions, Draft},
    counters::VolumeCounters,
    fs::Fs,
    ground::Ground,
    keeper::{Keeper, Pace},
    marker::Unclaimed,
    open::OpenSegments,
    queue::{Queue, Refused, SegmentWriter},
    room::Room,
    state::VolumeState,
    sync::Syncer,
    volume::{Settings, VolumeError, VolumeHealth, VolumeSettings},
    writer::{Writer, text},
};

/// A volume whose oldest write has waited for so long is not chosen: it hangs.
const HANGS_AFTER: Duration = Duration::from_secs(15);
/// How long the stop waits for the writer, and then for the sync thread: a disk that hangs must not
/// keep the process.
const STOP_WITHIN: Duration = Duration::from_secs(6);

/// How the volumes of a process tell of themselves.
#[derive(Clone, Debug)]
pub(super) struct Bells {
    pub(super) changed: Arc<watch::Sender<u64>>,
    pub(super) room: Arc<Room>,
}

/// One volume in use.
#[derive(Debug)]
pub struct Volume {
    settings: VolumeSettings,
    pub(super) ground: Arc<Ground>,
    queue: Arc<Queue>,
    pub(super) syncer: Arc<Syncer>,
    threads: Mutex<Option<Threads>>,
}

/// The receivers hear when a thread has ended.
#[derive(Debug)]
struct Threads {
    writer: mpsc::Receiver<()>,
    syncer: mpsc::Receiver<()>,
    keeper: mpsc::Receiver<()>,
}

impl Volume {
    pub(super) fn open(
        settings: &VolumeSettings,
        all: &Settings,
        expected: Option<String>,
        fs: &Arc<dyn Fs>,
        pace: Pace,
        open: &Arc<OpenSegments>,
        bells: &Bells,
    ) -> Result<Self, VolumeError> {
        let root = settings.path.clone();
        let ground = Arc::new(Ground::new(
            root.clone(),
            text(&root),
            Arc::clone(fs),
            settings.min_free_bytes,
            expected,
            Arc::clone(&bells.changed),
            Arc::clone(&bells.room),
        ));
        match ground.claim() {
            Ok(()) => ground.look_at_room(),
            Err(Unclaimed::InUse) => return Err(VolumeError::InUse { path: root }),
            // It may come yet: the keeper tries.
            Err(Unclaimed::Away { state, why }) => ground.availability.set(state, Some(why)),
            Err(Unclaimed::Replaced { why, .. }) => {
                ground.availability.set(VolumeState::Missing, Some(why));
            }
        }
        let queue = Arc::new(Queue::new(all.queue_bytes, Arc::clone(&ground.counters)));
        let syncer =
            Arc::new(Syncer::new(Arc::clone(&ground), Arc::clone(&queue), all.sync_interval));
        let writer = Writer::new(
            Arc::clone(&ground),
            Arc::clone(&queue),
            Arc::clone(&syncer),
            Arc::clone(open),
        );
        let keeper = Keeper::new(Arc::clone(&ground), pace);
        let volume = |threads| Self {
            settings: settings.clone(),
            ground: Arc::clone(&ground),
            queue: Arc::clone(&queue),
            syncer: Arc::clone(&syncer),
            threads: Mutex::new(threads),
        };
        let failed = |source| {
            // Ends those that were started.
            volume(None).tell_to_stop();
            VolumeError::Thread { path: root.clone(), source }
        };
        let keeping = thread("disk-keeper", move || keeper.run()).map_err(failed)?;
        let syncing = thread("disk-sync", {
            let syncer = Arc::clone(&syncer);
            move || syncer.run()
        });
        let syncing = syncing.map_err(failed)?;
        let writing = thread("disk-writer", move || writer.run()).map_err(failed)?;
        Ok(volume(Some(Threads { writer: writing, syncer: syncing, keeper: keeping })))
    }

    /// As rows name it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.ground.name
    }

    /// As configured.
    #[must_use]
    pub const fn settings(&self) -> &VolumeSettings {
        &self.settings
    }

    /// Queues the opening of a segment; what becomes of it is told to `completions`.
    ///
    /// # Errors
    ///
    /// [`Refused::Stopped`].
    pub fn create(&self, draft: Draft, completions: Completions) -> Result<SegmentWriter, Refused> {
        SegmentWriter::open(&self.queue, &self.ground.counters, draft, completions)
    }

    /// How it does.
    #[must_use]
    pub fn state(&self) -> VolumeState {
        let state = self.ground.availability.state();
        if state == VolumeState::Ready && self.queue.age() > HANGS_AFTER {
            return VolumeState::Failing;
        }
        state
    }

    /// Whether its queue has drained: a stream that was shed may begin again.
    #[must_use]
    pub fn is_relaxed(&self) -> bool {
        self.queue.is_relaxed()
    }

    /// What it counts.
    #[must_use]
    pub fn counters(&self) -> &Arc<VolumeCounters> {
        &self.ground.counters
    }

    /// Below so many free bytes retention is asked for room.
    #[must_use]
    pub fn early(&self) -> u64 {
        self.ground.early()
    }

    /// How much a new segment should come here rather than elsewhere. Each segment that is here
    /// already divides the free space: streams spread over volumes in proportion to their room, and
    /// not all to the one that has a byte more than the others at this moment.
    pub(super) fn attraction(&self) -> (bool, u64) {
        let counters = &self.ground.counters;
        // One that does not say how much it has counts as large.
        let free = match counters.total_bytes.load(Relaxed) {
            0 => 1 << 40,
            _ => counters.free_bytes.load(Relaxed).saturating_sub(self.settings.min_free_bytes),
        };
        (self.queue.is_relaxed(), free / (counters.assigned.load(Relaxed) + 1))
    }

    pub(super) fn health(&self) -> VolumeHealth {
        let counters = &self.ground.counters;
        let (state, why) = (self.state(), self.ground.availability.why());
        let age = self.queue.age();
        let hangs = || format!("a write has not ended for {} s", age.as_secs());
        let reason = why.or_else(|| (state != VolumeState::Ready).then(hangs));
        VolumeHealth {
            path: self.ground.name.clone(),
            state,
            for_seconds: (Instant::now() - self.ground.availability.since()).as_secs(),
            free_bytes: counters.free_bytes.load(Relaxed),
            total_bytes: counters.total_bytes.load(Relaxed),
            writable: state == VolumeState::Ready,
            replaced: self.ground.replaced().is_some(),
            last_error: reason.clone(),
            reason,
            queue_bytes: self.queue.bytes() as u64,
            queue_seconds: age.as_secs_f64(),
        }
    }

    pub(super) fn tell_to_stop(&self) {
        self.queue.stop();
        self.ground.availability.stop();
        if lock(&self.threads).is_none() {
            self.syncer.stop();
        }
    }

    /// Writes and syncs what is queued, and ends the threads; says whether they ended in time.
    /// Blocks for a bounded time.
    pub(super) fn stop(&self) -> bool {
        let Some(threads) = lock(&self.threads).take() else { return true };
        // In this order: what the writer still closes, the sync thread still syncs.
        self.queue.stop();
        let wrote = has_ended(&threads.writer, STOP_WITHIN);
        self.syncer.stop();
        let synced = has_ended(&threads.syncer, STOP_WITHIN);
        self.ground.availability.stop();
        if !wrote || !synced {
            tracing::error!(
                volume = %self.ground.name,
                bytes = self.queue.bytes(),
                "the volume did not take what was queued in time; the next start mends what is open"
            );
            return false;
        }
        // It may be in the middle of a look at a disk that hangs; nobody waits for what it sees.
        has_ended(&threads.keeper, STOP_WITHIN / 6);
        true
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts a thread; the receiver hears when it has ended, however it ended.
fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<mpsc::Receiver<()>> {
    let (ended, receiver) = mpsc::channel::<()>();
    let work = move || {
        let _ended = ended;
        work();
    };
    // Not joined: a thread that hangs in the system's call must not hang who stops it.
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map(|_| receiver)
}

fn has_ended(thread: &mpsc::Receiver<()>, within: Duration) -> bool {
    // The sender is only ever dropped.
    thread.recv_timeout(within) == Err(mpsc::RecvTimeoutError::Disconnected)
}

/// Set once and taken once.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
