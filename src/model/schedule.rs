//! Weekly hours in the time zone of a camera: when it is to be recorded.
//!
//! # What daylight saving does
//!
//! A moment is within a span when the clock on the wall there says so. So an hour that a zone leaves
//! out is not recorded, since there is none; one that comes twice is recorded twice; and a span that
//! begins or ends in such an hour begins or ends with what the clock shows.
//!
//! # Invariants
//!
//! * Between `at` and [`Spell::until`] nothing changes: [`Schedule::is_open`] says the same throughout.
//! * A moment that the calendar cannot tell (a clock thousands of years off) is outside.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Datelike, Days, NaiveDateTime, Offset, TimeZone, Timelike};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::proto::time::{WallSpan, WallTime};

/// Spans that a schedule may have.
pub const MAX_SPANS: usize = 100;
/// How far ahead a change is looked for: a week, and a day for what daylight saving moves.
const AHEAD_DAYS: u64 = 8;
/// No zone changes its clocks twice within this.
const STRIDE: i64 = 3 * 3_600;
const MINUTES: u16 = 24 * 60;
/// Years within which the calendar's arithmetic is certain to hold, seconds since 1970.
const CALENDAR: std::ops::Range<i64> = -2_208_988_800..16_725_225_600;

/// A day of the week.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "their names say it")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    /// From Monday on.
    pub const ALL: [Self; 7] =
        [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];

    /// As in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mon => "mon",
            Self::Tue => "tue",
            Self::Wed => "wed",
            Self::Thu => "thu",
            Self::Fri => "fri",
            Self::Sat => "sat",
            Self::Sun => "sun",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A time of day on the clock, minutes since midnight; 24:00 is the end of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    const fn seconds(self) -> u32 {
        self.0 as u32 * 60
    }
}

/// The text is no time of day.
#[derive(Debug, thiserror::Error)]
#[error("no time of day")]
pub struct NoTimeOfDay;

impl FromStr for TimeOfDay {
    type Err = NoTimeOfDay;

    /// `HH:MM`, up to `24:00`.
    fn from_str(text: &str) -> Result<Self, NoTimeOfDay> {
        let two = |part: &str| -> Option<u16> {
            let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten()
        };
        let (hours, minutes) = text.split_once(':').ok_or(NoTimeOfDay)?;
        let (hours, minutes) = two(hours).zip(two(minutes)).ok_or(NoTimeOfDay)?;
        let all = hours * 60 + minutes;
        if minutes < 60 && all <= MINUTES { Ok(Self(all)) } else { Err(NoTimeOfDay) }
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// Hours on some days. One that ends before it begins goes on past midnight, and belongs to the day
/// on which it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// A bit a day.
    days: u8,
    start: TimeOfDay,
    end: TimeOfDay,
}

impl Span {
    /// `None` without a day, without length, or when it begins at 24:00.
    #[must_use]
    pub fn new(days: &[Day], start: TimeOfDay, end: TimeOfDay) -> Option<Self> {
        let days = days.iter().fold(0, |bits, day| bits | day.bit());
        (days != 0 && start != end && start.0 < MINUTES).then_some(Self { days, start, end })
    }

    fn holds(self, weekday: u32, second: u32) -> bool {
        let on = |day: u32| self.days & 1 << (day % 7) != 0;
        let (start, end) = (self.start.seconds(), self.end.seconds());
        if start < end {
            on(weekday) && (start..end).contains(&second)
        } else {
            (on(weekday) && second >= start) || (on(weekday + 6) && second < end)
        }
    }
}

/// A weekly schedule. The same hours every week, by the clock of its zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ScheduleText", into = "ScheduleText")]
pub struct Schedule {
    zone: Tz,
    spans: Vec<Span>,
}

/// A [`Schedule`] as it is in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Schedule)]
pub struct ScheduleText {
    /// Name in the IANA time zone data base.
    #[schema(example = "Europe/Berlin")]
    pub timezone: String,
    /// Recorded within any of them.
    pub spans: Vec<SpanText>,
}

/// A [`Span`] as it is in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ScheduleSpan)]
pub struct SpanText {
    /// At least one.
    pub days: Vec<Day>,
    /// By the clock of the zone.
    #[schema(pattern = "^[0-2][0-9]:[0-5][0-9]$", example = "08:00")]
    pub start: String,
    /// Before `start`: on the next day. `24:00` is the end of the day.
    #[schema(pattern = "^[0-2][0-9]:[0-5][0-9]$", example = "18:00")]
    pub end: String,
}

/// What is stored is no schedule.
#[derive(Debug, thiserror::Error)]
#[error("no schedule")]
pub struct NoSchedule;

impl TryFrom<ScheduleText> for Schedule {
    type Error = NoSchedule;

