//! Keeps what happens over and over from filling the events: a camera with a loose plug connects
//! and disconnects every few seconds for weeks.
//!
//! Each subject (one stream's connection, one volume) may tell [`BURST`] things at once and one more
//! every [`PAUSE`]. What comes beyond is held back: when the next one may be told it is the newest,
//! for it says how things stand, and how many there were is added to its words. So the last event of
//! a subject is never older than [`PAUSE`] against what is.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::{News, Topic};
use crate::proto::time::WallTime;

/// So many at once.
pub(super) const BURST: u32 = 6;
/// And one more after so long: at most 6 an hour in the long run.
pub(super) const PAUSE: Duration = Duration::from_secs(600);
/// With so many subjects in mind, those that have been calm are forgotten.
const TIDY: usize = 4_096;

#[derive(Debug)]
struct Subject {
    /// What it may still tell.
    left: u32,
    /// `left` has been reckoned up to here.
    reckoned: Instant,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    newest: News,
    count: u64,
    since: WallTime,
}

impl Subject {
    fn reckon(&mut self, now: Instant) {
        let gone = now.saturating_duration_since(self.reckoned).as_secs() / PAUSE.as_secs();
        let gone = u32::try_from(gone).unwrap_or(u32::MAX).min(BURST);
        if gone > 0 {
            self.left = self.left.saturating_add(gone).min(BURST);
            // Of one that has been calm for long the time starts over with what it tells next.
            self.reckoned = if self.left == BURST { now } else { self.reckoned + PAUSE * gone };
        }
    }
}

/// See the module. Pure: told the time, and asked when it is due.
#[derive(Debug)]
pub(super) struct Calm {
    subjects: HashMap<Topic, Subject>,
    /// How many there are when it is next looked which can go.
    tidy_at: usize,
}

impl Default for Calm {
    fn default() -> Self {
        Self { subjects: HashMap::new(), tidy_at: TIDY }
    }
}

impl Calm {
    /// Something happened: it is given back if it may be told now.
    pub(super) fn take(&mut self, news: News, now: Instant) -> Option<News> {
        if self.subjects.len() >= self.tidy_at {
            self.subjects.retain(|_, subject| {
                subject.reckon(now);
                subject.held.is_some() || subject.left < BURST
            });
            // Not each time, when all of them are busy.
            self.tidy_at = TIDY.max(self.subjects.len() * 2);
        }
        let new = || Subject { left: BURST, reckoned: now, held: None };
        let subject = self.subjects.entry(news.topic.clone()).or_insert_with(new);
        if let Some(held) = &mut subject.held {
            held.count += 1;
            held.newest = news;
            return None;
        }
        subject.reckon(now);
        if subject.left == 0 {
            subject.held = Some(Held { count: 1, since: news.at, newest: news });
            return None;
        }
        subject.left -= 1;
        Some(news)
    }

    /// When something that is held back may be told.
    pub(super) fn due(&self) -> Option<Instant> {
        let held = self.subjects.values().filter(|subject| subject.held.is_some());
        held.map(|subject| subject.reckoned + PAUSE).min()
    }

    /// What was held back and may be told by now; at the end all of it.
    pub(super) fn poll(&mut self, now: Instant, end: bool) -> Vec<News> {
        let mut told = Vec::new();
        for subject in self.subjects.values_mut().filter(|subject| subject.held.is_some()) {
            subject.reckon(now);
            if subject.left == 0 && !end {
                continue;
            }
            subject.left = subject.left.saturating_sub(1);
            told.extend(subject.held.take().map(Held::in_words));
        }
        told.sort_by_key(|news| news.at);
        told
    }
}

impl Held {
    fn in_words(self) -> News {
        let Self { mut newest, count, since } = self;
        if count > 1 {
            newest.detail =
                format!("{} (the last of {count} changes since {since})", newest.detail);
        }
        newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::StreamId, model::EventKind, proto::time::WallSpan};

    fn news(stream: i64, n: i64) -> News {
        News {
            topic: Topic::Camera(StreamId(stream)),
            kind: EventKind::CameraDisconnected,
            camera: None,
            stream: Some(StreamId(stream)),
            at: WallTime::default() + WallSpan::from_secs(n),
            detail: format!("number {n}"),
        }
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_flaps_is_told_a_few_times_and_then_now_and_then_with_a_count() {
        let (mut calm, start) = (Calm::default(), Instant::now());
        let told = (0..1_000).filter(|&n: &i64| {
            let now = start + seconds(n.unsigned_abs());
            calm.take(news(1, n), now).is_some()
        });
        let told: Vec<_> = told.collect();
        assert_eq!(told, (0..6).collect::<Vec<_>>(), "the rest is held back");
        assert_eq!(calm.due(), Some(start + PAUSE));
        let polled = calm.poll(start + seconds(1_000), false);
        assert_eq!(polled.len(), 1);
        let words = "number 999 (the last of 994 changes since 1970-01-01T00:00:06.000000Z)";
        assert_eq!(polled[0].detail, words);
        assert_eq!(polled[0].at, news(1, 999).at, "when it happened");
        assert_eq!(calm.due(), None);
        assert!(calm.take(news(1, 1_001), start + seconds(1_001)).is_none(), "it goes on flapping");
        assert_eq!(calm.due(), Some(start + PAUSE * 2));
        assert!(calm.poll(start + PAUSE * 2 - seconds(1), false).is_empty());
        assert_eq!(calm.poll(start + PAUSE * 2, false)[0].detail, "number 1001");
    }

    #[tokio::test(start_paused = true)]
    async fn subjects_do_not_disturb_one_another_and_calm_ones_are_forgotten() {
        let (mut calm, start) = (Calm::default(), Instant::now());
        for n in 0..20 {
            calm.take(news(1, n), start);
        }
        assert!(calm.take(news(2, 0), start).is_some());
        for stream in 0..i64::try_from(TIDY * 4).unwrap() {
            let now = start + PAUSE * if stream % 2 == 0 { 20 } else { 40 };
            assert!(calm.take(news(100 + stream, 0), now).is_some());
        }
        assert!(calm.take(news(1, 21), start + PAUSE * 40).is_none(), "what is held stays");
        assert!(calm.subjects.len() < TIDY * 4, "{} are kept", calm.subjects.len());
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_all_that_is_held_back_is_told() {
        let (mut calm, start) = (Calm::default(), Instant::now());
        for n in 0..20 {
            calm.take(news(2, n), start);
            calm.take(news(1, n + 1), start);
        }
        let told: Vec<_> = calm.poll(start, true).into_iter().map(|news| news.stream).collect();
        assert_eq!(told, [Some(StreamId(2)), Some(StreamId(1))], "in the order of time");
        assert!(calm.poll(start, true).is_empty());
    }
}
