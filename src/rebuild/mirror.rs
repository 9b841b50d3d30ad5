//! Keeps each volume's `state.json` what the index says.
//!
//! A change is written `QUIET` after the last one, `LATEST` after the first at the latest: a
//! script that adds a hundred cameras costs a few writes. A volume that cannot be written, or that
//! comes back, is tried again every `AGAIN`; one that hangs keeps nobody else waiting.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Place, chain, state};
use crate::{disk::Fs, model::State, store::Store};

/// A change is written when nothing more has changed for so long,
const QUIET: Duration = Duration::from_millis(200);
/// but not later than this.
const LATEST: Duration = Duration::from_secs(2);
/// How often volumes that are behind are tried.
const AGAIN: Duration = Duration::from_secs(15);
/// How long stopping waits for the last write.
const LAST: Duration = Duration::from_secs(2);

/// The task's parts.
#[derive(Debug)]
pub struct Mirror {
    store: Store,
    fs: Arc<dyn Fs>,
    /// Volumes that are there now.
    places: Places,
    behind: Arc<AtomicU64>,
}

/// Asked before each round, since volumes come and go.
pub struct Places(Box<dyn Fn() -> Vec<Place> + Send + Sync>);

impl Places {
    /// Who says which volumes are there.
    #[must_use]
    pub fn new(ask: impl Fn() -> Vec<Place> + Send + Sync + 'static) -> Self {
        Self(Box::new(ask))
    }
}

impl std::fmt::Debug for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Places")
    }
}

impl Mirror {
    /// Does nothing until it is run.
    #[must_use]
    pub fn new(store: Store, fs: Arc<dyn Fs>, places: Places) -> Self {
        Self { store, fs, places, behind: Arc::default() }
    }

    /// How many volumes do not have the newest state.
    #[must_use]
    pub fn behind(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.behind)
    }

    /// Writes until it is stopped, and a last time then. A generation that was written to a volume is
    /// not written there again.
    pub async fn run(self, stop: CancellationToken) {
        let mut changes = self.store.watch_state();
        let mut written: HashMap<String, u64> = HashMap::new();
        let mut writing: JoinSet<(String, u64, bool)> = JoinSet::new();
        let mut busy: HashMap<String, ()> = HashMap::new();
        let mut due = Instant::now();
        let mut first_change: Option<Instant> = None;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                changed = changes.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let now = Instant::now();
                    let latest = *first_change.get_or_insert(now) + LATEST;
                    due = (now + QUIET).min(latest);
                }
                Some(done) = writing.join_next() => note(done, &mut written, &mut busy),
                () = sleep_until(due) => {
                    first_change = None;
                    due = Instant::now() + AGAIN;
                    self.round(&mut writing, &mut busy, &mut written).await;
                }
            }
        }
        self.round(&mut writing, &mut busy, &mut written).await;
        let rest = async {
            while let Some(done) = writing.join_next().await {
                note(done, &mut written, &mut busy);
            }
        };
        if timeout(LAST, rest).await.is_err() {
            tracing::warn!("state.json of a volume was not written: the volume hangs");
        }
        writing.detach_all();
    }

    async fn round(
        &self,
        writing: &mut JoinSet<(String, u64, bool)>,
        busy: &mut HashMap<String, ()>,
        written: &mut HashMap<String, u64>,
    ) {
        let generation = *self.store.watch_state().borrow();
        let places = (self.places.0)();
        // A volume that went away may come back as another disk.
        written.retain(|volume, _| places.iter().any(|p| p.volume == *volume));
        let behind: Vec<Place> =
            places.into_iter().filter(|p| written.get(&p.volume) != Some(&generation)).collect();
        self.behind.store(behind.len() as u64, Relaxed);
        let due: Vec<Place> =
            behind.into_iter().filter(|p| !busy.contains_key(&p.volume)).collect();
        if due.is_empty() {
            return;
        }
        let state: Arc<State> = match self.store.state().await {
            Ok(state) => Arc::new(state),
            Err(error) => {
                tracing::warn!(error = chain(&error), "state.json is not written: the index");
                return;
            }
        };
        for place in due {
            busy.insert(place.volume.clone(), ());
            let (fs, state) = (Arc::clone(&self.fs), Arc::clone(&state));
            writing.spawn_blocking(move || {
                let done = state::write(&*fs, &place.root, &state);
                if let Err(error) = &done {
                    tracing::warn!(volume = %place.volume, %error, "state.json is not written");
                }
                (place.volume, state.generation, done.is_ok())
            });
        }
    }
}

fn note(
    done: Result<(String, u64, bool), tokio::task::JoinError>,
    written: &mut HashMap<String, u64>,
    busy: &mut HashMap<String, ()>,
) {
    match done {
        Ok((volume, generation, well)) => {
            busy.remove(&volume);
            if well {
                written.insert(volume, generation);
            }
        }
        // Which one is not known: all may be tried again.
        Err(_) => busy.clear(),
    }
}
