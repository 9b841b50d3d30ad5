//! Opening a tunnel through HTTP: which requests, and what is made of the answers.
//!
//! ```text
//! get ─▶ 401 ─▶ get, with the login (another connection) ─▶ 200 ─▶ post ─▶ RTSP
//! ```
//!
//! # Why it is done so
//!
//! * HTTP/1.0, as the tunnel was drawn: a server that speaks 1.1 may cut its answer into chunks.
//! * The POST is never answered, so it shows at once what the GET was asked for.
//! * A login that is refused is never tried again, as in the [session](super) itself. The session
//!   within asks and answers for itself: what HTTP wanted to know says nothing of that.
//! * A redirect is not followed: it leads to a web page.

use std::fmt::Write as _;

use bytes::Bytes;

use super::{
    ClientError, Settings,
    address::Target,
    login::{Asked, Login},
};
use crate::proto::rtsp::{
    message::{Response, Status},
    tunnel::CONTENT_TYPE,
};

/// How a tunnel begins.
#[derive(Debug)]
pub struct Opening {
    target: Target,
    user_agent: String,
    cookie: String,
    login: Login,
    /// The last GET bore a login.
    with_login: bool,
    /// A new nonce was asked for and taken.
    renewed: bool,
}

/// What the answer to the GET means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// What follows is RTSP; time for [`Opening::post`].
    Open,
    /// To be asked once more, over another connection.
    Again,
    /// There is no tunnel.
    Failed(ClientError),
}

impl Opening {
    /// To what a session wants to talk to; `random` of the settings is taken for the cookie.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let Settings { target, credentials, user_agent, random } = settings;
        let cookie = random.iter().fold(String::new(), |mut cookie, byte| {
            let _ = write!(cookie, "{byte:02x}");
            cookie
        });
        let login = Login::new(credentials, random);
        Self { target, user_agent, cookie, login, with_login: false, renewed: false }
    }

    /// The half that comes from the camera.
    pub fn get(&mut self) -> Bytes {
        let accept = format!("Accept: {CONTENT_TYPE}\r\n");
        let (request, with_login) = self.request("GET", &accept);
        self.with_login = with_login;
        request
    }

    /// The half that goes to the camera; behind it [`wrap`](crate::proto::rtsp::tunnel::wrap)ped.
    pub fn post(&mut self) -> Bytes {
        // The length and the date are what the tunnel was drawn with: the one is as long as a
        // proxy lets it be, the other keeps caches away.
        let body = format!(
            "Content-Type: {CONTENT_TYPE}\r\nContent-Length: 32767\r\n\
             Expires: Sun, 9 Jan 1972 00:00:00 GMT\r\n"
        );
        self.request("POST", &body).0
    }

    fn request(&mut self, method: &str, further: &str) -> (Bytes, bool) {
        let resource = self.target.resource();
        let login = self.login.answer(method, &resource);
        let mut text = format!(
            "{method} {resource} HTTP/1.0\r\nHost: {}\r\nUser-Agent: {}\r\n\
             x-sessioncookie: {}\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n{further}",
            self.target.host_and_port(),
            self.user_agent,
            self.cookie,
        );
        if let Some(login) = &login {
            let _ = write!(text, "Authorization: {login}\r\n");
        }
        text.push_str("\r\n");
        (text.into(), login.is_some())
    }

    /// What the camera answered to the GET.
    pub fn answered(&mut self, response: &Response) -> Answered {
        const METHOD: &str = "GET";
        if response.status.is_success() {
            return Answered::Open;
        }
        if response.status != Status::UNAUTHORIZED {
            let status = response.status.as_u16();
            return Answered::Failed(ClientError::Refused { method: METHOD, status });
        }
        let again = match self.login.challenged(&response.headers) {
            Asked::NotAnswerable => false,
            // Nothing was shown yet.
            _ if !self.with_login => true,
            Asked::Stale => !std::mem::replace(&mut self.renewed, true),
            Asked::Login => false,
        };
        if again {
            Answered::Again
        } else {
            Answered::Failed(ClientError::Unauthorized { method: METHOD })
        }
    }
}
