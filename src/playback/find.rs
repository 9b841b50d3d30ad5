//! Looking for segments.
//!
//! First in the registry of open segments, then in the index: a segment leaves the registry only
//! after its row is complete, so in this order none is missed (it may be seen twice, and then the
//! row wins if it is complete).

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{
    Archive, Result,
    archive::{FOREVER, limits},
    npt::Stretch,
    segment::{self, Index, Segment, Unreadable},
};
use crate::{
    disk::{OpenSegment, ReadError},
    id::{SegmentId, StreamId},
    model,
    proto::time::WallTime,
};

/// From where on to look for a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// One that ends after this.
    from: WallTime,
    /// And comes after this one.
    after: Option<(WallTime, SegmentId)>,
}

impl Place {
    pub(super) fn at(from: WallTime) -> Self {
        Self { from, after: None }
    }

    pub(super) fn after(index: &Index) -> Self {
        Self { from: index.start, after: Some((index.start, index.id)) }
    }
}

impl Archive {
    /// The first readable segment of a stretch from a place on. What cannot be read is logged and
    /// passed over.
    pub(super) async fn next_segment(
        &self,
        stream: StreamId,
        stretch: &Stretch,
        place: Place,
    ) -> Result<Option<Segment>> {
        let mut place = place;
        loop {
            let Some(found) = self.next_row(stream, stretch, place).await? else {
                return Ok(None);
            };
            let key = found.key();
            match self.open(found).await {
                Ok(segment) => return Ok(Some(segment)),
                Err(why) => self.passed_over(key.1, &why),
            }
            place = Place { from: place.from, after: Some(key) };
        }
    }

    /// The last readable segment of a stretch that begins before `wall`.
    pub(super) async fn last_segment(
        &self,
        stream: StreamId,
        stretch: &Stretch,
        wall: WallTime,
    ) -> Result<Option<Segment>> {
        let mut before = stretch.end.map_or(wall, |end| wall.min(end));
        while before > stretch.start {
            let open = self.inner.volumes.open_segments().of(stream);
            let open = open.into_iter().filter(|o| {
                o.opened.epoch == stretch.epoch
                    && o.opened.start < before
                    && o.progress().fragments > 0
            });
            let open = open.max_by_key(|o| o.opened.start);
            let row = self.inner.store.segment_before(stream, before).await?;
            let found = match (open, row) {
                (Some(open), Some(row)) if row.opened.start > open.opened.start => Found::Row(row),
                (Some(open), _) => Found::Open(open),
                (None, Some(row)) => Found::Row(row),
                (None, None) => return Ok(None),
            };
            let (start, id) = found.key();
            before = start;
            if found.epoch() != stretch.epoch {
                continue;
            }
            match self.open(found).await {
                Ok(segment) => return Ok(Some(segment)),
                Err(why) => self.passed_over(id, &why),
            }
        }
        Ok(None)
    }

    async fn next_row(
        &self,
        stream: StreamId,
        stretch: &Stretch,
        place: Place,
    ) -> Result<Option<Found>> {
        let until = stretch.end.unwrap_or(FOREVER);
        let fits = |opened: &model::NewSegment| {
            let key = (opened.start, opened.id);
            opened.epoch == stretch.epoch
                && opened.start < until
                && place.after.is_none_or(|after| key > after)
        };
        let open = self.inner.volumes.open_segments().of(stream);
        let (past, open): (Vec<_>, Vec<_>) = open.into_iter().partition(|o| {
            let progress = o.progress();
            progress.finished && progress.end <= place.from
        });
        let open = open.into_iter().filter(|o| fits(&o.opened));
        let open = open.min_by_key(|o| (o.opened.start, o.opened.id));
        // A row that is not complete has no end and seems to hold all that follows, for seconds
        // after the next segment has begun: what the registry knows of its end counts.
        let past = |row: &model::Segment| {
            !row.closed && past.iter().any(|open| open.opened.id == row.opened.id)
        };

        let range = place.from.max(stretch.start)..until;
        let mut after = place.after;
        let row = loop {
            let store = &self.inner.store;
            let page =
                store.segments_overlapping(stream, range.clone(), after, limits::PAGE).await?;
            let last = page.last().map(|r| (r.opened.start, r.opened.id));
            let full = page.len() >= limits::PAGE as usize;
            if let Some(row) = page.into_iter().find(|row| fits(&row.opened) && !past(row)) {
                break Some(row);
            }
            if !full {
                break None;
            }
            after = last;
        };
        Ok(match (open, row) {
            (Some(open), Some(row)) if row.closed && row.opened.id == open.opened.id => {
                Some(Found::Row(row))
            }
            (Some(open), Some(row))
                if (row.opened.start, row.opened.id) < (open.opened.start, open.opened.id) =>
            {
                Some(Found::Row(row))
            }
            (Some(open), _) => Some(Found::Open(open)),
            (None, Some(row)) => Some(Found::Row(row)),
            (None, None) => None,
        })
    }

    async fn open(&self, found: Found) -> Result<Segment, Unreadable> {
        let row = match found {
            Found::Open(open) => return Segment::growing(open).await,
            Found::Row(row) => row,
        };
        if !row.closed
            // It was opened after the registry was asked.
            && let Some(open) = self.inner.volumes.open_segments().get(row.opened.id)
        {
            return Segment::growing(open).await;
        }
        let volumes = &self.inner.volumes;
        let file = volumes.reader(&row.opened.volume, &row.opened.path).await?;
        let known = self.kept().indexes.iter().find(|i| i.id == row.opened.id).map(Arc::clone);
        if let Some(index) = known {
            return Ok(Segment { index, file, open: None });
        }
        let index = Arc::new(segment::load(volumes, &row.opened, &file).await?);
        if row.closed {
            let mut kept = self.kept();
            if kept.indexes.len() >= limits::INDEXES {
                kept.indexes.pop_front();
            }
            kept.indexes.push_back(Arc::clone(&index));
        }
        Ok(Segment { index, file, open: None })
    }

    fn passed_over(&self, id: SegmentId, why: &Unreadable) {
        match why {
            // Retention took it between row and file, which is its right.
            Unreadable::Open(ReadError::Missing(_)) => {
                self.inner.vanished.fetch_add(1, Relaxed);
                tracing::debug!(segment.id = %id, "segment is gone");
            }
            why => {
                let error: &dyn std::error::Error = why;
                tracing::warn!(segment.id = %id, error, "segment passed over");
            }
        }
    }
}

/// A segment, before its file is opened.
enum Found {
    Open(Arc<OpenSegment>),
    Row(model::Segment),
}

impl Found {
    fn key(&self) -> (WallTime, SegmentId) {
        let opened = match self {
            Self::Open(open) => &open.opened,
            Self::Row(row) => &row.opened,
        };
        (opened.start, opened.id)
    }

    fn epoch(&self) -> u32 {
        match self {
            Self::Open(open) => open.opened.epoch,
            Self::Row(row) => row.opened.epoch,
        }
    }
}
