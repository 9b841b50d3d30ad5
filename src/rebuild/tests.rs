//! Real recordings, real files, a real database that is lost, damaged or made to lie.

mod behind;
mod compared;
mod made_again;
mod mirrored;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    disk::{self, RealFs, VolumeSettings, Volumes},
    hub::{ClockSource, Hub, Limits, Publisher, Run},
    id::{CameraId, Role, RunId, SegmentId, StreamId},
    model::{
        Camera, CameraStream, Gap, KeyFrame, RecordMode, RetentionLimits, RunRow, Secret, Segment,
        TrackTotals, Transport,
    },
    proto::{
        access_unit::{AccessUnit, Track, TrackIndex, Tracks},
        codec::{Parameters, aac, h264},
        fmp4,
        reason::GapReason,
        time::{MediaTime, Timescale, WallSpan, WallTime},
    },
    record::{Recorder, Settings, Target},
    seal::Sealer,
    store::Store,
    task::Stop,
};

const EPOCH: WallTime = WallTime::from_micros(1_795_341_600_000_000);

fn hex(text: &str) -> Bytes {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

/// H.264 and AAC.
fn tracks() -> Tracks {
    let sps = hex("67640028acd940780227e5c04400000fa40003a9803c60c658");
    let video = h264::Parameters::new(sps, vec![hex("68ebe3cb22c0")]).unwrap();
    let audio = aac::Parameters::lc(48_000, 2).unwrap();
    Tracks::from([
        Track { timescale: Timescale::VIDEO, parameters: Parameters::H264(video) },
        Track { timescale: Timescale::new(48_000).unwrap(), parameters: Parameters::Aac(audio) },
    ])
}

/// A camera's folders, index and key.
struct House {
    folder: TempDir,
    clock: Clock,
    sealer: Sealer,
    store: Store,
    camera: Camera,
}

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, sealer) = (Clock::manual(EPOCH), Sealer::ephemeral());
        let store = open(folder.path(), "first.db", &clock, &sealer).await;
        let camera = store.insert_camera(camera(&clock)).await.unwrap();
        std::fs::create_dir(folder.path().join("v")).unwrap();
        Self { folder, clock, sealer, store, camera }
    }

    fn stream(&self) -> StreamId {
        self.camera.streams[0].id
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("v")
    }

    fn volume(&self) -> String {
        self.root().to_string_lossy().into_owned()
    }

    fn site(&self) -> Arc<Site> {
        let place = Place { volume: self.volume(), root: self.root() };
        let (fs, clock) = (Arc::new(RealFs), self.clock.clone());
        Arc::new(Site { places: vec![place], away: Vec::new(), fs, clock })
    }

    /// An empty index with nothing but what `state.json` says.
    async fn another(&self, name: &str) -> Store {
        let store = open(self.folder.path(), name, &self.clock, &self.sealer).await;
        restore(&store, &self.site(), |_| true).await.unwrap();
        store
    }

    async fn mirror(&self) {
        state::write(&RealFs, &self.root(), &self.store.state().await.unwrap()).unwrap();
    }

    /// Records films: each a run of so many groups of pictures that begins so late.
    async fn record(&self, films: &[(i64, i64, GapReason)]) {
        let volumes = volumes(&self.root());
        self.record_on(&volumes, &self.store, films, GapReason::VedetteDown).await;
        volumes.shut_down().await;
    }

    async fn record_on(
        &self,
        volumes: &Arc<Volumes>,
        store: &Store,
        films: &[(i64, i64, GapReason)],
        last: GapReason,
    ) {
        let hub = Hub::new(Limits::default());
        let target = Target {
            camera: self.camera.id,
            slug: self.camera.slug.clone(),
            stream: self.stream(),
            role: Role::Main,
            volume: None,
        };
        let recorder = Recorder::new(
            target,
            Settings { segment: Duration::from_secs(4) },
            hub.channel(self.stream()),
            Arc::clone(volumes),
            store.clone(),
            self.clock.clone(),
        );
        let stop = Stop::child_of(&CancellationToken::new());
        let recording = recorder.run(stop.clone());
        let run = |at: i64, done: fn(&RunRow) -> bool| async move {
            let id = RunId(1_000 + at);
            let there = |r: &RunRow| r.id == id && done(r);
            while !store.runs(self.stream()).await.unwrap().iter().any(there) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // The last one goes on until its recorder is stopped.
        let mut playing_last = None;
        let playing = async {
            for (n, (at, groups, previous_end)) in (1..).zip(films) {
                let mut film = Film::begin(&hub, self, *at, *previous_end);
                film.play(2);
                run(*at, |_| true).await;
                film.play(*groups - 2);
                if n == films.len() {
                    stop.stop(last);
                    playing_last = Some(film);
                    break;
                }
                film.publisher.end(GapReason::Disconnected);
                run(*at, |r| r.end.is_some()).await;
            }
        };
        tokio::join!(recording, playing);
        drop(playing_last);
    }
}

