//! Payloads as cameras send them, and as our own packetizers do.

use std::io::IoSlice;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;

use super::*;
use crate::proto::{
    access_unit::{AccessUnit, Track, TrackIndex},
    codec::nal::nals,
    rtp::{
        PacketBatch, Sender,
        packet::{Header, Packet},
        receive::{Receiver, Reorder, Settings},
        sender,
    },
    time::{MediaTime, Timescale, WallTime},
};

const SPS: &[u8] = b"\x67\x4d\x40\x1e\xda\x02\x80\xbf\xe5\xc0\x44\x00\x00\x03\x00\x04\x00\x00\x03\x00\xc8\x3c\x58\xba\x80";
const SPS_SMALL: &[u8] =
    b"\x67\x4d\x40\x0c\xda\x05\x05\xec\x04\x40\x00\x00\x03\x00\x40\x00\x00\x0c\x83\xc5\x0a\xa8";
const PPS: &[u8] = b"\x68\xef\x0f\xc8";
const PPS_1: &[u8] = b"\x68\x5b\xc3\xf2";

fn format<'a>(encoding: &'a str, fmtp: &'a str) -> Format<'a> {
    Format { encoding, clock_rate: 90_000, channels: None, fmtp }
}

fn h264() -> Depacketizer {
    Depacketizer::new(&format("H264", "packetization-mode=1")).expect("H.264")
}

fn h265() -> Depacketizer {
    Depacketizer::new(&format("H265", "")).expect("H.265")
}

fn received(ticks: i64, marker: bool, lost: u16, payload: &[u8]) -> Received {
    let header = Header { marker, payload_type: 96, sequence: 0, timestamp: ticks as u32, ssrc: 1 };
    let payload = Bytes::copy_from_slice(payload);
    Received {
        packet: Packet { header, extension: None, payload },
        ticks,
        arrived: Duration::from_millis(ticks.unsigned_abs()),
        lost,
        fresh: false,
    }
}

/// Time, marker, payload: what comes out as time and NAL units.
fn units(of: &mut Depacketizer, packets: &[(i64, bool, &[u8])]) -> Vec<(i64, Vec<Vec<u8>>)> {
    let packets: Vec<_> = packets.iter().map(|&(t, m, p)| received(t, m, 0, p)).collect();
    frames(of, packets).into_iter().map(|f| (f.ticks, split(&f.data))).collect()
}

fn frames(of: &mut Depacketizer, packets: Vec<Received>) -> Vec<Frame> {
    let mut all = Vec::new();
    for packet in packets {
        of.push(packet).expect("well-formed");
        all.extend(std::iter::from_fn(|| of.poll()));
    }
    all
}

fn split(unit: &[u8]) -> Vec<Vec<u8>> {
    nals(unit).map(|nal| nal.expect("lengths add up").to_vec()).collect()
}

fn unit(ticks: i64, nals: &[&[u8]]) -> (i64, Vec<Vec<u8>>) {
    (ticks, nals.iter().map(|nal| nal.to_vec()).collect())
}

const IDR: &[u8] = b"\x65\x88idr";
const IDR_MORE: &[u8] = b"\x65\x08more";
const P: &[u8] = b"\x41\x9apicture";
const SEI: &[u8] = b"\x06\x05sei";
const AUD: &[u8] = b"\x09\xf0";

#[test]
fn mark_on_sei_ends_no_picture() {
    let found = units(
        &mut h264(),
        &[(1, true, SEI), (1, false, IDR), (2, true, SEI), (2, false, P), (3, true, SEI)],
    );
    assert_eq!(found, [unit(1, &[SEI, IDR]), unit(2, &[SEI, P])]);
}

#[test]
fn mark_never_sent_a_picture_ends_where_time_or_first_slice_changes() {
    let by_time = [(1, false, IDR), (1, false, IDR_MORE), (2, false, P), (3, false, P)];
    assert_eq!(units(&mut h264(), &by_time), [unit(1, &[IDR, IDR_MORE]), unit(2, &[P])]);
    let by_slice = [(1, false, IDR), (1, false, IDR_MORE), (1, false, P), (1, false, AUD)];
    assert_eq!(units(&mut h264(), &by_slice), [unit(1, &[IDR, IDR_MORE]), unit(1, &[P])]);
}

