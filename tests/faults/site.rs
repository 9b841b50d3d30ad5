//! Cameras, hub, recorders, volumes and index of one recorder process after the other, on a file
//! system that fails on demand and on clocks that stand still unless a test moves them.
//!
//! # Time
//!
//! tokio's clock is paused, and a blocking task that only waits keeps it from running on by itself
//! while the disk's and SQLite's threads are at work. [`Site::play`] moves both clocks, a tenth of
//! a second at a time. The sync thread's interval is far away; [`Site::sync`] makes its rounds.
//!
//! # The database
//!
//! A second connection reads the state at the beginning of each life and so keeps the write-ahead
//! log from being begun anew (`wal.rs`).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio_util::sync::CancellationToken;
use vedette::{
    clock::Clock,
    disk::{self, VolumeSettings, Volumes},
    hub::{ClockSource, Hub, Limits, Publisher, Run},
    id::{CameraId, Role, RunId, StreamId},
    model::{Camera, CameraStream, RecordMode, RetentionLimits, Transport},
    proto::{
        access_unit::{AccessUnit, Track, TrackIndex, Tracks},
        codec::{Parameters, aac, h264},
        reason::GapReason,
        time::{MediaTime, Timescale, WallSpan, WallTime},
    },
    record::{self, Recorder, RecorderCounters, Target},
    seal::Sealer,
    store::Store,
    task::Stop,
};

use crate::{
    cut::Dice,
    fs::{FaultFs, Journal, Shelf},
};

pub(crate) const EPOCH: WallTime = WallTime::from_micros(1_795_341_600_000_000);
/// How many cameras there are, of one stream each.
pub(crate) const CAMERAS: usize = 2;
/// Between two pictures.
pub(crate) const PICTURE: WallSpan = WallSpan::from_micros(100_000);
/// Segments are about so long.
pub(crate) const SEGMENT: Duration = Duration::from_secs(2);
const SOUND: WallSpan = WallSpan::from_micros(128_000);
/// The clocks move so far at a time.
const TICK: Duration = Duration::from_millis(100);

/// The database's files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    pub(crate) database: Vec<u8>,
    pub(crate) wal: Vec<u8>,
}

impl Index {
    pub(crate) fn read(path: &Path) -> Self {
        let wal = std::fs::read(path.with_extension("db-wal")).unwrap_or_default();
        Self { database: std::fs::read(path).unwrap(), wal }
    }

    pub(crate) fn write(&self, path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &self.database).unwrap();
        if !self.wal.is_empty() {
            std::fs::write(path.with_extension("db-wal"), &self.wal).unwrap();
        }
    }
}

/// A unit as it was published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SentUnit {
    pub(crate) wall: WallTime,
    pub(crate) key: bool,
    /// A recorder had seen a key frame of its run.
    pub(crate) wanted: bool,
}

/// A track of a published run.
pub(crate) type TrackOf = (StreamId, RunId, u8);

/// Everything that was ever published, by number.
pub(crate) type Sent = BTreeMap<TrackOf, Vec<SentUnit>>;

/// One process.
pub(crate) struct Life {
    /// The first volume's.
    pub(crate) fs: FaultFs,
    /// The others'.
    pub(crate) more: Vec<FaultFs>,
    pub(crate) store: Store,
    pub(crate) volumes: Arc<Volumes>,
    pub(crate) hub: Hub,
    pub(crate) database: PathBuf,
    recorders: HashMap<usize, Running>,
    tasks: JoinSet<()>,
    pin: Option<SqliteConnection>,
}

struct Running {
    stop: Stop,
    abort: AbortHandle,
    counters: Arc<RecorderCounters>,
}

/// What is left of a process.
pub(crate) struct Wreck {
    /// Of the first volume.
    pub(crate) journal: Journal,
    /// Of the others.
    pub(crate) more: Vec<Journal>,
    /// The journal's length when the process had started.
    pub(crate) started: usize,
    pub(crate) index: Index,
    /// Length of the log when it had started.
    pub(crate) first_commit: u64,
    /// When it ended.
    pub(crate) at: WallTime,
    pub(crate) passed: Vec<Passed>,
}

/// How far a process had come at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed {
    pub(crate) at: WallTime,
    /// Length of the journal.
    pub(crate) place: usize,
    /// Length of the write-ahead log.
    pub(crate) wal: u64,
}

