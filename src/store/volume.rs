//! Table `volume`: the root folders that footage lies on, and how each is recognised.

use sqlx::SqliteConnection;

use super::{Result, Store, columns::unsigned, failed};
use crate::{id::SegmentId, model::VolumeRow};

const INSERT: &str = "insert into volume (path) values (?1) on conflict do nothing";
pub(super) const KNOWN: &str = "
    select volume.path, volume.marker, coalesce(sum(volume_use.segments), 0),
           coalesce(sum(volume_use.bytes), 0)
    from volume left join volume_use on volume_use.volume = volume.id
    group by volume.id order by volume.path";
const SET_MARKER: &str = "update volume set marker = ?2 where path = ?1";

/// What the name of a volume that was replaced begins with: no configured path does.
const REPLACED: &str = "replaced:";
const RETIRE: &str = "
    update volume set path = ?2 || id || ':' || path
    where path = ?1 and marker is not ?3";
const IS_REPLACED: &str =
    "select path from volume where substr(path, 1, length(?1)) = ?1 order by id";
/// A few of the closed segments that lie on a volume: unsorted, the index gives the oldest first.
pub(super) const ON_IT: &str = "
    select segment.id from volume_use
    cross join segment on segment.stream = volume_use.stream and segment.volume = volume_use.volume
    where volume_use.volume = ?1 and volume_use.segments > 0 and segment.closed = 1 limit ?2";
const FORGET_UNLINKS: &str = "
    delete from unlink where id in (select id from unlink where volume = ?1 limit ?2)";
/// Rows in one command.
const AT_ONCE: i64 = 250;

impl Store {
    /// Another disk takes a volume's place: what lies on the old one is under another name from now
    /// on ([`Self::replaced_volumes`]), and the marker is the new one's, in one transaction. Idempotent.
    pub async fn replace_volume(&self, volume: &str, marker: &str) -> Result<()> {
        let (volume, marker) = (volume.to_owned(), marker.to_owned());
        self.writer
            .write("replace a volume", move |db| {
                Box::pin(async move {
                    sqlx::query(RETIRE)
                        .bind(&volume)
                        .bind(REPLACED)
                        .bind(&marker)
                        .execute(&mut *db)
                        .await
                        .map_err(failed("put a volume aside that was replaced"))?;
                    mark(db, volume, marker).await
                })
            })
            .await
    }

    /// Volumes that were replaced and of which there still are rows: [`Self::forget_segments`] all
    /// [`Self::segments_on`] it, and then [`Self::forget_volume`].
    pub async fn replaced_volumes(&self) -> Result<Vec<String>> {
        sqlx::query_scalar(IS_REPLACED)
            .bind(REPLACED)
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list volumes that were replaced"))
    }

    /// Some closed segments on a volume, at most `limit`.
    pub async fn segments_on(&self, volume: &str, limit: u32) -> Result<Vec<SegmentId>> {
        let id: Option<i64> = sqlx::query_scalar("select id from volume where path = ?1")
            .bind(volume)
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("find a volume"))?;
        sqlx::query_scalar(ON_IT)
            .bind(id)
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list segments of a volume"))
    }

    /// Forgets a volume that was replaced, with the files that were to be unlinked there; without
    /// effect while there are segments on it, and on one that is in use.
    pub async fn forget_volume(&self, volume: &str) -> Result<()> {
        if !volume.starts_with(REPLACED) {
            return Ok(());
        }
        loop {
            let volume = volume.to_owned();
            let step = self.writer.write("forget a volume", move |db| {
                Box::pin(async move { forget(db, &volume).await })
            });
            if !step.await? {
                return Ok(());
            }
        }
    }

    /// Volumes that the index knows.
    pub async fn known_volumes(&self) -> Result<Vec<VolumeRow>> {
        let rows: Vec<(String, Option<String>, i64, i64)> =
            sqlx::query_as(KNOWN).fetch_all(&self.readers).await.map_err(failed("list volumes"))?;
        let row = |(path, marker, segments, bytes)| VolumeRow {
            path,
            marker,
            segments: unsigned(segments),
            bytes: unsigned(bytes),
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Remembers the id in a volume's marker file; adds the volume when it is new.
    pub async fn set_volume_marker(&self, volume: &str, marker: &str) -> Result<()> {
        let (volume, marker) = (volume.to_owned(), marker.to_owned());
        self.writer
            .write("remember a volume's marker", move |db| {
                Box::pin(async move { mark(db, volume, marker).await })
            })
            .await
    }
}

async fn mark(db: &mut SqliteConnection, volume: String, marker: String) -> Result<()> {
    name(db, &volume).await?;
    sqlx::query(SET_MARKER)
        .bind(volume)
        .bind(marker)
        .execute(db)
        .await
        .map(|_| ())
        .map_err(failed("remember a volume's marker"))
}

/// One step; says whether there is more to do.
async fn forget(db: &mut SqliteConnection, volume: &str) -> Result<bool> {
    const WHAT: &str = "forget a volume";
    let id: Option<i64> = sqlx::query_scalar("select id from volume where path = ?1")
        .bind(volume)
        .fetch_optional(&mut *db)
        .await
        .map_err(failed(WHAT))?;
    let Some(id) = id else { return Ok(false) };
    let used: Option<i64> =
        sqlx::query_scalar("select 1 from volume_use where volume = ?1 and segments > 0 limit 1")
            .bind(id)
            .fetch_optional(&mut *db)
            .await
            .map_err(failed(WHAT))?;
    // Open ones are no part of what is used: few, found by their own index.
    let open: Option<i64> =
        sqlx::query_scalar("select 1 from segment where closed = 0 and volume = ?1 limit 1")
            .bind(id)
            .fetch_optional(&mut *db)
            .await
            .map_err(failed(WHAT))?;
    if used.is_some() || open.is_some() {
        return Ok(false);
    }
    let unlinks = sqlx::query(FORGET_UNLINKS)
        .bind(id)
        .bind(AT_ONCE)
        .execute(&mut *db)
        .await
        .map_err(failed(WHAT))?;
    if unlinks.rows_affected() > 0 {
        return Ok(true);
    }
    for sql in ["delete from volume_use where volume = ?1", "delete from volume where id = ?1"] {
        sqlx::query(sql).bind(id).execute(&mut *db).await.map_err(failed(WHAT))?;
    }
    Ok(false)
}

/// Adds a volume that is not known yet.
pub(super) async fn name(db: &mut SqliteConnection, path: &str) -> Result<()> {
    sqlx::query(INSERT).bind(path).execute(db).await.map(|_| ()).map_err(failed("name a volume"))
}
