//! Simulated cameras: our own RTSP server in live mode, fed from a small built-in clip.
//!
//! ```text
//! clip (in the binary) ─▶ feed (one task) ─▶ hub, a channel each ─▶ rtsp_server
//! ```
//!
//! Cheap on purpose, since the benchmark counts the recorder's CPU on the same machine: one task
//! for all cameras, payloads shared, no copy but the socket's. Units leave by the clip's own
//! clock against one start, so nothing drifts however long it runs; the clip loops without a seam:
//! numbers, times and sound go on.

mod clip;
mod feed;
mod sent;

use std::{io, net::SocketAddr, num::NonZeroU16, ops::RangeInclusive, path::PathBuf, sync::Arc};

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::{
    access::Access,
    clock::Clock,
    hub::{self, Hub},
    id::{Role, Slug, StreamId},
    model::Secret,
    rtsp_server::{self, BindError, Directory, DirectoryError, RtspServer, StreamRef},
};

pub use clip::ClipError;

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How many cameras: `/camera-1` and so on.
    pub cameras: NonZeroU16,
    /// Pads the pictures up to so many bits a second, sound included; as the clip is when `None`.
    pub bitrate: Option<u64>,
    /// The login that they want, if any.
    pub login: Option<(String, Secret)>,
    /// For RTP over UDP.
    pub udp_ports: RangeInclusive<u16>,
    /// Where to write what they send, a JSON line a unit.
    pub sent: Option<PathBuf>,
}

impl Settings {
    /// Cameras on that address that let everybody in.
    #[must_use]
    pub fn new(listen: SocketAddr, cameras: NonZeroU16) -> Self {
        Self { listen, cameras, bitrate: None, login: None, udp_ports: 42_000..=42_999, sent: None }
    }
}

/// Why the cameras could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The address is taken, or not ours.
    #[error("listen for players of simulated cameras")]
    Bind(#[from] BindError),
    /// A mistake at build time.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// The list of what is sent cannot be made.
    #[error("make {0}")]
    Sent(PathBuf, #[source] io::Error),
}

/// Simulated cameras, bound and not yet running.
pub struct Simulator {
    server: RtspServer,
    feed: feed::Feed,
    cameras: u16,
}

impl Simulator {
    /// Binds the address; spawns nothing.
    ///
    /// # Errors
    ///
    /// When the address cannot be had.
    pub async fn bind(settings: Settings, clock: Clock) -> Result<Self, SimulateError> {
        let clip = clip::Clip::load(settings.bitrate)?;
        let cameras = settings.cameras.get();
        // Payloads are the clip's own, whatever the rings hold of them.
        let limits = hub::Limits { per_stream: 64 << 20, total: usize::MAX };
        let hub = Arc::new(Hub::new(limits));
        let access = match &settings.login {
            Some((name, password)) => Access::fixed(name, password),
            None => Access::open_to_all(),
        };
        let sent = settings.sent.map(|path| {
            sent::SentLog::create(&path, &clip).map_err(|e| SimulateError::Sent(path, e))
        });
        let feed = feed::Feed::new(clip, &hub, cameras, clock.clone(), sent.transpose()?);
        // All players may come from one address, this one.
        let connections = usize::from(cameras) * 4 + 64;
        let server_settings = rtsp_server::Settings {
            listen: settings.listen,
            udp_ports: Some(settings.udp_ports),
            max_connections: connections,
            max_connections_per_address: connections,
            ..rtsp_server::Settings::default()
        };
        let parts = rtsp_server::Parts {
            hub,
            archive: None,
            access,
            directory: Arc::new(Cameras(cameras)),
            berths: crate::ingest::publish::Berths::default(),
            clock,
        };
        let server = RtspServer::bind(server_settings, parts).await?;
        Ok(Self { server, feed, cameras })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// The cameras' addresses, without credentials.
    pub fn urls(&self) -> impl Iterator<Item = String> + use<> {
        let addr = self.local_addr();
        (1..=self.cameras).map(move |n| format!("rtsp://{addr}/{}", name(n)))
    }

    /// Plays until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(self.server.run(stop.clone()), self.feed.run(stop));
    }
}

fn name(camera: u16) -> String {
    format!("camera-{camera}")
}

fn stream_id(camera: u16) -> StreamId {
    StreamId(i64::from(camera))
}

struct Cameras(u16);

impl Directory for Cameras {
    fn resolve<'a>(
        &'a self,
        camera: &'a str,
        stream: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<StreamRef>, DirectoryError>> {
        let number = camera.strip_prefix("camera-").and_then(|n| n.parse::<u16>().ok());
        // By its name, so that `camera-01` is nobody.
        let number = number.filter(|n| (1..=self.0).contains(n) && name(*n) == camera);
        let slug = camera.parse::<Slug>().ok();
        let found = match (number, slug, stream) {
            (Some(number), Some(slug), None | Some("main")) => Some(StreamRef {
                name: format!("Simulated camera {number}"),
                camera: slug,
                role: Role::Main,
                stream: stream_id(number),
            }),
            _ => None,
        };
        Box::pin(std::future::ready(Ok(found)))
    }
}
