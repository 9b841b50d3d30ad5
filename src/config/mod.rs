//! Settings: a TOML file, the environment over it, all mistakes reported at once.
//!
//! `config/vedette.toml` is the commented default. Any key can be set by a variable: `VEDETTE_`,
//! then the key in capitals with `__` for each dot: `VEDETTE_HTTP__LISTEN`,
//! `VEDETTE_VOLUMES__0__PATH`. `VEDETTE_ADMIN_PASSWORD` and `VEDETTE_METRICS_TOKEN` are short for
//! `auth.admin_password` and `metrics.token`. An empty variable counts as not set.
//!
//! A key that does not exist is a mistake, in either place: a misspelt setting that is silently
//! ignored is found out when the footage is gone. Cameras are not here: they are added over the
//! API and stand in the index.

mod parse;
mod source;
#[cfg(test)]
mod tests;

use std::{
    fmt, fs, io,
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use self::source::Source;
use crate::{access::Mode, model::Secret, rtsp_server::Multicast};

/// Read when no other file is named, if it is there.
pub const DEFAULT_FILE: &str = "/etc/vedette/vedette.toml";

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[http]`
    pub http: Http,
    /// `[rtsp]`
    pub rtsp: Rtsp,
    /// `[tls]`; there when `rtsp.tls_listen` is.
    pub tls: Option<Tls>,
    /// `[database]`
    pub database: Database,
    /// `[[volumes]]`; never empty, paths differ.
    pub volumes: Vec<Volume>,
    /// `[recording]`
    pub recording: Recording,
    /// `[retention]`
    pub retention: Retention,
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
    /// Address and port for RTSPS: `0.0.0.0:8322`.
    pub tls_listen: Option<SocketAddr>,
    /// Ports for RTP over UDP, to publish through a firewall: begins even, ends odd.
    pub udp_ports: RangeInclusive<u16>,
    /// Live footage by multicast, when `rtsp.multicast` names groups.
    pub multicast: Option<Multicast>,
}

/// `[tls]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificate, and those it was issued by behind it; PEM.
    pub cert: PathBuf,
    /// Its private key; PEM.
    pub key: PathBuf,
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

/// `[retention]`: for how long what is no footage is kept; `None`: for ever. Footage goes by the
/// limits of cameras and volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Events.
    pub events: Option<Duration>,
    /// Who changed what.
    pub audit: Option<Duration>,
    /// Gaps, and why, before which no footage is left.
    pub gaps: Option<Duration>,
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

/// Footage, when no volume is named.
const DEFAULT_VOLUME: &str = "/var/lib/vedette/footage";
const DEFAULT_DATABASE: &str = "/var/lib/vedette/vedette.db";
const KEY_FILE: &str = "vedette.key";
const DEFAULT_MIN_FREE_BYTES: u64 = 1_000_000_000;
const SEGMENT_SECONDS: std::ops::RangeInclusive<i64> = 2..=3_600;
const SYNC_SECONDS: std::ops::RangeInclusive<i64> = 1..=60;
/// Zero is for ever.
const KEPT_DAYS: std::ops::RangeInclusive<i64> = 0..=36_500;
const YEAR: Option<Duration> = Some(Duration::from_secs(365 * DAY));
const DAY: u64 = 86_400;

impl Default for Config {
    fn default() -> Self {
        Self {
            http: Http { listen: ([0, 0, 0, 0], 8080).into(), base_path: String::new() },
            rtsp: Rtsp {
                listen: ([0, 0, 0, 0], 8554).into(),
                tls_listen: None,
                udp_ports: 20_000..=20_999,
                multicast: None,
            },
            tls: None,
            database: Database::at(DEFAULT_DATABASE.into()),
            volumes: vec![Volume::at(DEFAULT_VOLUME.into())],
            recording: Recording {
                segment: Duration::from_secs(60),
                sync_interval: Duration::from_secs(5),
            },
            retention: Retention { events: YEAR, audit: YEAR, gaps: YEAR },
            auth: Auth { mode: Mode::Password, admin_password: None },
            metrics: Metrics { token: None },
            log: Log { level: "info".into(), format: LogFormat::Text },
        }
    }
}

impl Database {
    /// With the key file beside it.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        let key_file = path.with_file_name(KEY_FILE);
        Self { path, key_file }
    }
}

impl Volume {
    /// With no limit but the room to leave free.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path, max_bytes: None, min_free_bytes: DEFAULT_MIN_FREE_BYTES }
    }
}

