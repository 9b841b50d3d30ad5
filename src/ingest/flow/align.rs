//! How the tracks of a run lie beside one another: sender reports, RTP-Info, arrival.

use tracing::debug;

use super::{Flow, Running, State, TrackRun};
use crate::{
    ingest::run_clock::RunClock,
    proto::time::{MediaTime, WallSpan, WallTime},
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
        let clock = match beside {
            Some(wall) => RunClock::aligned(state.timescale, ticks, arrived, wall),
            None => RunClock::new(state.timescale, ticks, arrived),
        };
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
        let since =
            |from: i64| MediaTime::from_ticks(ticks.saturating_sub(from)).to_span(track.timescale);
        let leading_ticks = |span: WallSpan, from: i64| {
            from.saturating_add(MediaTime::from_span(span, leading.timescale).ticks())
        };
        if let (Some((ntp, report)), Some((leading_ntp, leading_report))) =
            (track.report, leading.report)
        {
            let apart = WallTime::from_ntp(ntp) - WallTime::from_ntp(leading_ntp);
            return Some(leading_clock.wall(leading_ticks(apart + since(report), leading_report)));
        }
        if self.has_rtp_info() {
            let (first, elapsed) = track.first?;
            let (leading_first, leading_elapsed) = leading.first?;
            let elapsed = MediaTime::from_ticks(elapsed).to_span(track.timescale);
            let leading_elapsed = MediaTime::from_ticks(leading_elapsed).to_span(leading.timescale);
            let apart = elapsed + since(first) - leading_elapsed;
            return Some(leading_clock.wall(leading_ticks(apart, leading_first)));
        }
        None
    }

    /// Without RTP-Info, each track's time begins with its first unit.
    pub(super) fn has_rtp_info(&self) -> bool {
        self.tracks.len() > 1 && self.tracks.iter().any(|t| t.first.is_some_and(|(_, e)| e != 0))
    }

    /// A sender report came: the tracks that follow are led to where they belong.
    pub(super) fn align(&mut self, reported: usize) {
        let Some(mut running) = self.take_running() else { return };
        for other in (0..self.tracks.len()).filter(|at| *at != self.leading) {
            if reported != other && reported != self.leading {
                continue;
            }
            let ticks = self.tracks.get(other).and_then(|t| t.report).map(|(_, ticks)| ticks);
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
