//! Simulated cameras that write down what they send, and the reading back of what was made of it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use vedette::{clock::Clock, proto::fmp4};

use crate::harness::{Vedette, binary, eventually, free_port, md5_of};

/// Pictures a second.
pub(crate) const FPS: u64 = 25;
/// Sound frames are so many ticks of 1/48,000 s.
pub(crate) const SOUND: (u64, u64) = (1_024, 48_000);

pub(crate) fn now_us() -> i64 {
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
pub(crate) struct Sent {
    pub(crate) at_us: i64,
    pub(crate) md5: String,
}

/// What all cameras sent: by camera and track, in order of number.
pub(crate) type AllSent = BTreeMap<(u64, String), Vec<Sent>>;

impl Cameras {
    pub(crate) fn start(dir: &Path, count: u64) -> Self {
        Self::start_with(dir, count, &[])
    }

    /// That send so many bits a second each.
    pub(crate) fn start_at(dir: &Path, count: u64, bits: u64) -> Self {
        Self::start_with(dir, count, &["--bitrate", &bits.to_string()])
    }

    fn start_with(dir: &Path, count: u64, more: &[&str]) -> Self {
        let (port, sent, log) = (free_port(), dir.join("sent.jsonl"), dir.join("cameras.log"));
        let mut child = binary()
            .args(["simulate", "--cameras", &count.to_string()])
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(more)
            .arg("--sent")
            .arg(&sent)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        eventually("the cameras to send", || {
            let gone = child.try_wait().unwrap();
            let said = || std::fs::read_to_string(&log).unwrap();
            assert!(gone.is_none(), "the cameras ended: {}", said());
            sent.metadata().ok().filter(|m| m.len() > 0)
        });
        Self { child, port, sent }
    }

    pub(crate) fn url(&self, camera: u64) -> String {
        format!("rtsp://127.0.0.1:{}/camera-{camera}", self.port)
    }

    pub(crate) fn sent(&self) -> AllSent {
        let mut all = AllSent::new();
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

/// The slug under which a simulated camera is recorded.
pub(crate) fn slug(camera: u64) -> String {
    format!("camera-{camera}")
}

/// What stands in a segment file.
pub(crate) struct Segment {
    /// Wall time of its first picture.
    pub(crate) start_us: i64,
    pub(crate) run: i64,
    /// It has its tail box.
    pub(crate) closed: bool,
    /// Pictures and sounds, hashed as the cameras hash them.
    pub(crate) units: [Vec<String>; 2],
}

impl Segment {
    /// Reads a file, of which every box must be whole.
    pub(crate) fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let scan = fmp4::scan(bytes.len() as u64, |at, buffer| {
            let at = usize::try_from(at).unwrap();
            buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
            Ok(())
        });
        let scan = scan.unwrap();
        assert_eq!(scan.torn, None, "{}", path.display());
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
        Self {
            start_us: header.identity.start.as_micros(),
            run: header.identity.run,
            closed: scan.closed,
            units: [hashed(0), hashed(1)],
        }
    }

    /// Where among what its camera sent its units stand, one behind the other, about when it says: the number of the first, and how many.
    pub(crate) fn among(&self, sent: [&[Sent]; 2], path: &Path) -> [std::ops::Range<usize>; 2] {
        let place = |track: usize| {
            let (units, sent) = (&self.units[track], sent[track]);
            let fits = |at: &usize| {
                let window = sent.get(*at..*at + units.len());
                window.is_some_and(|w| w.iter().zip(units).all(|(s, u)| s.md5 == *u))
            };
            let off = |at: usize| {
                let there = sent.get(at).or(sent.last()).unwrap();
                there.at_us - self.start_us
            };
            // The clip repeats every eight seconds: of the places that fit, the one at that time.
            let found = (0..=sent.len()).filter(fits).min_by_key(|&at| off(at).abs());
            let what = ["pictures", "sounds"][track];
            let at = found.unwrap_or_else(|| {
                let number = |u: &String| {
                    let all = (0..sent.len()).filter(|&at| sent[at].md5 == *u);
                    all.min_by_key(|&at| off(at).abs())
                };
                let sent: Vec<_> = units.iter().map(number).collect();
                panic!(
                    "{}: its {what} were not sent one behind the other: {sent:?}",
                    path.display()
                )
            });
            assert!(off(at).abs() < 2_000_000, "{}: {what} {} µs off", path.display(), off(at));
            at..at + units.len()
        };
        [place(0), place(1)]
    }
}

/// What ffmpeg says against a file when it decodes all of it.
pub(crate) fn complaints(path: &Path) -> String {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i"]).arg(path).args(["-map", "0", "-f", "null", "-"]);
    let shown = ffmpeg.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&shown.stderr).into_owned();
    if shown.status.success() { said } else { format!("{}: {said}", shown.status) }
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

pub(crate) fn time(v: &Value) -> i64 {
    let time: chrono::DateTime<chrono::Utc> = v.as_str().unwrap().parse().unwrap();
    time.timestamp_micros()
}

/// How the time of a stream was spent, seconds.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) recorded: f64,
    pub(crate) gaps: BTreeMap<String, f64>,
    /// Of the gap that lasts, or `None`: a run does.
    pub(crate) lasting: Option<String>,
}

/// Runs and gaps lie one behind the other from the stream's creation until now, and the gaps have only such reasons.
pub(crate) fn accounted(vedette: &Vedette, slug: &str, reasons: &[&str]) -> Account {
    let created = time(&vedette.get(&format!("/cameras/{slug}"))["created"]);
    let timeline = vedette.timeline(slug);
    let now = now_us();
    let mut account = Account::default();
    let mut spans = Vec::new();
    for list in ["runs", "gaps"] {
        for span in timeline[list].as_array().unwrap() {
            let reason = span["reason"].as_str();
            let lasts = span["end"].is_null();
            let (start, end) = (time(&span["start"]), if lasts { now } else { time(&span["end"]) });
            let seconds = (end - start) as f64 / 1e6;
            match reason {
                Some(reason) => {
                    assert!(reasons.contains(&reason), "{slug}: {timeline:#}");
                    *account.gaps.entry(reason.to_owned()).or_default() += seconds;
                }
                None => account.recorded += seconds,
            }
            if lasts {
                account.lasting = reason.map(str::to_owned);
            }
            spans.push((start, if lasts { i64::MAX } else { end }));
        }
    }
    spans.sort_unstable();
    let first = spans.first().unwrap().0;
    // A camera may begin with pictures that it kept from before; or it takes us a moment to begin.
    assert!(first - created < 10_000, "{slug}: made {created}, {timeline:#}");
    for pair in spans.windows(2) {
        assert_eq!(pair[0].1, pair[1].0, "{slug}: a hole or an overlap in {timeline:#}");
    }
    assert_eq!(spans.last().unwrap().1, i64::MAX, "{slug}: nothing lasts in {timeline:#}");
    account
}
