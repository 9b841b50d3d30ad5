//! Dialogues: what players send (as captured from VLC, ffmpeg, mpv and GStreamer), and what they
//! must be told.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use super::*;
use crate::proto::{
    access_unit::Track,
    codec::{Parameters, g711},
    rtsp::{headers::RtpInfo, message::Message, parse::Decoder},
    time::{Timescale, WallSpan, WallTime},
};
use bytes::BytesMut;

const TIMEOUT: Duration = Duration::from_secs(60);
const CLIP: &str = "rtsp://nvr:8554/door/recording/~tok/";

fn tracks(count: usize) -> Tracks {
    let law = g711::Parameters { law: g711::Law::A, sample_rate: 8_000, channels: 1 };
    let track =
        Track { timescale: Timescale::new(8_000).unwrap(), parameters: Parameters::G711(law) };
    vec![track; count].into()
}

/// A client, a machine, and an outside that says yes.
struct Talk {
    machine: Connection<&'static str>,
    now: Instant,
    cseq: u32,
    session: Option<String>,
    /// Outputs other than answers, as they came.
    seen: Vec<String>,
    answers: Vec<Response>,
    live: bool,
    refuse: Option<Refusal>,
}

impl Talk {
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn new() -> Self {
        let now = Instant::now();
        Self {
            machine: Connection::new(
                now,
                Settings { timeout: TIMEOUT, udp: true, multicast: false },
            ),
            now,
            cseq: 1,
            session: None,
            seen: Vec::new(),
            answers: Vec::new(),
            live: false,
            refuse: None,
        }
    }

    /// `VERB url`, then header lines; `Session` is added once there is one.
    fn request(&mut self, text: &str) -> Request {
        self.cseq += 1;
        let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
        let session = match &self.session {
            Some(id) if !rest.contains("Session:") => format!("Session: {id}\n"),
            _ => String::new(),
        };
        let head = format!("{first} RTSP/1.0\nCSeq: {}\n{session}{rest}", self.cseq);
        let lines: Vec<_> = head.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        let mut bytes = BytesMut::from(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes());
        match Decoder::new().decode(&mut bytes).unwrap().unwrap() {
            Message::Request(request) => request,
            other => panic!("{other:?}"),
        }
    }

