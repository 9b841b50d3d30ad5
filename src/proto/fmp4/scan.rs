//! Walks a file box by box, as after a crash.

use std::io;

use super::{Fragment, FragmentRef, Header, ReadError, Tail};

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// `None`: the file broke off before its header was whole, or it is none of ours.
    pub header: Option<Header>,
    /// The tables made from the fragments (not from the tail box).
    pub tables: Tail,
    /// Where the last whole fragment ends (or the header, or 0): cut here, write a tail here.
    pub end: u64,
    /// Sequence number of the last whole fragment.
    pub last_sequence: u32,
    /// Whether a whole, undamaged tail box follows `end` and nothing after it.
    pub closed: bool,
    /// What is behind `end` if it is not a tail.
    pub torn: Option<Torn>,
}

/// Why the walk stopped before the end of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Torn {
    /// A box goes on beyond the end of the file.
    #[error("the file ends inside a box at byte {at}")]
    Short {
        /// Where the box begins.
        at: u64,
    },
    /// Bytes that are not what must stand there.
    #[error("byte {at}: {why}")]
    Damaged {
        /// Where the fragment or box begins.
        at: u64,
        /// What is wrong.
        why: ReadError,
    },
}

/// Walks a file of `len` bytes; `read_exact_at(offset, buffer)` fills the buffer. Reads headers
/// only, never payload. Fails only when `read_exact_at` does.
pub fn scan(
    _len: u64,
    _read_exact_at: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> io::Result<Scan> {
    let _: Option<Fragment> = None;
    let _: Option<FragmentRef> = None;
    todo!()
}
