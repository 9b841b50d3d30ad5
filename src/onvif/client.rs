//! Cameras through oxvif. Nothing of it leaves this folder.
//!
//! # What is worked around here
//!
//! * Logins are stamped with a time, and cameras refuse those of another hour. So the camera is asked
//!   for its clock first, which needs no login, and the stamps are by that clock.
//! * Media2 is asked before Media1, which knows no H.265 and lists such profiles wrongly or not at all.
//! * A subscription's reference parameters are not kept by the library: a camera that tells
//!   subscriptions apart by them alone has one.

mod pull_point;

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use oxvif::{OnvifClient, soap::SoapError, types::VideoEncoding};
use tokio::time::timeout;
use url::Url;

use pull_point::PullPoint;

use super::{
    Description, Device, Login, OfferedStream, OnvifError, Subscription, VideoCodec,
    choose::{Profile, choose},
    limits, tidy,
    wire::{Wire, bracketed},
};
use crate::{
    clock::Clock,
    id::Role,
    model::{Finding, Onvif, clock_apart},
    proto::time::WallSpan,
};

/// The camera at that place. Nothing is sent until it is asked.
#[must_use]
pub fn device(at: Onvif, login: Option<Login>, clock: Clock) -> Arc<dyn Device> {
    Arc::new(Camera { at, login, clock })
}

struct Camera {
    at: Onvif,
    login: Option<Login>,
    clock: Clock,
}

impl Device for Camera {
    fn describe(&self) -> BoxFuture<'_, Result<Description, OnvifError>> {
        Box::pin(async {
            let within = limits::DESCRIBE;
            match timeout(within, async { self.open().await?.describe().await }).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    let address = format!("{}:{}", bracketed(&self.at.host), self.at.port);
                    Err(OnvifError::NoAnswer { address, within })
                }
            }
        })
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Subscription>, OnvifError>> {
        Box::pin(async {
            let session = self.open().await?;
            let pull_point = session.subscribe().await?;
            Ok(Box::new(pull_point) as Box<dyn Subscription>)
        })
    }
}

impl Camera {
    /// Learns its clock and its services.
    async fn open(&self) -> Result<Session, OnvifError> {
        let wire = Wire::new(self.at.clone(), self.login.clone());
        let path = if self.at.path.starts_with('/') { &self.at.path } else { "/" };
        let url = format!("http://{}:{}{path}", bracketed(&self.at.host), self.at.port);
        let stranger = OnvifClient::new(&url).with_transport(wire.clone());
        let clock_off = match stranger.get_system_date_and_time().await {
            Ok(said) => said.utc_unix.map(|theirs| {
                theirs.saturating_sub(self.clock.now().as_micros().div_euclid(1_000_000))
            }),
            Err(error) => match explain(&wire, None, "tell its clock", error) {
                // Older ones want a login even for that; others do not know the question.
                OnvifError::Unauthorized { .. }
                | OnvifError::Fault { .. }
                | OnvifError::Malformed { .. } => None,
                fatal => return Err(fatal),
            },
        };
        let mut client = stranger;
        if let Some(login) = &self.login {
            client = client
                .with_credentials(&login.username, login.password.expose())
                .with_utc_offset(clock_off.unwrap_or(0));
        }
        let mut session = Session {
            host: self.at.host.clone(),
            client,
            wire,
            clock_off,
            media1: None,
            media2: None,
            events: None,
        };
        session.services().await?;
        Ok(session)
    }
}

/// A camera whose services are known.
struct Session {
    host: String,
    client: OnvifClient,
    wire: Arc<Wire>,
    clock_off: Option<i64>,
    media1: Option<String>,
    media2: Option<String>,
    events: Option<String>,
}

/// The library's errors in our words.
fn explain(
    wire: &Wire,
    clock_off: Option<i64>,
    what: &'static str,
    error: oxvif::OnvifError,
) -> OnvifError {
    let failure = wire.failure();
    match error {
        oxvif::OnvifError::Transport(_) => match failure {
            Some(OnvifError::Unauthorized { .. }) => OnvifError::Unauthorized { clock_off },
            Some(failure) => failure,
            None => OnvifError::Malformed { detail: "no answer".into() },
        },
        oxvif::OnvifError::Soap(SoapError::Fault { code, reason, subcode, .. }) => {
            let said = [&code, subcode.as_ref().unwrap_or(&code), &reason];
            let login = |text: &str| {
                let text = text.to_ascii_lowercase().replace([' ', '_'], "");
                ["notauthorized", "unauthorized", "failedauthentication", "authority"]
                    .iter()
                    .any(|word| text.contains(word))
            };
            if said.into_iter().any(|text| login(text)) {
                OnvifError::Unauthorized { clock_off }
            } else {
                OnvifError::Fault {
                    what,
                    reason: tidy(if reason.is_empty() { &code } else { &reason }),
                }
            }
        }
        other => OnvifError::Malformed { detail: tidy(&other.to_string()) },
    }
}

