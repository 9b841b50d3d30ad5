//! `kill -9` of the real binary at random moments, with simulated cameras that write down what they send.
//!
//! After all rounds everything on disk is read back and compared with that list, unit by unit. `VEDETTE_KILL_ROUNDS` and
//! `VEDETTE_KILL_CAMERAS` make it longer (`make faults`: 100 rounds, 8 cameras); `VEDETTE_KILL_SEED` casts the same moments again.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use vedette::{clock::Clock, proto::fmp4};

use crate::harness::{Vedette, eventually, free_port, md5_of, run};

/// What a crash may take of each camera: a fragment of a second, what is queued for the writer, and what the socket and the recorder's
/// look at its hub (ten a second) hold on a busy machine.
const BOUND_US: i64 = 1_500_000;
/// Pictures a second.
const FPS: f64 = 25.0;

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

fn now_us() -> i64 {
    Clock::system().now().as_micros()
}

/// `vedette simulate` in a process of its own.
pub(crate) struct Cameras {
    child: Child,
    port: u16,
    sent: PathBuf,
}

/// One unit as its camera wrote it down.
#[derive(Clone, Debug)]
struct Sent {
    at_us: i64,
    md5: String,
}

impl Cameras {
    pub(crate) fn start(dir: &Path, count: u64) -> Self {
        let (port, sent) = (free_port(), dir.join("sent.jsonl"));
        let child = Command::new(env!("CARGO_BIN_EXE_vedette"))
            .args(["simulate", "--cameras", &count.to_string()])
            .args(["--listen", &format!("127.0.0.1:{port}"), "--sent"])
            .arg(&sent)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.join("cameras.log")).unwrap())
            .spawn()
            .unwrap();
        eventually("the cameras to send", || sent.metadata().ok().filter(|m| m.len() > 0));
        Self { child, port, sent }
    }

    pub(crate) fn url(&self, camera: u64) -> String {
        format!("rtsp://127.0.0.1:{}/camera-{camera}", self.port)
    }

    /// All that was sent: by camera and track, in order of number.
    fn sent(&self) -> BTreeMap<(u64, String), Vec<Sent>> {
        let mut all: BTreeMap<_, Vec<Sent>> = BTreeMap::new();
        for line in std::fs::read_to_string(&self.sent).unwrap().lines() {
            let Ok(v) = serde_json::from_str::<Value>(line) else { continue };
            let key = (v["camera"].as_u64().unwrap(), v["track"].as_str().unwrap().to_owned());
            let units = all.entry(key).or_default();
            assert_eq!(v["number"].as_u64().unwrap(), units.len() as u64);
            let md5 = v["md5"].as_str().unwrap().to_owned();
            units.push(Sent { at_us: v["at_us"].as_i64().unwrap(), md5 });
        }
        all
    }
}

impl Drop for Cameras {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// When a file begins, its run, and its units by track, hashed as the cameras hash them.
fn units_of(path: &Path) -> (i64, i64, [Vec<String>; 2]) {
    let bytes = std::fs::read(path).unwrap();
    let scan = fmp4::scan(bytes.len() as u64, |at, buffer| {
        let at = usize::try_from(at).unwrap();
        buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
        Ok(())
    });
    let scan = scan.unwrap();
    assert_eq!(scan.torn, None, "{}", path.display());
    assert!(scan.closed, "{} has no tail", path.display());
    let header = scan.header.unwrap();
    let hashed = |track: usize| {
        let read = |s: &fmp4::SampleRef| {
            let at = usize::try_from(s.offset).unwrap();
            &bytes[at..at + s.size as usize]
        };
        let samples = &scan.tables.tracks[track];
        let hash = |unit: &[u8]| if track == 0 { md5_of(&slices(unit)) } else { md5_of(unit) };
        samples.iter().map(|s| hash(read(s))).collect::<Vec<_>>()
    };
    let identity = &header.identity;
    (identity.start.as_micros(), identity.run, [hashed(0), hashed(1)])
}

/// A picture's slices one behind the other.
fn slices(unit: &[u8]) -> Vec<u8> {
    let (mut rest, mut slices) = (unit, Vec::new());
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let (nal, next) = behind.split_at(u32::from_be_bytes(*length) as usize);
        if matches!(nal[0] & 31, 1 | 5) {
            slices.extend_from_slice(nal);
        }
        rest = next;
    }
    slices
}

