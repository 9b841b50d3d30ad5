//! Live footage by multicast, over the loopback interface: a group is joined as players do it.

use tokio::net::UdpSocket;

use super::*;
use crate::proto::rtp::{Packet, rtcp};

/// Of a test's own: others may run beside it.
fn multicast(last: u8) -> Multicast {
    let port = 30_000 + u16::try_from(std::process::id() % 10_000).unwrap() * 2;
    let (first, interface) = (Ipv4Addr::new(239, 255, 77, last), Ipv4Addr::LOCALHOST);
    Multicast { first, groups: 1, port, ttl: 1, interface }
}

async fn bench(multicast: Multicast) -> Bench {
    Bench::with(Access::open_to_all(), None, |s| s.multicast = Some(multicast)).await
}

fn ear(of: &Multicast, port: u16) -> UdpSocket {
    let socket = std::net::UdpSocket::bind((of.first, port)).unwrap();
    socket.join_multicast_v4(&of.first, &of.interface).unwrap();
    socket.set_nonblocking(true).unwrap();
    UdpSocket::from_std(socket).unwrap()
}

async fn packet(ear: &UdpSocket) -> Packet {
    let mut buffer = [0; 2_048];
    let (length, _) = ear.recv_from(&mut buffer).await.unwrap();
    Packet::parse(Bytes::copy_from_slice(&buffer[..length])).unwrap()
}

async fn is_silent(ear: &UdpSocket) -> bool {
    while ear.try_recv(&mut [0; 2_048]).is_ok() {}
    tokio::time::timeout(Duration::from_secs(5), packet(ear)).await.is_err()
}

/// DESCRIBE, SETUP of the picture and PLAY; returns what was answered to SETUP, and the base.
async fn watch(client: &mut Client, bench: &Bench) -> (String, String) {
    let described = client.ask(&format!("DESCRIBE {}", bench.url("/door"))).await;
    let base = described.headers.get("Content-Base").unwrap().to_owned();
    let offer = "RTP/AVP;multicast;destination=127.0.0.9;port=9-10;ttl=99";
    let answer = client.ask(&format!("SETUP {base}trackID=0\nTransport: {offer}")).await;
    assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
    let transport = answer.headers.get("Transport").unwrap().to_owned();
    let playing = client.ask(&format!("PLAY {base}")).await;
    assert_eq!(playing.status.as_u16(), 200, "{playing:?}");
    (transport, base)
}

#[tokio::test(start_paused = true)]
async fn all_who_watch_by_multicast_share_one_sender_that_ends_with_the_last() {
    let settings = multicast(1);
    let bench = bench(settings).await;
    let camera = bench.film(300);
    let (ear, reports) = (ear(&settings, settings.port), ear(&settings, settings.port + 1));
    let (mut one, mut other) = (bench.client().await, bench.client().await);
    let (first, one_base) = watch(&mut one, &bench).await;
    let begun = packet(&ear).await;
    let (second, other_base) = watch(&mut other, &bench).await;
    assert_eq!(first, second);
    let port = settings.port;
    let place = format!("RTP/AVP;multicast;destination=239.255.77.1;port={port}");
    assert!(first.starts_with(&place), "the group is ours to choose: {first}");
    assert!(first.contains(";ttl=1;"), "{first}");
    let mut buffer = [0; 2_048];
    let length = reports.recv(&mut buffer).await.unwrap();
    let report = rtcp::parse(&buffer[..length]).unwrap();
    assert_eq!(report.sender_reports[0].ssrc, begun.header.ssrc);
    let mut sequence = begun.header.sequence;
    for _ in 0..100 {
        let next = packet(&ear).await;
        sequence = sequence.wrapping_add(1);
        assert_eq!((next.header.ssrc, next.header.sequence), (begun.header.ssrc, sequence));
    }
    assert_eq!(bench.counters.sessions(), 2);
    one.ask(&format!("TEARDOWN {one_base}")).await;
    for _ in 0..20 {
        sequence = sequence.wrapping_add(1);
        assert_eq!(packet(&ear).await.header.sequence, sequence, "the other still watches");
    }
    other.ask(&format!("TEARDOWN {other_base}")).await;
    assert!(is_silent(&ear).await);
    camera.cancel();
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_last_viewer_is_gone_is_sent_to_until_its_time_out() {
    let settings = multicast(2);
    let bench = bench(settings).await;
    let camera = bench.film(300);
    let ear = ear(&settings, settings.port);
    let mut client = bench.client().await;
    watch(&mut client, &bench).await;
    packet(&ear).await;
    drop(client);
    let gone = Instant::now();
    while tokio::time::timeout(Duration::from_secs(5), packet(&ear)).await.is_ok() {
        assert!(gone.elapsed() < Duration::from_secs(120), "it is sent to for ever");
    }
    assert!(gone.elapsed() > Duration::from_secs(50), "it outlives the connection");
    camera.cancel();
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn recordings_and_servers_without_groups_answer_multicast_with_461() {
    let script = {
        let run = run(1, TEN);
        let units = footage(&run, 100, 300);
        Script::new(vec![(run, units)], WallSpan::from_micros(15_000))
    };
    let settings = multicast(3);
    let recorded =
        Bench::with(Access::open_to_all(), Some(script), |s| s.multicast = Some(settings)).await;
    let off = Bench::new().await;
    let camera = off.film(300);
    for (bench, path) in [(&recorded, "/door/recording"), (&off, "/door")] {
        let mut client = bench.client().await;
        let url = bench.url(path);
        let offer = "Transport: RTP/AVP;multicast";
        let answer = client.ask(&format!("SETUP {url}/trackID=0\n{offer}")).await;
        assert_eq!(answer.status.as_u16(), 461, "{path}");
    }
    camera.cancel();
    recorded.stop().await;
    off.stop().await;
}
