//! `/cameras/{slug}/locks`: footage that retention must not delete, however full the disk is.
//!
//! A lock is on all streams of a camera. It may begin in the past and end in the future, so that
//! what is happening now can be kept as well.

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    audit::AuditAction,
    auth::Caller,
    error::{ApiError, Mistakes, Problem, Result},
    extract::{CameraSlug, Fields, JsonObject, Params},
};
use crate::{
    access::Action,
    id::{LockId, Slug},
    model::{Camera, Lock},
    proto::time::WallSpan,
    store::StoreError,
};

/// Longest note, characters.
const MAX_NOTE: usize = 500;
/// Longest lock: who wants to keep more than a year keeps it for ever by mistake.
const MAX_LENGTH: WallSpan = WallSpan::from_secs(366 * 86_400);
/// A lock may end so far in the future.
const MAX_AHEAD: WallSpan = WallSpan::from_secs(31 * 86_400);

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(read, delete))
}

/// A range to protect.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = LockCreate)]
#[expect(
    dead_code,
    reason = "describes the body for OpenAPI; read by `Fields`, to name every mistake"
)]
struct LockCreate {
    #[schema(format = DateTime)]
    start: String,
    /// After `start`; may be up to 31 days ahead.
    #[schema(format = DateTime)]
    end: String,
    /// Why; up to 500 characters.
    note: Option<String>,
}

/// A range of a camera's footage that is not deleted.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Lock)]
pub(super) struct LockView {
    id: String,
    #[schema(value_type = String)]
    camera: Slug,
    #[schema(value_type = String, format = DateTime)]
    start: String,
    #[schema(value_type = String, format = DateTime)]
    end: String,
    note: String,
    #[schema(value_type = String, format = DateTime)]
    created: String,
    /// The login that made it.
    created_by: String,
}

/// A page of locks.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct LockList {
    items: Vec<LockView>,
    /// Give it as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

impl LockView {
    pub(super) fn new(camera: &Slug, lock: &Lock) -> Self {
        Self {
            id: lock.id.to_string(),
            camera: camera.clone(),
            start: lock.start.to_string(),
            end: lock.end.to_string(),
            note: lock.note.clone(),
            created: lock.created.to_string(),
            created_by: lock.created_by.clone(),
        }
    }
}

/// The locks of a camera, in the order in which they were made.
#[utoipa::path(get, path = "/cameras/{slug}/locks", tag = "footage", operation_id = "list_locks",
    params(("slug" = String, Path),
        ("limit" = Option<u32>, Query, description = "1 to 1000; 100 unless told"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")),
    responses((status = 200, body = LockList),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    CameraSlug(slug): CameraSlug,
    mut params: Params,
) -> Result<Json<LockList>> {
    caller.may(Action::ViewRecorded, Some(&slug))?;
    let limit = params.limit();
    let after = params.id("cursor").map(LockId);
    params.finish()?;
    let camera = api.camera(&slug).await?;
    let mut found = api.store.locks_page(Some(camera.id), after, limit + 1).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next_cursor = found.last().filter(|_| more).map(|l| l.id.to_string());
    let items = found.iter().map(|l| LockView::new(&slug, l)).collect();
    Ok(Json(LockList { items, next_cursor }))
}

/// Protects a range of a camera's footage from deletion.
#[utoipa::path(post, path = "/cameras/{slug}/locks", tag = "footage", operation_id = "create_lock",
    params(("slug" = String, Path)), request_body = LockCreate,
    responses(
        (status = 201, body = LockView, headers(("Location" = String))),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "there are as many locks as there can be", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "names each bad field", body = Problem, content_type = "application/problem+json")))]