impl Session {
    fn explain(&self, what: &'static str, error: oxvif::OnvifError) -> OnvifError {
        explain(&self.wire, self.clock_off, what, error)
    }

    async fn services(&mut self) -> Result<(), OnvifError> {
        let listed = self.client.get_services().await;
        match listed.map_err(|e| self.explain("list its services", e)) {
            Ok(services) => {
                for service in services {
                    let slot = match service.namespace.trim_end_matches('/') {
                        "http://www.onvif.org/ver10/media/wsdl" => &mut self.media1,
                        "http://www.onvif.org/ver20/media/wsdl" => &mut self.media2,
                        "http://www.onvif.org/ver10/events/wsdl" => &mut self.events,
                        _ => continue,
                    };
                    slot.get_or_insert(service.url);
                }
            }
            // Old ones know only the older question.
            Err(OnvifError::Fault { .. } | OnvifError::Malformed { .. }) => {}
            Err(fatal) => return Err(fatal),
        }
        let no_media = self.media1.is_none() && self.media2.is_none();
        // Some list a service only in answer to the older question.
        if no_media || self.events.is_none() {
            let offered = self.client.get_capabilities().await;
            match offered.map_err(|e| self.explain("list its services", e)) {
                Ok(offered) => {
                    self.media1 = self.media1.take().or(offered.media.url);
                    self.media2 = self.media2.take().or(offered.media2.url);
                    self.events = self.events.take().or(offered.events.url);
                }
                Err(error) if no_media => return Err(error),
                Err(_) => {}
            }
        }
        Ok(())
    }

    async fn describe(self) -> Result<Description, OnvifError> {
        let info = self.client.get_device_info().await;
        let info = info.map_err(|e| self.explain("say what it is", e))?;
        let scopes = self.client.get_scopes().await.unwrap_or_default();
        let name = super::discovery::scope(scopes.iter().map(String::as_str), "name");
        let (manufacturer, model) = (tidy(&info.manufacturer), tidy(&info.model));
        let name = name.unwrap_or_else(|| tidy(&format!("{manufacturer} {model}")));
        if self.media1.is_none() && self.media2.is_none() {
            return Err(OnvifError::NoMedia);
        }
        let (service, profiles) = self.profiles().await?;
        let (main, sub) = choose(&profiles);
        let main = main.ok_or(OnvifError::NoProfile)?;
        let mut findings = Vec::new();
        let mut streams = Vec::new();
        for (role, profile) in [(Role::Main, Some(main)), (Role::Sub, sub)] {
            let Some(profile) = profile else { continue };
            match self.stream(service, role, profile).await {
                Ok(stream) => streams.push(stream),
                Err(error) if role == Role::Main => return Err(error),
                Err(error) => findings.push(Finding::note(
                    "sub_stream_missing",
                    format!("the address of the small stream cannot be had: {error}"),
                )),
            }
        }
        self.findings(main, sub, &mut findings);
        Ok(Description {
            name,
            manufacturer,
            model,
            firmware: tidy(&info.firmware_version),
            serial: tidy(&info.serial_number),
            clock_off: self.clock_off,
            streams,
            events: self.events.is_some(),
            findings,
        })
    }

    fn findings(&self, main: &Profile, sub: Option<&Profile>, findings: &mut Vec<Finding>) {
        /// More than a slow answer explains.
        const CLOCK: i64 = 5;
        match self.clock_off {
            Some(off) if off.abs() > CLOCK => findings.push(Finding::problem(
                "clock_off",
                format!(
                    "the camera's clock is {}: have it follow a time server",
                    clock_apart(WallSpan::from_secs(off))
                ),
            )),
            _ => {}
        }
        if main.codec == VideoCodec::Jpeg {
            findings.push(Finding::problem(
                "codec_mjpeg",
                "its large picture is offered as MJPEG only: set it to H.264 in the camera",
            ));
        }
        if sub.is_none() {
            findings.push(Finding::note(
                "sub_stream_missing",
                "it offers no smaller stream: many pictures side by side will cost more",
            ));
        }
        if self.events.is_none() {
            findings.push(Finding::note("no_events_service", "it tells no events"));
        }
    }

    /// Profiles with video, and whether Media2 named them.
    async fn profiles(&self) -> Result<(Service, Vec<Profile>), OnvifError> {
        if let Some(url) = &self.media2 {
            match self.profiles2(url).await {
                Ok(found) if !found.is_empty() => return Ok((Service::Media2, found)),
                Err(error) if self.media1.is_none() => return Err(error),
                _ => {}
            }
        }
        let Some(url) = &self.media1 else { return Err(OnvifError::NoProfile) };
        Ok((Service::Media1, self.profiles1(url).await?))
    }

