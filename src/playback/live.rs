//! The live edge: going on from files with what only the hub holds, and back when a reader lags.
//!
//! # Why nothing is lost or doubled at the seam
//!
//! A unit can be read from disk or is still in the hub's ring (within the ring's bounds), and it
//! leaves the ring only after it can be read. So the reader subscribes at the ring's oldest unit
//! first, then reads from disk what it can, and only then listens: what left the ring before the
//! subscription was on disk by then, and what the disk gave is known by its number and passed over.

use std::{sync::Arc, time::Duration};

use super::{
    archive::same_decoders,
    find::Place,
    reader::{Beyond, Played, Playing, Reader, SLACK, Stage},
    timeline::Piece,
};
use crate::{
    hub::{Event, Run, Start},
    proto::{
        access_unit::AccessUnit,
        time::{MediaTime, WallSpan, WallTime},
    },
};

/// Where to look again on disk before a unit that came from the hub: segments begin and end on the
/// recorder's clock, and within them a unit's time is reckoned from the camera's.
const MARGIN: WallSpan = WallSpan::from_secs(2);
/// A bounded range whose end has come ends this much later when the camera sends nothing.
const PATIENCE: WallSpan = WallSpan::from_secs(2);

impl Reader {
    /// Everything on disk was delivered. The first time it subscribes, and the disk is looked at
    /// once more; the second time it is live.
    pub(super) fn at_edge(&mut self) {
        if !self.clip.frozen.open_ended {
            self.stage = Stage::Ended;
        } else if self.live.is_some() {
            self.stage = Stage::Live;
        } else {
            let channel = self.archive.hub().channel(self.clip.stream());
            self.live = Some(channel.subscribe(Start::Oldest));
        }
    }

    /// Waits for the next event of the hub. Cancel-safe.
    pub(super) async fn listen(&mut self) -> Option<Played> {
        let patience = self.patience();
        let Some(hub) = &mut self.live else {
            self.back_to_disk();
            return None;
        };
        let event = match patience {
            None => hub.next().await,
            Some(patience) => tokio::time::timeout(patience, hub.next()).await.unwrap_or_default(),
        };
        match event {
            Some(Event::Unit { run, unit, .. }) => return self.take_live(run, unit),
            Some(Event::Ended { run, .. }) => {
                let ours = self.playing.as_ref().is_some_and(|p| p.live == run && p.at == self.at);
                if ours && self.at + 1 == self.map.len() {
                    self.map.close(self.reached);
                }
            }
            Some(Event::Lagged { .. }) => self.back_to_disk(),
            None => self.stage = Stage::Ended,
        }
        None
    }

    /// How long to wait for a unit at most; for ever where the range has no end.
    fn patience(&self) -> Option<Duration> {
        let until = self.clip.frozen.until;
        let end = self.end.map(|npt| self.map.npt_to_wall(npt)).into_iter().chain(until).min()?;
        Some((end + PATIENCE - self.archive.clock().now()).to_duration())
    }

    /// Lets go of the hub and looks on disk again, from where each track stands.
    pub(super) fn back_to_disk(&mut self) {
        self.live = None;
        let standing = self.tracks.iter().filter_map(|t| t.last_wall).min();
        let start = self.map.get(self.at).map(|s| s.start);
        let from = match &self.playing {
            Some(playing) if playing.at == self.at => {
                let from = standing.or_else(|| self.tracks.first().map(|t| t.not_before));
                from.map(|from| from - MARGIN).or(start)
            }
            _ => start,
        };
        self.stage = Stage::Find(Place::at(from.unwrap_or_default()));
    }

    fn take_live(&mut self, run: Arc<Run>, unit: Arc<AccessUnit>) -> Option<Played> {
        self.tracks.get(unit.track.as_usize())?;
        let stretch = self.map.get(self.at).copied()?;
        let at = self.at;
        let same = self.playing.as_mut().filter(|p| p.at == at && p.live == run.id);
        if let Some(playing) = same {
            if !Arc::ptr_eq(&playing.run, &run) {
                if !same_decoders(self.clip.tracks(), &run.tracks) {
                    self.stage = Stage::Ended;
                    return None;
                }
                playing.run = Arc::clone(&run);
                playing.recorded = run.id;
            }
        } else {
            // Another run: an older one that is still in the ring, or the next.
            let (epoch, floor) = match &self.playing {
                Some(playing) if playing.at == at => {
                    let leading = self.tracks.get(self.leading.as_usize())?;
                    (playing.epoch, leading.last_wall.unwrap_or(leading.not_before) + SLACK)
                }
                _ => (stretch.epoch, stretch.start - SLACK),
            };
            let newer = run.epoch > epoch || (run.epoch == epoch && unit.wall > floor);
            if !newer || unit.track != self.leading || !unit.random_access {
                return None;
            }
            if !same_decoders(self.clip.tracks(), &run.tracks) {
                self.stage = Stage::Ended;
                return None;
            }
            self.enter_live(&run, &unit);
        }
        if !self.wants(unit.track, unit.number, unit.wall, unit.random_access) {
            return None;
        }
        let timescale = run.tracks.get(unit.track.as_usize()).map(|t| t.timescale)?;
        let reorder = MediaTime::from_ticks(i64::from(unit.cts)).to_span(timescale);
        match self.beyond(unit.track, unit.wall - reorder) {
            Beyond::No => {}
            Beyond::ThisTrack => return None,
            Beyond::AllDone => {
                self.finish();
                return None;
            }
        }
        // How long it is shown is not known before the next one comes: as long as the one before.
        let before = self.tracks.get(unit.track.as_usize()).and_then(|t| t.last_wall);
        let length = before.map_or(WallSpan::ZERO, |before| unit.wall - before);
        let end = unit.wall + length.clamp(WallSpan::ZERO, WallSpan::from_secs(1));
        Some(self.deliver(run, unit, end))
    }

    /// A run begins that was not played yet, at this key frame.
    fn enter_live(&mut self, run: &Arc<Run>, key: &AccessUnit) {
        let known = self.map.get(self.at).is_some_and(|s| {
            self.at + 1 == self.map.len()
                && s.epoch == run.epoch
                && s.end.is_none()
                && key.wall + SLACK > s.start
        });
        let fresh = self.playing.as_ref().is_none_or(|p| p.at != self.at);
        if !(known && fresh) {
            let start = key.wall;
            let piece = Piece { epoch: run.epoch, start, end: None, cut: false };
            self.map.append(&piece, self.reached_in_last());
            self.at = self.map.len().saturating_sub(1);
        }
        let playing = Playing {
            at: self.at,
            run: Arc::clone(run),
            recorded: run.id,
            live: run.id,
            epoch: run.epoch,
        };
        self.begin(playing, key.wall, key.number);
    }

    pub(super) fn reached_in_last(&self) -> WallTime {
        if self.at + 1 == self.map.len() { self.reached } else { self.map.last().start }
    }
}
