//! The least a recorder can do: 64 KiB reads from each socket, the same bytes written to a file, an `fdatasync` every 5 s.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use super::player::Player;

const SYNC_EVERY: Duration = Duration::from_secs(5);

/// Records `urls` into `dir` until it is killed.
pub(crate) fn run(dir: &str, urls: &[String]) {
    let sockets: Vec<TcpStream> = urls.iter().map(|url| play(url)).collect();
    println!("running");
    let threads: Vec<_> = sockets
        .into_iter()
        .enumerate()
        .map(|(n, mut socket)| {
            let mut file = std::fs::File::create(Path::new(dir).join(format!("{n}.bin"))).unwrap();
            std::thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                let mut synced = Instant::now();
                while let Ok(n @ 1..) = socket.read(&mut buffer) {
                    file.write_all(&buffer[..n]).unwrap();
                    if synced.elapsed() >= SYNC_EVERY {
                        file.sync_data().unwrap();
                        synced = Instant::now();
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
}

/// Makes a simulated camera send all its tracks into the connection.
fn play(url: &str) -> TcpStream {
    let mut player = Player::open(0, url);
    player.set_up();
    player.play("Range: npt=0.000-\r\n");
    player.into_socket()
}
