//! Volumes: root folders for segments, each with its writer thread, its sync thread and a lock
//! that keeps a second process out.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    thread::JoinHandle,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    counters::VolumeCounters,
    fs::{Fs, RealFs},
    open::OpenSegments,
    path,
    queue::{Completions, Draft, Queue, Refused, SegmentWriter},
    reader::{ReadError, SegmentReader, blocking},
    sync::Syncer,
    writer::{Writer, text},
};

/// One volume as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSettings {
    /// Its root folder; made when it is missing.
    pub path: PathBuf,
    /// Footage may take so much; retention keeps to it.
    pub max_bytes: Option<u64>,
    /// No segment is opened while less than this is free.
    pub min_free_bytes: u64,
}

/// All of them, and how they are written.
#[derive(Clone, Debug)]
pub struct Settings {
    /// At least one.
    pub volumes: Vec<VolumeSettings>,
    /// Bound of each volume's queue.
    pub queue_bytes: usize,
    /// How much a power cut may take.
    pub sync_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { volumes: Vec::new(), queue_bytes: 64 << 20, sync_interval: Duration::from_secs(5) }
    }
}

/// Why a volume cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// None is configured.
    #[error("no volume is configured")]
    None,
    /// It, or its `.vedette` folder, cannot be made.
    #[error("make {path}")]
    Make {
        /// What was to be made.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another process records there.
    #[error("volume {path} is used by another process")]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// No thread could be started.
    #[error("start a thread for volume {path}")]
    Thread {
        /// For which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// No volume can take a segment now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// All that come into question are full.
    #[error("no volume has room")]
    Full,
    /// The stream is pinned to a volume that is not configured.
    #[error("volume {0} is not configured")]
    Unknown(String),
}

/// How a volume does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeHealth {
    /// Which.
    pub path: String,
    /// Free bytes as last seen.
    pub free_bytes: u64,
    /// Size of its file system.
    pub total_bytes: u64,
    /// Its last write worked.
    pub writable: bool,
    /// What went wrong last, while it does.
    pub last_error: Option<String>,
}

/// The last failure of a volume, while it lasts.
#[derive(Debug, Default)]
pub(super) struct Failure(Mutex<Option<(Instant, String)>>);

impl Failure {
    pub(super) fn set(&self, error: &io::Error) {
        *self.lock() = Some((Instant::now(), error.to_string()));
    }

    pub(super) fn clear(&self) {
        let mut failure = self.lock();
        if failure.is_some() {
            *failure = None;
        }
    }

    fn text(&self) -> Option<String> {
        self.lock().as_ref().map(|(_, text)| text.clone())
    }

    fn recent(&self) -> bool {
        self.lock().as_ref().is_some_and(|(at, _)| at.elapsed() < AVOID_AFTER_FAILURE)
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Instant, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A volume that failed is only chosen for so long when no other has room.
const AVOID_AFTER_FAILURE: Duration = Duration::from_secs(60);

/// One volume in use.
#[derive(Debug)]
pub struct Volume {
    settings: VolumeSettings,
    name: String,
    queue: Arc<Queue>,
    syncer: Arc<Syncer>,
    counters: Arc<VolumeCounters>,
    failure: Arc<Failure>,
    threads: Mutex<Option<[JoinHandle<()>; 2]>>,
    /// Held for as long as the volume is used.
    _lock: File,
}

impl Volume {
    fn open(
        settings: &VolumeSettings,
        all: &Settings,
        fs: &Arc<dyn Fs>,
        open: &Arc<OpenSegments>,
    ) -> Result<Self, VolumeError> {
        let root = settings.path.clone();
        let lock = claim(&root)?;
        let name = text(&root);
        let counters = Arc::new(VolumeCounters::default());
        if let Ok(space) = fs.space(&root) {
            counters.free_bytes.store(space.free, Relaxed);
            counters.total_bytes.store(space.total, Relaxed);
        }
        let failure = Arc::new(Failure::default());
        let queue = Arc::new(Queue::new(all.queue_bytes, Arc::clone(&counters)));
        let syncer = Arc::new(Syncer::new(
            root.clone(),
            Arc::clone(fs),
            all.sync_interval,
            Arc::clone(&counters),
            Arc::clone(&failure),
        ));
        let writer = Writer {
            root: root.clone(),
            name: name.clone(),
            fs: Arc::clone(fs),
            queue: Arc::clone(&queue),
            syncer: Arc::clone(&syncer),
            open: Arc::clone(open),
            counters: Arc::clone(&counters),
            failure: Arc::clone(&failure),
        };
        let thread = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(work)
                .map_err(|source| VolumeError::Thread { path: root.clone(), source })
        };
        let writing = thread("disk-writer", Box::new(move || writer.run()))?;
        let syncing = thread("disk-sync", {
            let syncer = Arc::clone(&syncer);
            Box::new(move || syncer.run())
        });
        let syncing = match syncing {
            Ok(thread) => thread,
            Err(e) => {
                queue.stop();
                return Err(e);
            }
        };
        let threads = Mutex::new(Some([writing, syncing]));
        let settings = settings.clone();
        Ok(Self { settings, name, queue, syncer, counters, failure, threads, _lock: lock })
    }

    /// As rows name it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
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
        SegmentWriter::open(&self.queue, draft, completions)
    }

