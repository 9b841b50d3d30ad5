//! What lies on the volumes: segment files by camera and stream, and what is none of ours.
//!
//! Only names are read here. A file whose place has not the form that the recorder gives
//! (`<camera>/<stream>/YYYY-MM-DD/HH/MM-SS.mmmZ.<n>.mp4`) is foreign: it is reported and never
//! touched.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use crate::{
    disk::Fs,
    id::{Role, Slug},
    proto::time::{Civil, WallTime},
};

/// A volume that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// As rows name it.
    pub volume: String,
    /// Its root folder.
    pub root: PathBuf,
}

/// Whose files: `<camera>/<stream>`.
pub(super) type Folder = (Slug, Role);

/// A segment file by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    /// Relative to the volume; first, so that files sort by time.
    pub(super) path: String,
    /// Index of its place.
    pub(super) place: usize,
    /// When it begins, to the millisecond, as its name says.
    pub(super) start: WallTime,
}

/// The cameras' folders of all places, and paths (absolute) of what is foreign.
#[derive(Debug, Default)]
pub(super) struct Folders {
    /// The places that have each.
    pub(super) of: BTreeMap<Folder, Vec<usize>>,
    pub(super) foreign: Vec<PathBuf>,
}

/// What any volume may have beside the cameras' folders: ours, and file systems' own.
fn is_own(name: &str) -> bool {
    name.starts_with('.') || matches!(name, "lost+found" | "System Volume Information")
}

/// Lists the cameras' folders.
pub(super) fn folders(fs: &dyn Fs, places: &[Place]) -> io::Result<Folders> {
    let mut found = Folders::default();
    for (index, place) in places.iter().enumerate() {
        for camera in fs.list(&place.root)? {
            let path = place.root.join(&camera.name);
            let Some(name) = camera.name.to_str().filter(|n| !is_own(n)) else {
                if camera.name.to_str().is_none() {
                    found.foreign.push(path);
                }
                continue;
            };
            let slug = name.parse::<Slug>().ok().filter(|_| camera.folder);
            let Some(slug) = slug else {
                found.foreign.push(path);
                continue;
            };
            for stream in fs.list(&path)? {
                let role = stream.name.to_str().and_then(|n| n.parse::<Role>().ok());
                match role.filter(|_| stream.folder) {
                    Some(role) => {
                        found.of.entry((slug.clone(), role)).or_default().push(index);
                    }
                    None => found.foreign.push(path.join(&stream.name)),
                }
            }
        }
    }
    Ok(found)
}

/// Whether any of them has a camera's folder. One that cannot be listed has none.
#[must_use]
pub fn has_footage(fs: &dyn Fs, places: &[Place]) -> bool {
    let of = |place: &Place| folders(fs, std::slice::from_ref(place)).ok();
    places.iter().filter_map(of).any(|found| !found.of.is_empty())
}

