//! `/cameras`: what is recorded and from where.
//!
//! A change is carried through even when the client hangs up in the middle (see
//! [`Api::carry_out`]): what the index says and what runs must not part. Changes come one after
//! another, so that two of them cannot both start from the same old camera.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    address::rtsp_base,
    audit::AuditAction,
    auth::Caller,
    camera_body,
    camera_view::{CameraCreate, CameraPatch, CameraView},
    discover,
    error::{ApiError, Problem, Result},
    extract::{CameraSlug, JsonObject, Params},
    locks::LockView,
};
use crate::{access::Action, id::Slug, model::Camera, store::StoreError};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(read, change, delete))
}

/// A page of cameras.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct CameraList {
    items: Vec<CameraView>,
    /// Give it as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

/// All cameras, by slug.
#[utoipa::path(get, path = "/cameras", tag = "cameras", operation_id = "list_cameras",
    params(("limit" = Option<u32>, Query, description = "1 to 1000; 100 unless told"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")),
    responses((status = 200, body = CameraList), (status = 422, body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Json<CameraList>> {
    caller.may(Action::ReadCameras, None)?;
    let limit = params.limit();
    let after: Option<Slug> = params.parse("cursor", "what an answer gave as `next_cursor`");
    params.finish()?;
    let mut cameras = api.store.cameras_page(after.as_ref(), limit + 1).await?;
    let more = cameras.len() > limit as usize;
    cameras.truncate(limit as usize);
    let next_cursor = cameras.last().filter(|_| more).map(|c| c.slug.to_string());
    let rtsp = rtsp_base(&headers, api.settings.rtsp_port);
    Ok(Json(CameraList {
        items: cameras.iter().map(|c| CameraView::new(c, &rtsp)).collect(),
        next_cursor,
    }))
}

/// Adds a camera, which is pulled and recorded from then on.
///
/// A slug that was deleted with its footage kept gets that footage back. With `onvif` in place of `url`
/// and `streams` the camera itself is asked for its streams and its name; what keeps it from telling
/// stands at the field to mend: `password`, or `onvif`.
#[utoipa::path(post, path = "/cameras", tag = "cameras", operation_id = "create_camera", request_body = CameraCreate,
    responses(
        (status = 201, body = CameraView, headers(("Location" = String))),
        (status = 409, description = "the slug is taken", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "names each bad field", body = Problem, content_type = "application/problem+json")))]
async fn create(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    JsonObject(body): JsonObject,
) -> Result<Response> {
    caller.may(Action::ManageCameras, None)?;
    let body = discover::fill_in(&api, body).await?;
    let camera = camera_body::create(body, &api.settings.volumes, &api.clock)?;
    let worker = api.clone();
    let camera = api
        .carry_out(async move {
            let _one_at_a_time = worker.changes.lock().await;
            let slug = camera.slug.clone();
            let camera = worker.store.insert_camera(camera).await.map_err(|e| match e {
                StoreError::Conflict(_) => ApiError::SlugTaken(slug),
                other => other.into(),
            })?;
            tracing::info!(camera.slug = %camera.slug, by = %caller.principal.name, "camera added");
            let target = format!("cameras/{}", camera.slug);
            caller.note(&worker, AuditAction::CameraCreate, &target, "").await;
            worker.control.apply(camera.clone()).await;
            Ok(camera)
        })
        .await?;
    let location = format!("{}/api/v1/cameras/{}", api.settings.base_path, camera.slug);
    let location = HeaderValue::try_from(location).map_err(ApiError::internal)?;
    let body = view(&api, &headers, &camera);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], body).into_response())
}

/// One camera.
#[utoipa::path(get, path = "/cameras/{slug}", tag = "cameras", operation_id = "read_camera",
    params(("slug" = String, Path)),
    responses((status = 200, body = CameraView), (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn read(
    State(api): State<Api>,
    caller: Caller,
    CameraSlug(slug): CameraSlug,
    params: Params,
    headers: HeaderMap,
) -> Result<Json<CameraView>> {
    caller.may(Action::ReadCameras, Some(&slug))?;
    params.finish()?;
    let camera = api.camera(&slug).await?;
    Ok(view(&api, &headers, &camera))
}

/// Changes a camera by merge patch. Only this camera is restarted, and only when it has to be.
#[utoipa::path(patch, path = "/cameras/{slug}", tag = "cameras", operation_id = "change_camera",
    params(("slug" = String, Path)),
    request_body(content = CameraPatch, content_type = "application/merge-patch+json"),
    responses(
        (status = 200, body = CameraView),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "names each bad field", body = Problem, content_type = "application/problem+json")))]
