//! Where logins come from: the index, or the command line.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    ADMIN, AccessError, Denied, DigestSecret, Minted, Principal,
    password::{DECOY, Hasher, digest_ha1},
    recent::Recent,
};
use crate::{
    clock::Clock,
    id::{TokenId, UserId},
    model::{Secret, Token, User, UserRole},
    proto::time::WallTime,
    seal::Sealer,
    store::{Store, StoreError},
};

/// What every token begins with, so that one that leaks is recognised.
const TOKEN_PREFIX: &str = "vdt_";
/// The prefix, and 32 random bytes in base64url.
const TOKEN_LEN: usize = 4 + 43;
/// Hex digits of an MD5 HA1, which stands before the SHA-256 one.
const MD5_HEX: usize = 32;
/// Hex digits of both.
const HA1_HEX: usize = MD5_HEX + 64;

impl Principal {
    fn of(user: &User) -> Self {
        Self { user: Some(user.id), name: user.name.clone(), role: user.role }
    }
}

impl DigestSecret {
    /// Fits nothing. (With a principal: for when nothing needs to fit.)
    pub(super) fn decoy(principal: Option<Principal>) -> Self {
        let nobody = Secret::new(BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
        let (md5_ha1, sha256_ha1) = digest_ha1("", &nobody);
        Self { md5_ha1, sha256_ha1, principal }
    }
}

/// One login, kept in memory.
#[derive(Debug)]
pub(super) struct Fixed {
    principal: Principal,
    md5_ha1: Secret,
    sha256_ha1: Secret,
}

impl Fixed {
    pub(super) fn new(name: &str, password: &Secret) -> Self {
        let (md5_ha1, sha256_ha1) = digest_ha1(name, password);
        let principal = Principal { user: None, name: name.to_owned(), role: UserRole::Admin };
        Self { principal, md5_ha1, sha256_ha1 }
    }

    pub(super) fn basic(&self, name: &str, password: &str) -> Result<Principal, Denied> {
        let (_, claimed) = digest_ha1(name, &Secret::new(password.to_owned()));
        let same = claimed.expose().as_bytes().ct_eq(self.sha256_ha1.expose().as_bytes());
        // HA1 holds the name too, but not where it ends: "a" with "vedette:b" is not "a:vedette".
        if bool::from(same) && name == self.principal.name {
            Ok(self.principal.clone())
        } else {
            Err(Denied::BadCredentials)
        }
    }

    pub(super) fn digest_secret(&self, name: &str) -> DigestSecret {
        if name != self.principal.name {
            return DigestSecret::decoy(None);
        }
        DigestSecret {
            md5_ha1: self.md5_ha1.clone(),
            sha256_ha1: self.sha256_ha1.clone(),
            principal: Some(self.principal.clone()),
        }
    }
}

/// Accounts in the index.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) store: Store,
    sealer: Sealer,
    clock: Clock,
    hasher: Hasher,
    recent: Recent,
    /// What is unsealed for an unknown name, to take as long as for a known one.
    decoy_sealed: Vec<u8>,
}

impl Stored {
    pub(super) fn new(store: Store, sealer: Sealer, clock: Clock) -> Self {
        let decoy = sealer.seal(&context(""), &[b'-'; HA1_HEX]);
        Self {
            store,
            sealer,
            clock,
            hasher: Hasher::new(),
            recent: Recent::new(),
            decoy_sealed: decoy,
        }
    }

