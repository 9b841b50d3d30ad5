//! Clients that send: ANNOUNCE, SETUP with `mode=record`, RECORD.
//!
//! A connection publishes one presentation at most, under a session of its own that ends with the
//! connection (also over UDP) or by silence: while it records, media and requests keep it alive, and
//! before and in a pause nothing but getting on: SETUP and RECORD.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Asking, Carrier, Connection, Content, Output, Place, PlaceError, Question, Refusal, SessionId,
    carriage, requests,
};
use crate::proto::rtsp::{
    client::describe::Description,
    headers::Transport,
    message::{Method, Request, Status},
};

/// What is published on a connection.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) id: SessionId,
    /// The announced URL without a `/` at its end.
    base: String,
    description: Arc<Description>,
    /// By the place in the description.
    carriers: BTreeMap<usize, Carrier>,
    pub(super) recording: bool,
    pub(super) touched: Instant,
}

/// Why nothing more is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// TEARDOWN.
    Goodbye,
    /// PAUSE: the place is kept.
    Pause,
    /// Nothing came for too long.
    Silence,
    /// The connection is gone.
    Gone,
}

/// What a SETUP of a publisher is answered with.
#[derive(Clone, Copy, Debug)]
pub struct Admitted {
    /// Our address as the client reached it.
    pub address: IpAddr,
    /// Our ports for RTP and RTCP, on UDP.
    pub server_port: Option<(u16, u16)>,
}

impl Publication {
    pub(super) fn deadline(&self, timeout: Duration) -> Instant {
        self.touched + timeout
    }

    pub(super) fn uses_channel(&self, channel: u8) -> bool {
        self.line(channel).is_some()
    }

    /// Which media a channel carries, and whether its reports.
    pub(super) fn line(&self, channel: u8) -> Option<(usize, bool)> {
        self.carriers.iter().find_map(|(&media, carrier)| match *carrier {
            Carrier::Interleaved { rtp, .. } if rtp == channel => Some((media, false)),
            Carrier::Interleaved { rtcp, .. } if rtcp == channel => Some((media, true)),
            _ => None,
        })
    }

    /// Which media a URL means.
    fn media_of(&self, uri: &str) -> Option<usize> {
        let uri = uri.trim_end_matches('/');
        let media = &self.description.media;
        let rest = uri.strip_prefix(&self.base);
        let named = media.iter().position(|media| {
            media.control.as_deref().is_some_and(|control| {
                let control = control.trim_end_matches('/');
                control == uri
                    || rest.and_then(|rest| rest.strip_prefix('/')).is_some_and(|r| r == control)
                    // The host or the login may be written in another way.
                    || uri.strip_suffix(control).is_some_and(|head| head.ends_with('/'))
            })
        });
        named.or_else(|| (media.len() == 1 && rest == Some("")).then_some(0))
    }
}

impl<R: Clone> Connection<R> {
    /// Media or reports of what is published have come by UDP.
    pub fn handle_published(&mut self, now: Instant) {
        if let Some(publication) = &mut self.publication {
            publication.touched = now;
        }
    }

    /// What is published can go on no more: its place is another's, or nobody takes it.
    pub fn handle_unpublished(&mut self) {
        if self.publication.take().is_some() {
            self.closing = true;
            self.outputs.push_back(Output::Close);
        }
    }

    pub(super) fn announce(&mut self, request: Request) {
        if self.publication.is_some() {
            return self.not_now(&request);
        }
        let kind = request.headers.get("Content-Type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/sdp") {
            return self.refuse(&request, Status::UNSUPPORTED_MEDIA_TYPE);
        }
        let place = match Place::parse(&request.uri) {
            Ok(place) if place.content == Content::Live && place.track.is_none() => place,
            Ok(_) | Err(PlaceError::Unknown) => return self.refuse(&request, Status::NOT_FOUND),
            Err(error) => {
                let words = error.to_string();
                return self.refuse_saying(&request, Status::BAD_REQUEST, &words);
            }
        };
        let description = Arc::new(Description::parse(&request.body));
        let question = Question::Announce {
            who: requests::credentials(&request),
            place,
            description: Arc::clone(&description),
        };
        self.ask(Asking::Announce { description }, request, question);
    }

    /// Answers [`Question::Announce`]; with random bits for the session's id.
    pub fn handle_announced(&mut self, now: Instant, answer: Result<[u8; 16], Refusal>) {
        let Some((Asking::Announce { description }, request)) = self.asking.take() else { return };
        match answer {
            Err(refusal) => self.refuse_for(&request, refusal),
            Ok(random) => {
                self.publication = Some(Publication {
                    id: SessionId::new(random),
                    base: request.uri.trim_end_matches('/').to_owned(),
                    description,
                    carriers: BTreeMap::new(),
                    recording: false,
                    touched: now,
                });
                self.refuse(&request, Status::OK);
            }
        }
        self.advance(now);
    }

    /// Whether a request without a session is about what is published.
    pub(super) fn is_for_publication(&self, request: &Request) -> bool {
        let Some(publication) = &self.publication else { return false };
        let transport = request.headers.get("Transport").map(Transport::parse_list);
        request.method == Method::Setup
            && (publication.media_of(&request.uri).is_some()
                || transport.is_some_and(|t| t.is_ok_and(|t| t.iter().any(|t| t.record))))
    }

