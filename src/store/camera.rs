//! Tables `camera` and `stream`: what is configured, and what is kept for its footage.
//!
//! A slug's row is never inserted twice: a camera deleted with its footage kept is hidden, and
//! one made later under its slug takes the row over, with its streams by role. So the ids that
//! stand in the segment files stay true.
//!
//! A password or address that does not open (sealed with another key file, or damaged) takes no
//! other camera down: its camera says so, has it absent, and it stays stored as it is until a new
//! one is given.

use sqlx::SqliteConnection;

use super::{
    Result, Store, StoreError,
    columns::{
        limits, record, record_text, signed, source, source_text, transport, transport_text, wall,
        when, when_text,
    },
    doom,
    error::failed,
    gap, trust,
};
use crate::{
    id::{CameraId, Role, Slug, StreamId},
    model::{Camera, CameraStream, Secret},
    proto::time::WallTime,
    seal::Sealer,
};

/// A camera joined with one of its streams, or with none.
#[derive(sqlx::FromRow)]
struct Row {
    id: CameraId,
    slug: String,
    name: String,
    enabled: bool,
    source: String,
    username: Option<String>,
    password_sealed: Option<Vec<u8>>,
    record: String,
    when_json: Option<String>,
    max_age_s: Option<i64>,
    max_bytes: Option<i64>,
    volume: Option<String>,
    created_us: i64,
    updated_us: i64,
    stream_id: Option<StreamId>,
    role: Option<String>,
    url_sealed: Option<Vec<u8>>,
    transport: Option<String>,
    audio: Option<bool>,
    stream_record: Option<String>,
    own_retention: Option<bool>,
    stream_max_age_s: Option<i64>,
    stream_max_bytes: Option<i64>,
    stream_volume: Option<String>,
    stream_created_us: Option<i64>,
    tls_json: Option<String>,
}

/// `$cameras` is a subquery for the cameras wanted.
macro_rules! select {
    ($cameras:literal) => {
        concat!(
            "select camera.id, camera.slug, camera.name, camera.enabled, camera.source,
                    camera.username, camera.password_sealed, camera.tls_json, camera.record,
                    camera.when_json, camera.max_age_s, camera.max_bytes,
                    camera.volume, camera.created_us, camera.updated_us,
                    stream.id as stream_id, stream.role, stream.url_sealed, stream.transport,
                    stream.audio, stream.record as stream_record, stream.own_retention,
                    stream.max_age_s as stream_max_age_s, stream.max_bytes as stream_max_bytes,
                    stream.volume as stream_volume, stream.created_us as stream_created_us
             from (",
            $cameras,
            ") as camera
             left join stream on stream.camera = camera.id and stream.hidden_us is null
             order by camera.slug, stream.role"
        )
    };
}

const PAGE: &str =
    select!("select * from camera where deleted_us is null and slug > ?1 order by slug limit ?2");
const BY_SLUG: &str = select!("select * from camera where deleted_us is null and slug = ?1");
const KNOWN: &str = "select id, deleted_us from camera where slug = ?1";
const PUT_CAMERA: &str = "
    insert into camera (id, slug, name, enabled, username, password_sealed, record, max_age_s,
                        max_bytes, volume, created_us, updated_us, deleted_us, when_json, source)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, null, ?14, ?15)
    on conflict (slug) do update set source = excluded.source,
        name = excluded.name, enabled = excluded.enabled, username = excluded.username,
        password_sealed = case when ?13 and excluded.password_sealed is null
                               then camera.password_sealed else excluded.password_sealed end,
        record = excluded.record, when_json = excluded.when_json,
        max_age_s = excluded.max_age_s, max_bytes = excluded.max_bytes,
        volume = excluded.volume, created_us = excluded.created_us,
        updated_us = excluded.updated_us, deleted_us = null";