    fn send(&mut self, text: &str) -> Response {
        let request = self.request(text);
        self.machine.handle_request(self.now, request);
        self.drain();
        self.answers.pop().expect("an answer")
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Respond { response, .. } => {
                    if let Some(session) = response.headers.get("Session") {
                        self.session = session.split(';').next().map(str::to_owned);
                    }
                    self.seen.push(format!("{}", response.status));
                    self.answers.push(response);
                }
                Output::Release { .. } => self.seen.push("release".to_owned()),
                Output::Mute { track, .. } => self.seen.push(format!("mute {}", track.0)),
                Output::Stop { .. } => self.seen.push("stop".to_owned()),
                Output::Unpublish { parting } => self.seen.push(format!("{parting:?}")),
                Output::Close => self.seen.push("close".to_owned()),
                Output::Ask(question) => self.outside(question),
            }
        }
    }

    fn outside(&mut self, question: Question<&'static str>) {
        let now = self.now;
        if let Some(refusal) = self.refuse.clone() {
            self.seen.push("refused".to_owned());
            match question {
                Question::Describe { .. } => self.machine.handle_described(now, Err(refusal)),
                Question::SetUp { .. } => self.machine.handle_set_up(now, Err(refusal)),
                Question::Start { .. } => self.machine.handle_started(now, Err(refusal)),
                Question::Adopt { .. } => self.machine.handle_adopted(now, Err(refusal)),
                Question::Pause { .. } => self.machine.handle_paused(now),
                Question::Announce { .. } => self.machine.handle_announced(now, Err(refusal)),
                Question::Admit { .. } => self.machine.handle_admitted(now, Err(refusal)),
                Question::Record { .. } => self.machine.handle_recording(now, Err(refusal)),
            }
            return;
        }
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        match question {
            Question::Announce { .. } => self.machine.handle_announced(now, Ok([7; 16])),
            Question::Admit { media, .. } => {
                self.seen.push(format!("media {media}"));
                let admitted = Admitted { address, server_port: None };
                self.machine.handle_admitted(now, Ok(admitted));
            }
            Question::Record { .. } => self.machine.handle_recording(now, Ok(())),
            Question::Describe { .. } => {
                let (start, length) = (WallTime::from_micros(0), WallSpan::from_secs(120));
                let recorded = sdp::Extent::Recorded { start, end: start + length, length };
                let described = Described {
                    name: "Door".to_owned(),
                    id: 7,
                    version: 1,
                    address,
                    tracks: tracks(2),
                    extent: if self.live { sdp::Extent::Live } else { recorded },
                    token: (!self.live).then(|| "tok".to_owned()),
                };
                self.machine.handle_described(now, Ok(described));
            }
            Question::SetUp { place, carrier, .. } => {
                self.seen.push(format!("{carrier:?}"));
                let udp = matches!(carrier, Carrier::Udp { .. });
                let set_up = SetUp {
                    resource: "door",
                    random: [9; 16],
                    track: place.track.unwrap_or(TrackIndex(0)),
                    ssrc: 0xabcd,
                    address,
                    server_port: udp.then_some((40_000, 40_001)),
                    group: None,
                };
                self.machine.handle_set_up(now, Ok(set_up));
            }
            Question::Start { wish, tracks, .. } => {
                self.seen.push(format!("start {:?} {:?}", wish.start, wish.end));
                let from = match wish.start {
                    Some(Spot::Npt(npt)) => npt,
                    _ => WallSpan::from_secs(33),
                };
                let recorded = Extent::Recorded {
                    npt: (from, WallSpan::from_secs(120)),
                    wall: (WallTime::from_micros(0) + from, WallTime::from_micros(120_000_000)),
                };
                let now_at = WallTime::from_micros(5_000_000);
                let extent = if self.live { Extent::Live { now: now_at } } else { recorded };
                // The other way round than in the SDP, to see it put right.
                let tracks = tracks
                    .iter()
                    .rev()
                    .map(|track| FirstPacket { track: *track, sequence: 10, timestamp: 20 })
                    .collect();
                let scale = wish.manner.scale.unwrap_or(1.0);
                let speed = wish.manner.speed.unwrap_or(1.0);
                self.machine.handle_started(now, Ok(Started { extent, tracks, scale, speed }));
            }
            Question::Pause { .. } => {
                self.seen.push("pause".to_owned());
                self.machine.handle_paused(now);
            }
            Question::Adopt { .. } => self.machine.handle_adopted(now, Ok(None)),
        }
    }

    /// OPTIONS to PLAY as a player does it, on the connection.
    fn playing() -> Self {
        let mut talk = Self::ready(&["0-1", "2-3"]);
        assert_eq!(talk.send(&format!("PLAY {CLIP}\nRange: npt=0.000-")).status, Status::OK);
        talk.seen.clear();
        talk
    }

    fn ready(channels: &[&str]) -> Self {
        let mut talk = Self::new();
        for (track, pair) in channels.iter().enumerate() {
            let answer = talk.send(&format!(
                "SETUP {CLIP}trackID={track}\nTransport: RTP/AVP/TCP;unicast;interleaved={pair}"
            ));
            assert_eq!(answer.status, Status::OK);
        }
        talk.seen.clear();
        talk
    }

    fn on_udp() -> Self {
        let mut talk = Self::new();
        let setup = "Transport: RTP/AVP;unicast;client_port=5000-5001";
        assert_eq!(talk.send(&format!("SETUP {CLIP}trackID=0\n{setup}")).status, Status::OK);
        talk.seen.clear();
        talk
    }
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers.get(name).unwrap_or("(none)")
}

