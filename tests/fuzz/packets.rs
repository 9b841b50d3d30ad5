//! Packets as a camera might send them, through receiver and depacketizer of each codec.

use std::time::Duration;

use bytes::BytesMut;
use vedette::proto::rtp::{self, depacketize, receive};

/// Encoding name, format parameters, and the payload of a packet that is a whole frame.
pub(super) type Format = (&'static str, &'static str, &'static [u8]);

/// One of each way in which payloads are read.
pub(super) const FORMATS: [Format; 11] = [
    ("H264", "packetization-mode=1", &[0x65, 0x88, 2, 3, 0, 0, 3]),
    ("H265", "", &[0x26, 1, 0xaf, 1, 2, 3, 0, 0, 3]),
    ("H265", "sprop-max-don-diff=1", &[0x26, 1, 0, 0, 0xaf, 1, 2, 3]),
    (
        "mpeg4-generic",
        "mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1190",
        &[0, 16, 0, 32, 1, 2, 3, 4],
    ),
    (
        "mpeg4-generic",
        "mode=AAC-lbr;sizelength=6;indexlength=2;indexdeltalength=2;auxiliarydatasizelength=8",
        &[0, 8, 16, 0, 1, 2, 3, 4],
    ),
    ("MP4A-LATM", "cpresent=0;config=400024203fc0", &[4, 1, 2, 3, 4]),
    // The same configuration before the element: which begins within a byte.
    ("MP4A-LATM", "", &[0x20, 0, 0x12, 0x10, 0x1f, 0xe0, 0x10, 8, 16]),
    // Quality 255: the tables stand in the packet.
    ("JPEG", "", &[0, 0, 0, 0, 1, 50, 8, 8, 1, 2, 3, 4, 5]),
    ("AV1", "", &[0x10, 0x30, 1, 2, 3]),
    ("opus", "", &[0x78, 1, 2, 3]),
    ("L16", "", &[1, 2, 3, 4]),
];

/// An RTP packet with padding, an extension of three words and a contributing source.
pub(super) fn seed(payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xb1, 0xe0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0xab, 0xac, 0, 3];
    bytes.extend([7; 12]);
    bytes.extend(payload);
    bytes.extend([0, 0, 3]);
    bytes
}

/// How many frames come out. What comes out is not much more than what went in.
pub(super) fn received(format: Format, udp: bool, packets: Vec<(Vec<u8>, u64)>) -> usize {
    let (encoding, fmtp, _) = format;
    let format = depacketize::Format { encoding, clock_rate: 48_000, channels: None, fmtp };
    let mut depacketizer = rtp::Depacketizer::new(&format).unwrap();
    let mut receiver = rtp::Receiver::new(receive::Settings {
        clock_rate: 48_000,
        payload_types: Vec::new(),
        reorder: udp.then(receive::Reorder::default),
        ssrc: None,
        own_ssrc: 1,
    });
    let (mut now, mut got, mut given, mut frames) = (Duration::ZERO, 0, 0, 0);
    for (bytes, later) in packets {
        now += Duration::from_millis(later);
        // A picture's headers are made up from a few bytes.
        got += bytes.len() + if encoding == "JPEG" { 200 } else { 0 };
        let _ = receiver.handle_rtcp(&bytes, now);
        let _ = receiver.handle_data(bytes.into(), now);
        while let Some(packet) = receiver.poll(now) {
            let _ = depacketizer.push(packet);
            for frame in std::iter::from_fn(|| depacketizer.poll()) {
                given += frame.data.len();
                frames += 1;
            }
        }
        receiver.receiver_report(now, "fuzz", None, udp, &mut BytesMut::new());
        let _ = (receiver.poll_report(), receiver.poll_timeout());
    }
    assert!(given <= 4 * got, "{given} bytes out of {got}");
    frames
}
