use tokio::time::Instant;

use super::*;
use proptest::prelude::*;

const START: i64 = 1_795_341_600_000_000;
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// A machine: its true time, and what its wall clock makes of it.
struct Machine {
    boot: Instant,
    /// Seconds since boot that it was awake, and asleep; microseconds.
    awake: i64,
    asleep: i64,
    off: i64,
    watch: Watch,
}

impl Machine {
    /// Boots at START + `later` seconds with its clock `off` seconds from the truth.
    fn boots(later: i64, off: i64, before: Option<Believed>) -> Self {
        let boot = Instant::now();
        let off = (later + off) * 1_000_000;
        let wall = WallTime::from_micros(START + off);
        let reading = Reading { wall, at: boot, asleep: WallSpan::ZERO };
        Self { boot, awake: 0, asleep: 0, off, watch: Watch::new(reading, before) }
    }

    fn reading(&self) -> Reading {
        Reading {
            wall: WallTime::from_micros(START + self.awake + self.asleep + self.off),
            at: self.boot + Duration::from_micros(self.awake.unsigned_abs()),
            asleep: WallSpan::from_micros(self.asleep),
        }
    }

    fn look(&mut self) {
        let now = self.reading();
        self.watch.take(now);
    }

    fn runs(&mut self, seconds: i64) {
        // Readings an hour apart are as good as such a second apart.
        for _ in 0..seconds / 600 {
            self.awake += 600_000_000;
            self.look();
        }
        self.awake += seconds % 600 * 1_000_000;
        self.look();
    }

    fn is_set_by(&mut self, seconds: i64) {
        self.off += seconds * 1_000_000;
        self.awake += 1_000_000;
        self.look();
    }

    fn told(&mut self) -> Vec<Change> {
        std::iter::from_fn(|| self.watch.poll_change()).collect()
    }
}

/// Remembered by a process whose clock was right.
const RIGHT: Believed =
    Believed { wall: WallTime::from_micros(START), said: WallTime::from_micros(START), held: None };

#[test]
fn a_clock_that_goes_right_is_left_in_peace() {
    let mut machine = Machine::boots(0, 0, None);
    machine.runs(3 * DAY);
    assert_eq!(machine.told(), []);
    assert_eq!(machine.watch.held(), None);
    assert_eq!(machine.watch.believed().wall, machine.reading().wall);
}

#[test]
fn slow_slewing_is_no_step_however_long_it_lasts() {
    let mut machine = Machine::boots(0, 0, None);
    for _ in 0..20_000 {
        machine.awake += 1_000_000;
        machine.off += 500;
        machine.look();
    }
    assert_eq!(machine.told(), []);
}

#[test]
fn steps_are_seen_from_tens_of_milliseconds_to_decades_and_both_ways() {
    let (second, mut machine) = (1_000_000, Machine::boots(0, 0, None));
    for by in [60_000, second, 60 * second, HOUR * second, 2 * YEAR * second, 56 * YEAR * second] {
        for by in [by, -by] {
            machine.runs(100);
            machine.told();
            machine.off += by;
            machine.awake += second;
            machine.look();
            let step = Step { by: WallSpan::from_micros(by), at: machine.reading().wall };
            assert_eq!(machine.told().first(), Some(&Change::Stepped(step)));
        }
    }
    let counts = machine.watch.counts();
    assert_eq!((counts.forward, counts.back, counts.suspends), (6, 6, 0));
}

#[test]
fn sleep_is_counted_and_is_neither_a_step_nor_a_reason_to_hold() {
    let mut machine = Machine::boots(0, 0, None);
    machine.runs(100);
    machine.asleep += 3 * DAY * 1_000_000;
    machine.runs(1);
    let slept = Change::Slept(WallSpan::from_secs(3 * DAY));
    assert_eq!(machine.told(), [slept]);
    assert_eq!((machine.watch.counts().suspends, machine.watch.held()), (1, None));
}

#[test]
fn a_jump_of_more_than_an_hour_holds_deletion_and_one_of_less_does_not() {
    let mut machine = Machine::boots(0, 0, None);
    machine.is_set_by(HOUR - 5);
    assert_eq!(machine.watch.held(), None);
    machine.is_set_by(HOUR + 5);
    let held = machine.watch.held().unwrap();
    assert_eq!(held.ahead, WallSpan::from_secs(HOUR + 5));
    assert_eq!((held.left, held.since), (limits::HOLD, machine.reading().wall));
}

#[test]
fn deletion_is_held_for_a_day_of_uptime() {
    let mut machine = Machine::boots(0, 0, None);
    machine.is_set_by(2 * YEAR);
    machine.runs(DAY - 10);
    assert_eq!(machine.watch.held().unwrap().left, Duration::from_secs(10));
    machine.runs(20);
    assert_eq!(machine.watch.held(), None);
    assert_eq!(machine.told().last(), Some(&Change::Accepted));
    machine.runs(DAY);
    assert_eq!(machine.told(), []);
}

#[test]
fn a_clock_that_is_confirmed_is_believed_from_then_on() {
    let mut machine = Machine::boots(0, 0, None);
    assert!(!machine.watch.confirm(), "there is nothing to confirm");
    machine.is_set_by(2 * YEAR);
    assert!(machine.watch.confirm());
    assert_eq!(machine.watch.held(), None);
    machine.runs(HOUR);
    assert_eq!(machine.watch.held(), None);
    machine.is_set_by(2 * HOUR);
    assert!(machine.watch.held().is_some(), "but not the next jump");
}

