//! Directors with a real index, real files and a wall clock that is moved by hand. Their camera is
//! published by the test; its address answers nobody.

use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use super::{
    super::{cameras::CameraSet, journal::Journal, lanes::Lanes, when::Wanted},
    *,
};
use crate::{
    clock::Clock,
    disk::{self, VolumeSettings, Volumes},
    http::CameraControl,
    hub::{self, ClockSource, Event, Hub, Publisher, Run, Start},
    id::{CameraId, Role, RunId},
    ingest::publish::Berths,
    model::{
        Camera, CameraStream, EventRecording, RunRow, Schedule, Source, Transport, WallRange, When,
    },
    proto::{
        access_unit::{AccessUnit, Track, TrackIndex},
        codec::{Parameters, h264},
        time::{MediaTime, Timescale},
    },
    seal::Sealer,
    store::Store,
};

const EIGHT_TO_SIX: &str = r#"{"timezone":"Europe/Berlin","spans":[
    {"days":["mon","tue","wed","thu","fri","sat","sun"],"start":"08:00","end":"18:00"}]}"#;
/// 2026-11-23T07:00:00Z: eight o'clock in Berlin.
const EIGHT: WallTime = WallTime::from_micros(1_795_417_200_000_000);
const HOUR: i64 = 3_600;
const ALWAYS: WallRange = WallTime::from_micros(0)..WallTime::from_micros(i64::MAX);

fn at(seconds: i64) -> WallTime {
    EIGHT + WallSpan::from_secs(seconds)
}

