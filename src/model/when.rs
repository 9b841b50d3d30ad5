//! When a camera is recorded, beside its [`RecordMode`](super::RecordMode).

use serde::{Deserialize, Serialize};

use super::Schedule;
use crate::proto::time::WallSpan;

/// What the modes `schedule` and `events` need to know. Kept while another mode is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct When {
    /// Hours; there is one where a stream is recorded by schedule.
    pub schedule: Option<Schedule>,
    /// What surrounds events.
    pub events: EventRecording,
}

/// What is kept around an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct EventRecording {
    /// Kinds of events that are recorded; all where none is named.
    pub kinds: Vec<String>,
    /// Kept from before an event, seconds: from the key frame at or before that. What memory holds
    /// of a stream may be less.
    pub before_seconds: u32,
    /// Kept after the last event, seconds.
    pub after_seconds: u32,
}

impl EventRecording {
    /// Longest time before an event: it waits in memory.
    pub const MAX_BEFORE: u32 = 30;
    /// Longest time after one.
    pub const MAX_AFTER: u32 = 3_600;
    /// Most kinds to name.
    pub const MAX_KINDS: usize = 50;

    /// Whether an event of this kind is recorded.
    #[must_use]
    pub fn wants(&self, kind: &str) -> bool {
        self.kinds.is_empty() || self.kinds.iter().any(|k| k == kind)
    }

    /// What is kept from before.
    #[must_use]
    pub fn before(&self) -> WallSpan {
        WallSpan::from_secs(i64::from(self.before_seconds.min(Self::MAX_BEFORE)))
    }

    /// What is kept from after.
    #[must_use]
    pub fn after(&self) -> WallSpan {
        WallSpan::from_secs(i64::from(self.after_seconds.min(Self::MAX_AFTER)))
    }
}

impl Default for EventRecording {
    fn default() -> Self {
        Self { kinds: Vec::new(), before_seconds: 5, after_seconds: 10 }
    }
}
