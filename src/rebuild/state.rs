//! `<volume>/.vedette/state.json`: what the files of footage do not say, kept beside them.
//!
//! Cameras with the ids that stand in the files, their sealed secrets, accounts and locks
//! ([`State`]). Each volume has a copy; of several the one of the greatest generation counts. It is
//! written beside its name, synced and renamed, so that at any moment the old or the new one is
//! there whole.

use std::{
    fs::Permissions,
    io::{self, IoSlice},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{Place, chain};
use crate::{
    disk::Fs,
    model::{State, StateError},
};

/// Where it stands on a volume.
pub const FILE: &str = ".vedette/state.json";

/// Why there is no state to be had from a volume.
#[derive(Debug, thiserror::Error)]
pub enum ReadStateError {
    /// The system's word.
    #[error("read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its content.
    #[error("{path} cannot be used")]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: StateError,
    },
}

/// Reads a volume's copy; `None` when it has none.
///
/// # Errors
///
/// [`ReadStateError`].
pub fn read(fs: &dyn Fs, root: &Path) -> Result<Option<State>, ReadStateError> {
    let path = root.join(FILE);
    let bytes = match fs.read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ReadStateError::Io { path, source }),
    };
    match State::from_json(&bytes) {
        Ok(state) => Ok(Some(state)),
        Err(source) => Err(ReadStateError::Content { path, source }),
    }
}

/// Replaces a volume's copy: durable when this returns; as it was before, or as it is to be, at any
/// moment. One of a later generation than this is kept aside: this index does not know what it says.
///
/// # Errors
///
/// The system's.
pub fn write(fs: &dyn Fs, root: &Path, state: &State) -> io::Result<()> {
    let path = root.join(FILE);
    let folder = path.parent().unwrap_or(root);
    fs.create_folder(folder)?;
    match read(fs, root) {
        Ok(Some(there)) if there == *state => return Ok(()),
        Ok(Some(there)) if there.generation > state.generation => {
            keep_aside(fs, &path, &format!("state-{}.json", there.generation))?;
        }
        Err(ReadStateError::Content { .. }) => keep_aside(fs, &path, "state-unreadable.json")?,
        _ => {}
    }
    let bytes = state.to_json();
    let beside = path.with_extension("json.new");
    match fs.remove_file(&beside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let file = fs.create_file(&beside)?;
    // Before there is anything in it: hashes and sealed secrets are for the owner alone.
    std::fs::set_permissions(&beside, Permissions::from_mode(0o600))?;
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        match file.append(&[IoSlice::new(rest)]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    file.sync()?;
    fs.rename(&beside, &path)?;
    fs.sync_folder(folder)
}

fn keep_aside(fs: &dyn Fs, path: &Path, name: &str) -> io::Result<()> {
    let aside = path.with_file_name(name);
    tracing::warn!(
        path = %path.display(),
        kept = %aside.display(),
        "a state.json that this index did not write is kept aside"
    );
    fs.rename(path, &aside)
}

/// The newest of all volumes', and what was wrong with others, in words.
///
/// One that was sealed with our key goes before one that was not: another recorder's volume may
/// have been put into this machine.
pub fn newest(
    fs: &dyn Fs,
    places: &[Place],
    opens: impl Fn(&State) -> bool,
) -> (Option<State>, Vec<String>) {
    let (mut best, mut wrong): (Option<(bool, State)>, _) = (None, Vec::new());
    for place in places {
        match read(fs, &place.root) {
            Ok(Some(state)) => {
                let ours = opens(&state);
                let rank = |(ours, state): &(bool, State)| (*ours, state.generation);
                let candidate = (ours, state);
                if best.as_ref().is_none_or(|b| rank(b) < rank(&candidate)) {
                    best = Some(candidate);
                }
            }
            Ok(None) => {}
            Err(error) => wrong.push(chain(&error)),
        }
    }
    (best.map(|(_, state)| state), wrong)
}
