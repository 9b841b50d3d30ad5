//! The `vedette` command: arguments, then settings, then the log, then what was asked for.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use tokio_util::sync::CancellationToken;
use vedette::{
    app::{
        self, App, demo, health,
        index::{self, CheckOptions},
        shutdown, telemetry,
    },
    clock::Clock,
    config::{Config, Mistakes},
    ingest::{self, ProbeReport, PullTarget},
    model::{Secret, Transport},
    simulate::{self, Simulator},
};

/// Each picture is an allocation of its own size, freed on another thread than it was made on; the
/// system's allocator spent a sixth of all time on that with forty cameras.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What went wrong while running.
const FAILED: u8 = 1;
/// Wrong usage or settings.
const USAGE: u8 = 2;
/// What was asked about is not well.
const UNWELL: u8 = 3;

/// The password of simulated cameras, so that it need not stand in the process list.
const SIMULATE_PASSWORD: &str = "VEDETTE_SIMULATE_PASSWORD";

const EXIT_CODES: &str = "\
Exit codes:
  0  fine
  1  failed while running
  2  wrong usage or settings
  3  what was asked about is not well (healthcheck, probe; check: findings that are not mended)

Settings come from a TOML file and, over it, from the environment: VEDETTE_HTTP__LISTEN=127.0.0.1:8080.
VEDETTE_ADMIN_PASSWORD is the administrator's password at the first start.";

