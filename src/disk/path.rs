//! Where a segment's file stands below its volume:
//! `<camera>/<stream>/YYYY-MM-DD/HH/MM-SS.mmmZ.<n>.mp4`, UTC.
//!
//! The name sorts by time within one epoch. `n` grows when a name would repeat, which happens when
//! the recorder's clock stepped back.

use std::path::{Component, Path, PathBuf};

use crate::{
    id::{Role, Slug},
    proto::time::WallTime,
};

/// Folder (relative to the volume) of a segment that begins at `start`.
#[must_use]
pub(super) fn folder(camera: &Slug, stream: Role, start: WallTime) -> String {
    let c = start.civil();
    format!("{camera}/{stream}/{:04}-{:02}-{:02}/{:02}", c.year, c.month, c.day, c.hour)
}

/// File name of a segment that begins at `start`; `n` counts repetitions of the name.
#[must_use]
pub(super) fn file_name(start: WallTime, n: u32) -> String {
    let c = start.civil();
    format!("{:02}-{:02}.{:03}Z.{n}.mp4", c.minute, c.second, c.micros / 1_000)
}

/// `path` below `volume`; `None` when it would leave the volume (a tampered row).
#[must_use]
pub(super) fn below(volume: &Path, path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let plain = path.components().all(|c| matches!(c, Component::Normal(_)));
    (plain && path.components().next().is_some()).then(|| volume.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_stands_under_camera_stream_day_and_hour() {
        let start = WallTime::from_micros(1_795_341_600_123_999);
        let slug: Slug = "front-door".parse().unwrap();
        assert_eq!(folder(&slug, Role::Main, start), "front-door/main/2026-11-22/10");
        assert_eq!(file_name(start, 3), "00-00.123Z.3.mp4");
    }

    #[test]
    fn a_path_that_climbs_out_of_its_volume_is_refused() {
        let root = Path::new("/v");
        assert_eq!(below(root, "a/b.mp4"), Some(PathBuf::from("/v/a/b.mp4")));
        for bad in ["../x", "a/../../x", "/etc/passwd", ""] {
            assert_eq!(below(root, bad), None, "{bad}");
        }
    }
}
