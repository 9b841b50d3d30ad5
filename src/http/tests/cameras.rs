//! Cameras: what is kept, what is shown, what is refused.

use super::*;

#[tokio::test]
async fn a_camera_by_url_has_one_main_stream_and_its_password_is_kept_but_never_shown() {
    let recorder = Recorder::new().await;
    let made = recorder.add("front-door").await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert_eq!(made.headers[header::LOCATION], "/api/v1/cameras/front-door");
    let camera = made.json();
    assert_eq!(camera["username"], "admin");
    assert_eq!(camera["has_password"], true);
    assert_eq!(camera["name"], "front-door");
    let stream = &camera["streams"][0];
    assert_eq!(stream["role"], "main");
    assert_eq!(stream["url"], "rtsp://10.0.0.7/h264?ch=1");
    assert_eq!(stream["live"], "rtsp://nvr.lan:8554/front-door");
    assert_eq!(stream["recording"], "rtsp://nvr.lan:8554/front-door/recording");

    let stored = recorder.stored("front-door").await;
    assert_eq!(stored.password.unwrap().expose(), SECRET);
    assert_eq!(recorder.told.applied.lock().unwrap().len(), 1);
    assert_eq!(recorder.get("/api/v1/cameras/front-door").await.json(), camera);
    assert_eq!(recorder.get("/api/v1/cameras").await.json()["items"][0], camera);
}

#[tokio::test]
async fn a_slug_that_is_taken_is_a_conflict() {
    let recorder = Recorder::new().await;
    recorder.add("door").await;
    recorder.add("door").await.problem(409);
    assert_eq!(recorder.told.applied.lock().unwrap().len(), 1, "nothing was started for it");
}

