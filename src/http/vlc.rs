//! Playlists that VLC opens with a double click: `vlc.m3u` of one camera or of all.
//!
//! They hold addresses only. The player asks for the login, which is then in nobody's download
//! folder.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    address::rtsp_base,
    auth::Caller,
    error::{ApiError, Problem, Result},
    extract::{CameraSlug, Params},
};
use crate::{access::Action, model::Camera, proto::time::WallTime};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(of_camera)).routes(routes!(of_all))
}

/// A camera's addresses for VLC: live and the archive, or the range asked for.
#[utoipa::path(get, path = "/cameras/{slug}/vlc.m3u", tag = "footage", operation_id = "camera_vlc",
    params(("slug" = String, Path),
        ("start" = Option<String>, Query, description = "RFC 3339; then only the recording from here"),
        ("end" = Option<String>, Query, description = "RFC 3339")),
    responses((status = 200, body = String, content_type = "audio/x-mpegurl"),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn of_camera(
    State(api): State<Api>,
    caller: Caller,
    CameraSlug(slug): CameraSlug,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response> {
    let start = params.time("start");
    let end = params.time("end");
    if let (Some(start), Some(end)) = (start, end)
        && start >= end
    {
        params.mistake("start", "must be before `end`");
    }
    params.finish()?;
    let clip = start.is_some() || end.is_some();
    let action = if clip { Action::ViewRecorded } else { Action::ViewLive };
    caller.may(action, Some(&slug))?;
    let camera = api.camera(&slug).await?;
    let rtsp = rtsp_base(&headers, api.settings.rtsp_port);
    let mut list = String::from("#EXTM3U\n");
    if clip {
        push_clip(&mut list, &camera, &rtsp, start, end);
    } else {
        push_both(&mut list, &camera, &rtsp);
    }
    playlist(list, &format!("{slug}.m3u"))
}

/// All cameras' addresses for VLC.
#[utoipa::path(get, path = "/vlc.m3u", tag = "footage", operation_id = "vlc",
    responses((status = 200, body = String, content_type = "audio/x-mpegurl")))]
async fn of_all(
    State(api): State<Api>,
    caller: Caller,
    params: Params,
    headers: HeaderMap,
) -> Result<Response> {
    params.finish()?;
    let rtsp = rtsp_base(&headers, api.settings.rtsp_port);
    let mut list = String::from("#EXTM3U\n");
    for camera in api.store.cameras().await? {
        if caller.may(Action::ViewLive, Some(&camera.slug)).is_ok() {
            push_both(&mut list, &camera, &rtsp);
        }
    }
    playlist(list, "vedette.m3u")
}

fn push_both(list: &mut String, camera: &Camera, rtsp: &str) {
    let (name, slug) = (&camera.name, &camera.slug);
    list.push_str(&format!("#EXTINF:-1,{name}\n{rtsp}/{slug}\n"));
    list.push_str(&format!("#EXTINF:-1,{name} (recording)\n{rtsp}/{slug}/recording\n"));
}

fn push_clip(
    list: &mut String,
    camera: &Camera,
    rtsp: &str,
    start: Option<WallTime>,
    end: Option<WallTime>,
) {
    let (name, slug) = (&camera.name, &camera.slug);
    let mut address = format!("{rtsp}/{slug}/recording");
    let mut separator = '?';
    for (key, time) in [("start", start), ("end", end)] {
        if let Some(time) = time {
            address.push_str(&format!("{separator}{key}={time}"));
            separator = '&';
        }
    }
    let from = start.map(|t| format!(" {t}")).unwrap_or_default();
    list.push_str(&format!("#EXTINF:-1,{name}{from}\n{address}\n"));
}

fn playlist(list: String, file: &str) -> Result<Response> {
    let disposition = HeaderValue::try_from(format!("inline; filename=\"{file}\""))
        .map_err(ApiError::internal)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("audio/x-mpegurl; charset=utf-8")),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, list).into_response())
}
