//! From a unit's place in its footage to when it is sent and which RTP time it bears.
//!
//! Three lines of time:
//!
//! * **footage** (`at`): npt of a recording, wall time of a live unit; jumps with seeks and gaps.
//! * **playing** (`Duration` since the session began): real time, never jumps. A recorded unit is
//!   sent when playing time reaches its place; a live one when it comes.
//! * **RTP time**, one a track: runs with playing time from PLAY to PLAY, and between two PLAYs in
//!   the camera's own ticks, exactly, so that rounding never shows in a player's sound. (With a
//!   `Scale` in the camera's ticks divided by it.)
//!
//! # Invariants
//!
//! * RTP time goes on over seeks, pauses and gaps: where the footage jumps, it moves on as far as
//!   playing time did since the track's last unit, and at least by one tick.
//! * When a unit is due is reckoned from one anchor, so nothing adds up over hours.
//! * A player that takes nothing for a while (mpv's pause) does not get the footage it let pass in
//!   one heap: playing time stands still for as long ([`late`]), and with it RTP time and what
//!   sender reports tie to it. ffmpeg reckons a picture's time from the reports, so an hour in them
//!   that is not in RTP time would be an hour in the picture's.

use std::time::Duration;

use super::pace::Pace;
use crate::{
    id::RunId,
    proto::{
        access_unit::AccessUnit,
        time::{MediaTime, Timescale, WallSpan},
    },
};

/// What is late by more than this was not waited for.
const LATE: WallSpan = WallSpan::from_secs(2);

/// Ties footage to playing time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchor {
    /// A place in the footage, by decoding time,
    at: WallSpan,
    /// and the playing time it is due at.
    due: WallSpan,
    /// How fast the one runs against the other.
    pace: Pace,
}

impl Anchor {
    pub(super) const fn new(at: WallSpan, due: WallSpan, pace: Pace) -> Self {
        Self { at, due, pace }
    }

    /// Playing time of a place in the footage.
    pub(super) fn due(&self, at: WallSpan) -> WallSpan {
        self.due + self.pace.real(at - self.at)
    }

    /// Begins now: what was due while the answer was on its way is not late.
    pub(super) fn release(&mut self, now: WallSpan) {
        self.due = self.due.max(now);
    }
}

/// How long a player has slept when what was `due` is sent `now`: nothing where it is merely late.
pub(super) fn late(due: WallSpan, now: WallSpan) -> Option<WallSpan> {
    let late = now - due;
    (late > LATE).then_some(late)
}

/// Decoding time of a unit on the footage's line.
pub(super) fn decoded_at(unit: &AccessUnit, at: WallSpan, timescale: Timescale) -> WallSpan {
    at - MediaTime::from_ticks(i64::from(unit.cts)).to_span(timescale)
}

/// Playing time as a span, for sums with footage.
pub(super) fn playing(elapsed: Duration) -> WallSpan {
    WallSpan::from(elapsed)
}

/// One track's RTP time.
#[derive(Clone, Copy, Debug)]
pub(super) struct RtpLine {
    timescale: Timescale,
    first: u32,
    /// The newest unit presented: RTP time, footage, playing time.
    last: Option<Point>,
    stretch: Stretch,
    pace: Pace,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    timestamp: u32,
    playing: WallSpan,
}

#[derive(Clone, Copy, Debug)]
enum Stretch {
    /// The next unit goes on where playing time is by then.
    Broken,
    /// The next unit's RTP time was told, not knowing what unit it will be.
    Promised { timestamp: u32 },
    /// Footage at `at` has this RTP time; no unit was sent since.
    Told { timestamp: u32, at: WallSpan },
    /// In a run's own ticks.
    Run { run: RunId, media: MediaTime, timestamp: u32 },
}

impl RtpLine {
    /// `first`: RTP time of playing time 0, random.
    pub(super) const fn new(timescale: Timescale, first: u32) -> Self {
        Self { timescale, first, last: None, stretch: Stretch::Broken, pace: Pace::NORMAL }
    }

