//! Who waits for a stream's units as they come, and so how long the thread that brings them may let
//! them gather.
//!
//! A thread that serves many streams saves most of its work by looking at its sockets less often
//! (see `app/lanes.rs`). A recorder does not mind: it looks at the hub now and then anyway. A live
//! player does, and so does a handshake, each step of which waits for the one before, and a camera
//! over UDP, whose packets wait in a small socket buffer. Those hold a [`Hurry`].
//!
//! # Invariant
//!
//! A thread's [`Haste`] counts its streams that have at least one [`Hurry`], also when hurries came
//! before the stream was given to the thread, or stay when it moves to another.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use super::Channel;

/// Of one thread: how many of its streams somebody waits for.
#[derive(Clone, Debug, Default)]
pub struct Haste(Arc<AtomicUsize>);

impl Haste {
    /// Whether anybody waits for any of the thread's streams.
    #[must_use]
    pub fn is_called_for(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    fn begins(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn ends(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// As long as it lives, units of its stream are brought as soon as they come.
#[derive(Debug)]
pub struct Hurry(Arc<Channel>);

impl Hurry {
    pub(super) fn new(channel: Arc<Channel>) -> Self {
        channel.waiting.comes();
        Self(channel)
    }
}

impl Drop for Hurry {
    fn drop(&mut self) {
        self.0.waiting.goes();
    }
}

/// Who waits for one stream.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    count: usize,
    /// Of the thread that serves the stream.
    haste: Option<Haste>,
}

impl Waiting {
    /// The stream is served by the thread of `haste` from now on.
    pub(super) fn served_by(&self, haste: Haste) {
        let mut state = self.lock();
        if state.count > 0 {
            haste.begins();
            state.haste.iter().for_each(Haste::ends);
        }
        state.haste = Some(haste);
    }

    fn comes(&self) {
        let mut state = self.lock();
        state.count += 1;
        if state.count == 1 {
            state.haste.iter().for_each(Haste::begins);
        }
    }

    fn goes(&self) {
        let mut state = self.lock();
        state.count -= 1;
        if state.count == 0 {
            state.haste.iter().for_each(Haste::ends);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        hub::{Haste, Hub, Limits, Start},
        id::StreamId,
    };

    #[test]
    fn a_thread_is_in_haste_while_anybody_but_the_recorder_reads() {
        let channel = Hub::new(Limits::default()).channel(StreamId(1));
        let haste = Haste::default();
        channel.served_by(haste.clone());
        let recorder = channel.subscribe_to_record();
        assert!(!haste.is_called_for());
        let players = [channel.subscribe(Start::Next), channel.subscribe(Start::KeyFrame)];
        assert!(haste.is_called_for());
        let [first, second] = players;
        drop(first);
        assert!(haste.is_called_for());
        drop(second);
        assert!(!haste.is_called_for());
        drop(recorder);
        assert!(!haste.is_called_for());
    }

    #[test]
    fn haste_moves_with_the_stream_from_thread_to_thread() {
        let hub = Hub::new(Limits::default());
        let (one, other) = (hub.channel(StreamId(1)), hub.channel(StreamId(2)));
        // Before any thread serves it.
        let hurry = one.hurry();
        let (first, second) = (Haste::default(), Haste::default());
        one.served_by(first.clone());
        other.served_by(first.clone());
        let player = other.subscribe(Start::Oldest);
        one.served_by(second.clone());
        assert!(first.is_called_for(), "the player of the other stream");
        assert!(second.is_called_for());
        drop(player);
        assert!(!first.is_called_for());
        drop(hurry);
        assert!(!second.is_called_for());
    }
}
