//! One stream of one camera, supervised.

use std::sync::Arc;

use tracing::{Instrument, info_span};

use crate::{
    clock::Clock,
    hub::Channel,
    id::{Role, Slug, StreamId},
    proto::{reason::GapReason, time::WallTime},
    task::{Connects, Policy, Stop, supervise},
};

use super::{
    PullTarget, StreamStatus, attempt,
    flow::Outlet,
    memory::Memory,
    rtsp::{
        RtspContext, RtspSource,
        publish::{Open, Published},
    },
};

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

/// Where a stream comes from.
#[derive(Debug)]
pub enum Landing {
    /// We call the camera.
    Pull(PullTarget),
    /// It calls us, and lands here.
    Publish(Open),
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
    pub from: Landing,
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
        let span = info_span!("pull", camera = %self.camera, stream = %self.role);
        self.supervised(stop).instrument(span).await;
    }

    async fn supervised(self, stop: Stop) {
        let Self { stream, from, channel, status, clock, connects, resume, .. } = self;
        let health = status.health().clone();
        let memory = Arc::new(Memory::new(resume));
        let outlet = Outlet { stream, channel, clock: clock.clone(), status, memory };
        let target = match from {
            Landing::Pull(target) => Arc::new(target),
            Landing::Publish(open) => return receive(&open, outlet, stop).await,
        };
        // Sessions outlive attempts: the next one waits for the last one's TEARDOWN.
        let context = RtspContext::new(clock);
        let token = stop.token().clone();
        supervise(Policy::CAMERA, health, token, move |attempt| {
            let (target, outlet, stop) = (Arc::clone(&target), outlet.clone(), stop.clone());
            let (connects, memory) = (connects.clone(), Arc::clone(&outlet.memory));
            let context = context.with_remembered(memory.parameters());
            async move {
                let remember = |source: &RtspSource| memory.remember(source.parameters());
                attempt::pull::<RtspSource>(
                    &target, &context, &connects, outlet, &attempt, &stop, remember,
                )
                .await
            }
        })
        .await;
    }
}

/// Takes in whoever publishes, one after the other, until `stop`.
async fn receive(open: &Open, outlet: Outlet, stop: Stop) {
    let health = outlet.status.health().clone();
    let token = stop.token().clone();
    supervise(Policy::PUBLISHER, health, token, move |attempt| {
        let (berth, outlet, stop) = (open.berth(), outlet.clone(), stop.clone());
        async move {
            outlet.memory.attempt_begins();
            outlet.status.waits_for_a_publisher(true);
            let arrival = attempt.stop().run_until_cancelled(berth.arrival()).await;
            outlet.status.waits_for_a_publisher(false);
            let Some(intake) = arrival else { return Ok(()) };
            let source = Published::new(intake, outlet.clock.clone())?;
            let (memory, hurry) = (Arc::clone(&outlet.memory), outlet.channel.hurry());
            let remember = |source: &Published| memory.remember(source.parameters());
            attempt::take_in(source, outlet, hurry, &attempt, &stop, remember).await
        }
    })
    .await;
}