    /// How fast what is told of from now on runs.
    pub(super) fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// Another PLAY begins `now`. Without rate control playing time has run ahead, and so it has where
    /// a group of pictures was sent that is shown from its end.
    pub(super) fn arrive(&mut self, now: WallSpan) {
        let (free, backward) = (self.pace.is_free(), self.pace.is_backward());
        if let Some(last) =
            self.last.as_mut().filter(|last| free || (backward && last.playing > now))
        {
            last.playing = now;
        }
    }

    /// Footage at `at` will be played at `playing` (a PLAY): its RTP time, for RTP-Info too.
    pub(super) fn begin(&mut self, at: WallSpan, playing: WallSpan) -> u32 {
        let timestamp = self.timestamp_at(playing);
        self.stretch = Stretch::Told { timestamp, at };
        timestamp
    }

    /// The same where no unit is known yet; [`Self::settle`] says later where the footage begins.
    pub(super) fn promise(&mut self, playing: WallSpan) -> u32 {
        let timestamp = self.timestamp_at(playing);
        self.stretch = Stretch::Promised { timestamp };
        timestamp
    }

    /// Footage further on by `jump` is played where what was told of would have been.
    pub(super) fn skip(&mut self, jump: WallSpan) {
        if let Stretch::Told { at, .. } = &mut self.stretch {
            *at += jump;
        }
    }

    /// Keeps a promise: the footage that plays first is at `at`.
    pub(super) fn settle(&mut self, at: WallSpan) {
        if let Stretch::Promised { timestamp } = self.stretch {
            self.stretch = Stretch::Told { timestamp, at };
        }
    }

    /// The footage jumps (a gap), playing time does not.
    pub(super) fn interrupt(&mut self) {
        if let Stretch::Run { .. } = self.stretch {
            self.stretch = Stretch::Broken;
        }
    }

    /// RTP time of a unit if its run simply goes on.
    pub(super) fn continued(&self, run: RunId, unit: &AccessUnit) -> Option<u32> {
        match self.stretch {
            Stretch::Run { run: current, media, timestamp } if current == run => {
                let moved = self.pace.ticks(unit.pts().ticks() - media.ticks());
                Some(timestamp.wrapping_add(moved as u32))
            }
            _ => None,
        }
    }

    /// RTP time of a unit, which then counts as sent.
    pub(super) fn stamp(
        &mut self,
        run: RunId,
        unit: &AccessUnit,
        at: WallSpan,
        playing: WallSpan,
    ) -> u32 {
        let timestamp = self.continued(run, unit).unwrap_or_else(|| {
            let timestamp = match self.stretch {
                Stretch::Run { .. } | Stretch::Broken => self.timestamp_at(playing),
                Stretch::Promised { timestamp } => timestamp,
                Stretch::Told { timestamp, at: told } => {
                    advance(timestamp, self.pace.presented(at - told), self.timescale)
                }
            };
            self.stretch = Stretch::Run { run, media: unit.pts(), timestamp };
            timestamp
        });
        // With B-frames units are presented out of order: reports build on the newest.
        if self.pace.is_free() || self.last.is_none_or(|last| last.playing <= playing) {
            self.last = Some(Point { timestamp, playing });
        }
        timestamp
    }

    /// RTP time of a playing time, as the newest unit has it: for sender reports.
    pub(super) fn timestamp_now(&self, playing: WallSpan) -> u32 {
        match self.last {
            Some(last) => {
                let shown = self.pace.shown(playing - last.playing);
                advance(last.timestamp, shown, self.timescale)
            }
            None => advance(self.first, playing, self.timescale),
        }
    }

    /// Playing time of the newest unit.
    pub(super) fn played(&self) -> Option<WallSpan> {
        self.last.map(|last| last.playing)
    }

    fn timestamp_at(&self, playing: WallSpan) -> u32 {
        match self.last {
            Some(last) => {
                let moved = MediaTime::from_span(playing - last.playing, self.timescale).ticks();
                // Footage that is not paced may run backwards.
                let moved = if self.pace.is_free() { moved } else { moved.max(1) };
                last.timestamp.wrapping_add(moved as u32)
            }
            None => advance(self.first, playing, self.timescale),
        }
    }
}

