//! How fast a track's units follow one another, and how much they weigh. Pure.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Intervals remembered: a second or two of video, and enough for a steady median.
const INTERVALS: usize = 50;
/// Over which bytes are averaged.
const METER_SPAN: Duration = Duration::from_secs(5);

/// The last intervals between the units of one track.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    /// Microseconds.
    intervals: VecDeque<i64>,
}

impl Pace {
    /// The next unit came `us` after the one before, in media time.
    pub(super) fn push(&mut self, us: i64) {
        if self.intervals.len() == INTERVALS {
            self.intervals.pop_front();
        }
        self.intervals.push_back(us.max(0));
    }

    /// The median interval; `None` before there are three.
    pub(super) fn median(&self) -> Option<Duration> {
        if self.intervals.len() < 3 {
            return None;
        }
        let mut sorted: Vec<_> = self.intervals.iter().copied().collect();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
        Some(Duration::from_micros(median.unsigned_abs()))
    }

    /// Units a second; `None` before there are ten intervals.
    pub(super) fn rate(&self) -> Option<f64> {
        let span: i64 = self.intervals.iter().sum();
        let enough = self.intervals.len() >= 10 && span > 0;
        enough.then(|| self.intervals.len() as f64 * 1e6 / span as f64)
    }
}

/// Payload bits a second over the last seconds.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    /// (until when, bytes up to then), oldest first.
    marks: VecDeque<(Instant, u64)>,
    bytes: u64,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Self {
        Self { marks: VecDeque::from([(now, 0)]), bytes: 0 }
    }

    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// To be asked about once or twice a second.
    pub(super) fn bits_per_second(&mut self, now: Instant) -> u64 {
        while self.marks.len() > 1
            && self.marks.get(1).is_some_and(|(at, _)| now - *at >= METER_SPAN)
        {
            self.marks.pop_front();
        }
        let Some(&(since, before)) = self.marks.front() else { return 0 };
        self.marks.push_back((now, self.bytes));
        let seconds = (now - since).as_secs_f64();
        if seconds < 0.5 { 0 } else { ((self.bytes - before) as f64 * 8.0 / seconds) as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_what_is_sent_and_the_median_ignores_a_pause() {
        let mut pace = Pace::default();
        for n in 0..40 {
            pace.push(if n == 20 { 3_000_000 } else { 47_619 });
        }
        assert_eq!(pace.median(), Some(Duration::from_micros(47_619)));
        for _ in 0..INTERVALS {
            pace.push(47_619);
        }
        assert!((pace.rate().unwrap() - 21.0).abs() < 0.01);
    }

    #[tokio::test(start_paused = true)]
    async fn the_bit_rate_is_that_of_the_last_seconds() {
        let mut meter = Meter::new(Instant::now());
        let mut rate = 0;
        for second in 0..20 {
            tokio::time::advance(Duration::from_secs(1)).await;
            meter.add(if second < 10 { 1_000_000 } else { 500_000 });
            rate = meter.bits_per_second(Instant::now());
        }
        assert_eq!(rate, 4_000_000);
    }
}
