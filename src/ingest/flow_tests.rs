//! The flow without sockets: made-up units, made-up times.

use std::time::Duration;

use bytes::{BufMut, BytesMut};

use super::*;
use crate::{
    hub::{Event, Hub, Limits, Run, Start, Subscription},
    ingest::{
        Resume,
        source::{Arrival, SourceCodec},
    },
    proto::{
        access_unit::AccessUnit,
        codec::{g711, h264},
    },
};

const SPS: &[u8] =
    b"\x67\x4d\x40\x1e\xda\x02\x80\xbf\xe5\xc0\x44\x00\x00\x03\x00\x04\x00\x00\x03\x00\xc8\x3c\x58\xba\x80";
const PPS: &[u8] = b"\x68\xef\x0f\xc8";
const BASE: i64 = 1_795_341_600_000_000;

struct Rig {
    flow: Flow,
    events: Subscription,
    began: Instant,
    clock: Clock,
}

impl Rig {
    fn new(sound: bool, resume: Resume) -> Self {
        let clock = Clock::manual(WallTime::from_micros(BASE));
        let stream = StreamId(7);
        let channel = Hub::new(Limits::default()).channel(stream);
        let events = channel.subscribe(Start::Oldest);
        let video = h264::Parameters::new(SPS.into(), vec![PPS.into()]).unwrap();
        let mut tracks = vec![SourceTrack {
            timescale: Timescale::VIDEO,
            codec: SourceCodec::Known(Parameters::H264(video)),
            declared_fps: None,
        }];
        if sound {
            let g711 = g711::Parameters { law: g711::Law::A, sample_rate: 8_000, channels: 1 };
            tracks.push(SourceTrack {
                timescale: Timescale::new(8_000).unwrap(),
                codec: SourceCodec::Known(Parameters::G711(g711)),
                declared_fps: None,
            });
        }
        let out = Outlet {
            stream,
            channel,
            clock: clock.clone(),
            status: StreamStatus::new(),
            memory: Arc::new(Memory::new(resume)),
        };
        let began = Instant::now();
        Self { flow: Flow::new(out, &tracks, began), events, began, clock }
    }

    /// A picture of media time `at_ms` that arrives at `arrives_ms`.
    fn picture(&mut self, at_ms: i64, arrives_ms: i64, key: bool, lost: u16) {
        let slice: &[u8] = if key { b"\x65\x88xx" } else { b"\x41\x9axx" };
        let mut data = BytesMut::new();
        data.put_u32(slice.len() as u32);
        data.put_slice(slice);
        let unit = SourceUnit {
            track: TrackIndex(0),
            ticks: 5_000_000_000 + at_ms * 90,
            elapsed: at_ms * 90,
            arrival: self.arrival(arrives_ms),
            data: data.freeze(),
            lost,
        };
        self.flow.event(SourceEvent::Unit(unit)).unwrap();
    }

    fn sound(&mut self, at_ms: i64, arrives_ms: i64) {
        let unit = SourceUnit {
            track: TrackIndex(1),
            ticks: 77 + at_ms * 8,
            elapsed: at_ms * 8,
            arrival: self.arrival(arrives_ms),
            data: vec![1; 160].into(),
            lost: 0,
        };
        self.flow.event(SourceEvent::Unit(unit)).unwrap();
    }

    fn arrival(&self, ms: i64) -> Arrival {
        self.clock.set(WallTime::from_micros(BASE + ms * 1_000));
        let at = self.began + Duration::from_millis(ms.unsigned_abs());
        Arrival { wall: self.clock.now(), at }
    }

    fn drain(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.events.try_next().unwrap()).collect()
    }

    fn units(&mut self) -> Vec<(Arc<Run>, Arc<AccessUnit>)> {
        let events = self.drain().into_iter();
        let units = events.filter_map(|event| match event {
            Event::Unit { run, unit, .. } => Some((run, unit)),
            _ => None,
        });
        units.collect()
    }
}

fn ms_after_base(wall: WallTime) -> i64 {
    (wall.as_micros() - BASE) / 1_000
}

#[tokio::test(start_paused = true)]
async fn a_burst_at_the_start_gets_the_times_it_was_captured_at() {
    let mut rig = Rig::new(false, Resume::default());
    // Two seconds of pictures at once, the newest of them fresh; then as they come.
    for n in 0..50 {
        rig.picture(n * 40, 2_000 + n, n == 0, 0);
    }
    for n in 50..75 {
        rig.picture(n * 40, 2_000 + (n - 49) * 40, false, 0);
    }
    let units = rig.units();
    assert_eq!(units.len(), 75);
    assert_eq!(ms_after_base(units[0].0.started), 40);
    for (n, (_, unit)) in units.iter().enumerate() {
        assert!((ms_after_base(unit.wall) - 40 * n as i64 - 40).abs() <= 1, "{n}");
    }
}

