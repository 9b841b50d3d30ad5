//! What recording costs: N simulated cameras of 4 Mb/s (H.264 and AAC over TCP) recorded by Vedette, by `ffmpeg -c copy -f segment`
//! (a process a camera) and by a bare loop that reads the same sockets and writes the same bytes to files with the same sync policy.
//!
//! All three run one after the other against cameras of the same process, so that the ratios mean something on a noisy machine.
//! Each has [`SETTLED`] before its cost is taken: ffmpeg probes its streams, Vedette brings up connections and measures clocks.
//!
//! `BENCH_SECONDS` (default 30), `BENCH_CAMERAS` (default 1,10,40).

use std::{
    io::{BufRead, BufReader},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::process::{cpu_seconds, files, free_port, peak_bytes, setting, wait_for};

const BITRATE: u32 = 4_000_000;
const FPS: f64 = 25.0;
/// From when all cameras are recorded until the cost is taken.
const SETTLED: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(60);

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

/// The cameras, in a process of their own, so that their cost is not counted.
struct Simulator {
    child: Child,
    port: u16,
    cameras: usize,
}

impl Simulator {
    fn start(cameras: usize) -> Self {
        let port = free_port();
        let child = Command::new(env!("CARGO_BIN_EXE_vedette"))
            .args([
                "simulate",
                "--cameras",
                &cameras.to_string(),
                "--bitrate",
                &BITRATE.to_string(),
            ])
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("the simulator", PATIENCE, || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, port, cameras }
    }

    fn urls(&self) -> impl Iterator<Item = String> {
        (1..=self.cameras).map(|n| format!("rtsp://127.0.0.1:{}/camera-{n}", self.port))
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Run {
    cpu_per_camera_minute: f64,
    peak_bytes: u64,
    /// Frames missing between the first and the last in the files; `None` where nobody looked.
    lost: Option<u64>,
}

fn measure_vedette(simulator: &Simulator, window: Duration) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let (http, rtsp) = (free_port(), free_port());
    let config = format!(
        "[http]\nlisten = \"127.0.0.1:{http}\"\n[rtsp]\nlisten = \"127.0.0.1:{rtsp}\"\n[database]\npath = \"{dir}/vedette.db\"\n\
         [[volumes]]\npath = \"{dir}/footage\"\n[auth]\nmode = \"none\"\n",
        dir = dir.path().display()
    );
    std::fs::write(dir.path().join("vedette.toml"), config).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_vedette"))
        .args(["serve", "--config"])
        .arg(dir.path().join("vedette.toml"))
        .env("VEDETTE_LOG__LEVEL", "warn")
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let client = reqwest::blocking::Client::new();
    let api = format!("http://127.0.0.1:{http}/api/v1");
    wait_for("vedette", PATIENCE, || {
        client.get(format!("http://127.0.0.1:{http}/healthz")).send().is_ok()
    });
    for (n, url) in simulator.urls().enumerate() {
        let body = serde_json::json!({ "slug": format!("camera-{}", n + 1), "streams": [{ "role": "main", "url": url, "transport": "tcp" }] });
        let answer = client.post(format!("{api}/cameras")).json(&body).send().unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().unwrap());
    }
    wait_for("all cameras to run", PATIENCE, || {
        let status: serde_json::Value =
            client.get(format!("{api}/status")).send().unwrap().json().unwrap();
        let cameras = status["cameras"].as_array().unwrap();
        cameras.iter().filter(|c| c["streams"][0]["state"] == "running").count()
            == simulator.cameras
    });
    let run = measure(&[child.id()], simulator.cameras, window);
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert!(child.wait().unwrap().success());
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

fn measure(processes: &[u32], cameras: usize, window: Duration) -> Run {
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
fn lost_frames(file: &Path) -> u64 {
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
