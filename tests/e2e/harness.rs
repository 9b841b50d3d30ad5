//! A recorder process, foreign cameras and foreign players, and the reading of what they say.
//!
//! One end of every test is not ours: the camera is gst-rtsp-server (`tests/tools/camera.py`) or the player is live555,
//! GStreamer, ffmpeg or mpv. Each test has its own recorder, its own folder, its own ports.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

pub(crate) const PASSWORD: &str = "correct horse";
pub(crate) const FPS: f64 = 25.0;
/// Key frames come every so many pictures in the test clips.
pub(crate) const GOP: i64 = 25;

/// How long anything may take before a test gives up on it. Never a wait in itself.
const PATIENCE: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "a test watches real processes in real time")]
fn now() -> Instant {
    Instant::now()
}

/// Asks again and again until there is an answer.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        // Polling another process: there is no event to wait for.
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn tool(name: &str) -> PathBuf {
    root().join("tests/tools").join(name)
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn run(command: &mut Command) -> Output {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{shown}: {e}"));
    let said = |bytes| String::from_utf8_lossy(bytes);
    let (errors, said) = (said(&output.stderr), said(&output.stdout));
    assert!(output.status.success(), "{shown}: {}\n{errors}{said}", output.status);
    output
}

/// The binary, with none of our settings from outside: a variable that it does not know is a mistake to it.
pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vedette"));
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.as_encoded_bytes().starts_with(b"VEDETTE_")) {
        command.env_remove(name);
    }
    command
}

/// The test clips, made by ffmpeg once for all tests. 10 s, 25 fps, a key frame a second.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clip {
    H264Aac,
    H265,
    BFrames,
}

impl Clip {
    pub(crate) fn path(self) -> PathBuf {
        let (name, encoder, audio): (_, &[&str], _) = match self {
            Self::H264Aac => ("h264", &["libx264", "-preset", "veryfast", "-bf", "0"], true),
            Self::H265 => (
                "h265",
                &[
                    "libx265",
                    "-x265-params",
                    "log-level=error:min-keyint=25:scenecut=0:bframes=0:open-gop=0",
                ],
                false,
            ),
            Self::BFrames => ("bframes", &["libx264", "-preset", "medium", "-bf", "2"], true),
        };
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.mp4"));
        if !path.exists() {
            let part = path.with_extension(format!("{}.mp4", std::process::id()));
            let mut ffmpeg = Command::new("ffmpeg");
            ffmpeg.args([
                "-v",
                "error",
                "-y",
                "-f",
                "lavfi",
                "-i",
                "testsrc2=size=320x240:rate=25",
            ]);
            if audio {
                ffmpeg.args([
                    "-f",
                    "lavfi",
                    "-i",
                    "anoisesrc=seed=7:amplitude=0.3:sample_rate=48000",
                ]);
            }
            ffmpeg
                .args(["-t", "10", "-g", "25", "-sc_threshold", "0", "-pix_fmt", "yuv420p", "-c:v"])
                .args(encoder);
            if audio {
                ffmpeg.args(["-c:a", "aac", "-b:a", "64k"]);
            }
            run(ffmpeg.arg(&part));
            std::fs::rename(&part, &path).unwrap();
        }
        path
    }
}

/// One unit as the camera handed it to its payloader.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) number: i64,
    pub md5: String,
    pub(crate) pts: f64,
}

/// gst-rtsp-server in a process of its own.
pub(crate) struct Camera {
    child: Child,
    pub(crate) port: u16,
    sent: PathBuf,
    command: Vec<String>,
    login: Option<(&'static str, &'static str)>,
}

impl Camera {
    pub(crate) fn start(dir: &Path, streams: &[(&str, Clip)]) -> Self {
        Self::start_with(dir, streams, &[], None)
    }

    pub(crate) fn with_digest(dir: &Path, streams: &[(&str, Clip)]) -> Self {
        let login = ("viewer", "pass word");
        let options = ["--user", login.0, "--password", login.1, "--digest"];
        Self::start_with(dir, streams, &options, Some(login))
    }

