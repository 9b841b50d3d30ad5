//! Who asks. Every request but the health checks passes [`require_login`], which leaves a
//! [`Caller`] in the request; each handler then asks [`Caller::may`] once.
//!
//! A browser sends HTTP Basic by itself, also when another site's page makes it send a request.
//! So whatever changes something must not come from another site: `Sec-Fetch-Site` says so in every
//! current browser, `Origin` in older ones; scripts send neither and cannot be tricked that way.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::{
    extract::{ConnectInfo, FromRequestParts, Request, State},
    http::{HeaderMap, Method, header, request::Parts},
    middleware::Next,
    response::Response,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use url::{Host, Url};

use super::{
    Api,
    audit::AuditAction,
    error::{ApiError, Result, chain},
};
use crate::{
    access::{self, Action, Principal},
    id::{AuditId, Slug},
    model::{Audit, Secret},
};

/// Who asks, and from where.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) principal: Principal,
    peer: IpAddr,
}

impl Caller {
    /// Whether the caller may do `action` (to `camera`).
    pub(super) fn may(&self, action: Action, camera: Option<&Slug>) -> Result<()> {
        Ok(access::decide(&self.principal, action, camera)?)
    }

    /// Notes in the audit what the caller has changed. The change is done and stays done when that
    /// fails, which the log then says.
    pub(super) async fn note(&self, api: &Api, action: AuditAction, target: &str, detail: &str) {
        let by = &self.principal.name;
        let entry = Audit {
            id: AuditId::generate(&api.clock),
            at: api.clock.now(),
            who: by.clone(),
            origin: Some(self.peer.to_string()),
            action: action.as_str().to_owned(),
            target: target.to_owned(),
            detail: detail.to_owned(),
        };
        if let Err(error) = api.store.insert_audit(entry).await {
            tracing::error!(
                error = chain(&error),
                by,
                action = action.as_str(),
                target,
                "audit lost"
            );
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        // Absent only when a route was mounted outside of `require_login`: then nobody gets in.
        parts.extensions.get::<Self>().cloned().ok_or(ApiError::Unauthenticated)
    }
}

/// The address of whoever asks; the unspecified one in tests without a socket.
pub(super) fn peer(parts: &axum::http::Extensions) -> IpAddr {
    parts
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip().to_canonical())
}

/// Middleware: lets nobody pass without credentials.
pub(super) async fn require_login(
    State(api): State<Api>,
    mut request: Request,
    next: Next,
) -> Result<Response> {
    if !is_safe(request.method()) && is_cross_site(request.headers()) {
        return Err(ApiError::CrossSite);
    }
    let peer = peer(request.extensions());
    let principal = match api.access.anonymous() {
        Some(_) if !is_for_loopback(request.headers()) => return Err(ApiError::ForeignHost),
        Some(principal) => principal,
        // Taken out first: a request's body must not be held over an await.
        None => log_in(&api, credentials(request.headers())?, peer).await?,
    };
    request.extensions_mut().insert(Caller { principal, peer });
    Ok(next.run(request).await)
}

pub(super) async fn log_in(api: &Api, shown: Credentials, peer: IpAddr) -> Result<Principal> {
    match shown {
        Credentials::None => Err(ApiError::Unauthenticated),
        Credentials::Basic { name, password } => {
            Ok(api.access.basic(&name, password.expose(), peer).await?)
        }
        Credentials::Bearer(token) => Ok(api.access.bearer(token.expose(), peer).await?),
    }
}

pub(super) enum Credentials {
    None,
    Basic { name: String, password: Secret },
    Bearer(Secret),
}

pub(super) fn credentials(headers: &HeaderMap) -> Result<Credentials> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(Credentials::None) };
    let value = value.to_str().map_err(|_| ApiError::BadCredentials)?;
    let (scheme, rest) = value.split_once(' ').ok_or(ApiError::BadCredentials)?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Credentials::Bearer(Secret::new(rest.to_owned())));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(ApiError::Unauthenticated);
    }
    let decoded = BASE64_STANDARD.decode(rest).map_err(|_| ApiError::BadCredentials)?;
    let text = String::from_utf8(decoded).map_err(|_| ApiError::BadCredentials)?;
    let (name, password) = text.split_once(':').ok_or(ApiError::BadCredentials)?;
    let credentials =
        Credentials::Basic { name: name.to_owned(), password: Secret::new(password.to_owned()) };
    drop(zeroize::Zeroizing::new(text));
    Ok(credentials)
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether a browser says that a page of another site sent this. `same-site` is another site too:
/// another port or host name of the same machine.
pub(super) fn is_cross_site(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    let origin = origin.to_str().ok().and_then(|o| o.split_once("://")).map(|(_, rest)| rest);
    match (origin, host) {
        (Some(origin), Some(host)) => !origin.eq_ignore_ascii_case(host),
        // "null", or nothing to compare with.
        _ => true,
    }
}

/// Whether the request was sent to `localhost` or to a loopback address. Where nobody logs in, a
/// page of another site could otherwise point its own name here (DNS rebinding) and, to the
/// browser, be of the same origin.
pub(super) fn is_for_loopback(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    let url = host.and_then(|h| Url::parse(&format!("http://{h}/")).ok());
    match url.as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.to_canonical().is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect()
    }

    #[test]
    fn only_the_same_origin_a_person_or_a_script_may_change_things() {
        let cases: [(&[(&'static str, &str)], bool); 9] = [
            (&[], false),
            (&[("sec-fetch-site", "same-origin")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "same-site")], true),
            (&[("sec-fetch-site", "cross-site")], true),
            (&[("origin", "http://nvr:8080"), ("host", "nvr:8080")], false),
            (&[("origin", "http://nvr:8081"), ("host", "nvr:8080")], true),
            (&[("origin", "null"), ("host", "nvr:8080")], true),
            (&[("origin", "http://evil.example")], true),
        ];
        for (sent, refused) in cases {
            assert_eq!(is_cross_site(&headers(sent)), refused, "{sent:?}");
        }
    }

    #[test]
    fn a_password_may_hold_colons_and_any_letter() {
        let sent = format!("Basic {}", BASE64_STANDARD.encode("admin:pä:ss"));
        match credentials(&headers(&[("authorization", &sent)])) {
            Ok(Credentials::Basic { name, password }) => {
                assert_eq!((name.as_str(), password.expose()), ("admin", "pä:ss"));
            }
            _ => panic!("not read"),
        }
    }

    #[test]
    fn garbage_is_refused_as_bad_credentials() {
        for sent in ["Basic", "Basic !!!", "Basic YWJj", "Basic"] {
            let read = credentials(&headers(&[("authorization", sent)]));
            assert!(matches!(read, Err(ApiError::BadCredentials)), "{sent}");
        }
    }
}