/// Where in `sent` these units stand in a row, about when the file says.
fn place(units: &[String], sent: &[Sent], start_us: i64, path: &Path) -> usize {
    let fits = |at: &usize| {
        let window = &sent[*at..at + units.len()];
        window.iter().zip(units).all(|(s, u)| s.md5 == *u)
    };
    let last = (sent.len() + 1).saturating_sub(units.len());
    // The clip repeats every eight seconds: of the places that fit, the one at that time.
    let found = (0..last).filter(fits).min_by_key(|&at| (sent[at].at_us - start_us).abs());
    let at = found.unwrap_or_else(|| panic!("{} is not what was sent", path.display()));
    let off = (sent[at].at_us - start_us).abs();
    assert!(off < 2_000_000, "{}: {off} µs off what was sent", path.display());
    at
}

fn time(v: &Value) -> i64 {
    let time: chrono::DateTime<chrono::Utc> = v.as_str().unwrap().parse().unwrap();
    time.timestamp_micros()
}

/// Runs and gaps lie one behind the other, and the gaps have only such reasons.
pub(crate) fn accounted(vedette: &Vedette, slug: &str, reasons: &[&str]) {
    let timeline = vedette.timeline(slug);
    let mut spans = Vec::new();
    for list in ["runs", "gaps"] {
        for span in timeline[list].as_array().unwrap() {
            let end = if span["end"].is_null() { i64::MAX } else { time(&span["end"]) };
            spans.push((time(&span["start"]), end));
            let known = span["reason"].as_str().is_none_or(|reason| reasons.contains(&reason));
            assert!(known, "{slug}: {timeline:#}");
        }
    }
    spans.sort_unstable();
    for pair in spans.windows(2) {
        assert_eq!(pair[0].1, pair[1].0, "{slug}: a hole or an overlap in {timeline:#}");
    }
    assert_eq!(spans.last().unwrap().1, i64::MAX, "{slug}: nothing lasts in {timeline:#}");
}

fn slug(camera: u64) -> String {
    format!("camera-{camera}")
}

struct Kill {
    at_us: i64,
    /// All cameras were being recorded.
    recording: bool,
    /// What was on disk afterwards.
    files: BTreeSet<PathBuf>,
}

