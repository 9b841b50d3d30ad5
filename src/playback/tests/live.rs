//! Footage that is being recorded, and on into live.

use super::*;

/// Plays in a task of its own while the test goes on filming.
struct Player {
    tasks: JoinSet<(Reader, Vec<Played>)>,
}

impl Player {
    /// Up to and with a picture. With `fidgety` each wait for a unit is given up many times.
    fn play(mut reader: Reader, number: u64, fidgety: bool) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut played: Vec<Played> = Vec::new();
            loop {
                let one = if fidgety {
                    tokio::select! {
                        biased;
                        () = tokio::task::yield_now() => continue,
                        one = reader.next() => one,
                    }
                } else {
                    reader.next().await
                };
                let one = one.unwrap().expect("goes on");
                let last = one.unit.track == VIDEO && one.unit.number >= number;
                played.push(one);
                if last {
                    return (reader, played);
                }
            }
        });
        Self { tasks }
    }

    async fn done(mut self) -> (Reader, Vec<Played>) {
        let done = tokio::time::timeout(PATIENCE, self.tasks.join_next()).await;
        done.expect("plays in time").unwrap().unwrap()
    }
}

async fn from_disk_into_live(fidgety: bool, step: f64) {
    let mut bench = Bench::new().await;
    bench.record(2.0).await;
    let mut camera = bench.camera(0.0);
    bench.film(&mut camera, 5.3).await;
    bench.on_disk(4.0).await;
    let clip = bench.clip(None, None).await;
    assert!(clip.is_open_ended());
    let player = Player::play(bench.archive.reader(clip), 299, fidgety);
    let mut at = 5.3;
    while at < 30.1 {
        at += step;
        camera.film(at);
        bench.clock.set(after(at));
        tokio::task::yield_now().await;
    }
    camera.film(30.1);
    bench.took(&mut camera);
    let (reader, played) = player.done().await;
    assert!(reader.is_live());
    assert_whole(&played, VIDEO, 0..300);
    let sounds = numbers(&played, AUDIO);
    assert_eq!(sounds, (0..sounds.len() as u64).collect::<Vec<_>>());
    assert!(sounds.len() >= 460, "{}", sounds.len());
    bench.assert_as_sent(&played);
    assert!(played.iter().all(|p| !p.discontinuity));
    assert!(played.iter().all(|p| p.npt == p.unit.wall - after(0.0)));
    bench.stop().await;
}

#[tokio::test]
async fn from_disk_into_live_no_unit_is_lost_or_doubled() {
    from_disk_into_live(false, 0.1).await;
}

