//! What comes out for what goes in.

use proptest::prelude::*;

use super::*;
use crate::proto::rtp::packet::Header;

const SSRC: u32 = 0xcafe_f00d;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn receiver(reorder: Option<Reorder>) -> Receiver {
    Receiver::new(Settings {
        clock_rate: 90_000,
        payload_types: vec![96],
        reorder,
        ssrc: None,
        own_ssrc: 7,
    })
}

fn over_udp() -> Receiver {
    receiver(Some(Reorder::default()))
}

fn packet(ssrc: u32, sequence: u16, timestamp: u32) -> Packet {
    let header = Header { marker: false, payload_type: 96, sequence, timestamp, ssrc };
    Packet { header, extension: None, payload: Bytes::from_static(b"media") }
}

/// What came out by now: sequence number, ticks, lost, fresh.
fn out(receiver: &mut Receiver, now: Duration) -> Vec<(u16, i64, u16, bool)> {
    std::iter::from_fn(|| receiver.poll(now))
        .map(|r| (r.packet.header.sequence, r.ticks, r.lost, r.fresh))
        .collect()
}

/// Packets of `SSRC`, one a millisecond, with times 90 apart; what came out.
fn fed(receiver: &mut Receiver, sequences: &[u16]) -> Vec<u16> {
    let mut all = Vec::new();
    for (&sequence, n) in sequences.iter().zip(0..) {
        receiver.handle_packet(packet(SSRC, sequence, u32::from(sequence) * 90), ms(n));
        all.extend(out(receiver, ms(n)).into_iter().map(|(sequence, ..)| sequence));
    }
    all
}

#[test]
fn udp_reordering_is_put_in_order_and_duplicates_are_dropped() {
    let mut udp = over_udp();
    assert_eq!(fed(&mut udp, &[5, 6, 8, 9, 8, 7, 7, 10, 6]), [5, 6, 7, 8, 9, 10]);
    let counted = udp.counters();
    assert_eq!((counted.duplicates, counted.reordered, counted.lost, counted.late), (3, 1, 0, 0));
    assert_eq!(udp.poll_timeout(), None, "nothing is held");
}

#[test]
fn a_missing_packet_is_waited_for_so_long_and_then_told_as_lost() {
    let mut udp = over_udp();
    assert_eq!(fed(&mut udp, &[1, 4, 5]), [1]);
    assert_eq!(udp.poll_timeout(), Some(ms(101)));
    assert!(udp.poll(ms(100)).is_none());
    assert_eq!(out(&mut udp, ms(101)), [(4, 360, 2, false), (5, 450, 0, false)]);
    udp.handle_packet(packet(SSRC, 2, 180), ms(102));
    assert!(udp.poll(ms(500)).is_none());
    assert_eq!((udp.counters().lost, udp.counters().late), (2, 1));
}

#[test]
fn what_is_held_is_bounded_by_count_and_by_bytes() {
    for (packets, bytes) in [(4, 1 << 20), (512, 15)] {
        let mut udp = receiver(Some(Reorder { delay: ms(1_000), packets, bytes }));
        let came = fed(&mut udp, &[1, 3, 4, 5, 6, 7]);
        assert_eq!(came[..4], [1, 3, 4, 5], "{packets} packets, {bytes} bytes");
        assert_eq!(udp.counters().lost, 1);
    }
}

#[test]
fn packet_loss_in_bursts_is_counted_exactly_over_tcp_and_waits_for_nothing() {
    let mut tcp = receiver(None);
    assert_eq!(fed(&mut tcp, &[10, 11, 14, 15, 415, 416]), [10, 11, 14, 15, 415, 416]);
    assert_eq!(tcp.counters().lost, 2 + 399);
    // More than any dropout, but the clock goes on as it should.
    tcp.handle_packet(packet(SSRC, 5_000, 417 * 90), ms(10));
    tcp.handle_packet(packet(SSRC, 5_001, 418 * 90), ms(11));
    let came = out(&mut tcp, ms(11));
    assert_eq!(came, [(5_000, 417 * 90, 4_583, false), (5_001, 418 * 90, 0, false)]);
    assert_eq!((tcp.counters().restarts, tcp.counters().lost), (0, 401 + 4_583));
}

