//! Rounds over a real index and real files.

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

use tokio::task::JoinSet;

use super::{plan::*, *};
use crate::{
    disk::{Fs, FsFile, RealFs, Settings as DiskSettings, Space, VolumeSettings},
    id::{CameraId, EventId, LockId, Role, RunId, SegmentId, StreamId},
    model::{
        Camera, CameraStream, ClosedSegment, Event, EventKind, Lock, NewSegment, RecordMode,
        RetentionLimits, RunRow, Segment, Transport, WallRange,
    },
    proto::time::WallTime,
    seal::Sealer,
    task::{Health, supervise},
};

/// 2026-11-22T10:00:00Z.
const NOW: WallTime = WallTime::from_micros(1_795_341_600_000_000);
const MINUTE: WallSpan = WallSpan::from_secs(60);
const ALL: WallRange = WallTime::from_micros(0)..WallTime::from_micros(i64::MAX);

fn ago(minutes: i64) -> WallTime {
    NOW - WallSpan::from_secs(60 * minutes)
}

/// The real file system, but as large as a test wants it.
#[derive(Debug)]
struct Small {
    total: AtomicU64,
}

impl Fs for Small {
    fn create_folder(&self, path: &Path) -> io::Result<bool> {
        RealFs.create_folder(path)
    }

    fn create_file(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        RealFs.create_file(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        RealFs.sync_folder(path)
    }

    fn sync_all(&self, root: &Path) -> io::Result<()> {
        RealFs.sync_all(root)
    }

    fn space(&self, root: &Path) -> io::Result<Space> {
        let total = self.total.load(SeqCst);
        Ok(Space { free: total.saturating_sub(size(root)), total })
    }
}

/// Bytes of footage below a folder.
fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => size(&entry.path()),
        Ok(meta) if entry.path().extension().is_some_and(|e| e == "mp4") => meta.len(),
        _ => 0,
    };
    entries.map(size).sum()
}

struct Site {
    dir: tempfile::TempDir,
    store: Store,
    volumes: Arc<Volumes>,
    fs: Arc<Small>,
    clock: Clock,
    retention: Arc<Retention>,
}

const SETTINGS: Settings =
    Settings { events: Some(Duration::from_secs(3_600)), audit: None, gaps: None };

impl Site {
    /// With one volume that has 100 KB, of which 1 KB is to stay free.
    async fn new() -> Self {
        Self::with(None, AgeHold::never).await
    }

