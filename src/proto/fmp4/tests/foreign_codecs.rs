//! MJPEG, AV1, Opus and L16 by ffmpeg's encoders: over RTP and back, into our files, and decoded out
//! of them to what the encoder's own stream decodes to. Needs `ffmpeg` and `ffprobe` on the path.

use std::{collections::VecDeque, io::IoSlice, time::Duration};

use bytes::Bytes;

use super::foreign::{Footage, PICTURES, SOUND, assert_decodes, assert_whole, encode, run};
use crate::proto::{
    access_unit::{AccessUnit, Track, TrackIndex},
    codec::{
        Parameters, aac,
        av1::{self, ObuKind},
        mjpeg, opus, pcm,
    },
    rtp::{
        Packet, PacketBatch, Sender, Settings,
        depacketize::{Depacketizer, Format},
        receive::Received,
    },
    time::{MediaTime, Timescale, WallTime},
};

/// Units as RTP packets of at most 1,200 bytes, and what is made of these.
fn over_rtp(track: &Track, format: &Format<'_>, units: &[Bytes], lose: Option<u16>) -> Vec<Bytes> {
    let settings = Settings {
        ssrc: 1,
        first_sequence: 0,
        first_timestamp: 0,
        payload_type: 96,
        channel: None,
        max_packet: 1_200,
    };
    let mut sender = Sender::new(settings, track).expect("a packetizer");
    let mut depacketizer = Depacketizer::new(format).expect("a depacketizer");
    let (mut out, mut lost) = (Vec::new(), 0);
    for (n, body) in units.iter().enumerate() {
        let unit = AccessUnit {
            track: TrackIndex(0),
            number: n as u64,
            dts: MediaTime::ZERO,
            cts: 0,
            wall: WallTime::from_micros(0),
            random_access: track.parameters.is_random_access(body),
            head: Bytes::new(),
            body: body.clone(),
        };
        let mut batch = PacketBatch::new();
        let ticks = n as u32 * 3_000;
        sender.send(&unit, ticks, &mut batch).expect("can be sent");
        let mut slices = [IoSlice::new(&[]); PacketBatch::MAX_SLICES];
        for index in 0..batch.len() {
            let used = batch.datagram(index, &mut slices).expect("a packet");
            let bytes: Bytes = slices[..used].iter().flat_map(|s| s.iter().copied()).collect();
            assert!(bytes.len() <= 1_200);
            let packet = Packet::parse(bytes).expect("RTP");
            if lose == Some(packet.header.sequence) {
                lost += 1;
                continue;
            }
            let arrived = Duration::ZERO;
            let lost = std::mem::take(&mut lost);
            let received = Received { packet, ticks: ticks.into(), arrived, lost, fresh: false };
            depacketizer.push(received).expect("as it should be");
        }
        while let Some(frame) = depacketizer.poll() {
            assert_eq!(frame.ticks, i64::from(ticks));
            out.push(frame.data);
        }
    }
    if let Some(found) = depacketizer.parameters() {
        assert_eq!(*found, track.parameters, "what is needed comes in-band or in SDP");
    }
    out
}

fn format(encoding: &'static str, clock_rate: u32, channels: u8) -> Format<'static> {
    Format { encoding, clock_rate, channels: Some(channels), fmtp: "" }
}

fn mjpeg_pictures(pixels: &str) -> Vec<Bytes> {
    let settings = ["-c:v", "mjpeg", "-huffman", "default", "-q:v", "4", "-pix_fmt", pixels];
    let stream = encode(PICTURES, &[&settings[..], &["-f", "mjpeg"]].concat());
    let mut starts: Vec<_> =
        (0..stream.len() - 3).filter(|&at| stream[at..at + 4] == *b"\xff\xd8\xff\xe0").collect();
    starts.push(stream.len());
    starts.windows(2).map(|pair| Bytes::copy_from_slice(&stream[pair[0]..pair[1]])).collect()
}

fn mjpeg_track(pictures: &[Bytes]) -> Track {
    let parameters = mjpeg::Parameters::of(&pictures[0]).expect("a picture");
    assert_eq!((parameters.width, parameters.height), (320, 240));
    Track { timescale: Timescale::VIDEO, parameters: Parameters::Mjpeg(parameters) }
}

/// Hashes of decoded frames, without their times.
fn decoded(bytes: &[u8], kind: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("footage");
    std::fs::write(&path, bytes).expect("written");
    let name = path.to_str().expect("UTF-8");
    let arguments = [kind, &["-i", name, "-f", "framemd5", "-"]].concat();
    let text = String::from_utf8(run("ffmpeg", &arguments)).expect("text");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit(',').next().unwrap_or_default().trim().to_owned()).collect()
}

