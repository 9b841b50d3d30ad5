//! Tables `segment`, `segment_keys`, `segment_track`: the files.
//!
//! A row is inserted when a file opens and completed when it closes: two small writes a minute
//! and stream. Rows of one stream lie together, by start; everything that is not needed to find
//! a file or to list it stands in the other two tables.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::{
    Result, Store, StoreError,
    columns::{signed, small, unsigned, wall},
    failed, packed, unlink, volume,
};
use crate::{
    id::{RunId, SegmentId, StreamId},
    model::{ClosedSegment, KeyFrame, NewSegment, Segment, TrackTotals, WallRange},
    proto::time::{MediaTime, WallSpan, WallTime},
};

/// No segment is longer: the bound on how far back an overlap query looks.
///
/// Segments are at most an hour long by configuration and are cut at the next key frame after
/// that; cameras with "smart" codecs let minutes pass between two.
pub const MAX_SEGMENT: WallSpan = WallSpan::from_secs(2 * 3_600);

#[derive(sqlx::FromRow)]
struct Row {
    id: SegmentId,
    stream: StreamId,
    run: RunId,
    epoch: i64,
    sequence: i64,
    start_us: i64,
    end_us: i64,
    closed: bool,
    volume: String,
    path: String,
    codecs: String,
    bytes: i64,
    damaged: i64,
    track_starts: Vec<u8>,
}

impl Row {
    fn into_segment(self) -> Result<Segment> {
        Ok(Segment {
            opened: NewSegment {
                id: self.id,
                stream: self.stream,
                run: self.run,
                epoch: small(self.epoch, "segment epoch")?,
                sequence: small(self.sequence, "segment sequence")?,
                start: wall(self.start_us),
                volume: self.volume,
                path: self.path,
                codecs: self.codecs,
                tracks: packed::unpack_starts(&self.track_starts)
                    .map_err(|_| StoreError::Corrupt("track starts"))?,
            },
            end: wall(self.end_us),
            bytes: unsigned(self.bytes),
            damaged: unsigned(self.damaged),
            closed: self.closed,
        })
    }
}

/// A query for whole rows. `cross join` fixes the order: the segment first, then its names.
macro_rules! select {
    ($($rest:literal)*) => {
        concat!(
            "select segment.id, segment.stream, segment.run, segment.epoch, segment.sequence,
                    segment.start_us, segment.end_us, segment.closed, volume.path as volume,
                    segment.path, codecs.names as codecs, segment.bytes, segment.damaged,
                    segment.track_starts
             from segment
             cross join volume on volume.id = segment.volume
             cross join codecs on codecs.id = segment.codecs
             ",
            $($rest)*
        )
    };
}

const INSERT_CODECS: &str = "insert into codecs (names) values (?1) on conflict do nothing";
const INSERT: &str = "
    insert into segment (id, stream, run, epoch, sequence, start_us, end_us, closed, volume, path,
                         codecs, bytes, damaged, track_starts)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?6, 0, (select id from volume where volume.path = ?7), ?8,
            (select id from codecs where names = ?9), 0, 0, ?10)
    on conflict (id) do nothing";
const IS_THERE: &str = "select 1 from segment where id = ?1 and stream = ?2 and path = ?3";
const CLOSE: &str = "
    update segment
    set closed = 1,
        end_us = min(max(start_us, ?2), start_us + ?3),
        bytes = ?4,
        damaged = ?5
    where id = ?1
    returning start_us";
const INSERT_KEYS: &str = "insert into segment_keys (segment, keys) values (?1, ?2)
                           on conflict (segment) do update set keys = excluded.keys";
const INSERT_TRACK: &str = "
    insert into segment_track (segment, track, samples, sync_samples, bytes, duration_ticks,
                               stts_runs, ctts_runs)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
/// The plus keeps SQLite from walking all rows by id to save itself the sorting.
pub(super) const OPEN: &str = select!("where segment.closed = 0 order by +segment.id");
/// ?2 is at most [`MAX_SEGMENT`] before the range's start, ?3; (?5, ?6) is the cursor.
pub(super) const OVERLAPPING: &str = select!(
    "where segment.stream = ?1
       and segment.start_us >= ?2 and segment.start_us < ?4
       and (segment.start_us, segment.id) > (?5, ?6)
       and (segment.closed = 0 or segment.end_us > ?3)
     order by segment.start_us, segment.id
     limit ?7"
);
/// Of two epochs the newer.
pub(super) const HOLDING: &str = select!(
    "where segment.stream = ?1
       and segment.start_us >= ?2 and segment.start_us <= ?3
       and (segment.closed = 0 or segment.end_us > ?3)
     order by segment.epoch desc, segment.start_us desc, segment.id desc
     limit 1"
);
pub(super) const AFTER: &str = select!(
    "where segment.stream = ?1 and segment.start_us > ?2
     order by segment.start_us, segment.id
     limit 1"
);
pub(super) const BEFORE: &str = select!(
    "where segment.stream = ?1 and segment.start_us < ?2
     order by segment.start_us desc, segment.id desc
     limit 1"
);
const TRACKS: &str = "select samples, sync_samples, bytes, duration_ticks, stts_runs, ctts_runs
                      from segment_track where segment = ?1 order by track";
