//! The RTSP server: players come in, live and recorded footage goes out.
//!
//! ```text
//! RtspServer ─▶ connection (drives proto::rtsp::server) ─▶ delivery (a task a session)
//!   accept,       questions: gate, directory, archive        footage ─▶ timeline ─▶ RTP
//!   limits        writer: one order for answers and packets  udp / writer
//! ```
//!
//! # Invariants
//!
//! * Nothing here can hold up a camera or the recorder: live units are read from the hub's ring,
//!   which forgets what a slow player has not taken.
//! * Every task is tracked; [`RtspServer::run`] returns when all have ended.
//! * One rule for live and recorded: the same delivery, the same packets.

mod connection;
mod counters;
mod delivery;
mod directory;
mod footage;
mod gate;
mod orphans;
mod questions;
mod settings;
#[cfg(test)]
mod tests;
mod udp;
mod writer;

use std::{
    collections::HashMap,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, debug, info, info_span, warn};

use crate::{access::Access, clock::Clock, hub::Hub, playback::Archive};

pub use counters::{Counters, DropReason, HistogramSnapshot};
pub use directory::{Directory, DirectoryError, StreamRef};
pub use settings::Settings;

/// What the server stands on.
#[derive(Clone)]
pub struct Parts {
    /// What is live.
    pub hub: Arc<Hub>,
    /// What is recorded; without it every `/recording` is 404.
    pub archive: Option<Arc<Archive>>,
    /// Who may see it.
    pub access: Access,
    /// Which streams there are.
    pub directory: Arc<dyn Directory>,
    /// For sender reports.
    pub clock: Clock,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// Why the server cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address is taken or not ours.
    #[error("listen for RTSP on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The range of UDP ports holds no pair.
    #[error("the range of UDP ports for RTP holds no pair that begins with an even port")]
    UdpPorts,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    parts: Parts,
    counters: Arc<Counters>,
    ports: Option<udp::Ports>,
    orphans: orphans::Orphans,
    tracker: TaskTracker,
    /// Connections an address has. Locked for a count only.
    addresses: Mutex<HashMap<IpAddr, usize>>,
    #[cfg(test)]
    script: Option<Arc<tests::script::Script>>,
}

/// The server, listening. It accepts once it runs.
#[derive(Debug)]
pub struct RtspServer {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl RtspServer {
    /// Listens; spawns nothing.
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    pub async fn bind(settings: Settings, parts: Parts) -> Result<Self, BindError> {
        let refused = |source| BindError::Listen { address: settings.listen, source };
        let listener = TcpListener::bind(settings.listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let ports = match &settings.udp_ports {
            Some(range) => Some(udp::Ports::new(range).ok_or(BindError::UdpPorts)?),
            None => None,
        };
        let shared = Shared {
            settings,
            parts,
            counters: Arc::default(),
            ports,
            orphans: orphans::Orphans::default(),
            tracker: TaskTracker::new(),
            addresses: Mutex::default(),
            #[cfg(test)]
            script: None,
        };
        Ok(Self { listener, address, shared: Arc::new(shared) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What it counts.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// Serves until cancelled; returns when every connection and session has ended (they are told
    /// by BYE, and given two seconds at most).
    pub async fn run(self, token: CancellationToken) {
        info!(address = %self.address, "RTSP server listens");
        loop {
            let accepted = tokio::select! {
                () = token.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => self.admit(socket, peer, &token),
                Err(error) => {
                    // Out of files, most likely: trying again at once would only spin.
                    warn!(%error, "accept an RTSP connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(self.listener);
        self.shared.tracker.close();
        self.shared.tracker.wait().await;
        info!("RTSP server stopped");
    }

    fn admit(&self, socket: TcpStream, peer: SocketAddr, token: &CancellationToken) {
        let shared = &self.shared;
        // IPv4 that came through an IPv6 listener is IPv4 in every answer.
        let ip = peer.ip().to_canonical();
        let Some(place) = Place::take(shared, ip) else {
            shared.counters.count_refused();
            debug!(%peer, "connection turned away: too many");
            shared.tracker.spawn(connection::turn_away(socket));
            return;
        };
        let token = token.child_token();
        let shared = Arc::clone(shared);
        let span = info_span!("rtsp", %peer);
        let task = async move {
            match connection::Driver::new(shared, socket, ip, token) {
                Ok(driver) => driver.run().await,
                Err(error) => debug!(%error, "connection not taken up"),
            }
            drop(place);
        };
        self.shared.tracker.spawn(task.instrument(span));
    }
}

/// A connection's place among those allowed; free again when dropped.
struct Place {
    shared: Arc<Shared>,
    peer: IpAddr,
    _present: counters::Present,
}

impl Place {
    fn take(shared: &Arc<Shared>, peer: IpAddr) -> Option<Self> {
        let mut addresses = shared.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = addresses.values().sum();
        let count = addresses.entry(peer).or_insert(0);
        let full = all >= shared.settings.max_connections
            || *count >= shared.settings.max_connections_per_address;
        if full {
            if *count == 0 {
                addresses.remove(&peer);
            }
            return None;
        }
        *count += 1;
        Some(Self { shared: Arc::clone(shared), peer, _present: shared.counters.connection() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut addresses = self.shared.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.peer);
            }
        }
    }
}
