//! What a camera tells, made into events with a start and an end. Pure.
//!
//! * Only what people look for footage by: motion, tamper, a digital input. A camera tells the same
//!   motion under several topics; it is one event, from the first that begins to the last that ends.
//! * An end may never come: cameras reboot, forget, or only ever say "true". So an event is known to
//!   last up to the last word of it and its end in the index moves on while it lasts; after
//!   [`LONGEST`] without a word it is over.
//! * A camera that tells too much costs itself: [`MOST_BEGUN`] a minute, [`MOST_OPEN`] at once.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use tokio::time::Instant;

use super::device::Notice;
use crate::{id::EventId, proto::time::WallTime};

/// Without a word for so long, an event is over.
pub(super) const LONGEST: Duration = Duration::from_secs(3_600);
/// Events that last at once.
const MOST_OPEN: usize = 32;
/// Topics and sources that hold one event open.
const MOST_HOLDERS: usize = 16;
/// Events begun in a minute; more are dropped and counted.
const MOST_BEGUN: u32 = 60;
const MINUTE: Duration = Duration::from_secs(60);
/// How often the ends of what lasts are moved on in the index.
const MOVE_ON: Duration = Duration::from_secs(15);

/// What is to be done in the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A new event; `lasts` unless it is but a moment.
    Begin { id: EventId, start: WallTime, lasts: bool, kind: &'static str, note: String },
    /// It lasts until then, at least.
    Until { id: EventId, end: WallTime },
}

/// What lasts at one camera.
#[derive(Debug, Default)]
pub(super) struct Notices {
    open: BTreeMap<Key, Open>,
    begun: u32,
    minute: Option<Instant>,
    moved_on: Option<Instant>,
    /// Not taken, since it was too much.
    pub(super) dropped: u64,
}

/// The kind, and of which input.
type Key = (&'static str, String);

#[derive(Debug)]
struct Open {
    id: EventId,
    start: WallTime,
    /// Which topics say so, and their last word.
    holders: BTreeMap<String, Instant>,
}

/// What kind of event a topic tells.
fn kind_of(topic: &str) -> Option<&'static str> {
    let is = |words: &[&str]| words.iter().any(|word| topic.contains(word));
    if topic.ends_with("Trigger/DigitalInput") {
        Some("input")
    } else if is(&[
        "Tamper",
        "GlobalSceneChange",
        "ImageTooBlurry",
        "ImageTooDark",
        "ImageTooBright",
    ]) {
        Some("tamper")
    } else if is(&["Motion"]) {
        Some("motion")
    } else {
        None
    }
}

impl Notices {
    /// Takes one; `id` makes a new event's.
    pub(super) fn take(
        &mut self,
        notice: &Notice,
        now: WallTime,
        at: Instant,
        id: impl FnOnce() -> EventId,
    ) -> Option<Change> {
        let kind = kind_of(&notice.topic)?;
        let of_input = if kind == "input" { notice.source.clone() } else { String::new() };
        let key = (kind, of_input);
        let holder = format!("{} {}", notice.topic, notice.source);
        match (notice.state.filter(|_| !notice.gone), notice.gone) {
            (Some(true), _) => self.begin(key, holder, notice, now, at, id),
            (Some(false), _) | (None, true) => self.end(&key, &holder, now),
            // Says that something happened and not what is.
            (None, false) if notice.initial || self.open.contains_key(&key) => None,
            (None, false) => self.may_begin(at).then(|| begin(id(), now, false, kind, notice)),
        }
    }

    fn begin(
        &mut self,
        key: Key,
        holder: String,
        notice: &Notice,
        now: WallTime,
        at: Instant,
        id: impl FnOnce() -> EventId,
    ) -> Option<Change> {
        if let Some(open) = self.open.get_mut(&key) {
            let room = open.holders.len() < MOST_HOLDERS;
            match open.holders.entry(holder) {
                Entry::Occupied(mut known) => drop(known.insert(at)),
                Entry::Vacant(new) if room => drop(new.insert(at)),
                Entry::Vacant(_) => {}
            }
            return None;
        }
        if self.open.len() >= MOST_OPEN {
            self.dropped += 1;
            return None;
        }
        if !self.may_begin(at) {
            return None;
        }
        let id = id();
        let kind = key.0;
        let holders = [(holder, at)].into();
        self.open.insert(key, Open { id, start: now, holders });
        Some(begin(id, now, true, kind, notice))
    }

