//! What live viewers cost: one camera of 4 Mb/s (H.264 and AAC) to 1, 100 and 500 viewers over TCP and 100 over UDP, beside a bare
//! loop that reads the same camera and writes the same bytes to as many sockets (over UDP: a system call a packet).
//!
//! Cameras, viewers and the bare loop are processes of their own: of Vedette's CPU what recording the camera costs with nobody
//! watching is taken off, so what is left is the viewers'.
//!
//! `BENCH_FANOUT_SECONDS` (default 15), `BENCH_VIEWERS` (default tcp:1,tcp:100,tcp:500,udp:100).

use std::time::{Duration, Instant};

use super::{
    audience::{Helper, relay, viewers},
    process::{cpu_seconds, peak_bytes, resident_bytes, setting},
    server::{Server, Simulator},
};

/// From when all watch until the cost is taken.
const SETTLED: Duration = Duration::from_secs(3);
/// A viewer that never reads is watched for so long: longer than the server's patience.
const STALLED: Duration = Duration::from_secs(20);

/// Of one process in one window.
struct Cost {
    /// CPU seconds a minute.
    cpu: f64,
    /// Bits a second that reached the viewer with the least, and the one with the most.
    least: f64,
    most: f64,
    resident: u64,
}

pub(crate) fn run() {
    let window = Duration::from_secs(setting("BENCH_FANOUT_SECONDS", 15));
    let asked = std::env::var("BENCH_VIEWERS")
        .unwrap_or_else(|_| "tcp:1,tcp:100,tcp:500,udp:100".to_owned());
    let simulator = Simulator::start(1);
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    server.record(&simulator);
    let (camera, url) = (simulator.urls().next().unwrap(), server.url("camera-1"));
    println!(
        "fan-out of one live stream of 4 Mb/s: {} s each; CPU in seconds a viewer-minute",
        window.as_secs()
    );
    let idle = measure(server.id(), None, window);
    println!("nobody watching: {:.3} CPU s a minute, {:.1} MB", idle.cpu, mb(idle.resident));
    println!(
        "{:>7} {:>5}  {:<10} {:>9} {:>13} {:>20} {:>9}",
        "viewers", "over", "server", "CPU", "of bare loop", "Mb/s (least, most)", "MB"
    );
    for case in asked.split(',') {
        let (over, count) = case.split_once(':').expect("tcp:100");
        let count: usize = count.parse().unwrap();
        let bare = {
            let (helper, at) = relay(over, count, std::slice::from_ref(&camera));
            let mut all = viewers(&format!("raw-{over}"), count, &at[0].to_string());
            measure(helper.id(), Some(&mut all), window)
        };
        let mut all = viewers(over, count, &url);
        let mut vedette = measure(server.id(), Some(&mut all), window);
        drop(all);
        vedette.cpu -= idle.cpu;
        for (name, cost) in [("vedette", &vedette), ("bare loop", &bare)] {
            println!(
                "{count:>7} {over:>5}  {name:<10} {:>9.4} {:>13.2} {:>13.2}, {:>5.2} {:>9.1}",
                cost.cpu / count as f64,
                cost.cpu / bare.cpu,
                cost.least / 1e6,
                cost.most / 1e6,
                mb(cost.resident),
            );
        }
        std::thread::sleep(SETTLED);
    }
    let before = resident_bytes(server.id());
    let stalled = viewers("stalled", 1, &url);
    let (began, mut most) = (Instant::now(), 0);
    while began.elapsed() < STALLED {
        most = most.max(resident_bytes(server.id()));
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(stalled);
    println!(
        "a viewer that never reads: {:.1} MB before, {:.1} MB at most with it; {:.1} MB the most of all",
        mb(before),
        mb(most),
        mb(peak_bytes(server.id()))
    );
    server.stop();
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn measure(process: u32, audience: Option<&mut Helper>, window: Duration) -> Cost {
    let mut audience = audience;
    let mut received = || audience.as_mut().map_or(Vec::new(), |a| a.received());
    std::thread::sleep(SETTLED);
    let (before, cpu, began) = (received(), cpu_seconds(process), Instant::now());
    std::thread::sleep(window);
    let (cpu, elapsed) = (cpu_seconds(process) - cpu, began.elapsed().as_secs_f64());
    let after = received();
    let rates = before.iter().zip(&after).map(|(b, a)| (a - b) as f64 * 8.0 / elapsed);
    Cost {
        cpu: cpu / elapsed * 60.0,
        least: rates.clone().reduce(f64::min).unwrap_or_default(),
        most: rates.reduce(f64::max).unwrap_or_default(),
        resident: resident_bytes(process),
    }
}
