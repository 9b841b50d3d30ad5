//! Logins: what is asked for, what is answered, and when it is given up.

use super::*;
use crate::proto::rtsp::auth::{Algorithm, Authorization, Ha1, NonceBook, Verdict};

const SHA: &str =
    "WWW-Authenticate: Digest realm=\"cam\", nonce=\"NONCE\", algorithm=SHA-256, qop=\"auth\"";
const MD5: &str = "WWW-Authenticate: Digest realm=\"cam\", nonce=\"NONCE\"";
const BASIC: &str = "WWW-Authenticate: Basic realm=\"cam\"";

fn authorization(request: &Request) -> &str {
    request.headers.get("Authorization").expect("a login")
}

#[test]
fn the_servers_own_check_takes_our_digest() {
    // The server's half is another's work with another's tests.
    let mut book = NonceBook::new();
    #[expect(clippy::disallowed_methods, reason = "the book counts time, none passes here")]
    let now = std::time::Instant::now();
    let nonce = book.issue(now, [3; 16]);
    let (md5, sha256) = (
        Algorithm::Md5.ha1("admin", "cam", "secret"),
        Algorithm::Sha256.ha1("admin", "cam", "secret"),
    );
    for challenge in [MD5, SHA] {
        let mut talk = Talk::with("rtsp://cam/live").asked_for_options();
        talk.asks("DESCRIBE");
        talk.answers(401, &[&challenge.replace("NONCE", &nonce)], "");
        for method in ["DESCRIBE", "SETUP"] {
            let request = if method == "SETUP" {
                talk.set_up(0, Carriage::Interleaved(0, 1))
            } else {
                talk.asks(method)
            };
            let Ok(Authorization::Digest(digest)) = Authorization::parse(authorization(&request))
            else {
                panic!("{request:?}")
            };
            let secret = Ha1 { md5: &md5, sha256: &sha256 };
            assert_eq!(book.verify(now, &digest, method, secret), Verdict::Granted);
            if method == "DESCRIBE" {
                talk.answers(200, &[], SDP);
                talk.event();
            }
        }
    }
}

#[test]
fn sha_256_and_md5_both_offered() {
    for challenges in [[SHA, MD5, BASIC], [BASIC, MD5, SHA]] {
        let mut talk = Talk::with("rtsp://cam/live").asked_for_options();
        talk.asks("DESCRIBE");
        talk.answers(401, &challenges, "");
        let request = talk.asks("DESCRIBE");
        assert!(authorization(&request).contains("algorithm=SHA-256"), "{request:?}");
    }
    // In one line, behind one we do not know.
    let mut talk = Talk::with("rtsp://cam/live").asked_for_options();
    talk.asks("DESCRIBE");
    talk.answers(
        401,
        &["WWW-Authenticate: Digest realm=\"a, b\", nonce=n, algorithm=SHA-512-256, Basic realm=\"x\", Digest realm=\"cam\",nonce=\"m\""],
        "",
    );
    let request = talk.asks("DESCRIBE");
    let login = authorization(&request);
    assert!(login.contains("nonce=\"m\"") && !login.contains("algorithm"), "{login}");
}

#[test]
fn basic_is_sent_only_where_nothing_better_is_asked_for() {
    let mut talk = Talk::with("rtsp://cam/live").asked_for_options();
    assert_eq!(talk.asks("DESCRIBE").headers.get("Authorization"), None, "nobody asked");
    talk.answers(401, &[BASIC], "");
    assert_eq!(authorization(&talk.asks("DESCRIBE")), "Basic YWRtaW46c2VjcmV0");
}

#[test]
fn a_login_that_is_refused_is_not_tried_again() {
    for challenge in [MD5, SHA, BASIC] {
        let mut talk = Talk::with("rtsp://cam/live").asked_for_options();
        talk.asks("DESCRIBE");
        talk.answers(401, &[challenge], "");
        talk.asks("DESCRIBE");
        talk.answers(401, &[challenge], "");
        assert_eq!(talk.failed(), ClientError::Unauthorized { method: "DESCRIBE" });
        assert!(talk.sent().is_empty());
    }
    for (login, challenge) in [(None, MD5), (Some(("a", "b")), "WWW-Authenticate: Bearer x")] {
        let mut talk = Talk::new("rtsp://cam/live", login).asked_for_options();
        talk.asks("DESCRIBE");
        talk.answers(401, &[challenge], "");
        assert_eq!(talk.failed(), ClientError::Unauthorized { method: "DESCRIBE" });
    }
}