    /// Streams that are pipelines of GStreamer's.
    pub(crate) fn launched(dir: &Path, streams: &[(&str, &str)]) -> Self {
        let sent = dir.join("sent.jsonl");
        let mut command = vec![tool("camera.py").display().to_string()];
        command.extend(["--sent".to_owned(), sent.display().to_string()]);
        command.extend(streams.iter().map(|(name, pipeline)| format!("{name}={pipeline}")));
        let (child, port) = Self::spawn(&command, 0);
        Self { child, port, sent, command, login: None }
    }

    fn start_with(
        dir: &Path,
        streams: &[(&str, Clip)],
        options: &[&str],
        login: Option<(&'static str, &'static str)>,
    ) -> Self {
        let sent = dir.join("sent.jsonl");
        let mut command = vec![tool("camera.py").display().to_string()];
        command.extend(["--sent".to_owned(), sent.display().to_string()]);
        command.extend(options.iter().map(|&o| o.to_owned()));
        command
            .extend(streams.iter().map(|(name, clip)| format!("{name}={}", clip.path().display())));
        let (child, port) = Self::spawn(&command, 0);
        Self { child, port, sent, command, login }
    }

    fn spawn(command: &[String], port: u16) -> (Child, u16) {
        let mut child = Command::new("/usr/bin/python3")
            .args(command)
            .args(["--port", &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let port =
            line.trim().strip_prefix("ready ").expect("camera.py says ready").parse().unwrap();
        (child, port)
    }

    /// Kills it as a power cut would: no TEARDOWN, no BYE.
    pub(crate) fn power_off(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again at the same address. Its numbers begin at 0 again, in a fresh log.
    pub(crate) fn power_on(&mut self) {
        let _ = std::fs::remove_file(&self.sent);
        let (child, _) = Self::spawn(&self.command, self.port);
        self.child = child;
    }

    pub(crate) fn url(&self, stream: &str) -> String {
        match self.login {
            Some((user, password)) => {
                format!(
                    "rtsp://{user}:{}@127.0.0.1:{}/{stream}",
                    password.replace(' ', "%20"),
                    self.port
                )
            }
            None => format!("rtsp://127.0.0.1:{}/{stream}", self.port),
        }
    }

    /// What it handed out so far, of one stream and track, by number.
    pub(crate) fn sent(&self, stream: &str, track: &str) -> Vec<Sent> {
        let log = std::fs::read_to_string(&self.sent).unwrap_or_default();
        log.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|v| v["path"] == stream && v["track"] == track)
            .map(|v| Sent {
                number: v["number"].as_i64().unwrap(),
                md5: v["md5"].as_str().unwrap().to_owned(),
                pts: v["pts"].as_f64().unwrap(),
            })
            .collect()
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.power_off();
    }
}

/// `vedette serve` in a process of its own.
pub(crate) struct Vedette {
    child: Option<Child>,
    pub(crate) dir: PathBuf,
    pub(crate) http: String,
    pub(crate) rtsp_port: u16,
    environment: Vec<(&'static str, String)>,
    http_client: reqwest::blocking::Client,
}

impl Vedette {
    /// With segments of `segment_seconds`.
    pub(crate) fn start(dir: &Path, segment_seconds: u32) -> Self {
        Self::start_with(dir, segment_seconds, "")
    }

    /// With more lines of configuration.
    pub(crate) fn start_with(dir: &Path, segment_seconds: u32, more: &str) -> Self {
        Self::start_in(dir, segment_seconds, more, &[])
    }

    /// With variables in its environment, too.
    pub(crate) fn start_in(
        dir: &Path,
        segment_seconds: u32,
        more: &str,
        environment: &[(&'static str, String)],
    ) -> Self {
        let (http_port, rtsp_port) = (free_port(), free_port());
        let udp = 20_000 + (rtsp_port % 400) * 100;
        let config = format!(
            "[http]\nlisten = \"127.0.0.1:{http_port}\"\n[rtsp]\nlisten = \"127.0.0.1:{rtsp_port}\"\nudp_ports = \"{udp}-{}\"\n\
             [database]\npath = \"{dir}/vedette.db\"\n[[volumes]]\npath = \"{dir}/footage\"\n\
             [recording]\nsegment_seconds = {segment_seconds}\n{more}",
            udp + 99,
            dir = dir.display()
        );
        std::fs::write(dir.join("vedette.toml"), config).unwrap();
        let mut vedette = Self {
            child: None,
            dir: dir.to_owned(),
            http: format!("http://127.0.0.1:{http_port}"),
            rtsp_port,
            environment: environment.to_vec(),
            http_client: reqwest::blocking::Client::new(),
        };
        vedette.launch();
        vedette
    }

    /// Starts the process (again) on the same folder and ports, and waits until it answers.
    pub(crate) fn launch(&mut self) {
        let log =
            std::fs::File::options().create(true).append(true).open(self.dir.join("log")).unwrap();
        let child = binary()
            .args(["serve", "--config"])
            .arg(self.dir.join("vedette.toml"))
            .env("VEDETTE_ADMIN_PASSWORD", PASSWORD)
            .env("RUST_BACKTRACE", "1")
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        eventually("the recorder to answer", || {
            let gone = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(gone.is_none(), "the recorder ended: {}", self.log());
            let answer = self.http_client.get(format!("{}/healthz", self.http)).send().ok()?;
            let rtsp = TcpStream::connect(("127.0.0.1", self.rtsp_port)).is_ok();
            (answer.status().is_success() && rtsp).then_some(())
        });
    }

    /// Bytes of memory it holds.
    pub(crate) fn resident(&self) -> u64 {
        let id = self.child.as_ref().unwrap().id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
    }

    /// SIGHUP.
    pub(crate) fn hang_up(&self) {
        let id = self.child.as_ref().unwrap().id();
        run(Command::new("kill").args(["-HUP", &id.to_string()]));
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM; must end by itself with status 0, within the 10 s promised.
    pub(crate) fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        run(Command::new("kill").arg(child.id().to_string()));
        let began = now();
        let status = eventually("the recorder to stop", || child.try_wait().unwrap());
        assert!(status.success(), "{status}: {}", self.log());
        assert!(began.elapsed() < Duration::from_secs(10), "SIGTERM took {:?}", began.elapsed());
    }

    pub(crate) fn request(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let mut request = self
            .http_client
            .request(method, format!("{}/api/v1{path}", self.http))
            .basic_auth("admin", Some(PASSWORD));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().unwrap_or(Value::Null))
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, body) = self.request(reqwest::Method::GET, path, None);
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    pub(crate) fn add_camera(&self, slug: &str, url: &str, transport: &str) {
        let body = serde_json::json!({
            "slug": slug, "streams": [{ "role": "main", "url": url, "transport": transport }],
        });
        let (status, answer) = self.request(reqwest::Method::POST, "/cameras", Some(body));
        assert_eq!(status, 201, "{answer}");
    }

    /// An address of this recorder, with the login in it.
    pub(crate) fn rtsp(&self, path: &str) -> String {
        format!("rtsp://admin:{}@127.0.0.1:{}/{path}", PASSWORD.replace(' ', "%20"), self.rtsp_port)
    }

    pub(crate) const fn rtsp_port(&self) -> u16 {
        self.rtsp_port
    }

    pub(crate) fn segments(&self, slug: &str) -> Vec<Value> {
        let page = self.get(&format!(
            "/cameras/{slug}/segments?start=2020-01-01T00:00:00Z&end=2100-01-01T00:00:00Z&limit=1000"
        ));
        page["items"].as_array().unwrap().clone()
    }

    pub(crate) fn timeline(&self, slug: &str) -> Value {
        self.get(&format!(
            "/cameras/{slug}/timeline?start=2020-01-01T00:00:00Z&end=2100-01-01T00:00:00Z"
        ))
    }

    /// Waits until so many segments are closed.
    pub(crate) fn wait_for_segments(&self, slug: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} closed segments of {slug}"), || {
            let closed: Vec<_> =
                self.segments(slug).into_iter().filter(|s| s["state"] == "closed").collect();
            (closed.len() >= count).then_some(closed)
        })
    }

    /// The sum of a metric over the lines that hold `of`.
    pub(crate) fn metric(&self, name: &str, of: &str) -> f64 {
        let answer = self.http_client.get(format!("{}/metrics", self.http)).send().unwrap();
        let text = answer.text().unwrap();
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let ours = (labels.is_empty() || labels.starts_with('{')) && labels.contains(of);
            ours.then(|| value.parse::<f64>().unwrap())
        });
        let values: Vec<f64> = values.collect();
        assert!(!values.is_empty(), "no {name} of {of} in {text}");
        values.iter().sum()
    }

    /// All segment files of a camera, in order of time.
    pub(crate) fn files(&self, slug: &str) -> Vec<PathBuf> {
        fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
            let Ok(entries) = std::fs::read_dir(dir) else { return };
            for entry in entries {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, files);
                } else if path.extension().is_some_and(|e| e == "mp4") {
                    files.push(path);
                }
            }
        }
        let mut files = Vec::new();
        walk(&self.dir.join("footage").join(slug), &mut files);
        files.sort();
        files
    }
}