    fn has_room(&self) -> bool {
        // Zero of zero: the file system does not say.
        let total = self.counters.total_bytes.load(Relaxed);
        total == 0 || self.counters.free_bytes.load(Relaxed) > self.settings.min_free_bytes
    }

    fn stop(&self) {
        // In this order: what the writer still closes, the sync thread still syncs.
        self.queue.stop();
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some([writing, syncing]) = threads else { return };
        let wrote = writing.join();
        self.syncer.stop();
        if wrote.is_err() | syncing.join().is_err() {
            tracing::error!(volume = %self.name, "a thread of this volume had panicked");
        }
    }
}

/// Makes the volume's folders and takes its lock, which the system gives back when we die.
fn claim(root: &Path) -> Result<File, VolumeError> {
    let own = root.join(".vedette");
    let make = |path: &Path, source| VolumeError::Make { path: path.to_owned(), source };
    fs::create_dir_all(&own).map_err(|e| make(&own, e))?;
    let path = own.join("lock");
    let lock = File::options().create(true).append(true).open(&path).map_err(|e| make(&path, e))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(VolumeError::InUse { path: root.to_owned() }),
        Err(TryLockError::Error(e)) => Err(make(&path, e)),
    }
}

/// All volumes, and the registry of the segments open on them.
#[derive(Debug)]
pub struct Volumes {
    volumes: Vec<Arc<Volume>>,
    open: Arc<OpenSegments>,
    fs: Arc<dyn Fs>,
}

impl Volumes {
    /// Takes the volumes into use: folders, locks, threads.
    ///
    /// # Errors
    ///
    /// [`VolumeError`], for the first that cannot be used.
    pub fn open(settings: Settings) -> Result<Arc<Self>, VolumeError> {
        Self::open_on(settings, Arc::new(RealFs))
    }