pub(super) const USAGE: &str = "
    select stream.id, stream.closed_bytes,
           (select segment.start_us from segment
            where segment.stream = stream.id and segment.closed = 1
            order by segment.start_us limit 1)
    from stream";

impl Store {
    /// Inserts the row of a segment that opens; its run must have been opened. Idempotent;
    /// `Conflict` when its id is another's.
    pub async fn open_segment(&self, segment: NewSegment) -> Result<()> {
        self.writer
            .write("open a segment", move |db| Box::pin(async move { open(db, &segment).await }))
            .await
    }

    /// Completes it (one transaction: row, key frames, totals). Idempotent.
    ///
    /// An end before its start, or more than [`MAX_SEGMENT`] after it, is moved there: the range
    /// queries rely on it.
    pub async fn close_segment(&self, closed: ClosedSegment) -> Result<()> {
        self.writer
            .write("close a segment", move |db| Box::pin(async move { close(db, closed).await }))
            .await
    }

    /// Rows still open, for start-up recovery.
    pub async fn open_segments(&self) -> Result<Vec<Segment>> {
        let rows: Vec<Row> = sqlx::query_as(OPEN)
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list open segments"))?;
        rows.into_iter().map(Row::into_segment).collect()
    }

    /// Takes out the row of an open segment whose file held nothing, or is gone. No gap is made for
    /// it: that its run ends without it is up to the caller. Closed ones: [`Self::delete_segments`].
    pub async fn delete_segment(&self, id: SegmentId) -> Result<()> {
        self.writer
            .write("delete a segment", move |db| {
                Box::pin(async move {
                    let run: Option<RunId> =
                        sqlx::query_scalar("delete from segment where id = ?1 returning run")
                            .bind(id)
                            .fetch_optional(&mut *db)
                            .await
                            .map_err(failed("delete a segment"))?;
                    // A run that had ended where it began was kept for it alone.
                    let Some(run) = run else { return Ok(()) };
                    super::run::delete_empty(db, run).await
                })
            })
            .await
    }

    /// Segments that overlap the range, by start, after the cursor (start, id); at most `limit`.
    ///
    /// A segment that only touches the range is not in it; an open one counts as lasting (for
    /// [`MAX_SEGMENT`] at most).
    pub async fn segments_overlapping(
        &self,
        stream: StreamId,
        range: WallRange,
        after: Option<(WallTime, SegmentId)>,
        limit: u32,
    ) -> Result<Vec<Segment>> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let earliest = range.start - MAX_SEGMENT;
        // SQLite takes one lower bound for its index search: the tighter of the two.
        let earliest = after.map_or(earliest, |(start, _)| start.max(earliest));
        let (cursor_start, cursor_id) =
            after.unwrap_or((WallTime::from_micros(i64::MIN), SegmentId(i64::MIN)));
        let rows: Vec<Row> = sqlx::query_as(OVERLAPPING)
            .bind(stream)
            .bind(earliest.as_micros())
            .bind(range.start.as_micros())
            .bind(range.end.as_micros())
            .bind(cursor_start.as_micros())
            .bind(cursor_id)
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list segments of a range"))?;
        rows.into_iter().map(Row::into_segment).collect()
    }

    /// The segment that holds `at`, or the first one after it.
    ///
    /// Of two that hold it (the clock stepped back) the one recorded later.
    pub async fn segment_at_or_after(
        &self,
        stream: StreamId,
        at: WallTime,
    ) -> Result<Option<Segment>> {
        let holding: Option<Row> = sqlx::query_as(HOLDING)
            .bind(stream)
            .bind((at - MAX_SEGMENT).as_micros())
            .bind(at.as_micros())
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("find the segment of an instant"))?;
        let row = match holding {
            Some(row) => Some(row),
            None => sqlx::query_as(AFTER)
                .bind(stream)
                .bind(at.as_micros())
                .fetch_optional(&self.readers)
                .await
                .map_err(failed("find the segment after an instant"))?,
        };
        row.map(Row::into_segment).transpose()
    }

    /// The last segment that starts before `at`.
    pub async fn segment_before(&self, stream: StreamId, at: WallTime) -> Result<Option<Segment>> {
        let row: Option<Row> = sqlx::query_as(BEFORE)
            .bind(stream)
            .bind(at.as_micros())
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("find the segment before an instant"))?;
        row.map(Row::into_segment).transpose()
    }

    /// Key frames of a closed segment.
    pub async fn key_frames(&self, id: SegmentId) -> Result<Vec<KeyFrame>> {
        let blob: Option<Vec<u8>> =
            sqlx::query_scalar("select keys from segment_keys where segment = ?1")
                .bind(id)
                .fetch_optional(&self.readers)
                .await
                .map_err(failed("read key frames"))?;
        packed::unpack_keys(&blob.unwrap_or_default())
            .map_err(|_| StoreError::Corrupt("key frames"))
    }

    /// The totals of a closed segment's tracks.
    pub async fn track_totals(&self, id: SegmentId) -> Result<Vec<TrackTotals>> {
        let rows: Vec<(i64, i64, i64, i64, i64, i64)> = sqlx::query_as(TRACKS)
            .bind(id)
            .fetch_all(&self.readers)
            .await
            .map_err(failed("read a segment's totals"))?;
        rows.into_iter()
            .map(|(samples, sync_samples, bytes, ticks, stts_runs, ctts_runs)| {
                Ok(TrackTotals {
                    samples: unsigned(samples),
                    sync_samples: unsigned(sync_samples),
                    bytes: unsigned(bytes),
                    duration: MediaTime::from_ticks(ticks),
                    stts_runs: small(stts_runs, "stts run count")?,
                    ctts_runs: small(ctts_runs, "ctts run count")?,
                })
            })
            .collect()
    }

    /// (bytes, oldest start) of all closed segments of each stream that has any.
    pub async fn usage(&self) -> Result<BTreeMap<StreamId, (u64, WallTime)>> {
        let rows: Vec<(StreamId, i64, Option<i64>)> =
            sqlx::query_as(USAGE).fetch_all(&self.readers).await.map_err(failed("read usage"))?;
        let used = |(stream, bytes, oldest): (_, _, Option<i64>)| {
            Some((stream, (unsigned(bytes), wall(oldest?))))
        };
        Ok(rows.into_iter().filter_map(used).collect())
    }
}

