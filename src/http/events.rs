//! `/events`: marks on the timeline. A door opened, somebody pressed a button, an analytics box saw
//! a person: whoever knows says so, and players of footage find the place.

use std::collections::HashMap;

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::Caller,
    camera_when::is_kind,
    cursor::Cursor,
    error::{ApiError, Mistakes, Problem, Result},
    extract::{Fields, JsonObject, Params},
};
use crate::{
    access::Action,
    id::{CameraId, EventId, Slug},
    model::{Event, Mark},
    proto::time::WallSpan,
    store::MAX_MARK,
};

/// Longest note, characters.
const MAX_NOTE: usize = 500;
/// Longest source, characters.
const MAX_SOURCE: usize = 100;
/// Longest kind, characters.
const MAX_KIND: usize = 40;
/// A mark may begin so far ahead: clocks differ.
const MAX_AHEAD: WallSpan = WallSpan::from_secs(3_600);
/// The source of what the recorder notes by itself.
const OWN: &str = "vedette";

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, create))
}

/// A mark to make.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = EventCreate)]
#[expect(
    dead_code,
    reason = "describes the body for OpenAPI; read by `Fields`, to name every mistake"
)]
struct EventCreate {
    /// Slug of the camera.
    camera: String,
    /// Now unless told.
    #[schema(format = DateTime)]
    start: Option<String>,
    /// Not before `start`; none for a moment.
    #[schema(format = DateTime)]
    end: Option<String>,
    /// What it is, a word of your choice.
    #[schema(pattern = "^[a-z0-9_.-]{1,40}$", example = "motion")]
    kind: String,
    /// Up to 500 characters.
    note: Option<String>,
    /// Who says so; your login unless told.
    source: Option<String>,
}

/// A mark on the timeline.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Event)]
struct EventView {
    id: String,
    /// Null for what is about the recorder as a whole, or about a camera that is gone.
    #[schema(value_type = Option<String>)]
    camera: Option<Slug>,
    #[schema(value_type = String, format = DateTime)]
    start: String,
    /// Null for a moment.
    #[schema(value_type = Option<String>, format = DateTime)]
    end: Option<String>,
    kind: String,
    note: String,
    /// Who says so: `vedette` for what the recorder notes by itself.
    source: String,
}

/// A page of events.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct EventList {
    items: Vec<EventView>,
    /// Give it as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

/// Marks in a range (the last 24 hours unless told), the newest first; among them what the recorder
/// notes of itself.
#[utoipa::path(get, path = "/events", tag = "footage", operation_id = "list_events",
    params(("camera" = Option<String>, Query, description = "slug; all cameras, and the recorder itself, unless told"),
        ("start" = Option<String>, Query, description = "RFC 3339"),
        ("end" = Option<String>, Query, description = "RFC 3339"),
        ("limit" = Option<u32>, Query, description = "1 to 1000; 100 unless told"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before; give the same `start` and `end`")),
    responses((status = 200, body = EventList),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    mut params: Params,
) -> Result<Json<EventList>> {
    let asked: Option<Slug> = params.parse("camera", "the slug of a camera");
    caller.may(Action::ViewRecorded, asked.as_ref())?;
    let range = params.range(api.clock.now());
    let limit = params.limit();
    let before = params.cursor();
    params.finish()?;
    let cameras = api.store.cameras().await?;
    let camera = match asked {
        Some(slug) => match cameras.iter().find(|c| c.slug == slug) {
            Some(camera) => Some(camera.id),
            None => return Err(ApiError::UnknownCamera(slug.to_string())),
        },
        None => None,
    };
    let names: HashMap<CameraId, &Slug> = cameras.iter().map(|c| (c.id, &c.slug)).collect();
    let name = |id: Option<CameraId>| id.and_then(|id| names.get(&id).copied()).cloned();
    // Two lists, each with a page of its own, made one.
    let place = before.map(|c| (c.at, EventId(c.id)));
    let marks = api.store.marks_page(camera, range.clone(), place, limit + 1).await?;
    let noted = api.store.events_page(camera, range, place, limit + 1).await?;
    let mut found: Vec<_> = marks
        .into_iter()
        .map(|m| (m.start, m.id, EventView::of_mark(name(Some(m.camera)), m)))
        .chain(noted.into_iter().map(|e| (e.at, e.id, EventView::of_event(name(e.camera), e))))
        .collect();
    found.sort_by_key(|&(at, id, _)| std::cmp::Reverse((at, id)));
    let (found, next_cursor) = Cursor::page(found, limit, |&(at, id, _)| Cursor { at, id: id.0 });
    Ok(Json(EventList { items: found.into_iter().map(|(_, _, e)| e).collect(), next_cursor }))
}

/// Puts a mark on a camera's timeline. Of a camera that is recorded by events, what surrounds it is kept.
#[utoipa::path(post, path = "/events", tag = "footage", operation_id = "create_event", request_body = EventCreate,
    responses((status = 201, body = EventView),
        (status = 422, description = "names each bad field", body = Problem, content_type = "application/problem+json")))]