    /// The same on another file system.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_on(settings: Settings, fs: Arc<dyn Fs>) -> Result<Arc<Self>, VolumeError> {
        if settings.volumes.is_empty() {
            return Err(VolumeError::None);
        }
        let mut all = Self { volumes: Vec::new(), open: Arc::default(), fs: Arc::clone(&fs) };
        for volume in &settings.volumes {
            match Volume::open(volume, &settings, &fs, &all.open) {
                Ok(volume) => all.volumes.push(Arc::new(volume)),
                Err(e) => {
                    all.volumes.iter().for_each(|v| v.stop());
                    return Err(e);
                }
            }
        }
        Ok(Arc::new(all))
    }

    /// The file system beneath, for who mends files.
    #[must_use]
    pub fn fs(&self) -> Arc<dyn Fs> {
        Arc::clone(&self.fs)
    }

    /// The segments now being written.
    #[must_use]
    pub fn open_segments(&self) -> &OpenSegments {
        &self.open
    }

    /// The volume for a new segment: the pinned one, else the one with most room among those that
    /// have not just failed.
    ///
    /// # Errors
    ///
    /// [`NoRoom`].
    pub fn choose(&self, pinned: Option<&str>) -> Result<Arc<Volume>, NoRoom> {
        if let Some(name) = pinned {
            let found = self.volumes.iter().find(|v| v.name == name);
            let volume = found.ok_or_else(|| NoRoom::Unknown(name.to_owned()))?;
            return if volume.has_room() { Ok(Arc::clone(volume)) } else { Err(NoRoom::Full) };
        }
        let usable = self.volumes.iter().filter(|v| v.has_room());
        let free = |v: &Volume| v.counters.free_bytes.load(Relaxed);
        usable.max_by_key(|v| (!v.failure.recent(), free(v))).map(Arc::clone).ok_or(NoRoom::Full)
    }

    /// A reader of a segment file.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn reader(&self, volume: &str, path: &str) -> Result<SegmentReader, ReadError> {
        SegmentReader::open(self.absolute(volume, path)?).await
    }

    /// Where a segment file stands.
    ///
    /// # Errors
    ///
    /// [`ReadError::Outside`] for a volume that is not ours, or a path that would leave it.
    pub fn absolute(&self, volume: &str, path: &str) -> Result<PathBuf, ReadError> {
        let found = self.volumes.iter().find(|v| v.name == volume);
        found
            .and_then(|v| path::below(&v.settings.path, path))
            .ok_or_else(|| ReadError::Outside { volume: volume.to_owned(), path: path.to_owned() })
    }

    /// Deletes a segment file, and the folders that this leaves empty. A file that is gone already
    /// is no error. To be called when the deletion of its row is durable.
    ///
    /// # Errors
    ///
    /// [`ReadError::Outside`], or the system's.
    pub async fn remove(&self, volume: &str, path: &str) -> Result<(), ReadError> {
        let file = self.absolute(volume, path)?;
        let root = self.volumes.iter().find(|v| v.name == volume).map(|v| v.settings.path.clone());
        let (root, target) = (root.unwrap_or_default(), file.clone());
        let removed = blocking(move || {
            match fs::remove_file(&target) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            // A folder that is not empty, or that a new segment is about to fill, refuses.
            let above = target.ancestors().skip(1).take_while(|a| *a != root);
            for folder in above {
                if fs::remove_dir(folder).is_err() {
                    break;
                }
            }
            Ok(())
        });
        removed.await.map_err(|source| ReadError::Io { path: file, source })
    }

    /// How each does.
    #[must_use]
    pub fn health(&self) -> Vec<VolumeHealth> {
        let health = |v: &Arc<Volume>| {
            let last_error = v.failure.text();
            VolumeHealth {
                path: v.name.clone(),
                free_bytes: v.counters.free_bytes.load(Relaxed),
                total_bytes: v.counters.total_bytes.load(Relaxed),
                writable: last_error.is_none(),
                last_error,
            }
        };
        self.volumes.iter().map(health).collect()
    }

    /// Each volume's counters, by its name.
    #[must_use]
    pub fn counters(&self) -> Vec<(String, Arc<VolumeCounters>)> {
        self.volumes.iter().map(|v| (v.name.clone(), Arc::clone(&v.counters))).collect()
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Arc<Volume>] {
        &self.volumes
    }

    /// Has everything written so far synced without waiting for the interval.
    pub fn sync_now(&self) {
        self.volumes.iter().for_each(|v| v.syncer.sync_now());
    }

    /// Writes what is queued, syncs, and ends the threads. Segments are to be closed before.
    pub async fn shut_down(&self) {
        let volumes = self.volumes.clone();
        // One after the other is enough: their writers have been at it all the while.
        let stopped = blocking(move || {
            volumes.iter().for_each(|v| v.queue.stop());
            volumes.iter().for_each(|v| v.stop());
            Ok(())
        });
        if let Err(error) = stopped.await {
            tracing::error!(%error, "stopping the volumes failed");
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        self.stop();
    }
}
