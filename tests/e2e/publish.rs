//! Foreign publishers: what ffmpeg and GStreamer push is recorded to the last picture and served like any other footage.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::json;

use crate::{
    harness::{Clip, PASSWORD, Vedette, eventually, read_file, run},
    simulated::complaints,
};

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

/// A process that is killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `gst-launch-1.0` with `rtspclientsink`, which makes the payloaders itself. After its last picture it sends nothing; over TCP
/// it sometimes waits for itself then and for ever (GStreamer 1.22), so its end is not waited for.
fn gstreamer(vedette: &Vedette, slug: &str, transport: &str, encoders: [&str; 2]) -> Killed {
    let [video, audio] = encoders;
    let location = format!("rtsp://127.0.0.1:{}/{slug}", vedette.rtsp_port());
    // 10 s of both.
    let line = format!(
        "rtspclientsink name=sink location={location} protocols={transport} latency=0 user-id=admin user-pw=\"{PASSWORD}\" \
         videotestsrc is-live=true num-buffers=250 ! video/x-raw,format=I420,width=320,height=240,framerate=25/1 ! {video} ! sink. \
         audiotestsrc is-live=true num-buffers=500 samplesperbuffer=960 ! audio/x-raw,rate=48000,channels=1 \
         ! audioconvert ! audioresample ! {audio} ! sink."
    );
    let mut gst = Command::new("sh");
    gst.args(["-c", &format!("exec gst-launch-1.0 -q -e {}", line)]);
    Killed(gst.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// A second of what is live, if it comes.
const LIVE: [&str; 6] =
    ["-rtsp_transport", "tcp", "-timeout", "20000000", "-read_intervals", "%+1"];

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
        let waiting = eventually("it to be waited for", || {
            Some(status(&vedette, way)).filter(|status| status["state"] == "waiting")
        });
        assert_eq!(waiting["detail"], "waiting for a publisher");
        let log = dir.path().join(format!("{way}.log"));
        publishers.push((way, Ffmpeg::start(clip, way, &vedette.rtsp(way), &log), log));
    }
    for (way, _) in ways {
        eventually("it to run", || (status(&vedette, way)["state"] == "running").then_some(()));
    }
    // Live, while it is published.
    let (pictures, _) = counted(&vedette.rtsp("tcp"), &LIVE);
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
            .args(["-v", "error", "-rtsp_transport", "tcp", "-i", &url, "-t", "2"])
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

#[test]
fn what_gstreamer_publishes_is_recorded_and_served() {
    let dir = tempfile::tempdir().unwrap();
    let vedette = Vedette::start(dir.path(), 60);
    let ways = [
        ("tcp", ["x264enc tune=zerolatency key-int-max=25", "opusenc"], ["h264", "opus"]),
        ("udp", ["jpegenc", "alawenc"], ["mjpeg", "pcm_alaw"]),
    ];
    let mut publishers = Vec::new();
    for (way, encoders, _) in ways {
        add(&vedette, way, false);
        publishers.push(gstreamer(&vedette, way, way, encoders));
    }
    // Both at once: what has ended sends nothing, however long a player waits for it.
    std::thread::scope(|scope| {
        for (way, ..) in ways {
            let vedette = &vedette;
            scope.spawn(move || {
                eventually("it to run", || {
                    (status(vedette, way)["state"] == "running").then_some(())
                });
                let (pictures, sounds) = counted(&vedette.rtsp(way), &LIVE);
                assert!(pictures > 0 && sounds > 0, "{way}: live");
            });
        }
    });
    for (way, ..) in ways {
        eventually("enough to be recorded", || {
            let files = vedette.files(way);
            let pictures = |file: &std::path::PathBuf| counted(&file.display().to_string(), &[]).0;
            (files.iter().map(pictures).sum::<usize>() >= 200).then_some(())
        });
    }
    drop(publishers);
    for (way, _, codecs) in ways {
        eventually("the segment to close", || {
            let segments = vedette.segments(way);
            (!segments.is_empty() && segments.iter().all(|s| s["state"] == "closed")).then_some(())
        });
        let [file] = &vedette.files(way)[..] else { panic!("{way}: one file: {}", vedette.log()) };
        assert_eq!(complaints(file), "");
        let (pictures, sounds) = counted(&file.display().to_string(), &[]);
        // The first pictures of an encoder may be sent before RECORD is answered.
        assert!((200..=250).contains(&pictures), "{way}: {pictures} pictures");
        assert!(sounds > 200, "{way}: {sounds} frames of sound");
        let said = run(Command::new("ffprobe")
            .args(["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0"])
            .arg(file));
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert_eq!(said.lines().collect::<Vec<_>>(), codecs, "{way}");
        let last = vedette.timeline(way)["gaps"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(last["reason"], "disconnected", "{way}");
    }
}

#[test]
fn what_is_published_is_live_alone_until_an_event_has_it_recorded_with_what_came_before() {
    let dir = tempfile::tempdir().unwrap();
    let vedette = Vedette::start(dir.path(), 60);
    let body = json!({ "slug": "door", "source": "publish", "record": "never" });
    let (made, answer) = vedette.request(reqwest::Method::POST, "/cameras", Some(body));
    assert_eq!(made, 201, "{answer}");
    let open = status(&vedette, "door");
    assert_eq!((&open["state"], &open["wanted"]), (&json!("waiting"), &json!("open")));
    let log = dir.path().join("ffmpeg.log");
    let publisher = Ffmpeg::start(Clip::H264Aac, "tcp", &vedette.rtsp("door"), &log);
    eventually("it to run", || (status(&vedette, "door")["state"] == "running").then_some(()));
    let (pictures, _) = counted(&vedette.rtsp("door"), &LIVE);
    assert!(pictures > 0);
    assert!(vedette.segments("door").is_empty());

    let change =
        json!({ "record": "events", "events": { "before_seconds": 2, "after_seconds": 1 } });
    let (changed, answer) = vedette.request(reqwest::Method::PATCH, "/cameras/door", Some(change));
    assert_eq!(changed, 200, "{answer}");
    let before = status(&vedette, "door");
    assert_eq!((&before["state"], &before["wanted"]), (&json!("running"), &json!("standby")));
    assert_eq!(before["reconnects"], 0, "the publisher is not disturbed");
    // So long that there is something before.
    let units = |vedette: &Vedette| vedette.metric("vedette_ingest_units_total", "camera=\"door\"");
    let then = units(&vedette);
    eventually("three seconds", || (units(&vedette) >= then + 150.0).then_some(()));
    let event = json!({ "camera": "door", "kind": "bell" });
    let (told, answer) = vedette.request(reqwest::Method::POST, "/events", Some(event));
    assert_eq!(told, 201, "{answer}");
    eventually("the event to be over", || {
        let segments = vedette.segments("door");
        (!segments.is_empty() && segments.iter().all(|s| s["state"] == "closed")).then_some(())
    });
    assert_eq!(status(&vedette, "door")["reconnects"], 0);
    let files = vedette.files("door").into_iter().map(|file| read_file(&file, false).0.len());
    let recorded: usize = files.sum();
    // Two seconds before, from a key frame, and one after.
    assert!((70..=125).contains(&recorded), "{recorded} pictures");
    drop(publisher);
    let gaps = vedette.timeline("door")["gaps"].clone();
    let reasons: Vec<_> = gaps.as_array().unwrap().iter().map(|g| g["reason"].clone()).collect();
    assert_eq!(reasons.last().unwrap(), "not_scheduled", "{gaps}");
}
