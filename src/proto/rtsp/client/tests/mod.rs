//! Transcripts with cameras, written by hand: what they send word by word, and what we make of it.

mod describing;
mod login;
mod lost;
mod talking;
mod tunnel;

use std::time::Duration;

use bytes::BytesMut;
use url::Url;
use zeroize::Zeroizing;

use super::{
    Carriage, Client, ClientError, Credentials, Event, Settings, address::Target,
    describe::Description,
};
use crate::proto::rtsp::{
    message::{Message, Request},
    parse::Decoder,
};

/// H.264 and G.711, described as it should be.
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=cam\r\nt=0 0\r\na=control:*\r\n\
    m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\n\
    m=audio 0 RTP/AVP 0\r\na=control:track2\r\n";

const PUBLIC: &str = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER";

/// A client on one side, and what a test says as the camera on the other.
struct Talk {
    client: Client,
    now: Duration,
    /// `CSeq` of what was asked last.
    cseq: u32,
}

impl Talk {
    fn with(url: &str) -> Self {
        Self::new(url, Some(("admin", "secret")))
    }

    fn new(url: &str, login: Option<(&str, &str)>) -> Self {
        let credentials = login.map(|(username, password)| Credentials {
            username: username.to_owned(),
            password: Zeroizing::new(password.to_owned()),
        });
        let target = Target::new(&Url::parse(url).expect("a URL")).expect("an RTSP address");
        let settings =
            Settings { target, credentials, user_agent: "test".to_owned(), random: [7; 16] };
        Self { client: Client::new(settings, Duration::ZERO), now: Duration::ZERO, cseq: 0 }
    }

    /// All that is to be sent.
    fn sent(&mut self) -> Vec<Message> {
        let (mut decoder, mut buffer) = (Decoder::new(), BytesMut::new());
        while let Some(bytes) = self.client.poll_transmit() {
            buffer.extend_from_slice(&bytes);
        }
        let mut sent = Vec::new();
        while let Some(message) = decoder.decode(&mut buffer).expect("well-formed") {
            sent.push(message);
        }
        assert!(buffer.is_empty());
        sent
    }

    /// The one request that is to be sent.
    fn asks(&mut self, method: &str) -> Request {
        let mut sent = self.sent();
        let Some(Message::Request(request)) = sent.pop() else {
            panic!("{method} was expected: {:?}", self.client.poll_event())
        };
        assert!(sent.is_empty(), "{sent:?}");
        assert_eq!(request.method.as_str(), method);
        self.cseq = request.cseq().expect("a CSeq");
        request
    }

    /// Bytes from the camera, `{cseq}` being that of the last request.
    fn says(&mut self, text: &str) {
        let text = text.replace("{cseq}", &self.cseq.to_string());
        let (mut decoder, mut buffer) = (Decoder::new(), BytesMut::from(text.as_bytes()));
        while let Some(message) = decoder.decode(&mut buffer).expect("well-formed") {
            self.client.handle_message(message, self.now);
        }
        assert!(buffer.is_empty(), "half a message");
    }

    /// Answers the last request.
    fn answers(&mut self, status: u16, headers: &[&str], body: &str) {
        let mut text = format!("RTSP/1.0 {status} X\r\nCSeq: {{cseq}}\r\n");
        for header in headers {
            text += &format!("{header}\r\n");
        }
        self.says(&format!("{text}Content-Length: {}\r\n\r\n{body}", body.len()));
    }

    fn event(&mut self) -> Event {
        self.client.poll_event().expect("an event")
    }

    fn failed(&mut self) -> ClientError {
        match self.event() {
            Event::Failed(error) => error,
            other => panic!("a failure was expected: {other:?}"),
        }
    }

    /// Goes on to the moment the client wants to be woken at.
    fn wait(&mut self) {
        self.now = self.client.poll_timeout().expect("something to wait for");
        self.client.handle_timeout(self.now);
    }

    fn asked_for_options(mut self) -> Self {
        self.asks("OPTIONS");
        self.answers(200, &[PUBLIC], "");
        self
    }

    fn described(self) -> Self {
        self.described_by(&["Content-Type: application/sdp"], SDP).0
    }

