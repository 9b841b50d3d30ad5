//! RTP (RFC 3550): access units into packets, packets into frames, and what goes beside them.
//!
//! ```text
//! AccessUnit ──▶ Sender ──▶ packetizer ──▶ PacketBatch ──▶ one writev, or one sendmsg a packet
//!                ssrc, seq,  (a codec's     headers here, payload
//!                counters     RFC)          slices of the unit's Bytes
//!
//! packet ──▶ Receiver ──▶ Depacketizer ──▶ Frame
//!            order, loss,  (a codec's       one copy, out of the packets
//!            time, RTCP     RFC)
//! ```
//!
//! Going out, payload is never copied: a [`batch::PacketBatch`] holds the few bytes of every packet's headers
//! in one buffer, and beside it slices of the unit.

pub mod batch;
pub mod depacketize;
pub mod extension;
pub mod packet;
pub mod packetize;
pub mod receive;
pub mod rtcp;
pub mod sender;

pub use batch::{Cursor, PacketBatch, Train};
pub use depacketize::{Depacketizer, Frame};
pub use extension::Replayed;
pub use packet::{Header, Packet, PacketError};
pub use packetize::{PacketizeError, Packetizer};
pub use receive::{Received, Receiver};
pub use sender::{Sender, Settings};

/// Bounds on packets, in bytes from the first of the RTP header to the last of the payload.
pub mod limits {
    /// The most on UDP: an Ethernet frame of 1,500 without IPv6 (40) and UDP (8).
    pub const UDP_PACKET: usize = 1_452;
    /// The most on the RTSP connection: what an interleaved frame's length can say.
    pub const TCP_PACKET: usize = 65_535;
    /// What one system call may send over UDP: the kernel takes it for one datagram until it cuts it.
    pub const TRAIN: usize = 65_000;
    /// The least that may be asked for: headers must fit with some payload beside them.
    pub const LEAST_PACKET: usize = 64;
}
