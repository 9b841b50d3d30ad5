//! An index made again from the files.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_index_comes_back_row_for_row() {
    let house = House::new().await;
    let films = [(2, 25, GapReason::Starting), (60, 12, GapReason::Disconnected)];
    house.record(&films).await;
    house.mirror().await;
    let before = rows(&house.store, house.stream()).await;
    assert!(before.segments.len() >= 4 && before.runs.len() == 2, "{before:#?}");
    assert_tiled(&before, EPOCH);

    let store = house.another("second.db").await;
    let done = rebuilt(&store, &house).await;
    let after = rows(&store, house.stream()).await;
    assert_eq!((&after.runs, &after.gaps), (&before.runs, &before.gaps));
    assert_eq!(after, before);
    assert_eq!(done.segments, before.segments.len() as u64);
    let camera = store.camera_by_slug(&house.camera.slug).await.unwrap().unwrap();
    assert_eq!(camera, house.camera, "with its password and its address");
    assert_eq!(store.usage().await.unwrap(), house.store.usage().await.unwrap());
    assert_eq!(store.meta(UNDER_WAY).await.unwrap().unwrap_or_default(), "");

    let again = rebuilt(&store, &house).await;
    assert_eq!((again.segments, again.streams), (0, 0), "nothing is left to do");
    assert_eq!(rows(&store, house.stream()).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_killed_half_way_goes_on_and_ends_the_same() {
    let house = House::new().await;
    house.mirror().await;
    for (run, start) in (1..).zip([0, 5_000, 20_000]) {
        for file in made(&house, run, start, 450, 10) {
            file.put(&house.root());
        }
    }
    let whole = house.another("whole.db").await;
    rebuilt(&whole, &house).await;
    let expected = rows(&whole, house.stream()).await;
    assert_eq!((expected.segments.len(), expected.runs.len()), (1_350, 3));
    assert_tiled(&expected, EPOCH);

    let store = house.another("killed.db").await;
    let (progress, stop) = (Progress::default(), CancellationToken::new());
    let working = rebuild(&store, house.site(), None, &progress, "a test", stop);
    let killed = async {
        // Some rows are in, and not all.
        while pass::rows(&store, house.stream()).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        done = working => panic!("it was done before it was killed: {done:?}"),
        () = killed => {}
    }
    let put_in = pass::rows(&store, house.stream()).await.unwrap().len();
    assert!(put_in < 1_350, "{put_in}");
    let under_way = store.meta(UNDER_WAY).await.unwrap().unwrap_or_default();
    assert!(!under_way.is_empty(), "nothing is deleted until it is through");
    // What was under way when it was killed may still come in.
    let done = rebuilt(&store, &house).await;
    assert!(done.segments < 1_350);
    assert_eq!(rows(&store, house.stream()).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn footage_that_is_missing_splits_its_run_and_stands_as_deleted() {
    let house = House::new().await;
    house.mirror().await;
    for file in made(&house, 1, 0, 5, 60) {
        file.put(&house.root());
    }
    std::fs::remove_file(house.root().join(made(&house, 1, 0, 5, 60)[2].path())).unwrap();
    let store = house.another("second.db").await;
    rebuilt(&store, &house).await;
    let rows = rows(&store, house.stream()).await;
    assert_tiled(&rows, EPOCH);
    assert_eq!((rows.segments.len(), rows.runs.len()), (4, 2));
    let gap = rows.gaps[0];
    assert_eq!(gap.reason, GapReason::Deleted);
    assert_eq!((gap.start, gap.end), (rows.runs[0].end.unwrap(), Some(rows.runs[1].start)));
    assert!(rows.segments[2..].iter().all(|s| s.opened.run == rows.runs[1].id));
}

#[tokio::test(flavor = "multi_thread")]
async fn footage_of_which_nothing_else_tells_comes_back_under_a_deleted_camera() {
    let house = House::new().await;
    house.mirror().await;
    let stranger = |stream: i64, sequence| Made {
        camera: 77,
        stream,
        slug: "gate",
        run: stream,
        sequence,
        start: EPOCH + WallSpan::from_secs(stream * 1_000 + i64::from(sequence) * 60),
        seconds: 60,
        closed: true,
    };
    for sequence in 0..3 {
        stranger(5, sequence).put(&house.root());
        // Another camera's, under a name that is taken.
        Made { camera: 78, slug: "door", ..stranger(6, sequence) }.put(&house.root());
    }
    let store = house.another("second.db").await;
    rebuilt(&store, &house).await;
    let state = store.state().await.unwrap();
    let of = |id: i64| state.cameras.iter().find(|c| c.id == CameraId(id)).unwrap();
    assert_eq!(of(77).slug.as_str(), "gate");
    assert!(of(77).deleted_us.is_some() && of(78).deleted_us.is_some());
    assert!(of(78).slug.as_str().starts_with("door-"), "{}", of(78).slug);
    for stream in [5, 6] {
        let rows = rows(&store, StreamId(stream)).await;
        assert_eq!((rows.segments.len(), rows.runs.len()), (3, 1));
        assert_eq!(rows.gaps, [], "nothing is expected of it");
    }
    // Whoever adds the camera anew has its footage.
    let mut anew = camera(&house.clock);
    anew.slug = "gate".parse().unwrap();
    let anew = store.insert_camera(anew).await.unwrap();
    assert_eq!((anew.id, anew.streams[0].id), (CameraId(77), StreamId(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_torn_is_made_whole_and_what_is_not_ours_is_left_alone() {
    let house = House::new().await;
    house.mirror().await;
    let files = made(&house, 1, 0, 3, 60);
    files[0].put(&house.root());
    let torn = Made { closed: false, ..made(&house, 1, 0, 3, 60).remove(1) };
    let path = torn.put(&house.root());
    let bytes = torn.bytes();
    std::fs::write(&path, &bytes[..bytes.len() - 100]).unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = house.root().join(format!("door/main/2026-11-22/{name}"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        (path, bytes.to_vec())
    };
    let mut newer = made(&house, 9, 900, 1, 10)[0].bytes();
    let uuid = hex("5e8d1c520b1f4d3a9c761d53f40e2a91");
    let at = newer.windows(16).position(|w| w == uuid).unwrap() + 16;
    newer[at] = 9;
    let alone = [
        put("11/00-00.000Z.0.mp4", &newer),
        put("11/01-00.000Z.0.mp4", b"someone's film, and no segment at all"),
        put("11/02-00.000Z.0.mp4", &files[0].bytes()[..300]),
        put("11/holiday.mp4", b"holiday"),
    ];
    let store = house.another("second.db").await;
    let done = rebuilt(&store, &house).await;
    assert_eq!((done.segments, done.mended, done.empty), (2, 1, 1));
    assert_eq!((done.newer.len(), done.unreadable.len(), done.foreign.len()), (1, 1, 1));
    for (path, bytes) in alone {
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{}", path.display());
    }
    let rows = rows(&store, house.stream()).await;
    assert_tiled(&rows, EPOCH);
    let last = &rows.segments[1];
    assert_eq!(last.end, EPOCH + WallSpan::from_secs(119), "its last second was torn");
    assert_eq!(last.bytes, std::fs::metadata(&path).unwrap().len());
    assert_eq!(rows.gaps.last().unwrap().reason, GapReason::Crash);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_a_volume_that_is_away_is_not_taken_for_deleted() {
    let house = House::new().await;
    house.mirror().await;
    let files = made(&house, 1, 0, 4, 60);
    let away = house.folder.path().join("away");
    for (n, file) in files.iter().enumerate() {
        file.put(&if n == 2 { away.clone() } else { house.root() });
    }
    let store = house.another("second.db").await;
    let (progress, stop) = (Progress::default(), CancellationToken::new());
    let mut site = (*house.site()).clone();
    site.away.push("away".to_owned());
    rebuild(&store, Arc::new(site.clone()), None, &progress, "a test", stop).await.unwrap();
    let before = rows(&store, house.stream()).await;
    assert_eq!(before.gaps[0].reason, GapReason::DiskError);
    // It is back.
    site.away.clear();
    site.places.push(Place { volume: "away".to_owned(), root: away });
    let stop = CancellationToken::new();
    rebuild(&store, Arc::new(site), None, &progress, "a test", stop).await.unwrap();
    let after = rows(&store, house.stream()).await;
    assert_tiled(&after, EPOCH);
    assert_eq!(after.segments.len(), 4);
    assert_eq!(after.gaps.len(), 1, "{:?}", after.gaps);
}
