//! Making a file whole that a crash, a power cut or a failing disk left torn.
//!
//! A torn end is cut off behind the last whole fragment, and the tail box is written there; the
//! bytes before it are never touched. All writes go through [`Fs`], so that tests can tear them:
//! a mending that was itself interrupted is simply done again.

use std::{
    fs::File,
    io::{self, IoSlice},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bytes::BytesMut;

use super::tables;
use crate::{
    disk::{Fs, FsFile},
    model::{ClosedSegment, NewSegment},
    proto::{
        access_unit::leading_track,
        fmp4::{self, Scan, Torn},
    },
};

/// A file that is whole again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mended {
    /// What completes its row.
    pub closed: ClosedSegment,
    /// Something behind the last whole fragment was cut off.
    pub torn: bool,
}

/// Why a file could not be made whole.
#[derive(Debug, thiserror::Error)]
pub enum MendError {
    /// The system's word.
    #[error("read or write {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds more than a file may.
    #[error("make the tail box")]
    Tail(#[from] fmp4::WriteError),
    /// Its header cannot be read: damaged, or another version's. It may hold footage, so it is not
    /// deleted; nothing can be read from it either.
    #[error("read the file's header")]
    Header(#[source] fmp4::ReadError),
    /// Another segment than its row says.
    #[error("the file says it is another segment")]
    Foreign,
}

/// Makes a file whole; `None` when it is missing or there is nothing in it.
///
/// # Errors
///
/// [`MendError`]; the file is then as it was, or torn where it was torn before.
pub fn mend(fs: &dyn Fs, path: &Path, row: &NewSegment) -> Result<Option<Mended>, MendError> {
    let failed = |source| MendError::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    let len = file.metadata().map_err(failed)?.len();
    let scan = fmp4::scan(len, |at, buffer| file.read_exact_at(buffer, at)).map_err(failed)?;
    let Some(header) = &scan.header else {
        return match scan.torn {
            // It may hold footage, if not for this version: not ours to delete.
            Some(Torn::Damaged { why, .. }) => Err(MendError::Header(why)),
            _ => Ok(None),
        };
    };
    if header.identity.segment != row.id.0 {
        return Err(MendError::Foreign);
    }
    let leading = leading_track(&header.tracks);
    let Scan { tables, end, closed, .. } = &scan;
    let lead = tables.tracks.get(leading.as_usize()).map_or(&[][..], Vec::as_slice);
    let timescale = header.tracks.get(leading.as_usize()).map(|t| t.timescale);
    let footage_end =
        timescale.and_then(|scale| tables::end(&tables.fragments, leading, lead, scale));
    let Some(footage_end) = footage_end else { return Ok(None) };
    let torn = !closed && *end < len;
    let writable = fs.open_file(path).map_err(failed)?;
    let bytes = if *closed {
        len
    } else {
        let lists: Vec<&[fmp4::SampleRef]> = tables.tracks.iter().map(Vec::as_slice).collect();
        let mut tail = BytesMut::new();
        fmp4::write_tail(&mut tail, &lists, &tables.fragments)?;
        if torn {
            writable.truncate(*end).map_err(failed)?;
        }
        append(&*writable, &tail).map_err(failed)?;
        end + tail.len() as u64
    };
    // Also a whole one: the process may have died before it was synced.
    writable.sync().map_err(failed)?;
    let closed = ClosedSegment {
        id: row.id,
        end: footage_end.max(row.start),
        bytes,
        damaged: 0,
        tracks: tables.tracks.iter().map(|s| tables::totals(s)).collect(),
        keys: tables::keys(&tables.fragments, leading, lead, row.start),
    };
    Ok(Some(Mended { closed, torn }))
}

fn append(file: &dyn FsFile, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.append(&[IoSlice::new(bytes)]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
