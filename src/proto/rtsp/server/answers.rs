//! What the outside answered, and what the client is told of it.

use std::time::Instant;

use super::{
    Asking, Carrier, Connection, Described, FirstPacket, Output, Refusal, Session, SessionId,
    SetUp, Started, carriage, manner, range,
    session::{State, TrackSetup, Unit},
};
use crate::proto::rtsp::{
    headers::RtpInfo,
    message::{Request, Response, Status},
    sdp,
};

impl<R: Clone> Connection<R> {
    /// Answers [`Question::Describe`](super::Question::Describe).
    pub fn handle_described(&mut self, now: Instant, answer: Result<Described, Refusal>) {
        let Some((Asking::Describe { place }, request)) = self.asking.take() else { return };
        match answer {
            Err(refusal) => self.refuse_for(&request, refusal),
            Ok(described) => {
                let mut base = place.base;
                if let Some(token) = described.token
                    && !matches!(place.content, super::Content::Clip { .. })
                {
                    base.push('~');
                    base.push_str(&token);
                    base.push('/');
                }
                let text = sdp::write(&sdp::Description {
                    name: &described.name,
                    id: described.id,
                    version: described.version,
                    address: described.address,
                    tracks: &described.tracks,
                    extent: described.extent,
                });
                let response = request
                    .reply(Status::OK)
                    .header("Content-Base", base)
                    .content("application/sdp", text);
                self.reply(&request, response);
            }
        }
        self.advance(now);
    }

    /// Answers [`Question::SetUp`](super::Question::SetUp).
    pub fn handle_set_up(&mut self, now: Instant, answer: Result<SetUp<R>, Refusal>) {
        let Some((Asking::SetUp { place, session, carrier }, request)) = self.asking.take() else {
            return;
        };
        match answer {
            Err(refusal) => self.refuse_for(&request, refusal),
            Ok(set_up) => {
                let id = session.unwrap_or_else(|| SessionId::new(set_up.random));
                let session = self.sessions.entry(id.clone()).or_insert_with(|| Session {
                    id: id.clone(),
                    resource: set_up.resource,
                    place,
                    state: State::Ready { tracks: std::collections::BTreeMap::new() },
                    unit: Unit::default(),
                    replay: false,
                    touched: now,
                });
                session.touched = now;
                session.replay |= manner::requires_replay(&request);
                session
                    .state
                    .tracks_mut()
                    .insert(set_up.track, TrackSetup { carrier, plays: false });
                let mut transport = carriage::settled(carrier, set_up.server_port);
                match carrier {
                    Carrier::Interleaved { .. } => {}
                    Carrier::Udp { .. } => transport.source = Some(set_up.address.to_string()),
                    Carrier::Multicast => {
                        transport.multicast = true;
                        transport.destination = set_up.group.map(|g| g.address.to_string());
                        transport.port = set_up.group.map(|g| g.port);
                        transport.ttl = set_up.group.map(|g| g.ttl);
                    }
                }
                transport.ssrc = Some(set_up.ssrc);
                let response = request.reply(Status::OK).header("Transport", transport);
                let response = self.in_session(response, Some(&id));
                self.reply(&request, response);
            }
        }
        self.advance(now);
    }

    /// Answers [`Question::Start`](super::Question::Start).
    pub fn handle_started(&mut self, now: Instant, answer: Result<Started, Refusal>) {
        let Some((Asking::Start { session: id, unit, play, range: asked }, request)) =
            self.asking.take()
        else {
            return;
        };
        match (answer, self.sessions.get_mut(&id)) {
            (_, None) => self.refuse(&request, Status::SESSION_NOT_FOUND),
            (Err(refusal), Some(session)) => {
                // The outside was told to go elsewhere: it no longer is where it was.
                if matches!(refusal, Refusal::NothingToPlay | Refusal::Internal) {
                    let tracks = std::mem::take(session.state.tracks_mut());
                    session.state = State::Ready { tracks };
                }
                self.refuse_for(&request, refusal);
            }
            (Ok(mut started), Some(session)) => {
                session.touched = now;
                session.unit = unit;
                let tracks = std::mem::take(session.state.tracks_mut());
                session.state = State::Playing { tracks, play, range: asked };
                // VLC gives the entries to the tracks by their order, whatever the URLs say.
                started.tracks.sort_by_key(|t| t.track);
                let base = &session.place.base;
                let info: Vec<_> = started.tracks.iter().map(|t| rtp_info(base, t)).collect();
                let mut response =
                    request.reply(Status::OK).header("Range", range::told(started.extent, unit));
                // Who joins a group that is sent to has no first packet of his own.
                if !info.is_empty() {
                    response = response.header("RTP-Info", RtpInfo::write_list(&info));
                }
                for (name, factor) in [("Scale", started.scale), ("Speed", started.speed)] {
                    if request.headers.get(name).is_some() || factor != 1.0 {
                        response = response.header(name, manner::told(factor));
                    }
                }
                let response = self.in_session(response, Some(&id));
                self.reply(&request, response);
                self.outputs.push_back(Output::Release { session: id });
            }
        }
        self.advance(now);
    }

