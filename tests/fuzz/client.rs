//! What a hostile camera says to the client's state machine.

use std::time::Duration;

use bytes::BytesMut;
use vedette::{
    ingest::publish::Announcement,
    proto::rtsp::{
        client::{
            Carriage, Client, Credentials, Event, Settings,
            address::Target,
            describe::Description,
            limits,
            tunnel::{Answered, Opening},
        },
        message::Message,
        parse::Decoder,
        tunnel::{Half, Unwrapper, wrap},
    },
};

/// The camera's half of sessions; `CSeq`s as the client counts them.
pub(crate) const ANSWERS: &[&str] = &[
    "RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: OPTIONS, DESCRIBE, GET_PARAMETER\r\n\r\n\
     RTSP/1.0 401 No\r\nCSeq: 2\r\nWWW-Authenticate: Digest realm=\"a\\\"b\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\", Basic realm=x\r\n\r\n\
     RTSP/1.0 200 OK\r\nCSeq: 3\r\nContent-Base: rtsp://10.0.0.9:554/live/\r\nContent-Length: 183\r\n\r\n\
     v=0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track1\r\nm=audio 0 RTP/AVP 0 8\r\na=control:rtsp://10.0.0.9/track2\r\na=sendonly\r\n\
     RTSP/1.0 200 OK\r\nCSeq: 4\r\nSession: x;timeout=60;foo=1\r\nTransport: RTP/AVP/TCP; interleaved=0-1 ;ssrc= 1F\r\n\r\n$\x00\x00\x02ab\
     OPTIONS * RTSP/1.0\r\nCSeq: 9\r\n\r\n\
     RTSP/1.0 200 OK\r\nCSeq: 5\r\nSession: y\r\n\r\n\
     RTSP/1.0 200 OK\r\nCSeq: 6\r\nRTP-Info: url=track1;seq=1;rtptime=5;,url=track2;rtptime=7\r\n\r\n",
    "RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\nRTSP/1.0 302 Moved\r\nCSeq: 2\r\nLocation: rtsp://u:p@[::1]:554/x?y#z\r\n\r\n",
];

const DESCRIPTIONS: &[&str] = &[
    "v=0\r\na=tool:LIVE555 Streaming Media v2013.04.06\r\na=control:*\r\nm=video 0 RTP/AVP 96 97\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 sprop-parameter-sets=Z0I=,aM4=\r\na=framerate:25\r\na=control:/live/track1?a=b\r\nm=audio 0 RTP/AVP 0\r\na=sendonly\r\n",
];

pub(crate) fn descriptions() -> Vec<Vec<u8>> {
    DESCRIPTIONS.iter().map(|d| d.as_bytes().to_vec()).collect()
}

pub(crate) fn description(bytes: &[u8]) {
    let description = Description::parse(bytes);
    let kept: usize = description
        .media
        .iter()
        .flat_map(|media| &media.formats)
        .map(|format| format.parameters.len())
        .sum();
    // A line counts once for each payload type of that number, and no more.
    assert!(kept <= bytes.len() * 16, "{kept} bytes of parameters");
    // The same text, of one who publishes.
    let media = description.media.len();
    if let Ok(announced) = Announcement::new(description, true) {
        let taken = (0..media).filter(|&media| announced.track(media).is_some()).count();
        assert!((1..=2).contains(&taken), "{taken} tracks");
        assert_eq!(announced.left_out().count(), media - taken);
    }
}

