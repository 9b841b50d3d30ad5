//! For machines: `/healthz` (the process answers), `/readyz` (it records as configured) and
//! `/metrics`. Neither of the first two asks for a login, so neither names a camera.
//!
//! "As configured" is about this recorder, not about the cameras: one that is switched off at the
//! wall must not get the recorder restarted. Cameras show in the status and the metrics. A warning (deletion by
//! age is held, a limit cannot be met) does not make it unready: everything is recorded.

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
    routing::get,
};
use subtle::ConstantTimeEq;

use super::{
    Api,
    auth::{Credentials, credentials, log_in, peer},
    error::{ApiError, Result},
};
use crate::{
    access::{self, Access, Action},
    store::Trouble,
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
    let mut problems = problems(&api);
    if let Err(error) = api.store.ping().await {
        let why = error.trouble().map_or("it does not answer", in_words);
        problems.push(format!("the index cannot be written: {why}"));
    }
    if problems.is_empty() {
        Ok(Json(serde_json::json!({ "status": "ready", "warnings": api.storage.warnings() })))
    } else {
        Err(ApiError::NotReady(problems.join("; ")))
    }
}

fn in_words(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Full => "its disk is full",
        Trouble::Busy => "another process holds it locked",
        Trouble::ReadOnly => "it is read-only",
        Trouble::Io => "its disk fails",
        Trouble::Damaged => "it is damaged",
    }
}

/// What keeps the recorder from recording as configured.
pub(super) fn problems(api: &Api) -> Vec<String> {
    let mut problems = api.control.problems();
    problems.extend(api.storage.problems());
    problems
}

async fn metrics(State(api): State<Api>, request: Request) -> Result<Response> {
    let (parts, _) = request.into_parts();
    may_scrape(&api, &parts).await?;
    let text = api.metrics.render(api.source.as_ref()).await.map_err(ApiError::internal)?;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// Loopback may; so may who shows the metrics token, and who may read metrics by their login. A
/// proxy on this machine makes everybody look like loopback, but says so.
async fn may_scrape(api: &Api, parts: &Parts) -> Result<()> {
    let forwarded = ["forwarded", "x-forwarded-for", "x-real-ip"]
        .iter()
        .any(|name| parts.headers.contains_key(*name));
    let from = peer(&parts.extensions);
    if from.is_loopback() && !forwarded {
        return Ok(());
    }
    let shown = credentials(&parts.headers)?;
    if let Credentials::Bearer(token) = &shown {
        let wanted = api.settings.metrics_token.as_ref();
        if wanted.is_some_and(|w| w.expose().as_bytes().ct_eq(token.expose().as_bytes()).into()) {
            return Ok(());
        }
        // A scraper with an old token comes again and again: as failed logins these would lock out
        // everybody else at its address.
        if !Access::is_token(token.expose()) {
            return Err(ApiError::BadCredentials);
        }
    }
    let principal = log_in(api, shown, from).await?;
    Ok(access::decide(&principal, Action::ReadMetrics, None)?)
}
