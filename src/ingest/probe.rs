//! Looks at a camera without recording it: what it offers, what it really sends, what is wrong.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::{
    clock::Clock,
    proto::{
        codec::Parameters,
        time::{MediaTime, Timescale},
    },
};

use super::{
    PullError, PullTarget,
    rtsp::{RtspContext, RtspSource},
    source::{Dial, Offer, Source, SourceEvent, SourceUnit},
    unit::{Wholeness, wholeness},
};

/// Further back than B-frames reach.
const BACKWARD_US: i64 = 2_000_000;
/// Key frames further apart make live view and seeking slow.
const LONG_GROUP: f64 = 5.0;
/// Pictures further apart are a hole.
const LONG_STEP_US: i64 = 1_500_000;

/// One track, as offered and as measured.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct ProbedTrack {
    /// `video`, `audio`, `application`.
    pub media: String,
    /// As people write it: `H.264`, `AAC`; for what Vedette cannot record, the SDP's own name.
    pub codec: String,
    /// RFC 6381 name, when the parameters are known.
    pub rfc6381: Option<String>,
    /// Whether Vedette records it.
    pub usable: bool,
    /// RTP clock rate.
    pub clock_rate: u32,
    /// Pixels.
    pub width: Option<u32>,
    /// Pixels.
    pub height: Option<u32>,
    /// Channels.
    pub channels: Option<u8>,
    /// What the camera says.
    pub declared_fps: Option<f64>,
    /// What it sends.
    pub measured_fps: Option<f64>,
    /// Payload bits a second.
    pub bitrate_bps: u64,
    /// Between key frames.
    pub key_frame_interval_seconds: Option<f64>,
    /// Units received.
    pub units: u64,
    /// Units that lost a packet.
    pub damaged: u64,
}

/// What a probe found.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct ProbeReport {
    /// Its tracks, in the order of its SDP.
    pub tracks: Vec<ProbedTrack>,
    /// How long it was watched, seconds.
    pub watched_seconds: f64,
    /// What is wrong, in plain words; empty when all is well.
    pub problems: Vec<String>,
}

/// Connects, watches for `duration`, disconnects. A camera that cannot be watched to the end still
/// gives a report: the failure stands among the problems.
///
/// # Errors
///
/// When nothing could be learned: no connection, refused, no SDP.
pub async fn probe(
    target: &PullTarget,
    duration: Duration,
    clock: &Clock,
) -> Result<ProbeReport, PullError> {
    let context = RtspContext::new(clock.clone());
    let mut source = RtspSource::connect(target, &context).await?;
    let watch = Watch::new(&source, Instant::now());
    let report = watch.run(&mut source, duration).await;
    source.close().await;
    Ok(report)
}

/// Measurements of one track.
#[derive(Debug, Default)]
struct Measured {
    parameters: Option<Parameters>,
    timescale: Option<Timescale>,
    units: u64,
    bytes: u64,
    damaged: u64,
    /// Media microseconds of the first and newest unit, and when the first arrived.
    first: Option<(i64, Instant)>,
    newest: i64,
    last: i64,
    keys: Vec<i64>,
    backward: u32,
    largest_step: i64,
    reports: u32,
    said_bye: bool,
}

struct Watch {
    began: Instant,
    tracks: Vec<Measured>,
    broken: Vec<String>,
    parameter_changes: u32,
}

impl Watch {
    fn new(source: &RtspSource, began: Instant) -> Self {
        let tracks = source.tracks().iter().map(|track| Measured {
            parameters: track.codec.parameters().cloned(),
            timescale: Some(track.timescale),
            ..Measured::default()
        });
        Self { began, tracks: tracks.collect(), broken: Vec::new(), parameter_changes: 0 }
    }

    async fn run(mut self, source: &mut RtspSource, duration: Duration) -> ProbeReport {
        let deadline = self.began + duration;
        let ended = loop {
            match timeout_at(deadline, source.next()).await {
                Err(_) => break None,
                Ok(None) => break Some("the camera closed the connection".to_owned()),
                Ok(Some(Err(error))) => break Some(error.to_string()),
                Ok(Some(Ok(event))) => self.event(event),
            }
        };
        self.report(source, Instant::now(), ended)
    }