    /// Answers [`Question::Pause`](super::Question::Pause): nothing of the session is sent any more.
    pub fn handle_paused(&mut self, now: Instant) {
        let Some((Asking::Pause { session: id }, request)) = self.asking.take() else { return };
        match self.sessions.get_mut(&id) {
            None => self.refuse(&request, Status::SESSION_NOT_FOUND),
            Some(session) => {
                session.touched = now;
                let tracks = std::mem::take(session.state.tracks_mut());
                session.state = State::Ready { tracks };
                let response = self.in_session(request.reply(Status::OK), Some(&id));
                self.reply(&request, response);
            }
        }
        self.advance(now);
    }

    /// Answers [`Question::Adopt`](super::Question::Adopt): the session goes on here, if there is
    /// one; `Ok(None)` when there is none of that id for this asker.
    pub fn handle_adopted(&mut self, now: Instant, answer: Result<Option<Session<R>>, Refusal>) {
        let Some((Asking::Adopt, request)) = self.asking.take() else { return };
        match answer {
            Err(refusal) => self.refuse_for(&request, refusal),
            Ok(None) => self.refuse(&request, Status::SESSION_NOT_FOUND),
            Ok(Some(session)) => {
                let id = session.id.clone();
                // Plays are counted by the connection: stay ahead of those it was counted by.
                if let State::Playing { play, .. } = session.state {
                    self.plays = self.plays.max(play);
                }
                self.sessions.insert(id.clone(), session);
                self.dispatch(now, request, Some(id));
            }
        }
        self.advance(now);
    }

    pub(super) fn in_session(&self, response: Response, session: Option<&SessionId>) -> Response {
        let published = self.publication.as_ref().filter(|p| Some(&p.id) == session);
        if let Some(publication) = published {
            let header = publication.id.header(self.settings.timeout);
            return response.header("Session", header);
        }
        match session.and_then(|id| self.sessions.get(id)) {
            Some(session) => response.header("Session", session.header(self.settings.timeout)),
            None => response,
        }
    }

    pub(super) fn refuse_for(&mut self, request: &Request, refusal: Refusal) {
        match refusal {
            Refusal::Unauthorized(challenges) => {
                let response = challenges
                    .into_iter()
                    .fold(request.reply(Status::UNAUTHORIZED), |response, challenge| {
                        response.header("WWW-Authenticate", challenge)
                    });
                self.reply(request, response);
            }
            Refusal::Unavailable { retry_after, why } => {
                let seconds = retry_after.as_secs().max(1);
                let response = request
                    .reply(Status::SERVICE_UNAVAILABLE)
                    .header("Retry-After", seconds)
                    .content("text/plain;charset=utf-8", format!("{why}\r\n"));
                self.reply(request, response);
            }
            Refusal::NotFound(why) => self.refuse_saying(request, Status::NOT_FOUND, &why),
            Refusal::NotPublished(why) => {
                self.refuse_saying(request, Status::METHOD_NOT_ALLOWED, &why);
            }
            Refusal::Unusable(why) => {
                self.refuse_saying(request, Status::UNSUPPORTED_MEDIA_TYPE, &why);
            }
            Refusal::Busy(why) => {
                self.refuse_saying(request, Status::NOT_ENOUGH_BANDWIDTH, &why);
            }
            Refusal::Forbidden => self.refuse(request, Status::FORBIDDEN),
            Refusal::NothingToPlay => self.refuse(request, Status::INVALID_RANGE),
            Refusal::Aggregate => self.refuse(request, Status::AGGREGATE_OPERATION_NOT_ALLOWED),
            Refusal::NoCarrier => self.refuse(request, Status::UNSUPPORTED_TRANSPORT),
            Refusal::Internal => self.refuse(request, Status::INTERNAL_SERVER_ERROR),
        }
    }
}

fn rtp_info(base: &str, first: &FirstPacket) -> RtpInfo {
    RtpInfo {
        url: format!("{base}{}", sdp::control(first.track)),
        seq: Some(first.sequence),
        rtptime: Some(first.timestamp),
    }
}
