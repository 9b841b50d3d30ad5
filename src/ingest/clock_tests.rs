//! A recorder whose clock is set, from what a camera sends to what is played back: the real flow,
//! hub, recorder, files, index and archive, with a clock that is moved by hand.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Resume, StreamStatus,
    flow::{Flow, Outlet},
    memory::Memory,
    source::{Arrival, SourceCodec, SourceEvent, SourceTrack, SourceUnit},
};
use crate::{
    clock::Clock,
    disk::{Settings as DiskSettings, VolumeSettings, Volumes},
    hub::{Hub, Limits},
    id::{CameraId, Role, StreamId},
    model::{Camera, CameraStream, Gap, RecordMode, RetentionLimits, RunRow, Segment, Transport},
    playback::{Archive, Asked, Played},
    proto::{
        access_unit::TrackIndex,
        codec::{Parameters, h264},
        fmp4,
        reason::GapReason,
        time::{Timescale, WallSpan, WallTime},
    },
    record::{Recorder, Settings, Target},
    seal::Sealer,
    store::Store,
    task::Stop,
};

const SPS: &[u8] =
    b"\x67\x4d\x40\x1e\xda\x02\x80\xbf\xe5\xc0\x44\x00\x00\x03\x00\x04\x00\x00\x03\x00\xc8\x3c\x58\xba\x80";
const PPS: &[u8] = b"\x68\xef\x0f\xc8";
/// 2026-11-22T10:00:00Z.
const TEN: WallTime = WallTime::from_micros(1_795_341_600_000_000);
const SECOND: i64 = 1_000_000;
const YEAR: i64 = 365 * 86_400;
/// Between two pictures; a key frame each second.
const PICTURE: i64 = 100_000;

fn secs(seconds: i64) -> WallSpan {
    WallSpan::from_secs(seconds)
}

/// One recorder with one camera, over any number of its processes.
struct Nvr {
    folder: tempfile::TempDir,
    clock: Clock,
    store: Store,
    volumes: Arc<Volumes>,
    hub: Arc<Hub>,
    camera: Camera,
    recorders: JoinSet<()>,
    stop: Stop,
    flow: Option<Flow>,
    memory: Arc<Memory>,
    /// The monotonic clock, and how far the wall clock was set from it; µs.
    began: Instant,
    passed: i64,
    off: i64,
    /// The camera's clock; ticks.
    ticks: i64,
    pictures: u64,
}

impl Nvr {
    /// Its camera was made at ten.
    async fn new() -> Self {
        Self::made(TEN).await
    }

