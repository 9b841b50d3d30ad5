//! CAMERAS, "Talking RTSP".

use super::*;
use crate::proto::rtsp::message::Status;

#[test]
fn session_id_that_changes_between_setups() {
    let mut talk = Talk::with("rtsp://cam/live").described();
    talk.set_up(0, Carriage::Interleaved(0, 1));
    talk.answers(200, &["Session: 1"], "");
    talk.event();
    talk.set_up(1, Carriage::Interleaved(2, 3));
    talk.answers(200, &["Session: 2"], "");
    assert!(matches!(talk.event(), Event::SetUp { media: 1, .. }));
    talk.client.play(talk.now);
    assert_eq!(talk.asks("PLAY").headers.get("Session"), Some("1"), "one session, the first");
}

#[test]
fn session_with_parameters_behind_its_timeout() {
    for (value, id, seconds) in [
        ("x;timeout=60;foo=1", "x", 60),
        ("x ; timeout = 20", "x", 20),
        ("x;foo;TIMEOUT=10;", "x", 10),
        ("x;timeout=0", "x", 60),
        ("x;timeout=abc", "x", 60),
        ("x;timeout=86400", "x", 60),
    ] {
        let (talk, _) =
            Talk::with("rtsp://cam/live").playing_with(&[&format!("Session: {value}")], &[]);
        let session = talk.client.session().expect("a session");
        assert_eq!((session.id.as_str(), session.timeout.as_secs()), (id, seconds), "{value}");
    }
}

#[test]
fn whitespace_or_odd_order_in_the_transport() {
    for (transport, channels, ssrc) in [
        ("RTP/AVP/TCP; interleaved=4-5 ; ssrc = 0A0B0C0D", (4, 5), Some(0x0a0b_0c0d)),
        ("RTP/AVP/TCP;ssrc=  4D2;interleaved = 4 - 5;unicast", (4, 5), Some(0x4d2)),
        ("rtp/avp/tcp;UNICAST;Interleaved=4;ssrc=", (4, 5), None),
        ("RTP/AVP/TCP;unicast;interleaved=4-5;ssrc=not hexadecimal", (4, 5), None),
        // Of no use at all: as we asked.
        ("RTP/AVP/TCP;unicast;interleaved=a-b", (0, 1), None),
        ("", (0, 1), None),
    ] {
        let mut talk = Talk::with("rtsp://cam/live").described();
        talk.set_up(0, Carriage::Interleaved(0, 1));
        talk.answers(200, &["Session: 7", &format!("Transport: {transport}")], "");
        let Event::SetUp { agreed, .. } = talk.event() else { panic!("{transport}") };
        assert_eq!((agreed.channels, agreed.ssrc), (Some(channels), ssrc), "{transport}");
    }
}

#[test]
fn rtp_info_with_a_trailing_semicolon_or_nonsense() {
    for (info, rtptime) in [
        ("url=rtsp://cam/live/track1;seq=1;rtptime=5;", Some(5)),
        ("url=rtsp://10.0.0.9:554/live/track1;seq=0;rtptime=0", Some(0)),
        (" URL = track1 ; rtptime = 5 ; ", Some(5)),
        ("seq=5;rtptime=7", Some(7)),
        ("url=track2;rtptime=9,url=track1;rtptime=5", Some(5)),
        ("url=track1;seq=65536;rtptime=4294967296", None),
        ("url=track1;rtptime=-1", None),
        ("url=track1;rtptime=", None),
        (";;,,=,", None),
    ] {
        let headers = [&*format!("RTP-Info: {info}")];
        let (_, playing) = Talk::with("rtsp://cam/live").playing_with(&["Session: 7"], &headers);
        let Event::Playing(starts) = playing else { panic!() };
        assert_eq!(starts.len(), 1);
        assert_eq!(starts[0].1.rtptime, rtptime, "{info}");
    }
}

#[test]
fn crlf_before_a_dollar_and_data_on_channels_never_assigned() {
    // The messages on either side are found; the data is not ours to look at.
    let mut talk = Talk::with("rtsp://cam/live").asked_for_options();
    talk.asks("DESCRIBE");
    talk.says("\r\n$\u{9}\u{0}\u{3}abc\r\n\r\n$\u{7}\u{0}\u{0}");
    talk.answers(200, &[], SDP);
    assert!(matches!(talk.event(), Event::Described(_)));
}

#[test]
fn rtp_before_the_play_reply() {
    let mut talk = Talk::with("rtsp://cam/live").described();
    talk.set_up(0, Carriage::Interleaved(0, 1));
    talk.answers(200, &["Session: 7"], "");
    talk.event();
    talk.client.play(talk.now);
    talk.asks("PLAY");
    talk.says("$\u{0}\u{0}\u{3}abc");
    assert_eq!(talk.client.poll_event(), None);
    talk.answers(200, &[], "");
    assert!(matches!(talk.event(), Event::Playing(_)));
}

