//! Media time → wall time on the recorder's own clock. Pure.
//!
//! # Why the lower envelope
//!
//! A unit's arrival is its capture plus a latency that is never below some floor and often above:
//! networks and encoders only ever delay. So the smallest (arrival − media time) of some seconds
//! is the best word on where media time stands on our clock, and jitter above it does not show.
//!
//! # How
//!
//! The map is piecewise linear. At the end of each window of about ten seconds (shorter ones at the
//! beginning) the envelope's drift is estimated anew, and the next piece gets the slope that leads
//! the map onto the envelope, within ±2 %: continuous, rising, and never a jump. An envelope that is
//! more than two seconds off cannot be followed like that: it is a [`Fault`], and ends the run.
//!
//! The drift is the middle one of the slopes between the least samples of two minutes of windows:
//! two neighbours may lie so close together that jitter between them looks like percents, and one
//! congested window must not swing it. Where the envelope is comes from the last few windows, each
//! carried on by the drift: whichever is lowest had the least jitter in it. When it moves by more
//! than drift can (`LEAP`), what was measured before says nothing any more.
//!
//! A track that follows another (sound) adds a *bias* to its own envelope: what sender reports or
//! RTP-Info say of its place beside the video. It moves the map like any other error: slewed.
//!
//! # Units
//!
//! Ticks are the track's own; everything else is microseconds, slopes are parts per billion.

use std::collections::VecDeque;

use crate::proto::time::{MediaTime, Timescale, WallSpan, WallTime};

/// The map may run this much faster or slower than the camera's clock: 2 %.
const MAX_SLOPE: i64 = 20_000_000;
/// Further off than this is no drift: 2 s.
const LIMIT: i64 = 2_000_000;
/// Over which an error is worked off.
const HORIZON: i64 = 10_000_000;
/// Windows of the run's first seconds, when a burst at the start may still fade.
const FIRST_WINDOW: i64 = 1_000_000;
const FIRST_WINDOWS: u32 = 5;
const WINDOW: i64 = 10_000_000;
/// Windows over which the drift is measured, and the least time between two that are compared.
const MEASURED: usize = 12;
const BASELINE: i64 = 15_000_000;
/// And while there are few.
const FIRST_BASELINE: i64 = 8_000_000;
const FEW: usize = 4;
/// Windows whose lowest sample is the envelope.
const FLOOR: usize = 3;
/// An envelope that is so far off was not led there by drift: 250 ms.
const LEAP: i64 = 250_000;
const BILLION: i128 = 1_000_000_000;

/// The camera's media clock and ours cannot be one another's any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ran {:+.1} s against the recorder's", .off.as_secs_f64())]
pub struct Fault {
    /// How far the media clock is ahead of where it should be; negative: behind.
    pub off: WallSpan,
}

/// One track's map from ticks to wall time, over one run.
#[derive(Clone, Debug)]
pub struct RunClock {
    timescale: Timescale,
    /// Ticks of the first unit: the origin of `media`.
    origin: i64,
    piece: Piece,
    /// The one before, for pictures that are shown before others that were decoded earlier.
    previous: Piece,
    /// The envelope as of the last window: offset at a media time.
    envelope: Sample,
    /// The least samples of the last long windows, newest last.
    history: VecDeque<Sample>,
    /// How the envelope's offset changes, ppb of media time.
    drift: i64,
    window_start: i64,
    windows: u32,
    least: Option<Sample>,
    bias: i64,
}

/// `wall = start.wall + d + d · slope`, d = media time since start.
#[derive(Clone, Copy, Debug)]
struct Piece {
    media: i64,
    wall: i64,
    slope: i64,
}

impl Piece {
    fn at(&self, media: i64) -> i64 {
        let passed = media.saturating_sub(self.media);
        self.wall.saturating_add(passed).saturating_add(share(passed, self.slope))
    }
}

/// Arrival minus media time, at a media time.
#[derive(Clone, Copy, Debug)]
struct Sample {
    media: i64,
    offset: i64,
}

impl Sample {
    /// Where the envelope that it lies on is at `media`.
    fn carried(self, media: i64, drift: i64) -> Self {
        let ahead = share(media.saturating_sub(self.media), drift);
        Self { media, offset: self.offset.saturating_add(ahead) }
    }
}

fn share(span: i64, ppb: i64) -> i64 {
    let part = i128::from(span) * i128::from(ppb) / BILLION;
    i64::try_from(part).unwrap_or(if part < 0 { i64::MIN } else { i64::MAX })
}

fn clamp_slope(ppb: i64) -> i64 {
    ppb.clamp(-MAX_SLOPE, MAX_SLOPE)
}

