//! A player for benchmarks: as little RTSP as there can be, on a blocking socket.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs},
};

pub(crate) struct Player {
    socket: BufReader<TcpStream>,
    /// What tracks' addresses hang on, with a slash at its end.
    base: String,
    controls: Vec<String>,
    /// As described, seconds of `a=range:npt`.
    pub(crate) length: Option<f64>,
    session: String,
    cseq: u32,
}

/// What a request was answered with.
struct Answer {
    head: Vec<String>,
    body: String,
}

impl Answer {
    fn value(&self, name: &str) -> Option<&str> {
        self.head.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// The address of the `number`-th client: a server lets only so many in from one.
pub(crate) fn own_address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, u8::try_from(number / 40 + 1).unwrap())
}

/// A connection from [`own_address`].
pub(crate) fn connect(number: usize, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((own_address(number), 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_tcp_nodelay(true).unwrap();
    socket.into()
}

impl Player {
    /// Connects as the `number`-th client and asks what there is.
    pub(crate) fn open(number: usize, url: &str) -> Self {
        let address = url.strip_prefix("rtsp://").unwrap().split('/').next().unwrap();
        let to = address.to_socket_addrs().unwrap().next().unwrap();
        let mut player = Self::of(connect(number, to));
        let answer = player.ask("DESCRIBE", url, "Accept: application/sdp\r\n");
        player.base = answer.value("content-base").map_or_else(|| format!("{url}/"), str::to_owned);
        let control =
            |m: &str| m.lines().find_map(|l| l.strip_prefix("a=control:")).map(str::to_owned);
        player.controls = answer.body.split("m=").skip(1).filter_map(control).collect();
        let range = answer.body.lines().find_map(|l| l.strip_prefix("a=range:npt=0.000-"));
        player.length = range.and_then(|r| r.trim().parse().ok());
        player
    }

    /// Of a connection on which frames come without being asked for.
    pub(crate) fn of(socket: TcpStream) -> Self {
        Self {
            socket: BufReader::with_capacity(1 << 16, socket),
            base: String::new(),
            controls: Vec::new(),
            length: None,
            session: String::new(),
            cseq: 0,
        }
    }

    /// All tracks into the connection; track n on channel 2 n.
    pub(crate) fn set_up(&mut self) {
        for track in 0..self.controls.len() {
            let channels = format!("{}-{}", 2 * track, 2 * track + 1);
            self.set_up_track(track, &format!("RTP/AVP/TCP;unicast;interleaved={channels}"));
        }
    }

    pub(crate) fn set_up_track(&mut self, track: usize, transport: &str) {
        let control = &self.controls[track];
        let url = if control.starts_with("rtsp://") {
            control.clone()
        } else {
            format!("{}{control}", self.base)
        };
        let header = format!("Transport: {transport}\r\n");
        let answer = self.ask("SETUP", &url, &header);
        let id = answer.value("session").unwrap().split(';').next().unwrap();
        self.session = format!("Session: {id}\r\n");
    }

    pub(crate) fn tracks(&self) -> usize {
        self.controls.len()
    }

    /// `headers`: whole lines.
    pub(crate) fn play(&mut self, headers: &str) {
        let url = self.base.clone();
        self.ask("PLAY", &url, headers);
    }

    fn ask(&mut self, method: &str, url: &str, headers: &str) -> Answer {
        self.cseq += 1;
        let (cseq, session) = (self.cseq, &self.session);
        let text = format!("{method} {url} RTSP/1.0\r\nCSeq: {cseq}\r\n{headers}{session}\r\n");
        self.socket.get_mut().write_all(text.as_bytes()).unwrap();
        while self.socket.fill_buf().unwrap()[0] == b'$' {
            self.frame(&mut Vec::new()).unwrap();
        }
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            self.socket.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_owned());
        }
        assert!(head[0].starts_with("RTSP/1.0 200"), "{method} {url}: {head:?}");
        let mut answer = Answer { head, body: String::new() };
        let length = answer.value("content-length").map_or(0, |v| v.parse().unwrap());
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body).unwrap();
        answer.body = String::from_utf8(body).unwrap();
        answer
    }

    /// The next frame's payload into `payload`; its channel, `None` when the server has closed.
    pub(crate) fn frame(&mut self, payload: &mut Vec<u8>) -> Option<u8> {
        let mut header = [0; 4];
        self.socket.read_exact(&mut header).ok()?;
        assert_eq!(header[0], b'$');
        payload.resize(usize::from(u16::from_be_bytes([header[2], header[3]])), 0);
        self.socket.read_exact(payload).ok()?;
        Some(header[1])
    }

    /// What comes next, frames and all: at least one byte, none when the server has closed.
    pub(crate) fn bytes(&mut self) -> &[u8] {
        self.socket.fill_buf().unwrap_or_default()
    }

    /// So many of them are done with.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.socket.consume(bytes);
    }

    /// The connection, once nothing of it is to be looked at any more.
    pub(crate) fn into_socket(self) -> TcpStream {
        self.socket.into_inner()
    }
}
