//! What packets cost the allocator: nothing. A frame has its memory, and what was read has its own.

use std::io::IoSlice;

use bytes::{Bytes, BytesMut};
use vedette::proto::{
    access_unit::{AccessUnit, Track, TrackIndex},
    codec::{Parameters, h264},
    rtp::{
        Depacketizer, PacketBatch, Receiver, Sender, Settings, batch::Cursor, depacketize::Format,
        receive,
    },
    rtsp::{message::Message, parse::Decoder},
    time::{MediaTime, Timescale, WallTime},
};

use super::Duration;

const SPS: &[u8] = b"\x67\x64\x00\x0d\xac\xd9\x41\x41\xfb\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\x20\xf1\x42\x99\x60";
const SETS: &str = "sprop-parameter-sets=Z2QADazZQUH7ARAAAAMAEAAAAwMg8UKZYA==,aOvjyyLA";
const PICTURES: usize = 200;

/// Pictures of this size in packets of at most 1,000 bytes, as they come on a connection; and how
/// many packets they are.
fn interleaved(size: usize) -> (BytesMut, usize) {
    let pps = vec![Bytes::from_static(b"\x68\xeb\xe3\xcb\x22\xc0")];
    let parameters = Parameters::H264(h264::Parameters::new(Bytes::from_static(SPS), pps).unwrap());
    let track = Track { parameters, timescale: Timescale::new(90_000).unwrap() };
    let settings = Settings {
        ssrc: 1,
        first_sequence: 0,
        first_timestamp: 0,
        payload_type: 96,
        channel: Some(0),
        max_packet: 1_000,
    };
    let mut sender = Sender::new(settings, &track).unwrap();
    let body: Vec<u8> =
        [&(size as u32).to_be_bytes()[..], &[0x41, 0x88], &vec![7; size - 2]].concat();
    let body = Bytes::from(body);
    let (mut out, mut packets) = (BytesMut::new(), 0);
    for number in 0..PICTURES {
        let unit = AccessUnit {
            track: TrackIndex(0),
            number: number as u64,
            dts: MediaTime::ZERO,
            cts: 0,
            wall: WallTime::from_micros(0),
            random_access: false,
            head: Bytes::new(),
            body: body.clone(),
        };
        let mut batch = PacketBatch::new();
        sender.send(&unit, number as u32 * 3_600, &mut batch).unwrap();
        packets += batch.len();
        let mut at = Cursor::default();
        loop {
            let mut slices = [IoSlice::new(&[]); PacketBatch::MAX_SLICES];
            let used = batch.framed(at, &mut slices);
            slices[..used].iter().for_each(|slice| out.extend_from_slice(slice));
            if batch.advance(&mut at, slices[..used].iter().map(|slice| slice.len()).sum()) {
                break;
            }
        }
    }
    (out, packets)
}

/// Allocations from the connection's bytes to frames.
fn allocations(mut bytes: BytesMut) -> u64 {
    let format = Format { encoding: "H264", clock_rate: 90_000, channels: None, fmtp: SETS };
    let mut depacketizer = Depacketizer::new(&format).unwrap();
    let mut receiver = Receiver::new(receive::Settings {
        clock_rate: 90_000,
        payload_types: vec![96],
        reorder: None,
        ssrc: None,
        own_ssrc: 1,
    });
    let (mut decoder, mut frames) = (Decoder::new(), 0);
    let counted = allocation_counter::measure(|| {
        while let Some(Message::Data(data)) = decoder.decode(&mut bytes).unwrap() {
            receiver.handle_data(data.payload, Duration::ZERO).unwrap();
            while let Some(received) = receiver.poll(Duration::ZERO) {
                depacketizer.push(received).unwrap();
                frames += std::iter::from_fn(|| depacketizer.poll()).count();
            }
        }
    });
    assert_eq!(frames, PICTURES);
    counted.count_total
}

#[test]
fn a_packet_costs_no_allocation_and_a_frame_few() {
    let (one, few) = interleaved(900);
    let (many, packets) = interleaved(60_000);
    assert!(few == PICTURES && packets > 60 * PICTURES, "{few} and {packets} packets");
    let (small, large) = (allocations(one), allocations(many));
    println!("{PICTURES} pictures: {small} allocations in {few} packets, {large} in {packets}");
    let frames = PICTURES as u64;
    assert!(large <= 2 * frames + 50, "{large} for {packets} packets");
    assert!(small <= 2 * frames + 50, "{small} for {few} packets");
}
