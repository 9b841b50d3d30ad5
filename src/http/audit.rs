//! `/audit`: who changed what, when and from where.
//!
//! An entry is written after its change, in the same work that a client's hanging up does not stop.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::Caller,
    cursor::Cursor,
    error::{Problem, Result},
    extract::Params,
};
use crate::{access::Action, id::AuditId, model::Audit};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list))
}

/// What is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuditAction {
    CameraCreate,
    CameraChange,
    CameraDelete,
    LockCreate,
    LockDelete,
    TokenCreate,
    TokenRevoke,
    ClockConfirm,
    VolumeAccept,
}

impl AuditAction {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::CameraCreate => "camera.create",
            Self::CameraChange => "camera.change",
            Self::CameraDelete => "camera.delete",
            Self::LockCreate => "lock.create",
            Self::LockDelete => "lock.delete",
            Self::TokenCreate => "token.create",
            Self::TokenRevoke => "token.revoke",
            Self::ClockConfirm => "clock.confirm",
            Self::VolumeAccept => "volume.accept",
        }
    }
}

/// A change that somebody made.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Audit)]
struct AuditView {
    id: String,
    #[schema(value_type = String, format = DateTime)]
    at: String,
    /// The login.
    who: String,
    /// Address of the client; null for the command line and the recorder itself.
    origin: Option<String>,
    /// What was done.
    #[schema(example = "camera.delete")]
    action: String,
    /// To what; empty for the recorder as a whole.
    #[schema(example = "cameras/front-door")]
    target: String,
    /// More of it, never with a secret.
    detail: String,
}

/// A page of the audit.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct AuditList {
    items: Vec<AuditView>,
    /// Give it as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

/// Who changed what, the newest first. For administrators.
#[utoipa::path(get, path = "/audit", tag = "access", operation_id = "audit",
    params(("start" = Option<String>, Query, description = "RFC 3339"),
        ("end" = Option<String>, Query, description = "RFC 3339"),
        ("limit" = Option<u32>, Query, description = "1 to 1000; 100 unless told"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before; give the same `start` and `end`")),
    responses((status = 200, body = AuditList),
        (status = 403, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    mut params: Params,
) -> Result<Json<AuditList>> {
    caller.may(Action::ReadAudit, None)?;
    let range = params.any_range();
    let limit = params.limit();
    let before = params.cursor().map(|c| (c.at, AuditId(c.id)));
    params.finish()?;
    let found = api.store.audit_page(range, before, limit + 1).await?;
    let (found, next_cursor) =
        Cursor::page(found, limit, |a: &Audit| Cursor { at: a.at, id: a.id.0 });
    let items = found.into_iter().map(AuditView::from).collect();
    Ok(Json(AuditList { items, next_cursor }))
}

impl From<Audit> for AuditView {
    fn from(a: Audit) -> Self {
        Self {
            id: a.id.to_string(),
            at: a.at.to_string(),
            who: a.who,
            origin: a.origin,
            action: a.action,
            target: a.target,
            detail: a.detail,
        }
    }
}
