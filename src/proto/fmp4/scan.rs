//! Walks a file box by box, as after a crash: where does its last whole fragment end?
//!
//! After a killed process a file may end anywhere. After a power cut it may also have its full
//! length with zeros or garbage where data never reached the disk; so the payload of fragments at the
//! end, which may not have been synced, is compared with its checksum. Fragments of files from before
//! there was one have each picture's first length and last byte looked at: no NAL unit has length 0 or
//! ends in a zero byte.

use std::io;

use super::{
    Fragment, FragmentRef, Header, ReadError, SampleRef, Tail,
    boxes::BoxHeader,
    fragment_read::read_head,
    header::read_header,
    limits,
    tail::{self, read_tail},
};
use crate::proto::access_unit::Tracks;

/// First read of the header: it seldom takes more.
const HEADER_READ: u64 = 8 << 10;

/// First read of a fragment's tables.
const FRAGMENT_READ: u64 = 2 << 10;

/// Payload is read in parts of this.
const PAYLOAD_READ: u64 = 1 << 20;

/// So many fragments in a row that are whole, and those before them were synced: a disk writes back
/// in no order, but what is that much older was on it before.
const SYNCED_AFTER: usize = 32;
/// Fragments at the end that are looked at, at most.
const UNSYNCED: usize = 512;

