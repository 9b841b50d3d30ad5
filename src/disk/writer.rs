//! The writer of a volume: one thread, one queue bounded by bytes.
//!
//! # Why a thread and not async files
//!
//! tokio's files are a blocking pool underneath: a thread hop for each call and no order between
//! streams. One thread a volume is as parallel as a disk is, keeps every file's writes in order
//! without a lock, and makes "how far behind is this disk" one number: the queue's bytes.
//!
//! # When a write fails
//!
//! The file is cut back to its last whole fragment, the owner is told once, and everything else
//! that is queued for that file is dropped. What was written before stays readable, and a cut never
//! reaches below what was synced. The owner may still give the file its tail box, for which room is
//! kept (`ground.rs`).
//!
//! # When the volume goes away
//!
//! No file is made on what is not the volume any more, and files that were open when it went are
//! not written to when it is back: what became of their last bytes is for recovery to find out.
//!
//! # When this thread panics
//!
//! It is our own mistake, and costs the segments that were open: their owners are told, the volume
//! counts as failing until a probe works, and the thread goes on with the next command.

use std::{
    collections::HashMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    OpenSegments,
    completion::{Completion, Completions, Draft, Fault},
    fs::{FsFile, append_all},
    ground::Ground,
    open::{Fragment, OpenSegment},
    path,
    queue::{Command, Queue, Ticket},
    state::{VolumeState, is_full},
    sync::{Closed, Syncer},
};
use crate::{id::SegmentId, model::NewSegment};

#[derive(Debug)]
struct OpenFile {
    file: Arc<dyn FsFile>,
    segment: Arc<OpenSegment>,
    completions: Completions,
    /// Whole boxes written.
    len: u64,
    /// Takes no more fragments.
    failed: bool,
    /// It could not be cut back: nothing may be appended, not even a tail.
    torn: bool,
    /// Of the volume, when the file was made.
    generation: u64,
}

/// What it works with.
#[derive(Debug)]
struct Tools {
    ground: Arc<Ground>,
    syncer: Arc<Syncer>,
    open: Arc<OpenSegments>,
}

/// The thread's own state.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Arc<Queue>,
    tools: Tools,
    files: HashMap<SegmentId, OpenFile>,
    /// Of the command being carried out, for the case that it panics.
    ticket: Option<Ticket>,
    opening: Option<(SegmentId, Completions)>,
}

impl Writer {
    pub(super) fn new(
        ground: Arc<Ground>,
        queue: Arc<Queue>,
        syncer: Arc<Syncer>,
        open: Arc<OpenSegments>,
    ) -> Self {
        let tools = Tools { ground, syncer, open };
        Self { queue, tools, files: HashMap::new(), ticket: None, opening: None }
    }

    /// Works until the queue is stopped and empty.
    pub(super) fn run(mut self) {
        // Whatever ends this thread, submitters must hear that nobody writes any more.
        let _stop = StopOnDrop(Arc::clone(&self.queue));
        while catch_unwind(AssertUnwindSafe(|| self.work())).is_err() {
            self.after_a_panic();
        }
        for (_, file) in std::mem::take(&mut self.files) {
            self.tools.close(file, &[], true);
        }
    }

