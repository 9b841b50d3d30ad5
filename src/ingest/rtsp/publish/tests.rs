//! What is taken of an announcement, and the bounds of what waits.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::time::{Instant, advance};

use super::{
    berth::{Berths, Kind, Left, Line, Reports},
    *,
};
use crate::{
    clock::Clock,
    id::StreamId,
    ingest::source::{Source as _, SourceEvent},
    model::Source,
};

fn announced(video: &str, audio: &str) -> Announcement {
    let line = |kind: &str, map: &str| {
        let (map, fmtp) = map.split_once('|').unwrap_or((map, ""));
        let fmtp = if fmtp.is_empty() { String::new() } else { format!("a=fmtp:96 {fmtp}\r\n") };
        format!("m={kind} 0 RTP/AVP 96\r\na=rtpmap:96 {map}\r\n{fmtp}a=sendonly\r\n")
    };
    let sdp = format!("v=0\r\n{}{}", line("video", video), line("audio", audio));
    Announcement::new(Description::parse(sdp.as_bytes()), true).unwrap()
}

#[test]
fn every_codec_that_is_pulled_can_be_published() {
    let video = ["H264/90000", "H265/90000", "JPEG/90000", "AV1/90000"];
    let audio = [
        "MPEG4-GENERIC/48000/2|mode=AAC-hbr;config=1190;sizelength=13;indexlength=3;indexdeltalength=3",
        "MP4A-LATM/48000/2|cpresent=0;config=400023203fc0",
        "PCMU/8000",
        "PCMA/8000",
        "opus/48000/2",
        "L16/44100/2",
    ];
    for video in video {
        for audio in audio {
            let taken = announced(video, audio);
            let left_out: Vec<_> = taken.left_out().collect();
            assert_eq!(left_out, [""; 0], "{video} {audio}");
            assert_eq!(taken.track(0), Some(TrackIndex(0)));
            assert_eq!(taken.track(1), Some(TrackIndex(1)));
        }
    }
    let partly = announced("H264/90000", "G722/8000");
    assert_eq!((partly.track(0), partly.track(1)), (Some(TrackIndex(0)), None));
    assert_eq!(partly.left_out().collect::<Vec<_>>(), ["audio/g722"]);
}

#[tokio::test]
async fn a_feed_holds_so_many_packets_and_so_many_bytes_and_never_waits() {
    let open = Berths::default().open(StreamId(1), Source::Publish { take_over: false }, true);
    let claim = open.berth().claim().unwrap();
    let lines = vec![Line { track: TrackIndex(0), rtcp_channel: Some(1) }];
    let announcement = announced("H264/90000", "PCMA/8000");
    let feed = claim.record(&announcement, lines, Reports::new(|_, _| {})).unwrap();
    let mut intake = open.berth().arrival().await;
    let push = |data: &Bytes| feed.push(TrackIndex(0), Kind::Rtp, data.clone(), Instant::now());

    let (large, small) = (Bytes::from(vec![0; limits::BYTES / 16]), Bytes::from_static(b"x"));
    assert!((0..16).all(|_| push(&large)));
    assert!(!push(&small), "no byte more");
    intake.next().await.unwrap();
    assert!(push(&small), "there is room again");
    assert!(!push(&large));
    for _ in 0..16 {
        intake.next().await.unwrap();
    }

    assert!((0..limits::PACKETS).all(|_| push(&small)));
    assert!(!push(&small), "no packet more");
    for _ in 0..limits::PACKETS {
        assert_eq!(intake.next().await.unwrap().data, small, "nothing that was dropped");
    }
    assert!(push(&large));
    feed.leave(Left::Silent);
    drop(feed);
    assert!(intake.next().await.is_some(), "what waits is not lost with the publisher");
    assert!(intake.next().await.is_none());
    assert_eq!(intake.why_left(), Left::Silent);
}

/// Sound number `n`: 20 ms of A-law.
fn packet(n: u16) -> Bytes {
    let mut packet = BytesMut::from(&[0x80, 96][..]);
    packet.put_u16(n);
    packet.put_u32(u32::from(n) * 160);
    packet.put_u32(7);
    packet.put_bytes(n as u8, 160);
    packet.freeze()
}

/// The next unit: which it is, what was lost before it, and when it came.
async fn unit(published: &mut Published) -> (u8, u16, Instant) {
    loop {
        if let SourceEvent::Unit(unit) = published.next().await.unwrap().unwrap() {
            return (unit.data[0], unit.lost, unit.arrival.at);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_while_the_recorder_is_busy_is_neither_late_nor_lost() {
    let open = Berths::default().open(StreamId(1), Source::Publish { take_over: false }, true);
    let claim = open.berth().claim().unwrap();
    let lines = vec![Line { track: TrackIndex(1), rtcp_channel: None }];
    let announcement = announced("H264/90000", "PCMA/8000");
    let feed = claim.record(&announcement, lines, Reports::new(|_, _| {})).unwrap();
    let push = |n| assert!(feed.push(TrackIndex(1), Kind::Rtp, packet(n), Instant::now()));
    let began = Instant::now();
    push(1);
    advance(Duration::from_millis(20)).await;
    push(2);
    // Only now somebody takes it up.
    advance(Duration::from_millis(300)).await;
    let intake = open.berth().arrival().await;
    let clock = Clock::manual(crate::proto::time::WallTime::from_micros(1 << 50));
    let mut published = Published::new(intake, clock).unwrap();
    assert_eq!(unit(&mut published).await, (1, 0, began));
    assert_eq!(unit(&mut published).await, (2, 0, began + Duration::from_millis(20)));

    push(4);
    let wait = tokio::time::timeout(Duration::from_millis(10), published.next()).await;
    assert!(wait.is_err(), "the third is waited for");
    push(3);
    // The recorder is busy for longer than a packet is waited for.
    advance(Duration::from_secs(1)).await;
    let came: Vec<_> = [unit(&mut published).await, unit(&mut published).await].into();
    assert_eq!(came.iter().map(|(n, lost, _)| (*n, *lost)).collect::<Vec<_>>(), [(3, 0), (4, 0)]);
}
