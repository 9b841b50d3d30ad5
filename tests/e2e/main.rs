//! The real binary between foreign cameras and foreign players. See `harness.rs`.

mod harness;
mod live;
mod operation;
mod recorded;
mod recording;
