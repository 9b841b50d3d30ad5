//! Sessions that another connection left behind.

use super::*;
use crate::proto::rtsp::client::describe::keeps_dead_sessions;

#[test]
fn live555_older_than_2017_06_04_leaves_stale_tcp_sessions() {
    for (software, keeps) in [
        ("LIVE555 Streaming Media v2013.04.06", true),
        ("Server LIVE555 Streaming Media v2017.06.03", true),
        ("LIVE555 Streaming Media v2017.06.04", false),
        ("LIVE555 Streaming Media v2023.11.30", false),
        ("LIVE555 Streaming Media", false),
        ("GStreamer RTSP server", false),
        ("v2013.04.06", false),
    ] {
        assert_eq!(keeps_dead_sessions(software), keeps, "{software}");
    }
    let sdp = format!("{SDP}a=tool:none of the session's\r\n");
    let sdp = sdp.replacen("a=control:*", "a=tool:LIVE555 Streaming Media v2014.01.13", 1);
    let (talk, _) = Talk::with("rtsp://cam/live").described_by(&["Server: cam"], &sdp);
    assert!(talk.client.keeps_dead_sessions());
    let headers = ["Server: LIVE555 Streaming Media v2014.01.13"];
    assert!(
        Talk::with("rtsp://cam/live").described_by(&headers, SDP).0.client.keeps_dead_sessions()
    );
}

#[test]
fn a_session_left_behind_is_torn_down_before_the_next_setup() {
    for status in [200, 454, 500] {
        let mut talk = Talk::with("rtsp://cam/live").described();
        talk.client.bury("old", talk.now);
        assert_eq!(talk.asks("TEARDOWN").headers.get("Session"), Some("old"));
        talk.answers(status, &[], "");
        assert_eq!(talk.event(), Event::Buried { heard: true });
        assert_eq!(talk.set_up(0, Carriage::Interleaved(0, 1)).headers.get("Session"), None);
    }
    let mut talk = Talk::with("rtsp://cam/live").described();
    talk.client.bury("old", talk.now);
    talk.asks("TEARDOWN");
    talk.wait();
    assert_eq!(talk.event(), Event::Buried { heard: false });
    talk.set_up(0, Carriage::Interleaved(0, 1));
}

#[test]
fn a_good_bye_without_a_session_is_not_sent() {
    let mut talk = Talk::with("rtsp://cam/live").described();
    talk.client.tear_down(talk.now);
    assert_eq!(talk.event(), Event::Ended { heard: false });
    assert!(talk.sent().is_empty());
}

#[test]
fn a_session_limit_of_one_or_two_clients_is_told_as_the_refusal_it_is() {
    for status in [453, 503] {
        let mut talk = Talk::with("rtsp://cam/live").described();
        talk.set_up(0, Carriage::Interleaved(0, 1));
        talk.answers(status, &[], "");
        assert_eq!(talk.failed(), ClientError::Refused { method: "SETUP", status });
    }
}
