//! For machines: `/healthz` (the process answers), `/readyz` (it records as configured) and
//! `/metrics`. Neither of the first two asks for a login, so neither names a camera.
//!
//! "As configured" is about this recorder, not about the cameras: one that is switched off at the
//! wall must not get the recorder restarted. Cameras show in the status and the metrics.

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};
use subtle::ConstantTimeEq;

use super::{
    Api,
    auth::{bearer, peer},
    error::{ApiError, Result},
};

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
}

async fn healthz() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "status": "alive" }))
}

async fn readyz(State(api): State<Api>) -> Result<Json<serde_json::Value>> {
    let mut problems = api.control.problems();
    if api.store.ping().await.is_err() {
        problems.push("the index does not answer".to_owned());
    }
    if problems.is_empty() {
        Ok(Json(serde_json::json!({ "status": "ready" })))
    } else {
        Err(ApiError::NotReady(problems.join("; ")))
    }
}

async fn metrics(State(api): State<Api>, request: Request) -> Result<Response> {
    if !may_scrape(&api, &request) {
        let mut refused = ApiError::Unauthenticated.into_response();
        refused
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"vedette\""));
        return Ok(refused);
    }
    let text = api.metrics.render(api.source.as_ref()).await.map_err(ApiError::internal)?;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// Loopback may; so may who shows the metrics token. A proxy on this machine makes everybody look
/// like loopback, but says so.
fn may_scrape(api: &Api, request: &Request) -> bool {
    let forwarded = ["forwarded", "x-forwarded-for", "x-real-ip"]
        .iter()
        .any(|name| request.headers().contains_key(*name));
    if peer(request.extensions()).is_loopback() && !forwarded {
        return true;
    }
    match (&api.settings.metrics_token, bearer(request.headers())) {
        (Some(token), Some(shown)) => {
            token.expose().as_bytes().ct_eq(shown.expose().as_bytes()).into()
        }
        _ => false,
    }
}
