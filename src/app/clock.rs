//! Keeps watch on the recorder's own clock: ticks the watch, says in the log what it sees, and
//! remembers between two processes what time was believed in.
//!
//! The row is written once a minute and whenever something changed, so that after a power cut the
//! time believed in is at most a minute old. Where it cannot be read, nothing is believed: deletion
//! by age is then held, which a person or a day of uptime ends.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::journal::{Journal, Topic};
use crate::{
    clock::{AgeHold, Believed, Change, Clock},
    id,
    model::EventKind,
    proto::time::{WallSpan, WallTime},
    store::{Store, StoreError},
};

/// Key in the index's table of single values.
const KEY: &str = "clock";
/// How often the clocks are compared.
const TICK: Duration = Duration::from_secs(1);
/// How often what is believed is written: in ticks.
const WRITE: u32 = 60;
/// Steps below this are NTP at its work.
const LOUD: WallSpan = WallSpan::from_millis(500);

/// What is written.
#[derive(Serialize, Deserialize)]
struct Row {
    believed_us: i64,
    /// Where it is missing: what was believed.
    said_us: Option<i64>,
    held: Option<HeldRow>,
}

#[derive(Serialize, Deserialize)]
struct HeldRow {
    since_us: i64,
    uptime_s: u64,
}

impl From<Believed> for Row {
    fn from(believed: Believed) -> Self {
        let held = believed.held.map(|(since, uptime)| HeldRow {
            since_us: since.as_micros(),
            uptime_s: uptime.as_secs(),
        });
        let said_us = Some(believed.said.as_micros());
        Self { believed_us: believed.wall.as_micros(), said_us, held }
    }
}

impl From<Row> for Believed {
    fn from(row: Row) -> Self {
        let held = row
            .held
            .map(|held| (WallTime::from_micros(held.since_us), Duration::from_secs(held.uptime_s)));
        let said = WallTime::from_micros(row.said_us.unwrap_or(row.believed_us));
        Self { wall: WallTime::from_micros(row.believed_us), said, held }
    }
}

/// Begins to watch `clock`, with what the last process believed; an index that says nothing of that
/// with its newest footage.
pub(super) async fn open(store: &Store, clock: &Clock) -> AgeHold {
    let before = match remembered(store).await {
        Ok(before) => before,
        Err(error) => {
            tracing::error!(%error, "cannot read what time it was: nothing is deleted for its age");
            let (wall, said) = (WallTime::default(), WallTime::default());
            Some(Believed { wall, said, held: None })
        }
    };
    if let Some(before) = before {
        id::not_before(before.wall);
    }
    AgeHold::new(clock.clone(), before)
}

async fn remembered(store: &Store) -> Result<Option<Believed>, StoreError> {
    let row = store.meta(KEY).await?;
    if let Some(row) = row.and_then(|text| serde_json::from_str::<Row>(&text).ok()) {
        return Ok(Some(row.into()));
    }
    let mut newest = None;
    for camera in store.cameras().await? {
        for stream in camera.streams {
            let runs = store.runs(stream.id).await?;
            newest = runs.iter().map(|run| run.end.unwrap_or(run.start)).max().max(newest);
        }
    }
    Ok(newest.map(|wall| Believed { wall, said: wall, held: None }))
}

/// Watches until `stop`.
pub(super) async fn run(hold: AgeHold, store: Store, journal: Journal, stop: CancellationToken) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut unwritten = WRITE;
    loop {
        let stopped = tokio::select! {
            () = stop.cancelled() => true,
            _ = tick.tick() => false,
        };
        let changes = hold.tick();
        unwritten = if changes.is_empty() { unwritten.saturating_add(1) } else { WRITE };
        changes.iter().for_each(|change| tell(change, &journal));
        if unwritten >= WRITE || stopped {
            match write(&hold, &store).await {
                Ok(()) => unwritten = 0,
                // Tried again with the next tick.
                Err(error) => tracing::warn!(%error, "cannot write down what time it is"),
            }
        }
        if stopped {
            return;
        }
    }
}

async fn write(hold: &AgeHold, store: &Store) -> Result<(), StoreError> {
    let row = hold.believed().map(Row::from);
    match row.and_then(|row| serde_json::to_string(&row).ok()) {
        Some(text) => store.set_meta(KEY, &text).await,
        None => Ok(()),
    }
}