impl RunClock {
    /// A map whose tick `ticks` is `wall`: the lower envelope of the units known so far.
    #[must_use]
    pub fn new(timescale: Timescale, ticks: i64, wall: WallTime) -> Self {
        let piece = Piece { media: 0, wall: wall.as_micros(), slope: 0 };
        Self {
            timescale,
            origin: ticks,
            piece,
            previous: piece,
            envelope: Sample { media: 0, offset: wall.as_micros() },
            history: VecDeque::new(),
            drift: 0,
            window_start: 0,
            windows: 0,
            least: None,
            bias: 0,
        }
    }

    /// Wall time of a tick. Rises with it; the same tick always has the same wall time, as long as
    /// it is not older than two windows.
    #[must_use]
    pub fn wall(&self, ticks: i64) -> WallTime {
        WallTime::from_micros(self.wall_of(self.media(ticks)))
    }

    /// Which tick stands at `wall`, to the microsecond.
    #[must_use]
    pub fn ticks(&self, wall: WallTime) -> i64 {
        let wall = wall.as_micros();
        let piece = if wall < self.piece.wall { &self.previous } else { &self.piece };
        let ahead = wall.saturating_sub(piece.wall);
        let scaled = i128::from(ahead) * BILLION / (BILLION + i128::from(piece.slope));
        let media = piece.media.saturating_add(i64::try_from(scaled).unwrap_or(0));
        let span = WallSpan::from_micros(media);
        self.origin.saturating_add(MediaTime::from_span(span, self.timescale).ticks())
    }

    /// Takes in that the unit of `ticks` arrived at `arrival`.
    ///
    /// # Errors
    ///
    /// [`Fault`] when no slewing can follow. The map stays as it was.
    pub fn observe(&mut self, ticks: i64, arrival: WallTime) -> Result<(), Fault> {
        let media = self.media(ticks);
        let sample = Sample { media, offset: arrival.as_micros().saturating_sub(media) };
        // Nothing arrives before it is sent: one such unit is proof enough.
        let early = self.expected(media).saturating_sub(sample.offset);
        if early > LIMIT {
            return Err(Fault { off: WallSpan::from_micros(early) });
        }
        // Beside the drift: else of a fast clock's window the last sample would be the least.
        let lower = |least: Sample| sample.offset < least.carried(media, self.drift).offset;
        if self.least.is_none_or(lower) {
            self.least = Some(sample);
        }
        let length = if self.windows < FIRST_WINDOWS { FIRST_WINDOW } else { WINDOW };
        if media.saturating_sub(self.window_start) >= length {
            self.bend(media)?;
        }
        Ok(())
    }

    /// Says that the envelope up to `ticks` stands in the map already: what comes later is observed.
    pub fn settled(&mut self, ticks: i64) {
        self.window_start = self.media(ticks);
        self.least = None;
    }

    /// A map whose tick `ticks` is `wall`, by the word of another track, while its envelope says
    /// `arrived`. Falls back on the envelope when the two are too far apart to be believed.
    #[must_use]
    pub fn aligned(timescale: Timescale, ticks: i64, arrived: WallTime, wall: WallTime) -> Self {
        let mut clock = Self::new(timescale, ticks, arrived);
        if clock.align(ticks, wall) {
            clock.piece.wall = wall.as_micros();
            clock.previous = clock.piece;
        }
        clock
    }

    /// Says where tick `ticks` of this track truly stands, by the word of another track. Used from
    /// the next window on. Cameras say absurd things, too: what is more than two seconds from the
    /// envelope is not believed, and the answer is `false`.
    pub fn align(&mut self, ticks: i64, wall: WallTime) -> bool {
        let media = self.media(ticks);
        let envelope = media.saturating_add(self.expected(media));
        let bias = wall.as_micros().saturating_sub(envelope);
        let plausible = bias.unsigned_abs() <= LIMIT.unsigned_abs();
        if plausible {
            self.bias = bias;
        }
        plausible
    }

    /// How far the track is led from its own envelope.
    #[must_use]
    pub const fn bias(&self) -> WallSpan {
        WallSpan::from_micros(self.bias)
    }

    /// How far the map is from where it is led; for tests and diagnosis.
    #[must_use]
    pub fn error(&self, ticks: i64) -> WallSpan {
        let media = self.media(ticks);
        WallSpan::from_micros(self.error_of(media, self.expected(media)))
    }

    fn media(&self, ticks: i64) -> i64 {
        let since = MediaTime::from_ticks(ticks.saturating_sub(self.origin));
        since.to_span(self.timescale).as_micros()
    }

    fn wall_of(&self, media: i64) -> i64 {
        if media < self.piece.media { self.previous.at(media) } else { self.piece.at(media) }
    }

    /// The envelope's offset at `media`, as known.
    fn expected(&self, media: i64) -> i64 {
        let passed = media.saturating_sub(self.envelope.media);
        self.envelope.offset.saturating_add(share(passed, self.drift))
    }

