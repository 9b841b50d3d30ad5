//! RTSP over HTTP on the RTSP port: brings the two connections of a tunnel together.
//!
//! # Bounds
//!
//! GETs that wait for their POST are few ([`limits::WAITING`]) and do not wait long; a POST waits
//! for nothing. Both count as connections. A POST is only joined to a GET from the same address.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt, io,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
};

use super::Place;
use crate::proto::rtsp::tunnel::Unwrapper;

pub(super) mod limits {
    /// GETs that wait for their POST.
    pub(in super::super) const WAITING: usize = 64;
    /// Read at a time, bytes.
    pub(super) const READ: usize = 2 << 10;
}

/// A reading side, whatever it is wrapped in: there are few tunnels, and what comes in is little.
pub(super) type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// The POST of a tunnel.
pub(super) struct Post {
    pub(super) reader: Reader,
    /// Never written to; closing it would tell the client that the tunnel has ended.
    pub(super) writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// What was read of its body already.
    pub(super) buffer: BytesMut,
    pub(super) secure: bool,
    pub(super) place: Place,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").finish_non_exhaustive()
    }
}

type Key = (IpAddr, String);

/// GETs that wait. Locked for a look-up only.
#[derive(Debug, Default)]
pub(super) struct Tunnels(Mutex<HashMap<Key, oneshot::Sender<Post>>>);

/// A GET's place among those that wait; given up when dropped.
pub(super) struct Waiting {
    tunnels: Arc<Tunnels>,
    key: Key,
    post: oneshot::Receiver<Post>,
}

/// Too many wait, or one waits by that cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Taken,
}

impl Tunnels {
    pub(super) fn wait(self: &Arc<Self>, peer: IpAddr, cookie: String) -> Result<Waiting, Refused> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= limits::WAITING {
            return Err(Refused::Full);
        }
        let key = (peer, cookie);
        let Entry::Vacant(vacant) = waiting.entry(key.clone()) else {
            return Err(Refused::Taken);
        };
        let (sender, post) = oneshot::channel();
        vacant.insert(sender);
        Ok(Waiting { tunnels: Arc::clone(self), key, post })
    }

    /// Gives a POST to the GET that waits for it; back, when there is none.
    pub(super) fn join(&self, peer: IpAddr, cookie: String, post: Post) -> Result<(), Post> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.remove(&(peer, cookie)) {
            Some(get) => get.send(post),
            None => Err(post),
        }
    }
}

impl Waiting {
    /// Never, if it does not come.
    pub(super) async fn post(&mut self) -> Option<Post> {
        (&mut self.post).await.ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiting = self.tunnels.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Once it was joined its key may be another's.
        if matches!(self.post.try_recv(), Err(oneshot::error::TryRecvError::Empty)) {
            waiting.remove(&self.key);
        }
    }
}

/// What the client says through a tunnel. It ends when either of its connections does.
pub(super) struct Tunnelled {
    /// Nothing more is said here, but its end is the tunnel's.
    get: Reader,
    post: Reader,
    unwrapper: Unwrapper,
    /// Decoded, not yet taken.
    decoded: BytesMut,
    _writer: Box<dyn AsyncWrite + Send + Unpin>,
    _place: Place,
}

impl Tunnelled {
    pub(super) fn new(get: Reader, post: Post) -> io::Result<Self> {
        let mut unwrapper = Unwrapper::new();
        let mut decoded = BytesMut::new();
        unwrapper.push(&post.buffer, &mut decoded).map_err(invalid)?;
        let (post, _writer, _place) = (post.reader, post.writer, post.place);
        Ok(Self { get, post, unwrapper, decoded, _writer, _place })
    }
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl AsyncRead for Tunnelled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.decoded.is_empty() {
                let length = this.decoded.len().min(out.remaining());
                out.put_slice(this.decoded.get(..length).unwrap_or_default());
                this.decoded.advance(length);
                return Poll::Ready(Ok(()));
            }
            let mut space = [0; limits::READ];
            let mut text = ReadBuf::new(&mut space);
            while Pin::new(&mut this.get).poll_read(context, &mut text)?.is_ready() {
                if text.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
                text.clear();
            }
            std::task::ready!(Pin::new(&mut this.post).poll_read(context, &mut text))?;
            if text.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.unwrapper.push(text.filled(), &mut this.decoded).map_err(invalid)?;
        }
    }
}
