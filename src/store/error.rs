//! Why the index could not answer, and what that means for whoever asked.

use std::{io, sync::Arc};

use sqlx::migrate::MigrateError;

use crate::id::LockId;

/// Why the index could not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// SQLite's or sqlx's word.
    #[error("database: {what}")]
    Database {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// The transaction that this write shared with others could not be made durable.
    #[error("database: {what}: the transaction failed")]
    Transaction {
        /// What was being done.
        what: &'static str,
        /// Why the transaction failed.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// A unique name is taken.
    #[error("{0} exists already")]
    Conflict(&'static str),
    /// What should be changed is not there.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// A lock holds footage that was to be deleted.
    #[error("footage of it is locked (lock {0})")]
    Locked(LockId),
    /// There are as many as there may be.
    #[error("there are too many {0}")]
    Limit(&'static str),
    /// A value in the database that this version cannot read.
    #[error("database: unreadable {0}")]
    Corrupt(&'static str),
    /// The writer is gone: the process is stopping.
    #[error("the store is closed")]
    Closed,
    /// Migrations failed.
    #[error("migrate the database")]
    Migrate(#[source] MigrateError),
    /// The database was written by a later version: nothing is wrong with it.
    #[error("the database was made by a later version of vedette (schema {0})")]
    Newer(i64),
    /// The database cannot be used at all: to be kept aside, and made anew from the files.
    #[error("the database cannot be used: {why}")]
    Unusable {
        /// In which way.
        why: Unusable,
        /// SQLite's word, if it has one.
        #[source]
        source: Option<Arc<sqlx::Error>>,
    },
    /// The database's folder or file cannot be made.
    #[error("make the database file")]
    File(#[source] io::Error),
    /// A copy of the database cannot be made.
    #[error("copy the database")]
    Backup(#[source] io::Error),
    /// The key file is not the one that this database's secrets were sealed with.
    #[error(
        "the key file does not fit the database: put back the key file that was made with it \
         (without it the passwords inside cannot be read)"
    )]
    WrongKey,
}

/// Shorthand.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// In which way a database cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The file is something else, or its first page is damaged.
    NotADatabase,
    /// SQLite finds it damaged.
    Damaged,
    /// It lacks what this version's migrations have made.
    Incomplete,
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotADatabase => "it is not a database",
            Self::Damaged => "it is damaged",
            Self::Incomplete => "parts of it are missing",
        })
    }
}

/// What keeps the database from being written or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// Its disk is full.
    Full,
    /// Another process holds it locked.
    Busy,
    /// It, or its disk, is read-only.
    ReadOnly,
    /// Its disk does not answer as it should, or its files are gone.
    Io,
    /// It is damaged.
    Damaged,
}

/// For `map_err`: says what was being done.
pub(super) fn failed(what: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Database { what, source: Arc::new(source) }
}

impl Trouble {
    /// Snake case, for metrics and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Busy => "busy",
            Self::ReadOnly => "read_only",
            Self::Io => "io",
            Self::Damaged => "damaged",
        }
    }

    /// Whether it may pass by itself.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        !matches!(self, Self::Damaged)
    }

    /// What SQLite's result code says (sqlite.org/rescode.html); the low byte is the primary one.
    pub(super) fn of(error: &sqlx::Error) -> Option<Self> {
        let code = match error {
            sqlx::Error::Database(error) => error.code()?.parse::<u32>().ok()?,
            sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => return Some(Self::Io),
            sqlx::Error::PoolTimedOut => return Some(Self::Busy),
            _ => return None,
        };
        const IOERR_CORRUPTFS: u32 = 10 | (33 << 8);
        match (code, code & 0xff) {
            (IOERR_CORRUPTFS, _) | (_, 11 | 26) => Some(Self::Damaged),
            (_, 5 | 6 | 15) => Some(Self::Busy),
            (_, 8) => Some(Self::ReadOnly),
            (_, 7 | 10 | 14) => Some(Self::Io),
            (_, 13) => Some(Self::Full),
            _ => None,
        }
    }
}

impl StoreError {
    /// What keeps the database from working, if this is of that kind.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Database { source, .. } | Self::Transaction { source, .. } => Trouble::of(source),
            Self::Unusable { .. } | Self::Corrupt(_) => Some(Trouble::Damaged),
            Self::Migrate(
                MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _),
            ) => Trouble::of(source),
            _ => None,
        }
    }

    /// Whether the same may go through later: the disk was full, another process held the lock …
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transaction { source, .. } => {
                Trouble::of(source).is_none_or(Trouble::is_transient)
            }
            _ => self.trouble().is_some_and(Trouble::is_transient),
        }
    }
}