    fn work(&mut self) {
        while let Some((command, ticket)) = self.queue.next() {
            self.ticket = Some(ticket);
            self.carry_out(command);
            let open = self.files.len() as u64;
            self.tools.ground.counters.open_files.store(open, Relaxed);
            self.done();
        }
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Open { draft, completions } => {
                let id = draft.row.id;
                self.opening = Some((id, completions.clone()));
                if let Some(file) = self.tools.open(*draft, completions) {
                    self.files.insert(id, file);
                }
                self.opening = None;
            }
            Command::Append { segment, parts, fragment } => {
                if let Some(file) = self.files.get_mut(&segment) {
                    self.tools.append(file, &parts, fragment);
                }
            }
            Command::Shed { segment } => {
                if let Some(file) = self.files.get_mut(&segment) {
                    fail(file, Fault::Shed);
                }
            }
            Command::Distrust { segment, durable, why } => {
                if let Some(file) = self.files.get_mut(&segment) {
                    self.tools.distrust(file, durable, why);
                }
            }
            Command::Close { segment, tail, fragments, now } => {
                if let Some(file) = self.files.remove(&segment) {
                    let fits = file.segment.progress().fragments == fragments;
                    self.tools.close(file, if fits { &tail } else { &[] }, now);
                }
            }
        }
    }

    fn done(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.queue.done(&ticket);
        }
    }

    fn after_a_panic(&mut self) {
        let ground = &self.tools.ground;
        ground.counters.panics.fetch_add(1, Relaxed);
        ground.availability.set(VolumeState::Failing, Some("its writer panicked".to_owned()));
        ground.availability.look();
        for file in self.files.values_mut() {
            // What stands behind the last whole fragment is unknown.
            file.torn |= file.file.truncate(file.len).is_err();
            fail(file, Fault::Panicked);
        }
        if let Some((segment, completions)) = self.opening.take() {
            send(&completions, not_opened(segment, Fault::Panicked));
        }
        self.done();
    }
}

impl Tools {
    fn open(&self, draft: Draft, completions: Completions) -> Option<OpenFile> {
        let id = draft.row.id;
        let generation = self.ground.availability.generation();
        let made = if self.ground.is_here() {
            self.create(&draft).map_err(Fault::Io)
        } else {
            Err(Fault::Away)
        };
        let (file, relative, absolute) = match made {
            Ok(made) => made,
            Err(fault) => {
                match &fault {
                    Fault::Io(error) => self.failed(error),
                    _ => self.ground.availability.look(),
                }
                send(&completions, not_opened(id, fault));
                return None;
            }
        };
        let len = draft.header.len() as u64;
        let row = NewSegment { volume: self.ground.name.clone(), path: relative, ..draft.row };
        let segment = Arc::new(OpenSegment::new(row, draft.tracks, draft.live_run, len, absolute));
        self.open.add(Arc::clone(&segment));
        self.syncer.touch(&segment, &file, len);
        send(&completions, Completion::Opened(Arc::clone(&segment)));
        let (failed, torn) = (false, false);
        Some(OpenFile { file, segment, completions, len, failed, torn, generation })
    }

    /// Makes the file under the first name that is free, with its header.
    fn create(&self, draft: &Draft) -> io::Result<(Arc<dyn FsFile>, String, PathBuf)> {
        let ground = &*self.ground;
        let folder = path::folder(&draft.camera, draft.role, draft.row.start);
        let absolute = ground.root.join(&folder);
        self.make_folder(&absolute)?;
        let (mut n, mut pruned) = (0, 0);
        let (file, relative, path) = loop {
            let name = path::file_name(draft.row.start, n);
            let path = absolute.join(&name);
            match ground.fs.create_file(&path) {
                Ok(made) => break (made, format!("{folder}/{name}"), path),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && n < MAX_REPEATS => n += 1,
                // Somebody deleted the last file in it just now, and the empty folder with it.
                Err(e) if e.kind() == io::ErrorKind::NotFound && pruned < MAX_PRUNED => {
                    pruned += 1;
                    self.make_folder(&absolute)?;
                }
                Err(e) => return Err(e),
            }
        };
        if let Err(e) = self.write(&*file, std::slice::from_ref(&draft.header)) {
            // A file without a header is nobody's footage.
            let _ = ground.fs.remove_file(&path);
            return Err(e);
        }
        // Only now: a folder that is synced before it has the entry is not synced again.
        self.syncer.touch_folder(&absolute);
        Ok((file, relative, path))
    }

    /// Makes a folder if it is not there. Those that lead to it are dirty then, whatever becomes of
    /// the file: the next one finds the folder made, and does not ask whether its name is durable.
    fn make_folder(&self, absolute: &Path) -> io::Result<()> {
        let ground = &*self.ground;
        if ground.fs.create_folder(absolute)? {
            let above = absolute.ancestors().skip(1).take_while(|a| a.starts_with(&ground.root));
            above.for_each(|a: &Path| self.syncer.touch_folder(a));
        }
        Ok(())
    }

