//! Rows beside their files: a file that is not there, or is not what its row says.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::{StreamExt, stream};

use super::{Check, Finding, Kind};
use crate::{
    footage::{self, ReadError},
    id::{SegmentId, StreamId},
    model::Segment,
    proto::reason::GapReason,
    rebuild::{RebuildError, chain, pass, plan},
};

/// Files looked at by one blocking task, and such tasks at once.
const CHUNK: usize = 64;
const AT_ONCE: usize = 4;

/// What one look at a row's file gave.
struct Look {
    at: usize,
    kind: Kind,
    detail: String,
}

impl Check<'_> {
    /// Compares rows with their files.
    pub(super) async fn rows(
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
    async fn mend_row(&self, row: &Segment, kind: Kind, path: &Path) -> Result<bool, RebuildError> {
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
