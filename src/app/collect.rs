//! What Prometheus sees of the parts: reads their counters at a scrape.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use futures_util::future::BoxFuture;

mod upkeep;

use super::{
    cameras::{CameraSet, Stream},
    journal,
    storage::Storage,
    when::Wanted,
};
use crate::{
    disk::{Latency, VolumeCounters, Volumes},
    hub::Hub,
    ingest::PullState,
    metrics::{Exposition, Labels, Source},
    proto::reason::GapReason,
    rtsp_server::Counters,
};

/// Why a recorder pauses.
const PAUSES: [GapReason; 4] =
    [GapReason::DiskFull, GapReason::DiskError, GapReason::Overload, GapReason::Internal];

pub(super) struct Collector {
    pub(super) cameras: Arc<CameraSet>,
    pub(super) volumes: Arc<Volumes>,
    pub(super) storage: Arc<Storage>,
    pub(super) hub: Arc<Hub>,
    pub(super) rtsp: Arc<Counters>,
    pub(super) events: Arc<journal::Counters>,
    pub(super) clock: crate::clock::Clock,
}

impl Source for Collector {
    fn collect<'a>(&'a self, out: &'a mut Exposition) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            for stream in self.cameras.all() {
                let camera = stream.plan.slug.as_str();
                let labels: Labels<'_> =
                    &[("camera", camera), ("stream", stream.plan.role.as_str())];
                self.ingest(out, &stream, labels);
                record(out, &stream, labels);
                self.coverage(out, &stream, labels).await;
            }
            for (volume, counters) in self.volumes.counters() {
                disk(out, &counters, &[("volume", &volume)]);
            }
            out.gauge(
                "vedette_hub_bytes",
                "Payload bytes held in memory for live players and the recorder.",
                &[],
                self.hub.bytes() as f64,
            );
            rtsp(out, &self.rtsp);
            upkeep::upkeep(out, &self.storage);
            let help = "Events noted.";
            let written = self.events.written.load(Relaxed) as f64;
            out.counter("vedette_events_total", help, &[], written);
            let help = "Events lost: more happened than could be noted.";
            let dropped = self.events.dropped.load(Relaxed) as f64;
            out.counter("vedette_events_dropped_total", help, &[], dropped);
        })
    }
}

impl Collector {
    fn ingest(&self, out: &mut Exposition, stream: &Stream, labels: Labels<'_>) {
        let pull = stream.status.snapshot(&self.clock);
        let wanted = stream.director.shown().wish.is_some_and(|wish| wish.pull());
        let help =
            "1 while the camera is to be pulled: recorded, watched, or waiting for an event.";
        out.gauge("vedette_ingest_wanted", help, labels, f64::from(u8::from(wanted)));
        let viewers = self.cameras.viewers(stream.id()) as f64;
        out.gauge("vedette_ingest_viewers", "Who watches live.", labels, viewers);
        let up = f64::from(u8::from(pull.state == PullState::Running));
        out.gauge("vedette_ingest_up", "1 while the camera sends.", labels, up);
        out.gauge(
            "vedette_ingest_rate_bytes_per_second",
            "Payload bytes a second over the last seconds.",
            labels,
            pull.bitrate_bps as f64 / 8.0,
        );
        for (name, help, value) in [
            ("vedette_ingest_reconnects_total", "Runs begun after the first.", pull.reconnects),
            ("vedette_ingest_units_total", "Pictures and sound frames received.", pull.units),
            ("vedette_ingest_bytes_total", "Payload bytes received.", pull.bytes),
            ("vedette_ingest_damaged_units_total", "Units that lost packets.", pull.damaged),
            (
                "vedette_ingest_silences_total",
                "Times that sound stopped while video went on.",
                pull.silences,
            ),
        ] {
            out.counter(name, help, labels, value as f64);
        }
    }

    async fn coverage(&self, out: &mut Exposition, stream: &Stream, labels: Labels<'_>) {
        let created = stream.plan.stream.created;
        let Some(known) = self.cameras.coverage().of(stream.id(), created).await else { return };
        if let Some(ratio) = known.day.ratio() {
            let help = "Seconds recorded over seconds expected in the last 24 hours.";
            out.gauge("vedette_record_completeness_ratio", help, labels, ratio);
        }
        if let Some(ratio) = known.ever.ratio() {
            let help = "Seconds recorded over seconds expected since the stream was created.";
            out.gauge("vedette_record_completeness_ever_ratio", help, labels, ratio);
        }
        for reason in GapReason::ALL {
            let missing = known.day.gaps.get(reason).map_or(0.0, |span| span.as_secs_f64());
            let mut labels = labels.to_vec();
            labels.push(("reason", reason.as_str()));
            out.gauge(
                "vedette_record_gap_seconds",
                "Seconds without footage in the last 24 hours, by reason.",
                &labels,
                missing,
            );
        }
    }
}

