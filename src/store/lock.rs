//! Table `footage_lock`: ranges of a camera's footage that are not deleted.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use super::{Result, Store, StoreError, columns::wall, failed};
use crate::{
    id::{CameraId, LockId, StreamId},
    model::{Lock, WallRange},
    proto::time::WallTime,
};

/// Locks there may be in all: they are looked through when footage is deleted.
pub const MOST_LOCKS: u32 = 10_000;

#[derive(sqlx::FromRow)]
struct Row {
    id: LockId,
    camera: CameraId,
    start_us: i64,
    end_us: i64,
    note: String,
    created_us: i64,
    created_by: String,
}

impl Row {
    fn into_lock(self) -> Lock {
        Lock {
            id: self.id,
            camera: self.camera,
            start: wall(self.start_us),
            end: wall(self.end_us),
            note: self.note,
            created: wall(self.created_us),
            created_by: self.created_by,
        }
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select id, camera, start_us, end_us, note, created_us, created_by from footage_lock ",
            $rest
        )
    };
}

const BY_ID: &str = select!("where id = ?1");
const PAGE: &str = select!("where id > ?1 order by id limit ?2");
/// The plus has it search by camera, and sort the few.
const PAGE_OF: &str = select!("where camera = ?3 and +id > ?1 order by +id limit ?2");
pub(super) const OVERLAPPING: &str = select!(
    "where camera = ?1 and end_us > ?2 and start_us < ?3
     order by start_us, id limit ?4"
);
const CAMERA: &str = "select 1 from camera where id = ?1 and doomed_us is null";
const COUNT: &str = "select count(*) from footage_lock";
const INSERT: &str = "
    insert into footage_lock (id, camera, start_us, end_us, note, created_us, created_by)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const OF_STREAM: &str = "select start_us, end_us from footage_lock
                         where camera = (select camera from stream where id = ?1)";
const OF_ALL: &str = "select stream.id, footage_lock.start_us, footage_lock.end_us
                      from footage_lock
                      cross join stream on stream.camera = footage_lock.camera";

impl Store {
    /// Adds one; from its answer on nothing in its range is deleted. `NotFound` without such a
    /// camera (one deleted with its footage kept counts), `Limit` beyond [`MOST_LOCKS`],
    /// `Conflict` when its id is taken or it ends before it begins.
    pub async fn insert_lock(&self, lock: Lock) -> Result<()> {
        if lock.start >= lock.end {
            return Err(StoreError::Conflict("lock"));
        }
        self.writer
            .write("add a lock", move |db| {
                Box::pin(async move {
                    let camera: Option<i64> = sqlx::query_scalar(CAMERA)
                        .bind(lock.camera)
                        .fetch_optional(&mut *db)
                        .await
                        .map_err(failed("look for a lock's camera"))?;
                    if camera.is_none() {
                        return Err(StoreError::NotFound("camera"));
                    }
                    let count: i64 = sqlx::query_scalar(COUNT)
                        .fetch_one(&mut *db)
                        .await
                        .map_err(failed("count locks"))?;
                    if count >= i64::from(MOST_LOCKS) {
                        return Err(StoreError::Limit("locks"));
                    }
                    if by_id(db, lock.id).await?.is_some() {
                        return Err(StoreError::Conflict("lock"));
                    }
                    insert(db, &lock).await
                })
            })
            .await
    }

    /// Takes one out; says which it was.
    pub async fn delete_lock(&self, id: LockId) -> Result<Option<Lock>> {
        self.writer
            .write("delete a lock", move |db| {
                Box::pin(async move {
                    let lock = by_id(db, id).await?;
                    sqlx::query("delete from footage_lock where id = ?1")
                        .bind(id)
                        .execute(db)
                        .await
                        .map(|_| lock)
                        .map_err(failed("delete a lock"))
                })
            })
            .await
    }

