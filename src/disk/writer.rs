//! The writer of a volume: one thread, one queue bounded by bytes.
//!
//! # Why a thread and not async files
//!
//! tokio's files are a blocking pool underneath: a thread hop for each call and no order between
//! streams. One thread a volume is as parallel as a disk is, keeps every file's writes in order
//! without a lock, and makes "how far behind is this disk" one number: the queue's bytes.
//!
//! # When the queue is full
//!
//! The submitter is told at once ([`Refused::Full`](super::Refused::Full)) and sheds whole groups of pictures: a slow
//! disk never blocks a camera's socket and never takes memory without end. Opening and closing are
//! let in above the bound (a few KiB each), or else a full queue could not be ended in order.
//!
//! # When a write fails
//!
//! The file is cut back to its last whole fragment, the owner is told once, and everything else
//! that is queued for that file is dropped. What was written before stays readable.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    OpenSegments,
    counters::VolumeCounters,
    fs::{Fs, FsFile, append_all},
    open::{Fragment, OpenSegment},
    path,
    queue::{Command, Completion, Completions, Draft, Queue},
    sync::Syncer,
};
use crate::{id::SegmentId, model::NewSegment};

/// Whether a write failed because there is no room.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

#[derive(Debug)]
struct OpenFile {
    file: Arc<dyn FsFile>,
    segment: Arc<OpenSegment>,
    completions: Completions,
    /// Whole boxes written.
    len: u64,
    failed: bool,
}

/// The thread's own state.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) root: PathBuf,
    /// As rows name it.
    pub(super) name: String,
    pub(super) fs: Arc<dyn Fs>,
    pub(super) queue: Arc<Queue>,
    pub(super) syncer: Arc<Syncer>,
    pub(super) open: Arc<OpenSegments>,
    pub(super) counters: Arc<VolumeCounters>,
    pub(super) failure: Arc<super::Failure>,
}

impl Writer {
    /// Works until the queue is stopped and empty.
    pub(super) fn run(self) {
        // Also when a panic ends this thread, submitters must hear that nobody writes any more.
        let _stop = StopOnDrop(Arc::clone(&self.queue));
        let mut files: HashMap<SegmentId, OpenFile> = HashMap::new();
        while let Some((command, cost)) = self.queue.next() {
            match command {
                Command::Open { draft, completions } => {
                    self.open(&mut files, *draft, completions);
                }
                Command::Append { segment, parts, fragment } => {
                    if let Some(file) = files.get_mut(&segment) {
                        self.append(file, &parts, fragment);
                    }
                }
                Command::Close { segment, tail, now } => {
                    if let Some(file) = files.remove(&segment) {
                        self.close(file, &tail, now);
                    }
                }
            }
            self.counters.open_files.store(files.len() as u64, Relaxed);
            self.queue.done(cost);
        }
        for (_, file) in files.drain() {
            self.close(file, &[], true);
        }
    }

    fn open(
        &self,
        files: &mut HashMap<SegmentId, OpenFile>,
        draft: Draft,
        completions: Completions,
    ) {
        let id = draft.row.id;
        let header = [draft.header.clone()];
        let made = self.create(&draft).and_then(|(file, relative, absolute)| {
            match self.timed(&*file, &header) {
                Ok(()) => Ok((file, relative, absolute)),
                Err(e) => {
                    // A file without a header is nobody's footage.
                    let _ = std::fs::remove_file(&absolute);
                    Err(e)
                }
            }
        });
        let (file, relative, absolute) = match made {
            Ok(made) => made,
            Err(source) => {
                self.failure.set(&source);
                self.send(&completions, Completion::Failed { segment: id, opened: false, source });
                return;
            }
        };
        let len = draft.header.len() as u64;
        let row = NewSegment { volume: self.name.clone(), path: relative, ..draft.row };
        let segment = Arc::new(OpenSegment::new(row, draft.tracks, draft.live_run, len, absolute));
        self.open.add(Arc::clone(&segment));
        self.syncer.touch(id, &file);
        self.send(&completions, Completion::Opened(Arc::clone(&segment)));
        files.insert(id, OpenFile { file, segment, completions, len, failed: false });
    }

