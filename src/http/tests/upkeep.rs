//! Locks, storage, marks, audit: what keeps footage and who did what.

use super::*;
use crate::model::WallRange;

const HOUR: WallSpan = WallSpan::from_secs(3_600);

fn at(seconds: i64) -> WallTime {
    NOON + WallSpan::from_secs(seconds)
}

fn lock(range: &WallRange, note: &str) -> Value {
    json!({ "start": range.start.to_string(), "end": range.end.to_string(), "note": note })
}

#[tokio::test]
async fn a_lock_is_made_listed_read_and_taken_away() {
    let recorder = Recorder::new().await;
    recorder.add("door").await;
    recorder.add("yard").await;
    let path = "/api/v1/cameras/door/locks";
    let made = recorder.post(path, lock(&(at(-60)..at(60)), "burglary")).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let location = made.headers[header::LOCATION].to_str().unwrap().to_owned();
    let made = made.json();
    assert_eq!(location, format!("{path}/{}", made["id"].as_str().unwrap()));
    assert_eq!((&made["note"], &made["created_by"]), (&json!("burglary"), &json!("admin")));
    assert_eq!((&made["camera"], &made["created"]), (&json!("door"), &json!(NOON.to_string())));
    assert_eq!(recorder.get(&location).await.json(), made);
    assert_eq!(recorder.get(path).await.json(), json!({ "items": [made], "next_cursor": null }));
    let others = location.replace("door", "yard");
    recorder.get(&others).await.problem(404);
    recorder.ask(Method::DELETE, &others, None).await.problem(404);
    let listed = recorder.get("/api/v1/cameras/yard/locks").await.json();
    assert_eq!(listed["items"], json!([]));

    let gone = recorder.ask(Method::DELETE, &location, None).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT, "{}", gone.text);
    recorder.ask(Method::DELETE, &location, None).await.problem(404);
    recorder.get(&location).await.problem(404);
    recorder.get("/api/v1/cameras/door/locks/nonsense").await.problem(404);
    recorder.get("/api/v1/cameras/nobody/locks").await.problem(404);
}

#[tokio::test]
async fn a_lock_that_cannot_be_is_refused_with_each_bad_field_named() {
    let recorder = Recorder::new().await;
    recorder.add("door").await;
    let cases = [
        (json!({}), vec!["start", "end"]),
        (lock(&(at(60)..at(60)), "x"), vec!["end"]),
        (lock(&(at(60)..at(0)), "x"), vec!["end"]),
        (lock(&(at(0)..at(0) + WallSpan::from_secs(367 * 86_400)), "x"), vec!["end", "end"]),
        (lock(&(at(0)..at(0) + WallSpan::from_secs(32 * 86_400)), "x"), vec!["end"]),
        (lock(&(at(0)..at(60)), &"x".repeat(501)), vec!["note"]),
        (json!({ "start": 7, "end": "soon", "until": "x" }), vec!["start", "end", "until"]),
    ];
    for (body, fields) in cases {
        let refused = recorder.post("/api/v1/cameras/door/locks", body.clone()).await;
        assert_eq!(refused.problem(422), fields, "{body}");
    }
    let listed = recorder.get("/api/v1/cameras/door/locks").await.json();
    assert_eq!(listed["items"], json!([]), "nothing was locked");
    let range = at(0)..at(60);
    recorder.post("/api/v1/cameras/nobody/locks", lock(&range, "x")).await.problem(404);
}

