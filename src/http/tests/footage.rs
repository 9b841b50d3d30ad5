//! Timeline, segments, playlists, status.

use super::*;

#[tokio::test]
async fn segments_are_listed_and_paged_without_one_twice_or_missing() {
    let recorder = Recorder::new().await;
    recorder.add("door").await;
    let camera = recorder.stored("door").await;
    footage(&recorder, &camera, NOON - WallSpan::from_secs(600), 5).await;
    let mut paths = Vec::new();
    let mut cursor = String::new();
    for page in 0.. {
        assert!(page < 3, "the cursor leads in a circle");
        let list =
            recorder.get(&format!("/api/v1/cameras/door/segments?limit=2{cursor}")).await.json();
        for item in list["items"].as_array().unwrap() {
            assert_eq!((&item["state"], &item["stream"]), (&json!("closed"), &json!("main")));
            assert_eq!(item["codecs"], "avc1.4d401e,mp4a.40.2");
            paths.push(item["path"].as_str().unwrap().to_owned());
        }
        match list["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(paths, (0..5).map(|i| format!("door/main/{i}.mp4")).collect::<Vec<_>>());

    let start = NOON - WallSpan::from_secs(600);
    let range = format!("start={start}&end={}", start + WallSpan::from_secs(61));
    let list = recorder.get(&format!("/api/v1/cameras/door/segments?{range}")).await.json();
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    assert_eq!(list["items"][0]["start"], start.to_string());
    let bad = recorder.get("/api/v1/cameras/door/segments?cursor=nonsense&stream=other").await;
    assert_eq!(bad.problem(422), ["stream", "cursor"]);
    recorder.get("/api/v1/cameras/door/segments?stream=sub").await.problem(404);
}

#[tokio::test]
async fn the_timeline_shows_runs_and_gaps_with_their_reason() {
    let recorder = Recorder::new().await;
    recorder.add("door").await;
    let camera = recorder.stored("door").await;
    let start = NOON - WallSpan::from_secs(600);
    footage(&recorder, &camera, start, 2).await;
    let end = start + WallSpan::from_secs(120);
    let stream = camera.streams[0].id;
    let gap = Gap { stream, start: end, end: None, reason: GapReason::Disconnected };
    recorder.store.open_gap(gap).await.unwrap();
    let timeline = recorder.get("/api/v1/cameras/door/timeline").await.json();
    assert_eq!(timeline["runs"], json!([{ "start": start.to_string(), "end": end.to_string() }]));
    assert_eq!(
        timeline["gaps"],
        json!([{ "start": end.to_string(), "end": null, "reason": "disconnected" }])
    );
    let bad =
        recorder.get("/api/v1/cameras/door/timeline?start=2026&end=2026-11-22T10:00:00Z").await;
    assert_eq!(bad.problem(422), ["start"]);
    recorder.get("/api/v1/cameras/nobody/timeline").await.problem(404);
    recorder.get("/api/v1/cameras/No%20Slug/timeline").await.problem(404);
}

#[tokio::test]
async fn a_long_timeline_comes_in_pages_that_join_without_a_hole_or_an_overlap() {
    let recorder = Recorder::new().await;
    recorder.add("door").await;
    let stream = recorder.stored("door").await.streams[0].id;
    let start = NOON - WallSpan::from_secs(10_000);
    // Ten seconds of footage, five without, 250 times; the last one lasts.
    for i in 0..250 {
        let begin = start + WallSpan::from_secs(15 * i);
        let end = begin + WallSpan::from_secs(10);
        let id = RunId(i + 1);
        let row = RunRow { id, stream, epoch: 0, start: begin, end: Some(end) };
        recorder.store.open_run(row).await.unwrap();
        let until = (i < 249).then(|| end + WallSpan::from_secs(5));
        let gap = Gap { stream, start: end, end: until, reason: GapReason::Stalled };
        recorder.store.open_gap(gap).await.unwrap();
    }
    let whole = recorder.get("/api/v1/cameras/door/timeline").await.json();
    assert_eq!(whole["next_cursor"], Value::Null);
    let (mut runs, mut gaps) = (Vec::new(), Vec::new());
    let mut cursor = String::new();
    for page in 0.. {
        assert!(page < 9, "the cursor leads in a circle");
        let path = format!("/api/v1/cameras/door/timeline?limit=100{cursor}");
        let page = recorder.get(&path).await.json();
        assert!(page["runs"].as_array().unwrap().len() <= 100, "{page:#}");
        runs.extend(page["runs"].as_array().unwrap().clone());
        gaps.extend(page["gaps"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((json!(runs), json!(gaps)), (whole["runs"].clone(), whole["gaps"].clone()));
    let bad = recorder.get("/api/v1/cameras/door/timeline?limit=99&cursor=x").await;
    assert_eq!(bad.problem(422), ["limit", "cursor"]);
}

#[tokio::test]
async fn playlists_lead_vlc_to_live_and_recorded_footage_without_credentials() {
    let recorder = Recorder::new().await;
    recorder.add("door").await;
    let list = recorder.get("/api/v1/cameras/door/vlc.m3u").await;
    assert!(list.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("audio/x-mpegurl"));
    assert_eq!(
        list.text,
        "#EXTM3U\n#EXTINF:-1,door\nrtsp://nvr.lan:8554/door\n\
         #EXTINF:-1,door (recording)\nrtsp://nvr.lan:8554/door/recording\n"
    );
    let clip = recorder
        .get("/api/v1/cameras/door/vlc.m3u?start=2026-11-22T10:00:00Z&end=2026-11-22T11:00:00Z")
        .await;
    assert!(clip.text.ends_with(
        "\nrtsp://nvr.lan:8554/door/recording?start=2026-11-22T10:00:00.000000Z&end=2026-11-22T11:00:00.000000Z\n"
    ), "{}", clip.text);
    assert!(recorder.get("/api/v1/vlc.m3u").await.text.contains("/door/recording"));
}

#[tokio::test]
async fn status_of_one_and_of_all_cameras_agree() {
    let recorder = Recorder::new().await;
    recorder.add("door").await;
    let one = recorder.get("/api/v1/cameras/door/status").await.json();
    assert_eq!(one["streams"][0]["state"], "stopped");
    assert_eq!(one["streams"][0]["completeness_24h"], 0.75);
    assert_eq!(one["streams"][0]["completeness"], 0.9);
    assert_eq!(one["streams"][0]["gap_seconds_24h"], json!({ "stalled": 1.0 }));
    let all = recorder.get("/api/v1/status").await.json();
    assert_eq!(all["cameras"][0]["streams"], one["streams"]);
    assert_eq!((&all["ready"], &all["rtsp_port"]), (&json!(true), &json!(8554)));
}