    /// One of them.
    pub async fn lock(&self, id: LockId) -> Result<Option<Lock>> {
        let row: Option<Row> = sqlx::query_as(BY_ID)
            .bind(id)
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("read a lock"))?;
        Ok(row.map(Row::into_lock))
    }

    /// A page of locks, of all cameras or of one, by id after `after` (older ones first).
    pub async fn locks_page(
        &self,
        camera: Option<CameraId>,
        after: Option<LockId>,
        limit: u32,
    ) -> Result<Vec<Lock>> {
        let sql = if camera.is_some() { PAGE_OF } else { PAGE };
        let mut query = sqlx::query_as::<_, Row>(sql).bind(after.map_or(i64::MIN, |id| id.0));
        query = query.bind(limit);
        if let Some(camera) = camera {
            query = query.bind(camera);
        }
        let rows = query.fetch_all(&self.readers).await.map_err(failed("list locks"))?;
        Ok(rows.into_iter().map(Row::into_lock).collect())
    }

    /// Locks of a camera that overlap the range, by start; at most `limit`.
    pub async fn locks_overlapping(
        &self,
        camera: CameraId,
        range: WallRange,
        limit: u32,
    ) -> Result<Vec<Lock>> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<Row> = sqlx::query_as(OVERLAPPING)
            .bind(camera)
            .bind(range.start.as_micros())
            .bind(range.end.as_micros())
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list locks of a range"))?;
        Ok(rows.into_iter().map(Row::into_lock).collect())
    }
}

async fn by_id(db: &mut SqliteConnection, id: LockId) -> Result<Option<Lock>> {
    let row: Option<Row> = sqlx::query_as(BY_ID)
        .bind(id)
        .fetch_optional(db)
        .await
        .map_err(failed("look for a lock"))?;
    Ok(row.map(Row::into_lock))
}

pub(super) async fn insert(db: &mut SqliteConnection, lock: &Lock) -> Result<()> {
    sqlx::query(INSERT)
        .bind(lock.id)
        .bind(lock.camera)
        .bind(lock.start.as_micros())
        .bind(lock.end.as_micros())
        .bind(&lock.note)
        .bind(lock.created.as_micros())
        .bind(&lock.created_by)
        .execute(db)
        .await
        .map(|_| ())
        .map_err(failed("add a lock"))
}

/// What is locked of one stream: ranges in order that do not touch.
#[derive(Debug, Default)]
pub(super) struct Ranges(Vec<(i64, i64)>);

impl Ranges {
    fn new(mut ranges: Vec<(i64, i64)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(i64, i64)> = Vec::with_capacity(ranges.len());
        for (start, end) in ranges {
            match merged.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        Self(merged)
    }

    /// If some of [start, end) is locked: up to where it is without a break. A segment of no
    /// length counts as lasting for an instant.
    pub(super) fn holding(&self, start: i64, end: i64) -> Option<WallTime> {
        let end = end.max(start.saturating_add(1));
        let next = self.0.partition_point(|&(_, until)| until <= start);
        self.0.get(next).filter(|&&(from, _)| from < end).map(|&(_, until)| wall(until))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = WallRange> {
        self.0.iter().map(|&(start, end)| wall(start)..wall(end))
    }
}

/// What is locked of a stream.
pub(super) async fn of_stream(db: &mut SqliteConnection, stream: StreamId) -> Result<Ranges> {
    let rows = sqlx::query_as(OF_STREAM)
        .bind(stream)
        .fetch_all(db)
        .await
        .map_err(failed("read a stream's locks"))?;
    Ok(Ranges::new(rows))
}

/// What is locked, of each stream of which something is.
pub(super) async fn of_all(db: &mut SqliteConnection) -> Result<HashMap<StreamId, Ranges>> {
    let rows: Vec<(StreamId, i64, i64)> =
        sqlx::query_as(OF_ALL).fetch_all(db).await.map_err(failed("read all locks"))?;
    let mut of: HashMap<StreamId, Vec<(i64, i64)>> = HashMap::new();
    for (stream, start, end) in rows {
        of.entry(stream).or_default().push((start, end));
    }
    Ok(of.into_iter().map(|(stream, ranges)| (stream, Ranges::new(ranges))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against looking at each lock.
        #[test]
        fn what_is_locked_is_found_and_so_is_its_end(
            locks in prop::collection::vec((0_i64..60, 1_i64..20), 0..8),
            start in 0_i64..70,
            length in 0_i64..10,
        ) {
            let ends: Vec<_> = locks.iter().map(|&(from, length)| (from, from + length)).collect();
            let ranges = Ranges::new(ends.clone());
            let end = start + length.max(1);
            let held = ends.iter().any(|&(from, until)| from < end && until > start);
            let found = ranges.holding(start, start + length);
            prop_assert_eq!(found.is_some(), held);
            if let Some(until) = found.map(WallTime::as_micros) {
                prop_assert!(until > start);
                prop_assert!(ends.iter().any(|&(_, end)| end == until));
                prop_assert!(!ends.iter().any(|&(from, end)| from <= until && end > until));
            }
        }
    }
}
