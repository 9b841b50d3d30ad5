//! The RTSP server: players come in, live and recorded footage goes out.
//!
//! ```text
//! RtspServer ─▶ entrance ─▶ connection (drives proto::rtsp::server) ─▶ delivery (a task a session)
//!   accept,       TLS,         questions: gate, directory, archive       footage ─▶ timeline ─▶ RTP
//!   limits        tunnels      writer: one order for answers, packets    udp / writer
//! Door ─▶ Seat ────────────────▶┘ (what HTTP carries here over WebSocket)
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
mod door;
mod entrance;
mod footage;
mod gate;
mod multicast;
mod orphans;
mod publishing;
mod questions;
mod settings;
#[cfg(test)]
mod tests;
mod tls;
mod tunnel;
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
use tokio_rustls::{TlsAcceptor, rustls};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, debug, info, info_span, warn};

use crate::{access::Access, clock::Clock, hub::Hub, ingest::publish::Berths, playback::Archive};

pub use counters::{Counters, DropReason, HistogramSnapshot};
pub use directory::{Directory, DirectoryError, StreamRef};
pub use door::{Door, Seat};
pub use settings::{Multicast, Settings, Tls};
pub use tls::{Certificates, TlsError};

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
    /// Which of them are published to.
    pub berths: Berths,
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
    /// The certificate for RTSPS is of no use.
    #[error("take up the certificate for RTSPS")]
    Certificate(#[from] TlsError),
    /// TLS itself cannot be set up.
    #[error("set up TLS")]
    Tls(#[from] rustls::Error),
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
    groups: Option<multicast::Groups>,
    orphans: orphans::Orphans,
    tunnels: Arc<tunnel::Tunnels>,
    tracker: TaskTracker,
    /// Cancelled when [`RtspServer::run`] ends.
    stop: CancellationToken,
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
    secure: Option<Secure>,
    shared: Arc<Shared>,
}

/// The listener for RTSPS.
struct Secure {
    listener: TcpListener,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    certificates: Arc<Certificates>,
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secure").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Secure {
    async fn bind(settings: &Tls) -> Result<Self, BindError> {
        let (listener, address) = listen(settings.listen).await?;
        let certificates = Certificates::load(settings.cert.clone(), settings.key.clone()).await?;
        let acceptor = certificates.acceptor()?;
        Ok(Self { listener, address, acceptor, certificates })
    }

    /// Cancel-safe. Never, where there is none.
    async fn accept(secure: Option<&Self>) -> io::Result<Accepted> {
        let Some(secure) = secure else { return std::future::pending().await };
        let (socket, peer) = secure.listener.accept().await?;
        Ok((socket, peer, Some(secure.acceptor.clone())))
    }
}

/// A socket, where it comes from, and what it is to be wrapped in.
type Accepted = (TcpStream, SocketAddr, Option<TlsAcceptor>);

async fn listen(at: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let refused = |source| BindError::Listen { address: at, source };
    let listener = TcpListener::bind(at).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok((listener, address))
}

impl RtspServer {
    /// Listens; spawns nothing.
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    pub async fn bind(settings: Settings, parts: Parts) -> Result<Self, BindError> {
        let (listener, address) = listen(settings.listen).await?;
        let secure = match &settings.tls {
            Some(tls) => Some(Secure::bind(tls).await?),
            None => None,
        };
        let ports = match &settings.udp_ports {
            Some(range) => Some(udp::Ports::new(range).ok_or(BindError::UdpPorts)?),
            None => None,
        };
        let groups = settings.multicast.map(multicast::Groups::new);
        let shared = Shared {
            settings,
            parts,
            counters: Arc::default(),
            ports,
            groups,
            orphans: orphans::Orphans::default(),
            tunnels: Arc::default(),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            addresses: Mutex::default(),
            #[cfg(test)]
            script: None,
        };
        Ok(Self { listener, address, secure, shared: Arc::new(shared) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for RTSPS, if it does.
    #[must_use]
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        self.secure.as_ref().map(|secure| secure.address)
    }

    /// What it shows to those who come over RTSPS, to have it read again.
    #[must_use]
    pub fn certificates(&self) -> Option<Arc<Certificates>> {
        self.secure.as_ref().map(|secure| Arc::clone(&secure.certificates))
    }

    /// The way in for connections that another server accepts.
    #[must_use]
    pub fn door(&self) -> Door {
        Door(Arc::clone(&self.shared))
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
        if let Some(address) = self.tls_addr() {
            info!(%address, "RTSP server listens for TLS");
        }
        loop {
            let accepted = tokio::select! {
                () = token.cancelled() => break,
                accepted = self.listener.accept() => {
                    accepted.map(|(socket, peer)| (socket, peer, None))
                }
                accepted = Secure::accept(self.secure.as_ref()) => accepted,
            };
            match accepted {
                Ok((socket, peer, tls)) => self.admit(socket, peer, tls, &token),
                Err(error) => {
                    // Out of files, most likely: trying again at once would only spin.
                    warn!(%error, "accept an RTSP connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop((self.listener, self.secure));
        self.shared.stop.cancel();
        if let Some(groups) = &self.shared.groups {
            groups.stop();
        }
        self.shared.tracker.close();
        self.shared.tracker.wait().await;
        info!("RTSP server stopped");
    }

    fn admit(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
        tls: Option<TlsAcceptor>,
        token: &CancellationToken,
    ) {
        let shared = &self.shared;
        // IPv4 that came through an IPv6 listener is IPv4 in every answer.
        let ip = peer.ip().to_canonical();
        let Some(place) = Place::take(shared, ip) else {
            shared.counters.count_refused();
            debug!(%peer, "connection turned away: too many");
            // A handshake only to say so would cost more than it tells.
            if tls.is_none() {
                shared.tracker.spawn(entrance::turn_away(socket));
            }
            return;
        };
        let task = entrance::enter(Arc::clone(shared), socket, tls, place, token.child_token());
        shared.tracker.spawn(task.instrument(info_span!("rtsp", %peer)));
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

impl Place {
    const fn peer(&self) -> IpAddr {
        self.peer
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
