//! When a stream is pulled and when it is recorded. Pure: what was ordered, what time it is, who
//! watches and what happened in; what is wanted out.
//!
//! | record | pulled | recorded |
//! |---|---|---|
//! | `always` | all the time | all the time |
//! | `schedule` | within its hours and a little before; else while somebody watches | within its hours |
//! | `events` | all the time | what surrounds an event |
//! | `never` | while somebody watches | never |
//!
//! A camera that publishes cannot be called: it is taken in whenever it comes, unless it is switched
//! off, and recorded as above.
//!
//! # Two clocks
//!
//! Hours of a schedule are of the wall clock, which may be set: what holds is what it says now, and
//! nothing is remembered of a spell that it has left, in whichever direction. What lasts for some
//! seconds (after a viewer has gone, after an event) is measured on the monotonic clock.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    model::{EventRecording, RecordMode, Spell, When},
    proto::{reason::GapReason, time::WallTime},
};

/// A camera nobody watches any more is pulled for so long: players come back, and the PLAY of a
/// DESCRIBE is yet to come.
pub(super) const LINGER: Duration = Duration::from_secs(10);
/// A camera is connected so long before its hours begin, so that their first second is recorded.
pub(super) const LEAD: Duration = Duration::from_secs(5);
/// How often the wall clock is asked where a schedule goes by it: nobody tells when it is set.
pub(super) const RECHECK: Duration = Duration::from_secs(2);
/// No event lasts longer: as long as the longest mark.
const LONGEST_EVENT: Duration = Duration::from_secs(86_400);

/// What is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) enabled: bool,
    pub(super) mode: RecordMode,
    pub(super) when: When,
    /// The camera calls us.
    pub(super) publishes: bool,
}

impl Order {
    /// Why there is no footage while none is wanted.
    pub(super) const fn idle_reason(&self) -> GapReason {
        if self.enabled { self.mode.idle_reason() } else { GapReason::Disabled }
    }

    /// Whether hours say when it is recorded.
    pub(super) const fn by_schedule(&self) -> bool {
        self.enabled && matches!(self.mode, RecordMode::Schedule)
    }
}

/// What a stream is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Nothing: it is switched off.
    Off,
    /// Nothing, for nobody watches.
    Idle,
    /// To be taken in when it publishes, though nobody watches.
    Open,
    /// It is watched, or was a moment ago.
    Watched,
    /// An event may come, or its hours begin in a moment.
    Standby,
    /// To be recorded.
    Recording,
}

/// What is wanted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) wanted: Wanted,
    /// From when on footage is wanted, where it is.
    pub(super) since: WallTime,
    /// When to ask again, if nothing happens before.
    pub(super) again: Option<Instant>,
    /// When a schedule changes it, as far as that is known.
    pub(super) next_change: Option<WallTime>,
}

impl Wish {
    pub(super) fn pull(&self) -> bool {
        !matches!(self.wanted, Wanted::Off | Wanted::Idle)
    }

    pub(super) fn record(&self) -> bool {
        self.wanted == Wanted::Recording
    }
}

/// What is to be kept because of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    from: WallTime,
    until: Instant,
}

impl Window {
    /// What surrounds an event. One that is said to begin later begins now: clocks differ.
    pub(super) fn around(
        rule: &EventRecording,
        start: WallTime,
        end: Option<WallTime>,
        wall: WallTime,
        now: Instant,
    ) -> Self {
        let over = end.unwrap_or(start).max(start) + rule.after();
        let lasts = (over - wall).to_duration();
        let longest = LONGEST_EVENT + rule.after().to_duration();
        Self { from: start.min(wall) - rule.before(), until: now + lasts.min(longest) }
    }

    /// Both, as one.
    pub(super) fn and(self, other: Self) -> Self {
        Self { from: self.from.min(other.from), until: self.until.max(other.until) }
    }
}

/// A part of a schedule in which nothing changes.
#[derive(Clone, Copy, Debug)]
struct Current {
    /// The first moment it was asked about.
    asked: WallTime,
    /// Since when it is known to be so.
    since: WallTime,
    spell: Spell,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Planner {
    order: Order,
    /// When that was ordered.
    ordered: WallTime,
    viewers: usize,
    left: Option<Instant>,
    events: Option<Window>,
    spell: Option<Current>,
}

impl Planner {
    pub(super) const fn new(order: Order, wall: WallTime) -> Self {
        Self { order, ordered: wall, viewers: 0, left: None, events: None, spell: None }
    }

    pub(super) const fn current(&self) -> &Order {
        &self.order
    }

    /// From now on.
    pub(super) fn order(&mut self, order: Order, wall: WallTime) {
        if order.mode != self.order.mode || !order.enabled {
            self.events = None;
        }
        self.order = order;
        self.ordered = wall;
        self.spell = None;
    }

    /// How many watch now.
    pub(super) fn viewers(&mut self, viewers: usize, now: Instant) {
        if viewers > 0 {
            self.left = None;
        } else if self.viewers > 0 {
            self.left = Some(now);
        }
        self.viewers = viewers;
    }

