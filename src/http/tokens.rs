//! `/tokens`: bearer tokens for scripts, so that they need not know a password.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    audit::AuditAction,
    auth::Caller,
    error::{ApiError, Mistakes, Problem, Result},
    extract::{Fields, JsonObject, Params},
};
use crate::{
    access::{AccessError, Action},
    id::TokenId,
    model::Token,
    proto::time::WallSpan,
};

/// Longest life of a token that has an end: ten years.
const MAX_LIFE_SECONDS: u64 = 10 * 366 * 86_400;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// A token to make.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = TokenCreate)]
#[expect(
    dead_code,
    reason = "describes the body for OpenAPI; read by `Fields`, to name every mistake"
)]
struct TokenCreate {
    /// What it is for.
    name: String,
    /// How long it works; for ever unless told.
    expires_in_seconds: Option<u64>,
}

/// A token as listed: not the token itself, which nobody knows any more.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Token)]
struct TokenView {
    id: String,
    name: String,
    #[schema(value_type = String, format = DateTime)]
    created: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires: Option<String>,
}

impl From<&Token> for TokenView {
    fn from(token: &Token) -> Self {
        Self {
            id: token.id.to_string(),
            name: token.name.clone(),
            created: token.created.to_string(),
            expires: token.expires.map(|t| t.to_string()),
        }
    }
}

/// A new token, with the only showing of its text.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = TokenCreated)]
struct Created {
    #[serde(flatten)]
    token_facts: TokenView,
    /// Send it as `Authorization: Bearer …`. It is shown this once.
    token: String,
}

/// All of the caller's tokens.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct TokenList {
    items: Vec<TokenView>,
    /// Always null: there are few.
    next_cursor: Option<String>,
}

impl From<AccessError> for ApiError {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::NoAccount => Self::Forbidden,
            AccessError::Store(e) => e.into(),
            other => Self::internal(other),
        }
    }
}

/// Your tokens.
#[utoipa::path(get, path = "/tokens", tag = "access", operation_id = "list_tokens",
    responses((status = 200, body = TokenList)))]
async fn list(State(api): State<Api>, caller: Caller, params: Params) -> Result<Json<TokenList>> {
    caller.may(Action::ManageOwnTokens, None)?;
    params.finish()?;
    let tokens = api.access.tokens(&caller.principal).await?;
    Ok(Json(TokenList { items: tokens.iter().map(TokenView::from).collect(), next_cursor: None }))
}

/// Makes a token with your rights. It is shown in this answer and never again.
#[utoipa::path(post, path = "/tokens", tag = "access", operation_id = "create_token", request_body = TokenCreate,
    responses((status = 201, body = Created), (status = 422, body = Problem, content_type = "application/problem+json")))]
async fn create(
    State(api): State<Api>,
    caller: Caller,
    JsonObject(body): JsonObject,
) -> Result<(StatusCode, Json<Created>)> {
    caller.may(Action::ManageOwnTokens, None)?;
    let mut mistakes = Mistakes::default();
    let mut f = Fields::new("", body, &mut mistakes);
    let given = f.has("name");
    let name = f.text("name", 100);
    if !given {
        f.mistake("name", "is required: what the token is for");
    }
    let life = f.count("expires_in_seconds");
    if life.is_some_and(|s| s > MAX_LIFE_SECONDS) {
        f.mistake("expires_in_seconds", format!("must be at most {MAX_LIFE_SECONDS}"));
    }
    f.planned(&["scope", "cameras"]);
    f.finish();
    mistakes.check()?;
    let seconds = life.and_then(|s| i64::try_from(s).ok());
    let expires = seconds.map(|s| api.clock.now() + WallSpan::from_secs(s));
    let name = name.unwrap_or_default();
    let minted = api.access.mint_token(&caller.principal, &name, expires).await?;
    tracing::info!(token.id = %minted.token.id, by = %caller.principal.name, "token made");
    let target = format!("tokens/{}", minted.token.id);
    caller.note(&api, AuditAction::TokenCreate, &target, &name).await;
    let created =
        Created { token_facts: (&minted.token).into(), token: minted.text.expose().to_owned() };
    Ok((StatusCode::CREATED, Json(created)))
}

/// Revokes one of your tokens.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "access", operation_id = "revoke_token",
    params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<StatusCode> {
    caller.may(Action::ManageOwnTokens, None)?;
    params.finish()?;
    let id = i64::from_str_radix(&id, 16).map_err(|_| ApiError::UnknownToken)?;
    if !api.access.revoke_token(&caller.principal, TokenId(id)).await? {
        return Err(ApiError::UnknownToken);
    }
    tracing::info!(token.id = %TokenId(id), by = %caller.principal.name, "token revoked");
    caller.note(&api, AuditAction::TokenRevoke, &format!("tokens/{}", TokenId(id)), "").await;
    Ok(StatusCode::NO_CONTENT)
}
