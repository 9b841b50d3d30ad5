//! All volumes of the process: which one a stream writes to, how each does, reading and deleting.
//!
//! # Which volume
//!
//! A stream that is pinned to a volume waits for that one, also when others have room: whoever pins
//! a camera to a disk means that its footage is nowhere else, and the gap says why it is missing.
//! Any other stream goes where there is most room for each segment that is open there
//! ([`Volume`]s fill up together and share the load), among those that are ready. One that fails is
//! left at the next key frame; one that returns takes part again.

use std::{collections::HashMap, io, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    counters::VolumeCounters,
    fs::{Fs, RealFs},
    keeper::Pace,
    lease::Leases,
    open::OpenSegments,
    path,
    reader::{ReadError, SegmentReader, blocking},
    room::Room,
    single::{Bells, Volume},
    state::VolumeState,
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
    /// All that come into question are full, or there is one that is and the others fail.
    #[error("no volume has room")]
    Full,
    /// All that come into question fail, or are not there.
    #[error("no volume can be written: {0}")]
    Failing(String),
    /// The stream is pinned to a volume that is not configured.
    #[error("volume {0} is not configured")]
    Unknown(String),
}

/// How a volume does.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeHealth {
    /// Which.
    pub path: String,
    /// In one word.
    pub state: VolumeState,
    /// Why it is not ready, for people.
    pub reason: Option<String>,
    /// For how long it has been in this state.
    pub for_seconds: u64,
    /// Free bytes as last seen.
    pub free_bytes: u64,
    /// Size of its file system.
    pub total_bytes: u64,
    /// It is ready.
    pub writable: bool,
    /// Another volume, or a folder without a marker, stands in its place: [`Volumes::accept`].
    pub replaced: bool,
    /// The same as `reason`.
    pub last_error: Option<String>,
    /// Bytes that wait for the writer: what `kill -9` takes beyond the last second.
    pub queue_bytes: u64,
    /// How long the oldest of them has waited.
    pub queue_seconds: f64,
}

/// What volumes are opened with besides their settings.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file system beneath.
    pub fs: Arc<dyn Fs>,
    /// The ids that volumes must carry, by name: those that the index has footage of.
    pub known: HashMap<String, String>,
    /// How often they are looked at.
    pub pace: Pace,
}

impl Default for Options {
    fn default() -> Self {
        Self { fs: Arc::new(RealFs), known: HashMap::new(), pace: Pace::default() }
    }
}

