//! Turns live access units into segment files and rows.
//!
//! ```text
//! hub ──▶ segmenter ──▶ proto::fmp4 ──▶ disk ──▶ store
//!         where to cut  bytes           file     rows
//!         (pure)        (pure)          (thread) (task)
//! ```

pub mod segmenter;
