//! Many clients of one recorder, and what they cost it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
};

use crate::harness::{Camera, Clip, Vedette, eventually};

/// A client that has played for a moment and pauses.
struct Paused(#[expect(dead_code, reason = "held open")] TcpStream);

/// From an address of its own each 50: so many an address may have.
fn pause(vedette: &Vedette, number: u8) -> Paused {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let own = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2 + number / 50), 0));
    socket.bind(&own.into()).unwrap();
    socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, vedette.rtsp_port)).into()).unwrap();
    let socket = TcpStream::from(socket);
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    let url = format!("rtsp://127.0.0.1:{}/door/", vedette.rtsp_port);
    let mut session = String::new();
    for (cseq, (request, header)) in [
        (format!("DESCRIBE {url}"), "Accept: application/sdp"),
        (format!("SETUP {url}trackID=0"), "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"),
        (format!("PLAY {url}"), "Range: npt=now-"),
        (format!("PAUSE {url}"), "X: y"),
    ]
    .iter()
    .enumerate()
    {
        let text = format!("{request} RTSP/1.0\r\nCSeq: {cseq}\r\n{header}\r\n{session}\r\n");
        (&socket).write_all(text.as_bytes()).unwrap();
        let (status, id) = answer(&mut reader);
        assert_eq!(status, 200, "{request}");
        if let Some(id) = id {
            session = format!("Session: {id}\r\n");
        }
    }
    Paused(socket)
}

/// Status and session of the next answer, passing over frames.
fn answer(reader: &mut BufReader<TcpStream>) -> (u16, Option<String>) {
    while reader.fill_buf().unwrap()[0] == b'$' {
        let mut header = [0; 4];
        reader.read_exact(&mut header).unwrap();
        let mut payload = vec![0; usize::from(u16::from_be_bytes([header[2], header[3]]))];
        reader.read_exact(&mut payload).unwrap();
    }
    let (mut status, mut id, mut length) = (0, None, 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some(rest) = line.strip_prefix("RTSP/1.0 ") {
            status = rest[..3].parse().unwrap();
        } else if let Some(rest) = line.strip_prefix("Session: ") {
            id = rest.split(';').next().map(str::to_owned);
        } else if let Some(rest) = line.strip_prefix("Content-Length: ") {
            length = rest.parse().unwrap();
        }
    }
    reader.read_exact(&mut vec![0; length]).unwrap();
    (status, id)
}

#[test]
fn an_idle_session_costs_less_than_64_kib() {
    const MANY: u8 = 200;
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(dir.path(), &[("door", Clip::H264Aac)]);
    let vedette = Vedette::start_with(dir.path(), 60, "[auth]\nmode = \"none\"\n");
    vedette.add_camera("door", &camera.url("door"), "tcp");
    eventually("the camera to run", || {
        let status = vedette.get("/cameras/door/status");
        (status["streams"][0]["state"] == "running").then_some(())
    });
    // What every start costs once is not theirs.
    let first: Vec<_> = (200..250).map(|n| pause(&vedette, n)).collect();
    let before = vedette.resident();
    let idle: Vec<_> = (0..MANY).map(|n| pause(&vedette, n)).collect();
    let each = vedette.resident().saturating_sub(before) / u64::from(MANY);
    println!("{each} bytes an idle session");
    assert!(each < 64 << 10, "{each} bytes an idle session");
    drop((first, idle));
}
