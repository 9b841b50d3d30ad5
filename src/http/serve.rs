//! The listener: accepts, bounds and drains HTTP connections.
//!
//! `axum::serve` knows no limits: a client that sends half a header and waits would hold a socket
//! for ever. So connections are driven by hyper here, with a deadline for the header, a bound on
//! how many there are, and a drain that ends. A connection that becomes a WebSocket leaves here:
//! whoever took it bounds and ends it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// Connections at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 512;
/// A request's header must be there within this time, also the next one on a kept connection.
const HEADER_WITHIN: Duration = Duration::from_secs(20);
/// What was sent must be taken within this time.
const READ_WITHIN: Duration = Duration::from_secs(30);
/// A connection on which nothing was said so long is asked whether it is there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// Largest header, bytes.
const MAX_HEADER: usize = 32 << 10;
/// How long requests may go on after the stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(3);
/// Pause after an accept that failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Our own address, as a connection found it: among a request's extensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local(pub(super) IpAddr);

/// Serves `router` until `stop`, then lets what runs finish, for a while.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let hurry = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (listener.accept().await, place)
            } => accepted,
        };
        match accepted {
            (Ok((socket, peer)), Ok(place)) => {
                let (router, stop, hurry) = (router.clone(), stop.clone(), hurry.clone());
                connections.spawn(async move {
                    let _place = place;
                    connection(socket, peer, router, stop, hurry).await;
                });
            }
            (Err(error), _) => {
                tracing::warn!(%error, "accept an HTTP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            // The semaphore is never closed.
            (_, Err(_)) => break,
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN_WITHIN, connections.wait()).await.is_err() {
        hurry.cancel();
        connections.wait().await;
    }
}

async fn connection(
    socket: TcpStream,
    peer: SocketAddr,
    router: Router,
    stop: CancellationToken,
    hurry: CancellationToken,
) {
    // Answers are written whole; waiting for more would only add 40 ms.
    let _ = socket.set_nodelay(true);
    // Nor may a client that stops reading hold its connection for ever.
    let options = socket2::SockRef::from(&socket);
    let _ = options.set_tcp_user_timeout(Some(READ_WITHIN));
    // One that vanished while a WebSocket is silent is noticed by nothing else.
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE_AFTER);
    let _ = options.set_tcp_keepalive(&keepalive);
    let local = socket.local_addr().ok();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        if let Some(local) = local {
            request.extensions_mut().insert(Local(local.ip()));
        }
        router.clone().oneshot(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WITHIN)
        .max_buf_size(MAX_HEADER)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    tokio::pin!(served);
    let mut stopping = false;
    loop {
        tokio::select! {
            outcome = served.as_mut() => {
                if let Err(error) = outcome {
                    tracing::debug!(%error, %peer, "HTTP connection ended");
                }
                return;
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                served.as_mut().graceful_shutdown();
            }
            () = hurry.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn ask(sent: &[u8], stopped: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = Router::new().route("/", get(|| async { "hello" }));
        let tasks = TaskTracker::new();
        tasks.spawn(serve(listener, router, stop.clone()));
        tasks.close();
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(sent).await.unwrap();
        if stopped {
            stop.cancel();
            tasks.wait().await;
        }
        let mut answer = String::new();
        let _ = socket.read_to_string(&mut answer).await;
        stop.cancel();
        tasks.wait().await;
        answer
    }

    // The clock is paused: it jumps to the next deadline as soon as nothing else is to do.

    #[tokio::test(start_paused = true)]
    async fn half_a_header_holds_a_connection_for_a_while_only() {
        let answer = ask(b"GET / HTTP/1.1\r\nHost: x\r\n", false).await;
        assert!(!answer.contains("hello"), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_header_does_not_hold_up_the_stop() {
        ask(b"GET / HTTP/1.1\r\nHost: x\r\n", true).await;
    }

    #[tokio::test]
    async fn a_whole_request_is_answered() {
        let answer = ask(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", false).await;
        assert!(answer.ends_with("hello"), "{answer}");
    }
}
