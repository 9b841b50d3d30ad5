//! Units into packets and back: a plain depacketizer for each format stands in for the player.

use std::io::IoSlice;

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::{
    super::{
        batch::{Cursor, PacketBatch},
        limits,
        packet::Packet,
        sender::{Sender, Settings},
    },
    *,
};
use crate::proto::{
    access_unit::{Track, TrackIndex},
    codec::{aac, g711, h264, h265},
    rtsp::message::InterleavedFrame,
    time::{MediaTime, Timescale, WallTime},
};

fn h264() -> Parameters {
    Parameters::H264(h264::Parameters {
        sps: Bytes::new(),
        pps: Vec::new(),
        width: 0,
        height: 0,
        frame_rate: None,
        reorder: None,
    })
}

fn h265() -> Parameters {
    Parameters::H265(h265::Parameters {
        vps: Bytes::new(),
        sps: Bytes::new(),
        pps: Vec::new(),
        width: 0,
        height: 0,
        frame_rate: None,
        reorder: None,
    })
}

fn aac() -> Parameters {
    Parameters::Aac(aac::Parameters {
        config: Bytes::new(),
        sample_rate: 48_000,
        channels: 2,
        frame_length: 1_024,
        object_type: 2,
    })
}

fn g711(channels: u8) -> Parameters {
    Parameters::G711(g711::Parameters { law: g711::Law::A, sample_rate: 8_000, channels })
}

fn unit(head: &[u8], body: &[u8]) -> AccessUnit {
    AccessUnit {
        track: TrackIndex(0),
        number: 0,
        dts: MediaTime::ZERO,
        cts: 0,
        wall: WallTime::from_micros(0),
        random_access: true,
        head: Bytes::copy_from_slice(head),
        body: Bytes::copy_from_slice(body),
    }
}

const SETTINGS: Settings = Settings {
    ssrc: 0xcafe_f00d,
    first_sequence: 0xfff0,
    first_timestamp: 5,
    payload_type: 96,
    channel: Some(2),
    max_packet: limits::UDP_PACKET,
};

fn sender(parameters: Parameters, max_packet: usize) -> Sender {
    let track = Track { timescale: Timescale::VIDEO, parameters };
    Sender::new(Settings { max_packet, ..SETTINGS }, &track).expect("has a packetizer")
}

/// NAL units behind their lengths.
fn nals(nals: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for nal in nals {
        bytes.put_u32(nal.len() as u32);
        bytes.put_slice(nal);
    }
    bytes
}

fn datagrams(batch: &PacketBatch) -> Vec<Bytes> {
    let mut slices = [IoSlice::new(&[]); PacketBatch::MAX_SLICES];
    (0..batch.len())
        .map(|index| {
            let used = batch.datagram(index, &mut slices).expect("a packet");
            slices[..used].iter().flat_map(|s| s.iter().copied()).collect()
        })
        .collect()
}

/// The packets, after checking that numbers rise by one and only the last has a marker.
fn packets(batch: &PacketBatch, first_sequence: u16, marked: bool) -> Vec<Packet> {
    let all = datagrams(batch);
    let last = all.len().wrapping_sub(1);
    all.into_iter()
        .enumerate()
        .map(|(n, bytes)| {
            let packet = Packet::parse(bytes).expect("an RTP packet");
            assert_eq!(packet.header.sequence, first_sequence.wrapping_add(n as u16));
            assert_eq!(packet.header.marker, marked && n == last, "packet {n}");
            assert_eq!((packet.header.ssrc, packet.header.payload_type), (SETTINGS.ssrc, 96));
            packet
        })
        .collect()
}

fn payloads(parameters: Parameters, max_packet: usize, unit: &AccessUnit) -> Vec<Bytes> {
    let marked = !matches!(parameters, Parameters::G711(_));
    let mut batch = PacketBatch::new();
    sender(parameters, max_packet).send(unit, 1_000, &mut batch).expect("can be sent");
    packets(&batch, SETTINGS.first_sequence, marked).into_iter().map(|p| p.payload).collect()
}