fn volumes(root: &Path) -> Arc<Volumes> {
    let volume = VolumeSettings { path: root.to_owned(), max_bytes: None, min_free_bytes: 0 };
    let settings = disk::Settings {
        volumes: vec![volume],
        sync_interval: Duration::from_millis(50),
        ..disk::Settings::default()
    };
    Volumes::open(settings).unwrap()
}

async fn open(folder: &Path, name: &str, clock: &Clock, sealer: &Sealer) -> Store {
    Store::open(&folder.join(name), clock.clone(), sealer.clone()).await.unwrap()
}

fn camera(clock: &Clock) -> Camera {
    let stream = CameraStream {
        id: StreamId::generate(clock),
        role: Role::Main,
        url: "rtsp://192.0.2.1/".to_owned(),
        transport: Transport::Tcp,
        audio: true,
        record: None,
        retention: None,
        volume: None,
        created: EPOCH,
    };
    Camera {
        id: CameraId::generate(clock),
        slug: "door".parse().unwrap(),
        name: "Door".to_owned(),
        enabled: true,
        username: Some("viewer".to_owned()),
        password: Some(Secret::new("secret".to_owned())),
        tls: Default::default(),
        record: RecordMode::Always,
        when: Default::default(),
        retention: RetentionLimits::default(),
        volume: None,
        streams: vec![stream],
        created: EPOCH,
        updated: EPOCH,
        sealed_broken: false,
        source: crate::model::Source::Pull,
    }
}

/// 25 pictures a second with a key frame each 0.4 s, and AAC at 48 kHz.
struct Film {
    publisher: Publisher,
    zero: WallTime,
    numbers: [u64; 2],
    sound: i64,
}

const GROUP: u64 = 10;

impl Film {
    fn begin(hub: &Hub, house: &House, second: i64, previous_end: GapReason) -> Self {
        let zero = EPOCH + WallSpan::from_secs(second);
        let run = Run {
            id: RunId(1_000 + second),
            stream: house.stream(),
            epoch: 0,
            started: zero,
            clock_source: ClockSource::SenderReport,
            previous_end,
            tracks: tracks(),
        };
        let publisher = hub.channel(house.stream()).publish(run).unwrap();
        Self { publisher, zero, numbers: [0; 2], sound: 0 }
    }

    fn play(&mut self, groups: i64) {
        for _ in 0..groups * GROUP as i64 {
            let number = self.numbers[0];
            let text = format!("picture {number} ").repeat(20);
            self.push(0, number as i64 * 3_600, number.is_multiple_of(GROUP), text);
            while self.sound * 1_024 * 90_000 / 48_000 < self.numbers[0] as i64 * 3_600 {
                let text = format!("sound {}", self.sound);
                self.push(1, self.sound * 1_024, true, text);
                self.sound += 1;
            }
        }
    }

    fn push(&mut self, track: u8, dts: i64, key: bool, text: String) {
        let rate = [Timescale::VIDEO, Timescale::new(48_000).unwrap()][usize::from(track)];
        let dts = MediaTime::from_ticks(dts);
        let number = self.numbers[usize::from(track)];
        self.numbers[usize::from(track)] += 1;
        self.publisher.push(AccessUnit {
            track: TrackIndex(track),
            number,
            dts,
            cts: 0,
            wall: self.zero + dts.to_span(rate),
            random_access: key,
            head: Bytes::new(),
            body: Bytes::from(text),
        });
    }
}

/// A stream's part of the index.
#[derive(Debug, PartialEq)]
struct Rows {
    segments: Vec<Segment>,
    keys: BTreeMap<SegmentId, Vec<KeyFrame>>,
    totals: BTreeMap<SegmentId, Vec<TrackTotals>>,
    runs: Vec<RunRow>,
    gaps: Vec<Gap>,
}

async fn rows(store: &Store, stream: StreamId) -> Rows {
    let segments = pass::rows(store, stream).await.unwrap();
    let (mut keys, mut totals) = (BTreeMap::new(), BTreeMap::new());
    for segment in &segments {
        let id = segment.opened.id;
        keys.insert(id, store.key_frames(id).await.unwrap());
        totals.insert(id, store.track_totals(id).await.unwrap());
    }
    let runs = store.runs(stream).await.unwrap();
    let gaps = store.gaps_overlapping(stream, pass::ALWAYS, u32::MAX).await.unwrap();
    Rows { segments, keys, totals, runs, gaps }
}

