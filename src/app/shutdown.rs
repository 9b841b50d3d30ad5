//! When to stop, and how long that may take.

use std::{future::Future, time::Duration};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// From the signal to the exit. A container's runtime kills after 10 s.
pub(super) const WITHIN: Duration = Duration::from_secs(9);

/// Cancels `stop` on SIGTERM or SIGINT; a second one leaves at once, as people expect of Ctrl-C.
/// SIGHUP ends nothing; whoever has something to read again listens for it. The handlers are installed when this returns;
/// the future is to be spawned.
///
/// # Errors
///
/// When handlers cannot be installed.
pub fn on_signal(stop: CancellationToken) -> std::io::Result<impl Future<Output = ()> + Send> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let mut hup = signal(SignalKind::hangup())?;
    Ok(async move {
        let mut asked = false;
        loop {
            tokio::select! {
                _ = term.recv() => tracing::info!("SIGTERM: stopping"),
                _ = int.recv() => tracing::info!("interrupted: stopping"),
                _ = hup.recv() => continue,
                () = stop.cancelled(), if !asked => return,
            }
            if asked {
                tracing::warn!("asked twice: leaving at once");
                std::process::exit(1);
            }
            asked = true;
            stop.cancel();
        }
    })
}

/// One stage of the drain: waits for it, but not past `deadline`.
pub(super) async fn stage(
    name: &'static str,
    deadline: tokio::time::Instant,
    work: impl Future<Output = ()>,
) -> bool {
    let done = tokio::time::timeout_at(deadline, work).await.is_ok();
    if done {
        tracing::debug!(stage = name, "drained");
    } else {
        tracing::error!(stage = name, "did not end in time");
    }
    done
}
