//! Volumes on a real folder, and on a file system that fails, waits and fills up on demand.

use std::{
    io::{self, IoSlice},
    path::Path,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::{
    id::{Role, RunId, SegmentId, StreamId},
    model::NewSegment,
    proto::{
        access_unit::{Track, Tracks},
        codec::{Parameters, g711},
        reason::GapReason,
        time::{Timescale, WallTime},
    },
};

pub(super) const START: WallTime = WallTime::from_micros(1_795_341_600_000_000);
pub(super) const STREAM: StreamId = StreamId(7);
pub(super) const HOUR: Duration = Duration::from_secs(3_600);

/// The real file system until told otherwise.
#[derive(Debug)]
pub(super) struct Faulty {
    /// Bytes it still takes.
    pub(super) room: AtomicU64,
    pub(super) writes_wait: Gate,
    pub(super) syncs_wait: Gate,
    pub(super) syncs_fail: AtomicBool,
    pub(super) writes_fail: AtomicBool,
    pub(super) writes_panic: AtomicBool,
    /// Free bytes.
    pub(super) free: AtomicU64,
    pub(super) file_syncs: AtomicU64,
    pub(super) whole_syncs: AtomicU64,
    pub(super) folder_syncs: AtomicU64,
}

impl Default for Faulty {
    fn default() -> Self {
        Self {
            room: AtomicU64::new(u64::MAX),
            writes_wait: Gate::default(),
            syncs_wait: Gate::default(),
            syncs_fail: AtomicBool::default(),
            writes_fail: AtomicBool::default(),
            writes_panic: AtomicBool::default(),
            free: AtomicU64::new(1 << 40),
            file_syncs: AtomicU64::default(),
            whole_syncs: AtomicU64::default(),
            folder_syncs: AtomicU64::default(),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Gate {
    shut: Mutex<bool>,
    wake: Condvar,
}

impl Gate {
    pub(super) fn set(&self, shut: bool) {
        *self.shut.lock().unwrap() = shut;
        self.wake.notify_all();
    }

    fn pass(&self) {
        let shut = self.shut.lock().unwrap();
        drop(self.wake.wait_while(shut, |shut| *shut).unwrap());
    }
}

#[derive(Debug)]
pub(super) struct FaultyFs(pub(super) Arc<Faulty>);

#[derive(Debug)]
struct FaultyFile(Arc<Faulty>, Arc<dyn FsFile>);

impl Fs for FaultyFs {
    fn create_folder(&self, path: &Path) -> io::Result<bool> {
        RealFs.create_folder(path)
    }
    fn create_file(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        Ok(Arc::new(FaultyFile(Arc::clone(&self.0), RealFs.create_file(path)?)))
    }
    fn open_file(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        Ok(Arc::new(FaultyFile(Arc::clone(&self.0), RealFs.open_file(path)?)))
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.0.folder_syncs.fetch_add(1, SeqCst);
        RealFs.sync_folder(path)
    }
    fn sync_all(&self, _: &Path) -> io::Result<()> {
        self.0.whole_syncs.fetch_add(1, SeqCst);
        Ok(())
    }
    fn space(&self, _: &Path) -> io::Result<Space> {
        Ok(Space { free: self.0.free.load(SeqCst), total: 1 << 41 })
    }
}

impl FsFile for FaultyFile {
    fn append(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.writes_wait.pass();
        assert!(!self.0.writes_panic.swap(false, SeqCst), "as this test wants it");
        if self.0.writes_fail.load(SeqCst) {
            return Err(io::Error::from_raw_os_error(5));
        }
        let room = self.0.room.load(SeqCst);
        if room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        // A short write to the brim, as disks do it.
        let whole: Vec<u8> = buffers.iter().flat_map(|b| b.iter().copied()).collect();
        let some = &whole[..whole.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        let n = self.1.append(&[IoSlice::new(some)])?;
        self.0.room.store(room - n as u64, SeqCst);
        Ok(n)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.1.truncate(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.syncs_wait.pass();
        self.0.file_syncs.fetch_add(1, SeqCst);
        if self.0.syncs_fail.load(SeqCst) { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
    }
}

pub(super) struct Bench {
    pub(super) folder: TempDir,
    pub(super) faults: Arc<Faulty>,
    pub(super) volumes: Arc<Volumes>,
    pub(super) completions: mpsc::UnboundedReceiver<Completion>,
    pub(super) completer: Completions,
}

fn settings(path: &Path, queue_bytes: usize, sync_interval: Duration) -> Settings {
    let volume = VolumeSettings { path: path.to_owned(), max_bytes: None, min_free_bytes: 0 };
    Settings { volumes: vec![volume], queue_bytes, sync_interval }
}

impl Bench {
    pub(super) fn new(queue_bytes: usize, sync_interval: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let faults = Arc::new(Faulty::default());
        let settings = settings(folder.path(), queue_bytes, sync_interval);
        let fs = Arc::new(FaultyFs(Arc::clone(&faults)));
        let volumes = Volumes::open_on(settings, fs).unwrap();
        let (completer, completions) = mpsc::unbounded_channel();
        Self { folder, faults, volumes, completions, completer }
    }

    pub(super) fn create(&self, id: i64) -> SegmentWriter {
        let volume = self.volumes.choose(None).unwrap();
        volume.create(draft(id), self.completer.clone()).unwrap()
    }

    pub(super) async fn next(&mut self) -> Completion {
        self.completions.recv().await.unwrap()
    }

    pub(super) async fn opened(&mut self) -> Arc<OpenSegment> {
        match self.next().await {
            Completion::Opened(segment) => segment,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn written(&mut self) {
        let next = self.next().await;
        assert!(matches!(next, Completion::Written { .. }), "{next:?}");
    }

    /// Until the writer has nothing to do.
    async fn idle(&self) {
        while self.volumes.counters()[0].1.queue_bytes.load(SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
    }

    pub(super) fn bytes(&self, segment: &OpenSegment) -> Vec<u8> {
        std::fs::read(self.folder.path().join(&segment.opened.path)).unwrap()
    }
}

impl Drop for Bench {
    /// So that a test that fails can end its threads.
    fn drop(&mut self) {
        self.faults.writes_wait.set(false);
        self.faults.syncs_wait.set(false);
    }
}

pub(super) fn draft(id: i64) -> Draft {
    let parameters = g711::Parameters { law: g711::Law::A, sample_rate: 8_000, channels: 1 };
    let track = Track {
        timescale: Timescale::new(8_000).unwrap(),
        parameters: Parameters::G711(parameters),
    };
    let row = NewSegment {
        id: SegmentId(id),
        stream: STREAM,
        run: RunId(1),
        epoch: 0,
        sequence: 0,
        start: START,
        volume: String::new(),
        path: String::new(),
        codecs: "alaw".to_owned(),
        tracks: Vec::new(),
    };
    Draft {
        row,
        camera: "door".parse().unwrap(),
        role: Role::Main,
        tracks: Tracks::from([track]),
        live_run: RunId(1),
        header: Bytes::from_static(b"header"),
    }
}

pub(super) fn fragment(offset: u64, len: u64) -> Arc<Fragment> {
    Arc::new(Fragment {
        offset,
        payload: offset..offset + len,
        key: true,
        wall: START,
        end: START,
        tracks: Vec::new(),
    })
}

pub(super) fn part(text: &'static str) -> Vec<Bytes> {
    vec![Bytes::from_static(text.as_bytes())]
}

#[tokio::test]
async fn a_fragment_is_listed_when_it_can_be_read_and_not_before() {
    let mut bench = Bench::new(1 << 20, HOUR);
    bench.faults.writes_wait.set(true);
    let writer = bench.create(1);
    let pieces = vec![Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"two")];
    writer.append(pieces, fragment(6, 6)).unwrap();
    assert!(bench.volumes.open_segments().is_empty());
    bench.faults.writes_wait.set(false);
    let segment = bench.opened().await;
    assert_eq!(segment.opened.path, "door/main/2026-11-22/10/00-00.000Z.0.mp4");
    bench.written().await;
    segment.watch().wait_for(|p| p.fragments == 1).await.unwrap();
    let progress = segment.progress();
    assert_eq!((progress.fragments, progress.bytes, progress.finished), (1, 12, false));
    let listed = &bench.volumes.open_segments().of(STREAM)[0];
    assert_eq!(listed.opened, segment.opened);
    let reader = listed.reader().await.unwrap();
    let at = &segment.fragments(0)[0].payload;
    assert_eq!(reader.read_at(at.start, 6).await.unwrap(), "onetwo");
    assert!(segment.fragments(1).is_empty() && segment.fragments(9).is_empty());
    let beyond = reader.read_at(at.start, 7).await.unwrap_err();
    assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);

    writer.close(part("tail"), 1, true).unwrap();
    assert!(matches!(bench.next().await, Completion::Finished { .. }));
    segment.watch().wait_for(|p| p.finished).await.unwrap();
    let closed = bench.next().await;
    assert!(matches!(closed, Completion::Closed { bytes: 16, durable: true, .. }), "{closed:?}");
    assert_eq!(bench.bytes(&segment), b"headeronetwotail");
    bench.volumes.open_segments().remove(STREAM, SegmentId(1));
    assert!(bench.volumes.open_segments().is_empty());
    bench.volumes.shut_down().await;
}

#[tokio::test]
async fn who_meets_a_full_queue_is_told_at_once() {
    let mut bench = Bench::new(100, HOUR);
    let writer = bench.create(1);
    let segment = bench.opened().await;
    bench.idle().await;
    bench.faults.writes_wait.set(true);
    let block = |n: usize| vec![Bytes::from(vec![b'x'; n])];
    writer.append(block(80), fragment(6, 80)).unwrap();
    assert_eq!(writer.append(block(21), fragment(86, 21)), Err(Refused::Full));
    writer.append(block(20), fragment(86, 20)).unwrap();
    let counters = &bench.volumes.counters()[0].1;
    assert_eq!(counters.queue_bytes.load(SeqCst), 100);
    assert_eq!(counters.refused.load(SeqCst), 1);
    bench.faults.writes_wait.set(false);
    bench.written().await;
    bench.written().await;
    // More than the whole bound still goes through an idle disk.
    bench.idle().await;
    writer.append(block(500), fragment(106, 500)).unwrap();
    bench.written().await;
    assert_eq!(bench.bytes(&segment).len(), 606);
}

#[tokio::test]
async fn after_a_failed_write_the_file_ends_with_its_last_whole_fragment() {
    let mut bench = Bench::new(1 << 20, HOUR);
    let writer = bench.create(1);
    let segment = bench.opened().await;
    writer.append(part("whole"), fragment(6, 5)).unwrap();
    bench.written().await;
    bench.faults.room.store(3, SeqCst);
    writer.append(part("broken"), fragment(11, 6)).unwrap();
    match bench.next().await {
        Completion::Failed { opened: true, kept: 1, fault, .. } => {
            assert_eq!(fault.reason(), GapReason::DiskFull);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.bytes(&segment), b"headerwhole");
    assert_eq!(segment.progress().bytes, 11);
    assert!(!bench.volumes.health()[0].writable);
    // Room again: but a hole would be in the file.
    bench.faults.room.store(u64::MAX, SeqCst);
    writer.append(part("later"), fragment(17, 5)).unwrap();
    writer.close(part("tail of more"), 2, true).unwrap();
    assert!(matches!(bench.next().await, Completion::Finished { .. }));
    assert!(matches!(bench.next().await, Completion::Closed { bytes: 11, .. }));
    assert_eq!(bench.bytes(&segment), b"headerwhole");
}

#[tokio::test]
async fn a_segment_is_whole_without_the_tail_that_found_no_room() {
    let mut bench = Bench::new(1 << 20, HOUR);
    let writer = bench.create(1);
    let segment = bench.opened().await;
    writer.append(part("whole"), fragment(6, 5)).unwrap();
    bench.written().await;
    bench.faults.room.store(2, SeqCst);
    writer.close(part("tail"), 1, true).unwrap();
    assert!(matches!(bench.next().await, Completion::Finished { .. }));
    assert!(matches!(bench.next().await, Completion::Closed { bytes: 11, .. }));
    assert_eq!(bench.bytes(&segment), b"headerwhole");
}

#[tokio::test]
async fn a_file_that_cannot_take_its_header_is_not_left_behind() {
    let mut bench = Bench::new(1 << 20, HOUR);
    bench.faults.room.store(3, SeqCst);
    let _writer = bench.create(1);
    let next = bench.next().await;
    assert!(matches!(next, Completion::Failed { opened: false, .. }), "{next:?}");
    let folder = bench.folder.path().join("door/main/2026-11-22/10");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
    assert!(bench.volumes.open_segments().is_empty());
}

#[tokio::test]
async fn a_name_that_repeats_gets_the_next_number() {
    let mut bench = Bench::new(1 << 20, HOUR);
    let _one = bench.create(1);
    let _two = bench.create(2);
    assert!(bench.opened().await.opened.path.ends_with("00-00.000Z.0.mp4"));
    assert!(bench.opened().await.opened.path.ends_with("00-00.000Z.1.mp4"));
}

#[tokio::test]
async fn few_dirty_files_are_synced_each_and_many_at_once() {
    let mut bench = Bench::new(1 << 20, HOUR);
    // The marker was synced, and the folders that hold it.
    bench.faults.file_syncs.store(0, SeqCst);
    bench.faults.folder_syncs.store(0, SeqCst);
    let mut writers: Vec<_> = (0..3).map(|id| bench.create(id)).collect();
    for _ in 0..3 {
        bench.opened().await;
    }
    writers.pop().unwrap().close(Vec::new(), 0, true).unwrap();
    bench.next().await;
    assert!(matches!(bench.next().await, Completion::Closed { durable: true, .. }));
    assert_eq!(bench.faults.file_syncs.load(SeqCst), 3);
    // Volume, camera, stream, day, hour: all are new.
    assert_eq!(bench.faults.folder_syncs.load(SeqCst), 5);
    writers.extend((10..30).map(|id| bench.create(id)));
    for _ in 10..30 {
        bench.opened().await;
    }
    writers.pop().unwrap().close(Vec::new(), 0, true).unwrap();
    bench.next().await;
    assert!(matches!(bench.next().await, Completion::Closed { durable: true, .. }));
    assert_eq!(bench.faults.whole_syncs.load(SeqCst), 1);
    assert_eq!(bench.faults.file_syncs.load(SeqCst), 3);
}

#[tokio::test]
async fn the_writer_does_not_wait_for_a_slow_sync() {
    let mut bench = Bench::new(1 << 20, Duration::from_millis(1));
    bench.faults.syncs_wait.set(true);
    let first = bench.create(1);
    bench.opened().await;
    first.close(Vec::new(), 0, true).unwrap();
    assert!(matches!(bench.next().await, Completion::Finished { .. }));
    let second = bench.create(2);
    bench.opened().await;
    second.append(part("on"), fragment(6, 2)).unwrap();
    bench.written().await;
    bench.faults.syncs_wait.set(false);
    assert!(matches!(bench.next().await, Completion::Closed { .. }));
}

#[tokio::test]
async fn a_sync_that_failed_is_not_called_durable() {
    let mut bench = Bench::new(1 << 20, HOUR);
    bench.faults.syncs_fail.store(true, SeqCst);
    let writer = bench.create(1);
    bench.opened().await;
    writer.close(Vec::new(), 0, true).unwrap();
    bench.next().await;
    assert!(matches!(bench.next().await, Completion::Closed { durable: false, .. }));
    assert!(bench.volumes.health()[0].last_error.is_some());
}

#[tokio::test]
async fn a_writer_that_is_dropped_ends_its_file() {
    let mut bench = Bench::new(1 << 20, HOUR);
    let writer = bench.create(1);
    let segment = bench.opened().await;
    drop(writer);
    assert!(matches!(bench.next().await, Completion::Finished { .. }));
    segment.watch().wait_for(|p| p.finished).await.unwrap();
}

#[tokio::test]
async fn shutting_down_writes_and_syncs_what_is_queued() {
    let mut bench = Bench::new(1 << 20, HOUR);
    let writer = bench.create(1);
    writer.append(part("last"), fragment(6, 4)).unwrap();
    writer.close(part("tail"), 1, false).unwrap();
    bench.volumes.shut_down().await;
    let segment = bench.opened().await;
    bench.written().await;
    assert!(matches!(bench.next().await, Completion::Finished { .. }));
    assert!(matches!(bench.next().await, Completion::Closed { durable: true, .. }));
    assert_eq!(bench.bytes(&segment), b"headerlasttail");
    let volume = bench.volumes.choose(None).unwrap();
    let refused = volume.create(draft(2), bench.completer.clone()).unwrap_err();
    assert_eq!(refused, Refused::Stopped);
}

#[tokio::test]
async fn a_volume_is_used_by_one_process_only() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder.path().join("deep/down"), 1 << 20, HOUR);
    let first = Volumes::open(settings.clone()).unwrap();
    let second = Volumes::open(settings.clone()).unwrap_err();
    assert!(matches!(second, VolumeError::InUse { .. }), "{second}");
    assert!(first.health()[0].total_bytes > 0);
    first.shut_down().await;
    drop(first);
    Volumes::open(settings).unwrap();
}

#[tokio::test]
async fn a_stream_goes_to_its_own_volume_or_to_one_with_room() {
    let folder = tempfile::tempdir().unwrap();
    let volume = |name: &str, min_free_bytes| VolumeSettings {
        path: folder.path().join(name),
        max_bytes: None,
        min_free_bytes,
    };
    let all = vec![volume("full", u64::MAX), volume("roomy", 0)];
    let volumes = Volumes::open(Settings { volumes: all, ..Settings::default() }).unwrap();
    assert!(volumes.choose(None).unwrap().name().ends_with("roomy"));
    let full = folder.path().join("full").to_string_lossy().into_owned();
    assert_eq!(volumes.choose(Some(&full)).unwrap_err(), NoRoom::Full);
    assert!(matches!(volumes.choose(Some("/elsewhere")), Err(NoRoom::Unknown(_))));
}

#[tokio::test]
async fn deleting_the_last_segment_of_an_hour_deletes_the_empty_folders() {
    let mut bench = Bench::new(1 << 20, HOUR);
    let _writer = bench.create(1);
    let row = bench.opened().await.opened.clone();
    bench.volumes.remove(&row.volume, &row.path).await.unwrap();
    assert!(!bench.folder.path().join("door").exists());
    assert!(bench.folder.path().join(".vedette/lock").exists());
    bench.volumes.remove(&row.volume, &row.path).await.unwrap();
    assert!(matches!(
        bench.volumes.reader(&row.volume, &row.path).await,
        Err(ReadError::Missing(_))
    ));
    assert!(matches!(
        bench.volumes.reader(&row.volume, "../../etc/passwd").await,
        Err(ReadError::Outside { .. })
    ));
}
