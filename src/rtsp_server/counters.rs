//! What the server counts, as plain atomics: `metrics` reads them at each scrape.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::proto::rtsp::message::{Method, Status};

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a unit was not sent to a player.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum DropReason {
            $($(#[$doc])* $variant,)*
        }

        impl DropReason {
            /// All of them.
            pub const ALL: [Self; [$(stringify!($variant)),*].len()] = [$(Self::$variant),*];

            /// As a label.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

drop_reasons! {
    /// A live player took so long that what it had not taken yet was passed over, up to a key
    /// frame.
    SlowClient = "slow_client",
    /// The unit cannot be put into packets as its track was described (another codec, damage).
    Unsendable = "unsendable",
}

/// Upper bounds of the buckets of [`HistogramSnapshot`], milliseconds.
const BUCKETS_MS: [u64; 10] = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000];

/// How long things took, as Prometheus counts it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HistogramSnapshot {
    /// (upper bound in seconds, how many took no longer).
    pub buckets: [(f64, u64); BUCKETS_MS.len()],
    /// How many in all.
    pub count: u64,
    /// Their seconds together.
    pub sum: f64,
}

#[derive(Debug, Default)]
struct Histogram {
    /// Not cumulative; the last is for what exceeds all bounds.
    buckets: [AtomicU64; BUCKETS_MS.len() + 1],
    micros: AtomicU64,
}

/// The server's counters. Reading them never waits for a connection.
#[derive(Debug, Default)]
pub struct Counters {
    connections: AtomicU64,
    sessions: AtomicU64,
    refused: AtomicU64,
    bytes_out: AtomicU64,
    publishers: AtomicU64,
    bytes_in: AtomicU64,
    packets_dropped: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
    first_packet: Histogram,
    /// A few dozen label pairs at most; locked for one increment a request.
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
}

impl Counters {
    /// Connections now.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Sessions now.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Connections turned away because there were too many.
    #[must_use]
    pub fn refused_connections(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Bytes sent: RTSP, RTP and RTCP.
    #[must_use]
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed)
    }

    /// Publishers now: those that announced.
    #[must_use]
    pub fn publishers(&self) -> u64 {
        self.publishers.load(Ordering::Relaxed)
    }

    /// Bytes of RTP and RTCP that publishers sent.
    #[must_use]
    pub fn bytes_published(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// Packets of publishers that were dropped because the recorder was behind.
    #[must_use]
    pub fn packets_dropped(&self) -> u64 {
        self.packets_dropped.load(Ordering::Relaxed)
    }

    pub(super) fn count_published(&self, bytes: usize, taken: bool) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
        if !taken {
            self.packets_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Requests by method (`other` for those we do not know) and status of the answer.
    #[must_use]
    pub fn requests(&self) -> Vec<(&'static str, u16, u64)> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().map(|((method, status), count)| (*method, *status, *count)).collect()
    }

    /// Units not sent, by reason.
    #[must_use]
    pub fn dropped(&self) -> [(DropReason, u64); DropReason::ALL.len()] {
        let count = |reason: DropReason| {
            self.dropped.get(reason as usize).map_or(0, |n| n.load(Ordering::Relaxed))
        };
        DropReason::ALL.map(|reason| (reason, count(reason)))
    }

    /// From PLAY to its first RTP packet.
    #[must_use]
    pub fn first_packet(&self) -> HistogramSnapshot {
        let mut count = 0;
        let mut counts = self.first_packet.buckets.iter().map(|b| b.load(Ordering::Relaxed));
        let buckets = BUCKETS_MS.map(|ms| {
            count += counts.next().unwrap_or(0);
            (ms as f64 / 1e3, count)
        });
        count += counts.next().unwrap_or(0);
        let sum = self.first_packet.micros.load(Ordering::Relaxed) as f64 / 1e6;
        HistogramSnapshot { buckets, count, sum }
    }

    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_request(&self, method: &Method, status: Status) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((method.label(), status.as_u16())).or_default() += 1;
    }

    pub(super) fn count_bytes(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn count_dropped(&self, reason: DropReason, units: u64) {
        if let Some(count) = self.dropped.get(reason as usize) {
            count.fetch_add(units, Ordering::Relaxed);
        }
    }

    pub(super) fn count_first_packet(&self, took: Duration) {
        let ms = took.as_millis();
        let at = BUCKETS_MS.partition_point(|bound| u128::from(*bound) < ms);
        if let Some(bucket) = self.first_packet.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.first_packet.micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn connection(self: &Arc<Self>) -> Present {
        Present::new(self, |c| &c.connections)
    }

    pub(super) fn publisher(self: &Arc<Self>) -> Present {
        Present::new(self, |c| &c.publishers)
    }

    pub(super) fn session(self: &Arc<Self>) -> Present {
        Present::new(self, |c| &c.sessions)
    }
}

/// One that is there now; counted down when dropped, whatever ends it.
#[derive(Debug)]
pub(super) struct Present {
    counters: Arc<Counters>,
    which: fn(&Counters) -> &AtomicU64,
}

impl Present {
    fn new(counters: &Arc<Counters>, which: fn(&Counters) -> &AtomicU64) -> Self {
        which(counters).fetch_add(1, Ordering::Relaxed);
        Self { counters: Arc::clone(counters), which }
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        (self.which)(&self.counters).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_histogram_is_cumulative_and_counts_what_exceeds_it() {
        let counters = Counters::default();
        for ms in [1, 5, 6, 60_000] {
            counters.count_first_packet(Duration::from_millis(ms));
        }
        let seen = counters.first_packet();
        assert_eq!(seen.buckets[0], (0.005, 2));
        assert_eq!(seen.buckets[1], (0.01, 3));
        assert_eq!(seen.buckets[9].1, 3);
        assert_eq!(seen.count, 4);
        assert!((seen.sum - 60.012).abs() < 1e-9);
    }

    #[test]
    fn what_is_gone_is_counted_down() {
        let counters = Arc::new(Counters::default());
        let one = counters.session();
        assert_eq!(counters.sessions(), 1);
        drop(one);
        assert_eq!(counters.sessions(), 0);
    }
}
