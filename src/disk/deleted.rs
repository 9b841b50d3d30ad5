//! What is being deleted, noted on the volumes themselves: a lost index must not bring it back.
//!
//! The index knows which rows are gone while their files are still there. When it is lost in between
//! and made again from the files, those would be footage again. So there are two small files beside
//! the footage, each written whole or not at all ([`Fs::write_whole`]):
//!
//! * `.vedette/deleted-segments.json`: files whose rows are about to be deleted, written before that
//!   is committed; empty when they are unlinked. It is retention's.
//! * `.vedette/deleted-cameras.json`, on every volume that is there: cameras deleted with their
//!   footage, and when. It stays: ids are never used again, and there are few.
//!
//! Whoever makes an index again asks both first ([`segments`], [`cameras`]). A lock goes before them.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    task::JoinHandle,
    time::{Duration, timeout},
};

use super::{Fs, Volumes, marker::own_folder, reader::blocking};
use crate::{
    id::{CameraId, SegmentId, StreamId},
    proto::time::WallTime,
};

/// The version that this code writes, and the newest that it reads.
const VERSION: u32 = 1;
/// Cameras remembered; the oldest are forgotten first.
const CAMERAS: usize = 10_000;
/// A volume is waited for so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// A file that is being deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedSegment {
    /// Which segment it was.
    pub segment: SegmentId,
    /// Of which stream.
    pub stream: StreamId,
    /// Path relative to the volume.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its first unit, microseconds UTC.
    pub start_us: i64,
    /// The end of its last.
    pub end_us: i64,
}

/// A camera that was deleted with its footage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedCamera {
    /// Which.
    pub camera: CameraId,
    /// Footage from before is deleted, microseconds UTC.
    pub before_us: i64,
}

#[derive(Serialize, Deserialize)]
struct Noted<T> {
    version: u32,
    deleted: Vec<T>,
}

fn segments_path(root: &Path) -> PathBuf {
    own_folder(root).join("deleted-segments.json")
}

fn cameras_path(root: &Path) -> PathBuf {
    own_folder(root).join("deleted-cameras.json")
}

/// The files of a volume that are being deleted. Blocks.
///
/// # Errors
///
/// The system's, or that the note cannot be understood.
pub fn segments(fs: &dyn Fs, root: &Path) -> io::Result<Vec<DeletedSegment>> {
    read(fs, &segments_path(root))
}

/// The cameras that were deleted with their footage, as a volume has it. Blocks.
///
/// # Errors
///
/// As [`segments`].
pub fn cameras(fs: &dyn Fs, root: &Path) -> io::Result<Vec<DeletedCamera>> {
    read(fs, &cameras_path(root))
}

fn read<T: DeserializeOwned>(fs: &dyn Fs, path: &Path) -> io::Result<Vec<T>> {
    let bytes = match fs.read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let noted: Noted<T> = serde_json::from_slice(&bytes)?;
    if noted.version > VERSION {
        return Err(io::Error::other("it was written by a newer version"));
    }
    Ok(noted.deleted)
}

fn write<T: Serialize>(fs: &dyn Fs, path: &Path, deleted: Vec<T>) -> io::Result<()> {
    fs.write_whole(path, &serde_json::to_vec(&Noted { version: VERSION, deleted })?)
}

impl Volumes {
    /// Notes on a volume which of its files are being deleted, in the place of what was noted before.
    /// Durable when the task has ended well; it goes on when nobody waits for it.
    #[must_use]
    pub fn note_deleted(
        &self,
        volume: &str,
        deleted: Vec<DeletedSegment>,
    ) -> JoinHandle<io::Result<()>> {
        let (root, fs) = (self.root_of(volume), self.fs());
        tokio::task::spawn_blocking(move || write(&*fs, &segments_path(&root?), deleted))
    }

    /// Whether a note stands on a volume.
    pub async fn has_deleted_note(&self, volume: &str) -> bool {
        let Ok(root) = self.root_of(volume) else { return false };
        let fs = self.fs();
        let noted = blocking(move || segments(&*fs, &root)).await;
        noted.is_ok_and(|noted| !noted.is_empty())
    }

    /// Notes on all volumes that are there that a camera was deleted with its footage; says on how
    /// many. One that hangs is not waited for.
    pub async fn note_deleted_camera(&self, camera: CameraId, before: WallTime) -> usize {
        let note = |root: PathBuf, fs: Arc<dyn Fs>| {
            blocking(move || {
                let path = cameras_path(&root);
                let mut all: Vec<DeletedCamera> = read(&*fs, &path)?;
                all.retain(|c| c.camera != camera);
                all.push(DeletedCamera { camera, before_us: before.as_micros() });
                let many = all.len().saturating_sub(CAMERAS);
                write(&*fs, &path, all.split_off(many))
            })
        };
        let there = self.all().iter().filter_map(|v| {
            let root = self.root_of(v.name()).ok()?;
            let noted = note(root, self.fs());
            Some(async move {
                match timeout(PATIENCE, noted).await {
                    Ok(Ok(())) => true,
                    Ok(Err(error)) => {
                        tracing::warn!(volume = %v.name(), %error, "a deletion is not noted");
                        false
                    }
                    Err(_) => {
                        tracing::warn!(volume = %v.name(), "a deletion is not noted: it hangs");
                        false
                    }
                }
            })
        });
        let noted = futures_util::future::join_all(there).await;
        noted.into_iter().filter(|done| *done).count()
    }

    fn root_of(&self, volume: &str) -> io::Result<PathBuf> {
        self.absolute(volume, "-").map_err(io::Error::other)?;
        let root = self.get(volume).map(|v| v.settings().path.clone());
        root.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{RealFs, Settings, VolumeSettings};

    #[tokio::test]
    async fn what_is_noted_is_read_again_from_each_volume_and_a_later_version_is_not_guessed_at() {
        let dir = tempfile::tempdir().unwrap();
        let roots = [dir.path().join("a"), dir.path().join("b")];
        let mut settings = Settings::default();
        for path in roots.clone() {
            settings.volumes.push(VolumeSettings { path, max_bytes: None, min_free_bytes: 0 });
        }
        let volumes = Volumes::open(settings).unwrap();
        let name = roots[0].to_string_lossy().into_owned();
        assert_eq!(segments(&RealFs, &roots[0]).unwrap(), []);
        let file = DeletedSegment {
            segment: SegmentId(1),
            stream: StreamId(2),
            path: "door/main/a.mp4".to_owned(),
            bytes: 3,
            start_us: 4,
            end_us: 5,
        };
        volumes.note_deleted(&name, vec![file.clone()]).await.unwrap().unwrap();
        assert_eq!(segments(&RealFs, &roots[0]).unwrap(), [file]);
        assert_eq!(segments(&RealFs, &roots[1]).unwrap(), []);
        assert!(volumes.has_deleted_note(&name).await);
        volumes.note_deleted(&name, Vec::new()).await.unwrap().unwrap();
        assert!(!volumes.has_deleted_note(&name).await);
        for (camera, at) in [(7, 10), (8, 20), (7, 30)] {
            let at = WallTime::from_micros(at);
            assert_eq!(volumes.note_deleted_camera(CameraId(camera), at).await, 2);
        }
        let noted = |camera, before_us| DeletedCamera { camera: CameraId(camera), before_us };
        assert_eq!(cameras(&RealFs, &roots[1]).unwrap(), [noted(8, 20), noted(7, 30)]);
        std::fs::write(cameras_path(&roots[1]), r#"{"version":2,"deleted":[]}"#).unwrap();
        assert!(cameras(&RealFs, &roots[1]).is_err());
        volumes.shut_down().await;
    }
}
