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

use super::{Footage, ReadError, read, tables};
use crate::{
    disk::{Fs, FsFile},
    model::{ClosedSegment, NewSegment},
    proto::{
        access_unit::{TrackIndex, leading_track},
        fmp4::{self, Scan, Torn, Verify},
    },
};

/// A file of more bytes may hold footage, whatever its header looks like: it is never deleted.
pub const NOTHING: u64 = 64 << 10;

/// A file that is whole again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mended {
    /// What completes its row.
    pub closed: ClosedSegment,
    /// Something behind the last whole fragment was cut off.
    pub torn: bool,
    /// The track that the file's time is told by.
    pub leading: TrackIndex,
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
    /// Damaged within, and whether what follows is footage cannot be told.
    #[error("damaged at byte {at}; what follows is left as it is")]
    Middle {
        /// Where.
        at: u64,
    },
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
    let read_at = |at, buffer: &mut [u8]| file.read_exact_at(buffer, at);
    let scan = fmp4::scan_verifying(len, Verify::Unsynced, read_at).map_err(failed)?;
    let Some(header) = &scan.header else {
        return match scan.torn {
            // It may hold footage, if not for this version: not ours to delete.
            Some(Torn::Damaged { why, .. }) => Err(MendError::Header(why)),
            // Footage may follow a header whose length is damaged.
            Some(Torn::Short { .. }) if len > NOTHING => {
                Err(MendError::Header(fmp4::ReadError::Damaged("length of the header")))
            }
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
    // Also a whole one: the process may have died before it was synced, or its name was.
    writable.sync().map_err(failed)?;
    sync_folders(fs, path, &row.path).map_err(failed)?;
    let closed = ClosedSegment {
        id: row.id,
        end: footage_end.max(row.start),
        bytes,
        damaged: 0,
        tracks: tables.tracks.iter().map(|s| tables::totals(s)).collect(),
        keys: tables::keys(&tables.fragments, leading, lead, row.start),
    };
    Ok(Some(Mended { closed, torn, leading }))
}

/// Makes row and file of a closed segment agree again, whose sync said long ago that all of it is on
/// the disk. `None` when the file is missing or there is nothing in it.
///
/// Where its tail box is whole, that is believed, and nothing is written: damage in the middle of a
/// file costs what it hit and not what follows. Else only an end that is missing is made good.
///
/// # Errors
///
/// [`MendError`]; [`MendError::Middle`] where cutting would cost what may still be read.
pub fn remake(fs: &dyn Fs, path: &Path, row: &NewSegment) -> Result<Option<Mended>, MendError> {
    let failed = |source| MendError::Io { path: path.to_owned(), source };
    let (folder, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
    match read(folder, &row.volume, &name.to_string_lossy()) {
        Ok(footage) if footage.opened.id != row.id => return Err(MendError::Foreign),
        Ok(footage) if footage.whole => {
            let Footage { closed, leading, .. } = footage;
            return Ok(Some(Mended { closed, torn: false, leading }));
        }
        Ok(_) => {}
        Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(ReadError::Io { path, source }) => return Err(MendError::Io { path, source }),
        Err(ReadError::Damaged(why)) => return Err(MendError::Header(why)),
        Err(ReadError::Newer(n)) => return Err(MendError::Header(fmp4::ReadError::Newer(n))),
        Err(ReadError::Foreign) => return Err(MendError::Foreign),
        Err(ReadError::Empty) => return mend(fs, path, row),
    }
    let file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    let scan = fmp4::scan(len, |at, buffer| file.read_exact_at(buffer, at)).map_err(failed)?;
    if let Some(Torn::Damaged { at, .. }) = scan.torn {
        return Err(MendError::Middle { at });
    }
    mend(fs, path, row)
}

/// Makes the names durable that lead to `path`, which stands at `relative` below its volume.
fn sync_folders(fs: &dyn Fs, path: &Path, relative: &str) -> io::Result<()> {
    if !path.ends_with(relative) {
        return Ok(());
    }
    let depth = Path::new(relative).components().count();
    path.ancestors().skip(1).take(depth).try_for_each(|folder| fs.sync_folder(folder))
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
