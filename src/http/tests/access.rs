//! Who is let in: logins, tokens, other sites' pages, scrapers.

use super::*;

const OPEN: [&str; 2] = ["/healthz", "/readyz"];

#[tokio::test]
async fn nothing_but_health_is_open_without_a_login() {
    let recorder = Recorder::new().await;
    for path in OPEN {
        let answer = recorder.send(bare(Method::GET, path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
    for (path, operations) in paths(&recorder).await {
        for method in operations {
            let path = path.replace("{slug}", "door").replace("{id}", "1");
            let answer = recorder.send(bare(method, &path).body(Body::empty()).unwrap()).await;
            answer.problem(401);
            assert!(
                answer.headers[header::WWW_AUTHENTICATE].to_str().unwrap().starts_with("Basic ")
            );
        }
    }
    for path in [
        "/",
        "/index.html",
        "/assets/app.js",
        "/api/docs",
        "/api/docs/",
        "/api/v1/openapi.json",
        "/api/v1/nothing",
        "/nothing",
    ] {
        recorder.send(bare(Method::GET, path).body(Body::empty()).unwrap()).await.problem(401);
    }
}

#[tokio::test]
async fn a_wrong_password_token_or_scheme_is_refused() {
    let recorder = Recorder::new().await;
    for sent in [
        basic("admin", "wrong"),
        basic("nobody", PASSWORD),
        "Bearer vdt_wrong".to_owned(),
        "Digest x".to_owned(),
        "Basic".to_owned(),
    ] {
        let request = bare(Method::GET, "/api/v1/cameras").header(header::AUTHORIZATION, &sent);
        recorder.send(request.body(Body::empty()).unwrap()).await.problem(401);
    }
}

#[tokio::test]
async fn a_token_is_shown_once_works_and_is_revoked() {
    let recorder = Recorder::new().await;
    let made = recorder
        .post("/api/v1/tokens", json!({ "name": "script", "expires_in_seconds": 60 }))
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let made = made.json();
    let token = made["token"].as_str().unwrap().to_owned();
    let listed = recorder.get("/api/v1/tokens").await;
    assert!(!listed.text.contains(&token));
    assert_eq!(listed.json()["items"][0]["id"], made["id"]);
    let with_token = || async {
        let request = bare(Method::GET, "/api/v1/cameras")
            .header(header::AUTHORIZATION, format!("Bearer {token}"));
        recorder.send(request.body(Body::empty()).unwrap()).await
    };
    assert_eq!(with_token().await.status, StatusCode::OK);
    let path = format!("/api/v1/tokens/{}", made["id"].as_str().unwrap());
    assert_eq!(recorder.ask(Method::DELETE, &path, None).await.status, StatusCode::NO_CONTENT);
    with_token().await.problem(401);
    recorder.ask(Method::DELETE, &path, None).await.problem(404);
    assert_eq!(
        recorder.post("/api/v1/tokens", json!({ "nmae": "x" })).await.problem(422),
        ["name", "nmae"]
    );
}

#[tokio::test]
async fn a_token_ends_when_its_time_is_up() {
    let recorder = Recorder::new().await;
    let made = recorder
        .post("/api/v1/tokens", json!({ "name": "short", "expires_in_seconds": 60 }))
        .await
        .json();
    recorder.clock.advance(WallSpan::from_secs(61));
    let sent = format!("Bearer {}", made["token"].as_str().unwrap());
    let request = bare(Method::GET, "/api/v1/cameras").header(header::AUTHORIZATION, sent);
    recorder.send(request.body(Body::empty()).unwrap()).await.problem(401);
}

#[tokio::test]
async fn a_page_of_another_site_cannot_change_anything_with_the_browsers_login() {
    let recorder = Recorder::new().await;
    recorder.add("door").await;
    for (method, path) in [
        (Method::POST, "/api/v1/cameras"),
        (Method::PATCH, "/api/v1/cameras/door"),
        (Method::DELETE, "/api/v1/cameras/door"),
        (Method::POST, "/api/v1/tokens"),
    ] {
        for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "http://evil.example")] {
            let mut forged =
                request(method.clone(), path, Some(json!({ "slug": "x", "url": "rtsp://x/" })));
            forged.headers_mut().insert(name, value.parse().unwrap());
            recorder.send(forged).await.problem(403);
        }
    }
    assert_eq!(recorder.store.cameras().await.unwrap().len(), 1);
    let mut own = request(Method::PATCH, "/api/v1/cameras/door", Some(json!({ "name": "x" })));
    own.headers_mut().insert("sec-fetch-site", "same-origin".parse().unwrap());
    assert_eq!(recorder.send(own).await.status, StatusCode::OK);
}

#[tokio::test]
async fn without_passwords_configured_everybody_is_let_in() {
    let recorder = Recorder::with(Mode::None, "").await;
    let ask = |host: &str| {
        let request = Request::get("/api/v1/cameras").header(header::HOST, host);
        recorder.send(request.body(Body::empty()).unwrap())
    };
    for ours in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "nvr.localhost"] {
        assert_eq!(ask(ours).await.status, StatusCode::OK, "{ours}");
    }
    // A page of another site whose name was made to point here is of the same origin to a browser.
    for other in ["evil.example:8080", "localhost.evil.example", "192.0.2.7", ""] {
        ask(other).await.problem(403);
    }
}

#[tokio::test]
async fn metrics_are_for_loopback_for_who_has_the_token_and_for_administrators() {
    let recorder = Recorder::new().await;
    let scrape = |peer: &str, headers: &[(&'static str, &str)]| {
        let mut builder = bare(Method::GET, "/metrics");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let mut request = builder.body(Body::empty()).unwrap();
        let peer: std::net::SocketAddr = peer.parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        recorder.send(request)
    };
    let open = scrape("127.0.0.1:9", &[]).await;
    assert_eq!(open.status, StatusCode::OK);
    assert!(open.text.contains("vedette_build_info"), "{}", open.text);
    assert_eq!(scrape("[::ffff:127.0.0.1]:9", &[]).await.status, StatusCode::OK);
    scrape("10.0.0.9:9", &[]).await.problem(401);
    scrape("127.0.0.1:9", &[("x-forwarded-for", "10.0.0.9")]).await.problem(401);
    scrape("10.0.0.9:9", &[("authorization", "Bearer wrong")]).await.problem(401);
    assert_eq!(
        scrape("10.0.0.9:9", &[("authorization", "Bearer scrape-me")]).await.status,
        StatusCode::OK
    );
    for _ in 0..20 {
        scrape("10.0.0.9:9", &[("authorization", "Bearer of-last-year")]).await.problem(401);
    }
    scrape("10.0.0.9:9", &[("authorization", &basic("admin", "wrong"))]).await.problem(401);
    let admin = [("authorization", &*basic("admin", PASSWORD))];
    assert_eq!(scrape("10.0.0.9:9", &admin).await.status, StatusCode::OK);
}
