//! Notes on the volumes what is being deleted there, before the index is told: a lost index that is
//! made again from the files then does not bring it back (`disk/deleted.rs`).
//!
//! A volume that does not take the note in time keeps nobody waiting: its footage is deleted all the
//! same, and only the loss of the index before the files are unlinked would bring some of it back,
//! which the limits that it went for then take out again.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
    time::Duration,
};

use tokio::{task::JoinHandle, time::timeout};

use crate::{
    disk::{Volumes, deleted::DeletedSegment},
    id::SegmentId,
    store::{Result, Store},
};

/// A volume is waited for so long.
const PATIENCE: Duration = Duration::from_secs(5);
/// Rows of `unlink` a page.
const PAGE: u32 = 1_000;

/// What stands on one volume.
#[derive(Debug, Default)]
struct OfVolume {
    /// Being deleted, and not unlinked yet.
    files: BTreeMap<SegmentId, DeletedSegment>,
    /// The note names something.
    noted: bool,
    /// One that has not ended: the volume hangs.
    writing: Option<JoinHandle<io::Result<()>>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Notes {
    store: Store,
    volumes: Arc<Volumes>,
    of: HashMap<String, OfVolume>,
}

impl Notes {
    pub(super) fn new(store: Store, volumes: Arc<Volumes>) -> Self {
        Self { store, volumes, of: HashMap::new() }
    }

    /// Segments of a volume are about to be deleted.
    pub(super) async fn add(&mut self, volume: &str, files: Vec<DeletedSegment>) -> Result<()> {
        self.know(volume).await?;
        let of = self.of.entry(volume.to_owned()).or_default();
        of.files.extend(files.into_iter().map(|file| (file.segment, file)));
        self.write(volume).await;
        Ok(())
    }

    /// Some of them were not deleted: a lock had come between.
    pub(super) async fn keep(&mut self, volume: &str, kept: &[SegmentId]) {
        let Some(of) = self.of.get_mut(volume) else { return };
        let before = of.files.len();
        of.files.retain(|id, _| !kept.contains(id));
        if of.files.len() != before {
            self.write(volume).await;
        }
    }

    /// They are unlinked. What is noted too long harms nothing: they are gone.
    pub(super) fn unlinked(&mut self, files: &[(String, SegmentId)]) {
        for (volume, segment) in files {
            if let Some(of) = self.of.get_mut(volume) {
                of.files.remove(segment);
            }
        }
    }

    /// At the end of a round, and when a volume is there: notes that name nothing any more are
    /// emptied, also those that the process before left of what it did not come to delete.
    pub(super) async fn tidy(&mut self, usable: impl Iterator<Item = &str>) -> Result<()> {
        for volume in usable {
            self.know(volume).await?;
            if self.of.get(volume).is_some_and(|of| of.noted && of.files.is_empty()) {
                self.write(volume).await;
            }
        }
        Ok(())
    }

    /// What the process before left to be unlinked there.
    async fn know(&mut self, volume: &str) -> Result<()> {
        if self.of.contains_key(volume) {
            return Ok(());
        }
        let (mut files, mut after) = (BTreeMap::new(), None);
        loop {
            let page = self.store.pending_unlinks(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for file in page.into_iter().filter(|file| file.volume == volume) {
                // Their rows are gone, and with them which time it was: no lock held them.
                let left = DeletedSegment {
                    segment: file.segment,
                    stream: crate::id::StreamId(0),
                    path: file.path,
                    bytes: file.bytes,
                    start_us: 0,
                    end_us: 0,
                };
                files.insert(file.segment, left);
            }
        }
        let noted = timeout(PATIENCE, self.volumes.has_deleted_note(volume)).await;
        let noted = noted.unwrap_or(false);
        self.of.insert(volume.to_owned(), OfVolume { files, noted, writing: None });
        // It may name what was not deleted after all.
        if noted {
            self.write(volume).await;
        }
        Ok(())
    }

    async fn write(&mut self, volume: &str) {
        let Some(of) = self.of.get_mut(volume) else { return };
        if let Some(writing) = &mut of.writing {
            if timeout(PATIENCE, writing).await.is_err() {
                return;
            }
            of.writing = None;
        }
        let files: Vec<DeletedSegment> = of.files.values().cloned().collect();
        let names_some = !files.is_empty();
        let mut writing = self.volumes.note_deleted(volume, files);
        match timeout(PATIENCE, &mut writing).await {
            Ok(Ok(Ok(()))) => of.noted = names_some,
            Ok(Ok(Err(error))) => {
                of.noted = true;
                tracing::warn!(volume, %error, "what is deleted is not noted on the volume");
            }
            Ok(Err(error)) => tracing::error!(volume, %error, "noting what is deleted panicked"),
            Err(_) => {
                tracing::warn!(volume, "what is deleted is not noted on the volume: it hangs");
                (of.noted, of.writing) = (true, Some(writing));
            }
        }
    }
}