const PUT_STREAM: &str = "
    insert into stream (id, camera, role, url_sealed, transport, audio, record, own_retention,
                        max_age_s, max_bytes, volume, created_us, hidden_us)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, null)
    on conflict (camera, role) do update set
        url_sealed = case when ?13 then stream.url_sealed else excluded.url_sealed end,
        transport = excluded.transport, audio = excluded.audio,
        record = excluded.record, own_retention = excluded.own_retention,
        max_age_s = excluded.max_age_s, max_bytes = excluded.max_bytes,
        volume = excluded.volume, created_us = excluded.created_us, hidden_us = null";
const HIDDEN: &str = "
    select id, hidden_us from stream where camera = ?1 and role = ?2 and hidden_us is not null";
const HIDE_STREAM: &str = "
    update stream set hidden_us = ?3 where camera = ?1 and role = ?2 and hidden_us is null
    returning id";
const HIDE_CAMERA: &str = "
    update camera set deleted_us = ?2, username = null, password_sealed = null
    where id = ?1 and deleted_us is null";
impl Store {
    /// All cameras, by slug.
    pub async fn cameras(&self) -> Result<Vec<Camera>> {
        self.cameras_page(None, u32::MAX).await
    }

    /// A page of cameras by slug, after `after`.
    pub async fn cameras_page(&self, after: Option<&Slug>, limit: u32) -> Result<Vec<Camera>> {
        let rows: Vec<Row> = sqlx::query_as(PAGE)
            .bind(after.map_or("", Slug::as_str))
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list cameras"))?;
        self.gather(rows)
    }

    /// One camera.
    pub async fn camera_by_slug(&self, slug: &Slug) -> Result<Option<Camera>> {
        let rows: Vec<Row> = sqlx::query_as(BY_SLUG)
            .bind(slug.as_str())
            .fetch_all(&self.readers)
            .await
            .map_err(failed("read a camera"))?;
        Ok(self.gather(rows)?.pop())
    }

    /// Adds; `Conflict` when the slug is taken. A slug that was deleted with its footage kept
    /// gets the old camera's and streams' ids back: what is returned has the ids that count.
    pub async fn insert_camera(&self, mut camera: Camera) -> Result<Camera> {
        let sealer = self.sealer.clone();
        self.writer
            .write("add a camera", move |db| {
                Box::pin(async move {
                    let known: Option<(CameraId, Option<i64>)> = sqlx::query_as(KNOWN)
                        .bind(camera.slug.as_str())
                        .fetch_optional(&mut *db)
                        .await
                        .map_err(failed("look for a camera's slug"))?;
                    match known {
                        Some((_, None)) => return Err(StoreError::Conflict("camera")),
                        Some((id, Some(_))) => camera.id = id,
                        None => {}
                    }
                    put(db, &sealer, &camera).await?;
                    for stream in &mut camera.streams {
                        stream.id = stored_id(db, camera.id, stream.role).await?;
                    }
                    Ok(camera)
                })
            })
            .await
    }

