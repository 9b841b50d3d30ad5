//! One stream of one camera, supervised.

use std::sync::Arc;

use crate::{
    clock::Clock,
    hub::Channel,
    id::{Role, Slug, StreamId},
    proto::{reason::GapReason, time::WallTime},
    task::{Connects, Stop},
};

use super::{PullTarget, StreamStatus};

/// Where a stream stood when the process before this one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The newest epoch of its footage.
    pub epoch: u32,
    /// Where its newest footage ends. A run that would begin before it begins a new epoch.
    pub footage_end: Option<WallTime>,
    /// Why that footage ended.
    pub ended: GapReason,
}

impl Default for Resume {
    /// A stream without footage.
    fn default() -> Self {
        Self { epoch: 0, footage_end: None, ended: GapReason::Starting }
    }
}

/// Everything it takes to keep one stream flowing into the hub.
#[derive(Debug)]
pub struct Puller {
    /// Whose units.
    pub stream: StreamId,
    /// For logs.
    pub camera: Slug,
    /// For logs.
    pub role: Role,
    /// From where.
    pub target: PullTarget,
    /// To where.
    pub channel: Arc<Channel>,
    /// Says how it goes.
    pub status: Arc<StreamStatus>,
    /// The recorder's clock.
    pub clock: Clock,
    /// Shared by all pullers of the process.
    pub connects: Connects,
    /// What went before.
    pub resume: Resume,
}

impl Puller {
    /// Pulls until `stop`, however often the camera fails. Returns when the last attempt has ended
    /// its run and said TEARDOWN; spawn it into a `TaskTracker` or `JoinSet`.
    pub async fn run(self, stop: Stop) {
        let _ = stop;
        todo!()
    }
}
