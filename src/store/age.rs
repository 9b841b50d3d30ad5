//! What retention asks: how much there is, and what is oldest. By indexes and kept sums; no
//! question here reads more rows than it answers with, times a constant.
//!
//! Of one stream footage goes by (epoch, start). Epochs are a stream's own, so between streams
//! only starts compare.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::{
    MAX_SEGMENT, Result, Store, StoreError,
    columns::{limits, small, unsigned, wall},
    failed, lock, run,
};
use crate::{
    id::{CameraId, SegmentId, StreamId},
    model::{Age, Candidate, FootageStream, RunRow, VolumeUse},
    proto::time::{WallSpan, WallTime},
};

#[derive(sqlx::FromRow)]
struct Row {
    id: SegmentId,
    stream: StreamId,
    epoch: i64,
    start_us: i64,
    end_us: i64,
    bytes: i64,
    volume: String,
}

impl Row {
    fn into_candidate(self, locks: Option<&lock::Ranges>) -> Result<Candidate> {
        let held = locks.and_then(|locks| locks.holding(self.start_us, self.end_us));
        Ok(Candidate {
            age: Age {
                epoch: small(self.epoch, "segment epoch")?,
                start: wall(self.start_us),
                id: self.id,
            },
            stream: self.stream,
            end: wall(self.end_us),
            bytes: unsigned(self.bytes),
            volume: self.volume,
            locked: held.is_some(),
        })
    }
}

macro_rules! select {
    ($($rest:literal)*) => {
        concat!(
            "select segment.id, segment.stream, segment.epoch, segment.start_us, segment.end_us,
                    segment.bytes, volume.path as volume
             from ",
            $($rest)*
        )
    };
}

/// The `cross join` has it walk the index in its order, and name the volume of each.
pub(super) const OLDEST: &str = select!(
    "segment cross join volume on volume.id = segment.volume
     where segment.stream = ?1 and segment.closed = 1
       and (segment.epoch, segment.start_us, segment.id) > (?2, ?3, ?4)
     order by segment.epoch, segment.start_us, segment.id
     limit ?5"
);
pub(super) const OLDEST_ON: &str = select!(
    "segment cross join volume on volume.id = segment.volume
     where segment.stream = ?1 and segment.closed = 1
       and segment.volume = (select id from volume where path = ?6)
       and (segment.epoch, segment.start_us, segment.id) > (?2, ?3, ?4)
     order by segment.epoch, segment.start_us, segment.id
     limit ?5"
);
pub(super) const HEADS: &str = select!(
    "volume
     cross join volume_use on volume_use.volume = volume.id and volume_use.segments > 0
     cross join segment on segment.id = (
         select oldest.id from segment as oldest
         where oldest.stream = volume_use.stream and oldest.volume = volume_use.volume
           and oldest.closed = 1
         order by oldest.epoch, oldest.start_us, oldest.id limit 1
     )
     where volume.path = ?1
     order by segment.start_us, segment.id"
);
const USE: &str = "
    select volume_use.stream, volume.path, volume_use.bytes, volume_use.segments
    from volume_use cross join volume on volume.id = volume_use.volume
    where volume_use.segments > 0
    order by volume_use.stream, volume.path";
const STREAMS: &str = "
    select stream.id, camera.id as camera, camera.slug, stream.role, stream.own_retention,
           stream.max_age_s, stream.max_bytes, camera.max_age_s as camera_max_age_s,
           camera.max_bytes as camera_max_bytes, stream.created_us, stream.closed_bytes,
           stream.hidden_us is null and camera.deleted_us is null as configured
    from camera cross join stream on stream.camera = camera.id
    where camera.doomed_us is null
    order by camera.slug, stream.role";
pub(super) const NEWEST_RUN: &str = "
    select id, stream, epoch, start_us, end_us from run
    where stream = ?1 order by epoch desc, start_us desc limit 1";
pub(super) const NEWEST_FOOTAGE: &str = "
    select max((select segment.end_us from segment
                where segment.stream = stream.id order by segment.start_us desc limit 1))
    from stream";
/// ?2 is [`MAX_SEGMENT`] before the lock.
pub(super) const LOCKED_BYTES: &str = "
    select coalesce(sum(bytes), 0) from segment
    where stream = ?1 and start_us > ?2 and start_us < ?4 and end_us > ?3 and closed = 1";

#[derive(sqlx::FromRow)]
struct StreamRow {
    id: StreamId,
    camera: CameraId,
    slug: String,
    role: String,
    own_retention: bool,
    max_age_s: Option<i64>,
    max_bytes: Option<i64>,
    camera_max_age_s: Option<i64>,
    camera_max_bytes: Option<i64>,
    created_us: i64,
    closed_bytes: i64,
    configured: bool,
}

impl StreamRow {
    fn into_stream(self) -> Result<FootageStream> {
        let retention = if self.own_retention {
            limits(self.max_age_s, self.max_bytes)
        } else {
            limits(self.camera_max_age_s, self.camera_max_bytes)
        };
        Ok(FootageStream {
            stream: self.id,
            camera: self.camera,
            slug: self.slug.parse().map_err(|_| StoreError::Corrupt("camera slug"))?,
            role: self.role.parse().map_err(|_| StoreError::Corrupt("stream role"))?,
            retention,
            created: wall(self.created_us),
            configured: self.configured,
            bytes: unsigned(self.closed_bytes),
        })
    }
}

impl Store {
    /// Closed segments of a stream in the order of deletion, after `after`, locked ones too.
    pub async fn oldest_segments(
        &self,
        stream: StreamId,
        after: Option<Age>,
        limit: u32,
    ) -> Result<Vec<Candidate>> {
        let mut snapshot = self.snapshot().await?;
        oldest(&mut snapshot, stream, None, after, limit).await
    }

