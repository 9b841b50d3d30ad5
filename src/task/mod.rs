//! Long tasks kept alive: one attempt after another, with a back-off that tells a camera that
//! reboots from one whose password is wrong.
//!
//! ```text
//! supervise ──▶ attempt (a task of its own) ──▶ Ok | Err(Failure) | panic
//!     ▲                                              │
//!     └──────── wait (Backoff), say so (Health) ◀────┘
//! ```
//!
//! # Invariants
//!
//! * An attempt is a task of its own, so a panic costs one attempt and nothing else.
//! * An attempt is never dropped half-way: it is told to stop through its token and awaited. One
//!   that does not come back within [`Policy::stop_within`] is aborted, and that is logged.
//! * The back-off starts over only after an attempt that *worked* for [`Policy::recovered_after`]:
//!   one that connects and dies at once is no recovery.

mod backoff;
mod chain;
mod stop;
mod supervise;

pub use backoff::{Backoff, Policy};
pub use chain::chain;
pub use stop::Stop;
pub use supervise::{Attempt, Connects, Ended, Failure, Health, Retry, supervise};