    fn event(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Unit(unit) => {
                if let Some(track) = self.tracks.get_mut(unit.track.as_usize()) {
                    track.unit(&unit);
                }
            }
            SourceEvent::SenderReport { track, .. } => {
                if let Some(track) = self.tracks.get_mut(track.as_usize()) {
                    track.reports += 1;
                }
            }
            SourceEvent::Parameters { track, parameters } => {
                if let Some(track) = self.tracks.get_mut(track.as_usize()) {
                    let cut = track
                        .parameters
                        .as_ref()
                        .is_some_and(|known| known.needs_new_sample_entry(&parameters));
                    self.parameter_changes += u32::from(cut);
                    track.parameters = Some(parameters);
                }
            }
            SourceEvent::Bye { track } => {
                if let Some(track) = self.tracks.get_mut(track.as_usize()) {
                    track.said_bye = true;
                }
            }
            SourceEvent::Broken { detail } => {
                if self.broken.len() < 3 && !self.broken.contains(&detail) {
                    self.broken.push(detail);
                }
            }
        }
    }

    fn report(self, source: &RtspSource, now: Instant, ended: Option<String>) -> ProbeReport {
        let watched = (now - self.began).as_secs_f64();
        let mut problems = Vec::new();
        problems.extend(ended.map(|why| format!("stopped after {watched:.1} s: {why}")));
        let tracks = source.offers().iter().map(|offer| {
            let taken = offer.taken.and_then(|at| {
                let declared = source.tracks().get(at.as_usize())?.declared_fps;
                Some((self.tracks.get(at.as_usize())?, declared))
            });
            match taken {
                Some((measured, declared)) => {
                    measured.problems(offer, declared, &mut problems);
                    measured.track(offer, declared)
                }
                None => {
                    if offer.media == "video" {
                        let codec = offer.encoding.to_uppercase();
                        problems.push(format!("a video track of {codec} is not recorded"));
                    }
                    ProbedTrack {
                        media: offer.media.clone(),
                        codec: offer.encoding.clone(),
                        clock_rate: offer.clock_rate,
                        ..ProbedTrack::default()
                    }
                }
            }
        });
        let tracks = tracks.collect();
        problems.extend(self.broken.iter().map(|what| format!("broken packets: {what}")));
        if self.parameter_changes > 0 {
            let times = self.parameter_changes;
            problems.push(format!("the picture format changed {times} time(s) while watched"));
        }
        let several = self.tracks.len() > 1;
        if several && watched >= 12.0 && self.tracks.iter().any(|t| t.reports == 0) {
            problems.push(
                "no RTCP sender reports on every track: sound and picture are aligned by arrival"
                    .to_owned(),
            );
        }
        ProbeReport { tracks, watched_seconds: watched, problems }
    }
}

impl Measured {
    fn unit(&mut self, unit: &SourceUnit) {
        let Some(timescale) = self.timescale else { return };
        let at = MediaTime::from_ticks(unit.ticks).to_span(timescale).as_micros();
        let known = self.parameters.as_ref();
        let whole = known.is_none_or(|p| wholeness(p, &unit.data) != Wholeness::Headless);
        self.damaged += u64::from(unit.lost > 0 || !whole);
        if self.first.is_none() {
            self.first = Some((at, unit.arrival.at));
            (self.newest, self.last) = (at, at);
        }
        if at < self.newest - BACKWARD_US {
            self.backward += 1;
        }
        self.largest_step = self.largest_step.max(at - self.last);
        self.last = at;
        self.newest = self.newest.max(at);
        self.units += 1;
        self.bytes += unit.data.len() as u64;
        if known.is_some_and(|p| p.is_video() && p.is_random_access(&unit.data)) {
            self.keys.push(at);
        }
    }

    fn seconds(&self) -> f64 {
        self.first.map_or(0.0, |(first, _)| (self.newest - first) as f64 / 1e6)
    }

    fn fps(&self) -> Option<f64> {
        (self.units > 2 && self.seconds() > 0.0).then(|| (self.units - 1) as f64 / self.seconds())
    }

    fn key_interval(&self) -> Option<f64> {
        let (first, last) = (self.keys.first()?, self.keys.last()?);
        let gaps = self.keys.len() - 1;
        (gaps > 0).then(|| (last - first) as f64 / 1e6 / gaps as f64)
    }

    fn track(&self, offer: &Offer, declared_fps: Option<f64>) -> ProbedTrack {
        let parameters = self.parameters.as_ref();
        let (width, height) = parameters.and_then(Parameters::dimensions).unzip();
        let video = offer.media == "video";
        ProbedTrack {
            media: offer.media.clone(),
            codec: parameters.map_or_else(|| offer.encoding.clone(), |p| p.name().to_owned()),
            rfc6381: parameters.map(Parameters::rfc6381),
            usable: true,
            clock_rate: offer.clock_rate,
            width,
            height,
            channels: parameters.and_then(Parameters::sound).map(|(_, channels)| channels),
            declared_fps,
            measured_fps: self.fps().filter(|_| video),
            bitrate_bps: if self.seconds() > 0.0 {
                (self.bytes as f64 * 8.0 / self.seconds()) as u64
            } else {
                0
            },
            key_frame_interval_seconds: self.key_interval().filter(|_| video),
            units: self.units,
            damaged: self.damaged,
        }
    }

    fn problems(&self, offer: &Offer, declared: Option<f64>, problems: &mut Vec<String>) {
        let media = &offer.media;
        if self.units == 0 {
            problems.push(format!("the {media} track was started, but nothing came"));
            return;
        }
        if self.said_bye {
            problems.push(format!("the camera ended its {media} while watched (RTCP BYE)"));
        }
        if self.parameters.is_none() {
            problems.push("no parameter sets came, neither in the SDP nor in-band".to_owned());
        }
        if self.damaged > 0 {
            let (damaged, units) = (self.damaged, self.units);
            problems.push(format!("{damaged} of {units} {media} units lost packets"));
        }
        if self.backward > 0 {
            problems.push(format!("the {media} clock stepped back {} time(s)", self.backward));
        }
        if offer.media != "video" {
            return;
        }
        if let (Some(declared), Some(measured)) = (declared, self.fps())
            && declared > 0.0
            && (measured / declared - 1.0).abs() > 0.1
        {
            problems.push(format!("{declared:.0} frames a second declared, {measured:.1} sent"));
        }
        match self.key_interval() {
            Some(interval) if interval > LONG_GROUP => problems.push(format!(
                "a key frame only every {interval:.0} s: seeking and going live take that long"
            )),
            None if self.keys.is_empty() => problems.push("no key frame while watched".to_owned()),
            _ => {}
        }
        if self.largest_step > LONG_STEP_US {
            let seconds = self.largest_step as f64 / 1e6;
            problems.push(format!("a hole of {seconds:.1} s in the video"));
        }
    }
}
