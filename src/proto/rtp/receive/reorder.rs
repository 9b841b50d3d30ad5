//! Puts packets in order that overtook one another.

use std::{collections::VecDeque, time::Duration};

use super::Reorder;
use crate::proto::rtp::packet::Packet;

/// One sequence number at or behind the next one to be handed out.
#[derive(Debug)]
enum Slot {
    Missing,
    /// Came, and is of no use: another payload type.
    Passed,
    Held(Packet, Duration),
}

/// What comes out.
#[derive(Debug)]
pub(super) struct InOrder {
    pub(super) packet: Packet,
    pub(super) arrived: Duration,
    /// Missing just before it.
    pub(super) lost: u64,
}

/// Where a packet belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It was put there.
    Taken,
    /// Another of this number is there or was.
    Duplicate,
    /// Its place was given up.
    Late,
}

/// The sequence numbers from the next one on.
///
/// The last slot is never [`Slot::Missing`]. Without [`Reorder`] nothing is ever held.
#[derive(Debug)]
pub(super) struct Buffer {
    limits: Option<Reorder>,
    /// The sequence number of the first slot, extended.
    next: i64,
    slots: VecDeque<Slot>,
    /// Payload bytes held.
    bytes: usize,
    /// When the oldest of those held came.
    since: Option<Duration>,
    /// Given up since the last one handed out.
    lost: u64,
    /// Which of the 64 numbers before `next` came; the lowest bit is the one just before it.
    came: u64,
}

impl Buffer {
    pub(super) const fn new(limits: Option<Reorder>, next: i64) -> Self {
        Self { limits, next, slots: VecDeque::new(), bytes: 0, since: None, lost: 0, came: 0 }
    }

    pub(super) const fn next(&self) -> i64 {
        self.next
    }

    /// Takes `packet` (`None`: one of no use) as number `at`, at most `i32::MAX` behind `next`.
    pub(super) fn insert(
        &mut self,
        at: i64,
        packet: Option<Packet>,
        arrived: Duration,
        out: &mut impl FnMut(InOrder),
    ) -> Place {
        let Ok(mut index) = usize::try_from(at - self.next) else {
            let before = self.next - 1 - at;
            let came = u32::try_from(before).ok().and_then(|n| self.came.checked_shr(n));
            return if came.unwrap_or(0) & 1 == 1 { Place::Duplicate } else { Place::Late };
        };
        if index == 0
            && self.slots.is_empty()
            && let Some(packet) = packet
        {
            // Nearly all come so.
            self.next += 1;
            self.came = self.came << 1 | 1;
            out(InOrder { packet, arrived, lost: std::mem::take(&mut self.lost) });
            return Place::Taken;
        }
        let span = self.limits.map_or(1, |limits| usize::from(limits.packets).max(1));
        while index >= span {
            if self.slots.is_empty() {
                self.give_up(index);
                break;
            }
            self.pop(out);
            index -= 1;
        }
        let Ok(index) = usize::try_from(at - self.next) else { return Place::Late };
        while self.slots.len() <= index {
            self.slots.push_back(Slot::Missing);
        }
        let Some(slot) = self.slots.get_mut(index) else { return Place::Late };
        if !matches!(slot, Slot::Missing) {
            return Place::Duplicate;
        }
        *slot = match packet {
            Some(packet) => {
                self.bytes += packet.payload.len();
                self.since.get_or_insert(arrived);
                Slot::Held(packet, arrived)
            }
            None => Slot::Passed,
        };
        Place::Taken
    }

    /// Hands out what is in order, and what has waited long enough or is too much.
    pub(super) fn release(&mut self, now: Duration, out: &mut impl FnMut(InOrder)) {
        while let Some(slot) = self.slots.front() {
            if matches!(slot, Slot::Missing) && !self.is_due(now) {
                break;
            }
            self.pop(out);
        }
    }

    /// Hands out everything.
    pub(super) fn flush(&mut self, out: &mut impl FnMut(InOrder)) {
        while !self.slots.is_empty() {
            self.pop(out);
        }
    }

    /// When the first gap will be given up.
    pub(super) fn deadline(&self) -> Option<Duration> {
        Some(self.since?.saturating_add(self.limits?.delay))
    }

    /// `next` moves on by `count`: none of these came. Only while nothing is held.
    pub(super) fn give_up(&mut self, count: usize) {
        self.next = self.next.saturating_add(i64::try_from(count).unwrap_or(i64::MAX));
        self.lost = self.lost.saturating_add(count as u64);
        let shift = u32::try_from(count).unwrap_or(u32::MAX);
        self.came = self.came.checked_shl(shift).unwrap_or(0);
    }

    fn is_due(&self, now: Duration) -> bool {
        let Some(limits) = self.limits else { return true };
        self.bytes > limits.bytes || self.deadline().is_some_and(|deadline| deadline <= now)
    }

    fn pop(&mut self, out: &mut impl FnMut(InOrder)) {
        let Some(slot) = self.slots.pop_front() else { return };
        self.next += 1;
        self.came <<= 1;
        match slot {
            Slot::Missing => self.lost += 1,
            Slot::Passed => self.came |= 1,
            Slot::Held(packet, arrived) => {
                self.came |= 1;
                self.bytes = self.bytes.saturating_sub(packet.payload.len());
                if self.since == Some(arrived) {
                    self.since = self.slots.iter().filter_map(Slot::arrived).min();
                }
                out(InOrder { packet, arrived, lost: std::mem::take(&mut self.lost) });
            }
        }
    }
}

impl Slot {
    const fn arrived(&self) -> Option<Duration> {
        match self {
            Self::Held(_, arrived) => Some(*arrived),
            Self::Missing | Self::Passed => None,
        }
    }
}
