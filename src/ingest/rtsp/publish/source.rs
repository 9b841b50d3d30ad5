//! A publisher as a source.

use std::{collections::VecDeque, time::Duration};

use bytes::BytesMut;
use tokio::time::{Instant, sleep_until};

use super::{
    super::track::{Times, Track, Way},
    berth::{Intake, Kind},
    limits,
};
use crate::{
    clock::Clock,
    ingest::{
        PullError,
        source::{Source, SourceEvent, SourceTrack},
    },
    proto::{access_unit::TrackIndex, codec::Parameters, rtsp::client::Agreed},
};

/// What a publisher sends.
pub(in crate::ingest) struct Published {
    intake: Intake,
    clock: Clock,
    began: Instant,
    /// With the announcement's index and the channel of its reports.
    tracks: Vec<(TrackIndex, Option<u8>, Track)>,
    described: Vec<SourceTrack>,
    waiting: VecDeque<SourceEvent>,
    next_report: Duration,
    over_udp: bool,
}

impl Published {
    pub(in crate::ingest) fn new(intake: Intake, clock: Clock) -> Result<Self, PullError> {
        let chosen = intake.announcement.chosen();
        let chosen = chosen.map_err(|e| PullError::Protocol { detail: e.to_string() })?;
        let (mut tracks, mut described) = (Vec::new(), Vec::new());
        for (chosen, announced) in chosen.into_iter().zip((0..).map(TrackIndex)) {
            let Some(line) = intake.lines.iter().find(|line| line.track == announced) else {
                continue;
            };
            let Ok(index) = u8::try_from(tracks.len()) else { break };
            described.push(chosen.source.clone());
            let way = Way::Fed { datagrams: line.rtcp_channel.is_none() };
            let track = Track::new(chosen, TrackIndex(index), way, &Agreed::default());
            tracks.push((announced, line.rtcp_channel, track));
        }
        if tracks.is_empty() {
            return Err(PullError::NoUsableTrack { offered: Vec::new() });
        }
        let over_udp = tracks.iter().any(|(_, channel, _)| channel.is_none());
        let (waiting, began) = (VecDeque::new(), intake.began);
        let next_report = began.elapsed() + limits::REPORTS;
        Ok(Self { intake, clock, began, tracks, described, waiting, next_report, over_udp })
    }

    /// The video track's parameters as of now.
    pub(in crate::ingest) fn parameters(&self) -> Option<&Parameters> {
        self.tracks.iter().map(|(.., track)| track).find(|t| t.is_video())?.parameters()
    }

    /// Whether any track's time has been told by a report.
    fn reported(&self) -> bool {
        self.tracks.iter().any(|(.., track)| track.reported)
    }

    /// What time brings: packets no longer waited for, reports.
    fn timely(&mut self, now: Duration) {
        let times = Times { clock: &self.clock, began: self.began, reported: self.reported() };
        for (.., track) in &mut self.tracks {
            if track.receiver.poll_timeout().is_some_and(|at| at <= now) {
                track.ordered(now, &times, &mut self.waiting);
            }
        }
        self.report(now);
    }

    /// Reports, when they are due.
    fn report(&mut self, now: Duration) {
        if self.next_report > now {
            return;
        }
        self.next_report = now + limits::REPORTS;
        for (announced, channel, track) in &mut self.tracks {
            let mut report = BytesMut::new();
            track.write_report(now, *channel, &mut report);
            self.intake.reports.send(*announced, report.freeze());
        }
    }
}

impl Source for Published {
    fn tracks(&self) -> &[SourceTrack] {
        &self.described
    }

    fn is_urgent(&self) -> bool {
        self.over_udp
    }

    async fn next(&mut self) -> Option<Result<SourceEvent, PullError>> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(Ok(event));
            }
            self.report(self.began.elapsed());
            let timeouts = self.tracks.iter().filter_map(|(.., t)| t.receiver.poll_timeout());
            let due = timeouts.chain([self.next_report]).min().unwrap_or(self.next_report);
            let due = self.began + due;
            tokio::select! {
                // What is there comes before what time brings: a packet that came in time and waits
                // here is not lost.
                biased;
                piece = self.intake.next() => {
                    let Some(piece) = piece else {
                        return Some(Err(PullError::PublisherLeft(self.intake.why_left())));
                    };
                    let at = piece.at.saturating_duration_since(self.began);
                    let reported = self.reported();
                    let times = Times { clock: &self.clock, began: self.began, reported };
                    let track = self.tracks.iter_mut().find(|(of, ..)| *of == piece.track);
                    let Some((.., track)) = track else { continue };
                    match piece.kind {
                        Kind::Rtp => track.rtp(piece.data, at, &times, &mut self.waiting),
                        Kind::Rtcp => track.rtcp(&piece.data, at, &mut self.waiting),
                    }
                }
                () = sleep_until(due) => self.timely(self.began.elapsed()),
            }
        }
    }

    async fn close(self) {}
}
