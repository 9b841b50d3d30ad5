//! The whole router over a real index: what each route answers, and what it never does.

use std::sync::{Mutex, atomic::AtomicUsize};

use axum::{
    body::Body,
    extract::connect_info::ConnectInfo,
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::{
    access::Mode,
    disk,
    hub::{Hub, Limits},
    id::{CameraId, RunId, SegmentId},
    metrics::Exposition,
    model::{Gap, NewSegment, RunRow, TrackStart},
    proto::{
        reason::GapReason,
        time::{MediaTime, WallSpan},
    },
    seal::Sealer,
};

const PASSWORD: &str = "correct horse";
const SECRET: &str = "s3cr3t-of-the-camera";
const NOON: WallTime = WallTime::from_micros(1_795_348_800_000_000);

/// Notes what it is told.
#[derive(Default)]
struct Told {
    applied: Mutex<Vec<Camera>>,
    removed: Mutex<Vec<CameraId>>,
    problems: AtomicUsize,
}

impl CameraControl for Told {
    fn apply(&self, camera: Camera) -> BoxFuture<'_, ()> {
        self.applied.lock().unwrap().push(camera);
        Box::pin(async {})
    }
    fn remove(&self, camera: Camera) -> BoxFuture<'_, ()> {
        self.removed.lock().unwrap().push(camera.id);
        Box::pin(async {})
    }
    fn status(&self, _: StreamId) -> Option<StreamState> {
        None
    }
    fn completeness(&self, _: StreamId) -> BoxFuture<'_, Option<f64>> {
        Box::pin(async { Some(0.75) })
    }
    fn problems(&self) -> Vec<String> {
        let n = self.problems.load(std::sync::atomic::Ordering::SeqCst);
        vec!["a volume cannot be written".to_owned(); n]
    }
}

struct Nothing;

impl Source for Nothing {
    fn collect<'a>(&'a self, _: &'a mut Exposition) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

struct Recorder {
    router: Router,
    store: Store,
    volumes: Arc<Volumes>,
    told: Arc<Told>,
    tasks: TaskTracker,
    clock: Clock,
    volume: String,
    _folder: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    /// Checks that it is a problem of that status, and gives the names of the fields at fault.
    #[track_caller]
    fn problem(&self, status: u16) -> Vec<String> {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json", "{}", self.text);
        let problem = self.json();
        assert_eq!(problem["status"], status);
        for field in ["type", "title", "detail"] {
            assert!(problem[field].as_str().is_some_and(|s| !s.is_empty()), "{field}: {problem}");
        }
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|e| e["field"].as_str().unwrap().to_owned()).collect()
    }
}

impl Recorder {
    async fn new() -> Self {
        Self::with(Mode::Password, "").await
    }

    async fn with(mode: Mode, base: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOON);
        let sealer = Sealer::open_or_create(&folder.path().join("key")).unwrap();
        let path = folder.path().join("vedette.db");
        let store = Store::open(&path, clock.clone(), sealer.clone()).await.unwrap();
        let access = Access::new(store.clone(), sealer, clock.clone(), mode);
        access.ensure_admin(Some(Secret::new(PASSWORD.to_owned()))).await.unwrap();
        let volume = folder.path().join("footage");
        let volumes = Volumes::open(disk::Settings {
            volumes: vec![disk::VolumeSettings {
                path: volume.clone(),
                max_bytes: None,
                min_free_bytes: 0,
            }],
            ..disk::Settings::default()
        })
        .unwrap();
        let hub = Arc::new(Hub::new(Limits::default()));
        let archive = Archive::new(store.clone(), volumes.clone(), hub, clock.clone());
        let told = Arc::new(Told::default());
        let tasks = TaskTracker::new();
        let volume = volume.to_str().unwrap().to_owned();
        let router = router(Parts {
            settings: Settings {
                base_path: base.to_owned(),
                rtsp_port: 8554,
                volumes: vec![volume.clone()],
                metrics_token: Some(Secret::new("scrape-me".to_owned())),
                version: "0.0.0-test",
            },
            store: store.clone(),
            access,
            archive,
            volumes: volumes.clone(),
            control: told.clone(),
            metrics: Arc::new(Metrics::new("0.0.0-test").unwrap()),
            source: Arc::new(Nothing),
            clock: clock.clone(),
            tasks: tasks.clone(),
        });
        Self { router, store, volumes, told, tasks, clock, volume, _folder: folder }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!text.contains(SECRET), "a password in an answer: {text}");
        assert!(!format!("{:?}", parts.headers).contains(SECRET), "a password in a header");
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// As the administrator.
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.send(request(method, path, body)).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, Some(body)).await
    }

    async fn patch(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::PATCH, path, Some(body)).await
    }

    async fn add(&self, slug: &str) -> Answer {
        let url = format!("rtsp://admin:{SECRET}@10.0.0.7/h264?ch=1");
        self.post("/api/v1/cameras", json!({ "slug": slug, "url": url })).await
    }

    async fn stored(&self, slug: &str) -> Camera {
        self.store.camera_by_slug(&slug.parse().unwrap()).await.unwrap().unwrap()
    }
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}")))
}

