//! Argon2id, kept from starving the recorder: a hash takes 19 MiB and tens of milliseconds of a
//! core, so few run at once, on threads that may block.

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use md5::Md5;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::{AccessError, Denied, REALM};
use crate::model::Secret;

/// Hashes at once.
const AT_ONCE: usize = 2;
/// Checks that run or wait; one more is turned away.
const WAITING: usize = 64;
/// Longer ones are not hashed: nobody has one.
const LONGEST: usize = 1_024;

/// A hash of a password that nobody has, with the parameters of new hashes: what an unknown name
/// is checked against, so that it takes as long as a known one.
pub(super) const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$dmVkZXR0ZSBkZWNveSBzYWx0$\
                                kS3o2x0YfX9nTq4wE1u8b7Zc5aGmVhRrLpJdQyNtWvM";

#[derive(Debug)]
pub(super) struct Hasher {
    at_once: Semaphore,
    waiting: Semaphore,
}

impl Hasher {
    pub(super) fn new() -> Self {
        Self { at_once: Semaphore::new(AT_ONCE), waiting: Semaphore::new(WAITING) }
    }

    /// A new hash of `password`, in PHC form.
    pub(super) async fn hash(&self, password: Secret) -> Result<String, AccessError> {
        let _turn = self.at_once.acquire().await.map_err(|_| AccessError::Hash)?;
        let hashed = tokio::task::spawn_blocking(move || {
            let hash: Result<PasswordHash, _> =
                Argon2::default().hash_password(password.expose().as_bytes());
            hash.map(|hash| hash.to_string())
        });
        hashed.await.ok().and_then(Result::ok).ok_or(AccessError::Hash)
    }

    /// Whether `password` is the one that was hashed.
    ///
    /// `still_welcome` is asked when it is this check's turn, so that of many guesses sent at
    /// once only the first few are looked at.
    pub(super) async fn verify(
        &self,
        password: &str,
        hash: String,
        still_welcome: impl Fn() -> Result<(), Denied>,
    ) -> Result<bool, Denied> {
        if password.len() > LONGEST {
            return Ok(false);
        }
        let _place = self.waiting.try_acquire().map_err(|_| Denied::Unavailable)?;
        let _turn = self.at_once.acquire().await.map_err(|_| Denied::Unavailable)?;
        still_welcome()?;
        let password = Secret::new(password.to_owned());
        let verified = tokio::task::spawn_blocking(move || {
            PasswordHash::new(&hash).is_ok_and(|hash| {
                Argon2::default().verify_password(password.expose().as_bytes(), &hash).is_ok()
            })
        });
        verified.await.map_err(|_| Denied::Unavailable)
    }
}

/// HA1 (RFC 7616 §3.4.2) with MD5 and with SHA-256, in lower-case hex.
pub(super) fn digest_ha1(name: &str, password: &Secret) -> (Secret, Secret) {
    fn ha1<D: Digest>(name: &str, password: &Secret) -> Secret {
        let mut digest = D::new();
        for part in [name, ":", REALM, ":", password.expose()] {
            digest.update(part);
        }
        let hex = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Secret::new(hex)
    }
    (ha1::<Md5>(name, password), ha1::<Sha256>(name, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome() -> Result<(), Denied> {
        Ok(())
    }

    #[tokio::test]
    async fn a_hash_fits_its_password_and_no_other() {
        let hasher = Hasher::new();
        let hash = hasher.hash(Secret::new("right".into())).await.unwrap();
        assert_eq!(hasher.verify("right", hash.clone(), welcome).await, Ok(true));
        assert_eq!(hasher.verify("wrong", hash, welcome).await, Ok(false));
        assert_eq!(hasher.verify("right", "no hash".into(), welcome).await, Ok(false));
    }

    #[tokio::test]
    async fn an_unknown_name_costs_what_a_known_one_costs() {
        let hash = Hasher::new().hash(Secret::new("x".into())).await.unwrap();
        let parameters = |hash: &str| {
            let hash = PasswordHash::new(hash).expect("a PHC string");
            (hash.algorithm, hash.version, hash.params, hash.hash.map(|h| h.as_bytes().len()))
        };
        assert_eq!(parameters(&hash), parameters(DECOY));
    }

    #[tokio::test]
    async fn more_checks_than_can_wait_are_turned_away() {
        let hasher = Hasher::new();
        let _all = hasher.at_once.acquire_many(AT_ONCE as u32).await.unwrap();
        let checks: Vec<_> =
            (0..WAITING).map(|_| Box::pin(hasher.verify("x", DECOY.into(), welcome))).collect();
        let mut checks = futures_util::future::join_all(checks);
        assert!(futures_util::poll!(&mut checks).is_pending());
        assert_eq!(hasher.verify("x", DECOY.into(), welcome).await, Err(Denied::Unavailable));
    }

    #[test]
    fn ha1_is_that_of_the_standard() {
        // printf 'Mufasa:vedette:Circle of Life' | md5sum, sha256sum
        let (md5, sha256) = digest_ha1("Mufasa", &Secret::new("Circle of Life".into()));
        assert_eq!(md5.expose(), "bc5987f6ce000af137f90a65f725edee");
        assert_eq!(
            sha256.expose(),
            "97658cc810dbed267f22ba85cfffed30b92f83ab4ef51a141e41e4085e251a82"
        );
    }
}
