//! What was recorded: the timeline and the segment files behind it.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::Caller,
    camera_view::RoleName,
    cursor::Cursor,
    error::{Problem, Result},
    extract::{CameraSlug, Params},
};
use crate::{
    access::Action,
    id::{Role, SegmentId},
    model::Segment,
    playback,
    proto::time::{WallSpan, WallTime},
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
    /// Give it as `cursor` for what comes after; null when all of the range is here.
    next_cursor: Option<String>,
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
        ("stream" = Option<RoleName>, Query, description = "`main` unless told"),
        ("limit" = Option<u32>, Query, description = "100 to 10000 runs, and as many gaps; 5000 unless told"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before; give the same `start` and `end`")),
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
    let now = api.clock.now();
    let mut range = params.range(now);
    let role = stream(&mut params);
    let limit = params.number("limit", 100..=10_000, 5_000);
    if let Some(cursor) = params.cursor() {
        range.start = cursor.at.clamp(range.start, range.end);
    }
    params.finish()?;
    let id = api.stream(&slug, role).await?;
    let runs = api.store.runs_overlapping(id, range.clone(), limit + 1).await?;
    let gaps = api.store.gaps_overlapping(id, range.clone(), limit + 1).await?;
    let cut = cut(limit, runs.iter().map(|r| r.start), gaps.iter().map(|g| g.start));
    // Far fewer than a page reach into a range from before it, so that each page leads on.
    let cut = cut.map(|at| at.max(range.start + WallSpan::from_micros(1)));
    if let Some(at) = cut {
        range.end = range.end.min(at);
    }
    let timeline = playback::Timeline::new(&runs, &gaps, &range, now);
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
        next_cursor: cut.map(|at| Cursor { at, id: 0 }.to_string()),
    }))
}

/// Where a page has to end because not all rows of its range were read; both lists by start.
fn cut(
    limit: u32,
    runs: impl ExactSizeIterator<Item = WallTime>,
    gaps: impl ExactSizeIterator<Item = WallTime>,
) -> Option<WallTime> {
    let limit = limit as usize;
    let over = |starts: usize, last: Option<WallTime>| last.filter(|_| starts > limit);
    let (runs, gaps) = (over(runs.len(), runs.last()), over(gaps.len(), gaps.last()));
    runs.into_iter().chain(gaps).min()
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
    let after = params.cursor();
    params.finish()?;
    let id = api.stream(&slug, role).await?;
    let after = after.map(|c| (c.at, SegmentId(c.id)));
    let found = api.store.segments_overlapping(id, range, after, limit + 1).await?;
    let (found, next_cursor) =
        Cursor::page(found, limit, |s: &Segment| Cursor { at: s.opened.start, id: s.opened.id.0 });
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
