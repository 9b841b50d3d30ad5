use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::proto::rtsp::{message::Message, parse::Decoder};

/// As ffmpeg 7 opens it.
const POST: &[u8] = b"POST /door HTTP/1.1\r\nUser-Agent: Lavf/61.7.100\r\nAccept: */*\r\n\
    Connection: close\r\nHost: 127.0.0.1:8554\r\nx-sessioncookie: 5f3a9c2e01b7d846\r\n\
    Content-Type: application/x-rtsp-tunnelled\r\nPragma: no-cache\r\n\
    Cache-Control: no-cache\r\nContent-Length: 32767\r\n\
    Expires: Sun, 9 Jan 1972 00:00:00 GMT\r\n\r\nT1BUSU9OUw==";

fn request(bytes: &[u8]) -> (Request, BytesMut) {
    let (mut decoder, mut buffer) = (Decoder::new(), BytesMut::from(bytes));
    let Message::Request(request) = decoder.decode(&mut buffer).unwrap().unwrap() else {
        panic!("no request")
    };
    (request, buffer)
}

fn unwrap_cut(text: &[u8], cuts: &[usize]) -> (Bytes, Result<(), NotBase64>) {
    let (mut unwrapper, mut out, mut from) = (Unwrapper::new(), BytesMut::new(), 0);
    for to in cuts.iter().copied().chain([text.len()]) {
        let pushed = unwrapper.push(&text[from..to], &mut out);
        if pushed.is_err() {
            return (out.freeze(), pushed);
        }
        from = to;
    }
    (out.freeze(), Ok(()))
}

#[test]
fn a_post_is_read_at_every_split_point_and_its_made_up_length_is_not_waited_for() {
    for cut in 0..POST.len() {
        let (mut decoder, mut buffer) = (Decoder::new(), BytesMut::from(&POST[..cut]));
        let early = decoder.decode(&mut buffer).unwrap();
        buffer.put_slice(&POST[cut..]);
        let message = early.or_else(|| decoder.decode(&mut buffer).unwrap());
        let Some(Message::Request(request)) = message else { panic!("cut at {cut}") };
        let cookie = "5f3a9c2e01b7d846".to_owned();
        assert_eq!(Half::of(&request), Some(Half::Post { cookie }), "cut at {cut}");
        assert_eq!(&buffer[..], b"T1BUSU9OUw==", "cut at {cut}");
    }
}

#[test]
fn what_is_for_no_tunnel_is_none() {
    for text in [
        "GET / HTTP/1.1\r\nHost: nvr\r\n\r\n",
        "GET / HTTP/1.1\r\nx-sessioncookie: \r\n\r\n",
        "GET / HTTP/1.1\r\nx-sessioncookie: a b\r\n\r\n",
        "GET / RTSP/1.0\r\nx-sessioncookie: a\r\n\r\n",
        "PUT / HTTP/1.1\r\nx-sessioncookie: a\r\n\r\n",
    ] {
        assert_eq!(Half::of(&request(text.as_bytes()).0), None, "{text}");
    }
    let long = format!("GET / HTTP/1.1\r\nx-sessioncookie: {}\r\n\r\n", "a".repeat(COOKIE + 1));
    assert_eq!(Half::of(&request(long.as_bytes()).0), None);
    let get = "GET / HTTP/1.0\r\nX-SessionCookie: a\r\n\r\n";
    let cookie = "a".to_owned();
    assert_eq!(Half::of(&request(get.as_bytes()).0), Some(Half::Get { cookie }));
}

#[test]
fn http_is_told_from_rtsp_as_soon_as_it_can_be() {
    for (bytes, told) in [
        ("", None),
        ("G", None),
        ("GET", None),
        ("GET ", Some(true)),
        ("GET_PARAMETER", Some(false)),
        ("P", None),
        ("PLAY", Some(false)),
        ("POST", None),
        ("POST /", Some(true)),
        ("$", Some(false)),
        ("OPTIONS", Some(false)),
    ] {
        assert_eq!(begins_as_http(bytes.as_bytes()), told, "{bytes}");
    }
}

#[test]
fn the_answer_names_the_content_type() {
    assert!(ANSWER.contains(CONTENT_TYPE));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn messages_come_out_of_base64_at_whatever_points_it_is_cut(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5),
        blank in prop::sample::select(vec!["", "\r\n", " ", "\n\n"]),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let text: String = messages.iter().map(|m| STANDARD.encode(m) + blank).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        let (out, ended) = unwrap_cut(text.as_bytes(), &cuts);
        prop_assert_eq!(ended, Ok(()));
        prop_assert_eq!(out, messages.concat());
    }

    #[test]
    fn noise_gives_the_same_byte_by_byte_and_never_more_than_it_is(
        noise in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        const EYED: &[u8] = b"ABCDabcd0123+/==\r\n AZaz";
        let text: Vec<u8> = noise.iter().map(|&b| *EYED.get(usize::from(b >> 3)).unwrap_or(&b)).collect();
        let cuts: Vec<usize> = (0..text.len()).collect();
        let (out, ended) = unwrap_cut(&text, &cuts);
        prop_assert!(out.len() * 4 <= text.len() * 3);
        prop_assert_eq!(unwrap_cut(&text, &[]), (out, ended));
    }
}