impl Wreck {
    /// The last moment at which no more than that had happened.
    pub(crate) fn latest(&self, place: usize, wal: u64) -> WallTime {
        let later = self.passed.iter().find(|p| p.place > place || p.wal > wal);
        later.map_or(self.at, |p| p.at)
    }

    /// How far it had come when, for people.
    pub(crate) fn told(&self, place: usize, wal: u64) -> String {
        let mut told = format!("\n  cut at {place} of {}, log {wal}", self.journal.len());
        let mut last = (0, 0);
        for passed in self
            .passed
            .iter()
            .filter(|p| (p.place, p.wal) != std::mem::replace(&mut last, (p.place, p.wal)))
        {
            let _ =
                write!(told, "\n  {:?}: {}, log {}", passed.at - EPOCH, passed.place, passed.wal);
        }
        told
    }
}

/// What a camera publishes.
struct Film {
    publisher: Publisher,
    run: RunId,
    zero: WallTime,
    gop: u64,
    next: [u64; 2],
    /// A key frame was sent since a recorder of it was started.
    keyed: bool,
}

pub(crate) struct Site {
    folder: TempDir,
    pub(crate) clock: Clock,
    pub(crate) sent: Sent,
    pub(crate) life: Option<Life>,
    films: HashMap<usize, Film>,
    lives: u32,
    runs: i64,
    started: (usize, u64),
    passed: Vec<Passed>,
    pub(crate) segment: Duration,
    pub(crate) queue_bytes: usize,
    pub(crate) sync_interval: Duration,
    /// How many volumes there are from the next life on.
    pub(crate) volumes: usize,
    /// A camera that is recorded on one volume only.
    pub(crate) pinned: Option<(usize, usize)>,
    /// Volumes that are not there when the next life begins.
    pub(crate) away: BTreeSet<usize>,
    /// Why each run began.
    pub(crate) whys: BTreeMap<RunId, GapReason>,
    /// Keeps tokio's clock from running by itself.
    _hold: std::sync::mpsc::Sender<()>,
}

pub(crate) fn stream(camera: usize) -> StreamId {
    StreamId(2_001 + camera as i64)
}

pub(crate) fn camera_id(camera: usize) -> CameraId {
    CameraId(1_001 + camera as i64)
}

pub(crate) fn streams() -> impl Iterator<Item = StreamId> {
    (0..CAMERAS).map(stream)
}

fn slug(camera: usize) -> String {
    ["door", "yard"][camera].to_owned()
}

fn sealer() -> &'static Sealer {
    static SEALER: OnceLock<Sealer> = OnceLock::new();
    SEALER.get_or_init(Sealer::ephemeral)
}

fn camera(number: usize) -> Camera {
    let stream = CameraStream {
        id: stream(number),
        role: Role::Main,
        url: "rtsp://192.0.2.1/".to_owned(),
        transport: Transport::Tcp,
        audio: true,
        record: None,
        retention: None,
        volume: None,
        created: EPOCH,
    };
    Camera {
        id: camera_id(number),
        slug: slug(number).parse().unwrap(),
        name: slug(number),
        enabled: true,
        username: None,
        password: None,
        tls: Default::default(),
        sealed_broken: false,
        source: vedette::model::Source::Pull,
        record: RecordMode::Always,
        when: Default::default(),
        retention: RetentionLimits::default(),
        volume: None,
        streams: vec![stream],
        created: EPOCH,
        updated: EPOCH,
    }
}

/// An index with the cameras in it, made once a process.
async fn empty_index() -> Index {
    static MADE: OnceLock<Index> = OnceLock::new();
    if let Some(made) = MADE.get() {
        return made.clone();
    }
    let folder = scratch();
    let path = folder.path().join("vedette.db");
    let store = Store::open(&path, Clock::manual(EPOCH), sealer().clone()).await.unwrap();
    for number in 0..CAMERAS {
        store.insert_camera(camera(number)).await.unwrap();
    }
    store.close().await;
    MADE.get_or_init(|| Index::read(&path)).clone()
}

/// In memory where there is such a place: nothing here needs a disk that flushes.
pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn hex(text: &str) -> Bytes {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn video() -> &'static h264::Parameters {
    static VIDEO: OnceLock<h264::Parameters> = OnceLock::new();
    VIDEO.get_or_init(|| {
        let sps = hex("6742c00cd90141fb0110000003001000000301e0f142a480");
        h264::Parameters::new(sps, vec![hex("68ebe3cb22c0")]).unwrap()
    })
}

