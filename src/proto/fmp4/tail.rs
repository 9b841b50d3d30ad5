//! The tail box: every sample of the file in one read.

use bytes::BytesMut;

use super::{FragmentRef, ReadError, SampleRef, WriteError};

/// A file's tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Samples by track.
    pub tracks: Vec<Vec<SampleRef>>,
    /// Fragments in order.
    pub fragments: Vec<FragmentRef>,
}

/// Bytes at the very end of a file from which [`tail_len`] tells whether there is a tail.
pub const TRAILER_LEN: usize = 16;

/// Appends the tail box. Samples of a track must be in the order they were written.
pub fn write_tail(
    _out: &mut BytesMut,
    _tracks: &[&[SampleRef]],
    _fragments: &[FragmentRef],
) -> Result<(), WriteError> {
    todo!()
}

/// Bytes of the tail box, from the last bytes of a file ([`TRAILER_LEN`] at least; read some
/// 64 KiB, and that is mostly the whole of it). `None`: the file has none.
#[must_use]
pub fn tail_len(_end_of_file: &[u8]) -> Option<u64> {
    todo!()
}

/// Reads the tail box from the last bytes of a file: at least [`tail_len`] of them.
pub fn read_tail(_end_of_file: &[u8]) -> Result<Tail, ReadError> {
    todo!()
}
