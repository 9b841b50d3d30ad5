//! The connection to a camera: bytes in, messages out, and the reverse.
//!
//! # Invariants
//!
//! * Payloads are slices of what was read: the copy out of the socket is the only one here.
//! * Nothing waits for the camera to read: what it does not take gathers, up to
//!   [`limits::UNSENT`], and more ends the session.
//! * Reading and writing go on in one poll, so neither side can hold the other up.

use std::{
    future::Future as _,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

use super::limits;
use crate::{
    ingest::PullError,
    proto::rtsp::{client::address::Target, message::Message, parse::Decoder},
};

/// Whatever carries bytes both ways.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// One connection.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    decoder: Decoder,
    incoming: BytesMut,
    outgoing: BytesMut,
    /// Of the TCP connection.
    pub(super) local: SocketAddr,
    /// Of the TCP connection.
    pub(super) peer: SocketAddr,
}

/// The TCP connection to `target`.
pub(super) async fn dial(target: &Target) -> Result<TcpStream, PullError> {
    let address = format!("{}:{}", target.host, target.port);
    let within = limits::CONNECT;
    // `TcpStream` wants IPv6 addresses without their brackets.
    let host = target.host.trim_start_matches('[').trim_end_matches(']');
    match timeout(within, TcpStream::connect((host, target.port))).await {
        Ok(Ok(stream)) => {
            // Requests are small and waited for.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(source)) => Err(PullError::Connect { address, source }),
        Err(_) => Err(PullError::ConnectTimeout { address, within }),
    }
}

impl Connection {
    /// Over `stream`, which stands on the TCP connection between these two.
    pub(super) fn new(stream: Box<dyn Stream>, local: SocketAddr, peer: SocketAddr) -> Self {
        let (incoming, outgoing) = (BytesMut::new(), BytesMut::new());
        Self { stream, decoder: Decoder::new(), incoming, outgoing, local, peer }
    }

    /// What has been read, as messages.
    pub(super) fn message(&mut self) -> Result<Option<Message>, PullError> {
        self.decoder
            .decode(&mut self.incoming)
            .map_err(|error| PullError::Protocol { detail: error.to_string() })
    }

    /// Bytes to be written as the camera takes them.
    pub(super) fn send(&mut self, bytes: &Bytes) -> Result<(), PullError> {
        if self.outgoing.len() + bytes.len() > limits::UNSENT {
            let detail = Some("it does not read what is sent to it".to_owned());
            return Err(PullError::Disconnected { detail });
        }
        self.outgoing.extend_from_slice(bytes);
        Ok(())
    }

    /// Where reports are appended to, unless too much is waiting already.
    pub(super) fn reports(&mut self) -> Option<&mut BytesMut> {
        (self.outgoing.len() <= limits::UNSENT_REPORTS).then_some(&mut self.outgoing)
    }

    /// Writes what waits, and reads: how many bytes, 0 at the end of the stream. Cancel-safe.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.poll_write(context)?;
        if self.incoming.capacity() - self.incoming.len() < limits::ROOM {
            self.incoming.reserve(limits::READ);
        }
        let Self { stream, incoming, .. } = self;
        let read = pin!(stream.read_buf(incoming));
        Poll::Ready(ready!(read.poll(context)))
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let Self { stream, outgoing, .. } = self;
        let mut stream = Pin::new(&mut **stream);
        let mut written = false;
        while !outgoing.is_empty() {
            match stream.as_mut().poll_write(context, outgoing) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    outgoing.advance(count);
                    written = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        if written && let Poll::Ready(Err(error)) = stream.poll_flush(context) {
            return Err(error);
        }
        Ok(())
    }
}