/// The first camera has sound.
fn tracks(camera: usize) -> Tracks {
    let video =
        Track { timescale: Timescale::VIDEO, parameters: Parameters::H264(video().clone()) };
    let sound = Track {
        timescale: Timescale::new(8_000).unwrap(),
        parameters: Parameters::Aac(aac::Parameters::lc(8_000, 1).unwrap()),
    };
    if camera == 0 { [video, sound].into() } else { [video].into() }
}

/// What stands before a unit's content so that it is known again anywhere.
const MARK: &[u8] = b"unit ";

/// A unit's bytes: they follow from its name.
pub(crate) fn payload(of: TrackOf, number: u64, key: bool) -> (Bytes, Bytes) {
    let (stream, run, track) = of;
    let seed = (stream.0 as u64) << 48 ^ (run.0 as u64) << 24 ^ u64::from(track) << 20 ^ number;
    let mut dice = Dice(seed);
    let size = dice.up_to(if key { 900 } else { 300 });
    let mut body = BytesMut::new();
    body.put_slice(format!("unit {} {} {track} {number};", stream.0, run.0).as_bytes());
    (0..size).for_each(|_| body.put_u8((dice.next() >> 9) as u8));
    if track != 0 {
        return (Bytes::new(), body.freeze());
    }
    let mut unit = BytesMut::new();
    unit.put_u32(body.len() as u32 + 2);
    unit.put_u8(if key { 0x65 } else { 0x41 });
    unit.put_slice(&body);
    unit.put_u8(0x80);
    (if key { video().in_band() } else { Bytes::new() }, unit.freeze())
}

/// The same, as a file gives it back.
pub(crate) fn as_read(of: TrackOf, number: u64, key: bool) -> Vec<u8> {
    let (head, body) = payload(of, number, key);
    [head, body].concat()
}

/// Which unit these bytes say that they are.
pub(crate) fn name_of(bytes: &[u8]) -> Option<(TrackOf, u64)> {
    let at = bytes.windows(MARK.len()).position(|w| w == MARK)? + MARK.len();
    let rest = &bytes[at..];
    let end = rest.iter().position(|&b| b == b';')?;
    let text = std::str::from_utf8(&rest[..end]).ok()?;
    let mut words = text.split(' ');
    let stream = StreamId(words.next()?.parse().ok()?);
    let run = RunId(words.next()?.parse().ok()?);
    let track = words.next()?.parse().ok()?;
    Some(((stream, run, track), words.next()?.parse().ok()?))
}

