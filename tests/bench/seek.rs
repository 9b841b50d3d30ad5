//! Playing recordings: how long from a PLAY with a Range to the first packet, what fifty players cost, and how fast footage is
//! delivered that nobody paces.
//!
//! The index holds a month of one camera's rows; behind them is an hour of footage that was recorded for this, of 4 Mb/s and
//! sound, which is what is played.
//! Cold: the system has dropped the files from its cache before each PLAY (posix_fadvise), but not what Vedette itself holds.
//!
//! `BENCH_SEEK_MINUTES`: how much real footage (default 60). `BENCH_SEEKS` (default 400), `BENCH_PLAYERS` (default 50),
//! `BENCH_PLAY_SECONDS` (default 15).

use std::{
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::fs::{Advice, fadvise};
use tempfile::TempDir;
use vedette::{
    clock::Clock,
    disk::RealFs,
    proto::time::{WallSpan, WallTime},
};

use super::{
    audience::Helper,
    lookup::Index,
    player::Player,
    process::{cpu_seconds, files, percentile, setting},
    server::Server,
    world::{Shape, World, room},
};

/// A row each minute.
const ROWS: i64 = 30 * 24 * 60;
const MINUTE: i64 = 60_000_000;
const SHAPE: Shape = Shape { fps: 25, bytes_per_second: 500_000, sound: true, playable: true };
/// No place closer to the end is played from: there must be footage left to play.
const LEFT: f64 = 90.0;
/// Without a byte for so long, all has come.
const SILENT: Duration = Duration::from_secs(1);

pub(crate) async fn run() {
    let minutes = i64::try_from(setting("BENCH_SEEK_MINUTES", 60)).unwrap();
    let (folder, began) = archive(minutes).await;
    let path = format!("camera-1/recording?start={began}");
    tokio::task::block_in_place(|| measure(folder.path(), &path));
}

/// A month of rows, and behind it `minutes` of footage as a recorder makes it, and when that begins.
async fn archive(minutes: i64) -> (TempDir, WallTime) {
    let now = Clock::system().now();
    // It ended a while ago: nothing may lie in the future of who plays it.
    let began = now - WallSpan::from_micros((minutes + 10) * MINUTE);
    let first = began - WallSpan::from_micros(ROWS * MINUTE);
    let index = Index::make_from(first, ROWS, 1).await;
    let clock = Clock::manual(began);
    let world = World::over(index.into_folder(), clock, Arc::new(RealFs)).await;
    let recording = world.record();
    let mut films = world.films(SHAPE);
    for _ in 0..minutes * 60 {
        films[0].second();
        room(&world.hub, 3 * SHAPE.bytes_per_second).await;
    }
    films.into_iter().for_each(super::world::Film::end);
    recording.stop().await;
    (world.end().await, began)
}

fn measure(folder: &Path, path: &str) {
    let mut server = Server::start(folder);
    let url = server.url(path);
    let footage = files(&folder.join("footage"));
    let bytes: u64 = footage.iter().map(|f| f.metadata().unwrap().len()).sum();
    let mut player = Player::open(0, &url);
    let length = player.length.expect("a length");
    player.set_up();
    println!(
        "recordings: {:.0} minutes behind a month of rows, {} files of {} MB in all",
        length / 60.0,
        footage.len(),
        bytes / 1_000_000
    );
    println!(
        "{:<52} {:>6} {:>9} {:>9} {:>9}",
        "from PLAY with Range to the first packet", "times", "p50 ms", "p99 ms", "most ms"
    );
    let anywhere = || rand::random_range(0.0..length - LEFT);
    let times = setting("BENCH_SEEKS", 400) as usize;
    // Once through all of it: in the cache, and in Vedette's.
    warm(&footage);
    let seeks: Vec<Duration> = (0..times).map(|_| seek(&mut player, anywhere())).collect();
    report("warm", seeks);
    let seeks = (0..times / 4).map(|_| {
        cool(&footage);
        seek(&mut player, anywhere())
    });
    report("cold", seeks.collect());
    let seeks = (0..times / 4).map(|n| {
        let mut player = Player::open(n % 40, &url);
        player.set_up();
        seek(&mut player, anywhere())
    });
    report("warm, the first PLAY of a session", seeks.collect());

    let count = setting("BENCH_PLAYERS", 50) as usize;
    let window = Duration::from_secs(setting("BENCH_PLAY_SECONDS", 15));
    let idle = cpu_a_minute(&server, window);
    let arguments = ["viewers", "tcp", &count.to_string(), &url, "0"];
    let mut arguments = arguments.map(str::to_owned).to_vec();
    arguments.push(format!("{:.3}", length - LEFT));
    let (mut players, _) = Helper::start(&arguments);
    std::thread::sleep(Duration::from_secs(3));
    let (before, began) = (players.received(), Instant::now());
    let cpu = cpu_a_minute(&server, window) - idle;
    let (after, elapsed) = (players.received(), began.elapsed().as_secs_f64());
    let rates = before.iter().zip(&after).map(|(b, a)| (a - b) as f64 * 8e-6 / elapsed);
    let seeks: Vec<Duration> = (0..times / 4).map(|_| seek(&mut player, anywhere())).collect();
    report(&format!("warm, while {count} others play"), seeks);
    drop((players, player));
    println!(
        "{count} players on recordings: {:.4} CPU s a player-minute; {:.2} Mb/s the least, {:.2} the most",
        cpu / count as f64,
        rates.clone().reduce(f64::min).unwrap(),
        rates.reduce(f64::max).unwrap()
    );
    unpaced(&server, &url, &footage, bytes);
    server.stop();
}

fn report(what: &str, mut times: Vec<Duration>) {
    let count = times.len();
    let [p50, p99, most] = [50.0, 99.0, 100.0].map(|p| percentile(&mut times, p));
    println!("{what:<52} {count:>6} {p50:>9.2} {p99:>9.2} {most:>9.2}");
}

fn seek(player: &mut Player, to: f64) -> Duration {
    let began = Instant::now();
    player.play(&format!("Range: npt={to:.3}-\r\n"));
    let mut packet = Vec::new();
    while !player.frame(&mut packet).expect("a packet").is_multiple_of(2) {}
    began.elapsed()
}

fn cpu_a_minute(server: &Server, window: Duration) -> f64 {
    let (before, began) = (cpu_seconds(server.id()), Instant::now());
    std::thread::sleep(window);
    (cpu_seconds(server.id()) - before) / began.elapsed().as_secs_f64() * 60.0
}

/// `Rate-Control: no` beside `cat` of the same files, and beside a loop that reads them into a connection.
fn unpaced(server: &Server, url: &str, footage: &[PathBuf], bytes: u64) {
    println!(
        "{:<52} {:>6} {:>9} {:>9} {:>9}",
        "as fast as the client reads", "MB", "MB/s", "of cat", "CPU s/GB"
    );
    let mut rows = Vec::new();
    for cold in [false, true] {
        let how = if cold { "cold" } else { "warm" };
        let ready = || if cold { cool(footage) } else { warm(footage) };
        ready();
        let began = Instant::now();
        let cat = Command::new("cat").args(footage).stdout(Stdio::null()).status().unwrap();
        assert!(cat.success());
        let cat = bytes as f64 / began.elapsed().as_secs_f64();
        rows.push((format!("cat, {how}"), bytes, cat, cat, None));
        ready();
        let bare = bare(footage);
        rows.push((format!("bare loop into a connection, {how}"), bytes, bare, cat, None));
        ready();
        let mut player = Player::open(1, url);
        player.set_up();
        let cpu = cpu_seconds(server.id());
        let began = Instant::now();
        player.play("Require: onvif-replay\r\nRate-Control: no\r\nRange: npt=0-\r\n");
        let (received, last) = drain(player.into_socket());
        let cpu = cpu_seconds(server.id()) - cpu;
        let speed = received as f64 / (last - began).as_secs_f64();
        let each = cpu * 1e9 / received as f64;
        rows.push((format!("vedette, Rate-Control: no, {how}"), received, speed, cat, Some(each)));
    }
    for (what, bytes, speed, cat, cpu) in rows {
        let cpu = cpu.map_or("-".to_owned(), |cpu| format!("{cpu:.2}"));
        println!(
            "{what:<52} {:>6} {:>9.0} {:>9.2} {cpu:>9}",
            bytes / 1_000_000,
            speed / 1e6,
            speed / cat
        );
    }
}

/// Reads what comes until nothing does; how much, and when the last of it came.
fn drain(mut socket: TcpStream) -> (u64, Instant) {
    socket.set_read_timeout(Some(SILENT)).unwrap();
    let (mut buffer, mut all, mut last) = (vec![0; 1 << 20], 0, Instant::now());
    while let Ok(read @ 1..) = socket.read(&mut buffer) {
        all += read as u64;
        last = Instant::now();
    }
    (all, last)
}

fn bare(footage: &[PathBuf]) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let began = Instant::now();
    let (all, last) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut socket = listener.accept().unwrap().0;
            let mut buffer = vec![0; 1 << 20];
            for path in footage {
                let mut file = File::open(path).unwrap();
                while let Ok(read @ 1..) = file.read(&mut buffer) {
                    socket.write_all(&buffer[..read]).unwrap();
                }
            }
        });
        drain(TcpStream::connect(to).unwrap())
    });
    all as f64 / (last - began).as_secs_f64()
}

fn warm(footage: &[PathBuf]) {
    let cat = Command::new("cat").args(footage).stdout(Stdio::null()).status().unwrap();
    assert!(cat.success());
}

fn cool(footage: &[PathBuf]) {
    for path in footage {
        fadvise(File::open(path).unwrap(), 0, None, Advice::DontNeed).unwrap();
    }
}
