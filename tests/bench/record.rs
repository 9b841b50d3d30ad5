//! What recording costs: N simulated cameras of 4 Mb/s (H.264 and AAC over TCP) recorded by Vedette, by `ffmpeg -c copy -f segment`
//! (a process a camera) and by a bare loop that reads the same sockets and writes the same bytes to files with the same sync policy.
//!
//! All three run one after the other against cameras of the same process, so that the ratios mean something on a noisy machine.
//! Each has [`SETTLED`] before its cost is taken: ffmpeg probes its streams, Vedette brings up connections and measures clocks.
//!
//! `BENCH_SECONDS` (default 30), `BENCH_CAMERAS` (default 1,10,40).

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    process::{cpu_seconds, files, peak_bytes, setting, wait_for},
    server::{BITRATE, PATIENCE, Server, Simulator},
};

const FPS: f64 = 25.0;
/// From when all cameras are recorded until the cost is taken.
const SETTLED: Duration = Duration::from_secs(8);

pub(crate) fn run() {
    let seconds = setting("BENCH_SECONDS", 30);
    let counts: Vec<usize> = std::env::var("BENCH_CAMERAS")
        .map_or(vec![1, 10, 40], |s| s.split(',').map(|n| n.parse().unwrap()).collect());
    println!(
        "recording: {seconds} s of {} Mb/s a camera (H.264 + AAC over TCP); CPU in seconds a camera-minute",
        BITRATE / 1_000_000
    );
    println!(
        "{:>7}  {:<10} {:>9} {:>9} {:>12} {:>10} {:>8}",
        "cameras", "recorder", "CPU", "of ffmpeg", "of bare loop", "peak MB", "lost"
    );
    for cameras in counts {
        let simulator = Simulator::start(cameras);
        let window = Duration::from_secs(seconds);
        let bare = measure_bare(&simulator, window);
        let ffmpeg = measure_ffmpeg(&simulator, window);
        let vedette = measure_vedette(&simulator, window);
        for (name, run) in [("vedette", &vedette), ("ffmpeg", &ffmpeg), ("bare loop", &bare)] {
            println!(
                "{cameras:>7}  {name:<10} {:>9.4} {:>9.3} {:>12.2} {:>10.1} {:>8}",
                run.cpu_per_camera_minute,
                run.cpu_per_camera_minute / ffmpeg.cpu_per_camera_minute,
                run.cpu_per_camera_minute / bare.cpu_per_camera_minute,
                run.peak_bytes as f64 / 1e6,
                run.lost.map_or("-".to_owned(), |n| n.to_string()),
            );
        }
    }
}

pub(super) struct Run {
    pub(super) cpu_per_camera_minute: f64,
    pub(super) peak_bytes: u64,
    /// Frames missing between the first and the last in the files; `None` where nobody looked.
    lost: Option<u64>,
}

fn measure_vedette(simulator: &Simulator, window: Duration) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    server.record(simulator);
    let run = measure(&[server.id()], simulator.cameras, window);
    server.stop();
    let lost = files(&dir.path().join("footage")).iter().map(|f| lost_frames(f)).sum();
    Run { lost: Some(lost), ..run }
}

fn measure_ffmpeg(simulator: &Simulator, window: Duration) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let mut children: Vec<Child> = simulator
        .urls()
        .enumerate()
        .map(|(n, url)| {
            Command::new("ffmpeg")
                .args([
                    "-v",
                    "error",
                    "-rtsp_transport",
                    "tcp",
                    "-i",
                    &url,
                    "-c",
                    "copy",
                    "-f",
                    "segment",
                ])
                .args(["-segment_time", "60", "-segment_format", "mp4", "-reset_timestamps", "1"])
                .arg(dir.path().join(format!("{n}-%03d.mp4")))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    wait_for("all of ffmpeg's files", PATIENCE, || files(dir.path()).len() == simulator.cameras);
    let ids: Vec<u32> = children.iter().map(Child::id).collect();
    let run = measure(&ids, simulator.cameras, window);
    for child in &mut children {
        let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        let _ = child.wait();
    }
    run
}

fn measure_bare(simulator: &Simulator, window: Duration) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("bare")
        .arg(dir.path())
        .args(simulator.urls())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "running");
    let run = measure(&[child.id()], simulator.cameras, window);
    let _ = child.kill();
    let _ = child.wait();
    run
}

pub(super) fn measure(processes: &[u32], cameras: usize, window: Duration) -> Run {
    let cpu = || -> f64 { processes.iter().map(|&p| cpu_seconds(p)).sum() };
    std::thread::sleep(SETTLED);
    let (before, began) = (cpu(), Instant::now());
    std::thread::sleep(window);
    let (after, elapsed) = (cpu(), began.elapsed());
    Run {
        cpu_per_camera_minute: (after - before) / cameras as f64 / (elapsed.as_secs_f64() / 60.0),
        peak_bytes: processes.iter().map(|&p| peak_bytes(p)).sum(),
        lost: None,
    }
}

/// Video frames missing in a file: holes of its time stamps, in frame durations.
pub(super) fn lost_frames(file: &Path) -> u64 {
    let probe = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-select_streams",
            "v",
            "-show_entries",
            "packet=dts_time",
            "-of",
            "csv=p=0",
        ])
        .arg(file)
        .output()
        .unwrap();
    let times: Vec<f64> = String::from_utf8(probe.stdout)
        .unwrap()
        .lines()
        .map(|l| l.trim_end_matches(',').parse().unwrap())
        .collect();
    assert!(!times.is_empty(), "{} holds no frame", file.display());
    times.windows(2).map(|w| ((w[1] - w[0]) * FPS).round() as u64 - 1).sum()
}
