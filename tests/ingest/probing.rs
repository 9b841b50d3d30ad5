//! What a probe says of cameras that are not well: every sentence has a code that scripts can rely on.

use std::time::Duration;

use vedette::{
    clock::Clock,
    ingest::{ProbeReport, PullTarget, probe},
    model::{Level, Transport},
};

use crate::support::camera::{Audio, Auth, Behaviour, Camera, sdp};

/// Watches long enough for a few key frames of a camera that sends five a second.
const SHORT: Duration = Duration::from_secs(1);

async fn probed_at(url: &str, duration: Duration, audio: bool) -> ProbeReport {
    let target = PullTarget::new(url, None, None, Transport::Auto, audio).unwrap();
    match probe(&target, duration, &Clock::system()).await {
        Ok(report) => report,
        Err(error) => ProbeReport::unreachable(&error),
    }
}

async fn probed(behaviour: Behaviour) -> ProbeReport {
    let camera = Camera::start(behaviour).await;
    probed_at(&camera.url(), SHORT, true).await
}

fn codes(report: &ProbeReport) -> Vec<&'static str> {
    report.findings.iter().map(|found| found.code).collect()
}

#[track_caller]
fn words<'a>(report: &'a ProbeReport, code: &str) -> &'a str {
    let found = report.findings.iter().find(|found| found.code == code);
    &found.unwrap_or_else(|| panic!("{code} is not among {:?}", report.findings)).message
}

#[tokio::test]
async fn a_probe_says_what_the_camera_sends_and_what_is_wrong() {
    let camera = Camera::start(Behaviour {
        audio: Some(Audio::Pcmu),
        no_audio: true,
        ..Behaviour::default()
    })
    .await;
    let report = probed_at(&camera.url(), Duration::from_secs(2), true).await;
    let video = &report.tracks[0];
    assert_eq!((video.codec.as_str(), video.width, video.height), ("H.264", Some(640), Some(360)));
    assert!((video.measured_fps.unwrap() - 50.0).abs() < 2.0);
    assert!((video.key_frame_interval_seconds.unwrap() - 0.2).abs() < 0.01);
    assert_eq!(report.problems, ["the audio track was started, but nothing came"]);
    assert_eq!(codes(&report), ["nothing_came"]);
    assert_eq!(camera.answered("TEARDOWN", 200), 1);
}

#[tokio::test]
async fn a_camera_that_is_well_has_no_problem_but_what_is_worth_knowing() {
    let report = probed(Behaviour { audio: Some(Audio::Pcmu), ..Behaviour::default() }).await;
    assert_eq!(report.problems, [""; 0]);
    assert_eq!(codes(&report), ["browser_codec"], "{:?}", report.findings);
    assert!(words(&report, "browser_codec").contains("G.711"));
    assert!(report.clock_ahead_seconds.unwrap().abs() < 1.0);
    assert!(report.watched_seconds < 0.95, "it is known before the time is over");
}

#[tokio::test]
async fn a_wrong_password_a_wrong_path_and_a_full_camera_are_told_apart() {
    let report = probed(Behaviour { auth: Auth::Digest, ..Behaviour::default() }).await;
    assert_eq!(codes(&report), ["wrong_password"]);
    assert_eq!(report.problems, [words(&report, "wrong_password")]);
    let report = probed(Behaviour { refuse: Some(404), ..Behaviour::default() }).await;
    assert!(words(&report, "wrong_path").contains("after the host"));
    let report = probed(Behaviour { refuse: Some(453), ..Behaviour::default() }).await;
    assert_eq!(codes(&report), ["busy"]);
    let mut camera = Camera::start(Behaviour::default()).await;
    camera.unplug().await;
    assert_eq!(codes(&probed_at(&camera.url(), SHORT, true).await), ["unreachable"]);
}

#[tokio::test]
async fn a_camera_without_key_frames_is_said_to_have_none() {
    let report = probed(Behaviour { no_key: true, ..Behaviour::default() }).await;
    assert!(words(&report, "no_key_frame").contains("no key frame within 1 s"));
    assert!(report.watched_seconds > 0.95, "one is waited for to the end");
}

#[tokio::test]
async fn key_frames_more_than_four_seconds_apart_are_named() {
    let camera = Camera::start(Behaviour { gop: 10_000, fps: 10, ..Behaviour::default() }).await;
    let report = probed_at(&camera.url(), Duration::from_millis(4_600), true).await;
    assert!(words(&report, "key_frames_far_apart").contains("no second key frame"));
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
}