    fn end(&mut self, key: &Key, holder: &str, now: WallTime) -> Option<Change> {
        let open = self.open.get_mut(key)?;
        open.holders.remove(holder)?;
        if !open.holders.is_empty() {
            return None;
        }
        let open = self.open.remove(key)?;
        Some(Change::Until { id: open.id, end: now.max(open.start) })
    }

    /// What still lasts lasts until now; what nobody has spoken of for too long is over.
    pub(super) fn go_on(&mut self, now: WallTime, at: Instant) -> Vec<Change> {
        let recently = |moved: Instant| at.saturating_duration_since(moved) < MOVE_ON;
        if self.open.is_empty() || self.moved_on.is_some_and(recently) {
            return Vec::new();
        }
        self.moved_on = Some(at);
        let until = self.all_until(now);
        for open in self.open.values_mut() {
            open.holders.retain(|_, heard| at.saturating_duration_since(*heard) < LONGEST);
        }
        self.open.retain(|_, open| !open.holders.is_empty());
        until
    }

    /// What lasts, and since when.
    pub(super) fn lasting(&self) -> impl Iterator<Item = (&'static str, WallTime)> {
        self.open.iter().map(|((kind, _), open)| (*kind, open.start))
    }

    /// Nobody will hear of an end any more.
    pub(super) fn close(&mut self, now: WallTime) -> Vec<Change> {
        let until = self.all_until(now);
        self.open.clear();
        until
    }

    fn all_until(&self, now: WallTime) -> Vec<Change> {
        let open = self.open.values();
        open.map(|open| Change::Until { id: open.id, end: now.max(open.start) }).collect()
    }

    fn may_begin(&mut self, at: Instant) -> bool {
        if self.minute.is_none_or(|began| at.saturating_duration_since(began) >= MINUTE) {
            (self.minute, self.begun) = (Some(at), 0);
        }
        let may = self.begun < MOST_BEGUN;
        self.begun += u32::from(may);
        self.dropped += u64::from(!may);
        may
    }
}

