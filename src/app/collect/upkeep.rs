//! Volumes, retention, the index and the clock, as Prometheus sees them.

use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed};

use crate::{
    app::storage::{DAY_SECONDS, Storage},
    disk::VolumeState,
    http::StorageControl,
    metrics::Exposition,
    retention::plan::{Blocked, Reason},
    store::Trouble,
};

pub(super) fn upkeep(out: &mut Exposition, storage: &Storage) {
    volumes(out, storage);
    retention(out, storage);
    index(out, storage);
    clock(out, storage);
}

fn volumes(out: &mut Exposition, storage: &Storage) {
    for volume in storage.volumes() {
        for state in VolumeState::ALL {
            let labels = [("volume", &*volume.path), ("state", state.as_str())];
            let help = "1 for the state that the volume is in.";
            out.gauge("vedette_disk_state", help, &labels, flag(volume.state == state));
        }
        let labels = [("volume", &*volume.path)];
        let help = "Bytes of footage on the volume.";
        out.gauge("vedette_disk_footage_bytes", help, &labels, volume.bytes as f64);
        let help = "How long what is queued for the writer takes to be written.";
        out.gauge("vedette_disk_queue_seconds", help, &labels, volume.queue_seconds);
        // Infinite rather than absent: a rule can then tell it from a volume that is gone.
        let help =
            "Seconds until the volume is full at the rate it fills; then the oldest footage goes.";
        let left = volume.days_left.map_or(f64::INFINITY, |days| days * DAY_SECONDS);
        out.gauge("vedette_disk_left_seconds", help, &labels, left);
        let help = "Seconds of footage that fit on the volume at the rate it is written.";
        let holds = volume.holds_days.map_or(f64::INFINITY, |days| days * DAY_SECONDS);
        out.gauge("vedette_disk_holds_seconds", help, &labels, holds);
    }
}

fn retention(out: &mut Exposition, storage: &Storage) {
    let counters = storage.counters();
    for reason in Reason::ALL {
        let labels = [("reason", reason.as_str())];
        let (segments, bytes) = counters.of(reason);
        let help = "Segments deleted, by the limit they went for.";
        out.counter("vedette_retention_deleted_segments_total", help, &labels, segments as f64);
        let help = "Bytes deleted, by the limit they went for.";
        out.counter("vedette_retention_deleted_bytes_total", help, &labels, bytes as f64);
    }
    let report = storage.report();
    let mut blocked: BTreeMap<(Reason, Blocked), u32> = BTreeMap::new();
    for (limit, why) in report.blocked() {
        *blocked.entry((limit.reason, why)).or_default() += 1;
    }
    for reason in Reason::ALL {
        for why in Blocked::ALL {
            let labels = [("reason", reason.as_str()), ("by", why.as_str())];
            let count = blocked.get(&(reason, why)).copied().unwrap_or(0);
            let help = "Limits that cannot be met, by what holds them back.";
            out.gauge("vedette_retention_limit_blocked", help, &labels, f64::from(count));
        }
    }
    let leases = storage.volumes.leases().counters();
    for (name, help, value) in [
        ("vedette_retention_rounds_total", "Rounds that came to their end.", &counters.rounds),
        ("vedette_retention_failures_total", "Rounds that failed.", &counters.failures),
        ("vedette_retention_unlinked_total", "Files deleted.", &counters.unlinked),
        (
            "vedette_retention_unlink_failures_total",
            "Tries to delete a file that failed.",
            &counters.unlink_failures,
        ),
        (
            "vedette_retention_pruned_rows_total",
            "Events, audit entries and gaps pruned by age.",
            &counters.pruned,
        ),
        (
            "vedette_retention_leases_broken_total",
            "Footage deleted while it was read, because the disk was full.",
            &leases.broken,
        ),
        (
            "vedette_retention_leases_lapsed_total",
            "Leases that nobody renewed in time.",
            &leases.lapsed,
        ),
    ] {
        out.counter(name, help, &[], value.load(Relaxed) as f64);
    }
    let help = "Files that are out of the index and wait to be deleted.";
    let waiting = counters.unlink_waiting.load(Relaxed);
    out.gauge("vedette_retention_unlinks_waiting", help, &[], waiting as f64);
    let help = "Ranges of footage that are being read.";
    out.gauge("vedette_retention_leases", help, &[], leases.active.load(Relaxed) as f64);
    let help = "Time of the last round.";
    let round = counters.round_us.load(Relaxed) as f64 / 1e6;
    out.gauge("vedette_retention_round_seconds", help, &[], round);
    let help = "1 while nothing is deleted because of its age: the clock may be wrong.";
    out.gauge("vedette_retention_age_held", help, &[], flag(storage.age.held().is_some()));
    let help = "1 while the index is being made anew from the files.";
    out.gauge("vedette_rebuild_running", help, &[], flag(report.on_hold.is_some()));
}

fn index(out: &mut Exposition, storage: &Storage) {
    let store = &storage.store;
    let help = "Size of the index's write-ahead log.";
    out.gauge("vedette_store_wal_bytes", help, &[], store.wal_bytes() as f64);
    let help = "Times that the write-ahead log could not be cut back.";
    let failures = store.checkpoint_failures();
    out.counter("vedette_store_checkpoint_failures_total", help, &[], failures as f64);
    let now = *store.watch_trouble().borrow();
    for kind in Trouble::ALL {
        let help = "1 while the index cannot be written, by why.";
        let labels = [("kind", kind.as_str())];
        out.gauge("vedette_store_trouble", help, &labels, flag(now == Some(kind)));
    }
    for (state, files) in [("done", storage.rebuild.done()), ("total", storage.rebuild.total())] {
        let help = "Files of the index that is being made again, or was since the start.";
        out.gauge("vedette_rebuild_files", help, &[("state", state)], files as f64);
    }
}

fn clock(out: &mut Exposition, storage: &Storage) {
    let counts = storage.age.counts();
    for (direction, count) in [("forward", counts.forward), ("back", counts.back)] {
        let help = "Steps of the recorder's clock against the monotonic one.";
        let labels = [("direction", direction)];
        out.counter("vedette_clock_steps_total", help, &labels, count as f64);
    }
    let help = "Times that the machine slept.";
    out.counter("vedette_clock_suspends_total", help, &[], counts.suspends as f64);
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}
