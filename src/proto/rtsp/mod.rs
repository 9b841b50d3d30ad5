//! RTSP/1.0 (RFC 2326): what both of its ends share.
//!
//! ```text
//! bytes ──▶ parse ──▶ message ──▶ headers, auth ──▶ the session state machine
//!           caps      Request      typed values
//! ```
//!
//! [`message`] holds the types and their writers, [`parse`] finds them in a stream of bytes,
//! [`headers`] gives the header fields types, [`sdp`] describes what can be played, and [`auth`]
//! is Digest as a server needs it. [`server`] and [`client`] are the session state machines of either
//! end, [`tunnel`] what stands around all this when it comes through HTTP.

pub mod auth;
pub mod client;
pub mod headers;
pub mod message;
pub mod parse;
pub mod sdp;
pub mod server;
pub mod tunnel;
