//! Live: the cached key frame, the answer first, gaps, slow players.

use super::{
    client::{Frame, number},
    *,
};

#[tokio::test(start_paused = true)]
async fn the_answer_comes_first_and_tells_the_first_packets() {
    let bench = Bench::new().await;
    let mut publisher = bench.publish(1);
    let run = Arc::clone(publisher.run());
    // One and a half groups: the newest key frame is picture 25.
    for unit in footage(&run, 37, 300) {
        publisher.push(unit);
    }
    bench.clock.advance(WallSpan::from_micros(37 * PICTURE_US));
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door")).await;
    assert_eq!(base, bench.url("/door/"));
    let (answer, info) = client.play(&base, "npt=0.000-").await;
    assert!(client.inbox.is_empty(), "no packet before the answer");
    assert_eq!(answer.headers.get("Range"), Some("npt=now-"));
    assert_eq!(info[0].url, format!("{base}trackID=0"));

    let mut reports = 0;
    let (mut first_video, mut first_audio) = (None, None);
    while first_video.is_none() || first_audio.is_none() {
        match client.frame().await.unwrap() {
            Frame::Rtcp { received, .. } => {
                assert_eq!(received.sender_reports.len(), 1);
                reports += 1;
            }
            Frame::Rtp { channel: 0, packet, .. } => {
                assert!(reports >= 1, "the report goes before the first packet");
                first_video.get_or_insert(packet);
            }
            Frame::Rtp { packet, .. } => {
                first_audio.get_or_insert(packet);
            }
        }
    }
    let (video, audio) = (first_video.unwrap(), first_audio.unwrap());
    assert_eq!(
        (info[0].seq, info[0].rtptime),
        (Some(video.header.sequence), Some(video.header.timestamp))
    );
    assert_eq!(
        (info[1].seq, info[1].rtptime),
        (Some(audio.header.sequence), Some(audio.header.timestamp))
    );
    assert_eq!(video.payload[0] & 0x1f, 24, "parameter sets and the key frame in one packet");
    assert_eq!(number(&video), 25);
    assert_eq!(number(&audio), 50, "sound from the key frame on");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_sender_report_tells_when_a_picture_was_taken() {
    let bench = Bench::new().await;
    let stop = bench.film(300);
    tokio::time::sleep(Duration::from_millis(700)).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door")).await;
    let (_, info) = client.play(&base, "").await;
    let first = info[0].rtptime.unwrap();
    let mut seen = 0;
    while seen < 3 {
        let Frame::Rtcp { received, channel: 1, .. } = client.frame().await.unwrap() else {
            continue;
        };
        seen += 1;
        let report = received.sender_reports[0];
        let wall = WallTime::from_ntp(report.ntp);
        assert!((wall - bench.clock.now()).as_micros().abs() <= PICTURE_US, "of now");
        // Picture 0 was taken at ten, and the first one sent is picture 0.
        let since = MediaTime::from_ticks(i64::from(report.timestamp.wrapping_sub(first)));
        let taken = TEN + since.to_span(Timescale::VIDEO);
        assert!((taken - wall).as_micros().abs() <= 1_000, "off by {:?}", taken - wall);
    }
    stop.cancel();
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn describe_waits_for_a_camera_that_is_coming_up() {
    let bench = Bench::new().await;
    let mut client = bench.client().await;
    client.send(&format!("DESCRIBE {}", bench.url("/door"))).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let _publisher = bench.publish(1);
    assert_eq!(client.answer().await.status.as_u16(), 200);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn describe_of_a_camera_that_is_down_says_when_to_come_again() {
    let bench = Bench::new().await;
    let mut client = bench.client().await;
    let began = Instant::now();
    let answer = client.ask(&format!("DESCRIBE {}", bench.url("/door"))).await;
    assert_eq!(answer.status.as_u16(), 503);
    assert_eq!(answer.headers.get("Retry-After"), Some("5"));
    let waited = began.elapsed().as_millis();
    assert!((5_000..5_100).contains(&waited), "{waited}");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_young_key_frame_play_is_answered_and_begins_at_the_next() {
    let bench = Bench::new().await;
    let mut publisher = bench.publish(1);
    let run = Arc::clone(publisher.run());
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door")).await;
    let (_, info) = client.play(&base, "npt=0-").await;
    for unit in footage(&run, 3, 300) {
        bench.clock.set(unit.wall);
        publisher.push(unit);
    }
    let (_, video) = client.rtp(0).await;
    let (_, audio) = client.rtp(2).await;
    assert_eq!(number(&video), 0);
    assert_eq!(
        (info[0].seq, info[0].rtptime),
        (Some(video.header.sequence), Some(video.header.timestamp))
    );
    // Sound begins 5 ms later than what was told for the beginning.
    assert_eq!(info[1].seq, Some(audio.header.sequence));
    assert_eq!(audio.header.timestamp.wrapping_sub(info[1].rtptime.unwrap()), 40);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn pause_stops_live_and_play_begins_at_what_is_live_then() {
    let bench = Bench::new().await;
    let stop = bench.film(300);
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door")).await;
    client.play(&base, "npt=0-").await;
    let before = client.pictures(30).await.pop().unwrap().1;
    client.ask(&format!("PAUSE {base}")).await;
    let last = client
        .inbox
        .iter()
        .filter(
            |(_, m)| matches!(m, crate::proto::rtsp::message::Message::Data(f) if f.channel == 0),
        )
        .count();
    client.inbox.clear();
    tokio::time::sleep(Duration::from_millis(10_100)).await;
    let (_, info) = client.play(&base, "").await;
    assert!(client.inbox.is_empty(), "nothing was sent in the pause");
    let (_, after) = client.rtp(0).await;
    assert_eq!(after.header.sequence, before.header.sequence.wrapping_add(1 + last as u16));
    assert_eq!(after.header.ssrc, before.header.ssrc);
    assert_eq!(info[0].rtptime, Some(after.header.timestamp));
    assert!(number(&after).is_multiple_of(GROUP) && number(&after) > 250);
    // RTP time ran on with the pause.
    let moved = after.header.timestamp.wrapping_sub(before.header.timestamp);
    assert!((8 * 90_000..12 * 90_000).contains(&moved), "{moved}");
    stop.cancel();
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_comes_back_goes_on_in_the_same_session() {
    let bench = Bench::new().await;
    let mut publisher = bench.publish(1);
    for unit in footage(&Arc::clone(publisher.run()), 5, 300) {
        publisher.push(unit);
    }
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door")).await;
    client.play(&base, "").await;
    let before = client.pictures(5).await.pop().unwrap().1;
    publisher.end(GapReason::Disconnected);
    tokio::time::sleep(Duration::from_secs(20)).await;
    bench.clock.advance(WallSpan::from_secs(20));
    let mut publisher = bench.publish(2);
    for unit in footage(&Arc::clone(publisher.run()), 5, 300) {
        publisher.push(unit);
    }
    let after = client.pictures(2).await;
    let first = &after[0].1;
    assert_eq!(number(first), 0);
    assert_eq!(first.header.sequence, before.header.sequence.wrapping_add(1));
    let moved = first.header.timestamp.wrapping_sub(before.header.timestamp);
    assert!((19 * 90_000..21 * 90_000).contains(&moved), "{moved}");
    assert_eq!(after[1].1.header.timestamp.wrapping_sub(first.header.timestamp), 3_600);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_of_codec_ends_what_was_described() {
    let bench = Bench::new().await;
    let mut publisher = bench.publish(1);
    for unit in footage(&Arc::clone(publisher.run()), 2, 300) {
        publisher.push(unit);
    }
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door")).await;
    client.play(&base, "").await;
    client.pictures(2).await;
    let law = g711::Parameters { law: g711::Law::Mu, sample_rate: 8_000, channels: 1 };
    let mut changed = tracks().to_vec();
    changed[1].parameters = Parameters::G711(law);
    publisher.set_tracks(changed.into());
    publisher.push(picture(&Arc::clone(publisher.run()), 25, 300));
    loop {
        match client.frame().await.unwrap() {
            Frame::Rtcp { received, .. } if !received.byes.is_empty() => break,
            Frame::Rtp { packet, .. } => assert_ne!(number(&packet), 25),
            Frame::Rtcp { .. } => {}
        }
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_player_that_takes_nothing_is_closed_after_ten_seconds_and_harms_nobody() {
    let bench = Bench::new().await;
    let stop = bench.film(200_000);
    let mut good = bench.client().await;
    let base = good.set_up(&bench.url("/door")).await;
    let mut stuck = bench.client().await;
    let _ = socket2::SockRef::from(&stuck.socket).set_recv_buffer_size(256 << 10);
    stuck.set_up(&bench.url("/door")).await;
    stuck.play(&base, "").await;
    good.play(&base, "").await;
    assert_eq!(bench.counters.sessions(), 2);
    let began = Instant::now();
    let mut last = None;
    while bench.counters.sessions() == 2 {
        let (_, picture) = good.pictures(1).await.pop().unwrap();
        let sequence = picture.header.sequence;
        if let Some((_, before)) = last.replace((sequence, number(&picture))) {
            assert_eq!(number(&picture), before + 1, "the good player misses nothing");
        }
        assert!(began.elapsed() < Duration::from_secs(60), "never closed");
    }
    let waited = began.elapsed().as_secs();
    assert!((10..30).contains(&waited), "{waited}");
    assert_eq!(bench.counters.connections(), 1);
    stop.cancel();
    bench.stop().await;
}

/// Bytes of memory this process holds.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = pages.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

#[tokio::test(start_paused = true)]
async fn memory_stays_flat_beside_players_that_never_read() {
    let bench = Bench::new().await;
    // Ten megabytes a second, so that ten seconds kept for anybody would be seen.
    let stop = bench.film(400_000);
    let mut good = bench.client().await;
    let base = good.set_up(&bench.url("/door")).await;
    good.play(&base, "").await;
    good.pictures(50).await;
    let before = resident();
    let mut stuck = Vec::new();
    for _ in 0..8 {
        let mut client = bench.client().await;
        let _ = socket2::SockRef::from(&client.socket).set_recv_buffer_size(256 << 10);
        client.set_up(&bench.url("/door")).await;
        client.play(&base, "").await;
        stuck.push(client);
    }
    assert_eq!(bench.counters.sessions(), 9);
    let mut most = 0;
    while bench.counters.sessions() > 1 {
        good.pictures(5).await;
        most = most.max(resident());
    }
    let grown = most.saturating_sub(before);
    // A queue each (a megabyte and a unit), with room for what the allocator keeps.
    assert!(grown < 60 << 20, "{grown} bytes more");
    stop.cancel();
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_player_skips_to_a_key_frame_and_is_counted() {
    let bench = Bench::new().await;
    let stop = bench.film(200_000);
    let mut slow = bench.client().await;
    let _ = socket2::SockRef::from(&slow.socket).set_recv_buffer_size(256 << 10);
    let base = slow.set_up(&bench.url("/door")).await;
    slow.play(&base, "").await;
    let mut before = None;
    let mut skips = 0;
    while skips < 2 {
        let (_, packet) = slow.rtp(0).await;
        if !packet.header.marker {
            continue;
        }
        let now = number(&packet);
        if let Some(before) = before.replace(now)
            && now != before + 1
        {
            assert!(now.is_multiple_of(GROUP), "skips to a key frame, not to {now}");
            skips += 1;
        }
        // Takes 5 pictures a second.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (reason, dropped) = bench.counters.dropped()[0];
    assert_eq!(reason, DropReason::SlowClient);
    assert!(dropped > 25, "{dropped}");
    assert_eq!(bench.counters.connections(), 1, "slow is not stuck");
    stop.cancel();
    bench.stop().await;
}
