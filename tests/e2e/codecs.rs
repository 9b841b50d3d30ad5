//! Codecs beside H.264, H.265 and AAC: from GStreamer's payloaders into files and out of our server, to ffmpeg.
//!
//! The picture stands still and JPEG is coded without chance: each picture is the same to the last bit, wherever it is looked at.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    harness::{Camera, Vedette, run},
    simulated::complaints,
};

const DOOR: &str = "( videotestsrc is-live=true pattern=circular ! video/x-raw,format=I420,width=320,height=240,framerate=25/1 \
    ! jpegenc ! rtpjpegpay name=pay0 pt=26 \
    audiotestsrc is-live=true ! audio/x-raw,rate=48000,channels=2 ! opusenc ! rtpopuspay name=pay1 pt=97 )";
const YARD: &str = "( videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=240,framerate=25/1 \
    ! x264enc tune=zerolatency key-int-max=25 ! rtph264pay name=pay0 pt=96 \
    audiotestsrc is-live=true ! audioconvert ! audio/x-raw,format=S16BE,rate=44100,channels=2 ! rtpL16pay name=pay1 pt=10 )";

/// What pictures of `input` look like, by their checksums.
fn pictures(options: &[&str], input: &str, count: usize) -> BTreeSet<String> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-nostdin"]).args(options).args(["-i", input, "-map", "0:v"]);
    ffmpeg.args(["-pix_fmt", "yuvj420p", "-frames:v", &count.to_string(), "-f", "framemd5", "-"]);
    let said = String::from_utf8(run(&mut ffmpeg).stdout).unwrap();
    let lines: Vec<_> = said.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines.len(), count, "{input}: {said}");
    lines.iter().map(|line| line.rsplit(',').next().unwrap().trim().to_owned()).collect()
}

/// Codecs and seconds of a file's tracks.
fn tracks(file: &Path) -> Vec<(String, f64)> {
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(["-v", "error", "-show_entries", "stream=codec_name,duration", "-of", "csv=p=0"]);
    let said = String::from_utf8(run(ffprobe.arg(file).stdin(Stdio::null())).stdout).unwrap();
    let track = |line: &str| {
        let (codec, duration) = line.split_once(',').unwrap();
        (codec.to_owned(), duration.trim_end_matches(',').parse().unwrap_or(0.0))
    };
    said.lines().map(track).collect()
}

#[test]
fn motion_jpeg_opus_and_linear_sound_are_recorded_and_served() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::launched(dir.path(), &[("door", DOOR), ("yard", YARD)]);
    let mut vedette = Vedette::start(dir.path(), 2);
    for name in ["door", "yard"] {
        vedette.add_camera(name, &camera.url(name), "tcp");
    }
    for name in ["door", "yard"] {
        vedette.wait_for_segments(name, 2);
    }
    let sent = pictures(&["-rtsp_transport", "tcp"], &camera.url("door"), 20);
    assert_eq!(sent.len(), 1, "it stands still");
    for transport in ["tcp", "udp"] {
        for path in ["door", "door/recording"] {
            let served = pictures(&["-rtsp_transport", transport], &vedette.rtsp(path), 20);
            assert_eq!(served, sent, "{path} over {transport}");
        }
    }
    // Sound is there and can be decoded, live and recorded.
    for path in ["door", "door/recording", "yard", "yard/recording"] {
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-nostdin", "-rtsp_transport", "tcp", "-i"]);
        ffmpeg.args([&vedette.rtsp(path), "-map", "0:a", "-t", "1", "-f", "s16le", "-"]);
        let decoded = run(&mut ffmpeg).stdout;
        assert!(decoded.len() > 100_000, "{path}: {} bytes of sound", decoded.len());
        assert!(decoded.iter().any(|&byte| byte != 0), "{path}: silence");
    }
    vedette.stop();
    for (name, codecs) in [("door", ["mjpeg", "opus"]), ("yard", ["h264", "pcm_s16be"])] {
        let files = vedette.files(name);
        let whole = &files[..files.len() - 1];
        assert!(!whole.is_empty(), "{files:?}");
        for file in &files {
            assert_eq!(complaints(file), "", "{}", file.display());
        }
        for file in whole {
            let tracks = tracks(file);
            let named: Vec<_> = tracks.iter().map(|(codec, _)| codec.as_str()).collect();
            assert_eq!(named, codecs, "{}", file.display());
            for (codec, seconds) in tracks {
                assert!((seconds - 2.0).abs() < 0.7, "{codec}: {seconds} s in {}", file.display());
            }
        }
        let first = whole[0].to_str().unwrap();
        if name == "door" {
            assert_eq!(pictures(&[], first, 20), sent, "{first}");
        }
    }
}
