//! The segments now being written, with the index of what can already be read from them.
//!
//! A closed segment's index stands in its file's tail and in its row; an open one's stands here.
//! Both the recorder's completions and playback reach it here, since neither may reach the other.
//!
//! # Invariants
//!
//! * A fragment is listed only after all its bytes were handed to the operating system, so whoever
//!   sees it can read it.
//! * A fragment never changes once listed; the list only grows, until the segment is finished. It
//!   shrinks once at most: when a sync failed, by what came after the last good one.
//! * A segment leaves the registry only when its owner says so: after its row was completed. Who
//!   looks here first and into the store second misses none.
//!
//! The `std` mutexes guard pushes and clones of `Arc`s and are never held over an await.

use std::{
    collections::HashMap,
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::reader::{ReadError, SegmentReader};
use crate::{
    id::{RunId, SegmentId, StreamId},
    model::NewSegment,
    proto::{
        access_unit::{TrackIndex, Tracks},
        fmp4::SampleRef,
        time::WallTime,
    },
};

/// The samples of one track in one fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FragmentTrack {
    /// Which.
    pub track: TrackIndex,
    /// In decoding order; never empty.
    pub samples: Vec<SampleRef>,
}

/// One fragment of an open segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Of its first box (`prft`), from the file's start.
    pub offset: u64,
    /// Content of its `mdat`, from the file's start.
    pub payload: Range<u64>,
    /// Begins with a key frame of the leading track.
    pub key: bool,
    /// Wall time of its first unit.
    pub wall: WallTime,
    /// Wall time of the end of its last unit.
    pub end: WallTime,
    /// Tracks that have samples in it.
    pub tracks: Vec<FragmentTrack>,
}

impl Fragment {
    /// One past its last byte.
    #[must_use]
    pub const fn end_offset(&self) -> u64 {
        self.payload.end
    }
}

/// How far an open segment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Fragments that can be read.
    pub fragments: usize,
    /// Bytes that can be read: header and whole fragments, without the tail box.
    pub bytes: u64,
    /// Wall time of the end of the last one; the segment's start before the first.
    pub end: WallTime,
    /// Nothing more will be added.
    pub finished: bool,
    /// The sync that covers its last byte is over, well or not: its volume does nothing to the file
    /// any more.
    pub settled: bool,
}

/// A segment being written, or written and waiting for its row to be completed.
#[derive(Debug)]
pub struct OpenSegment {
    /// What its row says.
    pub opened: NewSegment,
    /// Its tracks.
    pub tracks: Tracks,
    /// The hub's name for its run: differs from `opened.run` where the recorder had to begin a new
    /// run within one of the camera's (FORMAT: a run has no hole).
    pub live_run: RunId,
    /// Bytes before the first fragment.
    pub header_len: u64,
    file: PathBuf,
    fragments: Mutex<Vec<Arc<Fragment>>>,
    progress: watch::Sender<Progress>,
}

impl OpenSegment {
    pub(super) fn new(
        opened: NewSegment,
        tracks: Tracks,
        live_run: RunId,
        header_len: u64,
        file: PathBuf,
    ) -> Self {
        let progress = Progress {
            fragments: 0,
            bytes: header_len,
            end: opened.start,
            finished: false,
            settled: false,
        };
        Self {
            opened,
            tracks,
            live_run,
            header_len,
            file,
            fragments: Mutex::default(),
            progress: watch::Sender::new(progress),
        }
    }

    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Wakes its holder when fragments are added and when the segment is finished.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// The fragments from index `from` on.
    #[must_use]
    pub fn fragments(&self, from: usize) -> Vec<Arc<Fragment>> {
        lock(&self.fragments).get(from..).unwrap_or_default().to_vec()
    }

    /// A reader of its file.
    ///
    /// # Errors
    ///
    /// [`ReadError::Missing`] when somebody deleted the file, or the system's.
    pub async fn reader(&self) -> Result<SegmentReader, ReadError> {
        SegmentReader::open(self.file.clone()).await
    }

    pub(super) fn push(&self, fragment: Arc<Fragment>) {
        let (bytes, end) = (fragment.end_offset(), fragment.end);
        let fragments = {
            let mut list = lock(&self.fragments);
            list.push(fragment);
            list.len()
        };
        self.progress.send_replace(Progress {
            fragments,
            bytes,
            end,
            finished: false,
            settled: false,
        });
    }

    /// Forgets the fragments that end behind `bytes`; says how many are left.
    pub(super) fn keep(&self, bytes: u64) -> usize {
        let (kept, end) = {
            let mut list = lock(&self.fragments);
            list.retain(|f| f.end_offset() <= bytes);
            (list.len(), list.last().map_or(self.opened.start, |f| f.end))
        };
        self.progress.send_modify(|p| {
            p.fragments = kept;
            p.bytes = p.bytes.min(bytes);
            p.end = end;
        });
        kept
    }

    pub(super) fn settle(&self) {
        self.progress.send_modify(|p| p.settled = true);
    }

    pub(super) fn finish(&self) {
        self.progress.send_modify(|p| p.finished = true);
    }
}

/// All open segments of all volumes, by stream.
#[derive(Debug, Default)]
pub struct OpenSegments {
    streams: Mutex<HashMap<StreamId, Vec<Arc<OpenSegment>>>>,
}

impl OpenSegments {
    /// Those of `stream`, in the order they were opened: mostly none or one; for a moment two at a
    /// rotation, until the row of the older is complete.
    #[must_use]
    pub fn of(&self, stream: StreamId) -> Vec<Arc<OpenSegment>> {
        lock(&self.streams).get(&stream).cloned().unwrap_or_default()
    }

    /// One by its id.
    #[must_use]
    pub fn get(&self, id: SegmentId) -> Option<Arc<OpenSegment>> {
        lock(&self.streams).values().flatten().find(|s| s.opened.id == id).cloned()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.streams).values().map(Vec::len).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets a segment: its row now says everything.
    pub fn remove(&self, stream: StreamId, id: SegmentId) {
        let mut streams = lock(&self.streams);
        if let Some(list) = streams.get_mut(&stream) {
            list.retain(|s| s.opened.id != id);
            if list.is_empty() {
                streams.remove(&stream);
            }
        }
    }

    pub(super) fn add(&self, segment: Arc<OpenSegment>) {
        lock(&self.streams).entry(segment.opened.stream).or_default().push(segment);
    }
}

/// A poisoned mutex only says that another task panicked; every change here is one push.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
