//! Requests that wait for their turn, within bounds: a client that pipelines without end is not
//! read any further, and one that pipelines large bodies is not held in memory.

use std::collections::VecDeque;

use super::limits;
use crate::proto::rtsp::message::Request;

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    requests: VecDeque<Request>,
    bytes: usize,
}

impl Waiting {
    pub(super) fn push(&mut self, request: Request) {
        self.bytes += weight(&request);
        self.requests.push_back(request);
    }

    pub(super) fn pop(&mut self) -> Option<Request> {
        let request = self.requests.pop_front()?;
        self.bytes = self.bytes.saturating_sub(weight(&request));
        Some(request)
    }

    /// Whether nothing more should be added.
    pub(super) fn is_full(&self) -> bool {
        self.requests.len() >= limits::WAITING || self.bytes >= limits::WAITING_BYTES
    }
}

/// What a request takes in memory, about.
fn weight(request: &Request) -> usize {
    let field = |(name, value): (&str, &str)| name.len() + value.len() + 2 * size_of::<String>();
    let headers: usize = request.headers.iter().map(field).sum();
    size_of::<Request>() + request.uri.len() + headers + request.body.len()
}
