//! Files without a row: what was recorded while the index could not be written to.
//!
//! Adoption looks at the folders of one stream from an hour on, on all volumes that are there, and
//! no further back: at a start from the hour of the stream's newest row, after trouble with the
//! database from the first row that was given up. So it costs what was missed and not what there is.
//! Files before that are for `vedette check --repair`.

use std::{collections::HashMap, io, path::Path, sync::Arc};

use super::{
    recovery,
    rows::{Place, chain},
};
use crate::{
    disk::{Fs, Volumes},
    footage::{self, MendError, ReadError},
    id::{Role, Slug, StreamId},
    model::{Segment, WallRange, WholeSegment},
    proto::time::{WallSpan, WallTime},
    store::{Store, StoreError},
};

/// Segments in one transaction.
const BATCH: usize = 64;
/// Rows a page.
const PAGE: u32 = 1_000;
/// The hour of a folder is that of a segment's start: one that began in the hour before may be the
/// one that is missing.
const HOUR: WallSpan = WallSpan::from_secs(3_600);
/// Files may bear times so far ahead of the clock that looks for them.
const AHEAD: WallSpan = WallSpan::from_secs(24 * 3_600);

/// Gives a row to each file of a stream that has none, as far as it is newer than the newest row.
/// Says how many there were. To be called before the stream is recorded, or with `idle` false: only
/// then it is certain that nobody is about to write to a file that holds nothing yet, and such files,
/// which a crash left, are deleted.
///
/// # Errors
///
/// The store's. A file that cannot be read is logged and left.
pub async fn unindexed(
    store: &Store,
    volumes: &Volumes,
    slug: &Slug,
    role: Role,
    stream: StreamId,
    now: WallTime,
    idle: bool,
) -> Result<u64, StoreError> {
    let newest = store.segment_before(stream, WallTime::from_micros(i64::MAX)).await?;
    // Without any, it may be a stream whose very first row was lost; an index that was lost is
    // another matter.
    let from = newest.map_or(now - HOUR, |s| s.opened.start);
    let place = Place { slug: slug.clone(), role, stream };
    look(store, volumes, &place, from..now, idle).await
}

/// The same from `from` on, while the stream is recorded.
pub(super) async fn adopt(
    store: &Store,
    volumes: &Volumes,
    place: &Place,
    from: WallTime,
    now: WallTime,
) -> Result<u64, StoreError> {
    look(store, volumes, place, from..now, false).await
}

async fn look(
    store: &Store,
    volumes: &Volumes,
    place: &Place,
    range: WallRange,
    idle: bool,
) -> Result<u64, StoreError> {
    let (from, now) = (range.start, range.end);
    let mut adopted = 0;
    for volume in volumes.all() {
        if volumes.absolute(volume.name(), "x").is_err() {
            // It is not there. When it returns, somebody looks again.
            continue;
        }
        let (fs, root) = (volumes.fs(), volume.settings().path.clone());
        let (slug, role) = (place.slug.clone(), place.role);
        let listed = tokio::task::spawn_blocking(move || {
            list(&fs, &root, &slug, role, from - HOUR, now + AHEAD)
        });
        let paths = match listed.await.map_err(io::Error::other).and_then(|listed| listed) {
            Ok(paths) => paths,
            Err(error) => {
                tracing::warn!(volume = %volume.name(), %error, "cannot look for files without a row");
                continue;
            }
        };
        adopted += from_files(store, volumes, place, volume.name(), &paths, from, idle).await?;
    }
    Ok(adopted)
}

async fn from_files(
    store: &Store,
    volumes: &Volumes,
    place: &Place,
    volume: &str,
    paths: &[String],
    from: WallTime,
    idle: bool,
) -> Result<u64, StoreError> {
    let known = known_paths(store, place.stream, volume, from).await?;
    let open = volumes.open_segments().of(place.stream);
    let is_open =
        |path: &str| open.iter().any(|s| s.opened.volume == volume && s.opened.path == path);
    let (mut adopted, mut batch) = (0, Vec::new());
    for path in paths.iter().filter(|p| !is_open(p)) {
        match known.get(path) {
            Some(row) if row.closed => continue,
            // It was given up when it closed: completed as after a crash.
            Some(row) => {
                recovery::complete(store, volumes, row.clone()).await?;
                adopted += 1;
                continue;
            }
            None => {}
        }
        if store.is_doomed(volume, path).await? {
            continue;
        }
        let Ok(absolute) = volumes.absolute(volume, path) else { continue };
        let (name, relative, fs) = (volume.to_owned(), path.clone(), volumes.fs());
        let read = tokio::task::spawn_blocking(move || whole(&*fs, &name, &relative, &absolute));
        match read.await {
            Ok(Ok(segment)) if segment.opened.stream == place.stream => batch.push(segment),
            Ok(Ok(_)) => tracing::warn!(%volume, %path, "not adopted: it is another stream's"),
            Ok(Err(Unadopted::Empty)) => {
                if idle && let Err(error) = volumes.remove(volume, path).await {
                    tracing::warn!(%volume, %path, %error, "cannot delete an empty segment");
                }
            }
            Ok(Err(error)) => tracing::warn!(%volume, %path, %error, "not adopted"),
            Err(error) => tracing::error!(%volume, %path, %error, "not adopted"),
        }
        if batch.len() >= BATCH {
            adopted += store.adopt_segments(std::mem::take(&mut batch)).await?.segments;
        }
    }
    if !batch.is_empty() {
        adopted += store.adopt_segments(batch).await?.segments;
    }
    Ok(adopted)
}