fn hex(text: &str) -> Bytes {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

struct Site {
    _folder: TempDir,
    clock: Clock,
    store: Store,
    parts: Parts,
    set: CameraSet,
    camera: Camera,
}

impl Site {
    async fn new(mode: RecordMode, seconds: i64) -> Self {
        Self::of(mode, seconds, Source::Pull).await
    }

    async fn of(mode: RecordMode, seconds: i64, source: Source) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(at(seconds));
        let sealer = Sealer::open_or_create(&folder.path().join("key")).unwrap();
        let database = folder.path().join("vedette.db");
        let store = Store::open(&database, clock.clone(), sealer).await.unwrap();
        let volume =
            VolumeSettings { path: folder.path().join("v"), max_bytes: None, min_free_bytes: 0 };
        let settings = disk::Settings { volumes: vec![volume], ..disk::Settings::default() };
        let volumes = Volumes::open_with(settings, disk::Options::default()).unwrap();
        let (journal, _) = Journal::unread(clock.clone());
        let parts = Parts {
            hub: Arc::new(Hub::new(hub::Limits::default())),
            volumes,
            store: store.clone(),
            clock: clock.clone(),
            record: record::Settings::default(),
            lanes: Arc::new(Lanes::start().unwrap()),
            journal,
            berths: Berths::default(),
        };
        let camera = store.insert_camera(Camera { source, ..camera(&clock, mode) }).await.unwrap();
        let set = CameraSet::new(parts.clone());
        Self { _folder: folder, clock, store, parts, set, camera }
    }

    async fn started(mode: RecordMode, seconds: i64) -> Self {
        let site = Self::new(mode, seconds).await;
        site.set.start().await.unwrap();
        site
    }

    fn stream(&self) -> StreamId {
        self.camera.streams[0].id
    }

    fn channel(&self) -> Arc<Channel> {
        self.parts.hub.channel(self.stream())
    }

    /// The process ends in order, and another begins later.
    async fn restart_at(&mut self, seconds: i64) {
        self.set.shut_down().await;
        self.clock.set(at(seconds));
        self.set = CameraSet::new(self.parts.clone());
        self.set.start().await.unwrap();
    }

    async fn change(&mut self, change: impl FnOnce(&mut Camera)) {
        change(&mut self.camera);
        self.set.apply(self.camera.clone()).await;
    }

    fn wanted(&self) -> Wanted {
        self.set.all()[0].director.shown().wanted()
    }

    fn is_recording(&self) -> bool {
        self.set.all()[0].recording().is_some_and(|recording| recording.is_recording())
    }

    async fn until(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        for _ in 0..2_000 {
            if done(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never {what}: {:?}", self.timeline().await);
    }

    /// Waits until there are so many runs, and those before the last, or all, have ended.
    async fn until_runs(&self, count: usize, all_ended: bool) {
        for _ in 0..2_000 {
            let (runs, gaps) = self.timeline().await;
            let over = runs.iter().all(|r| r.end.is_some()) && gaps.iter().any(|g| g.end.is_none());
            if runs.len() == count && (over || !all_ended) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never {count} runs: {:?}", self.timeline().await);
    }

    /// Waits for a gap of this reason that lasts.
    async fn until_gap(&self, reason: GapReason) {
        for _ in 0..2_000 {
            let (_, gaps) = self.timeline().await;
            if gaps.iter().any(|g| g.end.is_none() && g.reason == reason) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never {reason}: {:?}", self.timeline().await);
    }

    async fn timeline(&self) -> (Vec<RunRow>, Vec<Gap>) {
        let runs = self.store.runs(self.stream()).await.unwrap();
        (runs, self.store.gaps_overlapping(self.stream(), ALWAYS, 1_000).await.unwrap())
    }

    /// Gaps by seconds from eight, and whether runs and gaps cover the time since its creation
    /// without a hole and without an overlap, the last of them lasting.
    async fn gaps(&self) -> Vec<(i64, Option<i64>, GapReason)> {
        let (runs, gaps) = self.timeline().await;
        let runs_as = runs.iter().map(|r| (r.start, r.end));
        let mut all: Vec<_> = runs_as.chain(gaps.iter().map(|g| (g.start, g.end))).collect();
        all.sort();
        assert_eq!(all[0].0, self.camera.streams[0].created, "{runs:?} {gaps:?}");
        for pair in all.windows(2) {
            assert_eq!(pair[0].1, Some(pair[1].0), "{runs:?} {gaps:?}");
        }
        assert_eq!(all.last().unwrap().1, None, "{runs:?} {gaps:?}");
        let seconds = |wall: WallTime| (wall - EIGHT).as_micros().div_euclid(1_000_000);
        gaps.iter().map(|g| (seconds(g.start), g.end.map(seconds), g.reason)).collect()
    }

    async fn end(self) {
        self.set.shut_down().await;
        self.parts.lanes.shut_down().await;
        self.parts.volumes.shut_down().await;
        self.store.close().await;
    }
}

/// The units there are for a viewer, which must have seen no break.
fn seen(viewer: &mut hub::Subscription) -> Vec<u64> {
    let events = std::iter::from_fn(|| viewer.try_next().unwrap());
    let number = |event| match event {
        Event::Unit { unit, .. } => unit.number,
        other => panic!("a break: {other:?}"),
    };
    events.map(number).collect()
}

fn camera(clock: &Clock, mode: RecordMode) -> Camera {
    let schedule: Schedule = serde_json::from_str(EIGHT_TO_SIX).unwrap();
    let stream = CameraStream {
        id: StreamId::generate(clock),
        role: Role::Main,
        // The discard port, where nobody listens.
        url: "rtsp://127.0.0.1:9/".to_owned(),
        transport: Transport::Tcp,
        audio: true,
        record: None,
        retention: None,
        volume: None,
        created: clock.now(),
    };
    Camera {
        id: CameraId::generate(clock),
        slug: "door".parse().unwrap(),
        name: "Door".to_owned(),
        enabled: true,
        username: None,
        password: None,
        tls: Default::default(),
        record: mode,
        when: When { schedule: Some(schedule), events: EventRecording::default() },
        retention: Default::default(),
        volume: None,
        streams: vec![stream],
        created: clock.now(),
        updated: clock.now(),
        sealed_broken: false,
        source: Source::Pull,
    }
}

/// The camera: five pictures a second, a key frame a second.
struct Sender {
    publisher: Publisher,
    started: WallTime,
    number: u64,
}

impl Sender {
    fn begin(site: &Site, seconds: i64) -> Self {
        let sps = hex("67640028acd940780227e5c04400000fa40003a9803c60c658");
        let video = h264::Parameters::new(sps, vec![hex("68ebe3cb22c0")]).unwrap();
        let track = Track { timescale: Timescale::VIDEO, parameters: Parameters::H264(video) };
        let started = at(seconds);
        let run = Run {
            id: RunId::generate(&site.clock),
            stream: site.stream(),
            epoch: 0,
            started,
            clock_source: ClockSource::Arrival,
            previous_end: GapReason::Unreachable,
            tracks: Arc::new([track]),
        };
        let publisher = site.channel().publish(run).unwrap();
        Self { publisher, started, number: 0 }
    }

    /// Sends what lies before `seconds`.
    fn send_until(&mut self, seconds: i64) {
        loop {
            let n = i64::try_from(self.number).unwrap();
            let wall = self.started + WallSpan::from_millis(n * 200);
            if wall >= at(seconds) {
                return;
            }
            let mut body = vec![0, 0, 0, 5, if n % 5 == 0 { 0x65 } else { 0x41 }];
            body.extend(self.number.to_be_bytes().into_iter().skip(4));
            self.publisher.push(AccessUnit {
                track: TrackIndex(0),
                number: self.number,
                dts: MediaTime::from_ticks(n * 18_000),
                cts: 0,
                wall,
                random_access: n % 5 == 0,
                head: Bytes::new(),
                body: Bytes::from(body),
            });
            self.number += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_is_recorded_within_its_hours_to_the_second_and_watched_beyond_them() {
    let site = Site::started(RecordMode::Schedule, -60).await;
    assert_eq!(site.wanted(), Wanted::Idle);
    let mut viewer = site.channel().subscribe(Start::Next);
    site.until("watched", |site| site.wanted() == Wanted::Watched).await;
    let mut sender = Sender::begin(&site, -10);
    sender.send_until(1);
    let mut numbers = seen(&mut viewer);
    site.clock.set(at(1));
    site.until("recording", |site| site.wanted() == Wanted::Recording).await;
    site.until("footage", Site::is_recording).await;
    site.until_runs(1, false).await;
    let (runs, _) = site.timeline().await;
    assert_eq!(runs[0].start, EIGHT, "from the key frame at eight");
    sender.send_until(5);
    // Its hours end. Nobody would film until six here.
    site.clock.set(at(10 * HOUR));
    site.until("over", |site| site.set.all()[0].recording().is_none()).await;
    assert_eq!(site.wanted(), Wanted::Watched);
    for _ in 0..500 {
        if site.timeline().await.1.len() == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(site.gaps().await.len(), 3);
    let (_, gaps) = site.timeline().await;
    use GapReason::{NotScheduled, VedetteDown};
    let reasons: Vec<_> = gaps.iter().map(|g| g.reason).collect();
    // Hours of which nothing came and nobody said why: the clock leapt over them.
    assert_eq!(reasons, [NotScheduled, VedetteDown, NotScheduled]);
    assert_eq!(gaps[2].start, at(10 * HOUR));
    sender.send_until(6);
    numbers.extend(seen(&mut viewer));
    assert_eq!(numbers, (0..sender.number).collect::<Vec<_>>(), "who watches notices nothing");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_place_of_a_publisher_is_there_whatever_is_recorded_until_it_is_switched_off() {
    let source = Source::Publish { take_over: false };
    let mut site = Site::of(RecordMode::Never, -60, source).await;
    site.set.start().await.unwrap();
    let berth = |site: &Site| site.parts.berths.get(site.stream());
    let first = berth(&site).unwrap();
    let publisher = first.claim().unwrap();
    for (mode, wanted, reason) in [
        (RecordMode::Never, Wanted::Open, GapReason::Disabled),
        (RecordMode::Schedule, Wanted::Open, GapReason::NotScheduled),
        (RecordMode::Events, Wanted::Standby, GapReason::NotScheduled),
        (RecordMode::Always, Wanted::Recording, GapReason::Starting),
        (RecordMode::Never, Wanted::Open, GapReason::Disabled),
    ] {
        site.change(|camera| camera.record = mode).await;
        assert_eq!(site.wanted(), wanted, "{mode:?}");
        site.until_gap(reason).await;
        assert!(Arc::ptr_eq(&berth(&site).unwrap(), &first), "{mode:?}: it stays where it is");
    }
    assert!(!publisher.evicted().is_cancelled());
    site.change(|camera| camera.enabled = false).await;
    assert!(berth(&site).is_none());
    assert!(publisher.evicted().is_cancelled());
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_of_the_schedule_divides_the_gap_of_a_camera_that_is_gone() {
    let site = Site::started(RecordMode::Schedule, -60).await;
    site.clock.set(at(0));
    site.until("recording", |site| site.wanted() == Wanted::Recording).await;
    site.clock.set(at(10 * HOUR));
    site.until("idle", |site| site.wanted() == Wanted::Idle).await;
    site.until_gap(GapReason::NotScheduled).await;
    let gaps = site.gaps().await;
    let (first, last) = (gaps[0], gaps[gaps.len() - 1]);
    assert_eq!(first, (-60, Some(0), GapReason::NotScheduled), "{gaps:?}");
    // To the moment at which its last attempt began, which the clock leapt over with the rest.
    assert!((last.0 - 10 * HOUR).abs() <= 2, "{gaps:?}");
    assert_eq!((last.1, last.2), (None, GapReason::NotScheduled), "{gaps:?}");
    assert!(gaps[1..gaps.len() - 1].iter().all(|g| g.2.counts_as_missing()), "{gaps:?}");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_the_time_between_is_told_apart_by_the_schedule() {
    let mut site = Site::started(RecordMode::Schedule, HOUR).await;
    let mut sender = Sender::begin(&site, HOUR);
    sender.send_until(HOUR + 4);
    site.until("footage", Site::is_recording).await;
    drop(sender);
    // From a little past nine to nine the next morning: it was to record until six, and from eight on.
    site.restart_at(25 * HOUR).await;
    let gaps = site.gaps().await;
    let told: Vec<_> = gaps.iter().skip(gaps.len() - 3).map(|g| (g.0, g.1)).collect();
    let (six, eight) = (10 * HOUR, 24 * HOUR);
    assert_eq!(told[1..], [(six, Some(eight)), (eight, None)], "{gaps:?}");
    let reasons: Vec<_> = gaps.iter().skip(gaps.len() - 2).map(|g| g.2).collect();
    assert_eq!(reasons[0], GapReason::NotScheduled, "{gaps:?}");
    assert!(reasons[1].counts_as_missing(), "{gaps:?}");
    assert_eq!(site.wanted(), Wanted::Recording);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_surrounds_an_event_is_kept_and_nothing_else_is() {
    let mut site = Site::started(RecordMode::Events, 0).await;
    site.change(|camera| camera.when.events.after_seconds = 1).await;
    assert_eq!(site.wanted(), Wanted::Standby);
    let mut sender = Sender::begin(&site, 0);
    sender.send_until(20);
    site.clock.set(at(20));
    site.set.event(site.camera.id, "motion", at(20), None);
    sender.send_until(21);
    site.until_runs(1, true).await;
    let gaps = site.gaps().await;
    assert_eq!(gaps[0], (0, Some(15), GapReason::NotScheduled), "five seconds before: {gaps:?}");
    assert_eq!(gaps[1].2, GapReason::NotScheduled);
    assert_eq!(gaps.len(), 2, "{gaps:?}");
    // The next one, of which a part is recorded already.
    sender.send_until(24);
    site.clock.set(at(24));
    site.set.event(site.camera.id, "motion", at(24), None);
    sender.send_until(25);
    site.until_runs(2, true).await;
    let gaps = site.gaps().await;
    assert!(gaps.iter().all(|g| g.2 == GapReason::NotScheduled), "{gaps:?}");
    let (runs, _) = site.timeline().await;
    assert_eq!(runs.len(), 2, "{runs:?}");
    assert_eq!(runs[1].start, at(21), "what was recorded is not recorded again");
    // Not of a kind that is asked for.
    site.change(|camera| camera.when.events.kinds = vec!["bell".to_owned()]).await;
    site.set.event(site.camera.id, "motion", at(24), None);
    assert_eq!(site.wanted(), Wanted::Standby);
    // A moment before the process ends: the next one goes on with it.
    let mark = crate::model::Mark {
        id: crate::id::EventId::generate(&site.clock),
        camera: site.camera.id,
        start: at(30),
        end: Some(at(90)),
        kind: "bell".to_owned(),
        note: String::new(),
        source: "test".to_owned(),
    };
    site.store.insert_mark(mark).await.unwrap();
    site.store.update_camera(&site.camera).await.unwrap();
    drop(sender);
    site.restart_at(60).await;
    assert_eq!(site.wanted(), Wanted::Recording);
    site.gaps().await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_never_to_always_and_back_whoever_watches_sees_no_break() {
    let mut site = Site::started(RecordMode::Never, 0).await;
    let mut viewer = site.channel().subscribe(Start::Next);
    site.until("watched", |site| site.wanted() == Wanted::Watched).await;
    let mut sender = Sender::begin(&site, 0);
    sender.send_until(10);
    let mut count = seen(&mut viewer).len();
    site.clock.set(at(10));
    site.change(|camera| camera.record = RecordMode::Always).await;
    sender.send_until(15);
    site.until("footage", Site::is_recording).await;
    site.clock.set(at(15));
    site.change(|camera| camera.record = RecordMode::Never).await;
    assert!(!site.is_recording());
    assert_eq!(site.wanted(), Wanted::Watched);
    sender.send_until(20);
    let gaps = site.gaps().await;
    use GapReason::Disabled;
    assert_eq!(gaps, [(0, Some(9), Disabled), (15, None, Disabled)], "from its last key frame");
    count += seen(&mut viewer).len();
    assert_eq!(count, 100);
    site.change(|camera| camera.streams[0].url.push_str("other")).await;
    assert_eq!(site.wanted(), Wanted::Watched, "by whoever was there before");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_set_back_and_forth_over_an_edge_leaves_no_overlap() {
    let site = Site::started(RecordMode::Schedule, -60).await;
    for _ in 0..2 {
        site.clock.set(at(5));
        site.until("recording", |site| site.wanted() == Wanted::Recording).await;
        site.clock.set(at(-5));
        site.until_gap(GapReason::NotScheduled).await;
    }
    site.clock.set(at(60));
    site.until("recording", |site| site.wanted() == Wanted::Recording).await;
    site.set.shut_down().await;
    site.gaps().await;
    site.end().await;
}
