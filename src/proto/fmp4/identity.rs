//! The identity box: from these alone the index is built again.

use crate::proto::time::{MediaTime, WallTime};

/// What a segment file says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// This segment.
    pub segment: i64,
    /// Its camera.
    pub camera: i64,
    /// Its stream.
    pub stream: i64,
    /// Its run.
    pub run: i64,
    /// Counts steps back of the recorder's clock.
    pub epoch: u32,
    /// Place in the run, from 0.
    pub sequence: u32,
    /// What people call the camera.
    pub slug: String,
    /// The stream's role: `main`, `sub`.
    pub role: String,
    /// When the segment begins on the recorder's clock.
    pub start: WallTime,
    /// Code of what the run's times rest on.
    pub clock_source: u8,
    /// Code of why the run before ended.
    pub previous_end: u8,
    /// One for each track, in the order of the file's tracks.
    pub tracks: Vec<TrackStart>,
}

/// How a track of the file joins its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackStart {
    /// Number in the run of the track's first unit in the file.
    pub first_number: u64,
    /// Run time of the file's time 0 on this track. A unit's time in the file is its run DTS minus
    /// this, and never negative. To keep picture and sound in step in any player, it is the same
    /// moment on all tracks: the leading track's first DTS (or less), converted.
    pub first_dts: MediaTime,
}
