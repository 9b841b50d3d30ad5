//! Vedette and its cameras, each in a process of its own, so that what the one costs is not counted with the other.
//!
//! `BENCH_VEDETTE`: another build of Vedette to measure, to compare it with this one.

use std::{
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::process::{free_port, wait_for};

/// Of a camera, sound included.
pub(crate) const BITRATE: u32 = 4_000_000;
/// How long anything may take to come up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

fn program() -> String {
    std::env::var("BENCH_VEDETTE").unwrap_or_else(|_| env!("CARGO_BIN_EXE_vedette").to_owned())
}

/// Simulated cameras.
pub(crate) struct Simulator {
    child: Child,
    port: u16,
    pub(crate) cameras: usize,
}

impl Simulator {
    pub(crate) fn start(cameras: usize) -> Self {
        Self::start_at(cameras, BITRATE)
    }

    /// Of so many bits a second each, sound included.
    pub(crate) fn start_at(cameras: usize, bitrate: u32) -> Self {
        let port = free_port();
        let child = Command::new(program())
            .args([
                "simulate",
                "--cameras",
                &cameras.to_string(),
                "--bitrate",
                &bitrate.to_string(),
            ])
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("the simulator", PATIENCE, || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, port, cameras }
    }

    pub(crate) fn urls(&self) -> impl Iterator<Item = String> {
        (1..=self.cameras).map(|n| format!("rtsp://127.0.0.1:{}/camera-{n}", self.port))
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The recorder.
pub(crate) struct Server {
    child: Child,
    http: u16,
    rtsp: u16,
    client: reqwest::blocking::Client,
}

impl Server {
    /// With its index, key and footage in `dir`, made where they are missing.
    pub(crate) fn start(dir: &Path) -> Self {
        let (http, rtsp) = (free_port(), free_port());
        let config = format!(
            "[http]\nlisten = \"127.0.0.1:{http}\"\n[rtsp]\nlisten = \"127.0.0.1:{rtsp}\"\n\
             [database]\npath = \"{dir}/vedette.db\"\nkey_file = \"{dir}/key\"\n\
             [[volumes]]\npath = \"{dir}/footage\"\n[auth]\nmode = \"none\"\n",
            dir = dir.display()
        );
        std::fs::write(dir.join("vedette.toml"), config).unwrap();
        let child = Command::new(program())
            .args(["serve", "--config"])
            .arg(dir.join("vedette.toml"))
            .env("VEDETTE_LOG__LEVEL", "error")
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let client = reqwest::blocking::Client::new();
        wait_for("vedette", PATIENCE, || {
            client.get(format!("http://127.0.0.1:{http}/healthz")).send().is_ok()
        });
        Self { child, http, rtsp, client }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("rtsp://127.0.0.1:{}/{path}", self.rtsp)
    }

    /// Adds all cameras of `simulator` and waits until they run.
    pub(crate) fn record(&self, simulator: &Simulator) {
        let (api, client) = (format!("http://127.0.0.1:{}/api/v1", self.http), &self.client);
        for (n, url) in simulator.urls().enumerate() {
            let body = serde_json::json!({ "slug": format!("camera-{}", n + 1), "streams": [{ "role": "main", "url": url, "transport": "tcp" }] });
            let answer = client.post(format!("{api}/cameras")).json(&body).send().unwrap();
            assert_eq!(answer.status(), 201, "{}", answer.text().unwrap());
        }
        self.wait_until_running(simulator.cameras);
    }

    /// Waits until so many cameras run.
    pub(crate) fn wait_until_running(&self, cameras: usize) {
        wait_for("all cameras to run", PATIENCE, || {
            let url = format!("http://127.0.0.1:{}/api/v1/status", self.http);
            let status: serde_json::Value = self.client.get(url).send().unwrap().json().unwrap();
            let all = status["cameras"].as_array().unwrap();
            all.iter().filter(|c| c["streams"][0]["state"] == "running").count() == cameras
        });
    }

    /// As an operator stops it.
    pub(crate) fn stop(&mut self) {
        assert!(Command::new("kill").arg(self.id().to_string()).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
