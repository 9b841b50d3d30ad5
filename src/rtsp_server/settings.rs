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
            max_connections: 512,
            max_connections_per_address: 64,
            session_timeout: Duration::from_secs(60),
            max_packet: 1_452,
            describe_wait: Duration::from_secs(5),
        }
    }
}
