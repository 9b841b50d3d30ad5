//! Cameras in: keeps one stream of one camera flowing into the hub.
//!
//! ```text
//! supervise ─▶ attempt: connect ─▶ Source (RTSP) ─▶ tracks, clock, DTS ─▶ hub::Publisher
//!    ▲                                  │ watchdogs                          │
//!    └── PullError: retry? reason? ◀────┴────────── run ends with reason ◀───┘
//! ```
//!
//! # Invariants
//!
//! * A run begins with a random access unit of the leading track and holds whole units only: one
//!   that lost a packet is dropped and counted, those that follow it are kept.
//! * Units are numbered without a break, `dts` never falls, and `wall` is the recorder's clock
//!   ([`run_clock`]), not the camera's.
//! * A run ends for one reason, which stands in the gap, the metric, the status and one log line.
//! * Nothing here waits for a reader: the hub's bound is the only one.
//! * Passwords are sent to the host they were configured for and shown nowhere.

mod attempt;
#[cfg(test)]
mod clock_tests;
mod error;
mod flow;
mod memory;
mod pace;
mod probe;
mod puller;
mod rtsp;
pub mod run_clock;
mod source;
mod status;
mod target;
mod unit;

pub use error::PullError;
pub use probe::{ProbeReport, ProbedTrack, probe};
pub use puller::{Landing, Puller, Resume};
pub use rtsp::{check_authority, publish};
pub use status::{AudioStatus, PullState, StatusSnapshot, StreamStatus, VideoStatus};
pub use target::{BadAddress, PullTarget};

pub use crate::model::Trust;
