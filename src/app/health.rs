//! `vedette healthcheck`: asks a running recorder how it is. For containers, whose image has no
//! curl; so a request by hand, over plain HTTP to this machine.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use url::Url;

/// For everything together.
const WITHIN: Duration = Duration::from_secs(4);
/// Of the answer, read at most so much.
const MOST: u64 = 16 << 10;

/// GETs `path` below `base`; `Ok(Err(what))` when it answers that it is not well.
///
/// # Errors
///
/// When it does not answer.
pub async fn check(base: &Url, path: &str) -> anyhow::Result<Result<(), String>> {
    tokio::time::timeout(WITHIN, ask(base, path)).await.context("no answer in time")?
}

async fn ask(base: &Url, path: &str) -> anyhow::Result<Result<(), String>> {
    if base.scheme() != "http" {
        bail!("only http:// addresses can be asked");
    }
    let host = base.host_str().context("the address has no host")?;
    let port = base.port_or_known_default().unwrap_or(80);
    let connect_to = host.trim_start_matches('[').trim_end_matches(']');
    let mut socket = TcpStream::connect((connect_to, port))
        .await
        .with_context(|| format!("connect to {host}:{port}"))?;
    let path = format!("{}{path}", base.path().trim_end_matches('/'));
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.context("send the request")?;
    let mut answer = Vec::new();
    socket.take(MOST).read_to_end(&mut answer).await.context("read the answer")?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is no HTTP")?;
    let status = head.split(' ').nth(1).context("the answer is no HTTP")?;
    if status == "200" {
        return Ok(Ok(()));
    }
    let detail = serde_json::from_str::<serde_json::Value>(body)
        .ok()
        .and_then(|problem| problem.get("detail")?.as_str().map(str::to_owned));
    Ok(Err(detail.unwrap_or_else(|| format!("it answers {status}"))))
}
