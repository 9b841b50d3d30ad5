//! `vedette demo`: simulated cameras and a recorder of them, in a folder of its own.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    path::PathBuf,
};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::{ADMIN, App};
use crate::{
    clock::Clock,
    config::{self, Config},
    id::{CameraId, Role, Slug, StreamId},
    model::{Camera, CameraStream, RecordMode, RetentionLimits, Transport},
    simulate::{self, Simulator},
};

/// Preferred ports; any other when they are taken.
const HTTP_PORT: u16 = 8080;
const RTSP_PORT: u16 = 8554;
const SIMULATE_PORT: u16 = 8555;

/// What to show.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where footage and index go; a temporary folder, gone afterwards, when `None`.
    pub data: Option<PathBuf>,
    /// How many cameras.
    pub cameras: NonZeroU16,
    /// Where to listen for browsers and players.
    pub host: IpAddr,
}

/// A folder that goes with its owner.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "remove the temporary folder");
        }
    }
}

/// Runs the demo until `stop`. `config` is what file and environment say; addresses, database and
/// volumes are replaced.
///
/// # Errors
///
/// As [`App::build`] and [`App::run`].
pub async fn run(
    settings: Settings,
    mut config: Config,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (folder, scratch) = folder(settings.data)?;
    config.http.listen = free(settings.host, HTTP_PORT);
    config.rtsp.listen = free(settings.host, RTSP_PORT);
    config.database.path = folder.join("vedette.db");
    config.database.key_file = folder.join("vedette.key");
    config.volumes = vec![config::Volume {
        path: folder.join("footage"),
        max_bytes: None,
        min_free_bytes: config.volumes.first().map_or(0, |v| v.min_free_bytes),
    }];
    let given = config.auth.admin_password.clone();

    let loopback = IpAddr::from([127, 0, 0, 1]);
    let cameras = simulate::Settings::new(free(loopback, SIMULATE_PORT), settings.cameras);
    let simulator = Simulator::bind(cameras, Clock::system()).await?;
    let app = App::build(config).await?;
    let mut slugs = Vec::new();
    for (n, url) in (1..).zip(simulator.urls()) {
        slugs.push(add(&app, n, url).await.context("add a simulated camera")?);
    }

    let (http, rtsp) = (app.http_addr()?, app.rtsp_addr());
    println!("folder: {}", folder.display());
    println!("page: http://{http}/");
    println!("login: {ADMIN}");
    match app.first_password().or(given.as_ref()) {
        Some(password) => println!("password: {}", password.expose()),
        None => println!("password: the one this folder was first started with"),
    }
    for slug in &slugs {
        println!("live: rtsp://{rtsp}/{slug}");
        println!("recording: rtsp://{rtsp}/{slug}/recording");
    }
    println!(
        "Open an address in VLC (Media, Open Network Stream) or the page in a browser; Ctrl-C ends it."
    );
    println!("ready");

    let cameras_stop = CancellationToken::new();
    let simulated = simulator.run(cameras_stop.clone());
    let recorded = async {
        let outcome = app.run(stop).await;
        // Last, so that the recorder ends with whole segments and not with lost cameras.
        cameras_stop.cancel();
        outcome
    };
    let ((), outcome) = tokio::join!(simulated, recorded);
    drop(scratch);
    outcome
}

fn folder(given: Option<PathBuf>) -> anyhow::Result<(PathBuf, Option<Scratch>)> {
    use std::os::unix::fs::DirBuilderExt;
    let (path, temporary) = match given {
        Some(path) => (path, false),
        None => {
            let name = format!("vedette-demo-{:08x}", rand::random::<u32>());
            (std::env::temp_dir().join(name), true)
        }
    };
    // Its own user's only: it holds passwords and pictures.
    let mut builder = std::fs::DirBuilder::new();
    builder
        .recursive(!temporary)
        .mode(0o700)
        .create(&path)
        .with_context(|| format!("make the folder {}", path.display()))?;
    let scratch = temporary.then(|| Scratch(path.clone()));
    Ok((path, scratch))
}

/// The port wanted, or any when it is taken.
fn free(host: IpAddr, port: u16) -> SocketAddr {
    let wanted = SocketAddr::new(host, port);
    match std::net::TcpListener::bind(wanted) {
        Ok(_) => wanted,
        Err(_) => SocketAddr::new(host, 0),
    }
}

async fn add(app: &App, n: u16, url: String) -> anyhow::Result<Slug> {
    let slug: Slug = format!("camera-{n}").parse()?;
    let now = app.clock().now();
    if let Some(mut camera) = app.store().camera_by_slug(&slug).await? {
        for stream in &mut camera.streams {
            stream.url.clone_from(&url);
        }
        camera.updated = now;
        app.store().update_camera(&camera).await?;
        return Ok(slug);
    }
    let camera = Camera {
        id: CameraId::generate(app.clock()),
        slug: slug.clone(),
        name: format!("Camera {n}"),
        enabled: true,
        username: None,
        password: None,
        tls: Default::default(),
        record: RecordMode::Always,
        when: Default::default(),
        retention: RetentionLimits::default(),
        volume: None,
        streams: vec![CameraStream {
            id: StreamId::generate(app.clock()),
            role: Role::Main,
            url,
            transport: Transport::Auto,
            audio: true,
            record: None,
            retention: None,
            volume: None,
            created: now,
        }],
        created: now,
        updated: now,
        sealed_broken: false,
        source: crate::model::Source::Pull,
    };
    app.store().insert_camera(camera).await?;
    Ok(slug)
}
