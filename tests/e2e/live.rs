//! Live footage in foreign players, unit by unit.

use crate::harness::{
    Camera, Clip, Vedette, assert_as_sent, assert_audio_as_sent, assert_consecutive,
    assert_times_as_sent, eventually, ffmpeg, free_port, gstreamer, gstreamer_with, live555,
};

fn running(vedette: &Vedette, slug: &str) {
    eventually(&format!("{slug} to run"), || {
        let status = vedette.get(&format!("/cameras/{slug}/status"));
        (status["streams"][0]["state"] == "running").then_some(())
    });
}

#[test]
fn ffmpeg_plays_live_over_tcp_udp_and_through_http() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(dir.path(), &[("door", Clip::H264Aac), ("yard", Clip::H265)]);
    let vedette = Vedette::start(dir.path(), 60);
    vedette.add_camera("door", &camera.url("door"), "tcp");
    vedette.add_camera("yard", &camera.url("yard"), "tcp");
    running(&vedette, "door");
    running(&vedette, "yard");
    for transport in ["tcp", "udp", "http"] {
        let (video, audio) = ffmpeg(&vedette.rtsp("door"), transport, 3, false);
        assert!(video.len() >= 50, "{transport}: {} units in 3 s", video.len());
        assert_consecutive(&video);
        let sent = camera.sent("door", "video");
        assert_as_sent(&video, &sent);
        assert_audio_as_sent(&audio, &camera.sent("door", "audio"));
    }
    let (video, _) = ffmpeg(&vedette.rtsp("yard/main"), "tcp", 2, true);
    assert_consecutive(&video);
    assert_as_sent(&video, &camera.sent("yard", "video"));
}

#[test]
fn live555_plays_live_over_tcp_and_udp() {
    let dir = tempfile::tempdir().unwrap();
    // With B-frames: the times are those of presentation, out of order.
    let camera = Camera::start(dir.path(), &[("door", Clip::BFrames)]);
    let vedette = Vedette::start(dir.path(), 60);
    vedette.add_camera("door", &camera.url("door"), "tcp");
    running(&vedette, "door");
    for tcp in [true, false] {
        let said = live555(&vedette, "door", tcp, &["units:200"]);
        let units = said.live555_units();
        assert_consecutive(&units);
        let sent = camera.sent("door", "video");
        assert_as_sent(&units, &sent);
        assert_times_as_sent(&units, &sent, 0.002);
        let audio: Vec<_> = said.0.iter().filter(|v| v["unit"] == "audio").collect();
        assert!(audio.len() > 20, "{} audio frames", audio.len());
        let synced = said.0.iter().rev().find(|v| v["unit"] == "video").unwrap();
        assert_eq!(synced["synced"], true, "a sender report came");
        assert_eq!(said.events("playing")[0]["end"], 0.0, "live has no end: no seek bar");
    }
}

#[test]
fn gstreamer_plays_live_over_tcp_and_udp() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(dir.path(), &[("door", Clip::H264Aac)]);
    let vedette = Vedette::start(dir.path(), 60);
    vedette.add_camera("door", &camera.url("door"), "tcp");
    running(&vedette, "door");
    for udp in [false, true] {
        let units = gstreamer(&vedette, "door", udp, &["units:50"]).gstreamer_units();
        assert_eq!(units.len(), 50);
        assert_consecutive(&units);
        assert_as_sent(&units, &camera.sent("door", "video"));
    }
}

/// By the interface of the default route: without one it fails, and says so.
#[test]
fn ffmpeg_and_gstreamer_play_live_by_multicast() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(dir.path(), &[("door", Clip::H264Aac)]);
    let group = format!("239.255.78.{}", std::process::id() % 250 + 1);
    let on = [("VEDETTE_RTSP__MULTICAST", group)];
    let vedette = Vedette::start_in(dir.path(), 60, "", &on);
    vedette.add_camera("door", &camera.url("door"), "tcp");
    running(&vedette, "door");
    let (video, audio) = ffmpeg(&vedette.rtsp("door"), "udp_multicast", 3, false);
    assert!(video.len() >= 25, "{} units in 3 s", video.len());
    assert_consecutive(&video);
    assert_as_sent(&video, &camera.sent("door", "video"));
    assert_audio_as_sent(&audio, &camera.sent("door", "audio"));
    let units = gstreamer_with(&vedette, "door", &["--multicast"], &["units:50"]).gstreamer_units();
    assert_eq!(units.len(), 50);
    assert_consecutive(&units);
    assert_as_sent(&units, &camera.sent("door", "video"));
}

#[test]
fn ffmpeg_plays_over_tls_and_a_renewed_certificate_is_taken_up_on_sighup() {
    let dir = tempfile::tempdir().unwrap();
    let certify = |name: &str| {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    };
    certify("localhost");
    let camera = Camera::start(dir.path(), &[("door", Clip::H264Aac)]);
    let port = free_port();
    let path = dir.path().display();
    let tls = format!(
        "[tls]\ncert = \"{path}/cert.pem\"\nkey = \"{path}/key.pem\"\n\
         [log]\nlevel = \"info\"\n"
    );
    let variable = ("VEDETTE_RTSP__TLS_LISTEN", format!("127.0.0.1:{port}"));
    let vedette = Vedette::start_in(dir.path(), 60, &tls, &[variable]);
    vedette.add_camera("door", &camera.url("door"), "tcp");
    running(&vedette, "door");
    let plain = vedette.rtsp("door");
    let url = plain.replacen("rtsp://", "rtsps://", 1).replacen(
        &vedette.rtsp_port.to_string(),
        &port.to_string(),
        1,
    );
    let play = || {
        let (video, _) = ffmpeg(&url, "tcp", 2, false);
        assert_consecutive(&video);
        assert_as_sent(&video, &camera.sent("door", "video"));
    };
    play();
    certify("renewed.example");
    vedette.hang_up();
    eventually("the new certificate", || {
        vedette.log().contains("the certificate was read again").then_some(())
    });
    play();
    std::fs::write(dir.path().join("cert.pem"), "damaged").unwrap();
    vedette.hang_up();
    eventually("the complaint", || {
        vedette.log().contains("the certificate stays as it was").then_some(())
    });
    play();
}

#[test]
fn nobody_plays_without_the_password() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(dir.path(), &[("door", Clip::H264Aac)]);
    let vedette = Vedette::start(dir.path(), 60);
    vedette.add_camera("door", &camera.url("door"), "tcp");
    running(&vedette, "door");
    for login in ["", "admin:wrong@", "nobody:wrong@"] {
        let url = format!("rtsp://{login}127.0.0.1:{}/door", vedette.rtsp_port);
        let probe = std::process::Command::new("ffprobe")
            .args(["-v", "error", "-i", &url])
            .output()
            .unwrap();
        assert!(!probe.status.success(), "{login:?} got in");
        let words = String::from_utf8_lossy(&probe.stderr).into_owned();
        assert!(words.contains("401"), "{login:?}: {words}");
    }
}
