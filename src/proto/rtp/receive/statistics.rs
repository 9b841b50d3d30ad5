//! How a source is received (RFC 3550 §6.4.1, A.3, A.8).

use std::time::Duration;

use crate::proto::rtp::rtcp::{ReceptionBlock, SentBlock};

/// Of one source since its beginning.
#[derive(Debug)]
pub(super) struct Statistics {
    ssrc: u32,
    base: i64,
    highest: i64,
    received: i64,
    expected_before: i64,
    received_before: i64,
    /// Arrival minus RTP time of the last packet, in ticks; wraps.
    transit: Option<u32>,
    /// Sixteenths of ticks.
    jitter: u32,
    /// The last sender report: the middle of its NTP time, and when it came.
    report: Option<(u32, Duration)>,
}

impl Statistics {
    /// A source that begins with number `base`.
    pub(super) const fn new(ssrc: u32, base: i64) -> Self {
        Self {
            ssrc,
            base,
            highest: base - 1,
            received: 0,
            expected_before: 0,
            received_before: 0,
            transit: None,
            jitter: 0,
            report: None,
        }
    }

    pub(super) const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    pub(super) const fn highest(&self) -> i64 {
        self.highest
    }

    /// A packet came, perhaps once more.
    pub(super) fn packet(&mut self, at: i64, timestamp: u32, arrived: i64) {
        self.received += 1;
        self.highest = self.highest.max(at);
        // Both wrap by design.
        let transit = (arrived as u32).wrapping_sub(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let apart = transit.wrapping_sub(before).cast_signed().unsigned_abs();
            self.jitter = self
                .jitter
                .saturating_add(apart)
                .saturating_sub((self.jitter.saturating_add(8)) >> 4);
        }
    }

    pub(super) const fn report(&mut self, ntp: u64, now: Duration) {
        self.report = Some(((ntp >> 16) as u32, now));
    }

    /// For the next receiver report.
    pub(super) fn block(&mut self, now: Duration) -> SentBlock {
        let expected = self.highest - self.base + 1;
        let lost = expected - self.received;
        let (newly_expected, newly_received) =
            (expected - self.expected_before, self.received - self.received_before);
        (self.expected_before, self.received_before) = (expected, self.received);
        let newly_lost = newly_expected - newly_received;
        let fraction = if newly_expected > 0 && newly_lost > 0 {
            u8::try_from((newly_lost << 8) / newly_expected).unwrap_or(u8::MAX)
        } else {
            0
        };
        let (last_report, delay) = self.report.map_or((0, 0), |(ntp, came)| {
            let delay = now.saturating_sub(came).as_micros() * 65_536 / 1_000_000;
            (ntp, u32::try_from(delay).unwrap_or(u32::MAX))
        });
        SentBlock {
            block: ReceptionBlock {
                ssrc: self.ssrc,
                fraction_lost: fraction,
                // 24 bits, signed.
                lost: i32::try_from(lost.clamp(-0x80_0000, 0x7f_ffff)).unwrap_or(0),
                highest_sequence: self.highest as u32,
                jitter: self.jitter >> 4,
            },
            last_report,
            delay,
        }
    }
}