#[test]
fn ssrc_or_sequence_numbers_restarting_are_a_new_source_on_the_same_line() {
    for reorder in [None, Some(Reorder::default())] {
        for (ssrc, sequence) in [(SSRC, 40_000), (1, 40_000), (1, 12)] {
            // The encoder began anew 500 ms later, with times of its own; then with the old clock.
            for (timestamp, expected) in
                [(3_000_000_000, 11 * 90 + 499 * 90), (990 + 45_000, 45_990)]
            {
                let mut receiver = self::receiver(reorder);
                fed(&mut receiver, &[10, 11]);
                receiver.handle_packet(packet(ssrc, sequence, timestamp), ms(500));
                assert!(receiver.poll(ms(500)).is_none(), "one packet alone is no source");
                receiver.handle_packet(packet(ssrc, sequence + 1, timestamp + 90), ms(501));
                let first = (sequence, expected, 0, true);
                let second = (sequence + 1, expected + 90, 0, false);
                let came = out(&mut receiver, ms(501));
                assert_eq!(came, [first, second], "{ssrc} {sequence} {timestamp}");
                assert_eq!((receiver.counters().restarts, receiver.ssrc()), (1, Some(ssrc)));
            }
        }
    }
}

#[test]
fn over_tcp_numbers_that_begin_anew_close_by_are_a_restart() {
    let mut tcp = receiver(None);
    fed(&mut tcp, &[64, 65]);
    for n in 0..3 {
        tcp.handle_packet(packet(SSRC, n, 66 * 90 + u32::from(n) * 90), ms(2 + u64::from(n)));
    }
    let came: Vec<u16> = out(&mut tcp, ms(9)).into_iter().map(|(sequence, ..)| sequence).collect();
    assert_eq!((came, tcp.counters().restarts), (vec![0, 1, 2], 1));
}

#[test]
fn two_sources_that_send_at_once_do_not_flap() {
    let mut tcp = receiver(None);
    for n in 0..50_u16 {
        for ssrc in [SSRC, 1] {
            for m in 0..2 {
                let sequence = n * 2 + m;
                let packet = packet(ssrc, sequence, u32::from(sequence) * 90);
                tcp.handle_packet(packet, ms(u64::from(n)));
            }
        }
    }
    assert!(tcp.counters().restarts <= 1, "{:?}", tcp.counters());
    assert_eq!(tcp.counters().lost, 0);
}

#[test]
fn packets_of_an_unknown_source_or_payload_type_are_passed_over_and_counted() {
    let mut udp = over_udp();
    fed(&mut udp, &[1]);
    udp.handle_packet(packet(99, 700, 5), ms(1));
    let mut other = packet(SSRC, 2, 180);
    other.header.payload_type = 97;
    udp.handle_packet(other, ms(2));
    udp.handle_packet(packet(SSRC, 3, 270), ms(3));
    assert_eq!(out(&mut udp, ms(3)), [(3, 270, 0, false)], "its number was not lost");
    assert!(udp.handle_data(Bytes::from_static(b"no RTP"), ms(4)).is_err());
    let counted = udp.counters();
    assert_eq!((counted.other_source, counted.other_type, counted.malformed), (1, 1, 1));
}

#[test]
fn a_source_named_in_vain_does_not_keep_the_camera_out() {
    let settings = Settings { ssrc: Some(5), ..receiver(None).settings };
    let mut named = Receiver::new(settings);
    assert_eq!(fed(&mut named, &[1, 2, 3]), [1, 2, 3]);
    assert_eq!((named.counters().restarts, named.ssrc()), (0, Some(SSRC)));
}

#[test]
fn a_32_bit_wrap_of_time_and_a_16_bit_wrap_of_numbers_go_on() {
    let mut udp = over_udp();
    for (n, at) in [(0_u16, 0), (2, 2), (1, 3), (3, 4)] {
        let timestamp = 0xffff_ff00_u32.wrapping_add(u32::from(n) * 0x100);
        udp.handle_packet(packet(SSRC, 0xfffe_u16.wrapping_add(n), timestamp), ms(at));
    }
    let ticks: Vec<i64> = out(&mut udp, ms(4)).into_iter().map(|(_, ticks, ..)| ticks).collect();
    assert_eq!(ticks, [0xffff_ff00, 0x1_0000_0000, 0x1_0000_0100, 0x1_0000_0200]);
}