#[tokio::test]
async fn locks_are_paged_without_one_twice_or_missing() {
    let recorder = Recorder::new().await;
    recorder.add("door").await;
    for i in 0..5 {
        // Ids are in the order of milliseconds.
        recorder.clock.advance(WallSpan::from_micros(1_000));
        let range = at(-100 * i - 60)..at(-100 * i);
        recorder.post("/api/v1/cameras/door/locks", lock(&range, &i.to_string())).await;
    }
    let mut notes = Vec::new();
    let mut cursor = String::new();
    for page in 0.. {
        assert!(page < 3, "the cursor leads in a circle");
        let path = format!("/api/v1/cameras/door/locks?limit=2{cursor}");
        let list = recorder.get(&path).await.json();
        let items = list["items"].as_array().unwrap();
        notes.extend(items.iter().map(|l| l["note"].as_str().unwrap().to_owned()));
        match list["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(notes, ["0", "1", "2", "3", "4"]);
    let bad = recorder.get("/api/v1/cameras/door/locks?cursor=z&limit=0").await;
    assert_eq!(bad.problem(422), ["limit", "cursor"]);
}

#[tokio::test]
async fn operators_lock_and_mark_viewers_only_look_and_only_administrators_read_the_audit() {
    let recorder = Recorder::new().await;
    recorder.add("door").await;
    let locks = "/api/v1/cameras/door/locks";
    let ask = |role, method: &Method, path: &'static str, body: &Option<Value>| {
        recorder.ask_as(role, method.clone(), path, body.clone())
    };
    let (get, post) = (Method::GET, Method::POST);
    let some_lock = Some(lock(&(at(0)..at(60)), "x"));
    let mark = Some(json!({ "camera": "door", "kind": "bell" }));
    let volume = Some(json!({ "volume": "/footage" }));
    for (method, path, body, operator, viewer) in [
        (&post, locks, &some_lock, 201, 403),
        (&get, locks, &None, 200, 200),
        (&post, "/api/v1/events", &mark, 201, 403),
        (&get, "/api/v1/events", &None, 200, 200),
        (&get, "/api/v1/storage", &None, 200, 200),
        (&get, "/api/v1/storage/plan", &None, 200, 200),
        (&post, "/api/v1/storage/confirm-clock", &None, 403, 403),
        (&post, "/api/v1/storage/accept-volume", &volume, 403, 403),
        (&get, "/api/v1/audit", &None, 403, 403),
    ] {
        for (role, expected) in [(UserRole::Operator, operator), (UserRole::Viewer, viewer)] {
            let answer = ask(role, method, path, body).await;
            assert_eq!(answer.status.as_u16(), expected, "{role:?} {path}: {}", answer.text);
        }
    }
    let listed = recorder.get(locks).await.json();
    assert_eq!(listed["items"][0]["created_by"], "operator");
}

#[tokio::test]
async fn a_disk_is_accepted_by_the_path_of_its_volume_and_the_audit_says_by_whom() {
    let recorder = Recorder::new().await;
    let path = "/api/v1/storage/accept-volume";
    let of = |volume: &str| json!({ "volume": volume });
    assert_eq!(recorder.post(path, of("/footage")).await.status, StatusCode::NO_CONTENT);
    recorder.post(path, of("/elsewhere")).await.problem(404);
    let refused = recorder.post(path, of("/well")).await;
    refused.problem(409);
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.ends_with("nothing else stands in its place: it is ready"), "{detail}");
    assert_eq!(recorder.post(path, json!({})).await.problem(422), ["volume"]);
    let audit = recorder.get("/api/v1/audit").await.json();
    let entry = &audit["items"][0];
    assert_eq!((&entry["action"], &entry["target"]), (&json!("volume.accept"), &json!("/footage")));
    assert_eq!(audit["items"].as_array().unwrap().len(), 1, "what was refused is no change");
}

#[tokio::test]
async fn footage_under_a_lock_is_not_deleted_with_its_camera_and_the_answer_names_the_lock() {
    let recorder = Recorder::new().await;
    recorder.add("door").await;
    let camera = recorder.stored("door").await;
    let files = footage(&recorder, &camera, NOON - HOUR, 3).await;
    let range = NOON - HOUR..NOON - HOUR + WallSpan::from_secs(61);
    let made = recorder.post("/api/v1/cameras/door/locks", lock(&range, "evidence")).await.json();
    let path = "/api/v1/cameras/door?footage=delete";
    let refused = recorder.ask(Method::DELETE, path, None).await;
    refused.problem(409);
    assert_eq!(refused.json()["locks"], json!([made]));
    assert!(recorder.told.removed.lock().unwrap().is_empty(), "it records on");
    assert!(recorder.told.deleted.lock().unwrap().is_empty(), "nor is it noted as deleted");
    for file in &files {
        assert!(!recorder.store.is_doomed(&recorder.volume, file).await.unwrap(), "{file}");
    }

    let id = made["id"].as_str().unwrap();
    recorder.ask(Method::DELETE, &format!("/api/v1/cameras/door/locks/{id}"), None).await;
    let deleted = recorder.ask(Method::DELETE, path, None).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT, "{}", deleted.text);
    assert_eq!(*recorder.told.deleted.lock().unwrap(), [camera.id]);
    for file in &files {
        assert!(recorder.store.is_doomed(&recorder.volume, file).await.unwrap(), "{file}");
    }
}

#[tokio::test]
async fn a_camera_with_locks_may_go_when_its_footage_stays() {
    let recorder = Recorder::new().await;
    recorder.add("door").await;
    recorder.post("/api/v1/cameras/door/locks", lock(&(at(-60)..at(0)), "x")).await;
    let deleted = recorder.ask(Method::DELETE, "/api/v1/cameras/door", None).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT, "{}", deleted.text);
    // It comes back with its locks.
    recorder.add("door").await;
    let listed = recorder.get("/api/v1/cameras/door/locks").await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
}

