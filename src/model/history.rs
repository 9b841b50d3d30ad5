//! What happened, and who did it. Both are pruned by age.

use std::{fmt, str::FromStr};

use crate::{
    id::{AuditId, CameraId, EventId, StreamId},
    proto::time::WallTime,
};

/// Something that happened to the recorder, for people to read later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its id; ids grow with time.
    pub id: EventId,
    /// When.
    pub at: WallTime,
    /// What kind of thing.
    pub kind: EventKind,
    /// Of which camera; it may be gone.
    pub camera: Option<CameraId>,
    /// Of which stream; it may be gone.
    pub stream: Option<StreamId>,
    /// The rest in a sentence, without secrets.
    pub detail: String,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What kind of thing an [`Event`] is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum EventKind {
            $($(#[$doc])* $variant,)*
        }

        impl EventKind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Snake case: row, API, metric label.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        impl FromStr for EventKind {
            type Err = std::convert::Infallible;

            /// A name of a later version is [`EventKind::Other`].
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                Ok(match s { $($name => Self::$variant,)* _ => Self::Other })
            }
        }
    };
}

kinds! {
    /// The recorder started.
    Started = "started",
    /// It is stopping in order.
    Stopping = "stopping",
    /// A camera's stream sends.
    CameraConnected = "camera_connected",
    /// A camera's stream cannot be had; why stands in the detail.
    CameraDisconnected = "camera_disconnected",
    /// A stream is no longer recorded though it sends: the disk, or a mistake of ours.
    RecordingLost = "recording_lost",
    /// A stream is recorded again.
    RecordingBack = "recording_back",
    /// A volume can no longer be used.
    VolumeLost = "volume_lost",
    /// A volume can be used again.
    VolumeBack = "volume_back",
    /// No room, and nothing that may be deleted: recording pauses.
    DiskFull = "disk_full",
    /// There is room again.
    DiskRoom = "disk_room",
    /// A disk was too slow: groups of pictures were shed.
    Overload = "overload",
    /// A lease was broken to make room.
    LeaseBroken = "lease_broken",
    /// Limits cannot be kept: what is left is locked.
    LimitsNotKept = "limits_not_kept",
    /// The recorder's clock stepped.
    ClockStep = "clock_step",
    /// The machine slept: nothing was recorded meanwhile.
    Slept = "slept",
    /// Deletion by age is held: the clock may be wrong.
    AgeHold = "age_hold",
    /// Deletion by age goes on.
    AgeHoldOver = "age_hold_over",
    /// The index cannot be written.
    IndexTrouble = "index_trouble",
    /// The index is written again.
    IndexBack = "index_back",
    /// The index was unusable, or gone; one that is unusable is kept aside.
    IndexLost = "index_lost",
    /// It was made anew from the files.
    IndexRebuilt = "index_rebuilt",
    /// An administrator had another disk take the place of a volume.
    VolumeReplaced = "volume_replaced",
    /// More happened than could be noted; how much stands in the detail.
    EventsDropped = "events_dropped",
    /// A kind that this version does not know.
    Other = "other",
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a person or a device put on a camera's timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its id; ids grow with time.
    pub id: EventId,
    /// On which camera's.
    pub camera: CameraId,
    /// Where it begins.
    pub start: WallTime,
    /// Where it ends; `None`: it is a moment.
    pub end: Option<WallTime>,
    /// What it is, its maker's word.
    pub kind: String,
    /// More about it.
    pub note: String,
    /// Who says so.
    pub source: String,
}

/// A change that somebody made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Its id; ids grow with time.
    pub id: AuditId,
    /// When.
    pub at: WallTime,
    /// Whose login.
    pub who: String,
    /// Address of the client; `None`: the command line, or the recorder itself.
    pub origin: Option<String>,
    /// What: `camera.delete`, `lock.create` …
    pub action: String,
    /// To what: a slug or an id; empty for the recorder as a whole.
    pub target: String,
    /// The rest in a sentence, without secrets.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_again_by_name_and_a_later_one_is_some_other() {
        for &kind in EventKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert_eq!("of the year 2040".parse(), Ok(EventKind::Other));
    }
}
