//! RTP and RTCP over UDP: one pair of ports a track.
//!
//! # Invariants
//!
//! * What does not come from the camera's address (that of the connection, or the one it named as
//!   `source`) is thrown away.
//! * A burst fits into the kernel's buffer, as far as the system lets us ask for it.
//! * Routers and firewalls in between are opened by a packet of ours on either port, and kept open
//!   by the reports.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use tokio::net::UdpSocket;

use super::limits;

/// A packet that says nothing: RTP, version 2, without a payload.
const NOTHING: [u8; 12] = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// One track's ports.
pub(super) struct Pair {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    ports: (u16, u16),
    /// Where packets may come from.
    from: Vec<IpAddr>,
    /// The camera's ports.
    to: Option<(SocketAddr, SocketAddr)>,
    room: BytesMut,
}

/// What came.
pub(super) enum Datagram {
    Rtp(Bytes),
    Rtcp(Bytes),
}

impl Pair {
    /// Two free ports, the first of them even, on `local`, for packets of `camera`.
    pub(super) fn open(local: IpAddr, camera: IpAddr) -> io::Result<Self> {
        let mut failure = io::Error::from(io::ErrorKind::AddrInUse);
        // Kept until a pair is found, so that the same port is not tried twice.
        let mut tried = Vec::new();
        for _ in 0..limits::PORTS {
            let rtp = bind(SocketAddr::new(local, 0))?;
            let port = rtp.local_addr()?.port();
            let next = port.checked_add(1).filter(|_| port % 2 == 0);
            match next.map(|next| bind(SocketAddr::new(local, next))) {
                Some(Ok(rtcp)) => {
                    let (from, ports) = (vec![camera.to_canonical()], (port, port + 1));
                    let room = BytesMut::new();
                    return Ok(Self { rtp, rtcp, ports, from, to: None, room });
                }
                Some(Err(error)) => failure = error,
                None => {}
            }
            tried.push(rtp);
        }
        Err(failure)
    }

    pub(super) const fn ports(&self) -> (u16, u16) {
        self.ports
    }

    /// The camera's ports are known: makes way for what will come.
    pub(super) fn set_up(
        &mut self,
        camera: IpAddr,
        ports: Option<(u16, u16)>,
        source: Option<&str>,
    ) {
        let source = source.and_then(|source| source.parse::<IpAddr>().ok());
        // `0.0.0.0` is what some write who do not know their address.
        let source = source.filter(|source| !source.is_unspecified() && !source.is_multicast());
        self.from.extend(source.map(|source| source.to_canonical()));
        self.to = ports
            .filter(|&(rtp, rtcp)| rtp != 0 && rtcp != 0)
            .map(|(rtp, rtcp)| (SocketAddr::new(camera, rtp), SocketAddr::new(camera, rtcp)));
        self.knock();
    }

    /// Opens the way for RTP.
    pub(super) fn knock(&self) {
        if let Some((rtp, _)) = self.to {
            let _ = self.rtp.try_send_to(&NOTHING, rtp);
        }
    }

    /// Sends RTCP; lost where it cannot be sent at once.
    pub(super) fn report(&self, packet: &[u8]) {
        if let Some((_, rtcp)) = self.to {
            let _ = self.rtcp.try_send_to(packet, rtcp);
        }
    }

    /// The next datagram of the camera. Cancel-safe.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Datagram> {
        if let Poll::Ready(data) = receive(&self.rtp, &mut self.room, &self.from, context) {
            return Poll::Ready(Datagram::Rtp(data));
        }
        receive(&self.rtcp, &mut self.room, &self.from, context).map(Datagram::Rtcp)
    }
}

fn bind(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(at)?;
    socket.set_nonblocking(true)?;
    // Best effort: the system's limit may be lower.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(limits::RECEIVE_BUFFER);
    UdpSocket::from_std(socket)
}

fn receive(
    socket: &UdpSocket,
    room: &mut BytesMut,
    from: &[IpAddr],
    context: &mut Context<'_>,
) -> Poll<Bytes> {
    for _ in 0..limits::DATAGRAMS {
        if socket.poll_recv_ready(context).is_pending() {
            return Poll::Pending;
        }
        if room.capacity() < limits::DATAGRAM {
            room.reserve(limits::READ);
        }
        match socket.try_recv_buf_from(room) {
            Ok((_, sender)) if from.contains(&sender.ip().to_canonical()) => {
                return Poll::Ready(room.split().freeze());
            }
            Ok(_) => room.clear(),
            // Not ready after all: asked once more, for the waker.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // The other side's "port unreachable" to a packet of ours: of no consequence.
            Err(_) => {}
        }
    }
    // Others flood it; they have had their turn.
    context.waker().wake_by_ref();
    Poll::Pending
}