fn bare(method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header(header::HOST, "nvr.lan:8080")
}

fn request(method: Method, path: &str, body: Option<Value>) -> Request<Body> {
    let builder = bare(method, path).header(header::AUTHORIZATION, basic("admin", PASSWORD));
    match body {
        Some(body) => builder
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))
            .unwrap(),
        None => builder.body(Body::empty()).unwrap(),
    }
}

// === cameras ===

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
    for (field, value) in [
        ("source", json!("publish")),
        ("record", json!("schedule")),
        ("record", json!("events")),
        ("schedule", json!({ "monday": [] })),
        ("tls", json!({ "fingerprint": "x" })),
    ] {
        let body = json!({ "slug": "a", "url": "rtsp://cam/", field: value });
        let fields = recorder.post("/api/v1/cameras", body).await.problem(422);
        assert_eq!(fields, [field]);
    }
    let body = json!({ "slug": "a", "url": "rtsps://cam/" });
    assert_eq!(recorder.post("/api/v1/cameras", body).await.problem(422), ["url"]);
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
    assert_eq!(patch(json!({ "url": null })).await.problem(422), ["streams[0].url"]);
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
async fn a_deleted_camera_is_stopped_first_and_its_files_go_only_when_asked() {
    let recorder = Recorder::new().await;
    for (slug, query, left) in [("kept", "", true), ("gone", "?footage=delete", false)] {
        recorder.add(slug).await;
        let camera = recorder.stored(slug).await;
        let file = footage(&recorder, &camera, NOON, 1).await.pop().unwrap();
        let path = recorder.volumes.absolute(&recorder.volume, &file).unwrap();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, b"mp4").unwrap();

        let deleted =
            recorder.ask(Method::DELETE, &format!("/api/v1/cameras/{slug}{query}"), None).await;
        assert_eq!(deleted.status, StatusCode::NO_CONTENT, "{}", deleted.text);
        assert!(recorder.told.removed.lock().unwrap().contains(&camera.id));
        recorder.get(&format!("/api/v1/cameras/{slug}")).await.problem(404);
        recorder.tasks.close();
        recorder.tasks.wait().await;
        recorder.tasks.reopen();
        assert_eq!(path.exists(), left, "{slug}");
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

// === footage ===

/// Puts closed-looking rows of `n` segments of a minute into the index; gives their paths.
async fn footage(recorder: &Recorder, camera: &Camera, start: WallTime, n: i64) -> Vec<String> {
    let stream = camera.streams[0].id;
    let run = RunId::generate(&recorder.clock);
    let end = start + WallSpan::from_secs(60 * n);
    let row = RunRow { id: run, stream, epoch: 0, start, end: None };
    recorder.store.open_run(row).await.unwrap();
    let mut paths = Vec::new();
    for i in 0..n {
        let id = SegmentId::generate(&recorder.clock);
        let path = format!("{}/main/{i}.mp4", camera.slug);
        let begin = start + WallSpan::from_secs(60 * i);
        let track =
            TrackStart { first_number: 0, first_dts: MediaTime::ZERO, file_dts: MediaTime::ZERO };
        recorder
            .store
            .open_segment(NewSegment {
                id,
                stream,
                run,
                epoch: 0,
                sequence: i as u32,
                start: begin,
                volume: recorder.volume.clone(),
                path: path.clone(),
                codecs: "avc1.4d401e,mp4a.40.2".to_owned(),
                tracks: vec![track],
            })
            .await
            .unwrap();
        recorder
            .store
            .close_segment(crate::model::ClosedSegment {
                id,
                end: begin + WallSpan::from_secs(60),
                bytes: 1_000 + i as u64,
                damaged: 0,
                tracks: vec![crate::model::TrackTotals::default()],
                keys: Vec::new(),
            })
            .await
            .unwrap();
        paths.push(path);
    }
    recorder.store.close_run(run, end).await.unwrap();
    paths
}

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
    let all = recorder.get("/api/v1/status").await.json();
    assert_eq!(all["cameras"][0]["streams"], one["streams"]);
    assert_eq!((&all["ready"], &all["rtsp_port"]), (&json!(true), &json!(8554)));
}