    /// Those of them that lie on one volume.
    pub async fn oldest_segments_on(
        &self,
        stream: StreamId,
        volume: &str,
        after: Option<Age>,
        limit: u32,
    ) -> Result<Vec<Candidate>> {
        let mut snapshot = self.snapshot().await?;
        oldest(&mut snapshot, stream, Some(volume), after, limit).await
    }

    /// The oldest segment of each stream on a volume that no lock overlaps, by start.
    pub async fn oldest_on_volume(&self, volume: &str) -> Result<Vec<Candidate>> {
        let mut snapshot = self.snapshot().await?;
        let rows: Vec<Row> = sqlx::query_as(HEADS)
            .bind(volume)
            .fetch_all(&mut *snapshot)
            .await
            .map_err(failed("list the oldest segments of a volume"))?;
        let locks = lock::of_all(&mut snapshot).await?;
        let mut heads = Vec::with_capacity(rows.len());
        for row in rows {
            let locks = locks.get(&row.stream);
            let mut head = Some(row.into_candidate(locks)?);
            while let Some(locked) = head.take_if(|head| head.locked) {
                // Everything of this epoch up to the lock's end is locked: a search, no walk.
                let until = locks
                    .and_then(|l| l.holding(locked.age.start.as_micros(), locked.end.as_micros()))
                    .unwrap_or(locked.end);
                let start = locked.age.start.max(until - WallSpan::from_micros(1));
                let after = Age { start, id: SegmentId(i64::MAX), ..locked.age };
                let (stream, after) = (locked.stream, Some(after));
                head = oldest(&mut snapshot, stream, Some(volume), after, 1).await?.pop();
            }
            heads.extend(head);
        }
        heads.sort_unstable_by_key(|head| (head.age.start, head.age.id));
        Ok(heads)
    }

    /// Closed bytes and segments of each stream on each volume.
    pub async fn volume_use(&self) -> Result<Vec<VolumeUse>> {
        let rows: Vec<(StreamId, String, i64, i64)> = sqlx::query_as(USE)
            .fetch_all(&self.readers)
            .await
            .map_err(failed("read the use of volumes"))?;
        let row = |(stream, volume, bytes, segments)| VolumeUse {
            stream,
            volume,
            bytes: unsigned(bytes),
            segments: unsigned(segments),
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Closed bytes that locks hold, of each stream. Reads the locked segments: for people, not
    /// for each round.
    pub async fn locked_bytes(&self) -> Result<BTreeMap<StreamId, u64>> {
        let mut snapshot = self.snapshot().await?;
        let locks = lock::of_all(&mut snapshot).await?;
        let mut locked = BTreeMap::new();
        for (stream, ranges) in locks {
            let mut sum = 0_u64;
            // Where the range before ended: a segment that reaches over two locks counts once.
            let mut counted = i64::MIN;
            for range in ranges.iter() {
                let from = (range.start - MAX_SEGMENT).as_micros().max(counted);
                let bytes: i64 = sqlx::query_scalar(LOCKED_BYTES)
                    .bind(stream)
                    .bind(from)
                    .bind(range.start.as_micros())
                    .bind(range.end.as_micros())
                    .fetch_one(&mut *snapshot)
                    .await
                    .map_err(failed("sum up what is locked"))?;
                sum = sum.saturating_add(unsigned(bytes));
                counted = range.end.as_micros() - 1;
            }
            locked.insert(stream, sum);
        }
        Ok(locked)
    }

    /// All streams with their limits, also hidden ones and those of deleted cameras whose footage
    /// was kept.
    pub async fn footage_streams(&self) -> Result<Vec<FootageStream>> {
        let rows: Vec<StreamRow> = sqlx::query_as(STREAMS)
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list streams"))?;
        rows.into_iter().map(StreamRow::into_stream).collect()
    }

    /// The newest run of a stream: of its newest epoch the last.
    pub async fn newest_run(&self, stream: StreamId) -> Result<Option<RunRow>> {
        let row: Option<run::Row> = sqlx::query_as(NEWEST_RUN)
            .bind(stream)
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("read a stream's newest run"))?;
        row.map(run::Row::into_run).transpose()
    }

    /// The latest end of all footage that the index knows of; of an open segment its start.
    pub async fn newest_footage(&self) -> Result<Option<WallTime>> {
        let end: Option<i64> = sqlx::query_scalar(NEWEST_FOOTAGE)
            .fetch_one(&self.readers)
            .await
            .map_err(failed("read the newest footage"))?;
        Ok(end.map(wall))
    }
}

async fn oldest(
    db: &mut SqliteConnection,
    stream: StreamId,
    volume: Option<&str>,
    after: Option<Age>,
    limit: u32,
) -> Result<Vec<Candidate>> {
    let (epoch, start, id) = after.map_or((i64::MIN, i64::MIN, i64::MIN), |age| {
        (i64::from(age.epoch), age.start.as_micros(), age.id.0)
    });
    let mut query = sqlx::query_as::<_, Row>(if volume.is_some() { OLDEST_ON } else { OLDEST })
        .bind(stream)
        .bind(epoch)
        .bind(start)
        .bind(id)
        .bind(limit);
    if let Some(volume) = volume {
        query = query.bind(volume);
    }
    let rows = query.fetch_all(&mut *db).await.map_err(failed("list the oldest segments"))?;
    let locks = lock::of_stream(db, stream).await?;
    rows.into_iter().map(|row| row.into_candidate(Some(&locks))).collect()
}