impl Drop for Vedette {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(60).collect();
            eprintln!("--- the recorder's log, newest last");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// One video unit as somebody received or stored it.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) number: i64,
    pub md5: String,
    /// Presentation time in seconds, as the reader says it.
    pub(crate) time: f64,
}

fn nal_units(stream: &[u8]) -> Vec<&[u8]> {
    let mut starts: Vec<usize> =
        stream.windows(3).enumerate().filter(|(_, w)| w == b"\0\0\x01").map(|(at, _)| at).collect();
    starts.push(stream.len());
    starts
        .windows(2)
        .map(|pair| {
            let unit = &stream[pair[0] + 3..pair[1]];
            let zeros = unit.iter().rev().take_while(|&&b| b == 0).count();
            &unit[..unit.len() - zeros]
        })
        .collect()
}

pub(crate) fn number_in(sei: &[u8]) -> Option<i64> {
    let mark = b"vedette-unit:";
    let at = sei.windows(mark.len()).position(|w| w == mark)? + mark.len();
    let digits: String =
        sei[at..].iter().take_while(|b| b.is_ascii_digit()).map(|&b| b as char).collect();
    digits.parse().ok()
}

/// Splits a byte stream at its access unit delimiters; number and md5 over the slices of each.
pub(crate) fn access_units(stream: &[u8], hevc: bool) -> Vec<(Option<i64>, String)> {
    let mut units: Vec<(Option<i64>, md5::Md5)> = Vec::new();
    for nal in nal_units(stream) {
        use md5::Digest as _;
        let kind = if hevc { (nal[0] >> 1) & 63 } else { nal[0] & 31 };
        if kind == if hevc { 35 } else { 9 } {
            units.push((None, md5::Md5::new()));
            continue;
        }
        let unit = units.last_mut().expect("an access unit delimiter comes first");
        let slice = if hevc { kind < 32 } else { kind == 1 || kind == 5 };
        if slice {
            unit.1.update(nal);
        } else if let Some(number) = number_in(nal) {
            unit.0 = Some(number);
        }
    }
    units.into_iter().map(|(number, hash)| (number, hex(&md5::Digest::finalize(hash)))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub(crate) fn md5_of(bytes: &[u8]) -> String {
    hex(&<md5::Md5 as md5::Digest>::digest(bytes))
}

/// A segment file as it is now: video units in decoding order with their times, and audio frames. The file may be growing.
pub(crate) fn read_file(path: &Path, hevc: bool) -> (Vec<Got>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("snapshot.mp4");
    std::fs::copy(path, &snapshot).unwrap();
    read_container(&snapshot, hevc)
}

/// What ffmpeg receives from `url` in `seconds`. Times come through Matroska: milliseconds.
pub(crate) fn ffmpeg(
    url: &str,
    transport: &str,
    seconds: u32,
    hevc: bool,
) -> (Vec<Got>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy.mkv");
    run(patient("ffmpeg")
        .args(["-v", "error", "-y", "-rtsp_transport", transport, "-i", url])
        .args(["-t", &seconds.to_string(), "-map", "0", "-c", "copy"])
        .arg(&copy));
    read_container(&copy, hevc)
}

fn read_container(path: &Path, hevc: bool) -> (Vec<Got>, Vec<String>) {
    let name = if hevc { "hevc" } else { "h264" };
    let probe = run(Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-show_entries",
            "stream=codec_type:packet=codec_type,pts_time",
            "-of",
            "json",
        ])
        .arg(path));
    let probe: Value = serde_json::from_slice(&probe.stdout).unwrap();
    let times: Vec<f64> = probe["packets"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|p| p["codec_type"] == "video")
        .map(|p| p["pts_time"].as_str().map_or(f64::NAN, |t| t.parse().unwrap()))
        .collect();
    let filter = format!("{name}_mp4toannexb,{name}_metadata=aud=insert");
    let video = run(Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(path)
        .args(["-map", "0:v", "-c", "copy", "-bsf:v", &filter, "-f", name, "-"]));
    let units = access_units(&video.stdout, hevc);
    assert_eq!(units.len(), times.len(), "as many units as times in {}", path.display());
    let video = units
        .into_iter()
        .zip(times)
        .map(|((number, md5), time)| Got { number: number.unwrap_or(-1), md5, time })
        .collect();
    let mut audio = Vec::new();
    if probe["streams"].as_array().unwrap().iter().any(|s| s["codec_type"] == "audio") {
        let adts = run(Command::new("ffmpeg")
            .args(["-v", "error", "-i"])
            .arg(path)
            .args(["-map", "0:a", "-c", "copy", "-f", "adts", "-"]));
        let mut rest = &adts.stdout[..];
        while rest.len() >= 7 {
            let size = (usize::from(rest[3] & 3) << 11)
                | (usize::from(rest[4]) << 3)
                | (usize::from(rest[5]) >> 5);
            audio.push(md5_of(&rest[7..size]));
            rest = &rest[size..];
        }
    }
    (video, audio)
}

