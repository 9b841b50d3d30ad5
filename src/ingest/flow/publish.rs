//! One unit into the run that is open. The hot path.

use std::time::Duration;

use super::{Flow, Interrupt, PullError, Running, State, limits};
use crate::{
    ingest::source::SourceUnit,
    proto::{
        access_unit::AccessUnit,
        reason::GapReason,
        time::{MediaTime, WallSpan},
    },
};

impl Flow {
    /// One whole unit into the run. `held`: it was held back, so the clocks know of it.
    pub(super) fn publish(
        &mut self,
        unit: SourceUnit,
        key: bool,
        held: bool,
    ) -> Result<(), Interrupt> {
        let Some(mut running) = self.take_running() else { return Ok(()) };
        let outcome = self.publish_into(&mut running, unit, key, held);
        self.state = State::Running(running);
        outcome
    }

    fn publish_into(
        &mut self,
        running: &mut Running,
        unit: SourceUnit,
        key: bool,
        held: bool,
    ) -> Result<(), Interrupt> {
        let at = unit.track.as_usize();
        let leading = at == self.leading;
        if running.tracks.get(at).is_some_and(Option::is_none) {
            self.begin_track(running, at, unit.ticks, unit.arrival.wall);
        }
        let Some(Some(track)) = running.tracks.get_mut(at) else { return Ok(()) };
        let Some(state) = self.tracks.get_mut(at) else { return Ok(()) };
        let us = |ticks: i64| MediaTime::from_ticks(ticks).to_span(state.timescale).as_micros();

        let pts = unit.ticks.saturating_sub(track.zero);
        let ahead = us(pts.saturating_sub(track.newest));
        if -ahead > limits::BACKWARD_US {
            return Err(Interrupt::clock(
                at,
                format!("stepped back by {:.1} s", -ahead as f64 / 1e6),
            ));
        }
        if leading && unit.lost > 0 && ahead > limits::HOLE_US {
            let usual = state.pace.median().unwrap_or_default();
            let hole = Duration::from_micros(ahead.unsigned_abs()).saturating_sub(usual);
            // A camera of one picture a second loses a second with every picture.
            if hole > usual.mul_f64(1.5).max(Duration::from_micros(limits::HOLE_US.unsigned_abs()))
            {
                let error = PullError::PacketLoss { hole };
                return Err(Interrupt { error, reason: GapReason::PacketLoss, track: at });
            }
        }
        if held {
            track.clock.settled(unit.ticks);
        } else {
            track.clock.observe(unit.ticks, unit.arrival.wall).map_err(|fault| (at, fault))?;
        }
        if pts < 0 {
            // From before the run's first picture: sound, or a picture that refers to what came
            // before it.
            return Ok(());
        }
        let stamp = track
            .dts
            .push(MediaTime::from_ticks(pts))
            .map_err(|jump| Interrupt::clock(at, jump.to_string()))?;
        if let Some(last) = track.last_dts.replace(stamp.dts.ticks()) {
            state.pace.push(us(stamp.dts.ticks().saturating_sub(last)));
        }
        track.newest = track.newest.max(pts);

        if key && leading && self.apply_coming() {
            let tracks = self.current_tracks().map_err(|error| Interrupt {
                error,
                reason: GapReason::Internal,
                track: at,
            })?;
            self.out.status.tracks(&tracks);
            running.publisher.set_tracks(tracks);
        }
        let Some(state) = self.tracks.get_mut(at) else { return Ok(()) };
        let Some(parameters) = &state.parameters else { return Ok(()) };
        let (head, body) = if key {
            state.heads.split(parameters, unit.data)
        } else {
            (bytes::Bytes::new(), unit.data)
        };
        let wall = track.clock.wall(unit.ticks);
        let unit = AccessUnit {
            track: unit.track,
            number: track.number,
            dts: stamp.dts,
            cts: stamp.cts,
            wall,
            random_access: key,
            head,
            body,
        };
        track.number += 1;
        self.out.status.unit(unit.len(), self.arrived);
        if leading {
            let length = state.pace.median().unwrap_or(Duration::ZERO);
            self.out.memory.reaches(wall + WallSpan::from(length));
        }
        running.publisher.push(unit);
        Ok(())
    }
}
