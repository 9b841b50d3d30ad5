//! The rows of one file, from the file alone. Nothing is written.
//!
//! A closed file takes two small reads: its header, and its tail box from the end. One without a
//! tail (open, or torn) is walked fragment by fragment.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::{
    id::{CameraId, RunId, SegmentId, StreamId},
    model::{ClosedSegment, NewSegment, TrackStart},
    proto::{
        access_unit::{TrackIndex, leading_track},
        fmp4::{self, Header, Tail, Torn, Verify},
        reason::GapReason,
        time::MediaTime,
    },
};

use super::tables;

/// First read of the header: it seldom takes more.
const HEADER_READ: u64 = 8 << 10;
/// First read of the tail: it seldom takes more.
const TAIL_READ: u64 = 64 << 10;

/// What a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footage {
    /// Its row at its opening.
    pub opened: NewSegment,
    /// What completes it. `damaged` is not known from the file: 0.
    pub closed: ClosedSegment,
    /// Its camera.
    pub camera: CameraId,
    /// What the camera was called.
    pub slug: String,
    /// Of the stream.
    pub role: String,
    /// Why the run before its run ended; `None` for a reason of a later program.
    pub previous_end: Option<GapReason>,
    /// The track that its time is told by.
    pub leading: TrackIndex,
    /// It ends with its tail box. Else it is being written, or torn.
    pub whole: bool,
}

/// Why a file gives no rows.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system's word.
    #[error("read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody's segment: no box of ours in it.
    #[error("not a segment of Vedette")]
    Foreign,
    /// Written by a later program, which this one does not understand.
    #[error("format version {0} is newer than this program")]
    Newer(u8),
    /// A segment with not one whole fragment.
    #[error("no whole fragment in it")]
    Empty,
    /// A segment whose header cannot be read.
    #[error("damaged header")]
    Damaged(#[source] fmp4::ReadError),
}

/// Reads the rows of `<root>/<path>`, which is on the volume `volume`.
///
/// # Errors
///
/// [`ReadError`].
pub fn read(root: &Path, volume: &str, path: &str) -> Result<Footage, ReadError> {
    let whole_path = root.join(path);
    let failed = |source| ReadError::Io { path: whole_path.clone(), source };
    let file = File::open(&whole_path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    let place = Place { volume, path };
    let header = header(&file, len).map_err(failed)??;
    if let Some(tail) = tail(&file, len, &header).map_err(failed)? {
        return rows(&header, &tail, len, true, place).ok_or(ReadError::Empty);
    }
    let scan = fmp4::scan(len, |at, buffer| file.read_exact_at(buffer, at)).map_err(failed)?;
    rows(&header, &scan.tables, scan.end, false, place).ok_or(ReadError::Empty)
}

/// Where a file stands.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) volume: &'a str,
    pub(super) path: &'a str,
}

fn header(file: &File, len: u64) -> io::Result<Result<Header, ReadError>> {
    let mut want = HEADER_READ;
    loop {
        let bytes = read_at(file, 0, want.min(len))?;
        return Ok(match fmp4::read_header(&bytes) {
            Ok(header) => Ok(header),
            Err(fmp4::ReadError::Incomplete { needed }) if needed > want && needed <= len => {
                want = needed;
                continue;
            }
            Err(error) => Err(header_error(error)),
        });
    }
}

pub(super) fn header_error(error: fmp4::ReadError) -> ReadError {
    match error {
        // It broke off before its header was whole.
        fmp4::ReadError::Incomplete { .. } => ReadError::Empty,
        fmp4::ReadError::Newer(version) => ReadError::Newer(version),
        fmp4::ReadError::Missing("identity") => ReadError::Foreign,
        error => ReadError::Damaged(error),
    }
}

