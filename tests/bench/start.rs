//! How long a start takes by the size of the archive.
//!
//! `BENCH_ARCHIVES`: numbers of rows (default 10000,100000,1000000).

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    lookup::Index,
    process::{free_port, wait_for},
};

const CAMERAS: usize = 20;
/// Each size is started so often; the quickest counts, for what is slower is the machine's doing.
const TIMES: usize = 3;

pub(crate) async fn run() {
    let sizes: Vec<i64> = std::env::var("BENCH_ARCHIVES")
        .map_or(vec![10_000, 100_000, 1_000_000], |s| {
            s.split(',').map(|n| n.parse().unwrap()).collect()
        });
    println!("start: from the command to the first answer over HTTP, {CAMERAS} cameras");
    println!("{:>12} {:>10} {:>12}", "segments", "ms", "index MB");
    for size in sizes {
        let index = Index::make(size, CAMERAS).await;
        // The client blocks.
        let least =
            (0..TIMES).map(|_| tokio::task::block_in_place(|| start(&index))).min().unwrap();
        println!("{size:>12} {:>10} {:>12}", least.as_millis(), index.bytes() / 1_000_000);
    }
}

fn start(index: &Index) -> Duration {
    let (http, rtsp) = (free_port(), free_port());
    let config = format!(
        "[http]\nlisten = \"127.0.0.1:{http}\"\n[rtsp]\nlisten = \"127.0.0.1:{rtsp}\"\n[database]\npath = \"{}\"\nkey_file = \"{}\"\n\
         [[volumes]]\npath = \"{}\"\n[auth]\nmode = \"none\"\n",
        index.database().display(),
        index.key_file().display(),
        index.volume().display(),
    );
    let file = index.database().with_extension("toml");
    std::fs::write(&file, config).unwrap();
    let began = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_vedette"))
        .args(["serve", "--config"])
        .arg(file)
        .env("VEDETTE_LOG__LEVEL", "error")
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let client = reqwest::blocking::Client::new();
    wait_for("an answer", Duration::from_secs(120), || {
        let answer = client.get(format!("http://127.0.0.1:{http}/healthz")).send();
        answer.is_ok_and(|a| a.status().is_success())
    });
    let took = began.elapsed();
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    child.wait().unwrap();
    took
}
