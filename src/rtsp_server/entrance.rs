//! From an accepted socket to a connection: how it is wrapped is settled here, once, and costs
//! nothing afterwards.

use std::{io, net::IpAddr, sync::Arc};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    Place, Shared,
    connection::{Driver, limits},
};

/// What is known of a connection before its first request.
pub(super) struct Arrival {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: IpAddr,
    pub(super) local: IpAddr,
    /// Nobody on the way can read along.
    pub(super) secure: bool,
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
    let mut arrival = Arrival { shared, peer, local, secure: false, by, token, place };
    let Some(tls) = tls else {
        let (reader, writer) = socket.into_split();
        return serve(arrival, reader, writer).await;
    };
    arrival.secure = true;
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

async fn serve<R, W>(arrival: Arrival, reader: R, writer: W)
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    Driver::new(arrival, reader, writer, BytesMut::new()).run().await;
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
