//! Open files: a recorder of many cameras holds several descriptors a camera (socket, UDP ports,
//! segment, players), and the usual soft limit of 1,024 is kept only for the sake of `select(2)`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Enough for 1,000 cameras with players; beyond it memory is the limit.
const WANTED: u64 = 65_536;

/// Raises the soft limit of open files as far as the hard one lets us.
pub(super) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let target = limit.maximum.map_or(WANTED, |max| max.min(WANTED));
    if limit.current.is_none_or(|now| now >= target) {
        return;
    }
    let new = Rlimit { current: Some(target), maximum: limit.maximum };
    match setrlimit(Resource::Nofile, new) {
        Ok(()) => tracing::debug!(open_files = target, "limit raised"),
        Err(error) => tracing::warn!(%error, open_files = target, "raise the limit of open files"),
    }
}