    fn error_of(&self, media: i64, envelope: i64) -> i64 {
        let target = media.saturating_add(envelope).saturating_add(self.bias);
        target.saturating_sub(self.wall_of(media))
    }

    /// Ends a window at `media`: a new estimate, a new piece.
    fn bend(&mut self, media: i64) -> Result<(), Fault> {
        let Some(least) = self.least else { return Ok(()) };
        // The window by itself: whether it can be followed at all.
        let offset = least.carried(media, self.drift).offset;
        let moved = self.error_of(media, offset);
        if moved.abs() > LIMIT.saturating_add(self.bias.abs()) {
            return Err(Fault { off: WallSpan::from_micros(moved.saturating_neg()) });
        }
        let long = self.windows >= FIRST_WINDOWS;
        if !long || offset.saturating_sub(self.expected(media)).abs() > LEAP {
            // The floors of short windows are too rough to measure a drift against.
            self.history.clear();
        }
        if self.history.len() == MEASURED {
            self.history.pop_front();
        }
        self.history.push_back(least);
        if long {
            self.drift = self.measured_drift().unwrap_or(self.drift);
        }
        let carried = self.history.iter().rev().take(FLOOR).map(|s| s.carried(media, self.drift));
        let envelope = carried.min_by_key(|s| s.offset).unwrap_or(least);
        let error = self.error_of(media, envelope.offset);
        let correction = i128::from(error) * BILLION / i128::from(HORIZON);
        let slope = self.drift.saturating_add(i64::try_from(correction).unwrap_or(0));
        self.previous = self.piece;
        self.piece = Piece { media, wall: self.wall_of(media), slope: clamp_slope(slope) };
        self.envelope = envelope;
        self.window_start = media;
        self.windows = self.windows.saturating_add(1);
        self.least = None;
        Ok(())
    }