#[test]
fn mjpeg_comes_over_rtp_into_a_file_and_decodes_to_the_same_pictures() {
    let pictures = mjpeg_pictures("yuvj420p");
    let track = mjpeg_track(&pictures);
    let again = over_rtp(&track, &format("JPEG", 90_000, 1), &pictures, None);
    let expected = decoded(&pictures.concat(), &["-f", "mjpeg"]);
    assert!(expected.len() > 100);
    assert_eq!(decoded(&again.concat(), &["-f", "mjpeg"]), expected);
    let file = assert_whole(&[Footage::paced(track, 3_600, again)]);
    assert_decodes(&file);
    assert_eq!(decoded(&file.bytes, &[]), expected);
}

#[test]
fn mjpeg_that_lost_a_packet_lacks_that_picture_alone() {
    let pictures = mjpeg_pictures("yuvj420p");
    let track = mjpeg_track(&pictures);
    for lose in [0, 1, 40] {
        let again = over_rtp(&track, &format("JPEG", 90_000, 1), &pictures, Some(lose));
        assert_eq!(again.len(), pictures.len() - 1, "packet {lose} lost");
    }
}

#[test]
fn jpeg_with_huffman_tables_of_its_own_is_refused_with_a_reason() {
    let settings = ["-c:v", "mjpeg", "-huffman", "optimal", "-frames:v", "1", "-f", "mjpeg"];
    let picture = encode(PICTURES, &settings);
    let why = mjpeg::Picture::parse(&picture).expect("a picture").for_rtp();
    assert_eq!(why.err(), Some("Huffman tables of its own"));
}

#[test]
fn av1_comes_over_rtp_into_a_file_and_decodes_to_the_same_pictures() {
    let settings = ["-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-g", "25"];
    let more = ["-lag-in-frames", "0", "-pix_fmt", "yuv420p", "-f", "obu"];
    let stream = Bytes::from(encode(PICTURES, &[&settings[..], &more].concat()));
    let mut units: Vec<Vec<u8>> = Vec::new();
    for obu in av1::obus(&stream) {
        let obu = obu.expect("whole");
        if obu.kind == ObuKind::TemporalDelimiter {
            units.push(Vec::new());
        } else {
            units.last_mut().expect("delimited").extend_from_slice(obu.whole);
        }
    }
    let units: Vec<Bytes> = units.into_iter().map(Bytes::from).collect();
    let header = av1::sequence_header_of(&units[0]).expect("in the first");
    let parameters = av1::Parameters::new(Bytes::copy_from_slice(header)).expect("valid");
    assert_eq!((parameters.width, parameters.height), (320, 240));
    assert!(parameters.rfc6381().starts_with("av01.0."), "{}", parameters.rfc6381());
    let track = Track { timescale: Timescale::VIDEO, parameters: Parameters::Av1(parameters) };
    let again = over_rtp(&track, &format("AV1", 90_000, 1), &units, None);
    assert_eq!(again, units);
    let keys = again.iter().filter(|unit| track.parameters.is_random_access(unit)).count();
    assert_eq!(keys, 5, "one a second");
    let lossy = over_rtp(&track, &format("AV1", 90_000, 1), &units, Some(1));
    assert_eq!(lossy, units[1..], "of the first, a middle packet was lost");
    let expected = decoded(&stream, &["-f", "obu"]);
    let file = assert_whole(&[Footage::paced(track, 3_600, again)]);
    assert_decodes(&file);
    assert_eq!(decoded(&file.bytes, &[]), expected);
}

/// The packets of an Ogg stream, without its two headers.
fn ogg_packets(mut stream: &[u8]) -> Vec<Bytes> {
    let (mut packets, mut open) = (VecDeque::new(), Vec::new());
    while !stream.is_empty() {
        let count = usize::from(stream[26]);
        let (lacing, mut rest) = stream[27..].split_at(count);
        for &len in lacing {
            let (part, after) = rest.split_at(len.into());
            open.extend_from_slice(part);
            rest = after;
            if len < 255 {
                packets.push_back(Bytes::from(std::mem::take(&mut open)));
            }
        }
        stream = rest;
    }
    packets.drain(..2);
    packets.into()
}

