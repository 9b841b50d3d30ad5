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
    /// Rows waiting for the index (gauge).
    pub rows_waiting: AtomicU64,
    /// Tries of rows that failed and were made again.
    pub rows_retried: AtomicU64,
    /// Rows given up because the index was away for too long: they are made from the files.
    pub rows_lost: AtomicU64,
    /// Segments whose rows were made from their files.
    pub adopted: AtomicU64,
}