#[test]
fn rtp_info_that_lies_is_not_believed_and_may_come_late() {
    // Hikvision and Tapo say 0 or 1; what is further off than ten seconds is made up, too.
    for (rtptime, beginning) in [
        (0, None),
        (1, None),
        (u32::MAX, None),
        (950_000, Some(950_000)),
        (1_000_100, Some(1_000_100)),
    ] {
        let mut tcp = receiver(None);
        assert_eq!(tcp.beginning(), None);
        tcp.handle_packet(packet(SSRC, 0, 1_000_000), ms(0));
        tcp.hint_time(rtptime);
        assert_eq!(tcp.beginning(), beginning, "late: {rtptime}");
        let mut tcp = receiver(None);
        tcp.hint_time(rtptime);
        tcp.handle_packet(packet(SSRC, 0, 1_000_000), ms(0));
        assert_eq!(tcp.beginning(), beginning, "early: {rtptime}");
    }
}

fn sender_report(ssrc: u32, timestamp: u32) -> BytesMut {
    let mut bytes = BytesMut::new();
    let ntp = 0xe8f1_0203_8000_0000;
    let report = SenderReport { ssrc, ntp, timestamp, packets: 1, octets: 5 };
    rtcp::write(&mut bytes, &report, "camera", false, None);
    bytes
}

#[test]
fn a_sender_report_lies_on_the_line_of_the_packets_even_when_it_comes_before_them() {
    let mut tcp = receiver(None);
    tcp.handle_rtcp(&sender_report(SSRC, 0xffff_fff0), ms(0)).expect("RTCP");
    assert_eq!(tcp.poll_report(), None);
    tcp.handle_packet(packet(SSRC, 0, 16), ms(1));
    assert_eq!(tcp.poll_report().map(|r| (r.ticks, r.arrived)), Some((-16, ms(0))));
    tcp.handle_rtcp(&sender_report(SSRC, 106), ms(2)).expect("RTCP");
    assert_eq!(tcp.poll_report().map(|r| r.ticks), Some(106));
}

#[test]
fn rtcp_malformed_or_of_an_unknown_source_is_counted_and_harmless() {
    let mut tcp = receiver(None);
    fed(&mut tcp, &[1]);
    assert!(tcp.handle_rtcp(b"\x80\xc8\x00", ms(2)).is_err());
    tcp.handle_rtcp(&sender_report(1, 5), ms(2)).expect("RTCP");
    assert_eq!(tcp.poll_report(), None);
    assert_eq!((tcp.counters().malformed_rtcp, tcp.counters().other_reports), (1, 1));
}

#[test]
fn after_a_good_bye_the_next_source_counts_at_once() {
    let mut tcp = receiver(None);
    fed(&mut tcp, &[1]);
    let mut bye = BytesMut::new();
    let report = SenderReport { ssrc: SSRC, ntp: 0, timestamp: 90, packets: 1, octets: 5 };
    rtcp::write(&mut bye, &report, "camera", true, None);
    assert_eq!(tcp.handle_rtcp(&bye, ms(2)).ok(), Some(Heard { bye: true }));
    tcp.handle_packet(packet(2, 9, 9), ms(3));
    assert!(tcp.poll(ms(3)).is_some_and(|r| r.fresh));
}

#[test]
fn a_receiver_report_says_what_was_lost_as_rfc_3550_reckons() {
    let mut udp = over_udp();
    let mut bytes = BytesMut::new();
    udp.receiver_report(ms(0), "vedette", None, false, &mut bytes);
    assert_eq!(&bytes[..8], b"\x80\xc9\x00\x01\x00\x00\x00\x07", "nothing came yet");
    fed(&mut udp, &[0xfffe, 0xffff, 0, 3]);
    udp.handle_rtcp(&sender_report(SSRC, 0), ms(1_000)).expect("RTCP");
    bytes.clear();
    udp.receiver_report(ms(1_500), "vedette", Some(3), false, &mut bytes);
    assert_eq!(&bytes[..2], b"$\x03");
    let body = &bytes[4..];
    let received = rtcp::parse(body).expect("RTCP");
    let block = received.blocks[0];
    assert_eq!((block.ssrc, block.lost, block.fraction_lost), (SSRC, 2, 85));
    assert_eq!(block.highest_sequence, 0x1_0003);
    // The middle of the report's NTP time, half a second since; then our CNAME.
    assert_eq!(body[24..32], *b"\x02\x03\x80\x00\x00\x00\x80\x00");
    assert_eq!(body[32..], *b"\x81\xca\x00\x04\x00\x00\x00\x07\x01\x07vedette\x00\x00\x00");
    bytes.clear();
    udp.receiver_report(ms(1_600), "vedette", None, false, &mut bytes);
    assert_eq!(rtcp::parse(&bytes).expect("RTCP").blocks[0].fraction_lost, 0, "since the last");
}