#[test]
fn opus_comes_over_rtp_into_a_file_packet_by_packet() {
    let stream = encode(SOUND, &["-c:a", "libopus", "-ac", "2", "-f", "ogg"]);
    let packets = ogg_packets(&stream);
    assert!(packets.iter().all(|packet| opus::samples(packet) == Some(960)));
    let parameters = Parameters::Opus(opus::Parameters::joined(2));
    let track = Track { timescale: Timescale::new(48_000).expect("not zero"), parameters };
    let again = over_rtp(&track, &format("opus", 48_000, 2), &packets, None);
    assert_eq!(again, packets);
    let file = assert_whole(&[Footage::paced(track, 960, again)]);
    assert_decodes(&file);
    let samples = run_pcm(&file.bytes);
    assert_eq!(samples.len(), packets.len() * 960 * 2 * 2, "nothing is skipped");
}

fn run_pcm(bytes: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("footage");
    std::fs::write(&path, bytes).expect("written");
    run("ffmpeg", &["-i", path.to_str().expect("UTF-8"), "-f", "s16be", "-"])
}

#[test]
fn l16_comes_over_rtp_into_a_file_sample_by_sample() {
    let stream = encode(SOUND, &["-ac", "2", "-ar", "16000", "-f", "s16be"]);
    let units: Vec<_> = stream.chunks(1_280).map(Bytes::copy_from_slice).collect();
    let pcm = pcm::Parameters { sample_rate: 16_000, channels: 2 };
    let timescale = Timescale::new(16_000).expect("not zero");
    let track = Track { timescale, parameters: Parameters::Pcm(pcm) };
    // Too long for one packet each: so twice as many come back.
    let again = over_l16(&track, &units);
    assert_eq!(again.concat(), stream);
    let whole = units.len() - usize::from(!stream.len().is_multiple_of(1_280));
    let file = assert_whole(&[Footage::paced(track, 320, units[..whole].to_vec())]);
    assert_decodes(&file);
    assert_eq!(run_pcm(&file.bytes), stream[..whole * 1_280]);
}

fn over_l16(track: &Track, units: &[Bytes]) -> Vec<Bytes> {
    let halves: Vec<_> =
        units.iter().flat_map(|u| u.chunks(640)).map(Bytes::copy_from_slice).collect();
    over_rtp(track, &format("L16", 16_000, 2), &halves, None)
}

#[test]
fn latm_is_unpacked_to_the_aac_within() {
    // LC, 44,100 Hz, stereo: StreamMuxConfig as ffmpeg writes it to SDP, cpresent=0.
    let fmtp = "profile-level-id=41;cpresent=0;config=400024203fc0";
    let latm = Format { encoding: "MP4A-LATM", clock_rate: 44_100, channels: Some(2), fmtp };
    let mut depacketizer = Depacketizer::new(&latm).expect("a depacketizer");
    let Some(Parameters::Aac(found)) = depacketizer.parameters() else { panic!("AAC") };
    let lc = aac::Parameters::lc(44_100, 2).expect("valid");
    assert_eq!((found.sample_rate, found.channels), (lc.sample_rate, lc.channels));
    let frame = Bytes::from(vec![7; 300]);
    let element = [&[255, 45][..], &frame].concat();
    for (n, part) in element.chunks(200).enumerate() {
        let header = crate::proto::rtp::Header {
            marker: n == 1,
            payload_type: 96,
            sequence: n as u16,
            timestamp: 0,
            ssrc: 1,
        };
        let payload = Bytes::copy_from_slice(part);
        let packet = Packet { header, extension: None, payload };
        let received =
            Received { packet, ticks: 9, arrived: Duration::ZERO, lost: 0, fresh: false };
        depacketizer.push(received).expect("as it should be");
    }
    assert_eq!(depacketizer.poll().map(|f| f.data), Some(frame));
}

#[test]
fn what_no_file_can_hold_is_refused_by_name() {
    for (encoding, name) in
        [("G722", "G.722"), ("G726-32", "G.726"), ("vnd.onvif.metadata", "ONVIF metadata")]
    {
        let error = Depacketizer::new(&format(encoding, 8_000, 1)).map(drop).expect_err("refused");
        assert!(error.to_string().starts_with(&format!("{name} is not recorded")), "{error}");
    }
}