/// All volumes, and the registry of the segments open on them.
#[derive(Debug)]
pub struct Volumes {
    volumes: Vec<Arc<Volume>>,
    open: Arc<OpenSegments>,
    fs: Arc<dyn Fs>,
    bells: Bells,
    leases: Leases,
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
        Self::open_with(settings, Options { fs, ..Options::default() })
    }

    /// The same with all that can be said. A volume that cannot be used now is no error: it is
    /// tried until it can.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    #[expect(clippy::needless_pass_by_value, reason = "settings are used up")]
    pub fn open_with(settings: Settings, options: Options) -> Result<Arc<Self>, VolumeError> {
        if settings.volumes.is_empty() {
            return Err(VolumeError::None);
        }
        let Options { fs, known, pace } = options;
        let bells = Bells { changed: Arc::new(watch::Sender::new(0)), room: Arc::default() };
        let open = Arc::default();
        // Those that were opened are stopped when they are dropped.
        let volumes = settings.volumes.iter().map(|volume| {
            let expected = known.get(&super::writer::text(&volume.path)).cloned();
            Volume::open(volume, &settings, expected, &fs, pace, &open, &bells).map(Arc::new)
        });
        let volumes = volumes.collect::<Result<_, _>>()?;
        Ok(Arc::new(Self { volumes, open, fs, bells, leases: Leases::default() }))
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

    /// What is being read, and is to be left alone meanwhile.
    #[must_use]
    pub const fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Where volumes ask for room: early, and at the latest when a write found none.
    #[must_use]
    pub const fn room(&self) -> &Arc<Room> {
        &self.bells.room
    }

    /// The volume for a new segment: see the module.
    ///
    /// # Errors
    ///
    /// [`NoRoom`].
    pub fn choose(&self, pinned: Option<&str>) -> Result<Arc<Volume>, NoRoom> {
        let of_stream = |v: &&Arc<Volume>| pinned.is_none_or(|name| v.name() == name);
        let usable = self.volumes.iter().filter(of_stream);
        let ready = usable.clone().filter(|v| v.state() == VolumeState::Ready);
        if let Some(volume) = ready.max_by_key(|v| v.attraction()) {
            return Ok(Arc::clone(volume));
        }
        if usable.clone().any(|v| v.state() == VolumeState::Full) {
            let full = usable.filter(|v| v.state() == VolumeState::Full);
            full.for_each(|v| self.bells.room.ask(v.name()));
            return Err(NoRoom::Full);
        }
        let mut why = usable.map(|v| v.health()).map(|h| {
            format!("{} is {}: {}", h.path, h.state.as_str(), h.reason.unwrap_or_default())
        });
        match (why.next(), pinned) {
            (Some(first), _) => Err(NoRoom::Failing(why.fold(first, |all, one| all + "; " + &one))),
            (None, pinned) => Err(NoRoom::Unknown(pinned.unwrap_or_default().to_owned())),
        }
    }

    /// One by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Volume>> {
        self.volumes.iter().find(|v| v.name() == name)
    }

    /// How one does.
    #[must_use]
    pub fn state(&self, name: &str) -> Option<VolumeState> {
        self.get(name).map(|v| v.state())
    }

    /// Wakes its holder when a volume changes its state.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.bells.changed.subscribe()
    }

    /// The ids of the volumes that are there, by name: for the index to remember.
    #[must_use]
    pub fn markers(&self) -> Vec<(String, String)> {
        let marker = |v: &Arc<Volume>| Some((v.name().to_owned(), v.ground.id()?));
        self.volumes.iter().filter_map(marker).collect()
    }

    /// Room was made on a volume: sees how much, and has a full one tried at once.
    pub fn look_at_room(&self, name: &str) {
        if let Some(volume) = self.get(name) {
            volume.ground.availability.try_now();
        }
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
    /// [`ReadError::Outside`] for a volume that is not ours, or a path that would leave it;
    /// [`ReadError::Unavailable`] while the volume is not there: what stands at its path then is
    /// not its files.
    pub fn absolute(&self, volume: &str, path: &str) -> Result<PathBuf, ReadError> {
        let outside = || ReadError::Outside { volume: volume.to_owned(), path: path.to_owned() };
        let found = self.get(volume).ok_or_else(outside)?;
        let absolute = path::below(&found.settings().path, path).ok_or_else(outside)?;
        if found.state().can_be_read() {
            Ok(absolute)
        } else {
            let why = found.ground.availability.why().unwrap_or_default();
            Err(ReadError::Unavailable { volume: volume.to_owned(), why })
        }
    }

    /// Deletes a segment file, and the folders that this leaves empty; that it is gone is durable
    /// afterwards. A file that is gone already is no error. To be called when the deletion of its
    /// row is durable.
    ///
    /// # Errors
    ///
    /// [`ReadError::Outside`], [`ReadError::Unavailable`], or the system's.
    pub async fn remove(&self, volume: &str, path: &str) -> Result<(), ReadError> {
        let not_removed = self.unlink(volume, &[path.to_owned()]).await?;
        not_removed.failed.into_iter().next().map_or(Ok(()), |n| Err(n.error))
    }

    /// How each does.
    #[must_use]
    pub fn health(&self) -> Vec<VolumeHealth> {
        self.volumes.iter().map(|v| v.health()).collect()
    }

    /// Each volume's counters, by its name.
    #[must_use]
    pub fn counters(&self) -> Vec<(String, Arc<VolumeCounters>)> {
        self.volumes.iter().map(|v| (v.name().to_owned(), Arc::clone(v.counters()))).collect()
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

    /// Writes what is queued, syncs, and ends the threads. Segments are to be closed before. A disk
    /// that does not take what is queued is given up after a bounded time: the rows of what was open
    /// there are open, and the next start mends them.
    pub async fn shut_down(&self) {
        let volumes = self.volumes.clone();
        let stopped = blocking(move || {
            volumes.iter().for_each(|v| v.tell_to_stop());
            // Side by side: each waits for its own disk.
            std::thread::scope(|scope| {
                for volume in &volumes {
                    scope.spawn(|| volume.stop());
                }
            });
            Ok(())
        });
        if let Err(error) = stopped.await {
            tracing::error!(%error, "stopping the volumes failed");
        }
    }
}
