//! What retention asks: how much there is, and what is oldest. By indexes and kept sums; no
//! question here reads more rows than it answers with, times a constant.

use std::collections::BTreeMap;

use super::{Result, Store};
use crate::{
    id::StreamId,
    model::{Age, Candidate, FootageStream, RunRow, VolumeUse},
    proto::time::WallTime,
};

impl Store {
    /// Closed segments of a stream in the order of deletion, after `after`, locked ones too.
    pub async fn oldest_segments(
        &self,
        stream: StreamId,
        after: Option<Age>,
        limit: u32,
    ) -> Result<Vec<Candidate>> {
        let _ = (stream, after, limit);
        todo!()
    }

    /// Those of them that lie on one volume.
    pub async fn oldest_segments_on(
        &self,
        stream: StreamId,
        volume: &str,
        after: Option<Age>,
        limit: u32,
    ) -> Result<Vec<Candidate>> {
        let _ = (stream, volume, after, limit);
        todo!()
    }

    /// The oldest segment of each stream on a volume that no lock overlaps, by start.
    pub async fn oldest_on_volume(&self, volume: &str) -> Result<Vec<Candidate>> {
        let _ = volume;
        todo!()
    }

    /// Closed bytes and segments of each stream on each volume.
    pub async fn volume_use(&self) -> Result<Vec<VolumeUse>> {
        todo!()
    }

    /// Closed bytes that locks hold, of each stream. Reads the locked segments: for people, not
    /// for each round.
    pub async fn locked_bytes(&self) -> Result<BTreeMap<StreamId, u64>> {
        todo!()
    }

    /// All streams with their limits, also hidden ones and those of deleted cameras whose footage
    /// was kept.
    pub async fn footage_streams(&self) -> Result<Vec<FootageStream>> {
        todo!()
    }

    /// The newest run of a stream: of its newest epoch the last.
    pub async fn newest_run(&self, stream: StreamId) -> Result<Option<RunRow>> {
        let _ = stream;
        todo!()
    }

    /// The latest end of all footage that the index knows of.
    pub async fn newest_footage(&self) -> Result<Option<WallTime>> {
        todo!()
    }
}
