//! Those who push: a raw publisher in, what the hub gets of it out, through the same task that records a pull.

use tokio::net::UdpSocket;

use super::{access::by_md5, *};
use crate::{
    hub::{Event, Start},
    ingest::{Landing, PullState, Puller, Resume, StreamStatus},
    model::{Secret, Source},
    proto::rtp::rtcp,
    task::{Connects, Stop},
};

const SOUND_ALONE: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=audio 0 RTP/AVP 8\r\na=control:streamid=0\r\n";
const WITH_UNHEARD: &str = "v=0\r\nm=audio 0 RTP/AVP 8\r\na=control:streamid=0\r\n\
                            m=text 0 RTP/AVP 99\r\na=rtpmap:99 t140/1000\r\na=control:streamid=1\r\n";

/// A camera that waits for its publisher.
struct Waiting {
    bench: Bench,
    status: Arc<StreamStatus>,
    stop: Stop,
    pull: JoinHandle<()>,
}

impl Waiting {
    async fn new(take_over: bool) -> Self {
        Self::of(Bench::new().await, take_over)
    }

    fn of(bench: Bench, take_over: bool) -> Self {
        bench.run_clock();
        let status = StreamStatus::new();
        let source = Source::Publish { take_over };
        let puller = Puller {
            stream: StreamId(1),
            camera: "door".parse().unwrap(),
            role: Role::Main,
            from: Landing::Publish(bench.berths.open(StreamId(1), source, true)),
            channel: bench.hub.channel(StreamId(1)),
            status: Arc::clone(&status),
            clock: bench.clock.clone(),
            connects: Connects::default(),
            resume: Resume::default(),
        };
        let stop = Stop::child_of(&bench.token);
        let pull = bench.tracker.spawn(puller.run(stop.clone()));
        Self { bench, status, stop, pull }
    }

    fn state(&self) -> PullState {
        self.status.snapshot(&self.bench.clock).state
    }

