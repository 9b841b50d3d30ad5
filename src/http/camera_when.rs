//! When a camera is recorded, as a client sends it: `schedule` and `events`.

use serde_json::{Map, Value};

use super::extract::Fields;
use crate::model::{Day, EventRecording, MAX_SPANS, Schedule, Span, TimeOfDay, When};

/// Longest kind of an event, characters.
const MAX_KIND: usize = 40;
const DAYS: &str = "must be a list of days: mon, tue, wed, thu, fri, sat, sun";

/// Takes both out.
pub(super) fn read(f: &mut Fields<'_>) -> When {
    When { schedule: schedule(f), events: events(f).unwrap_or_default() }
}

fn schedule(f: &mut Fields<'_>) -> Option<Schedule> {
    let map = f.object("schedule")?;
    let path = f.path("schedule");
    let mut s = Fields::new(&path, map, f.mistakes());
    let zone = s.text("timezone", 100).filter(|name| Schedule::is_zone(name));
    if zone.is_none() {
        s.mistake("timezone", "must be the name of a time zone: Europe/Berlin");
    }
    let spans = match s.value("spans") {
        Some(Value::Array(list)) if (1..=MAX_SPANS).contains(&list.len()) => {
            // All of them first: every mistake is named.
            let list = list.into_iter().enumerate();
            let spans: Vec<_> =
                list.map(|(at, value)| span(&mut s, &format!("spans[{at}]"), value)).collect();
            spans.into_iter().collect::<Option<Vec<_>>>()
        }
        _ => {
            s.mistake("spans", format!("must be a list of 1 to {MAX_SPANS} spans"));
            None
        }
    };
    s.finish();
    Schedule::new(&zone?, spans?)
}

fn span(s: &mut Fields<'_>, name: &str, value: Value) -> Option<Span> {
    let Value::Object(map) = value else {
        s.mistake(name, "must be an object with days, start and end");
        return None;
    };
    let path = s.path(name);
    let mut f = Fields::new(&path, map, s.mistakes());
    let days = match f.value("days") {
        Some(Value::Array(list)) if !list.is_empty() => days(&list),
        _ => None,
    };
    if days.is_none() {
        f.mistake("days", DAYS);
    }
    let (start, end) = (time(&mut f, "start"), time(&mut f, "end"));
    let span = match (&days, start, end) {
        (Some(days), Some(start), Some(end)) => {
            let span = Span::new(days, start, end);
            if span.is_none() && start == end {
                f.mistake("end", "must differ from `start`; a whole day is 00:00 to 24:00");
            } else if span.is_none() {
                f.mistake("start", "must be before 24:00");
            }
            span
        }
        _ => None,
    };
    f.finish();
    span
}

fn days(list: &[Value]) -> Option<Vec<Day>> {
    let day = |value: &Value| {
        let name = value.as_str()?;
        Day::ALL.into_iter().find(|day| day.as_str() == name)
    };
    list.iter().map(day).collect()
}

fn time(f: &mut Fields<'_>, name: &str) -> Option<TimeOfDay> {
    let time = f.value(name).as_ref().and_then(Value::as_str).and_then(|text| text.parse().ok());
    if time.is_none() {
        f.mistake(name, "must be a time of day as HH:MM, 00:00 to 24:00");
    }
    time
}

fn events(f: &mut Fields<'_>) -> Option<EventRecording> {
    let map: Map<String, Value> = f.object("events")?;
    let path = f.path("events");
    let mut e = Fields::new(&path, map, f.mistakes());
    let unless_told = EventRecording::default();
    let kinds = match e.value("kinds") {
        None => Some(Vec::new()),
        Some(Value::Array(list)) if list.len() <= EventRecording::MAX_KINDS => list
            .into_iter()
            .map(|kind| kind.as_str().filter(|kind| is_kind(kind)).map(str::to_owned))
            .collect(),
        Some(_) => None,
    };
    if kinds.is_none() {
        e.mistake("kinds", "must be a list of words of a-z, 0-9, _, . and -; empty means all");
    }
    let mut seconds = |name: &str, least: u32, most: u32, unless_told: u32| {
        let Some(value) = e.value(name) else { return unless_told };
        let found = value.as_u64().and_then(|n| u32::try_from(n).ok());
        match found.filter(|n| (least..=most).contains(n)) {
            Some(n) => n,
            None => {
                e.mistake(name, format!("must be a whole number from {least} to {most}"));
                unless_told
            }
        }
    };
    let before = EventRecording::MAX_BEFORE;
    let before_seconds = seconds("before_seconds", 0, before, unless_told.before_seconds);
    let after = EventRecording::MAX_AFTER;
    let after_seconds = seconds("after_seconds", 1, after, unless_told.after_seconds);
    e.finish();
    Some(EventRecording { kinds: kinds.unwrap_or_default(), before_seconds, after_seconds })
}

/// What may stand as the kind of an event.
pub(super) fn is_kind(kind: &str) -> bool {
    let fits =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-');
    !kind.is_empty() && kind.len() <= MAX_KIND && kind.bytes().all(fits)
}
