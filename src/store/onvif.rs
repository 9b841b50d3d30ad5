//! Column `onvif_json` of table `camera`: where it answers ONVIF.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use super::{Result, StoreError, error::failed};
use crate::{id::CameraId, model::Onvif};

/// What the column says.
pub(super) fn read(json: Option<&str>) -> Result<Option<Onvif>> {
    json.map(|json| serde_json::from_str(json).map_err(|_| StoreError::Corrupt("camera onvif")))
        .transpose()
}

/// Writes it for a camera that is there.
pub(super) async fn put(
    db: &mut SqliteConnection,
    camera: CameraId,
    onvif: Option<&Onvif>,
) -> Result<()> {
    // Plain texts and numbers: this cannot fail.
    let json = onvif.map(|onvif| serde_json::to_string(onvif).unwrap_or_default());
    sqlx::query("update camera set onvif_json = ?2 where id = ?1 and onvif_json is not ?2")
        .bind(camera)
        .bind(json)
        .execute(db)
        .await
        .map(|_| ())
        .map_err(failed("write where a camera answers ONVIF"))
}

/// Of all cameras that have it.
pub(super) async fn all(db: &mut SqliteConnection) -> Result<HashMap<CameraId, Onvif>> {
    let rows: Vec<(CameraId, String)> = sqlx::query_as(
        "select id, onvif_json from camera where doomed_us is null and onvif_json is not null",
    )
    .fetch_all(db)
    .await
    .map_err(failed("read where cameras answer ONVIF"))?;
    let mut all = HashMap::with_capacity(rows.len());
    for (camera, json) in rows {
        all.extend(read(Some(&json))?.map(|onvif| (camera, onvif)));
    }
    Ok(all)
}
