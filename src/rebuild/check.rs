//! Compares the index with the files, and mends what differs.
//!
//! Beside a recorder at work it only looks: what it finds is looked at a second time before it is
//! said, for a segment may have been closed or deleted between one look and the other.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    io,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{
    Progress, RebuildError, Site, chain, deleted,
    pass::{self, Known, Learned, Pass, Timeline},
    plan,
    walk::{Folder, Found},
};
use crate::{
    footage::{self, ReadError},
    id::{SegmentId, StreamId},
    model::{Gap, Segment},
    proto::reason::GapReason,
    store::Store,
};

/// Findings told one by one; beyond, they are only counted.
const TOLD: usize = 10_000;
/// Files looked at by one blocking task, and such tasks at once.
const CHUNK: usize = 64;
const AT_ONCE: usize = 4;
/// Between two looks beside a recorder at work.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const LOOKS: u32 = 4;
/// Rows of `unlink` a page.
const PAGE: u32 = 1_000;

/// What was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Read every box, and compare the tail with the fragments.
    pub deep: bool,
    /// Mend. Nobody else may be at work.
    pub repair: bool,
    /// A recorder is at work on this index.
    pub in_use: bool,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The index speaks of a file that is not there.
    RowWithoutFile,
    /// A segment that the index does not know.
    FileWithoutRow,
    /// The file is longer or shorter than the index says.
    WrongSize,
    /// The file's boxes are not as they must be.
    Damaged,
    /// Nothing can be read from a file that has a segment's name.
    Unreadable,
    /// A segment's file without one whole fragment.
    Empty,
    /// A segment that the index takes for open, and nobody writes it.
    LeftOpen,
    /// Two segments of one epoch at the same time.
    Overlap,
    /// Runs and gaps do not fit the segments: time that is neither, or both.
    Timeline,
    /// A file that was to be deleted is still there, or is gone and still to be deleted.
    StaleUnlink,
    /// Not the recorder's file. A note.
    Foreign,
    /// Of a later version. A note.
    Newer,
    /// A volume is not there: what is on it was not looked at. A note.
    VolumeAway,
}

impl Kind {
    /// Whether it says that something is wrong. Notes do not, and nothing mends them.
    #[must_use]
    pub const fn is_wrong(self) -> bool {
        !matches!(self, Self::Foreign | Self::Newer | Self::VolumeAway)
    }

    /// As in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RowWithoutFile => "row_without_file",
            Self::FileWithoutRow => "file_without_row",
            Self::WrongSize => "wrong_size",
            Self::Damaged => "damaged",
            Self::Unreadable => "unreadable",
            Self::Empty => "empty",
            Self::LeftOpen => "left_open",
            Self::Overlap => "overlap",
            Self::Timeline => "timeline",
            Self::StaleUnlink => "stale_unlink",
            Self::Foreign => "foreign",
            Self::Newer => "newer",
            Self::VolumeAway => "volume_away",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// `front-door/main`; empty where it is of no stream.
    pub stream: String,
    /// The file, or the volume.
    pub path: PathBuf,
    /// In words.
    pub detail: String,
    /// It is mended.
    pub mended: bool,
}

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Files that have the form of a segment's.
    pub files: u64,
    /// Rows.
    pub rows: u64,
    /// How many of each kind.
    pub counts: BTreeMap<Kind, u64>,
    /// How many of them are wrong, and not mended.
    pub wrong: u64,
    /// One by one, up to a bound.
    pub findings: Vec<Finding>,
    /// There were more.
    pub truncated: bool,
}

impl Checked {
    fn add(&mut self, finding: Finding) {
        *self.counts.entry(finding.kind).or_default() += 1;
        self.wrong += u64::from(finding.kind.is_wrong() && !finding.mended);
        if self.findings.len() < TOLD {
            self.findings.push(finding);
        } else {
            self.truncated = true;
        }
    }
}

/// What one look at a row's file gave.
struct Look {
    at: usize,
    kind: Kind,
    detail: String,
}

struct Check<'a> {
    pass: Pass<'a>,
    options: Options,
    report: Checked,
}

