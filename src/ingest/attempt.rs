//! One attempt: connect, let it flow, say good-bye.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    hub::{Channel, Hurry},
    task::{Attempt, Connects, Failure, Stop},
};

use super::{
    PullError, PullTarget,
    flow::{Flow, Outlet},
    source::{Dial, Source, SourceEvent},
};

/// How often watchdogs look and measurements are taken.
const TICK: Duration = Duration::from_millis(500);

/// What came at once is taken at once, up to so many events; then the watchdogs get their turn.
const AT_ONCE: usize = 64;

/// A run is so old when units may gather before they are fetched: until then each arrival counts
/// for its clock ([`run_clock`](super::run_clock)'s first windows).
const STEADY: Duration = Duration::from_secs(6);

/// Pulls `target` until the attempt is told to stop (`Ok`) or something goes wrong. The run it
/// published ends with the error's reason, or with that of `stop`.
pub(super) async fn pull<S: Dial>(
    target: &PullTarget,
    context: &S::Context,
    connects: &Connects,
    outlet: Outlet,
    attempt: &Attempt,
    stop: &Stop,
    remember: impl Fn(&S),
) -> Result<(), PullError> {
    outlet.memory.attempt_begins();
    let channel = Arc::clone(&outlet.channel);
    // A handshake waits at each step.
    let hurry = channel.hurry();
    let connect = async {
        // Held until PLAY is answered: a handshake is what costs.
        let _permit = connects.permit().await;
        S::connect(target, context).await
    };
    let source = tokio::select! {
        () = attempt.stop().cancelled() => return Ok(()),
        connected = connect => connected?,
    };
    take_in(source, outlet, hurry, attempt, stop, remember).await
}

/// Takes up what `source` sends until the attempt is told to stop or something goes wrong.
pub(super) async fn take_in<S: Source>(
    mut source: S,
    outlet: Outlet,
    hurry: Hurry,
    attempt: &Attempt,
    stop: &Stop,
    remember: impl Fn(&S),
) -> Result<(), PullError> {
    let channel = Arc::clone(&outlet.channel);
    let mut flow = Flow::new(outlet, source.tracks(), Instant::now());
    let outcome = stream(&mut source, &mut flow, &channel, hurry, attempt).await;
    let _hurry = channel.hurry();
    let reason = outcome.as_ref().map_or_else(Failure::reason, |()| stop.reason());
    flow.end(reason, Instant::now());
    remember(&source);
    source.close().await;
    outcome
}

/// Until it is told to stop, or the session is of no more use.
async fn stream<S: Source>(
    source: &mut S,
    flow: &mut Flow,
    channel: &Arc<Channel>,
    hurry: Hurry,
    attempt: &Attempt,
) -> Result<(), PullError> {
    let mut hurry = Some(hurry);
    let mut running_since = None;
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut works = false;
    loop {
        tokio::select! {
            biased;
            () = attempt.stop().cancelled() => return Ok(()),
            // Before the source: a flood of audio must not keep the watchdog of video asleep.
            now = tick.tick() => {
                flow.tick(now)?;
                let steady = running_since.is_some_and(|since| now - since >= STEADY);
                hurry = match hurry {
                    _ if steady && !source.is_urgent() => None,
                    None => Some(channel.hurry()),
                    kept => kept,
                };
            }
            event = source.next() => {
                take(event, flow)?;
                for _ in 1..AT_ONCE {
                    let Some(event) = at_once(source).await else { break };
                    take(event, flow)?;
                }
            }
        }
        if !flow.is_running() {
            running_since = None;
        } else if running_since.is_none() {
            running_since = Some(Instant::now());
            if !std::mem::replace(&mut works, true) {
                attempt.works();
            }
        }
    }
}

type Next = Option<Result<SourceEvent, PullError>>;

fn take(event: Next, flow: &mut Flow) -> Result<(), PullError> {
    match event {
        Some(event) => flow.event(event?),
        None => Err(PullError::Disconnected { detail: None }),
    }
}

/// The next event if it is there already. The caller goes on to wait for the source, for what this
/// leaves behind is a waker of this poll.
async fn at_once<S: Source>(source: &mut S) -> Option<Next> {
    let mut next = pin!(source.next());
    poll_fn(|context| {
        Poll::Ready(match next.as_mut().poll(context) {
            Poll::Ready(event) => Some(event),
            Poll::Pending => None,
        })
    })
    .await
}