/// The tail box, if the file ends with one that fits it.
fn tail(file: &File, len: u64, header: &Header) -> io::Result<Option<Tail>> {
    let mut end = read_at(file, len.saturating_sub(TAIL_READ), TAIL_READ.min(len))?;
    let Some(tail_len) = fmp4::tail_len(&end).filter(|&n| n <= len) else { return Ok(None) };
    if tail_len > end.len() as u64 {
        end = read_at(file, len - tail_len, tail_len)?;
    }
    let Ok(tail) = fmp4::read_tail(&end) else { return Ok(None) };
    let payload = header.len..len - tail_len;
    let fits = tail.tracks.len() == header.tracks.len()
        && tail.tracks.iter().flatten().all(|s| {
            let after = s.offset.saturating_add(u64::from(s.size));
            s.offset >= payload.start && after <= payload.end
        });
    Ok(fits.then_some(tail))
}

/// The rows that header and tables make; `None` when there is no footage.
fn rows(header: &Header, tables: &Tail, bytes: u64, whole: bool, at: Place) -> Option<Footage> {
    let identity = &header.identity;
    let leading = leading_track(&header.tracks);
    let lead = tables.tracks.get(leading.as_usize()).map_or(&[][..], Vec::as_slice);
    let timescale = header.tracks.get(leading.as_usize())?.timescale;
    let end = tables::end(&tables.fragments, leading, lead, timescale)?;
    let codecs: Vec<_> = header.tracks.iter().map(|t| t.parameters.rfc6381()).collect();
    let starts = identity.tracks.iter().zip(&tables.tracks).map(|(start, samples)| {
        let file_dts = samples.first().map_or(MediaTime::ZERO, |s| s.dts);
        TrackStart {
            first_number: start.first_number,
            first_dts: start.first_dts + file_dts,
            file_dts,
        }
    });
    let id = SegmentId(identity.segment);
    let opened = NewSegment {
        id,
        stream: StreamId(identity.stream),
        run: RunId(identity.run),
        epoch: identity.epoch,
        sequence: identity.sequence,
        start: identity.start,
        volume: at.volume.to_owned(),
        path: at.path.to_owned(),
        codecs: codecs.join(","),
        tracks: starts.collect(),
    };
    let closed = ClosedSegment {
        id,
        end: end.max(identity.start),
        bytes,
        damaged: 0,
        tracks: tables.tracks.iter().map(|s| tables::totals(s)).collect(),
        keys: tables::keys(&tables.fragments, leading, lead, identity.start),
    };
    Some(Footage {
        opened,
        closed,
        camera: CameraId(identity.camera),
        slug: identity.slug.clone(),
        role: identity.role.clone(),
        previous_end: GapReason::from_code(identity.previous_end),
        leading,
        whole,
    })
}

/// What is wrong inside a file whose row says it is complete.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The fragments end before the file does, and what follows is no tail.
    #[error("{0}")]
    Torn(Torn),
    /// No tail box.
    #[error("the tail box is missing")]
    NoTail,
    /// The tail box says otherwise than the fragments.
    #[error("the tail box does not say what the fragments say")]
    TailDiffers,
}

/// Reads every box of a file, compares payloads with their checksums and the tail with the fragments; what is wrong with it.
///
/// # Errors
///
/// [`ReadError`].
pub fn look_deep(path: &Path) -> Result<Option<Flaw>, ReadError> {
    let failed = |source| ReadError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    let header = header(&file, len).map_err(failed)??;
    let read_at = |at, buffer: &mut [u8]| file.read_exact_at(buffer, at);
    let scan = fmp4::scan_verifying(len, Verify::All, read_at).map_err(failed)?;
    if let Some(torn) = scan.torn {
        return Ok(Some(Flaw::Torn(torn)));
    }
    if !scan.closed {
        return Ok(Some(Flaw::NoTail));
    }
    let differs = tail(&file, len, &header).map_err(failed)?.is_none_or(|t| t != scan.tables);
    Ok(differs.then_some(Flaw::TailDiffers))
}

fn read_at(file: &File, at: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_exact_at(&mut buffer, at)?;
    Ok(buffer)
}
