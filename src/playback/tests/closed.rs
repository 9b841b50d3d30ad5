//! Footage that nobody adds to any more.

use super::*;

/// 12 s in segments of 4 s, pictures 0 to 119, sounds 0 to 187.
async fn twelve_seconds() -> Bench {
    let mut bench = Bench::new().await;
    bench.record(4.0).await;
    let mut camera = bench.camera(0.0);
    bench.film(&mut camera, 12.0).await;
    bench.took(&mut camera);
    camera.publisher.end(GapReason::Disconnected);
    bench.stop().await;
    bench
}

#[tokio::test]
async fn everything_recorded_is_played_once_and_in_order() {
    let bench = twelve_seconds().await;
    assert_eq!(bench.segments().await.len(), 3, "rotated");
    let clip = bench.clip(None, None).await;
    assert!(!clip.is_open_ended());
    let mut reader = bench.archive.reader(Arc::clone(&clip));
    let played = rest_of(&mut reader).await;
    assert_whole(&played, VIDEO, 0..120);
    assert_whole(&played, AUDIO, 0..188);
    bench.assert_as_sent(&played);
    assert!(played.iter().all(|p| !p.discontinuity));
    // Merged by time within each segment, so over all but for sound at a rotation.
    let walls: Vec<_> = played.iter().map(|p| p.unit.wall).collect();
    let back = walls.windows(2).map(|w| (w[0] - w[1]).as_micros()).max().unwrap();
    assert!(back <= 100_000, "goes back by {back} µs");
    assert!(reader.next().await.unwrap().is_none(), "the end stays the end");
}

#[tokio::test]
async fn a_clip_counts_npt_from_its_first_key_frame() {
    let bench = twelve_seconds().await;
    let clip = bench.clip(Some(5.55), Some(8.25)).await;
    assert_eq!(clip.start(), after(5.0));
    assert_eq!(clip.end(), after(8.25));
    assert_eq!(clip.duration(), seconds(3.25));
    let played = rest_of(&mut bench.archive.reader(clip)).await;
    assert_whole(&played, VIDEO, 50..83);
    // Sound 79 is the first at or after 5 s, sound 129 begins at 8.256 s.
    assert_whole(&played, AUDIO, 79..129);
    assert_eq!(played[0].npt, WallSpan::ZERO);
    assert!(played.iter().all(|p| p.npt == p.unit.wall - after(5.0)));
}

#[tokio::test]
async fn a_seek_lands_on_the_key_frame_at_or_before() {
    let bench = twelve_seconds().await;
    let mut reader = bench.archive.reader(bench.clip(None, None).await);
    for (asked, key) in [(0.0, 0), (0.95, 0), (3.999, 30), (4.0, 40), (7.35, 70), (11.95, 110)] {
        let landing = reader.seek(Target::Npt(seconds(asked)), Direction::Forward).await.unwrap();
        let landing = landing.expect("footage");
        assert_eq!(landing.wall, after(key as f64 / 10.0), "asked for {asked}");
        assert_eq!(landing.npt, seconds(key as f64 / 10.0));
        let first = reader.next().await.unwrap().expect("a unit");
        assert_eq!((first.unit.track, first.unit.number), (VIDEO, key));
        let mut sound = reader.next().await.unwrap().expect("a unit");
        while sound.unit.track != AUDIO {
            sound = reader.next().await.unwrap().expect("a unit");
        }
        assert!(sound.npt >= landing.npt, "sound from before the key frame");
        assert!(sound.npt < landing.npt + seconds(0.064), "sound is missing");
        assert_eq!(landing.first, [Some(first.npt), Some(sound.npt)]);
        assert!(!first.discontinuity && !sound.discontinuity);
    }
}

#[tokio::test]
async fn beyond_the_ends_a_seek_is_clamped() {
    let bench = twelve_seconds().await;
    let mut reader = bench.archive.reader(bench.clip(None, None).await);
    for target in [Target::Npt(seconds(500.0)), Target::Wall(after(500.0))] {
        let landing = reader.seek(target, Direction::Forward).await.unwrap().unwrap();
        assert_eq!(landing.wall, after(11.0));
    }
    for target in [Target::Npt(seconds(-5.0)), Target::Wall(after(-500.0))] {
        let landing = reader.seek(target, Direction::Forward).await.unwrap().unwrap();
        assert_eq!(landing.wall, after(0.0));
    }
}

#[tokio::test]
async fn a_range_of_one_play_ends_before_its_end() {
    let bench = twelve_seconds().await;
    let mut reader = bench.archive.reader(bench.clip(None, None).await);
    reader.seek(Target::Npt(seconds(2.0)), Direction::Forward).await.unwrap();
    reader.set_end(Some(Target::Npt(seconds(4.5))));
    let played = rest_of(&mut reader).await;
    assert_whole(&played, VIDEO, 20..45);
    assert_whole(&played, AUDIO, 32..71);
    reader.seek(Target::Npt(seconds(11.0)), Direction::Forward).await.unwrap();
    assert_whole(&rest_of(&mut reader).await, VIDEO, 110..120);
}

