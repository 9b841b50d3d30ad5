//! Running it: the demo, the README's commands, metrics as Prometheus reads them, the page as a browser shows it.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use crate::harness::{
    Camera, Clip, PASSWORD, Vedette, assert_consecutive, binary, eventually, ffmpeg, run,
};

#[test]
fn the_demo_records_its_cameras_and_prints_addresses_that_play() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = binary()
        .args(["demo", "--data"])
        .arg(dir.path())
        .env("VEDETTE_ADMIN_PASSWORD", PASSWORD)
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(dir.path().join("log")).unwrap())
        .spawn()
        .unwrap();
    let mut lines = Vec::new();
    for line in BufReader::new(demo.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line == "ready" {
            break;
        }
        lines.push(line);
    }
    let with = |label: &str| -> Vec<String> {
        lines.iter().filter_map(|l| l.strip_prefix(label)).map(|l| l.trim().to_owned()).collect()
    };
    let (live, recording) = (with("live:"), with("recording:"));
    assert_eq!((live.len(), recording.len()), (3, 3), "{lines:#?}");
    let login = |url: &str| {
        url.replacen("rtsp://", &format!("rtsp://admin:{}@", PASSWORD.replace(' ', "%20")), 1)
    };
    eventually("a recording that plays", || {
        let url = login(&recording[0]);
        let probe = Command::new("ffprobe")
            .args(["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", &url])
            .output()
            .ok()?;
        let length: f64 = String::from_utf8_lossy(&probe.stdout).trim().parse().ok()?;
        (length > 2.0).then_some(())
    });
    let copy = dir.path().join("live.mkv");
    run(Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-rtsp_transport",
            "tcp",
            "-i",
            &login(&live[2]),
            "-t",
            "2",
            "-c",
            "copy",
        ])
        .arg(&copy));
    let probe = run(Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0"])
        .arg(&copy));
    let codecs = String::from_utf8(probe.stdout).unwrap();
    assert!(codecs.contains("h264") && codecs.contains("aac"), "{codecs}");
    run(Command::new("kill").arg(demo.id().to_string()));
    let status = eventually("the demo to stop", || demo.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

#[test]
fn every_curl_command_of_the_readme_works_as_written() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(dir.path(), &[("stream1", Clip::H264Aac)]);
    let vedette = Vedette::start(dir.path(), 2);
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let mut ran = 0;
    for block in readme.split("```sh\n").skip(1) {
        let block = block.split("```").next().unwrap();
        if !block.contains("curl ") {
            continue;
        }
        // The README speaks of the default port, of a password in .env, and of a camera at 192.0.2.7.
        let block = block
            .replace("http://localhost:8080", &vedette.http)
            .replace(
                "ffmpeg -re -i film.mp4",
                &format!("ffmpeg -v error -t 2 -re -i {}", Clip::H264Aac.path().display()),
            )
            .replace("localhost:8554", &format!("127.0.0.1:{}", vedette.rtsp_port()))
            .replace("rtsp://viewer:secret@192.0.2.7/stream1", &camera.url("stream1"));
        let output =
            run(Command::new("sh").args(["-euc", &block]).env("VEDETTE_ADMIN_PASSWORD", PASSWORD));
        assert!(!output.stdout.is_empty(), "{block}");
        ran += 1;
    }
    assert!(ran >= 3, "the README shows how to add a camera and how to look at it");
    // The README gives it hours; these may not be among them.
    let always = serde_json::json!({ "record": "always" });
    let (status, answer) =
        vedette.request(reqwest::Method::PATCH, "/cameras/front-door", Some(always));
    assert_eq!(status, 200, "{answer}");
    vedette.wait_for_segments("front-door", 1);
    // ffmpeg published it.
    vedette.wait_for_segments("studio", 1);
}

