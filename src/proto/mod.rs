//! Protocols and formats, pure: no sockets, no files, no clock, no tokio.
//!
//! State machines take events through `handle_*`, with `now` as an argument, and are drained
//! through `poll_*`. That makes an hour of silence testable in a microsecond.

pub mod access_unit;
pub mod codec;
pub mod fmp4;
pub mod reason;
pub mod rtp;
pub mod rtsp;
pub mod time;
