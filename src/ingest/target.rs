//! What to pull: an address without credentials, and the credentials apart from it.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

use crate::{
    model::{Camera, CameraStream, Secret, Transport, Trust},
    proto::rtsp::client::address::Scheme,
};

/// One stream of a camera, as ingest needs it. `Debug` and `Display` show no password.
#[derive(Clone, Debug)]
pub struct PullTarget {
    url: Url,
    username: Option<String>,
    password: Option<Secret>,
    transport: Transport,
    audio: bool,
    trust: Trust,
}

/// The text is no camera address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadAddress {
    /// It does not parse.
    #[error("this is no URL")]
    NotAUrl,
    /// Neither `rtsp:` nor `rtsps:`.
    #[error("only rtsp:// and rtsps:// addresses can be pulled")]
    NotRtsp,
    /// No host in it.
    #[error("the address names no host")]
    NoHost,
}

impl PullTarget {
    /// An address to pull. Credentials inside it are taken out and used where `username` is `None`.
    ///
    /// # Errors
    ///
    /// When `url` is no `rtsp://host…` or `rtsps://host…` address.
    pub fn new(
        url: &str,
        username: Option<String>,
        password: Option<Secret>,
        transport: Transport,
        audio: bool,
    ) -> Result<Self, BadAddress> {
        let mut url = Url::parse(url).map_err(|_| BadAddress::NotAUrl)?;
        if !matches!(url.scheme(), "rtsp" | "rtsps") {
            return Err(BadAddress::NotRtsp);
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(BadAddress::NoHost);
        }
        let (mut username, mut password) = (username, password);
        if username.is_none() && !url.username().is_empty() {
            username = Some(decoded(url.username()));
            password = url.password().map(|p| Secret::new(decoded(p)));
        }
        // These fail only for addresses without a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_fragment(None);
        let trust = Trust::default();
        Ok(Self { url, username, password, transport, audio, trust })
    }

    /// The same, with another measure for the camera's certificate.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// The target of a configured stream.
    ///
    /// # Errors
    ///
    /// When its URL is no `rtsp://host…` address.
    pub fn of(camera: &Camera, stream: &CameraStream) -> Result<Self, BadAddress> {
        Self::new(
            &stream.url,
            camera.username.clone(),
            camera.password.clone(),
            stream.transport,
            stream.audio,
        )
        .map(|target| target.with_trust(camera.tls.clone()))
    }

    /// The address, without credentials.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// Host and port, for messages and connecting.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.url.host_str().unwrap_or_default(), self.port())
    }

    fn port(&self) -> u16 {
        let secure = self.url.scheme() == "rtsps";
        let scheme = if secure { Scheme::Rtsps } else { Scheme::Rtsp };
        self.url.port().unwrap_or(match self.transport {
            Transport::Http => scheme.default_tunnel_port(),
            Transport::Auto | Transport::Tcp | Transport::Udp => scheme.default_port(),
        })
    }

    /// Login and password, when there is a login.
    #[must_use]
    pub fn credentials(&self) -> Option<(&str, &str)> {
        let password = self.password.as_ref().map_or("", Secret::expose);
        self.username.as_deref().map(|name| (name, password))
    }

    /// How media comes.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Which certificate the camera must show.
    #[must_use]
    pub const fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Whether audio is wanted.
    #[must_use]
    pub const fn audio(&self) -> bool {
        self.audio
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

impl fmt::Display for PullTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Result<PullTarget, BadAddress> {
        PullTarget::new(url, None, None, Transport::Auto, true)
    }

    #[test]
    fn credentials_leave_the_address_and_are_never_printed() {
        let target = target("rtsp://admin:p%40ss%2Fword@10.0.0.7/Streaming/1?a=b").unwrap();
        assert_eq!(target.credentials(), Some(("admin", "p@ss/word")));
        assert_eq!(target.to_string(), "rtsp://10.0.0.7/Streaming/1?a=b");
        assert_eq!(target.address(), "10.0.0.7:554");
        let shown = format!("{target:?}");
        assert!(!shown.contains("p@ss") && !shown.contains("p%40"), "{shown}");
    }

    #[test]
    fn stored_credentials_win_over_those_in_the_address() {
        let login = (Some("viewer".to_owned()), Some(Secret::new("x".to_owned())));
        let target =
            PullTarget::new("rtsp://a:b@cam:8554/s", login.0, login.1, Transport::Tcp, false);
        assert_eq!(target.unwrap().credentials(), Some(("viewer", "x")));
    }

    #[test]
    fn what_is_no_rtsp_address_is_refused_with_the_reason() {
        assert_eq!(target("front door").unwrap_err(), BadAddress::NotAUrl);
        assert_eq!(target("http://cam/").unwrap_err(), BadAddress::NotRtsp);
        assert_eq!(target("rtsp:///stream").unwrap_err(), BadAddress::NoHost);
    }
}
