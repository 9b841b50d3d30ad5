//! One attempt: connect, let it flow, say good-bye.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::task::{Attempt, Connects, Failure, Stop};

use super::{
    PullError, PullTarget,
    flow::{Flow, Outlet},
    source::Source,
};

/// How often watchdogs look and measurements are taken.
const TICK: Duration = Duration::from_millis(500);

/// Pulls `target` until the attempt is told to stop (`Ok`) or something goes wrong. The run it
/// published ends with the error's reason, or with that of `stop`.
pub(super) async fn pull<S: Source>(
    target: &PullTarget,
    context: &S::Context,
    connects: &Connects,
    outlet: Outlet,
    attempt: &Attempt,
    stop: &Stop,
    remember: impl Fn(&S),
) -> Result<(), PullError> {
    outlet.memory.attempt_begins();
    let connect = async {
        // Held until PLAY is answered: a handshake is what costs.
        let _permit = connects.permit().await;
        S::connect(target, context).await
    };
    let mut source = tokio::select! {
        () = attempt.stop().cancelled() => return Ok(()),
        connected = connect => connected?,
    };
    let mut flow = Flow::new(outlet, source.tracks(), Instant::now());
    let outcome = stream(&mut source, &mut flow, attempt).await;
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
    attempt: &Attempt,
) -> Result<(), PullError> {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut works = false;
    loop {
        tokio::select! {
            biased;
            () = attempt.stop().cancelled() => return Ok(()),
            // Before the source: a flood of audio must not keep the watchdog of video asleep.
            now = tick.tick() => flow.tick(now)?,
            event = source.next() => match event {
                Some(event) => flow.event(event?)?,
                None => return Err(PullError::Disconnected { detail: None }),
            },
        }
        if !works && flow.is_running() {
            attempt.works();
            works = true;
        }
    }
}
