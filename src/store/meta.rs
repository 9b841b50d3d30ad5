//! Table `meta`: single values, and the check that the key file fits.

use base64::{Engine, prelude::BASE64_STANDARD};
use sqlx::SqliteConnection;

use super::{Result, Store, StoreError, failed};
use crate::seal::Sealer;

/// Holds [`KEY_CHECK`] sealed with the key that the database's secrets are sealed with.
const KEY_CHECK: &str = "key_check";

const GET: &str = "select value from meta where key = ?1";
const SET: &str = "insert into meta (key, value) values (?1, ?2)
                   on conflict (key) do update set value = excluded.value";

impl Store {
    /// A value by key (epoch, host id …).
    pub async fn meta(&self, key: &str) -> Result<Option<String>> {
        sqlx::query_scalar(GET)
            .bind(key)
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("read a meta value"))
    }

    /// Sets it.
    pub async fn set_meta(&self, key: &str, value: &str) -> Result<()> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.writer
            .write("set a meta value", move |db| {
                Box::pin(async move {
                    sqlx::query(SET)
                        .bind(key)
                        .bind(value)
                        .execute(db)
                        .await
                        .map(|_| ())
                        .map_err(failed("set a meta value"))
                })
            })
            .await
    }
}

/// Fails when what was sealed into this database does not open with `sealer`.
pub(super) async fn check_key(db: &mut SqliteConnection, sealer: &Sealer) -> Result<()> {
    if let Some(sealed) = key_check(db).await? {
        return if key_fits(sealer, &sealed) { Ok(()) } else { Err(StoreError::WrongKey) };
    }
    sqlx::query(SET)
        .bind(KEY_CHECK)
        .bind(BASE64_STANDARD.encode(sealer.seal(KEY_CHECK, KEY_CHECK.as_bytes())))
        .execute(db)
        .await
        .map(|_| ())
        .map_err(failed("store the key check"))
}

/// The known text that was sealed into this database, if it was.
pub(super) async fn key_check(db: &mut SqliteConnection) -> Result<Option<Vec<u8>>> {
    let stored: Option<String> = sqlx::query_scalar(GET)
        .bind(KEY_CHECK)
        .fetch_optional(db)
        .await
        .map_err(failed("check the key"))?;
    stored
        .map(|text| BASE64_STANDARD.decode(text).map_err(|_| StoreError::Corrupt("key check")))
        .transpose()
}

pub(super) fn key_fits(sealer: &Sealer, key_check: &[u8]) -> bool {
    sealer.open(KEY_CHECK, key_check).is_some()
}
