//! The ring behind a [`Channel`](super::Channel): entries in publication order, trimmed at key
//! frames. Pure state; the owner locks and wakes.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Closed, Event, Limits, Position, Run, Start};
use crate::{
    id::RunId,
    proto::{
        access_unit::{AccessUnit, TrackIndex, leading_track},
        reason::GapReason,
        time::{WallSpan, WallTime},
    },
};

/// A group of pictures is kept until the next one has so many units: a reader that began with its
/// key frame right before the next one came has yet to take what lies between.
const LEEWAY: u64 = 32;

/// What is held is of the moment that is asked for when the newest unit is no older than this.
const YOUNG: WallSpan = WallSpan::from_secs(2);

#[derive(Debug)]
enum Entry {
    Unit { run: Arc<Run>, unit: Arc<AccessUnit>, key: bool },
    Ended { run: RunId, reason: GapReason },
}

#[derive(Debug)]
pub(super) struct Ring {
    limits: Limits,
    /// Bytes of all rings together.
    used: Arc<AtomicUsize>,
    entries: VecDeque<Entry>,
    /// Key frames of the leading track among them, oldest first.
    keys: VecDeque<(u64, WallTime)>,
    /// Wall time of the newest unit of the leading track.
    newest: Option<WallTime>,
    /// How old units may grow here that nobody waits for.
    keep: Option<WallSpan>,
    /// Position of the first entry.
    first: u64,
    bytes: usize,
    /// Published since [`Self::push`] last said "much".
    gathered: usize,
    /// Position of the newest key frame of the leading track of the current run.
    newest_key: Option<u64>,
    /// Of the one before it in the same run.
    key_before: Option<u64>,
    /// One past the last position that can be read from disk; `None` when nobody records.
    readable: Option<u64>,
    /// One past the last position that was ever marked so: kept when the recorder goes.
    recorded: u64,
    current: Option<Arc<Run>>,
    leading: TrackIndex,
    closed: bool,
}

impl Ring {
    pub(super) fn new(limits: Limits, used: Arc<AtomicUsize>) -> Self {
        Self {
            limits,
            used,
            entries: VecDeque::new(),
            keys: VecDeque::new(),
            newest: None,
            keep: None,
            first: 0,
            bytes: 0,
            gathered: 0,
            newest_key: None,
            key_before: None,
            readable: None,
            recorded: 0,
            current: None,
            leading: TrackIndex(0),
            closed: false,
        }
    }