    pub(super) async fn ensure_admin(
        &self,
        password: Option<Secret>,
    ) -> Result<Option<Secret>, AccessError> {
        let admin = self.store.user_by_name(ADMIN).await?;
        match (admin, password) {
            (Some(_), None) => Ok(None),
            (None, Some(password)) => {
                self.put(UserId::generate(&self.clock), &password).await?;
                Ok(None)
            }
            (None, None) => {
                let password =
                    Secret::new(BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 15]>()));
                self.put(UserId::generate(&self.clock), &password).await?;
                Ok(Some(password))
            }
            (Some(admin), Some(password)) => {
                let hash = admin.password_hash;
                let same = self.hasher.verify(password.expose(), hash, || Ok(())).await;
                if same.map_err(|_| AccessError::Hash)? {
                    return Ok(None);
                }
                self.put(admin.id, &password).await?;
                tracing::info!("the administrator's password was replaced by the configured one");
                Ok(None)
            }
        }
    }

    /// Writes the administrator's account.
    async fn put(&self, id: UserId, password: &Secret) -> Result<(), AccessError> {
        let (md5, sha256) = digest_ha1(ADMIN, password);
        let ha1 = Secret::new([md5.expose(), sha256.expose()].concat());
        let user = User {
            id,
            name: ADMIN.to_owned(),
            role: UserRole::Admin,
            password_hash: self.hasher.hash(password.clone()).await?,
            digest_sealed: self.sealer.seal(&context(ADMIN), ha1.expose().as_bytes()).into(),
        };
        self.store.put_user(&user).await?;
        self.recent.forget_all();
        Ok(())
    }

    /// `welcome` says whether the address may try; a login checked a moment ago passes anyway.
    pub(super) async fn basic(
        &self,
        name: &str,
        password: &str,
        welcome: impl Fn() -> Result<(), Denied>,
    ) -> Result<Principal, Denied> {
        let key = self.recent.key(name, password);
        if let Some(principal) = self.recent.get(&key) {
            return Ok(principal);
        }
        welcome()?;
        let generation = self.recent.generation();
        let user = self.store.user_by_name(name).await.map_err(unavailable)?;
        let hash = user.as_ref().map_or(DECOY, |user| &user.password_hash).to_owned();
        let right = self.hasher.verify(password, hash, welcome).await?;
        match user {
            Some(user) if right => {
                let principal = Principal::of(&user);
                self.recent.remember(key, &principal, generation);
                Ok(principal)
            }
            _ => Err(Denied::BadCredentials),
        }
    }

    pub(super) async fn bearer(&self, token: &str) -> Result<Principal, Denied> {
        if !is_token(token) {
            return Err(Denied::BadCredentials);
        }
        // Found by hash: how far the lookup gets says nothing about the token.
        let hash = Sha256::digest(token).into();
        let stored = self.store.token_by_hash(&hash).await.map_err(unavailable)?;
        let token = stored.ok_or(Denied::BadCredentials)?;
        if token.expires.is_some_and(|expires| expires <= self.clock.now()) {
            return Err(Denied::BadCredentials);
        }
        let user = self.store.user(token.user).await.map_err(unavailable)?;
        user.as_ref().map(Principal::of).ok_or(Denied::BadCredentials)
    }

    pub(super) async fn digest_secret(&self, name: &str) -> Result<DigestSecret, Denied> {
        let user = self.store.user_by_name(name).await.map_err(unavailable)?;
        let opened = match &user {
            Some(user) => self.sealer.open(&context(&user.name), &user.digest_sealed),
            None => self.sealer.open(&context(""), &self.decoy_sealed),
        };
        let ha1 = opened.and_then(|plain| String::from_utf8(plain).ok()).map(Secret::new);
        let parts = ha1.as_ref().and_then(|ha1| {
            let whole = Some(ha1.expose()).filter(|text| text.len() == HA1_HEX)?;
            whole.split_at_checked(MD5_HEX)
        });
        match (user, parts) {
            (Some(user), Some((md5, sha256))) => Ok(DigestSecret {
                md5_ha1: Secret::new(md5.to_owned()),
                sha256_ha1: Secret::new(sha256.to_owned()),
                principal: Some(Principal::of(&user)),
            }),
            (Some(user), None) => {
                tracing::error!(user = user.name, "the account's Digest secret does not open");
                Err(Denied::Unavailable)
            }
            (None, _) => Ok(DigestSecret::decoy(None)),
        }
    }

    pub(super) async fn mint_token(
        &self,
        user: UserId,
        name: &str,
        expires: Option<WallTime>,
    ) -> Result<Minted, AccessError> {
        let random = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let text = Secret::new(format!("{TOKEN_PREFIX}{random}"));
        let token = Token {
            id: TokenId::generate(&self.clock),
            user,
            name: name.to_owned(),
            hash: Sha256::digest(text.expose()).into(),
            expires,
            created: self.clock.now(),
        };
        self.store.insert_token(&token).await?;
        Ok(Minted { token, text })
    }
}

/// By its looks alone.
pub(super) fn is_token(text: &str) -> bool {
    text.starts_with(TOKEN_PREFIX) && text.len() == TOKEN_LEN
}

/// An account's Digest secret does not open in another account's row.
fn context(name: &str) -> String {
    format!("user {name}")
}

/// Logged here: whoever is turned away is told nothing about our insides.
fn unavailable(error: StoreError) -> Denied {
    tracing::error!(error = &error as &dyn std::error::Error, "accounts cannot be read");
    Denied::Unavailable
}
