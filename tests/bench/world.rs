//! Streams without cameras: units are published into the hub of this process as fast as they are taken, for what is measured is
//! what comes after it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use vedette::{
    clock::Clock,
    disk::{self, Fs, VolumeSettings, Volumes},
    hub::{ClockSource, Hub, Limits, Publisher, Run},
    id::{CameraId, Role, RunId, Slug, StreamId},
    model::{Camera, CameraStream, RecordMode, RetentionLimits, Transport},
    proto::{
        access_unit::{AccessUnit, Track, TrackIndex, Tracks},
        codec::{Parameters, aac, h264},
        reason::GapReason,
        time::{MediaTime, Timescale, WallSpan, WallTime},
    },
    record::{Recorder, RecorderCounters, Settings, Target},
    seal::Sealer,
    store::Store,
    task::Stop,
};

/// An index, a volume and a hub, with a camera for each of a number of streams.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) volumes: Arc<Volumes>,
    pub(crate) hub: Hub,
    pub(crate) cameras: Vec<Camera>,
}

impl World {
    pub(crate) async fn new(fs: Arc<dyn Fs>, streams: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let store =
            Store::open(&folder.path().join("vedette.db"), clock.clone(), Sealer::ephemeral())
                .await
                .unwrap();
        let cameras = insert_cameras(&store, &clock, streams).await;
        let volumes = Volumes::open_on(settings(folder.path().join("footage")), fs).unwrap();
        Self { folder, clock, store, volumes, hub: Hub::new(Limits::default()), cameras }
    }

    /// Of an index that is there, with its cameras.
    pub(crate) async fn over(folder: TempDir, clock: Clock, fs: Arc<dyn Fs>) -> Self {
        let (database, sealer) =
            (folder.path().join("vedette.db"), super::lookup::sealer(folder.path()));
        let store = Store::open(&database, clock.clone(), sealer).await.unwrap();
        let cameras = store.cameras().await.unwrap();
        let volumes = Volumes::open_on(settings(folder.path().join("footage")), fs).unwrap();
        Self { folder, clock, store, volumes, hub: Hub::new(Limits::default()), cameras }
    }

    /// A recorder for each stream, at work.
    pub(crate) fn record(&self) -> Recording {
        let stop = Stop::child_of(&CancellationToken::new());
        let mut tasks = JoinSet::new();
        let counters = self.cameras.iter().map(|camera| {
            let stream = camera.streams[0].id;
            let target = Target {
                camera: camera.id,
                slug: camera.slug.clone(),
                stream,
                role: Role::Main,
                volume: None,
            };
            let recorder = Recorder::new(
                target,
                Settings::default(),
                self.hub.channel(stream),
                Arc::clone(&self.volumes),
                self.store.clone(),
                self.clock.clone(),
            );
            let counters = recorder.counters();
            tasks.spawn(recorder.run(stop.clone()));
            counters
        });
        let counters = counters.collect();
        Recording { stop, tasks, counters }
    }

    /// A run of each stream.
    pub(crate) fn films(&self, shape: Shape) -> Vec<Film> {
        self.cameras.iter().map(|camera| Film::begin(self, camera.streams[0].id, shape)).collect()
    }

    /// Closes everything; what is left is its folder.
    pub(crate) async fn end(self) -> TempDir {
        self.volumes.shut_down().await;
        self.store.close().await;
        self.folder
    }
}

fn settings(path: PathBuf) -> disk::Settings {
    disk::Settings {
        volumes: vec![VolumeSettings { path, max_bytes: None, min_free_bytes: 0 }],
        ..disk::Settings::default()
    }
}

pub(crate) async fn insert_cameras(store: &Store, clock: &Clock, count: usize) -> Vec<Camera> {
    let mut cameras = Vec::with_capacity(count);
    for n in 1..=count {
        cameras.push(store.insert_camera(camera(clock, format!("camera-{n}"))).await.unwrap());
    }
    cameras
}

fn camera(clock: &Clock, name: String) -> Camera {
    let (slug, now): (Slug, _) = (name.parse().unwrap(), clock.now());
    let stream = CameraStream {
        id: StreamId::generate(clock),
        role: Role::Main,
        url: "rtsp://192.0.2.1/".to_owned(),
        transport: Transport::Tcp,
        audio: true,
        record: None,
        retention: None,
        volume: None,
        created: now,
    };
    Camera {
        id: CameraId::generate(clock),
        slug,
        name,
        enabled: true,
        username: None,
        password: None,
        tls: Default::default(),
        record: RecordMode::Always,
        when: Default::default(),
        retention: RetentionLimits::default(),
        volume: None,
        streams: vec![stream],
        created: now,
        updated: now,
        sealed_broken: false,
        source: vedette::model::Source::Pull,
    }
}

pub(crate) struct Recording {
    stop: Stop,
    tasks: JoinSet<()>,
    pub(crate) counters: Vec<Arc<RecorderCounters>>,
}

