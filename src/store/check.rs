//! Opening: what state the database is in, and migrating it.
//!
//! A database that is damaged, or is none, is told from one that cannot be reached right now: the
//! first is for the caller to keep aside and make anew from the files, the second to try again.
//! The check is bounded. A small database is checked as a whole; of a large one the first and last
//! row of each table are read, which finds a file that was cut off, overwritten at its beginning,
//! or put together from parts. SQLite itself notices the rest when it comes across it.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use sqlx::{SqliteConnection, migrate::Migrator, sqlite::SqliteConnectOptions};

use super::{Result, StoreError, Trouble, Unusable, backup, failed};

/// Databases up to so many bytes are checked as a whole: some tens of milliseconds.
const SMALL: u64 = 16 << 20;

static MIGRATOR: Migrator = sqlx::migrate!();

/// All tables, with the order in which their rows lie.
const TABLES: [(&str, &str); 22] = [
    ("meta", "key"),
    ("camera", "id"),
    ("stream", "id"),
    ("run", "stream, lane, start_us, id"),
    ("gap", "stream, lane, start_us"),
    ("volume", "id"),
    ("codecs", "id"),
    ("segment", "stream, start_us, id"),
    ("segment_keys", "segment"),
    ("segment_track", "segment, track"),
    ("user", "id"),
    ("token", "id"),
    ("footage_lock", "id"),
    ("unlink", "id"),
    ("event", "id"),
    ("mark", "id"),
    ("audit", "id"),
    ("volume_use", "stream, volume"),
    ("state_generation", "one"),
    ("sqlite_sequence", "rowid"),
    ("_sqlx_migrations", "version"),
    ("sqlite_schema", "rowid"),
];

/// What SQLite says at opening: damage becomes [`StoreError::Unusable`].
pub(super) fn unusable(what: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| match Trouble::of(&source) {
        Some(Trouble::Damaged) => {
            /// `SQLITE_NOTADB`.
            const NOT_A_DATABASE: &str = "26";
            let foreign = matches!(
                &source,
                sqlx::Error::Database(e) if e.code().as_deref() == Some(NOT_A_DATABASE)
            );
            let why = if foreign { Unusable::NotADatabase } else { Unusable::Damaged };
            StoreError::Unusable { why, source: Some(Arc::new(source)) }
        }
        _ => failed(what)(source),
    }
}

const fn incomplete() -> StoreError {
    StoreError::Unusable { why: Unusable::Incomplete, source: None }
}

/// Brings the database to this version. One that holds something is copied first, to a file beside
/// it: the newest few of these are kept.
pub(super) async fn migrate(
    db: &mut SqliteConnection,
    path: &Path,
    options: &SqliteConnectOptions,
) -> Result<()> {
    let made = made(db).await?;
    let newest = MIGRATOR.iter().map(|m| m.version).max().unwrap_or(0);
    if let Some(later) = made.last().filter(|made| **made > newest) {
        return Err(StoreError::Newer(*later));
    }
    // Not the newest alone: numbers are given when work begins, and one may come in after a later one.
    if !made.is_empty() && MIGRATOR.iter().any(|m| !made.contains(&m.version)) {
        backup::before_migration(path, options, newest).await?;
    }
    MIGRATOR.run(db).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::VersionMissing(version) => StoreError::Newer(version),
        other => {
            let error = StoreError::Migrate(other);
            match error.trouble() {
                Some(Trouble::Damaged) => {
                    StoreError::Unusable { why: Unusable::Damaged, source: None }
                }
                _ => error,
            }
        }
    })
}

/// The migrations that were made; none in a database without tables.
async fn made(db: &mut SqliteConnection) -> Result<BTreeSet<i64>> {
    let tables = tables(db).await?;
    if tables.is_empty() {
        return Ok(BTreeSet::new());
    }
    if !tables.contains("_sqlx_migrations") {
        // Something else's, or what is left of ours: not to be added to.
        return Err(incomplete());
    }
    let made: Vec<i64> = sqlx::query_scalar("select version from _sqlx_migrations")
        .fetch_all(db)
        .await
        .map_err(unusable("read the schema's version"))?;
    Ok(made.into_iter().collect())
}

async fn tables(db: &mut SqliteConnection) -> Result<BTreeSet<String>> {
    let names: Vec<String> =
        sqlx::query_scalar("select name from sqlite_schema where type = 'table'")
            .fetch_all(db)
            .await
            .map_err(unusable("read the schema"))?;
    Ok(names.into_iter().collect())
}

/// Looks for damage, within bounds (see above). After [`migrate`].
pub(super) async fn look(db: &mut SqliteConnection, path: &Path) -> Result<()> {
    let bytes = tokio::fs::metadata(path).await.map_err(StoreError::File)?.len();
    if bytes <= SMALL {
        let word: String = sqlx::query_scalar("pragma quick_check(1)")
            .fetch_one(&mut *db)
            .await
            .map_err(unusable("check the database"))?;
        if word != "ok" {
            tracing::error!(found = word, "the database is damaged");
            return Err(StoreError::Unusable { why: Unusable::Damaged, source: None });
        }
    }
    let there = tables(db).await?;
    for (table, order) in TABLES {
        if table != "sqlite_schema" && !there.contains(table) {
            tracing::error!(table, "the database lacks a table");
            return Err(incomplete());
        }
        let last = order.replace(',', " desc,");
        for order in [order, &format!("{last} desc")] {
            let probe = format!("select * from {table} order by {order} limit 1");
            sqlx::query(sqlx::AssertSqlSafe(probe))
                .fetch_optional(&mut *db)
                .await
                .map_err(unusable("read a row of each table"))?;
        }
    }
    Ok(())
}
