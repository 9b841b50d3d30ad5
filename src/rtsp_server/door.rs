//! Connections that another server accepted and carries here, as HTTP does for WebSocket.
//!
//! # Invariants
//!
//! * They count as any other connection, in all and for their address, from before they are
//!   answered.
//! * The server waits for them when it stops, and they learn of it.

use std::{fmt, future::Future, net::IpAddr, sync::Arc};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::task_tracker::TaskTrackerToken};
use tracing::{Instrument, debug, info_span};

use super::{
    Place, Shared,
    connection::{Driver, limits},
    entrance::{Arrival, Beside},
};

/// The way in for what another server accepts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Door(pub(super) Arc<Shared>);

/// A connection's place, taken before there is one.
pub struct Seat {
    place: Place,
    peer: IpAddr,
    local: IpAddr,
    shared: Arc<Shared>,
    token: CancellationToken,
    tracked: TaskTrackerToken,
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Door {
    /// A place for a connection from `peer` to our address `local`. None: there are too many, or
    /// the server stops.
    #[must_use]
    pub fn seat(&self, peer: IpAddr, local: IpAddr) -> Option<Seat> {
        let shared = &self.0;
        // Before the look at the stop: whoever stops waits for all who saw no stop.
        let tracked = shared.tracker.token();
        if shared.stop.is_cancelled() {
            return None;
        }
        let peer = peer.to_canonical();
        let Some(place) = Place::take(shared, peer) else {
            shared.counters.count_refused();
            debug!(%peer, "connection turned away: too many");
            return None;
        };
        let (local, token) = (local.to_canonical(), shared.stop.child_token());
        Some(Seat { place, peer, local, shared: Arc::clone(shared), token, tracked })
    }
}

impl Seat {
    /// Cancelled when the server stops.
    #[must_use]
    pub const fn stopping(&self) -> &CancellationToken {
        &self.token
    }

    /// Serves RTSP until the stream ends or the server stops, then sees `goodbye` through. What
    /// is played goes over the stream: whoever needs it carried may reach us by nothing else.
    pub async fn serve<R, W>(self, reader: R, writer: W, goodbye: impl Future<Output = ()>)
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let Self { place, peer, local, shared, token, tracked } = self;
        let by = Instant::now() + limits::HEADER;
        let beside = Beside::Nothing;
        // Whether somebody on the way wraps it in TLS is not known here: no Basic.
        let secure = false;
        let arrival = Arrival { shared, peer, local, secure, beside, by, token, place };
        let span = info_span!("rtsp", %peer);
        Driver::new(arrival, reader, writer, BytesMut::new()).run().instrument(span).await;
        goodbye.await;
        drop(tracked);
    }
}
