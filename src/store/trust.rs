//! Column `tls_json` of table `camera`: which certificate it must show.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use super::{Result, StoreError, error::failed};
use crate::{id::CameraId, model::Trust};

/// What the column says.
pub(super) fn read(json: Option<&str>) -> Result<Trust> {
    let Some(json) = json else { return Ok(Trust::System) };
    serde_json::from_str(json).map_err(|_| StoreError::Corrupt("camera tls"))
}

/// Writes it for a camera that is there.
pub(super) async fn put(db: &mut SqliteConnection, camera: CameraId, trust: &Trust) -> Result<()> {
    // Plain texts: this cannot fail.
    let json = (!trust.is_system()).then(|| serde_json::to_string(trust).unwrap_or_default());
    sqlx::query("update camera set tls_json = ?2 where id = ?1 and tls_json is not ?2")
        .bind(camera)
        .bind(json)
        .execute(db)
        .await
        .map(|_| ())
        .map_err(failed("write which certificate a camera must show"))
}

/// Of all cameras that have it.
pub(super) async fn all(db: &mut SqliteConnection) -> Result<HashMap<CameraId, Trust>> {
    let rows: Vec<(CameraId, String)> = sqlx::query_as(
        "select id, tls_json from camera where doomed_us is null and tls_json is not null",
    )
    .fetch_all(db)
    .await
    .map_err(failed("read which certificates cameras must show"))?;
    rows.into_iter().map(|(camera, json)| Ok((camera, read(Some(&json))?))).collect()
}
