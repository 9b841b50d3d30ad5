//! The wiring: build (may fail, starts nothing that records) then run (starts, waits for all,
//! drains in order).
//!
//! ```text
//! build: open files limit ─▶ index ─▶ access ─▶ volumes ─▶ recovery ─▶ listeners bound
//! run:   retention, cameras, RTSP, HTTP
//!        ─▶ stop ─▶ pulls ─▶ recorders ─▶ retention ─▶ players and clients ─▶ disk ─▶ index
//! ```
//!
//! Recovery comes before the first recorder, since it takes every row that is open for one that a
//! crash left. The drain goes with the flow of footage, so that nothing is cut off that is already
//! inside.

mod blame;
mod cameras;
mod clock;
mod collect;
mod coverage;
pub mod demo;
mod director;
mod directory;
pub mod health;
pub mod index;
mod journal;
mod lanes;
mod limits;
mod onvif;
mod recording;
mod retention;
pub mod shutdown;
mod storage;
pub mod telemetry;
#[cfg(test)]
mod tests;
mod tls;
mod when;

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context, bail};
use tokio::{net::TcpListener, sync::Notify, task::JoinSet, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access::Access,
    clock::{AgeHold, Clock},
    config::Config,
    disk::{self, Volumes},
    http,
    hub::{self, Hub},
    metrics::Metrics,
    model::{EventKind, Secret},
    playback::Archive,
    rebuild::Progress,
    record,
    rtsp_server::{self, RtspServer},
    store::Store,
};

use cameras::CameraSet;
use journal::{Journal, Topic};
use lanes::Lanes;
use retention::Retaining;

/// This version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Login of the first administrator.
pub const ADMIN: &str = "admin";

/// The whole recorder, ready to run.
pub struct App {
    clock: Clock,
    age_hold: AgeHold,
    store: Store,
    volumes: Arc<Volumes>,
    cameras: Arc<CameraSet>,
    lanes: Arc<Lanes>,
    retaining: Retaining,
    journal: Journal,
    notes: journal::Writer,
    /// A disk was replaced by another.
    replaced: Arc<Notify>,
    rtsp: RtspServer,
    http: TcpListener,
    router: axum::Router,
    tasks: TaskTracker,
    first_password: Option<Secret>,
    /// How far the index is that had to be made again.
    rebuild: Arc<Progress>,
    /// Why it has to be made again.
    lost: Option<String>,
    _lock: index::Lock,
}

