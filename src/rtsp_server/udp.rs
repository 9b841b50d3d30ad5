//! RTP and RTCP over UDP: pairs of ports, sending without a copy, and hearing whether the player
//! is still there.
//!
//! # Invariants
//!
//! * Packets go only to the address the RTSP connection comes from, whatever a Transport header
//!   says: nobody can point a stream at somebody else.
//! * What arrives from other addresses, and all that arrives on the RTP port (players punch holes
//!   into their routers with it), is read and thrown away.

use std::{
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{io::Interest, net::UdpSocket};

use crate::proto::rtp::{PacketBatch, rtcp};

/// What the kernel is asked to hold of a burst, bytes.
const SEND_BUFFER: usize = 1 << 20;

/// Pairs of ports in a range, handed out in turn so that a late packet for a session that ended
/// does not reach the next one.
#[derive(Debug)]
pub(super) struct Ports {
    first: u16,
    pairs: usize,
    next: AtomicUsize,
}

impl Ports {
    /// Of `range`, pairs that begin with an even port; `None` when it holds none.
    pub(super) fn new(range: &RangeInclusive<u16>) -> Option<Self> {
        let first = range.start().checked_add(range.start() % 2)?;
        let pairs = usize::from(range.end().checked_sub(first)?.checked_add(1)? / 2);
        (pairs > 0).then_some(Self { first, pairs, next: AtomicUsize::new(0) })
    }

    /// A free pair on `local`, for packets to `peer`; `None` when all are in use.
    pub(super) fn open(&self, local: IpAddr, peer: IpAddr, client: (u16, u16)) -> Option<Pair> {
        for _ in 0..self.pairs {
            let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.pairs;
            let port = self.first + u16::try_from(turn * 2).unwrap_or(0);
            let bind = |port| bind(SocketAddr::new(local, port));
            if let (Ok(rtp), Ok(rtcp)) = (bind(port), bind(port + 1)) {
                return Some(Pair {
                    ports: (port, port + 1),
                    rtp: Arc::new(rtp),
                    rtcp: Arc::new(rtcp),
                    to: (SocketAddr::new(peer, client.0), SocketAddr::new(peer, client.1)),
                });
            }
        }
        None
    }
}

fn bind(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(at)?;
    socket.set_nonblocking(true)?;
    // Best effort: the system's limit may be lower.
    let _ = socket2::SockRef::from(&socket).set_send_buffer_size(SEND_BUFFER);
    UdpSocket::from_std(socket)
}

/// One track's sockets.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    ports: (u16, u16),
    rtp: Arc<UdpSocket>,
    rtcp: Arc<UdpSocket>,
    to: (SocketAddr, SocketAddr),
}

impl Pair {
    pub(super) const fn ports(&self) -> (u16, u16) {
        self.ports
    }

    /// Sends packet `index` of `batch`, waiting for the kernel to take it. Cancel-safe: it was
    /// sent or it was not. Returns its bytes; what cannot be sent is lost as on any network.
    pub(super) async fn send(&self, batch: &PacketBatch, index: usize) -> usize {
        let mut slices = [IoSlice::new(&[]); PacketBatch::MAX_SLICES];
        let Some(count) = batch.datagram(index, &mut slices) else { return 0 };
        let slices = slices.get(..count).unwrap_or_default();
        let to = self.to.0.into();
        let sent = self
            .rtp
            .async_io(Interest::WRITABLE, || {
                socket2::SockRef::from(&*self.rtp).send_to_vectored(slices, &to)
            })
            .await;
        sent.unwrap_or(0)
    }

    /// The same without waiting.
    pub(super) fn send_now(&self, batch: &PacketBatch, index: usize) -> usize {
        let mut slices = [IoSlice::new(&[]); PacketBatch::MAX_SLICES];
        let Some(count) = batch.datagram(index, &mut slices) else { return 0 };
        let slices = slices.get(..count).unwrap_or_default();
        let to = self.to.0.into();
        self.rtp
            .try_io(Interest::WRITABLE, || {
                socket2::SockRef::from(&*self.rtp).send_to_vectored(slices, &to)
            })
            .unwrap_or(0)
    }

    /// Sends an RTCP packet; lost when the kernel does not take it at once.
    pub(super) fn report(&self, packet: &[u8]) -> usize {
        self.rtcp.try_send_to(packet, self.to.1).unwrap_or(0)
    }

    /// Reads and drops what comes; calls `alive` at each RTCP report of the player. Runs until
    /// dropped.
    pub(super) async fn listen(&self, alive: impl Fn()) {
        let (mut on_rtp, mut on_rtcp) = ([0; 64], [0; 2_048]);
        loop {
            tokio::select! {
                _ = self.rtp.recv_from(&mut on_rtp) => {}
                got = self.rtcp.recv_from(&mut on_rtcp) => {
                    let Ok((length, from)) = got else { continue };
                    let said = on_rtcp.get(..length).unwrap_or_default();
                    // BYE is no sign of life: VLC sends RR and BYE when it leaves.
                    if from.ip().to_canonical() == self.to.1.ip().to_canonical()
                        && rtcp::parse(said).is_ok_and(|r| r.byes.is_empty())
                    {
                        alive();
                    }
                }
            }
        }
    }
}