#[tokio::test]
async fn storage_shows_volumes_and_how_far_back_each_stream_goes() {
    let recorder = Recorder::new().await;
    recorder.add("yard").await;
    recorder.add("door").await;
    let ids: Vec<_> = [recorder.stored("yard").await, recorder.stored("door").await]
        .iter()
        .map(|c| c.streams[0].id)
        .collect();
    let of = |stream| StreamFootage { stream, bytes: 7, oldest: Some(NOON) };
    *recorder.told.footage.lock().unwrap() = ids.into_iter().map(of).collect();
    recorder.ask(Method::DELETE, "/api/v1/cameras/door", None).await;
    let storage = recorder.get("/api/v1/storage").await.json();
    let volume = &storage["volumes"][0];
    assert_eq!((&volume["state"], &volume["path"]), (&json!("full"), &json!("/footage")));
    assert_eq!(volume["reason"], "only locked footage is left");
    assert_eq!((&volume["days_left"], &volume["holds_days"]), (&json!(0.0), &Value::Null));
    let stream = |camera: &str, removed: bool| json!({ "camera": camera, "stream": "main", "removed": removed, "bytes": 7, "oldest": NOON.to_string() });
    let streams = json!([stream("yard", false), stream("door", true)]);
    assert_eq!(storage["streams"], streams, "a deleted camera's footage is kept, and said so");
    assert_eq!((&storage["age_hold"], &storage["warnings"]), (&Value::Null, &json!([])));
}

#[tokio::test]
async fn the_plan_says_what_goes_next_why_and_what_cannot_be_met() {
    let recorder = Recorder::new().await;
    recorder.add("door").await;
    let stream = recorder.stored("door").await.streams[0].id;
    let deletion = |n| PlannedDeletion {
        stream,
        range: at(n)..at(n + 60),
        bytes: 5,
        volume: "/footage".to_owned(),
        limit: LimitName::StreamBytes,
    };
    *recorder.told.plan.lock().unwrap() = PlanReport {
        at: NOON,
        deletions: (0..3).map(|n| deletion(n * 60)).collect(),
        more: false,
        limits: vec![LimitReport {
            limit: LimitName::FreeSpace,
            stream: None,
            volume: Some("/footage".to_owned()),
            allowed: 20,
            now: 10,
            after: 15,
            blocked_by: Some(ObstacleName::Locked),
        }],
        paused: None,
    };
    let plan = recorder.get("/api/v1/storage/plan?limit=2").await.json();
    let items = plan["items"].as_array().unwrap();
    assert_eq!((items.len(), &plan["more"]), (2, &json!(true)));
    assert_eq!((&items[0]["camera"], &items[0]["limit"]), (&json!("door"), &json!("stream_bytes")));
    assert_eq!(items[1]["start"], at(60).to_string());
    let limit = &plan["limits"][0];
    assert_eq!((&limit["limit"], &limit["blocked_by"]), (&json!("free_space"), &json!("locked")));
    assert_eq!(recorder.get("/api/v1/storage/plan").await.json()["more"], false);
    assert_eq!(recorder.get("/api/v1/storage/plan?limit=0").await.problem(422), ["limit"]);
}

#[tokio::test]
async fn a_held_deletion_by_age_is_a_warning_and_goes_on_when_the_clock_is_confirmed() {
    let recorder = Recorder::new().await;
    recorder.told.held.store(true, SeqCst);
    let ready = recorder.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::OK, "everything is recorded: {}", ready.text);
    assert_eq!(ready.json()["warnings"], json!(["deletion by age is held"]));
    let hold = recorder.get("/api/v1/storage").await.json()["age_hold"].clone();
    assert_eq!(
        (&hold["jump_seconds"], &hold["since"]),
        (&json!(86_400.0), &json!(NOON.to_string()))
    );
    let path = "/api/v1/storage/confirm-clock";
    for released in [true, false] {
        let answer = recorder.ask(Method::POST, path, None).await;
        assert_eq!(answer.json(), json!({ "released": released }));
    }
    assert_eq!(recorder.get("/readyz").await.json()["warnings"], json!([]));
    let audit = recorder.get("/api/v1/audit").await.json();
    assert_eq!(audit["items"][0]["action"], "clock.confirm");
}

#[tokio::test]
async fn marks_are_listed_newest_first_and_paged() {
    let recorder = Recorder::new().await;
    recorder.add("door").await;
    recorder.add("yard").await;
    for i in 0..5 {
        let camera = if i == 3 { "yard" } else { "door" };
        let body =
            json!({ "camera": camera, "start": at(-i).to_string(), "kind": format!("k{i}") });
        let made = recorder.post("/api/v1/events", body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        assert_eq!(made.json()["source"], "admin", "who says so, unless told");
    }
    let kinds = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap().iter();
        items.map(|e| e["kind"].as_str().unwrap().to_owned()).collect()
    };
    let first = recorder.get("/api/v1/events?camera=door&limit=3").await.json();
    assert_eq!(kinds(&first), ["k0", "k1", "k2"]);
    let next = first["next_cursor"].as_str().unwrap();
    let path = format!("/api/v1/events?camera=door&limit=3&cursor={next}");
    let second = recorder.get(&path).await.json();
    assert_eq!((kinds(&second), &second["next_cursor"]), (vec!["k4".to_owned()], &Value::Null));
    assert_eq!(kinds(&recorder.get("/api/v1/events").await.json()).len(), 5);
    recorder.get("/api/v1/events?camera=nobody").await.problem(404);
}

