use super::*;
use crate::{id::Slug, proto::time::WallSpan};

const NOON: WallTime = WallTime::from_micros(1_795_348_800_000_000);

struct Fixture {
    access: Access,
    store: Store,
    sealer: Sealer,
    clock: Clock,
    _dir: tempfile::TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOON);
        let sealer = Sealer::ephemeral();
        let path = dir.path().join("vedette.db");
        let store = Store::open(&path, clock.clone(), sealer.clone()).await.unwrap();
        let access = Access::new(store.clone(), sealer.clone(), clock.clone(), Mode::Password);
        Self { access, store, sealer, clock, _dir: dir }
    }

    async fn with_admin(password: &str) -> Self {
        let fixture = Self::new().await;
        assert_eq!(fixture.access.ensure_admin(Some(secret(password))).await.unwrap(), None);
        fixture
    }

    /// As after a restart: nothing remembered.
    fn restarted(&self) -> Access {
        let (store, sealer) = (self.store.clone(), self.sealer.clone());
        Access::new(store, sealer, self.clock.clone(), Mode::Password)
    }
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn peer(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

#[tokio::test]
async fn the_first_administrator_gets_a_random_password_once() {
    let fixture = Fixture::new().await;
    let made = fixture.access.ensure_admin(None).await.unwrap().expect("shown once");
    assert_eq!(made.expose().len(), 20);
    let admin = fixture.access.basic(ADMIN, made.expose(), peer(1)).await.unwrap();
    assert_eq!((admin.name.as_str(), admin.role), (ADMIN, UserRole::Admin));
    assert_eq!(fixture.access.ensure_admin(None).await.unwrap(), None);
    assert!(fixture.restarted().basic(ADMIN, made.expose(), peer(1)).await.is_ok());
}

#[tokio::test]
async fn a_configured_password_replaces_another_one_and_ends_what_was_remembered() {
    let fixture = Fixture::with_admin("first").await;
    let access = &fixture.access;
    let before = access.basic(ADMIN, "first", peer(1)).await.unwrap();
    access.ensure_admin(Some(secret("first"))).await.unwrap();
    assert!(access.basic(ADMIN, "first", peer(1)).await.is_ok());
    access.ensure_admin(Some(secret("second"))).await.unwrap();
    assert_eq!(access.basic(ADMIN, "first", peer(1)).await, Err(Denied::BadCredentials));
    let after = access.basic(ADMIN, "second", peer(1)).await.unwrap();
    assert_eq!(after, before, "the account stays the same one");
    let digest = access.digest_secret(ADMIN, peer(1)).await.unwrap();
    assert_eq!(digest.md5_ha1, password::digest_ha1(ADMIN, &secret("second")).0);
}

#[tokio::test]
async fn an_unknown_name_and_a_wrong_password_are_told_the_same() {
    let fixture = Fixture::with_admin("right").await;
    let access = &fixture.access;
    assert_eq!(access.basic(ADMIN, "wrong", peer(1)).await, Err(Denied::BadCredentials));
    assert_eq!(access.basic("nobody", "right", peer(2)).await, Err(Denied::BadCredentials));
    assert_eq!(access.basic("", "", peer(3)).await, Err(Denied::BadCredentials));
    let endless = "x".repeat(1 << 20);
    assert_eq!(access.basic(ADMIN, &endless, peer(4)).await, Err(Denied::BadCredentials));
}

#[tokio::test]
async fn after_failures_an_address_waits_but_a_remembered_login_and_a_token_still_pass() {
    let fixture = Fixture::with_admin("right").await;
    let access = &fixture.access;
    let admin = access.basic(ADMIN, "right", peer(1)).await.unwrap();
    let token = access.mint_token(&admin, "scraper", None).await.unwrap();
    for n in 0..6 {
        let denied = access.bearer(&format!("guess {n}"), peer(1)).await;
        assert_eq!(denied, Err(Denied::BadCredentials));
    }
    let wait = Err(Denied::TooManyAttempts { retry_after: Duration::from_secs(1) });
    let rounded = |result: Result<Principal, Denied>| match result {
        Err(Denied::TooManyAttempts { .. }) => {
            Err(Denied::TooManyAttempts { retry_after: Duration::from_secs(1) })
        }
        other => other,
    };
    assert_eq!(rounded(access.basic(ADMIN, "guess", peer(1)).await), wait);
    assert_eq!(rounded(access.bearer("guess", peer(1)).await), wait);
    let digest = access.digest_secret(ADMIN, peer(1)).await;
    assert!(matches!(digest, Err(Denied::TooManyAttempts { .. })));

    assert!(access.digest_secret(ADMIN, peer(2)).await.is_ok(), "another address is free");
    assert!(access.basic(ADMIN, "right", peer(1)).await.is_ok());
    // That was a success, so the slate is clean; fill it again for the token.
    for n in 0..6 {
        let _ = access.bearer(&format!("guess {n}"), peer(1)).await;
    }
    assert!(access.bearer(token.text.expose(), peer(1)).await.is_ok());
}

#[tokio::test]
async fn guesses_sent_at_once_are_not_all_looked_at() {
    let fixture = Fixture::with_admin("right").await;
    let guesses: Vec<_> = (0..40).map(|n| format!("guess {n}")).collect();
    let results = futures_util::future::join_all(
        guesses.iter().map(|guess| fixture.access.basic(ADMIN, guess, peer(1))),
    )
    .await;
    let looked_at = results.iter().filter(|r| **r == Err(Denied::BadCredentials)).count();
    assert!((6..12).contains(&looked_at), "{looked_at}");
}

#[tokio::test]
async fn a_digest_secret_fits_its_account_and_a_decoy_fits_nobody() {
    let fixture = Fixture::with_admin("right").await;
    let access = fixture.restarted();
    let digest = access.digest_secret(ADMIN, peer(1)).await.unwrap();
    let (md5, sha256) = password::digest_ha1(ADMIN, &secret("right"));
    assert_eq!((&digest.md5_ha1, &digest.sha256_ha1), (&md5, &sha256));
    assert_eq!(access.digest_checked(digest.clone(), false, peer(1)), Err(Denied::BadCredentials));
    assert_eq!(access.digest_checked(digest, true, peer(1)).unwrap().name, ADMIN);

    let decoy = access.digest_secret("nobody", peer(1)).await.unwrap();
    assert_eq!(decoy.md5_ha1.expose().len(), 32);
    assert_eq!(decoy.sha256_ha1.expose().len(), 64);
    assert_eq!(access.digest_checked(decoy, true, peer(1)), Err(Denied::BadCredentials));
}

#[tokio::test]
async fn a_token_works_until_it_expires_or_is_revoked() {
    let fixture = Fixture::with_admin("right").await;
    let access = &fixture.access;
    let admin = access.basic(ADMIN, "right", peer(1)).await.unwrap();
    let soon = NOON + WallSpan::from_secs(60);
    let short = access.mint_token(&admin, "short", Some(soon)).await.unwrap();
    let long = access.mint_token(&admin, "long", None).await.unwrap();
    assert!(long.text.expose().starts_with("vdt_"));
    assert_eq!(long.text.expose().len(), 47);
    assert_eq!(access.bearer(short.text.expose(), peer(1)).await, Ok(admin.clone()));
    assert_eq!(access.tokens(&admin).await.unwrap().len(), 2);

    fixture.clock.set(soon);
    assert_eq!(access.bearer(short.text.expose(), peer(1)).await, Err(Denied::BadCredentials));
    assert!(access.bearer(long.text.expose(), peer(1)).await.is_ok());
    assert!(access.revoke_token(&admin, long.token.id).await.unwrap());
    assert!(!access.revoke_token(&admin, long.token.id).await.unwrap());
    assert_eq!(access.bearer(long.text.expose(), peer(1)).await, Err(Denied::BadCredentials));

    let stranger = Principal { user: Some(UserId(404)), ..admin };
    assert!(!access.revoke_token(&stranger, short.token.id).await.unwrap(), "not theirs");
}

#[tokio::test]
async fn without_a_password_mode_everybody_is_let_in() {
    let access = Access::open_to_all();
    let anyone = access.anonymous().unwrap();
    assert_eq!(access.basic("x", "y", peer(1)).await, Ok(anyone.clone()));
    assert_eq!(access.bearer("x", peer(1)).await, Ok(anyone.clone()));
    let digest = access.digest_secret("x", peer(1)).await.unwrap();
    assert_eq!(access.digest_checked(digest, false, peer(1)), Ok(anyone.clone()));
    assert_eq!(access.ensure_admin(None).await.unwrap(), None);
    let minted = access.mint_token(&anyone, "x", None).await;
    assert!(matches!(minted, Err(AccessError::NoAccount)));
    assert_eq!(Fixture::new().await.access.anonymous(), None);
}

#[tokio::test]
async fn the_fixed_user_has_one_password() {
    let access = Access::fixed("camera", &secret("pass"));
    assert_eq!(access.anonymous(), None);
    assert_eq!(access.basic("camera", "pass", peer(1)).await.unwrap().name, "camera");
    for (name, password) in [("camera", "other"), ("other", "pass"), ("camera:vedette", "")] {
        assert_eq!(access.basic(name, password, peer(1)).await, Err(Denied::BadCredentials));
    }
    let digest = access.digest_secret("camera", peer(1)).await.unwrap();
    assert_eq!(digest.md5_ha1, password::digest_ha1("camera", &secret("pass")).0);
    assert!(access.digest_checked(digest, true, peer(1)).is_ok());
    let decoy = access.digest_secret("other", peer(1)).await.unwrap();
    assert_eq!(access.digest_checked(decoy, true, peer(1)), Err(Denied::BadCredentials));
}

#[tokio::test]
async fn when_accounts_cannot_be_read_nobody_gets_in_and_nobody_is_blamed() {
    let fixture = Fixture::with_admin("right").await;
    fixture.store.close().await;
    for _ in 0..10 {
        let denied = fixture.access.basic(ADMIN, "right", peer(1)).await;
        assert_eq!(denied, Err(Denied::Unavailable));
    }
}

#[test]
fn a_viewer_looks_but_does_not_touch() {
    let viewer = Principal { user: None, name: "v".into(), role: UserRole::Viewer };
    let admin = Principal { role: UserRole::Admin, ..viewer.clone() };
    let door: Slug = "door".parse().unwrap();
    assert_eq!(decide(&viewer, Action::ViewLive, Some(&door)), Ok(()));
    assert_eq!(decide(&viewer, Action::ManageCameras, Some(&door)), Err(Denied::Forbidden));
    assert_eq!(decide(&admin, Action::ManageCameras, Some(&door)), Ok(()));
}

#[test]
fn nothing_secret_shows_when_printed() {
    let access = Access::fixed("camera", &secret("pass"));
    let shown = format!("{access:?} {:?}", DigestSecret::decoy(access.anonymous()));
    let (md5, sha256) = password::digest_ha1("camera", &secret("pass"));
    for hidden in ["pass\"", md5.expose(), sha256.expose()] {
        assert!(!shown.contains(hidden), "{shown}");
    }
}
