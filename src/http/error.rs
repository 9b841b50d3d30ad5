//! What a request may fail with, and how that is said: RFC 9457 `application/problem+json`.
//!
//! `Display` is for the client: what to do differently, and nothing about our insides. The cause
//! of an internal error is logged here, once, and is not sent.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{
    access::Denied,
    id::{Role, Slug},
    store::StoreError,
};

use super::locks::LockView;

pub(super) use crate::task::chain;

/// The media type of every error answer.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// Asks a browser for the login, and tells everybody else that bearer tokens work too.
const CHALLENGE: &str = "Basic realm=\"vedette\", charset=\"UTF-8\"";

/// Shorthand.
pub(super) type Result<T, E = ApiError> = std::result::Result<T, E>;

/// An answer that is an error (RFC 9457).
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Problem {
    /// `about:blank`, or a name for this kind of problem: `urn:vedette:problem:…`.
    #[serde(rename = "type")]
    #[schema(example = "urn:vedette:problem:invalid")]
    kind: &'static str,
    /// The kind in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong this time.
    detail: String,
    /// The fields at fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    /// The locks in the way, at most 20 of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    locks: Vec<LockView>,
}

/// A field at fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(super) struct FieldError {
    /// Its name, as a path: `streams[0].url`.
    pub(super) field: String,
    /// What is wrong with it.
    pub(super) message: String,
}

/// What is wrong with a request's fields, collected so that all of it can be said at once.
#[derive(Debug, Default)]
pub(super) struct Mistakes(Vec<FieldError>);

impl Mistakes {
    pub(super) fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(FieldError { field: field.into(), message: message.into() });
    }

    /// What is wrong with `from` is reported as the name it was sent by.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        for mistake in self.0.iter_mut().filter(|m| m.field == from) {
            to.clone_into(&mut mistake.field);
        }
    }

    /// Ends the collecting.
    pub(super) fn check(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(ApiError::Invalid(self.0)) }
    }
}

