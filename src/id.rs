//! Identifiers: of rows (63-bit numbers) and of cameras as people call them ([`Slug`]).
//!
//! Ids are made where the thing is made, not by the database, because they also stand in the
//! segment files, from which the database can be built again. 43 bits of milliseconds and 20
//! random ones: they sort by age, need no coordination, and two recorders' volumes can be put
//! into one machine. Within a process they grow whatever the clock does: a machine that boots in
//! 1970 each time would else make the same few milliseconds' ids again and again.

use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicI64, Ordering::Relaxed},
};

use serde::{Deserialize, Serialize};

use crate::{clock::Clock, proto::time::WallTime};

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

/// The newest id of this process.
static NEWEST: AtomicI64 = AtomicI64::new(0);
/// The year 2109. A clock beyond it is wrong, and must not use the ids up.
const SENSIBLE: i64 = 1 << 62;

fn of_time(wall: WallTime) -> i64 {
    (wall.as_micros().div_euclid(1_000) & ((1 << 43) - 1)) << 20
}

fn next(clock: &Clock) -> i64 {
    let fresh = of_time(clock.now()) | i64::from(rand::random::<u32>() & 0xf_ffff);
    if fresh >= SENSIBLE {
        return fresh;
    }
    let grown = |newest: i64| fresh.max(newest + 1);
    grown(NEWEST.fetch_update(Relaxed, Relaxed, |newest| Some(grown(newest))).unwrap_or_default())
}

/// Ids of before `wall` were made by processes that ran before this one: from now on none of them
/// is made again, whatever the clock says.
pub fn not_before(wall: WallTime) {
    let first = of_time(wall);
    if first < SENSIBLE {
        NEWEST.fetch_max(first, Relaxed);
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::time::WallSpan;

    #[test]
    fn ids_grow_whatever_the_clock_does() {
        let clock = Clock::manual(WallTime::from_micros(1_795_341_600_000_000));
        let mut newest = RunId(0);
        for step in [0, 0, 60, -3_600, 0, -63_072_000, 5, 63_072_000] {
            clock.advance(WallSpan::from_secs(step));
            let id = RunId::generate(&clock);
            assert!(id > newest);
            newest = id;
        }
        clock.set(WallTime::from_micros(i64::MAX));
        let absurd = RunId::generate(&clock);
        clock.set(WallTime::from_micros(1_795_341_600_000_000));
        assert!(RunId::generate(&clock) < absurd, "nobody's ids are used up");
    }
}