    fn described_by(mut self, headers: &[&str], sdp: &str) -> (Self, Description) {
        self = self.asked_for_options();
        self.asks("DESCRIBE");
        self.answers(200, headers, sdp);
        let Event::Described(description) = self.event() else { panic!("a description") };
        (self, description)
    }

    fn set_up(&mut self, media: usize, carriage: Carriage) -> Request {
        self.client.set_up(media, carriage, self.now);
        self.asks("SETUP")
    }

    /// Where a SETUP of the `media`th medium goes.
    fn uri_of(&mut self, media: usize) -> String {
        self.set_up(media, Carriage::Interleaved(0, 1)).uri
    }

    fn playing(self) -> Self {
        self.playing_with(&["Session: 7;timeout=60"], &[]).0
    }

    fn playing_with(mut self, set_up: &[&str], play: &[&str]) -> (Self, Event) {
        self = self.described();
        self.set_up(0, Carriage::Interleaved(0, 1));
        self.answers(200, set_up, "");
        assert!(matches!(self.event(), Event::SetUp { media: 0, .. }));
        self.client.play(self.now);
        self.asks("PLAY");
        self.answers(200, play, "");
        let playing = self.event();
        assert!(matches!(playing, Event::Playing(_)), "{playing:?}");
        (self, playing)
    }
}

#[test]
fn a_session_goes_from_options_to_teardown() {
    let mut talk = Talk::with("rtsp://cam:8554/live?a=b").described();
    assert_eq!(talk.uri_of(0), "rtsp://cam:8554/live?a=b/track1");
    talk.answers(
        200,
        &["Session: 7;timeout=30", "Transport: RTP/AVP/TCP;unicast;interleaved=4-5;ssrc=1F"],
        "",
    );
    let Event::SetUp { media: 0, agreed } = talk.event() else { panic!() };
    assert_eq!((agreed.channels, agreed.ssrc), (Some((4, 5)), Some(0x1f)));
    let request = talk.set_up(1, Carriage::Interleaved(2, 3));
    assert_eq!(request.headers.get("Session"), Some("7"));
    assert_eq!(request.headers.get("Transport"), Some("RTP/AVP/TCP;unicast;interleaved=2-3"));
    talk.answers(200, &["Session: 7"], "");
    let Event::SetUp { media: 1, agreed } = talk.event() else { panic!() };
    assert_eq!(agreed.channels, Some((2, 3)), "as asked, where the answer says nothing");

    talk.client.play(talk.now);
    let play = talk.asks("PLAY");
    assert_eq!(play.uri, "rtsp://cam:8554/live?a=b");
    talk.answers(200, &["RTP-Info: url=track1;seq=5;rtptime=900,url=track2;rtptime=80"], "");
    let Event::Playing(starts) = talk.event() else { panic!() };
    let starts: Vec<_> = starts.iter().map(|(media, start)| (*media, start.rtptime)).collect();
    assert_eq!(starts, [(0, Some(900)), (1, Some(80))]);

    talk.wait();
    assert_eq!(talk.now, Duration::from_secs(15), "half of the session's time-out");
    assert_eq!(talk.asks("OPTIONS").headers.get("Session"), Some("7"));
    talk.answers(200, &[], "");
    talk.client.tear_down(talk.now);
    talk.asks("TEARDOWN");
    talk.answers(200, &[], "");
    assert_eq!(talk.event(), Event::Ended { heard: true });
    assert_eq!(talk.client.poll_timeout(), None);
}

#[test]
fn udp_is_asked_for_with_our_ports_and_learns_the_cameras() {
    let mut talk = Talk::with("rtsp://cam/live").described();
    let request = talk.set_up(0, Carriage::Udp(6_000, 6_001));
    assert_eq!(request.headers.get("Transport"), Some("RTP/AVP;unicast;client_port=6000-6001"));
    talk.answers(
        200,
        &["Session: 7", "Transport: RTP/AVP/UDP;unicast;client_port=6000-6001;server_port=7000-7001;source=10.0.0.3"],
        "",
    );
    let Event::SetUp { agreed, .. } = talk.event() else { panic!() };
    assert_eq!(agreed.server_ports, Some((7_000, 7_001)));
    assert_eq!(agreed.source.as_deref(), Some("10.0.0.3"));
    assert_eq!(agreed.channels, None);
}