fn begin(id: EventId, start: WallTime, lasts: bool, kind: &'static str, notice: &Notice) -> Change {
    let mut note = notice.topic.clone();
    if !notice.source.is_empty() {
        note.push_str(": ");
        note.push_str(&notice.source);
    }
    Change::Begin { id, start, lasts, kind, note }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOTION: &str = "VideoSource/MotionAlarm";
    const CELL: &str = "RuleEngine/CellMotionDetector/Motion";

    struct Told {
        notices: Notices,
        zero: Instant,
        ids: i64,
    }

    impl Told {
        fn new() -> Self {
            Self { notices: Notices::default(), zero: Instant::now(), ids: 0 }
        }

        fn say(&mut self, second: u64, topic: &str, state: Option<bool>) -> Option<Change> {
            self.notice(second, &Notice { topic: topic.into(), state, ..Notice::default() })
        }

        fn notice(&mut self, second: u64, notice: &Notice) -> Option<Change> {
            let at = self.zero + Duration::from_secs(second);
            let ids = &mut self.ids;
            self.notices.take(notice, wall(second), at, || {
                *ids += 1;
                EventId(*ids)
            })
        }

        fn go_on(&mut self, second: u64) -> Vec<Change> {
            self.notices.go_on(wall(second), self.zero + Duration::from_secs(second))
        }
    }

    fn wall(second: u64) -> WallTime {
        WallTime::from_micros(second as i64 * 1_000_000)
    }

    fn began(change: Option<Change>) -> (i64, &'static str) {
        match change {
            Some(Change::Begin { id, kind, lasts: true, .. }) => (id.0, kind),
            other => panic!("a beginning was expected: {other:?}"),
        }
    }

    fn until(id: i64, second: u64) -> Change {
        Change::Until { id: EventId(id), end: wall(second) }
    }

    #[test]
    fn motion_told_under_two_topics_is_one_event_until_both_end() {
        let mut told = Told::new();
        assert_eq!(began(told.say(1, MOTION, Some(true))), (1, "motion"));
        assert_eq!(told.say(2, CELL, Some(true)), None);
        assert_eq!(told.say(3, MOTION, Some(true)), None, "said again");
        assert_eq!(told.say(4, MOTION, Some(false)), None);
        assert_eq!(told.say(5, CELL, Some(false)), Some(until(1, 5)));
        assert_eq!(told.say(6, CELL, Some(false)), None, "an end without a beginning");
        assert_eq!(began(told.say(7, CELL, Some(true))), (2, "motion"));
    }

    #[test]
    fn inputs_are_told_apart_and_what_is_gone_is_over() {
        let mut told = Told::new();
        let input = |source: &str, state, gone| Notice {
            topic: "Device/Trigger/DigitalInput".into(),
            source: source.into(),
            state,
            gone,
            ..Notice::default()
        };
        assert_eq!(began(told.notice(1, &input("InputToken=1", Some(true), false))), (1, "input"));
        assert_eq!(began(told.notice(2, &input("InputToken=2", Some(true), false))), (2, "input"));
        assert_eq!(told.notice(3, &input("InputToken=1", None, true)), Some(until(1, 3)));
        assert_eq!(told.notice(4, &input("InputToken=2", Some(true), true)), Some(until(2, 4)));
        assert_eq!(
            began(told.say(5, "VideoSource/ImageTooDark/ImagingService", Some(true))).1,
            "tamper"
        );
        assert_eq!(told.say(6, "Device/HardwareFailure/FanFailure", Some(true)), None);
    }

    #[test]
    fn an_end_that_never_comes_is_an_hour_after_the_last_word() {
        let mut told = Told::new();
        began(told.say(0, MOTION, Some(true)));
        assert_eq!(told.go_on(1_800), [until(1, 1_800)]);
        told.say(1_900, MOTION, Some(true));
        assert_eq!(told.go_on(5_000), [until(1, 5_000)]);
        assert_eq!(told.go_on(5_500), [until(1, 5_500)], "its last");
        assert_eq!(told.go_on(5_501), []);
        assert_eq!(told.say(5_502, MOTION, Some(false)), None);
    }

    #[test]
    fn a_subscription_that_is_lost_ends_what_lasted() {
        let mut told = Told::new();
        began(told.say(1, MOTION, Some(true)));
        assert_eq!(told.notices.close(wall(9)), [until(1, 9)]);
        assert_eq!(told.notices.close(wall(9)), []);
        let mut back = Told::new();
        let first =
            Notice { topic: MOTION.into(), state: Some(true), initial: true, ..Notice::default() };
        assert_eq!(began(back.notice(10, &first)).0, 1, "it still lasts when we are back");
        assert_eq!(back.notice(11, &Notice { state: None, ..first }), None);
    }

    #[test]
    fn a_clock_set_back_makes_no_event_that_ends_before_it_begins() {
        let mut told = Told::new();
        began(told.say(100, MOTION, Some(true)));
        assert_eq!(told.notices.close(wall(50)), [until(1, 100)]);
    }

    #[test]
    fn a_camera_that_tells_too_much_is_heard_sixty_times_a_minute() {
        let mut told = Told::new();
        let mut heard = 0;
        for _ in 0..200 {
            heard += u32::from(told.say(1, MOTION, Some(true)).is_some());
            told.say(1, MOTION, Some(false));
        }
        assert_eq!((heard, told.notices.dropped), (60, 140));
        assert!(told.say(61, MOTION, None).is_some(), "the next minute");
        let mut many = Told::new();
        for n in 0..2 * MOST_OPEN {
            let topic = "Device/Trigger/DigitalInput".to_owned();
            let source = format!("InputToken={n}");
            let second = n as u64 * 61;
            many.notice(second, &Notice { topic, source, state: Some(true), ..Notice::default() });
        }
        assert_eq!(many.notices.open.len(), MOST_OPEN);
    }
}
