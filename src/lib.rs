//! Vedette: a network video recorder. `src/README.md` is the map of the code.
//!
//! One package, one binary; this library exists so that tests and benchmarks can reach the parts.

pub mod access;
pub mod app;
pub mod clock;
pub mod config;
pub mod disk;
pub mod footage;
pub mod http;
pub mod hub;
pub mod id;
pub mod ingest;
pub mod metrics;
pub mod model;
pub mod onvif;
pub mod playback;
pub mod proto;
pub mod rebuild;
pub mod record;
pub mod retention;
pub mod rtsp_server;
pub mod seal;
pub mod simulate;
pub mod store;
pub mod task;
