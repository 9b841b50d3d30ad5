//! RTP over UDP.

use tokio::net::UdpSocket;

use super::{client::number, *};
use crate::{
    proto::rtp::{self, Packet, PacketBatch, rtcp},
    rtsp_server::udp::{Pair, Ports},
};

struct Ears {
    rtp: UdpSocket,
    rtcp: UdpSocket,
}

impl Ears {
    async fn new() -> Self {
        let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        Self { rtp: bind().await.unwrap(), rtcp: bind().await.unwrap() }
    }

    fn ports(&self) -> String {
        let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
        format!("{}-{}", port(&self.rtp), port(&self.rtcp))
    }

    async fn packet(&self) -> (std::net::SocketAddr, Packet) {
        let mut buffer = [0; 2_048];
        let (length, from) = self.rtp.recv_from(&mut buffer).await.unwrap();
        assert!(length <= 1_452, "{length} bytes");
        (from, Packet::parse(Bytes::copy_from_slice(&buffer[..length])).unwrap())
    }

    async fn report(&self) -> (std::net::SocketAddr, rtcp::Received) {
        let mut buffer = [0; 2_048];
        let (length, from) = self.rtcp.recv_from(&mut buffer).await.unwrap();
        (from, rtcp::parse(&buffer[..length]).unwrap())
    }
}

/// An empty receiver report.
const ALIVE: &[u8] = &[0x80, 201, 0, 1, 1, 2, 3, 4];

fn long_script(size: usize) -> Script {
    let run = run(1, TEN);
    let units = footage(&run, 25 * 600, size);
    Script::new(vec![(run, units)], WallSpan::from_micros(15_000))
}

async fn set_up(client: &mut Client, url: &str, ears: &Ears) -> (String, u16) {
    set_up_with(client, url, ears, "").await
}

async fn set_up_with(client: &mut Client, url: &str, ears: &Ears, more: &str) -> (String, u16) {
    let described = client.ask(&format!("DESCRIBE {url}")).await;
    let base = described.headers.get("Content-Base").unwrap().to_owned();
    let transport = format!("RTP/AVP;unicast{more};client_port={}", ears.ports());
    let answer = client.ask(&format!("SETUP {base}trackID=0\nTransport: {transport}")).await;
    assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
    let transport = answer.headers.get("Transport").unwrap();
    let port = transport.split("server_port=").nth(1).unwrap();
    let port = port.split(['-', ';']).next().unwrap().parse().unwrap();
    (base, port)
}

