//! What the camera asks of us. It wants to know whether we are there, and some will not go on before
//! they were answered.

use bytes::BytesMut;

use super::{Client, ClientError, Phase};
use crate::proto::rtsp::message::{Method, Request, Status};

impl Client {
    pub(super) fn serve(&mut self, request: &Request) {
        let status = match request.method {
            Method::Options
            | Method::GetParameter
            | Method::SetParameter
            // A new description: what changes is seen in what is sent.
            | Method::Announce
            | Method::Redirect
            | Method::Teardown => Status::OK,
            _ => Status::NOT_IMPLEMENTED,
        };
        let mut response = request.reply(status);
        if request.method == Method::Options {
            response.headers.push(
                "Public",
                "OPTIONS, ANNOUNCE, GET_PARAMETER, SET_PARAMETER, REDIRECT, TEARDOWN",
            );
        }
        if let Some(session) = &self.session {
            response.headers.push("Session", session.id.as_str());
        }
        let mut bytes = BytesMut::new();
        response.write(&mut bytes);
        self.transmit(bytes.freeze());
        // Both are no fault of ours: the next attempt asks the address we were given.
        match request.method {
            _ if self.phase == Phase::Leaving => {}
            Method::Redirect => self.fail(ClientError::Closed("it sends us elsewhere")),
            Method::Teardown => self.fail(ClientError::Closed("it ended the session")),
            _ => {}
        }
    }
}
