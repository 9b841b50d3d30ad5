//! Deleting a camera with all its footage.
//!
//! It is marked first, in one small transaction: from then on it is in no list, and its slug is
//! free. Then its footage goes in steps, files into `unlink` in the transactions that take out
//! their rows. A stop or a crash in between is no matter: what is marked is gone on with at the
//! next opening, and nothing brings a marked camera back.

use sqlx::SqliteConnection;

use super::{Result, StoreError, failed, writer::Writer};
use crate::{
    id::{CameraId, LockId},
    proto::time::WallTime,
};

/// Rows in one step, so that no other write waits for long.
const AT_ONCE: i64 = 250;

/// No slug begins with `~`: nothing that people can name is in the way.
const MARK: &str = "
    update camera
    set doomed_us = ?2, deleted_us = coalesce(deleted_us, ?2), slug = ?3,
        username = null, password_sealed = null
    where id = ?1 and doomed_us is null";
const LOCK: &str = "select id from footage_lock where camera = ?1 order by id limit 1";
const MARKED: &str = "select id from camera where doomed_us is not null";
const NEXT_SEGMENTS: &str = "
    insert into unlink (volume, path, segment, bytes)
    select volume, path, id, bytes from segment
    where stream = ?1 order by start_us, id limit ?2
    on conflict (volume, path) do nothing";
const DELETE_SEGMENTS: &str = "
    delete from segment where id in (
        select id from segment where stream = ?1 order by start_us, id limit ?2)";
const DELETE_RUNS: &str = "
    delete from run where id in (select id from run where stream = ?1 limit ?2)";
const DELETE_GAPS: &str = "
    delete from gap where (stream, lane, start_us) in (
        select stream, lane, start_us from gap where stream = ?1 limit ?2)";

/// Marks a camera as being deleted with its footage, unless a lock holds some of it.
pub(super) async fn mark(db: &mut SqliteConnection, id: CameraId, now: WallTime) -> Result<()> {
    let lock: Option<LockId> = sqlx::query_scalar(LOCK)
        .bind(id)
        .fetch_optional(&mut *db)
        .await
        .map_err(failed("look for a camera's locks"))?;
    if let Some(lock) = lock {
        return Err(StoreError::Locked(lock));
    }
    let done = sqlx::query(MARK)
        .bind(id)
        .bind(now.as_micros())
        .bind(format!("~{id}"))
        .execute(db)
        .await
        .map_err(failed("mark a camera as deleted"))?;
    if done.rows_affected() == 0 { Err(StoreError::NotFound("camera")) } else { Ok(()) }
}

/// Cameras that are marked.
pub(super) async fn marked(db: &mut SqliteConnection) -> Result<Vec<CameraId>> {
    sqlx::query_scalar(MARKED).fetch_all(db).await.map_err(failed("look for cameras being deleted"))
}

/// Takes out the footage of a marked camera, and then itself.
pub(super) async fn finish(writer: &Writer, id: CameraId) -> Result<()> {
    loop {
        let step = writer.write("delete a camera's footage", move |db| {
            Box::pin(async move { step(db, id).await })
        });
        let more = step.await?;
        writer.unlinks_added();
        if !more {
            return Ok(());
        }
    }
}

/// One step; says whether there may be more to do.
async fn step(db: &mut SqliteConnection, id: CameraId) -> Result<bool> {
    const WHAT: &str = "delete a camera's footage";
    let streams: Vec<i64> = sqlx::query_scalar("select id from stream where camera = ?1")
        .bind(id)
        .fetch_all(&mut *db)
        .await
        .map_err(failed(WHAT))?;
    for stream in streams {
        for sql in [NEXT_SEGMENTS, DELETE_SEGMENTS, DELETE_RUNS, DELETE_GAPS] {
            let done = sqlx::query(sql)
                .bind(stream)
                .bind(AT_ONCE)
                .execute(&mut *db)
                .await
                .map_err(failed(WHAT))?;
            if sql != NEXT_SEGMENTS && done.rows_affected() > 0 {
                return Ok(true);
            }
        }
        let done = sqlx::query("delete from stream where id = ?1").bind(stream).execute(&mut *db);
        done.await.map_err(failed(WHAT))?;
    }
    let done = sqlx::query("delete from camera where id = ?1 and doomed_us is not null").bind(id);
    done.execute(db).await.map(|_| false).map_err(failed(WHAT))
}
