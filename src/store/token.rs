//! Table `token`: bearer tokens, by their hashes.

use super::{Result, Store, StoreError, columns::wall, failed};
use crate::{
    id::{TokenId, UserId},
    model::Token,
    proto::time::WallTime,
};

#[derive(sqlx::FromRow)]
struct Row {
    id: TokenId,
    user: UserId,
    name: String,
    hash: Vec<u8>,
    expires_us: Option<i64>,
    created_us: i64,
}

impl Row {
    fn into_token(self) -> Result<Token> {
        Ok(Token {
            id: self.id,
            user: self.user,
            name: self.name,
            hash: self.hash.try_into().map_err(|_| StoreError::Corrupt("token hash"))?,
            expires: self.expires_us.map(wall),
            created: wall(self.created_us),
        })
    }
}

const INSERT: &str = "insert into token (id, user, name, hash, expires_us, created_us)
                      values (?1, ?2, ?3, ?4, ?5, ?6)";
const BY_HASH: &str = "select id, user, name, hash, expires_us, created_us
                       from token where hash = ?1";
const OF_USER: &str = "select id, user, name, hash, expires_us, created_us
                       from token where user = ?1 order by id";

impl Store {
    /// Adds a token.
    pub async fn insert_token(&self, token: &Token) -> Result<()> {
        let token = token.clone();
        self.writer
            .write("add a token", move |db| {
                Box::pin(async move {
                    sqlx::query(INSERT)
                        .bind(token.id)
                        .bind(token.user)
                        .bind(token.name)
                        .bind(token.hash.to_vec())
                        .bind(token.expires.map(WallTime::as_micros))
                        .bind(token.created.as_micros())
                        .execute(db)
                        .await
                        .map(|_| ())
                        .map_err(failed("add a token"))
                })
            })
            .await
    }

    /// A token by its hash.
    pub async fn token_by_hash(&self, hash: &[u8; 32]) -> Result<Option<Token>> {
        let row: Option<Row> = sqlx::query_as(BY_HASH)
            .bind(hash.to_vec())
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("read a token"))?;
        row.map(Row::into_token).transpose()
    }

    /// Tokens of a user.
    pub async fn tokens(&self, user: UserId) -> Result<Vec<Token>> {
        let rows: Vec<Row> = sqlx::query_as(OF_USER)
            .bind(user)
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list tokens"))?;
        rows.into_iter().map(Row::into_token).collect()
    }

    /// Deletes a token; whether it was there.
    pub async fn delete_token(&self, id: TokenId) -> Result<bool> {
        self.writer
            .write("delete a token", move |db| {
                Box::pin(async move {
                    sqlx::query("delete from token where id = ?1")
                        .bind(id)
                        .execute(db)
                        .await
                        .map(|done| done.rows_affected() > 0)
                        .map_err(failed("delete a token"))
                })
            })
            .await
    }
}
