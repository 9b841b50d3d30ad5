//! The seam between ONVIF and everything else: no type of the library behind it passes.

use futures_util::future::BoxFuture;

use super::OnvifError;
use crate::{
    id::Role,
    model::{Finding, Secret},
};

/// Who we are to the camera. `Debug` shows no password.
#[derive(Clone, Debug)]
pub struct Login {
    /// Its name.
    pub username: String,
    /// Sent as a digest, never itself.
    pub password: Secret,
}

/// A camera that can be asked.
pub trait Device: Send + Sync + 'static {
    /// What it is and which streams it has. Bounded in time.
    fn describe(&self) -> BoxFuture<'_, Result<Description, OnvifError>>;
    /// Has it tell its events from now on, and the state of what lasts.
    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Subscription>, OnvifError>>;
}

/// Events, to be fetched. The camera forgets it by itself when nobody renews it.
pub trait Subscription: Send + 'static {
    /// What happened since; waits some seconds for something to happen.
    fn pull(&mut self) -> BoxFuture<'_, Result<Vec<Notice>, OnvifError>>;
    /// Has it last longer.
    fn renew(&mut self) -> BoxFuture<'_, Result<(), OnvifError>>;
    /// Says good-bye, as far as that is heard. Bounded in time.
    fn end(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// Something that a camera tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// `VideoSource/MotionAlarm`, without name spaces.
    pub topic: String,
    /// Of what: names and values, in order of the names.
    pub source: String,
    /// The state it says, where it says one.
    pub state: Option<bool>,
    /// Said because we asked, not because it changed.
    pub initial: bool,
    /// What it is about is gone.
    pub gone: bool,
}

/// A codec as cameras name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoCodec {
    /// H.264.
    H264,
    /// H.265.
    H265,
    /// Motion JPEG.
    Jpeg,
    /// Another, as the camera writes it.
    Other(String),
}

impl VideoCodec {
    /// As people write it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::H264 => "H.264",
            Self::H265 => "H.265",
            Self::Jpeg => "MJPEG",
            Self::Other(name) => name,
        }
    }
}

/// What a camera says of itself.
#[derive(Clone, Debug)]
pub struct Description {
    /// What people would call it.
    pub name: String,
    /// Who made it.
    pub manufacturer: String,
    /// Which one.
    pub model: String,
    /// Its firmware's version.
    pub firmware: String,
    /// Its own number.
    pub serial: String,
    /// Seconds that its clock is ahead of ours, if it tells.
    pub clock_off: Option<i64>,
    /// Main first, then sub where there is one.
    pub streams: Vec<OfferedStream>,
    /// Whether it tells events.
    pub events: bool,
    /// What somebody should know, in plain words.
    pub findings: Vec<Finding>,
}

/// A stream, chosen among a camera's profiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedStream {
    /// As what.
    pub role: Role,
    /// `rtsp://…` at the host that was asked, without credentials.
    pub url: String,
    /// What the camera calls the profile.
    pub profile: String,
    /// How it is coded.
    pub codec: VideoCodec,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Pictures a second at most, if it says.
    pub fps: Option<u32>,
}
