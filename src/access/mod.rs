//! Who may do what: one answer for HTTP and RTSP.
//!
//! ```text
//! HTTP Basic  ─▶ basic()  ─┐
//! HTTP Bearer ─▶ bearer() ─┼─▶ Principal ─▶ decide(principal, action, camera) ─▶ Ok | Denied
//! RTSP Digest ─▶ digest_secret(), digest_checked() ─┘
//! ```
//!
//! # What is kept of a password
//!
//! An Argon2id hash, for Basic. Digest cannot be checked against that: it needs HA1, which is as
//! good as the password to whoever has it, so the two HA1s (MD5 and SHA-256) are sealed
//! ([`crate::seal`]). Of a token only its SHA-256 is kept: it is random, so that is enough.
//!
//! # Against guessing
//!
//! * An address that keeps failing has to wait, longer each time (`attempts.rs`). What is right
//!   beyond doubt gets in all the same (a token, a login that was checked a moment ago): one
//!   attacker behind a shared address does not lock out the rest.
//! * Few hashes run at once and few wait (`password.rs`): a flood costs a flooder, not the recorder.
//! * An unknown name takes the time that a wrong password takes.
//! * A right login is remembered for a minute, so that a poller with Basic does not cost a hash
//!   a request (`recent.rs`).

mod account;
mod attempts;
mod password;
mod recent;
mod rule;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, sync::Arc, time::Duration};

pub use self::rule::{Action, decide};
use self::{
    account::{Fixed, Stored},
    attempts::Attempts,
};

use crate::{
    clock::Clock,
    id::{TokenId, UserId},
    model::{Secret, Token, UserRole},
    proto::time::WallTime,
    seal::Sealer,
    store::{Store, StoreError},
};

/// The realm of every challenge, and part of the stored Digest secrets: it can never change.
pub const REALM: &str = "vedette";

/// The login of the administrator made at first start.
pub const ADMIN: &str = "admin";

/// Whether a login is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Everybody shows a password or a token.
    #[default]
    Password,
    /// Everybody is an administrator; `config` refuses it on a listener that is not loopback.
    None,
}

/// Somebody whose credentials were right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Their account; `None` for the anonymous of [`Mode::None`] and for the fixed user.
    pub user: Option<UserId>,
    /// Their login, for logs and pages.
    pub name: String,
    /// Their role.
    pub role: UserRole,
}

/// Why somebody is turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// Name or password, or token, is wrong: 401 with a challenge.
    #[error("wrong credentials")]
    BadCredentials,
    /// Too many failures from this address: 429 (RTSP: 503) with Retry-After.
    #[error("too many failed logins, try again in {} s", .retry_after.as_secs().max(1))]
    TooManyAttempts {
        /// How long to stay away.
        retry_after: Duration,
    },
    /// Known, but not allowed to: 403.
    #[error("not allowed")]
    Forbidden,
    /// The accounts cannot be read right now: 503.
    #[error("accounts cannot be read right now")]
    Unavailable,
}

/// Why accounts or tokens could not be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The index failed.
    #[error("read or write accounts")]
    Store(#[from] StoreError),
    /// Hashing failed.
    #[error("hash a password")]
    Hash,
    /// Only accounts have tokens.
    #[error("this login is no account and cannot have tokens")]
    NoAccount,
}

/// What RTSP's Digest is checked against; also for unknown names (then it fits no password).
#[derive(Clone, Debug)]
pub struct DigestSecret {
    /// Lower-case hex of MD5(name:realm:password).
    pub md5_ha1: Secret,
    /// Lower-case hex of SHA-256(name:realm:password).
    pub sha256_ha1: Secret,
    principal: Option<Principal>,
}

/// A token as minted: the text is shown once and kept nowhere.
#[derive(Clone, Debug)]
pub struct Minted {
    /// What is stored of it.
    pub token: Token,
    /// The text: `vdt_` and 43 characters.
    pub text: Secret,
}

/// The doorkeeper. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Access(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    accounts: Accounts,
    attempts: Attempts,
}

#[derive(Debug)]
enum Accounts {
    /// Everybody is let in.
    Open,
    /// One login, from the command line.
    Fixed(Fixed),
    /// In the index.
    Stored(Box<Stored>),
}

impl Access {
    /// With accounts in the index.
    #[must_use]
    pub fn new(store: Store, sealer: Sealer, clock: Clock, mode: Mode) -> Self {
        Self::with(match mode {
            Mode::None => Accounts::Open,
            Mode::Password => Accounts::Stored(Box::new(Stored::new(store, sealer, clock))),
        })
    }

    /// Nobody is asked who they are: the simulator, and [`Mode::None`].
    #[must_use]
    pub fn open_to_all() -> Self {
        Self::with(Accounts::Open)
    }

    /// One login, nothing stored: the simulator playing a camera with a password.
    #[must_use]
    pub fn fixed(name: &str, password: &Secret) -> Self {
        Self::with(Accounts::Fixed(Fixed::new(name, password)))
    }

    fn with(accounts: Accounts) -> Self {
        Self(Arc::new(Inner { accounts, attempts: Attempts::default() }))
    }

