//! Volumes that fail, fill up, go away and come back.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use super::{tests::*, *};
use crate::{id::SegmentId, proto::reason::GapReason};

const PACE: Pace = Pace {
    look: Duration::from_millis(5),
    first: Duration::from_millis(5),
    longest: Duration::from_millis(20),
};

fn volume(path: &Path, min_free_bytes: u64) -> VolumeSettings {
    VolumeSettings { path: path.to_owned(), max_bytes: None, min_free_bytes }
}

fn open(
    volumes: Vec<VolumeSettings>,
    faults: &Arc<Faulty>,
    known: &[(&Path, &str)],
) -> Arc<Volumes> {
    let settings = Settings { volumes, sync_interval: HOUR, ..Settings::default() };
    let known = known.iter().map(|(p, id)| (p.to_string_lossy().into_owned(), (*id).to_owned()));
    let fs = Arc::new(FaultyFs(Arc::clone(faults)));
    Volumes::open_with(settings, Options { fs, known: known.collect(), pace: PACE }).unwrap()
}

async fn wait_for(volumes: &Volumes, name: &Path, state: VolumeState) {
    let mut changed = volumes.changed();
    while volumes.state(&name.to_string_lossy()) != Some(state) {
        changed.changed().await.unwrap();
    }
}

/// The same bench with a keeper in a hurry.
fn bench(min_free: u64) -> Bench {
    let mut bench = Bench::new(1 << 20, HOUR);
    let path = bench.folder.path().join("volume");
    bench.volumes = open(vec![volume(&path, min_free)], &bench.faults, &[]);
    bench
}

fn root(bench: &Bench) -> std::path::PathBuf {
    bench.folder.path().join("volume")
}

#[tokio::test]
async fn an_empty_mount_point_is_not_filled_and_the_disk_is_taken_when_it_is_mounted() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, point) = (folder.path().join("disk"), folder.path().join("point"));
    let first = open(vec![volume(&disk, 0)], &Arc::default(), &[]);
    let id = first.markers()[0].1.clone();
    first.shut_down().await;
    drop(first);
    std::fs::create_dir(&point).unwrap();

    let volumes = open(vec![volume(&point, 0)], &Arc::default(), &[(&point, &id)]);
    let health = &volumes.health()[0];
    assert_eq!((health.state, health.writable), (VolumeState::Missing, false));
    assert!(matches!(volumes.choose(None), Err(NoRoom::Failing(_))));
    let read = volumes.reader(&point.to_string_lossy(), "a/b.mp4").await;
    assert!(matches!(read, Err(ReadError::Unavailable { .. })));
    assert_eq!(std::fs::read_dir(&point).unwrap().count(), 0, "nothing was put there");

    // As if it were mounted there.
    std::fs::remove_dir(&point).unwrap();
    std::fs::rename(&disk, &point).unwrap();
    wait_for(&volumes, &point, VolumeState::Ready).await;
    volumes.choose(None).unwrap();
    assert_eq!(volumes.markers(), [(point.to_string_lossy().into_owned(), id)]);
}

#[tokio::test]
async fn another_volume_in_its_place_is_refused_until_somebody_accepts_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume");
    open(vec![volume(&path, 0)], &Arc::default(), &[]).shut_down().await;
    let volumes = open(vec![volume(&path, 0)], &Arc::default(), &[(&path, "another")]);
    let why = volumes.health()[0].reason.clone().unwrap();
    assert!(why.contains("another volume is mounted there"), "{why}");
    let name = path.to_string_lossy();
    assert!(volumes.health()[0].replaced);
    let id = volumes.stand_in(&name).await.unwrap();
    volumes.accept(&name, &id);
    wait_for(&volumes, &path, VolumeState::Ready).await;
    assert_eq!(volumes.markers(), [(name.to_string(), id)]);
    assert!(!volumes.health()[0].replaced);
    assert!(matches!(volumes.stand_in(&name).await, Err(NotAccepted::NotReplaced { .. })));
    assert!(matches!(volumes.stand_in("/none").await, Err(NotAccepted::Unknown)));
}

#[tokio::test]
async fn an_empty_disk_gets_a_marker_when_it_is_accepted_and_a_folder_that_is_not_there_cannot_be()
{
    let folder = tempfile::tempdir().unwrap();
    let (gone, empty) = (folder.path().join("gone"), folder.path().join("empty"));
    std::fs::create_dir(&empty).unwrap();
    let volumes = open(
        vec![volume(&gone, 0), volume(&empty, 0)],
        &Arc::default(),
        &[(&gone, "old"), (&empty, "older")],
    );
    let (gone, name) = (gone.to_string_lossy(), empty.to_string_lossy());
    let refused = volumes.stand_in(&gone).await;
    assert!(matches!(refused, Err(NotAccepted::NotReplaced { .. })), "{refused:?}");
    let id = volumes.stand_in(&name).await.unwrap();
    assert_eq!(volumes.stand_in(&name).await.unwrap(), id, "asked again, the same");
    assert_eq!(volumes.state(&name), Some(VolumeState::Missing), "nothing is changed by asking");
    volumes.accept(&name, &id);
    wait_for(&volumes, &empty, VolumeState::Ready).await;
}

