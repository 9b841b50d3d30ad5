//! Table `user`: accounts.

use super::{
    Result, Store,
    columns::{user_role, user_role_text},
    failed,
};
use crate::{id::UserId, model::User};

#[derive(sqlx::FromRow)]
struct Row {
    id: UserId,
    name: String,
    role: String,
    password_hash: String,
    digest_sealed: Vec<u8>,
}

impl Row {
    fn into_user(self) -> Result<User> {
        Ok(User {
            id: self.id,
            name: self.name,
            role: user_role(&self.role)?,
            password_hash: self.password_hash,
            digest_sealed: self.digest_sealed.into(),
        })
    }
}

const BY_NAME: &str = "select id, name, role, password_hash, digest_sealed
                       from user where name = ?1";
const BY_ID: &str = "select id, name, role, password_hash, digest_sealed from user where id = ?1";
const PUT: &str = "insert into user (id, name, role, password_hash, digest_sealed)
                   values (?1, ?2, ?3, ?4, ?5)
                   on conflict (name) do update set
                       role = excluded.role,
                       password_hash = excluded.password_hash,
                       digest_sealed = excluded.digest_sealed";

impl Store {
    /// An account by login.
    pub async fn user_by_name(&self, name: &str) -> Result<Option<User>> {
        let row: Option<Row> = sqlx::query_as(BY_NAME)
            .bind(name)
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("read an account by name"))?;
        row.map(Row::into_user).transpose()
    }

    /// An account by id.
    pub async fn user(&self, id: UserId) -> Result<Option<User>> {
        let row: Option<Row> = sqlx::query_as(BY_ID)
            .bind(id)
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("read an account"))?;
        row.map(Row::into_user).transpose()
    }

    /// Adds or replaces an account of that name; one that is there keeps its id and tokens.
    pub async fn put_user(&self, user: &User) -> Result<()> {
        let user = user.clone();
        self.writer
            .write("put an account", move |db| {
                Box::pin(async move {
                    sqlx::query(PUT)
                        .bind(user.id)
                        .bind(user.name)
                        .bind(user_role_text(user.role))
                        .bind(user.password_hash)
                        .bind(user.digest_sealed.to_vec())
                        .execute(db)
                        .await
                        .map(|_| ())
                        .map_err(failed("put an account"))
                })
            })
            .await
    }

    /// How many accounts there are.
    pub async fn count_users(&self) -> Result<u64> {
        let count: i64 = sqlx::query_scalar("select count(*) from user")
            .fetch_one(&self.readers)
            .await
            .map_err(failed("count accounts"))?;
        Ok(count.unsigned_abs())
    }
}
