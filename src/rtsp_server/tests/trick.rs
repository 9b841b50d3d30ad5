//! Faster, slower, backwards.

use super::{
    client::{Frame, number},
    recorded::twenty_seconds,
    *,
};
use crate::proto::rtsp::message::Response;

/// Like [`twenty_seconds`], but of any length.
pub(super) fn seconds(length: u64) -> Script {
    let run = run(1, TEN);
    let units = footage(&run, 25 * length, 100);
    Script::new(vec![(run, units)], WallSpan::from_micros(PICTURE_US - 25_000))
}

pub(super) fn told<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers.get(name).unwrap_or("(none)")
}

impl Client {
    /// PLAY with header lines; the answer must be 200.
    pub(super) async fn play_with(&mut self, base: &str, lines: &str) -> Response {
        let answer = self.ask(&format!("PLAY {base}\n{lines}")).await;
        assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
        answer
    }

    /// All that is on its way.
    pub(super) async fn drain(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while !self.inbox.is_empty() {
            frames.push(self.frame().await.unwrap());
        }
        frames
    }
}

#[tokio::test(start_paused = true)]
async fn a_scale_shows_every_picture_sooner_and_rtp_time_runs_with_the_clock() {
    for (scale, step_ms) in [("2.000000", 20), ("8", 5), ("0.5", 80), ("0.01", 160)] {
        let bench = Bench::recorded(twenty_seconds(300)).await;
        let mut vlc = bench.client().await;
        let base = vlc.set_up(&bench.url("/door/recording")).await;
        let answer = vlc.play_with(&base, &format!("Range: npt=5-\nScale: {scale}")).await;
        let in_force = 40.0 / f64::from(step_ms);
        assert_eq!(told(&answer, "Scale"), format!("{in_force:.6}"));
        assert_eq!(told(&answer, "Range"), "npt=5.000-20.000");
        assert_eq!(told(&answer, "Speed"), "(none)");
        let pictures = vlc.pictures(100).await;
        for (n, (at, packet)) in (0_u32..).zip(&pictures) {
            assert_eq!(number(packet), 125 + u64::from(n), "scale {scale}");
            let late = (*at - pictures[0].0).as_millis().abs_diff(u128::from(n * step_ms));
            assert!(late <= 3, "scale {scale}: picture {n} is {late} ms off");
            let ticks = packet.header.timestamp.wrapping_sub(pictures[0].1.header.timestamp);
            assert!(ticks.abs_diff(n * step_ms * 90) <= 1, "scale {scale}: {ticks}");
        }
        bench.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_scale_without_a_range_keeps_the_place_and_acts_at_once() {
    let bench = Bench::recorded(seconds(120)).await;
    let mut vlc = bench.client().await;
    let base = vlc.set_up(&bench.url("/door/recording")).await;
    vlc.play(&base, "npt=0.000-").await;
    let mut last = vlc.pictures(30).await.pop().unwrap();
    for (scale, step_ms) in [("2.000000", 20), ("4.000000", 10), ("1.501502", 26), ("1.000000", 40)]
    {
        let answer = vlc.play_with(&base, &format!("Scale: {scale}")).await;
        assert_eq!(told(&answer, "Scale"), scale);
        assert!(told(&answer, "RTP-Info").contains("rtptime"));
        for frame in vlc.drain().await {
            if let Frame::Rtp { at, channel: 0, packet } = frame {
                last = (at, packet);
            }
        }
        let begins = number(&last.1) + 1;
        let start = f64::from(u32::try_from(begins).unwrap()) * 0.04;
        assert!(told(&answer, "Range").starts_with(&format!("npt={start:.3}-120")), "{answer:?}");
        let pictures = vlc.pictures(50).await;
        for (n, (at, packet)) in (0_u64..).zip(&pictures) {
            assert_eq!(number(packet), begins + n, "scale {scale}");
            assert_eq!(packet.header.sequence, last.1.header.sequence.wrapping_add(1));
            let took = (*at - last.0).as_millis();
            assert!(took <= 45, "scale {scale}: {took} ms before picture {n}");
            let moved = packet.header.timestamp.wrapping_sub(last.1.header.timestamp);
            assert!((1..=45 * 90).contains(&moved), "scale {scale}: RTP time moved by {moved}");
            if n > 0 {
                assert!(moved.abs_diff(step_ms * 90) <= 90, "scale {scale}: {moved}");
            }
            last = (*at, packet.clone());
        }
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn sound_goes_on_at_its_own_pace_whatever_the_scale() {
    let bench = Bench::recorded(seconds(400)).await;
    let mut vlc = bench.client().await;
    let base = vlc.set_up(&bench.url("/door/recording")).await;
    for (scale, every) in [("2", 2), ("4", 4), ("8", 8), ("32", 32)] {
        vlc.play_with(&base, &format!("Range: npt=0-\nScale: {scale}")).await;
        vlc.drain().await;
        let mut before: Option<(u64, u32)> = None;
        for _ in 0..60 {
            let (_, packet) = vlc.rtp(2).await;
            let now = (number(&packet), packet.header.timestamp);
            if let Some(before) = before.replace(now) {
                assert_eq!(now.0 - before.0, every, "scale {scale}");
                let moved = now.1.wrapping_sub(before.1);
                assert!(moved.abs_diff(160) <= 1, "scale {scale}: {moved}");
            }
        }
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn beyond_eight_times_key_frames_are_sent_and_normal_speed_is_whole_again() {
    let bench = Bench::recorded(seconds(400)).await;
    let mut vlc = bench.client().await;
    let base = vlc.set_up(&bench.url("/door/recording")).await;
    vlc.play(&base, "npt=0-").await;
    vlc.pictures(30).await;
    let answer = vlc.play_with(&base, "Scale: 16").await;
    assert_eq!(told(&answer, "Scale"), "16.000000");
    vlc.drain().await;
    // The group it was in goes on to its end: its pictures were sent so far.
    let mut numbers = Vec::new();
    let mut times = Vec::new();
    for (at, packet) in vlc.pictures(120).await {
        numbers.push(number(&packet));
        times.push((at, packet.header.timestamp));
    }
    let tail = &numbers[60..];
    assert!(tail.windows(2).all(|w| w[1] == w[0] + GROUP), "{tail:?}");
    assert!(tail.iter().all(|n| n.is_multiple_of(GROUP)));
    for pair in times[60..].windows(2) {
        let took = (pair[1].0 - pair[0].0).as_millis();
        assert!(took.abs_diff(62) <= 4, "{took} ms between key frames a second apart");
        assert!(pair[1].1.wrapping_sub(pair[0].1).abs_diff(5_625) <= 1);
    }
    vlc.play_with(&base, "Scale: 1").await;
    for frame in vlc.drain().await {
        if let Frame::Rtp { channel: 0, packet, .. } = frame {
            numbers.push(number(&packet));
        }
    }
    // Back to the key frame shown last, and on from there without a hole.
    let shown = *numbers.last().unwrap();
    let again: Vec<_> = vlc.pictures(60).await.iter().map(|(_, p)| number(p)).collect();
    assert_eq!(again, (shown..shown + 60).collect::<Vec<_>>());
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn where_key_frames_are_far_apart_no_player_starves() {
    let run = run(1, TEN);
    let mut units = footage(&run, 25 * 400, 100);
    for unit in &mut units {
        // A key frame every ten seconds: 0.63 s apart at 16 times.
        unit.random_access = unit.track == AUDIO || unit.number.is_multiple_of(GROUP * 10);
    }
    let script = Script::new(vec![(run, units)], WallSpan::from_micros(PICTURE_US - 25_000));
    let bench = Bench::recorded(script).await;
    let mut vlc = bench.client().await;
    let base = vlc.set_up(&bench.url("/door/recording")).await;
    vlc.play_with(&base, "Range: npt=0-\nScale: 16").await;
    let (mut last, mut sent) = (None::<(Instant, u64)>, 0);
    while last.is_none_or(|(_, n)| n < 9_500) {
        let (at, packet) = vlc.rtp(0).await;
        let n = number(&packet);
        if let Some((before, shown)) = last.replace((at, n)) {
            assert!(
                (at - before).as_millis() <= 405,
                "{} ms before {n}",
                (at - before).as_millis()
            );
            let follows = n == shown + 1 || n.is_multiple_of(GROUP * 10);
            assert!(follows, "{n} hangs on pictures that were left out behind {shown}");
        }
        sent += 1;
    }
    assert!(sent < 6_000, "{sent} pictures");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn speed_delivers_sooner_with_the_times_as_they_are() {
    let bench = Bench::recorded(seconds(60)).await;
    let mut gstreamer = bench.client().await;
    let base = gstreamer.set_up(&bench.url("/door/recording")).await;
    gstreamer.play(&base, "npt=0-60").await;
    gstreamer.pictures(10).await;
    gstreamer.ask(&format!("PAUSE {base}")).await;
    let answer = gstreamer.play_with(&base, "Range: npt=30-60\nSpeed: 2").await;
    assert_eq!((told(&answer, "Speed"), told(&answer, "Scale")), ("2.000000", "(none)"));
    gstreamer.drain().await;
    let pictures = gstreamer.pictures(200).await;
    for (n, (at, packet)) in (0_u32..).zip(&pictures) {
        assert_eq!(number(packet), 750 + u64::from(n));
        assert!((*at - pictures[0].0).as_millis().abs_diff(u128::from(n * 20)) <= 3);
        let ticks = packet.header.timestamp.wrapping_sub(pictures[0].1.header.timestamp);
        assert_eq!(ticks, n * 3_600);
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_seek_is_at_normal_speed_and_a_pause_keeps_the_scale() {
    let bench = Bench::recorded(seconds(120)).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    client.play_with(&base, "Range: npt=0-\nScale: 4").await;
    client.pictures(10).await;
    client.ask(&format!("PAUSE {base}")).await;
    let answer = client.play_with(&base, "").await;
    assert_eq!(told(&answer, "Scale"), "4.000000", "in force, so told without being asked");
    client.drain().await;
    let pictures = client.pictures(20).await;
    assert!((pictures[19].0 - pictures[0].0).as_millis().abs_diff(190) <= 5);
    let answer = client.play_with(&base, "Range: npt=60-").await;
    assert_eq!(told(&answer, "Scale"), "(none)");
    client.drain().await;
    let pictures = client.pictures(20).await;
    assert!((pictures[19].0 - pictures[0].0).as_millis().abs_diff(760) <= 5);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn live_has_one_scale() {
    let bench = Bench::new().await;
    let stop = bench.film(300);
    let mut vlc = bench.client().await;
    let base = vlc.set_up(&bench.url("/door")).await;
    let answer = vlc.play_with(&base, "Range: npt=0.000-\nScale: 2.000000\nSpeed: 4").await;
    assert_eq!((told(&answer, "Scale"), told(&answer, "Speed")), ("1.000000", "1.000000"));
    let pictures = vlc.pictures(60).await;
    assert!((pictures[59].0 - pictures[30].0).as_millis().abs_diff(29 * 40) <= 45);
    stop.cancel();
    bench.stop().await;
}

/// Numbers of the pictures up to BYE on both tracks.
async fn to_the_end(client: &mut Client) -> Vec<(Instant, u32, u64)> {
    let (mut pictures, mut byes) = (Vec::new(), 0);
    while byes < 2 {
        match client.frame().await.unwrap() {
            Frame::Rtcp { received, .. } => byes += received.byes.len(),
            Frame::Rtp { at, channel: 0, packet } if packet.header.marker => {
                pictures.push((at, packet.header.timestamp, number(&packet)));
            }
            Frame::Rtp { channel, .. } => assert_eq!(channel, 0, "backwards there is no sound"),
        }
    }
    pictures
}

#[tokio::test(start_paused = true)]
async fn backwards_key_frames_come_one_before_the_other_and_the_beginning_ends_it() {
    let bench = Bench::recorded(seconds(120)).await;
    let mut gstreamer = bench.client().await;
    let base = gstreamer.set_up(&bench.url("/door/recording")).await;
    gstreamer.play(&base, "npt=0-120").await;
    gstreamer.pictures(10).await;
    gstreamer.ask(&format!("PAUSE {base}")).await;
    for scale in [-1, -4, -32] {
        let answer =
            gstreamer.play_with(&base, &format!("Range: npt=80.5-0\nScale: {scale}")).await;
        assert_eq!(told(&answer, "Scale"), format!("{scale}.000000"));
        assert_eq!(told(&answer, "Range"), "npt=80.000-0.000");
        gstreamer.drain().await;
        let pictures = to_the_end(&mut gstreamer).await;
        let numbers: Vec<_> = pictures.iter().map(|(_, _, n)| *n).collect();
        assert_eq!(numbers, (0..=80).rev().map(|n| n * GROUP).collect::<Vec<_>>());
        let step = f64::from(1_000 / -scale);
        for pair in pictures.windows(2) {
            let took = (pair[1].0 - pair[0].0).as_millis() as f64;
            assert!((took - step).abs() <= 4.0, "{took} ms at {scale}");
            let moved = f64::from(pair[1].1.wrapping_sub(pair[0].1));
            assert!((moved - 90_000.0 / f64::from(-scale)).abs() <= 2.0, "{moved} at {scale}");
        }
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn backwards_ends_where_it_was_asked_to_and_turns_round_in_its_place() {
    let bench = Bench::recorded(seconds(120)).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    let answer = client.play_with(&base, "Range: npt=50-40\nScale: -2").await;
    assert_eq!(told(&answer, "Range"), "npt=50.000-40.000");
    let numbers: Vec<_> = to_the_end(&mut client).await.iter().map(|(_, _, n)| *n).collect();
    assert_eq!(numbers, (40..=50).rev().map(|n| n * GROUP).collect::<Vec<_>>());
    // Forward, backward, and forward again, all without a range.
    client.play(&base, "npt=60-").await;
    client.pictures(30).await;
    let answer = client.play_with(&base, "Scale: -1").await;
    assert!(told(&answer, "Range").starts_with("npt=61.000-0"), "{answer:?}");
    client.drain().await;
    let back: Vec<_> = client.pictures(5).await.iter().map(|(_, p)| number(p)).collect();
    assert_eq!(back, [61, 60, 59, 58, 57].map(|n| n * GROUP));
    let answer = client.play_with(&base, "Scale: 1").await;
    assert!(told(&answer, "Range").starts_with("npt=57.000-120"), "{answer:?}");
    client.drain().await;
    let on: Vec<_> = client.pictures(30).await.iter().map(|(_, p)| number(p)).collect();
    assert_eq!(on, (57 * GROUP..57 * GROUP + 30).collect::<Vec<_>>());
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn backwards_over_a_gap_no_time_is_lost() {
    let (one, two) = (run(1, TEN), run(2, TEN + WallSpan::from_secs(7_200)));
    let tail = WallSpan::from_micros(PICTURE_US - 25_000);
    let runs = vec![
        (Arc::clone(&one), footage(&one, 250, 100)),
        (Arc::clone(&two), footage(&two, 250, 100)),
    ];
    let bench = Bench::recorded(Script::new(runs, tail)).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    // In the middle of the gap: the last footage before.
    let lines = "Range: clock=20261122T110000Z-20261122T100000Z\nScale: -1";
    let answer = client.play_with(&base, lines).await;
    let range = told(&answer, "Range");
    assert!(range.starts_with("clock=20261122T100009"), "{range}");
    let answer = client.play_with(&base, "Range: npt=15-0\nScale: -2").await;
    assert_eq!(told(&answer, "Range"), "npt=15.000-0.000");
    client.drain().await;
    let pictures = to_the_end(&mut client).await;
    assert_eq!(pictures.len(), 16);
    for pair in pictures.windows(2) {
        assert!((pair[1].0 - pair[0].0).as_millis().abs_diff(500) <= 10);
        assert!(pair[1].1.wrapping_sub(pair[0].1).abs_diff(45_000) <= 900);
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_while_it_runs_backwards_goes_on_backwards() {
    let bench = Bench::recorded(seconds(60)).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    client.play_with(&base, "Range: npt=50-\nScale: -4").await;
    let mut numbers: Vec<_> = client.pictures(8).await.iter().map(|(_, p)| number(p)).collect();
    client.ask(&format!("PAUSE {base}")).await;
    for frame in client.drain().await {
        if let Frame::Rtp { channel: 0, packet, .. } = frame {
            numbers.push(number(&packet));
        }
    }
    tokio::time::sleep(Duration::from_secs(900)).await;
    let answer = client.play_with(&base, "").await;
    assert_eq!(told(&answer, "Scale"), "-4.000000");
    numbers.extend(client.pictures(8).await.iter().map(|(_, p)| number(p)));
    let first = numbers[0];
    assert_eq!(first, 50 * GROUP);
    assert!(numbers.windows(2).all(|w| w[0] == w[1] + GROUP), "{numbers:?}");
    bench.stop().await;
}