async fn create(
    State(api): State<Api>,
    caller: Caller,
    CameraSlug(slug): CameraSlug,
    JsonObject(body): JsonObject,
) -> Result<Response> {
    caller.may(Action::ManageLocks, Some(&slug))?;
    let camera = api.camera(&slug).await?;
    let lock = parse(&api, &caller, &camera, body)?;
    let worker = api.clone();
    let lock = api
        .carry_out(async move {
            worker.store.insert_lock(lock.clone()).await.map_err(|e| match e {
                StoreError::Limit(_) => ApiError::TooManyLocks,
                // Deleted meanwhile.
                StoreError::NotFound(_) => ApiError::UnknownCamera(camera.slug.to_string()),
                other => other.into(),
            })?;
            tracing::info!(camera.slug = %camera.slug, lock.id = %lock.id, by = %caller.principal.name, "footage locked");
            let detail = format!("{} to {}", lock.start, lock.end);
            let what = lock_path(&camera.slug, lock.id);
            caller.note(&worker, AuditAction::LockCreate, &what, &detail).await;
            Ok(lock)
        })
        .await?;
    let location = format!("{}/api/v1/{}", api.settings.base_path, lock_path(&slug, lock.id));
    let location = HeaderValue::try_from(location).map_err(ApiError::internal)?;
    let body = Json(LockView::new(&slug, &lock));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], body).into_response())
}

/// One lock.
#[utoipa::path(get, path = "/cameras/{slug}/locks/{id}", tag = "footage", operation_id = "read_lock",
    params(("slug" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = LockView), (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn read(
    State(api): State<Api>,
    caller: Caller,
    Path((slug, id)): Path<(String, String)>,
    params: Params,
) -> Result<Json<LockView>> {
    let (slug, id) = named(&slug, &id)?;
    caller.may(Action::ViewRecorded, Some(&slug))?;
    params.finish()?;
    let lock = existing(&api, &slug, id).await?;
    Ok(Json(LockView::new(&slug, &lock)))
}

/// Takes a lock away: its footage may be deleted again.
#[utoipa::path(delete, path = "/cameras/{slug}/locks/{id}", tag = "footage", operation_id = "delete_lock",
    params(("slug" = String, Path), ("id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Path((slug, id)): Path<(String, String)>,
    params: Params,
) -> Result<StatusCode> {
    let (slug, id) = named(&slug, &id)?;
    caller.may(Action::ManageLocks, Some(&slug))?;
    params.finish()?;
    let worker = api.clone();
    api.carry_out(async move {
        let lock = existing(&worker, &slug, id).await?;
        if worker.store.delete_lock(id).await?.is_none() {
            return Err(ApiError::UnknownLock);
        }
        tracing::info!(camera.slug = %slug, lock.id = %id, by = %caller.principal.name, "lock taken away");
        let detail = format!("{} to {}", lock.start, lock.end);
        let what = lock_path(&slug, id);
        caller.note(&worker, AuditAction::LockDelete, &what, &detail).await;
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn lock_path(slug: &Slug, id: LockId) -> String {
    format!("cameras/{slug}/locks/{id}")
}

/// What is no slug or no id names nothing: 404.
fn named(slug: &str, id: &str) -> Result<(Slug, LockId)> {
    let slug =
        slug.parse().map_err(|_| ApiError::UnknownCamera(slug.chars().take(100).collect()))?;
    let id = i64::from_str_radix(id, 16).map_err(|_| ApiError::UnknownLock)?;
    Ok((slug, LockId(id)))
}

async fn existing(api: &Api, slug: &Slug, id: LockId) -> Result<Lock> {
    let camera = api.camera(slug).await?;
    let lock = api.store.lock(id).await?;
    lock.filter(|l| l.camera == camera.id).ok_or(ApiError::UnknownLock)
}

fn parse(
    api: &Api,
    caller: &Caller,
    camera: &Camera,
    body: serde_json::Map<String, serde_json::Value>,
) -> Result<Lock> {
    let now = api.clock.now();
    let mut mistakes = Mistakes::default();
    let mut f = Fields::new("", body, &mut mistakes);
    let start = f.required_time("start");
    let end = f.required_time("end");
    if let (Some(start), Some(end)) = (start, end) {
        if end <= start {
            f.mistake("end", "must be after `start`");
        } else if end - start > MAX_LENGTH {
            f.mistake("end", "must be at most 366 days after `start`");
        }
        if end > now + MAX_AHEAD {
            f.mistake("end", "must be at most 31 days ahead");
        }
    }
    let note = f.text("note", MAX_NOTE);
    f.finish();
    mistakes.check()?;
    Ok(Lock {
        id: LockId::generate(&api.clock),
        camera: camera.id,
        start: start.unwrap_or_default(),
        end: end.unwrap_or_default(),
        note: note.unwrap_or_default(),
        created: now,
        created_by: caller.principal.name.clone(),
    })
}