    /// Makes the file under the first name that is free.
    fn create(&self, draft: &Draft) -> io::Result<(Arc<dyn FsFile>, String, PathBuf)> {
        let folder = path::folder(&draft.camera, draft.role, draft.row.start);
        let absolute = self.root.join(&folder);
        self.create_folder(&absolute)?;
        let (mut n, mut pruned) = (0, 0);
        loop {
            let name = path::file_name(draft.row.start, n);
            let file = absolute.join(&name);
            match self.fs.create_file(&file) {
                Ok(made) => return Ok((made, format!("{folder}/{name}"), file)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && n < MAX_REPEATS => n += 1,
                // Somebody deleted the last file in it just now, and the empty folder with it.
                Err(e) if e.kind() == io::ErrorKind::NotFound && pruned < MAX_PRUNED => {
                    pruned += 1;
                    self.create_folder(&absolute)?;
                }
                Err(e) => return Err(e),
            }
        }
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        if self.fs.create_folder(folder)? {
            // Every level may be new.
            let below = folder.ancestors().take_while(|a| a.starts_with(&self.root));
            below.for_each(|a| self.syncer.touch_folder(a));
        } else {
            self.syncer.touch_folder(folder);
        }
        Ok(())
    }

    fn append(&self, open: &mut OpenFile, parts: &[Bytes], fragment: Arc<Fragment>) {
        if open.failed {
            return;
        }
        let segment = open.segment.opened.id;
        match self.timed(&*open.file, parts) {
            Ok(()) => {
                open.len = fragment.end_offset();
                self.failure.clear();
                self.syncer.touch(segment, &open.file);
                open.segment.push(fragment);
                self.send(&open.completions, Completion::Written { segment });
            }
            Err(source) => {
                open.failed = true;
                self.failure.set(&source);
                self.cut(open);
                let failed = Completion::Failed { segment, opened: true, source };
                self.send(&open.completions, failed);
            }
        }
    }

    fn close(&self, mut open: OpenFile, tail: &[Bytes], now: bool) {
        let tail_len: usize = tail.iter().map(Bytes::len).sum();
        if !open.failed && tail_len > 0 {
            match self.timed(&*open.file, tail) {
                Ok(()) => open.len += tail_len as u64,
                // The tail only repeats what the fragments say: the segment is whole without.
                Err(source) => {
                    self.failure.set(&source);
                    self.cut(&open);
                }
            }
        }
        open.segment.finish();
        let segment = open.segment.opened.id;
        self.send(&open.completions, Completion::Finished { segment });
        self.syncer.close(segment, open.file, open.len, open.completions, now);
    }

    fn timed(&self, file: &dyn FsFile, parts: &[Bytes]) -> io::Result<()> {
        let began = Instant::now();
        let outcome = append_all(file, parts);
        self.counters.write_latency.record(began.elapsed());
        match &outcome {
            Ok(()) => {
                let bytes: usize = parts.iter().map(Bytes::len).sum();
                self.counters.bytes_written.fetch_add(bytes as u64, Relaxed);
            }
            Err(_) => {
                self.counters.write_errors.fetch_add(1, Relaxed);
            }
        }
        outcome
    }

    fn cut(&self, open: &OpenFile) {
        if let Err(error) = open.file.truncate(open.len) {
            // Then the torn bytes stay: players stop before them, and `reindex` cuts them.
            tracing::warn!(
                segment.path = %open.segment.opened.path,
                %error,
                "cannot cut a segment back after a failed write"
            );
        }
    }

    fn send(&self, completions: &Completions, completion: Completion) {
        // A recorder that is gone has nobody left to tell.
        let _ = completions.send(completion);
    }
}

/// How often one millisecond's name may repeat before we call the folder broken.
const MAX_REPEATS: u32 = 10_000;

/// How often a folder may vanish between being made and being used.
const MAX_PRUNED: u32 = 3;

struct StopOnDrop(Arc<Queue>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// A volume's path as rows name it.
pub(super) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
