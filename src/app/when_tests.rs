use super::*;
use crate::{model::Schedule, proto::time::WallSpan};

const EIGHT_TO_SIX: &str = r#"{"timezone":"Europe/Berlin","spans":[
    {"days":["mon","tue","wed","thu","fri","sat","sun"],"start":"08:00","end":"18:00"}]}"#;
/// 2026-11-23T07:00:00Z: eight o'clock in Berlin.
const EIGHT: WallTime = WallTime::from_micros(1_795_417_200_000_000);
const HOUR: i64 = 3_600;

fn at(seconds: i64) -> WallTime {
    EIGHT + WallSpan::from_secs(seconds)
}

fn order(mode: RecordMode) -> Order {
    let schedule: Schedule = serde_json::from_str(EIGHT_TO_SIX).unwrap();
    let when = When { schedule: Some(schedule), events: EventRecording::default() };
    Order { enabled: true, mode, when, publishes: false }
}

/// A planner and two clocks that a test moves.
struct Desk {
    planner: Planner,
    wall: WallTime,
    now: Instant,
}

impl Desk {
    fn new(mode: RecordMode, seconds: i64) -> Self {
        let wall = at(seconds);
        Self { planner: Planner::new(order(mode), wall), wall, now: Instant::now() }
    }

    fn passes(&mut self, seconds: i64) -> Wish {
        self.wall = self.wall + WallSpan::from_secs(seconds);
        self.now += Duration::from_secs(seconds.unsigned_abs());
        self.wish()
    }

    fn wish(&mut self) -> Wish {
        self.planner.wish(self.wall, self.now)
    }

    fn watched_by(&mut self, viewers: usize) -> Wish {
        self.planner.viewers(viewers, self.now);
        self.wish()
    }
}

#[test]
fn a_camera_on_demand_is_pulled_from_the_first_viewer_to_ten_seconds_after_the_last() {
    let mut desk = Desk::new(RecordMode::Never, 0);
    assert_eq!((desk.wish().wanted, desk.wish().again), (Wanted::Idle, None));
    assert_eq!(desk.watched_by(2).wanted, Wanted::Watched);
    assert_eq!(desk.watched_by(1).wanted, Wanted::Watched);
    let left = desk.watched_by(0);
    assert_eq!((left.wanted, left.again), (Wanted::Watched, Some(desk.now + LINGER)));
    assert_eq!(desk.passes(9).wanted, Wanted::Watched);
    assert_eq!(desk.watched_by(1).wanted, Wanted::Watched, "somebody comes in the last second");
    assert_eq!(desk.passes(60).again, None);
    desk.watched_by(0);
    assert_eq!(desk.passes(9).wanted, Wanted::Watched, "and has ten seconds of his own");
    assert_eq!(desk.passes(1).wanted, Wanted::Idle);
}

#[test]
fn a_camera_that_publishes_is_taken_in_at_any_time_and_recorded_when_it_is_wanted() {
    use RecordMode::{Always, Events, Never, Schedule};
    for (mode, seconds, wanted) in [
        (Never, 0, Wanted::Open),
        (Schedule, -HOUR, Wanted::Open),
        (Schedule, -2, Wanted::Standby),
        (Schedule, HOUR, Wanted::Recording),
        (Events, 0, Wanted::Standby),
        (Always, 0, Wanted::Recording),
    ] {
        let mut desk = Desk::new(mode, seconds);
        desk.planner.order(Order { publishes: true, ..order(mode) }, desk.wall);
        let wish = desk.wish();
        assert_eq!(wish.wanted, wanted, "{mode:?} {seconds}");
        assert!(wish.pull());
        assert_eq!(wish.record(), wanted == Wanted::Recording);
        assert!(desk.watched_by(1).pull());
        desk.watched_by(0);
        assert!(desk.passes(10).pull(), "nor does it go with its last viewer");
        desk.planner.order(Order { enabled: false, publishes: true, ..order(mode) }, desk.wall);
        assert!(!desk.wish().pull());
    }
}

