//! What a recorder counts about itself: plain atomics, read by the metrics page.

use std::sync::atomic::AtomicU64;

/// Counters of one stream's recorder.
#[derive(Debug, Default)]
pub struct RecorderCounters {
    /// Units written.
    pub units: AtomicU64,
    /// Payload bytes written.
    pub bytes: AtomicU64,
    /// Segments completed.
    pub segments: AtomicU64,
    /// Units that were not recorded because a disk was too slow, full or broken, or because this
    /// recorder fell behind the hub.
    pub shed_units: AtomicU64,
    /// Units that were not recorded because no key frame had come.
    pub dropped_units: AtomicU64,
    /// Gaps begun by this recorder.
    pub gaps: AtomicU64,
    /// Rows that wait for the index (gauge).
    pub rows_waiting: AtomicU64,
    /// Rows given up after the store had failed for too long; the files hold what they said.
    pub rows_lost: AtomicU64,
}