#[test]
fn vlc_opens_a_recording() {
    let mut vlc = Talk::new();
    let options = vlc.send("OPTIONS rtsp://nvr:8554/door/recording?start=2026-11-22T10:00:00Z");
    assert!(header(&options, "Public").contains("GET_PARAMETER"));
    let described = vlc.send(
        "DESCRIBE rtsp://me:secret@nvr:8554/door/recording?start=2026-11-22T10:00:00Z\n\
         Accept: application/sdp",
    );
    assert_eq!(header(&described, "Content-Base"), CLIP);
    assert_eq!(header(&described, "Content-Type"), "application/sdp");
    let sdp = String::from_utf8(described.body.to_vec()).unwrap();
    assert!(sdp.contains("a=range:npt=0"), "{sdp}");
    let first =
        vlc.send(&format!("SETUP {CLIP}trackID=0\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1"));
    let session = header(&first, "Session").to_owned();
    let (id, timeout) = session.split_once(';').unwrap();
    assert_eq!((id.len(), timeout), (32, "timeout=60"));
    assert!(header(&first, "Transport").contains("interleaved=0-1"));
    let second =
        vlc.send(&format!("SETUP {CLIP}trackID=1\nTransport: RTP/AVP/TCP;unicast;interleaved=2-3"));
    assert_eq!(header(&second, "Session"), session);
    vlc.seen.clear();
    let play = vlc.send(&format!("PLAY {CLIP}\nRange: npt=0.000-"));
    assert_eq!(header(&play, "Range"), "npt=0.000-120.000");
    let info = RtpInfo::parse_list(header(&play, "RTP-Info")).unwrap();
    let urls: Vec<_> = info.iter().map(|i| i.url.clone()).collect();
    assert_eq!(urls, [format!("{CLIP}trackID=0"), format!("{CLIP}trackID=1")]);
    assert_eq!((info[0].seq, info[0].rtptime), (Some(10), Some(20)));
    assert_eq!(header(&play, "Scale"), "(none)");
    assert_eq!(vlc.seen[1..], ["200", "release"], "the reply goes before the packets");
}

#[test]
fn vlc_seeks_pauses_and_resumes() {
    let mut vlc = Talk::playing();
    vlc.send(&format!("PAUSE {CLIP}"));
    let sought = vlc.send(&format!("PLAY {CLIP}\nRange: npt=60.000-"));
    assert_eq!(header(&sought, "Range"), "npt=60.000-120.000");
    vlc.send(&format!("PAUSE {CLIP}"));
    let resumed = vlc.send(&format!("PLAY {CLIP}"));
    assert_eq!(header(&resumed, "Range"), "npt=33.000-120.000", "where it stopped, in npt");
    let starts: Vec<_> = vlc.seen.iter().filter(|s| s.starts_with("start")).collect();
    assert_eq!(starts.len(), 2);
    assert_eq!(starts[1], "start None None");
}

#[test]
fn a_clock_range_is_answered_in_clock_and_so_is_the_resume_after_it() {
    let mut talk = Talk::playing();
    let play = talk.send(&format!("PLAY {CLIP}\nRange: clock=19700101T000010Z-"));
    assert!(header(&play, "Range").starts_with("clock=1970"), "{}", header(&play, "Range"));
    talk.send(&format!("PAUSE {CLIP}"));
    let resumed = talk.send(&format!("PLAY {CLIP}"));
    assert!(header(&resumed, "Range").starts_with("clock=1970"));
}

#[test]
fn npt_zero_on_live_means_now() {
    let mut vlc = Talk::new();
    vlc.live = true;
    let described = vlc.send("DESCRIBE rtsp://[::1]:8554/door");
    assert_eq!(header(&described, "Content-Base"), "rtsp://[::1]:8554/door/");
    vlc.send("SETUP rtsp://[::1]:8554/door/trackID=0\nTransport: RTP/AVP/TCP;interleaved=0-1");
    let play = vlc.send("PLAY rtsp://[::1]:8554/door/\nRange: npt=0.000-");
    assert_eq!(header(&play, "Range"), "npt=now-");
    let play = vlc.send("PLAY rtsp://[::1]:8554/door/\nRange: clock=20261122T100000Z-");
    assert!(header(&play, "Range").starts_with("clock=19700101T000005"));
}