async fn create(
    State(api): State<Api>,
    caller: Caller,
    JsonObject(body): JsonObject,
) -> Result<(StatusCode, Json<EventView>)> {
    let now = api.clock.now();
    let mut mistakes = Mistakes::default();
    let mut f = Fields::new("", body, &mut mistakes);
    let slug: Option<Slug> = f.text("camera", 63).and_then(|text| text.parse().ok());
    let start = f.time("start").unwrap_or(now);
    let end = f.time("end");
    if start > now + MAX_AHEAD {
        f.mistake("start", "must be at most an hour ahead");
    }
    if end.is_some_and(|end| end < start) {
        f.mistake("end", "must not be before `start`");
    }
    if end.is_some_and(|end| end - start > MAX_MARK) {
        f.mistake("end", "must be at most 24 hours after `start`");
    }
    let kind = f.text("kind", MAX_KIND).filter(|kind| is_kind(kind));
    if kind.is_none() {
        f.mistake("kind", "is required: a word of a-z, 0-9, _, . and -");
    }
    let note = f.text("note", MAX_NOTE).unwrap_or_default();
    let source = f.text("source", MAX_SOURCE);
    // What the recorder notes by itself must be its own.
    if source.as_deref() == Some(OWN) {
        f.mistake("source", "must not be `vedette`");
    }
    let camera = match &slug {
        Some(slug) => api.store.camera_by_slug(slug).await?,
        None => None,
    };
    if camera.is_none() {
        f.mistake("camera", "must be the slug of a camera");
    }
    f.finish();
    caller.may(Action::MarkEvents, slug.as_ref())?;
    mistakes.check()?;
    let camera = camera.ok_or(ApiError::Internal(None))?;
    let mark = Mark {
        id: EventId::generate(&api.clock),
        camera: camera.id,
        start,
        end,
        kind: kind.unwrap_or_default(),
        note,
        source: source.unwrap_or_else(|| caller.principal.name.clone()),
    };
    api.store.insert_mark(mark.clone()).await?;
    api.control.event(mark.camera, &mark.kind, mark.start, mark.end);
    Ok((StatusCode::CREATED, Json(EventView::of_mark(slug, mark))))
}

impl EventView {
    fn of_mark(camera: Option<Slug>, mark: Mark) -> Self {
        Self {
            id: mark.id.to_string(),
            camera,
            start: mark.start.to_string(),
            end: mark.end.map(|t| t.to_string()),
            kind: mark.kind,
            note: mark.note,
            source: mark.source,
        }
    }

    fn of_event(camera: Option<Slug>, event: Event) -> Self {
        Self {
            id: event.id.to_string(),
            camera,
            start: event.at.to_string(),
            end: None,
            kind: event.kind.to_string(),
            note: event.detail,
            source: OWN.to_owned(),
        }
    }
}
