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
//! * Two processes never use one volume (lock file in `<volume>/.vedette/`), and nothing is written
//!   to a folder that does not carry the marker of the volume it should be (`marker.rs`).
//! * Nobody waits for a disk but the volume's own three threads. What fails shows in its
//!   [`VolumeState`] and ends by itself (`keeper.rs`).
//! * A file's name is final from its first byte and is never used twice.

mod accept;
mod completion;
mod counters;
pub mod deleted;
mod fs;
mod ground;
mod keeper;
mod lease;
mod marker;
mod open;
mod path;
mod queue;
mod reader;
mod room;
mod single;
mod state;
mod sync;
mod unlink;
mod volume;
mod writer;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod trouble_tests;

pub use accept::NotAccepted;
pub use completion::{Completion, Completions, Draft, Fault};
pub use counters::{Latency, VolumeCounters};
pub use fs::{Entry, Fs, FsFile, RealFs, Space};
pub use keeper::Pace;
pub use lease::{Lease, LeaseCounters, Leases};
pub use marker::read as volume_marker;
pub use open::{Fragment, FragmentTrack, OpenSegment, OpenSegments, Progress};
pub use queue::{Refused, SegmentWriter};
pub use reader::{MAX_READ, ReadError, SegmentReader};
pub use room::Room;
pub use single::Volume;
pub use state::{VolumeState, is_full};
pub use unlink::{NotUnlinked, Unlinked};
pub use volume::{NoRoom, Options, Settings, VolumeError, VolumeHealth, VolumeSettings, Volumes};
