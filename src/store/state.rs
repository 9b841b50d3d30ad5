//! What is mirrored to the volumes, out and in.
//!
//! The generation is kept by triggers (migration 2): no command can change what is mirrored and
//! forget to say so.

use sqlx::SqliteConnection;
use tokio::sync::watch;

use super::{
    Result, Store, StoreError, camera,
    columns::{
        limits, record, record_text, signed, source, source_text, transport, transport_text,
        unsigned, user_role, user_role_text, wall, when, when_text,
    },
    failed, lock, meta, trust,
};
use crate::{
    id::{CameraId, LockId, StreamId, TokenId, UserId},
    model::{
        CameraState, Lock, LockState, SealedBytes, State, StreamState, TokenState, Trust, UserState,
    },
    seal::Sealer,
};

/// What [`Store::restore_state`] put in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Cameras, deleted ones with kept footage too.
    pub cameras: u64,
    /// Accounts.
    pub users: u64,
    /// Locks.
    pub locks: u64,
    /// Whether its secrets were sealed with the key file of today; else they do not open.
    pub key_fits: bool,
}

#[derive(sqlx::FromRow)]
struct CameraRow {
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
    deleted_us: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct StreamRow {
    id: StreamId,
    camera: CameraId,
    role: String,
    url_sealed: Vec<u8>,
    transport: String,
    audio: bool,
    record: Option<String>,
    own_retention: bool,
    max_age_s: Option<i64>,
    max_bytes: Option<i64>,
    volume: Option<String>,
    created_us: i64,
    hidden_us: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct TokenRow {
    id: TokenId,
    user: UserId,
    name: String,
    hash: Vec<u8>,
    expires_us: Option<i64>,
    created_us: i64,
}

const CAMERAS: &str = "
    select id, slug, name, enabled, source, username, password_sealed, record, when_json, max_age_s,
           max_bytes, volume, created_us, updated_us, deleted_us
    from camera where doomed_us is null order by id";
const STREAMS: &str = "
    select stream.id, camera, role, url_sealed, transport, audio, stream.record, own_retention,
           stream.max_age_s, stream.max_bytes, stream.volume, stream.created_us, hidden_us
    from camera cross join stream on stream.camera = camera.id
    where camera.doomed_us is null order by camera, stream.id";
const USERS: &str = "select id, name, role, password_hash, digest_sealed from user order by id";
const TOKENS: &str = "select id, user, name, hash, expires_us, created_us from token order by id";
const LOCKS: &str = "select id, camera, start_us, end_us, note, created_us, created_by
                     from footage_lock order by id";
const INSERT_CAMERA: &str = "
    insert into camera (id, slug, name, enabled, username, password_sealed, record, max_age_s,
                        max_bytes, volume, created_us, updated_us, deleted_us, when_json, source)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
    on conflict do nothing";
const INSERT_STREAM: &str = "
    insert into stream (id, camera, role, url_sealed, transport, audio, record, own_retention,
                        max_age_s, max_bytes, volume, created_us, hidden_us)
    select ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13
    where exists (select 1 from camera where id = ?2 and doomed_us is null)
    on conflict do nothing";
const INSERT_USER: &str = "
    insert into user (id, name, role, password_hash, digest_sealed) values (?1, ?2, ?3, ?4, ?5)
    on conflict do nothing";
const INSERT_TOKEN: &str = "
    insert into token (id, user, name, hash, expires_us, created_us)
    select ?1, ?2, ?3, ?4, ?5, ?6 where exists (select 1 from user where id = ?2)
    on conflict do nothing";
const IS_CAMERA: &str = "select 1 from camera where id = ?1 and doomed_us is null";
const IS_LOCK: &str = "select 1 from footage_lock where id = ?1";
/// Later than both: what is mirrored from now on is the newest.
const RAISE: &str = "update state_generation set generation = max(generation, ?1) + 1";

impl Store {
    /// A snapshot of what is mirrored to the volumes.
    pub async fn state(&self) -> Result<State> {
        let mut snapshot = self.snapshot().await?;
        read(&mut snapshot).await
    }

    /// The generation of what is durable: changes after each commit that changes [`Self::state`].
    #[must_use]
    pub fn watch_state(&self) -> watch::Receiver<u64> {
        self.writer.shared.state.subscribe()
    }

    /// Puts it in, in one transaction. What is there already (by id, slug or name) stays: asking
    /// again is harmless. The generation becomes later than the state's.
    pub async fn restore_state(&self, state: State) -> Result<Restored> {
        let sealer = self.sealer.clone();
        self.writer
            .write("restore the state", move |db| {
                Box::pin(async move { write(db, &sealer, state).await })
            })
            .await
    }
}

async fn read(db: &mut SqliteConnection) -> Result<State> {
    const WHAT: &str = "read the state";
    let generation: i64 = sqlx::query_scalar("select generation from state_generation")
        .fetch_one(&mut *db)
        .await
        .map_err(failed(WHAT))?;
    let cameras: Vec<CameraRow> =
        sqlx::query_as(CAMERAS).fetch_all(&mut *db).await.map_err(failed(WHAT))?;
    let mut cameras = cameras.into_iter().map(camera_state).collect::<Result<Vec<_>>>()?;
    let streams: Vec<StreamRow> =
        sqlx::query_as(STREAMS).fetch_all(&mut *db).await.map_err(failed(WHAT))?;
    for row in streams {
        let of = cameras.binary_search_by_key(&row.camera, |camera| camera.id);
        if let Some(camera) = of.ok().and_then(|at| cameras.get_mut(at)) {
            camera.streams.push(stream_state(row)?);
        }
    }
    for (camera, tls) in trust::all(db).await? {
        let of = cameras.binary_search_by_key(&camera, |camera| camera.id);
        if let Some(camera) = of.ok().and_then(|at| cameras.get_mut(at)) {
            camera.tls = tls;
        }
    }
    let users: Vec<(UserId, String, String, String, Vec<u8>)> =
        sqlx::query_as(USERS).fetch_all(&mut *db).await.map_err(failed(WHAT))?;
    let user = |(id, name, role, password_hash, digest): (_, _, String, _, _)| {
        let digest_sealed = SealedBytes(digest);
        Ok(UserState { id, name, role: user_role(&role)?, password_hash, digest_sealed })
    };
    let tokens: Vec<TokenRow> =
        sqlx::query_as(TOKENS).fetch_all(&mut *db).await.map_err(failed(WHAT))?;
    let token = |row: TokenRow| TokenState {
        id: row.id,
        user: row.user,
        name: row.name,
        hash: SealedBytes(row.hash),
        expires_us: row.expires_us,
        created_us: row.created_us,
    };
    let locks: Vec<(LockId, CameraId, i64, i64, String, i64, String)> =
        sqlx::query_as(LOCKS).fetch_all(&mut *db).await.map_err(failed(WHAT))?;
    let lock = |(id, camera, start_us, end_us, note, created_us, created_by)| LockState {
        id,
        camera,
        start_us,
        end_us,
        note,
        created_us,
        created_by,
    };
    Ok(State {
        version: State::VERSION,
        generation: unsigned(generation),
        key_check: meta::key_check(db).await?.map(SealedBytes),
        cameras,
        users: users.into_iter().map(user).collect::<Result<_>>()?,
        tokens: tokens.into_iter().map(token).collect(),
        locks: locks.into_iter().map(lock).collect(),
    })
}

fn camera_state(row: CameraRow) -> Result<CameraState> {
    Ok(CameraState {
        id: row.id,
        slug: row.slug.parse().map_err(|_| StoreError::Corrupt("camera slug"))?,
        name: row.name,
        enabled: row.enabled,
        source: source(&row.source)?,
        username: row.username,
        password_sealed: row.password_sealed.map(SealedBytes),
        tls: Trust::System,
        record: record(&row.record)?,
        when: when(row.when_json.as_deref())?,
        retention: limits(row.max_age_s, row.max_bytes),
        volume: row.volume,
        created_us: row.created_us,
        updated_us: row.updated_us,
        deleted_us: row.deleted_us,
        streams: Vec::new(),
    })
}

fn stream_state(row: StreamRow) -> Result<StreamState> {
    let own = limits(row.max_age_s, row.max_bytes);
    Ok(StreamState {
        id: row.id,
        role: row.role.parse().map_err(|_| StoreError::Corrupt("stream role"))?,
        url_sealed: Some(SealedBytes(row.url_sealed)),
        transport: transport(&row.transport)?,
        audio: row.audio,
        record: row.record.as_deref().map(record).transpose()?,
        retention: row.own_retention.then_some(own),
        volume: row.volume,
        created_us: row.created_us,
        hidden_us: row.hidden_us,
    })
}

async fn write(db: &mut SqliteConnection, sealer: &Sealer, state: State) -> Result<Restored> {
    let key_fits = state.key_check.as_ref().is_none_or(|sealed| meta::key_fits(sealer, &sealed.0));
    let mut restored = Restored { key_fits, ..Restored::default() };
    for camera in state.cameras {
        let added = put_camera(db, &camera).await?;
        restored.cameras += added;
        if added > 0 {
            trust::put(db, camera.id, &camera.tls).await?;
        }
        for stream in camera.streams {
            put_stream(db, sealer, camera.id, stream).await?;
        }
    }
    for user in state.users {
        let done = sqlx::query(INSERT_USER)
            .bind(user.id)
            .bind(user.name)
            .bind(user_role_text(user.role))
            .bind(user.password_hash)
            .bind(user.digest_sealed.0)
            .execute(&mut *db)
            .await
            .map_err(failed("restore an account"))?;
        restored.users += done.rows_affected();
    }
    for token in state.tokens.into_iter().filter(|token| token.hash.0.len() == 32) {
        sqlx::query(INSERT_TOKEN)
            .bind(token.id)
            .bind(token.user)
            .bind(token.name)
            .bind(token.hash.0)
            .bind(token.expires_us)
            .bind(token.created_us)
            .execute(&mut *db)
            .await
            .map_err(failed("restore a token"))?;
    }
    for lock in state.locks.into_iter().filter(|lock| lock.start_us < lock.end_us) {
        restored.locks += u64::from(put_lock(db, lock).await?);
    }
    sqlx::query(RAISE)
        .bind(signed(state.generation))
        .execute(db)
        .await
        .map(|_| restored)
        .map_err(failed("raise the generation"))
}

async fn put_camera(db: &mut SqliteConnection, camera: &CameraState) -> Result<u64> {
    sqlx::query(INSERT_CAMERA)
        .bind(camera.id)
        .bind(camera.slug.as_str())
        .bind(&camera.name)
        .bind(camera.enabled)
        .bind(camera.username.as_deref())
        .bind(camera.password_sealed.as_ref().map(|sealed| sealed.0.as_slice()))
        .bind(record_text(camera.record))
        .bind(camera.retention.max_age_seconds.map(signed))
        .bind(camera.retention.max_bytes.map(signed))
        .bind(camera.volume.as_deref())
        .bind(camera.created_us)
        .bind(camera.updated_us)
        .bind(camera.deleted_us)
        .bind(when_text(&camera.when))
        .bind(source_text(camera.source))
        .execute(db)
        .await
        .map(|done| done.rows_affected())
        .map_err(failed("restore a camera"))
}

async fn put_stream(
    db: &mut SqliteConnection,
    sealer: &Sealer,
    camera: CameraId,
    stream: StreamState,
) -> Result<()> {
    let own = stream.retention.unwrap_or_default();
    let sealed = match stream.url_sealed {
        Some(sealed) => sealed.0,
        None => sealer.seal(&camera::address_context(camera), b""),
    };
    sqlx::query(INSERT_STREAM)
        .bind(stream.id)
        .bind(camera)
        .bind(stream.role.as_str())
        .bind(sealed)
        .bind(transport_text(stream.transport))
        .bind(stream.audio)
        .bind(stream.record.map(record_text))
        .bind(stream.retention.is_some())
        .bind(own.max_age_seconds.map(signed))
        .bind(own.max_bytes.map(signed))
        .bind(stream.volume)
        .bind(stream.created_us)
        .bind(stream.hidden_us)
        .execute(db)
        .await
        .map(|_| ())
        .map_err(failed("restore a stream"))
}

async fn put_lock(db: &mut SqliteConnection, state: LockState) -> Result<bool> {
    let is_there = async |db: &mut SqliteConnection, sql: &'static str, id: i64| {
        let row: Option<i64> = sqlx::query_scalar(sql)
            .bind(id)
            .fetch_optional(db)
            .await
            .map_err(failed("look for a lock to restore"))?;
        Ok::<_, StoreError>(row.is_some())
    };
    if !is_there(db, IS_CAMERA, state.camera.0).await? || is_there(db, IS_LOCK, state.id.0).await? {
        return Ok(false);
    }
    let lock = Lock {
        id: state.id,
        camera: state.camera,
        start: wall(state.start_us),
        end: wall(state.end_us),
        note: state.note,
        created: wall(state.created_us),
        created_by: state.created_by,
    };
    lock::insert(db, &lock).await.map(|()| true)
}
