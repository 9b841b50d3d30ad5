//! The API's own description, generated from the handlers, and a page to read it with. The page is
//! Swagger UI from inside the binary: no CDN, so it works on an isolated network.

use axum::{
    Json, Router,
    extract::Path,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use std::sync::Arc;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_swagger_ui::Config;

use super::{
    Api,
    error::{ApiError, PROBLEM_JSON, Problem},
};

/// Where the description stands.
pub(super) const OPENAPI: &str = "/api/v1/openapi.json";

/// Swagger UI sets styles from script.
pub(super) const CSP: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// What stands above the handlers.
#[derive(OpenApi)]
#[openapi(
    info(title = "Vedette", description = "A network video recorder. Times are RFC 3339 UTC; errors are RFC 9457 problems; \
        everything wants HTTP Basic or a bearer token."),
    components(schemas(Problem)),
    modifiers(&Schemes),
    security(("basic" = []), ("bearer" = [])),
    tags((name = "cameras"), (name = "footage"), (name = "storage"), (name = "access"))
)]
pub(super) struct Description;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, api: &mut openapi::OpenApi) {
        let components = api.components.get_or_insert_default();
        for (name, scheme) in [("basic", HttpAuthScheme::Basic), ("bearer", HttpAuthScheme::Bearer)]
        {
            let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(scheme).build());
            components.add_security_scheme(name, scheme);
        }
    }
}

/// `base` is the prefix behind a reverse proxy.
pub(super) fn router(mut description: openapi::OpenApi, base: &str) -> Router<Api> {
    if !base.is_empty() {
        description.servers = Some(vec![openapi::Server::new(base)]);
    }
    let document = Arc::new(with_problems(description));
    let config =
        Arc::new(Config::new([format!("{base}{OPENAPI}")]).use_base_layout().validator_url("none"));
    let slashed = format!("{base}/api/docs/");
    let index = Arc::clone(&config);
    Router::new()
        .route(OPENAPI, get(move || async move { Json(document) }))
        .route("/api/docs", get(move || async move { Redirect::permanent(&slashed) }))
        .route("/api/docs/", get(move || async move { file("", index) }))
        .route(
            "/api/docs/{*file}",
            get(move |Path(path): Path<String>| async move { file(&path, config) }),
        )
}

/// Every operation can also be refused for a reason that is not its own: no login, a body that is
/// too large, a recorder that is stopping.
fn with_problems(mut description: openapi::OpenApi) -> openapi::OpenApi {
    let schema = openapi::Ref::from_schema_name("Problem");
    let content = openapi::ContentBuilder::new().schema(Some(schema)).build();
    let problem = openapi::ResponseBuilder::new()
        .description("Anything else that is wrong: no login (401), not allowed (403), too many failed logins (429) …")
        .content(PROBLEM_JSON, content)
        .build();
    for item in description.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let responses = &mut operation.responses.responses;
            responses.insert("default".to_owned(), problem.clone().into());
        }
    }
    description
}

fn file(path: &str, config: Arc<Config<'static>>) -> Response {
    match utoipa_swagger_ui::serve(path, config) {
        Ok(Some(file)) => {
            let Ok(kind) = HeaderValue::try_from(&file.content_type) else {
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            };
            let mut response =
                ([(header::CONTENT_TYPE, kind)], file.bytes.into_owned()).into_response();
            if file.gzpipped {
                response
                    .headers_mut()
                    .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            response
        }
        Ok(None) => ApiError::UnknownPath.into_response(),
        Err(_) => ApiError::Internal(None).into_response(),
    }
}
