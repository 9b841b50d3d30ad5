//! The page, built from `web/` into `web/dist` and embedded in the binary (a debug build reads the
//! folder at run time). Behind the login like everything else, so that a browser asks for it.

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use rust_embed::RustEmbed;

use super::error::ApiError;

#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Page;

/// Shown where the page was not built.
const STUB: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Vedette</title>\
<h1>Vedette</h1><p>This binary was built without its page: run <code>npm ci &amp;&amp; npm run build</code> in \
<code>web/</code>, then build again.<p>The API is there: <a href=\"api/docs/\">its description</a>.";

/// Serves the file of that path.
pub(super) async fn serve(uri: Uri, request: HeaderMap) -> Response {
    let path = match uri.path().trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    let Some(file) = Page::get(path) else {
        return if path == "index.html" {
            let kind = HeaderValue::from_static("text/html; charset=utf-8");
            ([(header::CONTENT_TYPE, kind)], STUB).into_response()
        } else {
            ApiError::UnknownPath.into_response()
        };
    };
    let hash = file.metadata.sha256_hash();
    let tag: String = hash.iter().take(16).map(|b| format!("{b:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let mut headers = HeaderMap::new();
    // Names under assets/ hold a hash of their content.
    let fresh = if path.starts_with("assets/") {
        HeaderValue::from_static("private, max-age=31536000, immutable")
    } else {
        HeaderValue::from_static("no-cache")
    };
    headers.insert(header::CACHE_CONTROL, fresh);
    if let Ok(value) = HeaderValue::try_from(&tag) {
        headers.insert(header::ETAG, value);
    }
    if request.get(header::IF_NONE_MATCH).is_some_and(|sent| sent.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let kind = match file.metadata.mimetype() {
        text if text.starts_with("text/") => format!("{text}; charset=utf-8"),
        other => other.to_owned(),
    };
    if let Ok(kind) = HeaderValue::try_from(kind) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    (headers, file.data.into_owned()).into_response()
}
