//! Whose fault missing footage is. A gap begins with the reason that ended the run before it. Where
//! that was ours (a start, a change, a restart) it passes when we are back; a camera that then cannot
//! be had must not stand in the timeline as hours of `vedette_down`, nor a new one with a wrong
//! password as `starting` for ever. So the first attempt that fails without a unit turns the gap,
//! from when that attempt began. The camera's first reason stays until it sends again.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    clock::Clock,
    id::StreamId,
    ingest::StreamStatus,
    proto::{reason::GapReason, time::WallSpan},
    store::Store,
    task::Health,
};

/// Watches the attempts of a stream that is recorded, for as long as it has a status.
pub(super) async fn camera(
    stream: StreamId,
    status: Arc<StreamStatus>,
    store: Store,
    clock: Clock,
) {
    let mut health = status.health().subscribe();
    let units = || status.snapshot(&clock).units;
    let mut began = Instant::now();
    let mut before = units();
    // The gap has the camera's reason already.
    let mut told = false;
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
                    let at = clock.now() - WallSpan::from(began.elapsed());
                    let from = GapReason::is_of_the_recorder;
                    match store.turn_gap(stream, at, last.reason, from).await {
                        // No gap yet: the recorder's first row is on its way. The next failure.
                        Ok(reason) => told = reason.is_some_and(|r| !from(r)),
                        Err(error) => tracing::warn!(%error, "note why the camera is missing"),
                    }
                }
            }
            Health::Working { .. } | Health::Stopped { .. } => {}
        }
        if health.changed().await.is_err() {
            return;
        }
    }
}
