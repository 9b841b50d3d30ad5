use proptest::prelude::*;

use super::*;

/// Of odd habits: an hour in spring and autumn, at other dates; half an hour; off for Ramadan; none,
/// and three quarters of an hour from everybody else.
const ZONES: [&str; 5] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Asia/Kathmandu",
];
/// 2025-01-01.
const BEGIN: i64 = 1_735_689_600;
const YEARS: i64 = 2 * 365 * 86_400;

fn at(text: &str) -> WallTime {
    WallTime::from_micros(DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros())
}

fn schedule(zone: &str, spans: &[(&[Day], &str, &str)]) -> Schedule {
    let span = |&(days, start, end): &(&[Day], &str, &str)| {
        Span::new(days, start.parse().unwrap(), end.parse().unwrap()).unwrap()
    };
    Schedule::new(zone, spans.iter().map(span).collect()).unwrap()
}

/// Every change from `from` to `to`: when, and whether it opens.
fn changes(schedule: &Schedule, from: &str, to: &str) -> Vec<(WallTime, bool)> {
    let (mut now, to) = (at(from), at(to));
    let mut found = Vec::new();
    loop {
        let spell = schedule.spell(now);
        if spell.until >= to {
            return found;
        }
        now = spell.until;
        if spell.changes {
            found.push((now, !spell.open));
        }
    }
}

fn opens(text: &str) -> (WallTime, bool) {
    (at(text), true)
}

fn closes(text: &str) -> (WallTime, bool) {
    (at(text), false)
}

#[test]
fn office_hours_are_by_the_clock_of_the_zone_in_winter_and_in_summer() {
    let office = schedule("Europe/Berlin", &[(&Day::ALL[..5], "08:00", "18:00")]);
    let winter = changes(&office, "2026-01-09T12:00:00Z", "2026-01-13T00:00:00Z");
    assert_eq!(
        winter,
        [
            closes("2026-01-09T17:00:00Z"),
            opens("2026-01-12T07:00:00Z"),
            closes("2026-01-12T17:00:00Z")
        ],
        "Friday evening to Monday"
    );
    let summer = changes(&office, "2026-07-06T00:00:00Z", "2026-07-07T00:00:00Z");
    assert_eq!(summer, [opens("2026-07-06T06:00:00Z"), closes("2026-07-06T16:00:00Z")]);
}

#[test]
fn a_span_past_midnight_belongs_to_the_day_on_which_it_begins() {
    let friday_night = schedule("Asia/Kathmandu", &[(&[Day::Fri], "22:00", "06:00")]);
    let found = changes(&friday_night, "2026-01-05T00:00:00Z", "2026-01-12T00:00:00Z");
    assert_eq!(found, [opens("2026-01-09T16:15:00Z"), closes("2026-01-10T00:15:00Z")]);
}

#[test]
fn a_span_that_the_clock_leaves_out_in_spring_is_not_there_that_day() {
    let left_out = schedule("Europe/Berlin", &[(&Day::ALL, "02:15", "02:45")]);
    let found = changes(&left_out, "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z");
    assert_eq!(found, [opens("2026-03-30T00:15:00Z"), closes("2026-03-30T00:45:00Z")]);
    let half = schedule("Europe/Berlin", &[(&[Day::Sun], "01:30", "02:30")]);
    let found = changes(&half, "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z");
    assert_eq!(
        found,
        [opens("2026-03-29T00:30:00Z"), closes("2026-03-29T01:00:00Z")],
        "up to 2:00, when it is 3:00"
    );
    let other = schedule("Europe/Berlin", &[(&[Day::Sun], "02:30", "04:00")]);
    let found = changes(&other, "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z");
    assert_eq!(
        found,
        [opens("2026-03-29T01:00:00Z"), closes("2026-03-29T02:00:00Z")],
        "from 3:00 on"
    );
}

#[test]
fn an_hour_that_comes_twice_in_autumn_is_recorded_twice() {
    let twice = schedule("America/New_York", &[(&[Day::Sun], "01:00", "02:00")]);
    let found = changes(&twice, "2026-10-31T12:00:00Z", "2026-11-02T12:00:00Z");
    assert_eq!(found, [opens("2026-11-01T05:00:00Z"), closes("2026-11-01T07:00:00Z")]);
    let within = schedule("America/New_York", &[(&[Day::Sun], "01:15", "01:45")]);
    let found = changes(&within, "2026-10-31T12:00:00Z", "2026-11-02T12:00:00Z");
    let (first, second) = ("2026-11-01T05:15:00Z", "2026-11-01T06:15:00Z");
    assert_eq!(
        found,
        [
            opens(first),
            closes("2026-11-01T05:45:00Z"),
            opens(second),
            closes("2026-11-01T06:45:00Z")
        ]
    );
    let over = schedule("America/New_York", &[(&[Day::Sat], "22:00", "06:00")]);
    let found = changes(&over, "2026-10-31T12:00:00Z", "2026-11-02T12:00:00Z");
    assert_eq!(
        found,
        [opens("2026-11-01T02:00:00Z"), closes("2026-11-01T11:00:00Z")],
        "nine hours"
    );
}

