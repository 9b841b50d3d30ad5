//! RTSP over WebSocket: a foreign client's WebSocket over a real socket, through the HTTP server
//! that accepts it.

use std::{
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::http::{Request, header};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message,
        protocol::frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

use super::{
    access::{by_md5, challenged},
    *,
};
use crate::model::Secret;

/// The HTTP server before a bench.
struct Front {
    bench: Bench,
    address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Front {
    async fn of(bench: Bench, access: Access) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = crate::http::socket_router(bench.door.clone(), access);
        let stop = CancellationToken::new();
        let served = bench.tracker.spawn(crate::http::serve(listener, router, stop.clone()));
        Self { bench, address, stop, served }
    }

    async fn open_to_all(change: impl FnOnce(&mut Settings)) -> Self {
        let access = Access::open_to_all();
        let bench = Bench::with(access.clone(), Some(film()), change).await;
        Self::of(bench, access).await
    }

    fn request(&self, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder()
            .uri(format!("ws://{}/rtsp", self.address))
            .header(header::HOST, self.address.to_string())
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    async fn tcp(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        socket
    }

    async fn client(&self, piece: usize) -> Client<Socket> {
        let request = self.request(&[("Sec-WebSocket-Protocol", "rtsp.onvif.org")]);
        let (socket, answer) = client_async(request, self.tcp().await).await.unwrap();
        assert_eq!(answer.headers()["sec-websocket-protocol"], "rtsp.onvif.org");
        Client::over(Socket { socket, unread: Bytes::new(), piece, messages: 0 })
    }

    /// The status of a handshake that is refused.
    async fn refused(&self, headers: &[(&str, &str)]) -> u16 {
        match client_async(self.request(headers), self.tcp().await).await {
            Err(Error::Http(answer)) => answer.status().as_u16(),
            other => panic!("{other:?}"),
        }
    }

    async fn connections(&self, count: u64) {
        while self.bench.counters.connections() != count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn stop(self) {
        self.bench.stop().await;
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.served).await.unwrap().unwrap();
    }
}

/// The client's end as a stream of bytes, written in messages of `piece` bytes.
struct Socket {
    socket: WebSocketStream<TcpStream>,
    unread: Bytes,
    piece: usize,
    /// That came.
    messages: usize,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(self.socket.poll_next_unpin(context)) {
                Some(Ok(Message::Binary(bytes))) => {
                    self.messages += 1;
                    self.unread = bytes;
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Poll::Ready(Ok(())),
                Some(Ok(other)) => panic!("{other:?}"),
            }
        }
        let length = self.unread.len().min(out.remaining());
        out.put_slice(&self.unread.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        ready!(self.socket.poll_ready_unpin(context)).map_err(std::io::Error::other)?;
        let piece = &bytes[..self.piece.min(bytes.len())];
        let message = Message::binary(Bytes::copy_from_slice(piece));
        self.socket.start_send_unpin(message).map_err(std::io::Error::other)?;
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.socket.poll_flush_unpin(context).map_err(std::io::Error::other)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.socket.poll_close_unpin(context).map_err(std::io::Error::other)
    }
}

/// The code that the server closes with; what comes before is passed over.
async fn closed(socket: &mut WebSocketStream<TcpStream>) -> u16 {
    loop {
        match socket.next().await {
            Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Four seconds.
fn film() -> Script {
    let run = run(1, TEN);
    let units = footage(&run, 100, 3_000);
    Script::new(vec![(run, units)], WallSpan::from_micros(15_000))
}

#[tokio::test(start_paused = true)]
async fn rtsp_through_a_websocket_logs_in_plays_and_seeks_however_it_is_cut() {
    let access = Access::fixed("ann", &Secret::new("open sesame".to_owned()));
    let bench = Bench::with(access.clone(), Some(film()), |_| {}).await;
    let front = Front::of(bench, access).await;
    for piece in [1, 7, 4_096] {
        let mut client = front.client(piece).await;
        let url = format!("rtsp://{}/door/recording", front.address);
        let (challenges, nonce) = challenged(&mut client, &url).await;
        assert!(challenges.iter().all(|c| c.starts_with("Digest ")), "{challenges:?}");
        client.authorization = Some(by_md5("open sesame", nonce));
        let base = client.set_up(&url).await;
        assert!(base.starts_with(&format!("rtsp://{}/door/recording/", front.address)), "{base}");
        client.play(&base, "npt=0-").await;
        let (mut numbers, mut sequences, mut bytes) = (Vec::new(), Vec::new(), 0);
        while numbers.len() < 30 {
            let (_, packet) = client.rtp(0).await;
            sequences.push(packet.header.sequence);
            bytes += packet.payload.len();
            if packet.header.marker {
                numbers.push(super::client::number(&packet));
            }
        }
        assert_eq!(numbers, (0..30).collect::<Vec<_>>());
        assert!(sequences.windows(2).all(|w| w[1] == w[0].wrapping_add(1)), "{sequences:?}");
        assert!(bytes > 30 * 2_990, "{bytes}");
        assert_eq!(front.bench.counters.connections(), 1);
        let paused = client.ask(&format!("PAUSE {base}")).await;
        assert_eq!(paused.status.as_u16(), 200);
        client.inbox.clear();
        let (_, info) = client.play(&base, "npt=2-").await;
        let (_, first) = client.rtp(0).await;
        assert_eq!(Some(first.header.sequence), info[0].seq);
        assert_eq!(super::client::number(&client.pictures(1).await[0].1), 50);
        let ended = client.ask(&format!("TEARDOWN {base}")).await;
        assert_eq!(ended.status.as_u16(), 200);
        assert_eq!(front.bench.counters.sessions(), 0);
        client.socket.socket.close(None).await.unwrap();
        assert_eq!(client.rest().await, "");
        front.connections(0).await;
    }
    front.stop().await;
}

#[tokio::test(start_paused = true)]
async fn only_the_websocket_itself_carries_what_is_played() {
    let front = Front::open_to_all(|_| {}).await;
    let url = front.bench.url("/door/recording");
    let udp = format!("SETUP {url}/trackID=0\nTransport: RTP/AVP;unicast;client_port=4000-4001");
    let granted = front.bench.client().await.ask(&udp).await;
    assert_eq!(granted.status.as_u16(), 200, "on TCP it is there");
    let mut client = front.client(4_096).await;
    assert_eq!(client.ask(&udp).await.status.as_u16(), 461);
    let multicast = format!("SETUP {url}/trackID=0\nTransport: RTP/AVP;multicast");
    assert_eq!(client.ask(&multicast).await.status.as_u16(), 461);
    client.set_up(&url).await;
    front.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_rtsp_in_binary_messages_is_closed_with_the_reason() {
    let front = Front::open_to_all(|_| {}).await;
    let mut client = front.client(4_096).await;
    client.socket.socket.send(Message::text("OPTIONS * RTSP/1.0\r\n\r\n")).await.unwrap();
    assert_eq!(closed(&mut client.socket.socket).await, 1_003);
    // Only its length is sent: it is refused by that.
    let mut client = front.client(4_096).await;
    let raw = client.socket.socket.get_mut();
    raw.write_all(&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4]).await.unwrap();
    assert_eq!(closed(&mut client.socket.socket).await, 1_009);
    // Of several frames: each short enough.
    let mut client = front.client(4_096).await;
    let part = |data| Message::Frame(Frame::message(vec![b'x'; 40 << 10], data, false));
    for data in [OpCode::Data(Data::Binary), OpCode::Data(Data::Continue)] {
        client.socket.socket.send(part(data)).await.unwrap();
    }
    assert_eq!(closed(&mut client.socket.socket).await, 1_009);
    // Not masked.
    let mut client = front.client(4_096).await;
    client.socket.socket.get_mut().write_all(&[0x82, 1, b'x']).await.unwrap();
    assert_eq!(closed(&mut client.socket.socket).await, 1_002);
    // Noise is RTSP's to answer.
    let mut client = front.client(4_096).await;
    client.raw(b"what?\r\n\r\n").await;
    let rest = client.rest().await;
    assert!(rest.starts_with(b"RTSP/1.0 400"), "{rest:?}");
    front.connections(0).await;
    front.stop().await;
}

#[tokio::test(start_paused = true)]
async fn frames_may_come_in_parts_and_pings_are_answered_while_it_plays() {
    let front = Front::open_to_all(|_| {}).await;
    let mut client = front.client(4_096).await;
    let socket = &mut client.socket.socket;
    let text = b"OPTIONS * RTSP/1.0\r\nCSeq: 7\r\n\r\n";
    let (head, tail) = text.split_at(9);
    let part = |bytes: &[u8], data, last| {
        Message::Frame(Frame::message(bytes.to_vec(), OpCode::Data(data), last))
    };
    socket.send(part(head, Data::Binary, false)).await.unwrap();
    // A control frame may stand between the parts.
    socket.send(Message::Ping("a".into())).await.unwrap();
    socket.send(part(tail, Data::Continue, true)).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong("a".into()));
    let answer = socket.next().await.unwrap().unwrap().into_data();
    assert!(answer.starts_with(b"RTSP/1.0 200 OK\r\nCSeq: 7\r\n"), "{answer:?}");
    let base = client.set_up(&front.bench.url("/door/recording")).await;
    client.play(&base, "npt=0-").await;
    client.pictures(5).await;
    let socket = &mut client.socket.socket;
    socket.send(Message::Ping("b".into())).await.unwrap();
    while socket.next().await.unwrap().unwrap() != Message::Pong("b".into()) {}
    front.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_for_anything_else_or_from_elsewhere_is_refused() {
    let front = Front::open_to_all(|_| {}).await;
    const RTSP: (&str, &str) = ("Sec-WebSocket-Protocol", "chat, rtsp.onvif.org");
    let own = format!("http://{}", front.address);
    let (socket, _) =
        client_async(front.request(&[RTSP, ("Origin", &own)]), front.tcp().await).await.unwrap();
    drop(socket);
    assert_eq!(front.refused(&[]).await, 400);
    assert_eq!(front.refused(&[("Sec-WebSocket-Protocol", "rtsp")]).await, 400);
    assert_eq!(front.refused(&[RTSP, ("Origin", "http://evil.example")]).await, 403);
    assert_eq!(front.refused(&[RTSP, ("Sec-Fetch-Site", "cross-site")]).await, 403);
    for (head, status) in [
        (format!("Host: {}\r\nConnection: close\r\n", front.address), "426"),
        // A name of somebody else's that was made to point here.
        ("Host: evil.example\r\nConnection: close\r\n".to_owned(), "403"),
    ] {
        let mut socket = front.tcp().await;
        socket.write_all(format!("GET /rtsp HTTP/1.1\r\n{head}\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(status != "426" || answer.contains("upgrade: websocket\r\n"), "{answer}");
    }
    front.connections(0).await;
    front.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_websocket_counts_as_a_connection_and_its_sessions_end_with_it() {
    let front = Front::open_to_all(|s| s.max_connections_per_address = 1).await;
    let mut client = front.client(4_096).await;
    let base = client.set_up(&front.bench.url("/door/recording")).await;
    client.play(&base, "npt=0-").await;
    assert_eq!(front.bench.counters.sessions(), 1);
    let again = [("Sec-WebSocket-Protocol", "rtsp.onvif.org")];
    assert_eq!(front.refused(&again).await, 503);
    let turned_away = front.bench.client().await.rest().await;
    assert!(turned_away.starts_with(b"RTSP/1.0 453"), "{turned_away:?}");
    // Gone without a word.
    drop(client);
    front.connections(0).await;
    while front.bench.counters.sessions() != 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut client = front.client(4_096).await;
    assert_eq!(client.ask("OPTIONS *").await.status.as_u16(), 200);
    front.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_websocket_that_says_nothing_or_takes_nothing_is_given_ten_seconds() {
    let front = Front::open_to_all(|_| {}).await;
    let began = Instant::now();
    let silent = front.client(4_096).await;
    // RTSP says that it waited long enough; then it is closed.
    silent.rest().await;
    assert_eq!(began.elapsed().as_secs(), 10);
    front.connections(0).await;
    let mut client = front.client(4_096).await;
    let url = front.bench.url("/door");
    let filming = front.bench.film(1 << 20);
    let base = client.set_up(&url).await;
    client.play(&base, "").await;
    // Nothing is read from now on.
    let began = Instant::now();
    front.connections(0).await;
    assert!((10..40).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    filming.cancel();
    front.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_takes_leave_of_websockets_too() {
    let front = Front::open_to_all(|_| {}).await;
    let mut client = front.client(4_096).await;
    let base = client.set_up(&front.bench.url("/door/recording")).await;
    client.play(&base, "npt=0-").await;
    client.pictures(1).await;
    front.bench.token.cancel();
    assert_eq!(closed(&mut client.socket.socket).await, 1_001);
    let late = [("Sec-WebSocket-Protocol", "rtsp.onvif.org")];
    assert_eq!(front.refused(&late).await, 503);
    front.stop().await;
}
