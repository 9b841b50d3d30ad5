//! Who may do what: one answer for HTTP and RTSP.
//!
//! Signatures fixed; bodies follow.

use std::{net::IpAddr, time::Duration};

use crate::{
    clock::Clock,
    id::{Slug, TokenId, UserId},
    model::{Secret, Token, UserRole},
    proto::time::WallTime,
    seal::Sealer,
    store::{Store, StoreError},
};

/// The realm of every challenge, and part of the stored Digest secrets: it can never change.
pub const REALM: &str = "vedette";

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

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// See a camera's live picture.
    ViewLive,
    /// See a camera's recorded footage: timeline, segments, playback.
    ViewRecorded,
    /// See that cameras exist and how they are set up (never their passwords).
    ReadCameras,
    /// Add, change, delete cameras, and probe addresses.
    ManageCameras,
    /// See whether cameras run and volumes have room.
    ReadStatus,
    /// Scrape metrics.
    ReadMetrics,
    /// Mint, list and revoke one's own tokens.
    ManageOwnTokens,
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
#[derive(Clone)]
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
pub struct Access {}

#[expect(clippy::todo, unused_variables, reason = "stub")]
impl Access {
    /// With accounts in the index.
    #[must_use]
    pub fn new(store: Store, sealer: Sealer, clock: Clock, mode: Mode) -> Self {
        todo!()
    }
    /// Nobody is asked who they are: the simulator.
    #[must_use]
    pub fn open_to_all() -> Self {
        todo!()
    }
    /// One login, nothing stored: the simulator playing a camera with a password.
    #[must_use]
    pub fn fixed(name: &str, password: &Secret) -> Self {
        todo!()
    }
    /// Makes the first administrator.
    pub async fn ensure_admin(
        &self,
        password: Option<Secret>,
    ) -> Result<Option<Secret>, AccessError> {
        todo!()
    }
    /// The principal of somebody without credentials, where none are needed.
    #[must_use]
    pub fn anonymous(&self) -> Option<Principal> {
        todo!()
    }
    /// Checks a name and a password (HTTP Basic).
    pub async fn basic(
        &self,
        name: &str,
        password: &str,
        peer: IpAddr,
    ) -> Result<Principal, Denied> {
        todo!()
    }
    /// Checks a bearer token.
    pub async fn bearer(&self, token: &str, peer: IpAddr) -> Result<Principal, Denied> {
        todo!()
    }
    /// What to check a Digest response by `name` against; then call [`Self::digest_checked`].
    pub async fn digest_secret(&self, name: &str, peer: IpAddr) -> Result<DigestSecret, Denied> {
        todo!()
    }
    /// Says how the comparison went; counts failures.
    pub fn digest_checked(
        &self,
        secret: DigestSecret,
        matched: bool,
        peer: IpAddr,
    ) -> Result<Principal, Denied> {
        todo!()
    }
    /// Mints a token for the principal's account.
    pub async fn mint_token(
        &self,
        owner: &Principal,
        name: &str,
        expires: Option<WallTime>,
    ) -> Result<Minted, AccessError> {
        todo!()
    }
    /// The principal's tokens.
    pub async fn tokens(&self, owner: &Principal) -> Result<Vec<Token>, AccessError> {
        todo!()
    }
    /// Revokes one of the principal's tokens; `false` when there is none of that id.
    pub async fn revoke_token(&self, owner: &Principal, id: TokenId) -> Result<bool, AccessError> {
        todo!()
    }
}

/// The one rule for who may do what, for every protocol. `camera` is the one it is about, if any.
#[expect(clippy::todo, unused_variables, reason = "stub")]
pub fn decide(principal: &Principal, action: Action, camera: Option<&Slug>) -> Result<(), Denied> {
    todo!()
}