    /// Something happened that is to be recorded.
    pub(super) fn event(&mut self, window: Window) {
        if self.order.enabled && self.order.mode == RecordMode::Events {
            self.events = Some(self.events.map_or(window, |known| known.and(window)));
        }
    }

    /// What is wanted at this moment.
    pub(super) fn wish(&mut self, wall: WallTime, now: Instant) -> Wish {
        let mut wish =
            Wish { wanted: Wanted::Off, since: self.ordered, again: None, next_change: None };
        if !self.order.enabled {
            return wish;
        }
        let lingers = self.left.map(|at| at + LINGER).filter(|until| now < *until);
        if self.viewers == 0 && lingers.is_none() {
            self.left = None;
        }
        let watched = self.viewers > 0 || lingers.is_some();
        wish.wanted = if watched { Wanted::Watched } else { Wanted::Idle };
        wish.again = lingers;
        match self.order.mode {
            RecordMode::Always => (wish.wanted, wish.again) = (Wanted::Recording, None),
            RecordMode::Never => {}
            RecordMode::Events => {
                self.events = self.events.filter(|window| now < window.until);
                (wish.wanted, wish.again) = match self.events {
                    Some(window) => {
                        wish.since = window.from;
                        (Wanted::Recording, Some(window.until))
                    }
                    None => (Wanted::Standby, None),
                };
            }
            RecordMode::Schedule => self.by_the_hours(wall, now, &mut wish),
        }
        if self.order.publishes && wish.wanted == Wanted::Idle {
            wish.wanted = Wanted::Open;
        }
        wish
    }

    fn by_the_hours(&mut self, wall: WallTime, now: Instant, wish: &mut Wish) {
        // A camera without hours is not made by the API; it is not recorded.
        let Some(Current { since, spell, .. }) = self.spell_at(wall) else { return };
        let left = (spell.until - wall).to_duration();
        if spell.open {
            (wish.wanted, wish.since, wish.again) = (Wanted::Recording, since, None);
        } else if spell.changes && left <= LEAD && wish.wanted == Wanted::Idle {
            wish.wanted = Wanted::Standby;
        }
        let nap = if !spell.open && left > LEAD { left - LEAD } else { left };
        let ask = now + nap.min(RECHECK).max(Duration::from_millis(1));
        wish.again = Some(wish.again.map_or(ask, |at| at.min(ask)));
        wish.next_change = spell.changes.then_some(spell.until);
    }

    fn spell_at(&mut self, wall: WallTime) -> Option<Current> {
        let known = self.spell;
        if let Some(known) = known.filter(|k| k.asked <= wall && wall < k.spell.until) {
            return Some(known);
        }
        let spell = self.order.when.schedule.as_ref()?.spell(wall);
        let since = match known {
            // It goes on as before, or has changed just where it was to.
            Some(k) if wall >= k.spell.until && k.spell.open == spell.open => k.since,
            Some(k) if wall >= k.spell.until && k.spell.changes => k.spell.until,
            _ => wall,
        };
        let current = Current { asked: wall, since, spell };
        self.spell = Some(current);
        Some(current)
    }

    /// What a gap that has lasted since `start` is made of, now: what a schedule wanted of that
    /// time and what it did not. Empty where nothing is to be changed.
    ///
    /// A time that was wanted and of which the gap says otherwise, the recorder slept through. What
    /// is shorter than a moment, at the seam of footage and gap, is not told apart.
    pub(super) fn pieces(
        &self,
        start: WallTime,
        reason: GapReason,
        now: WallTime,
    ) -> Vec<(WallTime, GapReason)> {
        /// A gap that consists of more has stood for years.
        const MOST: usize = 5_000;
        const MOMENT: Duration = Duration::from_secs(2);
        let known = reason.counts_as_missing() || reason == GapReason::NotScheduled;
        let Some(schedule) = self.order.when.schedule.as_ref().filter(|_| self.order.by_schedule())
        else {
            return Vec::new();
        };
        if !known || start > now {
            return Vec::new();
        }
        let mut pieces: Vec<(WallTime, GapReason)> = Vec::new();
        let mut at = start;
        while at <= now && pieces.len() < MOST {
            let spell = schedule.spell(at);
            let of = match (spell.open, reason.counts_as_missing()) {
                (false, _) => GapReason::NotScheduled,
                (true, true) => reason,
                (true, false) => GapReason::VedetteDown,
            };
            if pieces.last().is_none_or(|(_, last)| *last != of) {
                pieces.push((at, of));
            }
            at = spell.until;
        }
        // Footage ended a moment before its hours did.
        if let [(first, _), (second, _), ..] = pieces.as_slice()
            && (*second - *first).to_duration() < MOMENT
        {
            pieces.remove(0);
            if let Some(first) = pieces.first_mut() {
                first.0 = start;
            }
        }
        if pieces.as_slice() == [(start, reason)] {
            pieces.clear();
        }
        pieces
    }
}

#[cfg(test)]
#[path = "when_tests.rs"]
mod tests;
