//! What is seen of a volume from round to round: its pace, and room that is still to show.
//!
//! Some file systems free the blocks of an unlinked file seconds later (Btrfs, ZFS, XFS). Who then
//! looks at the free space deletes the same room twice. So what was unlinked and did not show at
//! once counts as free, for a while.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::Pace;

/// Unlinked files show as free space within this.
const SETTLES: Duration = Duration::from_secs(60);
/// A full volume is not believed for so long.
const SETTLES_FULL: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
struct Unlinked {
    at: Instant,
    bytes: u64,
    /// As it was then.
    free: u64,
    /// Bytes written till then.
    written: u64,
}

/// What is remembered of a volume.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) pace: Pace,
    noted: Option<Instant>,
    unlinked: VecDeque<Unlinked>,
}

impl Observed {
    pub(super) fn note(&mut self, written: u64, used: u64) {
        let now = Instant::now();
        if self.noted.is_none_or(|at| now - at >= Duration::from_secs(5)) {
            self.noted = Some(now);
            self.pace.note(now, written, used);
        }
    }

    /// Bytes were unlinked and do not show yet; `free`, `written`: as they are now.
    pub(super) fn unlinked(&mut self, bytes: u64, free: u64, written: u64) {
        if bytes > 0 {
            self.unlinked.push_back(Unlinked { at: Instant::now(), bytes, free, written });
        }
    }

    /// Bytes unlinked lately that do not show in the free space yet.
    pub(super) fn settling(&mut self, free: u64, written: u64, full: bool) -> u64 {
        let within = if full { SETTLES_FULL } else { SETTLES };
        while self.unlinked.front().is_some_and(|u| u.at.elapsed() >= within) {
            self.unlinked.pop_front();
        }
        let Some(first) = self.unlinked.front() else { return 0 };
        let unlinked: u64 = self.unlinked.iter().map(|u| u.bytes).sum();
        let since = written.saturating_sub(first.written);
        let shown = free.saturating_add(since).saturating_sub(first.free);
        unlinked.saturating_sub(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_unlinked_counts_as_free_until_it_shows_or_for_a_minute() {
        let mut seen = Observed::default();
        seen.unlinked(100, 50, 1_000);
        assert_eq!(seen.settling(50, 1_000, false), 100, "nothing shows yet");
        assert_eq!(seen.settling(70, 1_010, false), 70, "20 more free, and 10 were written");
        assert_eq!(seen.settling(150, 1_000, false), 0, "it shows");
        assert_eq!(seen.settling(20, 1_000, false), 130 - 30, "others write");
        tokio::time::advance(SETTLES_FULL).await;
        seen.unlinked(5, 50, 1_000);
        assert_eq!(seen.settling(50, 1_000, true), 5, "a full volume is not believed for long");
        tokio::time::advance(SETTLES).await;
        assert_eq!(seen.settling(50, 1_000, false), 0);
    }
}
