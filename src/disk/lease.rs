//! Leases: ranges of footage that somebody is reading, and that retention leaves alone meanwhile.
//!
//! A lease is no lock. It only spares a player or an export from having its footage deleted a
//! second before it gets there, so it is bounded in every way: in time (it lapses when its holder
//! does not renew it, so a stuck reader holds nothing for ever), in length (a reader leases what it
//! is about to read, not the whole archive), in number, and when a disk is full it is broken, the
//! oldest footage first. Whoever finds its lease broken goes on: what is missing is passed over.
//!
//! # Invariants
//!
//! * A lease holds from [`Leases::hold`] until it is dropped, broken, or [`Leases::TERM`] has gone
//!   by since it was last renewed.
//! * A broken or lapsed lease does not come back by being renewed; its holder takes a new one.
//!
//! The `std` mutex guards a list of some hundred entries and is never held over an await.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::{id::StreamId, model::WallRange, proto::time::WallSpan};

/// What leases were granted, and what became of them.
#[derive(Debug, Default)]
pub struct LeaseCounters {
    /// Leases that hold now, or that have lapsed and are still to be dropped (gauge).
    pub active: AtomicU64,
    /// Broken because a disk was full.
    pub broken: AtomicU64,
    /// Not renewed in time.
    pub lapsed: AtomicU64,
    /// Refused because one reader or all together asked for too much.
    pub refused: AtomicU64,
}

#[derive(Debug)]
struct Held {
    range: WallRange,
    renewed: Instant,
    /// Shared with the holder; stays set.
    broken: Arc<AtomicBool>,
}

impl Held {
    fn holds(&self, now: Instant) -> bool {
        !self.broken.load(SeqCst) && now.saturating_duration_since(self.renewed) < Leases::TERM
    }
}

#[derive(Debug, Default)]
struct Book {
    streams: HashMap<StreamId, HashMap<u64, Held>>,
    next: u64,
    count: usize,
}

/// All leases of all streams. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Leases(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    book: Mutex<Book>,
    counters: LeaseCounters,
    /// Of which stream leases were last broken.
    broken: watch::Sender<Option<StreamId>>,
}

impl Leases {
    /// A lease not renewed for so long no longer holds.
    pub const TERM: Duration = Duration::from_secs(60);
    /// A lease reaches at most so far; longer ranges are cut at their end.
    pub const LONGEST: WallSpan = WallSpan::from_secs(3 * 3_600);
    /// At most so many at once; the next one does not hold.
    pub const MOST: usize = 4_096;

    /// Leases a range of a stream. Where too many are held, the lease is one that does not hold.
    #[must_use]
    pub fn hold(&self, stream: StreamId, range: WallRange) -> Lease {
        let broken = Arc::new(AtomicBool::new(false));
        let held = Held { range: cut(range), renewed: Instant::now(), broken: Arc::clone(&broken) };
        let mut book = self.lock();
        let id = book.next;
        book.next += 1;
        if book.count >= Self::MOST {
            broken.store(true, SeqCst);
            self.0.counters.refused.fetch_add(1, Relaxed);
        } else {
            book.count += 1;
            book.streams.entry(stream).or_default().insert(id, held);
            self.0.counters.active.fetch_add(1, Relaxed);
        }
        drop(book);
        Lease { all: self.clone(), stream, id, broken }
    }

    /// Whether a lease holds any of a range.
    #[must_use]
    pub fn holds(&self, stream: StreamId, range: &WallRange) -> bool {
        let now = Instant::now();
        let book = self.lock();
        let held = book.streams.get(&stream).into_iter().flat_map(HashMap::values);
        held.into_iter().any(|h| h.holds(now) && overlap(&h.range, range))
    }

    /// The ranges of a stream that are held now, so that many segments can be compared with them.
    #[must_use]
    pub fn of(&self, stream: StreamId) -> Vec<WallRange> {
        let now = Instant::now();
        let book = self.lock();
        let held = book.streams.get(&stream).into_iter().flat_map(HashMap::values);
        held.filter(|h| h.holds(now)).map(|h| h.range.clone()).collect()
    }

    /// Breaks what holds any of a range: its footage is needed for room. Says how many it broke.
    pub fn break_over(&self, stream: StreamId, range: &WallRange) -> usize {
        let now = Instant::now();
        let book = self.lock();
        let held = book.streams.get(&stream).into_iter().flat_map(HashMap::values);
        let over = held.filter(|h| h.holds(now) && overlap(&h.range, range));
        let count = over.inspect(|h| h.broken.store(true, SeqCst)).count();
        drop(book);
        self.0.counters.broken.fetch_add(count as u64, Relaxed);
        if count > 0 {
            self.0.broken.send_replace(Some(stream));
        }
        count
    }

    /// Changes when leases are broken: carries the stream. How many, the counter says.
    #[must_use]
    pub fn watch_broken(&self) -> watch::Receiver<Option<StreamId>> {
        self.0.broken.subscribe()
    }

