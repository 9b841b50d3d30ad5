//! What the segmenter promises, tried on cameras of every kind.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;
use tokio::time::Instant;

use super::segmenter::{Output, Part, Plan, Segmenter, TrackOpening, limits};
use crate::{
    hub::{ClockSource, Position, Run},
    id::{RunId, StreamId},
    proto::{
        access_unit::{AccessUnit, Track, TrackIndex, Tracks},
        codec::{Parameters, g711, h264},
        reason::GapReason,
        time::{MediaTime, Timescale, WallSpan, WallTime},
    },
};

const EPOCH: WallTime = WallTime::from_micros(1_795_341_600_000_000);

fn video(width: u32) -> Track {
    let parameters = h264::Parameters {
        sps: Bytes::from(format!("sps {width}")),
        pps: vec![Bytes::from_static(b"pps")],
        width,
        height: 480,
        frame_rate: None,
        reorder: None,
    };
    Track { timescale: Timescale::VIDEO, parameters: Parameters::H264(parameters) }
}

fn audio(channels: u8) -> Track {
    let parameters = g711::Parameters { law: g711::Law::Mu, sample_rate: 8_000, channels };
    let timescale = Timescale::new(8_000).unwrap();
    Track { timescale, parameters: Parameters::G711(parameters) }
}

fn run(id: i64, tracks: &[Track]) -> Arc<Run> {
    Arc::new(Run {
        id: RunId(id),
        stream: StreamId(1),
        epoch: 0,
        started: EPOCH,
        clock_source: ClockSource::Arrival,
        previous_end: GapReason::Starting,
        tracks: Tracks::from(tracks),
    })
}

/// Publishes to a segmenter and keeps what it decides.
struct Bench {
    segmenter: Segmenter,
    zero: Instant,
    position: u64,
    numbers: [u64; 2],
    /// How much faster the second track's clock ticks than it says, parts per million.
    fast: i64,
    files: Vec<File>,
    ends: Vec<GapReason>,
}

#[derive(Debug)]
struct File {
    first: Option<GapReason>,
    start: WallTime,
    tracks: Vec<TrackOpening>,
    plans: Vec<Plan>,
    next_start: Option<WallTime>,
}