/// A network video recorder.
#[derive(Debug, Parser)]
#[command(name = "vedette", version, about, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Record the cameras that were added, and serve them.
    Serve {
        /// TOML file.
        #[arg(long, env = "VEDETTE_CONFIG")]
        config: Option<PathBuf>,
    },
    /// Simulated cameras and a recorder of them, to look around.
    Demo {
        /// Keep everything in this folder (else: a temporary one, gone afterwards).
        #[arg(long)]
        data: Option<PathBuf>,
        /// How many cameras.
        #[arg(long, default_value = "3")]
        cameras: NonZeroU16,
        /// Address to listen on for browsers and players.
        #[arg(long, default_value = "127.0.0.1")]
        host: IpAddr,
    },
    /// RTSP cameras from a built-in clip: rtsp://LISTEN/camera-1 and so on.
    Simulate {
        /// How many.
        #[arg(long, default_value = "1")]
        cameras: NonZeroU16,
        #[arg(long, default_value = "127.0.0.1:8555")]
        listen: SocketAddr,
        /// Pad each camera up to so many bits a second.
        #[arg(long)]
        bitrate: Option<u64>,
        /// Login that the cameras want.
        #[arg(long, requires = "password")]
        user: Option<String>,
        #[arg(long, requires = "user", env = SIMULATE_PASSWORD, hide_env_values = true)]
        password: Option<String>,
        /// Write down each unit as it is sent, a JSON line each.
        #[arg(long)]
        sent: Option<PathBuf>,
    },
    /// Watch a camera for some seconds and say what it sends and what is wrong with it.
    Probe {
        /// rtsp://[USER:PASSWORD@]HOST/PATH
        url: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[arg(long, value_enum, default_value_t)]
        transport: TransportArgument,
        /// How long to watch.
        #[arg(long, default_value = "8")]
        seconds: u64,
    },
    /// Make the whole index again from the files of footage, in the place of the old one.
    ///
    /// Vedette must not be running. The old index is kept under another name. What was interrupted
    /// goes on when it is asked again.
    Reindex {
        /// TOML file.
        #[arg(long, env = "VEDETTE_CONFIG")]
        config: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compare the index with the files of footage.
    ///
    /// Without --repair nothing is changed, and Vedette may be running.
    Check {
        /// Mend what is found; Vedette must not be running.
        #[arg(long)]
        repair: bool,
        /// Read every box of every file.
        #[arg(long)]
        deep: bool,
        /// TOML file.
        #[arg(long, env = "VEDETTE_CONFIG")]
        config: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Copy the index, also while Vedette is running.
    Backup {
        /// Where to; a file that is there is replaced when the copy is whole.
        file: PathBuf,
        /// TOML file.
        #[arg(long, env = "VEDETTE_CONFIG")]
        config: Option<PathBuf>,
    },
    /// Ask a running recorder whether it is ready.
    Healthcheck {
        /// Its address (else: this machine, at the port of the settings).
        #[arg(long)]
        url: Option<url::Url>,
        /// Only whether it answers at all.
        #[arg(long)]
        alive: bool,
        /// TOML file.
        #[arg(long, env = "VEDETTE_CONFIG")]
        config: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum TransportArgument {
    #[default]
    Auto,
    Tcp,
    Udp,
    Http,
}

impl From<TransportArgument> for Transport {
    fn from(argument: TransportArgument) -> Self {
        match argument {
            TransportArgument::Auto => Self::Auto,
            TransportArgument::Tcp => Self::Tcp,
            TransportArgument::Udp => Self::Udp,
            TransportArgument::Http => Self::Http,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("vedette: start threads: {error}");
            return ExitCode::from(FAILED);
        }
    };
    match runtime.block_on(run(arguments.command)) {
        Ok(code) => code,
        Err(error) if error.is::<Mistakes>() => {
            eprintln!("vedette: the settings cannot be used:\n{error}");
            ExitCode::from(USAGE)
        }
        Err(error) => {
            eprintln!("vedette: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve { config } => serve(config).await,
        Command::Demo { data, cameras, host } => {
            let config = load(None)?;
            telemetry::init(&config.log)?;
            let stop = stop_on_signal()?;
            demo::run(demo::Settings { data, cameras, host }, config, stop).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Simulate { cameras, listen, bitrate, user, password, sent } => {
            let login = user.zip(password.map(Secret::new));
            let mut settings = simulate::Settings::new(listen, cameras);
            settings.bitrate = bitrate;
            settings.login = login;
            settings.sent = sent;
            simulated(settings).await
        }
        Command::Probe { url, json, transport, seconds } => {
            probe(&url, json, transport.into(), Duration::from_secs(seconds)).await
        }
        Command::Reindex { config, json } => reindex(config, json).await,
        Command::Check { repair, deep, config, json } => {
            check(config, CheckOptions { repair, deep }, json).await
        }
        Command::Backup { file, config } => backup(&file, config).await,
        Command::Healthcheck { url, alive, config } => healthcheck(url, alive, config).await,
    }
}

fn load(file: Option<PathBuf>) -> Result<Config, Mistakes> {
    // Not a setting but an argument of `simulate`; settings that nobody knows are mistakes.
    let environment = vedette::config::environment().filter(|(name, _)| name != SIMULATE_PASSWORD);
    Config::load(file.as_deref(), environment)
}

fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let signals = shutdown::on_signal(stop.clone()).context("listen for signals")?;
    // Nobody waits for it: it lives as long as the process, to hear the second Ctrl-C.
    tokio_util::task::TaskTracker::new().spawn(signals);
    Ok(stop)
}

async fn serve(file: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let config = load(file)?;
    telemetry::init(&config.log)?;
    let stop = stop_on_signal()?;
    let app = App::build(config).await?;
    let rtsps = app.rtsps_addr().map(tracing::field::display);
    tracing::info!(http = %app.http_addr()?, rtsp = %app.rtsp_addr(), rtsps, "listening");
    if let Some(password) = app.first_password() {
        // Not through the log, which is collected and kept.
        eprintln!(
            "\n  The administrator's login was made:  {} / {}\n  It is shown this once.\n",
            app::ADMIN,
            password.expose()
        );
    }
    app.run(stop).await?;
    Ok(ExitCode::SUCCESS)
}

async fn simulated(settings: simulate::Settings) -> anyhow::Result<ExitCode> {
    telemetry::init(&load(None)?.log)?;
    let stop = stop_on_signal()?;
    let simulator = Simulator::bind(settings, Clock::system()).await?;
    for url in simulator.urls() {
        println!("{url}");
    }
    simulator.run(stop).await;
    Ok(ExitCode::SUCCESS)
}

async fn probe(
    url: &str,
    json: bool,
    transport: Transport,
    watch: Duration,
) -> anyhow::Result<ExitCode> {
    let target = match PullTarget::new(url, None, None, transport, true) {
        Ok(target) => target,
        Err(error) => {
            eprintln!("vedette: {error}");
            return Ok(ExitCode::from(USAGE));
        }
    };
    let report = match ingest::probe(&target, watch, &Clock::system()).await {
        Ok(report) => report,
        // Nothing could be learned: that is what is wrong with it.
        Err(error) => {
            let problems = vec![format!("{:#}", anyhow::Error::from(error))];
            ProbeReport { problems, ..ProbeReport::default() }
        }
    };
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        for track in &report.tracks {
            print!("{}: {}", track.media, track.codec);
            if let (Some(width), Some(height)) = (track.width, track.height) {
                print!(" {width}x{height}");
            }
            if let Some(fps) = track.measured_fps {
                print!(", {fps:.2} pictures/s");
            }
            if let Some(seconds) = track.key_frame_interval_seconds {
                print!(", a key frame every {seconds:.2} s");
            }
            let recorded = if track.usable { "" } else { ", cannot be recorded" };
            println!(", {} kbit/s{recorded}", track.bitrate_bps / 1_000);
        }
        for problem in &report.problems {
            println!("problem: {problem}");
        }
        if report.problems.is_empty() {
            println!("nothing is wrong");
        }
    }
    Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(UNWELL) })
}

async fn reindex(file: Option<PathBuf>, json: bool) -> anyhow::Result<ExitCode> {
    let config = load(file)?;
    telemetry::init(&config.log)?;
    let outcome = index::reindex(&config, stop_on_signal()?).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&outcome)?);
        return Ok(ExitCode::SUCCESS);
    }
    let done = &outcome.done;
    println!("{} files, {} segments, {} streams", done.files, done.segments, done.streams);
    if done.mended + done.empty > 0 {
        println!("{} torn files made whole, {} without footage", done.mended, done.empty);
    }
    let lists = [
        ("of a later version, left alone", &done.newer),
        ("cannot be read, left alone", &done.unreadable),
        ("not Vedette's, left alone", &done.foreign),
    ];
    for (what, files) in lists {
        files.iter().for_each(|f| println!("{what}: {}", f.display()));
    }
    done.away.iter().for_each(|v| println!("volume not there: {v}"));
    if let Some(kept) = &outcome.kept {
        println!("the old index is kept: {}", kept.display());
    }
    Ok(ExitCode::SUCCESS)
}