    async fn with(max_bytes: Option<u64>, age: impl FnOnce(Clock) -> AgeHold) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOW);
        let path = dir.path().join("index.db");
        let store = Store::open(&path, clock.clone(), Sealer::ephemeral()).await.unwrap();
        let fs = Arc::new(Small { total: AtomicU64::new(100_000) });
        let path = dir.path().join("footage");
        let volume = VolumeSettings { path, max_bytes, min_free_bytes: 1_000 };
        let settings = DiskSettings { volumes: vec![volume], ..DiskSettings::default() };
        let volumes = Volumes::open_on(settings, fs.clone()).unwrap();
        let age = age(clock.clone());
        let parts =
            Parts { store: store.clone(), volumes: volumes.clone(), clock: clock.clone(), age };
        let retention = Retention::new(SETTINGS, parts);
        Self { dir, store, volumes, fs, clock, retention }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("footage")
    }

    fn volume(&self) -> String {
        self.root().to_string_lossy().into_owned()
    }

    async fn camera(&self, slug: &str, limits: RetentionLimits) -> (CameraId, StreamId) {
        let stream = CameraStream {
            id: StreamId::generate(&self.clock),
            role: Role::Main,
            url: "rtsp://camera.example/".to_owned(),
            transport: Transport::Tcp,
            audio: true,
            record: None,
            retention: None,
            volume: None,
            created: ago(100_000),
        };
        let camera = Camera {
            id: CameraId::generate(&self.clock),
            slug: slug.parse().unwrap(),
            name: slug.to_owned(),
            enabled: true,
            username: None,
            password: None,
            tls: Default::default(),
            record: RecordMode::Always,
            when: Default::default(),
            retention: limits,
            volume: None,
            streams: vec![stream],
            created: ago(100_000),
            updated: ago(100_000),
            sealed_broken: false,
            source: crate::model::Source::Pull,
        };
        let camera = self.store.insert_camera(camera).await.unwrap();
        (camera.id, camera.streams[0].id)
    }

    /// A run of segments of a minute, 1,000 bytes each; the last ends so many minutes ago.
    async fn record(&self, stream: StreamId, count: i64, until: i64) -> Vec<SegmentId> {
        self.record_on(&self.volume(), stream, count, until).await
    }

    async fn record_on(
        &self,
        volume: &str,
        stream: StreamId,
        count: i64,
        until: i64,
    ) -> Vec<SegmentId> {
        let run = RunId::generate(&self.clock);
        let first = ago(until + count);
        self.store
            .open_run(RunRow { id: run, stream, epoch: 0, start: first, end: None })
            .await
            .unwrap();
        let (mut ids, mut opened, mut closed) = (Vec::new(), Vec::new(), Vec::new());
        for n in 0..count {
            let id = SegmentId::generate(&self.clock);
            let start = first + WallSpan::from_secs(60 * n);
            let path = format!("{stream}/main/{}/{n}.mp4", n / 100);
            let segment = NewSegment {
                id,
                stream,
                run,
                epoch: 0,
                sequence: n as u32,
                start,
                volume: volume.to_owned(),
                path: path.clone(),
                codecs: "avc1.64001f".to_owned(),
                tracks: Vec::new(),
            };
            let file = self.root().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            if volume == self.volume() {
                std::fs::write(file, [7; 1_000]).unwrap();
            }
            opened.push(self.store.open_segment(segment));
            closed.push(self.store.close_segment(ClosedSegment {
                id,
                end: start + MINUTE,
                bytes: 1_000,
                damaged: 0,
                tracks: Vec::new(),
                keys: Vec::new(),
            }));
            ids.push(id);
        }
        // Asked for together, they share a transaction.
        futures_util::future::try_join_all(opened).await.unwrap();
        futures_util::future::try_join_all(closed).await.unwrap();
        self.store.close_run(run, ago(until)).await.unwrap();
        self.look();
        ids
    }

    /// Has the volume know how much is free.
    fn look(&self) {
        let space = self.fs.space(&self.root()).unwrap();
        for (_, counters) in self.volumes.counters() {
            counters.free_bytes.store(space.free, Relaxed);
            counters.total_bytes.store(space.total, Relaxed);
        }
    }

    /// Makes the file system so large that just so much is free.
    fn free(&self, bytes: u64) {
        self.fs.total.store(size(&self.root()) + bytes, SeqCst);
        self.look();
    }

    async fn lock(&self, camera: CameraId, range: WallRange) -> LockId {
        let id = LockId::generate(&self.clock);
        let lock = Lock {
            id,
            camera,
            start: range.start,
            end: range.end,
            note: String::new(),
            created: NOW,
            created_by: "admin".to_owned(),
        };
        self.store.insert_lock(lock).await.unwrap();
        id
    }

    async fn left(&self, stream: StreamId) -> Vec<Segment> {
        self.store.segments_overlapping(stream, ALL, None, 10_000).await.unwrap()
    }

    async fn ids(&self, stream: StreamId) -> Vec<SegmentId> {
        self.left(stream).await.iter().map(|s| s.opened.id).collect()
    }

    async fn round(&self) -> Round {
        self.retention.round().await.unwrap()
    }

    fn state(&self, reason: Reason) -> State {
        let report = self.retention.report();
        report.limits.iter().find(|l| l.reason == reason).expect("such a limit").state
    }

    /// Each row has its file, each file its row, and nothing waits.
    async fn assert_whole(&self, streams: &[StreamId]) {
        let mut rows = 0;
        for stream in streams {
            for segment in self.left(*stream).await {
                assert!(self.root().join(&segment.opened.path).exists(), "a row without a file");
                rows += 1_000;
            }
        }
        assert_eq!(size(&self.root()), rows, "a file without a row");
        assert_eq!(self.store.unlinks_waiting().await.unwrap(), (0, 0));
    }
}

fn age(minutes: u64) -> RetentionLimits {
    RetentionLimits { max_age_seconds: Some(60 * minutes), max_bytes: None }
}

fn bytes(max: u64) -> RetentionLimits {
    RetentionLimits { max_age_seconds: None, max_bytes: Some(max) }
}

#[tokio::test]
async fn what_is_too_old_goes_with_its_file_and_its_empty_folders() {
    let site = Site::new().await;
    let (_, door) = site.camera("door", age(50)).await;
    let (_, yard) = site.camera("yard", RetentionLimits::default()).await;
    let ids = site.record(door, 150, 0).await;
    site.record(yard, 3, 200).await;
    let round = site.round().await;
    assert_eq!(round, Round { deleted: 100, bytes: 100_000, unlinked: 100, more: false });
    assert_eq!(site.ids(door).await, ids[100..]);
    assert_eq!(site.left(yard).await.len(), 3, "without a limit nothing is too old");
    assert!(!site.root().join(format!("{door}/main/0")).exists());
    site.assert_whole(&[door, yard]).await;
    assert_eq!(site.retention.counters().of(Reason::Age), (100, 100_000));
    assert_eq!(site.round().await, Round::default());
    assert_eq!(site.state(Reason::Age), State::Met);
}