#[tokio::test]
async fn a_paused_reader_goes_on_at_the_very_unit() {
    let bench = twelve_seconds().await;
    let mut reader = bench.archive.reader(bench.clip(None, None).await);
    let mut played = up_to(&mut reader, VIDEO, 36).await;
    let before = reader.position();
    assert_eq!(before.next[0], Some(37));
    assert_eq!(before.npt, seconds(3.6));
    reader.rest();
    assert_eq!(reader.position(), before);
    played.extend(rest_of(&mut reader).await);
    assert_whole(&played, VIDEO, 0..120);
    assert_whole(&played, AUDIO, 0..188);
}

#[tokio::test]
async fn pictures_decoded_in_another_order_come_as_sent() {
    let mut bench = Bench::new().await;
    bench.record(4.0).await;
    let mut camera = bench.camera_with(0.0, 0, Arc::from([large(), sound()]));
    camera.reorder = true;
    bench.film(&mut camera, 9.0).await;
    bench.took(&mut camera);
    camera.publisher.end(GapReason::Disconnected);
    bench.stop().await;
    let mut reader = bench.archive.reader(bench.clip(None, None).await);
    let played = rest_of(&mut reader).await;
    assert_whole(&played, VIDEO, 0..90);
    bench.assert_as_sent(&played);
    let landing = reader.seek(Target::Npt(seconds(5.5)), Direction::Forward).await.unwrap();
    assert_eq!(landing.unwrap().wall, after(5.0));
}

/// Two runs: 0 to 6 s, and 26 to 32 s.
async fn with_gap() -> Bench {
    let mut bench = Bench::new().await;
    bench.record(4.0).await;
    for start in [0.0, 26.0] {
        let mut camera = bench.camera(start);
        bench.film(&mut camera, 6.0).await;
        bench.took(&mut camera);
        bench.clock.set(after(start + 6.0));
        camera.publisher.end(GapReason::Disconnected);
    }
    bench.stop().await;
    bench
}

#[tokio::test]
async fn a_gap_takes_no_recorded_time_and_is_flagged_once_a_track() {
    let bench = with_gap().await;
    let clip = bench.clip(None, None).await;
    assert!(clip.duration() < seconds(12.2), "{:?}", clip.duration());
    let mut reader = bench.archive.reader(Arc::clone(&clip));
    let played = rest_of(&mut reader).await;
    bench.assert_as_sent(&played);
    let pictures: Vec<_> = played.iter().filter(|p| p.unit.track == VIDEO).collect();
    assert_eq!(pictures.len(), 120);
    for pair in pictures.windows(2) {
        let step = (pair[1].npt - pair[0].npt).as_micros();
        assert!((99_000..=165_000).contains(&step), "npt steps by {step} µs");
    }
    let flagged: Vec<_> =
        played.iter().filter(|p| p.discontinuity).map(|p| (p.unit.track, p.unit.number)).collect();
    assert_eq!(flagged, [(VIDEO, 0), (AUDIO, 0)]);
}

#[tokio::test]
async fn a_seek_into_a_gap_goes_to_the_next_footage_or_to_the_last_backward() {
    let bench = with_gap().await;
    let mut reader = bench.archive.reader(bench.clip(None, None).await);
    let inside = Target::Wall(after(15.0));
    let next = reader.seek(inside, Direction::Forward).await.unwrap().unwrap();
    assert_eq!(next.wall, after(26.0));
    let first = reader.next().await.unwrap().unwrap();
    assert!(!first.discontinuity, "nothing was played before");
    let last = reader.seek(inside, Direction::Backward).await.unwrap().unwrap();
    assert_eq!(last.wall, after(5.0));
}

#[tokio::test]
async fn a_clip_that_begins_in_a_gap_begins_with_the_next_footage() {
    let bench = with_gap().await;
    let clip = bench.clip(Some(15.0), Some(40.0)).await;
    assert_eq!(clip.start(), after(26.0));
    let none =
        bench.archive.clip(bench.stream, Asked { start: Some(after(8.0)), end: Some(after(20.0)) });
    assert!(none.await.unwrap().is_none());
}