#[test]
fn the_scale_in_force_is_answered() {
    let mut vlc = Talk::playing();
    let play = vlc.send(&format!("PLAY {CLIP}\nScale: 2.000000"));
    assert_eq!((play.status, header(&play, "Scale")), (Status::OK, "2.000000"));
    assert_eq!(header(&play, "Speed"), "(none)");
    let play = vlc.send(&format!("PLAY {CLIP}\nRange: npt=80-0\nScale: -1"));
    assert_eq!((play.status, header(&play, "Scale")), (Status::OK, "-1.000000"));
    let play = vlc.send(&format!("PLAY {CLIP}\nRange: npt=80-0"));
    assert_eq!(play.status, Status::INVALID_RANGE);
    let play = vlc.send(&format!("PLAY {CLIP}\nSpeed: 2"));
    assert_eq!((play.status, header(&play, "Speed")), (Status::OK, "2.000000"));
    assert_eq!(vlc.send(&format!("PLAY {CLIP}\nSpeed: -2")).status, Status::BAD_REQUEST);
    assert_eq!(vlc.send(&format!("PLAY {CLIP}\nScale: fast")).status, Status::BAD_REQUEST);
}

#[test]
fn one_track_may_go_and_come_back_while_the_other_plays() {
    let mut vlc = Talk::playing();
    vlc.send(&format!("TEARDOWN {CLIP}trackID=1"));
    assert_eq!(vlc.seen, ["mute 1", "200"]);
    let setup = "Transport: RTP/AVP/TCP;unicast;interleaved=2-3";
    assert_eq!(vlc.send(&format!("SETUP {CLIP}trackID=1\n{setup}")).status, Status::OK);
    vlc.seen.clear();
    // With the range that plays already: join, do not go back.
    let play = vlc.send(&format!("PLAY {CLIP}trackID=1\nRange: npt=0.000-"));
    assert_eq!(RtpInfo::parse_list(header(&play, "RTP-Info")).unwrap().len(), 2);
    assert_eq!(vlc.seen[0], "start None None");
    vlc.seen.clear();
    vlc.send(&format!("TEARDOWN {CLIP}"));
    assert_eq!(vlc.seen, ["stop", "200"]);
    assert_eq!(vlc.send(&format!("PLAY {CLIP}")).status, Status::SESSION_NOT_FOUND);
}

#[test]
fn a_track_that_plays_cannot_be_set_up_again_but_one_that_is_ready_can() {
    let mut talk = Talk::playing();
    let setup = "Transport: RTP/AVP;unicast;client_port=5000-5001";
    let answer = talk.send(&format!("SETUP {CLIP}trackID=0\n{setup}"));
    assert_eq!(answer.status, Status::METHOD_NOT_VALID_IN_THIS_STATE);
    talk.send(&format!("PAUSE {CLIP}"));
    let answer = talk.send(&format!("SETUP {CLIP}trackID=0\n{setup}"));
    assert_eq!(answer.status, Status::OK);
    assert!(header(&answer, "Transport").contains("server_port=40000-40001"));
    assert!(header(&answer, "Transport").contains("source=127.0.0.1"));
}

#[test]
fn a_session_holds_one_presentation() {
    let mut talk = Talk::ready(&["0-1"]);
    let other = "SETUP rtsp://nvr:8554/yard/trackID=0\nTransport: RTP/AVP/TCP;interleaved=2-3";
    assert_eq!(talk.send(other).status, Status::AGGREGATE_OPERATION_NOT_ALLOWED);
}

#[test]
fn channels_that_are_taken_are_not_given_again() {
    let mut talk = Talk::ready(&["0-1"]);
    let again = talk
        .send(&format!("SETUP {CLIP}trackID=1\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1"));
    assert!(header(&again, "Transport").contains("interleaved=2-3"));
}

#[test]
fn a_transport_we_lack_is_refused_so_that_players_turn_to_tcp() {
    let mut talk = Talk::new();
    talk.machine.settings.udp = false;
    let udp = format!("SETUP {CLIP}trackID=0\nTransport: RTP/AVP;unicast;client_port=5000-5001");
    assert_eq!(talk.send(&udp).status, Status::UNSUPPORTED_TRANSPORT);
    assert_eq!(talk.send(&format!("SETUP {CLIP}trackID=0")).status, Status::BAD_REQUEST);
}