/// Runs `case` where time stands still.
///
/// `TRACE` in the environment shows what the recorder logs.
pub(crate) fn on_paused_clock<F: Future<Output = ()>>(case: impl FnOnce() -> F) {
    if std::env::var_os("TRACE").is_some() {
        let _ = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_ansi(false)
            .try_init();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(case());
    // Threads of SQLite may be at it still: nobody waits for them.
    runtime.shutdown_background();
}

impl Life {
    pub(crate) fn wal_len(&self) -> u64 {
        std::fs::metadata(self.database.with_extension("db-wal")).map_or(0, |m| m.len())
    }

    /// All volumes'.
    pub(crate) fn disks(&self) -> impl Iterator<Item = &FaultFs> {
        std::iter::once(&self.fs).chain(&self.more)
    }

    fn len(&self) -> usize {
        self.disks().map(FaultFs::len).sum()
    }

    fn failed(&self) -> u64 {
        self.disks().map(FaultFs::failed).sum()
    }

    fn stirred(&self) -> u64 {
        self.disks().map(FaultFs::stirred).sum()
    }

    fn holds(&self) -> bool {
        self.disks().any(FaultFs::holds)
    }

    /// What a camera's recorder counts.
    pub(crate) fn counters(&self, camera: usize) -> Option<&RecorderCounters> {
        self.recorders.get(&camera).map(|r| &*r.counters)
    }
}

impl Site {
    pub(crate) async fn new() -> Self {
        let (hold, held) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || {
            let _ = held.recv();
        });
        let mut site = Self {
            folder: scratch(),
            clock: Clock::manual(EPOCH),
            sent: Sent::new(),
            life: None,
            films: HashMap::new(),
            lives: 0,
            runs: 0,
            started: (0, 0),
            passed: Vec::new(),
            segment: SEGMENT,
            queue_bytes: 64 << 20,
            sync_interval: Duration::from_secs(3_600),
            volumes: 1,
            pinned: None,
            away: BTreeSet::new(),
            whys: BTreeMap::new(),
            _hold: hold,
        };
        std::fs::create_dir(site.root()).unwrap();
        // Another moment than that of the cameras' making.
        site.clock.advance(WallSpan::from_micros(10_000));
        let index = empty_index().await;
        site.start(&index).await;
        site
    }

    /// The volume.
    pub(crate) fn root(&self) -> PathBuf {
        self.root_of(0)
    }

    /// One of several.
    pub(crate) fn root_of(&self, volume: usize) -> PathBuf {
        self.folder.path().join(["v", "v1", "v2"][volume])
    }

    pub(crate) fn life(&self) -> &Life {
        self.life.as_ref().unwrap()
    }

    pub(crate) fn fs(&self) -> &FaultFs {
        &self.life().fs
    }

    /// Starts a process: index, volumes, recovery. No recorder yet.
    pub(crate) async fn start(&mut self, index: &Index) {
        assert!(self.life.is_none());
        self.lives += 1;
        self.passed.clear();
        let database = self.folder.path().join(format!("db-{}/vedette.db", self.lives));
        index.write(&database);
        let pin = pin(&database).await;
        let store = Store::open(&database, self.clock.clone(), sealer().clone()).await.unwrap();
        let wal = database.with_extension("db-wal");
        let mut disks = Vec::new();
        for volume in 0..self.volumes {
            std::fs::create_dir_all(self.root_of(volume)).unwrap();
            let fs = FaultFs::new(self.root_of(volume), wal.clone());
            fs.faults(|f| f.missing = self.away.contains(&volume));
            disks.push(fs);
        }
        let volume = |fs: &FaultFs| VolumeSettings {
            path: fs.root().to_owned(),
            max_bytes: None,
            min_free_bytes: 0,
        };
        let settings = disk::Settings {
            volumes: disks.iter().map(volume).collect(),
            queue_bytes: self.queue_bytes,
            sync_interval: self.sync_interval,
        };
        // A volume that failed is looked at by a thread of its own, in real time.
        let ms = Duration::from_millis;
        let pace = disk::Pace { look: ms(2), first: ms(1), longest: ms(4) };
        let known = store.known_volumes().await.unwrap();
        let known = known.into_iter().filter_map(|v| Some((v.path, v.marker?))).collect();
        let options = disk::Options { fs: Arc::new(Shelf(disks.clone())), pace, known };
        let volumes = Volumes::open_with(settings, options).unwrap();
        let fs = disks.remove(0);
        self.started = (fs.len(), std::fs::metadata(&wal).map_or(0, |m| m.len()));
        record::recover(&store, &volumes, &self.clock).await.unwrap();
        // What recovery does around the seam.
        fs.adopt();
        disks.iter().for_each(FaultFs::adopt);
        let mut tasks = JoinSet::new();
        if self.volumes > 1 {
            let (volumes, clock) = (Arc::clone(&volumes), self.clock.clone());
            let stop = CancellationToken::new();
            tasks.spawn(record::returned::run(store.clone(), volumes, clock, stop));
        }
        self.life = Some(Life {
            fs,
            more: disks,
            store,
            volumes,
            hub: Hub::new(Limits::default()),
            database,
            recorders: HashMap::new(),
            tasks,
            pin: Some(pin),
        });
    }

    /// Starts a camera's recorder.
    pub(crate) async fn record(&mut self, camera: usize) {
        let pinned = self.pinned.filter(|(of, _)| *of == camera);
        let target = Target {
            camera: camera_id(camera),
            slug: slug(camera).parse().unwrap(),
            stream: stream(camera),
            role: Role::Main,
            volume: pinned.map(|(_, on)| self.root_of(on).to_string_lossy().into_owned()),
        };
        let (segment, clock) = (self.segment, self.clock.clone());
        let life = self.life.as_mut().unwrap();
        if life.recorders.contains_key(&camera) {
            return;
        }
        let recorder = Recorder::new(
            target,
            record::Settings { segment },
            life.hub.channel(stream(camera)),
            Arc::clone(&life.volumes),
            life.store.clone(),
            clock,
        );
        let (stop, counters) = (Stop::child_of(&CancellationToken::new()), recorder.counters());
        let status = recorder.status();
        let abort = life.tasks.spawn(recorder.run(stop.clone()));
        life.recorders.insert(camera, Running { stop, abort, counters });
        // It looks at rows and files first; where a disk hangs, it waits for that on the clock.
        for patience in 0.. {
            std::thread::sleep(Duration::from_micros(200));
            self.quiet().await;
            if status.has_changed().unwrap_or(true) || (self.fs().holds() && patience >= 20) {
                break;
            }
            assert!(patience < 50_000, "a recorder does not begin");
        }
    }

    /// Stops a camera's recorder in order.
    pub(crate) async fn stop_recorder(&mut self, camera: usize, reason: GapReason) {
        let life = self.life.as_mut().unwrap();
        let Some(running) = life.recorders.remove(&camera) else { return };
        // The next one begins with a key frame.
        self.films.get_mut(&camera).into_iter().for_each(|film| film.keyed = false);
        running.stop.stop(reason);
        for patience in 1.. {
            yield_now().await;
            if running.abort.is_finished() {
                break;
            }
            // Its disk and its database are at work on their own threads; what it waits for on the
            // clock comes later.
            std::thread::sleep(Duration::from_micros(100));
            if patience % 200 == 0 {
                self.clock.advance(WallSpan::from(TICK));
                tokio::time::advance(TICK).await;
                // As the sync thread would in that time.
                self.rounds().await;
            }
            assert!(patience < 200 * 600, "a recorder does not stop within a minute");
        }
    }

    /// A camera's recorder panics.
    pub(crate) async fn abort_recorder(&mut self, camera: usize) {
        let life = self.life.as_mut().unwrap();
        let Some(running) = life.recorders.remove(&camera) else { return };
        self.films.get_mut(&camera).into_iter().for_each(|film| film.keyed = false);
        running.abort.abort();
        while !running.abort.is_finished() {
            yield_now().await;
        }
    }

    /// A camera begins to send, with a key frame each `gop` pictures.
    pub(crate) fn begin(&mut self, camera: usize, gop: u64, previous_end: GapReason) {
        if self.films.contains_key(&camera) {
            return;
        }
        self.runs += 1;
        // The last picture of the run before lasts until then.
        let (zero, run) = (self.clock.now() + PICTURE, RunId(self.runs));
        self.whys.insert(run, previous_end);
        let life = self.life.as_ref().unwrap();
        let published = life.hub.channel(stream(camera)).publish(Run {
            id: run,
            stream: stream(camera),
            epoch: 0,
            started: zero,
            clock_source: ClockSource::Arrival,
            previous_end,
            tracks: tracks(camera),
        });
        let publisher = published.unwrap();
        let film = Film { publisher, run, zero, gop, next: [0; 2], keyed: false };
        self.films.insert(camera, film);
    }

    /// What a camera sends now.
    pub(crate) fn sends(&self, camera: usize) -> Option<RunId> {
        self.films.get(&camera).map(|film| film.run)
    }

    /// A camera is lost.
    pub(crate) fn end(&mut self, camera: usize, reason: GapReason) {
        if let Some(film) = self.films.remove(&camera) {
            film.publisher.end(reason);
        }
    }

    /// Lets `ms` pass.
    pub(crate) async fn play(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(TICK.as_millis() as u64) {
            self.clock.advance(WallSpan::from(TICK));
            let now = self.clock.now();
            for (&camera, film) in &mut self.films {
                film.send_until(now, camera, &mut self.sent);
            }
            let before = self.life().len();
            tokio::time::advance(TICK).await;
            self.settle().await;
            if self.life().len() > before && !self.life().holds() {
                // Rows follow; they are to be there at this moment and not at a later one.
                let _ = self.life().store.ping().await;
                self.settle().await;
            }
            self.pass();
        }
    }

    /// Takes note of how far the process has come.
    pub(crate) fn pass(&mut self) {
        let life = self.life.as_ref().unwrap();
        let wal = life.wal_len();
        self.passed.push(Passed { at: self.clock.now(), place: life.fs.len(), wal });
    }

    /// Waits until what was handed to the disk is written, if it is not made to wait.
    async fn settle(&self) {
        let life = self.life();
        for _ in 0..4 {
            yield_now().await;
        }
        if life.holds() {
            return;
        }
        while life.volumes.counters().iter().any(|(_, c)| c.queue_bytes.load(Relaxed) > 0) {
            std::thread::yield_now();
            yield_now().await;
        }
        yield_now().await;
    }

    /// Waits until nothing happens any more at this moment.
    pub(crate) async fn quiet(&self) {
        let life = self.life();
        let (mut same, mut last) = (0, None);
        while same < 4 {
            self.settle().await;
            let _ = life.store.ping().await;
            let counted: u64 = life.recorders.values().map(|r| counted(&r.counters)).sum();
            let now = Some((life.stirred(), life.wal_len(), counted));
            same = if now == last { same + 1 } else { 0 };
            last = now;
        }
    }

    /// Waits until the volume is seen to be well again.
    pub(crate) async fn well(&self) {
        for patience in 0.. {
            if self.life().volumes.health().iter().all(|v| v.state == disk::VolumeState::Ready) {
                break;
            }
            assert!(patience < 20_000, "{:?}", self.life().volumes.health());
            std::thread::sleep(Duration::from_micros(200));
            yield_now().await;
        }
        self.quiet().await;
    }

    /// Lets the sync thread make a whole round.
    pub(crate) async fn sync(&self) {
        self.rounds().await;
        self.quiet().await;
    }

    /// The same, whatever else may wait. Gives up when nobody syncs what is dirty.
    pub(crate) async fn rounds(&self) {
        let life = self.life();
        // After a failure something may be left that nobody will ever sync.
        let patience = if life.failed() == 0 { 50_000 } else { 200 };
        for patience in 0..patience {
            if patience % 100 == 0 {
                life.volumes.sync_now();
            }
            if !life.disks().any(FaultFs::is_dirty) {
                break;
            }
            std::thread::sleep(Duration::from_micros(100));
            yield_now().await;
        }
    }

    /// The process dies here; what is left of it can be put together by the caller.
    pub(crate) async fn die(&mut self) -> Wreck {
        self.quiet().await;
        let index = Index::read(&self.life().database);
        let (at, (started, first_commit)) = (self.clock.now(), self.started);
        let mut life = self.life.take().unwrap();
        let journal = life.fs.journal();
        let more = life.more.iter().map(FaultFs::journal).collect();
        life.disks().for_each(FaultFs::kill);
        self.films.clear();
        life.tasks.shutdown().await;
        let passed = std::mem::take(&mut self.passed);
        Wreck { journal, more, started, index, first_commit, at, passed }
    }

    /// The process ends in order.
    pub(crate) async fn stop(&mut self) -> Index {
        for camera in 0..CAMERAS {
            self.end(camera, GapReason::VedetteDown);
            self.quiet().await;
            self.stop_recorder(camera, GapReason::VedetteDown).await;
        }
        let mut life = self.life.take().unwrap();
        life.volumes.shut_down().await;
        drop(life.pin.take());
        life.tasks.shutdown().await;
        life.store.close().await;
        Index::read(&life.database)
    }
}

