//! Digest over a real connection.

use md5::{Digest as _, Md5};
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{client::Sign, *};
use crate::model::Secret;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn md5(text: &str) -> String {
    hex(&Md5::digest(text))
}

fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text))
}

fn param(challenge: &str, name: &str) -> String {
    let at = challenge.find(&format!("{name}=\"")).unwrap() + name.len() + 2;
    challenge[at..].split('"').next().unwrap().to_owned()
}

async fn guarded() -> Bench {
    let access = Access::fixed("ann", &Secret::new("open sesame".to_owned()));
    let run = run(1, TEN);
    let units = footage(&run, 100, 300);
    let script = Script::new(vec![(run, units)], WallSpan::from_micros(15_000));
    Bench::with(access, Some(script), |_| {}).await
}

/// The nonce of a fresh challenge.
pub(super) async fn challenged<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Client<S>,
    url: &str,
) -> (Vec<String>, String) {
    let answer = client.ask(&format!("DESCRIBE {url}")).await;
    assert_eq!(answer.status.as_u16(), 401);
    let challenges: Vec<_> =
        answer.headers.get_all("WWW-Authenticate").map(str::to_owned).collect();
    let nonce = param(&challenges[0], "nonce");
    (challenges, nonce)
}

/// As VLC does it: RFC 2069, and always with the URI of DESCRIBE or the Content-Base.
pub(super) fn by_md5(password: &str, nonce: String) -> Sign {
    let ha1 = md5(&format!("ann:vedette:{password}"));
    Box::new(move |method, uri| {
        let uri = uri.split("trackID").next().unwrap();
        let ha2 = md5(&format!("{method}:{uri}"));
        let response = md5(&format!("{ha1}:{nonce}:{ha2}"));
        format!(
            "Digest username=\"ann\", realm=\"vedette\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\""
        )
    })
}

#[tokio::test(start_paused = true)]
async fn sha_256_is_offered_first_and_md5_last_with_the_realm_before_the_nonce() {
    let bench = guarded().await;
    let mut client = bench.client().await;
    let (challenges, _) = challenged(&mut client, &bench.url("/door/recording")).await;
    assert_eq!(challenges.len(), 2);
    assert!(challenges[0].contains("SHA-256") && !challenges[1].contains("SHA-256"));
    for challenge in challenges {
        assert!(challenge.find("realm").unwrap() < challenge.find("nonce").unwrap());
    }
    let options = client.ask(&format!("OPTIONS {}", bench.url("/door"))).await;
    assert_eq!(options.status.as_u16(), 200, "OPTIONS tells nothing that needs a login");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn vlc_logs_in_by_md5_without_qop_and_plays() {
    let bench = guarded().await;
    let mut vlc = bench.client().await;
    let url = bench.url("/door/recording");
    let (_, nonce) = challenged(&mut vlc, &url).await;
    vlc.authorization = Some(by_md5("open sesame", nonce));
    let base = vlc.set_up(&url).await;
    vlc.play(&base, "npt=0-").await;
    vlc.pictures(1).await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn sha_256_with_a_count_logs_in_and_the_count_works_once() {
    let bench = guarded().await;
    let mut client = bench.client().await;
    let url = bench.url("/door/recording");
    let (_, nonce) = challenged(&mut client, &url).await;
    let ha1 = sha256("ann:vedette:open sesame");
    client.authorization = Some(Box::new(move |method, uri| {
        let ha2 = sha256(&format!("{method}:{uri}"));
        let response = sha256(&format!("{ha1}:{nonce}:00000001:cn:auth:{ha2}"));
        format!(
            "Digest username=\"ann\", realm=\"vedette\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm=SHA-256, qop=auth, nc=00000001, cnonce=\"cn\""
        )
    }));
    let describe = format!("DESCRIBE {url}");
    assert_eq!(client.ask(&describe).await.status.as_u16(), 200);
    let again = client.ask(&describe).await;
    assert_eq!(again.status.as_u16(), 401);
    assert!(again.headers.get("WWW-Authenticate").unwrap().contains("stale=true"));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_nonce_is_good_on_its_own_connection_only() {
    let bench = guarded().await;
    let url = bench.url("/door/recording");
    let (_, nonce) = challenged(&mut bench.client().await, &url).await;
    let mut other = bench.client().await;
    other.authorization = Some(by_md5("open sesame", nonce));
    let answer = other.ask(&format!("DESCRIBE {url}")).await;
    assert_eq!(answer.status.as_u16(), 401);
    assert!(answer.headers.get("WWW-Authenticate").unwrap().contains("stale=true"));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_challenged_again_and_in_the_end_kept_waiting() {
    let bench = guarded().await;
    let mut client = bench.client().await;
    let url = bench.url("/door/recording");
    let (_, nonce) = challenged(&mut client, &url).await;
    client.authorization = Some(by_md5("sesame", nonce));
    let describe = format!("DESCRIBE {url}");
    let first = client.ask(&describe).await;
    assert_eq!(first.status.as_u16(), 401);
    assert!(!first.headers.get("WWW-Authenticate").unwrap().contains("stale=true"));
    let mut last = first;
    for _ in 0..50 {
        last = client.ask(&describe).await;
        if last.status.as_u16() == 503 {
            break;
        }
    }
    assert_eq!(last.status.as_u16(), 503);
    assert!(last.headers.get("Retry-After").is_some());
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_is_in_is_not_locked_out_by_an_attacker_at_the_same_address() {
    let bench = guarded().await;
    let url = bench.url("/door/recording");
    let mut ann = bench.client().await;
    let (_, nonce) = challenged(&mut ann, &url).await;
    ann.authorization = Some(by_md5("open sesame", nonce));
    let base = ann.set_up(&url).await;
    ann.play(&base, "npt=0-").await;

    let describe = format!("DESCRIBE {url}");
    let mut attacker = bench.client().await;
    let (_, nonce) = challenged(&mut attacker, &url).await;
    attacker.authorization = Some(by_md5("sesame", nonce));
    while attacker.ask(&describe).await.status.as_u16() != 503 {}

    ann.play(&base, "npt=1-").await;
    assert_eq!(attacker.ask(&describe).await.status.as_u16(), 503, "not wiped out by ann");
    // Nor does it hold after a wrong login.
    ann.authorization = None;
    let (_, nonce) = challenged(&mut ann, &url).await;
    ann.authorization = Some(by_md5("sesame", nonce));
    while ann.ask(&describe).await.status.as_u16() != 503 {}
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn whether_a_camera_exists_is_not_told_to_strangers() {
    let bench = guarded().await;
    let mut client = bench.client().await;
    let known = client.ask(&format!("DESCRIBE {}", bench.url("/door"))).await.status;
    let unknown = client.ask(&format!("DESCRIBE {}", bench.url("/nowhere"))).await.status;
    assert_eq!((known.as_u16(), unknown.as_u16()), (401, 401));
    bench.stop().await;
}
