//! Those who watch, in a process of their own, and the least that can serve them: a loop that reads a camera's connection and
//! writes the same bytes to as many sockets.
//!
//! Both say a line when all are connected, and the viewers another with what each has received whenever they are sent one.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::player::{Player, connect, own_address};

/// This program once more, as an audience or a bare loop.
pub(crate) struct Helper {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Helper {
    /// Waits for the first line, which it returns.
    pub(crate) fn start(arguments: &[String]) -> (Self, String) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = child.stdin.take().unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        let mut helper = Self { child, to, from };
        let line = helper.line();
        (helper, line)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "a helper failed");
        line
    }

    /// Bytes that each viewer has received.
    pub(crate) fn received(&mut self) -> Vec<u64> {
        self.to.write_all(b"\n").unwrap();
        self.line().split_whitespace().map(|n| n.parse().unwrap()).collect()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `count` viewers of `url` by `how`, all playing.
pub(crate) fn viewers(how: &str, count: usize, url: &str) -> Helper {
    let arguments = ["viewers", how, &count.to_string(), url].map(str::to_owned);
    Helper::start(&arguments).0
}

/// The bare loop for `count` viewers of each of `urls` by `how`, and where it is to be reached for each.
pub(crate) fn relay(how: &str, count: usize, urls: &[String]) -> (Helper, Vec<SocketAddr>) {
    let mut arguments = ["relay", how, &count.to_string()].map(str::to_owned).to_vec();
    arguments.extend_from_slice(urls);
    let (helper, ports) = Helper::start(&arguments);
    let at = |port: &str| SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().unwrap()));
    (helper, ports.split_whitespace().map(at).collect())
}

/// The viewers' process: `HOW COUNT URL [FROM SECONDS]`. One thread, that does nothing but empty sockets.
pub(crate) fn run_viewers(arguments: &[String]) {
    let [how, count, url, place @ ..] = arguments else { unreachable!("{arguments:?}") };
    let count: usize = count.parse().unwrap();
    let counters: Arc<[AtomicU64]> = (0..count).map(|_| AtomicU64::new(0)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    let mut held = Vec::new();
    let _inside = runtime.enter();
    for number in 0..count {
        let counters = Arc::clone(&counters);
        match how.as_str() {
            "stalled" => held.push(play_over_tcp(number, url, place).into_socket()),
            "tcp" => {
                let socket = play_over_tcp(number, url, place).into_socket();
                tasks.spawn_on(empty(socket, counters, number), runtime.handle());
            }
            "raw-tcp" => {
                let socket = connect(number, url.parse().unwrap());
                tasks.spawn_on(empty(socket, counters, number), runtime.handle());
            }
            "udp" => {
                let (player, sockets) = play_over_udp(number, url);
                held.push(player.into_socket());
                for socket in sockets {
                    let counters = Arc::clone(&counters);
                    tasks.spawn_on(empty_udp(socket, counters, number), runtime.handle());
                }
            }
            "raw-udp" => {
                let socket = UdpSocket::bind((own_address(number), 0)).unwrap();
                socket.send_to(b"here", url.as_str()).unwrap();
                tasks.spawn_on(empty_udp(socket, counters, number), runtime.handle());
            }
            other => unreachable!("no such viewers: {other}"),
        }
    }
    println!("ready");
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            line.unwrap();
            let counts: Vec<String> =
                counters.iter().map(|c| c.load(Relaxed).to_string()).collect();
            println!("{}", counts.join(" "));
        }
        std::process::exit(0);
    });
    runtime.block_on(async { while tasks.join_next().await.is_some() {} });
    // Where nothing is read there is nothing to do but to be there.
    std::thread::park();
    drop(held);
}

fn play_over_tcp(number: usize, url: &str, place: &[String]) -> Player {
    let mut player = Player::open(number, url);
    player.set_up();
    player.play(&match place {
        [from, seconds] => {
            let (from, seconds): (f64, f64) = (from.parse().unwrap(), seconds.parse().unwrap());
            format!("Range: npt={:.3}-\r\n", from + rand::random_range(0.0..seconds))
        }
        _ => "Range: npt=now-\r\n".to_owned(),
    });
    player
}

