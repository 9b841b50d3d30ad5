//! Over real sockets, in one process: synthetic units in, a raw client's view out. Most run on a
//! paused clock, so that time-outs and pacing are exact and take no time.

mod access;
mod bounds;
mod client;
mod crowd;
mod live;
mod messages;
mod multicast;
mod publish;
mod recorded;
mod replay;
pub(super) mod script;
mod socket;
mod time_shift;
mod tls;
mod trick;
mod tunnel;
mod udp;

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{FutureExt, future::BoxFuture};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::*;
use crate::{
    hub::{ClockSource, Limits, Publisher, Run},
    id::{Role, RunId, Slug, StreamId},
    proto::{
        access_unit::{AccessUnit, Track, TrackIndex, Tracks},
        codec::{Parameters, g711, h264},
        reason::GapReason,
        time::{MediaTime, Timescale, WallSpan, WallTime},
    },
};

use client::Client;
use script::Script;

const VIDEO: TrackIndex = TrackIndex(0);
const AUDIO: TrackIndex = TrackIndex(1);
/// 25 pictures a second.
const PICTURE: i64 = 3_600;
const PICTURE_US: i64 = 40_000;
/// 20 ms of sound at 8 kHz.
const SOUND: i64 = 160;
const SOUND_US: i64 = 20_000;
/// A key frame each second.
const GROUP: u64 = 25;
/// 2026-11-22T10:00:00Z.
const TEN: WallTime = WallTime::from_micros(1_795_341_600_000_000);