#[test]
fn what_is_switched_off_is_neither_pulled_nor_recorded_whoever_watches() {
    for mode in [RecordMode::Always, RecordMode::Never, RecordMode::Schedule, RecordMode::Events] {
        let mut desk = Desk::new(mode, HOUR);
        desk.planner.order(Order { enabled: false, ..order(mode) }, desk.wall);
        let wish = desk.watched_by(3);
        assert!(!wish.pull() && !wish.record());
        assert_eq!(desk.planner.current().idle_reason(), GapReason::Disabled);
    }
}

#[test]
fn a_schedule_is_kept_to_the_second_and_the_camera_is_connected_a_little_before() {
    let mut desk = Desk::new(RecordMode::Schedule, -HOUR);
    let wish = desk.wish();
    assert_eq!((wish.wanted, wish.next_change), (Wanted::Idle, Some(EIGHT)));
    // Asked when it says, it is there at every edge.
    let mut changes = Vec::new();
    let mut last = wish;
    while desk.wall < at(25 * HOUR) {
        let nap = last.again.unwrap() - desk.now;
        assert!(nap <= RECHECK && !nap.is_zero());
        desk.wall = desk.wall + WallSpan::from(nap);
        desk.now += nap;
        let wish = desk.wish();
        if wish.wanted != last.wanted {
            changes.push((desk.wall, wish.wanted, wish.since));
        }
        last = wish;
    }
    let told: Vec<_> = changes.iter().map(|&(at, wanted, _)| (at, wanted)).collect();
    assert_eq!(
        told,
        [
            (at(-5), Wanted::Standby),
            (EIGHT, Wanted::Recording),
            (at(10 * HOUR), Wanted::Idle),
            (at(24 * HOUR - 5), Wanted::Standby),
            (at(24 * HOUR), Wanted::Recording),
        ]
    );
    assert_eq!(changes[1].2, EIGHT, "footage is wanted from eight on");
}

#[test]
fn outside_its_hours_a_camera_is_on_demand() {
    let mut desk = Desk::new(RecordMode::Schedule, -HOUR);
    assert_eq!(desk.watched_by(1).wanted, Wanted::Watched);
    assert_eq!(desk.passes(HOUR).wanted, Wanted::Recording);
    assert_eq!(desk.passes(10 * HOUR).wanted, Wanted::Watched, "he still watches");
    desk.watched_by(0);
    assert_eq!(desk.passes(10).wanted, Wanted::Idle);
}

#[test]
fn a_clock_that_is_set_over_an_edge_and_back_is_followed_each_time() {
    let mut desk = Desk::new(RecordMode::Schedule, -60);
    assert_eq!(desk.wish().wanted, Wanted::Idle);
    for _ in 0..3 {
        desk.wall = at(60);
        let wish = desk.wish();
        assert!(wish.record());
        desk.wall = at(-60);
        let wish = desk.wish();
        assert_eq!((wish.wanted, wish.next_change), (Wanted::Idle, Some(EIGHT)));
    }
    desk.wall = at(30 * 24 * HOUR + HOUR);
    assert!(desk.wish().record());
    desk.wall = WallTime::from_micros(0);
    // 1970-01-01T01:00 in Berlin.
    assert_eq!(desk.wish().wanted, Wanted::Idle);
    desk.wall = WallTime::from_micros(i64::MAX);
    assert_eq!(desk.wish().wanted, Wanted::Idle, "no time that a calendar knows");
}

