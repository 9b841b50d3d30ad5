//! The marker that makes a folder a volume: `<volume>/.vedette/volume.json`.
//!
//! A disk that is not mounted leaves its empty mount point behind, and whatever is recorded into
//! that fills the system's disk and is hidden when the disk comes back. So each volume carries an
//! id, the index remembers the id of each volume that it has footage of, and a folder that does not
//! carry the id it should is not the volume: nothing is written to it, and nothing is deleted from
//! the index on its account.
//!
//! The file is small, versioned, and written whole or not at all ([`Fs::write_whole`]).

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use super::{fs::Fs, state::VolumeState};

/// The version of the marker file that this code writes, and the newest that it reads.
const VERSION: u32 = 1;

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Marker {
    version: u32,
    /// 32 hex digits, made at random.
    id: String,
}

/// A volume that is there and ours.
#[derive(Debug)]
pub(super) struct Claimed {
    /// Held for as long as the volume is used; `None` on a read-only file system without one.
    pub(super) _lock: Option<File>,
    pub(super) id: String,
    /// The device it stands on.
    pub(super) device: u64,
}

/// Why a folder cannot be used as a volume now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unclaimed {
    /// It may come by itself.
    #[error("{why}")]
    Away { state: VolumeState, why: String },
    /// Something else stands in its place: another volume (its id), or a folder without a marker. It
    /// may come back by itself, or a person says that this is the volume now.
    #[error("{why}")]
    Replaced { why: String, by: Option<String> },
    /// Only a person can mend this.
    #[error("another process uses it")]
    InUse,
}

fn away(state: VolumeState, why: impl Into<String>) -> Unclaimed {
    Unclaimed::Away { state, why: why.into() }
}

/// The folder that is ours in every volume.
pub(super) fn own_folder(root: &Path) -> PathBuf {
    root.join(".vedette")
}

fn marker_path(root: &Path) -> PathBuf {
    own_folder(root).join("volume.json")
}

/// Takes a volume into use: its marker is checked, or made where none is expected, and its lock is
/// taken, which the system gives back when we die. Blocks.
pub(super) fn claim(
    fs: &dyn Fs,
    root: &Path,
    expected: Option<&str>,
) -> Result<Claimed, Unclaimed> {
    let found = match read(fs, root) {
        Ok(found) => found,
        Err(e) => return Err(away(super::state::state_of(&e), format!("read its marker: {e}"))),
    };
    match (&found, expected) {
        (None, Some(_)) => {
            if fs.device(root).is_err() {
                let why = "its folder is missing: is the disk mounted?";
                return Err(away(VolumeState::Missing, why));
            }
            let why = "its marker .vedette/volume.json is missing: is the disk mounted?".to_owned();
            return Err(Unclaimed::Replaced { why, by: None });
        }
        (Some(id), Some(expected)) if id != expected => {
            let why = format!("another volume is mounted there ({id}, expected {expected})");
            return Err(Unclaimed::Replaced { why, by: Some(id.clone()) });
        }
        _ => {}
    }
    let lock = lock(root, found.is_some())?;
    let id = match found {
        Some(id) => id,
        None => make(fs, root)
            .map_err(|e| away(super::state::state_of(&e), format!("write its marker: {e}")))?,
    };
    let device = fs
        .device(root)
        .map_err(|e| away(VolumeState::Missing, format!("look at its folder: {e}")))?;
    Ok(Claimed { _lock: lock, id, device })
}

/// The id that a folder carries; `None` when it carries none, or is not there.
///
/// # Errors
///
/// The system's, or that the marker cannot be understood.
pub fn read(fs: &dyn Fs, root: &Path) -> io::Result<Option<String>> {
    let bytes = match fs.read(&marker_path(root)) {
        Ok(bytes) => bytes,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    let marker: Marker = serde_json::from_slice(&bytes)?;
    if marker.version > VERSION {
        return Err(io::Error::other("its marker was made by a newer version"));
    }
    Ok(Some(marker.id))
}

/// Gives the folder an id.
pub(super) fn make(fs: &dyn Fs, root: &Path) -> io::Result<String> {
    let id = format!("{:032x}", rand::random::<u128>());
    let marker = Marker { version: VERSION, id: id.clone() };
    fs.write_whole(&marker_path(root), &serde_json::to_vec(&marker)?)?;
    // The folders may be new; so may the volume's own name.
    for folder in [Some(root), root.parent()].into_iter().flatten() {
        fs.sync_folder(folder)?;
    }
    Ok(id)
}

fn lock(root: &Path, known: bool) -> Result<Option<File>, Unclaimed> {
    let own = own_folder(root);
    let failed = |e: &io::Error| away(super::state::state_of(e), format!("take its lock: {e}"));
    if !known {
        fs::create_dir_all(&own).map_err(|e| failed(&e))?;
    }
    let path = own.join("lock");
    let opened = File::options().create(true).append(true).open(&path);
    let file = match opened {
        Ok(file) => file,
        // Reading is enough to take it.
        Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => match File::open(&path) {
            Ok(file) => file,
            Err(_) => return Ok(None),
        },
        Err(e) => return Err(failed(&e)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Unclaimed::InUse),
        Err(TryLockError::Error(e)) => Err(failed(&e)),
    }
}
