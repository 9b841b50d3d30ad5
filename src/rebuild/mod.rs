//! The index made again from the files: what a lost or damaged database costs is time, not footage.
//!
//! ```text
//! volumes ── walk ──▶ names ── footage::read ──▶ rows ──▶ store.import
//!                                                  │
//! state.json ──▶ cameras, accounts, locks          └─ plan ──▶ runs and gaps (store.rewrite_timeline)
//!     ▲
//!     └── mirror ◀── store.watch_state
//! ```
//!
//! One pass (`pass`) serves all: `vedette reindex` runs it into an empty index beside the old one,
//! a recorder whose index was lost runs it behind its back while it records, and `vedette check`
//! runs it to compare ([`mod@check`]). What a pass has put in, it finds again: one that was interrupted
//! goes on where it was.
//!
//! # Invariants
//!
//! * What was deleted does not come back: the volumes say what was being deleted when the index was
//!   lost ([`crate::disk::deleted`]); such files are put into `unlink`. A lock goes before that.
//! * No footage is ever deleted here, and no file is touched that the recorder did not make. What is
//!   mended is mended by [`crate::footage::mend`], which cuts only behind the last whole fragment.
//! * A volume that is not there says nothing: its rows stay, and what is missing of a run may be on
//!   it.
//! * Until a rebuild is through, [`UNDER_WAY`] stands in the index: nothing is deleted by retention
//!   while it does.

pub mod check;
mod deleted;
pub mod mirror;
mod pass;
mod plan;
mod progress;
mod reindex;
pub mod state;
#[cfg(test)]
mod tests;
mod walk;

#[cfg(test)]
pub(crate) use tests::made_for_tests;

use std::{io, path::PathBuf, sync::Arc};

pub use check::{Checked, Finding, Kind, check};
pub use mirror::Mirror;
pub use progress::Progress;
pub use reindex::{Reindexed, rebuild, restore};
pub use walk::{Place, has_footage};

pub(crate) use crate::task::chain;
use crate::{clock::Clock, disk::Fs, store::StoreError};

/// Key of the value in the index (`store.meta`) that says why a rebuild is under way; empty or
/// absent: none is.
pub const UNDER_WAY: &str = "rebuild";

/// Where the files are.
#[derive(Clone, Debug)]
pub struct Site {
    /// Volumes that are there.
    pub places: Vec<Place>,
    /// Volumes that are not: what is missing may be on them.
    pub away: Vec<String>,
    /// How they are changed.
    pub fs: Arc<dyn Fs>,
    /// For times of what is made up.
    pub clock: Clock,
}

/// Why it could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The index.
    #[error("the index")]
    Store(#[from] StoreError),
    /// A folder.
    #[error("list {path}")]
    List {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A task of ours panicked.
    #[error("a part of it panicked")]
    Panicked,
    /// It was told to stop.
    #[error("stopped half-way; asked again, it goes on where it was")]
    Stopped,
}
