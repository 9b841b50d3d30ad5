//! What each method begins with: an answer, or a question to the outside.

use std::time::Instant;

use super::{
    Asking, Carrier, Connection, Content, Credentials, Output, Place, PlaceError, Question,
    carriage, limits, manner,
    range::{self, RangeError},
    session::{SessionId, State},
};
use crate::proto::{
    access_unit::TrackIndex,
    rtsp::{
        headers::{self, Transport},
        message::{Method, Request, Status, Version},
        sdp,
    },
};

/// What `Public` and `Allow` say. VLC keeps a session alive with GET_PARAMETER only when it is
/// listed.
pub(super) const PUBLIC: &str = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER, ANNOUNCE, RECORD";

/// Tags of `Require` that we do.
const FEATURES: &[&str] = &["play.basic", manner::REPLAY];

impl<R: Clone> Connection<R> {
    pub(super) fn begin(&mut self, now: Instant, request: Request) {
        if request.version != Version::Rtsp10 {
            return self.refuse(&request, Status::VERSION_NOT_SUPPORTED);
        }
        if request.cseq().is_none() {
            return self.refuse(&request, Status::BAD_REQUEST);
        }
        let lacking: Vec<_> = headers::required(&request.headers)
            .into_iter()
            .filter(|tag| !FEATURES.iter().any(|f| f.eq_ignore_ascii_case(tag)))
            .collect();
        if !lacking.is_empty() {
            let unsupported = lacking.join(", ");
            let response =
                request.reply(Status::OPTION_NOT_SUPPORTED).header("Unsupported", unsupported);
            return self.reply(&request, response);
        }
        let session = match request.headers.get("Session").map(headers::Session::parse) {
            None => None,
            Some(Ok(session)) => Some(SessionId::asked(&session.id)),
            Some(Err(_)) => return self.refuse(&request, Status::BAD_REQUEST),
        };
        match session {
            Some(id) if self.publication.as_ref().is_some_and(|p| p.id == id) => {
                self.dispatch_publication(now, request);
            }
            None if self.is_for_publication(&request) => self.dispatch_publication(now, request),
            Some(id) if self.sessions.contains_key(&id) => self.dispatch(now, request, Some(id)),
            // Whatever it is, OPTIONS is about us and not about a session.
            Some(_) if request.method == Method::Options => self.dispatch(now, request, None),
            Some(session) => {
                let who = credentials(&request);
                self.ask(Asking::Adopt, request, Question::Adopt { who, session });
            }
            None => self.dispatch(now, request, None),
        }
    }

    /// `session` is one of ours.
    pub(super) fn dispatch(&mut self, now: Instant, request: Request, session: Option<SessionId>) {
        if let Some(session) = session.as_ref().and_then(|id| self.sessions.get_mut(id))
            && request.method != Method::Teardown
        {
            session.touched = now;
        }
        match (&request.method, session) {
            (Method::Options, session) => {
                let response = request.reply(Status::OK).header("Public", PUBLIC);
                let response = self.in_session(response, session.as_ref());
                self.reply(&request, response);
            }
            (Method::Describe, _) => self.describe(request),
            (Method::Setup, session) => self.set_up(request, session),
            (Method::Play, Some(session)) => self.play(request, session),
            (Method::Pause, Some(session)) => self.pause(request, session),
            (Method::Teardown, Some(session)) => self.tear_down(&request, session),
            (Method::GetParameter, session) => {
                let response = self.in_session(request.reply(Status::OK), session.as_ref());
                self.reply(&request, response);
            }
            (Method::SetParameter, session) => {
                // There is none to set; without one it is a ping.
                let known = request.body.iter().all(u8::is_ascii_whitespace);
                let status = if known { Status::OK } else { Status::PARAMETER_NOT_UNDERSTOOD };
                let response = self.in_session(request.reply(status), session.as_ref());
                self.reply(&request, response);
            }
            (Method::Announce, None) => self.announce(request),
            (Method::Play | Method::Pause | Method::Teardown | Method::Record, None) => {
                self.refuse(&request, Status::SESSION_NOT_FOUND);
            }
            (Method::Announce | Method::Record, Some(_)) => {
                let status = Status::METHOD_NOT_VALID_IN_THIS_STATE;
                let response = request.reply(status).header("Allow", PUBLIC);
                self.reply(&request, response);
            }
            (Method::Redirect, _) => {
                let response = request.reply(Status::METHOD_NOT_ALLOWED).header("Allow", PUBLIC);
                self.reply(&request, response);
            }
            (Method::Other(_), _) => self.refuse(&request, Status::NOT_IMPLEMENTED),
        }
    }