#[tokio::test]
async fn a_stream_keeps_to_its_bytes() {
    let site = Site::new().await;
    let (_, door) = site.camera("door", bytes(10_000)).await;
    let ids = site.record(door, 30, 0).await;
    site.round().await;
    let left = site.ids(door).await;
    // The reserve is one segment, and some slack.
    assert_eq!(left, ids[22..]);
    site.assert_whole(&[door]).await;
    assert_eq!(site.round().await, Round::default());
}

#[tokio::test]
async fn a_nearly_full_volume_loses_the_oldest_of_all() {
    let site = Site::new().await;
    let (_, door) = site.camera("door", RetentionLimits::default()).await;
    let (_, yard) = site.camera("yard", RetentionLimits::default()).await;
    site.record(door, 40, 0).await;
    site.record(yard, 20, 30).await;
    site.free(500);
    let round = site.round().await;
    assert_eq!((round.deleted, round.unlinked), (1, 1));
    assert!(site.left(yard).await[0].opened.start == ago(49), "yard had the oldest");
    site.free(0);
    site.volumes.room().ask(&site.volume());
    site.round().await;
    site.look();
    assert!(site.volumes.health()[0].free_bytes > 1_000);
    site.assert_whole(&[door, yard]).await;
}

#[tokio::test]
async fn only_locked_footage_left_is_said_and_goes_when_the_lock_is_gone() {
    let site = Site::new().await;
    let (camera, door) = site.camera("door", RetentionLimits::default()).await;
    let ids = site.record(door, 20, 0).await;
    let lock = site.lock(camera, ago(18)..ago(2)).await;
    site.free(0);
    site.round().await;
    assert_eq!(site.ids(door).await, ids[2..], "the oldest that was not locked went");
    site.fs.total.store(size(&site.root()), SeqCst);
    site.look();
    site.round().await;
    assert_eq!(site.ids(door).await, ids[2..18]);
    site.fs.total.store(size(&site.root()), SeqCst);
    site.look();
    assert_eq!(site.round().await.deleted, 0);
    assert_eq!(site.state(Reason::FreeSpace), State::Blocked(Blocked::Locked));
    let mut state = site.store.watch_state();
    let before = *state.borrow_and_update();
    site.store.delete_lock(lock).await.unwrap().unwrap();
    // Told after the answer; the task is woken by it.
    state.wait_for(|generation| *generation > before).await.unwrap();
    assert!(site.round().await.deleted > 0);
    assert_eq!(site.ids(door).await, ids[4..18]);
    site.assert_whole(&[door]).await;
}

#[tokio::test]
async fn a_lock_longer_than_a_page_is_stepped_over() {
    let site = Site::new().await;
    let (camera, door) = site.camera("door", RetentionLimits::default()).await;
    let ids = site.record(door, 200, 0).await;
    site.lock(camera, ago(200)..ago(10)).await;
    site.free(0);
    site.round().await;
    assert_eq!(site.ids(door).await, [&ids[..190], &ids[192..]].concat());
}

#[tokio::test]
async fn what_is_being_read_stays_until_the_volume_is_full_and_nothing_else_is_left() {
    let site = Site::new().await;
    let (_, door) = site.camera("door", bytes(3_000)).await;
    let ids = site.record(door, 10, 0).await;
    let lease = site.volumes.leases().hold(door, ago(10)..ago(8));
    site.round().await;
    assert_eq!(site.ids(door).await, [ids[0], ids[1]], "the limit is not kept for its sake");
    assert_eq!(site.state(Reason::StreamBytes), State::Underway);
    site.free(500);
    site.round().await;
    assert!(lease.is_broken());
    assert_eq!(site.volumes.leases().counters().broken.load(Relaxed), 1);
    assert_eq!(site.ids(door).await, [ids[1]]);
    site.assert_whole(&[door]).await;
}

