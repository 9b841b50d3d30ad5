//! Addresses: of cameras as people give them (credentials inside), and of our RTSP server as it is
//! seen from where the request came.
//!
//! A camera's URL may hold secrets in two places: the user-info, which is taken out and kept as
//! username and password, and the query or path (`…?user=admin&password=x`), where it has to stay
//! because the camera reads it there. Answers show the latter as `***`; a URL that comes back so
//! stands for the one that is stored.

use axum::http::{HeaderMap, header};
use url::{Host, Url};

use crate::model::{HIDDEN, Secret};

/// Longest URL of a camera, bytes.
const MAX_URL: usize = 2_048;

/// A camera's URL taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CameraUrl {
    /// Without credentials.
    pub(super) url: String,
    /// What stood before the `@`.
    pub(super) login: Option<(String, Option<Secret>)>,
}

/// Reads a URL as a person typed or pasted it; the error says what to change.
pub(super) fn parse_camera_url(text: &str) -> Result<CameraUrl, &'static str> {
    if text.len() > MAX_URL {
        return Err("is longer than 2048 bytes");
    }
    // The url crate drops these silently; pasted with a line break, it is no longer what was meant.
    if text.chars().any(|c| c.is_control() || c == ' ') {
        return Err("holds spaces or control characters");
    }
    let mut url = Url::parse(text).map_err(|_| "must be a URL: rtsp://HOST[:PORT]/PATH")?;
    match url.scheme() {
        "rtsp" | "rtsps" => {}
        _ => return Err("must begin with rtsp:// or rtsps://"),
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("has no host");
    }
    if url.port() == Some(0) {
        return Err("has port 0");
    }
    if url.fragment().is_some() {
        return Err("must not have a # part (write %23)");
    }
    let decode = |s: &str| {
        let plain = percent_encoding::percent_decode_str(s).decode_utf8().ok()?;
        (!plain.chars().any(char::is_control)).then(|| plain.into_owned())
    };
    const BAD: &str = "has credentials that are no UTF-8 text";
    let user = decode(url.username()).ok_or(BAD)?;
    let password = url.password().map(|p| decode(p).ok_or(BAD)).transpose()?;
    let login = (!user.is_empty() || password.is_some()).then(|| (user, password.map(Secret::new)));
    if login.as_ref().is_some_and(|(user, _)| user.is_empty()) {
        return Err("has a password without a user name");
    }
    // Both fail only for URLs that cannot have them, which have no host either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let url = url.to_string();
    if url.contains(HIDDEN) {
        return Err("holds *** where its secret was hidden; give the whole URL");
    }
    Ok(CameraUrl { url, login })
}

/// The RTSP server's address as the sender of this request can reach it: the host it used for us,
/// and the RTSP port.
pub(super) fn rtsp_base(headers: &HeaderMap, rtsp_port: u16) -> String {
    let host = headers
        .get(header::HOST)
        .and_then(|h| h.to_str().ok())
        .and_then(|h| Url::parse(&format!("http://{h}/")).ok())
        .and_then(|u| u.host().map(|h: Host<&str>| h.to_string()))
        .unwrap_or_else(|| "localhost".to_owned());
    format!("rtsp://{host}:{rtsp_port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_out_of_the_url_and_decoded() {
        let read = parse_camera_url("rtsp://admin:p%40ss%3A@10.0.0.7:554/h264?ch=1").unwrap();
        assert_eq!(read.url, "rtsp://10.0.0.7:554/h264?ch=1");
        let (user, password) = read.login.unwrap();
        assert_eq!(
            (user.as_str(), password.unwrap().expose().to_owned()),
            ("admin", "p@ss:".to_owned())
        );
    }

    #[test]
    fn what_is_no_camera_url_is_refused_with_a_reason() {
        for (text, word) in [
            ("10.0.0.7/h264", "URL"),
            ("http://10.0.0.7/h264", "rtsp://"),
            ("rtsps:///h264", "host"),
            ("rtsp:///h264", "host"),
            ("rtsp://:secret@cam/h264", "user name"),
            ("rtsp://cam/a b", "spaces"),
            ("rtsp://cam/a\nb", "control"),
            ("rtsp://cam/#x", "#"),
            ("rtsp://cam/?password=***", "***"),
        ] {
            let refused = parse_camera_url(text).unwrap_err();
            assert!(refused.contains(word), "{text}: {refused}");
        }
        assert!(parse_camera_url(&format!("rtsp://cam/{}", "a".repeat(3_000))).is_err());
        assert!(parse_camera_url("rtsps://10.0.0.7/h264").is_ok());
    }

    #[test]
    fn rtsp_is_reached_at_the_host_the_request_used() {
        let base = |host: &str| {
            let headers = [(header::HOST, host.parse().unwrap())].into_iter().collect();
            rtsp_base(&headers, 8554)
        };
        assert_eq!(base("nvr.lan:8080"), "rtsp://nvr.lan:8554");
        assert_eq!(base("[fd00::1]:8080"), "rtsp://[fd00::1]:8554");
        assert_eq!(base("evil\" x"), "rtsp://localhost:8554");
    }
}