#[test]
fn a_key_frame_is_asked_for_of_the_source_that_sends() {
    let mut tcp = receiver(None);
    let mut bytes = BytesMut::new();
    tcp.receiver_report(ms(0), "vedette", None, true, &mut bytes);
    let (report, description) = (8, 4 + 4 + 12);
    assert_eq!(bytes.len(), report + description, "nobody is there to be asked");
    tcp.handle_packet(packet(SSRC, 0, 0), ms(0));
    bytes.clear();
    tcp.receiver_report(ms(0), "vedette", None, true, &mut bytes);
    let asked = &bytes[report + 24 + description..];
    assert_eq!(asked[..4], [0x81, 206, 0, 2], "PSFB with format 1 (RFC 4585 §6.1, §6.3.1)");
    assert_eq!(asked[8..], SSRC.to_be_bytes());
    assert!(rtcp::parse(&bytes).is_ok());
}

#[test]
fn a_driver_that_does_not_ask_costs_packets_and_not_memory() {
    let mut tcp = receiver(None);
    for n in 0..10_000_u16 {
        tcp.handle_packet(packet(SSRC, n, 0), ms(0));
    }
    assert_eq!(out(&mut tcp, ms(0)).len(), limits::READY);
    tcp.handle_packet(packet(SSRC, 10_000, 0), ms(0));
    assert_eq!(tcp.poll(ms(0)).map(|r| usize::from(r.lost)), Some(10_000 - limits::READY));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_numbers_of_a_source_only_rise_and_all_are_accounted_for(
        udp in any::<bool>(),
        packets in prop::collection::vec(
            (0_u32..3, prop_oneof![8 => -3_i32..6, 1 => any::<i32>()], any::<bool>(), 0_u64..60),
            1..80,
        ),
    ) {
        let limits = Reorder { delay: ms(50), packets: 8, bytes: 60 };
        let mut receiver = receiver(udp.then_some(limits));
        let (mut now, mut sequence, mut timestamp) = (Duration::ZERO, 65_530_u16, u32::MAX - 500);
        let mut came: Vec<Received> = Vec::new();
        for (ssrc, step, same_time, later) in packets {
            now += ms(later);
            sequence = sequence.wrapping_add(step as u16);
            timestamp = if same_time { timestamp } else { timestamp.wrapping_add_signed(step) };
            receiver.handle_packet(packet(ssrc.saturating_sub(1), sequence, timestamp), now);
            came.extend(std::iter::from_fn(|| receiver.poll(now)));
            if let Some(due) = receiver.poll_timeout() {
                prop_assert!(due > now && due <= now + limits.delay);
            }
        }
        came.extend(std::iter::from_fn(|| receiver.poll(now + ms(1_000))));
        prop_assert_eq!(receiver.poll_timeout(), None);
        for pair in came.windows(2).filter(|pair| !pair[1].fresh) {
            let (a, b) = (&pair[0].packet.header, &pair[1].packet.header);
            prop_assert_eq!(a.ssrc, b.ssrc);
            let between = b.sequence.wrapping_sub(a.sequence);
            prop_assert!(between > 0, "the same number twice");
            prop_assert_eq!(between.wrapping_sub(1), pair[1].lost, "each is there or lost");
        }
        let lost: u64 = came.iter().map(|r| u64::from(r.lost)).sum();
        prop_assert_eq!((lost, came.len() as u64), (receiver.counters().lost, receiver.counters().packets));
    }
}