pub(super) async fn open(db: &mut SqliteConnection, segment: &NewSegment) -> Result<()> {
    volume::name(db, &segment.volume).await?;
    sqlx::query(INSERT_CODECS)
        .bind(&segment.codecs)
        .execute(&mut *db)
        .await
        .map_err(failed("name a segment's codecs"))?;
    let done = sqlx::query(INSERT)
        .bind(segment.id)
        .bind(segment.stream)
        .bind(segment.run)
        .bind(segment.epoch)
        .bind(segment.sequence)
        .bind(segment.start.as_micros())
        .bind(&segment.volume)
        .bind(&segment.path)
        .bind(&segment.codecs)
        .bind(packed::pack_starts(&segment.tracks))
        .execute(&mut *db)
        .await
        .map_err(failed("open a segment"))?;
    if done.rows_affected() > 0 {
        return unlink::replaced(db, &segment.volume, &segment.path).await;
    }
    // A commit whose answer was an error may have been durable all the same.
    let known: Option<i64> = sqlx::query_scalar(IS_THERE)
        .bind(segment.id)
        .bind(segment.stream)
        .bind(&segment.path)
        .fetch_optional(db)
        .await
        .map_err(failed("look for a segment"))?;
    known.map(|_| ()).ok_or(StoreError::Conflict("segment"))
}

pub(super) async fn close(db: &mut SqliteConnection, closed: ClosedSegment) -> Result<()> {
    let start: Option<i64> = sqlx::query_scalar(CLOSE)
        .bind(closed.id)
        .bind(closed.end.as_micros())
        .bind(MAX_SEGMENT.as_micros())
        .bind(signed(closed.bytes))
        .bind(signed(closed.damaged))
        .fetch_optional(&mut *db)
        .await
        .map_err(failed("close a segment"))?;
    let start = wall(start.ok_or(StoreError::NotFound("segment"))?);
    if closed.end < start || closed.end > start + MAX_SEGMENT {
        tracing::warn!(segment.id = %closed.id, %start, end = %closed.end, "impossible length");
    }

    sqlx::query(INSERT_KEYS)
        .bind(closed.id)
        .bind(packed::pack_keys(&closed.keys))
        .execute(&mut *db)
        .await
        .map_err(failed("store key frames"))?;
    sqlx::query("delete from segment_track where segment = ?1")
        .bind(closed.id)
        .execute(&mut *db)
        .await
        .map_err(failed("replace a segment's totals"))?;
    for (track, totals) in (0_i64..).zip(closed.tracks) {
        sqlx::query(INSERT_TRACK)
            .bind(closed.id)
            .bind(track)
            .bind(signed(totals.samples))
            .bind(signed(totals.sync_samples))
            .bind(signed(totals.bytes))
            .bind(totals.duration.ticks())
            .bind(totals.stts_runs)
            .bind(totals.ctts_runs)
            .execute(&mut *db)
            .await
            .map_err(failed("store a segment's totals"))?;
    }
    Ok(())
}
