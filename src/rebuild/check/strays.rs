//! Files without a row.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Check, Finding, Kind};
use crate::{
    footage::{self, ReadError},
    rebuild::{
        RebuildError, chain,
        pass::{self, Known, Learned},
        walk::{Folder, Found},
    },
};

impl Check<'_> {
    /// Files without a row.
    pub(super) async fn strays(
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
    fn bury(&self, path: &Path) -> bool {
        let fs = &self.pass.site.fs;
        let small = std::fs::metadata(path).is_ok_and(|m| m.len() <= footage::NOTHING);
        let removed = small && fs.remove_file(path).is_ok();
        removed && path.parent().is_none_or(|folder| fs.sync_folder(folder).is_ok())
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