impl App {
    /// Opens everything and binds the listeners.
    ///
    /// # Errors
    ///
    /// With what could not be opened, and why.
    pub async fn build(config: Config) -> anyhow::Result<Self> {
        if let Some((key, message)) = config.open_listeners().next() {
            bail!("{key}: {message}");
        }
        limits::raise_open_files();
        let clock = Clock::system();
        let index::Index { store, sealer, lost, lock } = index::open(&config, &clock).await?;
        let access = Access::new(store.clone(), sealer, clock.clone(), config.auth.mode);
        let age_hold = self::clock::open(&store, &clock).await;
        let known = index::known_markers(&store).await.context("read which volumes there were")?;
        let options = disk::Options { known, ..disk::Options::default() };
        let volumes = Volumes::open_with(volume_settings(&config), options);
        let volumes = volumes.context("open the volumes")?;
        let recovered =
            record::recover(&store, &volumes, &clock).await.context("complete what was open")?;
        tracing::info!(
            completed = recovered.completed,
            deleted = recovered.deleted,
            torn = recovered.torn,
            "rows that were open are complete",
        );
        let hub = Arc::new(Hub::new(hub::Limits::default()));
        let archive = Archive::new(store.clone(), volumes.clone(), hub.clone(), clock.clone());
        let retaining = Retaining::new(
            &config.retention,
            crate::retention::Parts {
                store: store.clone(),
                volumes: volumes.clone(),
                clock: clock.clone(),
                age: age_hold.clone(),
            },
        );
        let (journal, notes) = Journal::new(store.clone(), clock.clone());
        let lanes = Arc::new(Lanes::start().context("start the threads that record")?);
        let berths = crate::ingest::publish::Berths::default();
        let cameras = Arc::new(CameraSet::new(cameras::Parts {
            hub: hub.clone(),
            volumes: volumes.clone(),
            store: store.clone(),
            clock: clock.clone(),
            record: record::Settings { segment: config.recording.segment },
            lanes: Arc::clone(&lanes),
            journal: journal.clone(),
            berths: berths.clone(),
        }));
        let rtsp = RtspServer::bind(
            rtsp_server::Settings {
                listen: config.rtsp.listen,
                tls: tls::settings(&config),
                udp_ports: Some(config.rtsp.udp_ports.clone()),
                multicast: config.rtsp.multicast,
                ..rtsp_server::Settings::default()
            },
            rtsp_server::Parts {
                hub: hub.clone(),
                archive: Some(Arc::new(archive.clone())),
                access: access.clone(),
                directory: Arc::new(directory::Index(store.clone())),
                berths,
                clock: clock.clone(),
            },
        )
        .await
        .context("start the RTSP server")?;
        let listen = config.http.listen;
        let http = TcpListener::bind(listen)
            .await
            .with_context(|| format!("listen for HTTP on {listen}"))?;
        // Last of what may fail: a password made by a start that fails would be shown to nobody.
        let first_password = access
            .ensure_admin(config.auth.admin_password.clone())
            .await
            .context("make the first administrator")?;
        let rebuild = Arc::<Progress>::default();
        let replaced = Arc::<Notify>::default();
        let storage = Arc::new(storage::Storage {
            store: store.clone(),
            volumes: volumes.clone(),
            retention: Arc::clone(retaining.retention()),
            retaining: retaining.health(),
            age: age_hold.clone(),
            rebuild: Arc::clone(&rebuild),
            clock: clock.clone(),
            journal: journal.clone(),
            replaced: Arc::clone(&replaced),
        });
        let source = collect::Collector {
            cameras: cameras.clone(),
            volumes: volumes.clone(),
            storage: storage.clone(),
            hub,
            rtsp: rtsp.counters(),
            events: Arc::clone(journal.counters()),
            clock: clock.clone(),
        };
        let tasks = TaskTracker::new();
        let router = http::router(http::Parts {
            settings: http::Settings {
                base_path: config.http.base_path.clone(),
                rtsp_port: rtsp.local_addr().port(),
                volumes: config.volumes.iter().map(|v| name_of(&v.path)).collect(),
                metrics_token: config.metrics.token.clone(),
                version: VERSION,
            },
            store: store.clone(),
            access,
            rtsp: Some(rtsp.door()),
            archive,
            volumes: volumes.clone(),
            control: cameras.clone(),
            storage: storage.clone(),
            metrics: Arc::new(Metrics::new(VERSION).context("name the metrics")?),
            source: Arc::new(source),
            clock: clock.clone(),
            tasks: tasks.clone(),
        });
        Ok(Self {
            clock,
            age_hold,
            store,
            volumes,
            cameras,
            lanes,
            retaining,
            journal,
            notes,
            replaced,
            rtsp,
            http,
            router,
            tasks,
            first_password,
            rebuild,
            lost,
            _lock: lock,
        })
    }

    /// Where HTTP listens.
    ///
    /// # Errors
    ///
    /// When the system does not know.
    pub fn http_addr(&self) -> std::io::Result<SocketAddr> {
        self.http.local_addr()
    }

    /// How far the index is, when it had to be made again from the files.
    #[must_use]
    pub const fn rebuild(&self) -> &Arc<Progress> {
        &self.rebuild
    }

    /// Where RTSP listens.
    #[must_use]
    pub fn rtsp_addr(&self) -> SocketAddr {
        self.rtsp.local_addr()
    }

    /// Where RTSPS listens, if it does.
    #[must_use]
    pub fn rtsps_addr(&self) -> Option<SocketAddr> {
        self.rtsp.tls_addr()
    }

    /// The password that was made for [`ADMIN`] at the first start; to be shown once.
    #[must_use]
    pub const fn first_password(&self) -> Option<&Secret> {
        self.first_password.as_ref()
    }

