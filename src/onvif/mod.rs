//! What cameras say of themselves: who is on the network, which streams they have, what they see.
//!
//! ```text
//! discovery (UDP, each interface) ─▶ Found
//! device: Device ─▶ client (oxvif) ─▶ wire (HTTP, bounded) ─▶ camera
//!    │ describe ─▶ choose: main and sub        │ subscribe ─▶ Subscription
//!    ▼                                         ▼
//! Description                   listener (supervised) ─▶ notices (pure) ─▶ marks in the index
//!                                                                       └▶ Tell: what records by events
//! ```
//!
//! # Invariants
//!
//! * No type of the library leaves this folder: others see [`Device`] and our own types.
//! * Whatever a camera says is bounded before it is parsed: bytes, depth, elements, the length of a
//!   tag; and every request is bounded in time. The library's own connection has no such bound, so
//!   requests go over ours (`wire`).
//! * A request, and with it a password, only ever goes to the host it was configured for: of the
//!   addresses that a camera names, port and path are used and never the host. What discovery finds
//!   is at the address that answered, or it is not taken.
//! * Times of events are the recorder's: cameras' clocks are wrong too often to find footage by.

mod choose;
mod client;
mod device;
mod digest;
mod discovery;
mod error;
mod listener;
mod notices;
#[cfg(test)]
mod tests;
mod wire;
mod xml;

pub use client::device;
pub use device::{Description, Device, Login, OfferedStream, Subscription, VideoCodec};
pub use discovery::{Found, Search, search};
pub use error::OnvifError;
pub use listener::{EventsState, EventsStatus, Listener, Tell};

mod limits {
    use std::time::Duration;

    /// For the TCP handshake.
    pub(super) const CONNECT: Duration = Duration::from_secs(3);
    /// For one request, connecting and logging in included.
    pub(super) const REQUEST: Duration = Duration::from_secs(8);
    /// For all the requests of a description.
    pub(super) const DESCRIBE: Duration = Duration::from_secs(20);
    /// For the good-bye to a subscription.
    pub(super) const UNSUBSCRIBE: Duration = Duration::from_secs(2);

    /// An answer's body, bytes. A recorder with 32 channels describes itself in some 300 KiB.
    pub(super) const BODY: usize = 1 << 20;
    /// An answer's head, bytes.
    pub(super) const HEAD: usize = 32 << 10;
    /// Headers of an answer.
    pub(super) const HEADERS: usize = 64;
    /// Elements within each other.
    pub(super) const DEPTH: usize = 48;
    /// Elements of a document.
    pub(super) const ELEMENTS: usize = 20_000;
    /// One tag with its attributes, bytes: the parser compares each attribute with all before it.
    pub(super) const TAG: usize = 8 << 10;
    /// Profiles looked at.
    pub(super) const PROFILES: usize = 128;
    /// A text of the camera's that is shown or kept, characters.
    pub(super) const TEXT: usize = 100;

    /// How long a camera may keep a request for events waiting until there is one.
    pub(super) const PULL: Duration = Duration::from_secs(20);
    /// Requests for events are at least so far apart, whatever the camera answers.
    pub(super) const PULL_PACE: Duration = Duration::from_millis(250);
    /// Events of one answer.
    pub(super) const PULL_MESSAGES: u32 = 64;
    /// How long a subscription lasts unless it is renewed.
    pub(super) const LEASE: Duration = Duration::from_secs(120);
    /// When it is renewed: early enough for a second try.
    pub(super) const RENEW: Duration = Duration::from_secs(45);
}

/// A text of the camera's, as it is shown: one line, bounded, without secrets.
fn tidy(text: &str) -> String {
    let printable: String =
        text.chars().filter(|c| !c.is_control()).take(limits::TEXT * 2).collect();
    crate::model::shown(printable.trim()).chars().take(limits::TEXT).collect()
}