/// Each number follows the one before: nothing lost, nothing twice, nothing out of order.
#[track_caller]
pub(crate) fn assert_consecutive(units: &[Got]) {
    assert!(!units.is_empty(), "there is no unit at all");
    for pair in units.windows(2) {
        assert_eq!(
            pair[1].number,
            pair[0].number + 1,
            "after unit {} at {:.3} s",
            pair[0].number,
            pair[0].time
        );
    }
}

/// Every unit has the bytes that the camera sent under its number.
#[track_caller]
pub(crate) fn assert_as_sent(units: &[Got], sent: &[Sent]) {
    let by_number: HashMap<i64, &str> = sent.iter().map(|s| (s.number, s.md5.as_str())).collect();
    for unit in units {
        assert_eq!(
            Some(unit.md5.as_str()),
            by_number.get(&unit.number).copied(),
            "bytes of unit {}",
            unit.number
        );
    }
}

/// The times between units are those between the camera's units, to `tolerance` seconds.
#[track_caller]
pub(crate) fn assert_times_as_sent(units: &[Got], sent: &[Sent], tolerance: f64) {
    let by_number: HashMap<i64, f64> = sent.iter().map(|s| (s.number, s.pts)).collect();
    let first = &units[0];
    for unit in units {
        let theirs = by_number[&unit.number] - by_number[&first.number];
        let ours = unit.time - first.time;
        assert!(
            (theirs - ours).abs() <= tolerance,
            "unit {}: sent at {theirs:.6}, found at {ours:.6}",
            unit.number
        );
    }
}