#[tokio::test]
async fn the_timeline_shows_runs_and_the_gap_between() {
    let bench = with_gap().await;
    let t = bench.archive.timeline(bench.stream, after(-10.0)..after(31.0)).await.unwrap();
    assert_eq!(t.runs.len(), 2);
    assert_eq!(t.runs[0].start, after(0.0));
    assert_eq!(t.runs[1], RunSpan { start: after(26.0), end: Some(after(31.0)) });
    let between: Vec<_> = t.gaps.iter().filter(|g| g.start > after(0.0)).collect();
    assert_eq!(between.len(), 1);
    assert_eq!(between[0].reason, GapReason::Disconnected);
    assert_eq!(Some(between[0].start), t.runs[0].end);
}

#[tokio::test]
async fn a_token_makes_the_same_clip_and_keeps_npt_when_old_footage_goes() {
    let bench = with_gap().await;
    let clip = bench.clip(None, None).await;
    let token = clip.token();
    // Another process: nothing is remembered.
    let other = Archive::new(
        bench.store.clone(),
        Arc::clone(&bench.volumes),
        Arc::clone(&bench.hub),
        bench.clock.clone(),
    );
    let again = other.clip_from_token(bench.stream, &token).await.unwrap().unwrap();
    assert_eq!((again.start(), again.duration()), (clip.start(), clip.duration()));
    for npt in [0.0, 3.3, 7.7, 11.0] {
        assert_eq!(again.npt_to_wall(seconds(npt)), clip.npt_to_wall(seconds(npt)));
    }
    assert_eq!(other.clip_from_token(StreamId(7), &token).await.unwrap().err(), Some(BadToken));

    // The first run goes, file, row and all.
    let kept = clip.wall_to_npt(after(27.0));
    let segments = bench.segments().await;
    for segment in segments.iter().filter(|s| s.opened.start < after(20.0)) {
        std::fs::remove_file(bench.file(segment)).unwrap();
        bench.store.delete_segment(segment.opened.id).await.unwrap();
    }
    let other = Archive::new(
        bench.store.clone(),
        Arc::clone(&bench.volumes),
        Arc::clone(&bench.hub),
        bench.clock.clone(),
    );
    let again = other.clip_from_token(bench.stream, &token).await.unwrap().unwrap();
    assert_eq!(again.wall_to_npt(after(27.0)), kept);
    let mut reader = other.reader(again);
    let landing = reader.seek(Target::Npt(WallSpan::ZERO), Direction::Forward).await.unwrap();
    assert_eq!(landing.unwrap().wall, after(26.0));
}

#[tokio::test]
async fn a_file_that_is_gone_is_skipped_like_a_gap() {
    let bench = twelve_seconds().await;
    let mut reader = bench.archive.reader(bench.clip(None, None).await);
    let mut played = up_to(&mut reader, VIDEO, 5).await;
    let segments = bench.segments().await;
    std::fs::remove_file(bench.file(&segments[1])).unwrap();
    played.extend(rest_of(&mut reader).await);
    assert_eq!(numbers(&played, VIDEO), (0..40).chain(80..120).collect::<Vec<_>>());
    let flagged: Vec<_> =
        played.iter().filter(|p| p.discontinuity && p.unit.track == VIDEO).collect();
    assert_eq!(flagged.len(), 1);
    assert_eq!((flagged[0].unit.number, flagged[0].unit.random_access), (80, true));

    assert_eq!(bench.archive.vanished(), 1);
    let landing = reader.seek(Target::Wall(after(6.0)), Direction::Forward).await.unwrap();
    assert_eq!(landing.unwrap().wall, after(8.0));
    let landing = reader.seek(Target::Wall(after(6.0)), Direction::Backward).await.unwrap();
    assert_eq!(landing.unwrap().wall, after(3.0));
}

#[tokio::test]
async fn what_is_about_to_be_read_is_leased_and_a_broken_lease_ends_nothing() {
    let bench = twelve_seconds().await;
    let leases = bench.volumes.leases().clone();
    let mut reader = bench.archive.reader(bench.clip(None, None).await);
    let mut played = up_to(&mut reader, VIDEO, 5).await;
    let segments = bench.segments().await;
    let second = &segments[1];
    assert!(leases.holds(bench.stream, &(second.opened.start..second.end)));

    // A full disk: the lease is broken, rows and files go, of what is being read too.
    assert_eq!(leases.break_over(bench.stream, &(second.opened.start..second.end)), 1);
    let ids: Vec<_> = segments[..2].iter().map(|s| s.opened.id).collect();
    assert_eq!(bench.store.delete_segments(&ids).await.unwrap().deleted, ids);
    for segment in &segments[..2] {
        std::fs::remove_file(bench.file(segment)).unwrap();
    }
    played.extend(up_to(&mut reader, VIDEO, 95).await);
    assert!(leases.holds(bench.stream, &(after(10.0)..after(11.0))), "a new one, for what is left");
    played.extend(rest_of(&mut reader).await);
    assert_eq!(numbers(&played, VIDEO), (0..40).chain(80..120).collect::<Vec<_>>());
    drop(reader);
    assert!(!leases.holds(bench.stream, &(after(0.0)..after(20.0))));
}

