//! Looks at a camera without recording it: what it offers, what it really sends, what is wrong.
//!
//! What it finds is said in [`findings`], each thing with a code that scripts can rely on.

mod findings;
mod sub;

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::{
    clock::Clock,
    model::{Finding, Level},
    proto::{
        codec::Parameters,
        time::{MediaTime, Timescale, WallSpan, WallTime},
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
/// A pull that learnt what there is to learn ends after this share of its time.
const EARLY: f64 = 0.6;

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
    /// Packets that were lost.
    pub lost_packets: u64,
}

/// What a probe found.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct ProbeReport {
    /// Its tracks, in the order of its SDP.
    pub tracks: Vec<ProbedTrack>,
    /// How long it was watched, seconds.
    pub watched_seconds: f64,
    /// Seconds that the camera's clock is ahead of ours, if it tells.
    pub clock_ahead_seconds: Option<f64>,
    /// The address of a smaller stream, where one was guessed and is there.
    pub sub_stream: Option<String>,
    /// What is wrong, in plain words; empty when all is well.
    pub problems: Vec<String>,
    /// The same with codes for scripts, and what else is worth knowing.
    pub findings: Vec<Finding>,
}

impl ProbeReport {
    /// Of a camera of which nothing could be learnt.
    #[must_use]
    pub fn unreachable(error: &PullError) -> Self {
        let finding = findings::of_error(error);
        Self { problems: vec![finding.message.clone()], findings: vec![finding], ..Self::default() }
    }

    fn conclude(mut self) -> Self {
        let problems = self.findings.iter().filter(|f| f.level == Level::Problem);
        self.problems = problems.map(|f| f.message.clone()).collect();
        self
    }
}

/// Connects, watches for `duration` (less, when all is seen before), disconnects; and looks whether
/// there is a smaller stream where cameras of that kind have it. A camera that cannot be watched to
/// the end still gives a report: the failure stands among the findings.
///
/// # Errors
///
/// When nothing could be learned: no connection, refused, no SDP. [`ProbeReport::unreachable`] puts
/// it in words.
pub async fn probe(
    target: &PullTarget,
    duration: Duration,
    clock: &Clock,
) -> Result<ProbeReport, PullError> {
    let context = RtspContext::new(clock.clone());
    let mut source = RtspSource::connect(target, &context).await?;
    let watch = Watch::new(&source, target, clock);
    let mut report = watch.run(&mut source, duration).await;
    source.close().await;
    sub::look(target, &context, &mut report).await;
    Ok(report.conclude())
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
    lost: u64,
}

struct Watch {
    began: Instant,
    clock: Clock,
    /// Whether sound was asked for.
    audio: bool,
    tracks: Vec<Measured>,
    broken: Vec<String>,
    parameter_changes: u32,
    /// What the camera's newest report says of the time.
    said: Option<WallTime>,
    /// That, less ours.
    ahead: Option<WallSpan>,
}

impl Watch {
    fn new(source: &RtspSource, target: &PullTarget, clock: &Clock) -> Self {
        let tracks = source.tracks().iter().map(|track| Measured {
            parameters: track.codec.parameters().cloned(),
            timescale: Some(track.timescale),
            ..Measured::default()
        });
        Self {
            began: Instant::now(),
            clock: clock.clone(),
            audio: target.audio(),
            tracks: tracks.collect(),
            broken: Vec::new(),
            parameter_changes: 0,
            said: None,
            ahead: None,
        }
    }

    async fn run(mut self, source: &mut RtspSource, duration: Duration) -> ProbeReport {
        let deadline = self.began + duration;
        let early = self.began + duration.mul_f64(EARLY);
        let ended = loop {
            match timeout_at(deadline, source.next()).await {
                Err(_) => break None,
                Ok(None) => break Some("the camera closed the connection".to_owned()),
                Ok(Some(Err(error))) => break Some(error.to_string()),
                Ok(Some(Ok(event))) => self.event(event),
            }
            if Instant::now() >= early && self.tracks.iter().all(Measured::is_known) {
                break None;
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
            SourceEvent::SenderReport { track, ntp, .. } => {
                let said = WallTime::from_ntp(ntp);
                (self.said, self.ahead) = (Some(said), Some(said - self.clock.now()));
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
        let tracks = source.offers().iter().map(|offer| match self.taken(source, offer) {
            Some((measured, declared)) => measured.track(offer, declared),
            None => ProbedTrack {
                media: offer.media.clone(),
                codec: offer.encoding.clone(),
                clock_rate: offer.clock_rate,
                ..ProbedTrack::default()
            },
        });
        let tracks = tracks.collect();
        let findings = self.findings(source, watched, ended);
        let clock_ahead_seconds = self.ahead.map(WallSpan::as_secs_f64);
        ProbeReport {
            tracks,
            watched_seconds: watched,
            clock_ahead_seconds,
            findings,
            ..ProbeReport::default()
        }
    }

    /// What was measured of a track, and the frame rate it declares.
    fn taken(&self, source: &RtspSource, offer: &Offer) -> Option<(&Measured, Option<f64>)> {
        let at = offer.taken?.as_usize();
        let declared = source.tracks().get(at)?.declared_fps;
        Some((self.tracks.get(at)?, declared))
    }
}

impl Measured {
    fn unit(&mut self, unit: &SourceUnit) {
        let Some(timescale) = self.timescale else { return };
        let at = MediaTime::from_ticks(unit.ticks).to_span(timescale).as_micros();
        let known = self.parameters.as_ref();
        let whole = known.is_none_or(|p| wholeness(p, &unit.data) != Wholeness::Headless);
        self.damaged += u64::from(unit.lost > 0 || !whole);
        self.lost += u64::from(unit.lost);
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

    /// Watching on would tell nothing new: its key frames' distance and its rate are known.
    fn is_known(&self) -> bool {
        let video = self.parameters.as_ref().is_some_and(Parameters::is_video);
        self.units > 2 && (!video || self.keys.len() > 1)
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
            lost_packets: self.lost,
        }
    }
}