fn tell(change: &Change, journal: &Journal) {
    let hours = |span: WallSpan| span.as_secs_f64() / 3_600.0;
    let note = |kind: EventKind, text: &str| journal.tell(Topic::Clock, kind, text);
    match change {
        Change::Stepped(step) => {
            let by = step.by.as_secs_f64();
            let text = format!("the machine's clock was set by {by:+.3} s: it says {}", step.at);
            if step.by < LOUD && step.by > WallSpan::ZERO - LOUD {
                tracing::info!("{text}");
            } else {
                tracing::warn!("{text}");
                note(EventKind::ClockStep, &text);
            }
        }
        Change::Slept(span) => {
            let text =
                format!("the machine slept for {:.1} s: nothing was recorded", span.as_secs_f64());
            tracing::warn!("{text}");
            note(EventKind::Slept, &text);
        }
        Change::Held(held) => {
            let text = format!(
                "the machine's clock is {:.1} h ahead of what is believed: no footage is deleted \
                 for its age for {:.1} h of uptime, or until an administrator confirms the clock; \
                 limits of size go on",
                hours(held.ahead),
                held.left.as_secs_f64() / 3_600.0,
            );
            tracing::error!("{text}");
            note(EventKind::AgeHold, &text);
        }
        Change::Back | Change::Confirmed | Change::Accepted => {
            let text = match change {
                Change::Back => "the machine's clock is right again: footage ages as before",
                Change::Confirmed => "the machine's clock was confirmed: footage ages by it",
                _ => "the machine's clock has gone on for a day: footage ages by it",
            };
            tracing::warn!("{text}");
            note(EventKind::AgeHoldOver, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::Sealer;

    const NOON: WallTime = WallTime::from_micros(1_795_341_600_000_000);

    async fn index(folder: &tempfile::TempDir, clock: &Clock) -> Store {
        let path = folder.path().join("vedette.db");
        Store::open(&path, clock.clone(), Sealer::ephemeral()).await.unwrap()
    }

    /// A process: begins, watches for a moment, and ends.
    async fn process(store: &Store, clock: &Clock, meanwhile: impl FnOnce(&AgeHold)) -> AgeHold {
        let hold = open(store, clock).await;
        meanwhile(&hold);
        let stop = CancellationToken::new();
        stop.cancel();
        let (journal, _) = Journal::new(store.clone(), clock.clone());
        run(hold.clone(), store.clone(), journal, stop).await;
        hold
    }

    #[tokio::test]
    async fn a_clock_that_jumped_while_nothing_ran_is_not_believed_by_the_next_process() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOON));
        let store = index(&folder, &clock).await;
        assert_eq!(process(&store, &clock, |_| {}).await.held(), None);
        clock.advance(WallSpan::from_secs(600));
        assert_eq!(process(&store, &clock, |_| {}).await.held(), None, "ten minutes are no jump");
        clock.advance(WallSpan::from_secs(5 * 365 * 86_400));
        let held = process(&store, &clock, |_| {}).await.held().unwrap();
        assert!((held.ahead - WallSpan::from_secs(5 * 365 * 86_400)).as_secs_f64().abs() < 60.0);
        let again = process(&store, &clock, |_| {}).await;
        assert!(again.held().is_some(), "nor by the one after it");
        let confirmed = process(&store, &clock, |hold| assert!(hold.confirm())).await;
        assert_eq!(confirmed.held(), None);
        assert_eq!(process(&store, &clock, |_| {}).await.held(), None, "that is remembered");
    }

    #[tokio::test]
    async fn what_a_clock_said_that_was_behind_is_remembered_beside_what_is_believed() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOON));
        let store = index(&folder, &clock).await;
        let day = 86_400;
        let behind = process(&store, &clock, |_| clock.advance(WallSpan::from_secs(-60 * day)));
        assert_eq!(behind.await.held(), None);
        assert_eq!(process(&store, &clock, |_| {}).await.held(), None, "as behind as before");
        clock.advance(WallSpan::from_secs(3 * day));
        let held = process(&store, &clock, |_| {}).await.held();
        assert!(held.is_some(), "what was recorded meanwhile looks three days older than it is");
    }

    #[tokio::test]
    async fn what_an_older_version_remembered_is_understood() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOON));
        let store = index(&folder, &clock).await;
        let row = |at: WallTime| format!(r#"{{"believed_us":{},"held":null}}"#, at.as_micros());
        store.set_meta(KEY, &row(NOON)).await.unwrap();
        assert_eq!(open(&store, &clock).await.held(), None);
        store.set_meta(KEY, &row(NOON - WallSpan::from_secs(86_400))).await.unwrap();
        assert!(open(&store, &clock).await.held().is_some());
    }

    #[tokio::test]
    async fn what_cannot_be_understood_is_nothing_remembered() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOON));
        let store = index(&folder, &clock).await;
        store.set_meta(KEY, "yesterday").await.unwrap();
        assert_eq!(open(&store, &clock).await.held(), None, "there is no footage either");
    }
}
