//! `ftyp` and `moov`.

use bytes::Bytes;

use super::{Identity, ReadError, WriteError};
use crate::proto::access_unit::{Track, Tracks};

/// What stands before the first fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose footage it is.
    pub identity: Identity,
    /// Its tracks; [`TrackIndex`](crate::proto::access_unit::TrackIndex) counts them.
    pub tracks: Tracks,
    /// Bytes of `ftyp` and `moov`: the first fragment begins here.
    pub len: u64,
}

/// The bytes before the first fragment.
pub fn write_header(_identity: &Identity, _tracks: &[Track]) -> Result<Bytes, WriteError> {
    todo!()
}

/// Reads the header from the start of a file; `data` may go on beyond it.
pub fn read_header(_data: &[u8]) -> Result<Header, ReadError> {
    todo!()
}
