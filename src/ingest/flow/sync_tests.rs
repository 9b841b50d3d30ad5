//! A day of a camera whose clocks are not what they say: sound stays beside the picture, and an hour
//! is an hour. Pure, with made-up time; few units a second, since errors grow with time and not with
//! their number.

use std::{collections::VecDeque, time::Duration};

use bytes::{BufMut, BytesMut};

use super::*;
use crate::{
    hub::{Event, Hub, Limits, Start, Subscription},
    ingest::{Resume, source::SourceCodec},
    proto::{
        access_unit::AccessUnit,
        codec::{g711, h264},
    },
};

const SPS: &[u8] =
    b"\x67\x4d\x40\x1e\xda\x02\x80\xbf\xe5\xc0\x44\x00\x00\x03\x00\x04\x00\x00\x03\x00\xc8\x3c\x58\xba\x80";
const PPS: &[u8] = b"\x68\xef\x0f\xc8";
const BASE: i64 = 1_795_341_600_000_000;
const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;

/// What is wrong with a camera, and with the way to it.
#[derive(Clone, Copy)]
struct Camera {
    /// How much faster the picture's clock runs than true time, parts per million.
    picture_ppm: i64,
    /// Ticks of sound in a true second; 8,000 are declared.
    sound_rate: i64,
    /// The camera's own clock: off by, and running faster by.
    ntp_off: i64,
    ntp_ppm: i64,
    /// It is set by so much each so often (true time, µs).
    ntp_steps: Option<(i64, i64)>,
    /// Says that its sound lies so much later than it does.
    lie: i64,
    reports: bool,
    /// Sound takes so much longer to reach us than the picture.
    sound_late: i64,
    jitter: i64,
    /// The picture's first RTP time stamp, extended.
    first_tick: i64,
}

const HONEST: Camera = Camera {
    picture_ppm: 0,
    sound_rate: 8_000,
    ntp_off: 0,
    ntp_ppm: 0,
    ntp_steps: None,
    lie: 0,
    reports: true,
    sound_late: 0,
    jitter: 60_000,
    first_tick: 1_000,
};

/// True time between two pictures, and two packets of sound.
const PICTURE: i64 = SECOND / 2;
const SOUND: i64 = SECOND / 5;

struct Day {
    camera: Camera,
    flow: Flow,
    events: Subscription,
    clock: Clock,
    began: Instant,
    random: u64,
    /// By track, of units published since it was last asked: true time, and what the flow made of it.
    told: [VecDeque<(i64, i64)>; 2],
    /// Runs that ended, and why.
    ended: Vec<GapReason>,
    newest: i64,
}

impl Day {
    fn of(camera: Camera) -> Self {
        let clock = Clock::manual(WallTime::from_micros(BASE));
        let stream = StreamId(7);
        let channel = Hub::new(Limits::default()).channel(stream);
        let events = channel.subscribe(Start::Oldest);
        let video = h264::Parameters::new(SPS.into(), vec![PPS.into()]).unwrap();
        let g711 = g711::Parameters { law: g711::Law::A, sample_rate: 8_000, channels: 1 };
        let track = |rate: u32, parameters| SourceTrack {
            timescale: Timescale::new(rate).unwrap(),
            codec: SourceCodec::Known(parameters),
            declared_fps: None,
        };
        let tracks = [track(90_000, Parameters::H264(video)), track(8_000, Parameters::G711(g711))];
        let out = Outlet {
            stream,
            channel,
            clock: clock.clone(),
            status: StreamStatus::new(),
            memory: Arc::new(Memory::new(Resume::default())),
        };
        let began = Instant::now();
        Self {
            camera,
            flow: Flow::new(out, &tracks, began),
            events,
            clock,
            began,
            random: 0x9e37_79b9_7f4a_7c15,
            told: Default::default(),
            ended: Vec::new(),
            newest: 0,
        }
    }

