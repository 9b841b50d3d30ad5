//! Bounds of a session, as far as they are about sockets. Those of the talk are
//! [`client::limits`](crate::proto::rtsp::client::limits), those of frames
//! [`depacketize::limits`](crate::proto::rtp::depacketize::limits).

use std::time::Duration;

/// For the TCP handshake.
pub(super) const CONNECT: Duration = Duration::from_secs(2);
/// For the TLS handshake; small processors take their time.
pub(super) const TLS: Duration = Duration::from_secs(5);
/// For all of a good-bye: TEARDOWN may be asked for its login first.
pub(super) const GOOD_BYE: Duration = Duration::from_secs(3);
/// What is read at once, bytes.
pub(super) const READ: usize = 64 << 10;
/// A read is not begun into less room than this, bytes.
pub(super) const ROOM: usize = 8 << 10;
/// Bytes a camera has not taken yet. One that lets more gather has stopped reading.
pub(super) const UNSENT: usize = 256 << 10;
/// Beyond this no more reports are written, bytes.
pub(super) const UNSENT_REPORTS: usize = 16 << 10;
/// Interleaved frames that come before PLAY is answered, and their bytes; more are passed over.
pub(super) const EARLY: (usize, usize) = (512, 1 << 20);
/// Between receiver reports (RFC 3550 §6.2).
pub(super) const REPORTS: Duration = Duration::from_secs(5);
/// Receiver reports that ask for a key frame where none comes: a camera that heard none of so many
/// does not know what they ask.
pub(super) const KEY_WISHES: u8 = 6;
/// For the first datagram of a session over UDP, RTP or RTCP. Shorter than the watchdog of media:
/// a camera that sends anything at all has shown that the way is open.
pub(super) const UDP: Duration = Duration::from_secs(5);
/// How long it is remembered that UDP stayed silent.
pub(super) const UDP_REMEMBERED: Duration = Duration::from_secs(600);
/// After an RTCP BYE, for another source to take over: encoders say good-bye when they restart, and
/// over UDP the last packets may come behind it.
pub(super) const GOOD_BYE_OF_TRACK: Duration = Duration::from_secs(1);
/// What the kernel is asked to hold of a burst over UDP, bytes: a key frame of 4 MiB.
pub(super) const RECEIVE_BUFFER: usize = 4 << 20;
/// The longest datagram taken, bytes.
pub(super) const DATAGRAM: usize = 16 << 10;
/// Datagrams taken from one socket before others have their turn.
pub(super) const DATAGRAMS: usize = 64;
/// Pairs of ports tried before we say that there are none.
pub(super) const PORTS: usize = 64;
