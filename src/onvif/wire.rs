//! How requests reach the camera: HTTP/1.1, one connection a request, bounded.
//!
//! The library's own connection reads answers of any size and goes wherever a camera points it; this
//! one reads at most [`limits::BODY`], looks at the document before the library does, follows no
//! redirect and connects to one host.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use oxvif::transport::{Transport, TransportError};
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use url::{Host, Url};

use super::{Login, OnvifError, digest::Challenge, limits, xml};
use crate::model::Onvif;

/// The way to one camera.
pub(super) struct Wire {
    at: Onvif,
    login: Option<Login>,
    /// Who answered first.
    peer: OnceLock<IpAddr>,
    /// Why the last request failed; the library's error has no room for it.
    failure: Mutex<Option<OnvifError>>,
}

/// What came back.
struct Answer {
    status: StatusCode,
    challenge: Option<Challenge>,
    /// It sends elsewhere: by HTTPS.
    to_https: bool,
    body: Bytes,
}

impl Wire {
    pub(super) fn new(at: Onvif, login: Option<Login>) -> Arc<Self> {
        Arc::new(Self { at, login, peer: OnceLock::new(), failure: Mutex::default() })
    }

    /// Why the last request failed, once.
    pub(super) fn failure(&self) -> Option<OnvifError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Port and path of an address that the camera names. Its host is the one we know: a camera
    /// behind a router names one that is not reachable from here, and a hostile one names another.
    fn place(&self, url: &str) -> Result<(u16, String), OnvifError> {
        let bad = || OnvifError::Malformed { detail: "it names an address that is none".into() };
        let url = Url::parse(url).map_err(|_| bad())?;
        match url.scheme() {
            "http" => {}
            "https" => return Err(OnvifError::Https),
            _ => return Err(bad()),
        }
        // Where it names itself otherwise than we do, its ports may be translated too.
        let named = url.host().map(|host| host.to_owned());
        let ours = Host::parse(&bracketed(&self.at.host)).ok();
        let answered = self.peer.get().map(|ip| match ip {
            IpAddr::V4(ip) => Host::Ipv4(*ip),
            IpAddr::V6(ip) => Host::Ipv6(*ip),
        });
        let same = named.is_some() && (named == ours || named == answered);
        let port = if same { url.port_or_known_default().unwrap_or(80) } else { self.at.port };
        let query = url.query().map(|q| format!("?{q}")).unwrap_or_default();
        Ok((port, format!("{}{query}", url.path())))
    }

    async fn ask(&self, url: &str, action: &str, body: String) -> Result<String, OnvifError> {
        let (port, path) = self.place(url)?;
        let address = format!("{}:{port}", bracketed(&self.at.host));
        let waits = action.ends_with("/PullMessagesRequest");
        let within = limits::REQUEST + if waits { limits::PULL } else { Duration::ZERO };
        let exchange = self.exchange(port, &address, &path, action, Bytes::from(body));
        let answer = match timeout(within, exchange).await {
            Ok(answer) => answer?,
            Err(_) => return Err(OnvifError::NoAnswer { address, within }),
        };
        match answer.status.as_u16() {
            401 | 403 => return Err(OnvifError::Unauthorized { clock_off: None }),
            // Faults come with 400 or 500.
            200 | 400 | 500 => {}
            300..=399 if answer.to_https => return Err(OnvifError::Https),
            300..=399 => return Err(OnvifError::Redirect { address }),
            status => return Err(OnvifError::NotOnvif { address, status }),
        }
        let malformed = |detail: String| OnvifError::Malformed { detail };
        let text = String::from_utf8(answer.body.into())
            .map_err(|_| malformed("its answer is not UTF-8".into()))?;
        xml::check(&text).map_err(|unfit| malformed(unfit.to_string()))?;
        Ok(text)
    }

    /// One request, and the same again with an answer to the challenge if there was one.
    async fn exchange(
        &self,
        port: u16,
        address: &str,
        path: &str,
        action: &str,
        body: Bytes,
    ) -> Result<Answer, OnvifError> {
        let first = self.send(port, address, path, action, body.clone(), None).await?;
        let (Some(challenge), Some(login)) = (&first.challenge, &self.login) else {
            return Ok(first);
        };
        if first.status != StatusCode::UNAUTHORIZED {
            return Ok(first);
        }
        let cnonce = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
        let login = (login.username.as_str(), &login.password);
        let authorization = challenge.answer(login, "POST", path, &cnonce);
        self.send(port, address, path, action, body, Some(authorization)).await
    }

    async fn send(
        &self,
        port: u16,
        address: &str,
        path: &str,
        action: &str,
        body: Bytes,
        authorization: Option<String>,
    ) -> Result<Answer, OnvifError> {
        let connect = TcpStream::connect((self.at.host.as_str(), port));
        let socket = match timeout(limits::CONNECT, connect).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(source)) => {
                return Err(OnvifError::Connect { address: address.to_owned(), source });
            }
            Err(_) => {
                let within = limits::CONNECT;
                return Err(OnvifError::NoAnswer { address: address.to_owned(), within });
            }
        };
        if let Ok(peer) = socket.peer_addr() {
            let _ = self.peer.set(peer.ip().to_canonical());
        }
        let not_http = |e: hyper::Error| OnvifError::NotHttp {
            address: address.to_owned(),
            detail: super::tidy(&e.to_string()),
        };
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(limits::HEAD)
            .max_headers(limits::HEADERS)
            .handshake::<_, Full<Bytes>>(TokioIo::new(socket))
            .await
            .map_err(not_http)?;
        // Aborted when this returns: nothing more is wanted of the connection then.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let mut request = Request::post(path)
            .header(header::HOST, address)
            .header(header::CONNECTION, "close")
            .header(header::USER_AGENT, concat!("vedette/", env!("CARGO_PKG_VERSION")))
            .header(
                header::CONTENT_TYPE,
                format!("application/soap+xml; charset=utf-8; action=\"{action}\""),
            );
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(body)).map_err(|e| OnvifError::Malformed {
            detail: format!("it names an address that cannot be asked ({e})"),
        })?;
        let response = sender.send_request(request).await.map_err(not_http)?;
        let status = response.status();
        let values = response.headers().get_all(header::WWW_AUTHENTICATE).iter();
        let challenge = Challenge::strongest(values.filter_map(|v| v.to_str().ok()));
        let location = response.headers().get(header::LOCATION).map(header::HeaderValue::as_bytes);
        let to_https = location
            .and_then(|l| l.get(..6))
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https:"));
        let body = match Limited::new(response.into_body(), limits::BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(e) if e.is::<LengthLimitError>() => {
                return Err(OnvifError::TooLarge { limit: limits::BODY });
            }
            Err(e) => {
                return Err(OnvifError::NotHttp {
                    address: address.to_owned(),
                    detail: super::tidy(&e.to_string()),
                });
            }
        };
        Ok(Answer { status, challenge, to_https, body })
    }
}

/// As a URL has it.
pub(super) fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

#[async_trait::async_trait]
impl Transport for Wire {
    async fn soap_post(
        &self,
        url: &str,
        action: &str,
        body: String,
    ) -> Result<String, TransportError> {
        self.ask(url, action, body).await.map_err(|error| {
            let status = if matches!(error, OnvifError::Unauthorized { .. }) { 401 } else { 0 };
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            TransportError::HttpStatus { status, body: String::new() }
        })
    }
}