    fn up_to(&mut self, most: i64) -> i64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as i64 % (most + 1)
    }

    /// The camera's own clock at a true time.
    fn ntp(&self, at: i64) -> WallTime {
        let Camera { ntp_off, ntp_ppm, ntp_steps, .. } = self.camera;
        let set = ntp_steps.map_or(0, |(by, each)| at / each * by);
        let drift = (i128::from(at) * i128::from(ntp_ppm) / 1_000_000) as i64;
        WallTime::from_micros(BASE + at + ntp_off + drift + set)
    }

    fn picture_ticks(&self, at: i64) -> i64 {
        let scaled = i128::from(at) * 90_000 * i128::from(1_000_000 + self.camera.picture_ppm);
        self.camera.first_tick + (scaled / 1_000_000_000_000) as i64
    }

    fn sound_ticks(&self, at: i64) -> i64 {
        77 + (i128::from(at) * i128::from(self.camera.sound_rate) / 1_000_000) as i64
    }

    /// Lets true time pass from `from` to `to`, both whole seconds.
    fn pass(&mut self, from: i64, to: i64) {
        let mut next_report = [from + 400_000, from + 2_100_000];
        let mut at = from;
        while at < to {
            // What a second brings, in the order in which it arrives.
            let mut arrivals: Vec<(i64, usize, i64, bool)> = Vec::new();
            for moment in (at..at + SECOND).step_by(PICTURE as usize) {
                let arrives = moment + 30_000 + self.up_to(self.camera.jitter);
                arrivals.push((arrives, 0, moment, false));
            }
            for moment in (at..at + SECOND).step_by(SOUND as usize) {
                let late = 30_000 + self.camera.sound_late + self.up_to(self.camera.jitter);
                arrivals.push((moment + late, 1, moment, false));
            }
            for (track, next) in next_report.iter_mut().enumerate() {
                while self.camera.reports && *next < at + SECOND {
                    let moment = *next;
                    arrivals.push((moment + 31_000, track, moment, true));
                    *next += SECOND + self.up_to(8 * SECOND);
                }
            }
            // Each track's packets come in order.
            arrivals.sort_by_key(|&(_, track, moment, _)| (track, moment));
            let mut last = [0; 2];
            for (arrives, track, ..) in &mut arrivals {
                *arrives = (*arrives).max(last[*track]);
                last[*track] = *arrives;
            }
            arrivals.sort_by_key(|&(arrives, track, moment, _)| (arrives, track, moment));
            for (arrives, track, moment, report) in arrivals {
                if report { self.report(track, moment) } else { self.unit(track, moment, arrives) }
            }
            self.take();
            at += SECOND;
        }
    }

    fn report(&mut self, track: usize, moment: i64) {
        let lie = if track == 1 { self.camera.lie } else { 0 };
        let ntp = (self.ntp(moment) + WallSpan::from_micros(lie)).to_ntp();
        let ticks = if track == 0 { self.picture_ticks(moment) } else { self.sound_ticks(moment) };
        let track = TrackIndex(track as u8);
        self.flow.event(SourceEvent::SenderReport { track, ntp, ticks }).unwrap();
    }

    fn unit(&mut self, track: usize, moment: i64, arrives: i64) {
        self.newest = self.newest.max(arrives);
        self.clock.set(WallTime::from_micros(BASE + self.newest));
        let at = self.began + Duration::from_micros(arrives.unsigned_abs());
        let arrival = Arrival { wall: WallTime::from_micros(BASE + arrives), at };
        let mut data = BytesMut::new();
        let ticks = if track == 0 {
            let slice: &[u8] =
                if moment % (2 * SECOND) == 0 { b"\x65\x88xx" } else { b"\x41\x9axx" };
            data.put_u32(slice.len() as u32 + 8);
            data.put_slice(slice);
            self.picture_ticks(moment)
        } else {
            self.sound_ticks(moment)
        };
        // What it shows: when it was.
        data.put_i64(moment);
        let (track, data) = (TrackIndex(track as u8), data.freeze());
        let unit = SourceUnit { track, ticks, elapsed: 0, arrival, data, lost: 0 };
        self.flow.event(SourceEvent::Unit(unit)).unwrap();
    }

    fn take(&mut self) {
        while let Some(event) = self.events.try_next().unwrap() {
            match event {
                Event::Unit { unit, .. } => {
                    let wall = unit.wall.as_micros() - BASE;
                    self.told[unit.track.as_usize()].push_back((shows(&unit), wall));
                }
                Event::Ended { reason, .. } => self.ended.push(reason),
                Event::Lagged { .. } => panic!("the test reads too slowly"),
            }
        }
    }

    /// The worst of what was told: how far sound is from the picture of the same moment, and how far
    /// the picture is from the truth.
    fn worst(&mut self) -> (i64, i64) {
        let (mut apart, mut off) = (0, 0);
        let mut pictures = std::mem::take(&mut self.told[0]);
        let mut last = pictures.front().copied().unwrap_or_default();
        for (moment, wall) in std::mem::take(&mut self.told[1]) {
            while let Some(&next) = pictures.front().filter(|p| p.0 <= moment) {
                off = off.max((next.1 - next.0).abs());
                last = next;
                pictures.pop_front();
            }
            let of_picture = last.1 + (moment - last.0);
            apart = apart.max((wall - of_picture).abs());
        }
        (apart, off)
    }

    /// A day; panics where sound and picture come apart, or time from the truth.
    fn check(mut self) {
        // The first minutes lead what arrival said to where it belongs.
        self.pass(0, 180 * SECOND);
        self.told = Default::default();
        for hour in 0..24 {
            let from = if hour == 0 { 180 * SECOND } else { hour * HOUR };
            // The whole of the first and the last hours, a piece of each other one: between them
            // nothing is different.
            let to = (hour + 1) * HOUR;
            self.pass(from, to);
            let (apart, off) = self.worst();
            assert!(apart < 40_000, "sound is off by {apart} µs in hour {hour}");
            // Latency, and half a frame at 25 a second.
            assert!(off < 30_000 + 20_000, "the picture is off by {off} µs in hour {hour}");
        }
        assert_eq!(self.ended, [], "all of it is one run");
    }
}