#[test]
fn what_surrounds_an_event_is_recorded_and_further_events_prolong_it() {
    let mut desk = Desk::new(RecordMode::Events, 0);
    let wish = desk.wish();
    assert_eq!((wish.wanted, wish.again), (Wanted::Standby, None), "pulled all the time");
    let rule = EventRecording::default();
    let event = |desk: &mut Desk, start: i64, end: Option<i64>| {
        let start = desk.wall + WallSpan::from_secs(start);
        let end = end.map(|end| desk.wall + WallSpan::from_secs(end));
        desk.planner.event(Window::around(&rule, start, end, desk.wall, desk.now));
        desk.wish()
    };
    let wish = event(&mut desk, 0, None);
    assert_eq!((wish.wanted, wish.since), (Wanted::Recording, at(-5)));
    assert_eq!(wish.again, Some(desk.now + Duration::from_secs(10)));
    assert!(desk.passes(9).record());
    event(&mut desk, 0, None);
    assert!(desk.passes(9).record());
    assert_eq!(desk.passes(1).wanted, Wanted::Standby);
    // One that lasts, and one told of late.
    event(&mut desk, 0, Some(20));
    assert!(desk.passes(29).record());
    assert_eq!(desk.passes(1).wanted, Wanted::Standby);
    let wish = event(&mut desk, -4, None);
    assert_eq!(wish.since, desk.wall - WallSpan::from_secs(9));
    assert!(desk.passes(5).record() && !desk.passes(1).record());
    assert_eq!(event(&mut desk, -60, None).wanted, Wanted::Standby, "it is long over");
    let wish = event(&mut desk, 3, None);
    assert_eq!(wish.since, desk.wall - WallSpan::from_secs(5), "a clock that is ahead");
    // Whatever the wall clock does meanwhile.
    desk.wall = desk.wall + WallSpan::from_secs(-86_400);
    assert!(desk.passes(12).record() && !desk.passes(1).record());
}

#[test]
fn an_event_is_nothing_to_a_camera_that_is_not_recorded_by_events() {
    for mode in [RecordMode::Never, RecordMode::Schedule] {
        let mut desk = Desk::new(mode, -HOUR);
        let rule = EventRecording::default();
        desk.planner.event(Window::around(&rule, desk.wall, None, desk.wall, desk.now));
        assert!(!desk.wish().record());
    }
}

#[test]
fn a_gap_is_told_apart_by_the_hours_that_it_covers() {
    use GapReason::{Disabled, NotScheduled, Starting, Unreachable, VedetteDown};
    let desk = Desk::new(RecordMode::Schedule, 0);
    let pieces = |start, reason, now| desk.planner.pieces(at(start), reason, at(now));
    let none: [(WallTime, GapReason); 0] = [];
    assert_eq!(pieces(HOUR, Unreachable, 2 * HOUR), none, "within its hours");
    assert_eq!(pieces(11 * HOUR, NotScheduled, 12 * HOUR), none, "outside of them");
    // Down from five in the afternoon to nine in the morning.
    let down = pieces(9 * HOUR, VedetteDown, 25 * HOUR);
    let (six, eight) = (at(10 * HOUR), at(24 * HOUR));
    assert_eq!(down, [(at(9 * HOUR), VedetteDown), (six, NotScheduled), (eight, VedetteDown)]);
    // Asleep at its hours.
    let slept = pieces(11 * HOUR, NotScheduled, 25 * HOUR);
    assert_eq!(slept, [(at(11 * HOUR), NotScheduled), (eight, VedetteDown)]);
    // A camera that is gone when its hours end, and that moment itself.
    assert_eq!(
        pieces(9 * HOUR, Unreachable, 10 * HOUR),
        [(at(9 * HOUR), Unreachable), (six, NotScheduled)]
    );
    // Footage that ended half a second before its hours, and after.
    let early = six - WallSpan::from_millis(500);
    assert_eq!(desk.planner.pieces(early, NotScheduled, at(10 * HOUR + 1)), none);
    let late = six + WallSpan::from_millis(500);
    assert_eq!(desk.planner.pieces(late, NotScheduled, at(10 * HOUR + 1)), none);
    // Switched off is switched off.
    assert_eq!(pieces(9 * HOUR, Disabled, 25 * HOUR), none);
    assert_eq!(pieces(9 * HOUR, Starting, 8 * HOUR), none, "the clock was set back");
    // A month makes as many pieces as it has changes, and they end at now.
    assert_eq!(pieces(HOUR, VedetteDown, 30 * 24 * HOUR + HOUR).len(), 61);
}