#[tokio::test]
async fn a_disk_that_is_another_volume_of_the_recorder_is_not_accepted_in_a_second_place() {
    let folder = tempfile::tempdir().unwrap();
    let (door, yard) = (folder.path().join("door"), folder.path().join("yard"));
    let settled = open(vec![volume(&door, 0), volume(&yard, 0)], &Arc::default(), &[]);
    let known = settled.markers();
    settled.shut_down().await;
    drop(settled);
    // The cables were mixed up.
    let between = folder.path().join("between");
    for (from, to) in [(&door, &between), (&yard, &door), (&between, &yard)] {
        std::fs::rename(from, to).unwrap();
    }
    let volumes = open(
        vec![volume(&door, 0), volume(&yard, 0)],
        &Arc::default(),
        &[(&door, &known[0].1), (&yard, &known[1].1)],
    );
    let refused = volumes.stand_in(&door.to_string_lossy()).await;
    let yard = yard.to_string_lossy().into_owned();
    assert!(matches!(&refused, Err(NotAccepted::IsOther(name)) if *name == yard), "{refused:?}");
}

#[tokio::test]
async fn a_volume_that_goes_away_under_us_is_noticed_and_its_open_files_end() {
    let mut bench = bench(0);
    let writer = bench.create(1);
    let segment = bench.opened().await;
    writer.append(part("whole"), fragment(6, 5)).unwrap();
    bench.written().await;
    let (here, away) = (root(&bench), bench.folder.path().join("away"));
    std::fs::rename(&here, &away).unwrap();
    wait_for(&bench.volumes, &here, VolumeState::Missing).await;
    assert!(!here.exists(), "it is not made anew");
    std::fs::rename(&away, &here).unwrap();
    wait_for(&bench.volumes, &here, VolumeState::Ready).await;
    // What became of its last bytes is not known.
    writer.append(part("later"), fragment(11, 5)).unwrap();
    match bench.next().await {
        Completion::Failed { kept: 1, fault, .. } => {
            assert_eq!(fault.reason(), GapReason::DiskError);
        }
        other => panic!("{other:?}"),
    }
    writer.close(part("tail"), 1, true).unwrap();
    assert!(matches!(bench.next().await, Completion::Finished { .. }));
    assert!(matches!(bench.next().await, Completion::Closed { durable: false, .. }));
    assert_eq!(std::fs::read(here.join(&segment.opened.path)).unwrap(), b"headerwhole");
}

#[tokio::test]
async fn a_volume_that_fails_is_left_alone_until_a_probe_works() {
    let mut bench = bench(0);
    let writer = bench.create(1);
    bench.opened().await;
    bench.faults.writes_fail.store(true, SeqCst);
    writer.append(part("lost"), fragment(6, 4)).unwrap();
    let failed = bench.next().await;
    assert!(matches!(failed, Completion::Failed { kept: 0, .. }), "{failed:?}");
    assert_eq!(bench.volumes.health()[0].state, VolumeState::Failing);
    assert!(matches!(bench.volumes.choose(None), Err(NoRoom::Failing(_))));
    bench.faults.writes_fail.store(false, SeqCst);
    wait_for(&bench.volumes, &root(&bench), VolumeState::Ready).await;
    assert_eq!(std::fs::read_dir(root(&bench).join(".vedette")).unwrap().count(), 2);
}

