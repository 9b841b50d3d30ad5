//! One pass over the files of a stream: those that the index does not know are put into it, and its
//! timeline is made to fit.
//!
//! Files of one `<camera>/<stream>` folder are one unit of work, on all volumes together, for a run
//! may lie on several. They are read in parallel and put in some hundred a transaction; runs and
//! gaps follow when all are in. A pass that is interrupted in between finds the rows it has put in
//! and goes on; what it then does not remember of their files (why the run before ended) it reads
//! again from the few files that begin a run.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
};

use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::{
    Place, Progress, RebuildError, Site, chain, deleted,
    plan::{self, About, After, Piece},
    walk::{self, Folder, Found},
};
use crate::{
    disk::Volumes,
    footage::{self, Footage, ReadError},
    id::{CameraId, Role, RunId, SegmentId, Slug, StreamId},
    model::{
        CameraState, Gap, Import, RecordMode, RetentionLimits, RunRow, Segment, State, StreamState,
        Transport, WallRange, WholeSegment,
    },
    proto::{reason::GapReason, time::WallTime},
    store::{Rewrite, Store, StoreError},
};

/// Files read by one blocking task.
const CHUNK: usize = 64;
/// Such tasks at once: enough to keep a disk's queue busy, and two cores.
const AT_ONCE: usize = 4;
/// Segments of one transaction.
const BATCH: usize = 500;
/// Rows a page.
const PAGE: u32 = 2_000;
/// Times a timeline that changes under our hands is read again.
const TRIES: u32 = 20;

/// Far enough from the ends of the number that spans can be added.
pub(super) const ALWAYS: WallRange =
    WallTime::from_micros(i64::MIN / 2)..WallTime::from_micros(i64::MAX / 2);

/// A file that gives no rows, and why.
pub(super) struct Unread {
    pub(super) found: Found,
    pub(super) error: ReadError,
}

/// What a pass has learned of the files of one folder.
#[derive(Default)]
pub(super) struct Learned {
    /// Files that had no row.
    pub(super) new: u64,
    /// Rows that were put in.
    pub(super) imported: u64,
    /// Torn files that were made whole.
    pub(super) mended: u64,
    /// Files of deleted cameras, which are to be unlinked.
    pub(super) deleted: u64,
    pub(super) unread: Vec<Unread>,
    pub(super) streams: BTreeSet<StreamId>,
    /// Of segments that were read: why the run before ended, and whether they were whole.
    pub(super) told: HashMap<SegmentId, (Option<GapReason>, bool)>,
}

/// A stream that the index knows.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) stream: StreamId,
    pub(super) slug: Slug,
    pub(super) role: Role,
    pub(super) created: WallTime,
    /// Since when nothing is expected of it.
    pub(super) hidden: Option<WallTime>,
    /// Why nothing is recorded while that is as it should be; `None` where footage is expected
    /// (as far as can be said: what a schedule wants is seen to when the stream is begun).
    pub(super) idle: Option<GapReason>,
}

pub(super) struct Pass<'a> {
    pub(super) store: &'a Store,
    pub(super) site: Arc<Site>,
    /// Of a recorder at work: what it writes now is not to be touched.
    pub(super) live: Option<&'a Volumes>,
    /// The index was lost: what it says of the time before now is not to be believed.
    pub(super) anew: bool,
    /// Cameras that were deleted with their footage, and when.
    pub(super) gone: HashMap<CameraId, WallTime>,
    pub(super) progress: &'a Progress,
    pub(super) stop: CancellationToken,
}