fn record(out: &mut Exposition, stream: &Stream, labels: Labels<'_>) {
    let shown = stream.director.shown();
    let wanted = f64::from(u8::from(shown.wanted() == Wanted::Recording));
    let help = "1 while footage is wanted: always, within a schedule's hours, around an event.";
    out.gauge("vedette_record_wanted", help, labels, wanted);
    let Some(recording) = shown.recording else { return };
    let active = f64::from(u8::from(recording.is_recording()));
    out.gauge("vedette_record_active", "1 while footage goes to disk.", labels, active);
    let paused = recording.trouble().map(|t| t.reason);
    for reason in PAUSES {
        let mut labels = labels.to_vec();
        labels.push(("reason", reason.as_str()));
        let paused = f64::from(u8::from(paused == Some(reason)));
        let help = "1 while the recorder cannot record what the camera sends.";
        out.gauge("vedette_record_paused", help, &labels, paused);
    }
    let c = recording.counters();
    let help = "Entries that wait for the index: footage on disk that cannot be found yet.";
    let waiting = c.rows_waiting.load(Relaxed) as f64;
    out.gauge("vedette_record_rows_waiting", help, labels, waiting);
    for (name, help, value) in [
        ("vedette_record_units_total", "Pictures and sound frames recorded.", &c.units),
        ("vedette_record_bytes_total", "Payload bytes recorded.", &c.bytes),
        ("vedette_record_segments_total", "Segments closed.", &c.segments),
        (
            "vedette_record_shed_units_total",
            "Units shed because the disk was too slow.",
            &c.shed_units,
        ),
        (
            "vedette_record_dropped_units_total",
            "Units that could not be recorded.",
            &c.dropped_units,
        ),
        ("vedette_record_gaps_total", "Gaps begun.", &c.gaps),
        ("vedette_record_rows_lost_total", "Index rows that could not be written.", &c.rows_lost),
        ("vedette_record_rows_retried_total", "Index rows tried again.", &c.rows_retried),
        (
            "vedette_record_adopted_segments_total",
            "Segments taken up from their files.",
            &c.adopted,
        ),
    ] {
        out.counter(name, help, labels, value.load(Relaxed) as f64);
    }
}

fn disk(out: &mut Exposition, c: &VolumeCounters, labels: Labels<'_>) {
    for (name, help, value) in [
        ("vedette_disk_written_bytes_total", "Bytes written to segments.", &c.bytes_written),
        ("vedette_disk_write_errors_total", "Writes that failed.", &c.write_errors),
        ("vedette_disk_sync_errors_total", "Syncs that failed.", &c.sync_errors),
        ("vedette_disk_refused_writes_total", "Writes refused by a full queue.", &c.refused),
        ("vedette_disk_evicted_total", "Fragments shed from a full queue.", &c.evicted),
        ("vedette_disk_distrusted_total", "Segments ended because a sync failed.", &c.distrusted),
        ("vedette_disk_panics_total", "Threads of the volume that panicked.", &c.panics),
    ] {
        out.counter(name, help, labels, value.load(Relaxed) as f64);
    }
    for (name, help, value) in [
        ("vedette_disk_queue_bytes", "Bytes waiting for the writer.", &c.queue_bytes),
        ("vedette_disk_open_files", "Segments open for writing.", &c.open_files),
        ("vedette_disk_free_bytes", "Free bytes of the file system.", &c.free_bytes),
        ("vedette_disk_size_bytes", "Size of the file system.", &c.total_bytes),
    ] {
        out.gauge(name, help, labels, value.load(Relaxed) as f64);
    }
    latency(
        out,
        "vedette_disk_write_seconds",
        "Time of a gathered write.",
        &c.write_latency,
        labels,
    );
    latency(out, "vedette_disk_sync_seconds", "Time of a round of syncs.", &c.sync_latency, labels);
}

fn latency(
    out: &mut Exposition,
    name: &'static str,
    help: &'static str,
    latency: &Latency,
    labels: Labels<'_>,
) {
    let mut below = 0;
    let buckets: Vec<_> = Latency::BOUNDS
        .into_iter()
        .zip(latency.buckets())
        .map(|(bound, count)| {
            below += count;
            (bound, below)
        })
        .collect();
    // Read after the buckets, so that it is never less than they are.
    let count = latency.count().max(below);
    out.histogram(name, help, labels, &buckets, count, latency.sum_seconds());
}

fn rtsp(out: &mut Exposition, c: &Counters) {
    out.gauge("vedette_rtsp_connections", "Connections of players.", &[], c.connections() as f64);
    out.gauge("vedette_rtsp_sessions", "Sessions of players.", &[], c.sessions() as f64);
    let refused = c.refused_connections() as f64;
    let help = "Connections over a limit.";
    out.counter("vedette_rtsp_connections_refused_total", help, &[], refused);
    for (method, status, count) in c.requests() {
        let status = status.to_string();
        let labels: Labels<'_> = &[("method", method), ("status", &status)];
        out.counter("vedette_rtsp_requests_total", "Requests answered.", labels, count as f64);
    }
    let sent = c.bytes_out() as f64;
    out.counter("vedette_rtsp_sent_bytes_total", "Bytes sent to players.", &[], sent);
    let help = "Publishers that announced a stream.";
    out.gauge("vedette_rtsp_publishers", help, &[], c.publishers() as f64);
    let help = "Bytes of RTP and RTCP that publishers sent.";
    out.counter("vedette_rtsp_published_bytes_total", help, &[], c.bytes_published() as f64);
    let help = "Packets of publishers dropped because the recorder was behind.";
    let count = c.packets_dropped() as f64;
    out.counter("vedette_rtsp_published_packets_dropped_total", help, &[], count);
    for (reason, count) in c.dropped() {
        let help = "Units not sent to a player.";
        let labels: Labels<'_> = &[("reason", reason.as_str())];
        out.counter("vedette_rtsp_units_dropped_total", help, labels, count as f64);
    }
    let first = c.first_packet();
    let help = "From PLAY to the first packet.";
    out.histogram(
        "vedette_rtsp_first_packet_seconds",
        help,
        &[],
        &first.buckets,
        first.count,
        first.sum,
    );
}