    fn end_position(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub(super) fn current(&self) -> Option<Arc<Run>> {
        self.current.clone()
    }

    pub(super) fn begin(&mut self, run: Arc<Run>) -> bool {
        if self.current.is_some() || self.closed {
            return false;
        }
        self.leading = leading_track(&run.tracks);
        self.current = Some(run);
        (self.newest_key, self.key_before) = (None, None);
        true
    }

    pub(super) fn replace_run(&mut self, run: Arc<Run>) {
        self.leading = leading_track(&run.tracks);
        self.current = Some(run);
    }

    /// Says whether it is time that somebody looks who does so only now and then.
    pub(super) fn push(&mut self, run: &Arc<Run>, unit: Arc<AccessUnit>) -> bool {
        let leads = unit.track == self.leading;
        let key = unit.random_access && leads;
        if leads {
            self.newest = Some(unit.wall);
        }
        if key {
            self.keys.push_back((self.end_position(), unit.wall));
            let key = Some(self.end_position());
            self.key_before = std::mem::replace(&mut self.newest_key, key);
        }
        self.bytes += unit.len();
        self.gathered += unit.len();
        self.used.fetch_add(unit.len(), Ordering::Relaxed);
        self.entries.push_back(Entry::Unit { run: Arc::clone(run), unit, key });
        self.trim();
        let much = self.gathered >= self.limits.per_stream / 8;
        if much {
            self.gathered = 0;
        }
        much
    }

    pub(super) fn end(&mut self, run: RunId, reason: GapReason) {
        self.entries.push_back(Entry::Ended { run, reason });
        self.current = None;
        (self.newest_key, self.key_before) = (None, None);
        self.trim();
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.current = None;
    }

    pub(super) fn mark_readable(&mut self, position: Position) {
        let readable = self.readable.unwrap_or(0).max(position.0 + 1);
        self.readable = Some(readable);
        self.recorded = self.recorded.max(readable);
        self.trim();
    }

    /// A recorder begins; says where.
    pub(super) fn hold(&mut self, from: Option<WallTime>) -> u64 {
        let left_alone = self.readable.is_none() && self.current.is_none();
        let at = match from.filter(|_| self.readable.is_none()) {
            Some(from) => self.key_frame(from).map_or(self.end_position(), |(at, _)| at),
            None if left_alone => self.end_position(),
            None => self.first.max(self.recorded),
        };
        self.readable.get_or_insert(at);
        at
    }

    /// Where a recorder begins that wants the footage of `from` on.
    pub(super) fn key_frame(&self, from: WallTime) -> Option<(u64, WallTime)> {
        self.newest.filter(|&newest| newest + YOUNG >= from)?;
        let mut free = self.keys.iter().filter(|(at, _)| *at >= self.recorded);
        let before = free.clone().rfind(|(_, wall)| *wall <= from);
        before.or_else(|| free.next()).copied()
    }

    pub(super) fn keep(&mut self, span: Option<WallSpan>) {
        self.keep = span;
        self.trim();
    }

    /// Where that begins which is kept for its age.
    fn kept(&self) -> Option<u64> {
        let oldest = self.newest? - self.keep?;
        let before = self.keys.iter().rfind(|(_, wall)| *wall <= oldest);
        before.or(self.keys.front()).map(|(at, _)| *at)
    }

    pub(super) fn forget_readable(&mut self) {
        self.readable = None;
        self.trim();
    }

    fn trim(&mut self) {
        let end = self.end_position();
        let newest_key = self.newest_key.unwrap_or(end);
        let young = end.saturating_sub(newest_key) < LEEWAY;
        let group = self.key_before.filter(|_| young).unwrap_or(newest_key);
        let wanted = group.min(self.readable.unwrap_or(end)).min(self.kept().unwrap_or(end));
        // Readers are woken at each push, so a short tail is enough for them even where neither a
        // key frame nor a recorder asks for more (a gap between runs, say).
        let wanted = wanted.min(end.saturating_sub(64));
        while self.first < wanted {
            self.drop_front();
        }
        let total = self.used.load(Ordering::Relaxed);
        if total > self.limits.total {
            while self.first < newest_key.min(end - 1) {
                self.drop_front();
            }
        }
        let squeezed = total > self.limits.total.saturating_mul(2);
        while self.entries.len() > 1 && (squeezed || self.bytes > self.limits.per_stream) {
            self.drop_front();
        }
    }

    fn drop_front(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        if let Entry::Unit { unit, .. } = entry {
            self.bytes -= unit.len();
            self.used.fetch_sub(unit.len(), Ordering::Relaxed);
        }
        self.first += 1;
        while self.keys.front().is_some_and(|(at, _)| *at < self.first) {
            self.keys.pop_front();
        }
    }

    /// Where a reader that begins at `start` stands, and whether it must wait for a key frame.
    pub(super) fn cursor(&self, start: Start) -> (u64, bool) {
        match start {
            Start::Oldest => (self.first, false),
            Start::Next => (self.end_position(), false),
            Start::KeyFrame => match self.newest_key {
                Some(key) if key >= self.first => (key, false),
                _ => (self.end_position(), true),
            },
        }
    }

    pub(super) fn read(
        &self,
        cursor: &mut u64,
        seek_key: &mut bool,
    ) -> Result<Option<Event>, Closed> {
        if *cursor < self.first {
            let fallen = *cursor;
            let keys = self.entries.iter().position(|e| matches!(e, Entry::Unit { key: true, .. }));
            *cursor = keys.map_or(self.end_position(), |at| self.first + at as u64);
            *seek_key = keys.is_none();
            return Ok(Some(Event::Lagged { units: *cursor - fallen }));
        }
        loop {
            let at = usize::try_from(*cursor - self.first).unwrap_or(usize::MAX);
            let Some(entry) = self.entries.get(at) else {
                return if self.closed { Err(Closed) } else { Ok(None) };
            };
            let position = Position(*cursor);
            *cursor += 1;
            match entry {
                Entry::Unit { key: false, .. } if *seek_key => {}
                Entry::Unit { run, unit, .. } => {
                    *seek_key = false;
                    let (run, unit) = (Arc::clone(run), Arc::clone(unit));
                    return Ok(Some(Event::Unit { run, unit, position }));
                }
                Entry::Ended { run, reason } => {
                    return Ok(Some(Event::Ended { run: *run, reason: *reason }));
                }
            }
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
