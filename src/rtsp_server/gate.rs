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
        auth::{
            Authorization, Basic, Digest, Ha1, NonceBook, Verdict, basic_challenge, challenges,
        },
        server::{Credentials, Refusal},
    },
};

/// One connection's doorkeeper.
#[derive(Debug)]
pub(super) struct Gate {
    access: Access,
    peer: IpAddr,
    /// Nobody on the way reads along: Basic is taken.
    secure: bool,
    /// Held for the moment of a look-up; requests of a connection are judged one by one anyway.
    nonces: Mutex<NonceBook>,
    /// Login of whoever was let in last, while no login has failed since. An address that is kept
    /// waiting for what others do there does not keep those waiting who are in.
    inside: Mutex<Option<String>>,
}

/// What a request shows for itself.
enum Shown {
    Digest(Digest),
    Basic(Basic),
}

impl Shown {
    fn name(&self) -> &str {
        match self {
            Self::Digest(digest) => &digest.username,
            Self::Basic(basic) => &basic.username,
        }
    }
}

impl Gate {
    pub(super) fn new(access: Access, peer: IpAddr, secure: bool) -> Self {
        Self {
            access,
            peer,
            secure,
            nonces: Mutex::new(NonceBook::new()),
            inside: Mutex::default(),
        }
    }

    /// Who it is.
    pub(super) async fn identify(&self, who: &Credentials) -> Result<Principal, Refusal> {
        if let Some(anybody) = self.access.anonymous() {
            return Ok(anybody);
        }
        let authorization = who.authorization.as_deref().map(Authorization::parse);
        let shown = match authorization {
            Some(Ok(Authorization::Digest(digest))) if digest.realm == access::REALM => {
                Shown::Digest(digest)
            }
            // Elsewhere it would show the password to the network.
            Some(Ok(Authorization::Basic(basic))) if self.secure => Shown::Basic(basic),
            _ => return Err(self.challenge(false)),
        };
        let name = shown.name();
        let again = self.inside().as_deref() == Some(name);
        let secret = if again {
            self.access.digest_secret_again(name).await
        } else {
            self.access.digest_secret(name, self.peer).await
        };
        let secret = secret.map_err(|denied| self.refuse(&denied))?;
        let ha1 = Ha1 { md5: secret.md5_ha1.expose(), sha256: secret.sha256_ha1.expose() };
        let matched = match &shown {
            // Both go by what is stored for Digest: hashing as for a login would cost each request
            // a fraction of a second.
            Shown::Basic(basic) => basic.matches(access::REALM, ha1),
            Shown::Digest(digest) => {
                let now = Instant::now().into_std();
                let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
                match nonces.verify(now, digest, who.method.as_str(), ha1) {
                    Verdict::Stale => {
                        drop(nonces);
                        return Err(self.challenge(true));
                    }
                    Verdict::Granted => true,
                    Verdict::Denied => false,
                }
            }
        };
        let checked = if again {
            self.access.digest_checked_again(secret, matched, self.peer)
        } else {
            self.access.digest_checked(secret, matched, self.peer)
        };
        *self.inside() = checked.is_ok().then(|| shown.name().to_owned());
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
        let [first, last] = challenges(access::REALM, &nonce, stale);
        // In the middle: the best is read first, and some players obey the last alone.
        let basic = self.secure.then(|| basic_challenge(access::REALM));
        Refusal::Unauthorized([Some(first), basic, Some(last)].into_iter().flatten().collect())
    }
}