#[tokio::test]
async fn a_reader_given_up_in_the_middle_of_waiting_loses_nothing() {
    from_disk_into_live(true, 0.1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bursts_and_rotations_at_the_seam_lose_nothing() {
    for step in [0.03, 0.4, 1.7] {
        from_disk_into_live(false, step).await;
    }
}

#[tokio::test]
async fn a_seek_into_the_open_segment_and_the_last_second_finds_the_newest_key_frame() {
    let mut bench = Bench::new().await;
    bench.record(60.0).await;
    let mut camera = bench.camera(0.0);
    bench.film(&mut camera, 10.35).await;
    bench.on_disk(9.0).await;
    let mut reader = bench.archive.reader(bench.clip(None, None).await);
    for (asked, key) in [(3.3, 3.0), (8.99, 8.0), (9.5, 9.0), (10.3, 10.0), (99.0, 10.0)] {
        let landing = reader.seek(Target::Npt(seconds(asked)), Direction::Forward).await.unwrap();
        assert_eq!(landing.expect("footage").wall, after(key), "asked for {asked}");
        let first = reader.next().await.unwrap().unwrap();
        assert_eq!(first.unit.wall, after(key));
        let last = up_to(&mut reader, VIDEO, 103).await;
        let pictures = numbers(&last, VIDEO);
        let want: Vec<u64> = ((key * 10.0) as u64 + 1..104).collect();
        assert_eq!(pictures, want, "asked for {asked}");
    }
    // And on into live from the newest.
    camera.film(12.0);
    let more = up_to(&mut reader, VIDEO, 119).await;
    assert_whole(&more, VIDEO, 104..120);
    bench.took(&mut camera);
    bench.assert_as_sent(&more);
    bench.stop().await;
}

#[tokio::test]
async fn a_seek_among_segments_whose_rows_are_not_complete_lands_where_it_was_asked() {
    // No row is completed as long as this lasts.
    let mut bench = Bench::syncing_each(Duration::from_secs(3_600)).await;
    bench.record(2.0).await;
    let mut camera = bench.camera(0.0);
    bench.film(&mut camera, 30.3).await;
    bench.on_disk(29.0).await;
    let opened = async {
        while bench.segments().await.len() < 14 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, opened).await.expect("rows are opened");
    assert!(bench.segments().await.iter().all(|row| !row.closed));
    // It has an end, so that the hub, which knows better, is not asked.
    let mut reader = bench.archive.reader(bench.clip(None, Some(28.0)).await);
    for (asked, key) in [(3.3, 3.0), (17.5, 17.0), (8.0, 8.0), (26.9, 26.0), (0.4, 0.0)] {
        for target in [Target::Npt(seconds(asked)), Target::Wall(after(asked))] {
            for direction in [Direction::Forward, Direction::Backward] {
                let landing = reader.seek(target, direction).await.unwrap().expect("footage");
                assert_eq!(landing.wall, after(key), "{target:?} {direction:?}");
            }
        }
        let played = up_to(&mut reader, VIDEO, 279).await;
        assert_whole(&played, VIDEO, (key * 10.0) as u64..280);
    }
}

#[tokio::test]
async fn a_pause_at_the_live_edge_goes_on_from_disk_at_the_very_unit() {
    let mut bench = Bench::new().await;
    bench.record(4.0).await;
    let mut camera = bench.camera(0.0);
    bench.film(&mut camera, 6.0).await;
    bench.on_disk(4.0).await;
    let mut reader = bench.archive.reader(bench.clip(Some(3.5), None).await);
    let mut played = up_to(&mut reader, VIDEO, 57).await;
    assert!(reader.is_live());
    reader.rest();
    for at in 7..40 {
        camera.film(f64::from(at));
        bench.on_disk(f64::from(at) - 2.0).await;
    }
    played.extend(up_to(&mut reader, VIDEO, 385).await);
    assert_whole(&played, VIDEO, 30..386);
    let sounds = numbers(&played, AUDIO);
    assert!(sounds.windows(2).all(|w| w[1] == w[0] + 1));
    bench.took(&mut camera);
    bench.assert_as_sent(&played);
    assert!(played.iter().all(|p| !p.discontinuity));
    bench.stop().await;
}

#[tokio::test]
async fn a_reader_that_lags_behind_live_goes_back_to_disk() {
    let mut bench = Bench::new().await;
    bench.record(4.0).await;
    let mut camera = bench.camera(0.0);
    bench.film(&mut camera, 6.0).await;
    bench.on_disk(4.0).await;
    let mut reader = bench.archive.reader(bench.clip(None, None).await);
    let mut played = up_to(&mut reader, VIDEO, 58).await;
    assert!(reader.is_live());
    for at in 7..40 {
        camera.film(f64::from(at));
        bench.on_disk(f64::from(at) - 2.0).await;
    }
    played.extend(up_to(&mut reader, VIDEO, 385).await);
    assert_whole(&played, VIDEO, 0..386);
    let sounds = numbers(&played, AUDIO);
    assert_eq!(sounds, (0..sounds.len() as u64).collect::<Vec<_>>());
    assert!(played.iter().all(|p| !p.discontinuity));
    bench.took(&mut camera);
    bench.assert_as_sent(&played);
    bench.stop().await;
}

#[tokio::test]
async fn when_the_camera_comes_back_playing_goes_on_with_the_gap_closed_up() {
    let mut bench = Bench::new().await;
    bench.record(4.0).await;
    let mut camera = bench.camera(0.0);
    bench.film(&mut camera, 6.0).await;
    bench.on_disk(4.0).await;
    let mut reader = bench.archive.reader(bench.clip(None, None).await);
    let first = up_to(&mut reader, VIDEO, 59).await;
    assert!(reader.is_live());
    bench.took(&mut camera);
    camera.publisher.end(GapReason::Stalled);
    {
        let waits = tokio::time::timeout(Duration::from_millis(50), rest_of(&mut reader));
        // Sound after the last picture may come; then nothing does.
        assert!(waits.await.is_err());
    }
    let mut camera = bench.camera(100.0);
    bench.film(&mut camera, 5.0).await;
    let second = up_to(&mut reader, VIDEO, 45).await;
    let pictures: Vec<_> = second.iter().filter(|p| p.unit.track == VIDEO).collect();
    assert_eq!(pictures[0].unit.number, 0);
    assert!(pictures[0].discontinuity && !pictures[1].discontinuity);
    let step = pictures[0].npt - first.iter().rfind(|p| p.unit.track == VIDEO).unwrap().npt;
    assert!(step > WallSpan::ZERO && step < seconds(0.3), "{step:?}");
    // What was played live can be sought, by both clocks.
    bench.on_disk(103.0).await;
    let back = reader.seek(Target::Wall(after(101.5)), Direction::Forward).await.unwrap().unwrap();
    assert_eq!(back.wall, after(101.0));
    assert_eq!(back.npt, pictures[10].npt);
    let back = reader.seek(Target::Npt(seconds(2.5)), Direction::Forward).await.unwrap().unwrap();
    assert_eq!(back.wall, after(2.0));
    bench.took(&mut camera);
    bench.stop().await;
}

#[tokio::test]
async fn a_clip_with_an_end_to_come_follows_live_and_ends_there() {
    let mut bench = Bench::new().await;
    bench.record(4.0).await;
    let mut camera = bench.camera(0.0);
    bench.film(&mut camera, 5.0).await;
    bench.on_disk(4.0).await;
    let clip = bench.clip(Some(1.0), Some(8.5)).await;
    assert!(clip.is_open_ended());
    let mut reader = bench.archive.reader(clip);
    camera.film(12.0);
    let played = rest_of(&mut reader).await;
    assert_whole(&played, VIDEO, 10..85);
    bench.took(&mut camera);
    bench.assert_as_sent(&played);
    bench.stop().await;
}

#[tokio::test]
async fn a_clip_with_an_end_to_come_ends_though_the_camera_went_before() {
    let mut bench = Bench::new().await;
    bench.record(4.0).await;
    let mut camera = bench.camera(0.0);
    bench.film(&mut camera, 5.0).await;
    bench.on_disk(4.0).await;
    let mut reader = bench.archive.reader(bench.clip(None, Some(8.5)).await);
    camera.publisher.end(GapReason::Disconnected);
    bench.clock.set(after(20.0));
    assert_whole(&rest_of(&mut reader).await, VIDEO, 0..50);
    bench.stop().await;
}

#[tokio::test]
async fn an_archive_whose_camera_is_off_ends() {
    let mut bench = Bench::new().await;
    bench.record(4.0).await;
    let mut camera = bench.camera(0.0);
    bench.film(&mut camera, 5.0).await;
    bench.took(&mut camera);
    camera.publisher.end(GapReason::Unreachable);
    bench.stop().await;
    let clip = bench.clip(None, None).await;
    assert!(!clip.is_open_ended());
    assert_eq!(clip.tracks()[0], small());
    assert_whole(&rest_of(&mut bench.archive.reader(clip)).await, VIDEO, 0..50);
}

/// The recorder made a gap within the camera's run, and so has another name for what follows.
#[tokio::test]
async fn a_hole_within_the_cameras_run_is_skipped_on_disk_and_the_seam_to_live_still_holds() {
    let mut bench = Bench::new().await;
    bench.record(4.0).await;
    let mut camera = bench.camera(0.0);
    bench.film(&mut camera, 6.0).await;
    camera.hole = 5;
    camera.film(22.0);
    bench.on_disk(20.0).await;
    let t = bench.archive.timeline(bench.stream, after(0.0)..after(60.0)).await.unwrap();
    assert_eq!(t.runs.len(), 2, "{t:?}");

    let mut reader = bench.archive.reader(bench.clip(None, None).await);
    let mut played = up_to(&mut reader, VIDEO, 168).await;
    assert!(reader.is_live());
    camera.film(30.0);
    played.extend(up_to(&mut reader, VIDEO, 249).await);
    assert_whole(&played, VIDEO, 0..250);
    let flagged: Vec<_> =
        played.iter().filter(|p| p.discontinuity).map(|p| (p.unit.track, p.unit.number)).collect();
    assert_eq!(flagged, [(VIDEO, 60), (AUDIO, 94)]);
    let last = played.iter().rfind(|p| p.unit.track == VIDEO).unwrap();
    let closed_up = last.unit.wall - after(0.0) - last.npt;
    assert!(closed_up > seconds(4.5) && closed_up <= seconds(5.0), "{closed_up:?}");
    bench.stop().await;
}

/// The same, but live was followed through the hole: then falling behind must not repeat it.
#[tokio::test]
async fn after_a_hole_followed_live_a_lagging_reader_finds_its_unit_on_disk() {
    let mut bench = Bench::new().await;
    bench.record(4.0).await;
    let mut camera = bench.camera(0.0);
    bench.film(&mut camera, 6.0).await;
    let mut reader = bench.archive.reader(bench.clip(None, None).await);
    let mut played = up_to(&mut reader, VIDEO, 58).await;
    camera.hole = 5;
    camera.film(13.0);
    played.extend(up_to(&mut reader, VIDEO, 72).await);
    assert!(reader.is_live());
    let npt = reader.position().npt;
    reader.rest();
    for at in 14..40 {
        camera.film(f64::from(at));
        bench.on_disk(f64::from(at) - 2.0).await;
    }
    played.extend(up_to(&mut reader, VIDEO, 335).await);
    assert_whole(&played, VIDEO, 0..336);
    let sounds = numbers(&played, AUDIO);
    assert_eq!(sounds, (0..sounds.len() as u64).collect::<Vec<_>>());
    let next = played.iter().find(|p| p.unit.track == VIDEO && p.unit.number == 73).unwrap();
    assert_eq!(next.npt - npt, seconds(0.1), "what was played keeps its npt");
    bench.stop().await;
}