    async fn made(at: WallTime) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(at);
        let path = folder.path().join("vedette.db");
        let store = Store::open(&path, clock.clone(), Sealer::ephemeral()).await.unwrap();
        let stream = CameraStream {
            id: StreamId::generate(&clock),
            role: Role::Main,
            url: "rtsp://192.0.2.1/".to_owned(),
            transport: Transport::Tcp,
            audio: false,
            record: None,
            retention: None,
            volume: None,
            created: at,
        };
        let camera = Camera {
            id: CameraId::generate(&clock),
            slug: "door".parse().unwrap(),
            name: "Door".to_owned(),
            enabled: true,
            username: None,
            password: None,
            tls: Default::default(),
            onvif: None,
            sealed_broken: false,
            source: crate::model::Source::Pull,
            record: RecordMode::Always,
            when: Default::default(),
            retention: RetentionLimits::default(),
            volume: None,
            streams: vec![stream],
            created: at,
            updated: at,
        };
        let camera = store.insert_camera(camera).await.unwrap();
        let volume =
            VolumeSettings { path: folder.path().join("v"), max_bytes: None, min_free_bytes: 0 };
        let settings = DiskSettings {
            volumes: vec![volume],
            sync_interval: Duration::from_millis(20),
            ..DiskSettings::default()
        };
        let volumes = Volumes::open(settings).unwrap();
        let mut nvr = Self {
            folder,
            store,
            volumes,
            hub: Arc::new(Hub::new(Limits::default())),
            camera,
            recorders: JoinSet::new(),
            stop: Stop::child_of(&CancellationToken::new()),
            flow: None,
            memory: Arc::new(Memory::new(Resume::default())),
            began: Instant::now(),
            passed: 0,
            off: at.as_micros(),
            ticks: 5_000_000_000,
            pictures: 0,
            clock,
        };
        nvr.starts().await;
        nvr
    }

    fn stream(&self) -> StreamId {
        self.camera.streams[0].id
    }

    fn now(&self) -> WallTime {
        WallTime::from_micros(self.off + self.passed)
    }

    /// A process begins: the recorder, and the puller with what the index says.
    async fn starts(&mut self) {
        self.clock.set(self.now());
        let runs = self.runs().await;
        let gap = self.store.open_gap_of(self.stream()).await.unwrap();
        let resume = runs.iter().max_by_key(|r| (r.epoch, r.start)).map(|last| Resume {
            epoch: last.epoch,
            footage_end: last.end,
            ended: gap.map_or(GapReason::VedetteDown, |gap| gap.reason),
        });
        self.memory = Arc::new(Memory::new(resume.unwrap_or_default()));
        self.stop = Stop::child_of(&CancellationToken::new());
        let target = Target {
            camera: self.camera.id,
            slug: self.camera.slug.clone(),
            stream: self.stream(),
            role: Role::Main,
            volume: None,
        };
        let recorder = Recorder::new(
            target,
            Settings { segment: Duration::from_secs(20) },
            self.hub.channel(self.stream()),
            Arc::clone(&self.volumes),
            self.store.clone(),
            self.clock.clone(),
        );
        let mut status = recorder.status();
        self.recorders.spawn(recorder.run(self.stop.clone()));
        // It has subscribed by then: what is published waits for it.
        status.changed().await.unwrap();
    }

    /// The process ends in order.
    async fn stops(&mut self) {
        self.disconnects(GapReason::VedetteDown);
        self.stop.stop(GapReason::VedetteDown);
        while let Some(ended) = self.recorders.join_next().await {
            ended.unwrap();
        }
    }

    fn connects(&mut self) {
        let out = Outlet {
            stream: self.stream(),
            channel: self.hub.channel(self.stream()),
            clock: self.clock.clone(),
            status: StreamStatus::new(),
            memory: Arc::clone(&self.memory),
        };
        let video = h264::Parameters::new(SPS.into(), vec![PPS.into()]).unwrap();
        let track = SourceTrack {
            timescale: Timescale::VIDEO,
            codec: SourceCodec::Known(Parameters::H264(video)),
            declared_fps: None,
        };
        self.memory.attempt_begins();
        self.flow = Some(Flow::new(out, &[track], self.at()));
        // A session begins with a key frame.
        self.pictures = self.pictures.next_multiple_of(10);
    }

    fn disconnects(&mut self, reason: GapReason) {
        let at = self.at();
        if let Some(mut flow) = self.flow.take() {
            flow.end(reason, at);
        }
    }

    fn at(&self) -> Instant {
        self.began + Duration::from_micros(self.passed.unsigned_abs())
    }

    /// Time passes and nothing is sent.
    fn passes(&mut self, seconds: i64) {
        self.passed += seconds * SECOND;
        self.ticks += seconds * 90_000;
        self.clock.set(self.now());
    }

    /// The camera films.
    fn films(&mut self, seconds: i64) {
        if self.flow.is_none() {
            self.connects();
        }
        for _ in 0..seconds * SECOND / PICTURE {
            self.clock.set(self.now());
            let key = self.pictures.is_multiple_of(10);
            let slice: &[u8] = if key { b"\x65\x88xx" } else { b"\x41\x9axx" };
            let mut data = BytesMut::new();
            data.put_u32(slice.len() as u32 + 8);
            data.put_slice(slice);
            data.put_u64(self.pictures);
            let unit = SourceUnit {
                track: TrackIndex(0),
                ticks: self.ticks,
                elapsed: 0,
                arrival: Arrival { wall: self.now(), at: self.at() },
                data: data.freeze(),
                lost: 0,
            };
            self.flow.as_mut().unwrap().event(SourceEvent::Unit(unit)).unwrap();
            self.pictures += 1;
            self.passed += PICTURE;
            self.ticks += PICTURE * 9 / 100;
        }
        self.clock.set(self.now());
    }

    /// The recorder's clock is set.
    fn is_set_by(&mut self, seconds: i64) {
        self.off += seconds * SECOND;
        self.clock.set(self.now());
    }

    async fn runs(&self) -> Vec<RunRow> {
        let mut runs = self.store.runs(self.stream()).await.unwrap();
        runs.sort_by_key(|run| (run.epoch, run.start));
        runs
    }

    async fn gaps(&self) -> Vec<Gap> {
        let all = WallTime::from_micros(i64::MIN / 2)..WallTime::from_micros(i64::MAX);
        self.store.gaps_overlapping(self.stream(), all, 10_000).await.unwrap()
    }

    async fn segments(&self) -> Vec<Segment> {
        let all = WallTime::from_micros(i64::MIN / 2)..WallTime::from_micros(i64::MAX);
        self.store.segments_overlapping(self.stream(), all, None, 10_000).await.unwrap()
    }

    /// What each file says of itself, by segment.
    async fn identities(&self) -> Vec<(Segment, fmp4::Identity)> {
        let read = |segment: Segment| {
            let row = &segment.opened;
            let path = self.volumes.absolute(&row.volume, &row.path).unwrap();
            let header = fmp4::read_header(&std::fs::read(path).unwrap()).unwrap();
            (segment, header.identity)
        };
        self.segments().await.into_iter().map(read).collect()
    }

    /// What must be true whatever happened; to be asked when nothing records.
    async fn accounts(&self) {
        let runs = self.runs().await;
        for pair in runs.windows(2).filter(|pair| pair[0].epoch == pair[1].epoch) {
            assert!(pair[0].end.unwrap() <= pair[1].start, "runs of one epoch overlap: {pair:?}");
        }
        for gap in self.gaps().await {
            assert!(gap.end.is_none_or(|end| end > gap.start), "{gap:?}");
        }
        let identities = self.identities().await;
        let mut paths = BTreeMap::new();
        for (segment, identity) in &identities {
            let row = &segment.opened;
            assert_eq!((identity.epoch, identity.run), (row.epoch, row.run.0));
            assert!(segment.closed && segment.end > row.start);
            let run = runs.iter().find(|run| run.id == row.run).unwrap();
            assert!(run.start <= row.start && segment.end <= run.end.unwrap());
            assert!(paths.insert(row.path.clone(), row.id).is_none(), "{} twice", row.path);
        }
        for run in &runs {
            let of_run = identities.iter().filter(|(s, _)| s.opened.run == run.id);
            let recorded: WallSpan =
                of_run.fold(WallSpan::ZERO, |sum, (s, _)| sum + (s.end - s.opened.start));
            assert_eq!(recorded, run.end.unwrap() - run.start, "a run has no hole");
        }
        // Every moment since it was made, by the clock as it is now and as it ever was.
        let created = self.camera.created;
        let latest = runs.iter().filter_map(|run| run.end).max().unwrap_or(created);
        for until in [self.now(), latest] {
            if until <= created {
                continue;
            }
            let coverage = self.store.coverage(self.stream(), created..until).await.unwrap();
            let missing: i64 = coverage.gaps.values().map(|span| span.as_micros()).sum();
            let all = WallSpan::from_micros(coverage.recorded.as_micros() + missing);
            assert_eq!(
                all,
                until - created,
                "recorded {:?} {:?}",
                coverage.recorded,
                coverage.gaps
            );
        }
    }

    /// Everything recorded, as a player gets it from the beginning.
    async fn plays(&self) -> (WallSpan, Vec<Played>) {
        let (store, volumes) = (self.store.clone(), Arc::clone(&self.volumes));
        let archive = Archive::new(store, volumes, Arc::clone(&self.hub), self.clock.clone());
        let clip = archive.clip(self.stream(), Asked::default()).await.unwrap().unwrap();
        let length = clip.duration();
        let mut reader = archive.reader(clip);
        let mut played = Vec::new();
        while let Some(unit) = reader.next().await.unwrap() {
            played.push(unit);
        }
        (length, played)
    }

    /// Gaps between footage and behind it, as people see them.
    async fn seen(&self) -> Vec<(GapReason, i64)> {
        let coverage = self.store.coverage(self.stream(), self.camera.created..self.now());
        let gaps = coverage.await.unwrap().gaps;
        gaps.into_iter().map(|(reason, span)| (reason, rounded(span))).collect()
    }
}

