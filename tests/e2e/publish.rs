//! Foreign publishers: what ffmpeg pushes is recorded to the last picture and served like any other footage.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::json;

use crate::harness::{Clip, Vedette, eventually, read_file, run};

/// ffmpeg that sends a clip as fast as it was filmed, once.
struct Ffmpeg(Child);

impl Ffmpeg {
    fn start(clip: Clip, transport: &str, url: &str, log: &Path) -> Self {
        let child = Command::new("ffmpeg")
            .args(["-v", "warning", "-re", "-i"])
            .arg(clip.path())
            .args(["-c", "copy", "-f", "rtsp", "-rtsp_transport", transport, url])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(log).unwrap())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn ended(&mut self) -> Option<bool> {
        self.0.try_wait().unwrap().map(|status| status.success())
    }
}

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Pictures, and frames of sound, in a file or behind an address.
fn counted(input: &str, more: &[&str]) -> (usize, usize) {
    let said = run(Command::new("ffprobe").args(["-v", "error"]).args(more).args([
        "-show_entries",
        "packet=codec_type",
        "-of",
        "csv=p=0",
        input,
    ]));
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let of = |kind: &str| said.lines().filter(|line| line.starts_with(kind)).count();
    (of("video"), of("audio"))
}

fn add(vedette: &Vedette, slug: &str, take_over: bool) {
    let body = json!({ "slug": slug, "source": "publish", "take_over": take_over });
    let (status, answer) = vedette.request(reqwest::Method::POST, "/cameras", Some(body));
    assert_eq!(status, 201, "{answer}");
    assert_eq!((&answer["source"], &answer["take_over"]), (&json!("publish"), &json!(take_over)));
}

fn status(vedette: &Vedette, slug: &str) -> serde_json::Value {
    vedette.get(&format!("/cameras/{slug}/status"))["streams"][0].clone()
}

#[test]
fn what_ffmpeg_publishes_over_tcp_and_udp_is_recorded_to_the_last_picture_and_served() {
    let dir = tempfile::tempdir().unwrap();
    let vedette = Vedette::start(dir.path(), 4);
    let ways = [("tcp", Clip::H264Aac), ("udp", Clip::H264Aac)];
    let mut publishers = Vec::new();
    for (way, clip) in ways {
        add(&vedette, way, false);
        let waiting = status(&vedette, way);
        assert_eq!(
            (&waiting["state"], &waiting["detail"]),
            (&json!("waiting"), &json!("waiting for a publisher"))
        );
        let log = dir.path().join(format!("{way}.log"));
        publishers.push((way, Ffmpeg::start(clip, way, &vedette.rtsp(way), &log), log));
    }
    for (way, _) in ways {
        eventually("it to run", || (status(&vedette, way)["state"] == "running").then_some(()));
    }
    // Live, while it is published.
    let (pictures, _) =
        counted(&vedette.rtsp("tcp"), &["-rtsp_transport", "tcp", "-read_intervals", "%+1"]);
    assert!(pictures > 0);
    // Whoever comes second is refused, and harms nobody.
    let log = dir.path().join("second.log");
    let mut second = Ffmpeg::start(Clip::H264Aac, "tcp", &vedette.rtsp("tcp"), &log);
    let success = eventually("the second publisher to be refused", || second.ended());
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(!success && said.contains("453"), "{said}");
    for (way, publisher, log) in &mut publishers {
        let success = eventually("ffmpeg to have sent all", || publisher.ended());
        assert!(success, "{way}: {}", std::fs::read_to_string(log).unwrap());
    }
    for (way, clip) in ways {
        eventually("the run to end", || {
            (status(&vedette, way)["state"] == "waiting").then_some(())
        });
        let closed = || vedette.segments(way).iter().all(|s| s["state"] == "closed");
        eventually("the last segment to close", || closed().then_some(()));
        let sent = counted(&clip.path().display().to_string(), &[]);
        let files = vedette.files(way).into_iter().map(|file| read_file(&file, false));
        let recorded = files.fold((0, 0), |sum, (v, a)| (sum.0 + v.len(), sum.1 + a.len()));
        assert_eq!(recorded.0, sent.0, "{way}: {}", vedette.log());
        assert!(recorded.1.abs_diff(sent.1) <= 4, "{way}: {recorded:?} of {sent:?}");
        let timeline = vedette.timeline(way);
        let last = timeline["gaps"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(last["reason"], "disconnected", "{timeline}");
        let url = vedette.rtsp(&format!("{way}/recording?end=2100-01-01T00:00:00Z"));
        let decoded = run(Command::new("ffmpeg")
            .args(["-v", "error", "-rtsp_transport", "tcp", "-i", &url, "-t", "5"])
            .args(["-f", "null", "-"]));
        assert!(decoded.stderr.is_empty(), "{}", String::from_utf8_lossy(&decoded.stderr));
    }
    assert_eq!(vedette.metric("vedette_rtsp_published_packets_dropped_total", ""), 0.0);
}

#[test]
fn a_publisher_that_is_cut_off_leaves_a_gap_and_records_again_as_soon_as_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let vedette = Vedette::start(dir.path(), 4);
    add(&vedette, "door", false);
    let log = dir.path().join("ffmpeg.log");
    let publish = || Ffmpeg::start(Clip::BFrames, "tcp", &vedette.rtsp("door"), &log);
    let running = || (status(&vedette, "door")["state"] == "running").then_some(());
    let first = publish();
    eventually("it to run", running);
    drop(first);
    eventually("it to wait", || (status(&vedette, "door")["state"] == "waiting").then_some(()));
    let _again = publish();
    eventually("it to run again", running);
    let timeline = eventually("two runs", || {
        let timeline = vedette.timeline("door");
        (timeline["runs"].as_array().unwrap().len() >= 2).then_some(timeline)
    });
    let gaps = timeline["gaps"].as_array().unwrap();
    assert!(gaps.iter().any(|gap| gap["reason"] == "disconnected"), "{timeline}");
    assert_eq!(status(&vedette, "door")["reconnects"], 1);
}