    fn try_from(text: ScheduleText) -> Result<Self, NoSchedule> {
        let spans = text.spans.iter().map(|span| {
            let (start, end) = (span.start.parse().ok()?, span.end.parse().ok()?);
            Span::new(&span.days, start, end)
        });
        let spans = spans.collect::<Option<Vec<_>>>().ok_or(NoSchedule)?;
        Self::new(&text.timezone, spans).ok_or(NoSchedule)
    }
}

impl From<Schedule> for ScheduleText {
    fn from(schedule: Schedule) -> Self {
        let spans = schedule.spans.iter().map(|span| SpanText {
            days: Day::ALL.into_iter().filter(|day| span.days & day.bit() != 0).collect(),
            start: span.start.to_string(),
            end: span.end.to_string(),
        });
        Self { timezone: schedule.zone.name().to_owned(), spans: spans.collect() }
    }
}

/// A time in which a schedule stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spell {
    /// Whether it is within the schedule.
    pub open: bool,
    /// Up to where that is certain: the next change, or so far that nobody needs to know.
    pub until: WallTime,
    /// Whether it changes there.
    pub changes: bool,
}

impl Schedule {
    /// `None` where there is no such zone, or too many spans.
    #[must_use]
    pub fn new(zone: &str, spans: Vec<Span>) -> Option<Self> {
        (spans.len() <= MAX_SPANS).then_some(Self { zone: Self::zone(zone)?, spans })
    }

    fn zone(name: &str) -> Option<Tz> {
        name.parse().ok()
    }

    /// Whether there is a zone of that name.
    #[must_use]
    pub fn is_zone(name: &str) -> bool {
        Self::zone(name).is_some()
    }

    fn local(&self, seconds: i64) -> Option<NaiveDateTime> {
        let utc = DateTime::from_timestamp(seconds, 0).filter(|_| CALENDAR.contains(&seconds))?;
        Some(utc.with_timezone(&self.zone).naive_local())
    }

    /// Whether this moment is within it.
    #[must_use]
    pub fn is_open(&self, at: WallTime) -> bool {
        self.is_open_at(at.as_micros().div_euclid(1_000_000))
    }

    fn is_open_at(&self, seconds: i64) -> bool {
        let Some(local) = self.local(seconds) else { return false };
        let (weekday, second) =
            (local.weekday().num_days_from_monday(), local.num_seconds_from_midnight());
        self.spans.iter().any(|span| span.holds(weekday, second))
    }

    /// How it is at `at`, and until when.
    #[must_use]
    pub fn spell(&self, at: WallTime) -> Spell {
        let seconds = at.as_micros().div_euclid(1_000_000);
        let open = self.is_open_at(seconds);
        let mut places = self.places(seconds);
        places.sort_unstable();
        let change =
            places.into_iter().find(|&place| place > seconds && self.is_open_at(place) != open);
        let wall = |seconds: i64| WallTime::from_micros(seconds.saturating_mul(1_000_000));
        Spell {
            open,
            until: change.map_or_else(|| at + WallSpan::from_secs(7 * 86_400), wall),
            changes: change.is_some(),
        }
    }

    /// Where it may change, from about `from` on, seconds since 1970: wherever the clock shows the
    /// beginning or end of a span, and wherever the clock is changed.
    fn places(&self, from: i64) -> Vec<i64> {
        let Some(local) = self.local(from) else { return Vec::new() };
        let mut places = self.changes_of_clock(from);
        let Some(first) = local.date().checked_sub_days(Days::new(1)) else { return places };
        for date in first.iter_days().take(usize::try_from(AHEAD_DAYS).unwrap_or(8) + 2) {
            for time in self.spans.iter().flat_map(|span| [span.start, span.end]) {
                // 24:00 is 0:00 of the next day.
                let Some(time) =
                    date.and_hms_opt(u32::from(time.0 / 60 % 24), u32::from(time.0 % 60), 0)
                else {
                    continue;
                };
                let found = self.zone.from_local_datetime(&time);
                places.extend(found.earliest().map(|at| at.timestamp()));
                places.extend(found.latest().map(|at| at.timestamp()));
            }
        }
        places
    }

    fn changes_of_clock(&self, from: i64) -> Vec<i64> {
        let mut changes = Vec::new();
        let last = from + 86_400 * i64::try_from(AHEAD_DAYS).unwrap_or(8);
        let mut left = from;
        while left < last {
            let right = left + STRIDE;
            if self.offset(left) != self.offset(right) {
                let (mut before, mut after) = (left, right);
                while after - before > 1 {
                    let middle = before.midpoint(after);
                    if self.offset(middle) == self.offset(left) {
                        before = middle;
                    } else {
                        after = middle;
                    }
                }
                changes.push(after);
            }
            left = right;
        }
        changes
    }

    fn offset(&self, seconds: i64) -> Option<i32> {
        let utc = DateTime::from_timestamp(seconds, 0)?;
        Some(self.zone.offset_from_utc_datetime(&utc.naive_utc()).fix().local_minus_utc())
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