impl Bench {
    fn new(length: Duration) -> Self {
        Self {
            segmenter: Segmenter::new(length),
            zero: Instant::now(),
            position: 0,
            numbers: [0; 2],
            fast: 0,
            files: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Publishes the next unit of a track at `dts`; it arrives when it is decoded.
    fn push(&mut self, run: &Arc<Run>, track: u8, dts: i64, cts: i32, key: bool) {
        let scale = run.tracks[usize::from(track)].timescale;
        let fast = if track == 1 { self.fast } else { 0 };
        let span = MediaTime::from_ticks(dts - dts * fast / 1_000_000).to_span(scale);
        let number = self.numbers[usize::from(track)];
        self.numbers[usize::from(track)] += 1;
        let unit = Arc::new(AccessUnit {
            track: TrackIndex(track),
            number,
            dts: MediaTime::from_ticks(dts),
            cts,
            wall: EPOCH + span + MediaTime::from_ticks(i64::from(cts)).to_span(scale),
            random_access: key,
            head: Bytes::new(),
            body: Bytes::from(vec![0; 160]),
        });
        let now = self.zero + span.to_duration();
        self.segmenter.handle_timeout(now);
        self.drain();
        self.segmenter.push(now, run, unit, Position(self.position));
        self.position += 1;
        self.drain();
    }

    fn at(&self, seconds: f64) -> Instant {
        self.zero + Duration::from_secs_f64(seconds)
    }

    fn tick(&mut self, seconds: f64) {
        self.segmenter.handle_timeout(self.at(seconds));
        self.drain();
    }

    fn end(&mut self, reason: GapReason) {
        self.segmenter.end_run(reason);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.segmenter.poll_output() {
            match output {
                Output::Open(o) => {
                    let rotated = self.files.last().is_none_or(|f| f.next_start.is_some());
                    assert!(rotated || o.first.is_some(), "a file is open already");
                    let (first, start, tracks) = (o.first, o.start, o.tracks);
                    self.files.push(File { first, start, tracks, plans: vec![], next_start: None });
                }
                Output::Append(plan) => self.files.last_mut().unwrap().plans.push(plan),
                Output::Rotate { next_start } => {
                    self.files.last_mut().unwrap().next_start = Some(next_start);
                }
                Output::EndRun { reason } => self.ends.push(reason),
            }
        }
    }

    /// Numbers of a track's units in each file.
    fn numbers(&self, track: u8) -> Vec<Vec<u64>> {
        let of = |f: &File| f.units(track).map(|u| u.number).collect();
        self.files.iter().map(of).collect()
    }
}

impl File {
    fn parts(&self, track: u8) -> impl Iterator<Item = &Part> {
        self.plans.iter().flat_map(|p| &p.parts).filter(move |p| p.track == TrackIndex(track))
    }

    fn units(&self, track: u8) -> impl Iterator<Item = &Arc<AccessUnit>> {
        self.parts(track).flat_map(|p| &p.units)
    }
}

/// 25 pictures a second, a key frame every `gop`, from `from` on.
fn film(bench: &mut Bench, run: &Arc<Run>, from: i64, frames: i64, gop: i64) {
    for i in from..from + frames {
        bench.push(run, 0, i * 3_600, 0, (i - from) % gop == 0);
    }
}

#[test]
fn a_file_ends_before_its_sound_is_off_by_more_than_a_player_shows() {
    // 8,012 ticks a second.
    for (fast, most) in [(1_500, 22.0), (0, 60.0)] {
        let mut bench = Bench::new(Duration::from_secs(60));
        bench.fast = fast;
        let run = run(1, &[video(640), audio(1)]);
        for i in 0..25 * 180 {
            bench.push(&run, 0, i * 3_600, 0, i % 25 == 0);
            bench.push(&run, 1, i * 320, 0, true);
        }
        bench.end(GapReason::Disconnected);
        let lengths =
            bench.files.iter().filter_map(|f| Some((f.next_start? - f.start).as_secs_f64()));
        let lengths: Vec<_> = lengths.collect();
        assert!(lengths.iter().all(|length| *length <= most), "{lengths:?}");
        assert!(lengths.iter().all(|length| *length >= most - 3.0), "{lengths:?}");
        for track in 0..2 {
            let numbers = bench.numbers(track).concat();
            assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "each unit once");
        }
    }
}

#[test]
fn a_segment_ends_before_the_first_key_frame_at_or_after_its_length() {
    let mut bench = Bench::new(Duration::from_secs(60));
    let run = run(1, &[video(640)]);
    // Key frames every 3.2 s: at 57.6 and 60.8.
    film(&mut bench, &run, 0, 25 * 70, 80);
    bench.end(GapReason::Disconnected);
    let firsts: Vec<_> = bench.numbers(0).iter().map(|n| n[0]).collect();
    assert_eq!(firsts, [0, 19 * 80]);
    assert_eq!(bench.files[0].next_start, Some(EPOCH + WallSpan::from_micros(60_800_000)));
    assert_eq!(bench.files[1].start, EPOCH + WallSpan::from_micros(60_800_000));
    assert_eq!(bench.files[0].first, Some(GapReason::Starting));
    assert_eq!(bench.files[1].first, None, "still the same run");
    assert_eq!(bench.ends, [GapReason::Disconnected]);
}

#[test]
fn a_group_of_twenty_seconds_is_still_written_every_half_second() {
    let mut bench = Bench::new(Duration::from_secs(60));
    let run = run(1, &[video(640)]);
    film(&mut bench, &run, 0, 25 * 20, 25 * 20);
    let plans = &bench.files[0].plans;
    let longest = plans.iter().map(|p| p.parts[0].units.len()).max();
    assert_eq!((plans.len(), longest), (38, Some(13)));
    assert!(plans[0].key && plans[1..].iter().all(|p| !p.key));
}

#[test]
fn every_key_frame_begins_a_fragment_and_no_more_than_needed_are_made() {
    let mut bench = Bench::new(Duration::from_secs(60));
    let run = run(1, &[video(640)]);
    // 30 a second, time stamps that tremble by 4 ms, a key frame a second.
    for i in 0..300 {
        bench.push(&run, 0, i * 3_000 + (i * 7 % 5) * 90, 0, i % 30 == 0);
    }
    let plans = &bench.files[0].plans;
    assert_eq!(plans.len(), 19);
    assert!(plans.iter().all(|p| p.parts[0].units.len() == 15));
    assert!(plans.iter().step_by(2).all(|p| p.key));
}

#[test]
fn what_came_before_a_stall_is_written_though_nothing_follows() {
    let mut bench = Bench::new(Duration::from_secs(60));
    let run = run(1, &[video(640), audio(1)]);
    for i in 0..10 {
        bench.push(&run, 0, i * 3_600, 0, i == 0);
        bench.push(&run, 1, i * 160, 0, true);
    }
    assert!(bench.files.is_empty());
    let first = bench.segmenter.poll_timeout().unwrap();
    assert!(first <= bench.at(0.7));
    bench.tick(0.7);
    // The last picture's duration is not known yet.
    assert_eq!(bench.numbers(0), [(0..9).collect::<Vec<_>>()]);
    assert_eq!(bench.numbers(1), [(0..10).collect::<Vec<_>>()]);
    assert_eq!(bench.files[0].plans[0].readable, Position(17), "picture 9 stands at 18");
    bench.tick(2.4);
    assert_eq!(bench.numbers(0), [(0..10).collect::<Vec<_>>()]);
    assert_eq!(bench.segmenter.poll_timeout(), None);
    // The camera comes back within the second: its decoding time is true.
    bench.push(&run, 0, 90_000, 0, false);
    bench.end(GapReason::Stalled);
    assert_eq!(bench.files[0].parts(0).last().unwrap().dts.ticks(), 90_000);
}

#[test]
fn sound_alone_does_not_begin_a_file() {
    let mut bench = Bench::new(Duration::from_secs(60));
    let run = run(1, &[video(640), audio(1)]);
    for i in 0..5 {
        bench.push(&run, 1, i * 160, 0, true);
    }
    bench.push(&run, 0, 9_000, 0, false);
    bench.push(&run, 0, 12_600, 0, true);
    bench.push(&run, 1, 960, 0, true);
    bench.tick(1.9);
    assert!(bench.files.is_empty(), "the key frame is held for its duration");
    bench.end(GapReason::Disconnected);
    assert_eq!(bench.numbers(0), [[1]]);
    assert_eq!(bench.numbers(1), [[5]]);
    assert_eq!(bench.segmenter.dropped(), 6);
    let opened = &bench.files[0].tracks;
    // Sound at 0.12 s, picture at 0.14 s.
    assert_eq!(opened[1].file_dts.ticks(), 0);
    assert_eq!(opened[0].file_dts.ticks(), 1_800);
}

#[test]
fn new_parameters_begin_a_segment_with_the_key_frame_and_nothing_is_lost() {
    let mut bench = Bench::new(Duration::from_secs(60));
    let old = run(1, &[video(640), audio(1)]);
    let new = run(1, &[video(1_280), audio(2)]);
    film(&mut bench, &old, 0, 30, 25);
    bench.push(&old, 1, 9_600, 0, true);
    // Sound of the new kind comes before the picture: it cannot stand in the old file.
    bench.push(&new, 1, 9_760, 0, true);
    film(&mut bench, &new, 30, 30, 25);
    bench.end(GapReason::Disconnected);
    assert_eq!(bench.numbers(0), [(0..30).collect::<Vec<_>>(), (30..60).collect()]);
    assert_eq!(bench.numbers(1), [[0], [1]]);
    assert_eq!(bench.segmenter.dropped(), 0);
    assert_eq!(bench.files[1].first, None, "no gap, so the same run");
}

#[test]
fn a_second_picture_parameter_set_does_not_cut() {
    let mut bench = Bench::new(Duration::from_secs(60));
    let old = run(1, &[video(640)]);
    let mut track = video(640);
    if let Parameters::H264(p) = &mut track.parameters {
        p.pps.push(Bytes::from_static(b"pps 2"));
    }
    let new = run(1, &[track]);
    film(&mut bench, &old, 0, 30, 25);
    film(&mut bench, &new, 30, 30, 25);
    bench.end(GapReason::Disconnected);
    assert_eq!(bench.files.len(), 1);
}

#[test]
fn more_than_a_second_without_video_is_a_gap_until_the_next_key_frame() {
    let mut bench = Bench::new(Duration::from_secs(60));
    let run = run(1, &[video(640)]);
    film(&mut bench, &run, 0, 30, 25);
    // 1.2 s are missing, and then the rest of a group.
    for i in 60..75 {
        bench.push(&run, 0, i * 3_600, 0, false);
    }
    film(&mut bench, &run, 75, 30, 25);
    bench.end(GapReason::Disconnected);
    assert_eq!(bench.ends, [GapReason::PacketLoss, GapReason::Disconnected]);
    assert_eq!(bench.files.len(), 2);
    assert_eq!(bench.files[1].first, Some(GapReason::PacketLoss));
    assert_eq!(bench.segmenter.dropped(), 15);
    let last = bench.files[0].plans.last().unwrap();
    assert_eq!(last.end, EPOCH + WallSpan::from_micros(1_200_000));
}

#[test]
fn a_camera_of_one_picture_in_three_seconds_has_no_gaps() {
    let mut bench = Bench::new(Duration::from_secs(60));
    let run = run(1, &[video(640)]);
    for i in 0..30 {
        bench.push(&run, 0, i * 270_000, 0, i % 10 == 0);
    }
    bench.end(GapReason::Disconnected);
    assert_eq!(bench.ends, [GapReason::Disconnected]);
    assert_eq!(bench.numbers(0).concat(), (0..30).collect::<Vec<_>>());
}

#[test]
fn a_track_that_begins_late_gets_its_place_by_the_clock() {
    let mut bench = Bench::new(Duration::from_secs(60));
    let run = run(1, &[video(640), audio(1)]);
    film(&mut bench, &run, 25, 100, 25);
    bench.push(&run, 1, 40_000, 0, true);
    bench.end(GapReason::Disconnected);
    // The file begins at 1 s, the sound at 5 s.
    assert_eq!(bench.files[0].parts(1).next().unwrap().dts.ticks(), 32_000);
    assert_eq!(bench.files[0].tracks[1].first_number, 0);
    assert_eq!(bench.files[0].tracks[1].base.ticks(), 8_000);
}

#[test]
fn a_track_whose_place_is_unknown_after_lost_units_waits_for_the_next_segment() {
    let mut bench = Bench::new(Duration::from_secs(60));
    let run = run(1, &[video(640), audio(1)]);
    film(&mut bench, &run, 0, 30, 25);
    bench.segmenter.lagged();
    bench.numbers = [40, 17];
    film(&mut bench, &run, 40, 30, 25);
    bench.push(&run, 1, 16_000, 0, true);
    assert_eq!(bench.segmenter.dropped(), 1);
    film(&mut bench, &run, 70, 30, 25);
    bench.push(&run, 1, 24_000, 0, true);
    bench.end(GapReason::Disconnected);
    assert_eq!(bench.ends, [GapReason::Overload, GapReason::Disconnected]);
    assert_eq!(bench.files.len(), 3, "the next key frame begins a file that can take it");
    assert_eq!(bench.files[2].tracks[1].first_number, 18);
    assert_eq!(bench.numbers(1), [vec![], vec![], vec![18]]);
}

#[test]
fn what_the_disk_refuses_is_shed_up_to_the_next_key_frame() {
    let mut bench = Bench::new(Duration::from_secs(60));
    let run = run(1, &[video(640)]);
    film(&mut bench, &run, 0, 30, 25);
    assert_eq!(bench.segmenter.shed(GapReason::Overload), 5);
    bench.drain();
    assert_eq!(bench.ends, [GapReason::Overload]);
    for i in 30..40 {
        bench.push(&run, 0, i * 3_600, 0, false);
    }
    assert_eq!(bench.segmenter.settled(), Some(Position(39)));
    film(&mut bench, &run, 40, 30, 25);
    assert_eq!(bench.files.len(), 2);
    assert_eq!(bench.files[1].first, Some(GapReason::Overload));
}

#[test]
fn without_a_key_frame_a_segment_does_not_grow_for_ever() {
    let mut bench = Bench::new(Duration::from_secs(60));
    let run = run(1, &[video(640)]);
    film(&mut bench, &run, 0, 25 * 31 * 60, 25 * 31 * 60);
    assert_eq!(bench.ends, [GapReason::ProtocolError]);
    let end = bench.files[0].plans.last().unwrap().end;
    assert!(end - EPOCH <= limits::SEGMENT + WallSpan::from_secs(1));
}

#[test]
fn sound_without_picture_is_cut_every_half_second_and_not_at_every_unit() {
    let mut bench = Bench::new(Duration::from_secs(5));
    let run = run(1, &[audio(1)]);
    for i in 0..500 {
        bench.push(&run, 0, i * 160, 0, true);
    }
    assert_eq!(bench.files[0].plans.len(), 10);
    assert_eq!(bench.files.len(), 2);
}

/// One step of a camera.
#[derive(Clone, Debug)]
enum Step {
    Picture { key: bool, ticks: i64 },
    Sound { samples: i64 },
    NewSize,
    NewSound,
    RunEnds,
    Stall { ms: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let picture = (prop::bool::weighted(0.1), 1_000_i64..9_000)
        .prop_map(|(key, ticks)| Step::Picture { key, ticks });
    let step = prop_oneof![
        60 => picture,
        60 => (80_i64..400).prop_map(|samples| Step::Sound { samples }),
        1 => Just(Step::NewSize),
        1 => Just(Step::NewSound),
        1 => Just(Step::RunEnds),
        1 => (1_u64..4_000).prop_map(|ms| Step::Stall { ms }),
    ];
    prop::collection::vec(step, 1..600)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_unit_from_the_first_key_frame_on_is_in_one_file_once_and_in_order(
        steps in steps(),
        reordered in any::<bool>(),
        length in 1_u64..8,
    ) {
        let mut bench = Bench::new(Duration::from_secs(length));
        let (mut id, mut size, mut channels) = (1, 640, 1_u8);
        let mut current = run(id, &[video(size), audio(channels)]);
        let (mut picture, mut sound, mut key_next) = (0, 0, false);
        let mut begun = false;
        let mut too_early = 0;
        // (run, track, number) of what must be recorded.
        let mut expected: Vec<(i64, u8, u64)> = Vec::new();
        for step in steps {
            match step {
                Step::Picture { key, ticks } => {
                    let key = std::mem::take(&mut key_next) || key;
                    begun |= key;
                    if begun {
                        expected.push((id, 0, bench.numbers[0]));
                    } else {
                        too_early += 1;
                    }
                    let late = reordered && !key;
                    let cts = if late { [0, 3_600, 7_200][(picture % 3) as usize] } else { 0 };
                    bench.push(&current, 0, picture, cts, key);
                    picture += ticks;
                }
                Step::Sound { samples } => {
                    // Sound keeps up with the picture.
                    sound = sound.max((picture - 9_000).max(0) * 8_000 / 90_000);
                    if begun {
                        expected.push((id, 1, bench.numbers[1]));
                    } else {
                        too_early += 1;
                    }
                    bench.push(&current, 1, sound, 0, true);
                    sound += samples;
                }
                Step::NewSize => {
                    size += 2;
                    key_next = true;
                    current = run(id, &[video(size), audio(channels)]);
                }
                Step::NewSound => {
                    channels = channels % 4 + 1;
                    key_next = true;
                    current = run(id, &[video(size), audio(channels)]);
                }
                Step::RunEnds => {
                    bench.end(GapReason::Disconnected);
                    id += 1;
                    (begun, key_next) = (false, false);
                    (picture, sound) = (0, 0);
                    bench.numbers = [0; 2];
                    bench.zero = bench.at(1_000.0);
                    current = run(id, &[video(size), audio(channels)]);
                }
                Step::Stall { ms } => {
                    let now = MediaTime::from_ticks(picture).to_span(Timescale::VIDEO);
                    bench.tick(now.as_secs_f64() + ms as f64 / 1e3);
                }
            }
        }
        bench.end(GapReason::VedetteDown);

        let mut runs = 0;
        let mut found = Vec::new();
        for file in &bench.files {
            runs += i64::from(file.first.is_some());
            let first = &file.plans[0];
            prop_assert!(first.key, "a file begins with a key frame");
            prop_assert_eq!(first.parts[0].track, TrackIndex(0));
            for track in 0..2 {
                let opening = file.tracks[usize::from(track)];
                let mut next = None;
                for (i, part) in file.parts(track).enumerate() {
                    prop_assert!(!part.units.is_empty());
                    prop_assert_eq!(part.units.len(), part.samples.len());
                    prop_assert!(part.dts.ticks() >= 0);
                    if i == 0 {
                        prop_assert_eq!(part.units[0].number, opening.first_number);
                    }
                    let mut dts = part.dts;
                    for (i, (sample, unit)) in part.samples.iter().zip(&part.units).enumerate() {
                        prop_assert_eq!(unit.dts - opening.base, dts, "durations add up");
                        prop_assert_eq!(sample.cts, unit.cts);
                        prop_assert_eq!(sample.sync, unit.random_access);
                        prop_assert_eq!(sample.size as usize, unit.len());
                        prop_assert!(track != 0 || i == 0 || !unit.random_access);
                        prop_assert!(next.is_none_or(|n| n == unit.number), "in order");
                        next = Some(unit.number + 1);
                        dts = dts + MediaTime::from_ticks(i64::from(sample.duration));
                    }
                }
            }
            let units = file.plans.iter().flat_map(|p| &p.parts).flat_map(|p| &p.units);
            found.extend(units.map(|u| (runs, u.track.0, u.number)));
        }
        // Runs without a key frame leave no file: count those that have one.
        let mut ids: Vec<i64> = expected.iter().map(|e| e.0).collect();
        ids.dedup();
        let place = |id: i64| ids.iter().position(|&i| i == id).unwrap() as i64 + 1;
        let mut expected: Vec<_> = expected.iter().map(|&(id, t, n)| (place(id), t, n)).collect();
        expected.sort_unstable();
        found.sort_unstable();
        prop_assert_eq!(ids.len(), bench.ends.len());
        let missing: Vec<_> = expected.iter().filter(|e| found.binary_search(e).is_err()).collect();
        prop_assert_eq!(found.len() + missing.len(), expected.len(), "none is doubled");
        // Sound of a new kind has no file until its key frame comes, and sound that breaks a long
        // silence may not fit the place its header gave it. It is counted then.
        prop_assert!(missing.iter().all(|m| m.1 == 1));
        prop_assert_eq!(bench.segmenter.dropped(), too_early + missing.len() as u64);
    }
}

#[test]
fn sound_in_long_packets_loses_nothing_where_files_begin_with_short_fragments() {
    let mut bench = Bench::new(Duration::from_secs(1));
    let run = run(1, &[video(640), audio(1)]);
    // Key frames only; sound comes every 0.16 s, 0.1 s late.
    let mut sound = 0;
    for i in 0..200_i64 {
        bench.push(&run, 0, i * 3_600, 0, true);
        while (sound + 1) * 1_280 + 800 <= i * 320 {
            bench.push(&run, 1, sound * 1_280, 0, true);
            sound += 1;
        }
    }
    bench.end(GapReason::Disconnected);
    assert_eq!(bench.segmenter.dropped(), 0);
    assert_eq!(bench.files.len(), 8);
    assert_eq!(bench.numbers(1).concat(), (0..sound as u64).collect::<Vec<_>>());
}
