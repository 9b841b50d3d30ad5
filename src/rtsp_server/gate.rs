//! Who is asking, and may they: Digest on one connection, and the one rule of `access`.

use std::{
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    access::{self, Access, Action, Denied, Principal},
    id::Slug,
    proto::rtsp::{
        auth::{Authorization, Ha1, NonceBook, Verdict, challenges},
        server::{Credentials, Refusal},
    },
};

/// One connection's doorkeeper.
#[derive(Debug)]
pub(super) struct Gate {
    access: Access,
    peer: IpAddr,
    /// Held for the moment of a look-up; requests of a connection are judged one by one anyway.
    nonces: Mutex<NonceBook>,
    /// Login of whoever was let in last, while no login has failed since. An address that is kept
    /// waiting for what others do there does not keep those waiting who are in.
    inside: Mutex<Option<String>>,
}

impl Gate {
    pub(super) fn new(access: Access, peer: IpAddr) -> Self {
        Self { access, peer, nonces: Mutex::new(NonceBook::new()), inside: Mutex::default() }
    }

    /// Who it is.
    pub(super) async fn identify(&self, who: &Credentials) -> Result<Principal, Refusal> {
        if let Some(anybody) = self.access.anonymous() {
            return Ok(anybody);
        }
        let authorization = who.authorization.as_deref().map(Authorization::parse);
        // Basic would show the password to the network; there is no TLS here.
        let Some(Ok(Authorization::Digest(digest))) = authorization else {
            return Err(self.challenge(false));
        };
        if digest.realm != access::REALM {
            return Err(self.challenge(false));
        }
        let name = &digest.username;
        let again = self.inside().as_ref() == Some(name);
        let secret = if again {
            self.access.digest_secret_again(name).await
        } else {
            self.access.digest_secret(name, self.peer).await
        };
        let secret = secret.map_err(|denied| self.refuse(&denied))?;
        let ha1 = Ha1 { md5: secret.md5_ha1.expose(), sha256: secret.sha256_ha1.expose() };
        let now = Instant::now().into_std();
        let verdict = self.nonces.lock().unwrap_or_else(PoisonError::into_inner).verify(
            now,
            &digest,
            who.method.as_str(),
            ha1,
        );
        let matched = match verdict {
            Verdict::Stale => return Err(self.challenge(true)),
            Verdict::Granted => true,
            Verdict::Denied => false,
        };
        let checked = if again {
            self.access.digest_checked_again(secret, matched, self.peer)
        } else {
            self.access.digest_checked(secret, matched, self.peer)
        };
        *self.inside() = checked.is_ok().then_some(digest.username);
        checked.map_err(|denied| self.refuse(&denied))
    }

    fn inside(&self) -> MutexGuard<'_, Option<String>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether they may.
    pub(super) fn decide(
        &self,
        principal: &Principal,
        action: Action,
        camera: &Slug,
    ) -> Result<(), Refusal> {
        access::decide(principal, action, Some(camera)).map_err(|denied| self.refuse(&denied))
    }

    fn refuse(&self, denied: &Denied) -> Refusal {
        match denied {
            Denied::BadCredentials => self.challenge(false),
            Denied::Forbidden => Refusal::Forbidden,
            Denied::TooManyAttempts { retry_after } => {
                Refusal::Unavailable { retry_after: *retry_after, why: denied.to_string() }
            }
            _ => Refusal::Unavailable {
                retry_after: Duration::from_secs(5),
                why: denied.to_string(),
            },
        }
    }

    fn challenge(&self, stale: bool) -> Refusal {
        let now = Instant::now().into_std();
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        let nonce = nonces.issue(now, rand::random());
        Refusal::Unauthorized(challenges(access::REALM, &nonce, stale).into())
    }
}
