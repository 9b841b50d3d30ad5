//! RTSP over HTTP, through two real connections a client.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};

use super::{
    access::{by_md5, challenged},
    *,
};
use crate::model::Secret;

/// A client's two connections as one.
struct Tunnel {
    get: TcpStream,
    post: TcpStream,
    /// Encoded and not yet written.
    pending: BytesMut,
    /// Writes so many bytes at a time.
    piece: usize,
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get).poll_read(context, out)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.pending.put_slice(STANDARD.encode(bytes).as_bytes());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = &mut *self;
        while !this.pending.is_empty() {
            let piece = &this.pending[..this.piece.min(this.pending.len())];
            let written = ready!(Pin::new(&mut this.post).poll_write(context, piece))?;
            let _ = this.pending.split_to(written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.post).poll_shutdown(context)
    }
}

async fn half(bench: &Bench, method: &str, cookie: &str) -> TcpStream {
    let mut socket = TcpStream::connect(bench.address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let head = format!(
        "{method} /door/recording HTTP/1.1\r\nHost: nvr\r\nx-sessioncookie: {cookie}\r\n\
         Content-Length: 32767\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

async fn get(bench: &Bench, cookie: &str) -> TcpStream {
    let mut get = half(bench, "GET", cookie).await;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(get.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.contains("Content-Type: application/x-rtsp-tunnelled\r\n"), "{answer}");
    get
}

async fn tunnel(bench: &Bench, cookie: &str, piece: usize) -> Client<Tunnel> {
    let get = get(bench, cookie).await;
    let post = half(bench, "POST", cookie).await;
    Client::over(Tunnel { get, post, pending: BytesMut::new(), piece })
}

/// All that comes until the server closes.
async fn rest(mut socket: TcpStream) -> String {
    let mut text = Vec::new();
    while matches!(socket.read_buf(&mut text).await, Ok(n) if n > 0) {}
    String::from_utf8(text).unwrap()
}

async fn guarded() -> Bench {
    let access = Access::fixed("ann", &Secret::new("open sesame".to_owned()));
    let run = run(1, TEN);
    let units = footage(&run, 100, 3_000);
    let script = Script::new(vec![(run, units)], WallSpan::from_micros(15_000));
    Bench::with(access, Some(script), |_| {}).await
}

async fn connections(bench: &Bench, count: u64) {
    while bench.counters.connections() != count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn rtsp_through_http_logs_in_and_plays_however_the_post_is_cut() {
    let bench = guarded().await;
    for piece in [1, 2, 3, 7, 4_096] {
        let mut client = tunnel(&bench, "abc", piece).await;
        let url = bench.url("/door/recording");
        let (_, nonce) = challenged(&mut client, &url).await;
        client.authorization = Some(by_md5("open sesame", nonce));
        let base = client.set_up(&url).await;
        client.play(&base, "npt=0-").await;
        let pictures = client.pictures(30).await;
        let numbers: Vec<_> = pictures.iter().map(|(_, p)| super::client::number(p)).collect();
        assert_eq!(numbers, (0..30).collect::<Vec<_>>());
        assert_eq!(bench.counters.connections(), 2);
        let paused = client.ask(&format!("PAUSE {base}")).await;
        assert_eq!(paused.status.as_u16(), 200);
        drop(client);
        connections(&bench, 0).await;
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_ends_with_either_of_its_connections() {
    let bench = Bench::new().await;
    let mut client = tunnel(&bench, "abc", 100).await;
    assert_eq!(client.ask("OPTIONS *").await.status.as_u16(), 200);
    drop(client.socket.post);
    assert_eq!(rest(client.socket.get).await, "");
    connections(&bench, 0).await;
    let mut client = tunnel(&bench, "abc", 100).await;
    assert_eq!(client.ask("OPTIONS *").await.status.as_u16(), 200);
    drop(client.socket.get);
    assert_eq!(rest(client.socket.post).await, "");
    connections(&bench, 0).await;
    let mut client = tunnel(&bench, "abc", 100).await;
    client.socket.post.write_all(b"!!!!").await.unwrap();
    assert_eq!(rest(client.socket.get).await, "", "what is no base64 is the end");
    connections(&bench, 0).await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_get_is_given_ten_seconds_for_its_post_and_few_may_wait() {
    let bench = Bench::with(Access::open_to_all(), None, |s| {
        s.max_connections_per_address = 2 * crate::rtsp_server::tunnel::limits::WAITING;
    })
    .await;
    let began = Instant::now();
    let mut waiting = Vec::new();
    for n in 0..crate::rtsp_server::tunnel::limits::WAITING {
        waiting.push(get(&bench, &format!("c{n}")).await);
    }
    let answer = rest(half(&bench, "GET", "one-more").await).await;
    assert!(answer.starts_with("HTTP/1.0 503"), "{answer}");
    for get in waiting {
        assert_eq!(rest(get).await, "");
    }
    assert_eq!(began.elapsed().as_secs(), 10);
    let mut client = tunnel(&bench, "c0", 100).await;
    assert_eq!(client.ask("OPTIONS *").await.status.as_u16(), 200, "its place is free again");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_belongs_to_no_tunnel_is_refused_and_a_tunnel_cannot_be_taken_over() {
    let bench = Bench::new().await;
    let answer = rest(half(&bench, "POST", "nobody").await).await;
    assert!(answer.starts_with("HTTP/1.0 404"), "{answer}");
    let mut browser = TcpStream::connect(bench.address).await.unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\nHost: nvr\r\n\r\n").await.unwrap();
    let answer = rest(browser).await;
    assert!(answer.starts_with("HTTP/1.0 400") && answer.contains("rtsp://"), "{answer}");
    let first = get(&bench, "abc").await;
    let answer = rest(half(&bench, "GET", "abc").await).await;
    assert!(answer.starts_with("HTTP/1.0 400"), "{answer}");
    let post = half(&bench, "POST", "abc").await;
    let mut client =
        Client::over(Tunnel { get: first, post, pending: BytesMut::new(), piece: 100 });
    assert_eq!(client.ask("OPTIONS *").await.status.as_u16(), 200);
    let answer = rest(half(&bench, "POST", "abc").await).await;
    assert!(answer.starts_with("HTTP/1.0 404"), "one POST a tunnel: {answer}");
    assert_eq!(client.ask("OPTIONS *").await.status.as_u16(), 200);
    bench.stop().await;
}
