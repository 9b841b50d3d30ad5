//! How the tracks of a run lie beside one another: sender reports, RTP-Info, arrival.
//!
//! The camera's word is only ever used to lay one track beside another, and only as far as it goes
//! with arrival ([`RunClock::align`]): a clock that is wrong, missing, or set while it runs moves no
//! footage.

use tracing::debug;

use super::{
    Flow, Running, State, TrackRun, limits,
    reports::{Report, TOGETHER},
};
use crate::{
    ingest::run_clock::RunClock,
    proto::{
        access_unit::TrackIndex,
        time::{MediaTime, WallSpan, WallTime},
    },
};

impl Flow {
    /// A track that follows the leading one joins the run; `arrived`: the envelope at `ticks`.
    pub(super) fn begin_track(
        &self,
        running: &mut Running,
        at: usize,
        ticks: i64,
        arrived: WallTime,
    ) {
        let Some(state) = self.tracks.get(at) else { return };
        let leading = running.tracks.get(self.leading).and_then(Option::as_ref);
        let beside = leading.and_then(|leading| self.beside(&leading.clock, at, ticks));
        // Later in a session nobody says it any more, but it was so in the run before.
        let wall = beside.unwrap_or(arrived + state.bias);
        let clock = RunClock::aligned(state.timescale, ticks, arrived, wall);
        // Media time 0 of every track is the same moment.
        let zero = clock.ticks(running.started);
        if let Some(place) = running.tracks.get_mut(at) {
            *place = Some(TrackRun::new(clock, zero, state));
        }
    }

    /// Where tick `ticks` of a track stands by the camera's own word of how its tracks lie beside
    /// one another.
    fn beside(&self, leading_clock: &RunClock, at: usize, ticks: i64) -> Option<WallTime> {
        let (leading, track) = (self.tracks.get(self.leading)?, self.tracks.get(at)?);
        if let Some((own, of_leading)) = track.reports.newest().zip(leading.reports.newest()) {
            let since = track.reports.length(ticks.saturating_sub(own.ticks));
            let apart = own.wall + since - of_leading.wall;
            if apart > TOGETHER || apart < WallSpan::ZERO - TOGETHER {
                return None;
            }
            let ticks = of_leading.ticks.saturating_add(leading.reports.ticks(apart));
            return Some(leading_clock.wall(ticks));
        }
        if self.has_rtp_info() {
            let (first, elapsed) = track.first?;
            let (leading_first, leading_elapsed) = leading.first?;
            let span = |ticks: i64| MediaTime::from_ticks(ticks).to_span(track.timescale);
            let since = span(ticks.saturating_sub(first));
            if since > limits::RTP_INFO {
                return None;
            }
            let leading_elapsed = MediaTime::from_ticks(leading_elapsed).to_span(leading.timescale);
            let apart = span(elapsed) + since - leading_elapsed;
            let ticks = MediaTime::from_span(apart, leading.timescale).ticks();
            return Some(leading_clock.wall(leading_first.saturating_add(ticks)));
        }
        None
    }

    /// Without RTP-Info, each track's time begins with its first unit.
    pub(super) fn has_rtp_info(&self) -> bool {
        self.tracks.len() > 1 && self.tracks.iter().any(|t| t.first.is_some_and(|(_, e)| e != 0))
    }

    /// A sender report came: the tracks that follow are led to where they belong.
    pub(super) fn reported(&mut self, track: TrackIndex, ntp: u64, ticks: i64) {
        let report = Report { wall: WallTime::from_ntp(ntp), ticks };
        let reported = track.as_usize();
        let Some(state) = self.tracks.get_mut(reported) else { return };
        if !state.reports.take(report) {
            debug!(track = reported, "the camera's clock was set");
            let others = self.tracks.iter_mut().enumerate().filter(|(at, _)| *at != reported);
            others.for_each(|(_, other)| other.reports.forget());
        }
        self.align(reported);
    }

    fn align(&mut self, reported: usize) {
        let Some(mut running) = self.take_running() else { return };
        for other in (0..self.tracks.len()).filter(|at| *at != self.leading) {
            if reported != other && reported != self.leading {
                continue;
            }
            let ticks = self.tracks.get(other).and_then(|t| t.reports.newest()).map(|r| r.ticks);
            let leading = running.tracks.get(self.leading).and_then(Option::as_ref);
            let wall = match (ticks, leading) {
                (Some(ticks), Some(leading)) => self.beside(&leading.clock, other, ticks),
                _ => None,
            };
            if let (Some(ticks), Some(wall), Some(Some(track))) =
                (ticks, wall, running.tracks.get_mut(other))
                && !track.clock.align(ticks, wall)
            {
                debug!(track = other, "sender reports are not believed");
            }
        }
        self.state = State::Running(running);
    }
}
