//! The least a recorder can do: 64 KiB reads from each socket, the same bytes written to a file, an `fdatasync` every 5 s.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

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

/// Just enough of an RTSP client to make a simulated camera send all its tracks into the connection.
fn play(url: &str) -> TcpStream {
    let address = url.strip_prefix("rtsp://").unwrap().split('/').next().unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    let mut cseq = 0;
    let mut ask = |method: &str, url: &str, header: &str| -> (Vec<String>, String) {
        cseq += 1;
        write!(socket, "{method} {url} RTSP/1.0\r\nCSeq: {cseq}\r\n{header}\r\n").unwrap();
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_owned());
        }
        assert!(head[0].starts_with("RTSP/1.0 200"), "{method}: {head:?}");
        let length = value(&head, "content-length").map_or(0, |v| v.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        (head, String::from_utf8(body).unwrap())
    };
    let (head, sdp) = ask("DESCRIBE", url, "Accept: application/sdp\r\n");
    let base = value(&head, "content-base").unwrap_or_else(|| format!("{url}/"));
    let media = sdp.split("m=").skip(1);
    let controls: Vec<String> = media
        .filter_map(|m| m.lines().find_map(|l| l.strip_prefix("a=control:")).map(str::to_owned))
        .collect();
    let mut session = String::new();
    for (n, control) in controls.iter().enumerate() {
        let track = if control.starts_with("rtsp://") {
            control.clone()
        } else {
            format!("{base}{control}")
        };
        let header = format!(
            "Transport: RTP/AVP/TCP;unicast;interleaved={}-{}\r\n{session}",
            2 * n,
            2 * n + 1
        );
        let (head, _) = ask("SETUP", &track, &header);
        let id = value(&head, "session").unwrap();
        session = format!("Session: {}\r\n", id.split(';').next().unwrap());
    }
    ask("PLAY", &base, &format!("{session}Range: npt=0.000-\r\n"));
    socket
}

fn value(head: &[String], name: &str) -> Option<String> {
    head.iter().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}
