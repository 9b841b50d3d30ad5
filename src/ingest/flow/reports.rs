//! What a track's sender reports say of its clock. Pure.
//!
//! Two tracks are laid beside one another by the camera's own clock, which each track's reports
//! tie to its ticks. That clock may be decades off, since only differences count; but it must be one
//! clock. Where NTP sets it between two reports of a track it is another, and what was reported
//! before says nothing beside what is reported now. Reports seldom come together, so what lies
//! between them is reckoned at the rate that the reports themselves show: a clock of 8,000 that
//! ticks 8,012 times a second must not be 8 ms off after five seconds.

use crate::proto::time::{MediaTime, Timescale, WallSpan, WallTime};

/// Between two reports the two clocks may come apart by so much: reports are written by hand in
/// many cameras.
const NOISE: i64 = 50_000;
/// And by so many parts of the time between: 2 %.
const DRIFT: i64 = 50;
/// Over less, a rate cannot be measured.
const BASELINE: WallSpan = WallSpan::from_secs(4);
/// Reports of two tracks further apart than this are not compared.
pub(super) const TOGETHER: WallSpan = WallSpan::from_secs(60);

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Report {
    /// On the camera's clock.
    pub(super) wall: WallTime,
    /// On the track's.
    pub(super) ticks: i64,
}

/// One track's reports since its camera's clock was last set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reports {
    timescale: Timescale,
    first: Option<Report>,
    newest: Option<Report>,
}

impl Reports {
    pub(super) const fn new(timescale: Timescale) -> Self {
        Self { timescale, first: None, newest: None }
    }

    /// Takes the next one in; `false` when the camera's clock was set since the last one.
    pub(super) fn take(&mut self, report: Report) -> bool {
        let goes_on = self.newest.is_none_or(|last| {
            let passed = report.wall - last.wall;
            let ticked = self.span(report.ticks.saturating_sub(last.ticks));
            let apart = (passed - ticked).as_micros().saturating_abs();
            let drift = ticked.as_micros().saturating_abs() / DRIFT;
            apart <= NOISE.saturating_add(drift)
        });
        if !goes_on {
            self.forget();
        }
        self.first = self.first.or(Some(report));
        self.newest = Some(report);
        goes_on
    }

    pub(super) fn forget(&mut self) {
        (self.first, self.newest) = (None, None);
    }

    pub(super) const fn newest(&self) -> Option<Report> {
        self.newest
    }

    /// How long `ticks` take on the camera's clock.
    pub(super) fn length(&self, ticks: i64) -> WallSpan {
        match self.measured() {
            Some((span, ticked)) => {
                WallSpan::from_micros(in_proportion(ticks, span.as_micros(), ticked))
            }
            None => self.span(ticks),
        }
    }

    /// How many ticks a time on the camera's clock takes.
    pub(super) fn ticks(&self, length: WallSpan) -> i64 {
        match self.measured() {
            Some((span, ticked)) => in_proportion(length.as_micros(), ticked, span.as_micros()),
            None => MediaTime::from_span(length, self.timescale).ticks(),
        }
    }

    /// Ticks counted over a time on the camera's clock.
    fn measured(&self) -> Option<(WallSpan, i64)> {
        let (first, newest) = self.first.zip(self.newest)?;
        let span = newest.wall - first.wall;
        let ticked = newest.ticks.saturating_sub(first.ticks);
        (span >= BASELINE && ticked > 0).then_some((span, ticked))
    }

    fn span(&self, ticks: i64) -> WallSpan {
        MediaTime::from_ticks(ticks).to_span(self.timescale)
    }
}

/// `value · to / from`, rounded; `from` is above zero.
fn in_proportion(value: i64, to: i64, from: i64) -> i64 {
    let from = i128::from(from.max(1));
    let scaled = (i128::from(value) * i128::from(to) + from / 2).div_euclid(from);
    i64::try_from(scaled).unwrap_or(if scaled < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(seconds: f64, ticks: i64) -> Report {
        Report { wall: WallTime::from_micros((seconds * 1e6) as i64), ticks }
    }

    fn sound() -> Reports {
        Reports::new(Timescale::new(8_000).unwrap())
    }

    #[test]
    fn a_clock_that_lies_about_its_rate_is_measured() {
        let mut sound = sound();
        assert!(sound.take(report(100.0, 0)));
        assert_eq!(sound.length(8_000), WallSpan::from_secs(1), "nothing better is known");
        assert!(sound.take(report(105.0, 5 * 8_012)));
        assert_eq!(sound.length(8_012), WallSpan::from_secs(1));
        assert_eq!(sound.ticks(WallSpan::from_secs(1)), 8_012);
    }

    #[test]
    fn a_camera_whose_clock_is_set_is_believed_from_then_on_only() {
        for by in [-31_536_000.0, -3.0, -0.4, 0.4, 3_600.0, 1e9] {
            let mut sound = sound();
            assert!(sound.take(report(2e9, 0)));
            assert!(sound.take(report(2e9 + 5.0, 40_000)));
            assert!(!sound.take(report(2e9 + 10.0 + by, 80_000)), "{by}");
            assert_eq!(sound.newest().map(|r| r.ticks), Some(80_000));
            assert_eq!(sound.length(8_000), WallSpan::from_secs(1));
            assert!(sound.take(report(2e9 + 15.0 + by, 120_000)));
        }
    }

    #[test]
    fn a_camera_without_a_clock_never_goes_on() {
        let mut sound = sound();
        assert!(sound.take(report(0.0, 0)));
        assert!((1..5).all(|n| !sound.take(report(0.0, n * 40_000))));
    }

    #[test]
    fn absurd_reports_are_no_panic() {
        let mut sound = sound();
        for wall in [i64::MIN, 0, i64::MAX] {
            for ticks in [i64::MIN, -1, 0, 1, i64::MAX] {
                sound.take(Report { wall: WallTime::from_micros(wall), ticks });
                let _ = (sound.length(i64::MAX), sound.ticks(WallSpan::from_micros(i64::MIN)));
            }
        }
    }
}
