//! A run begins: from what was held back, or not at all.

use tokio::time::Instant;
use tracing::{debug, info};

use super::{Flow, PullError, Running, State, TrackRun, TrackState};
use crate::{
    hub::{ClockSource, Run},
    id::RunId,
    ingest::{memory::Place, run_clock::RunClock, source::SourceUnit, unit::Heads},
    proto::{
        access_unit::{Track, Tracks},
        codec::reorder::DtsFromPts,
        time::{MediaTime, Timescale, WallTime},
    },
};

impl Flow {
    pub(super) fn settle_when_due(&mut self, now: Instant) -> Result<(), PullError> {
        match &self.state {
            State::Settling { until, .. } if now >= *until => self.settle(),
            _ => Ok(()),
        }
    }

    /// Begins the run with what was held back.
    pub(super) fn settle(&mut self) -> Result<(), PullError> {
        let State::Settling { units, .. } = std::mem::replace(&mut self.state, State::Idle) else {
            return Ok(());
        };
        let Some(first) = units.first() else { return Ok(()) };
        let zero = first.ticks;
        let at = units.last().map_or(first.arrival.at, |unit| unit.arrival.at);
        self.apply_coming();
        let Some(leading) = self.tracks.get(self.leading) else { return Ok(()) };
        let started =
            least_wall(&units, self.leading, leading.timescale).unwrap_or(first.arrival.wall);
        let place = self.out.memory.place(started, self.out.clock.now(), at);
        let Place::Here { epoch, later, previous_end } = place else {
            debug!("passed over pictures that are recorded already");
            return Ok(());
        };
        let started = started + later;
        // Where the recorder had to begin one that nobody here knew of.
        let epoch = epoch.max(self.out.channel.least_epoch());
        let tracks = self.current_tracks()?;
        let run = Run {
            id: RunId::generate(&self.out.clock),
            stream: self.out.stream,
            epoch,
            started,
            clock_source: self.clock_source(),
            previous_end,
            tracks,
        };
        let id = run.id;
        self.out.status.tracks(&run.tracks);
        let publisher = self.out.channel.publish(run).map_err(|_| PullError::AlreadyPublishing)?;
        self.out.memory.run_begins(epoch, started, self.steady.map(|s| s.moment()));
        self.out.status.run_began();
        info!(run = %id, epoch, %started, after = %previous_end, "run begins");
        let mut running =
            Running { publisher, started, tracks: self.tracks.iter().map(|_| None).collect() };
        if let (Some(place), Some(state)) =
            (running.tracks.get_mut(self.leading), self.tracks.get(self.leading))
        {
            let clock = RunClock::new(state.timescale, zero, started);
            *place = Some(TrackRun::new(clock, zero, state));
        }
        // The other tracks by the envelope of what was held back of them.
        for other in (0..self.tracks.len()).filter(|at| *at != self.leading) {
            let Some(first) = units.iter().find(|u| u.track.as_usize() == other) else { continue };
            let timescale = self.tracks.get(other).map_or(Timescale::VIDEO, |t| t.timescale);
            let Some(wall) = least_wall(&units, other, timescale) else { continue };
            self.begin_track(&mut running, other, first.ticks, wall);
        }
        self.state = State::Running(Box::new(running));
        self.last_end = None;
        for unit in units {
            let key = self.is_key(&unit);
            if let Err(interrupt) = self.publish(unit, key, true) {
                self.interrupt(interrupt, at);
                break;
            }
        }
        Ok(())
    }

    pub(super) fn is_key(&self, unit: &SourceUnit) -> bool {
        let parameters = self.tracks.get(unit.track.as_usize()).and_then(|t| t.parameters.as_ref());
        parameters.is_some_and(|p| p.is_random_access(&unit.data))
    }

    pub(super) fn apply_coming(&mut self) -> bool {
        let mut changed = false;
        for track in &mut self.tracks {
            if let Some(parameters) = track.coming.take() {
                track.heads = Heads::new(&parameters);
                track.parameters = Some(parameters);
                changed = true;
            }
        }
        changed
    }

    pub(super) fn current_tracks(&self) -> Result<Tracks, PullError> {
        let tracks = self.tracks.iter().map(|track| {
            let parameters = track.parameters.clone()?;
            Some(Track { timescale: track.timescale, parameters })
        });
        let tracks: Option<Vec<_>> = tracks.collect();
        // Sound always has its parameters, and the leading track had them to have a key frame.
        tracks
            .map(Tracks::from)
            .ok_or_else(|| PullError::Internal("a track without parameters".into()))
    }

    fn clock_source(&self) -> ClockSource {
        if self.tracks.len() > 1 && self.tracks.iter().all(|t| t.reports.newest().is_some()) {
            ClockSource::SenderReport
        } else if self.has_rtp_info() {
            ClockSource::RtpInfo
        } else {
            ClockSource::Arrival
        }
    }
}

impl TrackRun {
    pub(super) fn new(clock: RunClock, zero: i64, state: &TrackState) -> Self {
        let dts = state.parameters.as_ref().map_or_else(DtsFromPts::in_order, |parameters| {
            DtsFromPts::of(&Track { timescale: state.timescale, parameters: parameters.clone() })
        });
        Self { clock, zero, dts, number: 0, newest: 0, last_dts: None }
    }
}

/// Wall time of a track's first unit by the lower envelope of all of its units.
fn least_wall(units: &[SourceUnit], track: usize, timescale: Timescale) -> Option<WallTime> {
    let mut units = units.iter().filter(|u| u.track.as_usize() == track).peekable();
    let first = units.peek()?.ticks;
    let walls = units.map(|unit| {
        let since = MediaTime::from_ticks(unit.ticks.saturating_sub(first)).to_span(timescale);
        unit.arrival.wall - since
    });
    walls.min()
}
