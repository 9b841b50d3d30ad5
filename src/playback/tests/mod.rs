//! Reading back what the real recorder wrote, from real files and a real index.

mod closed;
mod live;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    clock::Clock,
    disk::{Settings as DiskSettings, VolumeSettings, Volumes},
    hub::{ClockSource, Hub, Limits, Publisher, Run},
    id::{CameraId, Role, RunId, StreamId},
    model::{self, Camera as CameraRow, CameraStream, RecordMode, RetentionLimits, Transport},
    proto::{
        access_unit::{AccessUnit, Track, TrackIndex, Tracks},
        codec::{Parameters, aac, g711, h264},
        reason::GapReason,
        time::{MediaTime, Timescale},
    },
    record::{Recorder, Settings as RecordSettings, Target as RecordTarget},
    seal::Sealer,
    store::Store,
    task::Stop,
};

const VIDEO: TrackIndex = TrackIndex(0);
const AUDIO: TrackIndex = TrackIndex(1);
/// 10 pictures a second.
const PICTURE: i64 = 9_000;
/// 1,024 samples of sound at 16 kHz: 64 ms.
const SOUND: i64 = 1_024;

const PATIENCE: Duration = Duration::from_secs(20);

fn hex(text: &str) -> Bytes {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn h264(sps: &str, pps: &str) -> Track {
    let parameters = h264::Parameters::new(hex(sps), vec![hex(pps)]).unwrap();
    Track { timescale: Timescale::VIDEO, parameters: Parameters::H264(parameters) }
}

pub(crate) fn small() -> Track {
    h264("6742c00cd90141fb0110000003001000000301e0f142a480", "68cb83cb20")
}

fn large() -> Track {
    h264("67640028acd940780227e5c04400000fa40003a9803c60c658", "68ebe3cb22c0")
}

fn sound() -> Track {
    let parameters = aac::Parameters::lc(16_000, 1).unwrap();
    Track { timescale: Timescale::new(16_000).unwrap(), parameters: Parameters::Aac(parameters) }
}

pub(crate) fn telephone() -> Track {
    let parameters = g711::Parameters { law: g711::Law::A, sample_rate: 16_000, channels: 1 };
    Track { timescale: Timescale::new(16_000).unwrap(), parameters: Parameters::G711(parameters) }
}

/// A number spread over some bytes.
fn payload(kind: u8, number: u64, len: usize) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u32(u32::try_from(len + 1).unwrap());
    out.put_u8(kind);
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for _ in 0..len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.put_u8(state as u8);
    }
    out.freeze()
}

/// Index, volume, hub and archive in a folder of their own.
pub(crate) struct Bench {
    _dir: tempfile::TempDir,
    root: PathBuf,
    store: Store,
    volumes: Arc<Volumes>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) clock: Clock,
    pub(crate) archive: Archive,
    camera: CameraId,
    pub(crate) stream: StreamId,
    recorders: JoinSet<()>,
    stop: Stop,
    /// By hub run, track and number.
    sent: BTreeMap<(RunId, TrackIndex, u64), AccessUnit>,
}

/// 2026-11-22T10:00:00Z.
const TEN: WallTime = WallTime::from_micros(1_795_341_600_000_000);

pub(crate) fn after(seconds: f64) -> WallTime {
    TEN + WallSpan::from_micros((seconds * 1e6).round() as i64)
}