#[test]
fn digest_nonce_that_goes_stale_mid_session() {
    let mut talk = Talk::with("rtsp://cam/live").playing();
    talk.wait();
    assert_eq!(talk.asks("OPTIONS").headers.get("Authorization"), None);
    talk.answers(401, &[&MD5.replace("NONCE", "one")], "");
    assert!(authorization(&talk.asks("OPTIONS")).contains("nonce=\"one\""));
    talk.answers(401, &[&format!("{}, stale=TRUE", MD5.replace("NONCE", "two"))], "");
    assert!(authorization(&talk.asks("OPTIONS")).contains("nonce=\"two\""), "once more");
    talk.answers(401, &[&format!("{}, stale=true", MD5.replace("NONCE", "three"))], "");
    assert_eq!(talk.failed(), ClientError::Unauthorized { method: "OPTIONS" }, "and no more");
}

#[test]
fn a_nonce_that_ends_without_a_word_is_answered_with_the_new_one() {
    let mut talk = Talk::with("rtsp://cam/live").asked_for_options();
    talk.asks("DESCRIBE");
    talk.answers(401, &[&MD5.replace("NONCE", "one")], "");
    talk.asks("DESCRIBE");
    talk.answers(200, &[], SDP);
    talk.event();
    assert!(authorization(&talk.set_up(0, Carriage::Interleaved(0, 1))).contains("\"one\""));
    talk.answers(401, &[&MD5.replace("NONCE", "two")], "");
    let again = talk.asks("SETUP");
    assert!(authorization(&again).contains("\"two\""));
    assert!(again.headers.get("Transport").is_some(), "the same request");
    talk.answers(200, &["Session: 7"], "");
    assert!(matches!(talk.event(), Event::SetUp { .. }));
}

#[test]
fn a_401_to_options_is_answered_with_the_next_request() {
    let mut talk = Talk::with("rtsp://cam/live");
    talk.asks("OPTIONS");
    talk.answers(401, &[MD5], "");
    assert!(authorization(&talk.asks("DESCRIBE")).starts_with("Digest "));
    let mut talk = Talk::new("rtsp://cam/live", None);
    talk.asks("OPTIONS");
    talk.answers(401, &[MD5], "");
    talk.asks("DESCRIBE");
}

#[test]
fn a_wrong_login_is_shown_once_wherever_it_is_asked_for_first() {
    let mut talk = Talk::with("rtsp://cam/live");
    talk.asks("OPTIONS");
    talk.answers(401, &[MD5], "");
    authorization(&talk.asks("DESCRIBE"));
    talk.answers(401, &[&MD5.replace("NONCE", "two")], "");
    assert_eq!(talk.failed(), ClientError::Unauthorized { method: "DESCRIBE" });
    assert!(talk.sent().is_empty());
}

#[test]
fn a_401_on_every_new_connection() {
    // Nothing of one connection's challenge is known to the next.
    for _ in 0..2 {
        let mut talk = Talk::with("rtsp://cam/live").asked_for_options();
        assert_eq!(talk.asks("DESCRIBE").headers.get("Authorization"), None);
        talk.answers(401, &[SHA], "");
        assert!(authorization(&talk.asks("DESCRIBE")).contains("nc=00000001"));
    }
}

#[test]
fn a_count_rises_and_names_are_quoted() {
    let mut talk = Talk::new("rtsp://cam/live", Some(("o\"Brien\\", "x"))).asked_for_options();
    talk.asks("DESCRIBE");
    talk.answers(401, &[SHA], "");
    let first = talk.asks("DESCRIBE");
    assert!(authorization(&first).contains("username=\"o\\\"Brien\\\\\""));
    talk.answers(200, &[], SDP);
    talk.event();
    let second = talk.set_up(0, Carriage::Interleaved(0, 1));
    assert!(authorization(&second).contains("nc=00000002"));
    assert!(!format!("{:?} {first:?}", talk.client).contains("Digest username"));
}

#[test]
fn no_password_is_ever_shown() {
    let mut talk = Talk::with("rtsp://cam/live").asked_for_options();
    talk.asks("DESCRIBE");
    talk.answers(401, &[BASIC], "");
    assert!(!format!("{:?}", talk.client).contains("secret"));
}