/// Whose payload is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Of fragments at the end, unless the file has its tail box.
    Torn,
    /// Of fragments at the end: after a power cut the tail may be there and what is before it not.
    Unsynced,
    /// Of all.
    All,
}

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// `None`: the file broke off before its header was whole, or it is none of ours.
    pub header: Option<Header>,
    /// The tables made from the fragments (not from the tail box). A fragment without `prft` is
    /// among the samples but not among the fragments.
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
    #[error("the file ends inside what begins at byte {at}")]
    Short {
        /// Where the fragment or box begins.
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

/// Walks a file of `len` bytes; `read_exact_at(offset, buffer)` fills the buffer. Reads tables, and
/// of the payload only a few bytes at the end. Fails only when `read_exact_at` does.
pub fn scan(
    len: u64,
    read_exact_at: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> io::Result<Scan> {
    scan_verifying(len, Verify::Torn, read_exact_at)
}

/// The same, and says of which fragments the payload is read too.
pub fn scan_verifying(
    len: u64,
    verify: Verify,
    read_exact_at: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> io::Result<Scan> {
    let mut file = File { len, read_exact_at, buffer: Vec::new() };
    let mut scan = Scan::default();
    match file.parse(0, HEADER_READ, read_header)? {
        Ok(header) => {
            scan.end = header.len;
            scan.tables.tracks = vec![Vec::new(); header.tracks.len()];
            scan.header = Some(header);
        }
        Err(torn) => {
            scan.torn = Some(torn);
            return Ok(scan);
        }
    }
    let tracks = scan.header.as_ref().map(|header| header.tracks.clone()).unwrap_or_default();
    let mut fragments = Vec::new();
    let mut samples = 0;
    while scan.end < len {
        let at = scan.end;
        let next = match file.next(at, tracks.len())? {
            Ok(Next::Fragment { fragment, end }) => {
                samples += fragment.tracks.iter().map(Vec::len).sum::<usize>();
                if samples > limits::SAMPLES || fragments.len() == limits::FRAGMENTS {
                    Err(Torn::Damaged { at, why: ReadError::TooLarge("number of units") })
                } else {
                    fragments.push((at, fragment));
                    Ok(end)
                }
            }
            Ok(Next::Other { end }) => Ok(end),
            Ok(Next::Tail) => {
                scan.closed = true;
                break;
            }
            Err(torn) => Err(torn),
        };
        match next {
            Ok(end) => scan.end = end,
            Err(torn) => {
                scan.torn = Some(torn);
                break;
            }
        }
    }
    let at_most = match verify {
        Verify::Torn if scan.closed => 0,
        Verify::Torn | Verify::Unsynced => UNSYNCED,
        Verify::All => fragments.len(),
    };
    let (mut whole, mut cut) = (0, None);
    for (place, (at, fragment)) in fragments.iter().enumerate().rev().take(at_most) {
        if file.holds_what_it_says(&tracks, fragment)? {
            whole += 1;
        } else {
            (whole, cut) = (0, Some((place, *at)));
        }
        if whole == SYNCED_AFTER && verify != Verify::All {
            break;
        }
    }
    if let Some((place, at)) = cut {
        let why = ReadError::Damaged("payload");
        scan.torn = Some(Torn::Damaged { at, why });
        scan.closed = false;
        scan.end = at;
        fragments.truncate(place);
    }
    for (offset, fragment) in fragments {
        scan.last_sequence = fragment.sequence;
        scan.tables.fragments.extend(fragment.anchor.map(|anchor| FragmentRef { offset, anchor }));
        for (table, samples) in scan.tables.tracks.iter_mut().zip(fragment.tracks) {
            table.extend(samples);
        }
    }
    Ok(scan)
}

enum Next {
    Fragment { fragment: Fragment, end: u64 },
    Tail,
    Other { end: u64 },
}

struct File<R> {
    len: u64,
    read_exact_at: R,
    buffer: Vec<u8>,
}

impl<R: FnMut(u64, &mut [u8]) -> io::Result<()>> File<R> {
    /// Up to `len` bytes from `at`: fewer only at the end of the file.
    fn read(&mut self, at: u64, len: u64) -> io::Result<&[u8]> {
        let len = len.min(self.len.saturating_sub(at)).min(limits::TAIL);
        self.buffer.resize(usize::try_from(len).unwrap_or(0), 0);
        (self.read_exact_at)(at, &mut self.buffer)?;
        Ok(&self.buffer)
    }

    /// Reads at `at` as much as `parse` asks for.
    fn parse<T>(
        &mut self,
        at: u64,
        first: u64,
        parse: impl Fn(&[u8]) -> Result<T, ReadError>,
    ) -> io::Result<Result<T, Torn>> {
        let mut want = first;
        loop {
            let data = self.read(at, want)?;
            match parse(data) {
                Ok(value) => return Ok(Ok(value)),
                // More than the last time, for `read` gave what was wanted: so this ends.
                Err(ReadError::Incomplete { needed })
                    if needed > want && needed <= self.len.saturating_sub(at) =>
                {
                    want = needed;
                }
                Err(ReadError::Incomplete { .. }) => return Ok(Err(Torn::Short { at })),
                Err(why) => return Ok(Err(Torn::Damaged { at, why })),
            }
        }
    }

    /// What begins at `at`.
    fn next(&mut self, at: u64, tracks: usize) -> io::Result<Result<Next, Torn>> {
        let header = match self.parse(at, BoxHeader::MAX, BoxHeader::read)? {
            Ok(header) => header,
            Err(torn) => return Ok(Err(torn)),
        };
        let damaged = |why| Ok(Err(Torn::Damaged { at, why }));
        let end = match at.checked_add(header.len) {
            Some(end) if end <= self.len => end,
            Some(_) => return Ok(Err(Torn::Short { at })),
            None => return damaged(ReadError::Damaged("box size")),
        };
        match &header.kind {
            b"prft" | b"moof" => self.fragment(at, tracks),
            b"uuid" => {
                let head = self.read(at, header.header_len + 16)?;
                if !head.ends_with(&tail::UUID) {
                    return Ok(Ok(Next::Other { end }));
                }
                if header.len > limits::TAIL {
                    return damaged(ReadError::TooLarge("tail"));
                }
                if end != self.len {
                    return damaged(ReadError::Damaged("bytes behind the tail"));
                }
                match read_tail(self.read(at, header.len)?) {
                    Ok(_) | Err(ReadError::Newer(_)) => Ok(Ok(Next::Tail)),
                    Err(why) => damaged(why),
                }
            }
            b"free" | b"skip" | b"styp" | b"sidx" | b"emsg" | b"mfra" | b"meta" => {
                Ok(Ok(Next::Other { end }))
            }
            _ => damaged(ReadError::Damaged("box")),
        }
    }

    fn fragment(&mut self, at: u64, tracks: usize) -> io::Result<Result<Next, Torn>> {
        let parsed = self.parse(at, FRAGMENT_READ, |data| {
            let (fragment, used) = read_head(data, at, tracks)?;
            let rest = usize::try_from(used).ok().and_then(|used| data.get(used..));
            let mdat = BoxHeader::read(rest.unwrap_or_default()).map_err(|e| match e {
                ReadError::Incomplete { needed } => ReadError::Incomplete { needed: used + needed },
                e => e,
            })?;
            if mdat.kind != *b"mdat" {
                return Err(ReadError::Missing("mdat"));
            }
            Ok((fragment, used, mdat))
        })?;
        let (fragment, used, mdat) = match parsed {
            Ok(parsed) => parsed,
            Err(torn) => return Ok(Err(torn)),
        };
        let damaged = |why| Ok(Err(Torn::Damaged { at, why: ReadError::Damaged(why) }));
        let start = at.saturating_add(used);
        let end = match start.checked_add(mdat.len) {
            Some(end) if end <= self.len => end,
            Some(_) => return Ok(Err(Torn::Short { at })),
            None => return damaged("mdat"),
        };
        let payload = start + mdat.header_len..=end;
        let inside = |s: &SampleRef| {
            payload.contains(&s.offset)
                && s.offset.checked_add(u64::from(s.size)).is_some_and(|end| payload.contains(&end))
        };
        if !fragment.tracks.iter().flatten().all(inside) {
            return damaged("sample offset");
        }
        Ok(Ok(Next::Fragment { fragment, end }))
    }

    /// Whether the payload is what was written.
    fn holds_what_it_says(&mut self, tracks: &Tracks, fragment: &Fragment) -> io::Result<bool> {
        let Some(checksum) = fragment.checksum else {
            return self.holds_pictures(tracks, fragment);
        };
        // As it was written: track by track in the order of `moof`, which is that of the offsets.
        let samples = || fragment.tracks.iter().flatten();
        let start = samples().map(|s| s.offset).min().unwrap_or(0);
        let end = samples().map(|s| s.offset.saturating_add(u64::from(s.size))).max().unwrap_or(0);
        let (mut crc, mut at) = (crc32fast::Hasher::new(), start);
        while at < end {
            let part = self.read(at, (end - at).min(PAYLOAD_READ))?;
            if part.is_empty() {
                return Ok(false);
            }
            crc.update(part);
            at += part.len() as u64;
        }
        Ok(crc.finalize() == checksum)
    }

    /// Whether each picture begins with a length and ends in a byte that is not zero.
    fn holds_pictures(&mut self, tracks: &Tracks, fragment: &Fragment) -> io::Result<bool> {
        for (track, samples) in tracks.iter().zip(&fragment.tracks) {
            if !track.parameters.is_video() {
                continue;
            }
            for sample in samples.iter().filter(|s| s.size > 4) {
                let first = self.read(sample.offset, 4)? != [0; 4];
                let end = sample.offset.saturating_add(u64::from(sample.size) - 1);
                if !first || self.read(end, 1)? == [0] {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}
