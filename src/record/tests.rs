//! A recorder between a hub, real files and a real database.

mod recorded;
mod recovered;
mod troubled;

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    clock::Clock,
    disk::{self, Fs, OpenSegment, RealFs, VolumeSettings, Volumes},
    hub::{Channel, ClockSource, Hub, Limits, Publisher, Run},
    id::RunId,
    model::{
        Camera, CameraStream, Gap, RecordMode, RetentionLimits, RunRow, Segment, Transport,
        WallRange,
    },
    proto::{
        access_unit::{AccessUnit, Track, TrackIndex, Tracks},
        codec::{Parameters, aac, h264},
        fmp4,
        time::{MediaTime, Timescale, WallSpan},
    },
    seal::Sealer,
    store::Store,
    task::Stop,
};

const EPOCH: WallTime = WallTime::from_micros(1_795_341_600_000_000);
/// Real time, for the disk's threads are real.
const PACE: disk::Pace = disk::Pace {
    look: Duration::from_millis(20),
    first: Duration::from_millis(20),
    longest: Duration::from_millis(200),
};
const ALWAYS: WallRange = WallTime::from_micros(0)..WallTime::from_micros(i64::MAX);

fn hex(text: &str) -> Bytes {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

/// H.264 and AAC. `second` is another picture parameter set or another size.
fn tracks(sps: &str) -> Tracks {
    let pps = vec![hex("68ebe3cb22c0")];
    let video = Parameters::H264(h264::Parameters::new(hex(sps), pps).unwrap());
    let audio = Parameters::Aac(aac::Parameters::lc(48_000, 2).unwrap());
    Tracks::from([
        Track { timescale: Timescale::VIDEO, parameters: video },
        Track { timescale: Timescale::new(48_000).unwrap(), parameters: audio },
    ])
}

const LARGE: &str = "67640028acd940780227e5c04400000fa40003a9803c60c658";
const SMALL: &str = "6742c00cd90141fb0110000003001000000301e0f142a480";

/// Everything a recorder needs, for one camera.
struct Site {
    folder: TempDir,
    clock: Clock,
    store: Store,
    volumes: Arc<Volumes>,
    hub: Hub,
    camera: Camera,
}

impl Site {
    async fn new() -> Self {
        Self::on(Arc::new(RealFs), 64 << 20).await
    }

    async fn on(fs: Arc<dyn Fs>, queue_bytes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(EPOCH);
        let database = folder.path().join("vedette.db");
        let sealer = Sealer::open_or_create(&folder.path().join("key")).unwrap();
        let store = Store::open(&database, clock.clone(), sealer).await.unwrap();
        let camera = store.insert_camera(camera(&clock)).await.unwrap();
        let volumes = open_volumes(&folder, fs, queue_bytes);
        let hub = Hub::new(Limits::default());
        Self { folder, clock, store, volumes, hub, camera }
    }

    fn stream(&self) -> StreamId {
        self.camera.streams[0].id
    }

    fn channel(&self) -> Arc<Channel> {
        self.hub.channel(self.stream())
    }

    fn recorder(&self) -> Recorder {
        let target = Target {
            camera: self.camera.id,
            slug: self.camera.slug.clone(),
            stream: self.stream(),
            role: Role::Main,
            volume: None,
        };
        let settings = Settings { segment: Duration::from_secs(4) };
        let (volumes, store) = (Arc::clone(&self.volumes), self.store.clone());
        Recorder::new(target, settings, self.channel(), volumes, store, self.clock.clone())
    }

    async fn segments(&self) -> Vec<Segment> {
        self.store.segments_overlapping(self.stream(), ALWAYS, None, 1_000).await.unwrap()
    }

    async fn runs(&self) -> Vec<RunRow> {
        self.store.runs(self.stream()).await.unwrap()
    }

    async fn gaps(&self) -> Vec<Gap> {
        self.store.gaps_overlapping(self.stream(), ALWAYS, 1_000).await.unwrap()
    }

    fn file(&self, segment: &Segment) -> PathBuf {
        self.volumes.absolute(&segment.opened.volume, &segment.opened.path).unwrap()
    }
}

fn open_volumes(folder: &TempDir, fs: Arc<dyn Fs>, queue_bytes: usize) -> Arc<Volumes> {
    let volume =
        VolumeSettings { path: folder.path().join("v"), max_bytes: None, min_free_bytes: 0 };
    let sync_interval = Duration::from_millis(50);
    let settings = disk::Settings { volumes: vec![volume], queue_bytes, sync_interval };
    Volumes::open_with(settings, disk::Options { fs, pace: PACE, ..Default::default() }).unwrap()
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
        username: None,
        password: None,
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

/// A recorder at work.
struct Running {
    stop: Stop,
    status: tokio::sync::watch::Receiver<RecorderStatus>,
    counters: Arc<RecorderCounters>,
    task: JoinHandle<()>,
}

#[expect(clippy::disallowed_methods, reason = "awaited by the test")]
fn start(recorder: Recorder) -> Running {
    let stop = Stop::child_of(&CancellationToken::new());
    let (status, counters) = (recorder.status(), recorder.counters());
    let task = tokio::spawn(recorder.run(stop.clone()));
    Running { stop, status, counters, task }
}

impl Running {
    async fn wait_for(&mut self, what: impl FnMut(&RecorderStatus) -> bool) {
        self.status.wait_for(what).await.unwrap();
    }

    /// It has looked at what was there before, and takes what comes.
    async fn listening(&mut self) {
        self.status.changed().await.unwrap();
    }

    async fn recording(&mut self) {
        self.wait_for(|s| matches!(s, RecorderStatus::Recording { .. })).await;
    }

    async fn stop(self, reason: GapReason) {
        self.stop.stop(reason);
        self.task.await.unwrap();
    }
}

/// A camera of 25 pictures a second with B-frames and a key frame each 0.4 s, and AAC at 48 kHz.
struct Film {
    publisher: Publisher,
    zero: WallTime,
    numbers: [u64; 2],
    /// What was published.
    sent: Vec<AccessUnit>,
    next_picture: i64,
    next_sound: i64,
}

const GROUP: i64 = 10;

impl Film {
    fn begin(site: &Site, run: i64, zero: WallTime, sps: &str, previous_end: GapReason) -> Self {
        let run = Run {
            id: RunId(run),
            stream: site.stream(),
            epoch: 0,
            started: zero,
            clock_source: ClockSource::SenderReport,
            previous_end,
            tracks: tracks(sps),
        };
        let publisher = site.channel().publish(run).unwrap();
        let (numbers, sent) = ([0; 2], Vec::new());
        Self { publisher, zero, numbers, sent, next_picture: 0, next_sound: 0 }
    }

    /// Publishes so many groups of pictures, with the sound that belongs to them.
    fn play(&mut self, groups: i64) {
        for _ in 0..groups * GROUP {
            let place = self.next_picture % GROUP;
            // I P B B P B B …: shown in the order I B B P B B P.
            let cts = match place {
                0 => 3_600,
                place if place % 3 == 1 => 10_800,
                _ => 0,
            };
            let text = format!("picture {} ", self.numbers[0]).repeat(20 + place as usize);
            let head =
                if place == 0 { Bytes::from_static(b"parameter sets") } else { Bytes::new() };
            self.push(0, self.next_picture * 3_600, cts, place == 0, head, text);
            self.next_picture += 1;
            while self.next_sound * 1_024 * 90_000 / 48_000 < self.next_picture * 3_600 {
                let text = format!("sound {}", self.numbers[1]);
                self.push(1, self.next_sound * 1_024, 0, true, Bytes::new(), text);
                self.next_sound += 1;
            }
        }
    }

    /// The camera sends nothing for so many pictures.
    fn lose(&mut self, pictures: i64) {
        self.next_picture += pictures;
        self.next_sound += pictures * 3_600 * 48_000 / 90_000 / 1_024;
    }

    fn push(&mut self, track: u8, dts: i64, cts: i32, key: bool, head: Bytes, text: String) {
        let rate = [Timescale::VIDEO, Timescale::new(48_000).unwrap()][usize::from(track)];
        let dts = MediaTime::from_ticks(dts);
        let shown = (dts + MediaTime::from_ticks(i64::from(cts))).to_span(rate);
        let number = self.numbers[usize::from(track)];
        self.numbers[usize::from(track)] += 1;
        let unit = AccessUnit {
            track: TrackIndex(track),
            number,
            dts,
            cts,
            wall: self.zero + shown,
            random_access: key,
            head,
            body: Bytes::from(text),
        };
        self.sent.push(unit.clone());
        self.publisher.push(unit);
    }
}

/// What a file holds, read without the recorder's help.
struct OnDisk {
    header: fmp4::Header,
    scan: fmp4::Scan,
    bytes: Vec<u8>,
}

fn read(path: &std::path::Path) -> OnDisk {
    let bytes = std::fs::read(path).unwrap();
    let header = fmp4::read_header(&bytes).unwrap();
    let scan = fmp4::scan(bytes.len() as u64, |at, buffer| {
        let at = usize::try_from(at).unwrap();
        buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
        Ok(())
    });
    OnDisk { header, scan: scan.unwrap(), bytes }
}

impl OnDisk {
    /// The units of a track, as a player would get them.
    fn units(&self, track: u8) -> Vec<AccessUnit> {
        let start = self.header.identity.tracks[usize::from(track)];
        let samples = &self.scan.tables.tracks[usize::from(track)];
        let unit = |(k, s): (usize, &fmp4::SampleRef)| AccessUnit {
            track: TrackIndex(track),
            number: start.first_number + k as u64,
            dts: start.first_dts + s.dts,
            cts: s.cts,
            wall: EPOCH,
            random_access: s.sync,
            head: Bytes::new(),
            body: Bytes::copy_from_slice(
                &self.bytes[usize::try_from(s.offset).unwrap()..][..s.size as usize],
            ),
        };
        samples.iter().enumerate().map(unit).collect()
    }
}

/// The same unit as a file gives it back.
fn as_read(unit: &AccessUnit) -> AccessUnit {
    let body = [&unit.head[..], &unit.body[..]].concat();
    AccessUnit { wall: EPOCH, head: Bytes::new(), body: Bytes::from(body), ..unit.clone() }
}

fn of_track(units: &[AccessUnit], track: u8) -> Vec<AccessUnit> {
    units.iter().filter(|u| u.track == TrackIndex(track)).map(as_read).collect()
}

async fn only_open(site: &Site) -> Arc<OpenSegment> {
    let open = site.volumes.open_segments().of(site.stream());
    Arc::clone(open.last().unwrap())
}