fn hex(text: &str) -> Bytes {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn tracks() -> Tracks {
    let sps = hex("6742c00cd90141fb0110000003001000000301e0f142a480");
    let h264 = h264::Parameters::new(sps, vec![hex("68cb83cb20")]).unwrap();
    let g711 = g711::Parameters { law: g711::Law::A, sample_rate: 8_000, channels: 1 };
    Arc::new([
        Track { timescale: Timescale::VIDEO, parameters: Parameters::H264(h264) },
        Track { timescale: Timescale::new(8_000).unwrap(), parameters: Parameters::G711(g711) },
    ])
}

fn run(id: i64, started: WallTime) -> Arc<Run> {
    Arc::new(Run {
        id: RunId(id),
        stream: StreamId(1),
        epoch: 0,
        started,
        clock_source: ClockSource::Arrival,
        previous_end: GapReason::Starting,
        tracks: tracks(),
    })
}

/// Picture `number` of a run, of `size` bytes; its number stands in its last 8 bytes.
fn picture(run: &Run, number: u64, size: usize) -> AccessUnit {
    let n = i64::try_from(number).unwrap();
    let key = number.is_multiple_of(GROUP);
    let mut body = BytesMut::new();
    body.put_u32(u32::try_from(size).unwrap());
    body.put_u8(if key { 0x65 } else { 0x41 });
    body.put_bytes(0x5a, size - 9);
    body.put_u64(number);
    let head = match &run.tracks[0].parameters {
        Parameters::H264(parameters) if key => parameters.in_band(),
        _ => Bytes::new(),
    };
    AccessUnit {
        track: VIDEO,
        number,
        dts: MediaTime::from_ticks(n * PICTURE),
        cts: 0,
        wall: run.started + WallSpan::from_micros(n * PICTURE_US),
        random_access: key,
        head,
        body: body.freeze(),
    }
}

/// Sound `number` of a run; its number stands in its last 8 bytes. It begins 5 ms after the
/// picture, so that first packets of the tracks are told apart by time.
fn sound(run: &Run, number: u64) -> AccessUnit {
    let n = i64::try_from(number).unwrap();
    let mut body = BytesMut::new();
    body.put_bytes(0xd5, 152);
    body.put_u64(number);
    AccessUnit {
        track: AUDIO,
        number,
        dts: MediaTime::from_ticks(n * SOUND + 40),
        cts: 0,
        wall: run.started + WallSpan::from_micros(n * SOUND_US + 5_000),
        random_access: true,
        head: Bytes::new(),
        body: body.freeze(),
    }
}

/// All units of `pictures` pictures of a run and the sound beside them, in order.
fn footage(run: &Run, pictures: u64, size: usize) -> Vec<AccessUnit> {
    let video = (0..pictures).map(|n| picture(run, n, size));
    let audio = (0..pictures * 2).map(|n| sound(run, n));
    let mut units: Vec<_> = video.chain(audio).collect();
    units.sort_by_key(|u| (u.wall, u.track));
    units
}

/// One door, and the stream behind it.
struct Doors(StreamId);

impl Directory for Doors {
    fn resolve<'a>(
        &'a self,
        camera: &'a str,
        stream: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<StreamRef>, DirectoryError>> {
        async move {
            if camera == "broken" {
                return Err(DirectoryError("the index is locked".into()));
            }
            let known = camera == "door" && stream.is_none_or(|s| s == "main");
            Ok(known.then(|| StreamRef {
                camera: "door".parse::<Slug>().unwrap(),
                role: Role::Main,
                stream: self.0,
                name: "Front door".to_owned(),
            }))
        }
        .boxed()
    }
}

/// A server on a port of its own.
struct Bench {
    hub: Arc<Hub>,
    berths: Berths,
    clock: Clock,
    counters: Arc<Counters>,
    address: std::net::SocketAddr,
    tls: Option<std::net::SocketAddr>,
    door: Door,
    certificates: Option<Arc<Certificates>>,
    token: CancellationToken,
    server: JoinHandle<()>,
    tracker: TaskTracker,
}

impl Bench {
    async fn new() -> Self {
        Self::with(Access::open_to_all(), None, |_| {}).await
    }

    async fn recorded(script: Script) -> Self {
        Self::with(Access::open_to_all(), Some(script), |_| {}).await
    }

    async fn with(
        access: Access,
        script: Option<Script>,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let parts = Parts {
            hub: Arc::new(Hub::new(Limits::default())),
            archive: None,
            access,
            directory: Arc::new(Doors(StreamId(1))),
            berths: crate::ingest::publish::Berths::default(),
            clock: Clock::manual(TEN),
        };
        Self::on(parts, script, change).await
    }

    async fn on(parts: Parts, script: Option<Script>, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            udp_ports: Some(34_000..=34_999),
            ..Settings::default()
        };
        change(&mut settings);
        let (hub, clock) = (Arc::clone(&parts.hub), parts.clock.clone());
        let berths = parts.berths.clone();
        let mut server = RtspServer::bind(settings, parts).await.unwrap();
        Arc::get_mut(&mut server.shared).unwrap().script = script.map(Arc::new);
        let (address, counters) = (server.local_addr(), server.counters());
        let (tls, certificates) = (server.tls_addr(), server.certificates());
        let door = server.door();
        let token = CancellationToken::new();
        let tracker = TaskTracker::new();
        let server = tracker.spawn(server.run(token.clone()));
        Self {
            hub,
            berths,
            clock,
            counters,
            address,
            tls,
            door,
            certificates,
            token,
            server,
            tracker,
        }
    }

    async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    fn url(&self, path: &str) -> String {
        format!("rtsp://{}{path}", self.address)
    }

    fn publish(&self, id: i64) -> Publisher {
        let run = Run::clone(&run(id, self.clock.now()));
        self.hub.channel(StreamId(1)).publish(run).unwrap()
    }

    /// A camera that films for ever, in real (paused) time.
    fn film(&self, size: usize) -> CancellationToken {
        let (stop, clock) = (CancellationToken::new(), self.clock.clone());
        let mut publisher = self.publish(1);
        let stopped = stop.clone();
        self.tracker.spawn(async move {
            let (run, began, started) = (Arc::clone(publisher.run()), Instant::now(), clock.now());
            let mut number = 0;
            while !stopped.is_cancelled() {
                for unit in group_of(&run, number, size) {
                    let after = unit.wall - run.started;
                    tokio::time::sleep_until(began + after.to_duration()).await;
                    clock.set(started + after);
                    publisher.push(unit);
                }
                number += 1;
            }
            publisher.end(GapReason::Disconnected);
        });
        stop
    }

    /// Lets the wall clock run with (paused) time.
    fn run_clock(&self) {
        let (clock, began, stop) = (self.clock.clone(), Instant::now(), self.token.clone());
        self.tracker.spawn(async move {
            while !stop.is_cancelled() {
                clock.set(TEN + WallSpan::from(began.elapsed()));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }

    async fn stop(self) {
        self.token.cancel();
        tokio::time::timeout(Duration::from_secs(3), self.server).await.unwrap().unwrap();
        assert_eq!((self.counters.connections(), self.counters.sessions()), (0, 0));
    }
}

/// Picture `number` and its sound.
fn group_of(run: &Run, number: u64, size: usize) -> [AccessUnit; 3] {
    [picture(run, number, size), sound(run, number * 2), sound(run, number * 2 + 1)]
}
