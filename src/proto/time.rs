//! Time as types, so that a media tick is never added to a wall clock.
//!
//! # Units
//!
//! * [`WallTime`]: UTC, microseconds since the Unix epoch. What the index and people speak.
//! * [`WallSpan`]: a signed length of wall time, microseconds.
//! * [`MediaTime`]: ticks of one track's [`Timescale`] since the start of its run. Ticks are kept
//!   as the camera sent them (FORMAT: "ticks unchanged"); they become microseconds only where a
//!   track meets the wall clock, so that rounding never piles up.
//!
//! # Invariants
//!
//! * Two `MediaTime`s are comparable only within one track of one run. The type cannot know
//!   which, so conversions always take the [`Timescale`] as an argument.
//! * Arithmetic saturates: a camera's absurd time stamp is a wrong number, never a panic.

use std::{fmt, num::NonZeroU32, ops, time::Duration};

/// A UTC instant in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallTime(i64);

/// A signed span between two [`WallTime`]s, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallSpan(i64);

/// A point (or span) on one track's timeline within one run, in ticks of its [`Timescale`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MediaTime(i64);

/// Ticks per second of a track: its RTP clock rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timescale(NonZeroU32);

impl WallTime {
    /// From microseconds since the Unix epoch.
    #[must_use]
    pub const fn from_micros(us: i64) -> Self {
        Self(us)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// NTP time stamp (RFC 5905 §6: seconds since 1900 in the high word, fraction in the low). It is
    /// rounded up, so that who cuts off what is below a microsecond, or a nanosecond, has the same
    /// time again and not one before it.
    #[must_use]
    pub fn to_ntp(self) -> u64 {
        let seconds = self.0.div_euclid(1_000_000).wrapping_add(NTP_UNIX_OFFSET) as u64;
        let fraction = ((self.0.rem_euclid(1_000_000) as u64) << 32).div_ceil(1_000_000);
        (seconds << 32) | fraction
    }

    /// Inverse of [`Self::to_ntp`], for the NTP era that holds 1968 to 2104 (RFC 4330 §3).
    #[must_use]
    pub fn from_ntp(ntp: u64) -> Self {
        let seconds = (ntp >> 32) as i64;
        let era = if seconds & 0x8000_0000 == 0 { 1_i64 << 32 } else { 0 };
        let micros = (((ntp & 0xffff_ffff) * 1_000_000 + (1 << 31)) >> 32) as i64;
        Self((seconds + era - NTP_UNIX_OFFSET) * 1_000_000 + micros)
    }
}

/// Seconds from 1900-01-01 to 1970-01-01.
const NTP_UNIX_OFFSET: i64 = 2_208_988_800;

impl ops::Sub for WallTime {
    type Output = WallSpan;

    fn sub(self, earlier: Self) -> WallSpan {
        WallSpan(self.0.saturating_sub(earlier.0))
    }
}

impl ops::Add<WallSpan> for WallTime {
    type Output = Self;

    fn add(self, span: WallSpan) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl ops::Sub<WallSpan> for WallTime {
    type Output = Self;

    fn sub(self, span: WallSpan) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl WallSpan {
    /// Nothing at all.
    pub const ZERO: Self = Self(0);

    /// From microseconds; negative runs backwards.
    #[must_use]
    pub const fn from_micros(us: i64) -> Self {
        Self(us)
    }

    /// From whole seconds.
    #[must_use]
    pub const fn from_secs(s: i64) -> Self {
        Self(s.saturating_mul(1_000_000))
    }

    /// From milliseconds.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms.saturating_mul(1_000))
    }

    /// Microseconds.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Seconds, for people and metrics.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// As a [`Duration`], or zero when negative.
    #[must_use]
    pub fn to_duration(self) -> Duration {
        Duration::from_micros(u64::try_from(self.0).unwrap_or(0))
    }
}

impl From<Duration> for WallSpan {
    fn from(d: Duration) -> Self {
        Self(i64::try_from(d.as_micros()).unwrap_or(i64::MAX))
    }
}

impl ops::Add for WallSpan {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl ops::Sub for WallSpan {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl ops::AddAssign for WallSpan {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl MediaTime {
    /// The run's first tick.
    pub const ZERO: Self = Self(0);

    /// From ticks.
    #[must_use]
    pub const fn from_ticks(ticks: i64) -> Self {
        Self(ticks)
    }

    /// Ticks.
    #[must_use]
    pub const fn ticks(self) -> i64 {
        self.0
    }

    /// This many ticks as wall time, rounded to the nearest microsecond.
    #[must_use]
    pub fn to_span(self, timescale: Timescale) -> WallSpan {
        let rate = i128::from(timescale.get());
        let us = (i128::from(self.0) * 1_000_000 + rate / 2).div_euclid(rate);
        WallSpan(i64::try_from(us).unwrap_or(if self.0 < 0 { i64::MIN } else { i64::MAX }))
    }

