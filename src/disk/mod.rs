//! Segment files on volumes: writing them without ever blocking a camera, knowing what can be read
//! of those that still grow, and reading them.
//!
//! ```text
//! record ──Draft, fragments──▶ queue (bytes-bounded) ──▶ writer thread ──▶ file
//!    ▲                                                     │    │ dirty
//!    └──────────── Completion ◀────────────────────────────┤    ▼
//!                                                          │  sync thread (every interval)
//! playback ──▶ OpenSegments (index of growing files) ◀─────┘
//!          └─▶ SegmentReader (pread)
//! ```
//!
//! This module knows files and bytes; what the bytes mean is `proto::fmp4`'s, where they are cut is
//! `record`'s, and which row they get is `store`'s.
//!
//! # Invariants
//!
//! * Two processes never use one volume (lock file in `<volume>/.vedette/`).
//! * Nobody waits for a disk but the volume's own two threads.
//! * A file's name is final from its first byte and is never used twice.

mod counters;
mod fs;
mod open;
mod path;
mod queue;
mod reader;
mod sync;
mod volume;
mod writer;

#[cfg(test)]
mod tests;

pub use counters::{Latency, VolumeCounters};
pub use fs::{Entry, Fs, FsFile, RealFs, Space};
pub use open::{Fragment, FragmentTrack, OpenSegment, OpenSegments, Progress};
pub use queue::{Completion, Completions, Draft, Refused, SegmentWriter};
pub use reader::{MAX_READ, ReadError, SegmentReader};
pub use volume::{NoRoom, Settings, Volume, VolumeError, VolumeHealth, VolumeSettings, Volumes};
pub use writer::is_full;

use volume::Failure;