async fn change(
    State(api): State<Api>,
    caller: Caller,
    CameraSlug(slug): CameraSlug,
    headers: HeaderMap,
    JsonObject(body): JsonObject,
) -> Result<Json<CameraView>> {
    caller.may(Action::ManageCameras, Some(&slug))?;
    let worker = api.clone();
    // Names only: values may be secrets.
    let changed = body.keys().take(20).map(|k| k.chars().take(40).collect::<String>());
    let changed = changed.collect::<Vec<_>>().join(", ");
    let camera = api
        .carry_out(async move {
            let _one_at_a_time = worker.changes.lock().await;
            let old = worker.camera(&slug).await?;
            let new = camera_body::patch(&old, body, &worker.settings.volumes, &worker.clock)?;
            worker.store.update_camera(&new).await?;
            // A role that comes back has its old id, which only the index knows.
            let new = worker.camera(&slug).await?;
            tracing::info!(camera.slug = %slug, by = %caller.principal.name, "camera changed");
            let target = format!("cameras/{slug}");
            caller.note(&worker, AuditAction::CameraChange, &target, &changed).await;
            worker.control.apply(new.clone()).await;
            Ok(new)
        })
        .await?;
    Ok(view(&api, &headers, &camera))
}

/// Deletes a camera. Its footage is kept for a camera of the same slug, unless told otherwise.
#[utoipa::path(delete, path = "/cameras/{slug}", tag = "cameras", operation_id = "delete_camera",
    params(("slug" = String, Path),
        ("footage" = Option<String>, Query, description = "`keep` (unless told) or `delete`")),
    responses((status = 204), (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "footage is locked; `locks` says which", body = Problem, content_type = "application/problem+json")))]
async fn delete(
    State(api): State<Api>,
    caller: Caller,
    CameraSlug(slug): CameraSlug,
    mut params: Params,
) -> Result<StatusCode> {
    caller.may(Action::ManageCameras, Some(&slug))?;
    let keep = match params.text("footage").as_deref() {
        None | Some("keep") => true,
        Some("delete") => false,
        Some(_) => {
            params.mistake("footage", "must be keep or delete");
            true
        }
    };
    params.finish()?;
    let worker = api.clone();
    api.carry_out(async move {
        let _one_at_a_time = worker.changes.lock().await;
        let camera = worker.camera(&slug).await?;
        if !keep {
            refuse_locked(&worker, &camera).await?;
        }
        // Stopped first: its last segment must be complete before its rows go.
        worker.control.remove(camera.clone()).await;
        // Files are unlinked by and by; which, is in the index from now on, also after a crash.
        if let Err(e) = worker.store.delete_camera(camera.id, keep).await {
            worker.control.apply(camera.clone()).await;
            return Err(match e {
                // Made since we looked.
                StoreError::Locked(_) => {
                    refuse_locked(&worker, &camera).await.err().unwrap_or_else(|| e.into())
                }
                other => other.into(),
            });
        }
        if !keep {
            // Before it is called deleted.
            worker.storage.camera_deleted(camera.id).await;
        }
        tracing::info!(camera.slug = %slug, by = %caller.principal.name, keep, "camera deleted");
        let detail = if keep { "footage kept" } else { "with its footage" };
        let target = format!("cameras/{slug}");
        caller.note(&worker, AuditAction::CameraDelete, &target, detail).await;
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Names the locks in the way of deleting a camera's footage.
async fn refuse_locked(api: &Api, camera: &Camera) -> Result<()> {
    /// Enough to see what it is about.
    const NAMED: u32 = 20;
    let locks = api.store.locks_page(Some(camera.id), None, NAMED).await?;
    if locks.is_empty() {
        return Ok(());
    }
    Err(ApiError::Locked(locks.iter().map(|l| LockView::new(&camera.slug, l)).collect()))
}

fn view(api: &Api, headers: &HeaderMap, camera: &Camera) -> Json<CameraView> {
    Json(CameraView::new(camera, &rtsp_base(headers, api.settings.rtsp_port)))
}
