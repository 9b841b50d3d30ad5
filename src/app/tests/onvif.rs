//! What a camera tells by ONVIF reaches what records because of it. The camera is oxvif's, which tells
//! motion on and off all the time, and inputs when it is told to.

use oxvif::mock::{AckOnlyOperation, MockServer};

use super::*;

/// One that has the login of [`Cameras`].
async fn telling() -> MockServer {
    let device = MockServer::builder()
        .enforce_auth(true)
        .with_acknowledgment_only(AckOnlyOperation::EventsRenew)
        .with_acknowledgment_only(AckOnlyOperation::EventsUnsubscribe)
        .start()
        .await
        .unwrap();
    device.device().modify(|state| {
        for user in &mut state.users {
            user.username = "viewer".to_owned();
            user.password = "camera-password".to_owned();
        }
    });
    device
}

async fn switch(device: &MockServer, state: &str) {
    let path = format!("/mock/digital-input/DigitalInput_1/set?state={state}");
    let url = format!("http://127.0.0.1:{}{path}", device.port());
    let answer = reqwest::Client::new().post(url).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_recorded_by_events_is_recorded_as_long_as_its_own_input_is_on() {
    let folder = tempfile::tempdir().unwrap();
    let (cameras, device) = (Cameras::start(1).await, telling().await);
    let vedette = Running::start(folder.path()).await;
    let rule = |kind: &str| json!({ "kinds": [kind], "before_seconds": 1, "after_seconds": 1 });
    let camera = json!({
        "slug": "door", "url": cameras.urls[0], "record": "events", "events": rule("input"),
        "onvif": { "host": "127.0.0.1", "port": device.port(), "path": "/onvif/device" },
    });
    vedette.change(Method::POST, "/api/v1/cameras", camera).await;

    // It tells motion, which stands on the timeline and is not what is recorded.
    let told = |kind: &'static str| {
        move |list: &Value| list["items"].as_array()?.iter().find(|e| e["kind"] == kind).cloned()
    };
    let events = "/api/v1/events?camera=door";
    let motion = vedette.eventually(events, told("motion")).await;
    assert_eq!(motion["source"], "onvif");
    let path = "/api/v1/cameras/door/status";
    vedette
        .eventually(path, |status| {
            let stream = &status["streams"][0];
            assert_eq!(stream["wanted"], "standby", "{status:#}");
            (stream["state"] == "running").then_some(())
        })
        .await;

    switch(&device, "active").await;
    let stream = vedette.recording("door").await;
    assert_eq!(stream["wanted"], "recording");
    let input = vedette.eventually(events, told("input")).await;
    assert!(input["note"].as_str().unwrap().contains("DigitalInput_1"), "{input}");
    // Nothing more is said of it, and it goes on for longer than what is kept after an event.
    vedette
        .eventually("/api/v1/cameras/door/segments", |list| {
            let status = list["items"].as_array()?;
            let last = status.iter().map(|s| at(&s["start"])).max()?;
            (last > at(&input["start"]) + chrono::TimeDelta::seconds(7)).then_some(())
        })
        .await;
    assert_eq!(vedette.get(path).await["streams"][0]["wanted"], "recording");

    switch(&device, "inactive").await;
    vedette
        .eventually(path, |status| {
            let stream = &status["streams"][0];
            (stream["wanted"] == "standby" && stream["recording"] == false).then_some(())
        })
        .await;
    // The end of a run is known with its last segment's row, which is written just after.
    let timeline = vedette
        .eventually("/api/v1/cameras/door/timeline", |timeline| {
            let last = timeline["runs"].as_array()?.last()?;
            (!last["end"].is_null()).then(|| timeline.clone())
        })
        .await;
    let runs = timeline["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1, "without a break: {timeline:#}");
    assert!(at(&runs[0]["start"]) < at(&input["start"]), "with what came before: {timeline:#}");
    let input = vedette.eventually(events, told("input")).await;
    assert!(at(&runs[0]["end"]) > at(&input["end"]), "and after: {timeline:#} {input}");
    let gap = timeline["gaps"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&gap["reason"], &gap["end"]), (&json!("not_scheduled"), &Value::Null));

    // Nobody listens to a camera that is switched off, or that is not to be listened to.
    let listening = vedette.get(path).await["onvif"].clone();
    assert_eq!(listening["state"], "listening", "{listening}");
    let deaf = json!({ "onvif": { "events": false } });
    vedette.change(Method::PATCH, "/api/v1/cameras/door", deaf).await;
    assert_eq!(vedette.get(path).await["onvif"], Value::Null);
    vedette.stop().await;
    cameras.stop().await;
}
