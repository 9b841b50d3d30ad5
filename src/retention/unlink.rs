//! Working off the files whose rows are gone.
//!
//! Volumes are worked at side by side, and none is waited for longer than [`PATIENCE`]: a disk that
//! hangs keeps its own files, not the others'. What could not be unlinked is tried again after
//! [`RETRY`], and when a volume changes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{
    disk::{self, ReadError, Volumes},
    id::SegmentId,
    model::PendingUnlink,
    store::{Result, Store},
};

/// Files asked for at once.
const PAGE: u32 = 256;
/// Files unlinked at once on a volume that has room: then others may use the disk.
const AT_ONCE: usize = 32;
/// And then it is left alone for so long.
const PAUSE: Duration = Duration::from_millis(50);
/// A volume is waited for so long.
const PATIENCE: Duration = Duration::from_secs(5);
/// Files that could not be unlinked are tried again after so long.
const RETRY: Duration = Duration::from_secs(600);

/// What came of some files of a volume.
struct Tried {
    volume: String,
    files: Vec<PendingUnlink>,
    done: Result<disk::Unlinked, ReadError>,
}

/// The worker.
#[derive(Debug)]
pub(super) struct Unlinker {
    store: Store,
    volumes: Arc<Volumes>,
    /// All up to here were tried.
    tried: Option<i64>,
    /// Some were left.
    again_at: Option<Instant>,
    /// Files of volumes that are there, and that are not unlinked yet.
    waiting: HashMap<i64, (String, u64)>,
    working: JoinSet<Tried>,
    /// Volumes being worked at.
    busy: BTreeMap<String, Instant>,
}

impl std::fmt::Debug for Tried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tried").field("volume", &self.volume).finish_non_exhaustive()
    }
}

/// What a pass did.
#[derive(Clone, Debug, Default)]
pub(super) struct Unlinked {
    pub(super) files: u64,
    pub(super) failed: u64,
    /// Which, with their volumes.
    pub(super) gone: Vec<(String, SegmentId)>,
}

impl Unlinker {
    pub(super) fn new(store: Store, volumes: Arc<Volumes>) -> Self {
        Self {
            store,
            volumes,
            tried: None,
            again_at: None,
            waiting: HashMap::new(),
            working: JoinSet::new(),
            busy: BTreeMap::new(),
        }
    }

    /// Begin at the first file again: a volume came back.
    pub(super) fn again(&mut self) {
        self.again_at = Some(Instant::now());
    }

    /// Bytes on a volume that are free once their files are unlinked.
    pub(super) fn waiting(&self, volume: &str) -> u64 {
        self.waiting.values().filter(|(v, _)| v == volume).map(|(_, bytes)| bytes).sum()
    }

    /// Files on volumes that are there and that are not unlinked yet.
    pub(super) fn waiting_files(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Unlinks what there is. `may`: whether files of a volume can be deleted now, and whether in
    /// a hurry. `late` is told the bytes that do not show
    /// in a volume's free space yet.
    pub(super) async fn pass(
        &mut self,
        may: impl Fn(&str) -> Option<bool>,
        mut late: impl FnMut(&str, u64),
    ) -> Result<Unlinked> {
        if self.again_at.is_some_and(|at| at <= Instant::now()) {
            self.tried = None;
            self.again_at = None;
        }
        let mut sum = Unlinked::default();
        self.collect(None, &mut sum, &mut late).await?;
        loop {
            let page = self.store.pending_unlinks(self.tried, PAGE).await?;
            let Some(last) = page.last().map(|p| p.id) else { break };
            self.tried = Some(last);
            let mut by_volume: BTreeMap<String, Vec<PendingUnlink>> = BTreeMap::new();
            for file in page {
                by_volume.entry(file.volume.clone()).or_default().push(file);
            }
            let mut calm = false;
            let mut rest: Vec<(String, Vec<PendingUnlink>)> = by_volume.into_iter().collect();
            while !rest.is_empty() {
                for (volume, files) in &mut rest {
                    let Some(hurry) = may(volume).filter(|_| !self.busy.contains_key(volume))
                    else {
                        self.later(RETRY);
                        files.clear();
                        continue;
                    };
                    calm |= !hurry;
                    let some = if hurry { files.len() } else { files.len().min(AT_ONCE) };
                    self.start(volume, files.drain(..some).collect());
                }
                self.collect(Some(Instant::now() + PATIENCE), &mut sum, &mut late).await?;
                rest.retain(|(_, files)| !files.is_empty());
                if calm && !rest.is_empty() {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        Ok(sum)
    }

    fn start(&mut self, volume: &str, files: Vec<PendingUnlink>) {
        for file in &files {
            self.waiting.insert(file.id, (file.volume.clone(), file.bytes));
        }
        self.busy.insert(volume.to_owned(), Instant::now());
        let (volumes, volume) = (Arc::clone(&self.volumes), volume.to_owned());
        self.working.spawn(async move {
            let paths: Vec<_> = files.iter().map(|f| f.path.clone()).collect();
            let done = volumes.unlink(&volume, &paths).await;
            Tried { volume, files, done }
        });
    }

    /// Takes in what is done; waits for the rest until `until`.
    async fn collect(
        &mut self,
        until: Option<Instant>,
        sum: &mut Unlinked,
        late: &mut impl FnMut(&str, u64),
    ) -> Result<()> {
        loop {
            let done = match until {
                None => self.working.try_join_next(),
                Some(until) => match timeout_at(until, self.working.join_next()).await {
                    Ok(done) => done,
                    Err(_) => {
                        // It is not started again before it answers.
                        self.later(PATIENCE);
                        return Ok(());
                    }
                },
            };
            match done {
                None => return Ok(()),
                Some(Ok(tried)) => self.take(tried, sum, late).await?,
                Some(Err(error)) => {
                    tracing::error!(%error, "unlinking files panicked");
                    self.busy.clear();
                    self.later(RETRY);
                }
            }
        }
    }

    async fn take(
        &mut self,
        tried: Tried,
        sum: &mut Unlinked,
        late: &mut impl FnMut(&str, u64),
    ) -> Result<()> {
        let Tried { volume, files, done } = tried;
        self.busy.remove(&volume);
        let disk::Unlinked { failed, shown } = match done {
            Ok(done) => done,
            Err(error) => {
                tracing::warn!(volume, %error, files = files.len(), "files could not be unlinked");
                sum.failed += files.len() as u64;
                self.later(RETRY);
                return Ok(());
            }
        };
        if let Some(first) = failed.first() {
            let error: &dyn std::error::Error = &first.error;
            tracing::warn!(volume, error, files = failed.len(), "files could not be unlinked");
            sum.failed += failed.len() as u64;
            self.later(RETRY);
        }
        let gone = files.iter().enumerate();
        let gone = gone.filter(|(at, _)| failed.iter().all(|f| f.at != *at)).map(|(_, f)| f);
        let (mut ids, mut bytes) = (Vec::new(), 0_u64);
        for file in gone {
            ids.push(file.id);
            sum.gone.push((volume.clone(), file.segment));
            bytes = bytes.saturating_add(file.bytes);
            self.waiting.remove(&file.id);
        }
        late(&volume, bytes.saturating_sub(shown.unwrap_or(bytes)));
        sum.files += ids.len() as u64;
        self.store.unlinked(&ids).await
    }

    fn later(&mut self, wait: Duration) {
        let at = Instant::now() + wait;
        self.again_at = Some(self.again_at.map_or(at, |earlier| earlier.min(at)));
    }
}
