//! From a `Range` header to what is wished for, and from what will be played to the header that
//! says so, in the unit the client asked in.
//!
//! # A clock that begins in 1900
//!
//! GStreamer's `onvif-mode` always asks by the clock, but counts its positions from the first
//! `a=range` of the SDP, which is npt (see [`sdp`](crate::proto::rtsp::sdp)): it asks for the tenth
//! second as ten seconds past 1900, where NTP time begins. Nothing was filmed then, so a range that
//! lies there counts from the recording's start. The answer tells the true time, as the packets do. To
//! a client that requires ONVIF's replay it is a range without footage.

use super::{manner::Manner, session::Unit};
use crate::proto::{
    rtsp::headers::{ClockRange, HeaderError, Npt, NptRange, Range},
    time::{WallSpan, WallTime},
};

/// Where NTP time begins: 1900-01-01T00:00:00Z.
const PRIME_EPOCH: WallTime = WallTime::from_micros(-2_208_988_800_000_000);
/// 1970-01-01T00:00:00Z. No footage is older.
const UNIX_EPOCH: WallTime = WallTime::from_micros(0);

/// A point on a recording's timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot {
    /// In recorded time since the clip's start.
    Npt(WallSpan),
    /// In wall time.
    Wall(WallTime),
    /// The live edge.
    Now,
}

/// What a PLAY asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wish {
    /// Begin here; `None`: go on at the very unit where it stopped (at the start the first time).
    pub start: Option<Spot>,
    /// Stop here; `None`: at the end.
    pub end: Option<Spot>,
    /// How.
    pub manner: Manner,
}

/// What will be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What the camera sends from now on.
    Live {
        /// Wall time now, for a client that asked in `clock=`.
        now: WallTime,
    },
    /// Footage.
    Recorded {
        /// From the true start of the first picture to the end, in recorded time.
        npt: (WallSpan, WallSpan),
        /// The same in wall time.
        wall: (WallTime, WallTime),
    },
}

/// Why a `Range` cannot be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RangeError {
    /// 400.
    Malformed,
    /// A unit we do not have: 501 (RFC 2326 §12.29).
    Unit,
    /// Backwards without a negative Scale: 457.
    Backwards,
}

impl From<HeaderError> for RangeError {
    fn from(_: HeaderError) -> Self {
        Self::Malformed
    }
}

/// Reads a `Range` header; `manner` says whether it may run backwards.
pub(super) fn wish(
    header: Option<&str>,
    manner: Manner,
) -> Result<(Wish, Option<Unit>), RangeError> {
    let unsaid = Wish { manner, ..Wish::default() };
    let Some(header) = header else { return Ok((unsaid, None)) };
    let backward = manner.is_backward() == Some(true);
    // RFC 2326 §12.29 lets `time=` stand behind a `;`, and GStreamer sends it alone, too.
    if header.trim_start().get(..5).is_some_and(|head| head.eq_ignore_ascii_case("time=")) {
        return Ok((unsaid, None));
    }
    match Range::parse(header)? {
        Range::Npt(NptRange { start, end }) => {
            if let (Some(Npt::At(a)), Some(Npt::At(b))) = (start, end)
                && b < a
                && !backward
            {
                return Err(RangeError::Backwards);
            }
            let spot = |npt| match npt {
                Npt::Now => Spot::Now,
                Npt::At(at) => Spot::Npt(at),
            };
            // `npt=a-now` ends where the recording does, which is what no end says.
            let end = end.map(spot).filter(|end| *end != Spot::Now);
            Ok((Wish { start: start.map(spot), end, manner }, Some(Unit::Npt)))
        }
        Range::Clock(ClockRange { start, end }) => {
            if matches!((start, end), (Some(a), Some(b)) if b < a && !backward) {
                return Err(RangeError::Backwards);
            }
            let required = manner.replay.is_some_and(|replay| replay.required);
            if !required && start.iter().chain(&end).all(|at| *at < UNIX_EPOCH) {
                let spot = |at: WallTime| Spot::Npt((at - PRIME_EPOCH).max(WallSpan::ZERO));
                let (start, end) = (start.map(spot), end.map(spot));
                return Ok((Wish { start, end, manner }, Some(Unit::Clock)));
            }
            let (start, end) = (start.map(Spot::Wall), end.map(Spot::Wall));
            let wish = Wish { start, end, manner };
            Ok((wish, Some(Unit::Clock)))
        }
        Range::Unsupported => Err(RangeError::Unit),
    }
}