impl Pass<'_> {
    /// All streams of the index, hidden and deleted ones too.
    pub(super) async fn known(&self) -> Result<Vec<Known>, RebuildError> {
        let state = self.store.state().await?;
        let wall = WallTime::from_micros;
        let streams = state.cameras.iter().flat_map(|camera| {
            camera.streams.iter().map(move |stream| Known {
                stream: stream.id,
                slug: camera.slug.clone(),
                role: stream.role,
                created: wall(stream.created_us),
                hidden: [stream.hidden_us, camera.deleted_us].into_iter().flatten().min().map(wall),
                idle: match stream.record.unwrap_or(camera.record) {
                    _ if !camera.enabled => Some(GapReason::Disabled),
                    mode => (!mode.wants_footage()).then(|| mode.idle_reason()),
                },
            })
        });
        Ok(streams.collect())
    }

    /// Puts the files of one folder that have no row into the index.
    pub(super) async fn adopt(
        &self,
        folder: &Folder,
        files: Vec<Found>,
        known: &mut Vec<Known>,
    ) -> Result<Learned, RebuildError> {
        let mut learned = Learned::default();
        let mut paths: HashSet<(String, String)> = HashSet::new();
        for of in known.iter().filter(|k| (&k.slug, k.role) == (&folder.0, folder.1)) {
            learned.streams.insert(of.stream);
            let rows = rows(self.store, of.stream).await?;
            paths.extend(rows.into_iter().map(|r| (r.opened.volume, r.opened.path)));
        }
        let all = files.len();
        let is_new = |f: &Found| {
            let volume = self.site.places.get(f.place).map(|p| p.volume.clone());
            !paths.contains(&(volume.unwrap_or_default(), f.path.clone()))
        };
        let new: Vec<Found> = files.into_iter().filter(is_new).collect();
        drop(paths);
        self.progress.advance((all - new.len()) as u64);
        learned.new = new.len() as u64;
        let chunks: Vec<Vec<Found>> = new.chunks(CHUNK).map(<[Found]>::to_vec).collect();
        let mut reading = stream::iter(chunks)
            .map(|chunk| {
                let site = Arc::clone(&self.site);
                async move { tokio::task::spawn_blocking(move || read_all(&site, chunk)).await }
            })
            .buffered(AT_ONCE);
        let mut batch: Vec<Footage> = Vec::new();
        while let Some(chunk) = reading.next().await {
            if self.stop.is_cancelled() {
                return Err(RebuildError::Stopped);
            }
            for (found, read) in chunk.map_err(|_| RebuildError::Panicked)? {
                self.progress.advance(1);
                match read {
                    Ok(footage) if self.is_gone(&footage) => {
                        learned.deleted += 1;
                        self.store.unlink_files(vec![deleted::unlink(&footage)]).await?;
                    }
                    Ok(footage) if footage.whole => batch.push(footage),
                    Ok(footage) => {
                        let mended = self.mend(&found, footage).await?;
                        learned.mended += u64::from(mended.is_some());
                        batch.extend(mended);
                    }
                    Err(error) => learned.unread.push(Unread { found, error }),
                }
            }
            if batch.len() >= BATCH {
                // The last one stays: the next file may say where it ends.
                let last = batch.pop();
                self.import(&mut batch, folder, known, &mut learned).await?;
                batch.extend(last);
            }
        }
        drop(reading);
        self.import(&mut batch, folder, known, &mut learned).await?;
        Ok(learned)
    }

    /// Whether it was deleted with its camera.
    fn is_gone(&self, footage: &Footage) -> bool {
        self.gone.get(&footage.camera).is_some_and(|before| footage.opened.start < *before)
    }

    /// Makes a torn file whole, unless somebody writes it now.
    async fn mend(
        &self,
        found: &Found,
        mut footage: Footage,
    ) -> Result<Option<Footage>, RebuildError> {
        let id = footage.opened.id;
        // Whoever has left this list has its row, which the import leaves alone.
        if self.live.is_some_and(|v| v.open_segments().get(id).is_some()) {
            return Ok(None);
        }
        let Some(place) = self.site.places.get(found.place) else { return Ok(None) };
        let (path, row) = (place.root.join(&found.path), footage.opened.clone());
        let fs = Arc::clone(&self.site.fs);
        let mended = tokio::task::spawn_blocking(move || footage::mend(&*fs, &path, &row))
            .await
            .map_err(|_| RebuildError::Panicked)?;
        match mended {
            Ok(Some(mended)) => {
                footage.closed = mended.closed;
                Ok(Some(footage))
            }
            Ok(None) => Ok(None),
            // It is put in as it is: its rows are those of its whole fragments.
            Err(error) => {
                tracing::warn!(segment.path = %found.path, error = chain(&error), "not made whole");
                Ok(Some(footage))
            }
        }
    }

    async fn import(
        &self,
        batch: &mut Vec<Footage>,
        folder: &Folder,
        known: &mut Vec<Known>,
        learned: &mut Learned,
    ) -> Result<(), RebuildError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.make_known(batch, folder, known).await?;
        // As the recorder has it: a segment ends where the next one of its run begins.
        for at in 1..batch.len() {
            let Ok([last, next]) = batch.get_disjoint_mut([at - 1, at]) else { continue };
            let follows = last.opened.run == next.opened.run
                && last.opened.sequence + 1 == next.opened.sequence
                && next.opened.start > last.opened.start
                && next.opened.start - last.closed.end <= plan::JOIN;
            if follows {
                last.closed.end = next.opened.start;
            }
        }
        let mut runs: BTreeMap<RunId, RunRow> = BTreeMap::new();
        for footage in batch.iter() {
            let (opened, end) = (&footage.opened, footage.closed.end);
            learned.streams.insert(opened.stream);
            learned.told.insert(opened.id, (footage.previous_end, footage.whole));
            let run = runs.entry(opened.run).or_insert(RunRow {
                id: opened.run,
                stream: opened.stream,
                epoch: opened.epoch,
                start: opened.start,
                end: Some(end),
            });
            run.start = run.start.min(opened.start);
            run.end = run.end.max(Some(end));
        }
        let segments =
            batch.drain(..).map(|f| WholeSegment { opened: f.opened, closed: f.closed }).collect();
        let rows = Import { runs: runs.into_values().collect(), segments, gaps: Vec::new() };
        learned.imported += self.store.import(rows).await?.segments;
        Ok(())
    }

    /// Makes up deleted cameras for footage of which nothing but its files tells.
    async fn make_known(
        &self,
        batch: &[Footage],
        folder: &Folder,
        known: &mut Vec<Known>,
    ) -> Result<(), RebuildError> {
        let mut strangers: BTreeMap<StreamId, (&Footage, WallTime, WallTime)> = BTreeMap::new();
        for footage in batch {
            let (stream, start) = (footage.opened.stream, footage.opened.start);
            if known.iter().any(|k| k.stream == stream) {
                continue;
            }
            let entry = strangers.entry(stream).or_insert((footage, start, footage.closed.end));
            entry.1 = entry.1.min(start);
            entry.2 = entry.2.max(footage.closed.end);
        }
        for (stream, (footage, first, last)) in strangers {
            self.make_up(stream, footage, first, last, folder).await?;
            *known = self.known().await?;
        }
        Ok(())
    }

    async fn make_up(
        &self,
        stream: StreamId,
        footage: &Footage,
        first: WallTime,
        last: WallTime,
        folder: &Folder,
    ) -> Result<(), RebuildError> {
        let role = footage.role.parse().unwrap_or(folder.1);
        let slug: Slug = footage.slug.parse().unwrap_or_else(|_| folder.0.clone());
        let mut state = self.store.state().await?;
        let taken = |slug: &Slug| state.cameras.iter().any(|c| c.slug == *slug);
        let own = state.cameras.iter().find(|c| c.id == footage.camera);
        // Its camera may be known, and have another stream in that role.
        let id = match own {
            Some(camera) if camera.streams.iter().any(|s| s.role == role) => CameraId(stream.0),
            _ => footage.camera,
        };
        let mut camera = match own {
            Some(camera) if camera.id == id => {
                let mut camera = camera.clone();
                camera.streams.clear();
                camera
            }
            _ => {
                let free = if taken(&slug) { beside(&slug, id) } else { slug };
                made_up(id, free, first, self.site.clock.now())
            }
        };
        tracing::warn!(
            camera.slug = %camera.slug, %stream, "footage of a camera that nothing else tells of"
        );
        camera.streams.push(StreamState {
            id: stream,
            role,
            url_sealed: None,
            transport: Transport::Auto,
            audio: true,
            record: None,
            retention: None,
            volume: None,
            created_us: first.as_micros(),
            hidden_us: Some(last.as_micros()),
        });
        state = State { cameras: vec![camera], ..State::empty() };
        self.store.restore_state(state).await?;
        Ok(())
    }

    /// Makes runs and gaps of a stream fit its segments; says whether anything had to be changed.
    pub(super) async fn settle(
        &self,
        known: &Known,
        learned: &Learned,
    ) -> Result<bool, RebuildError> {
        for _ in 0..TRIES {
            let now = self.timeline(known, learned).await?;
            let Some(rewrite) = now.rewrite() else { return Ok(false) };
            match self.store.rewrite_timeline(known.stream, rewrite).await {
                Ok(()) => return Ok(true),
                // The recorder went on meanwhile.
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict("another timeline").into())
    }

    /// The timeline as the index has it, and as the segments make it.
    pub(super) async fn timeline(
        &self,
        known: &Known,
        learned: &Learned,
    ) -> Result<Timeline, RebuildError> {
        let stream = known.stream;
        // In this order: what begins after the gaps were read is not judged.
        let gaps = self.store.gaps_overlapping(stream, ALWAYS, u32::MAX).await?;
        let runs = self.store.runs(stream).await?;
        let rows = rows(self.store, stream).await?;
        let lasting = runs.iter().any(|r| r.end.is_none());
        let gap_lasts = gaps.iter().any(|g| g.end.is_none());
        let after = match known.hidden {
            _ if lasting => After::Live,
            Some(since) if !gap_lasts => After::Hidden(since),
            _ => After::Lasts(known.idle),
        };
        let mut pieces: Vec<Piece> = rows.iter().map(|r| piece(r, &learned.told)).collect();
        self.ask_files(&rows, &gaps, &mut pieces).await?;
        let unreadable = learned.unread.iter().filter(|u| holds_footage(&u.error));
        let unreadable = unreadable.map(|u| u.found.start).collect();
        let about = About {
            stream,
            created: known.created,
            after,
            known: &gaps,
            anew: self.anew,
            away: !self.site.away.is_empty(),
            unreadable: &unreadable,
        };
        let line = plan::line(pieces, &about);
        Ok(Timeline { runs, gaps, line })
    }

    /// Where a run begins, nothing tells why the one before ended, and no gap says it: its first file
    /// does.
    async fn ask_files(
        &self,
        rows: &[Segment],
        gaps: &[Gap],
        pieces: &mut [Piece],
    ) -> Result<(), RebuildError> {
        let told: HashSet<WallTime> = gaps.iter().filter_map(|g| g.end).collect();
        let mut wanted = Vec::new();
        for (at, (row, piece)) in rows.iter().zip(pieces.iter()).enumerate() {
            let first = piece.sequence == 0 && piece.previous_end.is_none();
            if !first || told.contains(&piece.start) {
                continue;
            }
            let place = self.site.places.iter().find(|p| p.volume == row.opened.volume);
            wanted.extend(place.map(|p| (at, p.root.clone(), row.opened.path.clone())));
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let read = move || -> Vec<(usize, Option<GapReason>)> {
            let end = |(at, root, path): (usize, PathBuf, String)| {
                let footage = footage::read(&root, "", &path).ok();
                (at, footage.and_then(|f| f.previous_end))
            };
            wanted.into_iter().map(end).collect()
        };
        let answers =
            tokio::task::spawn_blocking(read).await.map_err(|_| RebuildError::Panicked)?;
        for (at, previous_end) in answers {
            if let Some(piece) = pieces.get_mut(at) {
                piece.previous_end = previous_end;
            }
        }
        Ok(())
    }
}

/// A timeline as it is and as it ought to be.
pub(super) struct Timeline {
    pub(super) runs: Vec<RunRow>,
    pub(super) gaps: Vec<Gap>,
    pub(super) line: plan::Line,
}

impl Timeline {
    /// What leads from one to the other; `None`: they are the same.
    pub(super) fn rewrite(self) -> Option<Rewrite> {
        let Self { runs, mut gaps, line } = self;
        let lasting: HashSet<RunId> =
            runs.iter().filter(|r| r.end.is_none()).map(|r| r.id).collect();
        let mut old_runs: Vec<RunRow> = runs.into_iter().filter(|r| r.end.is_some()).collect();
        let mut runs: Vec<RunRow> =
            line.runs.into_iter().filter(|r| !lasting.contains(&r.id)).collect();
        let mut wanted = line.gaps;
        let by_start = |g: &Gap| (g.start, g.end, g.reason);
        gaps.sort_by_key(by_start);
        wanted.sort_by_key(by_start);
        old_runs.sort_by_key(|r| r.id);
        runs.sort_by_key(|r| r.id);
        let same =
            old_runs == runs && gaps == wanted && line.moved.is_empty() && line.ends.is_empty();
        let (moved, ends) = (line.moved, line.ends);
        (!same).then_some(Rewrite { old_runs, old_gaps: gaps, runs, gaps: wanted, moved, ends })
    }
}

fn piece(row: &Segment, told: &HashMap<SegmentId, (Option<GapReason>, bool)>) -> Piece {
    let (previous_end, whole) = told.get(&row.opened.id).copied().unwrap_or((None, true));
    Piece {
        id: row.opened.id,
        run: row.opened.run,
        epoch: row.opened.epoch,
        sequence: row.opened.sequence,
        start: row.opened.start,
        end: row.end,
        closed: row.closed,
        previous_end,
        whole,
    }
}

/// Whether such a file may hold footage that is not in the index.
pub(super) fn holds_footage(error: &ReadError) -> bool {
    matches!(error, ReadError::Io { .. } | ReadError::Damaged(_) | ReadError::Newer(_))
}

/// All rows of a stream, by start.
pub(super) async fn rows(store: &Store, stream: StreamId) -> Result<Vec<Segment>, StoreError> {
    let (mut rows, mut after): (Vec<Segment>, _) = (Vec::new(), None);
    loop {
        let page = store.segments_overlapping(stream, ALWAYS, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(rows) };
        after = Some((last.opened.start, last.opened.id));
        rows.extend(page);
    }
}

fn read_all(site: &Site, files: Vec<Found>) -> Vec<(Found, Result<Footage, ReadError>)> {
    let read = |found: Found| {
        let read = match site.places.get(found.place) {
            Some(Place { volume, root }) => footage::read(root, volume, &found.path),
            None => Err(ReadError::Foreign),
        };
        (found, read)
    };
    files.into_iter().map(read).collect()
}

/// The files of a folder; the listing blocks.
pub(super) async fn list(
    site: &Arc<Site>,
    folder: &Folder,
    at: &[usize],
) -> Result<(Vec<Found>, Vec<PathBuf>), RebuildError> {
    let (site, folder, at) = (Arc::clone(site), folder.clone(), at.to_vec());
    let path = site
        .places
        .first()
        .map(|p| p.root.join(folder.0.as_str()).join(folder.1.as_str()))
        .unwrap_or_default();
    let listing = move || {
        let mut foreign = Vec::new();
        let files = walk::files(&*site.fs, &site.places, &folder, &at, &mut foreign)?;
        Ok((files, foreign))
    };
    tokio::task::spawn_blocking(listing)
        .await
        .map_err(|_| RebuildError::Panicked)?
        .map_err(|source| RebuildError::List { path, source })
}

/// The folders of all cameras; the listing blocks.
pub(super) async fn folders(site: &Arc<Site>) -> Result<walk::Folders, RebuildError> {
    let path = site.places.first().map(|p| p.root.clone()).unwrap_or_default();
    let site = Arc::clone(site);
    tokio::task::spawn_blocking(move || walk::folders(&*site.fs, &site.places))
        .await
        .map_err(|_| RebuildError::Panicked)?
        .map_err(|source| RebuildError::List { path, source })
}

/// How many files there are, for the bar.
pub(super) async fn count(
    site: &Arc<Site>,
    folders: &BTreeMap<Folder, Vec<usize>>,
) -> Result<u64, RebuildError> {
    let mut files = 0;
    for (folder, at) in folders {
        files += list(site, folder, at).await?.0.len() as u64;
    }
    Ok(files)
}

/// `front-door-018f3a2b`: a name that tells whose and is nobody's.
fn beside(slug: &Slug, id: CameraId) -> Slug {
    let tail = format!("-{id}");
    let most = 63 - tail.len();
    let head = slug.as_str().get(..most.min(slug.as_str().len())).unwrap_or_default();
    format!("{head}{tail}").parse().unwrap_or_else(|_| slug.clone())
}

fn made_up(id: CameraId, slug: Slug, created: WallTime, now: WallTime) -> CameraState {
    CameraState {
        source: crate::model::Source::Pull,
        id,
        name: slug.to_string(),
        slug,
        enabled: false,
        username: None,
        password_sealed: None,
        tls: Default::default(),
        record: RecordMode::Never,
        when: Default::default(),
        retention: RetentionLimits::default(),
        volume: None,
        created_us: created.as_micros(),
        updated_us: now.as_micros(),
        deleted_us: Some(now.as_micros()),
        streams: Vec::new(),
    }
}