    /// The median slope between windows that lie far enough apart.
    fn measured_drift(&self) -> Option<i64> {
        let least = if self.history.len() < FEW { FIRST_BASELINE } else { BASELINE };
        let mut slopes: Vec<i64> = Vec::with_capacity(MEASURED * MEASURED / 2);
        for (at, from) in self.history.iter().enumerate() {
            for to in self.history.iter().skip(at + 1) {
                let passed = to.media.saturating_sub(from.media);
                if passed >= least {
                    let moved = i128::from(to.offset.saturating_sub(from.offset));
                    let slope = moved * BILLION / i128::from(passed);
                    slopes.push(i64::try_from(slope).unwrap_or(0));
                }
            }
        }
        let middle = slopes.len() / 2;
        let (_, median, _) =
            slopes.get(middle).is_some().then(|| slopes.select_nth_unstable(middle))?;
        Some(clamp_slope(*median))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: i64 = 1_795_341_600_000_000;
    const RATE: i64 = 90_000;

    /// Plays `seconds` of 25 fps video whose clock is `drift_ppm` off, each frame late by what
    /// `jitter(n)` says (µs). Returns the clock and the (ticks, wall at that time) of each frame.
    fn play(
        seconds: i64,
        drift_ppm: i64,
        first_tick: i64,
        jitter: impl Fn(i64) -> i64,
    ) -> Result<(RunClock, Vec<(i64, i64)>), Fault> {
        let mut clock =
            RunClock::new(Timescale::VIDEO, first_tick, WallTime::from_micros(START + jitter(0)));
        let mut walls = Vec::new();
        for n in 0..seconds * 25 {
            let ticks = first_tick + n * (RATE / 25);
            let true_us = n * 40_000 + n * 40_000 * drift_ppm / 1_000_000;
            clock.observe(ticks, WallTime::from_micros(START + true_us + jitter(n)))?;
            walls.push((ticks, clock.wall(ticks).as_micros() - START - true_us));
        }
        Ok((clock, walls))
    }

    #[test]
    fn jitter_above_the_floor_does_not_show() {
        // Two frames of three are late by up to 150 ms; every third has the floor's latency.
        let late = |n: i64| if n % 3 == 0 { 0 } else { (n * 7_919) % 150_000 };
        let (_, errors) = play(120, 0, 0, late).unwrap();
        assert!(errors.iter().all(|(_, error)| error.abs() < 1_000), "{errors:?}");
    }

    #[test]
    fn a_late_first_frame_is_forgotten_within_seconds() {
        let (_, errors) = play(60, 0, 0, |n| if n == 0 { 200_000 } else { 0 }).unwrap();
        assert_eq!(errors[0].1, 200_000);
        assert!(errors[25 * 30..].iter().all(|(_, error)| error.abs() < 20_000));
    }

    #[test]
    fn the_clock_follows_a_camera_that_runs_a_percent_fast_or_slow() {
        for drift in [-10_000, -5_500, 5_500, 10_000] {
            let (_, errors) = play(600, drift, 0, |n| (n % 5) * 3_000).unwrap();
            let settled = &errors[25 * 60..];
            let worst = settled.iter().map(|(_, error)| error.abs()).max().unwrap();
            assert!(worst < 20_000, "{worst} µs off at {drift} ppm");
        }
    }

    #[test]
    fn a_forward_jump_of_the_media_clock_is_a_fault_at_once() {
        let (mut clock, _) = play(30, 0, 0, |_| 0).unwrap();
        let at = WallTime::from_micros(START + 30_000_000);
        let fault = clock.observe(30 * RATE + 5 * RATE, at).unwrap_err();
        assert_eq!(fault.off.as_micros(), 5_000_000);
    }

    #[test]
    fn a_media_clock_that_falls_behind_is_a_fault_within_a_window() {
        // The camera's clock stands 3 s back from frame 1,000 on.
        let outcome = play(60, 0, 0, |n| if n < 1_000 { 0 } else { 3_000_000 });
        assert!(outcome.unwrap_err().off.as_micros() < -2_000_000);
    }

    #[test]
    fn a_stall_and_the_burst_after_it_move_nothing() {
        // 4 s of silence from frame 400 on, then everything at once.
        let (_, errors) =
            play(60, 0, 0, |n| ((500 - n) * 40_000 * i64::from((400..500).contains(&n))).max(0))
                .unwrap();
        assert!(errors.iter().all(|(_, error)| error.abs() < 1_000));
    }

    #[test]
    fn sound_that_is_told_its_place_gets_there_without_a_jump() {
        let rate = Timescale::new(8_000).unwrap();
        let mut clock = RunClock::new(rate, 0, WallTime::from_micros(START));
        let (mut last, mut wall) = (START, START);
        for n in 1..3_000_i64 {
            let (ticks, us) = (n * 160, n * 20_000);
            clock.observe(ticks, WallTime::from_micros(START + us)).unwrap();
            if n % 250 == 0 {
                // Each sender report says: this sound was captured 120 ms before it arrived.
                assert!(clock.align(ticks, WallTime::from_micros(START + us - 120_000)));
            }
            wall = clock.wall(ticks).as_micros();
            assert!((19_600..=20_400).contains(&(wall - last)), "{}", wall - last);
            last = wall;
        }
        assert!((wall - START - 2_999 * 20_000 + 120_000).abs() < 5_000);
    }

    #[test]
    fn heavy_jitter_at_few_frames_a_second_is_no_drift() {
        // The least sample of one window may come right before that of the next: no baseline.
        let mixed = |n: i64| (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        let late = |n: i64| if n % 13 == 0 { mixed(n) as i64 % 90_000 } else { 500_000 };
        let (_, errors) = play(1_200, 0, 0, late).unwrap();
        let worst = errors[25 * 120..].iter().map(|(_, error)| error.abs()).max().unwrap();
        assert!(worst < 25_000, "{worst} µs off");
    }

    proptest! {
        #[test]
        fn the_map_rises_and_never_jumps(
            seed in any::<u64>(),
            drift in -15_000_i64..15_000,
            first in -5_000_000_000_i64..5_000_000_000,
            spread in 1_i64..400_000,
        ) {
            let jitter = |n: i64| {
                let mixed = (seed ^ (n as u64)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                (mixed >> 33) as i64 % spread
            };
            let (_, errors) = play(90, drift, first, jitter).unwrap();
            for pair in errors.windows(2) {
                let true_step = 40_000 + 40_000 * drift / 1_000_000;
                let step = pair[1].1 - pair[0].1 + true_step;
                prop_assert!((39_190..=40_810).contains(&step), "{} µs for one frame", step);
            }
        }

        #[test]
        fn ticks_are_found_again_from_their_wall_time(n in 1_000_i64..1_200, drift in -9_000_i64..9_000) {
            let (clock, _) = play(48, drift, 77, |_| 0).unwrap();
            let ticks = 77 + n * 3_600;
            let back = clock.ticks(clock.wall(ticks));
            prop_assert!((back - ticks).abs() <= 1, "{back} for {ticks}");
        }

        #[test]
        fn absurd_times_are_faults_or_numbers_but_never_a_panic(
            ticks in proptest::collection::vec(any::<i64>(), 1..20),
            walls in proptest::collection::vec(any::<i64>(), 20),
        ) {
            let mut clock = RunClock::new(Timescale::VIDEO, 0, WallTime::from_micros(START));
            for (ticks, wall) in ticks.into_iter().zip(walls) {
                let _ = clock.observe(ticks, WallTime::from_micros(wall));
                let _ = clock.wall(ticks);
                clock.align(ticks, WallTime::from_micros(wall));
            }
        }
    }
}