/// The hashes stand in the camera's log one after the other.
#[track_caller]
pub(crate) fn assert_audio_as_sent(audio: &[String], sent: &[Sent]) {
    assert!(!audio.is_empty(), "there is no audio at all");
    let all: Vec<&str> = sent.iter().map(|s| s.md5.as_str()).collect();
    let found =
        all.windows(audio.len()).any(|window| window.iter().zip(audio).all(|(a, b)| a == b));
    assert!(
        found,
        "{} audio frames are not what the camera sent in a row ({} sent)",
        audio.len(),
        all.len()
    );
}

/// What a foreign player said, a JSON value a line.
#[derive(Clone)]
pub(crate) struct Said(pub(crate) Vec<Value>);

impl Said {
    pub(crate) fn events(&self, name: &str) -> Vec<&Value> {
        self.0.iter().filter(|v| v["event"] == name).collect()
    }

    /// live555's NAL units put together to access units: number of the SEI, md5 over the slices, npt of the first.
    pub(crate) fn live555_units(&self) -> Vec<Got> {
        let mut units: Vec<Got> = Vec::new();
        let mut number = None;
        for line in self.0.iter().filter(|v| v["unit"] == "video") {
            if let Some(n) = line["number"].as_i64() {
                number = Some(n);
            }
            // The test clips have one slice a picture.
            if matches!(line["type"].as_i64(), Some(1 | 5)) {
                units.push(Got {
                    number: number.take().unwrap_or(-1),
                    md5: line["md5"].as_str().unwrap().to_owned(),
                    time: line["npt"].as_f64().unwrap(),
                });
            }
        }
        units
    }

