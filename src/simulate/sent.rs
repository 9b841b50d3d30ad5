//! What simulated cameras sent, a JSON line a unit: for tests that compare it with what was
//! recorded, whatever became of the recorder meanwhile.
//!
//! A picture's hash is over its slices alone, since parameter sets and filler travel apart from
//! them; a sound frame's over all of it. Hashes are made once, as the clip repeats. A line is
//! written when its unit is published, by the feed's own task: this is no thing for many cameras.

use std::{fs::File, io::Write, path::Path};

use bytes::Bytes;
use md5::{Digest, Md5};

use super::clip::Clip;
use crate::proto::time::WallTime;

/// See the module.
#[derive(Debug)]
pub(super) struct SentLog {
    file: File,
    video: Vec<String>,
    audio: Vec<String>,
    /// A line could not be written: the rest is left out.
    broken: bool,
}

impl SentLog {
    /// A new file, or what is in it goes.
    pub(super) fn create(path: &Path, clip: &Clip) -> std::io::Result<Self> {
        let video = clip.video.iter().map(|unit| hash(slices(unit))).collect();
        let audio = clip.audio.iter().map(|unit| hash([&unit[..]])).collect();
        Ok(Self { file: File::create(path)?, video, audio, broken: false })
    }

    /// Notes a unit: of the `camera`-th camera, the `place`-th of the clip's, published at `at`.
    pub(super) fn note(
        &mut self,
        camera: usize,
        video: bool,
        number: u64,
        place: u64,
        at: WallTime,
    ) {
        let (track, hashes) = if video { ("video", &self.video) } else { ("audio", &self.audio) };
        let hash =
            usize::try_from(place % hashes.len().max(1) as u64).ok().and_then(|p| hashes.get(p));
        let (Some(hash), false) = (hash, self.broken) else { return };
        let line = format!(
            "{{\"camera\":{camera},\"track\":\"{track}\",\"number\":{number},\"at_us\":{},\"md5\":\"{hash}\"}}\n",
            at.as_micros()
        );
        // Whole lines, each on its own: a reader may look at any time.
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            tracing::error!(%error, "the list of what was sent ends here");
            self.broken = true;
        }
    }
}

/// The slices of a picture, as they stand behind their lengths.
fn slices(unit: &Bytes) -> impl Iterator<Item = &[u8]> {
    let mut rest = &unit[..];
    std::iter::from_fn(move || {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let (nal, next) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        rest = next;
        Some(nal)
    })
    .filter(|nal| nal.first().is_some_and(|kind| matches!(kind & 31, 1 | 5)))
}

fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Md5::new();
    parts.into_iter().for_each(|part| hash.update(part));
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pictures_hash_is_that_of_its_slices() {
        let unit = Bytes::from_static(b"\0\0\0\x02\x67a\0\0\0\x03\x65bc\0\0\0\x02\x0c\xff");
        assert_eq!(slices(&unit).collect::<Vec<_>>(), [b"\x65bc"]);
        assert_eq!(hash(slices(&unit)), hash([&b"\x65bc"[..]]));
    }

    #[test]
    fn every_unit_is_a_line_that_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let (path, clip) = (folder.path().join("sent"), Clip::load(None).unwrap());
        let mut log = SentLog::create(&path, &clip).unwrap();
        log.note(2, true, 201, 201, WallTime::from_micros(7));
        log.note(2, false, 0, 0, WallTime::from_micros(8));
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(
            (lines.len(), &lines[0]["number"], &lines[1]["at_us"]),
            (2, &201.into(), &8.into())
        );
        assert_eq!(lines[0]["md5"], log.video[1]);
        assert_eq!(lines[1]["md5"], log.audio[0]);
    }
}
