//! When a camera is pulled and when it is recorded, seen from outside.

use serde_json::{Value, json};

use crate::{
    harness::{Vedette, eventually, ffmpeg},
    simulated::Cameras,
};

fn stream(vedette: &Vedette) -> Value {
    vedette.get("/cameras/door/status")["streams"][0].clone()
}

fn change(vedette: &Vedette, body: Value) {
    let (status, answer) = vedette.request(reqwest::Method::PATCH, "/cameras/door", Some(body));
    assert_eq!(status, 200, "{answer}");
}

#[test]
fn a_camera_on_demand_is_there_for_a_player_and_what_surrounds_an_event_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let cameras = Cameras::start(dir.path(), 1);
    let mut vedette = Vedette::start(dir.path(), 60);
    let body = json!({ "slug": "door", "url": cameras.url(1), "record": "never" });
    let (status, answer) = vedette.request(reqwest::Method::POST, "/cameras", Some(body));
    assert_eq!(status, 201, "{answer}");
    let idle = stream(&vedette);
    assert_eq!((&idle["state"], &idle["wanted"]), (&json!("stopped"), &json!("idle")), "{idle:#}");

    let (video, _) = ffmpeg(&vedette.rtsp("door"), "tcp", 2, false);
    assert!(video.len() >= 25, "{} pictures in 2 s", video.len());

    // Waiting for events, it is pulled all the time: memory has what came before the first.
    let events = json!({ "kinds": ["bell"], "before_seconds": 2, "after_seconds": 2 });
    change(&vedette, json!({ "record": "events", "events": events }));
    eventually("it to send", || {
        let stream = stream(&vedette);
        assert_eq!((&stream["wanted"], &stream["recording"]), (&json!("standby"), &json!(false)));
        (stream["state"] == "running").then_some(())
    });
    let tell = |kind: &str| {
        let event = json!({ "camera": "door", "kind": kind });
        let (status, answer) = vedette.request(reqwest::Method::POST, "/events", Some(event));
        assert_eq!(status, 201, "{answer}");
        answer["start"].as_str().unwrap().to_owned()
    };
    tell("cat");
    assert_eq!(stream(&vedette)["wanted"], "standby", "of no kind that is recorded");
    let rang = tell("bell");
    eventually("the event to be over", || {
        let stream = stream(&vedette);
        let over = stream["wanted"] == "standby" && stream["recording"] == false;
        (over && vedette.segments("door").iter().any(|s| s["state"] == "closed")).then_some(())
    });
    let timeline = vedette.timeline("door");
    let runs = timeline["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1, "{timeline:#}");
    let at = |time: &Value| chrono_us(time.as_str().unwrap());
    let (start, end, rang) = (at(&runs[0]["start"]), at(&runs[0]["end"]), chrono_us(&rang));
    assert!(start < rang && end > rang + 1_000_000, "{start} {rang} {end}");
    let gaps = timeline["gaps"].as_array().unwrap();
    let last = gaps.last().unwrap();
    assert_eq!((&last["reason"], &last["end"]), (&json!("not_scheduled"), &Value::Null));
    assert_eq!(last["start"], runs[0]["end"], "no second is left unaccounted for");

    // Its schedule is in the mirror, and comes back with a lost index.
    let hours = json!({ "timezone": "Europe/Berlin", "spans": [
        { "days": ["mon"], "start": "22:00", "end": "06:00" },
    ] });
    change(&vedette, json!({ "record": "schedule", "schedule": hours }));
    vedette.stop();
    std::fs::write(dir.path().join("vedette.db"), vec![0xa5; 64 << 10]).unwrap();
    let _ = std::fs::remove_file(dir.path().join("vedette.db-wal"));
    vedette.launch();
    let camera = vedette.get("/cameras/door");
    assert_eq!((&camera["record"], &camera["schedule"]), (&json!("schedule"), &hours));
    assert_eq!(camera["events"]["kinds"], json!(["bell"]));
    vedette.stop();
}

/// Microseconds of a time of day of today or yesterday: all that is compared is minutes apart.
fn chrono_us(time: &str) -> i64 {
    let field = |from: usize, to: usize| time[from..to].parse::<i64>().unwrap();
    let (day, hour, minute) = (field(8, 10), field(11, 13), field(14, 16));
    let second: f64 = time[17..].trim_end_matches('Z').parse().unwrap();
    ((day * 24 + hour) * 60 + minute) * 60_000_000 + (second * 1e6) as i64
}
