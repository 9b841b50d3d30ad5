//! Five hundred cameras of 2 Mb/s: how long until all are recorded after a start, and what recording them takes.
//!
//! `BENCH_CROWD` (default 500), `BENCH_SECONDS` (default 30).

use std::time::{Duration, Instant};

use super::{
    process::{files, setting},
    record::{Run, lost_frames, measure},
    server::{Server, Simulator},
};

const BITRATE: u32 = 2_000_000;

pub(crate) fn run() {
    let (cameras, seconds) = (setting("BENCH_CROWD", 500) as usize, setting("BENCH_SECONDS", 30));
    println!("a crowd: {cameras} cameras of {} Mb/s over TCP for {seconds} s", BITRATE / 1_000_000);
    let simulator = Simulator::start_at(cameras, BITRATE);
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    server.record(&simulator);
    server.stop();
    let recorded_before = files(&dir.path().join("footage")).len();

    let began = Instant::now();
    let mut server = Server::start(dir.path());
    server.wait_until_running(cameras);
    println!("{:>24} {:>8.1} s after a start", "all are recorded", began.elapsed().as_secs_f64());
    let Run { cpu_per_camera_minute: cost, peak_bytes, .. } =
        measure(&[server.id()], cameras, Duration::from_secs(seconds));
    server.stop();
    let files = files(&dir.path().join("footage"));
    let lost: u64 = files.iter().map(|file| lost_frames(file)).sum();
    println!("{:>24} {:>8.2}", "cores", cost * cameras as f64 / 60.0);
    println!("{:>24} {:>8.3}", "MB a camera, peak", peak_bytes as f64 / 1e6 / cameras as f64);
    println!("{:>24} {lost:>8} in {} files", "frames lost", files.len() - recorded_before);
}
