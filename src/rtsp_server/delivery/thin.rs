//! Which units are sent when footage runs faster than it was filmed.
//!
//! * Pictures: all of them up to [`limits::ALL`] times as fast; beyond, key frames. Players throw
//!   away pictures that are far apart, so where key frames are shown less often than every
//!   [`limits::APART`], the pictures behind each are sent too, until the next is that near.
//! * Sound: every n-th unit, so that they follow each other about as they were filmed. VLC stands
//!   still when a track that is set up falls silent.

use std::collections::BTreeMap;

use super::pace::Pace;
use crate::{
    proto::{
        access_unit::{Track, TrackIndex},
        time::WallSpan,
    },
    rtsp_server::footage::Item,
};

mod limits {
    use crate::proto::time::WallSpan;

    /// The fastest at which every picture is sent.
    pub(super) const ALL: f64 = 8.0;
    /// Presentation time between two pictures, at most.
    pub(super) const APART: WallSpan = WallSpan::from_millis(400);
}

#[derive(Debug)]
pub(super) struct Thin {
    pace: Pace,
    tracks: BTreeMap<TrackIndex, State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// The last key frame and how far behind the one before it.
    key: Option<WallSpan>,
    group: Option<WallSpan>,
    /// A picture was left out since: the next to send is a key frame.
    broken: bool,
    /// Sound: parts of a unit that are owed.
    credit: f64,
}

impl Thin {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, tracks: BTreeMap::new() }
    }

    /// The footage goes on at another pace. What was left out stays left out.
    pub(super) fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// Whether the pictures that come next hang on one that was left out.
    pub(super) fn is_broken(&self) -> bool {
        self.tracks.values().any(|state| state.broken)
    }

    /// Whether a unit is to be sent.
    pub(super) fn keeps(&mut self, item: &Item, track: &Track) -> bool {
        if self.pace.is_free() {
            return true;
        }
        let scale = self.pace.scale();
        let state = self.tracks.entry(item.unit.track).or_default();
        if !track.parameters.is_video() {
            // The first one goes out whatever is owed.
            state.credit = if state.key.replace(item.at).is_none() { 1.0 } else { state.credit };
            let owed = state.credit >= 1.0 - 1e-9;
            state.credit += 1.0 / scale.abs().max(1.0) - if owed { 1.0 } else { 0.0 };
            return owed;
        }
        if self.pace.is_backward() {
            // It is chosen where it is read.
            return true;
        }
        if item.unit.random_access {
            state.group = state.key.map(|before| item.at - before);
            (state.key, state.broken) = (Some(item.at), false);
            return true;
        }
        if state.broken {
            return false;
        }
        if scale.abs() <= limits::ALL {
            return true;
        }
        // Groups are mostly as long as the one before; of the first all is sent.
        let near = match (state.key, state.group) {
            (Some(key), Some(group)) => {
                let next = self.pace.presented(group - (item.at - key));
                next <= limits::APART
            }
            _ => false,
        };
        state.broken = near;
        !near
    }
}
