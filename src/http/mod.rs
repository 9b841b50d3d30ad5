//! The HTTP API, the page, health and metrics.
//!
//! ```text
//! serve ─▶ layers (span, headers, deadline, problems) ─┬▶ /healthz /readyz /metrics
//!                                                      ├▶ /rtsp (WebSocket) ─▶ rtsp_server::Door
//!                                                      └▶ require_login ─▶ /api/v1/… | docs | page
//! ```
//!
//! # Invariants
//!
//! * Whatever is not health, metrics or RTSP is behind `auth::require_login`, which also refuses changes
//!   sent by other sites' pages; each handler asks `auth::Caller::may` once.
//! * RTSP over WebSocket logs in as RTSP does (`socket`).
//! * Every error is a problem (RFC 9457), whoever made it.
//! * No answer holds a password. [`Secret`] has no way into JSON.
//! * A change is carried through once begun, also when the client is gone.
//! * What runs is reached through [`CameraControl`] and [`StorageControl`] alone: this module starts and stops nothing.

mod address;
mod audit;
mod auth;
mod camera_body;
mod camera_tls;
mod camera_view;
mod camera_when;
mod cameras;
mod control;
mod cursor;
mod docs;
mod error;
mod events;
mod extract;
mod footage;
mod health;
mod layers;
mod locks;
mod probe;
mod serve;
mod socket;
mod status;
mod storage;
#[cfg(test)]
mod tests;
mod tokens;
mod ui;
mod vlc;

use std::{future::Future, ops::Deref, sync::Arc};

use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, Method, Uri},
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use tokio::sync::{Mutex, Semaphore};
use tokio_util::task::TaskTracker;
use tower::ServiceBuilder;
use tracing::Instrument;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    access::Access,
    clock::Clock,
    disk::Volumes,
    id::{Role, Slug, StreamId},
    metrics::{Metrics, Source},
    model::{Camera, Secret},
    playback::Archive,
    proto::time::WallTime,
    rtsp_server::Door,
    store::Store,
};

use error::{ApiError, Result};

pub use control::{
    CameraControl, Completeness, HoldReport, LimitName, LimitReport, NotAccepted, ObstacleName,
    PlanReport, PlannedDeletion, StorageControl, StreamFootage, StreamState, Trouble, VolumeReport,
    WantedName,
};
pub use serve::serve;
#[cfg(test)]
pub(crate) use socket::router as socket_router;

/// What cannot change while it runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Prefix behind a reverse proxy: empty, or begins with `/` and does not end with one.
    pub base_path: String,
    /// Where the RTSP server listens.
    pub rtsp_port: u16,
    /// The volumes cameras can be pinned to.
    pub volumes: Vec<String>,
    /// Who shows it may scrape metrics, and nothing else.
    pub metrics_token: Option<Secret>,
    /// Ours.
    pub version: &'static str,
}

/// What the API works with.
pub struct Parts {
    /// Settings.
    pub settings: Settings,
    /// The index.
    pub store: Store,
    /// Who may do what.
    pub access: Access,
    /// Takes RTSP that comes over WebSocket; without it there is no such route.
    pub rtsp: Option<Door>,
    /// Recorded footage.
    pub archive: Archive,
    /// Its files.
    pub volumes: Arc<Volumes>,
    /// The running cameras.
    pub control: Arc<dyn CameraControl>,
    /// Volumes, retention, the clock.
    pub storage: Arc<dyn StorageControl>,
    /// Counts requests.
    pub metrics: Arc<Metrics>,
    /// What else there is to scrape.
    pub source: Arc<dyn Source>,
    /// Wall clock.
    pub clock: Clock,
    /// Where changes run that a client waits for no more; awaited at the stop.
    pub tasks: TaskTracker,
}

/// The state of every handler. Cheap to clone.
#[derive(Clone)]
struct Api(Arc<Inner>);

struct Inner {
    parts: Parts,
    started: WallTime,
    /// Changes of cameras come one after another.
    changes: Mutex<()>,
    probes: Semaphore,
}

impl Deref for Inner {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl Deref for Api {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Api {
    async fn camera(&self, slug: &Slug) -> Result<Camera> {
        let found = self.store.camera_by_slug(slug).await?;
        found.ok_or_else(|| ApiError::UnknownCamera(slug.to_string()))
    }

    async fn stream(&self, slug: &Slug, role: Role) -> Result<StreamId> {
        let camera = self.camera(slug).await?;
        let stream = camera.streams.iter().find(|s| s.role == role);
        stream.map(|s| s.id).ok_or(ApiError::UnknownStream(role))
    }

    /// Runs `work` to its end, whether or not the client waits for it.
    async fn carry_out<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        match self.tasks.spawn(work.in_current_span()).await {
            Ok(outcome) => outcome,
            Err(panicked) => Err(ApiError::internal(panicked)),
        }
    }
}

/// The whole HTTP side.
pub fn router(parts: Parts) -> Router {
    let base = parts.settings.base_path.clone();
    let started = parts.clock.now();
    let probes = Semaphore::new(probe::MAX_PROBES);
    let api = Api(Arc::new(Inner { parts, started, changes: Mutex::new(()), probes }));
    let (resources, description) = resources().split_for_parts();
    let inside = resources
        .merge(docs::router(description, &base))
        .route("/", get(ui::serve))
        .fallback(inside_fallback)
        .method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed })
        .layer(middleware::from_fn_with_state(api.clone(), auth::require_login));
    let mut all = Router::new().merge(health::router());
    if let Some(door) = &api.rtsp {
        all = all.merge(socket::router(door.clone(), api.access.clone()));
    }
    let all = all.fallback_service(inside.with_state(api.clone())).with_state(api.clone());
    let all = if base.is_empty() { all } else { under(&base, all) };
    layers::wrap(all, api)
}

/// Takes the prefix off before anything is matched, so that no route need know of it.
fn under(base: &str, router: Router) -> Router {
    let prefix: Arc<str> = base.into();
    let stripped = middleware::from_fn(move |mut request: Request, next: Next| {
        let prefix = Arc::clone(&prefix);
        async move {
            let whole = request.uri().path_and_query().map_or("", |p| p.as_str());
            let inside = match whole.strip_prefix(&*prefix) {
                Some(rest) if rest.is_empty() || rest.starts_with('?') => {
                    return Redirect::permanent(&format!("{prefix}/{rest}")).into_response();
                }
                Some(rest) if rest.starts_with('/') => rest.parse::<Uri>().ok(),
                _ => None,
            };
            let Some(uri) = inside else { return ApiError::UnknownPath.into_response() };
            *request.uri_mut() = uri;
            next.run(request).await
        }
    });
    Router::new().fallback_service(ServiceBuilder::new().layer(stripped).service(router))
}

/// `/api/v1`, with its description.
fn resources() -> OpenApiRouter<Api> {
    let v1 = OpenApiRouter::new()
        .merge(probe::router())
        .merge(cameras::router())
        .merge(status::router())
        .merge(footage::router())
        .merge(locks::router())
        .merge(events::router())
        .merge(storage::router())
        .merge(audit::router())
        .merge(vlc::router())
        .merge(tokens::router());
    OpenApiRouter::with_openapi(docs::Description::openapi()).nest("/api/v1", v1)
}

/// The page's other files; under `/api` nothing is a file.
async fn inside_fallback(uri: Uri, headers: HeaderMap, method: Method) -> Response {
    if uri.path().starts_with("/api/") || !matches!(method, Method::GET | Method::HEAD) {
        return ApiError::UnknownPath.into_response();
    }
    ui::serve(uri, headers).await
}
