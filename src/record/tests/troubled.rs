//! Disks and databases that fail in the middle of it.

use std::{
    io::{self, IoSlice},
    path::Path,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use super::*;
use crate::disk::{FsFile, Space, VolumeState};

/// The real one, but for one write that fails when it is told so, and writes that wait.
#[derive(Debug, Default)]
struct Once {
    fail: AtomicBool,
    shut: Mutex<bool>,
    wake: Condvar,
}

impl Once {
    fn set(&self, shut: bool) {
        *self.shut.lock().unwrap() = shut;
        self.wake.notify_all();
    }
}

#[derive(Debug)]
struct OnceFs(Arc<Once>);

#[derive(Debug)]
struct OnceFile(Arc<Once>, Arc<dyn FsFile>);

impl Fs for OnceFs {
    fn create_folder(&self, path: &Path) -> io::Result<bool> {
        RealFs.create_folder(path)
    }
    fn create_file(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        Ok(Arc::new(OnceFile(Arc::clone(&self.0), RealFs.create_file(path)?)))
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        RealFs.sync_folder(path)
    }
    fn sync_all(&self, path: &Path) -> io::Result<()> {
        RealFs.sync_all(path)
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        RealFs.space(path)
    }
}

impl FsFile for OnceFile {
    fn append(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let shut = self.0.shut.lock().unwrap();
        drop(self.0.wake.wait_while(shut, |shut| *shut).unwrap());
        if self.0.fail.swap(false, SeqCst) {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.1.append(buffers)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.1.truncate(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.1.sync()
    }
}

/// Segments of a run touch; runs and ended gaps tile the time from the first to the last.
async fn no_holes(site: &Site) {
    let segments = site.segments().await;
    for run in site.runs().await {
        let own: Vec<_> = segments.iter().filter(|s| s.opened.run == run.id).collect();
        assert_eq!(own.first().unwrap().opened.start, run.start);
        assert_eq!(Some(own.last().unwrap().end), run.end, "{run:?}");
        for pair in own.windows(2) {
            assert_eq!(pair[0].end, pair[1].opened.start, "a run has no hole");
        }
    }
    let runs = site.runs().await.into_iter().map(|r| (r.start, r.end));
    let gaps = site.gaps().await.into_iter().map(|g| (g.start, g.end));
    let mut all: Vec<_> = runs.chain(gaps).collect();
    all.sort_unstable();
    for pair in all.windows(2) {
        assert_eq!(pair[0].1, Some(pair[1].0), "{all:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_at_a_rotation_leaves_no_hole_in_a_run() {
    let once = Arc::new(Once::default());
    let site = Site::on(Arc::new(OnceFs(Arc::clone(&once))), 64 << 20).await;
    let mut running = start(site.recorder());
    let mut film = Film::begin(&site, 11, EPOCH, LARGE, GapReason::Starting);
    film.play(2);
    running.recording().await;
    let open = only_open(&site).await;
    // The rest of this segment and the next one's beginning wait in the queue; then the last
    // fragment of this one that is written fails.
    once.set(true);
    film.play(14);
    while site.volumes.counters()[0].1.assigned.load(SeqCst) != 1
        || site.volumes.health()[0].queue_bytes < 33_000
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    once.fail.store(true, SeqCst);
    once.set(false);
    open.watch().wait_for(|p| p.finished).await.unwrap();
    film.play(3);
    running.stop(GapReason::VedetteDown).await;
    let gaps = site.gaps().await;
    assert!(gaps.iter().any(|g| g.reason == GapReason::DiskError), "{gaps:?}");
    assert_eq!(site.runs().await.len(), 2);
    no_holes(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_volume_the_gap_says_disk_error_and_recording_begins_when_it_is_there() {
    let site = Site::new().await;
    let root = site.folder.path().join("v");
    let away = site.folder.path().join("away");
    std::fs::rename(&root, &away).unwrap();
    let mut changed = site.volumes.changed();
    while site.volumes.all()[0].state() != VolumeState::Missing {
        changed.changed().await.unwrap();
    }
    let mut running = start(site.recorder());
    let mut film = Film::begin(&site, 11, EPOCH, LARGE, GapReason::Starting);
    film.play(3);
    let failing = |s: &RecorderStatus| {
        matches!(s, RecorderStatus::Failing { reason: GapReason::DiskError, .. })
    };
    running.wait_for(failing).await;
    std::fs::rename(&away, &root).unwrap();
    while site.volumes.all()[0].state() != VolumeState::Ready {
        changed.changed().await.unwrap();
    }
    film.play(4);
    running.recording().await;
    running.stop(GapReason::VedetteDown).await;
    let reasons: Vec<_> = site.gaps().await.iter().map(|g| g.reason).collect();
    assert!(reasons.contains(&GapReason::DiskError), "{reasons:?}");
    no_holes(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_index_missed_is_adopted_when_the_stream_is_recorded_again() {
    let site = Site::new().await;
    let mut running = start(site.recorder());
    let mut film = Film::begin(&site, 11, EPOCH, LARGE, GapReason::Starting);
    film.play(2);
    running.recording().await;
    film.play(10);
    while site.segments().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The database goes, and the recorder ends before it is back.
    site.store.close().await;
    film.play(20);
    running.stop(GapReason::VedetteDown).await;
    site.volumes.shut_down().await;

    let Site { folder, clock, camera, volumes, .. } = site;
    drop(volumes);
    let database = folder.path().join("vedette.db");
    let sealer = Sealer::open_or_create(&folder.path().join("key")).unwrap();
    let store = Store::open(&database, clock.clone(), sealer).await.unwrap();
    let volumes = open_volumes(&folder, Arc::new(RealFs), 1 << 20);
    recover(&store, &volumes, &clock).await.unwrap();
    let hub = Hub::new(Limits::default());
    let site = Site { folder, clock, store, volumes, hub, camera };
    let slug = &site.camera.slug;
    let adopted = adopt::unindexed(
        &site.store,
        &site.volumes,
        slug,
        Role::Main,
        site.stream(),
        site.clock.now(),
        true,
    );
    assert!(adopted.await.unwrap() > 0);
    let segments = site.segments().await;
    let mut seen = 0;
    for segment in &segments {
        assert!(segment.closed);
        seen += read(&site.file(segment)).units(0).len();
    }
    assert_eq!(seen, of_track(&film.sent, 0).len(), "each once");

    // A crash left this; but while a stream is recorded it may be a file about to be written to.
    let empty = site.file(&segments[0]).with_file_name("59-59.999Z.0.mp4");
    std::fs::write(&empty, "").unwrap();
    for (idle, left) in [(false, true), (true, false)] {
        let (stream, now) = (site.stream(), site.clock.now());
        let (store, volumes) = (&site.store, &site.volumes);
        let found = adopt::unindexed(store, volumes, slug, Role::Main, stream, now, idle).await;
        assert_eq!((found.unwrap(), empty.exists()), (0, left));
    }
}
