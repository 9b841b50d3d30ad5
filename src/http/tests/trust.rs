//! `tls`: what is kept and shown of which certificate a camera must show, and what is refused.

use super::*;
use crate::model::Trust;

const PRINT: &str = "00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:\
    10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:FF";

fn authority() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let made = rcgen::CertificateParams::new(vec!["cam".to_owned()]).unwrap();
    (made.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[tokio::test]
async fn a_fingerprint_and_an_authority_are_kept_shown_and_taken_away() {
    let recorder = Recorder::new().await;
    let plain = PRINT.replace(':', "").to_lowercase();
    let body = json!({ "slug": "a", "url": "rtsps://cam/", "tls": { "fingerprint": plain } });
    let made = recorder.post("/api/v1/cameras", body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert_eq!(made.json()["tls"], json!({ "fingerprint": PRINT }));
    assert!(matches!(recorder.stored("a").await.tls, Trust::Fingerprint([0, 1, .., 0xff])));

    // What is not mentioned stays; what was shown can be sent back.
    let shown = recorder.patch("/api/v1/cameras/a", json!({ "name": "A" })).await.json();
    assert_eq!(shown["tls"], json!({ "fingerprint": PRINT }));
    let again = recorder.patch("/api/v1/cameras/a", json!({ "tls": shown["tls"] })).await;
    assert_eq!(again.json()["tls"], shown["tls"]);

    let (pem, _) = authority();
    let both = recorder.patch("/api/v1/cameras/a", json!({ "tls": { "ca": pem } })).await;
    assert_eq!(both.problem(422), ["tls.ca"], "the fingerprint is there still");
    let instead = json!({ "tls": { "ca": pem, "fingerprint": null } });
    let instead = recorder.patch("/api/v1/cameras/a", instead).await.json();
    assert_eq!(instead["tls"], json!({ "ca": pem }));
    assert_eq!(recorder.stored("a").await.tls, Trust::Authority(pem));

    let gone = recorder.patch("/api/v1/cameras/a", json!({ "tls": null })).await.json();
    assert_eq!(gone["tls"], Value::Null);
    assert_eq!(recorder.stored("a").await.tls, Trust::System);
}

#[tokio::test]
async fn what_is_no_certificate_is_refused_with_the_field_that_is_wrong() {
    let recorder = Recorder::new().await;
    let (pem, key) = authority();
    let torn = pem.replace("MI", "--");
    for (url, tls, field) in [
        ("rtsps://cam/", json!({ "fingerprint": "sha1:00" }), "tls.fingerprint"),
        ("rtsps://cam/", json!({ "fingerprint": 7 }), "tls.fingerprint"),
        ("rtsps://cam/", json!({ "ca": "" }), "tls.ca"),
        ("rtsps://cam/", json!({ "ca": "/etc/ssl/cam.pem" }), "tls.ca"),
        ("rtsps://cam/", json!({ "ca": torn }), "tls.ca"),
        ("rtsps://cam/", json!({ "ca": format!("{pem}{key}") }), "tls.ca"),
        ("rtsps://cam/", json!({ "ca": "x".repeat(40_000) }), "tls.ca"),
        ("rtsps://cam/", json!({ "ca": pem, "fingerprint": PRINT }), "tls.ca"),
        ("rtsps://cam/", json!({ "cert": pem }), "tls.cert"),
        ("rtsps://cam/", json!("anything"), "tls"),
        // It would look as if it were encrypted.
        ("rtsp://cam/", json!({ "fingerprint": PRINT }), "tls"),
    ] {
        let body = json!({ "slug": "a", "url": url, "tls": tls });
        let answer = recorder.post("/api/v1/cameras", body).await;
        assert!(!answer.text.contains("PRIVATE"), "{}", answer.text);
        assert_eq!(answer.problem(422), [field], "{tls}");
    }
    let probed = json!({ "url": "rtsps://cam/", "tls": { "fingerprint": "x" } });
    let fields = recorder.post("/api/v1/cameras/probe", probed).await.problem(422);
    assert_eq!(fields, ["tls.fingerprint"]);
}
