//! Compares the index with the files, and mends what differs.
//!
//! Beside a recorder at work it only looks: what it finds is looked at a second time before it is
//! said, for a segment may have been closed or deleted between one look and the other.

mod report;
mod rows;
mod strays;
mod timeline;

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_util::sync::CancellationToken;

use super::{
    Progress, RebuildError, Site, deleted,
    pass::{self, Known, Learned, Pass},
    walk::{Folder, Found},
};
use crate::store::Store;

use report::note;
pub use report::{Checked, Finding, Kind, Options};

/// Rows of `unlink` a page.
const PAGE: u32 = 1_000;

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

    async fn unlink(&self, id: i64, path: &Path) -> Result<bool, RebuildError> {
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
}