#[test]
fn mark_on_every_slice_is_found_out() {
    let mut of = h264();
    let mut packets = Vec::new();
    for ticks in 1..5 {
        packets.extend([(ticks, true, IDR), (ticks, true, IDR_MORE)]);
    }
    let found = units(&mut of, &packets);
    assert_eq!(found[1..], [unit(2, &[IDR, IDR_MORE]), unit(3, &[IDR, IDR_MORE])]);
}

#[test]
fn sets_and_sei_behind_the_slices_belong_to_the_next_picture() {
    let packets = [
        (1, false, IDR),
        (1, true, SEI),
        (2, false, SPS),
        (2, true, P),
        (2, false, PPS),
        (3, true, P),
    ];
    let found = units(&mut h264(), &packets);
    assert_eq!(found, [unit(1, &[IDR]), unit(2, &[SEI, SPS, P]), unit(3, &[PPS, P])]);
}

#[test]
fn fu_a_whose_nal_type_changes_midway_keeps_its_first() {
    let packets: [(i64, bool, &[u8]); 3] =
        [(1, false, b"\x7c\x85\x88a"), (1, false, b"\x7c\x01b"), (1, true, b"\x7c\x41c")];
    assert_eq!(units(&mut h264(), &packets), [unit(1, &[b"\x65\x88abc"])]);
}

#[test]
fn empty_fragments_and_empty_packets_are_passed_over() {
    let packets: [(i64, bool, &[u8]); 6] = [
        (1, false, b"\x7c\x85"),
        (1, false, b""),
        (1, false, b"\x7c\x05\x88a"),
        (1, false, b"\x7c\x05"),
        (1, false, b"\x7c\x05b"),
        (1, true, b"\x7c\x45"),
    ];
    assert_eq!(units(&mut h264(), &packets), [unit(1, &[b"\x65\x88ab"])]);
}

#[test]
fn a_fragment_without_an_end_is_whole_when_nothing_was_lost() {
    let packets: [(i64, bool, &[u8]); 4] = [
        (1, false, b"\x7c\x85\x88a"),
        (1, true, b"\x7c\x05b"),
        (2, false, b"\x5c\x81\x9ac"),
        (3, true, P),
    ];
    let found = units(&mut h264(), &packets);
    assert_eq!(found, [unit(1, &[b"\x65\x88ab"]), unit(2, &[b"\x41\x9ac"]), unit(3, &[P])]);
}

#[test]
fn annex_b_inside_rtp_is_taken_apart() {
    let all = [&b"\0\0\0\x01"[..], SPS, b"\0\0\0\x01", PPS, b"\0\0\x01", IDR, b"\0\0"].concat();
    assert_eq!(units(&mut h264(), &[(1, true, &all)]), [unit(1, &[SPS, PPS, IDR])]);
    // As one fragmented "SPS", which some cameras make of a key frame.
    let (first, rest) = all[5..].split_at(20);
    let first = [&b"\x7c\x87"[..], first].concat();
    let rest = [&b"\x7c\x47"[..], rest].concat();
    let found = units(&mut h264(), &[(1, false, &first), (1, true, &rest)]);
    assert_eq!(found, [unit(1, &[SPS, PPS, IDR])]);
    // Slices that share a NAL unit.
    let slices = [IDR, b"\0\0\x01", IDR_MORE].concat();
    assert_eq!(units(&mut h264(), &[(1, true, &slices)]), [unit(1, &[IDR, IDR_MORE])]);
}

#[test]
fn zeros_behind_nal_units_are_cut_off() {
    let packets: [(i64, bool, &[u8]); 3] =
        [(1, false, b"\x7c\x85\x88a\0"), (1, false, b"\x7c\x05\0\0"), (1, true, b"\x7c\x45\0")];
    assert_eq!(units(&mut h264(), &packets), [unit(1, &[b"\x65\x88a"])]);
}

#[test]
fn aggregates_of_all_kinds_are_taken_apart() {
    let stap_b = b"\x79\0\x07\0\x05\x65\x88idr\0\x02\x06\x05";
    let mtap = b"\x7a\0\x07\0\x04\0\0\0\x41\x9aaa\0\x04\x01\0\x05\x41\x9abb";
    let packets: [(i64, bool, &[u8]); 3] = [
        (1, true, b"\x78\0\x05\x65\x88idr\0\x06\x65\x08more\0\0\0"),
        (2, true, stap_b),
        (3, true, mtap),
    ];
    let found = units(&mut h264(), &packets);
    assert_eq!(found[0], unit(1, &[IDR, IDR_MORE]));
    assert_eq!(found[1], unit(2, &[IDR]));
    assert_eq!(found[2].1[1..], [b"\x41\x9aaa".to_vec()]);
    assert_eq!(found[3], unit(8, &[b"\x41\x9abb"]));
    let cut = h264().push(received(1, true, 0, b"\x78\0\x09\x65\x88"));
    assert!(matches!(cut, Err(DepacketizeError::Malformed(_))));
}

