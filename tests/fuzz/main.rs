//! Every parser that outside input reaches, on mutations of valid input and on noise: no panic, no runaway.
//!
//! The bodies are plain functions, driven by proptest: 20,000 cases each in `make test`, as many as `PROPTEST_CASES` says otherwise
//! (`make fuzz`: ten million). A failing input is printed, shrunk.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that finds what it did not expect should stop there"
)]

mod client;
mod packets;

use bytes::{Bytes, BytesMut};
use proptest::{collection::vec, prelude::*, sample::Index, test_runner::Config};
use vedette::proto::{
    access_unit::{Track, TrackIndex},
    codec::{Parameters, aac, av1, h264, h265, mjpeg, nal, opus},
    fmp4,
    rtp::{self, rtcp},
    rtsp::{
        auth,
        client::tunnel::Answered,
        headers,
        message::Message,
        parse::Decoder,
        server::Place,
        tunnel::{self, Half, Unwrapper},
    },
    time::{MediaTime, Timescale, WallTime},
};

fn cases() -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    Config { cases, failure_persistence: None, ..Config::default() }
}

/// What happens to a seed: bytes changed, cut out, doubled.
#[derive(Clone, Debug)]
enum Mutation {
    Set(Index, u8),
    Cut(Index, usize),
    Double(Index, usize),
    End(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        1 => (any::<Index>(), 1_usize..16).prop_map(|(at, n)| Mutation::Cut(at, n)),
        1 => (any::<Index>(), 1_usize..16).prop_map(|(at, n)| Mutation::Double(at, n)),
        1 => any::<Index>().prop_map(Mutation::End),
    ]
}

fn mutated(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let seed = proptest::sample::select(seeds);
    let edited = (seed, vec(mutation(), 0..6)).prop_map(|(mut bytes, mutations)| {
        for mutation in mutations {
            if bytes.is_empty() {
                break;
            }
            let length = bytes.len();
            match mutation {
                Mutation::Set(at, byte) => bytes[at.index(length)] = byte,
                Mutation::Cut(at, n) => {
                    drop(bytes.drain(at.index(length)..(at.index(length) + n).min(length)));
                }
                Mutation::Double(at, n) => {
                    let from = at.index(length);
                    let again = bytes[from..(from + n).min(length)].to_vec();
                    bytes.splice(from..from, again);
                }
                Mutation::End(at) => bytes.truncate(at.index(length)),
            }
        }
        bytes
    });
    prop_oneof![6 => edited, 1 => vec(any::<u8>(), 0..512)]
}