/// A whole session with a camera that says `bytes` in pieces of `split`: everything that happened and was sent.
pub(crate) fn session(bytes: &[u8], split: usize) -> Vec<String> {
    let target = Target::new(&"rtsp://cam:8554/live".parse().unwrap()).unwrap();
    let credentials = Credentials { username: "admin".to_owned(), password: "s".to_owned().into() };
    let settings = Settings {
        target,
        credentials: Some(credentials),
        user_agent: "x".to_owned(),
        random: [1; 16],
    };
    let mut client = Client::new(settings, Duration::ZERO);
    let (mut decoder, mut buffer, mut log) = (Decoder::new(), BytesMut::new(), Vec::new());
    let mut next = 0;
    let mut media = 0;
    let mut advance = |client: &mut Client, log: &mut Vec<String>| {
        loop {
            while let Some(bytes) = client.poll_transmit() {
                assert!(bytes.len() < 64 << 10, "a request of {} bytes", bytes.len());
                log.push(String::from_utf8_lossy(&bytes).into_owned());
            }
            let Some(event) = client.poll_event() else { break };
            log.push(format!("{event:?}"));
            match event {
                Event::Described(description) => media = description.media.len().min(3),
                Event::SetUp { .. } | Event::TransportRefused { .. } => {}
                _ => continue,
            }
            if next < media {
                let carriage = if next == 2 {
                    Carriage::Udp(6_000, 6_001)
                } else {
                    Carriage::Interleaved(0, 1)
                };
                client.set_up(next, carriage, Duration::ZERO);
                next += 1;
            } else {
                client.play(Duration::ZERO);
            }
        }
    };
    advance(&mut client, &mut log);
    'all: for part in bytes.chunks(split.max(1)) {
        buffer.extend_from_slice(part);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(message)) => {
                    client.handle_message(message, Duration::ZERO);
                    advance(&mut client, &mut log);
                }
                Ok(None) => break,
                Err(_) => break 'all,
            }
        }
    }
    // Then it falls silent.
    for _ in 0..8 {
        let Some(at) = client.poll_timeout() else { break };
        client.handle_timeout(at);
        advance(&mut client, &mut log);
    }
    client.tear_down(limits::SESSION);
    advance(&mut client, &mut log);
    log
}

/// What a tunnel's GET is answered with: a challenge, then the tunnel and what comes through it.
pub(crate) const TUNNELS: &[&str] = &[
    "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"a\\\"b\", nonce=\"n\", stale=true, qop=\"auth\", Basic realm=x\r\nContent-Length: 9\r\n\r\n",
    "HTTP/1.0 200 OK\r\nContent-Type: application/x-rtsp-tunnelled\r\nContent-Length: 32767\r\n\r\n$\x00\x00\x02ab",
];

/// A tunnel being opened to a camera that answers `bytes`, in pieces of `split`, over each connection
/// the same: what was asked, what came of it, and what was left for RTSP.
pub(crate) fn opening(bytes: &[u8], split: usize) -> (Vec<Vec<u8>>, Option<Answered>, Vec<u8>) {
    let target = Target::new(&"rtsp://cam/live".parse().unwrap()).unwrap().through_http();
    let credentials = Credentials { username: "admin".to_owned(), password: "s".to_owned().into() };
    let settings = Settings {
        target,
        credentials: Some(credentials),
        user_agent: "x".to_owned(),
        random: [1; 16],
    };
    let (mut opening, mut asked) = (Opening::new(settings), Vec::new());
    loop {
        asked.push(opening.get().to_vec());
        assert!(asked.len() <= 3, "a login is shown twice at most");
        let (mut decoder, mut buffer) = (Decoder::of_http(), BytesMut::new());
        let mut parts = bytes.chunks(split.max(1));
        let response = loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(Message::Response(response))) => break response,
                Ok(Some(_)) | Err(_) => return (asked, None, Vec::new()),
                Ok(None) => match parts.next() {
                    Some(part) => buffer.extend_from_slice(part),
                    None => return (asked, None, Vec::new()),
                },
            }
        };
        let answered = opening.answered(&response);
        if answered == Answered::Again {
            continue;
        }
        if answered == Answered::Open {
            asked.push(opening.post().to_vec());
            let mut request = BytesMut::from(&asked[asked.len() - 1][..]);
            let request = Decoder::new().decode(&mut request).unwrap();
            let Some(Message::Request(request)) = request else { unreachable!("the POST is one") };
            assert!(matches!(Half::of(&request), Some(Half::Post { .. })));
        }
        let rest = [&buffer[..], &parts.collect::<Vec<_>>().concat()].concat();
        let (mut wrapped, mut out) = (BytesMut::new(), BytesMut::new());
        assert_eq!(wrap(&rest, &mut wrapped), rest.len());
        Unwrapper::new().push(&wrapped, &mut out).unwrap();
        assert_eq!(out, rest);
        return (asked, Some(answered), rest);
    }
}
