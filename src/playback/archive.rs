//! The door to recorded footage: makes timelines, clips and readers.

use std::sync::Arc;

use super::{BadToken, Clip, Reader, Result, Timeline};
use crate::{
    clock::Clock, hub::Hub, id::StreamId, model::WallRange, proto::time::WallTime, store::Store,
};

/// What of a stream's archive is wanted; nothing set is all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// From here.
    pub start: Option<WallTime>,
    /// To here; may be in the future.
    pub end: Option<WallTime>,
}

/// Recorded footage of all streams. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Archive {
    inner: Arc<()>,
}

impl Archive {
    /// Over an index, the files and what is live.
    #[must_use]
    pub fn new(store: Store, hub: Arc<Hub>, clock: Clock) -> Self {
        todo!()
    }

    /// Runs and gaps of a range.
    ///
    /// # Errors
    ///
    /// When the index does not answer.
    pub async fn timeline(&self, stream: StreamId, range: WallRange) -> Result<Timeline> {
        todo!()
    }

    /// Freezes what is asked into a clip; `None` when there is no footage in it.
    ///
    /// # Errors
    ///
    /// When the index does not answer.
    pub async fn clip(&self, stream: StreamId, asked: Asked) -> Result<Option<Arc<Clip>>> {
        todo!()
    }

    /// The clip of a [`Clip::token`]; the outer error is ours, the inner the asker's.
    ///
    /// # Errors
    ///
    /// When the index does not answer.
    pub async fn clip_from_token(
        &self,
        stream: StreamId,
        token: &str,
    ) -> Result<Result<Arc<Clip>, BadToken>> {
        todo!()
    }

    /// A reader over a clip, at its start.
    #[must_use]
    pub fn reader(&self, clip: Arc<Clip>) -> Reader {
        todo!()
    }
}
