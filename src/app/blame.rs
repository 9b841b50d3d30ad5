//! Whose fault missing footage is. A gap begins with the reason that ended the run before it. Where
//! that was ours (a start, a change, a restart) it passes when we are back; a camera that then cannot
//! be had must not stand in the timeline as hours of `vedette_down`, nor a new one with a wrong
//! password as `starting` for ever. So the first attempt that fails without a unit turns the gap,
//! from when that attempt began. The camera's first reason stays until it sends again.
//!
//! A camera that publishes is not called, so no attempt fails while it stays away: after
//! [`PATIENCE`] the gap is `unreachable` from when it could have come. One that came and left has
//! its gap already, with how it left.

use std::{future::pending, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::{
    clock::Clock,
    id::StreamId,
    ingest::StreamStatus,
    proto::{reason::GapReason, time::WallSpan},
    store::Store,
    task::Health,
};

/// A publisher that is there comes within so long: encoders try again every few seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Watches the attempts of a stream that is recorded, for as long as it has a status.
pub(super) async fn camera(
    stream: StreamId,
    status: Arc<StreamStatus>,
    store: Store,
    clock: Clock,
) {
    let mut health = status.health().subscribe();
    let mut absent = status.absent();
    let units = || status.snapshot(&clock).units;
    let expected = Instant::now();
    let mut began = expected;
    let mut before = units();
    // The gap has the camera's reason already.
    let mut told = false;
    // When a publisher's absence was last looked at.
    let mut looked = None;
    let turn = async |since: Instant, reason: GapReason| {
        let at = clock.now() - WallSpan::from(since.elapsed());
        let from = GapReason::is_of_the_recorder;
        match store.turn_gap(stream, at, reason, from).await {
            // No gap yet: the recorder's first row is on its way. The next failure.
            Ok(reason) => reason.is_some_and(|r| !from(r)),
            Err(error) => {
                tracing::warn!(%error, "note why the camera is missing");
                false
            }
        }
    };
    loop {
        let seen = health.borrow_and_update().clone();
        match seen {
            Health::Starting { since, .. } => began = since,
            Health::BackingOff { last, .. } => {
                let now = units();
                // An attempt that sent something ended a run, and that began the gap.
                if std::mem::replace(&mut before, now) != now {
                    told = false;
                } else if !told {
                    told = turn(began, last.reason).await;
                }
            }
            Health::Working { .. } | Health::Stopped { .. } => {}
        }
        let since = absent.borrow_and_update().filter(|_| !told).map(|at| at.max(expected));
        let patience = async {
            let Some(since) = since else { return pending().await };
            sleep_until(looked.unwrap_or(since).max(since) + PATIENCE).await;
            since
        };
        tokio::select! {
            changed = health.changed() => if changed.is_err() { return },
            changed = absent.changed() => if changed.is_err() { return },
            since = patience => {
                looked = Some(Instant::now());
                told = turn(since, GapReason::Unreachable).await;
            }
        }
    }
}

#[cfg(test)]
#[path = "blame_tests.rs"]
mod tests;