    pub(crate) fn gstreamer_units(&self) -> Vec<Got> {
        self.0
            .iter()
            .filter(|v| v.get("number").is_some())
            .map(|v| Got {
                number: v["number"].as_i64().unwrap_or(-1),
                md5: v["md5"].as_str().unwrap().to_owned(),
                time: v["pts"].as_f64().unwrap(),
            })
            .collect()
    }
}

/// Where in `said` the value at an index stands: units before and after an event.
impl Said {
    pub(crate) fn after(&self, event: &str, nth: usize) -> Self {
        let at =
            self.0.iter().enumerate().filter(|(_, v)| v["event"] == event).map(|(i, _)| i).nth(nth);
        Self(self.0[at.unwrap_or_else(|| panic!("no {event} number {nth}"))..].to_vec())
    }

    pub(crate) fn before(&self, event: &str, nth: usize) -> Self {
        let at =
            self.0.iter().enumerate().filter(|(_, v)| v["event"] == event).map(|(i, _)| i).nth(nth);
        Self(self.0[..at.unwrap_or_else(|| panic!("no {event} number {nth}"))].to_vec())
    }
}

fn said(command: &mut Command) -> Said {
    let output = run(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Said(text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect())
}

fn patient(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.arg("60").arg(program);
    command
}

/// live555, as VLC drives it.
pub(crate) fn live555(vedette: &Vedette, path: &str, tcp: bool, steps: &[&str]) -> Said {
    let mut command = patient(root().join(".tools/live555/live555-player"));
    if tcp {
        command.arg("--tcp");
    }
    command.args(["--user", "admin", "--password", PASSWORD]);
    said(command.arg(format!("rtsp://127.0.0.1:{}/{path}", vedette.rtsp_port)).args(steps))
}

/// GStreamer's rtspsrc.
pub(crate) fn gstreamer(vedette: &Vedette, path: &str, udp: bool, steps: &[&str]) -> Said {
    let options: &[&str] = if udp { &["--udp"] } else { &[] };
    gstreamer_with(vedette, path, options, steps)
}

/// The same with options of its own.
pub(crate) fn gstreamer_with(
    vedette: &Vedette,
    path: &str,
    options: &[&str],
    steps: &[&str],
) -> Said {
    let mut command = patient("/usr/bin/python3");
    command.arg(tool("player.py")).args(options);
    command.args(["--user", "admin", "--password", PASSWORD]);
    said(command.arg(format!("rtsp://127.0.0.1:{}/{path}", vedette.rtsp_port)).args(steps))
}

/// A player that is watched while it plays.
pub(crate) struct Watching {
    child: Child,
}

impl Watching {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self {
            child: command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        }
    }

    pub(crate) fn read_to_end(mut self) -> String {
        let mut text = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
