//! Finding cameras, and adding them by their address alone; against oxvif's simulated camera.

use oxvif::mock::MockServer;

use super::*;

async fn camera() -> MockServer {
    let server = MockServer::builder().enforce_auth(true).start().await.unwrap();
    server.device().modify(|state| {
        for user in &mut state.users {
            user.password = SECRET.to_owned();
        }
    });
    server
}

fn place(camera: &MockServer) -> Value {
    json!({ "host": "127.0.0.1", "port": camera.port(), "path": "/onvif/device" })
}

#[tokio::test]
async fn a_camera_is_added_by_its_address_and_login_alone() {
    let recorder = Recorder::new().await;
    let device = camera().await;
    let body =
        json!({ "slug": "door", "onvif": place(&device), "username": "admin", "password": SECRET });
    let added = recorder.post("/api/v1/cameras", body).await;
    assert_eq!(added.status, StatusCode::CREATED, "{}", added.text);
    let shown = added.json();
    assert_eq!(shown["onvif"]["host"], "127.0.0.1");
    assert_eq!(shown["onvif"]["events"], true);
    assert_ne!(shown["name"], "door", "its own name: {shown}");
    let stored = recorder.stored("door").await;
    let roles: Vec<_> = stored.streams.iter().map(|s| s.role).collect();
    assert_eq!(roles, [Role::Main, Role::Sub]);
    assert!(stored.streams.iter().all(|s| s.url.starts_with("rtsp://127.0.0.1")));
    assert_eq!(stored.password.as_ref().map(Secret::expose), Some(SECRET));
    assert_eq!(recorder.told.applied.lock().unwrap()[0].onvif, stored.onvif);
    assert_eq!(stored.onvif.as_ref().map(|o| o.port), Some(device.port()));

    let quiet =
        recorder.patch("/api/v1/cameras/door", json!({ "onvif": { "events": false } })).await;
    assert_eq!(quiet.json()["onvif"]["events"], false, "{}", quiet.text);
    assert_eq!(
        recorder.stored("door").await.onvif.map(|o| (o.port, o.events)),
        Some((device.port(), false))
    );
    let state = recorder.store.state().await.unwrap();
    assert_eq!(
        state.cameras[0].onvif,
        recorder.stored("door").await.onvif,
        "a lost index loses it not"
    );
    let gone = recorder.patch("/api/v1/cameras/door", json!({ "onvif": null })).await;
    assert_eq!(gone.json()["onvif"], Value::Null);
    assert_eq!(recorder.stored("door").await.onvif, None);
    assert_eq!(recorder.stored("door").await.streams.len(), 2);
}

#[tokio::test]
async fn what_keeps_a_camera_from_telling_its_streams_stands_at_the_field_to_mend() {
    let recorder = Recorder::new().await;
    let device = camera().await;
    let body = json!({ "slug": "door", "onvif": place(&device), "username": "admin", "password": "guessed" });
    let refused = recorder.post("/api/v1/cameras", body).await;
    assert_eq!(refused.problem(422), ["password"]);
    assert!(!refused.text.contains("guessed"));
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let body = json!({ "slug": "door", "onvif": { "host": "127.0.0.1", "port": port } });
    assert_eq!(recorder.post("/api/v1/cameras", body).await.problem(422), ["onvif"]);
    for (onvif, field) in [
        (json!({}), "onvif.host"),
        (json!({ "host": "http://10.0.0.7/" }), "onvif.host"),
        (json!({ "host": "a", "port": 70_000 }), "onvif.port"),
        (json!({ "host": "a", "path": "x" }), "onvif.path"),
    ] {
        let body = json!({ "slug": "door", "onvif": onvif });
        assert_eq!(recorder.post("/api/v1/cameras", body).await.problem(422), [field]);
    }
    assert!(recorder.told.applied.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_camera_that_is_asked_says_what_it_offers_and_whether_it_is_there_already() {
    let recorder = Recorder::new().await;
    let device = camera().await;
    let mut body = place(&device);
    body["username"] = "admin".into();
    body["password"] = SECRET.into();
    let found = recorder.post("/api/v1/cameras/discover", body.clone()).await;
    assert_eq!(found.status, StatusCode::OK, "{}", found.text);
    let item = &found.json()["items"][0];
    assert_eq!(item["manufacturer"], "oxvif-mock");
    assert_eq!(item["camera"], Value::Null);
    let streams: Vec<_> = item["streams"].as_array().unwrap().iter().collect();
    assert_eq!((&streams[0]["role"], &streams[0]["codec"]), (&json!("main"), &json!("H.264")));
    assert_eq!(streams.len(), 2);

    let added =
        json!({ "slug": "door", "onvif": place(&device), "username": "admin", "password": SECRET });
    recorder.post("/api/v1/cameras", added).await;
    body["password"] = "guessed".into();
    let again = recorder.post("/api/v1/cameras/discover", body).await.json();
    assert_eq!(again["items"][0]["camera"], "door");
    assert_eq!(again["items"][0]["findings"][0]["code"], "wrong_password");
}

#[tokio::test]
async fn a_device_that_means_harm_is_refused_with_the_reason_and_added_nowhere() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let bomb = "<!DOCTYPE a [<!ENTITY b \"ha\"><!ENTITY c \"&b;&b;\">]><a>&c;</a>";
    let length = bomb.len();
    for (answer, endless, reason) in [
        ("HTTP/1.1 200 OK\r\n\r\n".to_owned(), true, "larger than 1024 KiB"),
        (
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{bomb}"),
            false,
            "document type",
        ),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut device = tokio::task::JoinSet::new();
        device.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 64 << 10];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                while endless && stream.write_all(&[b' '; 4_096]).await.is_ok() {}
                // Read to its end, or else what was written may be lost.
                while stream.read(&mut request).await.is_ok_and(|n| n > 0) {}
            }
        });
        let recorder = Recorder::new().await;
        let place = json!({ "host": "127.0.0.1", "port": port });
        let asked = recorder.post("/api/v1/cameras/discover", place.clone()).await;
        assert_eq!(asked.status, StatusCode::OK, "{}", asked.text);
        let finding = &asked.json()["items"][0]["findings"][0];
        assert_eq!(finding["code"], "not_understood", "{finding}");
        assert!(finding["message"].as_str().unwrap().contains(reason), "{finding}");
        let added =
            recorder.post("/api/v1/cameras", json!({ "slug": "door", "onvif": place })).await;
        assert_eq!(added.problem(422), ["onvif"]);
        assert!(added.text.contains(reason), "{}", added.text);
        assert!(recorder.told.applied.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn only_administrators_search_and_mistakes_are_named() {
    let recorder = Recorder::new().await;
    let path = "/api/v1/cameras/discover";
    for role in [UserRole::Viewer, UserRole::Operator] {
        recorder.ask_as(role, Method::POST, path, Some(json!({}))).await.problem(403);
    }
    assert_eq!(recorder.post(path, json!({ "seconds": 60 })).await.problem(422), ["seconds"]);
    assert_eq!(recorder.post(path, json!({ "host": "a b" })).await.problem(422), ["host"]);
    assert_eq!(recorder.post(path, json!({ "username": "a" })).await.problem(422), ["host"]);
    let taken = json!({ "slug": "discover", "url": "rtsp://c/" });
    assert_eq!(recorder.post("/api/v1/cameras", taken).await.problem(422), ["slug"]);
}
