//! The real binary between foreign cameras and foreign players. See `harness.rs`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds what it did not expect should stop there"
)]

mod codecs;
mod crash;
mod crowd;
mod disk_full;
mod harness;
mod live;
mod maintenance;
mod operation;
mod publish;
mod recorded;
mod recording;
mod retina_client;
mod simulated;
mod trick;
mod trust;
mod tunnelled;
mod websocket;
mod when;