    /// The index, to set up cameras before [`Self::run`].
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The clock.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Records and serves until `stop`, then drains.
    ///
    /// # Errors
    ///
    /// When a server ended by itself, or the drain did not end in time.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let edges = CancellationToken::new();
        let hangup = tls::on_hangup(self.rtsp.certificates(), edges.clone());
        self.tasks.spawn(hangup.context("listen for SIGHUP")?);
        let mut servers = JoinSet::new();
        let (rtsp_stop, http_stop) = (edges.clone(), edges.clone());
        servers.spawn(async move {
            self.rtsp.run(rtsp_stop).await;
            "RTSP"
        });
        servers.spawn(async move {
            http::serve(self.http, self.router, http_stop).await;
            "HTTP"
        });
        // Ends before the disk and the index do: in the drain.
        let behind = CancellationToken::new();
        let mut keeping = JoinSet::new();
        keeping.spawn(index::mirror(&self.store, &self.volumes).run(behind.clone()));
        if let Some(why) = self.lost {
            let (store, volumes) = (self.store.clone(), Arc::clone(&self.volumes));
            let (clock, progress) = (self.clock.clone(), Arc::clone(&self.rebuild));
            let stop = behind.clone();
            keeping.spawn(index::rebuild_behind(store, volumes, clock, progress, why, stop));
        }
        // What the others say while they stop is still written: it ends after them.
        let noted = CancellationToken::new();
        let mut notes = JoinSet::new();
        notes.spawn(self.notes.run(noted.clone()));
        self.journal.tell(Topic::Recorder, EventKind::Started, format!("version {VERSION}"));
        self.tasks.spawn(journal::watch::keeping(
            self.journal.clone(),
            Arc::clone(&self.volumes),
            self.store.clone(),
            self.retaining.retention().watch(),
            edges.clone(),
        ));
        // Before the cameras: what is to be freed is freed before there is more.
        self.retaining.start();
        let watched =
            clock::run(self.age_hold, self.store.clone(), self.journal.clone(), edges.clone());
        self.tasks.spawn(watched);
        let returned = record::returned::run(
            self.store.clone(),
            Arc::clone(&self.volumes),
            self.clock.clone(),
            edges.clone(),
        );
        self.tasks.spawn(returned);
        self.tasks.spawn(record::replaced::run(
            self.store.clone(),
            Arc::clone(&self.volumes),
            self.replaced,
            edges.clone(),
        ));
        let mut failed = self.cameras.start().await.err().map(|e| anyhow::anyhow!(e));
        if failed.is_none() {
            tracing::info!(version = VERSION, "recording and serving");
            tokio::select! {
                () = stop.cancelled() => {}
                Some(ended) = servers.join_next() => {
                    let name = ended.unwrap_or("a server (it panicked)");
                    failed = Some(anyhow::anyhow!("{name} ended by itself"));
                }
            }
        }
        stop.cancel();
        let why = failed.as_ref().map_or("as it was told", |_| "a part of it failed");
        self.journal.tell(Topic::Recorder, EventKind::Stopping, why);
        let deadline = Instant::now() + shutdown::WITHIN;
        let mut whole = shutdown::stage("cameras", deadline, self.cameras.shut_down()).await;
        whole &= shutdown::stage("lanes", deadline, self.lanes.shut_down()).await;
        // A segment that closes may still need room; from here on none does.
        whole &= shutdown::stage("retention", deadline, self.retaining.shut_down()).await;
        edges.cancel();
        whole &= shutdown::stage("players and clients", deadline, async {
            while servers.join_next().await.is_some() {}
        })
        .await;
        self.tasks.close();
        whole &= shutdown::stage("changes", deadline, self.tasks.wait()).await;
        behind.cancel();
        whole &= shutdown::stage("rebuild and state.json", deadline, async {
            while keeping.join_next().await.is_some() {}
        })
        .await;
        noted.cancel();
        whole &= shutdown::stage("events", deadline, async {
            while notes.join_next().await.is_some() {}
        })
        .await;
        whole &= shutdown::stage("disk", deadline, self.volumes.shut_down()).await;
        whole &= shutdown::stage("index", deadline, self.store.close()).await;
        match failed {
            Some(error) => Err(error),
            None if whole => {
                tracing::info!("stopped");
                Ok(())
            }
            None => bail!("the drain did not end in time"),
        }
    }
}

fn volume_settings(config: &Config) -> disk::Settings {
    let volume = |v: &crate::config::Volume| disk::VolumeSettings {
        path: v.path.clone(),
        max_bytes: v.max_bytes,
        min_free_bytes: v.min_free_bytes,
    };
    disk::Settings {
        volumes: config.volumes.iter().map(volume).collect(),
        sync_interval: config.recording.sync_interval,
        ..disk::Settings::default()
    }
}

/// What a volume is called in rows and in the API.
fn name_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