#[tokio::test]
async fn every_bad_field_is_named_in_one_answer() {
    let recorder = Recorder::new().await;
    let body = json!({
        "slug": "Front Door", "name": "", "enabled": "yes", "record": "sometimes", "nmae": "x",
        "retention": { "max_age_seconds": -1, "max_bites": 1 }, "volume": "/elsewhere",
        "password": 7,
        "streams": [
            { "role": "main", "url": "http://cam/", "transport": "carrier pigeon" },
            { "role": "third", "audio": 1 },
        ],
    });
    let mut fields = recorder.post("/api/v1/cameras", body).await.problem(422);
    fields.sort();
    assert_eq!(
        fields,
        [
            "enabled",
            "name",
            "nmae",
            "password",
            "record",
            "retention.max_age_seconds",
            "retention.max_bites",
            "slug",
            "streams[0].transport",
            "streams[0].url",
            "streams[1].audio",
            "streams[1].role",
            "streams[1].url",
            "volume",
        ]
    );
    assert!(recorder.store.cameras().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_comes_later_is_refused_by_name_and_not_ignored() {
    let recorder = Recorder::new().await;
    let stream = json!({ "role": "main", "url": "rtsp://cam/", "schedule": {} });
    let body = json!({ "slug": "a", "streams": [stream] });
    let fields = recorder.post("/api/v1/cameras", body).await.problem(422);
    assert_eq!(fields, ["streams[0].schedule"]);
}

#[tokio::test]
async fn a_camera_that_publishes_has_no_address_and_may_be_pulled_instead() {
    let recorder = Recorder::new().await;
    for (body, field) in [
        (json!({ "slug": "a", "source": "publish", "url": "rtsp://c/" }), "url"),
        (json!({ "slug": "a", "source": "push" }), "source"),
        (json!({ "slug": "a", "url": "rtsp://c/", "take_over": true }), "take_over"),
    ] {
        let fields = recorder.post("/api/v1/cameras", body.clone()).await.problem(422);
        assert!(fields.contains(&field.to_owned()), "{body}: {fields:?}");
    }
    let body = json!({
        "slug": "a", "source": "publish", "streams": [{ "role": "main" }, { "role": "sub" }],
    });
    assert_eq!(recorder.post("/api/v1/cameras", body).await.status, 201);
    let stored = || async { recorder.store.cameras().await.unwrap().pop().unwrap() };
    assert_eq!(stored().await.source, crate::model::Source::Publish { take_over: false });
    let path = "/api/v1/cameras/a";
    assert_eq!(recorder.patch(path, json!({ "take_over": true })).await.status, 200);
    let camera = stored().await;
    assert_eq!(camera.source, crate::model::Source::Publish { take_over: true });
    assert_eq!((camera.streams.len(), camera.sealed_broken), (2, false));
    recorder.patch(path, json!({ "source": "pull" })).await.problem(422);
    let pulled = json!({
        "source": "pull", "streams": [{ "role": "main", "url": "rtsps://c/" }],
        "tls": { "fingerprint": "ab".repeat(32) },
    });
    assert_eq!(recorder.patch(path, pulled).await.status, 200);
    assert_eq!(stored().await.source, crate::model::Source::Pull);
    let published = recorder.patch(path, json!({ "source": "publish" })).await;
    assert_eq!(published.status, 200, "the certificate goes with the address");
    let camera = stored().await;
    assert_eq!((camera.streams[0].url.as_str(), camera.tls.is_system()), ("", true));
}

#[tokio::test]
async fn a_schedule_is_kept_shown_changed_and_refused_with_the_field_that_is_wrong() {
    let recorder = Recorder::new().await;
    let hours = json!({ "timezone": "Europe/Berlin", "spans": [
        { "days": ["mon", "fri"], "start": "22:00", "end": "06:00" },
        { "days": ["sun"], "start": "00:00", "end": "24:00" },
    ] });
    let body =
        json!({ "slug": "a", "url": "rtsp://cam/", "record": "schedule", "schedule": hours });
    let made = recorder.post("/api/v1/cameras", body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert_eq!(made.json()["schedule"], hours);
    assert_eq!(
        made.json()["events"],
        json!({ "kinds": [], "before_seconds": 5, "after_seconds": 10 })
    );
    let stored = recorder.stored("a").await;
    assert_eq!(stored.record, crate::model::RecordMode::Schedule);

    let moved = json!({ "schedule": { "timezone": "Asia/Kathmandu" } });
    let moved = recorder.patch("/api/v1/cameras/a", moved).await.json();
    assert_eq!(moved["schedule"]["timezone"], "Asia/Kathmandu");
    assert_eq!(moved["schedule"]["spans"], hours["spans"]);
    let fields =
        recorder.patch("/api/v1/cameras/a", json!({ "schedule": null })).await.problem(422);
    assert_eq!(fields, ["schedule"], "it is recorded by it");
    let other = json!({ "schedule": null, "record": "events", "events": { "kinds": ["motion"] } });
    let other = recorder.patch("/api/v1/cameras/a", other).await.json();
    assert_eq!(other["schedule"], Value::Null);
    assert_eq!(other["events"]["kinds"], json!(["motion"]));

    let spans = json!([
        { "days": ["mon", "someday"], "start": "8:00", "end": "25:00" },
        { "days": [], "start": "10:00", "end": "10:00" },
        "all day",
        { "days": ["mon"], "start": "24:00", "end": "10:00", "until": 1 },
        { "days": ["mon"], "start": "10:00", "end": "10:00" },
    ]);
    let bad = json!({
        "schedule": { "timezone": "Europe/Atlantis", "spans": spans },
        "events": { "kinds": ["a b"], "before_seconds": 31, "after_seconds": 0 },
    });
    let mut fields = recorder.patch("/api/v1/cameras/a", bad).await.problem(422);
    fields.sort();
    assert_eq!(
        fields,
        [
            "events.after_seconds",
            "events.before_seconds",
            "events.kinds",
            "schedule.spans[0].days",
            "schedule.spans[0].end",
            "schedule.spans[0].start",
            "schedule.spans[1].days",
            "schedule.spans[2]",
            "schedule.spans[3].start",
            "schedule.spans[3].until",
            "schedule.spans[4].end",
            "schedule.timezone",
        ]
    );
    let none = json!({ "record": "schedule" });
    assert_eq!(recorder.patch("/api/v1/cameras/a", none).await.problem(422), ["schedule"]);
}

#[tokio::test]
async fn an_event_is_told_to_whoever_records_by_events() {
    let recorder = Recorder::new().await;
    recorder.add("door").await;
    let made = recorder.post("/api/v1/events", json!({ "camera": "door", "kind": "bell" })).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert_eq!(*recorder.told.happened.lock().unwrap(), ["bell"]);
}

#[tokio::test]
async fn a_camera_needs_a_main_stream_and_one_login() {
    let recorder = Recorder::new().await;
    for (body, field) in [
        (json!({ "slug": "a" }), "url"),
        (json!({ "slug": "a", "streams": [] }), "streams"),
        (json!({ "slug": "a", "streams": [{ "role": "sub", "url": "rtsp://cam/" }] }), "streams"),
        (
            json!({ "slug": "a", "url": "rtsp://c/", "streams": [{ "role": "main", "url": "rtsp://c/" }] }),
            "url",
        ),
        (json!({ "slug": "a", "url": "rtsp://u:p@c/", "username": "other" }), "username"),
        (json!({ "slug": "a", "url": "rtsp://c/", "password": "p" }), "username"),
        (json!({ "slug": "probe", "url": "rtsp://c/" }), "slug"),
        (
            json!({ "slug": "a", "streams": [
                { "role": "main", "url": "rtsp://u:p@c/" }, { "role": "sub", "url": "rtsp://u:q@c/" } ] }),
            "streams",
        ),
    ] {
        assert_eq!(
            recorder.post("/api/v1/cameras", body.clone()).await.problem(422),
            [field],
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_keeps_the_rest() {
    let recorder = Recorder::new().await;
    recorder.add("door").await;
    let before = recorder.stored("door").await;
    recorder.clock.advance(WallSpan::from_secs(5));

    let changed = recorder
        .patch(
            "/api/v1/cameras/door",
            json!({ "name": "Front door", "retention": { "max_age_seconds": 60 } }),
        )
        .await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    let after = recorder.stored("door").await;
    assert_eq!(after.name, "Front door");
    assert_eq!(after.retention.max_age_seconds, Some(60));
    assert_eq!((&after.streams, &after.password), (&before.streams, &before.password));
    assert!(after.updated > before.updated);

    recorder.patch("/api/v1/cameras/door", json!({ "retention": { "max_bytes": 9 } })).await;
    let merged = recorder.stored("door").await.retention;
    assert_eq!(
        (merged.max_age_seconds, merged.max_bytes),
        (Some(60), Some(9)),
        "merged, not replaced"
    );
    recorder.patch("/api/v1/cameras/door", json!({ "retention": null, "name": null })).await;
    let cleared = recorder.stored("door").await;
    assert_eq!((cleared.retention.max_age_seconds, cleared.name.as_str()), (None, "door"));
}

#[tokio::test]
async fn a_patch_of_streams_replaces_the_list_and_keeps_the_ids_of_roles_that_stay() {
    let recorder = Recorder::new().await;
    recorder.add("door").await;
    let before = recorder.stored("door").await;
    let streams = json!([
        { "role": "sub", "url": "rtsp://10.0.0.7/low" },
        { "role": "main", "url": "rtsp://10.0.0.8/high", "transport": "udp" },
    ]);
    let changed = recorder.patch("/api/v1/cameras/door", json!({ "streams": streams })).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    let after = recorder.stored("door").await;
    assert_eq!(after.streams.len(), 2);
    assert_eq!(after.streams[0].id, before.streams[0].id);
    assert_eq!(after.streams[0].url, "rtsp://10.0.0.8/high");
    assert_eq!(after.password, before.password, "the login stays");
    assert_eq!(changed.json()["streams"][1]["live"], "rtsp://nvr.lan:8554/door/sub");

    // What was read can be sent back as it is.
    let read = changed.json();
    let again = recorder.patch("/api/v1/cameras/door", read).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text);
    assert_eq!(recorder.stored("door").await.streams, after.streams);
}

#[tokio::test]
async fn a_patch_of_the_url_or_login_replaces_just_that() {
    let recorder = Recorder::new().await;
    recorder.add("door").await;
    let patch = |body| recorder.patch("/api/v1/cameras/door", body);
    assert_eq!(patch(json!({ "url": "rtsp://new/" })).await.status, StatusCode::OK);
    let camera = recorder.stored("door").await;
    assert_eq!(camera.streams[0].url, "rtsp://new/");
    assert_eq!(camera.password.unwrap().expose(), SECRET);
    patch(json!({ "url": "rtsp://root:other@new/" })).await;
    let camera = recorder.stored("door").await;
    assert_eq!(camera.username.as_deref(), Some("root"));
    assert_eq!(camera.password.unwrap().expose(), "other");
    patch(json!({ "password": null })).await;
    assert!(recorder.stored("door").await.password.is_none());
    patch(json!({ "username": null })).await;
    assert!(recorder.stored("door").await.username.is_none());
    assert_eq!(patch(json!({ "slug": "gate" })).await.problem(422), ["slug"]);
    for wrong in [json!(null), json!(7), json!("http://cam/")] {
        assert_eq!(patch(json!({ "url": wrong })).await.problem(422), ["url"]);
    }
}

#[tokio::test]
async fn a_secret_in_a_query_is_hidden_and_survives_being_sent_back_hidden() {
    let recorder = Recorder::new().await;
    let url = format!("rtsp://cam/live?user=a&password={SECRET}&ch=1");
    let made = recorder.post("/api/v1/cameras", json!({ "slug": "a", "url": url })).await;
    let shown = made.json()["streams"][0]["url"].clone();
    assert_eq!(shown, "rtsp://cam/live?user=a&password=***&ch=1");
    let sent_back = json!({ "streams": [{ "role": "main", "url": shown, "audio": false }] });
    assert_eq!(recorder.patch("/api/v1/cameras/a", sent_back).await.status, StatusCode::OK);
    assert_eq!(recorder.stored("a").await.streams[0].url, url);
    let other = json!({ "streams": [{ "role": "main", "url": "rtsp://evil/live?password=***" }] });
    assert_eq!(recorder.patch("/api/v1/cameras/a", other).await.problem(422), ["streams[0].url"]);
}

#[tokio::test]
async fn a_deleted_camera_is_stopped_first_and_its_files_are_unlinked_only_when_asked() {
    let recorder = Recorder::new().await;
    for (slug, query, left) in [("kept", "", true), ("gone", "?footage=delete", false)] {
        recorder.add(slug).await;
        let camera = recorder.stored(slug).await;
        let file = footage(&recorder, &camera, NOON, 1).await.pop().unwrap();
        let deleted =
            recorder.ask(Method::DELETE, &format!("/api/v1/cameras/{slug}{query}"), None).await;
        assert_eq!(deleted.status, StatusCode::NO_CONTENT, "{}", deleted.text);
        assert!(recorder.told.removed.lock().unwrap().contains(&camera.id));
        recorder.get(&format!("/api/v1/cameras/{slug}")).await.problem(404);
        // What is to be unlinked is in the index before the answer: a crash leaves no orphan.
        let doomed = recorder.store.is_doomed(&recorder.volume, &file).await.unwrap();
        assert_eq!(!doomed, left, "{slug}");
    }
    let bad = recorder.ask(Method::DELETE, "/api/v1/cameras/x?footage=maybe", None).await;
    assert_eq!(bad.problem(422), ["footage"]);
    recorder.ask(Method::DELETE, "/api/v1/cameras/x", None).await.problem(404);
}

#[tokio::test]
async fn cameras_are_paged_by_cursor() {
    let recorder = Recorder::new().await;
    for slug in ["a", "b", "c"] {
        recorder.add(slug).await;
    }
    let slugs = |v: &Value| -> Vec<String> {
        v["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["slug"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = recorder.get("/api/v1/cameras?limit=2").await.json();
    assert_eq!((slugs(&first), &first["next_cursor"]), (vec!["a".into(), "b".into()], &json!("b")));
    let second = recorder.get("/api/v1/cameras?limit=2&cursor=b").await.json();
    assert_eq!((slugs(&second), &second["next_cursor"]), (vec!["c".into()], &Value::Null));
    assert_eq!(recorder.get("/api/v1/cameras?limit=0").await.problem(422), ["limit"]);
    assert_eq!(recorder.get("/api/v1/cameras?page=2").await.problem(422), ["page"]);
}