async fn check(
    file: Option<PathBuf>,
    options: CheckOptions,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let config = load(file)?;
    telemetry::init(&config.log)?;
    let checked = index::check(&config, options, stop_on_signal()?).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&checked)?);
    } else {
        for found in &checked.findings {
            let mended = if found.mended { " (mended)" } else { "" };
            let (kind, path) = (found.kind.as_str(), found.path.display());
            println!("{kind}{mended}: {} {path}: {}", found.stream, found.detail);
        }
        if checked.truncated {
            println!("and more");
        }
        println!("{} files, {} rows, {} things wrong", checked.files, checked.rows, checked.wrong);
    }
    Ok(if checked.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(UNWELL) })
}

async fn backup(to: &std::path::Path, file: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let config = load(file)?;
    telemetry::init(&config.log)?;
    let bytes = index::backup(&config, to).await?;
    println!("{}: {bytes} bytes", to.display());
    Ok(ExitCode::SUCCESS)
}

async fn healthcheck(
    url: Option<url::Url>,
    alive: bool,
    file: Option<PathBuf>,
) -> anyhow::Result<ExitCode> {
    let url = match url {
        Some(url) => url,
        None => {
            let http = load(file)?.http;
            let mut listen = http.listen;
            if listen.ip().is_unspecified() {
                listen.set_ip(match listen.ip() {
                    IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
                    IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
                });
            }
            format!("http://{listen}{}", http.base_path).parse()?
        }
    };
    let path = if alive { "/healthz" } else { "/readyz" };
    let why = match health::check(&url, path).await {
        Ok(Ok(())) => return Ok(ExitCode::SUCCESS),
        Ok(Err(detail)) => detail,
        Err(error) => format!("{error:#}"),
    };
    eprintln!("vedette: {why}");
    Ok(ExitCode::from(UNWELL))
}