#[tokio::test]
async fn a_mark_reaches_into_the_range_it_is_asked_for() {
    let recorder = Recorder::new().await;
    recorder.add("door").await;
    let long = json!({ "camera": "door", "kind": "party", "note": "loud", "source": "neighbour",
        "start": (NOON - HOUR).to_string(), "end": (NOON + HOUR).to_string() });
    recorder.post("/api/v1/events", long).await;
    let path = format!("/api/v1/events?start={NOON}&end={}", at(1));
    let list = recorder.get(&path).await.json();
    let mark = &list["items"][0];
    assert_eq!((&mark["note"], &mark["source"]), (&json!("loud"), &json!("neighbour")), "{list}");
    let after =
        format!("/api/v1/events?start={}&end={}", NOON + HOUR + HOUR, NOON + HOUR + HOUR + HOUR);
    assert_eq!(recorder.get(&after).await.json()["items"], json!([]));
}

#[tokio::test]
async fn a_mark_that_cannot_be_is_refused_with_each_bad_field_named() {
    let recorder = Recorder::new().await;
    recorder.add("door").await;
    let with = |key: &str, value: Value| {
        let mut body = json!({ "camera": "door", "kind": "bell" });
        body[key] = value;
        body
    };
    for (body, fields) in [
        (json!({}), vec!["kind", "camera"]),
        (with("camera", json!("nobody")), vec!["camera"]),
        (with("kind", json!("No Kind")), vec!["kind"]),
        (with("end", json!((NOON - HOUR).to_string())), vec!["end"]),
        (with("end", json!(at(90_000).to_string())), vec!["end"]),
        (with("start", json!(at(3_601).to_string())), vec!["start"]),
        (with("source", json!("vedette")), vec!["source"]),
        (with("colour", json!("red")), vec!["colour"]),
    ] {
        let refused = recorder.post("/api/v1/events", body.clone()).await;
        assert_eq!(refused.problem(422), fields, "{body}");
    }
}

#[tokio::test]
async fn the_audit_says_who_changed_what_and_never_a_secret() {
    let recorder = Recorder::new().await;
    recorder.add("door").await;
    recorder.patch("/api/v1/cameras/door", json!({ "password": SECRET, "name": "Door" })).await;
    let body = lock(&(at(-60)..at(0)), "x");
    let made = recorder
        .ask_as(UserRole::Operator, Method::POST, "/api/v1/cameras/door/locks", Some(body))
        .await;
    let location = made.headers[header::LOCATION].to_str().unwrap().to_owned();
    recorder.ask(Method::DELETE, &location, None).await;
    let token = recorder.post("/api/v1/tokens", json!({ "name": "script" })).await.json();
    let path = format!("/api/v1/tokens/{}", token["id"].as_str().unwrap());
    recorder.ask(Method::DELETE, &path, None).await;
    recorder.ask(Method::DELETE, "/api/v1/cameras/door?footage=delete", None).await;
    // A refused one is no change.
    recorder.ask(Method::DELETE, "/api/v1/cameras/door", None).await.problem(404);
    let audit = recorder.get("/api/v1/audit").await;
    assert!(!audit.text.contains(token["token"].as_str().unwrap()));
    let audit = audit.json();
    let mut noted: Vec<_> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| {
            (
                a["action"].as_str().unwrap(),
                a["who"].as_str().unwrap(),
                a["target"].as_str().unwrap(),
            )
        })
        .collect();
    // Ids within a millisecond are in no order.
    noted.sort_unstable();
    let lock_target = location.strip_prefix("/api/v1/").unwrap();
    let token_target = path.strip_prefix("/api/v1/").unwrap();
    assert_eq!(
        noted,
        [
            ("camera.change", "admin", "cameras/door"),
            ("camera.create", "admin", "cameras/door"),
            ("camera.delete", "admin", "cameras/door"),
            ("lock.create", "operator", lock_target),
            ("lock.delete", "admin", lock_target),
            ("token.create", "admin", token_target),
            ("token.revoke", "admin", token_target),
        ]
    );
    let change = audit["items"].as_array().unwrap().iter().find(|a| a["action"] == "camera.change");
    assert_eq!(change.unwrap()["detail"], "name, password");
}
