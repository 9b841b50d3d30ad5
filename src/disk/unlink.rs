//! Unlinking files whose rows are gone, so that a power cut does not bring them back.
//!
//! Some at a time: their folders are then synced once for all of them. A folder that this leaves
//! empty goes too, up to the volume's root; one that a new segment is about to fill refuses.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use super::{Fs, ReadError, Volumes, reader::blocking};

/// A file that could not be unlinked.
#[derive(Debug)]
pub struct NotUnlinked {
    /// Its place among those asked for.
    pub at: usize,
    /// Why.
    pub error: ReadError,
}

/// What came of unlinking some files.
#[derive(Debug, Default)]
pub struct Unlinked {
    /// Those that are still there.
    pub failed: Vec<NotUnlinked>,
    /// By how much the free space grew meanwhile. Some file systems free blocks later.
    pub shown: Option<u64>,
}

impl Volumes {
    /// Unlinks files of a volume and makes that durable; says which could not be. A file that is
    /// gone already is no error. To be called when the deletion of their rows is durable.
    ///
    /// # Errors
    ///
    /// When none of it is durable: the volume is not there, or a folder could not be synced.
    pub async fn unlink(&self, volume: &str, paths: &[String]) -> Result<Unlinked, ReadError> {
        let root = self.absolute(volume, "x")?;
        let root = root.parent().unwrap_or(&root).to_owned();
        let (mut files, mut failed) = (Vec::new(), Vec::new());
        for (at, path) in paths.iter().enumerate() {
            match self.absolute(volume, path) {
                Ok(file) => files.push((at, file)),
                Err(error) => failed.push(NotUnlinked { at, error }),
            }
        }
        let fs = self.fs();
        let place = root.clone();
        let done = blocking(move || {
            let before = fs.space(&root);
            let refused = remove(&fs, &root, files)?;
            Ok((refused, before.and_then(|before| Ok((before, fs.space(&root)?))).ok()))
        });
        let (refused, space) =
            done.await.map_err(|source| ReadError::Io { path: place, source })?;
        failed.extend(
            refused.into_iter().map(|(at, path, source)| NotUnlinked {
                at,
                error: ReadError::Io { path, source },
            }),
        );
        let Some((before, after)) = space else { return Ok(Unlinked { failed, shown: None }) };
        if let Some((_, counters)) = self.counters().into_iter().find(|(name, _)| name == volume) {
            // Who chooses a volume, and who plans the next deletion, goes by this.
            counters.free_bytes.store(after.free, Relaxed);
            counters.total_bytes.store(after.total, Relaxed);
        }
        Ok(Unlinked { failed, shown: Some(after.free.saturating_sub(before.free)) })
    }
}

type Refused = Vec<(usize, PathBuf, io::Error)>;

fn remove(fs: &Arc<dyn Fs>, root: &Path, files: Vec<(usize, PathBuf)>) -> io::Result<Refused> {
    let (mut touched, mut refused) = (BTreeSet::new(), Vec::new());
    let mut there = None;
    for (at, file) in files {
        match fs.remove_file(&file) {
            Ok(()) => drop(file.parent().map(|folder| touched.insert(folder.to_owned()))),
            Err(e) if gone(&e) => {
                // On a disk that was taken out a moment ago everything is gone; it comes back.
                let there = there.get_or_insert_with(|| root.join(".vedette").is_dir());
                if !*there {
                    return Err(e);
                }
                // Perhaps unlinked a moment before a crash, and not durably so.
                touched.extend(file.ancestors().skip(1).find(|f| f.is_dir()).map(Path::to_owned));
            }
            Err(e) => refused.push((at, file, e)),
        }
    }
    // Deepest first, so that an hour's folder is gone when its day's is tried.
    let mut to_sync = BTreeSet::new();
    while let Some(folder) = touched.pop_last() {
        let inside = folder != root && folder.starts_with(root);
        match folder.parent() {
            Some(above) if inside && fs.remove_folder(&folder).is_ok() => {
                touched.insert(above.to_owned());
            }
            _ => drop(to_sync.insert(folder)),
        }
    }
    for folder in to_sync {
        match fs.sync_folder(&folder) {
            // Somebody else removed it, and what it was in is synced by whoever did.
            Err(e) if gone(&e) => {}
            other => other?,
        }
    }
    Ok(refused)
}

fn gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Settings, VolumeSettings};

    fn open(root: &Path) -> Arc<Volumes> {
        let path = root.join("volume");
        let mut settings = Settings::default();
        for path in [path, root.join("other")] {
            settings.volumes.push(VolumeSettings { path, max_bytes: None, min_free_bytes: 0 });
        }
        Volumes::open(settings).unwrap()
    }

    fn put(root: &Path, paths: &[&str]) {
        for path in paths {
            let file = root.join("volume").join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "footage").unwrap();
        }
    }

    async fn unlink(root: &Path, volumes: &Volumes, paths: &[&str]) -> Vec<NotUnlinked> {
        let name = root.join("volume").to_string_lossy().into_owned();
        let paths: Vec<_> = paths.iter().map(|p| (*p).to_owned()).collect();
        volumes.unlink(&name, &paths).await.unwrap().failed
    }

    #[tokio::test]
    async fn files_go_and_with_them_the_folders_they_leave_empty() {
        let dir = tempfile::tempdir().unwrap();
        let (root, volumes) = (dir.path(), open(dir.path()));
        put(root, &["door/main/d1/10/a.mp4", "door/main/d1/11/b.mp4", "yard/main/d1/10/c.mp4"]);
        put(root, &["yard/main/d1/10/d.mp4"]);
        let gone = ["door/main/d1/10/a.mp4", "door/main/d1/11/b.mp4", "yard/main/d1/10/c.mp4"];
        assert!(unlink(root, &volumes, &gone).await.is_empty());
        assert!(!root.join("volume/door").exists(), "all of its folders are empty");
        assert!(root.join("volume/yard/main/d1/10/d.mp4").exists());
        assert!(root.join("volume/.vedette").exists());
        assert!(unlink(root, &volumes, &gone).await.is_empty(), "once more is no error");
        volumes.shut_down().await;
    }

    #[tokio::test]
    async fn on_a_disk_that_is_not_there_nothing_counts_as_unlinked() {
        let dir = tempfile::tempdir().unwrap();
        let (root, volumes) = (dir.path(), open(dir.path()));
        put(root, &["door/a.mp4"]);
        std::fs::rename(root.join("volume"), root.join("away")).unwrap();
        std::fs::create_dir(root.join("volume")).unwrap();
        let name = root.join("volume").to_string_lossy().into_owned();
        assert!(volumes.unlink(&name, &["door/a.mp4".to_owned()]).await.is_err());
        volumes.shut_down().await;
    }

    #[tokio::test]
    async fn what_cannot_be_unlinked_is_said_and_the_rest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (root, volumes) = (dir.path(), open(dir.path()));
        put(root, &["door/a.mp4/is-a-folder", "door/b.mp4"]);
        put(root, &["outside.mp4"]);
        let failed = unlink(root, &volumes, &["door/a.mp4", "../other/x", "door/b.mp4"]).await;
        let at: Vec<_> = failed.iter().map(|f| f.at).collect();
        assert_eq!(at, [1, 0]);
        assert!(matches!(failed[0].error, ReadError::Outside { .. }));
        assert!(!root.join("volume/door/b.mp4").exists());
        assert!(volumes.unlink("/not/ours", &["x".to_owned()]).await.is_err());
        volumes.shut_down().await;
    }
}