fn play_over_udp(number: usize, url: &str) -> (Player, Vec<UdpSocket>) {
    let mut player = Player::open(number, url);
    let mut sockets = Vec::new();
    for track in 0..player.tracks() {
        let pair = [(); 2].map(|()| UdpSocket::bind((own_address(number), 0)).unwrap());
        let [rtp, rtcp] = pair.each_ref().map(|s| s.local_addr().unwrap().port());
        player.set_up_track(track, &format!("RTP/AVP;unicast;client_port={rtp}-{rtcp}"));
        sockets.extend(pair);
    }
    player.play("Range: npt=now-\r\n");
    (player, sockets)
}

async fn empty(socket: TcpStream, counters: Arc<[AtomicU64]>, number: usize) {
    socket.set_nonblocking(true).unwrap();
    let socket = tokio::net::TcpStream::from_std(socket).unwrap();
    let mut buffer = vec![0; 1 << 16];
    loop {
        socket.readable().await.unwrap();
        match socket.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => drop(counters[number].fetch_add(read as u64, Relaxed)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

async fn empty_udp(socket: UdpSocket, counters: Arc<[AtomicU64]>, number: usize) {
    socket.set_nonblocking(true).unwrap();
    let socket = tokio::net::UdpSocket::from_std(socket).unwrap();
    let mut buffer = [0; 2_048];
    while let Ok(read) = socket.recv(&mut buffer).await {
        counters[number].fetch_add(read as u64, Relaxed);
    }
}

/// The bare loop's process: `HOW COUNT URL…`.
pub(crate) fn run_relay(arguments: &[String]) {
    let [how, count, urls @ ..] = arguments else { unreachable!("{arguments:?}") };
    let count: usize = count.parse().unwrap();
    match how.as_str() {
        "tcp" => relay_over_tcp(count, urls),
        "udp" => relay_over_udp(count, &urls[0]),
        other => unreachable!("no such relay: {other}"),
    }
}

fn play_all(url: &str) -> Player {
    let mut player = Player::open(0, url);
    player.set_up();
    player.play("Range: npt=now-\r\n");
    player
}

fn relay_over_tcp(count: usize, urls: &[String]) {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let listeners: Vec<TcpListener> = urls.iter().map(|_| listen()).collect();
    let port = |l: &TcpListener| l.local_addr().unwrap().port().to_string();
    println!("{}", listeners.iter().map(port).collect::<Vec<_>>().join(" "));
    std::thread::scope(|scope| {
        for (listener, url) in listeners.iter().zip(urls) {
            scope.spawn(move || {
                let accept = |_| {
                    let socket = listener.accept().unwrap().0;
                    socket.set_nodelay(true).unwrap();
                    socket
                };
                let mut viewers: Vec<TcpStream> = (0..count).map(accept).collect();
                let mut player = play_all(url);
                loop {
                    let bytes = player.bytes();
                    let length = bytes.len();
                    for viewer in &mut viewers {
                        if viewer.write_all(bytes).is_err() || length == 0 {
                            return;
                        }
                    }
                    player.consume(length);
                }
            });
        }
    });
}

/// A system call a packet, as UDP is mostly sent.
fn relay_over_udp(count: usize, url: &str) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    println!("{}", socket.local_addr().unwrap().port());
    let peer = |_| socket.recv_from(&mut [0; 16]).unwrap().1;
    let peers: Vec<SocketAddr> = (0..count).map(peer).collect();
    let (mut player, mut packet) = (play_all(url), Vec::new());
    while let Some(channel) = player.frame(&mut packet) {
        for peer in peers.iter().filter(|_| channel.is_multiple_of(2)) {
            let _ = socket.send_to(&packet, peer);
        }
    }
}