    /// What was granted and what became of it.
    #[must_use]
    pub fn counters(&self) -> &LeaseCounters {
        &self.0.counters
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lease in somebody's hands; dropping it gives it back.
pub struct Lease {
    all: Leases,
    stream: StreamId,
    id: u64,
    broken: Arc<AtomicBool>,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("stream", &self.stream)
            .field("broken", &self.is_broken())
            .finish_non_exhaustive()
    }
}

impl Lease {
    /// Moves it to another range and starts its time over; whether it holds. One that was broken
    /// or has lapsed does not: take a new one when what is to be read next is still there.
    pub fn renew(&self, range: WallRange) -> bool {
        let now = Instant::now();
        let mut book = self.all.lock();
        let held = book.streams.get_mut(&self.stream).and_then(|held| held.get_mut(&self.id));
        let Some(held) = held else { return false };
        if !held.holds(now) {
            if !self.broken.swap(true, SeqCst) {
                self.all.0.counters.lapsed.fetch_add(1, Relaxed);
            }
            return false;
        }
        held.range = cut(range);
        held.renewed = now;
        true
    }

    /// Whether it was broken, refused, or found lapsed.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.load(SeqCst)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut book = self.all.lock();
        let Some(held) = book.streams.get_mut(&self.stream) else { return };
        if held.remove(&self.id).is_none() {
            return;
        }
        if held.is_empty() {
            book.streams.remove(&self.stream);
        }
        book.count = book.count.saturating_sub(1);
        self.all.0.counters.active.fetch_sub(1, Relaxed);
    }
}

fn cut(range: WallRange) -> WallRange {
    range.start..range.end.min(range.start + Leases::LONGEST)
}

fn overlap(a: &WallRange, b: &WallRange) -> bool {
    a.start < b.end && b.start < a.end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::time::WallTime;

    const DOOR: StreamId = StreamId(1);
    const YARD: StreamId = StreamId(2);

    fn range(from: i64, to: i64) -> WallRange {
        WallTime::from_micros(from * 1_000_000)..WallTime::from_micros(to * 1_000_000)
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_holds_what_it_overlaps_of_its_stream_until_it_is_dropped() {
        let leases = Leases::default();
        let lease = leases.hold(DOOR, range(10, 20));
        assert!(leases.holds(DOOR, &range(0, 11)));
        assert!(leases.holds(DOOR, &range(19, 30)));
        assert!(!leases.holds(DOOR, &range(20, 30)), "it only touches");
        assert!(!leases.holds(DOOR, &range(0, 10)), "it only touches");
        assert!(!leases.holds(YARD, &range(0, 30)));
        drop(lease);
        assert!(!leases.holds(DOOR, &range(0, 30)));
        assert_eq!(leases.counters().active.load(Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_nobody_renews_lapses_and_does_not_come_back() {
        let leases = Leases::default();
        let lease = leases.hold(DOOR, range(10, 20));
        tokio::time::advance(Leases::TERM - Duration::from_secs(1)).await;
        assert!(lease.renew(range(15, 25)));
        tokio::time::advance(Leases::TERM - Duration::from_secs(1)).await;
        assert!(leases.holds(DOOR, &range(20, 21)), "renewed");
        assert!(!leases.holds(DOOR, &range(10, 15)), "moved on");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!leases.holds(DOOR, &range(20, 21)), "lapsed");
        assert!(!lease.renew(range(15, 25)));
        assert!(!lease.renew(range(15, 25)));
        assert!(lease.is_broken());
        assert!(!leases.holds(DOOR, &range(20, 21)));
        assert_eq!(leases.counters().lapsed.load(Relaxed), 1);
        assert_eq!(leases.counters().broken.load(Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_broken_is_counted_once_and_its_holder_can_see_it() {
        let leases = Leases::default();
        let (over, beside) = (leases.hold(DOOR, range(10, 20)), leases.hold(DOOR, range(30, 40)));
        assert_eq!(leases.break_over(DOOR, &range(5, 15)), 1);
        assert_eq!(leases.break_over(DOOR, &range(5, 15)), 0);
        assert!(over.is_broken() && !over.renew(range(10, 20)));
        assert!(!beside.is_broken() && beside.renew(range(30, 40)));
        assert_eq!(leases.counters().broken.load(Relaxed), 1);
        assert_eq!(leases.of(DOOR), [range(30, 40)]);
    }

    #[tokio::test(start_paused = true)]
    async fn leases_are_bounded_in_length_and_number() {
        let leases = Leases::default();
        let long = leases.hold(DOOR, range(0, 1_000_000));
        assert!(leases.holds(DOOR, &range(3 * 3_600 - 1, 1_000_000)));
        assert!(!leases.holds(DOOR, &range(3 * 3_600, 1_000_000)));
        let many: Vec<_> = (1..Leases::MOST).map(|_| leases.hold(YARD, range(0, 1))).collect();
        let refused = leases.hold(DOOR, range(2_000_000, 2_000_001));
        assert!(refused.is_broken() && !leases.holds(DOOR, &range(2_000_000, 2_000_001)));
        drop((refused, many));
        assert_eq!(leases.counters().active.load(Relaxed), 1);
        assert!(leases.hold(DOOR, range(2_000_000, 2_000_001)).renew(range(0, 1)));
        drop(long);
    }
}
