//! What a session is held to.

use std::time::Duration;

use crate::proto::time::WallSpan;

/// How long the first units of a run are held back.
pub(super) const SETTLE: Duration = Duration::from_millis(300);
/// And how many bytes of them at most: they reach the hub in one go, whose ring has to hold
/// them until the recorder has looked.
pub(super) const SETTLE_BYTES: usize = 4 << 20;
/// For the first video after PLAY.
pub(super) const FIRST_UNIT: Duration = Duration::from_secs(10);
/// Silence of video that ends an attempt, at least; else ten times its median interval.
pub(super) const SILENCE: Duration = Duration::from_secs(5);
/// For parameter sets that do not stand in the description.
pub(super) const PARAMETERS: Duration = Duration::from_secs(10);
/// For the first key frame. "Smart" codecs send one every 20 s or so.
pub(super) const KEY_FRAME: Duration = Duration::from_secs(60);
/// For a key frame after a run ended in mid-session; then a new session gets one.
pub(super) const NEXT_KEY_FRAME: Duration = Duration::from_secs(3);
/// Video lost to the network beyond this is a gap.
pub(super) const HOLE_US: i64 = 1_000_000;
/// A media clock that steps back further than any reordering has jumped.
pub(super) const BACKWARD_US: i64 = 2_000_000;
/// A machine that was asleep for longer was down.
pub(super) const NAP: WallSpan = WallSpan::from_secs(1);
/// How long after a session's beginning RTP-Info still says how its tracks lie: two clocks that
/// are 1 % apart have come apart by a tenth of a second by then.
pub(super) const RTP_INFO: WallSpan = WallSpan::from_secs(10);
/// A track beside the leading one that breaks runs this often is left out of the session.
pub(super) const FAULTS: u32 = 3;