#[test]
fn what_a_kill_takes_is_within_the_bound_and_the_rest_is_there_unit_by_unit() {
    let rounds = setting("VEDETTE_KILL_ROUNDS", 5);
    let cameras = setting("VEDETTE_KILL_CAMERAS", 3);
    let seed = setting("VEDETTE_KILL_SEED", now_us() as u64);
    println!("VEDETTE_KILL_SEED={seed}");
    let mut dice = seed;
    let mut up_to = |most: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % (most + 1)
    };

    let dir = tempfile::tempdir().unwrap();
    let simulated = Cameras::start(dir.path(), cameras);
    let mut vedette = Vedette::start(dir.path(), 2);
    for camera in 1..=cameras {
        vedette.add_camera(&slug(camera), &simulated.url(camera), "tcp");
    }
    let mut kills = Vec::new();
    for round in 0..rounds {
        // Now and then before anything is recorded.
        let recording = round == 0 || up_to(7) > 0;
        if recording {
            eventually("all cameras to be recorded", || {
                let open =
                    |camera| vedette.segments(&slug(camera)).iter().any(|s| s["state"] == "open");
                (1..=cameras).all(open).then_some(())
            });
        }
        // A moment, not a wait for something.
        std::thread::sleep(Duration::from_millis(up_to(if recording { 2_500 } else { 400 })));
        let at_us = now_us();
        vedette.kill();
        let files = (1..=cameras).flat_map(|c| vedette.files(&slug(c))).collect();
        kills.push(Kill { at_us, recording, files });
        vedette.launch();
    }
    eventually("all cameras to be recorded again", || {
        let open = |camera| vedette.segments(&slug(camera)).iter().any(|s| s["state"] == "open");
        (1..=cameras).all(open).then_some(())
    });
    for camera in 1..=cameras {
        accounted(&vedette, &slug(camera), &["starting", "crash"]);
    }
    let rows: Vec<BTreeSet<String>> = (1..=cameras)
        .map(|camera| {
            let segments = vedette.segments(&slug(camera));
            segments.iter().map(|s| s["path"].as_str().unwrap().to_owned()).collect()
        })
        .collect();
    vedette.stop();
    let sent = simulated.sent();
    drop(simulated);

    let mut losses = Vec::new();
    let mut units = 0;
    for (camera, rows) in (1..=cameras).zip(rows) {
        let root = dir.path().join("footage");
        let files = vedette.files(&slug(camera));
        for row in &rows {
            assert!(files.contains(&root.join(row)), "{row} has a row and no file");
        }
        let (pictures, sounds) =
            (&sent[&(camera, "video".into())], &sent[&(camera, "audio".into())]);
        // The number after each file's last picture. A run begins with the camera's newest key frame, which the run before may hold
        // too: within one run each unit is there once.
        let mut ends = BTreeMap::new();
        let mut held = BTreeSet::new();
        for file in &files {
            let (start, run_of, [video, audio]) = units_of(file);
            let at = place(&video, pictures, start, file);
            for number in at..at + video.len() {
                assert!(
                    held.insert((run_of, 0, number)),
                    "picture {number} twice: {}",
                    file.display()
                );
            }
            ends.insert(file.clone(), at + video.len());
            let at = place(&audio, sounds, start, file);
            for number in at..at + audio.len() {
                assert!(
                    held.insert((run_of, 1, number)),
                    "sound {number} twice: {}",
                    file.display()
                );
            }
            units += video.len() + audio.len();
            let shown = run(Command::new("ffmpeg")
                .args(["-v", "error", "-i"])
                .arg(file)
                .args(["-map", "0", "-f", "null", "-"]));
            let said = String::from_utf8_lossy(&shown.stderr).into_owned();
            assert!(said.is_empty(), "{} does not play: {said}", file.display());
        }
        for (round, kill) in kills.iter().enumerate().filter(|(_, k)| k.recording) {
            let before = pictures.partition_point(|p| p.at_us <= kill.at_us);
            let there = ends.iter().filter(|(file, _)| kill.files.contains(*file));
            let end = there.map(|(_, &end)| end).max().unwrap();
            losses.push((round, camera, before.saturating_sub(end)));
        }
    }
    let seconds = |lost: usize| lost as f64 / FPS;
    println!("round  lost by camera, seconds of media");
    for round in 0..rounds as usize {
        let lost: Vec<String> = losses
            .iter()
            .filter(|l| l.0 == round)
            .map(|l| format!("{:.2}", seconds(l.2)))
            .collect();
        println!("{:5}  {}", round + 1, if lost.is_empty() { "-".into() } else { lost.join(" ") });
    }
    let max = losses.iter().map(|l| l.2).max().unwrap();
    let mean = losses.iter().map(|l| seconds(l.2)).sum::<f64>() / losses.len() as f64;
    println!(
        "{rounds} kills, {cameras} cameras: {units} units read back; lost at most {:.2} s, {mean:.2} s on average (bound {:.2} s)",
        seconds(max),
        BOUND_US as f64 / 1e6
    );
    let worst = (seconds(max) * 1e6) as i64;
    assert!(worst <= BOUND_US, "lost {worst} µs of media, promised {BOUND_US}");
}
