//! Very many viewers of one live stream, and one that never reads.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{net::TcpSocket, task::JoinSet};

use super::{
    client::{Frame, number},
    *,
};

const VIEWERS: usize = 500;
/// They come one after the other in the first two seconds.
const ARRIVALS: Duration = Duration::from_secs(2);
const PICTURES: u64 = 120;
const SIZE: usize = 40_000;
/// A picture a second follows until who takes nothing has been given up.
const AFTER: u64 = 14;

/// Bytes that are counted as long as anybody holds them.
struct Matter {
    bytes: Vec<u8>,
    held: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Matter {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Matter {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes.len(), Relaxed);
    }
}

fn counted(unit: AccessUnit, held: &Arc<AtomicUsize>) -> AccessUnit {
    held.fetch_add(unit.body.len(), Relaxed);
    let matter = Matter { bytes: unit.body.to_vec(), held: Arc::clone(held) };
    AccessUnit { body: Bytes::from_owner(matter), ..unit }
}

async fn watch(client: &mut Client, url: &str) {
    let described = client.ask(&format!("DESCRIBE {url}")).await;
    let base = described.headers.get("Content-Base").unwrap().to_owned();
    let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1";
    assert_eq!(
        client.ask(&format!("SETUP {base}trackID=0\n{transport}")).await.status.as_u16(),
        200
    );
    client.play(&base, "npt=now-").await;
}

/// Numbers of the pictures that come, to the last of all.
async fn all_pictures(mut client: Client) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&(PICTURES + AFTER - 1)) {
        if let Frame::Rtp { packet, .. } = client.frame().await.expect("a packet") {
            assert!(packet.header.marker, "a picture is a packet here");
            numbers.push(number(&packet));
        }
    }
    numbers
}

#[tokio::test(start_paused = true)]
async fn five_hundred_viewers_get_every_picture_beside_one_that_never_reads() {
    // Both ends of each connection are ours.
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).unwrap();
    let bench = Bench::with(Access::open_to_all(), None, |s| {
        (s.max_connections, s.max_connections_per_address) = (VIEWERS + 1, VIEWERS + 1);
        s.max_packet = 65_000;
    })
    .await;
    let (url, held) = (bench.url("/door"), Arc::new(AtomicUsize::new(0)));
    let mut publisher = bench.publish(1);
    let run = Arc::clone(publisher.run());
    publisher.push(counted(picture(&run, 0, SIZE), &held));

    // Little of what it does not read is held by the kernel.
    let socket = TcpSocket::new_v4().unwrap();
    socket2::SockRef::from(&socket).set_tcp_mss(500).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stalled = Client::over(socket.connect(bench.address).await.unwrap());
    watch(&mut stalled, &url).await;

    let mut viewers = JoinSet::new();
    for n in 0..VIEWERS as u32 {
        let (url, address) = (url.clone(), bench.address);
        viewers.spawn(async move {
            tokio::time::sleep(ARRIVALS * n / VIEWERS as u32).await;
            let mut client = Client::connect(address).await;
            watch(&mut client, &url).await;
            all_pictures(client).await
        });
    }
    let mut most = 0;
    for n in 1..PICTURES + AFTER {
        let (after, size) = if n < PICTURES { (40, SIZE) } else { (1_000, 100) };
        tokio::time::sleep(Duration::from_millis(after)).await;
        publisher.push(counted(picture(&run, n, size), &held));
        most = most.max(held.load(Relaxed));
    }
    let mut joined_at = [0; PICTURES as usize];
    while let Some(numbers) = viewers.join_next().await {
        let numbers = numbers.unwrap();
        let first = numbers[0];
        assert!(first.is_multiple_of(GROUP), "begins with a key frame: {first}");
        assert!(
            numbers.iter().copied().eq(first..PICTURES + AFTER),
            "from {first} on: {numbers:?}"
        );
        joined_at[usize::try_from(first).unwrap()] += 1;
    }
    assert!(joined_at.iter().filter(|n| **n > 0).count() > 1, "not all came at once");
    // The newest group, what waits for the one that does not read, and what others have not taken yet
    // (the clock of a test runs on while the kernel is at work).
    let group = GROUP as usize * SIZE;
    let bound = 2 * (group + writer::limits::QUEUE);
    assert!(most > writer::limits::QUEUE / 2, "nobody was slow: {most} bytes");
    assert!(most < bound && bound < PICTURES as usize * SIZE, "{most} bytes held");
    // The others have left by themselves; that one was given up.
    let gone = async {
        while bench.counters.connections() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), gone).await.expect("given up");
    drop(stalled);
    publisher.end(GapReason::Disconnected);
    bench.stop().await;
}