    /// Makes sure that there is an administrator, called [`ADMIN`].
    ///
    /// The first time the password is `password`, or a random one that is returned, to be shown
    /// once. Later a `password` that differs from the stored one replaces it: whoever sets the
    /// environment of the recorder is its administrator, and this is the way back in when the
    /// password is lost.
    pub async fn ensure_admin(
        &self,
        password: Option<Secret>,
    ) -> Result<Option<Secret>, AccessError> {
        match &self.0.accounts {
            Accounts::Open | Accounts::Fixed(_) => Ok(None),
            Accounts::Stored(stored) => stored.ensure_admin(password).await,
        }
    }

    /// The principal of somebody without credentials, where none are needed.
    #[must_use]
    pub fn anonymous(&self) -> Option<Principal> {
        matches!(self.0.accounts, Accounts::Open).then(|| Principal {
            user: None,
            name: "anonymous".into(),
            role: UserRole::Admin,
        })
    }

    /// Checks a name and a password (HTTP Basic).
    pub async fn basic(
        &self,
        name: &str,
        password: &str,
        peer: IpAddr,
    ) -> Result<Principal, Denied> {
        let attempts = &self.0.attempts;
        let checked = match &self.0.accounts {
            Accounts::Open => return self.anonymous().ok_or(Denied::Forbidden),
            Accounts::Fixed(fixed) => {
                attempts.check(peer)?;
                fixed.basic(name, password)
            }
            Accounts::Stored(stored) => stored.basic(name, password, || attempts.check(peer)).await,
        };
        attempts.count(peer, checked)
    }

    /// Whether a text looks like a token of ours; says nothing about its being one.
    #[must_use]
    pub fn is_token(text: &str) -> bool {
        account::is_token(text)
    }

    /// Checks a bearer token.
    pub async fn bearer(&self, token: &str, peer: IpAddr) -> Result<Principal, Denied> {
        let checked = match &self.0.accounts {
            Accounts::Open => return self.anonymous().ok_or(Denied::Forbidden),
            Accounts::Fixed(_) => Err(Denied::BadCredentials),
            Accounts::Stored(stored) => stored.bearer(token).await,
        };
        if checked.is_err() {
            self.0.attempts.check(peer)?;
        }
        self.0.attempts.count(peer, checked)
    }

    /// What to check a Digest response by `name` against; then call [`Self::digest_checked`].
    ///
    /// Also for a name that nobody has; then nothing fits.
    pub async fn digest_secret(&self, name: &str, peer: IpAddr) -> Result<DigestSecret, Denied> {
        if self.anonymous().is_none() {
            self.0.attempts.check(peer)?;
        }
        self.digest_secret_again(name).await
    }

    /// [`Self::digest_secret`] for a connection that `name` has been let in on and that has failed
    /// no login since: it asks on behalf of whoever is in, so that an attacker who shares its
    /// address cannot stop what it plays.
    pub async fn digest_secret_again(&self, name: &str) -> Result<DigestSecret, Denied> {
        match &self.0.accounts {
            Accounts::Open => Ok(DigestSecret::decoy(self.anonymous())),
            Accounts::Fixed(fixed) => Ok(fixed.digest_secret(name)),
            Accounts::Stored(stored) => stored.digest_secret(name).await,
        }
    }

    /// [`Self::digest_checked`] after [`Self::digest_secret_again`]: a failure counts, a success
    /// does not wipe out what others have failed at the same address meanwhile.
    pub fn digest_checked_again(
        &self,
        secret: DigestSecret,
        matched: bool,
        peer: IpAddr,
    ) -> Result<Principal, Denied> {
        match &secret.principal {
            Some(principal) if matched => Ok(principal.clone()),
            _ => self.digest_checked(secret, matched, peer),
        }
    }

    /// Says how the comparison went; counts failures.
    pub fn digest_checked(
        &self,
        secret: DigestSecret,
        matched: bool,
        peer: IpAddr,
    ) -> Result<Principal, Denied> {
        if let Some(anyone) = self.anonymous() {
            return Ok(anyone);
        }
        let principal = secret.principal.filter(|_| matched);
        self.0.attempts.count(peer, principal.ok_or(Denied::BadCredentials))
    }

    /// Mints a token for the principal's account.
    pub async fn mint_token(
        &self,
        owner: &Principal,
        name: &str,
        expires: Option<WallTime>,
    ) -> Result<Minted, AccessError> {
        let (stored, user) = self.account(owner)?;
        stored.mint_token(user, name, expires).await
    }

    /// The principal's tokens.
    pub async fn tokens(&self, owner: &Principal) -> Result<Vec<Token>, AccessError> {
        let (stored, user) = self.account(owner)?;
        Ok(stored.store.tokens(user).await?)
    }

    /// Revokes one of the principal's tokens; `false` when they have none of that id.
    pub async fn revoke_token(&self, owner: &Principal, id: TokenId) -> Result<bool, AccessError> {
        let (stored, user) = self.account(owner)?;
        let owned = stored.store.tokens(user).await?.iter().any(|token| token.id == id);
        Ok(owned && stored.store.delete_token(id).await?)
    }

    fn account(&self, owner: &Principal) -> Result<(&Stored, UserId), AccessError> {
        match (&self.0.accounts, owner.user) {
            (Accounts::Stored(stored), Some(user)) => Ok((stored, user)),
            _ => Err(AccessError::NoAccount),
        }
    }
}
