//! A foreign camera's footage on disk: every unit, once, with its bytes and times; through rotation, kill and power cut of the camera.

use std::path::PathBuf;

use crate::harness::{
    Camera, Clip, FPS, Got, Vedette, assert_as_sent, assert_audio_as_sent, assert_consecutive,
    assert_times_as_sent, eventually, read_file,
};

/// All video units of all files of a camera, with times within each file checked against what was sent.
fn all_units(
    files: &[PathBuf],
    camera: &Camera,
    stream: &str,
    hevc: bool,
) -> (Vec<Got>, Vec<String>) {
    let sent = camera.sent(stream, "video");
    let (mut video, mut audio) = (Vec::new(), Vec::new());
    for file in files {
        let (units, frames) = read_file(file, hevc);
        // To a tick of the 90 kHz clock, and what gst's own rounding from nanoseconds adds.
        assert_times_as_sent(&units, &sent, 2.0 / 90_000.0);
        video.extend(units);
        audio.extend(frames);
    }
    (video, audio)
}

#[test]
fn three_foreign_cameras_are_recorded_to_the_last_unit_across_rotations() {
    let dir = tempfile::tempdir().unwrap();
    let clips = [("aac", Clip::H264Aac), ("hevc", Clip::H265), ("bframes", Clip::BFrames)];
    let camera = Camera::with_digest(dir.path(), &clips);
    let mut vedette = Vedette::start(dir.path(), 2);
    vedette.add_camera("aac", &camera.url("aac"), "tcp");
    vedette.add_camera("hevc", &camera.url("hevc"), "udp");
    vedette.add_camera("bframes", &camera.url("bframes"), "auto");
    for (slug, _) in clips {
        vedette.wait_for_segments(slug, 5);
    }
    let before_stop = vedette.segments("aac").len();
    vedette.stop();

    for (slug, clip) in clips {
        let files = vedette.files(slug);
        assert!(files.len() >= 5, "{slug}: {files:?}");
        let (video, audio) = all_units(&files, &camera, slug, matches!(clip, Clip::H265));
        assert_consecutive(&video);
        assert_as_sent(&video, &camera.sent(slug, "video"));
        if !matches!(clip, Clip::H265) {
            assert_audio_as_sent(&audio, &camera.sent(slug, "audio"));
        }
    }
    assert!(vedette.files("aac").len() >= before_stop, "stopping finishes the open segment");
    vedette.launch();
    let open = vedette.segments("aac").into_iter().filter(|s| s["state"] == "open").count();
    assert!(open <= 1, "only the new segment is open after an orderly stop");
}

#[test]
fn after_kill_9_every_file_plays_and_only_the_fragment_being_filled_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(dir.path(), &[("door", Clip::H264Aac)]);
    let mut vedette = Vedette::start(dir.path(), 3);
    vedette.add_camera("door", &camera.url("door"), "tcp");
    let segments = vedette.wait_for_segments("door", 1);
    let first_start: chrono::DateTime<chrono::Utc> =
        segments[0]["start"].as_str().unwrap().parse().unwrap();
    // In the middle of the second segment.
    eventually("a second segment that has grown", || {
        (vedette.files("door").len() >= 2
            && vedette.files("door").last()?.metadata().ok()?.len() > 20_000)
            .then_some(())
    });
    vedette.kill();
    #[expect(clippy::disallowed_methods, reason = "the moment of the kill, in the world's time")]
    let killed: chrono::DateTime<chrono::Utc> = std::time::SystemTime::now().into();

    let files = vedette.files("door");
    let (video, _) = all_units(&files, &camera, "door", false);
    assert_consecutive(&video);
    assert_as_sent(&video, &camera.sent("door", "video"));
    let lived = (killed - first_start).as_seconds_f64();
    let missing = lived - video.len() as f64 / FPS;
    assert!(
        missing < 2.0,
        "{missing:.2} s of {lived:.2} s are missing: more than the fragment being filled"
    );

    vedette.launch();
    eventually("the crash to stand in the timeline", || {
        let gaps = vedette.timeline("door")["gaps"].as_array().unwrap().clone();
        gaps.iter().any(|g| g["reason"] == "crash" && g["end"].is_string()).then_some(())
    });
    let rows = vedette.segments("door");
    let open_before = rows.iter().filter(|s| s["state"] == "open").count();
    assert!(open_before <= 1, "the torn segment's row was completed: {rows:?}");
    vedette.stop();
    // Recovery changed nothing that was there, and what came after is whole too.
    let (after, _) = all_units(&vedette.files("door")[..files.len()], &camera, "door", false);
    let numbers = |units: &[Got]| units.iter().map(|u| u.number).collect::<Vec<_>>();
    assert_eq!(numbers(&after), numbers(&video));
}

#[test]
fn a_camera_that_loses_power_is_recorded_again_with_the_gap_and_its_reason_in_the_timeline() {
    let dir = tempfile::tempdir().unwrap();
    let mut camera = Camera::start(dir.path(), &[("door", Clip::H264Aac)]);
    let other_dir = tempfile::tempdir().unwrap();
    let other = Camera::start(other_dir.path(), &[("yard", Clip::H264Aac)]);
    let mut vedette = Vedette::start(dir.path(), 2);
    vedette.add_camera("door", &camera.url("door"), "tcp");
    vedette.add_camera("yard", &other.url("yard"), "tcp");
    vedette.wait_for_segments("door", 1);
    camera.power_off();
    eventually("a gap that lasts", || {
        let gaps = vedette.timeline("door")["gaps"].as_array().unwrap().clone();
        gaps.iter().any(|g| g["end"].is_null() && g["reason"] == "disconnected").then_some(())
    });
    camera.power_on();
    let timeline = eventually("the second run", || {
        let timeline = vedette.timeline("door");
        (timeline["runs"].as_array()?.len() == 2).then_some(timeline)
    });
    let gap = timeline["gaps"]
        .as_array()
        .unwrap()
        .iter()
        .find(|g| g["reason"] == "disconnected")
        .unwrap();
    assert_eq!(gap["start"], timeline["runs"][0]["end"], "the gap begins where footage ends");
    assert_eq!(gap["end"], timeline["runs"][1]["start"], "and ends where it begins again");
    vedette.wait_for_segments("yard", 3);
    assert_eq!(
        vedette.timeline("yard")["runs"].as_array().unwrap().len(),
        1,
        "the other camera did not notice"
    );
    vedette.stop();
    let (yard, _) = all_units(&vedette.files("yard"), &other, "yard", false);
    assert_consecutive(&yard);
}

#[test]
fn a_growing_file_plays() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(dir.path(), &[("door", Clip::H264Aac)]);
    let vedette = Vedette::start(dir.path(), 60);
    vedette.add_camera("door", &camera.url("door"), "tcp");
    let units = eventually("three seconds in the open file", || {
        let files = vedette.files("door");
        let file = files.first()?;
        if file.metadata().ok()?.len() < 60_000 {
            return None;
        }
        let (units, _) = read_file(file, false);
        (units.len() > 75).then_some(units)
    });
    assert_eq!(vedette.segments("door")[0]["state"], "open");
    assert_consecutive(&units);
    assert_as_sent(&units, &camera.sent("door", "video"));
}
