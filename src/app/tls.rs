//! The certificate: where it is, and when it is read again.

use std::{future::Future, io, sync::Arc};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    rtsp_server::{self, Certificates},
};

/// RTSPS as it is set.
pub(super) fn settings(config: &Config) -> Option<rtsp_server::Tls> {
    let (listen, files) = config.rtsp.tls_listen.zip(config.tls.as_ref())?;
    Some(rtsp_server::Tls { listen, cert: files.cert.clone(), key: files.key.clone() })
}

/// Reads the certificate again on every SIGHUP until `stop`. The handler is installed when this
/// returns; the future is to be spawned.
pub(super) fn on_hangup(
    certificates: Option<Arc<Certificates>>,
    stop: CancellationToken,
) -> io::Result<impl Future<Output = ()> + Send> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        while let Some(Some(())) = stop.run_until_cancelled(hangup.recv()).await {
            let Some(certificates) = &certificates else {
                tracing::info!("SIGHUP: nothing to read again");
                continue;
            };
            match certificates.reload().await.context("read the certificate again") {
                Ok(()) => tracing::info!("SIGHUP: the certificate was read again"),
                Err(error) => tracing::error!(
                    error = format!("{error:#}"),
                    "SIGHUP: the certificate stays as it was",
                ),
            }
        }
    })
}
