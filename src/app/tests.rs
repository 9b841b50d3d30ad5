//! The whole recorder in one process: simulated cameras over real sockets, real files and index.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU16,
    time::Duration,
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::*;
use crate::simulate::{self, Simulator};

mod onvif;

const PASSWORD: &str = "correct horse";
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Simulated cameras that can be switched off.
struct Cameras {
    urls: Vec<String>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Cameras {
    async fn start(n: u16) -> Self {
        Self::start_at(n, ANY).await
    }

    async fn start_at(n: u16, listen: SocketAddr) -> Self {
        let mut settings = simulate::Settings::new(listen, NonZeroU16::new(n).unwrap());
        settings.login = Some(("viewer".to_owned(), Secret::new("camera-password".to_owned())));
        let simulator = Simulator::bind(settings, Clock::system()).await.unwrap();
        let urls = simulator
            .urls()
            .map(|u| u.replace("rtsp://", "rtsp://viewer:camera-password@"))
            .collect();
        let stop = CancellationToken::new();
        let task = spawn(simulator.run(stop.clone()));
        Self { urls, stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "each handle is awaited by its test")]
fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(work)
}

struct Running {
    http: SocketAddr,
    rtsp: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
    client: reqwest::Client,
}

impl Running {
    async fn start(folder: &Path) -> Self {
        Self::start_with(folder, |_| {}).await
    }

