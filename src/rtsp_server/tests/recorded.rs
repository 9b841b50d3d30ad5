//! Recordings: pace, seek, pause, end.

use std::collections::BTreeMap;

use super::{
    client::{Frame, number},
    *,
};

/// 20 s.
pub(super) fn twenty_seconds(size: usize) -> Script {
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
    let mut last = vlc.rtp(2).await.1.header;
    assert_eq!(vlc.ask(&format!("TEARDOWN {base}trackID=1")).await.status.as_u16(), 200);
    while !vlc.inbox.is_empty() {
        if let Frame::Rtp { channel: 2, packet, .. } = vlc.frame().await.unwrap() {
            last = packet.header;
        }
    }
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
    let again = vlc.rtp(2).await.1.header;
    assert_eq!(again.sequence, last.sequence.wrapping_add(1));
    assert!((1..16_000).contains(&again.timestamp.wrapping_sub(last.timestamp)));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_time_a_player_sleeps_is_in_no_report() {
    let bench = Bench::recorded(twenty_seconds(60_000)).await;
    bench.run_clock();
    let mut mpv = bench.client().await;
    let _ = socket2::SockRef::from(&mpv.socket).set_recv_buffer_size(256 << 10);
    let base = mpv.set_up(&bench.url("/door/recording")).await;
    mpv.play(&base, "npt=0-").await;
    mpv.pictures(1).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let (mut offsets, mut pictures) = (Vec::new(), 1);
    while pictures < 500 {
        match mpv.frame().await.unwrap() {
            Frame::Rtcp { channel: 1, received, .. } => {
                let report = received.sender_reports[0];
                let wall = WallTime::from_ntp(report.ntp) - TEN;
                let media = MediaTime::from_ticks(i64::from(report.timestamp));
                offsets.push((wall - media.to_span(Timescale::VIDEO)).as_micros());
            }
            Frame::Rtp { channel: 0, packet, .. } if packet.header.marker => pictures += 1,
            _ => {}
        }
    }
    assert!(offsets.len() >= 3, "{offsets:?}");
    // RTP time may wrap in between; nothing else may happen to it.
    let wrap = (1_i64 << 32) * 100 / 9;
    for offset in &offsets {
        let moved = (offset - offsets[0]).rem_euclid(wrap);
        let moved = moved.min(wrap - moved);
        assert!(moved < 10_000, "{moved} us between reports: {offsets:?}");
    }
    bench.stop().await;
}

/// Picture `n` of a stream with a B-frame between two others: presented 1, 3, 2, 5, 4, …
fn reordered(run: &Run, number: u64) -> (i64, AccessUnit) {
    let n = i64::try_from(number).unwrap();
    let shown = if n == 0 { 1 } else { n + (n % 2) * 2 };
    let unit = picture(run, number, 300);
    let wall = run.started + WallSpan::from_micros(shown * PICTURE_US);
    let cts = i32::try_from((shown - n) * PICTURE).unwrap();
    (shown, AccessUnit { cts, wall, ..unit })
}

#[tokio::test(start_paused = true)]
async fn b_frames_keep_their_times_behind_a_gap() {
    let runs = [run(1, TEN), run(2, TEN + WallSpan::from_secs(60))].map(|run| {
        let mut units: Vec<_> = (0..25).map(|n| reordered(&run, n).1).collect();
        // Sound from the first picture on, so that it begins among the pictures.
        units.extend((2..50).map(|n| sound(&run, n)));
        units.sort_by_key(|u| {
            let reorder = MediaTime::from_ticks(i64::from(u.cts)).to_span(Timescale::VIDEO);
            (u.wall - reorder, u.track)
        });
        (run, units)
    });
    let bench = Bench::recorded(Script::new(runs.into(), WallSpan::from_micros(40_000))).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    client.play(&base, "npt=0-").await;
    let pictures = client.pictures(50).await;
    for part in pictures.chunks(25) {
        let first = part[0].1.header.timestamp;
        for (n, (_, packet)) in (0..).zip(part) {
            let (shown, _) = reordered(&run(1, TEN), n);
            let ticks = packet.header.timestamp.wrapping_sub(first);
            assert_eq!(i64::from(ticks), (shown - 1) * PICTURE, "picture {n}");
        }
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn footage_that_is_missing_within_a_run_is_not_waited_for() {
    let gone = WallSpan::from_secs(5)..WallSpan::from_secs(15);
    let bench = Bench::recorded(twenty_seconds(300).without(gone)).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    client.play(&base, "npt=0-").await;
    let mut last: BTreeMap<u8, (Instant, u32, u64)> = BTreeMap::new();
    let mut skipped = 0;
    while last.get(&0).is_none_or(|(_, _, number)| *number < 499) {
        let Some(Frame::Rtp { at, channel, packet }) = client.frame().await else { continue };
        let now = (at, packet.header.timestamp, number(&packet));
        if let Some(before) = last.insert(channel, now) {
            skipped += u32::from(now.2 > before.2 + 1);
            assert!((at - before.0).as_millis() < 200, "silent before {} of {channel}", now.2);
            let rate = if channel == 0 { 90_000 } else { 8_000 };
            let moved = now.1.wrapping_sub(before.1);
            assert!((1..rate / 5).contains(&moved), "RTP time moved by {moved} of {rate}");
        }
    }
    assert_eq!(skipped, 2);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_at_the_very_end_is_ended_by_bye_too() {
    let bench = Bench::recorded(twenty_seconds(300)).await;
    let mut vlc = bench.client().await;
    let base = vlc.set_up(&bench.url("/door/recording")).await;
    vlc.play(&base, "npt=19-").await;
    vlc.pictures(25).await;
    // Players show the last second when everything is sent.
    tokio::time::sleep(Duration::from_secs(1)).await;
    vlc.ask(&format!("PAUSE {base}")).await;
    let (answer, info) = vlc.play(&base, "").await;
    assert_eq!(answer.headers.get("Range"), Some("npt=20.000-20.000"));
    assert_eq!(info.len(), 2);
    let mut byes = 0;
    while byes < 2 {
        if let Frame::Rtcp { received, .. } = vlc.frame().await.unwrap() {
            byes += received.byes.len();
        }
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_range_is_told_again_after_a_pause() {
    let bench = Bench::recorded(twenty_seconds(300)).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    client.play(&base, "npt=7-9").await;
    client.pictures(10).await;
    client.ask(&format!("PAUSE {base}")).await;
    let (answer, _) = client.play(&base, "").await;
    let range = answer.headers.get("Range").unwrap();
    assert!(range.starts_with("npt=7.") && range.ends_with("-9.000"), "{range}");
    let (answer, _) = client.play(&base, "npt=3-").await;
    assert_eq!(answer.headers.get("Range"), Some("npt=3.000-20.000"));
    bench.stop().await;
}