#[test]
fn half_an_hour_of_daylight_saving_is_one_too() {
    // Lord Howe goes from +11 to +10:30 on 2026-04-05 at 2:00.
    let morning = schedule("Australia/Lord_Howe", &[(&Day::ALL, "01:30", "02:00")]);
    let found = changes(&morning, "2026-04-04T12:00:00Z", "2026-04-05T12:00:00Z");
    assert_eq!(found, [opens("2026-04-04T14:30:00Z"), closes("2026-04-04T15:30:00Z")]);
}

#[test]
fn all_week_and_no_hour_at_all_never_change() {
    let always = schedule("Europe/Berlin", &[(&Day::ALL, "00:00", "24:00")]);
    let never = Schedule::new("Europe/Berlin", Vec::new()).unwrap();
    for (schedule, open) in [(&always, true), (&never, false)] {
        let spell = schedule.spell(at("2026-03-28T12:00:00Z"));
        assert_eq!((spell.open, spell.changes), (open, false));
        assert!(spell.until > at("2026-04-01T00:00:00Z"));
    }
}

#[test]
fn an_absurd_clock_is_outside_and_no_panic() {
    let always = schedule("Africa/Casablanca", &[(&Day::ALL, "00:00", "24:00")]);
    for us in [i64::MIN, i64::MAX, i64::MAX - 1, -62_135_596_800_000_000] {
        let spell = always.spell(WallTime::from_micros(us));
        assert_eq!((spell.open, spell.changes), (false, false));
    }
}

#[test]
fn a_schedule_is_in_json_what_people_write() {
    let text = r#"{"timezone":"Europe/Berlin","spans":[{"days":["mon","fri"],"start":"22:00","end":"06:00"}]}"#;
    let read: Schedule = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
    for wrong in [
        text.replace("Europe/Berlin", "Europe/Atlantis"),
        text.replace("22:00", "24:00"),
        text.replace("22:00", "06:00"),
        text.replace("22:00", "9:00"),
        text.replace("06:00", "24:01"),
        text.replace(r#"["mon","fri"]"#, "[]"),
    ] {
        assert!(serde_json::from_str::<Schedule>(&wrong).is_err(), "{wrong}");
    }
}

fn any_schedule() -> impl Strategy<Value = Schedule> {
    // Early hours more often: that is where clocks are changed.
    let minute = prop_oneof![2 => 0_u16..300, 1 => 0_u16..=1_440];
    let span =
        (1_u8..128, minute.clone(), minute).prop_filter_map("no span", |(days, start, end)| {
            let days: Vec<_> = Day::ALL.into_iter().filter(|d| days & d.bit() != 0).collect();
            Span::new(&days, TimeOfDay(start), TimeOfDay(end))
        });
    (prop::sample::select(&ZONES[..]), prop::collection::vec(span, 1..4))
        .prop_map(|(zone, spans)| Schedule::new(zone, spans).unwrap())
}

/// Walks from change to change and looks at every minute between.
fn walk(schedule: &Schedule, from: i64, to: i64) {
    let mut spell = schedule.spell(WallTime::from_micros(from * 1_000_000));
    let mut minute = from;
    while minute < to {
        let wall = WallTime::from_micros(minute * 1_000_000);
        if wall >= spell.until {
            let next = schedule.spell(spell.until);
            assert_eq!(next.open, spell.open != spell.changes, "at {}", spell.until);
            spell = next;
        }
        assert!(wall < spell.until);
        assert_eq!(schedule.is_open(wall), spell.open, "at {wall}: {schedule:?}");
        minute += 60;
    }
}

#[test]
fn what_is_said_to_last_lasts_for_every_minute_of_two_years_in_every_zone() {
    for zone in ZONES {
        let odd = schedule(
            zone,
            &[
                (&[Day::Sat, Day::Sun], "01:15", "02:40"),
                (&Day::ALL[..3], "22:30", "03:10"),
                (&[Day::Fri], "08:00", "24:00"),
            ],
        );
        walk(&odd, BEGIN, BEGIN + YEARS);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Ten days of any schedule, from any minute.
    #[test]
    fn the_next_change_is_where_the_schedule_changes(
        schedule in any_schedule(),
        from in (BEGIN / 60..(BEGIN + YEARS) / 60).prop_map(|minute| minute * 60),
    ) {
        walk(&schedule, from, from + 10 * 86_400);
    }
}