#[test]
fn what_is_no_request_of_ours_gets_its_own_code() {
    let mut talk = Talk::new();
    let status = |talk: &mut Talk, text: &str| talk.send(text).status.as_u16();
    assert_eq!(status(&mut talk, "FLY rtsp://nvr/door"), 501);
    assert_eq!(status(&mut talk, "ANNOUNCE rtsp://nvr/door"), 415);
    assert_eq!(status(&mut talk, "PLAY rtsp://nvr/door"), 454);
    assert_eq!(status(&mut talk, "PLAY rtsp://nvr/door\nSession: unknown"), 454);
    assert_eq!(status(&mut talk, "DESCRIBE rtsp://nvr/"), 404);
    assert_eq!(status(&mut talk, "DESCRIBE http://nvr/door"), 400);
    assert_eq!(status(&mut talk, "DESCRIBE rtsp://nvr/door/recording?start=noon"), 400);
    assert_eq!(status(&mut talk, "DESCRIBE rtsp://nvr/door\nAccept: text/html"), 406);
    let required = talk.send("OPTIONS *\nRequire: teleport");
    assert_eq!((required.status.as_u16(), header(&required, "Unsupported")), (551, "teleport"));
    let mut request = talk.request("OPTIONS *");
    request.version = crate::proto::rtsp::message::Version::Other("RTSP/2.0".to_owned());
    talk.machine.handle_request(talk.now, request);
    talk.drain();
    assert_eq!(talk.answers.pop().unwrap().status.as_u16(), 505);
    let mut request = talk.request("OPTIONS *");
    request.headers = crate::proto::rtsp::message::Headers::new();
    talk.machine.handle_request(talk.now, request);
    talk.drain();
    assert_eq!(talk.answers.pop().unwrap().status.as_u16(), 400);
}

#[test]
fn in_a_session_what_makes_no_sense_gets_its_own_code() {
    let mut talk = Talk::playing();
    let status = |talk: &mut Talk, text: String| talk.send(&text).status.as_u16();
    assert_eq!(status(&mut talk, format!("PLAY {CLIP}\nRange: smpte=0:10:00-")), 501);
    assert_eq!(status(&mut talk, format!("PLAY {CLIP}\nRange: npt=x-")), 400);
    assert_eq!(status(&mut talk, format!("PLAY {CLIP}trackID=7")), 404);
    assert_eq!(status(&mut talk, format!("TEARDOWN {CLIP}trackID=7")), 404);
    assert_eq!(status(&mut talk, format!("PAUSE {CLIP}trackID=0")), 460);
    assert_eq!(status(&mut talk, format!("GET_PARAMETER {CLIP}")), 200);
    assert_eq!(status(&mut talk, format!("SET_PARAMETER {CLIP}")), 200);
}

#[test]
fn pipelined_requests_are_answered_in_their_order_whatever_takes_time() {
    let mut talk = Talk::new();
    let requests = [
        talk.request("DESCRIBE rtsp://nvr/door"),
        talk.request("OPTIONS *"),
        talk.request("DESCRIBE rtsp://nvr/yard"),
    ];
    for request in requests {
        talk.machine.handle_request(talk.now, request);
    }
    let Some(Output::Ask(first)) = talk.machine.poll_output() else { panic!("asked nothing") };
    assert!(talk.machine.poll_output().is_none(), "OPTIONS waits for its turn");
    talk.outside(first);
    talk.drain();
    let order: Vec<_> = talk.answers.iter().map(|a| a.cseq().unwrap()).collect();
    assert_eq!(order, [2, 3, 4]);
}

#[test]
fn a_client_that_floods_is_not_read_any_further() {
    let mut talk = Talk::new();
    for _ in 0..=limits::WAITING {
        assert!(talk.machine.wants_input());
        let request = talk.request("DESCRIBE rtsp://nvr/door");
        talk.machine.handle_request(talk.now, request);
    }
    assert!(!talk.machine.wants_input());
    talk.drain();
    assert!(talk.machine.wants_input());
    assert_eq!(talk.answers.len(), limits::WAITING + 1);
}

