//! Table `unlink`: files whose rows are gone.
//!
//! Written in the transaction that deletes a row, so no crash leaves a file that nobody knows of;
//! worked off by whoever deletes footage, and at start. A file named here is never adopted.

use sqlx::SqliteConnection;
use tokio::sync::watch;

use super::{
    Result, Store,
    columns::{signed, unsigned},
    failed, volume,
};
use crate::{id::SegmentId, model::PendingUnlink};

/// Rows in one command.
const AT_ONCE: usize = 256;

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    segment: SegmentId,
    volume: String,
    path: String,
    bytes: i64,
}

impl Row {
    fn into_pending(self) -> PendingUnlink {
        PendingUnlink {
            id: self.id,
            segment: self.segment,
            volume: self.volume,
            path: self.path,
            bytes: unsigned(self.bytes),
        }
    }
}

const FILE: &str = "
    select 0 as id, segment.id as segment, volume.path as volume, segment.path, segment.bytes
    from segment cross join volume on volume.id = segment.volume where segment.id = ?1";
pub(super) const PAGE: &str = "
    select unlink.id, unlink.segment, volume.path as volume, unlink.path, unlink.bytes
    from unlink cross join volume on volume.id = unlink.volume
    where unlink.id > ?1 order by unlink.id limit ?2";
const INSERT: &str = "
    insert into unlink (volume, path, segment, bytes)
    values ((select id from volume where volume.path = ?1), ?2, ?3, ?4)
    on conflict (volume, path) do nothing";
const IS_DOOMED: &str = "
    select 1 from unlink where volume = (select id from volume where path = ?1) and path = ?2";
/// A new file stands under the name, so the old one is gone.
const REPLACED: &str = "
    delete from unlink where volume = (select id from volume where path = ?1) and path = ?2";

impl Store {
    /// Files to be unlinked, in the order of their deletion, after the one with id `after`; at most
    /// `limit`. Work these off at start too; pass over those of a volume that is not there.
    pub async fn pending_unlinks(
        &self,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<PendingUnlink>> {
        let rows: Vec<Row> = sqlx::query_as(PAGE)
            .bind(after.unwrap_or(i64::MIN))
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list files to unlink"))?;
        Ok(rows.into_iter().map(Row::into_pending).collect())
    }

    /// The files of segments, as they stand here once their rows are deleted (without an `id`).
    pub async fn files_of(&self, ids: &[SegmentId]) -> Result<Vec<PendingUnlink>> {
        let mut files = Vec::with_capacity(ids.len());
        let mut snapshot = self.snapshot().await?;
        for id in ids {
            let row: Option<Row> = sqlx::query_as(FILE)
                .bind(id)
                .fetch_optional(&mut *snapshot)
                .await
                .map_err(failed("find the file of a segment"))?;
            files.extend(row.map(Row::into_pending));
        }
        Ok(files)
    }

    /// Forgets them: they are unlinked and their folders are synced (or they were not there).
    pub async fn unlinked(&self, ids: &[i64]) -> Result<()> {
        for ids in ids.chunks(AT_ONCE) {
            let ids = ids.to_vec();
            let forget = self.writer.write("forget unlinked files", move |db| {
                Box::pin(async move {
                    for id in ids {
                        sqlx::query("delete from unlink where id = ?1")
                            .bind(id)
                            .execute(&mut *db)
                            .await
                            .map_err(failed("forget an unlinked file"))?;
                    }
                    Ok(())
                })
            });
            forget.await?;
        }
        Ok(())
    }

    /// Puts files that have no row into `unlink` (their `id`s do not matter). One that has a row
    /// meanwhile is passed over.
    pub async fn unlink_files(&self, files: Vec<PendingUnlink>) -> Result<()> {
        let mut files = files.into_iter().peekable();
        while files.peek().is_some() {
            let some: Vec<_> = files.by_ref().take(AT_ONCE).collect();
            let note = self.writer.write("note files to unlink", move |db| {
                Box::pin(async move {
                    for file in some {
                        insert(db, file).await?;
                    }
                    Ok(())
                })
            });
            note.await?;
            self.writer.unlinks_added();
        }
        Ok(())
    }

    /// How many files wait, and the sum of their sizes.
    pub async fn unlinks_waiting(&self) -> Result<(u64, u64)> {
        let (count, bytes): (i64, i64) =
            sqlx::query_as("select count(*), coalesce(sum(bytes), 0) from unlink")
                .fetch_one(&self.readers)
                .await
                .map_err(failed("count files to unlink"))?;
        Ok((unsigned(count), unsigned(bytes)))
    }

    /// Changes when there may be more of them.
    #[must_use]
    pub fn watch_unlinks(&self) -> watch::Receiver<u64> {
        self.writer.shared.unlinks.subscribe()
    }

    /// Whether this file waits to be unlinked: such a one is never adopted.
    pub async fn is_doomed(&self, volume: &str, path: &str) -> Result<bool> {
        let row: Option<i64> = sqlx::query_scalar(IS_DOOMED)
            .bind(volume)
            .bind(path)
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("look for a file to unlink"))?;
        Ok(row.is_some())
    }
}

async fn insert(db: &mut SqliteConnection, file: PendingUnlink) -> Result<()> {
    let row: Option<i64> = sqlx::query_scalar("select 1 from segment where id = ?1")
        .bind(file.segment)
        .fetch_optional(&mut *db)
        .await
        .map_err(failed("look for a file's row"))?;
    if row.is_some() {
        return Ok(());
    }
    volume::name(db, &file.volume).await?;
    sqlx::query(INSERT)
        .bind(file.volume)
        .bind(file.path)
        .bind(file.segment)
        .bind(signed(file.bytes))
        .execute(db)
        .await
        .map(|_| ())
        .map_err(failed("note a file to unlink"))
}

pub(super) async fn is_doomed(db: &mut SqliteConnection, volume: &str, path: &str) -> Result<bool> {
    let row: Option<i64> = sqlx::query_scalar(IS_DOOMED)
        .bind(volume)
        .bind(path)
        .fetch_optional(db)
        .await
        .map_err(failed("look for a file to unlink"))?;
    Ok(row.is_some())
}

/// A file was made under this name: it is not the one that was to be unlinked.
pub(super) async fn replaced(db: &mut SqliteConnection, volume: &str, path: &str) -> Result<()> {
    sqlx::query(REPLACED)
        .bind(volume)
        .bind(path)
        .execute(db)
        .await
        .map(|_| ())
        .map_err(failed("forget a file that was replaced"))
}