#[tokio::test]
async fn a_file_without_a_tail_is_read_by_its_fragments() {
    let bench = twelve_seconds().await;
    for segment in bench.segments().await {
        let path = bench.file(&segment);
        let data = std::fs::read(&path).unwrap();
        let tail = crate::proto::fmp4::tail_len(&data).expect("closed") as usize;
        std::fs::write(&path, &data[..data.len() - tail]).unwrap();
    }
    let played = rest_of(&mut bench.archive.reader(bench.clip(None, None).await)).await;
    assert_whole(&played, VIDEO, 0..120);
    assert_whole(&played, AUDIO, 0..188);
    bench.assert_as_sent(&played);
}

#[tokio::test]
async fn footage_that_cannot_be_read_is_passed_over_to_the_next_key_frame() {
    let bench = twelve_seconds().await;
    let mut reader = bench.archive.reader(bench.clip(None, None).await);
    // The tables of the second segment are known; then the end of its file is lost.
    reader.seek(Target::Npt(seconds(5.0)), Direction::Forward).await.unwrap();
    let segments = bench.segments().await;
    let file = std::fs::File::options().write(true).open(bench.file(&segments[1])).unwrap();
    file.set_len(segments[1].bytes * 5 / 8).unwrap();
    let played = rest_of(&mut reader).await;
    bench.assert_as_sent(&played);
    let pictures = numbers(&played, VIDEO);
    assert!(pictures.starts_with(&(50..60).collect::<Vec<_>>()), "{pictures:?}");
    assert!(pictures.ends_with(&(80..120).collect::<Vec<_>>()), "{pictures:?}");
    let flagged: Vec<_> = played
        .iter()
        .filter(|p| p.discontinuity && p.unit.track == VIDEO)
        .map(|p| p.unit.number)
        .collect();
    assert_eq!(flagged, [80]);
}

#[tokio::test]
async fn another_resolution_goes_on_and_another_codec_ends_the_clip() {
    let mut bench = Bench::new().await;
    bench.record(60.0).await;
    let mut camera = bench.camera(0.0);
    bench.film(&mut camera, 3.0).await;
    camera.publisher.set_tracks(Arc::from([large(), sound()]));
    camera.film(6.0);
    bench.took(&mut camera);
    camera.publisher.end(GapReason::Reconfigured);
    let mut camera = bench.camera_with(10.0, 0, Arc::from([small(), telephone()]));
    bench.film(&mut camera, 4.0).await;
    bench.took(&mut camera);
    camera.publisher.end(GapReason::Reconfigured);
    bench.stop().await;

    let clip = bench.clip(None, None).await;
    assert!(clip.end() < after(10.0), "ends at {}", clip.end());
    let played = rest_of(&mut bench.archive.reader(Arc::clone(&clip))).await;
    assert_whole(&played, VIDEO, 0..60);
    bench.assert_as_sent(&played);
    assert!(played.iter().all(|p| !p.discontinuity));
    let sizes: Vec<_> = played
        .iter()
        .filter(|p| p.unit.track == VIDEO)
        .map(|p| p.run.tracks[0].parameters.dimensions().unwrap().0)
        .collect();
    assert_eq!((sizes[29], sizes[30]), (320, 1920));
    let second = bench.clip(Some(8.0), None).await;
    assert_eq!(second.start(), after(10.0));
    assert_eq!(second.tracks()[1], telephone());
}

#[tokio::test]
async fn where_the_clock_was_set_back_the_newest_footage_is_played() {
    let mut bench = Bench::new().await;
    bench.record(60.0).await;
    for (start, epoch) in [(0.0, 0), (4.0, 1)] {
        let tracks = Arc::from([small(), sound()]);
        let mut camera = bench.camera_with(start, epoch, tracks);
        bench.film(&mut camera, if epoch == 0 { 10.0 } else { 3.0 }).await;
        bench.took(&mut camera);
        camera.publisher.end(GapReason::ClockJump);
        bench.on_disk(if epoch == 0 { 9.5 } else { 6.5 }).await;
    }
    bench.stop().await;
    let clip = bench.clip(None, None).await;
    let played = rest_of(&mut bench.archive.reader(clip)).await;
    let pictures: Vec<_> = played
        .iter()
        .filter(|p| p.unit.track == VIDEO)
        .map(|p| (p.run.epoch, p.unit.number))
        .collect();
    // 0 to 4 s of the older, all of the newer, and the older again from its next key frame.
    let older = |numbers: std::ops::Range<u64>| numbers.map(|n| (0, n));
    let want: Vec<_> = older(0..40).chain((0..30).map(|n| (1, n))).chain(older(70..100)).collect();
    assert_eq!(pictures, want);
}