    fn append(&self, open: &mut OpenFile, parts: &[Bytes], fragment: Arc<Fragment>) {
        if open.failed {
            return;
        }
        let ground = &*self.ground;
        let bytes = parts.iter().map(|p| p.len() as u64).sum();
        if open.generation != ground.availability.generation() {
            open.torn = true;
            return fail(open, Fault::Away);
        }
        if !ground.may_write(bytes) {
            ground.found_no_room();
            return fail(open, Fault::NoRoom);
        }
        match self.write(&*open.file, parts) {
            Ok(()) => {
                open.len = fragment.end_offset();
                self.syncer.touch(&open.segment, &open.file, open.len);
                open.segment.push(fragment);
                send(&open.completions, Completion::Written { segment: open.segment.opened.id });
            }
            Err(error) => {
                self.failed(&error);
                cut(open);
                fail(open, Fault::Io(error));
            }
        }
    }

    fn distrust(&self, open: &mut OpenFile, durable: u64, why: Arc<io::Error>) {
        open.len = open.len.min(durable);
        cut(open);
        open.segment.keep(open.len);
        self.syncer.cut(open.segment.opened.id);
        self.ground.counters.distrusted.fetch_add(1, Relaxed);
        // Also when it had failed before: now there is less of it.
        open.failed = false;
        fail(open, Fault::Sync(why));
    }

    fn close(&self, mut open: OpenFile, tail: &[Bytes], now: bool) {
        let tail_len: u64 = tail.iter().map(|p| p.len() as u64).sum();
        let away = open.generation != self.ground.availability.generation();
        if tail_len > 0 && !open.torn && !away {
            match self.write(&*open.file, tail) {
                Ok(()) => open.len += tail_len,
                // The tail only repeats what the fragments say: the segment is whole without.
                Err(error) => {
                    self.failed(&error);
                    cut(&mut open);
                }
            }
        }
        let OpenFile { file, segment, completions, len, torn, .. } = open;
        send(&completions, Completion::Finished { segment: segment.opened.id });
        let closed = Closed { segment: Arc::clone(&segment), completions, known: !torn && !away };
        self.syncer.close(file, len, closed, now);
        // Whoever sees it finished may ask for a sync, and that covers it.
        segment.finish();
    }

    /// Appends all of `parts`.
    fn write(&self, file: &dyn FsFile, parts: &[Bytes]) -> io::Result<()> {
        let counters = &self.ground.counters;
        let began = Instant::now();
        let outcome = append_all(file, parts);
        counters.write_latency.record(began.elapsed());
        match &outcome {
            Ok(()) => {
                let bytes = parts.iter().map(|p| p.len() as u64).sum();
                counters.bytes_written.fetch_add(bytes, Relaxed);
                self.ground.wrote(bytes);
            }
            Err(_) => {
                counters.write_errors.fetch_add(1, Relaxed);
            }
        }
        outcome
    }

    fn failed(&self, error: &io::Error) {
        if is_full(error) {
            self.ground.found_no_room();
        }
        self.ground.availability.failed(error);
    }
}

/// Ends a file for fragments, and tells its owner, once.
fn fail(open: &mut OpenFile, fault: Fault) {
    if std::mem::replace(&mut open.failed, true) {
        return;
    }
    let (segment, kept) = (open.segment.opened.id, open.segment.progress().fragments);
    send(&open.completions, Completion::Failed { segment, opened: true, kept, fault });
}

fn cut(open: &mut OpenFile) {
    if let Err(error) = open.file.truncate(open.len) {
        // Then the torn bytes stay: players stop before them, and recovery cuts them.
        open.torn = true;
        let path = &open.segment.opened.path;
        tracing::warn!(segment.path = %path, %error, "cannot cut a segment back");
    }
}

const fn not_opened(segment: SegmentId, fault: Fault) -> Completion {
    Completion::Failed { segment, opened: false, kept: 0, fault }
}

fn send(completions: &Completions, completion: Completion) {
    // A recorder that is gone has nobody left to tell.
    let _ = completions.send(completion);
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