#[test]
fn keep_alive_is_options_at_half_the_timeout() {
    let (mut talk, _) = Talk::with("rtsp://cam/live").playing_with(&["Session: 7;timeout=20"], &[]);
    for nth in 1..4 {
        talk.wait();
        assert_eq!(talk.now, Duration::from_secs(10 * nth));
        talk.asks("OPTIONS");
        talk.answers(200, &[], "");
    }
}

#[test]
fn keep_alive_refused_for_one_method_but_taken_for_the_other() {
    let mut talk = Talk::with("rtsp://cam/live").playing();
    talk.wait();
    talk.asks("OPTIONS");
    talk.answers(551, &[], "");
    talk.wait();
    talk.asks("GET_PARAMETER");
    talk.answers(200, &[], "");
    talk.wait();
    talk.asks("GET_PARAMETER");
    talk.answers(405, &[], "");
    talk.wait();
    talk.asks("OPTIONS");
    assert_eq!(talk.client.poll_event(), None, "no refusal ends what still sends");
}

#[test]
fn a_keep_alive_without_an_answer_ends_nothing() {
    let mut talk = Talk::with("rtsp://cam/live").playing();
    for _ in 0..10 {
        talk.wait();
    }
    assert_eq!(talk.client.poll_event(), None);
    assert!(talk.sent().len() >= 5);
}

#[test]
fn a_session_the_camera_forgot_is_over() {
    let mut talk = Talk::with("rtsp://cam/live").playing();
    talk.wait();
    talk.asks("OPTIONS");
    talk.answers(454, &[], "");
    assert_eq!(talk.failed(), ClientError::Refused { method: "OPTIONS", status: 454 });
}

#[test]
fn requests_of_the_camera_are_answered() {
    for (method, status) in [
        ("OPTIONS", Status::OK),
        ("GET_PARAMETER", Status::OK),
        ("SET_PARAMETER", Status::OK),
        ("ANNOUNCE", Status::OK),
        ("REDIRECT", Status::OK),
        ("TEARDOWN", Status::OK),
        ("PLAY", Status::NOT_IMPLEMENTED),
        ("FROBNICATE", Status::NOT_IMPLEMENTED),
    ] {
        let mut talk = Talk::with("rtsp://cam/live").playing();
        talk.says(&format!("{method} rtsp://cam/live RTSP/1.0\r\nCSeq: 812\r\n\r\n"));
        let sent = talk.sent();
        let [Message::Response(response)] = &sent[..] else { panic!("{method}") };
        assert_eq!((response.status, response.cseq()), (status, Some(812)), "{method}");
        match method {
            "REDIRECT" | "TEARDOWN" => assert!(matches!(talk.failed(), ClientError::Closed(_))),
            _ => assert_eq!(talk.client.poll_event(), None),
        }
    }
}

#[test]
fn a_camera_that_asks_without_reading_the_answers_is_given_up() {
    let mut talk = Talk::with("rtsp://cam/live").playing();
    for cseq in 0..1_000 {
        talk.says(&format!("OPTIONS * RTSP/1.0\r\nCSeq: {cseq}\r\n\r\n"));
    }
    assert!(matches!(talk.failed(), ClientError::Protocol(_)));
    assert!(talk.sent().len() <= super::super::limits::TRANSMITS);
}

#[test]
fn answers_are_matched_by_their_number() {
    let mut talk = Talk::with("rtsp://cam/live").asked_for_options();
    talk.asks("DESCRIBE");
    talk.says("RTSP/1.0 404 No\r\nCSeq: 77\r\n\r\n");
    talk.says("RTSP/1.0 100 Continue\r\nCSeq: {cseq}\r\n\r\n");
    assert_eq!(talk.client.poll_event(), None, "to what nobody asked; and not yet");
    talk.says(&format!("RTSP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{SDP}", SDP.len()));
    assert!(matches!(talk.event(), Event::Described(_)), "without a number: to what was asked");
}

#[test]
fn nothing_is_said_after_the_end() {
    let mut talk = Talk::with("rtsp://cam/live").playing();
    talk.says("TEARDOWN rtsp://cam/live RTSP/1.0\r\nCSeq: 1\r\n\r\n");
    talk.failed();
    talk.sent();
    talk.says("OPTIONS * RTSP/1.0\r\nCSeq: 2\r\n\r\n");
    talk.client.tear_down(talk.now);
    talk.client.play(talk.now);
    assert!(talk.sent().is_empty());
    assert_eq!((talk.client.poll_event(), talk.client.poll_timeout()), (None, None));
}
