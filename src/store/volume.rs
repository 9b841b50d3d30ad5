//! Table `volume`: the root folders that footage lies on, and how each is recognised.

use sqlx::SqliteConnection;

use super::{Result, Store, columns::unsigned, failed};
use crate::model::VolumeRow;

const INSERT: &str = "insert into volume (path) values (?1) on conflict do nothing";
pub(super) const KNOWN: &str = "
    select volume.path, volume.marker, coalesce(sum(volume_use.segments), 0),
           coalesce(sum(volume_use.bytes), 0)
    from volume left join volume_use on volume_use.volume = volume.id
    group by volume.id order by volume.path";
const SET_MARKER: &str = "update volume set marker = ?2 where path = ?1";

impl Store {
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
                Box::pin(async move {
                    name(db, &volume).await?;
                    sqlx::query(SET_MARKER)
                        .bind(volume)
                        .bind(marker)
                        .execute(db)
                        .await
                        .map(|_| ())
                        .map_err(failed("remember a volume's marker"))
                })
            })
            .await
    }
}

/// Adds a volume that is not known yet.
pub(super) async fn name(db: &mut SqliteConnection, path: &str) -> Result<()> {
    sqlx::query(INSERT).bind(path).execute(db).await.map(|_| ()).map_err(failed("name a volume"))
}