fn counted(counters: &RecorderCounters) -> u64 {
    let all = [&counters.units, &counters.segments, &counters.shed_units, &counters.gaps];
    all.iter().map(|c| c.load(Relaxed)).sum()
}

/// Reads the state as it is now, for as long as it lives.
async fn pin(database: &Path) -> SqliteConnection {
    let mut connection = SqliteConnectOptions::new().filename(database).connect().await.unwrap();
    sqlx::query("begin").execute(&mut connection).await.unwrap();
    sqlx::query("select count(*) from camera").execute(&mut connection).await.unwrap();
    connection
}

impl Film {
    fn send_until(&mut self, now: WallTime, camera: usize, sent: &mut Sent) {
        let tracks = tracks(camera).len();
        loop {
            let at = |track: usize| {
                let interval = [PICTURE, SOUND][track].as_micros();
                self.zero + WallSpan::from_micros(interval * self.next[track] as i64)
            };
            let Some(track) = (0..tracks).min_by_key(|&t| at(t)).filter(|&t| at(t) <= now) else {
                return;
            };
            let (wall, number) = (at(track), self.next[track]);
            self.next[track] += 1;
            let key = track != 0 || number.is_multiple_of(self.gop);
            let of = (stream(camera), self.run, track as u8);
            let (head, body) = payload(of, number, key);
            let ticks = number as i64 * [9_000, 1_024][track];
            self.keyed |= key && track == 0;
            sent.entry(of).or_default().push(SentUnit { wall, key, wanted: self.keyed });
            self.publisher.push(AccessUnit {
                track: TrackIndex(track as u8),
                number,
                dts: MediaTime::from_ticks(ticks),
                cts: 0,
                wall,
                random_access: key,
                head,
                body,
            });
        }
    }
}