/// The `Range` of an answer.
pub(super) fn told(extent: Extent, unit: Unit) -> Range {
    match (extent, unit) {
        (Extent::Live { .. }, Unit::Npt) => {
            Range::Npt(NptRange { start: Some(Npt::Now), end: None })
        }
        (Extent::Live { now }, Unit::Clock) => {
            Range::Clock(ClockRange { start: Some(now), end: None })
        }
        (Extent::Recorded { npt: (a, b), .. }, Unit::Npt) => {
            Range::Npt(NptRange { start: Some(Npt::At(a)), end: Some(Npt::At(b)) })
        }
        (Extent::Recorded { wall: (a, b), .. }, Unit::Clock) => {
            Range::Clock(ClockRange { start: Some(a), end: Some(b) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(header: Option<&str>) -> Result<(Wish, Option<Unit>), RangeError> {
        super::wish(header, Manner::default())
    }

    fn ends(start: Option<Spot>, end: Option<Spot>) -> Wish {
        Wish { start, end, ..Wish::default() }
    }

    fn npt(seconds: i64) -> Spot {
        Spot::Npt(WallSpan::from_secs(seconds))
    }

    #[test]
    fn the_ranges_players_send_are_understood() {
        let asked = |header| wish(Some(header)).unwrap().0;
        assert_eq!(asked("npt=0.000-"), ends(Some(npt(0)), None));
        assert_eq!(asked("npt=60-120"), ends(Some(npt(60)), Some(npt(120))));
        assert_eq!(asked("npt=0:01:00-"), ends(Some(npt(60)), None));
        assert_eq!(asked("npt=now-"), ends(Some(Spot::Now), None));
        assert_eq!(asked("npt=5-now"), ends(Some(npt(5)), None));
        assert_eq!(asked("npt=-20"), ends(None, Some(npt(20))));
        assert_eq!(asked("time=20261122T100000Z"), Wish::default());
        assert_eq!(wish(None), Ok((Wish::default(), None)));
        let (clock, unit) = wish(Some("clock=20261122T100000Z-20261122T110000.5Z")).unwrap();
        assert_eq!(unit, Some(Unit::Clock));
        assert_eq!(clock.start, Some(Spot::Wall(WallTime::from_micros(1_795_341_600_000_000))));
    }

    #[test]
    fn a_range_may_run_backwards_with_a_negative_scale() {
        let manner = Manner { scale: Some(-1.0), ..Manner::default() };
        for header in ["npt=80-0", "clock=20261122T110000Z-20261122T100000Z"] {
            assert!(super::wish(Some(header), manner).is_ok(), "{header}");
            assert_eq!(wish(Some(header)), Err(RangeError::Backwards));
        }
        let (wish, _) = super::wish(Some("npt=80-0"), manner).unwrap();
        assert_eq!((wish.start, wish.end), (Some(npt(80)), Some(npt(0))));
    }

    #[test]
    fn a_clock_of_1900_counts_from_the_start() {
        let asked = "clock=19000101T000005Z-19000101T000044.520447Z";
        let end = Spot::Npt(WallSpan::from_micros(44_520_447));
        let (counted, unit) = wish(Some(asked)).unwrap();
        assert_eq!((counted, unit), (ends(Some(npt(5)), Some(end)), Some(Unit::Clock)));
        let (ever, _) = wish(Some("clock=19000101T000000Z-20991231T000000Z")).unwrap();
        assert!(matches!(ever.start, Some(Spot::Wall(_))), "all there ever was");
        let replay = Some(crate::proto::rtsp::server::Replay { required: true, cseq: 1 });
        let manner = Manner { replay, ..Manner::default() };
        let (wish, _) = super::wish(Some(asked), manner).unwrap();
        assert!(matches!(wish.start, Some(Spot::Wall(_))), "it knows what it asks for");
    }

    #[test]
    fn what_cannot_be_played_is_told_apart() {
        assert_eq!(wish(Some("npt=80-0")), Err(RangeError::Backwards));
        assert_eq!(wish(Some("smpte=0:10:00-")), Err(RangeError::Unit));
        assert_eq!(wish(Some("npt=x-")), Err(RangeError::Malformed));
    }
}