/// Compares index and files.
///
/// # Errors
///
/// [`RebuildError`]: it could not be compared.
pub async fn check(
    store: &Store,
    site: Arc<Site>,
    options: Options,
    progress: &Progress,
    stop: CancellationToken,
) -> Result<Checked, RebuildError> {
    let gone = deleted::cameras(&site).await?;
    let pass = Pass { store, site, live: None, anew: false, gone, progress, stop };
    let mut check = Check { pass, options, report: Checked::default() };
    check.whole().await?;
    Ok(check.report)
}

impl Check<'_> {
    async fn whole(&mut self) -> Result<(), RebuildError> {
        let site = Arc::clone(&self.pass.site);
        for volume in &site.away {
            let detail = "the volume is not there; what is on it was not looked at";
            self.report.add(note(Kind::VolumeAway, PathBuf::from(volume), detail));
        }
        let doomed = self.unlinks().await?;
        let mut folders = pass::folders(&site).await?;
        self.foreign(std::mem::take(&mut folders.foreign));
        let mut known = self.pass.known().await?;
        for of in &known {
            folders.of.entry((of.slug.clone(), of.role)).or_default();
        }
        self.pass.progress.expect(pass::count(&site, &folders.of).await?);
        for (folder, at) in &folders.of {
            if self.pass.stop.is_cancelled() {
                return Err(RebuildError::Stopped);
            }
            self.folder(folder, at, &mut known, &doomed).await?;
        }
        Ok(())
    }

    fn foreign(&mut self, paths: Vec<PathBuf>) {
        for path in paths {
            self.report.add(note(Kind::Foreign, path, "not a segment of Vedette"));
        }
    }

    /// Files whose rows are gone: none of them is to come back.
    async fn unlinks(&mut self) -> Result<HashSet<(String, String)>, RebuildError> {
        let site = Arc::clone(&self.pass.site);
        let (mut doomed, mut after) = (HashSet::new(), None);
        loop {
            let page = self.pass.store.pending_unlinks(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(doomed) };
            after = Some(last.id);
            for unlink in page {
                let place = site.places.iter().find(|p| p.volume == unlink.volume);
                // A recorder at work is about to do it.
                if let Some(place) = place.filter(|_| !self.options.in_use) {
                    let path = place.root.join(&unlink.path);
                    let mended = self.options.repair && self.unlink(unlink.id, &path).await?;
                    self.report.add(Finding {
                        kind: Kind::StaleUnlink,
                        stream: String::new(),
                        path,
                        detail: "its row is gone, the file was to be deleted".to_owned(),
                        mended,
                    });
                }
                doomed.insert((unlink.volume, unlink.path));
            }
        }
    }

    async fn unlink(&self, id: i64, path: &std::path::Path) -> Result<bool, RebuildError> {
        let fs = &self.pass.site.fs;
        let removed = match fs.remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => path.parent().map_or(Ok(()), |folder| match fs.sync_folder(folder) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => Ok(()),
            }),
        };
        match removed {
            Ok(()) => self.pass.store.unlinked(&[id]).await?,
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "cannot be deleted");
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn folder(
        &mut self,
        folder: &Folder,
        at: &[usize],
        known: &mut Vec<Known>,
        doomed: &HashSet<(String, String)>,
    ) -> Result<(), RebuildError> {
        let site = Arc::clone(&self.pass.site);
        let name = format!("{}/{}", folder.0, folder.1);
        // The files first: a row that comes after them has its file in the list, or is not looked at.
        let (files, foreign) = pass::list(&site, folder, at).await?;
        self.foreign(foreign);
        self.report.files += files.len() as u64;
        let volume = |f: &Found| site.places.get(f.place).map(|p| p.volume.as_str());
        let there: HashSet<(&str, &str)> =
            files.iter().filter_map(|f| Some((volume(f)?, f.path.as_str()))).collect();
        let mut learned = Learned::default();
        let mut rows: HashSet<(String, String)> = HashSet::new();
        for of in known.iter().filter(|k| (&k.slug, k.role) == (&folder.0, folder.1)) {
            learned.streams.insert(of.stream);
            let of_stream = pass::rows(self.pass.store, of.stream).await?;
            self.report.rows += of_stream.len() as u64;
            self.rows(&name, of.stream, &of_stream, &there).await?;
            rows.extend(of_stream.into_iter().map(|r| (r.opened.volume, r.opened.path)));
        }
        let stray = |f: &Found| {
            let key = (volume(f).unwrap_or_default().to_owned(), f.path.clone());
            !rows.contains(&key) && !doomed.contains(&key)
        };
        let strays: Vec<Found> = files.iter().filter(|f| stray(f)).cloned().collect();
        self.pass.progress.advance((files.len() - strays.len()) as u64);
        if !strays.is_empty() {
            let adopted = self.strays(folder, &name, strays, known).await?;
            learned.streams.extend(&adopted.streams);
            learned = Learned { streams: learned.streams, ..adopted };
        }
        for of in known.clone().iter().filter(|k| learned.streams.contains(&k.stream)) {
            self.timeline(&name, of, &learned).await?;
        }
        Ok(())
    }

    /// Compares rows with their files.
    async fn rows(
        &mut self,
        name: &str,
        of: StreamId,
        rows: &[Segment],
        there: &HashSet<(&str, &str)>,
    ) -> Result<(), RebuildError> {
        let site = Arc::clone(&self.pass.site);
        let deep = self.options.deep;
        let mut work: Vec<(usize, PathBuf, u64, bool)> = Vec::new();
        let mut looks: Vec<Look> = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            let opened = &row.opened;
            let Some(place) = site.places.iter().find(|p| p.volume == opened.volume) else {
                continue;
            };
            let path = place.root.join(&opened.path);
            if !row.closed {
                if !self.options.in_use {
                    let detail = "nobody writes it; the next start completes it".to_owned();
                    looks.push(Look { at, kind: Kind::LeftOpen, detail });
                }
                continue;
            }
            let listed = there.contains(&(opened.volume.as_str(), opened.path.as_str()));
            work.push((at, path, row.bytes, listed));
        }
        let chunks: Vec<Vec<_>> = work.chunks(CHUNK).map(<[_]>::to_vec).collect();
        let mut looking = stream::iter(chunks)
            .map(|chunk| tokio::task::spawn_blocking(move || look(chunk, deep)))
            .buffered(AT_ONCE);
        while let Some(found) = looking.next().await {
            looks.extend(found.map_err(|_| RebuildError::Panicked)?);
        }
        drop(looking);
        if looks.is_empty() {
            return Ok(());
        }
        // Deleted or closed meanwhile?
        let now: HashMap<SegmentId, Segment> = if self.options.in_use {
            let rows = pass::rows(self.pass.store, of).await?;
            rows.into_iter().map(|r| (r.opened.id, r)).collect()
        } else {
            HashMap::new()
        };
        for look in looks {
            let Some(row) = rows.get(look.at) else { continue };
            if self.options.in_use && now.get(&row.opened.id) != Some(row) {
                continue;
            }
            let place = site.places.iter().find(|p| p.volume == row.opened.volume);
            let path = place.map(|p| p.root.join(&row.opened.path)).unwrap_or_default();
            let mended = self.options.repair && self.mend_row(row, look.kind, &path).await?;
            self.report.add(Finding {
                kind: look.kind,
                stream: name.to_owned(),
                path,
                detail: look.detail,
                mended,
            });
        }
        Ok(())
    }

    /// Makes row and file agree; whether they do now.
    async fn mend_row(
        &self,
        row: &Segment,
        kind: Kind,
        path: &std::path::Path,
    ) -> Result<bool, RebuildError> {
        let store = self.pass.store;
        match kind {
            Kind::RowWithoutFile => {
                store.forget_segments(&[row.opened.id], GapReason::Deleted).await?;
                return Ok(true);
            }
            Kind::LeftOpen | Kind::WrongSize | Kind::Damaged => {}
            _ => return Ok(false),
        }
        let (fs, opened) = (Arc::clone(&self.pass.site.fs), row.opened.clone());
        let target = path.to_owned();
        let mended = tokio::task::spawn_blocking(move || footage::remake(&*fs, &target, &opened))
            .await
            .map_err(|_| RebuildError::Panicked)?;
        match mended {
            Ok(Some(mended)) => {
                let mut closed = mended.closed;
                closed.damaged = row.damaged;
                // Where the next segment begins, unless footage is missing now.
                if row.closed && row.end - closed.end <= plan::JOIN {
                    closed.end = row.end;
                }
                store.close_segment(closed).await?;
            }
            // The file holds nothing, or is another's.
            Ok(None) | Err(footage::MendError::Header(_) | footage::MendError::Foreign) => {
                store.forget_segments(&[row.opened.id], GapReason::DiskError).await?;
            }
            Err(error) => {
                tracing::error!(path = %path.display(), error = chain(&error), "not mended");
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Files without a row.
    async fn strays(
        &mut self,
        folder: &Folder,
        name: &str,
        files: Vec<Found>,
        known: &mut Vec<Known>,
    ) -> Result<Learned, RebuildError> {
        let site = Arc::clone(&self.pass.site);
        let path = |f: &Found| site.places.get(f.place).map(|p| p.root.join(&f.path));
        let repair = self.options.repair;
        let (told, learned) = if repair {
            let learned = self.pass.adopt(folder, files.clone(), known).await?;
            let unread: HashMap<PathBuf, Told> = learned
                .unread
                .iter()
                .filter_map(|u| Some((path(&u.found)?, told(&u.error))))
                .collect();
            (unread, learned)
        } else {
            let (at, list) = (Arc::clone(&site), files.clone());
            let read = move || {
                let read = |f: &Found| {
                    let place = at.places.get(f.place)?;
                    let path = place.root.join(&f.path);
                    match footage::read(&place.root, &place.volume, &f.path) {
                        // Somebody may be writing it now.
                        Ok(footage) => Some((path, None, footage.whole, f.start)),
                        Err(error) => Some((path, Some(told(&error)), false, f.start)),
                    }
                };
                list.iter().filter_map(read).collect::<Vec<_>>()
            };
            self.pass.progress.advance(files.len() as u64);
            let read =
                tokio::task::spawn_blocking(read).await.map_err(|_| RebuildError::Panicked)?;
            let mut unread = HashMap::new();
            let learned = Learned::default();
            for (path, told, whole, _) in read {
                let growing = self.options.in_use && !whole;
                match told {
                    Some(_) | None if growing => {
                        unread.insert(path, Told::Growing);
                    }
                    Some(told) => {
                        unread.insert(path, told);
                    }
                    None => {}
                }
            }
            (unread, learned)
        };
        // Beside a recorder at work: has it a row by now?
        let now = if self.options.in_use {
            let mut now: HashSet<(String, String)> = HashSet::new();
            for of in known.iter().filter(|k| (&k.slug, k.role) == (&folder.0, folder.1)) {
                let rows = pass::rows(self.pass.store, of.stream).await?;
                now.extend(rows.into_iter().map(|r| (r.opened.volume, r.opened.path)));
            }
            now
        } else {
            HashSet::new()
        };
        for file in &files {
            let Some(whole_path) = path(file) else { continue };
            let volume = site.places.get(file.place).map(|p| p.volume.clone()).unwrap_or_default();
            if now.contains(&(volume, file.path.clone())) {
                continue;
            }
            let (kind, detail, mended) = match told.get(&whole_path) {
                Some(Told::Growing) => continue,
                Some(Told::Is(kind, detail)) => (*kind, detail.clone(), false),
                None => {
                    let detail = "a segment that the index does not know".to_owned();
                    (Kind::FileWithoutRow, detail, repair)
                }
            };
            let mended = mended || (repair && kind == Kind::Empty && self.bury(&whole_path));
            let stream = name.to_owned();
            self.report.add(Finding { kind, stream, path: whole_path, detail, mended });
        }
        Ok(learned)
    }

    /// Deletes a file in which there is nothing: a header, and not one whole fragment.
    fn bury(&self, path: &std::path::Path) -> bool {
        let fs = &self.pass.site.fs;
        let small = std::fs::metadata(path).is_ok_and(|m| m.len() <= footage::NOTHING);
        let removed = small && fs.remove_file(path).is_ok();
        removed && path.parent().is_none_or(|folder| fs.sync_folder(folder).is_ok())
    }

    /// Compares runs and gaps with the segments.
    async fn timeline(
        &mut self,
        name: &str,
        of: &Known,
        learned: &Learned,
    ) -> Result<(), RebuildError> {
        let mut differs = Vec::new();
        for look in 0..LOOKS {
            let now = self.pass.timeline(of, learned).await?;
            differs = differences(&now);
            if differs.is_empty() || !self.options.in_use {
                break;
            }
            // Rows of one happening may be written one after the other.
            if look + 1 < LOOKS {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        let mended =
            self.options.repair && !differs.is_empty() && self.pass.settle(of, learned).await?;
        for (kind, detail) in differs {
            // Two files at the same time stay two files.
            let mended = mended && kind == Kind::Timeline;
            let (stream, path) = (name.to_owned(), PathBuf::new());
            self.report.add(Finding { kind, stream, path, detail, mended });
        }
        Ok(())
    }
}

/// What is said of a file without a row.
enum Told {
    Growing,
    Is(Kind, String),
}

fn told(error: &ReadError) -> Told {
    let kind = match error {
        ReadError::Foreign => Kind::Foreign,
        ReadError::Newer(_) => Kind::Newer,
        ReadError::Empty => Kind::Empty,
        ReadError::Io { .. } | ReadError::Damaged(_) => Kind::Unreadable,
    };
    Told::Is(kind, chain(error))
}

fn note(kind: Kind, path: PathBuf, detail: &str) -> Finding {
    Finding { kind, stream: String::new(), path, detail: detail.to_owned(), mended: false }
}

/// Looks at files of closed rows. Blocks.
fn look(files: Vec<(usize, PathBuf, u64, bool)>, deep: bool) -> Vec<Look> {
    let mut looks = Vec::new();
    for (at, path, bytes, listed) in files {
        let found = match std::fs::metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let detail = if listed { "gone just now" } else { "the file is not there" };
                Some((Kind::RowWithoutFile, detail.to_owned()))
            }
            Err(e) => Some((Kind::Unreadable, e.to_string())),
            Ok(meta) if meta.len() != bytes => {
                let detail = format!("{} bytes, and {bytes} in the index", meta.len());
                Some((Kind::WrongSize, detail))
            }
            Ok(_) if deep => match footage::look_deep(&path) {
                Ok(None) => None,
                Ok(Some(flaw)) => Some((Kind::Damaged, flaw.to_string())),
                Err(e @ ReadError::Io { .. }) => Some((Kind::Unreadable, chain(&e))),
                Err(e) => Some((Kind::Damaged, chain(&e))),
            },
            Ok(_) => None,
        };
        looks.extend(found.map(|(kind, detail)| Look { at, kind, detail }));
    }
    looks
}

fn differences(now: &Timeline) -> Vec<(Kind, String)> {
    let mut found = Vec::new();
    for (a, b) in &now.line.overlaps {
        found.push((Kind::Overlap, format!("segments {a} and {b} lie at the same time")));
    }
    let copy = Timeline { runs: now.runs.clone(), gaps: now.gaps.clone(), line: now.line.clone() };
    let Some(rewrite) = copy.rewrite() else { return found };
    let span = |g: &Gap| {
        let end = g.end.map_or_else(|| "now".to_owned(), |e| e.to_string());
        format!("{} to {end}", g.start)
    };
    let old: BTreeSet<_> = rewrite.old_gaps.iter().map(|g| (g.start, g.end, g.reason)).collect();
    let new: BTreeSet<_> = rewrite.gaps.iter().map(|g| (g.start, g.end, g.reason)).collect();
    for gap in rewrite.gaps.iter().filter(|g| !old.contains(&(g.start, g.end, g.reason))) {
        let detail =
            format!("{}: a gap ({}) that the index does not have so", span(gap), gap.reason);
        found.push((Kind::Timeline, detail));
    }
    for gap in rewrite.old_gaps.iter().filter(|g| !new.contains(&(g.start, g.end, g.reason))) {
        let detail = format!("{}: no such gap ({}), says the footage", span(gap), gap.reason);
        found.push((Kind::Timeline, detail));
    }
    for run in rewrite.runs.iter().filter(|r| !rewrite.old_runs.contains(r)) {
        let end = run.end.map_or_else(String::new, |e| e.to_string());
        let detail = format!("{} to {end}: the index has no such run", run.start);
        found.push((Kind::Timeline, detail));
    }
    for run in rewrite.old_runs.iter().filter(|r| !rewrite.runs.contains(r)) {
        let end = run.end.map_or_else(String::new, |e| e.to_string());
        let detail = format!("{} to {end}: a run without the footage for it", run.start);
        found.push((Kind::Timeline, detail));
    }
    if !rewrite.ends.is_empty() || !rewrite.moved.is_empty() {
        let n = rewrite.ends.len() + rewrite.moved.len();
        found.push((Kind::Timeline, format!("{n} segments do not join their runs")));
    }
    found
}
