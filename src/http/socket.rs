//! RTSP over WebSocket, as the ONVIF Streaming Specification has it: `/rtsp`, subprotocol
//! `rtsp.onvif.org`. Binary messages carry what a TCP connection to the RTSP port would, answers
//! and interleaved packets alike; where one ends means nothing. URLs inside are `rtsp://…` with
//! any host, which `Content-Base` gives back.
//!
//! # Who may
//!
//! The RTSP server asks for the login itself (Digest): there is no cookie, and no login that a
//! browser would add. Still the page of another site is refused, as for changes, by
//! `Sec-Fetch-Site` or `Origin`: it could try passwords in its visitor's name, whose address would
//! be made to wait for it; and where nobody logs in it would see everything. There the `Host` must be
//! this machine's own too, as for the rest of the API. Players that are no browsers send neither
//! header and pass.
//!
//! # Bounds
//!
//! * A frame or message that comes says how long it is; one of more than [`limits::RECEIVED`]
//!   bytes is refused by that, before there is room for it.
//! * One message at a time waits to be sent, of [`limits::SENT`] bytes at most; what comes behind
//!   waits in the RTSP server's own queue, as on TCP.
//! * It counts as a connection of the RTSP server's, no longer of HTTP's.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use axum::{
    Router,
    extract::{
        State, WebSocketUpgrade,
        ws::{CloseCode, CloseFrame, Message, WebSocket, close_code, rejection},
    },
    http::{Extensions, HeaderMap},
    response::Response,
    routing::get,
};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::timeout,
};
use tokio_tungstenite::tungstenite;
use tokio_util::sync::CancellationToken;

use super::{
    auth::{is_cross_site, is_for_loopback, peer},
    error::{ApiError, Result},
    serve::Local,
};
use crate::{access::Access, rtsp_server::Door};

/// Where it is.
const PATH: &str = "/rtsp";
/// What is spoken.
const PROTOCOL: &str = "rtsp.onvif.org";

mod limits {
    use std::time::Duration;

    /// Largest frame, and message of several frames, that is taken, bytes. Requests may be longer
    /// and come in several.
    pub(super) const RECEIVED: usize = 64 << 10;
    /// Largest message sent, bytes.
    pub(super) const SENT: usize = 32 << 10;
    /// What may wait to be written, bytes: a message, and answers to pings.
    pub(super) const UNWRITTEN: usize = 2 * SENT;
    /// Read at a time, bytes.
    pub(super) const READ: usize = 4 << 10;
    /// For the client to take leave.
    pub(super) const LINGER: Duration = Duration::from_millis(500);
}

#[derive(Clone)]
struct Sockets {
    door: Door,
    access: Access,
}

/// The route. It stands outside of `require_login`: see the module.
pub(crate) fn router<S>(door: Door, access: Access) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Router::new().route(PATH, get(open)).with_state(Sockets { door, access })
}

async fn open(
    State(sockets): State<Sockets>,
    extensions: Extensions,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, rejection::WebSocketUpgradeRejection>,
) -> Result<Response> {
    if is_cross_site(&headers) {
        return Err(ApiError::CrossSite);
    }
    if sockets.access.anonymous().is_some() && !is_for_loopback(&headers) {
        return Err(ApiError::ForeignHost);
    }
    let upgrade = upgrade.map_err(|_| ApiError::NotWebSocket)?.protocols([PROTOCOL]);
    if upgrade.selected_protocol().is_none() {
        return Err(ApiError::Subprotocol(PROTOCOL));
    }
    let local = extensions.get::<Local>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |l| l.0);
    let seat = sockets.door.seat(peer(&extensions), local).ok_or(ApiError::Unavailable(None))?;
    let upgrade = upgrade
        .max_frame_size(limits::RECEIVED)
        .max_message_size(limits::RECEIVED)
        .read_buffer_size(limits::READ)
        // Each message is written at once.
        .write_buffer_size(0)
        .max_write_buffer_size(limits::UNWRITTEN);
    // axum runs this in a task of its own, which the RTSP server waits for by the seat.
    Ok(upgrade.on_upgrade(move |socket| async move {
        let wire = Wire::new(socket, seat.stopping().clone());
        let goodbye = wire.clone().part();
        seat.serve(wire.clone(), wire, goodbye).await;
    }))
}