/// The environment as [`Config::load`] takes it: variables of ours. Bytes that are no UTF-8 are
/// replaced, so that they show up as a mistake in their variable.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .map(|(name, text)| {
            (name.to_string_lossy().into_owned(), text.to_string_lossy().into_owned())
        })
        .filter(|(name, _)| name.starts_with("VEDETTE_"))
}

impl Config {
    /// Reads `file`, or [`DEFAULT_FILE`] if there is one, or nothing; then the environment.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Mistakes> {
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        let name = path.display().to_string();
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&name, &text, environment),
            Err(e) if file.is_none() && e.kind() == io::ErrorKind::NotFound => {
                Self::parse(&name, "", environment)
            }
            Err(e) => Err(Mistakes(vec![Mistake {
                source: name,
                key: "file".into(),
                message: format!("cannot be read: {e}"),
            }])),
        }
    }

    /// Reads a file's text (`name` is for mistakes) and the environment over it.
    pub fn parse(
        name: &str,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Mistakes> {
        let mut source = Source::new();
        source.file(name, text);
        source.environment(environment);
        let config = Self::read(&mut source);
        config.check(&mut source);
        source.finish().map(|()| config)
    }

    /// A default stands in for what is wrong, so that everything is looked at.
    fn read(source: &mut Source) -> Self {
        let mut config = Self::default();
        let set = |seconds: i64| Duration::from_secs(seconds.unsigned_abs());

        let http = &mut config.http;
        if let Some(listen) = source.take("http.listen", parse::address) {
            http.listen = listen;
        }
        if let Some(base_path) = source.take("http.base_path", parse::base_path) {
            http.base_path = base_path;
        }

        let rtsp = &mut config.rtsp;
        if let Some(listen) = source.take("rtsp.listen", parse::address) {
            rtsp.listen = listen;
        }
        rtsp.tls_listen = source.take("rtsp.tls_listen", parse::address);
        config.tls = Tls::read(source, rtsp.tls_listen.is_some());
        if let Some(ports) = source.take("rtsp.udp_ports", parse::ports) {
            rtsp.udp_ports = ports;
        }
        let groups = source.take("rtsp.multicast", parse::groups);
        let port = source.take("rtsp.multicast_port", parse::even_port);
        let ttl = source.take("rtsp.multicast_ttl", |v| parse::integer(v, 1..=255));
        let interface = source.take("rtsp.multicast_interface", parse::ipv4);
        for (key, set) in [
            ("rtsp.multicast_port", port.is_some()),
            ("rtsp.multicast_ttl", ttl.is_some()),
            ("rtsp.multicast_interface", interface.is_some()),
        ] {
            if set && !source.was_set("rtsp.multicast") {
                source.refuse(key, "has no effect without rtsp.multicast");
            }
        }
        rtsp.multicast = groups.map(|(first, groups)| Multicast {
            first,
            groups,
            port: port.unwrap_or(30_000),
            ttl: ttl.and_then(|ttl| u8::try_from(ttl).ok()).unwrap_or(1),
            interface: interface.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED),
        });

        if let Some(path) = source.take("database.path", parse::filled) {
            config.database = Database::at(path.into());
        }
        if let Some(path) = source.take("database.key_file", parse::filled) {
            config.database.key_file = path.into();
        }

        let volumes: Vec<_> =
            (0..source.list("volumes")).filter_map(|n| Volume::read(source, n)).collect();
        if !volumes.is_empty() {
            config.volumes = volumes;
        }

        let recording = &mut config.recording;
        let segment = |value: &_| parse::integer(value, SEGMENT_SECONDS).map(set);
        if let Some(segment) = source.take("recording.segment_seconds", segment) {
            recording.segment = segment;
        }
        let sync = |value: &_| parse::integer(value, SYNC_SECONDS).map(set);
        if let Some(interval) = source.take("recording.sync_interval_seconds", sync) {
            recording.sync_interval = interval;
        }

        let retention = &mut config.retention;
        for (key, kept) in [
            ("retention.events_days", &mut retention.events),
            ("retention.audit_days", &mut retention.audit),
            ("retention.gaps_days", &mut retention.gaps),
        ] {
            if let Some(days) = source.take(key, |value| parse::integer(value, KEPT_DAYS)) {
                let days = days.unsigned_abs();
                *kept = (days > 0).then(|| Duration::from_secs(days * DAY));
            }
        }

        let modes = [("password", Mode::Password), ("none", Mode::None)];
        if let Some(mode) = source.take("auth.mode", |value| parse::choice(value, &modes)) {
            config.auth.mode = mode;
        }
        config.auth.admin_password =
            source.take("auth.admin_password", parse::secret).map(Secret::new);
        config.metrics.token = source.take("metrics.token", parse::secret).map(Secret::new);

        if let Some(level) = source.take("log.level", parse::filled) {
            config.log.level = level;
        }
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        if let Some(format) = source.take("log.format", |value| parse::choice(value, &formats)) {
            config.log.format = format;
        }
        config
    }

    /// Listeners that others reach while nobody has to log in, and what is wrong with that. For
    /// whoever changes addresses after loading, too.
    pub fn open_listeners(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.listeners()
            .filter(|(_, listen)| {
                self.auth.mode == Mode::None && !listen.ip().to_canonical().is_loopback()
            })
            .map(|(key, listen)| {
                let message = format!(
                    "with auth.mode = \"none\" everybody who reaches {listen} sees and changes \
                     everything: listen on 127.0.0.1, or set a password"
                );
                (key, message)
            })
    }

    /// Where anything listens, by key.
    fn listeners(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let rtsps = self.rtsp.tls_listen.map(|listen| ("rtsp.tls_listen", listen));
        [("http.listen", self.http.listen), ("rtsp.listen", self.rtsp.listen)]
            .into_iter()
            .chain(rtsps)
    }

    /// What no single key shows.
    fn check(&self, source: &mut Source) {
        for (key, message) in self.open_listeners() {
            source.refuse(key, message);
        }
        for (n, (key, own)) in self.listeners().enumerate() {
            let taken = self.listeners().take(n).find(|(_, other)| {
                let unspecified = own.ip().is_unspecified() || other.ip().is_unspecified();
                own.port() == other.port()
                    && own.port() != 0
                    && (own.ip() == other.ip() || unspecified)
            });
            if let Some((other, _)) = taken {
                source.refuse(key, format!("port {} is that of {other}", own.port()));
            }
        }
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log.level) {
            source.refuse("log.level", error);
        }
        for (n, volume) in self.volumes.iter().enumerate() {
            let key = format!("volumes.{n}.path");
            let earlier = self.volumes.iter().take(n);
            if earlier.clone().any(|other| other.path == volume.path) {
                source.refuse(&key, format!("{} is a volume already", volume.path.display()));
            } else if let Some(other) = earlier.clone().find(|other| {
                volume.path.starts_with(&other.path) || other.path.starts_with(&volume.path)
            }) {
                source
                    .refuse(&key, format!("must not share a folder with {}", other.path.display()));
            }
        }
    }
}

