//! Settings: TOML file, environment over it, all mistakes reported at once.
//!
//! Signatures fixed; bodies follow.

use std::{
    fmt,
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{access::Mode, model::Secret};

/// Read when no other file is named, if it is there.
pub const DEFAULT_FILE: &str = "/etc/vedette/vedette.toml";

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[http]`
    pub http: Http,
    /// `[rtsp]`
    pub rtsp: Rtsp,
    /// `[database]`
    pub database: Database,
    /// `[[volumes]]`; never empty, paths differ.
    pub volumes: Vec<Volume>,
    /// `[recording]`
    pub recording: Recording,
    /// `[auth]`
    pub auth: Auth,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[log]`
    pub log: Log,
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Address and port: `0.0.0.0:8080`.
    pub listen: SocketAddr,
    /// Prefix behind a reverse proxy: empty, or begins with `/` and does not end with one.
    pub base_path: String,
}

/// `[rtsp]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rtsp {
    /// Address and port: `0.0.0.0:8554`.
    pub listen: SocketAddr,
    /// Ports for RTP over UDP, to publish through a firewall: begins even, ends odd.
    pub udp_ports: RangeInclusive<u16>,
}

/// `[database]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// The index.
    pub path: PathBuf,
    /// The key that seals passwords; by default `vedette.key` beside the index.
    pub key_file: PathBuf,
}

/// `[[volumes]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Root folder; also the volume's name.
    pub path: PathBuf,
    /// Most bytes of footage on it.
    pub max_bytes: Option<u64>,
    /// Room to leave free on its file system.
    pub min_free_bytes: u64,
}

/// `[recording]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// Length of a segment: 2 s to 1 h; cut at the first key frame after it.
    pub segment: Duration,
    /// A power cut loses at most so much.
    pub sync_interval: Duration,
}

/// `[auth]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Whether a login is needed.
    pub mode: Mode,
    /// `VEDETTE_ADMIN_PASSWORD`.
    pub admin_password: Option<Secret>,
}

/// `[metrics]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// `VEDETTE_METRICS_TOKEN`: bearer token that may scrape, and nothing else.
    pub token: Option<Secret>,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A `tracing` filter: `info`, or `info,vedette::ingest=debug`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// Everything that is wrong with the settings, one mistake a line when printed.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

/// One thing wrong, where, and with what key.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    /// `file:line` or the environment variable.
    pub source: String,
    /// `volumes.0.path`
    pub key: String,
    /// What to do differently.
    pub message: String,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, m) in self.0.iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            write!(f, "{newline}{}: {}: {}", m.source, m.key, m.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

#[expect(clippy::todo, unused_variables, reason = "stub")]
impl Config {
    /// Reads `file`, or [`DEFAULT_FILE`] if there is one, or nothing; then the environment.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Mistakes> {
        todo!()
    }
}

#[expect(clippy::todo, reason = "stub")]
impl Default for Config {
    fn default() -> Self {
        todo!()
    }
}
