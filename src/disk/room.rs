//! How a volume says that it needs room: the writer (or who chooses volumes) asks, retention
//! listens. The asker never waits; many asks before one is heard are one.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// The bell between the volumes and whoever deletes.
#[derive(Debug, Default)]
pub struct Room {
    /// Volumes that asked since the last answer. Guards inserts and one take, never held over an
    /// await.
    asked: Mutex<BTreeSet<String>>,
    bell: Notify,
}

impl Room {
    /// Asks for room on a volume: a write found none, or the next one will not.
    pub fn ask(&self, volume: &str) {
        let mut asked = self.lock();
        if !asked.contains(volume) {
            asked.insert(volume.to_owned());
        }
        drop(asked);
        self.bell.notify_one();
    }

    /// Waits until some volume asks; says which have since the last time. Cancel-safe.
    pub async fn asked(&self) -> BTreeSet<String> {
        loop {
            let asked = std::mem::take(&mut *self.lock());
            if !asked.is_empty() {
                return asked;
            }
            self.bell.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn asking_before_anybody_listens_is_heard_once() {
        let room = Room::default();
        room.ask("/a");
        room.ask("/b");
        room.ask("/a");
        assert_eq!(room.asked().await, BTreeSet::from(["/a".to_owned(), "/b".to_owned()]));
        let again = tokio::time::timeout(std::time::Duration::from_millis(1), room.asked());
        assert!(again.await.is_err(), "nobody asked since");
    }
}