fn seconds(s: f64) -> WallSpan {
    WallSpan::from_micros((s * 1e6).round() as i64)
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::syncing_each(Duration::from_millis(20)).await
    }

    /// Rows are completed after a sync.
    async fn syncing_each(sync_interval: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(TEN);
        let store =
            Store::open(&dir.path().join("index.db"), clock.clone(), Sealer::ephemeral()).await;
        let store = store.unwrap();
        let root = dir.path().join("footage");
        std::fs::create_dir(&root).unwrap();
        let volume = VolumeSettings { path: root.clone(), max_bytes: None, min_free_bytes: 0 };
        let settings =
            DiskSettings { volumes: vec![volume], sync_interval, ..DiskSettings::default() };
        let volumes = Volumes::open(settings).unwrap();
        let hub = Arc::new(Hub::new(Limits::default()));
        let stream = CameraStream {
            id: StreamId::generate(&clock),
            role: Role::Main,
            url: "rtsp://door.example/".to_owned(),
            transport: Transport::Tcp,
            audio: true,
            record: None,
            retention: None,
            volume: None,
            created: clock.now(),
        };
        let camera = CameraRow {
            id: CameraId::generate(&clock),
            slug: "door".parse().unwrap(),
            name: "Door".to_owned(),
            enabled: true,
            username: None,
            password: None,
            tls: Default::default(),
            record: RecordMode::Always,
            when: Default::default(),
            retention: RetentionLimits::default(),
            volume: None,
            streams: vec![stream],
            created: clock.now(),
            updated: clock.now(),
            sealed_broken: false,
            source: crate::model::Source::Pull,
        };
        let camera = store.insert_camera(camera).await.unwrap();
        let stream = camera.streams[0].id;
        let archive =
            Archive::new(store.clone(), Arc::clone(&volumes), Arc::clone(&hub), clock.clone());
        Self {
            _dir: dir,
            root,
            store,
            volumes,
            hub,
            clock,
            archive,
            camera: camera.id,
            stream,
            recorders: JoinSet::new(),
            stop: Stop::child_of(&CancellationToken::new()),
            sent: BTreeMap::new(),
        }
    }

    /// Records into segments of `length`; returns when the recorder listens.
    pub(crate) async fn record(&mut self, length: f64) {
        self.stop = Stop::child_of(&CancellationToken::new());
        let target = RecordTarget {
            camera: self.camera,
            slug: "door".parse().unwrap(),
            stream: self.stream,
            role: Role::Main,
            volume: None,
        };
        let recorder = Recorder::new(
            target,
            RecordSettings { segment: Duration::from_secs_f64(length) },
            self.hub.channel(self.stream),
            Arc::clone(&self.volumes),
            self.store.clone(),
            self.clock.clone(),
        );
        self.recorders.spawn(recorder.run(self.stop.clone()));
        // The first thing it does after it has subscribed.
        while self.store.open_gap_of(self.stream).await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    }

    /// Stops recording: everything is closed after.
    pub(crate) async fn stop(&mut self) {
        self.stop.stop(GapReason::VedetteDown);
        while let Some(ended) = self.recorders.join_next().await {
            ended.unwrap();
        }
    }

    pub(crate) fn camera(&self, at: f64) -> Camera {
        self.camera_with(at, 0, Arc::from([small(), sound()]))
    }

    pub(crate) fn camera_with(&self, at: f64, epoch: u32, tracks: Tracks) -> Camera {
        self.clock.set(after(at));
        let run = Run {
            id: RunId::generate(&self.clock),
            stream: self.stream,
            epoch,
            started: after(at),
            clock_source: ClockSource::Arrival,
            previous_end: GapReason::Starting,
            tracks,
        };
        let publisher = self.hub.channel(self.stream).publish(run).unwrap();
        let sent = BTreeMap::new();
        Camera {
            publisher,
            base: after(at),
            pictures: 0,
            sounds: 0,
            gop: 10,
            reorder: false,
            hole: 0,
            sent,
        }
    }

    /// Films, and waits until its first second is on disk.
    pub(crate) async fn film(&self, camera: &mut Camera, until: f64) {
        camera.film(until.min(1.5));
        self.on_disk((camera.base - TEN).as_secs_f64() + 0.9).await;
        camera.film(until);
    }

    /// Waits until footage up to there can be read from disk.
    pub(crate) async fn on_disk(&self, at: f64) {
        let wanted = after(at);
        let wait = async {
            loop {
                let open = self.volumes.open_segments().of(self.stream);
                if open.iter().any(|o| o.progress().end >= wanted) {
                    break;
                }
                match open.last() {
                    Some(last) => {
                        let mut watch = last.watch();
                        if watch.borrow_and_update().end < wanted {
                            let _ =
                                tokio::time::timeout(Duration::from_millis(20), watch.changed())
                                    .await;
                        }
                    }
                    None => tokio::task::yield_now().await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("recorded in time");
    }

    async fn clip(&self, start: Option<f64>, end: Option<f64>) -> Arc<Clip> {
        let asked = Asked { start: start.map(after), end: end.map(after) };
        self.archive.clip(self.stream, asked).await.unwrap().expect("footage")
    }

    pub(crate) async fn segments(&self) -> Vec<model::Segment> {
        let all = WallTime::from_micros(0)..WallTime::from_micros(i64::MAX);
        self.store.segments_overlapping(self.stream, all, None, 1_000).await.unwrap()
    }

    fn file(&self, segment: &model::Segment) -> PathBuf {
        self.root.join(&segment.opened.path)
    }

    fn took(&mut self, camera: &mut Camera) {
        self.sent.append(&mut camera.sent);
    }

    /// Each unit is what was sent under its number: bytes, times and key flag.
    fn assert_as_sent(&self, played: &[Played]) {
        for Played { run, unit, .. } in played {
            let sent = self.sent.get(&(run.id, unit.track, unit.number)).expect("was sent");
            assert_eq!(
                (unit.dts, unit.cts),
                (sent.dts, sent.cts),
                "{:?} {}",
                unit.track,
                unit.number
            );
            assert_eq!(unit.random_access, sent.random_access);
            let off = (unit.wall - sent.wall).as_micros().abs();
            assert!(off <= 100, "wall time is off by {off} µs at {:?} {}", unit.track, unit.number);
            assert_eq!(bytes(unit), bytes(sent), "bytes of {:?} {}", unit.track, unit.number);
        }
    }
}

fn bytes(unit: &AccessUnit) -> Vec<u8> {
    [&unit.head[..], &unit.body[..]].concat()
}

/// Publishes pictures and sound made from their numbers.
pub(crate) struct Camera {
    pub(crate) publisher: Publisher,
    base: WallTime,
    pictures: u64,
    sounds: u64,
    /// Pictures from key frame to key frame.
    gop: u64,
    /// Every second picture is shown before the one it follows in decoding order.
    reorder: bool,
    /// Seconds in which it sent nothing, within its run.
    hole: i64,
    pub(crate) sent: BTreeMap<(RunId, TrackIndex, u64), AccessUnit>,
}

impl Camera {
    fn run(&self) -> RunId {
        self.publisher.run().id
    }

    /// Publishes everything up to so many seconds after the run's start, at once.
    pub(crate) fn film(&mut self, until: f64) {
        let until = seconds(until);
        loop {
            let picture = self.pictures as i64 * PICTURE + self.hole * 90_000;
            let picture = MediaTime::from_ticks(picture);
            let tone = MediaTime::from_ticks(self.sounds as i64 * SOUND + self.hole * 16_000);
            let has_sound = self.publisher.run().tracks.len() > 1;
            let timescale = Timescale::new(16_000).unwrap();
            let (p, s) = (picture.to_span(Timescale::VIDEO), tone.to_span(timescale));
            if p.min(if has_sound { s } else { p }) >= until {
                break;
            }
            if p <= s || !has_sound {
                self.picture();
            } else {
                let body = payload(0x21, self.sounds | 1 << 40, 160);
                let number = self.sounds;
                self.sounds += 1;
                self.push(AUDIO, number, tone, 0, timescale, true, Bytes::new(), body);
            }
        }
    }

    fn picture(&mut self) {
        let number = self.pictures;
        self.pictures += 1;
        let key = number.is_multiple_of(self.gop);
        // With reordering I P b P b …: P is shown two pictures after its decoding, b one before.
        let (dts, cts) = match (self.reorder, key, number % self.gop % 2) {
            (false, ..) => (number as i64 * PICTURE, 0),
            (true, true, _) => ((number as i64 - 1) * PICTURE, PICTURE),
            (true, false, 1) if !(number + 1).is_multiple_of(self.gop) => {
                ((number as i64 - 1) * PICTURE, 2 * PICTURE)
            }
            (true, false, 1) => ((number as i64 - 1) * PICTURE, PICTURE),
            (true, false, _) => ((number as i64 - 1) * PICTURE, 0),
        };
        let kind = if key { 0x65 } else { 0x41 };
        let body = payload(kind, number, 900 + (number % 7) as usize * 100);
        let tracks = Arc::clone(&self.publisher.run().tracks);
        let head = if key { tracks[0].parameters.in_band() } else { Bytes::new() };
        let dts = MediaTime::from_ticks(dts + self.hole * 90_000);
        self.push(VIDEO, number, dts, cts as i32, Timescale::VIDEO, key, head, body);
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of a unit")]
    fn push(
        &mut self,
        track: TrackIndex,
        number: u64,
        dts: MediaTime,
        cts: i32,
        timescale: Timescale,
        random_access: bool,
        head: Bytes,
        body: Bytes,
    ) {
        let pts = dts + MediaTime::from_ticks(i64::from(cts));
        let wall = self.base + pts.to_span(timescale);
        let unit = AccessUnit { track, number, dts, cts, wall, random_access, head, body };
        self.sent.insert((self.run(), track, number), unit.clone());
        self.publisher.push(unit);
    }
}

/// Everything to the end of the clip.
async fn rest_of(reader: &mut Reader) -> Vec<Played> {
    let mut played = Vec::new();
    let all = async {
        while let Some(one) = reader.next().await.unwrap() {
            played.push(one);
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("ends in time");
    played
}

/// Up to and with a unit.
async fn up_to(reader: &mut Reader, track: TrackIndex, number: u64) -> Vec<Played> {
    let mut played = Vec::new();
    let all = async {
        loop {
            let one = reader.next().await.unwrap().expect("goes on");
            let last = one.unit.track == track && one.unit.number >= number;
            played.push(one);
            if last {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("comes in time");
    played
}

/// Numbers of a track, in the order they came.
fn numbers(played: &[Played], track: TrackIndex) -> Vec<u64> {
    played.iter().filter(|p| p.unit.track == track).map(|p| p.unit.number).collect()
}

fn assert_whole(played: &[Played], track: TrackIndex, range: std::ops::Range<u64>) {
    assert_eq!(numbers(played, track), range.collect::<Vec<_>>(), "{track:?}");
}
