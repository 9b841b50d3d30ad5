//! What the camera's answers mean.

use std::time::Duration;

use super::{
    Agreed, Carriage, Client, ClientError, Event, Pending, Phase, Purpose, SessionId, Start,
    describe::Description, info, limits, login::Asked,
};
use crate::proto::rtsp::{
    headers::{Lower, Session, Transport},
    message::{Method, Response, Status},
};

impl Client {
    pub(super) fn answered(&mut self, response: &Response, now: Duration) {
        // A hundred is no answer yet.
        if response.status.as_u16() < 200 {
            return;
        }
        let at = match response.cseq() {
            Some(cseq) => self.pending.iter().position(|pending| pending.cseq == cseq),
            // Some forget the number; then it can only be for what was asked first.
            None => (!self.pending.is_empty()).then_some(0),
        };
        // To what nobody asked, or no longer.
        let Some(at) = at else { return };
        let pending = self.pending.remove(at);
        if let Some(server) = response.headers.get("Server") {
            self.software = server.chars().take(limits::SESSION_ID).collect();
        }
        self.login.accepted |= pending.with_login && response.status != Status::UNAUTHORIZED;
        match response.status {
            Status::UNAUTHORIZED => self.unauthorized(pending, response, now),
            status if (300..400).contains(&status.as_u16()) && self.phase == Phase::Handshake => {
                self.redirected(&pending, response);
            }
            _ => self.understood(&pending, response, now),
        }
    }

    fn unauthorized(&mut self, mut pending: Pending, response: &Response, now: Duration) {
        let asked = self.login.challenged(&response.headers);
        let again = match asked {
            Asked::NotAnswerable => false,
            // Nothing was shown yet.
            _ if !pending.with_login => true,
            Asked::Stale => !std::mem::replace(&mut pending.renewed, true),
            // The login was good before, so it is the nonce that is not.
            Asked::Login => self.login.accepted && !std::mem::replace(&mut pending.repeated, true),
        };
        let purpose = pending.purpose;
        if again {
            // The next request goes with the login, and tells as much.
            if purpose == Purpose::Options {
                return self.describe(now);
            }
            pending.deadline = now + purpose.within();
            return self.send(pending);
        }
        match purpose {
            Purpose::Options if asked == Asked::NotAnswerable => self.describe(now),
            Purpose::Bury => self.events.push_back(Event::Buried { heard: true }),
            Purpose::TearDown => self.over(Event::Ended { heard: true }),
            _ => self.fail(ClientError::Unauthorized { method: pending.method.label() }),
        }
    }

    fn redirected(&mut self, pending: &Pending, response: &Response) {
        let method = pending.method.label();
        let to = response.headers.get("Location").and_then(|to| self.target.redirected(to));
        match to {
            Some((target, same_host)) => self.over(Event::Redirected { target, same_host }),
            None => {
                let status = response.status.as_u16();
                self.fail(ClientError::Refused { method, status });
            }
        }
    }

    fn understood(&mut self, pending: &Pending, response: &Response, now: Duration) {
        let ok = response.status.is_success();
        match pending.purpose {
            Purpose::Options => {
                self.has_get_parameter = ok && names_get_parameter(response);
                self.describe(now);
            }
            Purpose::KeepAlive => self.kept_alive(pending, response),
            // 454 and 500 say that there is no such session any more: that was asked for.
            Purpose::Bury => self.events.push_back(Event::Buried { heard: true }),
            Purpose::TearDown => self.over(Event::Ended { heard: true }),
            Purpose::SetUp { media, .. } if response.status == Status::UNSUPPORTED_TRANSPORT => {
                self.events.push_back(Event::TransportRefused { media });
            }
            _ if !ok => {
                let status = response.status.as_u16();
                let method = pending.method.label();
                self.fail(ClientError::Refused { method, status });
            }
            Purpose::Describe => self.described(response),
            Purpose::SetUp { media, carriage } => self.track_set_up(media, carriage, response),
            Purpose::Play => self.playing(response, now),
        }
    }

    fn describe(&mut self, now: Duration) {
        let address = self.target.address();
        self.ask(Purpose::Describe, Method::Describe, address, Vec::new(), now);
    }

