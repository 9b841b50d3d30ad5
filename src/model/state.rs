//! What is mirrored to each volume as `state.json`, so that a lost index loses nothing: cameras with
//! the ids that stand in the files, accounts, locks. Secrets are in it as they are in the index:
//! sealed or hashed.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    id::{CameraId, LockId, Role, Slug, StreamId, TokenId, UserId},
    model::{RecordMode, RetentionLimits, Source, Transport, Trust, UserRole, When},
};

/// Bytes that stand for a secret: sealed, or hashed. Base64 in JSON; not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedBytes(pub Vec<u8>);

impl std::fmt::Debug for SealedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(super::HIDDEN)
    }
}

impl Serialize for SealedBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for SealedBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The decoder's own words would quote the text.
        BASE64_STANDARD.decode(text).map(Self).map_err(|_| serde::de::Error::custom("no base64"))
    }
}

/// The whole of it. Times are microseconds UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// [`State::VERSION`]; a reader refuses a later one.
    pub version: u32,
    /// Grows with each change; of several copies the greatest is the newest.
    pub generation: u64,
    /// A known text sealed with the key: tells whether the key file fits.
    pub key_check: Option<SealedBytes>,
    /// Also those that were deleted with their footage kept.
    pub cameras: Vec<CameraState>,
    /// Accounts.
    pub users: Vec<UserState>,
    /// Their tokens, hashed.
    pub tokens: Vec<TokenState>,
    /// Locks.
    pub locks: Vec<LockState>,
}

/// What was read is no [`State`] of ours.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Written by a later version.
    #[error("state.json has version {0}, written by a later vedette; this one reads up to {max}", max = State::VERSION)]
    Newer(u32),
    /// Torn, damaged, or something else.
    #[error("state.json cannot be read")]
    Unreadable(#[source] serde_json::Error),
}

impl State {
    /// What this version writes.
    pub const VERSION: u32 = 1;

    /// Reads one; what a field that it does not know says is dropped.
    ///
    /// # Errors
    ///
    /// [`StateError`]: a later version is told from a damaged text.
    pub fn from_json(text: &[u8]) -> Result<Self, StateError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } = serde_json::from_slice(text).map_err(StateError::Unreadable)?;
        if version > Self::VERSION {
            return Err(StateError::Newer(version));
        }
        serde_json::from_slice(text).map_err(StateError::Unreadable)
    }

    /// As text, for people to read too.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Plain structures with text keys: this cannot fail.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// One without anything.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            version: Self::VERSION,
            generation: 0,
            key_check: None,
            cameras: Vec::new(),
            users: Vec::new(),
            tokens: Vec::new(),
            locks: Vec::new(),
        }
    }
}

/// A camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameraState {
    /// Its id.
    pub id: CameraId,
    /// Its name in paths.
    pub slug: Slug,
    /// What people see.
    pub name: String,
    /// Whether it is on.
    pub enabled: bool,
    /// Who begins; absent in what earlier versions wrote.
    #[serde(default)]
    pub source: Source,
    /// Login at the camera.
    pub username: Option<String>,
    /// Its password, sealed.
    pub password_sealed: Option<SealedBytes>,
    /// Which certificate it must show; versions before did not know.
    #[serde(default, skip_serializing_if = "Trust::is_system")]
    pub tls: Trust,
    /// Whether it is recorded.
    pub record: RecordMode,
    /// And when; versions before did not know.
    #[serde(default)]
    pub when: When,
    /// Limits.
    pub retention: RetentionLimits,
    /// Pinned to a volume.
    pub volume: Option<String>,
    /// When it was added.
    pub created_us: i64,
    /// When it was last changed.
    pub updated_us: i64,
    /// When it was deleted, its footage kept.
    pub deleted_us: Option<i64>,
    /// Its streams, also hidden ones.
    pub streams: Vec<StreamState>,
}

/// A stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamState {
    /// Its id.
    pub id: StreamId,
    /// Main or sub.
    pub role: Role,
    /// Its address, sealed; `None`: not known (made up from files).
    pub url_sealed: Option<SealedBytes>,
    /// How to pull.
    pub transport: Transport,
    /// Whether to take its audio.
    pub audio: bool,
    /// Overrides the camera's.
    pub record: Option<RecordMode>,
    /// Overrides the camera's.
    pub retention: Option<RetentionLimits>,
    /// Overrides the camera's.
    pub volume: Option<String>,
    /// Footage is expected from here on.
    pub created_us: i64,
    /// Since when it is hidden.
    pub hidden_us: Option<i64>,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserState {
    /// Its id.
    pub id: UserId,
    /// Its login.
    pub name: String,
    /// Its role.
    pub role: UserRole,
    /// Argon2id, PHC form.
    pub password_hash: String,
    /// For Digest, sealed.
    pub digest_sealed: SealedBytes,
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenState {
    /// Its id.
    pub id: TokenId,
    /// Whose.
    pub user: UserId,
    /// What it is for.
    pub name: String,
    /// SHA-256 of its text.
    pub hash: SealedBytes,
    /// When it stops working.
    pub expires_us: Option<i64>,
    /// When it was made.
    pub created_us: i64,
}

/// A lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockState {
    /// Its id.
    pub id: LockId,
    /// Whose footage.
    pub camera: CameraId,
    /// From here on.
    pub start_us: i64,
    /// Up to here.
    pub end_us: i64,
    /// Why.
    pub note: String,
    /// When it was made.
    pub created_us: i64,
    /// Whose login made it.
    pub created_by: String,
}
