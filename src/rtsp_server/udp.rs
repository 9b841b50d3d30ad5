//! RTP and RTCP over UDP: pairs of ports, sending without a copy, and hearing whether the player
//! is still there.
//!
//! # Invariants
//!
//! * Packets go only to the address the RTSP connection comes from, or to a group of the operator's,
//!   whatever a Transport header says: nobody can point a stream at somebody else.
//! * Packets of one size leave in one system call, cut apart by the kernel (UDP segmentation) or by
//!   the network card; where that is refused (no checksums in hardware, packets above the MTU, an old
//!   kernel), one by one for as long as the socket lives. The player sees no difference.
//! * What arrives from other addresses, and all that arrives on the RTP port (players punch holes
//!   into their routers with it), is read and thrown away.

use std::{
    io::{self, IoSlice},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use nix::{
    errno::Errno,
    sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg},
};
use tokio::{io::Interest, net::UdpSocket};

use super::settings::Multicast;
use crate::proto::rtp::{PacketBatch, Train, rtcp};

/// What the kernel is asked to hold of a burst, bytes.
const SEND_BUFFER: usize = 1 << 20;

/// What the kernel is asked to hold of a publisher's burst, bytes.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The longest datagram, bytes, and room for several.
const DATAGRAM: usize = 2 << 10;
const RECEIVE_AT_ONCE: usize = 64 << 10;

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Rtp,
    Rtcp,
}

/// Slices to one system call: more than a burst of fragments has, and enough for any packet.
const SLICES: usize = 2 * PacketBatch::MAX_SLICES;

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
                    trains: Arc::new(AtomicBool::new(true)),
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

/// What came of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// Packets that are done with, sent or lost; at least one.
    pub(super) packets: usize,
    /// Bytes the kernel took.
    pub(super) bytes: usize,
}

impl Sent {
    const LOST: Self = Self { packets: 1, bytes: 0 };
}

/// Whether an error says that packets cannot be sent together on this way, and not that the way is
/// closed now.
fn is_refusal(error: Errno) -> bool {
    matches!(
        error,
        Errno::EINVAL | Errno::EIO | Errno::EMSGSIZE | Errno::ENOPROTOOPT | Errno::EOPNOTSUPP
    )
}

/// One track's sockets.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    ports: (u16, u16),
    rtp: Arc<UdpSocket>,
    rtcp: Arc<UdpSocket>,
    /// Whether the kernel takes several packets at once on this socket; until it says otherwise.
    trains: Arc<AtomicBool>,
    to: (SocketAddr, SocketAddr),
}

impl Pair {
    /// For a track's packets to a group, from any ports.
    pub(super) fn multicast(to: Ipv4Addr, port: u16, of: &Multicast) -> io::Result<Self> {
        let open = || {
            let socket = bind(SocketAddr::from((of.interface, 0)))?;
            let options = socket2::SockRef::from(&socket);
            if !of.interface.is_unspecified() {
                options.set_multicast_if_v4(&of.interface)?;
            }
            options.set_multicast_ttl_v4(of.ttl.into())?;
            Ok::<_, io::Error>(socket)
        };
        let (rtp, rtcp) = (open()?, open()?);
        Ok(Self {
            ports: (port, port + 1),
            rtp: Arc::new(rtp),
            rtcp: Arc::new(rtcp),
            trains: Arc::new(AtomicBool::new(true)),
            to: (SocketAddr::from((to, port)), SocketAddr::from((to, port + 1))),
        })
    }

    pub(super) const fn ports(&self) -> (u16, u16) {
        self.ports
    }

    /// Sends packet `index` of `batch` and as many of those after it as can go with it, at most
    /// `most` in all, waiting for the kernel to take them. Cancel-safe: they were sent or they were
    /// not. What cannot be sent is lost as on any network.
    pub(super) async fn send(&self, batch: &PacketBatch, index: usize, most: usize) -> Sent {
        let send = || self.try_send(batch, index, most, Self::send_train);
        self.rtp.async_io(Interest::WRITABLE, send).await.unwrap_or(Sent::LOST)
    }

    /// The same without waiting.
    pub(super) fn send_now(&self, batch: &PacketBatch, index: usize, most: usize) -> Sent {
        let send = || self.try_send(batch, index, most, Self::send_train);
        self.rtp.try_io(Interest::WRITABLE, send).unwrap_or(Sent::LOST)
    }

    /// Sends, several at once by `together` where the kernel is known to take them.
    pub(super) fn try_send(
        &self,
        batch: &PacketBatch,
        index: usize,
        most: usize,
        together: impl Fn(&Self, Train, &[IoSlice<'_>]) -> nix::Result<usize>,
    ) -> io::Result<Sent> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        if self.trains.load(Ordering::Relaxed)
            && let Some(train) = batch.train(index, most, &mut slices)
            && train.packets > 1
        {
            match together(self, train, slices.get(..train.slices).unwrap_or_default()) {
                Err(Errno::EAGAIN) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(error) if is_refusal(error) => self.trains.store(false, Ordering::Relaxed),
                Err(_) => return Ok(Sent { packets: train.packets, bytes: 0 }),
                Ok(bytes) => return Ok(Sent { packets: train.packets, bytes }),
            }
        }
        let Some(count) = batch.datagram(index, &mut slices) else { return Ok(Sent::LOST) };
        let slices = slices.get(..count).unwrap_or_default();
        let socket = socket2::SockRef::from(&*self.rtp);
        let bytes = socket.send_to_vectored(slices, &self.to.0.into())?;
        Ok(Sent { packets: 1, bytes })
    }

    fn send_train(&self, train: Train, slices: &[IoSlice<'_>]) -> nix::Result<usize> {
        let size = u16::try_from(train.size).map_err(|_| Errno::EINVAL)?;
        let to = SockaddrStorage::from(self.to.0);
        let cut = [ControlMessage::UdpGsoSegments(&size)];
        sendmsg(self.rtp.as_raw_fd(), slices, &cut, MsgFlags::empty(), Some(&to))
    }

    /// Sends an RTCP packet; lost when the kernel does not take it at once.
    pub(super) fn report(&self, packet: &[u8]) -> usize {
        self.rtcp.try_send_to(packet, self.to.1).unwrap_or(0)
    }

    /// Makes room for a publisher's bursts: a key frame of 4 MiB. Best effort.
    pub(super) fn expect_much(&self) {
        let _ = socket2::SockRef::from(&*self.rtp).set_recv_buffer_size(RECEIVE_BUFFER);
    }

    /// Reads what the client sends; what comes from elsewhere is thrown away. Runs until dropped.
    pub(super) async fn receive(&self, mut take: impl FnMut(Heard, Bytes)) {
        let peer = self.to.0.ip().to_canonical();
        let (mut rtp, mut rtcp) = (BytesMut::new(), BytesMut::new());
        loop {
            for buffer in [&mut rtp, &mut rtcp] {
                // What a stranger sent.
                buffer.clear();
                if buffer.capacity() < DATAGRAM {
                    buffer.reserve(RECEIVE_AT_ONCE);
                }
            }
            let (got, heard, buffer) = tokio::select! {
                got = self.rtp.recv_buf_from(&mut rtp) => (got, Heard::Rtp, &mut rtp),
                got = self.rtcp.recv_buf_from(&mut rtcp) => (got, Heard::Rtcp, &mut rtcp),
            };
            if got.is_ok_and(|(_, from)| from.ip().to_canonical() == peer) {
                take(heard, buffer.split().freeze());
            }
        }
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