#[tokio::test(start_paused = true)]
async fn pictures_out_of_order_get_growing_decoding_times() {
    let mut rig = Rig::new(false, Resume::default());
    let order = [0, 3, 1, 2, 6, 4, 5, 9, 7, 8, 12, 10, 11, 15, 13, 14];
    for (n, frame) in order.iter().enumerate() {
        rig.picture(frame * 40, 100 + n as i64 * 40, *frame == 0, 0);
    }
    let units = rig.units();
    assert_eq!(units.len(), order.len());
    for pair in units.windows(2) {
        assert!(pair[1].1.dts > pair[0].1.dts);
    }
    for ((_, unit), frame) in units.iter().zip(order) {
        assert_eq!(unit.pts().ticks(), frame * 3_600);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hole_left_by_lost_packets_ends_the_run_and_one_without_loss_does_not() {
    let mut rig = Rig::new(false, Resume::default());
    for n in 0..30 {
        rig.picture(n * 40, n * 40, n == 0, 0);
    }
    // The camera itself pauses for 3 s.
    for n in 0..30 {
        rig.picture(4_200 + n * 40, 4_200 + n * 40, false, 0);
    }
    assert!(rig.drain().iter().all(|event| matches!(event, Event::Unit { .. })));
    rig.picture(7_500, 7_500, false, 60);
    let events = rig.drain();
    assert!(
        matches!(events[..], [Event::Ended { reason: GapReason::PacketLoss, .. }]),
        "{events:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ended_in_mid_session_waits_three_seconds_for_a_key_frame() {
    let mut rig = Rig::new(false, Resume::default());
    for n in 0..30 {
        rig.picture(n * 40, n * 40, n == 0, 0);
    }
    rig.picture(60_000, 1_200, false, 0);
    let jumped = rig.drain().pop();
    assert!(matches!(jumped, Some(Event::Ended { reason: GapReason::ClockJump, .. })));
    let second = |s| rig.began + Duration::from_secs(s);
    let (soon, late) = (second(3), second(5));
    rig.flow.tick(soon).unwrap();
    let error = rig.flow.tick(late).unwrap_err();
    assert!(matches!(error, PullError::ClockJump { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_recorders_clock_set_back_ends_the_run_and_begins_an_epoch() {
    let resume = Resume { epoch: 2, footage_end: None, ended: GapReason::VedetteDown };
    let mut rig = Rig::new(false, resume);
    for n in 0..30 {
        rig.picture(n * 40, n * 40, n == 0, 0);
    }
    let first = rig.units()[0].0.clone();
    assert_eq!((first.epoch, first.previous_end), (2, GapReason::VedetteDown));
    // An hour back, while the monotonic clock goes on.
    for n in 30..60 {
        let mut arrival = rig.arrival(n * 40);
        arrival.wall = arrival.wall - WallSpan::from_secs(3_600);
        rig.clock.set(arrival.wall);
        let mut data = BytesMut::new();
        data.put_slice(b"\0\0\0\x04\x65\x88xx");
        let ticks = 5_000_000_000 + n * 3_600;
        let data = data.freeze();
        let unit = SourceUnit { track: TrackIndex(0), ticks, elapsed: 0, arrival, data, lost: 0 };
        rig.flow.event(SourceEvent::Unit(unit)).unwrap();
    }
    let events = rig.drain();
    assert!(matches!(events[0], Event::Ended { reason: GapReason::ClockJump, .. }));
    let Event::Unit { run, .. } = &events[1] else { panic!("{:?}", events[1]) };
    assert_eq!((run.epoch, run.previous_end), (3, GapReason::ClockJump));
}

#[tokio::test(start_paused = true)]
async fn sound_from_before_the_first_picture_is_not_published() {
    let mut rig = Rig::new(true, Resume::default());
    for n in 0..10 {
        rig.sound(n * 20, n * 20);
    }
    for n in 10..60 {
        rig.picture(n * 20, n * 20, n == 10, 0);
        rig.sound(n * 20 - 5, n * 20);
    }
    let units = rig.units();
    assert_eq!(units[0].1.track, TrackIndex(0));
    assert!(units.iter().all(|(_, unit)| unit.pts().ticks() >= 0));
    let sound: Vec<_> = units.iter().filter(|(_, u)| u.track == TrackIndex(1)).collect();
    assert_eq!(sound[0].1.number, 0);
    assert!(sound.len() >= 48);
}

#[tokio::test(start_paused = true)]
async fn a_sound_track_whose_clock_keeps_jumping_is_left_out() {
    let mut rig = Rig::new(true, Resume::default());
    let (mut jump, mut ends) = (0, 0);
    for n in 0..1_000 {
        rig.picture(n * 20, n * 20, n % 25 == 0, 0);
        if n % 100 == 50 {
            jump += 10_000;
        }
        rig.sound(n * 20 + jump, n * 20);
        ends += rig.drain().iter().filter(|e| matches!(e, Event::Ended { .. })).count();
    }
    assert_eq!(ends, 3);
    assert!(rig.flow.is_running());
}
