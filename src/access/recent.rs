//! Logins that were right a moment ago, so that a poller with HTTP Basic costs one hash a minute
//! and not one a request.
//!
//! Neither name nor password is kept: the key is a SHA-256 over both and a random prefix that
//! lives as long as the process.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::Principal;

/// How long a login is remembered. Not prolonged by use.
const TTL: Duration = Duration::from_secs(60);
/// Logins remembered; beyond, the oldest is forgotten.
const LOGINS: usize = 256;

/// What stands for a name and a password.
pub(super) type Key = [u8; 32];

/// The lock is held for a map operation, never across an await.
#[derive(Debug)]
pub(super) struct Recent {
    prefix: [u8; 32],
    logins: Mutex<Logins>,
}

#[derive(Debug, Default)]
struct Logins {
    by_key: HashMap<Key, (Principal, Instant)>,
    /// Grows when passwords change: what was checked before is not remembered after.
    generation: u64,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self { prefix: rand::random(), logins: Mutex::default() }
    }

    pub(super) fn key(&self, name: &str, password: &str) -> Key {
        Sha256::new()
            .chain_update(self.prefix)
            // The length keeps ("ab", "c") and ("a", "bc") apart.
            .chain_update((name.len() as u64).to_be_bytes())
            .chain_update(name)
            .chain_update(password)
            .finalize()
            .into()
    }

    pub(super) fn get(&self, key: &Key) -> Option<Principal> {
        let logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let (principal, until) = logins.by_key.get(key)?;
        (*until > Instant::now()).then(|| principal.clone())
    }

    /// To be read before the check whose success is remembered.
    pub(super) fn generation(&self) -> u64 {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner).generation
    }

    pub(super) fn remember(&self, key: Key, principal: &Principal, generation: u64) {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        if logins.generation != generation {
            return;
        }
        let now = Instant::now();
        if logins.by_key.len() >= LOGINS {
            logins.by_key.retain(|_, (_, until)| *until > now);
        }
        if logins.by_key.len() >= LOGINS {
            let oldest = logins.by_key.iter().min_by_key(|(_, (_, until))| *until);
            let oldest = oldest.map(|(key, _)| *key);
            oldest.and_then(|key| logins.by_key.remove(&key));
        }
        logins.by_key.insert(key, (principal.clone(), now + TTL));
    }

    /// Passwords have changed.
    pub(super) fn forget_all(&self) {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        logins.by_key.clear();
        logins.generation += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UserRole;

    fn principal() -> Principal {
        Principal { user: None, name: "admin".into(), role: UserRole::Admin }
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_is_remembered_for_a_minute() {
        let recent = Recent::new();
        let key = recent.key("admin", "secret");
        recent.remember(key, &principal(), recent.generation());
        assert_eq!(recent.get(&recent.key("admin", "secret")), Some(principal()));
        assert_eq!(recent.get(&recent.key("admins", "ecret")), None);
        tokio::time::advance(TTL).await;
        assert_eq!(recent.get(&key), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_began_before_a_password_change_is_not_remembered() {
        let recent = Recent::new();
        let key = recent.key("admin", "old");
        let generation = recent.generation();
        recent.remember(key, &principal(), generation);
        recent.forget_all();
        assert_eq!(recent.get(&key), None);
        recent.remember(key, &principal(), generation);
        assert_eq!(recent.get(&key), None);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_logins_are_remembered() {
        let recent = Recent::new();
        for n in 0..LOGINS + 10 {
            let key = recent.key(&n.to_string(), "x");
            recent.remember(key, &principal(), recent.generation());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(recent.logins.lock().unwrap().by_key.len(), LOGINS);
        assert_eq!(recent.get(&recent.key("0", "x")), None, "the oldest is forgotten");
        assert!(recent.get(&recent.key("200", "x")).is_some());
    }
}