#[test]
fn h265_with_and_without_decoding_order_numbers() {
    let plain: [(i64, bool, &[u8]); 4] = [
        (1, false, b"\x60\x01\0\x04\x40\x01vp\0\x04\x42\x01sp"),
        (1, false, b"\x62\x01\x93\x80a"),
        (1, true, b"\x62\x01\x53b"),
        (2, true, b"\x02\x01\x80p"),
    ];
    let expected =
        [unit(1, &[b"\x40\x01vp", b"\x42\x01sp", b"\x26\x01\x80ab"]), unit(2, &[b"\x02\x01\x80p"])];
    assert_eq!(units(&mut h265(), &plain), expected);
    let numbered: [(i64, bool, &[u8]); 4] = [
        (1, false, b"\x60\x01\0\x09\0\x04\x40\x01vp\x01\0\x04\x42\x01sp"),
        (1, false, b"\x62\x01\x93\0\x0b\x80a"),
        (1, true, b"\x62\x01\x53b"),
        (2, true, b"\x02\x01\0\x0c\x80p"),
    ];
    let mut of = Depacketizer::new(&format("h265", "sprop-max-don-diff=2")).expect("H.265");
    assert_eq!(units(&mut of, &numbered), expected);
}

#[test]
fn sps_and_pps_changing_in_mid_stream_come_with_their_picture() {
    let fmtp = format!("sprop-parameter-sets={},{}", STANDARD.encode(SPS), STANDARD.encode(PPS));
    let mut of = Depacketizer::new(&format("H264", &fmtp)).expect("H.264");
    let size = |p: Option<&Parameters>| p.and_then(Parameters::dimensions);
    assert_eq!(size(of.parameters()), Some((640, 360)));
    let key = |ticks, sets: &[&[u8]]| {
        let mut packets: Vec<_> = sets.iter().map(|s| received(ticks, false, 0, s)).collect();
        packets.push(received(ticks, true, 0, IDR));
        packets
    };
    let same = frames(&mut of, key(1, &[SPS, PPS]));
    assert_eq!(same[0].parameters, None, "the same again is no change");
    let second = frames(&mut of, key(2, &[SPS, PPS_1]));
    let Some(Parameters::H264(p)) = &second[0].parameters else { panic!("a second PPS") };
    assert_eq!(p.pps, [PPS, PPS_1], "kept by id");
    assert_eq!(frames(&mut of, key(3, &[SPS, PPS]))[0].parameters, None, "both are known");
    let small = frames(&mut of, key(4, &[SPS_SMALL, PPS]));
    assert_eq!(size(small[0].parameters.as_ref()), Some((320, 176)));
    assert_eq!(size(of.parameters()), Some((320, 176)));
    // Nothing described: gathered in-band, one by one.
    let mut of = h264();
    assert_eq!(frames(&mut of, key(1, &[PPS]))[0].parameters, None);
    assert_eq!(size(frames(&mut of, key(2, &[SPS]))[0].parameters.as_ref()), Some((640, 360)));
}

#[test]
fn loss_inside_a_frame_drops_that_frame_and_is_told() {
    let mut of = h264();
    let first: &[u8] = b"\x7c\x85\x88a";
    let packets = vec![
        received(1, true, 0, IDR),
        received(2, false, 0, first),
        received(2, false, 3, b"\x7c\x05b"),
        received(2, true, 0, b"\x7c\x45b"),
        received(3, true, 0, P),
        received(4, true, 2, IDR_MORE),
        received(5, true, 0, P),
    ];
    let found = frames(&mut of, packets);
    let told: Vec<_> = found.iter().map(|f| (f.ticks, f.lost, f.dropped)).collect();
    assert_eq!(told, [(1, 0, 0), (3, 3, 1), (5, 2, 1)]);
    assert_eq!(found[0].arrived, Duration::from_millis(1));
}

