//! What an operator may set, and the bounds nobody may pass.

use std::{
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

/// Settings of the RTSP server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// RTSPS on a listener of its own; `None` is off.
    pub tls: Option<Tls>,
    /// Ports for RTP and RTCP over UDP, taken in pairs that begin with an even one; `None`
    /// answers UDP with 461, so that players turn to TCP.
    pub udp_ports: Option<RangeInclusive<u16>>,
    /// Live footage by multicast; `None` answers it with 461.
    pub multicast: Option<Multicast>,
    /// Connections in all.
    pub max_connections: usize,
    /// Connections from one address.
    pub max_connections_per_address: usize,
    /// What `Session: …;timeout=` says.
    pub session_timeout: Duration,
    /// Largest RTP packet, bytes (RTSP.md 24: fits an MTU of 1,500 on UDP).
    pub max_packet: usize,
    /// How long DESCRIBE of a live stream waits for the camera's first parameters.
    pub describe_wait: Duration,
}

/// Where live footage goes by multicast: a group a stream, a pair of ports a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multicast {
    /// The first group; the others follow it.
    pub first: Ipv4Addr,
    /// Groups, and so streams sent at a time.
    pub groups: u32,
    /// RTP of track 0: even. RTCP is one above, the next track's pair above that.
    pub port: u16,
    /// Routers that packets may pass, plus one: 1 stays on the network.
    pub ttl: u8,
    /// Address of the interface to send by; unspecified: the system's choice.
    pub interface: Ipv4Addr,
}

/// RTSPS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Certificate and those it was issued by, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8554)),
            tls: None,
            udp_ports: Some(20_000..=20_999),
            multicast: None,
            max_connections: 512,
            max_connections_per_address: 64,
            session_timeout: Duration::from_secs(60),
            max_packet: 1_452,
            describe_wait: Duration::from_secs(5),
        }
    }
}