/// What a handler may fail with.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("no camera is called `{0}`")]
    UnknownCamera(String),
    #[error("the camera has no {0} stream")]
    UnknownStream(Role),
    #[error("there is no such token")]
    UnknownToken,
    #[error("the camera has no such lock")]
    UnknownLock,
    #[error("no volume is called `{0}`")]
    UnknownVolume(String),
    #[error("this volume's disk cannot be replaced: {0}")]
    NotAccepted(String),
    #[error("there are as many locks as there can be: take some away first")]
    TooManyLocks,
    #[error(
        "footage of this camera is locked, and nothing was deleted: take the locks away first, or \
         delete the camera with `footage=keep`"
    )]
    Locked(Vec<LockView>),
    #[error("there is nothing at this address")]
    UnknownPath,
    #[error("this address does not know that method; see the Allow header")]
    MethodNotAllowed,
    #[error("a camera called `{0}` exists")]
    SlugTaken(Slug),
    #[error("these fields cannot be accepted")]
    Invalid(Vec<FieldError>),
    #[error("the body is no JSON: {0}")]
    NotJson(String),
    #[error("the body must be one JSON object")]
    NotAnObject,
    #[error("send the body as {0}")]
    MediaType(&'static str),
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the body did not arrive whole")]
    BodyBroken,
    #[error("log in: HTTP Basic with your login, or a bearer token")]
    Unauthenticated,
    #[error("name or password, or the token, is wrong")]
    BadCredentials,
    #[error("too many failed logins from your address; wait")]
    TooManyAttempts { retry_after: u64 },
    #[error("your role does not allow this")]
    Forbidden,
    #[error("refused: this request was sent by a page of another site")]
    CrossSite,
    #[error(
        "refused: with auth.mode = \"none\" only `localhost` or a loopback address is answered, so \
         that no other site's page gets in by a name of its own; a proxy must send it as the Host"
    )]
    ForeignHost,
    #[error("this is a WebSocket: open it with Upgrade: websocket and Sec-WebSocket-Version: 13")]
    NotWebSocket,
    #[error("offer {0} in Sec-WebSocket-Protocol: nothing else is spoken here")]
    Subprotocol(&'static str),
    #[error("the recorder is stopping or overloaded; try again")]
    Unavailable(#[source] Option<StoreError>),
    #[error("not ready: {0}")]
    NotReady(String),
    #[error("the answer took too long")]
    TimedOut,
    #[error("something went wrong inside the recorder; its log says more")]
    Internal(#[source] Option<Box<dyn std::error::Error + Send + Sync>>),
}

impl ApiError {
    fn facts(&self) -> (StatusCode, &'static str, &'static str) {
        // No `_` arm: whoever adds a variant decides here.
        match self {
            Self::UnknownCamera(_)
            | Self::UnknownStream(_)
            | Self::UnknownToken
            | Self::UnknownLock
            | Self::UnknownVolume(_)
            | Self::UnknownPath => {
                (StatusCode::NOT_FOUND, "urn:vedette:problem:not-found", "Not found")
            }
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "about:blank", "Method not allowed")
            }
            Self::Locked(_) => {
                (StatusCode::CONFLICT, "urn:vedette:problem:locked", "Footage is locked")
            }
            Self::SlugTaken(_) | Self::TooManyLocks | Self::NotAccepted(_) => {
                (StatusCode::CONFLICT, "urn:vedette:problem:conflict", "Conflict")
            }
            Self::Invalid(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "urn:vedette:problem:invalid", "Invalid fields")
            }
            Self::NotJson(_) | Self::NotAnObject | Self::BodyBroken => {
                (StatusCode::BAD_REQUEST, "urn:vedette:problem:malformed", "Malformed body")
            }
            Self::NotWebSocket => {
                (StatusCode::UPGRADE_REQUIRED, "about:blank", "WebSocket required")
            }
            Self::Subprotocol(_) => {
                (StatusCode::BAD_REQUEST, "urn:vedette:problem:subprotocol", "Wrong subprotocol")
            }
            Self::MediaType(_) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "about:blank", "Unsupported media type")
            }
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "about:blank", "Body too large"),
            Self::Unauthenticated | Self::BadCredentials => {
                (StatusCode::UNAUTHORIZED, "urn:vedette:problem:unauthenticated", "Not logged in")
            }
            Self::TooManyAttempts { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "urn:vedette:problem:too-many-attempts",
                "Too many attempts",
            ),
            Self::Forbidden => {
                (StatusCode::FORBIDDEN, "urn:vedette:problem:forbidden", "Forbidden")
            }
            Self::CrossSite | Self::ForeignHost => {
                (StatusCode::FORBIDDEN, "urn:vedette:problem:cross-site", "Cross-site request")
            }
            Self::Unavailable(_) | Self::NotReady(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "urn:vedette:problem:unavailable", "Unavailable")
            }
            Self::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "about:blank", "Timed out"),
            Self::Internal(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "urn:vedette:problem:internal",
                "Internal error",
            ),
        }
    }

    /// For failures that can only be our own fault.
    pub(super) fn internal(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Internal(Some(Box::new(source)))
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Closed => Self::Unavailable(Some(error)),
            error if error.is_transient() => {
                tracing::warn!(error = %chain(&error), "the index does not answer");
                Self::Unavailable(Some(error))
            }
            other => Self::internal(other),
        }
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::BadCredentials => Self::BadCredentials,
            Denied::TooManyAttempts { retry_after } => {
                Self::TooManyAttempts { retry_after: retry_after.as_secs().max(1) }
            }
            Denied::Forbidden => Self::Forbidden,
            // Unavailable, and whatever is added later: not the client's fault.
            _ => Self::Unavailable(None),
        }
    }
}

/// Marks answers that are problems already, for [`super::layers`]' catch-all.
#[derive(Clone, Copy, Debug)]
pub(super) struct IsProblem;

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, kind, title) = self.facts();
        if let Self::Internal(Some(source)) = &self {
            tracing::error!(error = %chain(source.as_ref()), "request failed");
        }
        let detail = self.to_string();
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match &self {
            Self::Unauthenticated | Self::BadCredentials => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
            }
            Self::TooManyAttempts { retry_after } => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(*retry_after));
            }
            Self::NotWebSocket => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            }
            Self::Unavailable(_) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
            }
            _ => {}
        }
        let (errors, locks) = match self {
            Self::Invalid(errors) => (errors, Vec::new()),
            Self::Locked(locks) => (Vec::new(), locks),
            _ => (Vec::new(), Vec::new()),
        };
        let problem = Problem { kind, title, status: status.as_u16(), detail, errors, locks };
        // Serialising strings and a number cannot fail; an empty body would still have its status.
        *response.body_mut() = Body::from(serde_json::to_vec(&problem).unwrap_or_default());
        response.extensions_mut().insert(IsProblem);
        response
    }
}