    fn describe(&mut self, request: Request) {
        if !headers::accepts(&request.headers, "application/sdp") {
            return self.refuse(&request, Status::NOT_ACCEPTABLE);
        }
        let Some(place) = self.place(&request) else { return };
        let question = Question::Describe { who: credentials(&request), place: place.clone() };
        self.ask(Asking::Describe { place }, request, question);
    }

    fn set_up(&mut self, request: Request, session: Option<SessionId>) {
        let Some(place) = self.place(&request) else { return };
        let offers = request.headers.get("Transport").map(Transport::parse_list);
        let Some(Ok(offers)) = offers else {
            return self.refuse(&request, Status::BAD_REQUEST);
        };
        // Channels of the track itself are free again when it is set up anew.
        let own = session.as_ref().zip(place.track).and_then(|(id, track)| {
            self.sessions.get(id)?.state.tracks().get(&track).map(|t| t.carrier)
        });
        let own = match own {
            Some(Carrier::Interleaved { rtp, rtcp }) => [Some(rtp), Some(rtcp)],
            _ => [None, None],
        };
        let taken = |channel: u8| {
            !own.contains(&Some(channel)) && self.sessions.values().any(|s| s.uses_channel(channel))
        };
        // A recording is played to one viewer, at a place of his own.
        let multicast = self.settings.multicast && matches!(place.content, Content::Live);
        let Some(carrier) = carriage::choose(&offers, self.settings.udp, multicast, taken) else {
            return self.refuse(&request, Status::UNSUPPORTED_TRANSPORT);
        };
        match session.as_ref().and_then(|id| self.sessions.get(id)) {
            // RFC 2326 §10.4: a session holds tracks of one presentation.
            Some(session) if !session.place.same_content(&place) => {
                return self.refuse(&request, Status::AGGREGATE_OPERATION_NOT_ALLOWED);
            }
            Some(session) => {
                // A track that is new to the session may join while others play (VLC does so).
                if let State::Playing { tracks, .. } = &session.state
                    && place.track.is_none_or(|t| tracks.contains_key(&t))
                {
                    let status = Status::METHOD_NOT_VALID_IN_THIS_STATE;
                    let response = request.reply(status).header("Allow", PUBLIC);
                    return self.reply(&request, response);
                }
            }
            None if self.sessions.len() >= limits::SESSIONS => {
                return self.refuse(&request, Status::NOT_ENOUGH_BANDWIDTH);
            }
            None => {}
        }
        let question = Question::SetUp {
            who: credentials(&request),
            place: place.clone(),
            session: session
                .as_ref()
                .and_then(|id| self.sessions.get(id).map(|s| (s.id.clone(), s.resource.clone()))),
            carrier,
        };
        self.ask(Asking::SetUp { place, session, carrier }, request, question);
    }

