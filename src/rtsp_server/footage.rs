//! What a session plays, live or recorded, behind one face: units in order.

use std::sync::Arc;

use super::counters::{Counters, DropReason};
use crate::{
    hub::{self, Channel, Event, Run, Subscription},
    id::RunId,
    playback::{Archive, Clip, Direction, PlaybackError, Reader, Target},
    proto::{
        access_unit::{AccessUnit, Tracks},
        time::{WallSpan, WallTime},
    },
};

use super::directory::StreamRef;

/// What a URL turned out to be.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) stream: StreamRef,
    /// As described: their places and codecs are what the player was told.
    pub(super) tracks: Tracks,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Live(Arc<Channel>),
    Recorded(Archive, Arc<Clip>),
    #[cfg(test)]
    Scripted(Arc<super::tests::script::Script>),
}

/// A unit in its place.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) run: Arc<Run>,
    pub(super) unit: Arc<AccessUnit>,
    /// When it is presented, on a line of its own: npt of recordings, wall time of live units.
    pub(super) at: WallSpan,
    /// The line it stands on has a break before it.
    pub(super) fresh: bool,
}

/// Where units come from.
#[derive(Debug)]
pub(super) enum Feed {
    Live {
        units: Subscription,
        run: Option<RunId>,
        counters: Arc<Counters>,
    },
    Recorded(Box<Reader>),
    #[cfg(test)]
    Scripted(super::tests::script::Reader),
}

impl Kind {
    pub(super) const fn is_live(&self) -> bool {
        matches!(self, Self::Live(_))
    }

    pub(super) fn feed(&self, counters: &Arc<Counters>) -> Feed {
        match self {
            Self::Live(channel) => Feed::Live {
                units: channel.subscribe(hub::Start::KeyFrame),
                run: None,
                counters: Arc::clone(counters),
            },
            Self::Recorded(archive, clip) => {
                Feed::Recorded(Box::new(archive.reader(Arc::clone(clip))))
            }
            #[cfg(test)]
            Self::Scripted(script) => Feed::Scripted(script.reader()),
        }
    }

    /// npt and wall time of the end as known, for recordings.
    pub(super) fn end(&self) -> Option<(WallSpan, WallTime)> {
        match self {
            Self::Live(_) => None,
            Self::Recorded(_, clip) => Some((clip.duration(), clip.end())),
            #[cfg(test)]
            Self::Scripted(script) => Some(script.end()),
        }
    }

    /// Whether a recording goes on beyond its end as known.
    pub(super) fn is_open_ended(&self) -> bool {
        match self {
            Self::Live(_) => true,
            Self::Recorded(_, clip) => clip.is_open_ended(),
            #[cfg(test)]
            Self::Scripted(_) => false,
        }
    }

    /// `target` on both clocks of a recording.
    pub(super) fn both(&self, target: Target) -> Option<(WallSpan, WallTime)> {
        match self {
            Self::Live(_) => None,
            Self::Recorded(_, clip) => Some(match target {
                Target::Npt(npt) => (npt.min(clip.duration()), clip.npt_to_wall(npt)),
                Target::Wall(wall) => (clip.wall_to_npt(wall), wall.min(clip.end())),
            }),
            #[cfg(test)]
            Self::Scripted(script) => Some(script.both(target)),
        }
    }
}

impl Feed {
    /// Moves to the key frame at or before `target`, and says where that is; `None` when there is
    /// nothing left. Live has one place only.
    pub(super) async fn seek(
        &mut self,
        target: Target,
        direction: Direction,
    ) -> Result<Option<WallSpan>, PlaybackError> {
        match self {
            Self::Live { .. } => Ok(Some(WallSpan::ZERO)),
            Self::Recorded(reader) => Ok(reader.seek(target, direction).await?.map(|l| l.npt)),
            #[cfg(test)]
            Self::Scripted(reader) => Ok(Some(reader.seek(target))),
        }
    }

    pub(super) fn set_end(&mut self, end: Target) {
        match self {
            Self::Live { .. } => {}
            Self::Recorded(reader) => reader.set_end(Some(end)),
            #[cfg(test)]
            Self::Scripted(reader) => reader.set_end(end),
        }
    }

    /// Whether all there is was delivered, and units come as they are filmed.
    pub(super) fn is_at_the_edge(&self) -> bool {
        match self {
            Self::Live { .. } => true,
            Self::Recorded(reader) => reader.is_live(),
            #[cfg(test)]
            Self::Scripted(_) => false,
        }
    }

    /// Lets go of what need not be held while nothing is played.
    pub(super) fn rest(&mut self) {
        if let Self::Recorded(reader) = self {
            reader.rest();
        }
    }

    /// The next unit; `None` at the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<Item>, PlaybackError> {
        match self {
            Self::Live { units, run: current, counters } => loop {
                match units.next().await {
                    None => return Ok(None),
                    Some(Event::Ended { .. }) => {}
                    Some(Event::Lagged { units }) => {
                        counters.count_dropped(DropReason::SlowClient, units);
                    }
                    Some(Event::Unit { run, unit, .. }) => {
                        let fresh = current.replace(run.id) != Some(run.id);
                        let at = WallSpan::from_micros(unit.wall.as_micros());
                        return Ok(Some(Item { run, unit, at, fresh }));
                    }
                }
            },
            Self::Recorded(reader) => Ok(reader.next().await?.map(|played| Item {
                run: played.run,
                unit: played.unit,
                at: played.npt,
                fresh: played.discontinuity,
            })),
            #[cfg(test)]
            Self::Scripted(reader) => Ok(reader.next().await),
        }
    }
}