#[tokio::test]
async fn files_that_a_crash_left_without_a_row_are_unlinked_at_start() {
    let site = Site::new().await;
    let (_, door) = site.camera("door", RetentionLimits::default()).await;
    let ids = site.record(door, 10, 0).await;
    site.store.delete_segments(&ids[..5]).await.unwrap();
    assert_eq!(size(&site.root()), 10_000);
    let round = site.round().await;
    assert_eq!((round.deleted, round.unlinked), (0, 5));
    site.assert_whole(&[door]).await;
}

#[tokio::test]
async fn what_is_noted_as_being_deleted_is_what_is_not_unlinked_yet_also_after_a_restart() {
    let site = Site::new().await;
    let (_, door) = site.camera("door", age(5)).await;
    site.record(door, 10, 0).await;
    let noted = || crate::disk::deleted::segments(&RealFs, &site.root()).unwrap();
    let oldest = site.left(door).await[0].opened.clone();
    let stuck = site.root().join(&oldest.path);
    std::fs::remove_file(&stuck).unwrap();
    std::fs::create_dir(&stuck).unwrap();
    std::fs::write(stuck.join("in the way"), "").unwrap();
    let round = site.round().await;
    assert!(round.deleted >= 4 && round.unlinked + 1 == round.deleted, "{round:?}");
    assert!(noted().iter().any(|n| (n.segment, &n.path) == (oldest.id, &oldest.path)));
    // What the process before noted and did not come to delete is noted no more.
    let name = site.root().to_string_lossy().into_owned();
    let kept = site.left(door).await[0].opened.clone();
    let stale = crate::disk::deleted::DeletedSegment {
        segment: kept.id,
        stream: door,
        path: kept.path,
        bytes: 1,
        start_us: 0,
        end_us: 1,
    };
    site.volumes.note_deleted(&name, vec![stale]).await.unwrap().unwrap();
    let parts = Parts {
        store: site.store.clone(),
        volumes: Arc::clone(&site.volumes),
        clock: site.clock.clone(),
        age: AgeHold::never(site.clock.clone()),
    };
    let next = Retention::new(SETTINGS, parts);
    std::fs::remove_file(stuck.join("in the way")).unwrap();
    std::fs::remove_dir(&stuck).unwrap();
    next.round().await.unwrap();
    assert_eq!(noted(), []);
    assert_eq!(site.store.unlinks_waiting().await.unwrap().0, 0);
}

#[tokio::test]
async fn a_file_that_cannot_be_unlinked_waits_and_the_others_go() {
    let site = Site::new().await;
    let (_, door) = site.camera("door", RetentionLimits::default()).await;
    let ids = site.record(door, 10, 0).await;
    let stuck = site.root().join(&site.left(door).await[2].opened.path);
    std::fs::remove_file(&stuck).unwrap();
    std::fs::create_dir(&stuck).unwrap();
    std::fs::write(stuck.join("in the way"), "").unwrap();
    site.store.delete_segments(&ids[..5]).await.unwrap();
    assert_eq!(site.round().await.unlinked, 4);
    assert_eq!(site.store.unlinks_waiting().await.unwrap().0, 1);
    assert_eq!(site.round().await.unlinked, 0, "not tried again at once");
    assert_eq!(site.retention.counters().unlink_failures.load(Relaxed), 1);
}

#[tokio::test]
async fn nothing_is_deleted_while_the_index_is_made_anew() {
    let site = Site::new().await;
    let (_, door) = site.camera("door", age(1)).await;
    site.record(door, 10, 0).await;
    site.store.set_meta("rebuild", "the database was damaged").await.unwrap();
    assert_eq!(site.round().await, Round::default());
    assert!(matches!(site.retention.report().on_hold, Some(OnHold::Rebuild(_))));
    site.store.set_meta("rebuild", "").await.unwrap();
    assert_eq!(site.round().await.deleted, 9);
    assert_eq!(site.retention.report().on_hold, None);
}

#[tokio::test]
async fn a_clock_in_doubt_holds_age_but_not_size() {
    let site = Site::with(None, |clock| AgeHold::new(clock, None)).await;
    let (_, door) = site.camera("door", age(60)).await;
    let (_, yard) = site.camera("yard", bytes(5_000)).await;
    site.record(door, 10, 0).await;
    site.record(yard, 10, 0).await;
    site.clock.advance(WallSpan::from_secs(400 * 86_400));
    site.round().await;
    assert_eq!(site.left(door).await.len(), 10);
    assert!(site.left(yard).await.len() < 6);
    assert_eq!(site.state(Reason::Age), State::Blocked(Blocked::Clock));
    assert!(site.retention.report().age_held.is_some());
    assert!(site.retention.parts.age.confirm());
    site.round().await;
    assert_eq!(site.left(door).await.len(), 0);
}