    fn play(&mut self, request: Request, id: SessionId) {
        let header = request.headers.get("Range").map(str::to_owned);
        let Ok(mut manner) = manner::manner(&request.headers) else {
            return self.refuse(&request, Status::BAD_REQUEST);
        };
        if let Some(session) = self.sessions.get_mut(&id) {
            session.replay |= manner::requires_replay(&request);
            manner.replay = manner::replay(&request, session.replay);
        }
        let (mut wish, unit) = match range::wish(header.as_deref(), manner) {
            Ok(understood) => understood,
            Err(RangeError::Malformed) => return self.refuse(&request, Status::BAD_REQUEST),
            Err(RangeError::Unit) => return self.refuse(&request, Status::NOT_IMPLEMENTED),
            Err(RangeError::Backwards) => return self.refuse(&request, Status::INVALID_RANGE),
        };
        let track = control_of(&request.uri);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let playing = match &session.state {
            State::Playing { range, .. } => Some(range.clone()),
            State::Ready { .. } => None,
        };
        let tracks = session.state.tracks_mut();
        if track.is_some_and(|t| !tracks.contains_key(&t)) {
            return self.refuse(&request, Status::NOT_FOUND);
        }
        // A PLAY of one track plays that one, and while others play, that one too: with the range
        // they were started with it means "join them", not "all back to the start".
        if playing.is_none() || track.is_none() {
            for (index, setup) in tracks.iter_mut() {
                setup.plays = track.is_none_or(|t| t == *index);
            }
        } else if let Some(setup) = track.and_then(|t| tracks.get_mut(&t))
            && !std::mem::replace(&mut setup.plays, true)
            && playing == Some(header.clone())
        {
            wish.start = None;
        }
        let tracks = tracks.iter().filter(|(_, s)| s.plays).map(|(index, _)| *index).collect();
        self.plays += 1;
        let question = Question::Start {
            who: credentials(&request),
            session: id.clone(),
            resource: session.resource.clone(),
            wish,
            tracks,
            play: self.plays,
        };
        let unit = unit.unwrap_or(session.unit);
        let asking = Asking::Start { session: id, unit, play: self.plays, range: header };
        self.ask(asking, request, question);
    }

    fn pause(&mut self, request: Request, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else { return };
        let one = control_of(&request.uri).is_some();
        match &session.state {
            State::Ready { .. } => {
                let response = self.in_session(request.reply(Status::OK), Some(&id));
                self.reply(&request, response);
            }
            State::Playing { tracks, .. } if one && tracks.len() > 1 => {
                self.refuse(&request, Status::ONLY_AGGREGATE_OPERATION_ALLOWED);
            }
            State::Playing { .. } => {
                let question = Question::Pause { session: id.clone() };
                self.ask(Asking::Pause { session: id }, request, question);
            }
        }
    }

    fn tear_down(&mut self, request: &Request, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let track = control_of(&request.uri);
        if let Some(track) = track {
            let tracks = session.state.tracks_mut();
            if tracks.remove(&track).is_none() {
                return self.refuse(request, Status::NOT_FOUND);
            }
            if !tracks.is_empty() {
                self.outputs.push_back(Output::Mute { session: id.clone(), track });
                let response = self.in_session(request.reply(Status::OK), Some(&id));
                return self.reply(request, response);
            }
        }
        self.end(&id);
        self.refuse(request, Status::OK);
    }

    /// What the request's URL names; when that is nothing, the answer is given here.
    fn place(&mut self, request: &Request) -> Option<Place> {
        match Place::parse(&request.uri) {
            Ok(place) => Some(place),
            Err(error) => {
                let status = match error {
                    PlaceError::Syntax | PlaceError::Time => Status::BAD_REQUEST,
                    PlaceError::Unknown => Status::NOT_FOUND,
                };
                self.refuse_saying(request, status, &error.to_string());
                None
            }
        }
    }

    pub(super) fn ask(&mut self, asking: Asking, request: Request, question: Question<R>) {
        self.asking = Some((asking, request));
        self.outputs.push_back(Output::Ask(question));
    }
}

/// The track a URL ends in. Requests within a session are told apart by nothing else of their URL:
/// the session says what is played, and players write its URL in more than one way.
fn control_of(uri: &str) -> Option<TrackIndex> {
    let path = uri.trim_end_matches('/');
    path.rsplit('/').next().and_then(sdp::parse_control)
}

pub(super) fn credentials(request: &Request) -> Credentials {
    Credentials {
        method: request.method.clone(),
        authorization: request.headers.get("Authorization").map(str::to_owned),
    }
}
