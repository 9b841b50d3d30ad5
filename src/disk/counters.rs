//! What a volume counts about itself: plain atomics, read by the metrics page.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Counters and gauges of one volume.
#[derive(Debug, Default)]
pub struct VolumeCounters {
    /// Bytes written (headers, fragments, tails).
    pub bytes_written: AtomicU64,
    /// Writes that failed.
    pub write_errors: AtomicU64,
    /// Syncs that failed.
    pub sync_errors: AtomicU64,
    /// Writes refused because the queue was full.
    pub refused: AtomicU64,
    /// Fragments taken out of the full queue again because their stream had most waiting.
    pub evicted: AtomicU64,
    /// Segments cut back to their last good sync because a later one failed.
    pub distrusted: AtomicU64,
    /// Times the writer or the sync thread panicked and went on.
    pub panics: AtomicU64,
    /// Segments assigned to it: open, or about to be (gauge).
    pub assigned: AtomicU64,
    /// Bytes waiting for, or in, a write (gauge).
    pub queue_bytes: AtomicU64,
    /// Files open for writing (gauge).
    pub open_files: AtomicU64,
    /// Free bytes as last seen (gauge).
    pub free_bytes: AtomicU64,
    /// Size of the file system as last seen (gauge).
    pub total_bytes: AtomicU64,
    /// How long one gathered write took.
    pub write_latency: Latency,
    /// How long one round of syncs took.
    pub sync_latency: Latency,
}

/// A histogram of durations with fixed bounds.
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [AtomicU64; Self::BOUNDS.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl Latency {
    /// Upper bounds of the buckets, seconds; what is longer is in the count alone.
    pub const BOUNDS: [f64; 12] =
        [0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];

    /// Counts one.
    pub fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let at = Self::BOUNDS.iter().position(|&b| seconds <= b);
        if let Some(bucket) = at.and_then(|at| self.buckets.get(at)) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        self.count.fetch_add(1, Relaxed);
    }

    /// How many in each bucket (not cumulative), in the order of [`Self::BOUNDS`].
    #[must_use]
    pub fn buckets(&self) -> [u64; Self::BOUNDS.len()] {
        self.buckets.each_ref().map(|b| b.load(Relaxed))
    }

    /// How many in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// Sum of all, seconds.
    #[must_use]
    pub fn sum_seconds(&self) -> f64 {
        self.sum_us.load(Relaxed) as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_first_bucket_that_holds_it() {
        let latency = Latency::default();
        latency.record(Duration::from_micros(200));
        latency.record(Duration::from_secs(60));
        assert_eq!(latency.buckets()[1], 1);
        assert_eq!(latency.buckets().iter().sum::<u64>(), 1);
        assert_eq!(latency.count(), 2);
        assert!((latency.sum_seconds() - 60.000_2).abs() < 1e-9);
    }
}