    /// `span` in ticks of `timescale`, rounded to the nearest tick.
    #[must_use]
    pub fn from_span(span: WallSpan, timescale: Timescale) -> Self {
        let ticks =
            (i128::from(span.0) * i128::from(timescale.get()) + 500_000).div_euclid(1_000_000);
        Self(i64::try_from(ticks).unwrap_or(if span.0 < 0 { i64::MIN } else { i64::MAX }))
    }
}

impl ops::Add for MediaTime {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl ops::Sub for MediaTime {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Timescale {
    /// The clock of every video payload (RFC 6184 §8.2.1, RFC 7798 §7.1).
    pub const VIDEO: Self = Self(NonZeroU32::new(90_000).expect("90,000 is not zero"));

    /// `None` for zero ticks a second.
    #[must_use]
    pub const fn new(ticks_per_second: u32) -> Option<Self> {
        match NonZeroU32::new(ticks_per_second) {
            Some(n) => Some(Self(n)),
            None => None,
        }
    }

    /// Ticks per second.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for WallTime {
    /// RFC 3339 UTC with microseconds: `2026-11-22T10:00:00.000000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = self.civil();
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
            c.year, c.month, c.day, c.hour, c.minute, c.second, c.micros
        )
    }
}

/// A [`WallTime`] on the proleptic Gregorian calendar, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year, astronomical numbering.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59; UTC leap seconds do not exist in Unix time.
    pub second: u8,
    /// 0 to 999,999.
    pub micros: u32,
}

impl WallTime {
    /// The calendar fields of this instant (Howard Hinnant's `civil_from_days`).
    #[must_use]
    pub fn civil(self) -> Civil {
        let seconds = self.0.div_euclid(1_000_000);
        let of_day = seconds.rem_euclid(86_400);
        let z = seconds.div_euclid(86_400) + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        Civil {
            year: yoe + era * 400 + i64::from(month <= 2),
            month: month as u8,
            day: (doy - (153 * mp + 2) / 5 + 1) as u8,
            hour: (of_day / 3_600) as u8,
            minute: (of_day / 60 % 60) as u8,
            second: (of_day % 60) as u8,
            micros: self.0.rem_euclid(1_000_000) as u32,
        }
    }

    /// Inverse of [`Self::civil`]; `None` when a field is out of its range.
    #[must_use]
    pub fn from_civil(c: Civil) -> Option<Self> {
        let leap = c.year % 4 == 0 && (c.year % 100 != 0 || c.year % 400 == 0);
        let days = match c.month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => return None,
        };
        let in_range = (1..=9_999).contains(&c.year)
            && (1..=days).contains(&c.day)
            && c.hour < 24
            && c.minute < 60
            && c.second < 60
            && c.micros < 1_000_000;
        if !in_range {
            return None;
        }
        let y = if c.month <= 2 { c.year - 1 } else { c.year };
        let era = y.div_euclid(400);
        let yoe = y.rem_euclid(400);
        let m = i64::from(c.month);
        let doy = (153 * (if m > 2 { m - 3 } else { m + 9 }) + 2) / 5 + i64::from(c.day) - 1;
        let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
        let day_seconds =
            i64::from(c.hour) * 3_600 + i64::from(c.minute) * 60 + i64::from(c.second);
        let seconds = (era * 146_097 + doe - 719_468) * 86_400 + day_seconds;
        Some(Self(seconds * 1_000_000 + i64::from(c.micros)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_known_instant_prints_as_rfc_3339() {
        let at = WallTime::from_micros(1_795_341_600_000_001);
        assert_eq!(at.to_string(), "2026-11-22T10:00:00.000001Z");
    }

    #[test]
    fn the_thirty_first_of_april_is_no_date() {
        let april =
            Civil { year: 2026, month: 4, day: 31, hour: 0, minute: 0, second: 0, micros: 0 };
        assert_eq!(WallTime::from_civil(april), None);
    }

    proptest! {
        #[test]
        fn calendar_fields_lead_back_to_the_instant(us in 0_i64..253_402_300_799_999_999) {
            let at = WallTime::from_micros(us);
            prop_assert_eq!(WallTime::from_civil(at.civil()), Some(at));
        }

        #[test]
        fn ntp_leads_back_to_the_same_microsecond(us in 0_i64..4_200_000_000_000_000) {
            let at = WallTime::from_micros(us);
            prop_assert_eq!(WallTime::from_ntp(at.to_ntp()), at);
            let cut_off = ((at.to_ntp() & 0xffff_ffff) * 1_000_000_000) >> 32;
            prop_assert_eq!(cut_off / 1_000, at.as_micros().rem_euclid(1_000_000) as u64);
        }

        #[test]
        fn ticks_survive_a_trip_through_microseconds(
            ticks in -1_000_000_000_000_i64..1_000_000_000_000,
            rate in 1_000_u32..200_000,
        ) {
            let timescale = Timescale::new(rate).expect("not zero");
            let time = MediaTime::from_ticks(ticks);
            prop_assert_eq!(MediaTime::from_span(time.to_span(timescale), timescale), time);
        }
    }
}
