//! From an accepted socket to a connection: how it is wrapped is settled here, once, and costs
//! nothing afterwards.

use std::{io, net::IpAddr, sync::Arc};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    Place, Shared,
    connection::{Driver, limits},
    tunnel::{Post, Refused, Tunnelled},
};
use crate::proto::rtsp::{
    message::Message,
    parse::Decoder,
    tunnel::{self, Half},
};

/// Whether packets may go beside the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// By UDP, to those who ask for it.
    Datagrams,
    /// Only on the connection itself.
    Nothing,
}

/// What is known of a connection before its first request.
pub(super) struct Arrival {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: IpAddr,
    pub(super) local: IpAddr,
    /// Nobody on the way can read along.
    pub(super) secure: bool,
    pub(super) beside: Beside,
    /// When the first request must be complete.
    pub(super) by: Instant,
    pub(super) token: CancellationToken,
    /// Given back when the connection ends.
    pub(super) place: Place,
}

/// Serves a socket until it is done with.
pub(super) async fn enter(
    shared: Arc<Shared>,
    socket: TcpStream,
    tls: Option<TlsAcceptor>,
    place: Place,
    token: CancellationToken,
) {
    let local = match prepare(&socket, &shared) {
        Ok(local) => local,
        Err(error) => {
            debug!(%error, "connection not taken up");
            return;
        }
    };
    let by = Instant::now() + limits::HEADER;
    let peer = place.peer();
    let beside = Beside::Datagrams;
    let mut arrival = Arrival { shared, peer, local, secure: false, beside, by, token, place };
    let Some(tls) = tls else {
        let (reader, writer) = socket.into_split();
        return serve(arrival, reader, writer).await;
    };
    arrival.secure = true;
    // There is no SRTP: datagrams would show to all what TLS was asked to hide.
    arrival.beside = Beside::Nothing;
    let token = arrival.token.clone();
    let shaken = token.run_until_cancelled(timeout_at(by, tls.accept(socket))).await;
    match shaken {
        Some(Ok(Ok(stream))) => {
            let (reader, writer) = tokio::io::split(stream);
            serve(arrival, reader, writer).await;
        }
        Some(Ok(Err(error))) => debug!(%error, "no TLS came of it"),
        Some(Err(_)) => debug!("TLS took too long"),
        None => {}
    }
}

async fn serve<R, W>(arrival: Arrival, mut reader: R, writer: W)
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let mut buffer = BytesMut::new();
    let token = arrival.token.clone();
    let first = timeout_at(arrival.by, first_bytes(&mut reader, &mut buffer));
    match token.run_until_cancelled(first).await {
        Some(Ok(Ok(First::Http(half)))) => {
            let outcome = match half {
                Some(Half::Get { cookie }) => begin(arrival, reader, writer, cookie).await,
                Some(Half::Post { cookie }) => join(arrival, reader, writer, buffer, cookie).await,
                None => refuse(writer, "400 Bad Request").await,
            };
            if let Err(error) = outcome {
                debug!(%error, "no tunnel came of it");
            }
        }
        // Too late, gone already or no HTTP after all: what that means is known there.
        Some(_) => Driver::new(arrival, reader, writer, buffer).run().await,
        None => {}
    }
}

enum First {
    Rtsp,
    /// With `None` it is for no tunnel.
    Http(Option<Half>),
}

/// Reads as much as tells RTSP from HTTP; of HTTP, the whole head.
async fn first_bytes<R: AsyncRead + Unpin>(
    reader: &mut R,
    buffer: &mut BytesMut,
) -> io::Result<First> {
    let mut head = Decoder::new();
    loop {
        buffer.reserve(limits::READ);
        if reader.read_buf(buffer).await? == 0 {
            return Ok(First::Rtsp);
        }
        if !head.mid_message() {
            match tunnel::begins_as_http(buffer) {
                None => continue,
                Some(false) => return Ok(First::Rtsp),
                Some(true) => {}
            }
        }
        match head.decode(buffer) {
            Ok(None) => {}
            Ok(Some(Message::Request(request))) => return Ok(First::Http(Half::of(&request))),
            Ok(Some(_)) | Err(_) => return Ok(First::Http(None)),
        }
    }
}

/// A tunnel's GET: answers it and, once the POST has come, serves what is said through both.
async fn begin<R, W>(mut get: Arrival, reader: R, mut writer: W, cookie: String) -> io::Result<()>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let mut waiting = match get.shared.tunnels.wait(get.peer, cookie) {
        Ok(waiting) => waiting,
        Err(Refused::Taken) => return refuse(writer, "400 Bad Request").await,
        Err(Refused::Full) => return refuse(writer, "503 Service Unavailable").await,
    };
    let joined = async {
        writer.write_all(tunnel::ANSWER.as_bytes()).await?;
        writer.flush().await?;
        Ok::<_, io::Error>(waiting.post().await)
    };
    let token = get.token.clone();
    let Some(joined) = token.run_until_cancelled(timeout_at(get.by, joined)).await else {
        return Ok(());
    };
    let post = joined.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    drop(waiting);
    let Some(post) = post else { return Ok(()) };
    get.secure &= post.secure;
    get.by = Instant::now() + limits::HEADER;
    let reader = Tunnelled::new(Box::new(reader), post)?;
    Driver::new(get, reader, writer, BytesMut::new()).run().await;
    Ok(())
}

/// A tunnel's POST: hands it to its GET. It is never answered, for its body never ends.
async fn join<R, W>(
    post: Arrival,
    reader: R,
    writer: W,
    buffer: BytesMut,
    cookie: String,
) -> io::Result<()>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let Arrival { shared, peer, secure, place, .. } = post;
    let (reader, writer) = (Box::new(reader), Box::new(writer));
    match shared.tunnels.join(peer, cookie, Post { reader, writer, buffer, secure, place }) {
        Ok(()) => Ok(()),
        Err(post) => refuse(post.writer, "404 Not Found").await,
    }
}

async fn refuse<W: AsyncWrite + Unpin>(mut writer: W, status: &str) -> io::Result<()> {
    let text = "This is an RTSP server; open rtsp:// here, or a tunnel with x-sessioncookie.\n";
    let answer = format!(
        "HTTP/1.0 {status}\r\nConnection: close\r\nContent-Type: text/plain\r\n\
         Content-Length: {}\r\n\r\n{text}",
        text.len()
    );
    let told = async {
        writer.write_all(answer.as_bytes()).await?;
        writer.shutdown().await
    };
    timeout(limits::LINGER, told).await.unwrap_or(Ok(()))
}

fn prepare(socket: &TcpStream, shared: &Shared) -> io::Result<IpAddr> {
    socket.set_nodelay(true)?;
    // A peer that vanished in a pause is noticed by nothing else.
    let keepalive = socket2::TcpKeepalive::new().with_time(shared.settings.session_timeout);
    socket2::SockRef::from(socket).set_tcp_keepalive(&keepalive)?;
    Ok(socket.local_addr()?.ip().to_canonical())
}

/// Says that there is no room, as well as that can be said to a client that has asked nothing yet.
pub(super) async fn turn_away(mut socket: TcpStream) {
    let refusal = b"RTSP/1.0 453 Not Enough Bandwidth\r\nRetry-After: 5\r\n\r\n";
    let _ = timeout(limits::LINGER, socket.write_all(refusal)).await;
    let _ = socket.shutdown().await;
}