#[test]
fn a_client_that_floods_with_large_bodies_is_not_read_any_further_either() {
    let mut talk = Talk::new();
    let mut held = 0;
    while talk.machine.wants_input() {
        let mut request = talk.request("DESCRIBE rtsp://nvr/door");
        request.body = vec![b' '; 20_000].into();
        held += request.body.len();
        talk.machine.handle_request(talk.now, request);
    }
    // One is being answered; the last goes beyond the bound.
    assert!(held <= limits::WAITING_BYTES + 2 * 20_000, "{held}");
    talk.drain();
    assert!(talk.machine.wants_input());
    assert_eq!(talk.answers.len(), held / 20_000);
}

#[test]
fn the_outsides_refusals_have_their_codes() {
    let mut talk = Talk::playing();
    let mut answer = |refusal, text: String| {
        talk.refuse = Some(refusal);
        talk.send(&text)
    };
    let play = format!("PLAY {CLIP}\nRange: npt=5-");
    let describe = "DESCRIBE rtsp://nvr/door".to_owned();
    let challenge =
        answer(Refusal::Unauthorized(vec!["Digest a".into(), "Digest b".into()]), play.clone());
    assert_eq!(challenge.status.as_u16(), 401);
    let challenges: Vec<_> = challenge.headers.get_all("WWW-Authenticate").collect();
    assert_eq!(challenges, ["Digest a", "Digest b"]);
    assert_eq!(answer(Refusal::Forbidden, describe.clone()).status.as_u16(), 403);
    let missing = answer(Refusal::NotFound("no footage at all".into()), describe.clone());
    assert_eq!(missing.status.as_u16(), 404);
    assert_eq!(&missing.body[..], b"no footage at all\r\n");
    let down = Refusal::Unavailable { retry_after: Duration::from_secs(5), why: "off".into() };
    let down = answer(down, describe);
    assert_eq!((down.status.as_u16(), header(&down, "Retry-After")), (503, "5"));
    assert_eq!(answer(Refusal::NothingToPlay, play.clone()).status.as_u16(), 457);
    assert_eq!(answer(Refusal::Internal, play).status.as_u16(), 500);
}

#[test]
fn a_challenge_in_mid_play_does_not_stop_what_plays() {
    let mut talk = Talk::playing();
    talk.refuse = Some(Refusal::Unauthorized(Vec::new()));
    talk.send(&format!("PLAY {CLIP}\nRange: npt=5-"));
    talk.refuse = None;
    talk.seen.clear();
    talk.send(&format!("PAUSE {CLIP}"));
    assert_eq!(talk.seen[0], "pause", "it was still playing");
}

#[test]
fn after_the_end_the_session_plays_again() {
    let mut talk = Talk::playing();
    let id = SessionId::asked(talk.session.as_ref().unwrap());
    talk.machine.handle_ended(&id, 1);
    talk.send(&format!("PAUSE {CLIP}"));
    assert_eq!(talk.seen, ["200"], "nothing was left to be paused");
    assert_eq!(talk.send(&format!("PLAY {CLIP}\nRange: npt=0-")).status, Status::OK);
    // The end of the first PLAY is not that of the second.
    talk.machine.handle_ended(&id, 1);
    talk.seen.clear();
    talk.send(&format!("PAUSE {CLIP}"));
    assert_eq!(talk.seen[0], "pause");
}

#[test]
fn a_session_on_the_connection_outlives_any_silence() {
    let mut mpv = Talk::playing();
    assert_eq!(mpv.machine.poll_timeout(), None, "mpv in pause says nothing at all");
    mpv.now += Duration::from_secs(24 * 3_600);
    mpv.machine.handle_timeout(mpv.now);
    mpv.drain();
    assert!(mpv.seen.is_empty());
    mpv.machine.handle_disconnected();
    mpv.drain();
    assert_eq!(mpv.seen, ["stop"]);
    assert!(mpv.machine.is_over());
}