fn advance(timestamp: u32, by: WallSpan, timescale: Timescale) -> u32 {
    timestamp.wrapping_add(MediaTime::from_span(by, timescale).ticks() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::access_unit::TrackIndex;
    use bytes::Bytes;

    const SECOND: WallSpan = WallSpan::from_secs(1);
    const RUN: RunId = RunId(1);

    fn unit(pts: i64) -> AccessUnit {
        AccessUnit {
            track: TrackIndex(0),
            number: 0,
            dts: MediaTime::from_ticks(pts),
            cts: 0,
            wall: crate::proto::time::WallTime::default(),
            random_access: true,
            head: Bytes::new(),
            body: Bytes::new(),
        }
    }

    fn line() -> RtpLine {
        RtpLine::new(Timescale::VIDEO, 1_000)
    }

    #[test]
    fn what_was_told_is_what_the_first_unit_bears() {
        let mut line = line();
        let told = line.begin(SECOND, SECOND);
        assert_eq!(line.stamp(RUN, &unit(7), SECOND, SECOND), told);
        assert_eq!(line.stamp(RUN, &unit(3_007), SECOND, SECOND), told + 3_000);
    }

    #[test]
    fn a_promise_holds_whatever_unit_comes_first() {
        let mut line = line();
        let told = line.promise(SECOND);
        line.settle(WallSpan::from_secs(50));
        assert_eq!(line.stamp(RUN, &unit(7), WallSpan::from_secs(50), SECOND), told);
    }

    #[test]
    fn rtp_time_goes_on_over_a_seek_as_far_as_time_has() {
        let mut line = line();
        line.begin(WallSpan::ZERO, WallSpan::ZERO);
        let before = line.stamp(RUN, &unit(0), WallSpan::ZERO, WallSpan::ZERO);
        // Half an hour back in the footage, two seconds later.
        let told = line.begin(WallSpan::from_secs(-1_800), SECOND + SECOND);
        assert_eq!(told, before + 180_000);
    }

    #[test]
    fn rtp_time_never_stands_still_even_when_time_does() {
        let mut line = line();
        line.begin(WallSpan::ZERO, SECOND);
        let before = line.stamp(RUN, &unit(0), WallSpan::ZERO, SECOND);
        assert_eq!(line.begin(WallSpan::ZERO, SECOND), before + 1);
        assert_eq!(line.begin(WallSpan::ZERO, WallSpan::ZERO), before + 1);
    }

    #[test]
    fn a_new_run_closes_up_behind_the_one_before() {
        let mut line = line();
        line.begin(WallSpan::ZERO, WallSpan::ZERO);
        let before = line.stamp(RUN, &unit(900_000), WallSpan::ZERO, WallSpan::ZERO);
        line.interrupt();
        let after = line.stamp(RunId(2), &unit(5), SECOND, SECOND);
        assert_eq!(after, before + 90_000);
        assert_eq!(line.stamp(RunId(2), &unit(905), SECOND, SECOND), after + 900);
    }

    #[test]
    fn a_report_tells_the_rtp_time_of_now() {
        let mut line = line();
        line.begin(WallSpan::ZERO, WallSpan::ZERO);
        let stamp = line.stamp(RUN, &unit(0), WallSpan::ZERO, SECOND);
        assert_eq!(line.timestamp_now(SECOND + SECOND), stamp + 90_000);
    }

    #[test]
    fn an_hour_is_due_after_an_hour_to_the_microsecond() {
        let mut anchor = Anchor::new(SECOND, WallSpan::ZERO, Pace::NORMAL);
        anchor.release(SECOND);
        let hour = WallSpan::from_secs(3_600);
        assert_eq!(anchor.due(SECOND + hour), SECOND + hour);
    }

    #[test]
    fn time_a_player_slept_is_not_caught_up_but_a_hiccup_is() {
        assert_eq!(late(SECOND, SECOND + SECOND), None);
        assert_eq!(late(SECOND, WallSpan::from_secs(26)), Some(WallSpan::from_secs(25)));
    }

    #[test]
    fn a_track_told_of_keeps_its_promise_over_footage_that_is_gone() {
        let mut line = line();
        let told = line.begin(SECOND, SECOND);
        line.skip(WallSpan::from_secs(60));
        assert_eq!(line.stamp(RUN, &unit(7), WallSpan::from_secs(61), SECOND), told);
    }
}
