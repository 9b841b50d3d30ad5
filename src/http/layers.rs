//! What every request passes, from the outside in: security headers, counting and a span, a
//! deadline, panics caught; and at the end every error made a problem, whoever made it.

use std::{any::Any, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tokio::time::Instant;
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer};
use tracing::Instrument;

use super::{
    Api,
    auth::peer,
    docs,
    error::{ApiError, IsProblem},
    extract::MAX_BODY,
};

/// Longest time to an answer. The slowest one, a probe, sees to itself after 20 s.
const DEADLINE: Duration = Duration::from_secs(30);

/// Of the page: nothing inline, nothing from elsewhere.
const CSP: &str = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Wraps the whole router.
pub(super) fn wrap(router: Router, api: Api) -> Router {
    router
        .layer(CatchPanicLayer::custom(panicked))
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, DEADLINE))
        .layer(middleware::map_response(problems_only))
        .layer(middleware::from_fn(security_headers))
        .layer(middleware::from_fn_with_state(api, observe))
}

/// The panic itself is in the log by the panic hook.
fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::Internal(None).into_response()
}

/// Errors that the framework made (404, 405, 413, time-out …) become problems too.
async fn problems_only(response: Response) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error())
        || response.extensions().get::<IsProblem>().is_some()
    {
        return response;
    }
    let error = match status {
        StatusCode::METHOD_NOT_ALLOWED => ApiError::MethodNotAllowed,
        StatusCode::GATEWAY_TIMEOUT => ApiError::TimedOut,
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::TooLarge(MAX_BODY),
        StatusCode::BAD_REQUEST => ApiError::BodyBroken,
        status if status.is_server_error() => ApiError::Internal(None),
        _ => ApiError::UnknownPath,
    };
    let mut problem = error.into_response();
    if let Some(allow) = response.headers().get(header::ALLOW) {
        problem.headers_mut().insert(header::ALLOW, allow.clone());
    }
    problem
}

async fn security_headers(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let docs = path.contains("/api/docs");
    let api = path.contains("/api/v1/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, if docs { docs::CSP } else { CSP }),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if api {
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
    response
}

/// A span, a line in the log and a count for each request. The query is left out: it is long and
/// says nothing that the log needs.
async fn observe(State(api): State<Api>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let path: String = request.uri().path().chars().take(200).collect();
    let span = tracing::info_span!("http", %method, path, peer = %peer(request.extensions()));
    let response = next.run(request).instrument(span.clone()).await;
    let took = started.elapsed();
    let status = response.status().as_u16();
    api.metrics.answered(method.as_str(), status, took);
    let _entered = span.entered();
    tracing::debug!(status, duration_ms = took.as_millis() as u64, "answered");
    response
}