    /// A request of the publication's session.
    pub(super) fn dispatch_publication(&mut self, now: Instant, request: Request) {
        let Some(publication) = &mut self.publication else {
            return self.refuse(&request, Status::SESSION_NOT_FOUND);
        };
        let id = publication.id.clone();
        let recording = publication.recording;
        // Who records not yet, or no more, holds a place that others may want: talk does not keep it.
        if recording {
            publication.touched = now;
        }
        let plain = |status| request.reply(status);
        match &request.method {
            Method::Setup if recording => self.not_now(&request),
            Method::Setup => self.admit(request),
            Method::Record if recording || publication.carriers.is_empty() => {
                self.not_now(&request);
            }
            Method::Record => {
                let question = Question::Record { who: requests::credentials(&request) };
                self.ask(Asking::Record, request, question);
            }
            Method::Pause => {
                if std::mem::take(&mut publication.recording) {
                    self.outputs.push_back(Output::Unpublish { parting: Parting::Pause });
                }
                let response = self.in_session(plain(Status::OK), Some(&id));
                self.reply(&request, response);
            }
            Method::Teardown => {
                self.publication = None;
                self.heard = now;
                self.outputs.push_back(Output::Unpublish { parting: Parting::Goodbye });
                self.refuse(&request, Status::OK);
            }
            Method::GetParameter | Method::SetParameter => {
                let response = self.in_session(plain(Status::OK), Some(&id));
                self.reply(&request, response);
            }
            Method::Options => {
                let response = plain(Status::OK).header("Public", requests::PUBLIC);
                let response = self.in_session(response, Some(&id));
                self.reply(&request, response);
            }
            _ => self.not_now(&request),
        }
    }

    pub(super) fn admit(&mut self, request: Request) {
        let Some(publication) = &self.publication else {
            return self.refuse(&request, Status::SESSION_NOT_FOUND);
        };
        let Some(media) = publication.media_of(&request.uri) else {
            return self.refuse_saying(&request, Status::NOT_FOUND, "no such track was announced");
        };
        let offers = request.headers.get("Transport").map(Transport::parse_list);
        let Some(Ok(mut offers)) = offers else {
            return self.refuse(&request, Status::BAD_REQUEST);
        };
        // It announced: it is clear who sends, also where it does not say so.
        offers.iter_mut().for_each(|offer| offer.record = false);
        let own = publication.carriers.get(&media).copied();
        let taken = |channel: u8| {
            let is_own = matches!(own, Some(Carrier::Interleaved { rtp, rtcp })
                if rtp == channel || rtcp == channel);
            !is_own
                && (publication.uses_channel(channel)
                    || self.sessions.values().any(|s| s.uses_channel(channel)))
        };
        // What is published comes to us alone.
        let Some(carrier) = carriage::choose(&offers, self.settings.udp, false, taken) else {
            return self.refuse(&request, Status::UNSUPPORTED_TRANSPORT);
        };
        let who = requests::credentials(&request);
        let question = Question::Admit { who, media, carrier };
        self.ask(Asking::Admit { media, carrier }, request, question);
    }

    /// Answers [`Question::Admit`].
    pub fn handle_admitted(&mut self, now: Instant, answer: Result<Admitted, Refusal>) {
        let Some((Asking::Admit { media, carrier }, request)) = self.asking.take() else { return };
        match (answer, &mut self.publication) {
            (_, None) => self.refuse(&request, Status::SESSION_NOT_FOUND),
            (Err(refusal), Some(_)) => self.refuse_for(&request, refusal),
            (Ok(admitted), Some(publication)) => {
                if publication.carriers.insert(media, carrier).is_none() {
                    publication.touched = now;
                }
                let id = publication.id.clone();
                let mut transport = carriage::settled(carrier, admitted.server_port);
                transport.record = true;
                let response = request.reply(Status::OK).header("Transport", transport);
                let response = self.in_session(response, Some(&id));
                self.reply(&request, response);
            }
        }
        self.advance(now);
    }

    /// Answers [`Question::Record`].
    pub fn handle_recording(&mut self, now: Instant, answer: Result<(), Refusal>) {
        let Some((Asking::Record, request)) = self.asking.take() else { return };
        match (answer, &mut self.publication) {
            (_, None) => self.refuse(&request, Status::SESSION_NOT_FOUND),
            (Err(refusal), Some(_)) => self.refuse_for(&request, refusal),
            (Ok(()), Some(publication)) => {
                publication.recording = true;
                publication.touched = now;
                let id = publication.id.clone();
                let response = self.in_session(request.reply(Status::OK), Some(&id));
                self.reply(&request, response);
            }
        }
        self.advance(now);
    }

    fn not_now(&mut self, request: &Request) {
        let response = request.reply(Status::METHOD_NOT_VALID_IN_THIS_STATE);
        self.reply(request, response.header("Allow", requests::PUBLIC));
    }

    /// It is over, whyever.
    pub(super) fn unpublish(&mut self, parting: Parting) {
        if self.publication.take().is_some() {
            self.outputs.push_back(Output::Unpublish { parting });
        }
    }
}