impl Tls {
    /// `used`: something is to be encrypted. A certificate that nothing would use is refused: it
    /// would be taken for encryption that is not there.
    fn read(source: &mut Source, used: bool) -> Option<Self> {
        let mut wrong = false;
        let mut path = |key: &str| {
            source.take(key, |value| {
                match parse::filled(value) {
                    Ok(_) if !used => Err("encrypts nothing: set rtsp.tls_listen, too".to_owned()),
                    path => path.map(PathBuf::from),
                }
                .inspect_err(|_| wrong = true)
            })
        };
        let (cert, key) = (path("tls.cert"), path("tls.key"));
        if used && !wrong {
            for (name, missing) in [("cert", cert.is_none()), ("key", key.is_none())] {
                if missing {
                    let message = format!("needs tls.{name}, a file in PEM");
                    source.refuse("rtsp.tls_listen", message);
                }
            }
        }
        Some(Self { cert: cert?, key: key? })
    }
}

impl Volume {
    fn read(source: &mut Source, n: usize) -> Option<Self> {
        let key = |name: &str| format!("volumes.{n}.{name}");
        let max_bytes = source.take(&key("max_bytes"), parse::bytes);
        let min_free_bytes = source.take(&key("min_free_bytes"), parse::bytes);
        let mut wrong = false;
        let path = source.take(&key("path"), |value| {
            let path = PathBuf::from(parse::filled(value).inspect_err(|_| wrong = true)?);
            if path.is_absolute() {
                // Without trailing slashes and dots: it is also the volume's name.
                Ok(path.components().collect::<PathBuf>())
            } else {
                wrong = true;
                Err("must be absolute: it is remembered with the footage".to_owned())
            }
        });
        if path.is_none() && !wrong {
            source.missing(&format!("volumes.{n}"), "path");
        }
        let default = Self::at(path?);
        Some(Self {
            max_bytes,
            min_free_bytes: min_free_bytes.unwrap_or(default.min_free_bytes),
            ..default
        })
    }
}