#[test]
fn a_clock_put_right_again_is_held_no_longer() {
    let mut machine = Machine::boots(0, 0, None);
    machine.is_set_by(2 * YEAR);
    machine.runs(5 * HOUR);
    machine.is_set_by(-2 * YEAR + 60);
    assert_eq!(machine.watch.held(), None);
    assert_eq!(machine.told().last(), Some(&Change::Back));
}

#[test]
fn a_boot_in_1970_and_ntp_soon_after_holds_nothing_when_the_machine_was_off_for_minutes() {
    let mut before = Machine::boots(0, 0, None);
    before.runs(HOUR);
    let believed = before.watch.believed();
    let mut machine = Machine::boots(HOUR + 600, -56 * YEAR, Some(believed));
    assert_eq!(machine.watch.held(), None, "an old clock deletes nothing");
    machine.runs(40);
    machine.is_set_by(56 * YEAR);
    assert_eq!(machine.watch.held(), None, "the time is the one believed in before");
}

#[test]
fn a_boot_in_1970_after_a_night_without_power_is_held_when_ntp_comes() {
    let mut machine = Machine::boots(8 * HOUR, -56 * YEAR, Some(RIGHT));
    machine.is_set_by(56 * YEAR);
    let held = machine.watch.held().unwrap();
    assert_eq!(held.ahead.as_secs_f64().round() as i64, 8 * HOUR);
}

#[test]
fn a_clock_that_jumps_from_one_wrong_time_to_another_is_held() {
    let mut machine = Machine::boots(0, 0, None);
    machine.runs(HOUR);
    machine.is_set_by(-56 * YEAR);
    machine.is_set_by(30 * YEAR);
    assert!(machine.watch.held().is_some());
}

#[test]
fn a_jump_across_a_restart_is_seen_by_what_was_remembered() {
    let machine = Machine::boots(0, 5 * YEAR, Some(RIGHT));
    assert_eq!(machine.watch.held().unwrap().ahead, WallSpan::from_secs(5 * YEAR));
}

#[test]
fn a_clock_that_was_behind_and_jumps_across_a_restart_is_held_though_it_is_behind_still() {
    let mut before = Machine::boots(0, 0, None);
    before.runs(HOUR);
    before.is_set_by(-56 * YEAR);
    let believed = before.watch.believed();
    let machine = Machine::boots(HOUR + 60, -26 * YEAR, Some(believed));
    assert!(machine.watch.held().is_some(), "what was recorded meanwhile looks 30 years old");
    let machine = Machine::boots(HOUR + 60, -56 * YEAR, Some(believed));
    assert_eq!(machine.watch.held(), None);
}

#[test]
fn what_is_held_stays_held_through_a_restart_and_its_uptime_counts_on() {
    let mut machine = Machine::boots(0, 0, None);
    machine.is_set_by(5 * YEAR);
    machine.runs(10 * HOUR);
    let before = machine.watch.believed();
    let mut next = Machine::boots(11 * HOUR, 5 * YEAR, Some(before));
    assert!(next.watch.held().is_some());
    next.runs(13 * HOUR);
    assert!(next.watch.held().is_some());
    next.runs(2 * HOUR);
    assert_eq!(next.watch.held(), None);
}

#[test]
fn a_clock_that_stays_behind_for_a_day_is_believed() {
    let mut machine = Machine::boots(0, 0, None);
    machine.is_set_by(-5 * YEAR);
    machine.runs(2 * HOUR);
    assert_ne!(machine.watch.believed().wall, machine.reading().wall);
    machine.runs(DAY);
    assert_eq!(machine.watch.believed().wall, machine.reading().wall);
    machine.is_set_by(5 * YEAR);
    assert!(machine.watch.held().is_some(), "so the old time is a jump by now");
}

#[test]
fn an_hour_more_a_minute_cannot_be_crept_by_unnoticed() {
    let mut machine = Machine::boots(0, 0, None);
    for _ in 0..10 {
        machine.is_set_by(HOUR - 60);
    }
    // Each is let pass, as the rule says, but each is counted.
    assert_eq!(machine.watch.counts().forward, 10);
}

proptest! {
    /// Whatever the clock does: while it is more than an hour ahead of the truth, and the truth was
    /// believed in before, no age is reckoned by it within a day.
    #[test]
    fn no_sudden_future_is_believed(
        steps in prop::collection::vec((-60 * YEAR..60 * YEAR, 1_i64..2 * HOUR), 1..11),
    ) {
        let mut machine = Machine::boots(0, 0, None);
        machine.runs(60);
        for (to, then) in steps {
            let by = to - machine.off / 1_000_000;
            machine.is_set_by(by);
            machine.runs(then);
            if machine.off > HOUR * 1_000_000 {
                prop_assert!(machine.watch.held().is_some(), "{} s ahead", machine.off / 1_000_000);
            }
            if machine.watch.held().is_none() {
                prop_assert!(machine.off <= HOUR * 1_000_000);
            }
        }
    }

    #[test]
    fn absurd_readings_are_no_panic(
        readings in prop::collection::vec((any::<i64>(), 0_u64..1 << 50, any::<i64>()), 1..20),
    ) {
        let boot = Instant::now();
        let reading = |(wall, at, asleep): (i64, u64, i64)| Reading {
            wall: WallTime::from_micros(wall),
            at: boot + Duration::from_micros(at),
            asleep: WallSpan::from_micros(asleep),
        };
        let mut watch = Watch::new(reading((0, 0, 0)), None);
        for moment in readings {
            watch.take(reading(moment));
            let _ = (watch.held(), watch.believed(), watch.poll_change());
        }
    }
}
