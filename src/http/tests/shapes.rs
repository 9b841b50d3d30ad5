//! What is true of every route: the description, problems, headers, the prefix.

use super::*;

#[tokio::test]
async fn the_description_lists_every_route_and_every_listed_route_is_there() {
    let recorder = Recorder::new().await;
    let description = recorder.get("/api/v1/openapi.json").await.json();
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"));
    let listed = paths(&recorder).await;
    let names: Vec<_> = listed.iter().map(|(p, _)| p.as_str()).collect();
    for path in [
        "/api/v1/audit",
        "/api/v1/cameras",
        "/api/v1/cameras/{slug}/locks",
        "/api/v1/cameras/{slug}/locks/{id}",
        "/api/v1/events",
        "/api/v1/storage",
        "/api/v1/storage/confirm-clock",
        "/api/v1/storage/plan",
        "/api/v1/cameras/probe",
        "/api/v1/cameras/{slug}",
        "/api/v1/cameras/{slug}/segments",
        "/api/v1/cameras/{slug}/status",
        "/api/v1/cameras/{slug}/timeline",
        "/api/v1/cameras/{slug}/vlc.m3u",
        "/api/v1/status",
        "/api/v1/tokens",
        "/api/v1/tokens/{id}",
        "/api/v1/vlc.m3u",
    ] {
        assert!(names.contains(&path), "{path} is not described");
    }
    for (path, methods) in listed {
        assert!(!methods.is_empty());
        for method in methods {
            let body = (method == Method::POST || method == Method::PATCH).then(|| json!({}));
            let path = path.replace("{slug}", "nobody").replace("{id}", "1");
            let answer = recorder.ask(method.clone(), &path, body).await;
            assert!(answer.status != StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            if answer.status == StatusCode::NOT_FOUND {
                assert!(!answer.text.contains("nothing at this address"), "{method} {path}");
            }
        }
    }
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let problem = &operation["responses"]["default"]["content"]["application/problem+json"];
            assert_eq!(
                problem["schema"]["$ref"], "#/components/schemas/Problem",
                "{method} {path}"
            );
        }
    }
    // Every reference leads somewhere.
    let text = description.to_string();
    for name in text.split("#/components/schemas/").skip(1).map(|s| s.split('"').next().unwrap()) {
        assert!(description["components"]["schemas"][name].is_object(), "{name} is not described");
    }
}

#[tokio::test]
async fn every_error_is_a_problem_whoever_made_it() {
    let recorder = Recorder::new().await;
    recorder.get("/api/v1/nothing").await.problem(404);
    recorder.get("/api/nothing").await.problem(404);
    recorder.get("/nothing.js").await.problem(404);
    let wrong = recorder.ask(Method::PUT, "/api/v1/cameras", None).await;
    wrong.problem(405);
    assert!(wrong.headers.contains_key(header::ALLOW));
    let raw = |kind: &str, body: String| {
        let builder = bare(Method::POST, "/api/v1/cameras")
            .header(header::AUTHORIZATION, basic("admin", PASSWORD));
        recorder.send(builder.header(header::CONTENT_TYPE, kind).body(Body::from(body)).unwrap())
    };
    raw("application/json", "{".to_owned()).await.problem(400);
    raw("application/json", "[]".to_owned()).await.problem(400);
    raw("application/json", format!("{{\"password\": \"{SECRET}\" x}}")).await.problem(400);
    raw("text/plain", "{}".to_owned()).await.problem(415);
    raw("application/x-www-form-urlencoded", "slug=a".to_owned()).await.problem(415);
    raw("application/json", format!("{{\"a\": \"{}\"}}", "x".repeat(70_000))).await.problem(413);
    recorder.told.problems.store(1, std::sync::atomic::Ordering::SeqCst);
    recorder.get("/readyz").await.problem(503);
}

#[tokio::test]
async fn answers_carry_the_headers_that_keep_a_browser_safe() {
    let recorder = Recorder::new().await;
    let page = recorder.get("/").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/html"));
    let policy = page.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains("default-src 'self'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    let data = recorder.get("/api/v1/cameras").await;
    assert_eq!(data.headers[header::CACHE_CONTROL], "no-store");
    let docs = recorder.get("/api/docs/").await;
    assert_eq!(docs.status, StatusCode::OK);
    assert!(docs.text.contains("swagger-ui"), "{}", docs.text);
    assert!(!docs.text.contains("https://"), "from a CDN: {}", docs.text);
    let initializer = recorder.get("/api/docs/swagger-initializer.js").await;
    assert!(initializer.text.contains("/api/v1/openapi.json"), "{}", initializer.text);
}

#[tokio::test]
async fn behind_a_prefix_everything_moves_with_it() {
    let recorder = Recorder::with(Mode::Password, "/nvr").await;
    let made =
        recorder.post("/nvr/api/v1/cameras", json!({ "slug": "a", "url": "rtsp://c/" })).await;
    assert_eq!(made.headers[header::LOCATION], "/nvr/api/v1/cameras/a");
    assert_eq!(recorder.get("/nvr/healthz").await.status, StatusCode::OK);
    assert_eq!(recorder.get("/nvr/").await.status, StatusCode::OK);
    let description = recorder.get("/nvr/api/v1/openapi.json").await.json();
    assert_eq!(description["servers"][0]["url"], "/nvr");
    recorder.get("/api/v1/cameras").await.problem(404);
}

#[tokio::test]
async fn a_change_is_carried_through_when_the_client_hangs_up() {
    let recorder = Recorder::new().await;
    let body = json!({ "slug": "door", "url": "rtsp://cam/" });
    let mut answer = Box::pin(recorder.router.clone().oneshot(request(
        Method::POST,
        "/api/v1/cameras",
        Some(body),
    )));
    // Until the change has begun, then gone.
    while recorder.tasks.is_empty() {
        tokio::select! {
            biased;
            _ = &mut answer => panic!("answered before it could be dropped"),
            () = tokio::task::yield_now() => {}
        }
    }
    drop(answer);
    recorder.tasks.close();
    recorder.tasks.wait().await;
    assert_eq!(recorder.stored("door").await.slug.as_str(), "door");
    assert_eq!(recorder.told.applied.lock().unwrap().len(), 1);
}
