//! Watchdogs and measurements.

use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use super::{Flow, PullError, State, limits};
use crate::ingest::pace::Pace;

impl Flow {
    /// To be called twice a second: watchdogs, measurements, units held back.
    ///
    /// # Errors
    ///
    /// When a watchdog ends the session.
    pub(in crate::ingest) fn tick(&mut self, now: Instant) -> Result<(), PullError> {
        self.settle_when_due(now)?;
        let bits = self.meter.bits_per_second(now);
        let Some(leading) = self.tracks.get(self.leading) else {
            return Err(PullError::Internal("a session without tracks".to_owned()));
        };
        self.out.status.measured(leading.pace.rate(), bits);

        let (since, limit) = match leading.last_seen {
            None => (self.idle_since, limits::FIRST_UNIT),
            Some(seen) => (seen, patience(&leading.pace)),
        };
        let silence = now.saturating_duration_since(since);
        if silence > limit {
            return Err(match self.broken.take() {
                Some(detail) => PullError::Protocol { detail },
                None => PullError::Stalled { silence },
            });
        }
        if matches!(self.state, State::Idle) {
            let idle = now.saturating_duration_since(self.idle_since);
            let unknown = leading.parameters.is_none();
            match self.last_end.take() {
                Some(error) if idle > limits::NEXT_KEY_FRAME => return Err(error),
                last_end => self.last_end = last_end,
            }
            if unknown && idle > limits::PARAMETERS {
                return Err(PullError::NoParameters { within: limits::PARAMETERS });
            }
            if idle > limits::KEY_FRAME {
                let detail = format!("no key frame within {} s", limits::KEY_FRAME.as_secs());
                return Err(PullError::Protocol { detail });
            }
        }
        self.watch_other_tracks(now);
        Ok(())
    }

    fn watch_other_tracks(&mut self, now: Instant) {
        if !self.is_running() {
            return;
        }
        let leading = self.leading;
        for at in (0..self.tracks.len()).filter(|at| *at != leading) {
            let Some(track) = self.tracks.get(at) else { continue };
            let since = track.last_seen.unwrap_or(self.idle_since);
            if now.saturating_duration_since(since) > patience(&track.pace) {
                self.fell_silent(at);
            }
        }
    }

    /// A track beside the leading one sends no more; told once.
    pub(super) fn fell_silent(&mut self, at: usize) {
        let Some(track) = self.tracks.get_mut(at) else { return };
        if !track.muted && !std::mem::replace(&mut track.silent, true) {
            info!(track = at, "fell silent");
            self.out.status.silence(true);
        }
    }
}

/// How long a track may be silent.
fn patience(pace: &Pace) -> Duration {
    pace.median().map_or(limits::SILENCE, |median| (median * 10).max(limits::SILENCE))
}
