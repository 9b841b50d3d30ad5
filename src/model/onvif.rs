//! Where a camera answers ONVIF.

/// Where a camera answers ONVIF, and whether its events are listened to. It is asked with the
/// camera's own login.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Onvif {
    /// Name or address.
    pub host: String,
    /// TCP.
    pub port: u16,
    /// Of its device service.
    pub path: String,
    /// Whether its events go on the timeline.
    pub events: bool,
}

impl Onvif {
    /// The port that most use.
    pub const PORT: u16 = 80;
    /// The path that nearly all use.
    pub const PATH: &'static str = "/onvif/device_service";
}
