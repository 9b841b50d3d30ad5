//! Where requests go: addresses as cameras write them, put in order.
//!
//! # Invariants
//!
//! * Every address that is sent names the host and port that were configured, whatever
//!   `Content-Base` or a control attribute say: behind a NAT a camera knows only its inner address,
//!   and what is signed for one host is of no use to another.
//! * Only a redirect ([`Target::redirected`]) leads to another host, and then without credentials.
//! * Text is joined as cameras mean it, not as RFC 3986 would: `rtsp://cam/live` and `trackID=1`
//!   give `rtsp://cam/live/trackID=1`, behind a query too.

use url::Url;

/// The longest address taken from a camera, bytes.
pub const MAX_ADDRESS: usize = 4 << 10;

/// A scheme of RTSP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `rtsp`
    Rtsp,
    /// `rtsps`
    Rtsps,
}

impl Scheme {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rtsp => "rtsp",
            Self::Rtsps => "rtsps",
        }
    }

    /// The port of its tunnels through HTTP, where none is said: that of HTTP, for a tunnel is
    /// wanted where nothing else is let through.
    #[must_use]
    pub const fn default_tunnel_port(self) -> u16 {
        match self {
            Self::Rtsp => 80,
            Self::Rtsps => 443,
        }
    }

    /// Its port, where none is said.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Rtsp => 554,
            Self::Rtsps => 322,
        }
    }
}

/// What is asked for, and of whom: no credentials in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Of the connection.
    pub scheme: Scheme,
    /// A name, or an address; IPv6 in brackets.
    pub host: String,
    /// Of the connection.
    pub port: u16,
    /// `rtsp://host[:port]`, as it was given.
    authority: String,
    /// From the first `/` or `?` on; empty where there is none.
    path: String,
}

impl Target {
    /// Of an address; what stands before an `@` and behind a `#` is left out. `None` when it is
    /// no address of RTSP, names no host or is longer than [`MAX_ADDRESS`].
    #[must_use]
    pub fn new(url: &Url) -> Option<Self> {
        let scheme = match url.scheme() {
            "rtsp" => Scheme::Rtsp,
            "rtsps" => Scheme::Rtsps,
            _ => return None,
        };
        let host = url.host_str().filter(|host| !host.is_empty())?.to_owned();
        let mut authority = format!("{}://{host}", scheme.as_str());
        if let Some(port) = url.port() {
            authority.push_str(&format!(":{port}"));
        }
        let mut path = url.path().to_owned();
        if let Some(query) = url.query() {
            path.push('?');
            path.push_str(query);
        }
        let port = url.port().unwrap_or(scheme.default_port());
        (url.as_str().len() <= MAX_ADDRESS).then_some(Self { scheme, host, port, authority, path })
    }

    /// The same through HTTP: another port, where none was said.
    #[must_use]
    pub fn through_http(self) -> Self {
        // What stands behind an IPv6 address is behind its bracket.
        let said = self.authority.rsplit_once(':').is_some_and(|(_, end)| {
            !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit())
        });
        let port = if said { self.port } else { self.scheme.default_tunnel_port() };
        Self { port, ..self }
    }

    /// What a tunnel asks for: path and query.
    #[must_use]
    pub(super) fn resource(&self) -> String {
        if self.path.starts_with('/') { self.path.clone() } else { format!("/{}", self.path) }
    }

    /// Host and port, as a `Host` header has them.
    #[must_use]
    pub(super) fn host_and_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}{}", self.authority, self.path)
    }

    /// What `text` means, at our host: an absolute address, a path, or an address without its
    /// scheme. `None` when it is empty or too long.
    #[must_use]
    pub(super) fn base(&self, text: &str) -> Option<String> {
        let text = text.trim();
        if text.is_empty() || text.len() > MAX_ADDRESS {
            return None;
        }
        if let Some(path) = absolute(text) {
            return Some(self.at(path));
        }
        if text.starts_with('/') {
            return Some(self.at(text));
        }
        // Without its scheme: `192.168.1.10:554/live/`.
        let path = text.find('/').and_then(|slash| text.get(slash..)).unwrap_or_default();
        let host = text.get(..text.len() - path.len()).unwrap_or_default();
        let is_host = host == self.host || host.contains(':') || host.contains('.');
        if is_host { Some(self.at(path)) } else { Some(join(&self.address(), text)) }
    }

    /// Where a control attribute leads from `base`: `*` (or none) is the base itself.
    #[must_use]
    pub(super) fn control(&self, base: &str, control: &str) -> Option<String> {
        let control = control.trim();
        if control.is_empty() || control == "*" {
            return Some(base.to_owned());
        }
        if control.len() > MAX_ADDRESS {
            return None;
        }
        if let Some(path) = absolute(control) {
            return Some(self.at(path));
        }
        if control.starts_with('/') {
            let own = base.strip_prefix(self.authority.as_str()).unwrap_or_default();
            let own = own.trim_end_matches('/');
            // A whole path, or a track's name with a slash too many.
            return Some(if !own.is_empty() && control.starts_with(own) {
                self.at(control)
            } else {
                join(base, control.trim_start_matches('/'))
            });
        }
        Some(join(base, control))
    }

    /// Where a redirect to `location` leads, and whether the same host is meant, over a connection
    /// that is no less private: only then may credentials go along. `None` when it leads nowhere.
    #[must_use]
    pub fn redirected(&self, location: &str) -> Option<(Self, bool)> {
        let location = location.trim();
        let url = if absolute(location).is_some() {
            Url::parse(location).ok()?
        } else {
            Url::parse(&self.base(location)?).ok()?
        };
        let to = Self::new(&url)?;
        let same = to.host.eq_ignore_ascii_case(&self.host)
            && (to.scheme == self.scheme || to.scheme == Scheme::Rtsps);
        Some((to, same))
    }

    fn at(&self, path: &str) -> String {
        format!("{}{}", self.authority, path.replace(' ', "%20"))
    }
}

/// The path and query of an address with a scheme.
fn absolute(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    let named = !scheme.is_empty()
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let path = rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or_default();
    named.then_some(path)
}

fn join(base: &str, rest: &str) -> String {
    let slash = if base.ends_with('/') || rest.starts_with('?') { "" } else { "/" };
    format!("{base}{slash}{}", rest.replace(' ', "%20"))
}
