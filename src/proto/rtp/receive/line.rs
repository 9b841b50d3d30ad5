//! One line of time for a whole session, whatever sources and wraps it is made of.

use std::time::Duration;

/// A new source whose time lies so near to where the old one's would be has the same clock: the
/// line goes on to the tick. Else it goes on by arrival.
const SAME_CLOCK: Duration = Duration::from_secs(2);

/// RTP-Info that leads further away from the first packet is made up.
const BEGINNING: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(super) struct Line {
    rate: u32,
    /// The first packet's RTP time and ticks.
    first: Option<(u32, i64)>,
    last: Option<Point>,
    hint: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    timestamp: u32,
    ticks: i64,
    arrived: Duration,
}

impl Line {
    pub(super) const fn new(rate: u32) -> Self {
        Self { rate, first: None, last: None, hint: None }
    }

    pub(super) const fn hint(&mut self, rtptime: u32) {
        self.hint = Some(rtptime);
    }

    /// Begins the line with a report that came before the first packet, where RTP-Info vouches for
    /// its time: its ticks.
    pub(super) fn begin(&mut self, timestamp: u32, arrived: Duration) -> Option<i64> {
        let after = distance(self.hint?, timestamp);
        if self.last.is_some() || after.abs() > self.ticks_of(BEGINNING) {
            return None;
        }
        let ticks = i64::from(timestamp);
        self.last = Some(Point { timestamp, ticks, arrived });
        Some(ticks)
    }

    /// RTP-Info's beginning on this line, when it is believed.
    pub(super) fn beginning(&self) -> Option<i64> {
        let (first, ticks) = self.first?;
        let before = distance(first, self.hint?);
        (before.abs() <= self.ticks_of(BEGINNING)).then(|| ticks.saturating_add(before))
    }

    /// Where an RTP time lies, seen from the last packet; `None` before the first.
    pub(super) fn ticks(&self, timestamp: u32) -> Option<i64> {
        self.last.map(|last| last.ticks.saturating_add(distance(last.timestamp, timestamp)))
    }

    /// How far an RTP time lies behind the last packet's (negative: before it).
    pub(super) fn ahead(&self, timestamp: u32) -> i64 {
        self.last.map_or(0, |last| distance(last.timestamp, timestamp))
    }

    /// The next packet of the same source.
    pub(super) fn advance(&mut self, timestamp: u32, arrived: Duration) -> i64 {
        let ticks = self.ticks(timestamp).unwrap_or_else(|| i64::from(timestamp));
        self.put(timestamp, ticks, arrived)
    }

    /// The first packet of a source that takes over.
    pub(super) fn take_over(&mut self, timestamp: u32, arrived: Duration) -> i64 {
        let Some(last) = self.last.filter(|_| !self.goes_on(timestamp, arrived)) else {
            return self.advance(timestamp, arrived);
        };
        let passed = self.ticks_of(arrived.saturating_sub(last.arrived));
        self.put(timestamp, last.ticks.saturating_add(passed.max(1)), arrived)
    }

    /// Whether a time is where this clock should be by arrival.
    pub(super) fn goes_on(&self, timestamp: u32, arrived: Duration) -> bool {
        self.last.is_none_or(|last| {
            let passed = self.ticks_of(arrived.saturating_sub(last.arrived));
            let ticked = distance(last.timestamp, timestamp);
            (ticked - passed).abs() <= self.ticks_of(SAME_CLOCK)
        })
    }

    fn put(&mut self, timestamp: u32, ticks: i64, arrived: Duration) -> i64 {
        self.first.get_or_insert((timestamp, ticks));
        self.last = Some(Point { timestamp, ticks, arrived });
        ticks
    }

    /// A length of time in ticks: far from overflow, so that sums of two are.
    pub(super) fn ticks_of(&self, length: Duration) -> i64 {
        // Twice for each packet, so without a division of 128 bits.
        let rate = u64::from(self.rate);
        let whole = length.as_secs().saturating_mul(rate);
        let ticks = whole.saturating_add(u64::from(length.subsec_micros()) * rate / 1_000_000);
        i64::try_from(ticks).unwrap_or(i64::MAX).min(1 << 48)
    }
}

/// From `from` to `to` the shorter way round.
fn distance(from: u32, to: u32) -> i64 {
    i64::from(to.wrapping_sub(from).cast_signed())
}