    fn described(&mut self, response: &Response) {
        if response.body.is_empty() {
            let detail = "the answer to DESCRIBE holds no description".to_owned();
            return self.fail(ClientError::Protocol(detail));
        }
        let description = Description::parse(&response.body);
        let base = ["Content-Base", "Content-Location"];
        let base = base.iter().find_map(|name| response.headers.get(name));
        if let Some(base) = base.and_then(|base| self.target.base(base)) {
            self.base = base;
        }
        let control = |control: Option<&str>| {
            control.map_or_else(
                || Some(self.base.clone()),
                |control| self.target.control(&self.base, control),
            )
        };
        let session = description.control.as_deref();
        let aggregate = control(session).unwrap_or_else(|| self.base.clone());
        // RFC 2326 appendix C.1.1: tracks stand behind the base, not behind the session's control.
        let controls = description.media.iter().map(|media| control(media.control.as_deref()));
        self.controls = controls.collect();
        self.aggregate = aggregate;
        if let Some(tool) = &description.tool {
            self.software.push(' ');
            self.software.push_str(tool);
        }
        self.events.push_back(Event::Described(description));
    }

    fn track_set_up(&mut self, media: usize, carriage: Carriage, response: &Response) {
        self.session_of(response);
        // What cannot be read is taken to be what was asked for.
        let answer = response.headers.get("Transport");
        let answer = answer.and_then(|value| Transport::parse_list(value).ok());
        let answer = answer.and_then(|list| list.into_iter().next());
        let mut agreed = Agreed::default();
        if let Some(answer) = answer {
            let lower = match carriage {
                Carriage::Interleaved(..) => Lower::Tcp,
                Carriage::Udp(..) => Lower::Udp,
            };
            // Channels say more than the name: some forget the `/TCP`.
            let within = answer.interleaved.is_some() && answer.server_port.is_none();
            let lower_of_answer = if within { Lower::Tcp } else { answer.lower };
            if lower_of_answer != lower || (answer.multicast && lower == Lower::Udp) {
                return self.events.push_back(Event::TransportRefused { media });
            }
            agreed.channels = answer.interleaved;
            agreed.server_ports = answer.server_port;
            agreed.source = answer.source;
            agreed.ssrc = answer.ssrc;
        }
        match carriage {
            Carriage::Interleaved(rtp, rtcp) => {
                agreed.channels.get_or_insert((rtp, rtcp));
            }
            Carriage::Udp(..) => agreed.channels = None,
        }
        if !self.set_up.contains(&media) {
            self.set_up.push(media);
        }
        self.events.push_back(Event::SetUp { media, agreed });
    }

    /// The first id counts, whatever the following answers say: all tracks are of one session.
    fn session_of(&mut self, response: &Response) {
        let said = response.headers.get("Session").and_then(|value| Session::parse(value).ok());
        let Some(said) = said.filter(|said| said.id.len() <= limits::SESSION_ID) else { return };
        let timeout = said.timeout.filter(|&seconds| seconds > 0).map(u64::from);
        let timeout = timeout.map_or(limits::SESSION, Duration::from_secs).min(limits::SESSION);
        self.session.get_or_insert(SessionId { id: said.id, timeout });
    }

    fn playing(&mut self, response: &Response, now: Duration) {
        self.session_of(response);
        let infos = response.headers.get("RTP-Info").map(info::parse).unwrap_or_default();
        let tracks = self.set_up.iter().enumerate().map(|(nth, &media)| {
            let control = self.controls.get(media).and_then(Option::as_deref).unwrap_or_default();
            let rtptime = info::of(&infos, control, nth, self.set_up.len());
            (media, Start { rtptime })
        });
        let tracks = tracks.collect();
        self.phase = Phase::Playing;
        self.plan_keep_alive(now);
        self.events.push_back(Event::Playing(tracks));
    }

    fn kept_alive(&mut self, pending: &Pending, response: &Response) {
        match response.status {
            status if status.is_success() => {
                self.has_get_parameter |= names_get_parameter(response);
            }
            status @ Status::SESSION_NOT_FOUND => {
                let (method, status) = (pending.method.label(), status.as_u16());
                self.fail(ClientError::Refused { method, status });
            }
            // Refused by one name, it may be taken by the other.
            _ if pending.method == Method::Options && self.has_get_parameter => {
                self.keep_alive = Method::GetParameter;
            }
            _ => self.keep_alive = Method::Options,
        }
    }
}

fn names_get_parameter(response: &Response) -> bool {
    response
        .headers
        .get_all("Public")
        .flat_map(|value| value.split([',', ' ']))
        .any(|method| method.trim().eq_ignore_ascii_case("GET_PARAMETER"))
}