#[test]
fn a_fragment_that_never_ends_is_bounded() {
    let mut of = h264();
    let part = [&b"\x7c\x05"[..], &[7; 60_000]].concat();
    of.push(received(1, false, 0, b"\x7c\x85\x88")).expect("begins");
    let mut refused = 0;
    for _ in 0..1_000 {
        refused += usize::from(of.push(received(1, false, 0, &part)).is_err());
    }
    assert_eq!(refused, 1, "told once, then passed over");
    assert_eq!(units(&mut of, &[(2, true, P)]), [unit(2, &[P])]);
    let mut of = h264();
    of.push(received(1, false, 0, IDR)).expect("begins");
    let refused = (0..100_000).find(|_| of.push(received(1, false, 0, b"\x65\x08")).is_err());
    assert!(refused.is_some_and(|n| n <= limits::PIECES), "{refused:?}");
}

fn aac_format(fmtp: &str) -> Format<'_> {
    Format { encoding: "mpeg4-generic", clock_rate: 48_000, channels: Some(2), fmtp }
}

/// One of each way in which payloads are read.
const HOSTILE: [(&str, &str); 12] = [
    ("H264", ""),
    ("H265", ""),
    ("H265", "sprop-max-don-diff=1"),
    ("mpeg4-generic", HBR),
    (
        "mpeg4-generic",
        "mode=AAC-lbr;sizelength=6;indexlength=2;indexdeltalength=2;auxiliarydatasizelength=8",
    ),
    ("MP4A-LATM", "cpresent=0;config=400024203fc0"),
    ("MP4A-LATM", ""),
    ("JPEG", ""),
    ("AV1", ""),
    ("opus", ""),
    ("L16", ""),
    ("PCMA", ""),
];

const HBR: &str =
    "streamtype=5; mode=AAC-hbr; SizeLength=13; indexlength=3; indexdeltalength=3; config=1190";

#[test]
fn aac_frames_several_a_packet_and_in_fragments() {
    let mut of = Depacketizer::new(&aac_format(HBR)).expect("AAC");
    let packets = vec![
        received(0, true, 0, b"\0\x20\0\x10\0\x18abcde"),
        received(2_048, false, 0, b"\0\x10\0\x28fg"),
        received(2_048, true, 0, b"\0\x10\0\x28hij"),
        // One whose beginning is missing.
        received(3_072, true, 1, b"\0\x10\0\x28klm"),
        received(4_096, true, 0, b"\0\x10\0\x08n"),
    ];
    let found = frames(&mut of, packets);
    let found: Vec<_> = found.iter().map(|f| (f.ticks, &f.data[..], f.lost, f.dropped)).collect();
    let expected: [(i64, &[u8], u16, u16); 4] =
        [(0, b"ab", 0, 0), (1_024, b"cde", 0, 0), (2_048, b"fghij", 0, 0), (4_096, b"n", 1, 1)];
    assert_eq!(found, expected);
    let interleaved = of.push(received(0, true, 0, b"\0\x20\0\x10\0\x19abcde"));
    assert_eq!(interleaved, Err(DepacketizeError::Malformed("interleaved access units")));
}

#[test]
fn aac_with_a_wrong_config_is_what_rtpmap_says() {
    for config in ["", "zz", "ff", "119"] {
        let fmtp =
            format!("mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config={config}");
        let of = Depacketizer::new(&aac_format(&fmtp)).expect("AAC");
        let Some(Parameters::Aac(p)) = of.parameters() else { panic!("AAC") };
        assert_eq!((p.sample_rate, p.channels), (48_000, 2), "{config}");
    }
}

#[test]
fn g711_at_8_or_16_khz_is_a_frame_a_packet() {
    for (encoding, clock_rate) in [("PCMU", 8_000), ("pcma", 16_000)] {
        let format = Format { encoding, clock_rate, channels: None, fmtp: "" };
        let mut of = Depacketizer::new(&format).expect("G.711");
        let Some(Parameters::G711(p)) = of.parameters() else { panic!("G.711") };
        assert_eq!((p.sample_rate, p.channels), (clock_rate, 1));
        let found =
            frames(&mut of, vec![received(160, false, 0, &[1; 160]), received(320, true, 1, b"")]);
        assert_eq!((found.len(), found[0].ticks, found[0].data.len()), (1, 160, 160));
    }
}

#[test]
fn what_cannot_be_taken_is_refused_with_its_name() {
    let refused = |format: Format<'_>| Depacketizer::new(&format).expect_err("refused").to_string();
    assert_eq!(refused(format("VP8", "")), "no depacketizer for VP8");
    assert!(refused(format("H264", "packetization-mode=2")).contains("interleaved"));
    assert!(
        refused(aac_format("mode=AAC-hbr;sizelength=13;maxdisplacement=5")).contains("interleav")
    );
    assert!(refused(aac_format("mode=CELP-cbr;sizelength=6")).contains("CELP"));
}

