//! What is mirrored to the volumes, out and in.

use tokio::sync::watch;

use super::{Result, Store};
use crate::model::State;

/// What [`Store::restore_state`] put in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Cameras, deleted ones with kept footage too.
    pub cameras: u64,
    /// Accounts.
    pub users: u64,
    /// Locks.
    pub locks: u64,
    /// The secrets were sealed with another key file: they do not open.
    pub key_fits: bool,
}

impl Store {
    /// A snapshot of what is mirrored to the volumes.
    pub async fn state(&self) -> Result<State> {
        todo!()
    }

    /// The generation of what is durable: changes after each commit that changes [`Self::state`].
    #[must_use]
    pub fn watch_state(&self) -> watch::Receiver<u64> {
        todo!()
    }

    /// Puts it in, in one transaction. What is there already (by id, slug or name) stays: asking
    /// again is harmless. The generation becomes at least the state's.
    pub async fn restore_state(&self, state: State) -> Result<Restored> {
        let _ = state;
        todo!()
    }
}