#[test]
fn prometheus_can_read_the_metrics_and_they_say_what_happens() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(dir.path(), &[("door", Clip::H264Aac)]);
    let vedette = Vedette::start(dir.path(), 2);
    vedette.add_camera("door", &camera.url("door"), "tcp");
    vedette.wait_for_segments("door", 1);
    let (units, _) = ffmpeg(&vedette.rtsp("door"), "tcp", 1, false);
    assert_consecutive(&units);
    let metrics =
        run(Command::new("curl").args(["-sSf", &format!("{}/metrics", vedette.http)])).stdout;
    let file = dir.path().join("metrics");
    std::fs::write(&file, &metrics).unwrap();
    run(Command::new("sh").args(["-c", &format!("promtool check metrics < {}", file.display())]));
    let text = String::from_utf8(metrics).unwrap();
    // Every metric that a dashboard or an alert rule speaks of is there.
    for (file, least) in [("alerts.yml", 15), ("grafana/dashboards/vedette.json", 15)] {
        let path = format!("{}/config/{file}", env!("CARGO_MANIFEST_DIR"));
        let speaks = std::fs::read_to_string(path).unwrap();
        let words: std::collections::BTreeSet<&str> = speaks
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|w| w.starts_with("vedette_"))
            .collect();
        for word in &words {
            let there = text.lines().any(|line| {
                line.strip_prefix(word).is_some_and(|rest| rest.starts_with(['{', ' ']))
            });
            assert!(there, "{file} speaks of {word}, /metrics does not:\n{text}");
        }
        assert!(words.len() >= least, "{file} speaks of {} metrics only", words.len());
    }
    assert!(!text.contains(PASSWORD) && !text.contains("rtsp://"), "{text}");
}

#[test]
fn changing_one_camera_restarts_only_that_one() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(dir.path(), &[("door", Clip::H264Aac), ("yard", Clip::H264Aac)]);
    let vedette = Vedette::start(dir.path(), 2);
    vedette.add_camera("door", &camera.url("door"), "tcp");
    vedette.add_camera("yard", &camera.url("yard"), "tcp");
    vedette.wait_for_segments("door", 1);
    vedette.wait_for_segments("yard", 1);
    let since = |slug: &str| -> chrono::DateTime<chrono::Utc> {
        let status = vedette.get(&format!("/cameras/{slug}/status"));
        status["streams"][0]["since"].as_str().unwrap().parse().unwrap()
    };
    let (door, yard) = (since("door"), since("yard"));
    let change = serde_json::json!({ "streams": [{ "role": "main", "url": camera.url("door"), "transport": "udp" }] });
    let (status, answer) = vedette.request(reqwest::Method::PATCH, "/cameras/door", Some(change));
    assert_eq!(status, 200, "{answer}");
    eventually("the door's camera to run again", || {
        let running = vedette.get("/cameras/door/status")["streams"][0]["state"] == "running";
        (running && since("door") - door > chrono::Duration::seconds(1)).then_some(())
    });
    let closed = vedette.segments("door").len();
    vedette.wait_for_segments("door", closed + 1);
    let moved = (since("yard") - yard).abs();
    assert!(moved < chrono::Duration::milliseconds(1), "the other camera's pull goes on: {moved}");
    assert_eq!(vedette.timeline("yard")["runs"].as_array().unwrap().len(), 1);
}

#[test]
fn a_browser_shows_the_cameras() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(dir.path(), &[("door", Clip::H264Aac)]);
    let config = "\n[auth]\nmode = \"none\"\n";
    let vedette = Vedette::start_with(dir.path(), 2, config);
    vedette.add_camera("front-door", &camera.url("door"), "tcp");
    vedette.wait_for_segments("front-door", 1);
    let profile = dir.path().join("chromium");
    let page = run(Command::new("timeout")
        .args([
            "60",
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--virtual-time-budget=5000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(&vedette.http));
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    for words in [
        "front-door",
        "running",
        "320×240",
        "/front-door/recording",
        "vlc.m3u",
        "recording as configured",
        "Storage",
        "Full in",
        "Lock footage",
    ] {
        assert!(page.contains(words), "no {words:?} on the page:\n{page}");
    }
}