#[tokio::test]
async fn footage_of_a_deleted_camera_goes_by_its_limits_and_the_volumes() {
    let site = Site::with(Some(20_000), AgeHold::never).await;
    let (camera, door) = site.camera("door", age(15)).await;
    let (_, yard) = site.camera("yard", RetentionLimits::default()).await;
    site.record(door, 20, 0).await;
    site.record(yard, 20, 100).await;
    site.store.delete_camera(camera, true).await.unwrap();
    site.round().await;
    // Five too old; then the oldest of both until the volume has 20,000 less its reserve.
    assert_eq!(site.left(door).await.len(), 15);
    assert_eq!(site.retention.counters().of(Reason::Age).0, 5);
    assert!(site.left(yard).await.len() <= 5);
    site.assert_whole(&[door, yard]).await;
}

#[tokio::test]
async fn footage_on_a_volume_that_is_not_configured_is_left_alone() {
    let site = Site::new().await;
    let (_, door) = site.camera("door", age(1)).await;
    site.record_on("/elsewhere", door, 5, 10).await;
    assert_eq!(site.round().await, Round::default());
    assert_eq!(site.left(door).await.len(), 5);
    assert_eq!(site.state(Reason::Age), State::Blocked(Blocked::VolumeAway));
}

#[tokio::test]
async fn a_plan_says_what_goes_next_and_deletes_nothing() {
    let site = Site::new().await;
    let (_, door) = site.camera("door", age(15)).await;
    let ids = site.record(door, 10, 0).await;
    let report = site.retention.plan().await.unwrap();
    let next = |reason| report.limits.iter().find(|l| l.reason == reason).unwrap().next.unwrap();
    assert_eq!(next(Reason::Age).due, Some(NOW + WallSpan::from_secs(60 * 6)));
    assert_eq!(next(Reason::FreeSpace).id, ids[0]);
    assert_eq!(report.streams[0].oldest, Some(ago(10)));
    site.clock.advance(WallSpan::from_secs(60 * 8));
    let report = site.retention.plan().await.unwrap();
    let step = &report.steps[0];
    let picked: Vec<_> = step.segments.iter().map(|s| s.id).collect();
    assert_eq!(
        (step.reason, &step.volume[..], picked),
        (Reason::Age, &site.volume()[..], ids[..3].to_vec())
    );
    assert_eq!(site.ids(door).await, ids);
}

#[tokio::test]
async fn the_task_answers_a_volume_that_asks_and_a_lock_that_goes_and_prunes() {
    let site = Site::new().await;
    let (camera, door) = site.camera("door", age(5)).await;
    let ids = site.record(door, 10, 0).await;
    let lock = site.lock(camera, ago(10)..ago(8)).await;
    let event = |id, at| Event {
        id: EventId(id),
        at,
        kind: EventKind::Started,
        camera: None,
        stream: None,
        detail: String::new(),
    };
    site.store.insert_events(vec![event(1, ago(61))]).await.unwrap();
    site.store.insert_events(vec![event(2, ago(59))]).await.unwrap();

    let stop = CancellationToken::new();
    let health = watch::Sender::new(Health::Stopped { since: Instant::now() });
    let retention = Arc::clone(&site.retention);
    let mut task = JoinSet::new();
    let attempt = move |attempt| Arc::clone(&retention).run(attempt);
    task.spawn(supervise(POLICY, health, stop.clone(), attempt));
    let gone = |count: usize| {
        let site = &site;
        async move {
            let mut reports = site.retention.watch();
            let wait = async {
                // Files go after their rows; until then what is free changes under the test.
                while site.left(door).await.len() > count
                    || site.store.unlinks_waiting().await.unwrap() != (0, 0)
                {
                    // A report comes before its steps are carried out, so look again.
                    let _ =
                        tokio::time::timeout(Duration::from_millis(20), reports.changed()).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), wait).await.expect("in time");
        }
    };
    gone(7).await;
    assert_eq!(site.ids(door).await, [&ids[..2], &ids[5..]].concat());
    site.store.delete_lock(lock).await.unwrap();
    gone(5).await;
    site.free(0);
    site.volumes.room().ask(&site.volume());
    gone(4).await;
    let events = site.store.events_page(None, ALL, None, 10).await;
    assert_eq!(events.unwrap().iter().map(|e| e.id).collect::<Vec<_>>(), [EventId(2)]);
    stop.cancel();
    while let Some(ended) = task.join_next().await {
        ended.unwrap();
    }
    site.assert_whole(&[door]).await;
}