#[tokio::test(start_paused = true)]
async fn whoever_a_client_names_packets_go_to_the_client_itself() {
    let bench = Bench::recorded(long_script(300)).await;
    let mut client = bench.client().await;
    let (ears, victim) = (Ears::new().await, UdpSocket::bind("127.0.0.9:0").await.unwrap());
    let url = bench.url("/door/recording");
    let (base, _) = set_up_with(&mut client, &url, &ears, ";destination=127.0.0.9").await;
    client.play(&base, "npt=0-").await;
    ears.packet().await;
    assert!(victim.try_recv(&mut [0; 16]).is_err());
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn packets_go_from_and_to_the_ports_agreed_on() {
    let bench = Bench::recorded(long_script(5_000)).await;
    let mut client = bench.client().await;
    let ears = Ears::new().await;
    let (base, port) = set_up(&mut client, &bench.url("/door/recording"), &ears).await;
    assert!(port.is_multiple_of(2));
    let (_, info) = client.play(&base, "npt=0-").await;
    let (from, first) = ears.packet().await;
    assert_eq!(from.port(), port);
    assert_eq!(info[0].seq, Some(first.header.sequence));
    assert_eq!(info[0].rtptime, Some(first.header.timestamp));
    let (from, report) = ears.report().await;
    assert_eq!(from.port(), port + 1);
    assert_eq!(report.sender_reports[0].ssrc, first.header.ssrc);
    let (mut sequence, mut next) = (first.header.sequence, 0);
    while next < 10 {
        let (_, packet) = ears.packet().await;
        sequence = sequence.wrapping_add(1);
        assert_eq!(packet.header.sequence, sequence);
        if packet.header.marker {
            assert_eq!(number(&packet), next);
            next += 1;
        }
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_large_key_frame_is_spread_out() {
    let bench = Bench::recorded(long_script(100_000)).await;
    let mut client = bench.client().await;
    let ears = Ears::new().await;
    let (base, _) = set_up(&mut client, &bench.url("/door/recording"), &ears).await;
    client.play(&base, "npt=0-").await;
    let began = Instant::now();
    while !ears.packet().await.1.header.marker {}
    let took = began.elapsed().as_millis();
    // 70 packets, 8 a millisecond (timers fire a millisecond late at most).
    assert!((6..=20).contains(&took), "{took} ms");
    bench.stop().await;
}

/// The packets of a picture of so many bytes, each of at most `max_packet`.
fn batch(size: usize, max_packet: usize) -> PacketBatch {
    let run = run(1, TEN);
    let settings = rtp::Settings {
        ssrc: 7,
        first_sequence: 0xfff0,
        first_timestamp: 0,
        payload_type: 96,
        channel: None,
        max_packet,
    };
    let mut batch = PacketBatch::new();
    let mut sender = rtp::Sender::new(settings, &run.tracks[0]).unwrap();
    sender.send(&picture(&run, 0, size), 0, &mut batch).unwrap();
    batch
}

fn datagram(batch: &PacketBatch, index: usize) -> Vec<u8> {
    let mut slices = [std::io::IoSlice::new(&[]); PacketBatch::MAX_SLICES];
    let used = batch.datagram(index, &mut slices).unwrap();
    slices[..used].iter().flat_map(|s| s.iter().copied()).collect()
}

/// Sends all of `batch` and expects it at the other end, packet by packet.
async fn sent_as_it_is(pair: &Pair, ears: &Ears, batch: &PacketBatch, most: usize) -> usize {
    let (mut next, mut calls) = (0, 0);
    while next < batch.len() {
        let sent = pair.send(batch, next, most).await;
        assert!(sent.packets <= most);
        let mut bytes = 0;
        for index in next..next + sent.packets {
            let mut buffer = [0; 2_048];
            let (length, _) = ears.rtp.recv_from(&mut buffer).await.unwrap();
            assert_eq!(buffer[..length], datagram(batch, index)[..], "packet {index}");
            bytes += length;
        }
        assert_eq!(sent.bytes, bytes);
        next += sent.packets;
        calls += 1;
    }
    calls
}

fn pair(ears: &Ears) -> Pair {
    let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
    let home = Ipv4Addr::LOCALHOST.into();
    let ports = Ports::new(&(35_000..=35_999)).unwrap();
    ports.open(home, home, (port(&ears.rtp), port(&ears.rtcp))).unwrap()
}

#[tokio::test]
async fn packets_that_leave_in_one_call_arrive_one_by_one_as_they_are() {
    let ears = Ears::new().await;
    let (pair, batch) = (pair(&ears), batch(30_000, 1_452));
    // Parameter sets, then fragments of one size and a shorter one.
    assert_eq!(batch.len(), 22);
    assert_eq!(sent_as_it_is(&pair, &ears, &batch, 8).await, 1 + 3);
}

#[tokio::test]
async fn where_the_kernel_refuses_to_cut_packets_leave_one_by_one_from_then_on() {
    let ears = Ears::new().await;
    let (pair, batch) = (pair(&ears), batch(30_000, 1_452));
    // As with a card that makes no checksums.
    let sent = pair.try_send(&batch, 1, 8, |_, _, _| Err(nix::errno::Errno::EIO)).unwrap();
    assert_eq!(sent.packets, 1);
    let mut buffer = [0; 2_048];
    let (length, _) = ears.rtp.recv_from(&mut buffer).await.unwrap();
    assert_eq!(buffer[..length], datagram(&batch, 1)[..]);
    assert_eq!(sent_as_it_is(&pair, &ears, &batch, 8).await, batch.len());
}

#[tokio::test(start_paused = true)]
async fn silence_ends_the_session_and_reports_keep_it_alive() {
    let bench = Bench::recorded(long_script(300)).await;
    let mut client = bench.client().await;
    let ears = Ears::new().await;
    let (base, port) = set_up(&mut client, &bench.url("/door/recording"), &ears).await;
    client.play(&base, "npt=0-").await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(50)).await;
        ears.rtcp.send_to(ALIVE, (Ipv4Addr::LOCALHOST, port + 1)).await.unwrap();
        assert_eq!(bench.counters.sessions(), 1);
    }
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(bench.counters.sessions(), 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.counters.sessions(), 0);
    let gone = client.ask(&format!("PLAY {base}")).await;
    assert_eq!(gone.status.as_u16(), 454);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_outlives_its_connection_and_can_be_taken_up_again() {
    let bench = Bench::recorded(long_script(300)).await;
    let mut client = bench.client().await;
    let ears = Ears::new().await;
    let (base, _) = set_up(&mut client, &bench.url("/door/recording"), &ears).await;
    client.play(&base, "npt=0-").await;
    let before = ears.packet().await.1;
    let session = client.session.take();
    drop(client);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(bench.counters.sessions(), 1);

    let mut again = bench.client().await;
    again.session = session.clone();
    assert_eq!(again.ask(&format!("PAUSE {base}")).await.status.as_u16(), 200);
    let (_, info) = again.play(&base, "npt=100-").await;
    let mut packet = before.clone();
    while Some(packet.header.sequence) != info[0].seq {
        packet = ears.packet().await.1;
    }
    assert_eq!(number(&packet), 2_500);
    assert_eq!(packet.header.ssrc, before.header.ssrc);
    again.ask(&format!("TEARDOWN {base}")).await;
    again.session = session;
    assert_eq!(again.ask(&format!("PAUSE {base}")).await.status.as_u16(), 454);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_connection_lives_is_nobody_elses() {
    let bench = Bench::recorded(long_script(300)).await;
    let mut owner = bench.client().await;
    let ears = Ears::new().await;
    let (base, _) = set_up(&mut owner, &bench.url("/door/recording"), &ears).await;
    let mut thief = bench.client().await;
    thief.session = owner.session.clone();
    assert_eq!(thief.ask(&format!("TEARDOWN {base}")).await.status.as_u16(), 454);
    assert_eq!(owner.ask(&format!("PAUSE {base}")).await.status.as_u16(), 200);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_ports_players_are_sent_to_tcp() {
    let bench =
        Bench::with(Access::open_to_all(), Some(long_script(300)), |s| s.udp_ports = None).await;
    let mut client = bench.client().await;
    let base = bench.url("/door/recording/~script/");
    let transport = "Transport: RTP/AVP;unicast;client_port=5000-5001";
    let answer = client.ask(&format!("SETUP {base}trackID=0\n{transport}")).await;
    assert_eq!(answer.status.as_u16(), 461);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn when_all_ports_are_taken_players_are_sent_to_tcp() {
    let bench = Bench::with(Access::open_to_all(), Some(long_script(300)), |s| {
        s.udp_ports = Some(33_990..=33_991);
    })
    .await;
    let mut client = bench.client().await;
    let base = bench.url("/door/recording/~script/");
    let transport = "Transport: RTP/AVP;unicast;client_port=5000-5001";
    let first = client.ask(&format!("SETUP {base}trackID=0\n{transport}")).await;
    assert_eq!(first.status.as_u16(), 200);
    let second = client.ask(&format!("SETUP {base}trackID=1\n{transport}")).await;
    assert_eq!(second.status.as_u16(), 461);
    client.ask(&format!("TEARDOWN {base}")).await;
    client.session = None;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let third = client.ask(&format!("SETUP {base}trackID=0\n{transport}")).await;
    assert_eq!(third.status.as_u16(), 200, "ports are free again");
    bench.stop().await;
}
