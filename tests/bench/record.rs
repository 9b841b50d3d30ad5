//! What recording costs: N simulated cameras of 4 Mb/s (H.264 and AAC over TCP) recorded by Vedette, by `ffmpeg -c copy -f segment`
//! (a process a camera) and by a bare loop that reads the same sockets and writes the same bytes to files with the same sync policy.
//!
//! All three run one after the other against cameras of the same process, so that the ratios mean something on a noisy machine.
//!
//! ```sh
//! make bench                                             # N = 1, 10, 40; 60 s each
//! BENCH_SECONDS=15 BENCH_CAMERAS=10 make bench
//! ```
#![expect(clippy::disallowed_methods, reason = "a benchmark measures in the world's time")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot go on should stop where it is"
)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const BITRATE: u32 = 4_000_000;
const FPS: f64 = 25.0;
const SYNC_EVERY: Duration = Duration::from_secs(5);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|a| a == "bare") {
        return bare(&args[2], &args[3..]);
    }
    let seconds: u64 = std::env::var("BENCH_SECONDS").map_or(60, |s| s.parse().unwrap());
    let counts: Vec<usize> = std::env::var("BENCH_CAMERAS")
        .map_or(vec![1, 10, 40], |s| s.split(',').map(|n| n.parse().unwrap()).collect());
    println!(
        "{seconds} s of {} Mb/s a camera (H.264 + AAC over TCP); CPU in seconds a camera-minute",
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
        wait_for("the simulator", || TcpStream::connect(("127.0.0.1", port)).is_ok());
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
    wait_for("vedette", || client.get(format!("http://127.0.0.1:{http}/healthz")).send().is_ok());
    for (n, url) in simulator.urls().enumerate() {
        let body = serde_json::json!({ "slug": format!("camera-{}", n + 1), "streams": [{ "role": "main", "url": url, "transport": "tcp" }] });
        let answer = client.post(format!("{api}/cameras")).json(&body).send().unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().unwrap());
    }
    wait_for("all cameras to run", || {
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
    wait_for("all of ffmpeg's files", || files(dir.path()).len() == simulator.cameras);
    // Its files exist before its probing of the stream is over; that part is not recording.
    std::thread::sleep(Duration::from_secs(6));
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

/// The least a recorder can do: 64 KiB reads from each socket, the same bytes written to a file, an `fdatasync` every 5 s.
fn bare(dir: &str, urls: &[String]) {
    let sockets: Vec<TcpStream> = urls.iter().map(|url| play(url)).collect();
    println!("running");
    let threads: Vec<_> = sockets
        .into_iter()
        .enumerate()
        .map(|(n, mut socket)| {
            let mut file = std::fs::File::create(Path::new(dir).join(format!("{n}.bin"))).unwrap();
            std::thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                let mut synced = Instant::now();
                while let Ok(n @ 1..) = socket.read(&mut buffer) {
                    file.write_all(&buffer[..n]).unwrap();
                    if synced.elapsed() >= SYNC_EVERY {
                        file.sync_data().unwrap();
                        synced = Instant::now();
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
}

/// Just enough of an RTSP client to make a simulated camera send all its tracks into the connection.
fn play(url: &str) -> TcpStream {
    let address = url.strip_prefix("rtsp://").unwrap().split('/').next().unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    let mut cseq = 0;
    let mut ask = |method: &str, url: &str, header: &str| -> (Vec<String>, String) {
        cseq += 1;
        write!(socket, "{method} {url} RTSP/1.0\r\nCSeq: {cseq}\r\n{header}\r\n").unwrap();
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_owned());
        }
        assert!(head[0].starts_with("RTSP/1.0 200"), "{method}: {head:?}");
        let length = value(&head, "content-length").map_or(0, |v| v.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        (head, String::from_utf8(body).unwrap())
    };
    let (head, sdp) = ask("DESCRIBE", url, "Accept: application/sdp\r\n");
    let base = value(&head, "content-base").unwrap_or_else(|| format!("{url}/"));
    let media = sdp.split("m=").skip(1);
    let controls: Vec<String> = media
        .filter_map(|m| m.lines().find_map(|l| l.strip_prefix("a=control:")).map(str::to_owned))
        .collect();
    let mut session = String::new();
    for (n, control) in controls.iter().enumerate() {
        let track = if control.starts_with("rtsp://") {
            control.clone()
        } else {
            format!("{base}{control}")
        };
        let header = format!(
            "Transport: RTP/AVP/TCP;unicast;interleaved={}-{}\r\n{session}",
            2 * n,
            2 * n + 1
        );
        let (head, _) = ask("SETUP", &track, &header);
        let id = value(&head, "session").unwrap();
        session = format!("Session: {}\r\n", id.split(';').next().unwrap());
    }
    ask("PLAY", &base, &format!("{session}Range: npt=0.000-\r\n"));
    socket
}

fn value(head: &[String], name: &str) -> Option<String> {
    head.iter().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

fn measure(processes: &[u32], cameras: usize, window: Duration) -> Run {
    let cpu = || -> f64 { processes.iter().map(|&p| cpu_seconds(p)).sum() };
    let (before, began) = (cpu(), Instant::now());
    std::thread::sleep(window);
    let (after, elapsed) = (cpu(), began.elapsed());
    Run {
        cpu_per_camera_minute: (after - before) / cameras as f64 / (elapsed.as_secs_f64() / 60.0),
        peak_bytes: processes.iter().map(|&p| peak_bytes(p)).sum(),
        lost: None,
    }
}

/// User and system time of a process so far (proc(5): fields 14 and 15 of `stat`, in hundredths of a second).
fn cpu_seconds(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("the process lives");
    let after_name = stat.rsplit(") ").next().unwrap();
    let fields: Vec<&str> = after_name.split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// `VmHWM`: the most memory it ever held.
fn peak_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
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

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|e| e == "mp4") {
            found.push(path);
        }
    }
    found
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let began = Instant::now();
    while !ready() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited a minute for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
