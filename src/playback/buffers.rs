//! The parts of a segment file a reader holds in memory.
//!
//! Tracks lie one behind the other in a fragment, and a track may lag some units behind another,
//! so a reader goes back and forth between at most a few fragments. Units are slices of these
//! parts and keep a part alive for as long as they live themselves.

use std::{collections::VecDeque, ops::Range};

use bytes::Bytes;

/// Parts kept: the fragment being read, the one a lagging track is still in, and one more.
const PARTS: usize = 3;

#[derive(Debug, Default)]
pub(super) struct Buffers {
    parts: VecDeque<(Range<u64>, Bytes)>,
}

impl Buffers {
    pub(super) fn clear(&mut self) {
        self.parts.clear();
    }

    pub(super) fn put(&mut self, range: Range<u64>, bytes: Bytes) {
        if self.parts.len() >= PARTS {
            self.parts.pop_front();
        }
        self.parts.push_back((range, bytes));
    }

    /// The bytes of a unit, if a part holds all of them.
    pub(super) fn get(&self, offset: u64, size: u32) -> Option<Bytes> {
        let end = offset.checked_add(u64::from(size))?;
        let holds = |range: &Range<u64>| range.start <= offset && end <= range.end;
        let (range, bytes) = self.parts.iter().rev().find(|(range, _)| holds(range))?;
        let from = usize::try_from(offset - range.start).ok()?;
        let to = from.checked_add(size as usize)?;
        (to <= bytes.len()).then(|| bytes.slice(from..to))
    }
}
