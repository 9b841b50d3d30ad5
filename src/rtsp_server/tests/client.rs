//! A client that hides nothing: what came, in the order it came, and when.

use std::{collections::VecDeque, net::SocketAddr};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use crate::proto::{
    rtp::{Packet, rtcp},
    rtsp::{
        headers::RtpInfo,
        message::{Message, Response},
        parse::Decoder,
    },
};

/// Makes an `Authorization` of a method and a URI.
pub(super) type Sign = Box<dyn Fn(&str, &str) -> String + Send>;

pub(super) struct Client<S = TcpStream> {
    pub(super) socket: S,
    decoder: Decoder,
    buffer: BytesMut,
    /// Read and not yet looked at.
    pub(super) inbox: VecDeque<(Instant, Message)>,
    cseq: u32,
    pub(super) session: Option<String>,
    pub(super) authorization: Option<Sign>,
}

/// A frame on a channel.
#[derive(Clone, Debug)]
pub(super) enum Frame {
    Rtp { at: Instant, channel: u8, packet: Packet },
    Rtcp { at: Instant, channel: u8, received: rtcp::Received },
}

impl Frame {
    pub(super) const fn at(&self) -> Instant {
        match self {
            Self::Rtp { at, .. } | Self::Rtcp { at, .. } => *at,
        }
    }
}

/// The number a test's unit ends in.
pub(super) fn number(packet: &Packet) -> u64 {
    let payload = &packet.payload;
    u64::from_be_bytes(payload[payload.len() - 8..].try_into().unwrap())
}

impl Client {
    pub(super) async fn connect(to: SocketAddr) -> Self {
        let socket = TcpStream::connect(to).await.unwrap();
        // Else single bytes wait for acknowledgements in real time, and the paused clock runs on.
        socket.set_nodelay(true).unwrap();
        Self::over(socket)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(super) fn over(socket: S) -> Self {
        Self {
            socket,
            decoder: Decoder::new(),
            buffer: BytesMut::new(),
            inbox: VecDeque::new(),
            cseq: 0,
            session: None,
            authorization: None,
        }
    }

    /// `VERB url`, then header lines.
    pub(super) async fn send(&mut self, text: &str) {
        self.cseq += 1;
        let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
        let mut head = format!("{first} RTSP/1.0\r\nCSeq: {}\r\n", self.cseq);
        if let Some(session) = &self.session {
            head.push_str(&format!("Session: {session}\r\n"));
        }
        if let Some(sign) = &self.authorization {
            let (method, uri) = first.split_once(' ').unwrap();
            head.push_str(&format!("Authorization: {}\r\n", sign(method, uri)));
        }
        for line in rest.lines() {
            head.push_str(&format!("{}\r\n", line.trim()));
        }
        head.push_str("\r\n");
        self.raw(head.as_bytes()).await;
    }

    /// The next message; `None` when the server has closed.
    async fn message(&mut self) -> Option<(Instant, Message)> {
        if let Some(message) = self.inbox.pop_front() {
            return Some(message);
        }
        self.read_message().await
    }

    async fn read_message(&mut self) -> Option<(Instant, Message)> {
        loop {
            if let Some(message) = self.decoder.decode(&mut self.buffer).unwrap() {
                return Some((Instant::now(), message));
            }
            match self.socket.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Sends, and waits for the answer; frames that come before it stay in the inbox.
    pub(super) async fn ask(&mut self, text: &str) -> Response {
        self.send(text).await;
        self.answer().await
    }

    pub(super) async fn announce(&mut self, url: &str, sdp: &str) -> Response {
        self.cseq += 1;
        let login = self.authorization.as_ref().map(|sign| sign("ANNOUNCE", url));
        let login = login.map(|login| format!("Authorization: {login}\r\n")).unwrap_or_default();
        let head = format!(
            "ANNOUNCE {url} RTSP/1.0\r\nCSeq: {}\r\n{login}Content-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{sdp}",
            self.cseq,
            sdp.len()
        );
        self.raw(head.as_bytes()).await;
        self.answer().await
    }

    pub(super) async fn answer(&mut self) -> Response {
        loop {
            match self.read_message().await.expect("an answer") {
                (_, Message::Response(response)) => {
                    assert_eq!(response.cseq(), Some(self.cseq));
                    if let Some(session) = response.headers.get("Session") {
                        self.session = session.split(';').next().map(str::to_owned);
                    }
                    return response;
                }
                other => self.inbox.push_back(other),
            }
        }
    }

    /// The next frame; `None` when the server has closed.
    pub(super) async fn frame(&mut self) -> Option<Frame> {
        let (at, message) = self.message().await?;
        let Message::Data(frame) = message else { panic!("{message:?}") };
        let channel = frame.channel;
        Some(if channel.is_multiple_of(2) {
            Frame::Rtp { at, channel, packet: Packet::parse(frame.payload).unwrap() }
        } else {
            Frame::Rtcp { at, channel, received: rtcp::parse(&frame.payload).unwrap() }
        })
    }

    /// The next RTP packet of a channel, passing over all else.
    pub(super) async fn rtp(&mut self, wanted: u8) -> (Instant, Packet) {
        loop {
            match self.frame().await.expect("a packet") {
                Frame::Rtp { at, channel, packet } if channel == wanted => return (at, packet),
                _ => {}
            }
        }
    }

    /// The next `count` units of a channel: each ends with a marker.
    pub(super) async fn pictures(&mut self, count: usize) -> Vec<(Instant, Packet)> {
        let mut pictures = Vec::new();
        while pictures.len() < count {
            let (at, packet) = self.rtp(0).await;
            if packet.header.marker {
                pictures.push((at, packet));
            }
        }
        pictures
    }

    /// OPTIONS to SETUP of both tracks; returns Content-Base.
    pub(super) async fn set_up(&mut self, url: &str) -> String {
        let described = self.ask(&format!("DESCRIBE {url}\nAccept: application/sdp")).await;
        assert_eq!(described.status.as_u16(), 200, "{described:?}");
        let base = described.headers.get("Content-Base").unwrap().to_owned();
        for (track, channels) in ["0-1", "2-3"].iter().enumerate() {
            let transport = format!("RTP/AVP/TCP;unicast;interleaved={channels}");
            let request = format!("SETUP {base}trackID={track}\nTransport: {transport}");
            let answer = self.ask(&request).await;
            assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
        }
        base
    }

    pub(super) async fn play(&mut self, base: &str, range: &str) -> (Response, Vec<RtpInfo>) {
        let range = if range.is_empty() { String::new() } else { format!("\nRange: {range}") };
        let answer = self.ask(&format!("PLAY {base}{range}")).await;
        assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
        let info = RtpInfo::parse_list(answer.headers.get("RTP-Info").unwrap()).unwrap();
        (answer, info)
    }

    /// Bytes as they are, for what is no RTSP.
    pub(super) async fn raw(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
        self.socket.flush().await.unwrap();
    }

    /// Everything until the server closes.
    pub(super) async fn rest(mut self) -> Bytes {
        while matches!(self.socket.read_buf(&mut self.buffer).await, Ok(n) if n > 0) {}
        self.buffer.freeze()
    }
}
