//! What a check is asked for, and what it finds.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Serialize;

/// Findings told one by one; beyond, they are only counted.
const TOLD: usize = 10_000;

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
    pub(super) fn add(&mut self, finding: Finding) {
        *self.counts.entry(finding.kind).or_default() += 1;
        self.wrong += u64::from(finding.kind.is_wrong() && !finding.mended);
        if self.findings.len() < TOLD {
            self.findings.push(finding);
        } else {
            self.truncated = true;
        }
    }
}

/// One that is of no stream, and not mended.
pub(super) fn note(kind: Kind, path: PathBuf, detail: &str) -> Finding {
    Finding { kind, stream: String::new(), path, detail: detail.to_owned(), mended: false }
}