    async fn until(&self, wanted: PullState) {
        while self.state() != wanted {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn publisher(&self) -> Client {
        publisher(&self.bench).await
    }

    async fn end(self) {
        self.stop.stop(GapReason::VedetteDown);
        self.pull.await.unwrap();
        self.bench.stop().await;
    }
}

/// ANNOUNCE to RECORD, over TCP.
async fn publisher(bench: &Bench) -> Client {
    let mut client = bench.client().await;
    let url = bench.url("/door");
    assert_eq!(client.announce(&url, SOUND_ALONE).await.status.as_u16(), 200);
    let transport = "RTP/AVP/TCP;unicast;interleaved=0-1;mode=record";
    let answer = client.ask(&format!("SETUP {url}/streamid=0\nTransport: {transport}")).await;
    assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
    let transport = answer.headers.get("Transport").unwrap();
    assert_eq!(transport, "RTP/AVP/TCP;unicast;interleaved=0-1;mode=record");
    let answer = client.ask(&format!("RECORD {url}\nRange: npt=0.000-")).await;
    assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
    client
}

/// The first so many units: their numbers, and a byte of each.
fn first_units(
    waiting: &Waiting,
    mut units: crate::hub::Subscription,
    count: usize,
) -> JoinHandle<Vec<(u64, u8)>> {
    waiting.bench.tracker.spawn(async move {
        let mut seen = Vec::new();
        while seen.len() < count {
            match units.next().await.unwrap() {
                Event::Unit { unit, .. } => seen.push((unit.number, unit.body[0])),
                Event::Ended { .. } => {}
                Event::Lagged { units } => panic!("{units} missed"),
            }
        }
        seen
    })
}

/// Sound number `n`: 20 ms of A-law.
fn packet(n: u16) -> Bytes {
    let mut packet = BytesMut::new();
    packet.put_slice(&[0x80, 8]);
    packet.put_u16(n);
    packet.put_u32(u32::from(n) * 160);
    packet.put_u32(0xabcd);
    packet.put_bytes(n as u8, 160);
    packet.freeze()
}

async fn send(client: &mut Client, numbers: std::ops::Range<u16>) {
    for n in numbers {
        let packet = packet(n);
        let mut frame = vec![b'$', 0, 0, u8::try_from(packet.len()).unwrap()];
        frame.extend_from_slice(&packet);
        client.raw(&frame).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_published_is_live_in_order_and_reports_go_back() {
    let waiting = Waiting::new(false).await;
    waiting.until(PullState::Waiting).await;
    let detail = waiting.status.snapshot(&waiting.bench.clock).detail;
    assert_eq!(detail.as_deref(), Some("waiting for a publisher"));
    let channel = waiting.bench.hub.channel(StreamId(1));
    let units = first_units(&waiting, channel.subscribe(Start::Oldest), 250);
    let mut client = waiting.publisher().await;
    send(&mut client, 0..300).await;
    for (n, (number, sound)) in (0..).zip(units.await.unwrap()) {
        assert_eq!((number, sound), (n, n as u8));
    }
    assert_eq!(waiting.state(), PullState::Running);
    let Some(client::Frame::Rtcp { channel: 1, received, .. }) = client.frame().await else {
        panic!("a receiver report")
    };
    assert_eq!(received.blocks[0].ssrc, 0xabcd);
    assert_eq!(waiting.bench.counters.publishers(), 1);
    let url = waiting.bench.url("/door");
    assert_eq!(client.ask(&format!("TEARDOWN {url}")).await.status.as_u16(), 200);
    waiting.until(PullState::Waiting).await;
    let snapshot = waiting.status.snapshot(&waiting.bench.clock);
    assert_eq!(snapshot.reason, Some(GapReason::Disconnected));
    assert_eq!(
        snapshot.detail.as_deref(),
        Some("waiting for a publisher: the publisher said good-bye")
    );
    waiting.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_takes_up_waits_within_bounds_and_the_rest_is_dropped_and_counted() {
    let bench = Bench::new().await;
    // A place without anybody behind it: a recorder that is as far behind as can be.
    let source = Source::Publish { take_over: false };
    let _open = bench.berths.open(StreamId(1), source, true);
    let mut client = publisher(&bench).await;
    let (room, more) = (crate::ingest::publish::limits::PACKETS, 100);
    let one = packet(0);
    let framed = [&[b'$', 0, 0, u8::try_from(one.len()).unwrap()], &one[..]].concat();
    client.raw(&framed.repeat(room)).await;
    let url = bench.url("/door");
    assert_eq!(client.ask(&format!("OPTIONS {url}")).await.status.as_u16(), 200);
    assert_eq!(bench.counters.packets_dropped(), 0);
    client.raw(&framed.repeat(more)).await;
    let answer = client.ask(&format!("OPTIONS {url}")).await;
    assert_eq!(answer.status.as_u16(), 200, "the connection is read on and answered");
    assert_eq!(bench.counters.packets_dropped(), more as u64);
    assert_eq!(bench.counters.bytes_published(), ((room + more) * one.len()) as u64);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_second_publisher_is_refused_and_the_first_goes_on() {
    let waiting = Waiting::new(false).await;
    let mut first = waiting.publisher().await;
    send(&mut first, 0..50).await;
    let mut second = waiting.bench.client().await;
    let answer = second.announce(&waiting.bench.url("/door"), SOUND_ALONE).await;
    assert_eq!(answer.status.as_u16(), 453);
    send(&mut first, 50..100).await;
    assert_eq!(waiting.state(), PullState::Running);
    // The place is free as soon as the first is gone.
    drop(first);
    waiting.until(PullState::Waiting).await;
    let mut third = waiting.publisher().await;
    send(&mut third, 0..50).await;
    assert_eq!(waiting.state(), PullState::Running);
    waiting.end().await;
}

#[tokio::test(start_paused = true)]
async fn where_it_is_allowed_a_second_publisher_takes_over() {
    let waiting = Waiting::new(true).await;
    let mut first = waiting.publisher().await;
    send(&mut first, 0..50).await;
    let mut second = waiting.publisher().await;
    assert!(first.rest().await.is_empty(), "the first one's connection is closed");
    send(&mut second, 0..50).await;
    let snapshot = waiting.status.snapshot(&waiting.bench.clock);
    assert_eq!((snapshot.state, snapshot.reconnects), (PullState::Running, 1));
    waiting.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_published_has_its_own_code() {
    let pulled = Bench::new().await;
    let mut client = pulled.client().await;
    let answer = client.announce(&pulled.url("/door"), SOUND_ALONE).await;
    assert_eq!(answer.status.as_u16(), 405);
    assert!(!answer.body.is_empty(), "in words");
    pulled.stop().await;

    let waiting = Waiting::new(false).await;
    let mut client = waiting.bench.client().await;
    let url = waiting.bench.url("/door");
    for (path, sdp, status) in [
        ("/nobody", SOUND_ALONE, 404),
        ("/door/recording", SOUND_ALONE, 404),
        ("/door", "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 X-Unheard/90000\r\n", 415),
        ("/door", "", 415),
    ] {
        let answer = client.announce(&waiting.bench.url(path), sdp).await;
        assert_eq!(answer.status.as_u16(), status, "{path} {sdp}");
    }
    assert_eq!(client.ask(&format!("ANNOUNCE {url}")).await.status.as_u16(), 415);
    assert_eq!(client.ask(&format!("RECORD {url}")).await.status.as_u16(), 454);
    // What is of no use beside what is: taken, and thrown away.
    assert_eq!(client.announce(&url, WITH_UNHEARD).await.status.as_u16(), 200);
    assert_eq!(client.announce(&url, WITH_UNHEARD).await.status.as_u16(), 455);
    let transport = "RTP/AVP/TCP;unicast;interleaved=0-1;mode=record";
    for (track, status) in [("streamid=2", 404), ("streamid=1", 200)] {
        let answer = client.ask(&format!("SETUP {url}/{track}\nTransport: {transport}")).await;
        assert_eq!(answer.status.as_u16(), status, "{track}");
    }
    assert_eq!(client.ask(&format!("RECORD {url}")).await.status.as_u16(), 415);
    waiting.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_falls_silent_is_sent_away_and_its_place_is_free() {
    let waiting = Waiting::new(false).await;
    let mut silent = waiting.publisher().await;
    send(&mut silent, 0..50).await;
    silent.rest().await;
    assert_eq!(waiting.bench.counters.publishers(), 0);
    // Nor does one keep it that announces and sends nothing at all.
    let mut idle = waiting.bench.client().await;
    assert_eq!(idle.announce(&waiting.bench.url("/door"), SOUND_ALONE).await.status.as_u16(), 200);
    idle.rest().await;
    // Nor one that talks and sends nothing.
    let mut talker = waiting.bench.client().await;
    let url = waiting.bench.url("/door");
    assert_eq!(talker.announce(&url, SOUND_ALONE).await.status.as_u16(), 200);
    let transport = "RTP/AVP/TCP;unicast;interleaved=0-1;mode=record";
    talker.ask(&format!("SETUP {url}/streamid=0\nTransport: {transport}")).await;
    let began = Instant::now();
    for method in ["OPTIONS", "GET_PARAMETER"] {
        tokio::time::sleep(Duration::from_secs(25)).await;
        assert_eq!(talker.ask(&format!("{method} {url}")).await.status.as_u16(), 200);
    }
    while waiting.bench.counters.publishers() > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(began.elapsed() < Duration::from_secs(65), "{:?}", began.elapsed());
    let mut next = waiting.publisher().await;
    send(&mut next, 0..50).await;
    assert_eq!(waiting.state(), PullState::Running);
    waiting.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_the_run_and_record_begins_another() {
    let waiting = Waiting::new(false).await;
    let mut client = waiting.publisher().await;
    send(&mut client, 0..50).await;
    let url = waiting.bench.url("/door");
    assert_eq!(client.ask(&format!("PAUSE {url}")).await.status.as_u16(), 200);
    waiting.until(PullState::Waiting).await;
    assert_eq!(client.ask(&format!("RECORD {url}")).await.status.as_u16(), 200);
    send(&mut client, 50..100).await;
    let snapshot = waiting.status.snapshot(&waiting.bench.clock);
    assert_eq!((snapshot.state, snapshot.reconnects), (PullState::Running, 1));
    waiting.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_publishes_has_to_log_in() {
    let access = Access::fixed("ann", &Secret::new("open sesame".to_owned()));
    let waiting = Waiting::of(Bench::with(access, None, |_| {}).await, false);
    let mut client = waiting.bench.client().await;
    let url = waiting.bench.url("/door");
    let refused = client.announce(&url, SOUND_ALONE).await;
    assert_eq!(refused.status.as_u16(), 401);
    let challenge = refused.headers.get("WWW-Authenticate").unwrap();
    let nonce = challenge.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    client.authorization = Some(by_md5("wrong", nonce.clone()));
    assert_eq!(client.announce(&url, SOUND_ALONE).await.status.as_u16(), 401);
    client.authorization = Some(by_md5("open sesame", nonce));
    assert_eq!(client.announce(&url, SOUND_ALONE).await.status.as_u16(), 200);
    waiting.end().await;
}

#[tokio::test(start_paused = true)]
async fn packets_by_udp_are_put_in_order_and_taken_from_the_publisher_alone() {
    let waiting = Waiting::new(false).await;
    let channel = waiting.bench.hub.channel(StreamId(1));
    let units = first_units(&waiting, channel.subscribe(Start::Oldest), 200);
    let mut client = waiting.bench.client().await;
    let url = waiting.bench.url("/door");
    assert_eq!(client.announce(&url, SOUND_ALONE).await.status.as_u16(), 200);
    let bind = |at: &'static str| async move { UdpSocket::bind(at).await.unwrap() };
    let (rtp, rtcp) = (bind("127.0.0.1:0").await, bind("127.0.0.1:0").await);
    let stranger = bind("127.0.0.9:0").await;
    let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
    let transport =
        format!("RTP/AVP/UDP;unicast;client_port={}-{};mode=record", port(&rtp), port(&rtcp));
    let answer = client.ask(&format!("SETUP {url}/streamid=0\nTransport: {transport}")).await;
    let transport = answer.headers.get("Transport").unwrap().to_owned();
    let server = transport.split("server_port=").nth(1).unwrap();
    let server: u16 = server.split('-').next().unwrap().parse().unwrap();
    assert_eq!(client.ask(&format!("RECORD {url}")).await.status.as_u16(), 200);
    for n in (0..300).map(|n: u16| n ^ 1) {
        let mut forged = packet(n).to_vec();
        forged[12..].fill(0xff);
        stranger.send_to(&forged, ("127.0.0.1", server)).await.unwrap();
        rtp.send_to(&packet(n), ("127.0.0.1", server)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The first is the one that came first: nothing is waited for before there is anything.
    let mut last = None;
    for (_, sound) in units.await.unwrap() {
        assert!(last.is_none_or(|last: u8| sound == last.wrapping_add(1)), "{last:?} {sound}");
        last = Some(sound);
    }
    let mut report = [0; 512];
    let (length, from) = rtcp.recv_from(&mut report).await.unwrap();
    assert_eq!(from.port(), server + 1);
    let report = rtcp::parse(&report[..length]).unwrap();
    assert_eq!(report.blocks[0].ssrc, 0xabcd);
    waiting.end().await;
}
