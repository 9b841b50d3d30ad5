//! How fast footage is played: `Scale` and `Speed`.
//!
//! Three lines of time run beside each other, and two factors lead from one to the next:
//!
//! ```text
//! footage ── ÷ scale ──▶ presentation (RTP time) ── ÷ speed ──▶ real (when it is sent)
//! ```
//!
//! Without rate control footage goes out as fast as it is taken, with the times it was filmed at.
//!
//! A negative scale makes footage run backwards while the other two go on.

use crate::proto::{rtsp::server::Manner, time::WallSpan};

mod limits {
    /// Least and most of `Scale`, either way.
    pub(super) const SCALE: (f64, f64) = (0.25, 32.0);
    /// Least and most of `Speed`.
    pub(super) const SPEED: (f64, f64) = (0.1, 10.0);
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    scale: f64,
    speed: f64,
    /// As fast as the player reads.
    free: bool,
}

impl Pace {
    pub(super) const NORMAL: Self = Self { scale: 1.0, speed: 1.0, free: false };

    /// What a PLAY that asks for `manner` makes of it; `goes_on` when it names no place.
    pub(super) fn after(self, manner: &Manner, goes_on: bool) -> Self {
        let unsaid = if goes_on { self } else { Self::NORMAL };
        let scale = manner.scale.map_or(unsaid.scale, |scale| {
            scale.abs().clamp(limits::SCALE.0, limits::SCALE.1).copysign(scale)
        });
        let speed = manner
            .speed
            .map_or(unsaid.speed, |speed| speed.clamp(limits::SPEED.0, limits::SPEED.1));
        if manner.rate_control.map_or(unsaid.free, |paced| !paced) {
            return Self { scale: 1.0_f64.copysign(scale), speed: 1.0, free: true };
        }
        Self { scale, speed, free: false }
    }

    /// Whether nothing is waited for.
    pub(super) const fn is_free(self) -> bool {
        self.free
    }

    pub(super) const fn scale(self) -> f64 {
        self.scale
    }

    pub(super) const fn speed(self) -> f64 {
        self.speed
    }

    /// Whether it comes nearer to what is being filmed.
    pub(super) fn catches_up(self) -> bool {
        !self.free && self.scale * self.speed > 1.0
    }

    pub(super) fn is_backward(self) -> bool {
        self.scale < 0.0
    }

    /// Footage as presentation time.
    pub(super) fn presented(self, footage: WallSpan) -> WallSpan {
        if self.free { footage } else { scaled(footage, 1.0 / self.scale) }
    }

    /// Footage as real time.
    pub(super) fn real(self, footage: WallSpan) -> WallSpan {
        scaled(footage, 1.0 / (self.scale * self.speed))
    }

    /// Real time as footage.
    pub(super) fn footage(self, real: WallSpan) -> WallSpan {
        scaled(real, self.scale * self.speed)
    }

    /// Real time as presentation time.
    pub(super) fn shown(self, real: WallSpan) -> WallSpan {
        scaled(real, self.speed)
    }

    /// Ticks of footage as ticks of presentation time.
    pub(super) fn ticks(self, footage: i64) -> i64 {
        if self.scale == 1.0 || self.free {
            footage
        } else {
            (footage as f64 / self.scale).round() as i64
        }
    }
}

/// Exact where nothing is scaled.
fn scaled(span: WallSpan, by: f64) -> WallSpan {
    if by == 1.0 {
        return span;
    }
    WallSpan::from_micros((span.as_micros() as f64 * by).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(scale: Option<f64>, speed: Option<f64>) -> Manner {
        Manner { scale, speed, ..Manner::default() }
    }

    #[test]
    fn scale_and_speed_are_held_to_their_bounds() {
        let after = |scale, speed| Pace::NORMAL.after(&asked(scale, speed), true);
        assert_eq!(after(Some(64.0), Some(64.0)), Pace { scale: 32.0, speed: 10.0, free: false });
        assert_eq!(after(Some(-64.0), Some(0.01)), Pace { scale: -32.0, speed: 0.1, free: false });
        assert_eq!(after(Some(-0.1), None), Pace { scale: -0.25, speed: 1.0, free: false });
    }

    #[test]
    fn what_goes_on_keeps_its_pace_and_a_seek_is_normal_again() {
        let fast = Pace { scale: 8.0, speed: 2.0, free: false };
        assert_eq!(fast.after(&asked(None, None), true), fast);
        assert_eq!(fast.after(&asked(None, None), false), Pace::NORMAL);
        assert_eq!(fast.after(&asked(Some(2.0), None), true), Pace { scale: 2.0, ..fast });
        let free = Manner { rate_control: Some(false), ..asked(Some(-4.0), Some(4.0)) };
        assert_eq!(fast.after(&free, true), Pace { scale: -1.0, speed: 1.0, free: true });
    }

    proptest! {
        #[test]
        fn real_time_and_footage_lead_back_to_each_other(
            scale in prop_oneof![-32.0_f64..-0.25, 0.25_f64..32.0],
            speed in 0.1_f64..10.0,
            footage in -86_400_000_000_i64..86_400_000_000,
        ) {
            let pace = Pace { scale, speed, free: false };
            let footage = WallSpan::from_micros(footage);
            let back = pace.footage(pace.real(footage)) - footage;
            prop_assert!(back.as_micros().abs() <= 200, "{back:?}");
            let shown = pace.shown(pace.real(footage)) - pace.presented(footage);
            prop_assert!(shown.as_micros().abs() <= 10, "{shown:?}");
        }
    }
}