impl Recording {
    /// Until everything is written, synced and in the index.
    pub(crate) async fn stop(mut self) {
        self.stop.stop(GapReason::VedetteDown);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

/// How much a camera sends.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) fps: i64,
    /// Of video.
    pub(crate) bytes_per_second: usize,
    pub(crate) sound: bool,
    /// Whether pictures must look like H.264 from outside, which takes a copy; else they are bytes.
    pub(crate) playable: bool,
}

/// One run of a stream with a key frame each second. The key frame weighs as much as six others, as cameras' do.
pub(crate) struct Film {
    publisher: Publisher,
    shape: Shape,
    began: WallTime,
    numbers: [u64; 2],
    /// What pictures are made of.
    matter: Bytes,
    taken: usize,
}

/// Bytes that a film's pictures are cut from: more than a processor's cache holds for all of them.
pub(crate) const MATTER: usize = 4 << 20;
/// In multiples of any other picture.
const KEY_WEIGHT: usize = 6;
const SOUND_RATE: u32 = 48_000;
const SOUND_TICKS: i64 = 1_024;
const SOUND_BYTES: usize = 340;

impl Film {
    fn begin(world: &World, stream: StreamId, shape: Shape) -> Self {
        let began = world.clock.now();
        let run = Run {
            id: RunId::generate(&world.clock),
            stream,
            epoch: 0,
            started: began,
            clock_source: ClockSource::SenderReport,
            previous_end: GapReason::Starting,
            tracks: tracks(shape.sound),
        };
        let publisher = world.hub.channel(stream).publish(run).unwrap();
        // Large enough that it does not come out of the processor's cache each time.
        let matter: Bytes =
            (0..MATTER as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        Self { publisher, shape, began, numbers: [0; 2], matter, taken: 0 }
    }

    /// Publishes one second.
    pub(crate) fn second(&mut self) {
        let share = self.shape.bytes_per_second / (self.shape.fps as usize - 1 + KEY_WEIGHT);
        for place in 0..self.shape.fps {
            let key = place == 0;
            let size = if key { share * KEY_WEIGHT } else { share };
            let ticks = 90_000 / self.shape.fps;
            self.push(0, ticks, key, size);
            if self.shape.sound {
                let until =
                    MediaTime::from_ticks(self.numbers[0] as i64 * ticks).to_span(Timescale::VIDEO);
                while self.at(1, SOUND_TICKS) < until {
                    self.push(1, SOUND_TICKS, true, SOUND_BYTES);
                }
            }
        }
    }

    pub(crate) fn end(self) {
        self.publisher.end(GapReason::Disconnected);
    }

    fn at(&self, track: u8, ticks: i64) -> WallSpan {
        let rate = if track == 0 { Timescale::VIDEO } else { Timescale::new(SOUND_RATE).unwrap() };
        MediaTime::from_ticks(self.numbers[usize::from(track)] as i64 * ticks).to_span(rate)
    }

    fn push(&mut self, track: u8, ticks: i64, key: bool, size: usize) {
        let number = self.numbers[usize::from(track)];
        if self.taken + size > self.matter.len() {
            self.taken = 0;
        }
        let body = self.matter.slice(self.taken..self.taken + size);
        self.taken += size;
        let body = if self.shape.playable && track == 0 { slice(&body, key) } else { body };
        let unit = AccessUnit {
            track: TrackIndex(track),
            number,
            dts: MediaTime::from_ticks(number as i64 * ticks),
            cts: 0,
            wall: self.began + self.at(track, ticks),
            random_access: key,
            head: Bytes::new(),
            body,
        };
        self.numbers[usize::from(track)] += 1;
        self.publisher.push(unit);
    }
}

/// `matter` as one slice behind its length.
fn slice(matter: &[u8], key: bool) -> Bytes {
    let mut body = Vec::with_capacity(matter.len());
    let length = u32::try_from(matter.len() - 4).unwrap();
    body.extend_from_slice(&length.to_be_bytes());
    body.push(if key { 0x65 } else { 0x41 });
    body.extend_from_slice(&matter[5..]);
    body.into()
}

fn tracks(sound: bool) -> Tracks {
    let sps = hex("67640028acd940780227e5c04400000fa40003a9803c60c658");
    let video = Parameters::H264(h264::Parameters::new(sps, vec![hex("68ebe3cb22c0")]).unwrap());
    let mut tracks = vec![Track { timescale: Timescale::VIDEO, parameters: video }];
    if sound {
        let parameters = Parameters::Aac(aac::Parameters::lc(SOUND_RATE, 2).unwrap());
        tracks.push(Track { timescale: Timescale::new(SOUND_RATE).unwrap(), parameters });
    }
    tracks.into()
}

fn hex(text: &str) -> Bytes {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

/// Waits until the hub holds less than `bytes` that are not on disk yet.
pub(crate) async fn room(hub: &Hub, bytes: usize) {
    while hub.bytes() > bytes {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
