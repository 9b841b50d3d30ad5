//! Limits, what is not found, and the stop.

use super::{client::Frame, *};

fn script() -> Script {
    let run = run(1, TEN);
    let units = footage(&run, 500, 300);
    Script::new(vec![(run, units)], WallSpan::from_micros(15_000))
}

#[tokio::test(start_paused = true)]
async fn too_many_connections_of_an_address_are_turned_away_and_others_unharmed() {
    let bench =
        Bench::with(Access::open_to_all(), None, |s| s.max_connections_per_address = 2).await;
    let mut first = bench.client().await;
    assert_eq!(first.ask("OPTIONS *").await.status.as_u16(), 200);
    let mut second = bench.client().await;
    assert_eq!(second.ask("OPTIONS *").await.status.as_u16(), 200);
    let refused = bench.client().await.rest().await;
    assert!(refused.starts_with(b"RTSP/1.0 453"));
    assert_eq!(bench.counters.refused_connections(), 1);
    assert_eq!(first.ask("OPTIONS *").await.status.as_u16(), 200);
    drop(second);
    while bench.counters.connections() == 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(bench.client().await.ask("OPTIONS *").await.status.as_u16(), 200);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_trickles_in_is_given_ten_seconds() {
    let bench = Bench::new().await;
    let mut slow = bench.client().await;
    let began = Instant::now();
    slow.raw(b"OPTIONS * RTSP/1.0\r\n").await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(3)).await;
        slow.raw(b"X: y\r\n").await;
    }
    let answer = slow.rest().await;
    assert!(answer.starts_with(b"RTSP/1.0 408"));
    assert!((10..12).contains(&began.elapsed().as_secs()));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn noise_is_answered_with_400_and_closed() {
    let bench = Bench::new().await;
    let mut client = bench.client().await;
    client.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n").await;
    let answer = client.rest().await;
    assert!(answer.starts_with(b"RTSP/1.0 400"), "{answer:?}");
    let mut client = bench.client().await;
    client.raw(&[b'A'; 9_000]).await;
    assert!(client.rest().await.starts_with(b"RTSP/1.0 414"));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn requests_byte_by_byte_and_all_at_once_are_answered_alike() {
    let bench = Bench::new().await;
    let two = b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\nOPTIONS * RTSP/1.0\r\nCSeq: 2\r\n\r\n";
    let mut slowly = bench.client().await;
    for byte in two.chunks(1) {
        slowly.raw(byte).await;
        tokio::task::yield_now().await;
    }
    let mut at_once = bench.client().await;
    at_once.raw(two).await;
    for client in [&mut slowly, &mut at_once] {
        // A frame for a channel nobody set up means nothing.
        client.raw(b"$\x09\x00\x02hi").await;
        client.raw(b"PLAY * RTSP/1.0\r\nCSeq: 3\r\n\r\nSETUP\r\n\r\n").await;
    }
    let (slowly, at_once) = (slowly.rest().await, at_once.rest().await);
    assert_eq!(slowly, at_once);
    let text = String::from_utf8(slowly.to_vec()).unwrap();
    let codes: Vec<_> = text.split("RTSP/1.0 ").skip(1).map(|a| a[..3].to_owned()).collect();
    assert_eq!(codes, ["200", "200", "454", "400"]);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_404_and_what_fails_is_500() {
    let bench = Bench::new().await;
    let mut client = bench.client().await;
    for (path, code) in
        [("/yard", 404), ("/door/sub", 404), ("/door/recording", 404), ("/broken", 500)]
    {
        let answer = client.ask(&format!("DESCRIBE {}", bench.url(path))).await;
        assert_eq!(answer.status.as_u16(), code, "{path}");
    }
    assert!(bench.counters.requests().contains(&("DESCRIBE", 404, 3)));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn stopping_says_good_bye_and_ends_every_task() {
    let bench = Bench::recorded(script()).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    client.play(&base, "npt=0-").await;
    client.pictures(2).await;
    let mut idle = bench.client().await;
    idle.ask("OPTIONS *").await;
    bench.stop().await;
    let mut byes = 0;
    while let Some(frame) = client.frame().await {
        if let Frame::Rtcp { received, .. } = frame {
            byes += received.byes.len();
        }
    }
    assert_eq!(byes, 2);
    assert!(idle.rest().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_player_in_pause_may_be_silent_for_a_day() {
    let bench = Bench::recorded(script()).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    client.play(&base, "npt=0-").await;
    client.pictures(2).await;
    client.ask(&format!("PAUSE {base}")).await;
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    client.play(&base, "").await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_and_asked_is_counted() {
    let bench = Bench::recorded(script()).await;
    let mut client = bench.client().await;
    let base = client.set_up(&bench.url("/door/recording")).await;
    client.play(&base, "npt=0-").await;
    client.pictures(25).await;
    assert!(bench.counters.bytes_out() > 25 * 300);
    assert_eq!(bench.counters.first_packet().count, 1);
    assert!(bench.counters.requests().contains(&("SETUP", 200, 2)));
    bench.stop().await;
}
