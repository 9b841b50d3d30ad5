//! How fast a volume fills, and for how long it lasts: pure.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// What is remembered of a volume's past.
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// What says how fast it is written to just now.
const LATELY: Duration = Duration::from_secs(60);
/// Of less than this nothing is concluded.
const LEAST: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    /// Bytes written since the start: only grows.
    written: u64,
    /// Bytes of footage on the volume.
    used: u64,
}

/// A volume's recent past.
#[derive(Clone, Debug, Default)]
pub struct Pace(VecDeque<Sample>);

impl Pace {
    /// Notes how it stands now.
    pub fn note(&mut self, at: Instant, written: u64, used: u64) {
        while self.0.len() > 1 && self.0.get(1).is_some_and(|s| at - s.at >= WINDOW) {
            self.0.pop_front();
        }
        self.0.push_back(Sample { at, written, used });
    }

    /// Bytes written a second over the last quarter of an hour; `None` at first.
    #[must_use]
    pub fn write_rate(&self) -> Option<u64> {
        let (span, first, last) = self.over(WINDOW)?;
        per_second(last.written.saturating_sub(first.written), span)
    }

    /// The same over the last minute, or as long as before where that is more.
    #[must_use]
    pub fn peak_rate(&self) -> Option<u64> {
        let lately = self.over(LATELY).and_then(|(span, first, last)| {
            per_second(last.written.saturating_sub(first.written), span)
        });
        lately.max(self.write_rate())
    }

    /// Bytes by which footage grows a second, what is deleted counted against what is written;
    /// zero when it does not grow.
    #[must_use]
    pub fn growth(&self) -> Option<u64> {
        let (span, first, last) = self.over(WINDOW)?;
        per_second(last.used.saturating_sub(first.used), span)
    }

    fn over(&self, window: Duration) -> Option<(Duration, Sample, Sample)> {
        let last = *self.0.back()?;
        let first = *self.0.iter().find(|s| last.at - s.at <= window)?;
        let span = last.at - first.at;
        (span >= LEAST).then_some((span, first, last))
    }
}

fn per_second(bytes: u64, span: Duration) -> Option<u64> {
    let rate = u128::from(bytes) * 1_000 / span.as_millis().max(1);
    u64::try_from(rate).ok()
}

/// What a volume's limits leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that can still be written before something has to go.
    pub left: u64,
    /// Bytes of footage it holds when it is full.
    pub capacity: u64,
}

impl Room {
    /// Of a volume with so many bytes of footage on it. `space`: free and in all, where the file
    /// system says.
    #[must_use]
    pub fn of(used: u64, max_bytes: Option<u64>, space: Option<(u64, u64)>, min_free: u64) -> Self {
        let free = space.map_or(u64::MAX, |(free, _)| free.saturating_sub(min_free));
        let limit = max_bytes.unwrap_or(u64::MAX);
        Self {
            left: limit.saturating_sub(used).min(free),
            capacity: limit.min(used.saturating_add(free)),
        }
    }

    /// Seconds until something has to go; `None` when it does not fill, or nobody knows.
    #[must_use]
    pub fn seconds_left(&self, pace: &Pace) -> Option<u64> {
        seconds(self.left, pace.growth())
    }

    /// How many seconds of footage it holds when it is full, written as now.
    #[must_use]
    pub fn seconds_held(&self, pace: &Pace) -> Option<u64> {
        seconds(self.capacity, pace.write_rate())
    }
}

fn seconds(bytes: u64, rate: Option<u64>) -> Option<u64> {
    // Without any bound there is no end either.
    (bytes < u64::MAX / 2).then_some(())?;
    bytes.checked_div(rate?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A volume written to at 100 bytes a second and grown by 40.
    async fn paced(seconds: u64) -> Pace {
        let mut pace = Pace::default();
        for s in 0..=seconds / 10 {
            pace.note(Instant::now(), s * 1_000, 5_000 + s * 400);
            tokio::time::advance(Duration::from_secs(10)).await;
        }
        pace
    }

    #[tokio::test(start_paused = true)]
    async fn how_long_a_volume_lasts_goes_by_what_it_grows_not_by_what_is_written() {
        let pace = paced(600).await;
        assert_eq!((pace.write_rate(), pace.growth()), (Some(100), Some(40)));
        let room = Room::of(29_000, Some(49_000), Some((60_000, 100_000)), 1_000);
        assert_eq!(room, Room { left: 20_000, capacity: 49_000 });
        assert_eq!(room.seconds_left(&pace), Some(500));
        assert_eq!(room.seconds_held(&pace), Some(490));
        let room = Room::of(29_000, None, Some((5_000, 100_000)), 1_000);
        assert_eq!(room, Room { left: 4_000, capacity: 33_000 });
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_said_before_something_is_known() {
        let room = Room::of(0, None, Some((5_000, 100_000)), 1_000);
        assert_eq!(room.seconds_left(&Pace::default()), None);
        assert_eq!(room.seconds_left(&paced(0).await), None);
        let boundless = Room::of(0, None, None, 1_000);
        assert_eq!(boundless.seconds_left(&paced(600).await), None);
        let mut idle = Pace::default();
        idle.note(Instant::now(), 0, 10);
        tokio::time::advance(Duration::from_secs(60)).await;
        idle.note(Instant::now(), 0, 10);
        assert_eq!(room.seconds_left(&idle), None, "it does not fill");
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_shows_at_once_and_the_past_is_forgotten() {
        let mut pace = paced(3_600).await;
        assert!(pace.0.len() <= 92, "{}", pace.0.len());
        pace.note(Instant::now(), 361_000 + 60_000, 0);
        assert!(pace.peak_rate() > Some(900), "{:?}", pace.peak_rate());
        assert!(pace.write_rate() < Some(200));
        assert_eq!(pace.growth(), Some(0));
    }
}