/// That every moment since the stream was created is in one run or one gap.
fn assert_tiled(rows: &Rows, created: WallTime) {
    let end = |end: Option<WallTime>| end.map_or(i64::MAX, WallTime::as_micros);
    let mut spans: Vec<(i64, i64)> = rows
        .runs
        .iter()
        .map(|r| (r.start.as_micros(), end(r.end)))
        .chain(rows.gaps.iter().map(|g| (g.start.as_micros(), end(g.end))))
        .collect();
    spans.sort_unstable();
    assert_eq!(spans[0].0, created.as_micros(), "{rows:#?}");
    assert_eq!(spans.last().unwrap().1, i64::MAX, "{rows:#?}");
    for pair in spans.windows(2) {
        assert_eq!(pair[0].1, pair[1].0, "{rows:#?}");
    }
}

/// A segment of ten seconds, for tests of other modules.
pub(crate) fn made_for_tests(of: (CameraId, StreamId), sequence: u32, start: WallTime) -> Made {
    Made {
        camera: of.0.0,
        stream: of.1.0,
        slug: "door",
        run: 1,
        sequence,
        start,
        seconds: 10,
        closed: true,
    }
}

/// One segment file made by hand, of so many fragments of a second.
pub(crate) struct Made {
    camera: i64,
    stream: i64,
    slug: &'static str,
    run: i64,
    sequence: u32,
    start: WallTime,
    seconds: u32,
    /// With its tail box.
    closed: bool,
}

impl Made {
    fn id(&self) -> i64 {
        (self.stream & 0xffff) * 100_000_000 + self.run * 10_000 + i64::from(self.sequence)
    }

    fn path(&self) -> String {
        let c = self.start.civil();
        format!(
            "{}/main/{:04}-{:02}-{:02}/{:02}/{:02}-{:02}.{:03}Z.0.mp4",
            self.slug,
            c.year,
            c.month,
            c.day,
            c.hour,
            c.minute,
            c.second,
            c.micros / 1_000
        )
    }

    fn bytes(&self) -> Vec<u8> {
        let tracks = Tracks::from([tracks()[0].clone()]);
        let first_dts = MediaTime::from_ticks(i64::from(self.sequence) * 60 * 90_000);
        let identity = fmp4::Identity {
            segment: self.id(),
            camera: self.camera,
            stream: self.stream,
            run: self.run,
            epoch: 0,
            sequence: self.sequence,
            slug: self.slug.to_owned(),
            role: "main".to_owned(),
            start: self.start,
            clock_source: 1,
            previous_end: GapReason::Disconnected.code(),
            tracks: vec![fmp4::TrackStart { first_number: 0, first_dts }],
        };
        let mut file = fmp4::write_header(&identity, &tracks).unwrap().to_vec();
        let (mut samples, mut fragments) = (Vec::new(), Vec::new());
        for second in 0..self.seconds {
            let dts = MediaTime::from_ticks(i64::from(second) * 90_000);
            let pictures: Vec<_> = (0..5)
                .map(|n| fmp4::Sample { size: 50, duration: 18_000, cts: 0, sync: n == 0 })
                .collect();
            let parts = [fmp4::FragmentTrack { track: TrackIndex(0), dts, samples: &pictures }];
            let wall = self.start + WallSpan::from_secs(i64::from(second));
            let payload = [b'p'; 250];
            let checksum = Some(fmp4::checksum([&payload[..]]));
            let mut head = BytesMut::new();
            let offset = file.len() as u64;
            let written =
                fmp4::write_fragment(&mut head, second + 1, wall, &parts, checksum).unwrap();
            samples.extend(fmp4::index(&parts, offset + written.len).map(|(_, s)| s));
            let anchor = fmp4::Anchor { track: TrackIndex(0), pts: dts, wall };
            fragments.push(fmp4::FragmentRef { offset, anchor });
            file.extend_from_slice(&head);
            file.extend_from_slice(&payload);
        }
        if self.closed {
            let mut tail = BytesMut::new();
            fmp4::write_tail(&mut tail, &[&samples], &fragments).unwrap();
            file.extend_from_slice(&tail);
        }
        file
    }

    pub(crate) fn put(&self, root: &Path) -> PathBuf {
        let path = root.join(self.path());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, self.bytes()).unwrap();
        path
    }
}

/// A run of `count` segments of `seconds`, of the house's camera.
fn made(house: &House, run: i64, start: i64, count: u32, seconds: u32) -> Vec<Made> {
    let one = |sequence: u32| Made {
        camera: house.camera.id.0,
        stream: house.stream().0,
        slug: "door",
        run,
        sequence,
        start: EPOCH + WallSpan::from_secs(start + i64::from(sequence * seconds)),
        seconds,
        closed: true,
    };
    (0..count).map(one).collect()
}

async fn rebuilt(store: &Store, house: &House) -> Reindexed {
    let progress = Progress::default();
    let stop = CancellationToken::new();
    rebuild(store, house.site(), None, &progress, "a test", stop).await.unwrap()
}

async fn checked(store: &Store, house: &House, options: check::Options) -> Checked {
    let progress = Progress::default();
    check(store, house.site(), options, &progress, CancellationToken::new()).await.unwrap()
}