/// Seconds; a picture more or less is none.
fn rounded(span: WallSpan) -> i64 {
    span.as_secs_f64().round() as i64
}

fn shows(played: &Played) -> u64 {
    let body = &played.unit.body;
    u64::from_be_bytes(body[body.len() - 8..].try_into().unwrap())
}

/// Films for 90 s from half an hour after ten, has its clock set, and films for 60 s more.
async fn set_while_recording(by: i64) -> Nvr {
    let mut nvr = Nvr::new().await;
    nvr.passes(1_800);
    nvr.films(90);
    nvr.is_set_by(by);
    nvr.films(60);
    nvr.stops().await;
    nvr.accounts().await;
    nvr
}

/// The second run of two, which says why the first one ended.
async fn second_run(nvr: &Nvr, epoch: u32, by: i64) {
    let runs = nvr.runs().await;
    assert_eq!(runs.len(), 2, "{runs:?}");
    assert_eq!((runs[0].epoch, runs[1].epoch), (0, epoch));
    assert_eq!(rounded(runs[0].start - TEN), 1_800);
    assert_eq!(rounded(runs[0].end.unwrap() - runs[0].start), 90);
    assert_eq!(rounded(runs[1].start - runs[0].end.unwrap()), by);
    assert_eq!(rounded(runs[1].end.unwrap() - runs[1].start), 60);
    for (segment, identity) in nvr.identities().await {
        let second = segment.opened.run == runs[1].id;
        let why = if second { GapReason::ClockJump } else { GapReason::Starting };
        assert_eq!(identity.previous_end, why.code());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_set_back_or_forward_by_a_second_is_led_there_within_the_run() {
    for by in [1, -1] {
        let nvr = set_while_recording(by).await;
        let runs = nvr.runs().await;
        assert_eq!((runs.len(), runs[0].epoch), (1, 0));
        let length = (runs[0].end.unwrap() - runs[0].start).as_secs_f64();
        assert!((length - 150.0).abs() < 1.1, "{length} s");
        assert_eq!(nvr.seen().await.iter().filter(|(r, _)| *r == GapReason::ClockJump).count(), 0);
        let (npt, played) = nvr.plays().await;
        assert_eq!((played.len(), npt), (1_500, runs[0].end.unwrap() - runs[0].start));
        assert!(played.iter().all(|unit| !unit.discontinuity));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leap_second_that_is_told_twice_ends_no_run() {
    let mut nvr = Nvr::made(WallTime::from_micros(1_483_228_700 * SECOND)).await;
    nvr.films(99);
    nvr.is_set_by(-1);
    nvr.films(200);
    nvr.stops().await;
    nvr.accounts().await;
    assert_eq!(nvr.runs().await.len(), 1);
    assert_eq!(nvr.plays().await.1.len(), 2_990);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_set_back_by_a_minute_records_over_older_footage_in_a_new_epoch() {
    let nvr = set_while_recording(-60).await;
    second_run(&nvr, 1, -60).await;
    // 30 s of the first run, all of the second, which ends with the first.
    let (npt, played) = nvr.plays().await;
    assert_eq!(rounded(npt), 90);
    let seams: Vec<_> = played.windows(2).filter(|p| p[1].discontinuity).collect();
    assert_eq!(seams.len(), 1, "one goes over into the other");
    assert!((295..=305).contains(&shows(&seams[0][0])));
    assert_eq!(shows(&seams[0][1]), 900);
    assert_eq!(shows(played.last().unwrap()), 1_499);
    // What is hidden is still there.
    let hidden = nvr.segments().await.into_iter().filter(|s| s.opened.epoch == 0);
    assert_eq!(hidden.map(|s| rounded(s.end - s.opened.start)).sum::<i64>(), 90);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_set_back_by_an_hour_plays_in_the_order_of_the_clock() {
    let mut nvr = Nvr::new().await;
    nvr.passes(7_200);
    nvr.films(90);
    nvr.is_set_by(-3_600);
    nvr.films(60);
    nvr.stops().await;
    nvr.accounts().await;
    let (npt, played) = nvr.plays().await;
    assert_eq!((rounded(npt), played.len()), (150, 1_500));
    assert_eq!((shows(&played[0]), shows(played.last().unwrap())), (900, 899));
    assert_eq!(played.iter().filter(|unit| unit.discontinuity).count(), 1);
    assert_eq!(nvr.runs().await[1].epoch, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_set_back_by_two_years_and_put_right_again_loses_nothing() {
    let mut nvr = set_while_recording(-2 * YEAR).await;
    second_run(&nvr, 1, -2 * YEAR).await;
    let (npt, played) = nvr.plays().await;
    assert_eq!((rounded(npt), played.len()), (150, 1_500), "also while the clock is behind");
    nvr.starts().await;
    nvr.films(20);
    nvr.is_set_by(2 * YEAR);
    nvr.films(40);
    nvr.stops().await;
    nvr.accounts().await;
    let runs = nvr.runs().await;
    assert_eq!(runs.iter().map(|run| run.epoch).collect::<Vec<_>>(), [0, 1, 1, 1]);
    let (npt, played) = nvr.plays().await;
    assert_eq!((rounded(npt), played.len()), (210, 2_100));
    // Half an hour before the first run, and the 80 s for which the clock was wrong.
    assert_eq!(nvr.seen().await.iter().map(|(_, seconds)| seconds).sum::<i64>(), 1_880);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_set_forward_leaves_a_gap_that_says_so() {
    for by in [60, 3_600, 2 * YEAR] {
        let nvr = set_while_recording(by).await;
        second_run(&nvr, 0, by).await;
        let seen: BTreeMap<_, _> = nvr.seen().await.into_iter().collect();
        assert_eq!(seen.get(&GapReason::ClockJump), Some(&by));
        let (npt, played) = nvr.plays().await;
        assert_eq!((rounded(npt), played.len()), (150, 1_500));
        let seams: Vec<_> = played.iter().filter(|unit| unit.discontinuity).collect();
        assert_eq!((seams.len(), shows(seams[0])), (1, 900));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_a_battery_boots_in_1970_and_gets_the_time_later() {
    let mut nvr = Nvr::new().await;
    nvr.films(60);
    nvr.stops().await;
    // Ten minutes without power.
    nvr.passes(600);
    let right = nvr.off;
    nvr.off = 30 * SECOND - nvr.passed;
    nvr.starts().await;
    nvr.films(45);
    nvr.off = right;
    nvr.films(60);
    nvr.stops().await;
    nvr.accounts().await;
    let runs = nvr.runs().await;
    assert_eq!(runs.iter().map(|run| run.epoch).collect::<Vec<_>>(), [0, 1, 1]);
    assert_eq!(rounded(runs[1].start - WallTime::from_micros(0)), 30);
    let whys: Vec<_> = nvr.identities().await.into_iter().map(|(s, i)| (s.opened.run, i)).collect();
    let why = |run: &RunRow| whys.iter().find(|(id, _)| *id == run.id).unwrap().1.previous_end;
    assert_eq!(why(&runs[1]), GapReason::VedetteDown.code());
    assert_eq!(why(&runs[2]), GapReason::ClockJump.code());
    // 11 minutes and a half: by the clock of then nobody can tell the one from the other.
    let seen: i64 = nvr.seen().await.iter().map(|(_, seconds)| seconds).sum();
    assert_eq!(seen, 645);
    let (npt, played) = nvr.plays().await;
    assert_eq!((rounded(npt), played.len()), (165, 1_650));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_sleeps_was_down() {
    let mut nvr = Nvr::new().await;
    nvr.films(30);
    nvr.clock.sleep(secs(5_000));
    nvr.off += 5_000 * SECOND;
    nvr.films(30);
    nvr.stops().await;
    nvr.accounts().await;
    let seen: BTreeMap<_, _> = nvr.seen().await.into_iter().collect();
    assert_eq!(seen.get(&GapReason::VedetteDown), Some(&5_000));
    assert_eq!(nvr.runs().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_was_away_when_the_clock_was_set_goes_on_as_if_it_had_been_there() {
    for by in [-3_000, 3_000] {
        let mut nvr = Nvr::new().await;
        nvr.passes(7_200);
        nvr.films(30);
        nvr.disconnects(GapReason::Disconnected);
        nvr.passes(20);
        nvr.is_set_by(by);
        nvr.passes(20);
        nvr.films(30);
        nvr.stops().await;
        nvr.accounts().await;
        let runs = nvr.runs().await;
        assert_eq!((runs.len(), runs[1].epoch), (2, u32::from(by < 0)));
        assert_eq!(nvr.plays().await.1.len(), 600);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_reboots_with_the_clocks_it_had_goes_on_in_the_same_epoch() {
    let mut nvr = Nvr::new().await;
    nvr.films(30);
    nvr.disconnects(GapReason::Disconnected);
    nvr.passes(70);
    nvr.ticks = 5_000_000_000;
    nvr.films(30);
    // And in mid-session, without a word: the same SSRC, another time.
    nvr.ticks -= 20 * 90_000;
    nvr.films(30);
    nvr.ticks += 400 * 90_000;
    nvr.films(30);
    nvr.stops().await;
    nvr.accounts().await;
    let runs = nvr.runs().await;
    assert_eq!((runs.len(), runs.iter().filter(|run| run.epoch == 0).count()), (4, 4));
    let whys: Vec<_> = nvr.identities().await.into_iter().map(|(_, i)| i.previous_end).collect();
    let jumps = whys.iter().filter(|why| **why == GapReason::ClockJump.code()).count();
    assert!(jumps >= 2 && whys.contains(&GapReason::Disconnected.code()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seconds_of_32_bits_end_in_2038_and_recording_does_not() {
    let mut nvr = Nvr::made(WallTime::from_micros(((1 << 31) - 30) * SECOND)).await;
    nvr.films(60);
    nvr.stops().await;
    nvr.accounts().await;
    let segments = nvr.segments().await;
    assert!(segments[0].opened.path.starts_with("door/main/2038-01-19/03/13-38"));
    assert!(segments.last().unwrap().opened.path.starts_with("door/main/2038-01-19/03/14-18"));
    let (npt, played) = nvr.plays().await;
    assert_eq!((rounded(npt), played.len(), nvr.runs().await.len()), (60, 600, 1));
}

/// 2026-10-25T00:59:30Z: half a minute before clocks in Europe go back by an hour.
#[tokio::test(flavor = "multi_thread")]
async fn footage_across_the_end_of_summer_time_is_told_in_utc() {
    let mut nvr = Nvr::made(WallTime::from_micros(1_792_889_970 * SECOND)).await;
    nvr.films(60);
    nvr.stops().await;
    nvr.accounts().await;
    let segments = nvr.segments().await;
    assert!(segments[0].opened.path.starts_with("door/main/2026-10-25/00/59-30"), "{segments:?}");
    let last = segments.last().unwrap();
    assert!(last.opened.path.starts_with("door/main/2026-10-25/01/00-"), "{segments:?}");
    assert_eq!(nvr.runs().await.len(), 1);
}

#[test]
fn the_zone_of_the_process_changes_nothing() {
    let me = std::env::current_exe().unwrap();
    let inner = "ingest::clock_tests::footage_across_the_end_of_summer_time_is_told_in_utc";
    for zone in ["Europe/Berlin", "America/St_Johns", "Pacific/Apia"] {
        let mut child = std::process::Command::new(&me);
        let output = child.args([inner, "--exact"]).env("TZ", zone).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{zone}: {text}");
    }
}

#[derive(Clone, Debug)]
enum Happening {
    Films(i64),
    IsSetBy(i64),
    Passes(i64),
    Disconnects,
    Restarts,
    CameraJumps(i64),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let by = prop_oneof![-5_i64..5, -200_i64..200, -9_000_i64..9_000, -2 * YEAR..2 * YEAR];
    let one = prop_oneof![
        4 => (1_i64..40).prop_map(Happening::Films),
        3 => by.prop_map(Happening::IsSetBy),
        1 => (1_i64..300).prop_map(Happening::Passes),
        1 => Just(Happening::Disconnects),
        1 => Just(Happening::Restarts),
        1 => (-400_i64..400).prop_map(Happening::CameraJumps),
    ];
    prop::collection::vec(one, 2..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Every moment since the camera was made is footage or a gap, whatever the clocks do.
    #[test]
    fn recorded_and_gaps_are_all_the_time_there_was(steps in happenings()) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut nvr = Nvr::new().await;
            nvr.passes(600);
            nvr.films(5);
            for step in steps {
                match step {
                    Happening::Films(seconds) => nvr.films(seconds),
                    Happening::IsSetBy(seconds) => nvr.is_set_by(seconds),
                    Happening::Passes(seconds) => {
                        nvr.disconnects(GapReason::Stalled);
                        nvr.passes(seconds);
                    }
                    Happening::Disconnects => nvr.disconnects(GapReason::Disconnected),
                    Happening::Restarts => {
                        nvr.stops().await;
                        nvr.accounts().await;
                        nvr.starts().await;
                    }
                    Happening::CameraJumps(seconds) => nvr.ticks += seconds * 90_000,
                }
            }
            nvr.films(3);
            nvr.stops().await;
            nvr.accounts().await;
            nvr.plays().await;
            drop(nvr.folder);
        });
    }
}
