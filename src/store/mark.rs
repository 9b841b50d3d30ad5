//! Table `mark`: what people and devices put on the timeline.

use super::{Result, Store, columns::wall, failed};
use crate::{
    id::{CameraId, EventId},
    model::{Mark, WallRange},
    proto::time::{WallSpan, WallTime},
};

/// Longest mark: a range query looks back so far.
pub const MAX_MARK: WallSpan = WallSpan::from_secs(86_400);

#[derive(sqlx::FromRow)]
struct Row {
    id: EventId,
    camera: CameraId,
    start_us: i64,
    end_us: Option<i64>,
    kind: String,
    note: String,
    source: String,
}

impl From<Row> for Mark {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            camera: row.camera,
            start: wall(row.start_us),
            end: row.end_us.map(wall),
            kind: row.kind,
            note: row.note,
            source: row.source,
        }
    }
}

const INSERT: &str = "insert into mark (id, camera, start_us, end_us, kind, note, source)
                      values (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                      on conflict (id) do nothing";
const EXTEND: &str = "update mark set end_us = min(?2, start_us + ?3)
                      where id = ?1 and coalesce(end_us, start_us) < ?2";
/// ?1 looks back by [`MAX_MARK`]; ?4, ?5 are the cursor.
pub(super) const PAGE: &str = "
    select id, camera, start_us, end_us, kind, note, source from mark
    where start_us >= ?1 and (start_us, id) < (?4, ?5) and start_us < ?3
      and coalesce(end_us, start_us) >= ?2
    order by start_us desc, id desc limit ?6";
pub(super) const PAGE_OF_CAMERA: &str = "
    select id, camera, start_us, end_us, kind, note, source from mark
    where camera = ?7 and start_us >= ?1 and (start_us, id) < (?4, ?5) and start_us < ?3
      and coalesce(end_us, start_us) >= ?2
    order by start_us desc, id desc limit ?6";

impl Store {
    /// Adds a mark (idempotent). One longer than [`MAX_MARK`] is cut to that.
    pub async fn insert_mark(&self, mark: Mark) -> Result<()> {
        let end = mark.end.map(|end| end.clamp(mark.start, mark.start + MAX_MARK));
        self.writer
            .write("add a mark", move |db| {
                Box::pin(async move {
                    sqlx::query(INSERT)
                        .bind(mark.id)
                        .bind(mark.camera)
                        .bind(mark.start.as_micros())
                        .bind(end.map(WallTime::as_micros))
                        .bind(mark.kind)
                        .bind(mark.note)
                        .bind(mark.source)
                        .execute(db)
                        .await
                        .map(|_| ())
                        .map_err(failed("add a mark"))
                })
            })
            .await
    }

    /// Moves a mark's end on, never back, and not beyond [`MAX_MARK`]. One that is gone stays so.
    pub async fn extend_mark(&self, id: EventId, end: WallTime) -> Result<()> {
        self.writer
            .write("extend a mark", move |db| {
                Box::pin(async move {
                    sqlx::query(EXTEND)
                        .bind(id)
                        .bind(end.as_micros())
                        .bind(MAX_MARK.as_micros())
                        .execute(db)
                        .await
                        .map(|_| ())
                        .map_err(failed("extend a mark"))
                })
            })
            .await
    }

    /// Marks of all cameras or of one that reach into the range, newest first, those before the
    /// cursor; at most `limit`.
    pub async fn marks_page(
        &self,
        camera: Option<CameraId>,
        range: WallRange,
        before: Option<(WallTime, EventId)>,
        limit: u32,
    ) -> Result<Vec<Mark>> {
        let (before, id) = before.unwrap_or((range.end, EventId(i64::MIN)));
        let mut query = sqlx::query_as(if camera.is_some() { PAGE_OF_CAMERA } else { PAGE })
            .bind((range.start - MAX_MARK).as_micros())
            .bind(range.start.as_micros())
            .bind(range.end.as_micros())
            .bind(before.as_micros())
            .bind(id)
            .bind(limit);
        if let Some(camera) = camera {
            query = query.bind(camera);
        }
        let rows: Vec<Row> = query.fetch_all(&self.readers).await.map_err(failed("list marks"))?;
        Ok(rows.into_iter().map(Mark::from).collect())
    }

    /// Deletes marks that begin before `before`, some thousands at once; says how many.
    pub async fn prune_marks(&self, before: WallTime) -> Result<u64> {
        const AT_ONCE: u32 = 5_000;
        self.writer
            .write("prune marks", move |db| {
                Box::pin(async move {
                    sqlx::query(
                        "delete from mark where id in
                         (select id from mark where start_us < ?1 order by start_us limit ?2)",
                    )
                    .bind(before.as_micros())
                    .bind(AT_ONCE)
                    .execute(db)
                    .await
                    .map(|done| done.rows_affected())
                    .map_err(failed("prune marks"))
                })
            })
            .await
    }
}