/// RFC 6184 §5.6 to §5.8, RFC 7798 §4.4: NAL units behind lengths.
fn join_nals(header_len: usize, payloads: &[Bytes]) -> Vec<u8> {
    let kind = |b: &[u8]| if header_len == 1 { b[0] & 0x1f } else { (b[0] >> 1) & 0x3f };
    let (aggregate, fragment) = if header_len == 1 { (24, 28) } else { (48, 49) };
    let mut out: Vec<Vec<u8>> = Vec::new();
    let mut open = false;
    for payload in payloads {
        if kind(payload) == aggregate {
            assert!(!open);
            let mut rest = &payload[header_len..];
            let mut count = 0;
            while !rest.is_empty() {
                let len = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                out.push(rest[2..2 + len].to_vec());
                rest = &rest[2 + len..];
                count += 1;
            }
            assert!(count > 1, "an aggregate of one");
        } else if kind(payload) == fragment {
            let ends = payload[header_len];
            let (start, end) = (ends & 0x80 != 0, ends & 0x40 != 0);
            assert!(!(start && end), "a fragment that is the whole");
            assert_eq!(start, !open);
            if start {
                let mut header = payload[..header_len].to_vec();
                header[0] = if header_len == 1 {
                    header[0] & 0xe0 | ends & 0x1f
                } else {
                    header[0] & 0x81 | (ends & 0x3f) << 1
                };
                out.push(header);
            }
            let nal = out.last_mut().expect("begun");
            assert!(payload.len() > header_len + 1, "a fragment of nothing");
            nal.extend_from_slice(&payload[header_len + 1..]);
            open = !end;
        } else {
            assert!(!open);
            out.push(payload.to_vec());
        }
    }
    assert!(!open);
    nals(&out.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// RFC 3640 §3.2: one access unit.
fn join_aac(payloads: &[Bytes]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut size = None;
    for payload in payloads {
        assert_eq!(payload[..2], [0, 16]);
        let header = u16::from_be_bytes([payload[2], payload[3]]);
        assert_eq!(header & 7, 0, "AU index");
        assert_eq!(*size.get_or_insert(header >> 3), header >> 3);
        out.extend_from_slice(&payload[4..]);
    }
    assert_eq!(size.map_or(0, usize::from), out.len());
    out
}

#[test]
fn a_nal_unit_that_fits_goes_out_as_it_is() {
    let unit = unit(&[], &nals(&[b"\x65slice"]));
    assert_eq!(payloads(h264(), limits::UDP_PACKET, &unit), [&b"\x65slice"[..]]);
}

#[test]
fn the_fragments_of_a_picture_leave_as_one_train_with_the_shorter_last() {
    let slice = [&[0x25][..], &[7; 4_000]].concat();
    let mut batch = PacketBatch::new();
    let unit = unit(&[], &nals(&[&slice]));
    sender(h264(), limits::UDP_PACKET).send(&unit, 0, &mut batch).expect("sent");
    let mut slices = [IoSlice::new(&[]); 64];
    let train = batch.train(0, 8, &mut slices).expect("a packet");
    assert_eq!((batch.len(), train.packets), (3, 3));
    assert_eq!(batch.train(0, 2, &mut slices).expect("a packet").packets, 2);
    assert_eq!(batch.train(3, 8, &mut slices), None);
}

#[test]
fn parameter_sets_share_a_stap_a_with_the_highest_nri_before_the_fragments() {
    let slice = [&[0x25][..], &[7; 1_500]].concat();
    let unit = unit(&nals(&[b"\x67sps", b"\x28pps"]), &nals(&[&slice]));
    let sent = payloads(h264(), limits::UDP_PACKET, &unit);
    assert_eq!(sent[0], &b"\x78\x00\x04\x67sps\x00\x04\x28pps"[..]);
    // FU-A: NRI of the slice with type 28; start, then end, with type 5.
    assert_eq!((&sent[1][..2], sent[1].len()), (&b"\x3c\x85"[..], 1_440));
    assert_eq!((&sent[2][..2], sent[2].len()), (&b"\x3c\x45"[..], 2 + 1_500 - 1_438));
    assert_eq!(sent.len(), 3);
}

#[test]
fn h265_aggregates_with_the_lowest_layer_and_temporal_id() {
    // VPS of layer 0, TID 1; SEI of layer 33, TID 3.
    let unit = unit(&[], &nals(&[b"\x40\x01vps", b"\x4f\x0bsei"]));
    let sent = payloads(h265(), limits::UDP_PACKET, &unit);
    assert_eq!(sent, [&b"\x60\x01\x00\x05\x40\x01vps\x00\x05\x4f\x0bsei"[..]]);
}

#[test]
fn h265_fragments_keep_layer_and_temporal_id() {
    // IDR_W_RADL (19), layer 33, TID 2.
    let nal = [&[0x27, 0x0a][..], &[9; 100]].concat();
    let sent = payloads(h265(), 64 + 12, &unit(&[], &nals(&[&nal])));
    assert_eq!(&sent[0][..3], b"\x63\x0a\x93");
    assert_eq!(&sent[1][..3], b"\x63\x0a\x53");
}

#[test]
fn a_fragment_boundary_is_met_exactly() {
    for over in 0..3 {
        let max = 100;
        let nal = [&[0x65][..], &vec![1; max - 13 + over]].concat();
        let sent = payloads(h264(), max, &unit(&[], &nals(&[&nal])));
        assert_eq!(sent.len(), if over == 0 { 1 } else { 2 });
        assert_eq!(join_nals(1, &sent), nals(&[&nal]));
    }
}

#[test]
fn no_packet_has_more_slices_than_promised() {
    let many: Vec<&[u8]> = vec![b"\x61"; 100];
    let unit = unit(&nals(&many[..50]), &nals(&many[50..]));
    let sent = payloads(h264(), limits::TCP_PACKET, &unit);
    assert_eq!(sent.len(), 7);
    assert_eq!(join_nals(1, &sent), nals(&many));
}

#[test]
fn nal_units_that_rtp_keeps_for_itself_are_left_out() {
    let unit = unit(&[], &nals(&[b"\x78x", b"", b"\x65y", b"\x7cz", b"\x00"]));
    assert_eq!(payloads(h264(), limits::UDP_PACKET, &unit), [&b"\x65y"[..]]);
}

#[test]
fn malformed_lengths_leave_batch_and_sender_as_they_were() {
    let good = unit(&[], &nals(&[b"\x65good"]));
    let slice = [&[0x65][..], &[1; 5_000]].concat();
    for tail in [&b"\x00\x00\x00\x05\x41abc"[..], b"\x00", b"\xff\xff\xff\xff"] {
        let bad = unit(&[], &[&nals(&[&slice])[..], tail].concat());
        let mut sender = sender(h264(), limits::UDP_PACKET);
        let mut batch = PacketBatch::new();
        sender.send(&good, 1, &mut batch).expect("good");
        let before = datagrams(&batch);
        let report = sender.report(WallTime::from_micros(0), 0);
        assert_eq!(sender.send(&bad, 2, &mut batch), Err(PacketizeError::NalLength));
        assert_eq!(datagrams(&batch), before);
        assert_eq!(batch.framed_len(), before[0].len() + 4);
        assert_eq!(sender.report(WallTime::from_micros(0), 0), report);
        let sent = sender.send(&good, 3, &mut batch).expect("good");
        assert_eq!(sent.first_sequence, SETTINGS.first_sequence + 1);
        assert_eq!(batch.len(), 2);
    }
    let short = unit(&[], &nals(&[b"\x40"]));
    let mut batch = PacketBatch::new();
    let error = sender(h265(), limits::UDP_PACKET).send(&short, 0, &mut batch);
    assert_eq!(error, Err(PacketizeError::NalLength));
}

#[test]
fn an_empty_unit_is_no_packet() {
    for parameters in [h264(), h265(), aac(), g711(1)] {
        assert!(payloads(parameters, limits::UDP_PACKET, &unit(&[], &[])).is_empty());
    }
}

#[test]
fn an_aac_frame_stands_behind_its_au_header() {
    let sent = payloads(aac(), limits::UDP_PACKET, &unit(&[], b"frame"));
    // 16 bits of headers; 5 << 3.
    assert_eq!(sent, [&b"\x00\x10\x00\x28frame"[..]]);
}

#[test]
fn an_aac_frame_longer_than_its_header_can_say_is_refused() {
    let mut batch = PacketBatch::new();
    let long = unit(&[], &[0; 8_192]);
    let error = sender(aac(), limits::UDP_PACKET).send(&long, 0, &mut batch);
    assert_eq!(error, Err(PacketizeError::TooLong(8_192)));
    assert!(batch.is_empty());
    let sent = payloads(aac(), limits::UDP_PACKET, &unit(&[], &[3; 8_191]));
    assert_eq!(join_aac(&sent), [3; 8_191]);
}

#[test]
fn g711_is_cut_between_samples_and_time_goes_on() {
    let samples: Vec<u8> = (0..=255).cycle().take(1_001 * 3).collect();
    let mut batch = PacketBatch::new();
    sender(g711(3), 1_000).send(&unit(&[], &samples), u32::MAX, &mut batch).expect("sent");
    let sent = packets(&batch, SETTINGS.first_sequence, false);
    let times: Vec<u32> = sent.iter().map(|p| p.header.timestamp).collect();
    let joined: Vec<u8> = sent.iter().flat_map(|p| p.payload.iter().copied()).collect();
    assert_eq!(times, [u32::MAX, 328, 657, 986]);
    assert_eq!(sent[0].payload.len(), 329 * 3);
    assert_eq!(joined, samples);
}

#[test]
fn the_sender_counts_what_it_sent_and_wraps() {
    let mut sender = sender(h264(), limits::UDP_PACKET);
    let mut batch = PacketBatch::new();
    assert!(!sender.has_sent());
    for n in 0..20 {
        let sent = sender.send(&unit(&[], &nals(&[b"\x65slice"])), n, &mut batch).expect("sent");
        assert_eq!(sent.packets, 1);
    }
    assert!(sender.has_sent());
    let report = sender.report(WallTime::from_micros(0), 77);
    assert_eq!((report.ssrc, report.timestamp), (SETTINGS.ssrc, 77));
    assert_eq!((report.packets, report.octets), (20, 20 * 6));
    assert_eq!(sender.next_sequence(), 4);
}

#[test]
fn rtp_time_follows_session_time_and_is_exact_from_an_anchor() {
    let sender = sender(h264(), limits::UDP_PACKET);
    let second = crate::proto::time::WallSpan::from_secs(1);
    assert_eq!(sender.timestamp_at(second), 90_005);
    let at = MediaTime::from_ticks;
    assert_eq!(Sender::timestamp_from(at(1_000), 10, at(4_600)), 3_610);
    // A unit before the anchor (B-frames), and RTP time that wraps.
    assert_eq!(Sender::timestamp_from(at(1_000), 10, at(980)), u32::MAX - 9);
}

#[test]
fn payload_is_not_copied() {
    let unit = unit(&[], &nals(&[&[0x65; 3_000]]));
    let mut batch = PacketBatch::new();
    sender(h264(), limits::UDP_PACKET).send(&unit, 0, &mut batch).expect("sent");
    let mut slices = [IoSlice::new(&[]); PacketBatch::MAX_SLICES];
    let used = batch.datagram(1, &mut slices).expect("a packet");
    let within = unit.body.as_ptr_range();
    assert_eq!(used, 2);
    assert!(within.contains(&slices[1].as_ptr()));
}

/// NAL units with headers that may stand in packets.
fn nal_units(header_len: usize) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let size = prop_oneof![4 => 0_usize..40, 2 => 0_usize..1_600, 1 => 0_usize..9_000];
    let nal = (any::<[u8; 2]>(), size).prop_map(move |([first, second], size)| {
        let mut nal = if header_len == 1 {
            vec![first & 0xe0 | (first & 0x1f).clamp(1, 23)]
        } else {
            vec![first & 0x81 | ((first >> 1 & 0x3f) % 48) << 1, second]
        };
        nal.extend((0..size).map(|n| (n as u8).wrapping_mul(31) ^ second));
        nal
    });
    prop::collection::vec(nal, 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nal_units_come_back_whole_and_no_packet_is_too_long(
        (header_len, units) in prop_oneof![Just(1_usize), Just(2)]
            .prop_flat_map(|len| (Just(len), nal_units(len))),
        in_head in any::<prop::sample::Index>(),
        max_packet in prop_oneof![64_usize..2_000, Just(limits::TCP_PACKET)],
    ) {
        let units: Vec<&[u8]> = units.iter().map(Vec::as_slice).collect();
        let (head, body) = units.split_at(in_head.index(units.len() + 1));
        let unit = unit(&nals(head), &nals(body));
        let parameters = if header_len == 1 { h264() } else { h265() };
        let sent = payloads(parameters, max_packet, &unit);
        prop_assert!(sent.iter().all(|payload| payload.len() + 12 <= max_packet));
        prop_assert_eq!(join_nals(header_len, &sent), nals(&units));
    }

    #[test]
    fn audio_comes_back_whole(
        size in 0_usize..8_000,
        max_packet in 64_usize..2_000,
        in_head in any::<prop::sample::Index>(),
    ) {
        let bytes: Vec<u8> = (0..size).map(|n| n as u8).collect();
        let (head, body) = bytes.split_at(in_head.index(size + 1));
        let unit = unit(head, body);
        prop_assert_eq!(join_aac(&payloads(aac(), max_packet, &unit)), bytes.clone());
        let sent = payloads(g711(2), max_packet, &unit);
        prop_assert!(sent.iter().all(|payload| payload.len() + 12 <= max_packet));
        prop_assert_eq!(sent.concat(), bytes);
    }

    #[test]
    fn line_noise_in_a_unit_never_panics(
        head in prop::collection::vec(any::<u8>(), 0..20),
        body in prop::collection::vec(any::<u8>(), 0..60),
        video in any::<bool>(),
    ) {
        let mut batch = PacketBatch::new();
        // Mostly zeros: lengths that fit.
        let body: Vec<u8> = body.iter().map(|&b| if b < 200 { 0 } else { b & 0x1f }).collect();
        let mut sender = sender(if video { h264() } else { h265() }, 64);
        let sent = sender.send(&unit(&head[..head.len() / 8], &body), 0, &mut batch);
        prop_assert_eq!(sent.map_or(0, |s| s.packets as usize), batch.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn trains_cut_at_their_size_are_the_datagrams(
        units in prop::collection::vec(nal_units(1), 1..4),
        most in 1_usize..20,
        slots in PacketBatch::MAX_SLICES..80,
    ) {
        let mut sender = sender(h264(), 300);
        let mut batch = PacketBatch::new();
        for units in &units {
            let units: Vec<&[u8]> = units.iter().map(Vec::as_slice).collect();
            sender.send(&unit(&[], &nals(&units)), 0, &mut batch).expect("sent");
        }
        let (mut cut, mut index) = (Vec::new(), 0);
        while index < batch.len() {
            let mut slices = vec![IoSlice::new(&[]); slots];
            let train = batch.train(index, most, &mut slices).expect("a packet");
            let bytes: Bytes =
                slices[..train.slices].iter().flat_map(|s| s.iter().copied()).collect();
            // As the kernel does it.
            let pieces = bytes.chunks(train.size).map(Bytes::copy_from_slice);
            prop_assert_eq!(pieces.len(), train.packets);
            prop_assert!(train.packets <= most && bytes.len() <= limits::TRAIN);
            cut.extend(pieces);
            index += train.packets;
        }
        prop_assert_eq!(cut, datagrams(&batch));
    }

    #[test]
    fn a_batch_written_bit_by_bit_is_the_datagrams_behind_their_lengths(
        units in prop::collection::vec(nal_units(1), 1..4),
        writes in prop::collection::vec((1_usize..40, 1_usize..3_000), 1..50),
    ) {
        let mut sender = sender(h264(), 500);
        let mut batch = PacketBatch::new();
        for units in &units {
            let units: Vec<&[u8]> = units.iter().map(Vec::as_slice).collect();
            sender.send(&unit(&[], &nals(&units)), 0, &mut batch).expect("sent");
        }
        let mut expected = BytesMut::new();
        for datagram in datagrams(&batch) {
            expected.put_slice(&InterleavedFrame::header(2, datagram.len() as u16));
            expected.put_slice(&datagram);
        }
        prop_assert_eq!(batch.framed_len(), expected.len());

        let (mut at, mut out) = (Cursor::default(), Vec::new());
        for (slots, most) in writes.iter().copied().cycle() {
            let mut slices = vec![IoSlice::new(&[]); slots];
            let used = batch.framed(at, &mut slices);
            if used == 0 {
                break;
            }
            let offered: Vec<u8> = slices[..used].iter().flat_map(|s| s.iter().copied()).collect();
            let written = offered.len().min(most);
            out.extend_from_slice(&offered[..written]);
            let done = batch.advance(&mut at, written);
            prop_assert_eq!(done, out.len() == expected.len());
        }
        prop_assert_eq!(out, expected);
        batch.clear();
        prop_assert_eq!((batch.len(), batch.framed_len()), (0, 0));
        prop_assert_eq!(batch.framed(Cursor::default(), &mut [IoSlice::new(&[])]), 0);
    }
}
