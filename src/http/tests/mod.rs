//! The whole router over a real index: what each route answers, and what it never does.

mod access;
mod cameras;
mod footage;
mod shapes;
mod trust;
mod upkeep;

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use axum::{
    body::Body,
    extract::connect_info::ConnectInfo,
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use futures_util::future::BoxFuture;

use super::*;
use crate::{
    access::Mode,
    disk::{self, VolumeState},
    hub::{Hub, Limits},
    id::{CameraId, RunId, SegmentId},
    metrics::Exposition,
    model::{Coverage, Gap, NewSegment, RunRow, TrackStart, UserRole},
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
    /// Kinds of events that were told.
    happened: Mutex<Vec<String>>,
    problems: AtomicUsize,
    held: AtomicBool,
    footage: Mutex<Vec<StreamFootage>>,
    plan: Mutex<PlanReport>,
    /// Deleted with their footage.
    deleted: Mutex<Vec<CameraId>>,
}

impl StorageControl for Told {
    fn volumes(&self) -> Vec<VolumeReport> {
        vec![VolumeReport {
            path: "/footage".to_owned(),
            state: VolumeState::Full,
            reason: Some("only locked footage is left".to_owned()),
            replaced: false,
            since: Some(NOON),
            bytes: 700,
            free_bytes: 10,
            total_bytes: 1_000,
            max_bytes: None,
            min_free_bytes: 20,
            queue_seconds: 0.0,
            write_bytes_per_second: Some(0.5),
            days_left: Some(0.0),
            holds_days: None,
        }]
    }
    fn footage(&self) -> Vec<StreamFootage> {
        self.footage.lock().unwrap().clone()
    }
    fn plan(&self) -> BoxFuture<'_, crate::store::Result<PlanReport>> {
        let plan = self.plan.lock().unwrap().clone();
        Box::pin(async { Ok(plan) })
    }
    fn age_hold(&self) -> Option<HoldReport> {
        let jump = WallSpan::from_secs(86_400);
        let hold = HoldReport { since: NOON, jump, until: None };
        self.held.load(SeqCst).then_some(hold)
    }
    fn confirm_clock(&self) -> bool {
        self.held.swap(false, SeqCst)
    }
    fn camera_deleted(&self, camera: CameraId) -> BoxFuture<'_, ()> {
        self.deleted.lock().unwrap().push(camera);
        Box::pin(async {})
    }
    fn accept_volume(&self, name: String) -> BoxFuture<'_, Result<(), NotAccepted>> {
        Box::pin(async move {
            use crate::disk::NotAccepted as Refused;
            match &*name {
                "/footage" => Ok(()),
                "/well" => {
                    Err(Refused::NotReplaced { state: VolumeState::Ready, why: None }.into())
                }
                _ => Err(Refused::Unknown.into()),
            }
        })
    }
    fn problems(&self) -> Vec<String> {
        Vec::new()
    }
    fn warnings(&self) -> Vec<String> {
        self.age_hold().map(|_| "deletion by age is held".to_owned()).into_iter().collect()
    }
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
    fn event(&self, _: CameraId, kind: &str, _: WallTime, _: Option<WallTime>) {
        self.happened.lock().unwrap().push(kind.to_owned());
    }

    fn status(&self, _: StreamId) -> Option<StreamState> {
        None
    }
    fn completeness(&self, _: StreamId) -> BoxFuture<'_, Option<Completeness>> {
        let coverage = |recorded, missing| {
            let gaps = [(GapReason::Stalled, WallSpan::from_secs(missing))].into();
            Arc::new(Coverage { recorded: WallSpan::from_secs(recorded), gaps })
        };
        let (day, ever) = (coverage(3, 1), coverage(9, 1));
        Box::pin(async { Some(Completeness { day, ever }) })
    }
    fn problems(&self) -> Vec<String> {
        let n = self.problems.load(SeqCst);
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
            rtsp: None,
            archive,
            volumes,
            control: told.clone(),
            storage: told.clone(),
            metrics: Arc::new(Metrics::new("0.0.0-test").unwrap()),
            source: Arc::new(Nothing),
            clock: clock.clone(),
            tasks: tasks.clone(),
        });
        Self { router, store, told, tasks, clock, volume, _folder: folder }
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

    /// As somebody of that role.
    async fn ask_as(
        &self,
        role: UserRole,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let name = format!("{role:?}").to_lowercase();
        if self.store.user_by_name(&name).await.unwrap().is_none() {
            let mut user = self.store.user_by_name("admin").await.unwrap().unwrap();
            // Basic needs no Digest secret, and the administrator's password will do.
            user.id = crate::id::UserId::generate(&self.clock);
            user.name.clone_from(&name);
            user.role = role;
            self.store.put_user(&user).await.unwrap();
        }
        let mut request = request(method, path, body);
        let login = basic(&name, PASSWORD).parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, login);
        self.send(request).await
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