    /// Replaces everything but id and slug.
    ///
    /// Streams go by their roles: one that stays keeps its stored id, one not listed is hidden
    /// with its footage kept, one that comes back gets its old id back.
    pub async fn update_camera(&self, camera: &Camera) -> Result<()> {
        let camera = camera.clone();
        let sealer = self.sealer.clone();
        let now = self.clock.now();
        self.writer
            .write("change a camera", move |db| {
                Box::pin(async move {
                    let known: Option<(CameraId, Option<i64>)> = sqlx::query_as(KNOWN)
                        .bind(camera.slug.as_str())
                        .fetch_optional(&mut *db)
                        .await
                        .map_err(failed("look for a camera"))?;
                    if known != Some((camera.id, None)) {
                        return Err(StoreError::NotFound("camera"));
                    }
                    put(db, &sealer, &camera).await?;
                    for role in [Role::Main, Role::Sub] {
                        if !camera.streams.iter().any(|stream| stream.role == role) {
                            hide_stream(db, camera.id, role, now).await?;
                        }
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Deletes. With `keep_footage` its rows stay for adoption (hidden from lists, its login
    /// forgotten). Else its footage goes too, or `Locked` says which lock holds some of it; its
    /// files wait in `unlink` ([`Self::pending_unlinks`]) and its slug is free at once.
    ///
    /// Small transactions: what a stop or crash leaves is gone on with at the next opening.
    pub async fn delete_camera(&self, id: CameraId, keep_footage: bool) -> Result<()> {
        let now = self.clock.now();
        self.writer
            .write("delete a camera", move |db| {
                Box::pin(async move {
                    if keep_footage {
                        hide(db, id, now).await
                    } else {
                        doom::mark(db, id, now).await
                    }
                })
            })
            .await?;
        if keep_footage { Ok(()) } else { doom::finish(&self.writer, id).await }
    }

    /// Rows of one camera stand together.
    fn gather(&self, rows: Vec<Row>) -> Result<Vec<Camera>> {
        let mut cameras: Vec<Camera> = Vec::new();
        for row in rows {
            let stream = row.stream(&self.sealer)?;
            if cameras.last().is_none_or(|last| last.id != row.id) {
                cameras.push(row.into_camera(&self.sealer)?);
            }
            if let Some(camera) = cameras.last_mut()
                && let Some(Opened { stream, broken }) = stream
            {
                camera.streams.push(stream);
                camera.sealed_broken |= broken;
            }
        }
        Ok(cameras)
    }
}

/// A camera's password does not open in another camera's row.
fn context(camera: CameraId) -> String {
    format!("camera {camera}")
}

/// Nor does an address, which may hold a password in its query.
pub(super) fn address_context(camera: CameraId) -> String {
    format!("address of {camera}")
}

async fn put(db: &mut SqliteConnection, sealer: &Sealer, camera: &Camera) -> Result<()> {
    let sealed = camera
        .password
        .as_ref()
        .map(|password| sealer.seal(&context(camera.id), password.expose().as_bytes()));
    sqlx::query(PUT_CAMERA)
        .bind(camera.id)
        .bind(camera.slug.as_str())
        .bind(&camera.name)
        .bind(camera.enabled)
        .bind(camera.username.as_deref())
        .bind(sealed)
        .bind(record_text(camera.record))
        .bind(camera.retention.max_age_seconds.map(signed))
        .bind(camera.retention.max_bytes.map(signed))
        .bind(camera.volume.as_deref())
        .bind(camera.created.as_micros())
        .bind(camera.updated.as_micros())
        .bind(camera.sealed_broken)
        .bind(when_text(&camera.when))
        .bind(source_text(camera.source))
        .execute(&mut *db)
        .await
        .map_err(failed("write a camera"))?;
    trust::put(db, camera.id, &camera.tls).await?;
    for stream in &camera.streams {
        // A gap begun after it was hidden (by recovery, say) must not count up to its return.
        let hidden: Option<(StreamId, i64)> = sqlx::query_as(HIDDEN)
            .bind(camera.id)
            .bind(stream.role.as_str())
            .fetch_optional(&mut *db)
            .await
            .map_err(failed("look for a hidden stream"))?;
        if let Some((id, since)) = hidden {
            gap::end(db, id, wall(since)).await?;
        }
        let own = stream.retention.unwrap_or_default();
        sqlx::query(PUT_STREAM)
            .bind(stream.id)
            .bind(camera.id)
            .bind(stream.role.as_str())
            .bind(sealer.seal(&address_context(camera.id), stream.url.as_bytes()))
            .bind(transport_text(stream.transport))
            .bind(stream.audio)
            .bind(stream.record.map(record_text))
            .bind(stream.retention.is_some())
            .bind(own.max_age_seconds.map(signed))
            .bind(own.max_bytes.map(signed))
            .bind(stream.volume.as_deref())
            .bind(stream.created.as_micros())
            .bind(camera.sealed_broken && stream.url.is_empty() && !camera.source.is_publish())
            .execute(&mut *db)
            .await
            .map_err(failed("write a stream"))?;
    }
    Ok(())
}

async fn stored_id(db: &mut SqliteConnection, camera: CameraId, role: Role) -> Result<StreamId> {
    sqlx::query_scalar("select id from stream where camera = ?1 and role = ?2")
        .bind(camera)
        .bind(role.as_str())
        .fetch_one(db)
        .await
        .map_err(failed("read a stream's id"))
}

/// Nothing is expected of a hidden stream, so a gap that lasted ends here.
async fn hide_stream(
    db: &mut SqliteConnection,
    camera: CameraId,
    role: Role,
    now: WallTime,
) -> Result<()> {
    let hidden: Option<StreamId> = sqlx::query_scalar(HIDE_STREAM)
        .bind(camera)
        .bind(role.as_str())
        .bind(now.as_micros())
        .fetch_optional(&mut *db)
        .await
        .map_err(failed("hide a stream"))?;
    match hidden {
        Some(stream) => gap::end(db, stream, now).await,
        None => Ok(()),
    }
}

async fn hide(db: &mut SqliteConnection, id: CameraId, now: WallTime) -> Result<()> {
    let done = sqlx::query(HIDE_CAMERA)
        .bind(id)
        .bind(now.as_micros())
        .execute(&mut *db)
        .await
        .map_err(failed("hide a camera"))?;
    if done.rows_affected() == 0 {
        return Err(StoreError::NotFound("camera"));
    }
    for role in [Role::Main, Role::Sub] {
        hide_stream(db, id, role, now).await?;
    }
    Ok(())
}

/// A stream, and whether its address did not open.
struct Opened {
    stream: CameraStream,
    broken: bool,
}

impl Row {
    fn stream(&self, sealer: &Sealer) -> Result<Option<Opened>> {
        const BROKEN: StoreError = StoreError::Corrupt("stream");
        let Some(id) = self.stream_id else { return Ok(None) };
        let text = |column: &Option<String>| column.clone().ok_or(BROKEN);
        let own = limits(self.stream_max_age_s, self.stream_max_bytes);
        let sealed = self.url_sealed.as_ref().ok_or(BROKEN)?;
        let url = sealer
            .open(&address_context(self.id), sealed)
            .and_then(|plain| String::from_utf8(plain).ok());
        let broken = url.is_none();
        let stream = CameraStream {
            id,
            role: text(&self.role)?.parse().map_err(|_| StoreError::Corrupt("stream role"))?,
            url: url.unwrap_or_default(),
            transport: transport(&text(&self.transport)?)?,
            audio: self.audio.ok_or(BROKEN)?,
            record: self.stream_record.as_deref().map(record).transpose()?,
            retention: self.own_retention.ok_or(BROKEN)?.then_some(own),
            volume: self.stream_volume.clone(),
            created: wall(self.stream_created_us.ok_or(BROKEN)?),
        };
        Ok(Some(Opened { stream, broken }))
    }

    fn into_camera(self, sealer: &Sealer) -> Result<Camera> {
        let open = |sealed: &[u8]| {
            let plain = sealer.open(&context(self.id), sealed)?;
            String::from_utf8(plain).ok().map(Secret::new)
        };
        let password = self.password_sealed.as_deref().and_then(open);
        Ok(Camera {
            id: self.id,
            slug: self.slug.parse().map_err(|_| StoreError::Corrupt("camera slug"))?,
            name: self.name,
            enabled: self.enabled,
            source: source(&self.source)?,
            username: self.username,
            tls: trust::read(self.tls_json.as_deref())?,
            record: record(&self.record)?,
            when: when(self.when_json.as_deref())?,
            retention: limits(self.max_age_s, self.max_bytes),
            volume: self.volume,
            streams: Vec::new(),
            created: wall(self.created_us),
            updated: wall(self.updated_us),
            sealed_broken: self.password_sealed.is_some() && password.is_none(),
            password,
        })
    }
}