/// Why a file gets no row.
#[derive(Debug, thiserror::Error)]
enum Unadopted {
    #[error("there is nothing in it")]
    Empty,
    #[error("it stands nowhere")]
    Nowhere,
    #[error("{}", chain(_0))]
    Read(ReadError),
    #[error("{}", chain(_0))]
    Mend(MendError),
}

/// Makes a file whole where it is torn, and reads its rows.
fn whole(
    fs: &dyn Fs,
    volume: &str,
    path: &str,
    absolute: &Path,
) -> Result<WholeSegment, Unadopted> {
    let root = absolute.ancestors().nth(Path::new(path).components().count());
    let root = root.ok_or(Unadopted::Nowhere)?;
    let read = footage::read(root, volume, path).map_err(|error| {
        let small = || std::fs::metadata(absolute).is_ok_and(|m| m.len() <= footage::NOTHING);
        match error {
            ReadError::Empty if small() => Unadopted::Empty,
            error => Unadopted::Read(error),
        }
    })?;
    let (opened, mut closed) = (read.opened, read.closed);
    if !read.whole {
        let mended = footage::mend(fs, absolute, &opened).map_err(Unadopted::Mend)?;
        closed = mended.ok_or(Unadopted::Empty)?.closed;
    }
    Ok(WholeSegment { opened, closed })
}

async fn known_paths(
    store: &Store,
    stream: StreamId,
    volume: &str,
    from: WallTime,
) -> Result<HashMap<String, Segment>, StoreError> {
    let (mut known, mut after) = (HashMap::new(), None);
    let range = from - HOUR - HOUR..WallTime::from_micros(i64::MAX);
    loop {
        let page = store.segments_overlapping(stream, range.clone(), after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(known) };
        after = Some((last.opened.start, last.opened.id));
        let here = page.into_iter().filter(|s| s.opened.volume == volume);
        known.extend(here.map(|s| (s.opened.path.clone(), s)));
    }
}

/// Paths of the segment files of a stream in the hours from `from` to `to`, oldest first.
fn list(
    fs: &Arc<dyn Fs>,
    root: &Path,
    slug: &Slug,
    role: Role,
    from: WallTime,
    to: WallTime,
) -> io::Result<Vec<String>> {
    let hour = |at: WallTime| {
        let c = at.civil();
        (format!("{:04}-{:02}-{:02}", c.year, c.month, c.day), format!("{:02}", c.hour))
    };
    let ((first_day, first_hour), (last_day, last_hour)) = (hour(from), hour(to));
    let names = |folder: &Path, folders: bool| -> io::Result<Vec<String>> {
        let entries = match fs.list(folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let entries = entries.into_iter().filter(|e| e.folder == folders);
        let mut names: Vec<_> = entries.filter_map(|e| e.name.into_string().ok()).collect();
        names.sort_unstable();
        Ok(names)
    };
    let base = format!("{slug}/{role}");
    let mut paths = Vec::new();
    for day in names(&root.join(&base), true)? {
        if day < first_day || day > last_day {
            continue;
        }
        for hour in names(&root.join(&base).join(&day), true)? {
            let at = (day.as_str(), hour.as_str());
            if at < (&first_day, &first_hour) || at > (&last_day, &last_hour) {
                continue;
            }
            let folder = format!("{base}/{day}/{hour}");
            let files = names(&root.join(&folder), false)?.into_iter();
            let files = files.filter(|f| f.ends_with(".mp4"));
            paths.extend(files.map(|f| format!("{folder}/{f}")));
        }
    }
    Ok(paths)
}