#[test]
fn a_refused_transport_may_be_asked_for_otherwise() {
    let mut talk = Talk::with("rtsp://cam/live").described();
    talk.set_up(0, Carriage::Interleaved(0, 1));
    talk.answers(461, &[], "");
    assert_eq!(talk.event(), Event::TransportRefused { media: 0 });
    talk.set_up(0, Carriage::Udp(6_000, 6_001));
    // Says yes, and means the connection.
    talk.answers(200, &["Session: 7", "Transport: RTP/AVP/TCP;interleaved=0-1"], "");
    assert_eq!(talk.event(), Event::TransportRefused { media: 0 });
    talk.set_up(0, Carriage::Interleaved(0, 1));
    talk.answers(200, &["Session: 7", "Transport: RTP/AVP;unicast;interleaved=0-1"], "");
    assert!(matches!(talk.event(), Event::SetUp { .. }), "the channels say what the name forgot");
}

#[test]
fn a_redirect_leads_there_and_takes_the_login_to_the_same_host_alone() {
    for (location, same, address) in [
        ("rtsp://cam:8554/other", true, "rtsp://cam:8554/other"),
        ("rtsp://elsewhere/live", false, "rtsp://elsewhere/live"),
        ("rtsp://cam@elsewhere/live", false, "rtsp://elsewhere/live"),
        ("rtsps://cam/live", true, "rtsps://cam/live"),
        ("/second", true, "rtsp://cam/second"),
    ] {
        let mut talk = Talk::with("rtsp://cam/live").asked_for_options();
        talk.asks("DESCRIBE");
        talk.answers(302, &[&format!("Location: {location}")], "");
        let Event::Redirected { target, same_host } = talk.event() else { panic!("{location}") };
        assert_eq!((target.address().as_str(), same_host), (address, same));
        assert_eq!(talk.client.poll_timeout(), None, "nothing more is said here");
    }
    let mut talk = Talk::with("rtsps://cam/live").asked_for_options();
    talk.asks("DESCRIBE");
    talk.answers(301, &["Location: rtsp://cam/live"], "");
    assert!(matches!(talk.event(), Event::Redirected { same_host: false, .. }), "in the clear");
    for location in ["http://cam/", "rtsp://", "rtsp:///x", ""] {
        let mut talk = Talk::with("rtsp://cam/live").asked_for_options();
        talk.asks("DESCRIBE");
        talk.answers(302, &[&format!("Location: {location}")], "");
        let status = 302;
        assert_eq!(talk.failed(), ClientError::Refused { method: "DESCRIBE", status });
    }
}

#[test]
fn every_refusal_is_named() {
    for status in [400, 403, 404, 453, 454, 500, 503] {
        let mut talk = Talk::with("rtsp://cam/live").asked_for_options();
        talk.asks("DESCRIBE");
        talk.answers(status, &[], "");
        assert_eq!(talk.failed(), ClientError::Refused { method: "DESCRIBE", status });
    }
}

#[test]
fn every_request_has_a_time_out() {
    let mut options = Talk::with("rtsp://cam/live");
    let describe = Talk::with("rtsp://cam/live").asked_for_options();
    let mut setup = Talk::with("rtsp://cam/live").described();
    setup.client.set_up(0, Carriage::Interleaved(0, 1), setup.now);
    let mut play = Talk::with("rtsp://cam/live").described();
    play.client.play(play.now);
    options.now = Duration::ZERO;
    for (mut talk, name) in
        [(options, "OPTIONS"), (describe, "DESCRIBE"), (setup, "SETUP"), (play, "PLAY")]
    {
        talk.wait();
        let ClientError::NoAnswer { method, within } = talk.failed() else { panic!("{name}") };
        assert_eq!((method, within), (name, talk.now));
    }
    let mut talk = Talk::with("rtsp://cam/live").playing();
    talk.client.tear_down(talk.now);
    talk.wait();
    assert_eq!(talk.event(), Event::Ended { heard: false });
}

#[test]
fn a_refused_options_is_no_refusal() {
    let mut talk = Talk::with("rtsp://cam/live");
    talk.asks("OPTIONS");
    talk.answers(501, &[], "");
    talk.asks("DESCRIBE");
}
