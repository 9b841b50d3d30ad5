//! What was published is what is on disk and in the index.

use std::{
    io::{self, IoSlice},
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

use super::*;
use crate::disk::{FsFile, Space};

/// Every row of the stream agrees with its file.
async fn audit(site: &Site) -> Vec<OnDisk> {
    let mut files = Vec::new();
    for segment in site.segments().await {
        let row = &segment.opened;
        let file = read(&site.file(&segment));
        assert!(segment.closed);
        assert_eq!(file.scan.torn, None);
        assert_eq!(segment.bytes, file.bytes.len() as u64);
        let identity = &file.header.identity;
        assert_eq!((identity.segment, identity.run), (row.id.0, row.run.0));
        assert_eq!((identity.sequence, identity.start), (row.sequence, row.start));
        assert_eq!((identity.camera, identity.slug.as_str()), (site.camera.id.0, "door"));
        let tail = file.scan.tables.clone();
        if file.scan.closed {
            let told = fmp4::read_tail(&file.bytes).unwrap();
            assert_eq!(told, tail, "the tail says what the fragments say");
        }
        for (start, told) in row.tracks.iter().zip(&identity.tracks) {
            assert_eq!(start.first_number, told.first_number);
            assert_eq!(start.first_dts - start.file_dts, told.first_dts);
        }
        let totals = site.store.track_totals(row.id).await.unwrap();
        for (total, samples) in totals.iter().zip(&tail.tracks) {
            assert_eq!(total.samples, samples.len() as u64);
            assert_eq!(total.bytes, samples.iter().map(|s| u64::from(s.size)).sum::<u64>());
            assert_eq!(total.sync_samples, samples.iter().filter(|s| s.sync).count() as u64);
        }
        let keys = site.store.key_frames(row.id).await.unwrap();
        assert_eq!(keys.len() as u64, totals[0].sync_samples);
        assert_eq!(keys[0].at, WallSpan::ZERO);
        for key in &keys {
            let at = usize::try_from(key.offset).unwrap();
            let fragment = fmp4::read_fragment(&file.bytes[at..], key.offset, 2).unwrap();
            assert!(fragment.tracks[0][0].sync);
            assert_eq!(fragment.anchor.unwrap().wall, row.start + key.at);
        }
        files.push(file);
    }
    files
}

fn units(files: &[OnDisk], track: u8) -> Vec<AccessUnit> {
    files.iter().flat_map(|f| f.units(track)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_unit_is_on_disk_once_and_byte_for_byte_across_rotations() {
    let site = Site::new().await;
    let mut running = start(site.recorder());
    let mut film = Film::begin(&site, 11, EPOCH, LARGE, GapReason::Starting);
    film.play(2);
    running.recording().await;
    film.play(48);
    running.stop(GapReason::VedetteDown).await;

    let files = audit(&site).await;
    assert_eq!(files.len(), 5, "20 s in segments of 4 s");
    assert!(files.iter().all(|f| f.scan.closed), "all have their tail");
    for track in 0..2 {
        assert_eq!(units(&files, track), of_track(&film.sent, track));
    }
    let segments = site.segments().await;
    for pair in segments.windows(2) {
        assert_eq!(pair[0].end, pair[1].opened.start, "a run has no hole");
        assert_eq!(pair[0].opened.sequence + 1, pair[1].opened.sequence);
    }
    let first = &segments[0].opened;
    assert_eq!(first.path, "door/main/2026-11-22/10/00-00.040Z.0.mp4");
    assert_eq!(first.codecs, "avc1.640028,mp4a.40.2");
    let (start, end) = (first.start, segments[4].end);
    assert_eq!(end - start, WallSpan::from_secs(20));
    let run = RunRow { id: RunId(11), stream: site.stream(), epoch: 0, start, end: Some(end) };
    assert_eq!(site.runs().await, [run]);
    let gap = Gap { stream: site.stream(), start: end, end: None, reason: GapReason::VedetteDown };
    let starting = Gap { start: EPOCH, end: Some(start), reason: GapReason::Starting, ..gap };
    assert_eq!(site.gaps().await, [starting, gap]);
    assert!(site.volumes.open_segments().is_empty(), "rows are complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_segment_is_indexed_as_far_as_it_can_be_read() {
    let site = Site::new().await;
    let mut running = start(site.recorder());
    let mut film = Film::begin(&site, 11, EPOCH, LARGE, GapReason::Starting);
    film.play(2);
    running.recording().await;
    film.play(4);
    let open = only_open(&site).await;
    open.watch().wait_for(|p| p.fragments >= 5).await.unwrap();
    let fragments = open.fragments(0);
    let reader = open.reader().await.unwrap();
    let mut seen = 0;
    for (k, fragment) in fragments.iter().enumerate() {
        assert!(fragment.key);
        let range = fragment.offset..fragment.end_offset();
        let len = usize::try_from(range.end - range.start).unwrap();
        let bytes = reader.read_at(range.start, len).await.unwrap();
        let read = fmp4::read_fragment(&bytes, fragment.offset, 2).unwrap();
        assert_eq!(read.sequence, k as u32 + 1);
        assert_eq!(read.anchor.unwrap().wall, fragment.wall);
        for part in &fragment.tracks {
            assert_eq!(read.tracks[part.track.as_usize()], part.samples);
        }
        let pictures = &fragment.tracks[0].samples;
        let first = &film.sent.iter().filter(|u| u.track == TrackIndex(0)).nth(seen).unwrap();
        let at = usize::try_from(pictures[0].offset - fragment.offset).unwrap();
        assert_eq!(bytes[at..at + pictures[0].size as usize], as_read(first).body[..]);
        seen += pictures.len();
    }
    assert_eq!(open.opened.run, open.live_run);
    running.stop(GapReason::VedetteDown).await;
    assert!(open.progress().finished);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_resolution_goes_to_another_segment_of_the_same_run() {
    let site = Site::new().await;
    let mut running = start(site.recorder());
    let mut film = Film::begin(&site, 11, EPOCH, LARGE, GapReason::Starting);
    film.play(2);
    running.recording().await;
    film.publisher.set_tracks(tracks(SMALL));
    film.play(3);
    running.stop(GapReason::VedetteDown).await;
    let files = audit(&site).await;
    assert_eq!(files.len(), 2);
    assert_eq!(files[1].header.tracks, tracks(SMALL));
    assert_eq!(units(&files, 0), of_track(&film.sent, 0));
    assert_eq!(units(&files, 1), of_track(&film.sent, 1));
    assert_eq!(site.runs().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_goes_and_returns_leaves_a_gap_with_its_reason() {
    let site = Site::new().await;
    let mut running = start(site.recorder());
    let mut film = Film::begin(&site, 11, EPOCH, LARGE, GapReason::Starting);
    film.play(2);
    running.recording().await;
    film.play(1);
    film.publisher.end(GapReason::Disconnected);
    running.wait_for(|s| *s == RecorderStatus::Waiting).await;
    let later = EPOCH + WallSpan::from_secs(20);
    let mut second = Film::begin(&site, 12, later, LARGE, GapReason::Disconnected);
    second.play(2);
    running.recording().await;
    running.stop(GapReason::Disabled).await;

    let files = audit(&site).await;
    let identity = &files[1].header.identity;
    assert_eq!(GapReason::from_code(identity.previous_end), Some(GapReason::Disconnected));
    let gaps: Vec<_> = site.gaps().await.iter().map(|g| (g.reason, g.end.is_some())).collect();
    let expected = [
        (GapReason::Starting, true),
        (GapReason::Disconnected, true),
        (GapReason::Disabled, false),
    ];
    assert_eq!(gaps, expected);
    let runs = site.runs().await;
    let gap = site.gaps().await[1];
    assert_eq!((Some(gap.start), gap.end), (runs[0].end, Some(runs[1].start)));
}

#[tokio::test(flavor = "multi_thread")]
async fn units_that_came_damaged_are_counted_on_their_segment() {
    let site = Site::new().await;
    let mut running = start(site.recorder());
    // While there is no segment: of none.
    site.channel().count_damaged(100);
    let mut film = Film::begin(&site, 11, EPOCH, LARGE, GapReason::Starting);
    film.play(2);
    running.recording().await;
    site.channel().count_damaged(3);
    film.play(10);
    while site.segments().await.len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    site.channel().count_damaged(4);
    running.stop(GapReason::VedetteDown).await;
    let damaged: Vec<_> = site.segments().await.iter().map(|s| s.damaged).collect();
    assert_eq!(damaged, [3, 4]);
}

// On one thread, so that the recorder runs between two units whenever it was woken, and only then: with the machine busy
// otherwise, a thread of its own might not get to run at all while the ring goes round.
#[tokio::test]
async fn a_burst_larger_than_the_ring_between_two_looks_is_recorded_whole() {
    let site = Site::new().await;
    let mut running = start(site.recorder());
    running.listening().await;
    let mut film = Film::begin(&site, 11, EPOCH, LARGE, GapReason::Starting);
    // 30 MB within one group of pictures, of which the hub holds 8 MiB.
    for n in 0..100 {
        film.push(0, n * 3_600, 0, n == 0, Bytes::new(), "picture ".repeat(37_500));
        if n == 0 {
            running.recording().await;
        }
        tokio::task::yield_now().await;
    }
    running.stop(GapReason::VedetteDown).await;
    let files = audit(&site).await;
    assert_eq!(units(&files, 0), of_track(&film.sent, 0));
    assert_eq!(site.runs().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_within_the_cameras_run_begins_a_new_one_under_another_id() {
    let site = Site::new().await;
    let mut running = start(site.recorder());
    let mut film = Film::begin(&site, 11, EPOCH, LARGE, GapReason::Starting);
    film.play(2);
    running.recording().await;
    film.play(1);
    film.lose(3 * GROUP);
    film.play(3);
    running.stop(GapReason::VedetteDown).await;
    let files = audit(&site).await;
    assert_eq!(units(&files, 0), of_track(&film.sent, 0), "all of it is there");
    let runs = site.runs().await;
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[0].id, RunId(11));
    assert_ne!(runs[1].id, RunId(11));
    let gap = site.gaps().await[1];
    assert_eq!(gap.reason, GapReason::PacketLoss);
    assert_eq!((Some(gap.start), gap.end), (runs[0].end, Some(runs[1].start)));
    assert_eq!(gap.end.unwrap() - gap.start, WallSpan::from_micros(1_200_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_that_is_replaced_goes_on_under_a_new_run() {
    let site = Site::new().await;
    let mut running = start(site.recorder());
    let mut film = Film::begin(&site, 11, EPOCH, LARGE, GapReason::Starting);
    film.play(2);
    running.recording().await;
    film.play(1);
    running.stop(GapReason::Reconfigured).await;
    let mut running = start(site.recorder());
    film.play(2);
    running.recording().await;
    film.play(1);
    running.stop(GapReason::VedetteDown).await;
    let files = audit(&site).await;
    let runs = site.runs().await;
    assert_eq!(runs.len(), 2);
    assert!(runs.iter().all(|r| r.end.is_some()));
    assert_eq!(units(&files, 0), of_track(&film.sent, 0), "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_is_changed_leaves_nothing_in_the_hub_to_be_recorded_again() {
    let site = Site::new().await;
    let mut running = start(site.recorder());
    let mut film = Film::begin(&site, 11, EPOCH, LARGE, GapReason::Starting);
    film.play(2);
    running.recording().await;
    film.play(1);
    film.publisher.end(GapReason::Reconfigured);
    running.stop(GapReason::Reconfigured).await;
    let mut running = start(site.recorder());
    // Its first row comes after whatever it found in the hub.
    running.wait_for(|s| *s == RecorderStatus::Waiting).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let later = EPOCH + WallSpan::from_secs(20);
    let mut second = Film::begin(&site, 12, later, LARGE, GapReason::Reconfigured);
    second.play(2);
    running.recording().await;
    running.stop(GapReason::VedetteDown).await;

    let files = audit(&site).await;
    let sent = [of_track(&film.sent, 0), of_track(&second.sent, 0)].concat();
    assert_eq!(units(&files, 0), sent, "each once");
    let (runs, gaps) = (site.runs().await, site.gaps().await);
    let (gap, ends) = (gaps[1], [runs[0].end, Some(runs[1].start)]);
    assert_eq!((gap.reason, [Some(gap.start), gap.end]), (GapReason::Reconfigured, ends));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_recorder_that_died_has_written_is_completed_and_not_written_again() {
    let site = Site::new().await;
    let mut running = start(site.recorder());
    let mut film = Film::begin(&site, 11, EPOCH, LARGE, GapReason::Starting);
    film.play(2);
    running.recording().await;
    film.play(15);
    while site.segments().await.len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.task.abort();
    assert!(running.task.await.unwrap_err().is_cancelled());

    let mut running = start(site.recorder());
    film.play(2);
    running.recording().await;
    film.play(1);
    running.stop(GapReason::VedetteDown).await;
    let files = audit(&site).await;
    let numbers: Vec<_> = units(&files, 0).iter().map(|u| u.number).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "no unit twice: {numbers:?}");
    assert!(site.volumes.open_segments().is_empty());
    let (runs, segments, gaps) = (site.runs().await, site.segments().await, site.gaps().await);
    assert_eq!(runs.len(), 2);
    let last = segments.iter().rfind(|s| s.opened.run == runs[0].id).unwrap();
    assert_eq!(runs[0].end, Some(last.end), "all that was written is in the run");
    assert!(last.end > last.opened.start);
    let gap = gaps.iter().find(|g| g.reason == GapReason::Internal);
    match gap {
        Some(gap) => {
            assert_eq!((Some(gap.start), gap.end), (runs[0].end, Some(runs[1].start)));
        }
        None => assert_eq!(runs[0].end, Some(runs[1].start)),
    }
}

/// Fails or forgets to finish writes on demand.
#[derive(Debug, Default)]
struct Moody {
    full: AtomicBool,
    refused: AtomicU64,
}

#[derive(Debug)]
struct MoodyFs(Arc<Moody>);

#[derive(Debug)]
struct MoodyFile(Arc<Moody>, Arc<dyn FsFile>);

impl Fs for MoodyFs {
    fn create_folder(&self, path: &Path) -> io::Result<bool> {
        RealFs.create_folder(path)
    }
    fn create_file(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        Ok(Arc::new(MoodyFile(Arc::clone(&self.0), RealFs.create_file(path)?)))
    }
    fn open_file(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        RealFs.open_file(path)
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

impl FsFile for MoodyFile {
    fn append(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.0.full.load(SeqCst) {
            self.0.refused.fetch_add(1, SeqCst);
            // Half of it got there.
            let half = &buffers[0][..buffers[0].len() / 2];
            self.1.append(&[IoSlice::new(half)])?;
            return Err(io::ErrorKind::StorageFull.into());
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

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_the_run_and_recording_resumes_when_there_is_room() {
    let moody = Arc::new(Moody::default());
    let site = Site::on(Arc::new(MoodyFs(Arc::clone(&moody))), 64 << 20).await;
    let mut running = start(site.recorder());
    let mut film = Film::begin(&site, 11, EPOCH, LARGE, GapReason::Starting);
    film.play(2);
    running.recording().await;
    film.play(1);
    let open = only_open(&site).await;
    open.watch().wait_for(|p| p.fragments >= 2).await.unwrap();
    moody.full.store(true, SeqCst);
    film.play(2);
    let full = |s: &RecorderStatus| {
        matches!(s, RecorderStatus::Failing { reason: GapReason::DiskFull, .. })
    };
    running.wait_for(full).await;
    open.watch().wait_for(|p| p.finished).await.unwrap();
    moody.full.store(false, SeqCst);
    // A group now and then, until the pause is over: real time, for the disk's threads are real.
    let mut beat = tokio::time::interval(Duration::from_millis(50));
    while !matches!(*running.status.borrow_and_update(), RecorderStatus::Recording { .. }) {
        beat.tick().await;
        film.play(1);
    }
    let lost = running.counters.shed_units.load(SeqCst);
    running.stop(GapReason::VedetteDown).await;

    let files = audit(&site).await;
    assert!(files.len() >= 2);
    let (read, sent) = (units(&files, 0), of_track(&film.sent, 0));
    let mut rest = sent.iter();
    assert!(read.iter().all(|r| rest.any(|s| s == r)), "in order, none twice");
    assert!(read.len() < sent.len() && lost > 0);
    let gaps = site.gaps().await;
    assert_eq!(gaps[1].reason, GapReason::DiskFull);
    let runs = site.runs().await;
    assert_eq!(runs.len(), 2);
    assert_eq!((Some(gaps[1].start), gaps[1].end), (runs[0].end, Some(runs[1].start)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_slow_disk_does_not_take_is_shed_and_stands_as_overload() {
    // One fragment is beyond the bound while another is waiting.
    let site = Site::on(Arc::new(RealFs), 1).await;
    let mut running = start(site.recorder());
    let mut film = Film::begin(&site, 11, EPOCH, LARGE, GapReason::Starting);
    film.play(2);
    let overload = |s: &RecorderStatus| {
        matches!(s, RecorderStatus::Failing { reason: GapReason::Overload, .. })
    };
    // A fast thread may empty the queue in time: then once more.
    let mut beat = tokio::time::interval(Duration::from_millis(50));
    while !overload(&running.status.borrow_and_update()) {
        beat.tick().await;
        film.play(5);
    }
    assert!(running.counters.shed_units.load(SeqCst) > 0);
    assert!(site.volumes.counters()[0].1.refused.load(SeqCst) > 0);
    running.stop(GapReason::VedetteDown).await;
    audit(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recording_goes_on_while_the_database_is_gone() {
    let site = Site::new().await;
    let mut running = start(site.recorder());
    let mut film = Film::begin(&site, 11, EPOCH, LARGE, GapReason::Starting);
    film.play(2);
    running.recording().await;
    site.store.close().await;
    film.play(30);
    let open = only_open(&site).await;
    open.watch().wait_for(|p| p.finished || p.fragments > 4).await.unwrap();
    let counters = Arc::clone(&running.counters);
    running.stop(GapReason::VedetteDown).await;
    assert_eq!(counters.units.load(SeqCst), film.sent.len() as u64);
    assert!(counters.rows_lost.load(SeqCst) > 0);
}
