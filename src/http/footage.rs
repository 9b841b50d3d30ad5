//! What was recorded: the timeline and the segment files behind it.

use axum::{Json, extract::State};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::Caller,
    camera_view::RoleName,
    error::{ApiError, Problem, Result},
    extract::{CameraSlug, Params},
};
use crate::{
    access::Action,
    id::{Role, SegmentId},
    model::Segment,
    proto::time::WallTime,
};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(timeline)).routes(routes!(segments))
}

/// Where there is footage and where not.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Timeline {
    /// Oldest first, clipped to the range asked for.
    runs: Vec<Span>,
    /// Oldest first, clipped to the range asked for.
    gaps: Vec<GapSpan>,
}

/// Footage without a gap.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Run)]
struct Span {
    #[schema(value_type = String, format = DateTime)]
    start: String,
    /// Null while it is being recorded.
    #[schema(value_type = Option<String>, format = DateTime)]
    end: Option<String>,
}

/// Missing footage.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Gap)]
struct GapSpan {
    #[schema(value_type = String, format = DateTime)]
    start: String,
    /// Null while it lasts.
    #[schema(value_type = Option<String>, format = DateTime)]
    end: Option<String>,
    /// Why: `disconnected`, `vedette_down`, ….
    reason: &'static str,
}

/// A page of segments.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct SegmentList {
    items: Vec<SegmentView>,
    /// Give it as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

/// A segment file.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Segment)]
struct SegmentView {
    stream: RoleName,
    #[schema(value_type = String, format = DateTime)]
    start: String,
    /// For an open one: as far as it can be read now.
    #[schema(value_type = String, format = DateTime)]
    end: String,
    bytes: u64,
    /// Relative to its volume.
    path: String,
    /// Its volume.
    volume: String,
    /// `open` while it is being written.
    state: &'static str,
    /// RFC 6381 names, joined by commas.
    codecs: String,
}

/// Runs and gaps of a range: the last 24 hours unless told.
#[utoipa::path(get, path = "/cameras/{slug}/timeline", tag = "footage", operation_id = "timeline",
    params(("slug" = String, Path),
        ("start" = Option<String>, Query, description = "RFC 3339"),
        ("end" = Option<String>, Query, description = "RFC 3339"),
        ("stream" = Option<RoleName>, Query, description = "`main` unless told")),
    responses((status = 200, body = Timeline),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json")))]
async fn timeline(
    State(api): State<Api>,
    caller: Caller,
    CameraSlug(slug): CameraSlug,
    mut params: Params,
) -> Result<Json<Timeline>> {
    caller.may(Action::ViewRecorded, Some(&slug))?;
    let range = params.range(api.clock.now());
    let role = stream(&mut params);
    params.finish()?;
    let id = api.stream(&slug, role).await?;
    let timeline = api.archive.timeline(id, range).await.map_err(ApiError::internal)?;
    let end = |end: Option<WallTime>| end.map(|e| e.to_string());
    Ok(Json(Timeline {
        runs: timeline
            .runs
            .iter()
            .map(|r| Span { start: r.start.to_string(), end: end(r.end) })
            .collect(),
        gaps: timeline
            .gaps
            .iter()
            .map(|g| GapSpan {
                start: g.start.to_string(),
                end: end(g.end),
                reason: g.reason.as_str(),
            })
            .collect(),
    }))
}

/// Segment files that hold footage of a range: the last 24 hours unless told.
#[utoipa::path(get, path = "/cameras/{slug}/segments", tag = "footage", operation_id = "segments",
    params(("slug" = String, Path),
        ("start" = Option<String>, Query, description = "RFC 3339"),
        ("end" = Option<String>, Query, description = "RFC 3339"),
        ("stream" = Option<RoleName>, Query, description = "`main` unless told"),
        ("limit" = Option<u32>, Query, description = "1 to 1000; 100 unless told"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before; give the same `start` and `end`")),
    responses((status = 200, body = SegmentList),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json")))]
async fn segments(
    State(api): State<Api>,
    caller: Caller,
    CameraSlug(slug): CameraSlug,
    mut params: Params,
) -> Result<Json<SegmentList>> {
    caller.may(Action::ViewRecorded, Some(&slug))?;
    let range = params.range(api.clock.now());
    let role = stream(&mut params);
    let limit = params.limit();
    let after: Option<Cursor> = params.parse("cursor", "what an answer gave as `next_cursor`");
    params.finish()?;
    let id = api.stream(&slug, role).await?;
    let after = after.map(|c| (c.start, c.id));
    let mut found = api.store.segments_overlapping(id, range, after, limit + 1).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next_cursor = found
        .last()
        .filter(|_| more)
        .map(|s| Cursor { start: s.opened.start, id: s.opened.id }.to_string());
    let items = found.into_iter().map(|s| SegmentView::new(&api, role, s)).collect();
    Ok(Json(SegmentList { items, next_cursor }))
}

fn stream(params: &mut Params) -> Role {
    params.parse("stream", "main or sub").unwrap_or(Role::Main)
}

impl SegmentView {
    fn new(api: &Api, role: Role, segment: Segment) -> Self {
        let opened = segment.opened;
        // An open segment's row is as old as its opening; what it holds by now stands in memory.
        let live = if segment.closed { None } else { api.volumes.open_segments().get(opened.id) };
        let progress = live.map(|open| open.progress());
        Self {
            stream: role.into(),
            start: opened.start.to_string(),
            end: progress.as_ref().map_or(segment.end, |p| p.end.max(segment.end)).to_string(),
            bytes: progress.as_ref().map_or(segment.bytes, |p| p.bytes),
            path: opened.path,
            volume: opened.volume,
            state: if segment.closed { "closed" } else { "open" },
            codecs: opened.codecs,
        }
    }
}

/// Where a page ended. Opaque to clients, so that it can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    start: WallTime,
    id: SegmentId,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = [0; 16];
        let (start, id) = bytes.split_at_mut(8);
        start.copy_from_slice(&self.start.as_micros().to_be_bytes());
        id.copy_from_slice(&self.id.0.to_be_bytes());
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl std::str::FromStr for Cursor {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        let bytes: [u8; 16] =
            BASE64_URL_SAFE_NO_PAD.decode(s).ok().and_then(|b| b.try_into().ok()).ok_or(())?;
        let (start, id) = bytes.split_at(8);
        let number = |b: &[u8]| b.try_into().map(i64::from_be_bytes).map_err(|_| ());
        Ok(Self { start: WallTime::from_micros(number(start)?), id: SegmentId(number(id)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_is_read_back_and_garbage_is_refused(start: i64, id: i64, junk in ".{0,30}") {
            let cursor = Cursor { start: WallTime::from_micros(start), id: SegmentId(id) };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
            if let Ok(read) = junk.parse::<Cursor>() {
                prop_assert_eq!(read.to_string(), junk);
            }
        }
    }
}
