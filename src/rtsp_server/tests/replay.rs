//! ONVIF replay.

use super::{
    client::{Frame, number},
    recorded::twenty_seconds,
    trick::{seconds, told},
    *,
};
use crate::proto::{codec::h265, rtp::Packet};

/// What a first packet says of its unit.
#[derive(Debug, PartialEq)]
struct Said {
    wall: WallTime,
    clean: bool,
    end: bool,
    torn: bool,
    last: bool,
    cseq: u8,
}

fn said(packet: &Packet) -> Said {
    let (profile, words) = packet.extension.as_ref().expect("an extension");
    assert_eq!((*profile, words.len()), (0xabac, 12));
    let flags = words[8];
    assert_eq!((flags & 0x0f, &words[10..]), (0, &[0, 0][..]));
    Said {
        wall: WallTime::from_ntp(u64::from_be_bytes(words[..8].try_into().unwrap())),
        clean: flags & 0x80 != 0,
        end: flags & 0x40 != 0,
        torn: flags & 0x20 != 0,
        last: flags & 0x10 != 0,
        cseq: words[9],
    }
}

fn wall_of(number: u64) -> WallTime {
    TEN + WallSpan::from_micros(i64::try_from(number).unwrap() * PICTURE_US)
}

#[tokio::test(start_paused = true)]
async fn each_unit_of_a_replay_says_when_it_was_captured_and_the_last_one_that_it_is() {
    let bench = Bench::recorded(twenty_seconds(300)).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    for _ in 0..2 {
        let lines = "Require: onvif-replay\nRange: clock=20261122T100007Z-20261122T100009Z";
        let answer = client.play_with(&base, lines).await;
        let cseq = answer.cseq().unwrap().to_be_bytes()[3];
        let mut ends = 0;
        let mut pictures = 175;
        while ends < 2 {
            let Frame::Rtp { channel, packet, .. } = client.frame().await.unwrap() else {
                continue;
            };
            let said = said(&packet);
            let n = number(&packet);
            let last = n == if channel == 0 { 224 } else { 449 };
            assert_eq!((said.end, said.last), (last, last), "{n} of {channel}");
            assert_eq!(said.torn, n == if channel == 0 { 175 } else { 350 }, "{n} of {channel}");
            assert_eq!(said.cseq, cseq);
            ends += u32::from(last);
            if channel == 0 {
                assert_eq!((n, said.wall), (pictures, wall_of(n)));
                assert_eq!(said.clean, n.is_multiple_of(GROUP));
                pictures += 1;
            }
        }
    }
    // The last one said it: no BYE comes.
    let waited = tokio::time::timeout(Duration::from_secs(4), async {
        loop {
            if let Frame::Rtcp { received, .. } = client.frame().await.unwrap() {
                assert!(received.byes.is_empty());
            }
        }
    });
    assert!(waited.await.is_err());
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_rate_control_footage_comes_at_once_with_the_times_it_was_filmed_at() {
    let (one, two) = (run(1, TEN), run(2, TEN + WallSpan::from_secs(60)));
    let tail = WallSpan::from_micros(PICTURE_US - 25_000);
    let runs = vec![
        (Arc::clone(&one), footage(&one, 500, 300)),
        (Arc::clone(&two), footage(&two, 500, 300)),
    ];
    let bench = Bench::recorded(Script::new(runs, tail)).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    let began = Instant::now();
    // As GStreamer asks: without Require, and for all there ever was.
    let range = "Range: clock=19000101T000000Z-20991231T000000Z";
    client.play_with(&base, &format!("{range}\nRate-Control: no")).await;
    let (mut pictures, mut byes) = (Vec::<Packet>::new(), 0);
    let mut filmed = Duration::ZERO;
    while byes < 2 {
        match client.frame().await.unwrap() {
            Frame::Rtcp { received, .. } => {
                byes += received.byes.len();
                let report = received.sender_reports[0];
                assert_eq!((report.ntp, report.timestamp), (0, 0));
            }
            Frame::Rtp { channel: 0, packet, .. } => {
                filmed = began.elapsed();
                pictures.push(packet);
            }
            Frame::Rtp { .. } => {}
        }
    }
    assert!(filmed < Duration::from_secs(1), "{filmed:?}");
    assert_eq!(pictures.len(), 1_000);
    for (n, packet) in (0_u32..).zip(&pictures) {
        let filmed = if n < 500 { n * 3_600 } else { 60 * 90_000 + (n - 500) * 3_600 };
        let ticks = packet.header.timestamp.wrapping_sub(pictures[0].header.timestamp);
        assert!(ticks.abs_diff(filmed) <= 1, "picture {n}: {ticks}, filmed at {filmed}");
        assert_eq!(said(packet).end, n == 499 || n == 999, "picture {n}");
        assert_eq!(said(packet).torn, n == 0 || n == 500, "picture {n}");
    }
    // And then at a pace again, without a break.
    let asked = Instant::now();
    client.play(&base, "npt=0-").await;
    let again = client.pictures(50).await;
    assert!(again[0].0 - asked < Duration::from_millis(100));
    assert!((again[49].0 - again[0].0).as_millis().abs_diff(49 * 40) <= 3);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn backwards_whole_groups_come_the_last_one_first() {
    let bench = Bench::recorded(twenty_seconds(300)).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    let wanted: Vec<u64> =
        (5..10).rev().flat_map(|group| group * GROUP..(group + 1) * GROUP).collect();
    for paced in [false, true] {
        let control = if paced { "yes" } else { "no" };
        let lines = "Require: onvif-replay\nRange: npt=9.990-5\nScale: -1.0";
        let began = Instant::now();
        let answer = client.play_with(&base, &format!("{lines}\nRate-Control: {control}")).await;
        assert_eq!(told(&answer, "Scale"), "-1.000000");
        client.inbox.clear();
        let pictures = client.pictures(wanted.len()).await;
        let numbers: Vec<_> = pictures.iter().map(|(_, p)| number(p)).collect();
        assert_eq!(numbers, wanted, "rate control {control}");
        let first = &pictures[0].1;
        for (n, (at, packet)) in numbers.iter().zip(&pictures) {
            let ticks = packet.header.timestamp.wrapping_sub(first.header.timestamp) as i32;
            let filmed = (i32::try_from(*n).unwrap() - 225) * 3_600;
            // Forward times as filmed; paced, those they are to be shown at.
            assert!((ticks - if paced { -filmed } else { filmed }).abs() <= 1, "{n}: {ticks}");
            let said = said(packet);
            assert_eq!(said.torn, n.is_multiple_of(GROUP), "{n}");
            assert_eq!(said.last, *n == 149, "{n}");
            if paced {
                let group = 9 - n / GROUP;
                let late = (*at - began).as_millis().abs_diff(u128::from(group) * 1_000);
                assert!(late <= 60, "{n} came {late} ms off");
            }
        }
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn key_frames_alone_may_be_asked_for_and_how_far_apart() {
    let bench = Bench::recorded(seconds(60)).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    for (frames, scale, step) in
        [("intra", "1", 1), ("intra/4000", "1", 4), ("intra", "-1", 1), ("intra/4000", "-1", 4)]
    {
        let range = if scale == "1" { "npt=10-50" } else { "npt=50-10" };
        let lines = format!("Range: {range}\nFrames: {frames}\nRate-Control: no\nScale: {scale}");
        client.play_with(&base, &lines).await;
        client.inbox.clear();
        let mut numbers = Vec::new();
        for (_, packet) in client.pictures(8).await {
            assert!(said(&packet).clean);
            numbers.push(number(&packet));
        }
        for pair in numbers.windows(2) {
            assert_eq!(pair[0].abs_diff(pair[1]), step * GROUP, "{frames} {scale}");
            assert_eq!(pair[1] > pair[0], scale == "1");
        }
        client.ask(&format!("PAUSE {base}")).await;
        client.inbox.clear();
    }
    let refused = client.ask(&format!("PLAY {base}\nFrames: some")).await;
    assert_eq!(refused.status.as_u16(), 400);
    bench.stop().await;
}

/// Two runs of ten seconds, an hour apart.
fn with_a_gap() -> Script {
    let (one, two) = (run(1, TEN), run(2, TEN + WallSpan::from_secs(3_600)));
    let tail = WallSpan::from_micros(PICTURE_US - 25_000);
    let runs = vec![
        (Arc::clone(&one), footage(&one, 250, 300)),
        (Arc::clone(&two), footage(&two, 250, 300)),
    ];
    Script::new(runs, tail)
}

#[tokio::test(start_paused = true)]
async fn backwards_the_last_picture_before_each_gap_says_so() {
    let bench = Bench::recorded(with_a_gap()).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    for control in ["no", "yes"] {
        let lines = format!("Range: npt=11.990-8\nScale: -1\nRate-Control: {control}");
        client.play_with(&base, &format!("Require: onvif-replay\n{lines}")).await;
        client.inbox.clear();
        let mut told = Vec::new();
        for (_, packet) in client.pictures(100).await {
            let said = said(&packet);
            told.push((number(&packet), said.wall >= TEN + WallSpan::from_secs(3_600), said.end));
        }
        let wanted: Vec<_> = [(1, true), (0, true), (9, false), (8, false)]
            .into_iter()
            .flat_map(|(group, late)| {
                (group * GROUP..(group + 1) * GROUP)
                    .map(move |n| (n, late, (n, late) == (24, true) || (n, late) == (224, false)))
            })
            .collect();
        assert_eq!(told, wanted, "rate control {control}");
    }
    bench.stop().await;
}

/// Every third picture is none that others need; with the headers of either codec.
fn with_unneeded_pictures(hevc: bool) -> Script {
    let mut run = Run::clone(&run(1, TEN));
    if hevc {
        let vps = hex("40010c01ffff01600000030090000003000003003c928090");
        let sps = hex("42010101600000030090000003000003003ca00a080f16\
             592a4932bc05a02000000300200000030321");
        let h265 = h265::Parameters::new(vps, sps, vec![hex("4401c172b46240")]).unwrap();
        let video = Track { timescale: Timescale::VIDEO, parameters: Parameters::H265(h265) };
        run.tracks = Arc::new([video, run.tracks[1].clone()]);
    }
    let run = Arc::new(run);
    let mut units = footage(&run, 250, 300);
    for unit in units.iter_mut().filter(|unit| unit.track == VIDEO) {
        let needed = !(unit.number % GROUP).is_multiple_of(3) || unit.random_access;
        let header: [u8; 2] = match (hevc, unit.random_access, needed) {
            (false, true, _) => [0x65, 0x5a],
            (false, _, true) => [0x41, 0x5a],
            (false, ..) => [0x01, 0x5a],
            (true, true, _) => [0x26, 1],
            (true, _, true) => [0x02, 1],
            (true, ..) => [0, 1],
        };
        let mut body = unit.body.to_vec();
        body[4..6].copy_from_slice(&header);
        unit.body = body.into();
    }
    Script::new(vec![(run, units)], WallSpan::from_micros(PICTURE_US - 25_000))
}

#[tokio::test(start_paused = true)]
async fn pictures_that_no_other_needs_may_be_left_out_in_h264_and_h265() {
    for hevc in [false, true] {
        let bench = Bench::recorded(with_unneeded_pictures(hevc)).await;
        let mut client = bench.client().await;
        let base = client.set_up(&bench.url("/door/recording")).await;
        client.play_with(&base, "Range: npt=2-\nFrames: predicted\nRate-Control: no").await;
        let wanted =
            (50_u64..).filter(|n| n.is_multiple_of(GROUP) || !(n % GROUP).is_multiple_of(3));
        let numbers: Vec<_> = client.pictures(80).await.iter().map(|(_, p)| number(p)).collect();
        assert_eq!(numbers, wanted.take(80).collect::<Vec<_>>(), "H.265: {hevc}");
        bench.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn immediate_cancels_what_is_played_and_the_new_place_says_that_it_is_one() {
    let bench = Bench::recorded(seconds(60)).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    client.play_with(&base, "Require: onvif-replay\nRange: npt=0-").await;
    client.pictures(10).await;
    let lines = "Require: onvif-replay\nRange: npt=30-\nImmediate: yes";
    let answer = client.play_with(&base, lines).await;
    client.inbox.clear();
    for channel in [0, 2] {
        let (_, packet) = client.rtp(channel).await;
        let said = said(&packet);
        assert!(said.torn);
        assert_eq!(said.cseq, answer.cseq().unwrap().to_be_bytes()[3]);
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn every_packet_of_a_unit_says_when_and_only_its_ends_what_lies_beyond() {
    let bench = Bench::recorded(twenty_seconds(4_000)).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    client.play_with(&base, "Require: onvif-replay\nRange: npt=18-20").await;
    let (mut n, mut nth, mut last) = (450, 0, false);
    while !last {
        let (_, packet) = client.rtp(0).await;
        let said = said(&packet);
        assert_eq!((said.wall, said.clean), (wall_of(n), n.is_multiple_of(GROUP)), "{n}");
        assert_eq!(said.torn, n == 450 && nth == 0, "packet {nth} of {n}");
        last = n == 499 && packet.header.marker;
        assert_eq!((said.end, said.last), (last, last), "packet {nth} of {n}");
        nth += 1;
        if packet.header.marker {
            assert!(nth >= 3, "{nth} packets");
            (n, nth) = (n + 1, 0);
        }
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn gstreamer_in_onvif_mode_counts_from_1900_and_is_understood() {
    let bench = Bench::recorded(twenty_seconds(300)).await;
    let mut gstreamer = bench.client().await;
    let base = gstreamer.set_up(&bench.url("/door/recording")).await;
    let range = "Range: clock=19000101T000000Z-19000101T000020Z";
    let answer = gstreamer.play_with(&base, &format!("{range}\nRate-Control: no")).await;
    // Its units are dated, and so is what it hears of them.
    assert_eq!(told(&answer, "Range"), "clock=20261122T100000Z-20261122T100020Z");
    let numbers: Vec<_> = gstreamer.pictures(500).await.iter().map(|(_, p)| number(p)).collect();
    assert_eq!(numbers, (0..500).collect::<Vec<_>>());
    gstreamer.ask(&format!("PAUSE {base}")).await;
    let back = "Range: clock=19000101T000008.5Z-19000101T000005Z\nScale: -1\nRate-Control: no";
    let answer = gstreamer.play_with(&base, back).await;
    assert_eq!(told(&answer, "Range"), "clock=20261122T100008.5Z-20261122T100005Z");
    gstreamer.inbox.clear();
    let numbers: Vec<_> = gstreamer.pictures(13).await.iter().map(|(_, p)| number(p)).collect();
    assert_eq!(numbers, (200..=212).collect::<Vec<_>>());
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    let lost = format!("PLAY {base}\nRequire: onvif-replay\n{range}");
    assert_eq!(client.ask(&lost).await.status.as_u16(), 457, "it knows what it asks for");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_of_what_is_not_there_is_refused_and_a_player_gets_the_nearest() {
    let bench = Bench::recorded(twenty_seconds(300)).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    for hours in ["20261122T080000Z-20261122T090000Z", "20261122T110000Z-20261122T120000Z"] {
        let replay = format!("PLAY {base}\nRequire: onvif-replay\nRange: clock={hours}");
        assert_eq!(client.ask(&replay).await.status.as_u16(), 457, "{hours}");
    }
    let mut player = bench.client().await;
    let base = player.set_up(&bench.url("/door/recording")).await;
    player.play(&base, "npt=3600-").await;
    assert_eq!(number(&player.rtp(0).await.1), 475);
    assert!(player.rtp(0).await.1.extension.is_none());
    bench.stop().await;
}