    async fn profiles1(&self, url: &str) -> Result<Vec<Profile>, OnvifError> {
        let listed = self.client.get_profiles(url).await;
        let listed = listed.map_err(|e| self.explain("list its profiles", e))?;
        let encoders = self.client.get_video_encoder_configurations(url).await;
        let encoders = encoders.map_err(|e| self.explain("tell its encoders", e))?;
        let mut by_token: HashMap<_, _> =
            encoders.into_iter().map(|e| (e.token.clone(), e)).collect();
        let mut found = Vec::new();
        for profile in listed.into_iter().take(limits::PROFILES) {
            let Some(encoder) = profile.video_encoder_token.and_then(|t| by_token.get_mut(&t))
            else {
                continue;
            };
            found.push(Profile {
                token: profile.token,
                name: tidy(&profile.name),
                source: profile.video_source_token,
                codec: codec(&encoder.encoding),
                width: encoder.resolution.width,
                height: encoder.resolution.height,
                fps: encoder.rate_control.as_ref().map(|r| r.frame_rate_limit),
            });
        }
        Ok(found)
    }

    async fn profiles2(&self, url: &str) -> Result<Vec<Profile>, OnvifError> {
        let listed = self.client.get_profiles_media2(url).await;
        let listed = listed.map_err(|e| self.explain("list its profiles", e))?;
        let encoders = self.client.get_video_encoder_configurations_media2(url).await;
        let encoders = encoders.map_err(|e| self.explain("tell its encoders", e))?;
        let by_token: HashMap<_, _> = encoders.into_iter().map(|e| (e.token.clone(), e)).collect();
        let mut found = Vec::new();
        for profile in listed.into_iter().take(limits::PROFILES) {
            let Some(encoder) = profile.video_encoder_token.and_then(|t| by_token.get(&t)) else {
                continue;
            };
            found.push(Profile {
                token: profile.token,
                name: tidy(&profile.name),
                source: profile.video_source_token,
                codec: codec(&encoder.encoding),
                width: encoder.resolution.width,
                height: encoder.resolution.height,
                fps: encoder.rate_control.as_ref().map(|r| r.frame_rate_limit as u32),
            });
        }
        Ok(found)
    }

    async fn stream(
        &self,
        service: Service,
        role: Role,
        profile: &Profile,
    ) -> Result<OfferedStream, OnvifError> {
        const WHAT: &str = "tell a stream's address";
        let said = match (service, &self.media1, &self.media2) {
            (Service::Media2, _, Some(url)) => {
                self.client.get_stream_uri_media2(url, &profile.token).await
            }
            (_, Some(url), _) => {
                self.client.get_stream_uri(url, &profile.token).await.map(|said| said.uri)
            }
            _ => return Err(OnvifError::NoMedia),
        };
        let said = said.map_err(|e| self.explain(WHAT, e))?;
        let url = stream_url(&said, &self.host).ok_or_else(|| OnvifError::Malformed {
            detail: "a stream's address is no rtsp:// address".into(),
        })?;
        Ok(OfferedStream {
            role,
            url,
            profile: profile.name.clone(),
            codec: profile.codec.clone(),
            width: profile.width,
            height: profile.height,
            fps: profile.fps,
        })
    }

    async fn subscribe(self) -> Result<PullPoint, OnvifError> {
        let Some(events) = &self.events else { return Err(OnvifError::NoEvents) };
        let lease = seconds(limits::LEASE);
        let subscribed = self.client.create_pull_point_subscription(events, None, Some(&lease));
        let subscribed = subscribed.await.map_err(|e| self.explain("tell its events", e))?;
        let point = PullPoint { url: subscribed.reference_url, session: self };
        // Has it say what lasts; those that do not know the request say so by themselves.
        let _ = point.session.client.set_synchronization_point(&point.url).await;
        Ok(point)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    Media1,
    Media2,
}

/// ISO 8601.
fn seconds(span: Duration) -> String {
    format!("PT{}S", span.as_secs())
}

fn codec(said: &VideoEncoding) -> VideoCodec {
    match said {
        VideoEncoding::H264 => VideoCodec::H264,
        VideoEncoding::H265 => VideoCodec::H265,
        VideoEncoding::Jpeg => VideoCodec::Jpeg,
        VideoEncoding::Other(name) => VideoCodec::Other(tidy(name)),
    }
}

/// The address at the host that was asked, whatever host the camera names, without a login.
fn stream_url(said: &str, host: &str) -> Option<String> {
    /// Longer ones are no addresses.
    const LONGEST: usize = 2_048;
    let mut url = Url::parse(said).ok()?;
    if !matches!(url.scheme(), "rtsp" | "rtsps") || said.len() > LONGEST {
        return None;
    }
    url.set_host(Some(&bracketed(host))).ok()?;
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    url.set_fragment(None);
    Some(url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_streams_address_is_at_the_host_that_was_asked_and_holds_no_login() {
        let url = |said| stream_url(said, "10.0.0.7");
        assert_eq!(
            url("rtsp://admin:secret@192.168.1.108:554/cam?channel=1#x").as_deref(),
            Some("rtsp://10.0.0.7:554/cam?channel=1")
        );
        assert_eq!(url("http://10.0.0.7/"), None);
        assert_eq!(url("nothing"), None);
        assert_eq!(stream_url("rtsp://x/y", "fe80::1").as_deref(), Some("rtsp://[fe80::1]/y"));
    }
}
