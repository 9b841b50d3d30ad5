//! Recordings: pace, seek, pause, end.

use super::{
    client::{Frame, number},
    *,
};

/// 20 s.
fn twenty_seconds(size: usize) -> Script {
    let run = run(1, TEN);
    let units = footage(&run, 500, size);
    Script::new(vec![(run, units)], WallSpan::from_micros(PICTURE_US - 25_000))
}

#[tokio::test(start_paused = true)]
async fn packets_come_when_they_are_due_without_drift() {
    let bench = Bench::recorded(twenty_seconds(300)).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    assert_eq!(base, bench.url("/door/recording/~script/"));
    let (answer, info) = client.play(&base, "npt=0.000-").await;
    assert_eq!(answer.headers.get("Range"), Some("npt=0.000-20.000"));
    let pictures = client.pictures(500).await;
    let (begin, first) = &pictures[0];
    assert_eq!(info[0].rtptime, Some(first.header.timestamp));
    for (n, (at, packet)) in pictures.iter().enumerate() {
        assert_eq!(number(packet), n as u64);
        let due = Duration::from_millis(40 * n as u64);
        let late = (*at - *begin).as_millis().abs_diff(due.as_millis());
        assert!(late <= 3, "picture {n} is {late} ms off");
        let ticks = packet.header.timestamp.wrapping_sub(first.header.timestamp);
        assert_eq!(ticks, 3_600 * n as u32);
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_seek_lands_on_the_key_frame_and_goes_on_in_sequence() {
    let bench = Bench::recorded(twenty_seconds(300)).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    client.play(&base, "npt=0-").await;
    let mut last = client.pictures(10).await.pop().unwrap().1;
    for (range, told, key) in [
        ("npt=12.500-", "npt=12.000-20.000", 300),
        ("npt=3.999-", "npt=3.000-20.000", 75),
        ("npt=3600-", "npt=19.000-20.000", 475),
        ("npt=7-9", "npt=7.000-9.000", 175),
    ] {
        let (answer, info) = client.play(&base, range).await;
        assert_eq!(answer.headers.get("Range"), Some(told));
        // What was on its way before the answer.
        while let Some((_, message)) = client.inbox.pop_front() {
            let crate::proto::rtsp::message::Message::Data(frame) = message else { panic!() };
            if frame.channel == 0 {
                last = crate::proto::rtp::Packet::parse(frame.payload).unwrap();
            }
        }
        let (_, first) = client.rtp(0).await;
        assert_eq!(number(&first), key, "{range}");
        assert_eq!(first.header.sequence, last.header.sequence.wrapping_add(1));
        assert_eq!(first.header.ssrc, last.header.ssrc);
        let moved = first.header.timestamp.wrapping_sub(last.header.timestamp);
        assert!((1..90_000).contains(&moved), "RTP time moved by {moved}");
        assert_eq!(info[0].rtptime, Some(first.header.timestamp));
        assert_eq!(info[0].seq, Some(first.header.sequence));
        let (_, sound) = client.rtp(2).await;
        assert_eq!(info[1].rtptime, Some(sound.header.timestamp));
        assert_eq!(info[1].seq, Some(sound.header.sequence));
        last = client.pictures(3).await.pop().unwrap().1;
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn clock_ranges_are_answered_in_clock() {
    let bench = Bench::recorded(twenty_seconds(300)).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    let (answer, _) = client.play(&base, "clock=20261122T100005.5Z-20261122T100007Z").await;
    let range = answer.headers.get("Range").unwrap();
    assert!(range.starts_with("clock=20261122T100005"), "{range}");
    assert!(range.contains("-20261122T100007"), "{range}");
    assert_eq!(number(&client.rtp(0).await.1), 125);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_pause_it_goes_on_at_the_very_unit() {
    let bench = Bench::recorded(twenty_seconds(300)).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    client.play(&base, "npt=0-").await;
    let mut frames = Vec::new();
    let mut take = |frame| {
        if let Frame::Rtp { channel, packet, .. } = frame {
            frames.push((channel, packet));
        }
    };
    for _ in 0..120 {
        take(client.frame().await.unwrap());
    }
    for round in 0..3 {
        client.ask(&format!("PAUSE {base}")).await;
        while !client.inbox.is_empty() {
            take(client.frame().await.unwrap());
        }
        tokio::time::sleep(Duration::from_secs(3_600 * round)).await;
        let (answer, _) = client.play(&base, "").await;
        assert!(client.inbox.is_empty(), "silent in the pause");
        let range = answer.headers.get("Range").unwrap();
        assert!(range.starts_with("npt=1.") || range.starts_with("npt=2."), "{range}");
        for _ in 0..50 {
            take(client.frame().await.unwrap());
        }
    }
    for channel in [0, 2] {
        let packets: Vec<_> =
            frames.iter().filter(|(c, _)| *c == channel).map(|(_, p)| p).collect();
        assert!(packets.len() > 60);
        for (n, pair) in packets.windows(2).enumerate() {
            assert_eq!(number(pair[1]), number(pair[0]) + 1, "channel {channel} packet {n}");
            assert_eq!(pair[1].header.sequence, pair[0].header.sequence.wrapping_add(1));
        }
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_is_told_two_seconds_after_the_last_packet_and_is_not_the_sessions() {
    let bench = Bench::recorded(twenty_seconds(300)).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    for _ in 0..2 {
        client.play(&base, "npt=18-19").await;
        let (mut byes, mut last, mut numbers) = (Vec::new(), None, Vec::new());
        while byes.len() < 2 {
            let frame = client.frame().await.unwrap();
            match &frame {
                Frame::Rtcp { received, channel, .. } if !received.byes.is_empty() => {
                    byes.push((frame.at(), *channel));
                }
                Frame::Rtcp { .. } => {}
                Frame::Rtp { packet, channel, .. } => {
                    last = Some(frame.at());
                    if *channel == 0 {
                        numbers.push(number(packet));
                    }
                }
            }
        }
        assert_eq!(numbers, (450..475).collect::<Vec<_>>());
        let channels: Vec<_> = byes.iter().map(|(_, c)| *c).collect();
        assert_eq!(channels, [1, 3]);
        let after = (byes[0].0 - last.unwrap()).as_millis();
        assert!((1_990..2_100).contains(&after), "{after}");
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_gap_takes_no_time() {
    let (one, two) = (run(1, TEN), run(2, TEN + WallSpan::from_secs(7_200)));
    let tail = WallSpan::from_micros(PICTURE_US - 25_000);
    let runs = vec![
        (Arc::clone(&one), footage(&one, 25, 300)),
        (Arc::clone(&two), footage(&two, 25, 300)),
    ];
    let bench = Bench::recorded(Script::new(runs, tail)).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    client.play(&base, "npt=0-").await;
    let pictures = client.pictures(50).await;
    let (before, after) = (&pictures[24], &pictures[25]);
    let moved = after.1.header.timestamp.wrapping_sub(before.1.header.timestamp);
    assert!(moved.abs_diff(3_600) <= 2, "{moved}");
    assert!((after.0 - before.0).as_millis().abs_diff(40) <= 2);
    assert_eq!(number(&after.1), 0);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_player_that_does_not_read_for_a_minute_misses_nothing() {
    let bench = Bench::recorded(twenty_seconds(60_000)).await;
    let mut mpv = bench.client().await;
    let _ = socket2::SockRef::from(&mpv.socket).set_recv_buffer_size(256 << 10);
    let base = mpv.set_up(&bench.url("/door/recording")).await;
    mpv.play(&base, "npt=0-").await;
    assert_eq!(number(&mpv.pictures(1).await[0].1), 0);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let resumed = Instant::now();
    let pictures = mpv.pictures(499).await;
    for (n, (_, packet)) in pictures.iter().enumerate() {
        assert_eq!(number(packet), n as u64 + 1);
    }
    // What waited in sockets and queue comes at once, the rest at its own pace again.
    let took = resumed.elapsed().as_secs();
    assert!((5..20).contains(&took), "{took}");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_track_comes_and_goes_while_the_other_plays() {
    let bench = Bench::recorded(twenty_seconds(300)).await;
    let mut vlc = bench.client().await;
    let base = vlc.set_up(&bench.url("/door/recording")).await;
    vlc.play(&base, "npt=0-").await;
    vlc.pictures(5).await;
    assert_eq!(vlc.ask(&format!("TEARDOWN {base}trackID=1")).await.status.as_u16(), 200);
    vlc.inbox.clear();
    for _ in 0..20 {
        match vlc.frame().await.unwrap() {
            Frame::Rtp { channel, .. } | Frame::Rtcp { channel, .. } => assert!(channel < 2),
        }
    }
    let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=2-3";
    vlc.ask(&format!("SETUP {base}trackID=1\n{transport}")).await;
    let (_, info) = vlc.play(&base, "").await;
    assert_eq!(info.len(), 2);
    vlc.inbox.clear();
    vlc.rtp(2).await;
    bench.stop().await;
}