fn text(seeds: &[&str]) -> impl Strategy<Value = String> + use<> {
    let seeds = seeds.iter().map(|s| s.as_bytes().to_vec()).collect();
    mutated(seeds).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn rtsp_stream(bytes: &[u8], split: usize) {
    let mut decoder = Decoder::new();
    let mut buffer = BytesMut::new();
    for part in bytes.chunks(split.max(1)) {
        buffer.extend_from_slice(part);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert!(buffer.len() <= bytes.len(), "never more than was put in");
    }
}

/// What a connection that may be half a tunnel says, cut into pieces of `split` bytes: RTSP out of base64 out of HTTP.
fn tunnelled(bytes: &[u8], split: usize) -> Option<(Half, Vec<u8>, bool)> {
    let _ = tunnel::begins_as_http(bytes);
    let mut decoder = Decoder::new();
    let (mut buffer, mut parts) = (BytesMut::new(), bytes.chunks(split.max(1)));
    let request = loop {
        match decoder.decode(&mut buffer) {
            Ok(Some(Message::Request(request))) => break request,
            Ok(Some(_)) => {}
            Ok(None) => buffer.extend_from_slice(parts.next()?),
            Err(_) => return None,
        }
    };
    let half = Half::of(&request)?;
    let (mut unwrapper, mut out) = (Unwrapper::new(), BytesMut::new());
    let mut whole = true;
    for part in std::iter::once(&buffer[..]).chain(parts) {
        whole &= unwrapper.push(part, &mut out).is_ok();
    }
    assert!(out.len() <= bytes.len() / 4 * 3, "never more than was put in");
    rtsp_stream(&out, split);
    Some((half, out.to_vec(), whole))
}

/// All messages of a stream that comes in two parts.
fn messages(parts: [&[u8]; 2]) -> Vec<Message> {
    let (mut decoder, mut buffer, mut found) = (Decoder::new(), BytesMut::new(), Vec::new());
    for part in parts {
        buffer.extend_from_slice(part);
        while let Some(message) = decoder.decode(&mut buffer).unwrap() {
            found.push(message);
        }
    }
    assert!(buffer.is_empty(), "all of it is messages");
    found
}

fn header_values(value: &str) {
    let _ = headers::Transport::parse_list(value)
        .map(|list| list.iter().map(ToString::to_string).collect::<String>());
    let _ = headers::Range::parse(value).map(|range| range.to_string());
    let _ = headers::RtpInfo::parse_list(value);
    let _ = headers::factor(value);
    let _ = headers::Session::parse(value).map(|session| session.to_string());
    let _ = auth::Authorization::parse(value);
    let _ = Place::parse(value);
}

fn boxes(bytes: &[u8]) {
    let _ = fmp4::read_header(bytes);
    let _ = fmp4::read_tail(bytes);
    let _ = fmp4::tail_len(bytes);
    for tracks in [1, 2] {
        let _ = fmp4::read_fragment(bytes, 0, tracks);
    }
    let read_at = |offset: u64, buffer: &mut [u8]| -> std::io::Result<()> {
        let from = usize::try_from(offset).map_err(std::io::Error::other)?;
        let part = bytes.get(from..).and_then(|rest| rest.get(..buffer.len()));
        let part = part.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(part);
        Ok(())
    };
    if let Ok(scan) = fmp4::scan(bytes.len() as u64, read_at) {
        assert!(scan.end <= bytes.len() as u64, "nothing whole lies behind the end");
    }
}

fn parameter_sets(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let _ = h264::Parameters::new(bytes.clone(), vec![bytes.clone()])
        .map(|p| (p.rfc6381(), p.in_band()));
    let sets = |n: usize| Bytes::from_static(PARAMETER_SETS[n]);
    let _ = h265::Parameters::new(sets(4), bytes.clone(), vec![sets(5)])
        .map(|p| (p.rfc6381(), p.in_band()));
    let _ = h265::Parameters::new(bytes.clone(), sets(2), vec![bytes.clone()]);
    let _ = aac::Parameters::new(bytes.clone()).map(|p| p.rfc6381());
    let _ = av1::Parameters::new(bytes.clone()).map(|p| p.rfc6381());
    av1::obus(&bytes).take(10_000).for_each(drop);
    let _ = mjpeg::Picture::parse(&bytes).map(|picture| picture.for_rtp().is_ok());
    let _ = opus::samples(&bytes);
    nal::nals(&bytes).take(10_000).for_each(drop);
}

/// A small segment file: header, two fragments of two tracks, tail.
fn segment() -> Vec<u8> {
    let sets = |n: usize| Bytes::from_static(PARAMETER_SETS[n]);
    let video = h264::Parameters::new(sets(0), vec![sets(1)]).unwrap();
    let audio = aac::Parameters::new(sets(3)).unwrap();
    let tracks = [
        Track { timescale: Timescale::VIDEO, parameters: Parameters::H264(video) },
        Track { timescale: Timescale::new(48_000).unwrap(), parameters: Parameters::Aac(audio) },
    ];
    let start = fmp4::TrackStart { first_number: 7, first_dts: MediaTime::ZERO };
    let identity = fmp4::Identity {
        segment: 1,
        camera: 2,
        stream: 3,
        run: 4,
        epoch: 0,
        sequence: 5,
        slug: "door".to_owned(),
        role: "main".to_owned(),
        start: WallTime::from_micros(1_795_341_600_000_000),
        clock_source: 1,
        previous_end: 1,
        tracks: vec![start; 2],
    };
    let mut file = BytesMut::from(&fmp4::write_header(&identity, &tracks).unwrap()[..]);
    let mut tables = [Vec::new(), Vec::new()];
    let mut fragments = Vec::new();
    for n in 0..2_i64 {
        let picture = fmp4::Sample {
            duration: 3_600,
            cts: if n == 0 { 0 } else { -3_600 },
            size: 20,
            sync: n == 0,
        };
        let frame = fmp4::Sample { duration: 1_024, cts: 0, size: 7, sync: true };
        let (pictures, frames) = ([picture; 3], [frame; 4]);
        let parts = [
            fmp4::FragmentTrack {
                track: TrackIndex(0),
                dts: MediaTime::from_ticks(n * 10_800),
                samples: &pictures,
            },
            fmp4::FragmentTrack {
                track: TrackIndex(1),
                dts: MediaTime::from_ticks(n * 4_096),
                samples: &frames,
            },
        ];
        let offset = file.len() as u64;
        let head =
            fmp4::write_fragment(&mut file, n as u32 + 1, identity.start, &parts, None).unwrap();
        file.resize(file.len() + head.payload_len as usize, 0x55);
        for (track, sample) in fmp4::index(&parts, offset + head.len) {
            tables[track.as_usize()].push(sample);
        }
        let anchor = fmp4::Anchor {
            track: TrackIndex(0),
            pts: MediaTime::from_ticks(n * 10_800),
            wall: identity.start,
        };
        fragments.push(fmp4::FragmentRef { offset, anchor });
    }
    fmp4::write_tail(&mut file, &[&tables[0], &tables[1]], &fragments).unwrap();
    file.to_vec()
}

/// Parameter sets that x264 and x265 wrote, and an AudioSpecificConfig.
const PARAMETER_SETS: &[&[u8]] = &[
    b"\x67\x64\x00\x0d\xac\xd9\x41\x41\xfb\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\x20\xf1\x42\x99\x60",
    b"\x68\xeb\xe3\xcb\x22\xc0",
    b"\x42\x01\x01\x01\x60\x00\x00\x03\x00\x90\x00\x00\x03\x00\x00\x03\x00\x3c\xa0\x0a\x08\x0f\x16\x59\x2a\x49\x32\xbc\x05\xa0\x20\x00\x00\x03\x00\x20\x00\x00\x03\x03\x21",
    b"\x11\x88\x56\xe5\x00",
    b"\x40\x01\x0c\x01\xff\xff\x01\x60\x00\x00\x03\x00\x90\x00\x00\x03\x00\x00\x03\x00\x3c\x92\x80\x90",
    b"\x44\x01\xc1\x72\xb4\x62\x40",
];

const REQUESTS: &[&str] = &[
    "OPTIONS rtsp://h:8554/door RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: x\r\n\r\nDESCRIBE rtsp://h/door RTSP/1.0\r\nCSeq: 2\r\nAccept: application/sdp\r\n\r\n",
    "SETUP rtsp://h/door/trackID=0 RTSP/1.0\r\nCSeq: 3\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nContent-Length: 3\r\n\r\nabc$\x01\x00\x04wxyz",
    "RTSP/1.0 200 OK\r\nCSeq: 4\r\nSession: 12;timeout=60\r\nContent-Length: 0\r\n\r\n$\x00\x00\x02ab\r\n\r\nPLAY * RTSP/1.0\r\nCSeq:5\r\n\r\n",
];

const HEADERS: &[&str] = &[
    "RTP/AVP;unicast;client_port=4588-4589;ssrc=0D12FF; mode=\"PLAY\",RTP/AVP/TCP;interleaved=0-1",
    "npt=0:01:00.25-120.5",
    "npt=now-",
    "clock=20261122T100000.25Z-20261122T110000Z;time=20261122T120000Z",
    "smpte=10:07:00-10:07:33:05.01",
    "url=rtsp://h/door/trackID=0;seq=45102;rtptime=12345678,url=rtsp://h/door/trackID=1;seq=1;rtptime=2",
    "Digest username=\"admin\", realm=\"vedette\", nonce=\"abc\", uri=\"rtsp://h/door/\", response=\"00112233445566778899aabbccddeeff\", algorithm=\"MD5\", qop=auth, nc=00000001, cnonce=\"x\\\"y\"",
    "Basic YWRtaW46c2VjcmV0",
    "-2.5",
    "0123456789abcdef;timeout=60",
    "rtsp://admin:a%20b@[::1]:8554/front-door/recording/~c2NyaXB0/trackID=1?start=2026-11-22T10:00:00Z&end=20261122T110000.5Z",
];

/// Both halves of a tunnel; the POST's body is OPTIONS and DESCRIBE, each encoded for itself.
const TUNNEL: &[&str] = &[
    "GET /door HTTP/1.0\r\nUser-Agent: x\r\nx-sessioncookie: 5f3a9c2e01b7d846\r\nAccept: application/x-rtsp-tunnelled\r\n\r\n",
    "POST /door HTTP/1.1\r\nx-sessioncookie: 5f3a9c2e01b7d846\r\nContent-Type: application/x-rtsp-tunnelled\r\nContent-Length: 32767\r\n\r\nT1BUSU9OUyAqIFJUU1AvMS4wDQpDU2VxOiAxDQoNCg==\r\nREVTQ1JJQkUgcnRzcDovL2gvZCBSVFNQLzEuMA0KQ1NlcTogMg0KDQo=",
];

fn rtcp_seed() -> Vec<u8> {
    // A sender report with one block, SDES and BYE.
    let mut bytes = vec![0x81, 200, 0, 12];
    bytes.extend((0..48).map(|n| n as u8));
    bytes.extend([0x81, 202, 0, 2, 0, 0, 0, 1, 1, 1, b'a', 0]);
    bytes.extend([0x81, 203, 0, 1, 0, 0, 0, 1]);
    bytes
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_rtsp_stream_makes_the_decoder_panic(
        bytes in mutated(REQUESTS.iter().map(|r| r.as_bytes().to_vec()).collect()),
        split in 1_usize..64,
    ) {
        rtsp_stream(&bytes, split);
    }

    #[test]
    fn no_header_value_makes_its_parser_panic(value in text(HEADERS)) {
        header_values(&value);
    }

    #[test]
    fn no_tunnel_makes_its_parsers_panic_and_all_cuts_give_the_same(
        bytes in mutated(TUNNEL.iter().map(|t| t.as_bytes().to_vec()).collect()),
        split in 1_usize..64,
    ) {
        prop_assert_eq!(tunnelled(&bytes, split), tunnelled(&bytes, bytes.len()));
    }

    #[test]
    fn no_camera_makes_the_client_panic_and_all_cuts_give_the_same(
        bytes in mutated(client::ANSWERS.iter().map(|a| a.as_bytes().to_vec()).collect()),
        split in 1_usize..64,
    ) {
        prop_assert_eq!(client::session(&bytes, split), client::session(&bytes, bytes.len()));
    }

    #[test]
    fn no_camera_makes_the_opening_of_a_tunnel_panic_and_all_cuts_give_the_same(
        bytes in mutated(client::TUNNELS.iter().map(|t| t.as_bytes().to_vec()).collect()),
        split in 1_usize..64,
    ) {
        prop_assert_eq!(client::opening(&bytes, split), client::opening(&bytes, bytes.len()));
    }

    #[test]
    fn no_description_makes_its_parser_panic(bytes in mutated(client::descriptions())) {
        client::description(&bytes);
    }

    #[test]
    fn no_rtp_packet_makes_its_parser_panic(bytes in mutated(vec![packets::seed(packets::FORMATS[0].2)])) {
        let length = bytes.len();
        if let Ok(packet) = rtp::Packet::parse(Bytes::from(bytes)) {
            prop_assert!(packet.payload.len() < length);
        }
    }

    #[test]
    fn no_packets_make_receiver_or_depacketizer_panic(
        (which, packets) in (0..packets::FORMATS.len()).prop_flat_map(|which| {
            let packet = mutated(vec![packets::seed(packets::FORMATS[which].2)]);
            (Just(which), vec((packet, 0_u64..80), 1..8))
        }),
        udp in any::<bool>(),
    ) {
        packets::received(packets::FORMATS[which], udp, packets);
    }

    #[test]
    fn no_rtcp_packet_makes_its_parser_panic(bytes in mutated(vec![rtcp_seed()])) {
        let _ = rtcp::parse(&bytes);
    }

    #[test]
    fn no_parameter_set_makes_its_parser_panic(
        bytes in mutated(PARAMETER_SETS.iter().map(|p| p.to_vec()).collect()),
    ) {
        parameter_sets(&bytes);
    }

    #[test]
    fn no_segment_file_makes_its_readers_panic(bytes in mutated(vec![segment()])) {
        boxes(&bytes);
    }
}

#[test]
fn the_seeds_are_valid_so_that_mutations_reach_deep() {
    let file = segment();
    let header = fmp4::read_header(&file).unwrap();
    let tail = fmp4::read_tail(&file).unwrap();
    assert_eq!(tail.tracks.iter().map(Vec::len).collect::<Vec<_>>(), [6, 8]);
    let first = tail.fragments[0].offset as usize;
    assert_eq!(header.len as usize, first);
    assert!(fmp4::read_fragment(&file[first..], first as u64, 2).is_ok());
    let sets = |n: usize| Bytes::from_static(PARAMETER_SETS[n]);
    assert!(h265::Parameters::new(sets(4), sets(2), vec![sets(5)]).is_ok());
    let silent = packets::FORMATS.iter().filter(|format| {
        let once = vec![(packets::seed(format.2), 0)];
        packets::received(**format, false, once) == 0
    });
    assert_eq!(silent.collect::<Vec<_>>(), Vec::<&packets::Format>::new());
    assert!(matches!(tunnelled(TUNNEL[0].as_bytes(), 7), Some((Half::Get { .. }, ..))));
    let Some((Half::Post { .. }, said, true)) = tunnelled(TUNNEL[1].as_bytes(), 7) else {
        unreachable!("the POST is one")
    };
    assert_eq!(messages([&said, b""]).len(), 2);
    let (asked, answered, _) = client::opening(client::TUNNELS[0].as_bytes(), usize::MAX);
    assert!(asked.len() == 3 && matches!(answered, Some(Answered::Failed(_))), "{answered:?}");
    let (asked, answered, rest) = client::opening(client::TUNNELS[1].as_bytes(), usize::MAX);
    assert_eq!(
        (asked.len(), answered, &rest[..]),
        (2, Some(Answered::Open), &b"$\x00\x00\x02ab"[..])
    );
    let whole = client::session(client::ANSWERS[0].as_bytes(), usize::MAX);
    assert!(whole.iter().any(|line| line.starts_with("Playing")), "{whole:#?}");
    for request in REQUESTS {
        let mut buffer = BytesMut::from(request.as_bytes());
        let mut decoder = Decoder::new();
        while let Some(_message) = decoder.decode(&mut buffer).unwrap() {}
        assert!(buffer.is_empty(), "all of {request:?} is messages");
    }
}

#[test]
fn wherever_a_message_is_cut_the_same_is_read() {
    for seed in REQUESTS {
        let bytes = seed.as_bytes();
        let whole = messages([bytes, b""]);
        for cut in 0..=bytes.len() {
            assert_eq!(messages([&bytes[..cut], &bytes[cut..]]), whole, "{seed:?} cut at {cut}");
        }
    }
    for seed in client::TUNNELS {
        let whole = client::opening(seed.as_bytes(), seed.len());
        for piece in 1..seed.len() {
            assert_eq!(client::opening(seed.as_bytes(), piece), whole, "{seed:?} by {piece}");
        }
    }
    for seed in client::ANSWERS {
        let whole = client::session(seed.as_bytes(), seed.len());
        for piece in 1..seed.len() {
            assert_eq!(
                client::session(seed.as_bytes(), piece),
                whole,
                "{seed:?} in pieces of {piece}"
            );
        }
    }
    for seed in TUNNEL {
        let whole = tunnelled(seed.as_bytes(), seed.len());
        for piece in 1..seed.len() {
            assert_eq!(tunnelled(seed.as_bytes(), piece), whole, "{seed:?} in pieces of {piece}");
        }
    }
    // What comes in packets is whole or nothing.
    let rtcp = rtcp_seed();
    assert!(rtcp::parse(&rtcp).is_ok());
    for cut in 0..rtcp.len() {
        let _ = rtcp::parse(&rtcp[..cut]);
    }
    let rtp = packets::seed(packets::FORMATS[0].2);
    for cut in 0..rtp.len() {
        let _ = rtp::Packet::parse(Bytes::copy_from_slice(&rtp[..cut]));
    }
}