/// A WebSocket as the stream of bytes it carries. Clones are the same one: one reads, one writes.
#[derive(Clone)]
struct Wire(Arc<Mutex<Ends>>);

struct Ends {
    socket: WebSocket,
    /// Came, and not taken yet.
    unread: Bytes,
    /// Nothing more is read, for that reason.
    over: Option<CloseCode>,
    /// The client was told.
    told: bool,
    stopping: CancellationToken,
}

impl Wire {
    fn new(socket: WebSocket, stopping: CancellationToken) -> Self {
        let ends = Ends { socket, unread: Bytes::new(), over: None, told: false, stopping };
        Self(Arc::new(Mutex::new(ends)))
    }

    /// Held for a poll.
    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the client that this is the end, and why; then lets it say the same, for closing on
    /// bytes that were not read would take what was told last from it.
    async fn part(self) {
        let parted = async {
            if poll_fn(|context| self.ends().poll_tell(context)).await.is_ok() {
                while let Some(Ok(_)) =
                    poll_fn(|context| self.ends().socket.poll_next_unpin(context)).await
                {
                }
            }
        };
        // Then it is gone, or will see the connection closed.
        let _ = timeout(limits::LINGER, parted).await;
    }
}

impl Ends {
    /// A reason to end, or more bytes than none.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.unread.is_empty() && self.over.is_none() {
            match ready!(self.socket.poll_next_unpin(context)) {
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                Some(Ok(Message::Text(_))) => self.over = Some(close_code::UNSUPPORTED),
                // Pings are answered below us.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) | None => self.over = Some(close_code::NORMAL),
                Some(Err(error)) => self.over = Some(blame(error)),
            }
        }
        Poll::Ready(())
    }

    /// Until everything is written.
    fn poll_written(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.socket.poll_ready_unpin(context)).map_err(io::Error::other)?;
        self.socket.poll_flush_unpin(context).map_err(io::Error::other)
    }

    fn poll_tell(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.told {
            ready!(self.poll_written(context))?;
            self.told = true;
            let code = match self.over {
                Some(code) => code,
                None if self.stopping.is_cancelled() => close_code::AWAY,
                None => close_code::NORMAL,
            };
            let reason = match code {
                close_code::UNSUPPORTED => "RTSP comes in binary messages",
                close_code::SIZE => "a message may have 64 KiB",
                close_code::AWAY => "the recorder stops",
                _ => "",
            };
            let frame = CloseFrame { code, reason: reason.into() };
            // Fails when the client has closed; its answer was made below us.
            let _ = self.socket.start_send_unpin(Message::Close(Some(frame)));
        }
        self.socket.poll_flush_unpin(context).map_err(io::Error::other)
    }
}

fn blame(error: axum::Error) -> CloseCode {
    use tungstenite::Error;

    match error.into_inner().downcast_ref::<Error>() {
        Some(Error::Capacity(_)) => close_code::SIZE,
        Some(Error::Utf8(_)) => close_code::INVALID,
        _ => close_code::PROTOCOL,
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut ends = self.ends();
        ready!(ends.poll_fill(context));
        let length = ends.unread.len().min(out.remaining());
        out.put_slice(ends.unread.get(..length).unwrap_or_default());
        ends.unread.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut ends = self.ends();
        // What was taken before is on its way before more is taken.
        ready!(ends.poll_written(context))?;
        let all: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut message = BytesMut::with_capacity(all.min(limits::SENT));
        for slice in slices {
            let room = limits::SENT - message.len();
            message.extend_from_slice(slice.get(..room).unwrap_or(slice));
        }
        let length = message.len();
        let message = Message::Binary(message.freeze());
        ends.socket.start_send_unpin(message).map_err(io::Error::other)?;
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ends().poll_written(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ends().poll_tell(context)
    }
}