// === access ===

const OPEN: [&str; 2] = ["/healthz", "/readyz"];

#[tokio::test]
async fn nothing_but_health_is_open_without_a_login() {
    let recorder = Recorder::new().await;
    for path in OPEN {
        let answer = recorder.send(bare(Method::GET, path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
    for (path, operations) in paths(&recorder).await {
        for method in operations {
            let path = path.replace("{slug}", "door").replace("{id}", "1");
            let answer = recorder.send(bare(method, &path).body(Body::empty()).unwrap()).await;
            answer.problem(401);
            assert!(
                answer.headers[header::WWW_AUTHENTICATE].to_str().unwrap().starts_with("Basic ")
            );
        }
    }
    for path in [
        "/",
        "/index.html",
        "/assets/app.js",
        "/api/docs",
        "/api/docs/",
        "/api/v1/openapi.json",
        "/api/v1/nothing",
        "/nothing",
    ] {
        recorder.send(bare(Method::GET, path).body(Body::empty()).unwrap()).await.problem(401);
    }
}

#[tokio::test]
async fn a_wrong_password_token_or_scheme_is_refused() {
    let recorder = Recorder::new().await;
    for sent in [
        basic("admin", "wrong"),
        basic("nobody", PASSWORD),
        "Bearer vdt_wrong".to_owned(),
        "Digest x".to_owned(),
        "Basic".to_owned(),
    ] {
        let request = bare(Method::GET, "/api/v1/cameras").header(header::AUTHORIZATION, &sent);
        recorder.send(request.body(Body::empty()).unwrap()).await.problem(401);
    }
}

#[tokio::test]
async fn a_token_is_shown_once_works_and_is_revoked() {
    let recorder = Recorder::new().await;
    let made = recorder
        .post("/api/v1/tokens", json!({ "name": "script", "expires_in_seconds": 60 }))
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let made = made.json();
    let token = made["token"].as_str().unwrap().to_owned();
    let listed = recorder.get("/api/v1/tokens").await;
    assert!(!listed.text.contains(&token));
    assert_eq!(listed.json()["items"][0]["id"], made["id"]);
    let with_token = || async {
        let request = bare(Method::GET, "/api/v1/cameras")
            .header(header::AUTHORIZATION, format!("Bearer {token}"));
        recorder.send(request.body(Body::empty()).unwrap()).await
    };
    assert_eq!(with_token().await.status, StatusCode::OK);
    let path = format!("/api/v1/tokens/{}", made["id"].as_str().unwrap());
    assert_eq!(recorder.ask(Method::DELETE, &path, None).await.status, StatusCode::NO_CONTENT);
    with_token().await.problem(401);
    recorder.ask(Method::DELETE, &path, None).await.problem(404);
    assert_eq!(
        recorder.post("/api/v1/tokens", json!({ "nmae": "x" })).await.problem(422),
        ["name", "nmae"]
    );
}

#[tokio::test]
async fn a_token_ends_when_its_time_is_up() {
    let recorder = Recorder::new().await;
    let made = recorder
        .post("/api/v1/tokens", json!({ "name": "short", "expires_in_seconds": 60 }))
        .await
        .json();
    recorder.clock.advance(WallSpan::from_secs(61));
    let sent = format!("Bearer {}", made["token"].as_str().unwrap());
    let request = bare(Method::GET, "/api/v1/cameras").header(header::AUTHORIZATION, sent);
    recorder.send(request.body(Body::empty()).unwrap()).await.problem(401);
}

#[tokio::test]
async fn a_page_of_another_site_cannot_change_anything_with_the_browsers_login() {
    let recorder = Recorder::new().await;
    recorder.add("door").await;
    for (method, path) in [
        (Method::POST, "/api/v1/cameras"),
        (Method::PATCH, "/api/v1/cameras/door"),
        (Method::DELETE, "/api/v1/cameras/door"),
        (Method::POST, "/api/v1/tokens"),
    ] {
        for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "http://evil.example")] {
            let mut forged =
                request(method.clone(), path, Some(json!({ "slug": "x", "url": "rtsp://x/" })));
            forged.headers_mut().insert(name, value.parse().unwrap());
            recorder.send(forged).await.problem(403);
        }
    }
    assert_eq!(recorder.store.cameras().await.unwrap().len(), 1);
    let mut own = request(Method::PATCH, "/api/v1/cameras/door", Some(json!({ "name": "x" })));
    own.headers_mut().insert("sec-fetch-site", "same-origin".parse().unwrap());
    assert_eq!(recorder.send(own).await.status, StatusCode::OK);
}

#[tokio::test]
async fn without_passwords_configured_everybody_is_let_in() {
    let recorder = Recorder::with(Mode::None, "").await;
    let answer =
        recorder.send(bare(Method::GET, "/api/v1/cameras").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn metrics_are_for_loopback_and_for_who_has_the_token() {
    let recorder = Recorder::new().await;
    let scrape = |peer: &str, headers: &[(&'static str, &str)]| {
        let mut builder = bare(Method::GET, "/metrics");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let mut request = builder.body(Body::empty()).unwrap();
        let peer: std::net::SocketAddr = peer.parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        recorder.send(request)
    };
    let open = scrape("127.0.0.1:9", &[]).await;
    assert_eq!(open.status, StatusCode::OK);
    assert!(open.text.contains("vedette_build_info"), "{}", open.text);
    assert_eq!(scrape("[::ffff:127.0.0.1]:9", &[]).await.status, StatusCode::OK);
    scrape("10.0.0.9:9", &[]).await.problem(401);
    scrape("127.0.0.1:9", &[("x-forwarded-for", "10.0.0.9")]).await.problem(401);
    scrape("10.0.0.9:9", &[("authorization", "Bearer wrong")]).await.problem(401);
    assert_eq!(
        scrape("10.0.0.9:9", &[("authorization", "Bearer scrape-me")]).await.status,
        StatusCode::OK
    );
}

// === shapes ===

/// What the API says of itself.
async fn paths(recorder: &Recorder) -> Vec<(String, Vec<Method>)> {
    let description = recorder.get("/api/v1/openapi.json").await.json();
    let paths = description["paths"].as_object().unwrap();
    paths
        .iter()
        .map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            let methods = methods.filter_map(|m| m.to_uppercase().parse().ok()).collect();
            (path.clone(), methods)
        })
        .collect()
}

#[tokio::test]
async fn the_description_lists_every_route_and_every_listed_route_is_there() {
    let recorder = Recorder::new().await;
    let description = recorder.get("/api/v1/openapi.json").await.json();
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"));
    let listed = paths(&recorder).await;
    let names: Vec<_> = listed.iter().map(|(p, _)| p.as_str()).collect();
    for path in [
        "/api/v1/cameras",
        "/api/v1/cameras/probe",
        "/api/v1/cameras/{slug}",
        "/api/v1/cameras/{slug}/segments",
        "/api/v1/cameras/{slug}/status",
        "/api/v1/cameras/{slug}/timeline",
        "/api/v1/cameras/{slug}/vlc.m3u",
        "/api/v1/status",
        "/api/v1/tokens",
        "/api/v1/tokens/{id}",
        "/api/v1/vlc.m3u",
    ] {
        assert!(names.contains(&path), "{path} is not described");
    }
    for (path, methods) in listed {
        assert!(!methods.is_empty());
        for method in methods {
            let body = (method == Method::POST || method == Method::PATCH).then(|| json!({}));
            let path = path.replace("{slug}", "nobody").replace("{id}", "1");
            let answer = recorder.ask(method.clone(), &path, body).await;
            assert!(answer.status != StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            if answer.status == StatusCode::NOT_FOUND {
                assert!(!answer.text.contains("nothing at this address"), "{method} {path}");
            }
        }
    }
    // Every reference leads somewhere.
    let text = description.to_string();
    for name in text.split("#/components/schemas/").skip(1).map(|s| s.split('"').next().unwrap()) {
        assert!(description["components"]["schemas"][name].is_object(), "{name} is not described");
    }
}

#[tokio::test]
async fn every_error_is_a_problem_whoever_made_it() {
    let recorder = Recorder::new().await;
    recorder.get("/api/v1/nothing").await.problem(404);
    recorder.get("/api/nothing").await.problem(404);
    recorder.get("/nothing.js").await.problem(404);
    let wrong = recorder.ask(Method::PUT, "/api/v1/cameras", None).await;
    wrong.problem(405);
    assert!(wrong.headers.contains_key(header::ALLOW));
    let raw = |kind: &str, body: String| {
        let builder = bare(Method::POST, "/api/v1/cameras")
            .header(header::AUTHORIZATION, basic("admin", PASSWORD));
        recorder.send(builder.header(header::CONTENT_TYPE, kind).body(Body::from(body)).unwrap())
    };
    raw("application/json", "{".to_owned()).await.problem(400);
    raw("application/json", "[]".to_owned()).await.problem(400);
    raw("application/json", format!("{{\"password\": \"{SECRET}\" x}}")).await.problem(400);
    raw("text/plain", "{}".to_owned()).await.problem(415);
    raw("application/x-www-form-urlencoded", "slug=a".to_owned()).await.problem(415);
    raw("application/json", format!("{{\"a\": \"{}\"}}", "x".repeat(70_000))).await.problem(413);
    recorder.told.problems.store(1, std::sync::atomic::Ordering::SeqCst);
    recorder.get("/readyz").await.problem(503);
}

#[tokio::test]
async fn answers_carry_the_headers_that_keep_a_browser_safe() {
    let recorder = Recorder::new().await;
    let page = recorder.get("/").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/html"));
    let policy = page.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains("default-src 'self'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    let data = recorder.get("/api/v1/cameras").await;
    assert_eq!(data.headers[header::CACHE_CONTROL], "no-store");
    let docs = recorder.get("/api/docs/").await;
    assert_eq!(docs.status, StatusCode::OK);
    assert!(docs.text.contains("swagger-ui"), "{}", docs.text);
    assert!(!docs.text.contains("https://"), "from a CDN: {}", docs.text);
    let initializer = recorder.get("/api/docs/swagger-initializer.js").await;
    assert!(initializer.text.contains("/api/v1/openapi.json"), "{}", initializer.text);
}

#[tokio::test]
async fn behind_a_prefix_everything_moves_with_it() {
    let recorder = Recorder::with(Mode::Password, "/nvr").await;
    let made =
        recorder.post("/nvr/api/v1/cameras", json!({ "slug": "a", "url": "rtsp://c/" })).await;
    assert_eq!(made.headers[header::LOCATION], "/nvr/api/v1/cameras/a");
    assert_eq!(recorder.get("/nvr/healthz").await.status, StatusCode::OK);
    assert_eq!(recorder.get("/nvr/").await.status, StatusCode::OK);
    recorder.get("/api/v1/cameras").await.problem(404);
}

#[tokio::test]
async fn a_change_is_carried_through_when_the_client_hangs_up() {
    let recorder = Recorder::new().await;
    let body = json!({ "slug": "door", "url": "rtsp://cam/" });
    let mut answer = Box::pin(recorder.router.clone().oneshot(request(
        Method::POST,
        "/api/v1/cameras",
        Some(body),
    )));
    // Until the change has begun, then gone.
    while recorder.tasks.is_empty() {
        tokio::select! {
            biased;
            _ = &mut answer => panic!("answered before it could be dropped"),
            () = tokio::task::yield_now() => {}
        }
    }
    drop(answer);
    recorder.tasks.close();
    recorder.tasks.wait().await;
    assert_eq!(recorder.stored("door").await.slug.as_str(), "door");
    assert_eq!(recorder.told.applied.lock().unwrap().len(), 1);
}
