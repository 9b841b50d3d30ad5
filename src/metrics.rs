//! What Prometheus scrapes.
//!
//! Parts own their counters as plain atomics and know nothing of Prometheus. At a scrape each
//! [`Source`] writes what it reads there into an [`Exposition`]. Nothing is registered by label, so
//! a camera that was removed is simply not written any more, and its series end.
//!
//! Names are `vedette_<part>_<what>_<unit>[_total]`; labels are `camera`, `stream`, `volume` and
//! closed enums. Only what the HTTP server counts about itself is kept here.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::BoxFuture;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder,
    process_collector::ProcessCollector,
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};

/// Somebody who has numbers to show.
pub trait Source: Send + Sync {
    /// Writes them.
    fn collect<'a>(&'a self, out: &'a mut Exposition) -> BoxFuture<'a, ()>;
}

/// The numbers of one scrape.
#[derive(Debug, Default)]
pub struct Exposition(BTreeMap<&'static str, MetricFamily>);

/// Label names and values.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

impl Exposition {
    /// A number that goes up and down.
    pub fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels<'_>,
        value: f64,
    ) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = labelled(labels);
        metric.set_gauge(gauge);
        self.push(name, help, MetricType::GAUGE, metric);
    }

    /// A number that only grows while the process lives.
    pub fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels<'_>,
        value: f64,
    ) {
        let mut counter = Counter::default();
        counter.set_value(value);
        let mut metric = labelled(labels);
        metric.set_counter(counter);
        self.push(name, help, MetricType::COUNTER, metric);
    }

    /// A distribution; `buckets` are (upper bound, cumulative count).
    pub fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels<'_>,
        buckets: &[(f64, u64)],
        count: u64,
        sum: f64,
    ) {
        let buckets = buckets
            .iter()
            .map(|&(bound, cumulative)| {
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(bound);
                bucket.set_cumulative_count(cumulative);
                bucket
            })
            .collect();
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(count);
        histogram.set_sample_sum(sum);
        let mut metric = labelled(labels);
        metric.set_histogram(histogram);
        self.push(name, help, MetricType::HISTOGRAM, metric);
    }

    fn push(&mut self, name: &'static str, help: &'static str, kind: MetricType, metric: Metric) {
        let family = self.0.entry(name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family
        });
        family.mut_metric().push(metric);
    }
}

fn labelled(labels: Labels<'_>) -> Metric {
    let pairs = labels
        .iter()
        .map(|&(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value.to_owned());
            pair
        })
        .collect();
    let mut metric = Metric::default();
    metric.set_label(pairs);
    metric
}

/// What the process counts about itself and its HTTP server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
}

impl Metrics {
    /// Everything at zero.
    ///
    /// # Errors
    ///
    /// When a name is registered twice: a mistake in this file.
    pub fn new(version: &'static str) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let requests = IntCounterVec::new(
            Opts::new("vedette_http_requests_total", "HTTP requests answered."),
            &["method", "status"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new("vedette_http_request_seconds", "Time to answer an HTTP request.")
                .buckets(vec![0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0]),
            &["method"],
        )?;
        let build = prometheus::IntGaugeVec::new(
            Opts::new("vedette_build_info", "Always 1; the version is a label."),
            &["version"],
        )?;
        build.with_label_values(&[version]).set(1);
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        registry.register(Box::new(build))?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(Self { registry, requests, seconds })
    }

    /// Counts an answer.
    pub fn answered(&self, method: &str, status: u16, took: Duration) {
        // Methods are whatever a client sends: labels are not.
        const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"];
        let method = METHODS.into_iter().find(|m| *m == method).unwrap_or("other");
        self.requests.with_label_values(&[method, &status.to_string()]).inc();
        self.seconds.with_label_values(&[method]).observe(took.as_secs_f64());
    }

    /// Everything as text, version 0.0.4 of the format.
    ///
    /// # Errors
    ///
    /// When the encoder refuses a family: a mistake in a [`Source`].
    pub async fn render(&self, source: &dyn Source) -> prometheus::Result<Vec<u8>> {
        let mut exposition = Exposition::default();
        source.collect(&mut exposition).await;
        let mut families = self.registry.gather();
        families.extend(exposition.0.into_values());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Source for Fixed {
        fn collect<'a>(&'a self, out: &'a mut Exposition) -> BoxFuture<'a, ()> {
            let door: Labels<'_> = &[("camera", "door"), ("stream", "main")];
            out.gauge("vedette_test_ratio", "A ratio.", door, 0.5);
            out.counter("vedette_test_bytes_total", "Bytes.", door, 7.0);
            out.histogram("vedette_test_seconds", "Time.", &[], &[(0.1, 1), (1.0, 3)], 4, 2.5);
            Box::pin(async {})
        }
    }

    #[tokio::test]
    async fn sources_are_written_beside_what_the_process_counts() {
        let metrics = Metrics::new("1.2.3").unwrap();
        metrics.answered("GET", 200, Duration::from_millis(3));
        metrics.answered("BREW", 405, Duration::from_millis(3));
        let text = String::from_utf8(metrics.render(&Fixed).await.unwrap()).unwrap();
        for line in [
            "vedette_test_ratio{camera=\"door\",stream=\"main\"} 0.5",
            "vedette_test_bytes_total{camera=\"door\",stream=\"main\"} 7",
            "vedette_test_seconds_bucket{le=\"1\"} 3",
            "vedette_test_seconds_bucket{le=\"+Inf\"} 4",
            "vedette_build_info{version=\"1.2.3\"} 1",
            "vedette_http_requests_total{method=\"other\",status=\"405\"} 1",
            "# TYPE process_open_fds gauge",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