#[test]
fn a_session_on_udp_ends_by_silence_and_not_with_its_connection() {
    let mut talk = Talk::on_udp();
    let id = SessionId::asked(talk.session.as_ref().unwrap());
    let began = talk.now;
    assert_eq!(talk.machine.poll_timeout(), Some(began + TIMEOUT));
    talk.now += Duration::from_secs(40);
    talk.machine.handle_report(talk.now, &id);
    talk.machine.handle_disconnected();
    talk.drain();
    assert!(talk.seen.is_empty() && !talk.machine.is_over());
    let deadline = talk.machine.poll_timeout().unwrap();
    assert_eq!(deadline, began + Duration::from_secs(100));
    talk.machine.handle_timeout(deadline - Duration::from_millis(1));
    assert!(!talk.machine.is_over());
    talk.machine.handle_timeout(deadline);
    talk.drain();
    assert_eq!(talk.seen, ["stop"]);
    assert!(talk.machine.is_over());
}

#[test]
fn any_request_keeps_a_session_on_udp_alive() {
    let mut talk = Talk::on_udp();
    talk.now += Duration::from_secs(59);
    talk.send(&format!("GET_PARAMETER {CLIP}"));
    assert_eq!(talk.machine.poll_timeout(), Some(talk.now + TIMEOUT));
}

#[test]
fn a_session_on_udp_goes_on_under_another_connection() {
    let mut old = Talk::on_udp();
    let id = SessionId::asked(old.session.as_ref().unwrap());
    let session = old.machine.take(&id).unwrap();
    let mut new = Talk::new();
    new.session = Some(id.to_string());
    let request = new.request(&format!("PLAY {CLIP}\nRange: npt=5-"));
    new.machine.handle_request(new.now, request);
    let Some(Output::Ask(Question::Adopt { .. })) = new.machine.poll_output() else {
        panic!("not looked for")
    };
    new.machine.handle_adopted(new.now, Ok(Some(session)));
    new.drain();
    assert_eq!(new.answers.pop().unwrap().status, Status::OK);
}

#[test]
fn a_connection_without_a_session_is_closed_after_a_while() {
    let mut talk = Talk::new();
    talk.send("OPTIONS *");
    let deadline = talk.machine.poll_timeout().unwrap();
    assert_eq!(deadline, talk.now + limits::IDLE);
    talk.machine.handle_timeout(deadline);
    talk.drain();
    assert_eq!(talk.seen.last().unwrap(), "close");
}

#[test]
fn what_is_no_rtsp_is_answered_once_and_then_closed() {
    let mut talk = Talk::new();
    let mut noise = BytesMut::from("GET / HTTP/1.1 and more\r\n: \r\n\r\n");
    let error = Decoder::new().decode(&mut noise).unwrap_err();
    talk.machine.handle_malformed(talk.now, &error);
    talk.machine.handle_malformed(talk.now, &error);
    talk.drain();
    assert_eq!(talk.seen, ["400", "close"]);
    assert!(!talk.machine.wants_input());
}

#[test]
fn a_connection_has_only_so_many_sessions() {
    let mut talk = Talk::new();
    for n in 0..limits::SESSIONS {
        let now = talk.now;
        let request =
            talk.request(&format!("SETUP {CLIP}trackID=0\nTransport: RTP/AVP/TCP;unicast"));
        talk.machine.handle_request(now, request);
        while let Some(output) = talk.machine.poll_output() {
            if let Output::Ask(Question::SetUp { .. }) = output {
                let set_up = SetUp {
                    resource: "door",
                    random: [u8::try_from(n).unwrap(); 16],
                    track: TrackIndex(0),
                    ssrc: 1,
                    address: IpAddr::V4(Ipv4Addr::LOCALHOST),
                    server_port: None,
                    group: None,
                };
                talk.machine.handle_set_up(now, Ok(set_up));
            }
        }
    }
    let one_more = talk.send(&format!("SETUP {CLIP}trackID=0\nTransport: RTP/AVP/TCP;unicast"));
    assert_eq!(one_more.status, Status::NOT_ENOUGH_BANDWIDTH);
}
