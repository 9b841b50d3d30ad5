//! RTSP through HTTP: two connections that are one [`Stream`].
//!
//! # Invariants
//!
//! * What is written is encoded and waits in one buffer of bounded size; more is taken only when it
//!   is empty.
//! * Whoever reads drives the writing too: nothing lies around until the next request.
//! * The POST is not waited for. Where its server refuses it all the same, that ends the session,
//!   by name.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    time::timeout,
};

use super::{
    connection::{Stream, dial},
    limits,
    session::failure,
    tls,
};
use crate::{
    ingest::{PullError, Trust},
    proto::rtsp::{
        client::{
            Settings,
            address::{Scheme, Target},
            limits as client,
            tunnel::{Answered, Opening},
        },
        message::{Message, Response, Status},
        parse::Decoder,
        tunnel::wrap,
    },
};

/// Both halves.
pub(super) struct Tunnel {
    get: Box<dyn Stream>,
    post: Box<dyn Stream>,
    /// Came with the GET's answer.
    early: BytesMut,
    /// Encoded and not yet written.
    encoded: BytesMut,
    /// Written and perhaps still held back by TLS.
    unflushed: bool,
    /// What the POST is answered with, against all usage; `None` once that is known to be of no
    /// consequence.
    answer: Option<(Decoder, BytesMut)>,
}

/// A connection, and between whom.
pub(super) struct Dialled {
    pub(super) stream: Box<dyn Stream>,
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
}

/// The connection itself, encrypted where the address says so.
pub(super) async fn plain(target: &Target, trust: &Trust) -> Result<Dialled, PullError> {
    let stream = dial(target).await?;
    let local = stream.local_addr().map_err(|error| broken(&error))?;
    let peer = stream.peer_addr().map_err(|error| broken(&error))?;
    let stream: Box<dyn Stream> = match target.scheme {
        Scheme::Rtsp => Box::new(stream),
        Scheme::Rtsps => Box::new(tls::wrap(stream, target, trust).await?),
    };
    Ok(Dialled { stream, local, peer })
}

/// Opens a tunnel to the target of `settings`.
pub(super) async fn open(settings: Settings, trust: &Trust) -> Result<Dialled, PullError> {
    let target = settings.target.clone();
    let mut opening = Opening::new(settings);
    // Each turn but the last is told by the opening to be another: two logins at most.
    loop {
        let mut get = plain(&target, trust).await?;
        send(&mut get.stream, "GET", &opening.get()).await?;
        let mut early = BytesMut::new();
        let within = client::TUNNEL;
        let answer = timeout(within, answer(&mut get.stream, &mut early)).await;
        match opening.answered(&answer.map_err(|_| PullError::NoAnswer { method: "GET", within })??)
        {
            Answered::Again => {}
            Answered::Failed(error) => return Err(failure(error)),
            Answered::Open => {
                let Dialled { stream: mut post, .. } = plain(&target, trust).await?;
                send(&mut post, "POST", &opening.post()).await?;
                let Dialled { stream: get, local, peer } = get;
                let answer = Some((Decoder::of_http(), BytesMut::new()));
                let encoded = BytesMut::new();
                let tunnel = Tunnel { get, post, early, encoded, unflushed: false, answer };
                return Ok(Dialled { stream: Box::new(tunnel), local, peer });
            }
        }
    }
}

fn broken(error: &io::Error) -> PullError {
    PullError::Disconnected { detail: Some(error.to_string()) }
}

/// A request; bounded in time, for a full socket is the camera's doing.
async fn send(
    stream: &mut Box<dyn Stream>,
    method: &'static str,
    request: &[u8],
) -> Result<(), PullError> {
    let sent = async {
        stream.write_all(request).await?;
        stream.flush().await
    };
    match timeout(client::TUNNEL, sent).await {
        Ok(sent) => sent.map_err(|error| broken(&error)),
        Err(_) => Err(PullError::NoAnswer { method, within: client::TUNNEL }),
    }
}

/// The head of the GET's answer; what came behind it stays in `buffer`.
async fn answer(
    stream: &mut Box<dyn Stream>,
    buffer: &mut BytesMut,
) -> Result<Response, PullError> {
    let mut decoder = Decoder::of_http();
    let odd = |detail: String| PullError::Protocol { detail: format!("no tunnel: {detail}") };
    loop {
        match decoder.decode(buffer) {
            Ok(Some(Message::Response(response))) => return Ok(response),
            Ok(Some(_)) => return Err(odd("the answer to GET is none of HTTP".to_owned())),
            Ok(None) => {}
            Err(error) => return Err(odd(error.to_string())),
        }
        buffer.reserve(limits::ROOM);
        match stream.read_buf(buffer).await {
            Ok(0) => return Err(PullError::Disconnected { detail: None }),
            Ok(_) => {}
            Err(error) => return Err(broken(&error)),
        }
    }
}

impl Tunnel {
    /// Writes what is encoded; ready when nothing waits any more.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.encoded.is_empty() {
            let count = ready!(Pin::new(&mut self.post).poll_write(context, &self.encoded))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.encoded.advance(count);
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.post).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// What the server says to the POST: a refusal is an error.
    fn poll_answer(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while let Some((decoder, buffer)) = &mut self.answer {
            let mut room = [0; 1_024];
            let mut room = ReadBuf::new(&mut room);
            let Poll::Ready(read) = Pin::new(&mut self.post).poll_read(context, &mut room) else {
                break;
            };
            read?;
            buffer.extend_from_slice(room.filled());
            match decoder.decode(buffer) {
                Ok(None) if !room.filled().is_empty() => {}
                Ok(Some(Message::Response(said))) if !said.status.is_success() => {
                    return Err(io::Error::other(Refused(said.status)));
                }
                // It closed its side, was content, or said what nobody asked.
                _ => self.answer = None,
            }
        }
        Ok(())
    }
}

/// The POST was refused: what an error of the stream is made of then.
#[derive(Debug, thiserror::Error)]
#[error("POST was answered with status {}", .0.as_u16())]
pub(super) struct Refused(pub(super) Status);

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(Err(error)) = self.poll_drain(context) {
            return Poll::Ready(Err(error));
        }
        self.poll_answer(context)?;
        if !self.early.is_empty() {
            let count = self.early.len().min(out.remaining());
            out.put_slice(&self.early.split_to(count));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.get).poll_read(context, out)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_drain(context))?;
        let taken = wrap(bytes, &mut self.encoded);
        if let Poll::Ready(Err(error)) = self.poll_drain(context) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_drain(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.post).poll_shutdown(context)
    }
}
