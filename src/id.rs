//! Identifiers: of rows (63-bit numbers) and of cameras as people call them ([`Slug`]).
//!
//! Ids are made where the thing is made, not by the database, because they also stand in the
//! segment files, from which the database can be built again. 43 bits of milliseconds and 20
//! random ones: they sort by age, need no coordination, and two recorders' volumes can be put
//! into one machine.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::clock::Clock;

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type)]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub i64);

        impl $name {
            /// A new one.
            #[must_use]
            pub fn generate(clock: &Clock) -> Self {
                Self(next(clock))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }
    )*};
}

id! {
    /// A camera, through changes of its slug's owner and address.
    CameraId,
    /// One stream of a camera.
    StreamId,
    /// Footage of one stream without a gap.
    RunId,
    /// One segment file.
    SegmentId,
    /// An account.
    UserId,
    /// An API token.
    TokenId,
    /// A lock on a range of footage.
    LockId,
    /// Something that happened.
    EventId,
    /// A change that somebody made.
    AuditId,
}

fn next(clock: &Clock) -> i64 {
    let ms = clock.now().as_micros().div_euclid(1_000) & ((1 << 43) - 1);
    (ms << 20) | i64::from(rand::random::<u32>() & 0xf_ffff)
}

/// What people call a camera: `[a-z0-9-]{1,63}`, in paths, URLs and labels. Never changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slug(String);

/// The text is no [`Slug`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a slug is 1 to 63 of a-z, 0-9 and -")]
pub struct SlugError;

impl Slug {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Slug {
    type Err = SlugError;

    fn from_str(s: &str) -> Result<Self, SlugError> {
        let fits = (1..=63).contains(&s.len());
        let plain = s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits && plain { Ok(Self(s.to_owned())) } else { Err(SlugError) }
    }
}

impl TryFrom<String> for Slug {
    type Error = SlugError;

    fn try_from(s: String) -> Result<Self, SlugError> {
        s.parse()
    }
}

impl From<Slug> for String {
    fn from(s: Slug) -> Self {
        s.0
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which stream of a camera: the one to record and look at, or the small one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Full resolution.
    Main,
    /// Low resolution.
    Sub,
}

impl Role {
    /// As in paths and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Sub => "sub",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(s: &str) -> Result<Self, RoleError> {
        match s {
            "main" => Ok(Self::Main),
            "sub" => Ok(Self::Sub),
            _ => Err(RoleError),
        }
    }
}

/// The text is no [`Role`].
#[derive(Debug, thiserror::Error)]
#[error("a stream is `main` or `sub`")]
pub struct RoleError;