/// The files of one camera's stream on the places that have it, in the order of time.
pub(super) fn files(
    fs: &dyn Fs,
    places: &[Place],
    folder: &Folder,
    at: &[usize],
    foreign: &mut Vec<PathBuf>,
) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for &index in at {
        let Some(place) = places.get(index) else { continue };
        let top = format!("{}/{}", folder.0, folder.1);
        for day in list(fs, &place.root.join(&top))? {
            let day_path = format!("{top}/{}", day.0);
            if !day.1 || date(&day.0).is_none() {
                foreign.push(place.root.join(&day_path));
                continue;
            }
            for hour in list(fs, &place.root.join(&day_path))? {
                let hour_path = format!("{day_path}/{}", hour.0);
                if !hour.1 || two(&hour.0).is_none_or(|h| h > 23) {
                    foreign.push(place.root.join(&hour_path));
                    continue;
                }
                for file in list(fs, &place.root.join(&hour_path))? {
                    let path = format!("{hour_path}/{}", file.0);
                    // Kept aside by recovery, which has said so.
                    if file.0.ends_with(".mp4.damaged") {
                        continue;
                    }
                    match start(&day.0, &hour.0, &file.0).filter(|_| !file.1) {
                        Some(start) => found.push(Found { path, place: index, start }),
                        None => foreign.push(place.root.join(&path)),
                    }
                }
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Name, and whether it is a folder. What is gone meanwhile holds nothing; a name that is no text
/// is nobody's we know.
fn list(fs: &dyn Fs, path: &Path) -> io::Result<Vec<(String, bool)>> {
    match fs.list(path) {
        Ok(entries) => Ok(entries
            .into_iter()
            .map(|e| (e.name.to_string_lossy().into_owned(), e.folder))
            .collect()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

fn start(day: &str, hour: &str, file: &str) -> Option<WallTime> {
    let (year, month, day) = date(day)?;
    let hour = two(hour)?;
    // MM-SS.mmmZ.n.mp4
    let (minute, rest) = file.split_once('-')?;
    let (second, rest) = rest.split_once('.')?;
    let (millis, rest) = rest.split_once("Z.")?;
    let n = rest.strip_suffix(".mp4")?;
    let counted = !n.is_empty() && n.len() < 10 && digits(n);
    if !counted || millis.len() != 3 || !digits(millis) {
        return None;
    }
    let micros = millis.parse::<u32>().ok()? * 1_000;
    WallTime::from_civil(Civil {
        year,
        month,
        day,
        hour,
        minute: two(minute)?,
        second: two(second)?,
        micros,
    })
}

fn date(text: &str) -> Option<(i64, u8, u8)> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() != 4 || !digits(year) {
        return None;
    }
    Some((year.parse().ok()?, two(month)?, two(day)?))
}

fn two(text: &str) -> Option<u8> {
    if text.len() == 2 && digits(text) { text.parse().ok() } else { None }
}

fn digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealFs;

    fn start_of(path: &str) -> Option<WallTime> {
        let mut parts = path.rsplit('/');
        let (file, hour, day) = (parts.next()?, parts.next()?, parts.next()?);
        start(day, hour, file)
    }

    #[test]
    fn a_segments_name_says_when_it_begins() {
        let start = WallTime::from_micros(1_795_341_600_123_000);
        assert_eq!(start_of("door/main/2026-11-22/10/00-00.123Z.0.mp4"), Some(start));
        for bad in [
            "2026-11-22/10/00-00.123Z.0.mkv",
            "2026-11-22/10/00-00.12Z.0.mp4",
            "2026-11-22/10/00-00.123Z..mp4",
            "2026-13-22/10/00-00.123Z.0.mp4",
            "2026-11-22/1/00-00.123Z.0.mp4",
            "2026-11-22/+1/00-00.123Z.0.mp4",
            "10/00-00.123Z.0.mp4",
        ] {
            assert_eq!(start_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn segments_of_all_volumes_are_found_in_the_order_of_time_and_the_rest_is_foreign() {
        let dir = tempfile::tempdir().unwrap();
        let places: Vec<Place> =
            ["a", "b"].map(|v| Place { volume: v.to_owned(), root: dir.path().join(v) }).to_vec();
        let put = |path: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        };
        put("a/.vedette/lock");
        put("a/door/main/2026-11-22/10/00-00.000Z.0.mp4");
        put("a/door/main/2026-11-22/10/02-00.000Z.0.mp4");
        put("b/door/main/2026-11-22/10/01-00.000Z.0.mp4");
        let foreign = [
            "a/holiday.mp4",
            "a/My Films/1.mp4",
            "a/door/third/1.mp4",
            "a/door/main/notes.txt",
            "b/door/main/2026-11-22/10/clip.mp4",
        ];
        foreign.iter().for_each(|p| put(p));
        let mut found = folders(&RealFs, &places).unwrap();
        let folder = ("door".parse().unwrap(), Role::Main);
        let at = &found.of[&folder];
        let files = files(&RealFs, &places, &folder, at, &mut found.foreign).unwrap();
        let at: Vec<usize> = files.iter().map(|f| f.place).collect();
        assert_eq!(at, [0, 1, 0]);
        assert!(files.is_sorted_by_key(|f| f.start));
        found.foreign.sort();
        let mut expected: Vec<PathBuf> = foreign.iter().map(|p| dir.path().join(p)).collect();
        expected[1].pop();
        expected[2].pop();
        expected.sort();
        assert_eq!(found.foreign, expected);
    }
}
