use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::*;

/// Everything in `bytes`, handed over in pieces that end at `cuts`, and what stopped it.
fn decode_cut(bytes: &[u8], cuts: &[usize]) -> (Vec<Message>, Option<DecodeError>) {
    let mut decoder = Decoder::new();
    let (mut buf, mut messages, mut from) = (BytesMut::new(), Vec::new(), 0);
    for to in cuts.iter().copied().chain([bytes.len()]) {
        buf.put_slice(&bytes[from..to]);
        from = to;
        loop {
            match decoder.decode(&mut buf) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
    }
    (messages, None)
}

fn decode(bytes: &[u8]) -> (Vec<Message>, Option<DecodeError>) {
    decode_cut(bytes, &[])
}

#[track_caller]
fn request(bytes: &[u8]) -> Request {
    match decode(bytes) {
        (mut messages, None) if messages.len() == 1 => match messages.remove(0) {
            Message::Request(request) => request,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn fault(bytes: &[u8]) -> (Fault, Option<u32>) {
    let error = decode(bytes).1.expect("must not decode");
    (error.fault, error.cseq)
}

// As VLC 3.0.24 sent it, with the interleaved frames and the next request behind it.
const DIALOGUE: &[u8] = b"OPTIONS rtsp://10.0.0.1:8554/door RTSP/1.0\r\n\
CSeq: 2\r\nUser-Agent: LibVLC/3.0.24 (LIVE555 Streaming Media v2016.11.28)\r\n\r\n\
SETUP rtsp://10.0.0.1:8554/door/trackID=0 RTSP/1.0\r\nCSeq: 4\r\n\
Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n\
$\x01\x00\x08\x80\xc9\x00\x01\x0d\x0a\x0d\x0a\
\r\n$\x00\x00\x00\
SET_PARAMETER rtsp://10.0.0.1:8554/door RTSP/1.0\nCSeq : 5\n\
Content-type: text/parameters\n  ;charset=utf-8\ncontent-length:\t12\n\nposition: 3\n\
RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_dialogue_of_pipelined_requests_frames_and_a_response_is_read_in_order() {
    let (messages, error) = decode(DIALOGUE);
    assert_eq!(error, None);
    let [
        Message::Request(options),
        Message::Request(setup),
        Message::Data(rtcp),
        Message::Data(empty),
        Message::Request(set),
        Message::Response(response),
    ] = &messages[..]
    else {
        panic!("{messages:?}")
    };
    assert_eq!((&options.method, options.cseq()), (&Method::Options, Some(2)));
    assert_eq!(setup.headers.get("TRANSPORT"), Some("RTP/AVP/TCP;unicast;interleaved=0-1"));
    assert_eq!(rtcp.channel, 1);
    assert_eq!(rtcp.payload, &b"\x80\xc9\x00\x01\x0d\x0a\x0d\x0a"[..]);
    assert_eq!((empty.channel, empty.payload.len()), (0, 0));
    assert_eq!(set.headers.get("Content-Type"), Some("text/parameters ;charset=utf-8"));
    assert_eq!((set.cseq(), &set.body[..]), (Some(5), &b"position: 3\n"[..]));
    assert_eq!((response.status, response.reason.as_str()), (Status::OK, "OK"));
    assert_eq!(&response.body[..], b"ok");
}

#[test]
fn a_frames_payload_is_not_copied() {
    let mut buf = BytesMut::from(&b"$\x00\x00\x04abcd"[..]);
    let at = buf[4..].as_ptr();
    let Ok(Some(Message::Data(frame))) = Decoder::new().decode(&mut buf) else { panic!() };
    assert_eq!(frame.payload.as_ptr(), at);
}

#[test]
fn byte_by_byte_gives_what_the_whole_gives() {
    let cuts: Vec<usize> = (0..DIALOGUE.len()).collect();
    assert_eq!(decode_cut(DIALOGUE, &cuts), decode(DIALOGUE));
}

#[test]
fn every_single_split_point_gives_the_same() {
    let whole = decode(DIALOGUE);
    for cut in 0..DIALOGUE.len() {
        assert_eq!(decode_cut(DIALOGUE, &[cut]), whole, "cut at {cut}");
    }
}

#[test]
fn an_unknown_method_and_a_foreign_version_are_kept_as_written() {
    let r = request(b"FLY rtsp://h/x RTSP/2.0\r\nCSeq: 1\r\n\r\n");
    assert_eq!(r.method, Method::Other("FLY".into()));
    assert_eq!((r.method.as_str(), r.method.label()), ("FLY", "other"));
    assert_eq!(r.version, Version::Other("RTSP/2.0".into()));
    let r = request(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((r.cseq(), r.version), (None, Version::Other("HTTP/1.1".into())));
    // Methods are case-sensitive.
    assert_eq!(request(b"play rtsp://h/x RTSP/1.0\r\n\r\n").method, Method::Other("play".into()));
}

#[test]
fn blanks_inside_a_uri_belong_to_it() {
    assert_eq!(request(b"PLAY  rtsp://h/a b  RTSP/1.0 \r\nCSeq:1\r\n\r\n").uri, "rtsp://h/a b");
}

#[test]
fn a_malformed_message_is_reported_with_the_cseq_that_follows() {
    let bad_line = b"PLAY rtsp://h/x RTSP/1.0\r\nno colon here\r\nCSeq: 77\r\n\r\n";
    assert_eq!(fault(bad_line), (Fault::HeaderLine, Some(77)));
    let no_version = b"PLAY rtsp://h/x\r\nCSeq: 8\r\n\r\n";
    assert_eq!(fault(no_version), (Fault::StartLine, Some(8)));
    assert_eq!(fault(b"garbage\r\n\r\n"), (Fault::StartLine, None));
    assert_eq!(fault(b"RTSP/1.0 2000 OK\r\n\r\n"), (Fault::StartLine, None));
    assert_eq!(fault(b"RTSP/1.0 +20 OK\r\n\r\n"), (Fault::StartLine, None));
    for line in [": v", "a b: v", "x\x00y: v", " fold of nothing", "a: b\rc"] {
        let text = format!("PLAY * RTSP/1.0\r\n{line}\r\nCSeq: 3\r\n\r\n");
        assert_eq!(fault(text.as_bytes()), (Fault::HeaderLine, Some(3)), "{line:?}");
    }
}

#[test]
fn a_start_line_that_is_no_text_fails_at_once() {
    assert_eq!(fault(b"\x16\x03\x01\x02\x00\n"), (Fault::StartLine, None));
    assert_eq!(fault(b"\xff\xfe /x RTSP/1.0\n"), (Fault::StartLine, None));
}

#[test]
fn an_error_stays() {
    let mut buf = BytesMut::from(&b"garbage\r\n\r\nOPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n"[..]);
    let mut decoder = Decoder::new();
    let first = decoder.decode(&mut buf).expect_err("garbage");
    assert_eq!(decoder.decode(&mut buf), Err(first.clone()));
    assert_eq!(first.status(), Status::BAD_REQUEST);
    assert!(!decoder.mid_message());
}

#[test]
fn a_content_length_must_be_one_number() {
    let with = |fields: &str| format!("ANNOUNCE * RTSP/1.0\r\nCSeq: 9\r\n{fields}\r\n\r\nabcdef");
    for fields in
        ["Content-Length: x", "Content-Length:", "Content-Length: -1", "Content-Length: +3"]
    {
        assert_eq!(fault(with(fields).as_bytes()), (Fault::ContentLength, Some(9)), "{fields}");
    }
    let differing = with("Content-Length: 3\r\ncontent-length: 4");
    assert_eq!(fault(differing.as_bytes()), (Fault::ContentLength, Some(9)));
    let same = with("Content-Length: 6\r\ncontent-length: 6");
    assert_eq!(&request(same.as_bytes()).body[..], b"abcdef");
}

#[test]
fn a_body_is_bounded_before_it_comes() {
    let text = |n: &str| format!("ANNOUNCE * RTSP/1.0\r\nCSeq: 9\r\nContent-Length: {n}\r\n\r\n");
    let over = (limits::BODY + 1).to_string();
    for n in [over.as_str(), "99999999999999999999999999"] {
        let error = decode(text(n).as_bytes()).1.expect("too large");
        assert_eq!((error.fault, error.cseq), (Fault::BodyTooLarge, Some(9)));
        assert_eq!(error.status(), Status::REQUEST_ENTITY_TOO_LARGE);
    }
    let mut full = text(&limits::BODY.to_string()).into_bytes();
    full.resize(full.len() + limits::BODY, b'x');
    assert_eq!(request(&full).body.len(), limits::BODY);
}

#[test]
fn a_line_may_be_as_long_as_its_limit_and_no_longer() {
    for end in ["\n", "\r\n"] {
        let uri_at = |line: usize| "u".repeat(line - "PLAY  RTSP/1.0".len());
        let text = |line| format!("PLAY {} RTSP/1.0{end}CSeq: 1{end}{end}", uri_at(line));
        assert_eq!(request(text(limits::LINE).as_bytes()).cseq(), Some(1));
        let long = text(limits::LINE + 1);
        assert_eq!(fault(long.as_bytes()), (Fault::StartLineTooLong, None));
        let cuts: Vec<usize> = (0..long.len()).collect();
        assert_eq!(decode_cut(long.as_bytes(), &cuts), decode(long.as_bytes()));

        let header = |line: usize| format!("a: {}", "v".repeat(line - 3));
        let text = |line| format!("PLAY * RTSP/1.0{end}CSeq: 1{end}{}{end}{end}", header(line));
        assert_eq!(request(text(limits::LINE).as_bytes()).headers.len(), 2);
        let long = text(limits::LINE + 1);
        assert_eq!(fault(long.as_bytes()), (Fault::HeaderLineTooLong, Some(1)));
    }
}

#[test]
fn an_endless_line_fails_when_it_passes_the_limit_not_later() {
    let mut decoder = Decoder::new();
    let mut buf = BytesMut::new();
    let mut given = 0;
    while decoder.decode(&mut buf).is_ok() {
        buf.put_u8(b'x');
        given += 1;
        assert!(given <= limits::LINE + 2);
    }
}

#[test]
fn headers_are_bounded_in_number_and_in_bytes() {
    let many = |n: usize| format!("PLAY * RTSP/1.0\r\nCSeq: 1\r\n{}\r\n", "a: b\r\n".repeat(n));
    assert_eq!(request(many(limits::HEADERS - 1).as_bytes()).headers.len(), limits::HEADERS);
    // A folded line is no further field.
    let folded = format!("PLAY * RTSP/1.0\r\n{} c\r\n\r\n", "a: b\r\n".repeat(limits::HEADERS));
    let last = request(folded.as_bytes()).headers;
    assert_eq!((last.len(), last.iter().last()), (limits::HEADERS, Some(("a", "b c"))));
    let over = fault(many(limits::HEADERS).as_bytes());
    assert_eq!(over, (Fault::TooManyHeaders, Some(1)));

    let line = format!("a: {}\r\n", "v".repeat(limits::LINE - 3));
    let large = format!("PLAY * RTSP/1.0\r\nCSeq: 1\r\n{}\r\n", line.repeat(8));
    assert_eq!(fault(large.as_bytes()), (Fault::HeadTooLarge, Some(1)));
    // Folded lines are no way around.
    let folded = format!("PLAY * RTSP/1.0\r\nCSeq: 1\r\n{}", " vvvvvvv\r\n".repeat(9_000));
    assert_eq!(fault(folded.as_bytes()), (Fault::HeadTooLarge, None));
}

#[test]
fn the_clock_for_a_complete_header_runs_only_inside_a_message() {
    let mut decoder = Decoder::new();
    let mut buf = BytesMut::new();
    let mut after = |more: &[u8]| {
        buf.put_slice(more);
        while let Ok(Some(_)) = decoder.decode(&mut buf) {}
        decoder.mid_message()
    };
    assert!(!after(b""));
    assert!(!after(b"\r\n\r\n"));
    assert!(!after(b"$\x00\x00\x02a"));
    assert!(!after(b"b"));
    assert!(after(b"OPT"));
    assert!(after(b"IONS * RTSP/1.0\r\n"));
    assert!(after(b"Content-Length: 2\r\n\r\n1"));
    assert!(!after(b"2"));
}

#[test]
fn text_that_was_not_ours_cannot_become_a_header_of_ours() {
    let mut out = BytesMut::new();
    Response::to(Some(1), Status::OPTION_NOT_SUPPORTED)
        .header("Unsupported", "a\r\nSession: 1")
        .write(&mut out);
    assert_eq!(
        &out[..],
        b"RTSP/1.0 551 Option Not Supported\r\nCSeq: 1\r\nUnsupported: a  Session: 1\r\n\r\n"
    );
}

#[test]
fn credentials_are_not_in_debug_output() {
    let request = Request::new(Method::Play, "*", 1).header("authorization", "Basic dTpw");
    let debug = format!("{request:?}");
    assert!(debug.contains("authorization") && !debug.contains("dTpw"), "{debug}");
}

fn text() -> impl Strategy<Value = String> {
    "[!-~]([ -~]{0,30}[!-~])?"
}

fn headers() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec(("X-[A-Za-z][A-Za-z-]{0,10}", text()), 0..6)
}

fn message() -> impl Strategy<Value = Message> {
    let body = prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    let request = ("[A-Z_]{1,12}", "rtsp://[!-~]{1,30}", any::<u32>(), headers(), body.clone())
        .prop_map(|(method, uri, cseq, headers, body)| {
            let mut request = Request::new(Method::from_name(&method), uri, cseq);
            for (name, value) in headers {
                request.headers.push(name, value);
            }
            request.body = body;
            Message::Request(request)
        });
    let response = (100_u16..=999, text(), headers(), body.clone()).prop_map(
        |(status, reason, headers, body)| {
            let status = Status::from_u16(status).expect("in range");
            let mut response = Response::to(Some(7), status);
            response.reason = reason;
            for (name, value) in headers {
                response.headers.push(name, value);
            }
            response.body = body;
            Message::Response(response)
        },
    );
    let data = (any::<u8>(), body)
        .prop_map(|(channel, payload)| Message::Data(InterleavedFrame { channel, payload }));
    prop_oneof![request, response, data]
}

fn write(messages: &[Message]) -> BytesMut {
    let mut out = BytesMut::new();
    for message in messages {
        match message {
            Message::Request(r) => r.write(&mut out),
            Message::Response(r) => r.write(&mut out),
            Message::Data(f) => {
                out.put_slice(&InterleavedFrame::header(f.channel, f.payload.len() as u16));
                out.put_slice(&f.payload);
            }
        }
    }
    out
}

/// `Content-Length` is the writer's own.
fn without_length(mut messages: Vec<Message>) -> Vec<Message> {
    for message in &mut messages {
        let headers = match message {
            Message::Request(r) => &mut r.headers,
            Message::Response(r) => &mut r.headers,
            Message::Data(_) => continue,
        };
        let mut kept = Headers::new();
        for (name, value) in headers.iter().filter(|(n, _)| *n != "Content-Length") {
            kept.push(name, value);
        }
        *headers = kept;
    }
    messages
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn what_is_written_is_read_again_at_whatever_points_it_is_cut(
        messages in prop::collection::vec(message(), 0..4),
        mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let bytes = write(&messages);
        let mut cuts: Vec<usize> = cuts.drain(..).map(|c| c.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let (read, error) = decode_cut(&bytes, &cuts);
        prop_assert_eq!(error, None);
        prop_assert_eq!(without_length(read), messages);
    }

    #[test]
    fn damaged_bytes_give_the_same_at_whatever_points_they_are_cut(
        messages in prop::collection::vec(message(), 1..3),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut bytes = write(&messages);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut cuts: Vec<usize> = cuts.drain(..).map(|c| c.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(decode_cut(&bytes, &cuts), decode(&bytes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn line_noise_gives_the_same_byte_by_byte(
        noise in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        // Mostly what the parser has an eye for.
        const EYED: &[u8] = b"\r\n\n: $A/1 RTSP/1.0\r\n";
        let bytes: Vec<u8> = noise.iter().map(|&b| *EYED.get(usize::from(b >> 3)).unwrap_or(&b)).collect();
        let cuts: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(decode_cut(&bytes, &cuts), decode(&bytes));
    }
}
