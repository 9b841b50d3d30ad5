//! What a crash leaves, and what a start makes of it.

use std::{collections::BTreeMap, io::Write};

use super::*;
use crate::footage;

/// Records six fragments and dies.
async fn crashed() -> (Site, Film, Segment) {
    let site = Site::new().await;
    let mut running = start(site.recorder());
    let mut film = Film::begin(&site, 11, EPOCH, LARGE, GapReason::Starting);
    film.play(2);
    running.recording().await;
    film.play(5);
    let open = only_open(&site).await;
    open.watch().wait_for(|p| p.fragments >= 6).await.unwrap();
    // The row is there before the task dies.
    let row = loop {
        let open = site.store.open_segments().await.unwrap();
        let begun = site.gaps().await.iter().all(|g| g.end.is_some());
        if let (true, [row]) = (begun, &open[..]) {
            break row.clone();
        }
        tokio::task::yield_now().await;
    };
    running.task.abort();
    assert!(running.task.await.unwrap_err().is_cancelled());
    site.volumes.shut_down().await;
    (site, film, row)
}

/// The next process: the same folders, nothing in memory.
async fn restart(site: Site) -> Site {
    let Site { folder, clock, store, camera, volumes, .. } = site;
    drop(volumes);
    let volumes = open_volumes(&folder, Arc::new(RealFs), 1 << 20);
    Site { folder, clock, store, camera, volumes, hub: Hub::new(Limits::default()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_the_row_is_completed_and_the_gap_says_crash() {
    let (site, film, row) = crashed().await;
    let path = site.file(&row);
    let whole = read(&path);
    assert!(!whole.scan.closed);
    // What the kernel had of a seventh fragment.
    let torn = [&whole.bytes[usize::try_from(whole.header.len).unwrap()..][..700]].concat();
    std::fs::File::options().append(true).open(&path).unwrap().write_all(&torn).unwrap();

    let site = restart(site).await;
    let recovered = recover(&site.store, &site.volumes, &site.clock).await.unwrap();
    let expected = Recovered { completed: 1, torn: 1, gaps: 1, ..Recovered::default() };
    assert_eq!(recovered, expected);

    let file = read(&path);
    assert!(file.scan.closed, "{:?}", file.scan.torn);
    let pictures = file.units(0);
    assert_eq!(pictures, of_track(&film.sent, 0)[..pictures.len()]);
    assert_eq!(pictures.len(), 60);
    let segment = &site.segments().await[0];
    assert!(segment.closed);
    assert_eq!(segment.bytes, file.bytes.len() as u64);
    assert_eq!(segment.end - segment.opened.start, WallSpan::from_micros(2_400_000));
    assert_eq!(site.store.key_frames(segment.opened.id).await.unwrap().len(), 6);
    assert_eq!(site.runs().await[0].end, Some(segment.end));
    let gap = site.gaps().await[1];
    assert_eq!((gap.start, gap.end, gap.reason), (segment.end, None, GapReason::Crash));

    let again = recover(&site.store, &site.volumes, &site.clock).await.unwrap();
    assert_eq!(again, Recovered::default(), "nothing is left to do");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_or_holds_nothing_takes_its_row_with_it() {
    for cut in [None, Some(0), Some(100)] {
        let (site, _, row) = crashed().await;
        let path = site.file(&row);
        match cut {
            None => std::fs::remove_file(&path).unwrap(),
            Some(len) => {
                std::fs::File::options().write(true).open(&path).unwrap().set_len(len).unwrap();
            }
        }
        let site = restart(site).await;
        let recovered = recover(&site.store, &site.volumes, &site.clock).await.unwrap();
        assert_eq!((recovered.deleted, recovered.completed, recovered.errors), (1, 0, 0));
        assert!(site.segments().await.is_empty());
        assert!(!path.exists());
        assert!(site.runs().await.is_empty(), "a run without footage is none");
        assert!(site.store.open_gap_of(site.stream()).await.unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_on_a_volume_that_is_not_there_is_left_for_when_it_is() {
    let (site, _, row) = crashed().await;
    let path = site.file(&row);
    let Site { folder, clock, store, volumes, .. } = site;
    drop(volumes);
    let settings = disk::Settings {
        volumes: vec![VolumeSettings {
            path: folder.path().join("another"),
            max_bytes: None,
            min_free_bytes: 0,
        }],
        ..disk::Settings::default()
    };
    let volumes = Volumes::open(settings).unwrap();
    let recovered = recover(&store, &volumes, &clock).await.unwrap();
    assert_eq!((recovered.errors, recovered.deleted), (1, 0));
    assert_eq!(store.open_segments().await.unwrap().len(), 1);
    assert!(path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_camera_has_a_gap_from_its_first_second_on() {
    let site = Site::new().await;
    recover(&site.store, &site.volumes, &site.clock).await.unwrap();
    let gap = site.store.open_gap_of(site.stream()).await.unwrap().unwrap();
    assert_eq!((gap.start, gap.reason), (EPOCH, GapReason::Starting));
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_file_breaks_off_all_whole_fragments_remain() {
    let (site, _, row) = crashed().await;
    let whole = read(&site.file(&row));
    // Where each fragment ends, and how many there are by then.
    let ends: BTreeMap<u64, usize> = whole
        .scan
        .tables
        .fragments
        .iter()
        .skip(1)
        .map(|f| f.offset)
        .chain([whole.scan.end])
        .zip(1..)
        .collect();
    let path = site.folder.path().join("copy.mp4");
    // Every place near a border, and a stride in between.
    let borders = ends.keys().flat_map(|&e| e.saturating_sub(20)..=e + 20);
    let lens = borders.chain((0..whole.scan.end).step_by(997));
    for len in lens.filter(|&l| l <= whole.scan.end) {
        let at = usize::try_from(len).unwrap();
        std::fs::write(&path, &whole.bytes[..at]).unwrap();
        let expected = ends.range(..=len).next_back();
        let mended = footage::mend(&RealFs, &path, &row.opened).unwrap();
        let Some((&end, &count)) = expected else {
            assert!(mended.is_none(), "{len}");
            continue;
        };
        let mended = mended.unwrap();
        assert_eq!(mended.torn, end < len);
        let file = read(&path);
        assert!(file.scan.closed, "{len}: {:?}", file.scan.torn);
        assert_eq!(file.scan.end, end);
        assert_eq!(file.scan.tables.fragments, whole.scan.tables.fragments[..count]);
        assert_eq!(mended.closed.bytes, file.bytes.len() as u64);
        assert_eq!(mended.closed.keys.len(), count);
        let spans = WallSpan::from_micros(400_000 * count as i64);
        assert_eq!(mended.closed.end, row.opened.start + spans);
    }
}