#[tokio::test]
async fn below_its_reserve_a_volume_is_full_asks_for_room_and_takes_segments_when_there_is() {
    const MIN: u64 = 100 << 20;
    let mut bench = bench(MIN);
    let writer = bench.create(1);
    bench.opened().await;
    bench.faults.free.store(MIN - 1, SeqCst);
    wait_for(&bench.volumes, &root(&bench), VolumeState::Full).await;
    assert_eq!(bench.volumes.choose(None).unwrap_err(), NoRoom::Full);
    assert_eq!(bench.volumes.room().asked().await.len(), 1);
    // What is open goes on.
    writer.append(part("whole"), fragment(6, 5)).unwrap();
    bench.written().await;
    // But not to the last byte: what is left is for tails, and for the index.
    bench.faults.free.store(MIN / 2 - 1, SeqCst);
    bench.volumes.look_at_room(&root(&bench).to_string_lossy());
    writer.append(part("more"), fragment(11, 4)).unwrap();
    let mut end = 11;
    let fault = loop {
        match bench.next().await {
            Completion::Written { .. } => {
                end += 4;
                writer.append(part("more"), fragment(end, 4)).unwrap();
            }
            Completion::Failed { fault, .. } => break fault,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(fault.reason(), GapReason::DiskFull);
    writer.close(part("tail"), usize::try_from((end - 11) / 4).unwrap() + 1, true).unwrap();
    assert!(matches!(bench.next().await, Completion::Finished { .. }));
    match bench.next().await {
        Completion::Closed { bytes, durable: true, .. } => {
            assert_eq!(bytes, end + 4, "with a tail");
        }
        other => panic!("{other:?}"),
    }
    bench.faults.free.store(MIN * 2, SeqCst);
    bench.volumes.look_at_room(&root(&bench).to_string_lossy());
    wait_for(&bench.volumes, &root(&bench), VolumeState::Ready).await;
}

#[tokio::test]
async fn segments_spread_over_volumes_by_their_room() {
    let mut bench = Bench::new(1 << 20, HOUR);
    let paths = ["a", "b"].map(|name| bench.folder.path().join(name));
    let all = paths.iter().map(|p| volume(p, 0)).collect();
    bench.volumes = open(all, &bench.faults, &[]);
    let writers: Vec<_> = (0..6).map(|id| bench.create(id)).collect();
    let assigned = |bench: &Bench| {
        let counters = bench.volumes.counters();
        [0, 1].map(|at: usize| counters[at].1.assigned.load(SeqCst))
    };
    assert_eq!(assigned(&bench), [3, 3], "not all to one");
    drop(writers);
    assert_eq!(assigned(&bench), [0, 0]);
}

#[tokio::test]
async fn after_a_failed_sync_an_open_segment_ends_with_what_was_synced_before() {
    let mut bench = bench(0);
    let writer = bench.create(1);
    let segment = bench.opened().await;
    writer.append(part("whole"), fragment(6, 5)).unwrap();
    bench.written().await;
    let syncs = bench.faults.file_syncs.load(SeqCst);
    bench.volumes.sync_now();
    while bench.faults.file_syncs.load(SeqCst) == syncs {
        tokio::task::yield_now().await;
    }
    // Until that round is over, and counted.
    while bench.volumes.counters()[0].1.sync_latency.count() == 0 {
        tokio::task::yield_now().await;
    }
    writer.append(part("lost"), fragment(11, 4)).unwrap();
    bench.written().await;
    bench.faults.syncs_fail.store(true, SeqCst);
    bench.volumes.sync_now();
    match bench.next().await {
        Completion::Failed { kept: 1, fault: Fault::Sync(_), .. } => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(segment.progress().fragments, 1);
    bench.faults.syncs_fail.store(false, SeqCst);
    writer.close(part("tail"), 1, true).unwrap();
    assert!(matches!(bench.next().await, Completion::Finished { .. }));
    let closed = bench.next().await;
    assert!(matches!(closed, Completion::Closed { kept: 1, durable: true, .. }), "{closed:?}");
    assert_eq!(std::fs::read(root(&bench).join(&segment.opened.path)).unwrap(), b"headerwholetail");
}

#[tokio::test]
async fn a_closed_segment_whose_sync_fails_for_good_is_not_called_durable() {
    let mut bench = bench(0);
    let writer = bench.create(1);
    bench.opened().await;
    writer.append(part("whole"), fragment(6, 5)).unwrap();
    bench.written().await;
    bench.faults.syncs_fail.store(true, SeqCst);
    writer.close(part("tail"), 1, true).unwrap();
    assert!(matches!(bench.next().await, Completion::Finished { .. }));
    let closed = bench.next().await;
    assert!(matches!(closed, Completion::Closed { kept: 0, durable: false, .. }), "{closed:?}");
}

#[tokio::test]
async fn a_writer_that_panics_costs_what_was_open_and_goes_on() {
    let mut bench = bench(0);
    let writer = bench.create(1);
    bench.opened().await;
    bench.faults.writes_panic.store(true, SeqCst);
    writer.append(part("x"), fragment(6, 1)).unwrap();
    let failed = bench.next().await;
    assert!(matches!(failed, Completion::Failed { fault: Fault::Panicked, .. }), "{failed:?}");
    wait_for(&bench.volumes, &root(&bench), VolumeState::Ready).await;
    assert_eq!(bench.volumes.counters()[0].1.panics.load(SeqCst), 1);
    drop(writer);
    assert!(matches!(bench.next().await, Completion::Finished { segment: SegmentId(1) }));
    let _next = bench.create(2);
    assert!(matches!(bench.next().await, Completion::Opened(_) | Completion::Closed { .. }));
}
