//! Which certificate a camera must show, from the API's body to the camera's own connection: the
//! recorder pulls from itself over `rtsps://`.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    harness::{PASSWORD, Vedette, eventually, free_port},
    simulated::Cameras,
};

#[test]
fn a_camera_over_rtsps_is_taken_by_its_fingerprint_or_its_authority_and_else_refused() {
    let dir = tempfile::tempdir().unwrap();
    let cameras = Cameras::start(dir.path(), 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let made = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let made = made.self_signed(&key).unwrap();
    let (certificate, secret) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&certificate, made.pem()).unwrap();
    std::fs::write(&secret, key.serialize_pem()).unwrap();
    let tls = format!("[tls]\ncert = {certificate:?}\nkey = {secret:?}\n");
    let port = free_port();
    let listen = [("VEDETTE_RTSP__TLS_LISTEN", format!("127.0.0.1:{port}"))];
    let mut vedette = Vedette::start_in(dir.path(), 60, &tls, &listen);
    vedette.add_camera("door", &cameras.url(1), "auto");

    let digits: String = Sha256::digest(made.der()).iter().map(|b| format!("{b:02x}")).collect();
    let login = PASSWORD.replace(' ', "%20");
    let url = format!("rtsps://admin:{login}@localhost:{port}/door");
    let body = json!({ "slug": "mirror", "url": url, "tls": { "fingerprint": digits } });
    let (status, answer) = vedette.request(reqwest::Method::POST, "/cameras", Some(body));
    assert_eq!(status, 201, "{answer}");
    let stream = || vedette.get("/cameras/mirror/status")["streams"][0].clone();
    let is_taken = |what: &str| {
        eventually(what, || (stream()["state"] == "running").then_some(()));
    };
    let change = |body: Value| {
        let (status, answer) =
            vedette.request(reqwest::Method::PATCH, "/cameras/mirror", Some(body));
        assert_eq!(status, 200, "{answer}");
    };
    is_taken("the certificate with that fingerprint to be taken");

    // Of no authority that the system knows.
    change(json!({ "tls": null }));
    eventually("it to be refused", || {
        let stream = stream();
        let detail = stream["detail"].as_str().unwrap_or_default();
        (stream["reason"] == "refused" && detail.contains("not trusted")).then_some(())
    });
    change(json!({ "tls": { "ca": made.pem() } }));
    is_taken("its own authority to be taken");

    // And the same through HTTP, within the same TLS.
    let shown = vedette.get("/cameras/mirror")["streams"][0]["url"].clone();
    let through = json!({ "streams": [{ "role": "main", "url": shown, "transport": "http" }] });
    change(through);
    is_taken("a tunnel to be taken");
    vedette.stop();
}
