//! Failed logins by address: after a few, the address has to wait, longer each time.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::Denied;

/// Failures without a wait: people mistype, players try twice.
const FREE: u32 = 5;
/// The wait after the first failure beyond; doubles with each one more.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// An address that has not failed for so long starts anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(900);
/// Addresses remembered. Beyond, the one that failed longest ago is forgotten: whoever has more
/// addresses than this to guess from is slowed down by the hashing, not by this map.
const ADDRESSES: usize = 4_096;

/// Failures by address. The lock is held for a few map operations, never across an await.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<HashMap<IpAddr, Failures>>);

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
    blocked_until: Instant,
}

impl Attempts {
    /// Whether `peer` may try now.
    pub(super) fn check(&self, peer: IpAddr) -> Result<(), Denied> {
        let now = Instant::now();
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match failures.get(&network(peer)) {
            Some(f) if f.blocked_until > now => {
                Err(Denied::TooManyAttempts { retry_after: f.blocked_until - now })
            }
            _ => Ok(()),
        }
    }

    /// Takes note of how an attempt went, and hands it on.
    pub(super) fn count<T>(&self, peer: IpAddr, result: Result<T, Denied>) -> Result<T, Denied> {
        match &result {
            Ok(_) => {
                let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                failures.remove(&network(peer));
            }
            Err(Denied::BadCredentials) => self.failed(peer),
            // Nothing was compared.
            Err(Denied::TooManyAttempts { .. } | Denied::Forbidden | Denied::Unavailable) => {}
        }
        result
    }

    fn failed(&self, peer: IpAddr) {
        let now = Instant::now();
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let network = network(peer);
        if !failures.contains_key(&network) && failures.len() >= ADDRESSES {
            failures.retain(|_, f| now - f.last < FORGOTTEN_AFTER);
            if failures.len() >= ADDRESSES {
                let oldest = failures.iter().min_by_key(|(_, f)| f.last).map(|(&ip, _)| ip);
                oldest.and_then(|ip| failures.remove(&ip));
            }
        }
        let f =
            failures.entry(network).or_insert(Failures { count: 0, last: now, blocked_until: now });
        if now - f.last >= FORGOTTEN_AFTER {
            f.count = 0;
        }
        f.count = f.count.saturating_add(1);
        f.last = now;
        if let Some(beyond) = f.count.checked_sub(FREE + 1) {
            let wait = FIRST_WAIT.saturating_mul(1_u32.checked_shl(beyond).unwrap_or(u32::MAX));
            f.blocked_until = now + wait.min(LONGEST_WAIT);
        }
    }
}

/// An IPv6 host has a whole /64 to come from.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "192.0.2.7";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn fail(attempts: &Attempts, peer: &str) {
        let _ = attempts.count::<()>(ip(peer), Err(Denied::BadCredentials));
    }

    fn wait(attempts: &Attempts, peer: &str) -> Option<u64> {
        match attempts.check(ip(peer)) {
            Ok(()) => None,
            Err(Denied::TooManyAttempts { retry_after }) => Some(retry_after.as_secs()),
            Err(other) => panic!("{other}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waits_double_up_to_five_minutes() {
        let attempts = Attempts::default();
        for _ in 0..FREE {
            fail(&attempts, PEER);
            assert_eq!(wait(&attempts, PEER), None);
        }
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            fail(&attempts, PEER);
            assert_eq!(wait(&attempts, PEER), Some(seconds));
            tokio::time::advance(Duration::from_secs(seconds)).await;
            assert_eq!(wait(&attempts, PEER), None);
        }
        for _ in 0..100 {
            fail(&attempts, PEER);
        }
        assert_eq!(wait(&attempts, PEER), Some(300), "no overflow");
        assert_eq!(wait(&attempts, "192.0.2.8"), None, "others are not concerned");
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_or_a_quarter_of_an_hour_of_quiet_wipes_the_slate() {
        let attempts = Attempts::default();
        for forget in [true, false] {
            for _ in 0..=FREE {
                fail(&attempts, PEER);
            }
            assert_eq!(wait(&attempts, PEER), Some(1));
            if forget {
                tokio::time::advance(FORGOTTEN_AFTER).await;
            } else {
                attempts.count(ip(PEER), Ok(())).unwrap();
            }
            fail(&attempts, PEER);
            assert_eq!(wait(&attempts, PEER), None);
            attempts.count(ip(PEER), Ok(())).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_ipv6_network_and_a_mapped_address_count_as_one() {
        let attempts = Attempts::default();
        for last in 0..=FREE {
            fail(&attempts, &format!("2001:db8:1:2::{last}"));
            fail(&attempts, if last % 2 == 0 { PEER } else { "::ffff:192.0.2.7" });
        }
        assert_eq!(wait(&attempts, "2001:db8:1:2:ffff::9"), Some(1));
        assert_eq!(wait(&attempts, "2001:db8:1:3::1"), None);
        assert_eq!(wait(&attempts, PEER), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_addresses_are_remembered() {
        let attempts = Attempts::default();
        for n in 0..ADDRESSES as u32 + 100 {
            let peer = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).to_string();
            for _ in 0..=FREE {
                fail(&attempts, &peer);
            }
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(attempts.0.lock().unwrap().len(), ADDRESSES);
        assert_eq!(wait(&attempts, "10.0.0.5"), None, "the oldest is forgotten");
    }
}
