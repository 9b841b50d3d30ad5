//! Tunnels through HTTP, as their servers answer.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::*;
use crate::proto::rtsp::{
    client::tunnel::{Answered, Opening},
    message::Response,
    tunnel::{Half, Unwrapper, WRAPPED, wrap},
};

fn opening(url: &str, login: Option<(&str, &str)>) -> Opening {
    let credentials = login.map(|(username, password)| Credentials {
        username: username.to_owned(),
        password: Zeroizing::new(password.to_owned()),
    });
    let target = Target::new(&Url::parse(url).expect("a URL")).expect("an RTSP address");
    let target = target.through_http();
    Opening::new(Settings { target, credentials, user_agent: "test".to_owned(), random: [7; 16] })
}

/// What a camera says, and what of it is no longer HTTP.
fn answer(text: &str) -> (Response, BytesMut) {
    let (mut decoder, mut buffer) = (Decoder::of_http(), BytesMut::from(text));
    match decoder.decode(&mut buffer) {
        Ok(Some(Message::Response(response))) => (response, buffer),
        other => panic!("{other:?}"),
    }
}

fn answered(opening: &mut Opening, status: &str, headers: &[&str]) -> Answered {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    opening.answered(&answer(&format!("HTTP/1.1 {status}\r\n{headers}\r\n")).0)
}

fn request(bytes: &[u8]) -> Request {
    match Decoder::new().decode(&mut BytesMut::from(bytes)) {
        Ok(Some(Message::Request(request))) => request,
        other => panic!("{other:?}"),
    }
}

const COOKIE: &str = "07070707070707070707070707070707";

#[test]
fn both_halves_are_what_a_server_takes_for_a_tunnel() {
    let mut opening = opening("rtsp://cam/live?a=b", None);
    let get = opening.get();
    let text = String::from_utf8_lossy(&get);
    assert!(text.starts_with("GET /live?a=b HTTP/1.0\r\nHost: cam:80\r\n"), "{text}");
    assert!(!text.contains("Authorization"), "nobody asked");
    let cookie = COOKIE.to_owned();
    assert_eq!(Half::of(&request(&get)), Some(Half::Get { cookie: cookie.clone() }));
    assert_eq!(answered(&mut opening, "200 OK", &[]), Answered::Open);
    assert_eq!(Half::of(&request(&opening.post())), Some(Half::Post { cookie }));
}

#[test]
fn the_port_is_that_of_http_unless_one_is_said() {
    for (url, port) in [
        ("rtsp://cam/live", 80),
        ("rtsps://cam", 443),
        ("rtsp://cam:554/", 554),
        ("rtsp://cam:8080/live", 8080),
        ("rtsp://[fe80::1]/live", 80),
        ("rtsp://[fe80::1]:554/live", 554),
    ] {
        let target = Target::new(&Url::parse(url).expect("a URL")).expect("an RTSP address");
        assert_eq!(target.through_http().port, port, "{url}");
    }
}

#[test]
fn what_follows_the_answer_is_left_and_its_made_up_length_is_not_waited_for() {
    for head in [
        "HTTP/1.0 200 OK\r\nContent-Type: application/x-rtsp-tunnelled\r\n\r\n",
        "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 32767\r\n\r\n",
        "http/1.0 200\n\n",
    ] {
        let (response, rest) = answer(&format!("{head}$\0\0\x02ab"));
        assert!(response.status.is_success());
        assert_eq!(&rest[..], b"$\0\0\x02ab");
    }
    // A port where RTSP is spoken and nothing else.
    let mut rtsp = BytesMut::from("RTSP/1.0 400 Bad Request\r\n\r\n");
    assert!(Decoder::of_http().decode(&mut rtsp).is_err());
}

#[test]
fn logins_are_shown_when_http_asks_for_them_and_by_the_post_at_once() {
    let basic = format!("Basic {}", STANDARD.encode("admin:secret"));
    let mut opening_ = opening("rtsp://cam/live", Some(("admin", "secret")));
    opening_.get();
    let asks = ["WWW-Authenticate: Basic realm=\"cam\"", "Content-Length: 17"];
    assert_eq!(answered(&mut opening_, "401 Unauthorized", &asks), Answered::Again);
    for sent in [opening_.get(), opening_.post()] {
        assert_eq!(request(&sent).headers.get("Authorization"), Some(basic.as_str()));
    }
    let refused = Answered::Failed(ClientError::Unauthorized { method: "GET" });
    opening_.get();
    assert_eq!(answered(&mut opening_, "401 Unauthorized", &asks), refused, "not once more");

    let mut opening_ = opening("rtsp://cam/live", Some(("admin", "secret")));
    opening_.get();
    let asks = ["WWW-Authenticate: Digest realm=\"cam\", nonce=\"n\", qop=\"auth\""];
    assert_eq!(answered(&mut opening_, "401 Unauthorized", &asks), Answered::Again);
    for (sent, count) in [(opening_.get(), "nc=00000001"), (opening_.post(), "nc=00000002")] {
        let sent = request(&sent);
        let login = sent.headers.get("Authorization").expect("a login");
        assert!(login.contains("uri=\"/live\"") && login.contains(count), "{login}");
    }
    // A nonce that has gone stale is renewed once.
    let stale = ["WWW-Authenticate: Digest realm=\"cam\", nonce=\"m\", stale=true"];
    assert_eq!(answered(&mut opening_, "401 Unauthorized", &stale), Answered::Again);
    opening_.get();
    assert_eq!(answered(&mut opening_, "401 Unauthorized", &stale), refused);

    let mut nobody = opening("rtsp://cam/live", None);
    nobody.get();
    assert_eq!(answered(&mut nobody, "401 Unauthorized", &asks), refused);
}

#[test]
fn any_other_answer_means_that_there_is_no_tunnel() {
    for (said, status) in [("404 Not Found", 404), ("501 No", 501), ("302 Found", 302)] {
        let mut opening = opening("rtsp://cam/live", None);
        opening.get();
        let failed = Answered::Failed(ClientError::Refused { method: "GET", status });
        assert_eq!(answered(&mut opening, said, &["Location: /index.html"]), failed);
    }
}

#[test]
fn what_is_wrapped_comes_out_again_in_pieces_of_bounded_size() {
    let bytes: Vec<u8> = (0..WRAPPED * 2 + 5).map(|n| n as u8).collect();
    let (mut wrapped, mut rest) = (BytesMut::new(), &bytes[..]);
    while !rest.is_empty() {
        let before = wrapped.len();
        rest = &rest[wrap(rest, &mut wrapped)..];
        assert!(wrapped.len() - before <= WRAPPED.div_ceil(3) * 4);
    }
    let mut out = BytesMut::new();
    Unwrapper::new().push(&wrapped, &mut out).expect("base64");
    assert_eq!(&out[..], &bytes[..]);
}