#[test]
fn a_frame_says_when_it_was_captured_where_the_camera_does() {
    let mut of = h264();
    let replayed = Replayed {
        wall: WallTime::from_micros(1_795_341_600_000_000),
        clean: true,
        end: false,
        discontinuity: true,
        terminal: false,
        cseq: 3,
    };
    let mut packet = received(1, true, 0, IDR);
    let words = Bytes::copy_from_slice(&replayed.to_bytes()[4..]);
    packet.packet.extension = Some((crate::proto::rtp::extension::PROFILE, words));
    let found = frames(&mut of, vec![packet]);
    assert_eq!(found[0].replayed.map(|r| (r.wall, r.clean)), Some((replayed.wall, true)));
}

/// What happens to a packet on its way.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Comes,
    Lost,
    Twice,
    Late(usize),
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        12 => Just(Fate::Comes),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Twice),
        1 => (1_usize..8).prop_map(Fate::Late),
    ];
    prop::collection::vec(fate, 1..60)
}

/// Whether a NAL unit is of a picture.
fn is_slice(codec: sets::Codec, nal: &[u8]) -> bool {
    let start = [nal[0], nal.get(1).copied().unwrap_or(0)];
    matches!(family::part(codec, start, nal.get(2).copied(), nal.len()), family::Part::Slice { .. })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exactly_the_whole_units_come_out_that_no_loss_hit(
        hevc in any::<bool>(),
        max_packet in 76_usize..200,
        sizes in prop::collection::vec((any::<bool>(), prop::collection::vec(1_usize..300, 1..4)), 1..8),
        fates in fates(),
    ) {
        let codec = if hevc { sets::Codec::H265 } else { sets::Codec::H264 };
        let (sei, slice): (&[u8], &[u8]) =
            if hevc { (b"\x4e\x01", b"\x02\x01") } else { (b"\x06", b"\x41") };
        let parameters = if hevc {
            Parameters::H265(crate::proto::codec::h265::Parameters {
                vps: Bytes::new(), sps: Bytes::new(), pps: Vec::new(),
                width: 0, height: 0, frame_rate: None, reorder: None,
            })
        } else {
            Parameters::H264(crate::proto::codec::h264::Parameters {
                sps: Bytes::new(), pps: Vec::new(),
                width: 0, height: 0, frame_rate: None, reorder: None,
            })
        };
        let track = Track { timescale: Timescale::VIDEO, parameters };
        let settings = sender::Settings {
            ssrc: 5, first_sequence: 65_530, first_timestamp: u32::MAX - 9_000,
            payload_type: 96, channel: None, max_packet,
        };
        let mut sender = Sender::new(settings, &track).expect("has a packetizer");

        let mut sent: Vec<(usize, Packet)> = Vec::new();
        let mut whole: Vec<Bytes> = Vec::new();
        for (n, (with_sei, slices)) in sizes.iter().enumerate() {
            let mut body = Vec::new();
            let mut put = |start: &[u8], first: u8, len: usize| {
                let nal = [start, &[first], &vec![n as u8 + 1; len]].concat();
                body.extend((nal.len() as u32).to_be_bytes());
                body.extend(nal);
            };
            if *with_sei {
                put(sei, 5, 20);
            }
            for (m, len) in slices.iter().enumerate() {
                put(slice, if m == 0 { 0x80 } else { 0x40 }, *len);
            }
            let unit = AccessUnit {
                track: TrackIndex(0), number: n as u64, dts: MediaTime::ZERO, cts: 0,
                wall: WallTime::from_micros(0), random_access: false,
                head: Bytes::new(), body: Bytes::from(body),
            };
            let mut batch = PacketBatch::new();
            let time = settings.first_timestamp.wrapping_add(n as u32 * 3_000);
            sender.send(&unit, time, &mut batch).expect("sent");
            let mut parts = [IoSlice::new(&[]); PacketBatch::MAX_SLICES];
            for at in 0..batch.len() {
                let used = batch.datagram(at, &mut parts).expect("a packet");
                let bytes: Vec<u8> = parts[..used].iter().flat_map(|s| s.to_vec()).collect();
                sent.push((n, Packet::parse(bytes.into()).expect("RTP")));
            }
            whole.push(unit.body);
        }

        let mut hit = vec![false; whole.len()];
        let mut order: Vec<(usize, &Packet)> = Vec::new();
        let mut numbers = Vec::new();
        for (at, (unit, packet)) in sent.iter().enumerate() {
            // The first says where the session begins.
            match if at == 0 { Fate::Comes } else { fates[at % fates.len()] } {
                Fate::Comes => order.push((at * 2, packet)),
                Fate::Twice => order.extend([(at * 2, packet), (at * 2 + 5, packet)]),
                Fate::Late(by) => order.push(((at + by) * 2 + 1, packet)),
                Fate::Lost => {
                    hit[*unit] = true;
                    continue;
                }
            }
            numbers.push(at);
        }
        order.sort_by_key(|(at, _)| *at);

        let mut receiver = Receiver::new(Settings {
            clock_rate: 90_000, payload_types: vec![96], ssrc: None, own_ssrc: 1,
            reorder: Some(Reorder { delay: Duration::from_secs(1), ..Reorder::default() }),
        });
        let encoding = if hevc { "H265" } else { "H264" };
        let mut of = Depacketizer::new(&format(encoding, "")).expect("supported");
        let mut found = Vec::new();
        let late = (Duration::from_secs(9), None);
        let times = order.iter().zip(0..).map(|((_, p), n)| (Duration::from_millis(n), Some(*p)));
        for (now, packet) in times.chain([late]) {
            if let Some(packet) = packet {
                receiver.handle_packet(packet.clone(), now);
            }
            while let Some(received) = receiver.poll(now) {
                prop_assert_eq!(of.push(received), Ok(()), "loss is no broken rule");
                found.extend(std::iter::from_fn(|| of.poll()));
            }
        }

        let missing = numbers.last().map_or(0, |last| last + 1 - numbers.len());
        prop_assert_eq!(receiver.counters().lost, missing as u64, "counted exactly");
        let first = i64::from(settings.first_timestamp);
        let mut came = vec![false; whole.len()];
        let mut told = 0;
        for frame in &found {
            let n = usize::try_from((frame.ticks - first) / 3_000).expect("a unit's time");
            prop_assert!(!came[n], "twice");
            prop_assert!(came[n..].iter().all(|later| !later), "in order");
            came[n] = true;
            told += u64::from(frame.lost);
            if frame.data != whole[n] {
                prop_assert!(hit[n], "nothing of it was lost");
                let (all, left) = (split(&whole[n]), split(&frame.data));
                prop_assert!(all.ends_with(&left), "its end is there");
                let gone = &all[..all.len() - left.len()];
                prop_assert!(gone.iter().all(|nal| !is_slice(codec, nal)), "its picture is whole");
            }
        }
        prop_assert!(told <= missing as u64);
        for (n, came) in came.iter().enumerate() {
            prop_assert!(*came || hit[n], "unit {n} was not hit", n = n);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_payload_makes_a_depacketizer_panic_or_keep_more_than_it_got(
        which in 0_usize..HOSTILE.len(),
        packets in prop::collection::vec(
            (
                (any::<[u64; 5]>(), any::<[u64; 5]>(), 0_usize..40),
                0_u8..64, 0_i64..3, any::<bool>(), 0_u16..2, any::<bool>(),
            ),
            1..30,
        ),
    ) {
        let (encoding, fmtp) = HOSTILE[which];
        let mut of = Depacketizer::new(&Format { clock_rate: 48_000, ..format(encoding, fmtp) }).expect("supported");
        let (mut got, mut given) = (0, 0);
        let mut ticks = 0;
        for ((some, bits, len), kind, later, marker, lost, fresh) in packets {
            ticks += later;
            // Few bits are set, as in headers.
            let words = some.into_iter().zip(bits).flat_map(|(a, b)| (a & b).to_be_bytes());
            let mut payload: Vec<u8> = words.take(len).collect();
            if let (Some(first), true) = (payload.first_mut(), kind < 32) {
                // The kinds that mean something, often.
                *first = if encoding == "H265" { (44 + kind % 8) << 1 } else { 0x60 | (20 + kind % 12) };
            }
            // The headers of a picture are made up from a few bytes.
            got += payload.len() + if encoding == "JPEG" { 200 } else { 8 };
            let _ = of.push(Received { fresh, ..received(ticks, marker, lost, &payload) });
            while let Some(frame) = of.poll() {
                if matches!(encoding, "H264" | "H265") {
                    prop_assert!(nals(&frame.data).all(|nal| nal.is_ok()));
                }
                given += frame.data.len();
            }
        }
        prop_assert!(given <= 4 * got, "{given} of {got}");
    }
}