    async fn start_with(folder: &Path, more: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.http.listen = ANY;
        config.rtsp.listen = ANY;
        config.database.path = folder.join("vedette.db");
        config.database.key_file = folder.join("vedette.key");
        config.recording.segment = Duration::from_secs(2);
        config.auth.admin_password = Some(Secret::new(PASSWORD.to_owned()));
        config.volumes = vec![crate::config::Volume {
            path: folder.join("footage"),
            max_bytes: None,
            min_free_bytes: 0,
        }];
        more(&mut config);
        let app = App::build(config).await.unwrap();
        let (http, rtsp) = (app.http_addr().unwrap(), app.rtsp_addr());
        let stop = CancellationToken::new();
        let task = spawn(app.run(stop.clone()));
        Self { http, rtsp, stop, task, client: reqwest::Client::new() }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, String) {
        let url = format!("http://{}{path}", self.http);
        let mut request = self.client.request(method, url).basic_auth(ADMIN, Some(PASSWORD));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        let (status, text) = self.ask(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn change(&self, method: Method, path: &str, body: Value) {
        let (status, text) = self.ask(method, path, Some(body)).await;
        assert!(status.is_success(), "{path}: {status} {text}");
    }

    async fn add(&self, slug: &str, url: &str) {
        self.change(Method::POST, "/api/v1/cameras", json!({ "slug": slug, "url": url })).await;
    }

    /// Asks until `wanted` finds what it waits for.
    async fn eventually<T>(&self, path: &str, wanted: impl Fn(&Value) -> Option<T>) -> T {
        let mut last = Value::Null;
        for _ in 0..400 {
            last = self.get(path).await;
            if let Some(found) = wanted(&last) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{path} never came to it: {last:#}");
    }

    async fn recording(&self, slug: &str) -> Value {
        self.eventually(&format!("/api/v1/cameras/{slug}/status"), |status| {
            let stream = &status["streams"][0];
            (stream["recording"] == true && stream["state"] == "running").then(|| stream.clone())
        })
        .await
    }

    /// Waits until nothing has come for longer than a simulated camera has at hand for a new
    /// connection, so that its return leaves a gap.
    async fn missing(&self, slug: &str) {
        self.eventually("/api/v1/status", |status| {
            let camera = status["cameras"].as_array()?.iter().find(|c| c["slug"] == slug)?;
            let stream = &camera["streams"][0];
            let silent = match &stream["last_unit_at"] {
                Value::Null => at(&status["now"]) - at(&status["started"]),
                last => at(&status["now"]) - at(last),
            };
            let long = silent > chrono::TimeDelta::milliseconds(1_500);
            (stream["recording"] == false && long).then_some(())
        })
        .await;
    }

    /// Waits for a gap of that reason.
    async fn gap(&self, slug: &str, reason: &str) {
        self.eventually(&format!("/api/v1/cameras/{slug}/timeline"), |timeline| {
            let gaps = timeline["gaps"].as_array()?;
            gaps.iter().any(|g| g["reason"] == reason).then_some(())
        })
        .await;
    }

    async fn closed_segments(&self, slug: &str, n: usize) -> Vec<Value> {
        self.eventually(&format!("/api/v1/cameras/{slug}/segments"), |list| {
            let items = list["items"].as_array()?;
            let closed: Vec<_> = items.iter().filter(|s| s["state"] == "closed").cloned().collect();
            (closed.len() >= n).then_some(closed)
        })
        .await
    }
}

#[tokio::test]
async fn a_password_made_by_a_start_that_failed_is_still_shown_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind(ANY).unwrap();
    let config = |http| {
        let mut config = Config::default();
        config.http.listen = http;
        config.rtsp.listen = ANY;
        config.database = crate::config::Database::at(folder.path().join("vedette.db"));
        config.volumes = vec![crate::config::Volume {
            min_free_bytes: 0,
            ..crate::config::Volume::at(folder.path().join("footage"))
        }];
        config
    };
    assert!(App::build(config(taken.local_addr().unwrap())).await.is_err());
    let app = App::build(config(ANY)).await.unwrap();
    assert!(app.first_password().is_some());
}

#[tokio::test]
async fn without_passwords_nothing_but_loopback_is_listened_on_wherever_the_address_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.auth.mode = crate::access::Mode::None;
    let settings = demo::Settings {
        data: Some(folder.path().to_owned()),
        cameras: NonZeroU16::MIN,
        host: Ipv4Addr::UNSPECIFIED.into(),
    };
    let refused = demo::run(settings, config, CancellationToken::new()).await.unwrap_err();
    assert!(refused.to_string().contains("auth.mode"), "{refused:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_camera_sends_is_listed_and_stopping_completes_the_open_segment() {
    let folder = tempfile::tempdir().unwrap();
    let cameras = Cameras::start(1).await;
    let vedette = Running::start(folder.path()).await;
    vedette.add("door", &cameras.urls[0]).await;
    let stream = vedette.recording("door").await;
    assert_eq!(stream["video"]["codec"], "H.264");
    assert_eq!(stream["audio"]["codec"], "AAC");
    let segments = vedette.closed_segments("door", 2).await;
    for pair in segments.windows(2) {
        assert_eq!(pair[0]["end"], pair[1]["start"], "no gap within a run");
    }
    let (status, text) = vedette.ask(Method::GET, "/readyz", None).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    vedette.stop().await;

    // What is listed is on disk, also after a restart.
    let vedette = Running::start(folder.path()).await;
    vedette.recording("door").await;
    let list = vedette.get("/api/v1/cameras/door/segments").await;
    for item in list["items"].as_array().unwrap() {
        let path = Path::new(item["volume"].as_str().unwrap()).join(item["path"].as_str().unwrap());
        assert!(path.exists(), "{}", path.display());
    }
    // A run is on the timeline once its first segment's row is, which is just after recording began.
    vedette
        .eventually("/api/v1/cameras/door/timeline", |timeline| {
            timeline["runs"].as_array()?.last()?["end"].is_null().then_some(())
        })
        .await;
    vedette.stop().await;
    cameras.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_restarts_only_that_camera_and_only_when_it_has_to() {
    let folder = tempfile::tempdir().unwrap();
    let cameras = Cameras::start(3).await;
    let vedette = Running::start(folder.path()).await;
    vedette.add("door", &cameras.urls[0]).await;
    vedette.add("gate", &cameras.urls[1]).await;
    let door = vedette.recording("door").await;
    let gate = vedette.recording("gate").await;

    vedette.change(Method::PATCH, "/api/v1/cameras/door", json!({ "name": "Front door" })).await;
    let renamed = vedette.recording("door").await;
    assert!(is_same_moment(&renamed["since"], &door["since"]), "a name restarts nothing");

    vedette.change(Method::PATCH, "/api/v1/cameras/door", json!({ "url": cameras.urls[2] })).await;
    vedette
        .eventually("/api/v1/cameras/door/status", |status| {
            let stream = &status["streams"][0];
            (stream["reconnects"] == 1 && stream["recording"] == true).then_some(())
        })
        .await;
    let after = vedette.recording("gate").await;
    assert_eq!(after["reconnects"], 0);
    assert!(is_same_moment(&after["since"], &gate["since"]));
    vedette.stop().await;
    cameras.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_is_switched_off_is_not_missed_and_one_that_is_gone_has_no_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let cameras = Cameras::start(1).await;
    let vedette = Running::start(folder.path()).await;
    vedette.add("door", &cameras.urls[0]).await;
    vedette.recording("door").await;

    vedette.change(Method::PATCH, "/api/v1/cameras/door", json!({ "enabled": false })).await;
    let status = vedette.get("/api/v1/cameras/door/status").await;
    assert_eq!(status["streams"][0]["state"], "stopped");
    let last_gap = |timeline: &Value| timeline["gaps"].as_array().unwrap().last().cloned();
    let timeline = vedette.get("/api/v1/cameras/door/timeline").await;
    let gap = last_gap(&timeline).expect("a gap that lasts");
    assert_eq!((&gap["reason"], &gap["end"]), (&json!("disabled"), &Value::Null), "{timeline:#}");

    vedette.change(Method::PATCH, "/api/v1/cameras/door", json!({ "enabled": true })).await;
    vedette.recording("door").await;
    let (_, scraped) = vedette.ask(Method::GET, "/metrics", None).await;
    for series in [
        "vedette_ingest_up{camera=\"door\",stream=\"main\"} 1",
        "vedette_record_active{camera=\"door\",stream=\"main\"} 1",
        "vedette_record_gap_seconds{camera=\"door\",stream=\"main\",reason=\"crash\"} 0",
        "vedette_record_completeness_ratio{camera=\"door\",stream=\"main\"}",
        "vedette_disk_write_seconds_count{volume=",
        "vedette_rtsp_sessions 0",
        "vedette_hub_bytes ",
        "vedette_record_completeness_ever_ratio{camera=\"door\",stream=\"main\"}",
        "vedette_record_paused{camera=\"door\",stream=\"main\",reason=\"disk_full\"} 0",
        "state=\"ready\"} 1",
        "vedette_retention_limit_blocked{reason=\"free_space\",by=\"locked\"} 0",
        "vedette_store_trouble{kind=\"full\"} 0",
        "vedette_clock_steps_total{direction=\"back\"} 0",
    ] {
        assert!(scraped.contains(series), "{series} is not in\n{scraped}");
    }

    let (status, _) =
        vedette.ask(Method::DELETE, "/api/v1/cameras/door?footage=delete", None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (_, scraped) = vedette.ask(Method::GET, "/metrics", None).await;
    assert!(!scraped.contains("camera=\"door\""), "{scraped}");
    let mut left = Vec::new();
    for _ in 0..400 {
        left = walk(&folder.path().join("footage"));
        left.retain(|path| path.ends_with(".mp4"));
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(left.is_empty(), "retention deletes them by and by: {left:?}");
    vedette.stop().await;
    cameras.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_goes_and_comes_back_is_recorded_again_with_the_reason_in_the_gap() {
    let folder = tempfile::tempdir().unwrap();
    let cameras = Cameras::start(1).await;
    let address: SocketAddr =
        cameras.urls[0].split('@').nth(1).unwrap().split('/').next().unwrap().parse().unwrap();
    let vedette = Running::start(folder.path()).await;
    vedette.add("door", &cameras.urls[0]).await;
    vedette.recording("door").await;
    cameras.stop().await;
    vedette.missing("door").await;
    let (status, _) = vedette.ask(Method::GET, "/readyz", None).await;
    assert_eq!(status, StatusCode::OK, "a camera that is off does not get the recorder restarted");
    let cameras = Cameras::start_at(1, address).await;
    vedette.recording("door").await;
    vedette.gap("door", "disconnected").await;
    let gone = vedette
        .eventually("/api/v1/events?camera=door", |list| {
            let items = list["items"].as_array()?;
            let kinds: Vec<_> = items.iter().rev().filter_map(|e| e["kind"].as_str()).collect();
            let gone = items.iter().find(|e| e["kind"] == "camera_disconnected")?;
            let (first, last) = (kinds.first()?, kinds.last()?);
            (*first == "camera_connected" && *last == "camera_connected").then(|| gone.clone())
        })
        .await;
    assert_eq!((&gone["source"], &gone["camera"]), (&json!("vedette"), &json!("door")));
    assert!(gone["note"].as_str().unwrap().starts_with("main: "), "{gone}");
    let all = vedette.get("/api/v1/events").await;
    let oldest = all["items"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(oldest["kind"], "started", "{all:#}");

    // A restart while it is off: the gap is the recorder's until it runs again, then the camera's.
    vedette.stop().await;
    cameras.stop().await;
    let vedette = Running::start(folder.path()).await;
    vedette.missing("door").await;
    vedette.gap("door", "unreachable").await;
    let cameras = Cameras::start_at(1, address).await;
    vedette.recording("door").await;
    vedette.gap("door", "vedette_down").await;
    vedette
        .eventually("/api/v1/cameras/door/timeline", |timeline| {
            (timeline["runs"].as_array()?.len() == 3).then_some(())
        })
        .await;
    vedette.stop().await;
    cameras.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_never_answers_is_missing_for_its_own_reason_and_not_starting_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let vedette = Running::start(folder.path()).await;
    // Bound, and let go of: nobody listens there.
    let nobody = TcpListener::bind(ANY).await.unwrap().local_addr().unwrap();
    vedette.add("door", &format!("rtsp://{nobody}/")).await;
    vedette.gap("door", "unreachable").await;
    let timeline = vedette.get("/api/v1/cameras/door/timeline").await;
    let lasting = timeline["gaps"].as_array().unwrap().last().unwrap();
    let expected = (&json!("unreachable"), &Value::Null);
    assert_eq!((&lasting["reason"], &lasting["end"]), expected, "{timeline:#}");
    vedette.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_disk_takes_a_volume_s_place_when_it_is_accepted_and_what_was_on_the_old_one_is_lost()
 {
    let folder = tempfile::tempdir().unwrap();
    let cameras = Cameras::start(1).await;
    let vedette = Running::start(folder.path()).await;
    vedette.add("door", &cameras.urls[0]).await;
    let old = vedette.closed_segments("door", 2).await;
    let accept = |volume: &Path| json!({ "volume": volume.to_string_lossy() });
    let (path, disk) = ("/api/v1/storage/accept-volume", folder.path().join("footage"));
    let (status, text) = vedette.ask(Method::POST, path, Some(accept(&disk))).await;
    assert_eq!(status, StatusCode::CONFLICT, "it is what it is: {text}");
    let lock = json!({ "start": old[0]["start"], "end": old[0]["end"], "note": "evidence" });
    vedette.change(Method::POST, "/api/v1/cameras/door/locks", lock).await;
    vedette.stop().await;

    std::fs::rename(&disk, folder.path().join("broken")).unwrap();
    std::fs::create_dir(&disk).unwrap();
    let vedette = Running::start(folder.path()).await;
    let storage = vedette.get("/api/v1/storage").await;
    let volume = &storage["volumes"][0];
    assert_eq!((&volume["state"], &volume["replaced"]), (&json!("missing"), &json!(true)));
    assert_eq!(std::fs::read_dir(&disk).unwrap().count(), 0, "nothing is put there by itself");
    let nowhere = accept(Path::new("/nowhere"));
    let (status, _) = vedette.ask(Method::POST, path, Some(nowhere)).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    vedette.change(Method::POST, path, accept(&disk)).await;
    vedette.recording("door").await;
    let old_end = at(&old[1]["end"]);
    vedette
        .eventually("/api/v1/cameras/door/timeline", |timeline| {
            let runs = timeline["runs"].as_array()?;
            let gaps = timeline["gaps"].as_array()?;
            let lost = gaps.iter().any(|g| {
                g["reason"] == "disk_error"
                    && at(&g["start"]) <= at(&old[0]["start"])
                    && !g["end"].is_null()
                    && at(&g["end"]) >= old_end
            });
            let kept = runs.iter().any(|r| at(&r["start"]) < old_end);
            (lost && !kept && !runs.is_empty()).then_some(())
        })
        .await;
    for item in vedette.closed_segments("door", 1).await {
        let path = Path::new(item["volume"].as_str().unwrap()).join(item["path"].as_str().unwrap());
        assert!(path.starts_with(&disk) && path.exists(), "{}", path.display());
        assert!(at(&item["start"]) >= old_end);
    }
    let noted = |kind: &'static str| {
        move |list: &Value| list["items"].as_array()?.iter().find(|e| e["kind"] == kind).cloned()
    };
    vedette.eventually("/api/v1/events", noted("volume_lost")).await;
    vedette.eventually("/api/v1/events", noted("volume_back")).await;
    vedette.eventually("/api/v1/events", noted("volume_replaced")).await;
    let audit = vedette.get("/api/v1/audit").await;
    assert_eq!(audit["items"][0]["action"], "volume.accept");
    vedette.stop().await;

    // It is the volume now, also for the next process.
    let vedette = Running::start(folder.path()).await;
    vedette.recording("door").await;
    assert_eq!(vedette.get("/api/v1/storage").await["volumes"][0]["replaced"], false);
    vedette.stop().await;
    cameras.stop().await;
}

/// The API counts moments back from a monotonic clock, which may differ by microseconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_on_demand_is_pulled_while_somebody_watches_and_recorded_without_a_break_when_told()
 {
    let folder = tempfile::tempdir().unwrap();
    let cameras = Cameras::start(1).await;
    let nobody_asks = |config: &mut Config| config.auth.mode = crate::access::Mode::None;
    let vedette = Running::start_with(folder.path(), nobody_asks).await;
    let camera = json!({ "slug": "door", "url": cameras.urls[0], "record": "never" });
    vedette.change(Method::POST, "/api/v1/cameras", camera).await;
    let path = "/api/v1/cameras/door/status";
    let idle = vedette.get(path).await["streams"][0].clone();
    assert_eq!((&idle["state"], &idle["wanted"]), (&json!("stopped"), &json!("idle")), "{idle:#}");
    assert_eq!(idle["completeness"], Value::Null, "nothing is expected");

    // The first DESCRIBE waits until it is there.
    let mut player = tokio::net::TcpStream::connect(vedette.rtsp).await.unwrap();
    let url = format!("rtsp://{}/door", vedette.rtsp);
    let describe = format!("DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut player, describe.as_bytes()).await.unwrap();
    let mut answer = vec![0; 15];
    tokio::io::AsyncReadExt::read_exact(&mut player, &mut answer).await.unwrap();
    assert_eq!(String::from_utf8(answer).unwrap(), "RTSP/1.0 200 OK");
    let watched = vedette.get(path).await["streams"][0].clone();
    assert_eq!(watched["wanted"], "watched", "{watched:#}");

    let record = |mode: &str| json!({ "record": mode });
    vedette.change(Method::PATCH, "/api/v1/cameras/door", record("always")).await;
    let recorded = vedette.recording("door").await;
    assert!(is_same_moment(&recorded["since"], &watched["since"]), "{watched:#} {recorded:#}");
    assert_eq!((&recorded["wanted"], &recorded["reconnects"]), (&json!("recording"), &json!(0)));

    // A week of which today is no part, whatever the zone; then all of it.
    let spans = |days: Value| json!([{ "days": days, "start": "00:00", "end": "24:00" }]);
    let week = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    // The first of January 1970 was a Thursday.
    let days = Clock::system().now().as_micros() / 86_400_000_000 + 3;
    let day = usize::try_from(days).unwrap() % 7;
    let hours = |spans: Value| json!({ "record": "schedule", "schedule": { "timezone": "UTC", "spans": spans } });
    let other = spans(json!([week[(day + 3) % 7]]));
    vedette.change(Method::PATCH, "/api/v1/cameras/door", hours(other)).await;
    let closed = vedette.get(path).await["streams"][0].clone();
    assert_eq!(closed["recording"], false);
    assert!(closed["next_change"].is_string(), "{closed:#}");
    // Seen while it lasts: what is recorded next may begin with what the hub held of this time.
    vedette
        .eventually("/api/v1/cameras/door/timeline", |timeline| {
            let last = timeline["gaps"].as_array()?.last()?.clone();
            (last["reason"] == "not_scheduled" && last["end"].is_null()).then_some(())
        })
        .await;
    vedette.change(Method::PATCH, "/api/v1/cameras/door", hours(spans(json!(week)))).await;
    let again = vedette.recording("door").await;
    // One at most, where this took longer than the camera lingers.
    assert!(again["reconnects"].as_u64() <= Some(1), "{again:#}");
    vedette.change(Method::PATCH, "/api/v1/cameras/door", record("never")).await;
    drop(player);
    vedette
        .eventually(path, |status| {
            let stream = &status["streams"][0];
            (stream["state"] == "stopped" && stream["wanted"] == "idle").then_some(())
        })
        .await;
    let timeline = vedette
        .eventually("/api/v1/cameras/door/timeline", |timeline| {
            let last = timeline["gaps"].as_array()?.last()?;
            let ended = timeline["runs"].as_array()?.iter().all(|run| !run["end"].is_null());
            (ended && last["end"].is_null()).then(|| timeline.clone())
        })
        .await;
    let runs = timeline["runs"].as_array().unwrap();
    let gaps = timeline["gaps"].as_array().unwrap();
    let mut all: Vec<_> = runs.iter().chain(gaps).collect();
    all.sort_by_key(|piece| at(&piece["start"]));
    for pair in all.windows(2) {
        assert!(is_same_moment(&pair[0]["end"], &pair[1]["start"]), "{timeline:#}");
    }
    let reasons: Vec<_> = gaps.iter().map(|gap| gap["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons.last(), Some(&"disabled"), "{timeline:#}");
    let known = ["disabled", "not_scheduled", "starting"];
    assert!(reasons.iter().all(|reason| known.contains(reason)), "{timeline:#}");
    let (_, scraped) = vedette.ask(Method::GET, "/metrics", None).await;
    let labels = "{camera=\"door\",stream=\"main\"} 0";
    for name in ["vedette_ingest_wanted", "vedette_record_wanted", "vedette_ingest_viewers"] {
        assert!(scraped.contains(&format!("{name}{labels}")), "{name} in\n{scraped}");
    }
    assert!(!scraped.contains("vedette_record_active{"), "nobody is to be called for it");
    vedette.stop().await;
    cameras.stop().await;
}

fn is_same_moment(a: &Value, b: &Value) -> bool {
    (at(a) - at(b)).abs() < chrono::TimeDelta::milliseconds(50)
}

fn at(time: &Value) -> chrono::DateTime<chrono::FixedOffset> {
    chrono::DateTime::parse_from_rfc3339(time.as_str().unwrap()).unwrap()
}

fn walk(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    // What is deleted meanwhile is not there.
    for entry in entries.filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(walk(&entry.path()));
        } else {
            found.push(entry.path().to_string_lossy().into_owned());
        }
    }
    found
}