#[tokio::test]
async fn a_frame_rate_that_is_a_lie_is_held_against_what_is_sent() {
    let behaviour = Behaviour::default();
    let lying = sdp(&behaviour) + "a=framerate:25\r\n";
    let report = probed(Behaviour { sdp: Some(lying), ..behaviour }).await;
    let said = words(&report, "frame_rate_differs");
    assert!(said.starts_with("25 frames a second declared, "), "{said}");
    assert_eq!(report.tracks[0].declared_fps, Some(25.0));
}

#[tokio::test]
async fn a_clock_that_is_three_hours_off_or_was_never_set_is_named() {
    let report = probed(Behaviour { clock_ahead: -3 * 3_600, ..Behaviour::default() }).await;
    assert!(words(&report, "clock_off").contains("3 h behind"), "{:?}", report.findings);
    assert!((report.clock_ahead_seconds.unwrap() + 10_800.0).abs() < 1.0);
    let report = probed(Behaviour { clock_ahead: -1_790_000_000, ..Behaviour::default() }).await;
    assert!(words(&report, "clock_unset").contains("never set"));
}

#[tokio::test]
async fn lost_packets_are_counted() {
    let camera = Camera::start(Behaviour::default()).await;
    let losing = async {
        camera.wait_for_frames(12).await;
        camera.change(|b| b.lose = 3);
    };
    let url = camera.url();
    let (report, ()) = tokio::join!(probed_at(&url, SHORT, true), losing);
    assert!(words(&report, "packet_loss").contains("3 packets"), "{:?}", report.findings);
    assert_eq!(report.tracks[0].lost_packets, 3);
}

#[tokio::test]
async fn tracks_that_are_left_out_are_named_with_the_reason() {
    let behaviour = Behaviour { audio: Some(Audio::Pcmu), ..Behaviour::default() };
    let more = sdp(&behaviour)
        + "m=audio 0 RTP/AVP 98\r\na=rtpmap:98 SPEEX/16000\r\na=control:track2\r\n\
           m=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\na=control:track3\r\n";
    let camera = Camera::start(Behaviour { sdp: Some(more), ..behaviour }).await;
    let left_out = |report: &ProbeReport| -> Vec<String> {
        let found = report.findings.iter().filter(|f| f.code == "track_left_out");
        found.map(|f| f.message.clone()).collect()
    };
    let report = probed_at(&camera.url(), SHORT, true).await;
    let told = left_out(&report);
    assert_eq!(told.len(), 2, "{:?}", report.findings);
    assert!(told[0].contains("SPEEX") && told[1].contains("METADATA"), "{told:?}");
    assert_eq!(report.problems, [""; 0]);
    let report = probed_at(&camera.url(), SHORT, false).await;
    assert!(left_out(&report)[0].contains("sound was not asked for"), "{:?}", report.findings);
}

#[tokio::test]
async fn sound_that_cannot_be_had_is_a_problem_and_a_camera_without_it_is_not() {
    let report = probed(Behaviour::default()).await;
    assert_eq!(codes(&report), ["no_audio"]);
    assert_eq!(report.findings[0].level, Level::Note);
    let behaviour = Behaviour::default();
    let speex =
        sdp(&behaviour) + "m=audio 0 RTP/AVP 98\r\na=rtpmap:98 SPEEX/16000\r\na=control:track1\r\n";
    let report = probed(Behaviour { sdp: Some(speex), ..behaviour }).await;
    assert!(words(&report, "audio_not_recorded").contains("SPEEX"));
    assert_eq!(report.problems.len(), 1);
}

#[tokio::test]
async fn a_smaller_stream_is_looked_for_where_such_cameras_have_it() {
    let camera = Camera::start(Behaviour::default()).await;
    let url = camera.url().replace("/live", "/stream1");
    let report = probed_at(&url, SHORT, true).await;
    let sub = url.replace("stream1", "stream2");
    assert_eq!(report.sub_stream.as_deref(), Some(sub.as_str()));
    assert!(words(&report, "sub_stream_found").contains(&sub));
    assert_eq!(camera.answered("TEARDOWN", 200), 2, "both are ended in order");
    camera.change(|b| b.only = Some("/stream1"));
    let report = probed_at(&url, SHORT, true).await;
    assert_eq!(report.sub_stream, None);
    assert!(words(&report, "sub_stream_missing").contains(&sub));
    assert_eq!(report.problems, [""; 0], "a note");
}
