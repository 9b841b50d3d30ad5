//! How much later a picture comes from Vedette than from the camera itself, with 40 cameras that are all recorded and all watched.
//!
//! Each camera has three viewers: one of its own connection, one by way of Vedette and one by way of a bare loop that passes on what
//! it reads. A picture is known again by its first bytes; it has come when its last packet has.
//!
//! `BENCH_LATENCY_SECONDS` (default 30), `BENCH_LATENCY_CAMERAS` (default 40).

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    audience::relay,
    player::{Player, connect},
    process::{percentile, setting},
    server::{Server, Simulator},
};

const SETTLED: Duration = Duration::from_secs(8);
/// A picture that comes later than this is another one that looks the same.
const FAR: Duration = Duration::from_secs(3);

/// Pictures as they came.
type Seen = Vec<(u64, Instant)>;

pub(crate) fn run() {
    let cameras = setting("BENCH_LATENCY_CAMERAS", 40) as usize;
    let window = Duration::from_secs(setting("BENCH_LATENCY_SECONDS", 30));
    let simulator = Simulator::start(cameras);
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    server.record(&simulator);
    let urls: Vec<String> = simulator.urls().collect();
    let (bare, at) = relay("tcp", 1, &urls);
    let stop = Arc::new(AtomicBool::new(false));
    let watch = |number, url: &str| spawn(&stop, open(number, url));
    let direct: Vec<_> = urls.iter().map(|url| watch(0, url)).collect();
    let passed: Vec<_> = at.iter().map(|&to| spawn(&stop, Player::of(connect(0, to)))).collect();
    let served: Vec<_> =
        (0..cameras).map(|n| watch(n, &server.url(&format!("camera-{}", n + 1)))).collect();
    std::thread::sleep(SETTLED);
    let from = Instant::now();
    std::thread::sleep(window);
    stop.store(true, Relaxed);
    let [direct, passed, served] =
        [direct, passed, served].map(|all| all.into_iter().map(join).collect::<Vec<_>>());
    println!(
        "added latency: {cameras} cameras recorded and watched, {} s; later than from the camera itself",
        window.as_secs()
    );
    println!("{:<12} {:>9} {:>9} {:>9} {:>9}", "", "pictures", "p50 ms", "p99 ms", "most ms");
    for (name, seen) in [("vedette", served), ("bare loop", passed)] {
        let mut added: Vec<Duration> =
            direct.iter().zip(&seen).flat_map(|(direct, seen)| later(direct, seen, from)).collect();
        assert!(!added.is_empty(), "no picture was known again");
        println!(
            "{name:<12} {:>9} {:>9.2} {:>9.2} {:>9.2}",
            added.len(),
            percentile(&mut added, 50.0),
            percentile(&mut added, 99.0),
            percentile(&mut added, 100.0)
        );
    }
    drop(bare);
    server.stop();
}

fn open(number: usize, url: &str) -> Player {
    let mut player = Player::open(number, url);
    player.set_up();
    player.play("Range: npt=now-\r\n");
    player
}

fn spawn(stop: &Arc<AtomicBool>, player: Player) -> JoinHandle<Seen> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || look(player, &stop))
}

fn join(thread: JoinHandle<Seen>) -> Seen {
    thread.join().unwrap()
}

fn look(mut player: Player, stop: &AtomicBool) -> Seen {
    let (mut seen, mut packet, mut picture) = (Vec::new(), Vec::new(), None);
    while !stop.load(Relaxed)
        && let Some(channel) = player.frame(&mut packet)
    {
        if channel != 0 {
            continue;
        }
        picture = picture.or_else(|| slice(&packet[12..]).map(key));
        if packet[1] & 0x80 != 0
            && let Some(key) = picture.take()
        {
            seen.push((key, Instant::now()));
        }
    }
    seen
}

/// The first bytes of a slice that begins in this packet (RFC 6184: alone, in an aggregate, as a fragment).
fn slice(payload: &[u8]) -> Option<&[u8]> {
    let is_slice = |kind: u8| matches!(kind & 31, 1 | 5);
    match payload {
        [kind, nal @ ..] if is_slice(*kind) => Some(nal),
        [kind, part, nal @ ..] if kind & 31 == 28 && part & 0x80 != 0 && is_slice(*part) => {
            Some(nal)
        }
        [kind, all @ ..] if kind & 31 == 24 => {
            let mut rest = all;
            while let [high, low, behind @ ..] = rest {
                let (nal, next) = behind.split_at(usize::from(u16::from_be_bytes([*high, *low])));
                if is_slice(nal[0]) {
                    return Some(&nal[1..]);
                }
                rest = next;
            }
            None
        }
        _ => None,
    }
}

fn key(slice: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    slice[..slice.len().min(48)].hash(&mut hasher);
    hasher.finish()
}

/// How much later each picture came than `direct`, of those that came after `from`.
fn later(direct: &Seen, seen: &Seen, from: Instant) -> Vec<Duration> {
    let mut came: HashMap<u64, Vec<Instant>> = HashMap::new();
    for (key, at) in direct {
        came.entry(*key).or_default().push(*at);
    }
    let added = seen.iter().filter(|(_, at)| *at > from).filter_map(|(key, at)| {
        let apart = |other: &Instant| {
            at.saturating_duration_since(*other).max(other.saturating_duration_since(*at))
        };
        let nearest = came.get(key)?.iter().min_by_key(|other| apart(other))?;
        (apart(nearest) < FAR).then(|| at.saturating_duration_since(*nearest))
    });
    added.collect()
}