fn shows(unit: &AccessUnit) -> i64 {
    let tail = unit.body.len() - 8;
    i64::from_be_bytes(unit.body[tail..].try_into().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_camera_whose_sound_ticks_8012_times_a_second_is_in_sync_after_a_day() {
    Day::of(Camera { sound_rate: 8_012, ..HONEST }).check();
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_is_a_percent_fast_is_in_sync_after_a_day_and_an_hour_is_an_hour() {
    Day::of(Camera { picture_ppm: 10_000, sound_late: 90_000, ntp_ppm: 40, ..HONEST }).check();
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_is_a_percent_slow_with_fast_sound_is_in_sync_after_a_day() {
    let camera = Camera {
        picture_ppm: -10_000,
        // Beyond 32 bits twice within the day.
        first_tick: (1 << 32) - 90_000 * 300,
        sound_rate: 8_080,
        ntp_off: -56 * 365 * 24 * HOUR,
        ..HONEST
    };
    Day::of(camera).check();
}

#[tokio::test(start_paused = true)]
async fn a_camera_whose_own_clock_is_set_now_and_then_moves_nothing() {
    for by in [-2 * HOUR, -1_500_000, 700_000, 24 * HOUR] {
        let mut day = Day::of(Camera { ntp_steps: Some((by, 97 * SECOND)), ..HONEST });
        day.pass(0, 60 * SECOND);
        day.told = Default::default();
        day.pass(60 * SECOND, 1_200 * SECOND);
        let (apart, off) = day.worst();
        assert!(apart < 40_000 && off < 50_000, "{apart} and {off} µs when set by {by} µs");
        assert_eq!(day.ended, []);
    }
}

#[tokio::test(start_paused = true)]
async fn reports_that_lie_by_hours_are_not_believed() {
    for lie in [-3 * HOUR, -2_500_000, 2_500_000, 3 * HOUR] {
        let mut day = Day::of(Camera { lie, ..HONEST });
        day.pass(0, 300 * SECOND);
        let (apart, off) = day.worst();
        // By arrival alone: as good as the way is steady.
        assert!(apart < 60_000 && off < 100_000, "{apart} and {off} µs");
        assert_eq!(day.ended, []);
    }
}

#[tokio::test(start_paused = true)]
async fn without_reports_the_tracks_go_by_when_they_arrive() {
    let mut day =
        Day::of(Camera { reports: false, sound_rate: 8_012, picture_ppm: 3_000, ..HONEST });
    day.pass(0, 180 * SECOND);
    day.told = Default::default();
    day.pass(180 * SECOND, 2 * HOUR);
    let (apart, off) = day.worst();
    assert!(apart < 40_000 && off < 50_000, "{apart} and {off} µs");
    assert_eq!(day.ended, []);
}
