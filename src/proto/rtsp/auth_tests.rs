use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn digest(value: &str) -> Digest {
    match Authorization::parse(value) {
        Ok(Authorization::Digest(digest)) => digest,
        other => panic!("{other:?}"),
    }
}

struct Secrets {
    md5: Zeroizing<String>,
    sha256: Zeroizing<String>,
}

impl Secrets {
    fn new(user: &str, realm: &str, password: &str) -> Self {
        Self {
            md5: Algorithm::Md5.ha1(user, realm, password),
            sha256: Algorithm::Sha256.ha1(user, realm, password),
        }
    }

    fn ha1(&self) -> Ha1<'_> {
        Ha1 { md5: &self.md5, sha256: &self.sha256 }
    }
}

/// A book that knows `nonce`.
fn book(now: Instant, nonce: &str) -> NonceBook {
    NonceBook { nonces: vec![Nonce { text: nonce.to_owned(), issued: now, used: now, count: 0 }] }
}

#[expect(clippy::disallowed_methods, reason = "an arbitrary origin: only differences count")]
fn start() -> Instant {
    Instant::now()
}

// RFC 7616 §3.9.1.
const RFC_NONCE: &str = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
const RFC_FIELDS: &str = "username=\"Mufasa\", realm=\"http-auth@example.org\", \
    uri=\"/dir/index.html\", nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
    cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, \
    opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";

fn rfc_answer(algorithm: &str, response: &str) -> Digest {
    digest(&format!("Digest {RFC_FIELDS}, algorithm={algorithm}, response=\"{response}\""))
}

#[test]
fn the_examples_of_rfc_7616_are_granted() {
    let secrets = Secrets::new("Mufasa", "http-auth@example.org", "Circle of Life");
    let now = start();
    for (algorithm, response) in [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ] {
        let mut book = book(now, RFC_NONCE);
        let answer = rfc_answer(algorithm, response);
        assert_eq!(answer.username, "Mufasa");
        let verdict = book.verify(now, &answer, "GET", secrets.ha1());
        assert_eq!(verdict, Verdict::Granted, "{algorithm}");
        assert_eq!(book.verify(now, &answer, "PUT", secrets.ha1()), Verdict::Denied);
    }
}

#[test]
fn the_example_of_rfc_2617_is_granted() {
    let answer = digest(
        "Digest username=\"Mufasa\",realm=\"testrealm@host.com\",\
         nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\",uri=\"/dir/index.html\",qop=auth,\
         nc=00000001,cnonce=\"0a4f113b\",response=\"6629fae49393a05397450978507c4ef1\",\
         opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
    );
    let secrets = Secrets::new("Mufasa", "testrealm@host.com", "Circle Of Life");
    let now = start();
    let mut book = book(now, "dcd98b7102dd2f0e8b11d0f600bfb0c093");
    assert_eq!(book.verify(now, &answer, "GET", secrets.ha1()), Verdict::Granted);
}

/// What a player answers to a challenge with `nonce`, without qop as VLC does.
fn answer(secrets: &Secrets, method: &str, uri: &str, nonce: &str) -> Digest {
    let ha2 = Algorithm::Md5.hash(&[method, uri]);
    let response = Algorithm::Md5.hash(&[&secrets.md5, nonce, &ha2]);
    digest(&format!(
        "Digest username=\"u\", realm=\"vedette\", nonce=\"{nonce}\", uri=\"{uri}\", \
         response=\"{response}\""
    ))
}

/// The same with qop, as ffmpeg does, its algorithm quoted.
fn counted(secrets: &Secrets, algorithm: Algorithm, nonce: &str, count: &str) -> Digest {
    let ha1 = match algorithm {
        Algorithm::Md5 => &secrets.md5,
        Algorithm::Sha256 => &secrets.sha256,
    };
    let ha2 = algorithm.hash(&["PLAY", "rtsp://h/door"]);
    let response = algorithm.hash(&[ha1, nonce, count, "c0", "auth", &ha2]);
    digest(&format!(
        "digest username=\"u\",realm=\"vedette\",nonce=\"{nonce}\",uri=\"rtsp://h/door\",\
         response=\"{}\",algorithm=\"{}\",qop=\"auth\",nc={count},cnonce=\"c0\"",
        response.to_uppercase(),
        algorithm.as_str(),
    ))
}

#[test]
fn vlc_signs_another_uri_and_is_granted_again_and_again() {
    let secrets = Secrets::new("u", "vedette", "p");
    let now = start();
    let mut book = NonceBook::new();
    let nonce = book.issue(now, [7; 16]);
    for (method, uri) in [("DESCRIBE", "rtsp://h/door"), ("SETUP", "rtsp://h/door/")] {
        let answer = answer(&secrets, method, uri, &nonce);
        assert_eq!(book.verify(now, &answer, method, secrets.ha1()), Verdict::Granted);
    }
}

#[test]
fn a_wrong_password_a_wrong_method_and_no_response_are_denied() {
    let secrets = Secrets::new("u", "vedette", "p");
    let wrong = Secrets::new("u", "vedette", "q");
    let now = start();
    let mut book = NonceBook::new();
    let nonce = book.issue(now, [7; 16]);
    let good = answer(&secrets, "PLAY", "*", &nonce);
    assert_eq!(book.verify(now, &good, "PLAY", wrong.ha1()), Verdict::Denied);
    assert_eq!(book.verify(now, &good, "TEARDOWN", secrets.ha1()), Verdict::Denied);
    for response in ["", "00", "é", &"0".repeat(64)] {
        let bad = Digest { response: response.to_owned(), ..good.clone() };
        assert_eq!(book.verify(now, &bad, "PLAY", secrets.ha1()), Verdict::Denied);
    }
    assert_eq!(book.verify(now, &good, "PLAY", secrets.ha1()), Verdict::Granted);
}

#[test]
fn a_count_is_good_once_and_must_rise() {
    let secrets = Secrets::new("u", "vedette", "p");
    let now = start();
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        let mut book = NonceBook::new();
        let nonce = book.issue(now, [7; 16]);
        let mut verify = |count| {
            let answer = counted(&secrets, algorithm, &nonce, count);
            book.verify(now, &answer, "PLAY", secrets.ha1())
        };
        assert_eq!(verify("00000001"), Verdict::Granted);
        assert_eq!(verify("00000001"), Verdict::Stale);
        assert_eq!(verify("0000000a"), Verdict::Granted);
        assert_eq!(verify("00000009"), Verdict::Stale);
        assert_eq!(verify("0000000B"), Verdict::Granted);
    }
}

#[test]
fn a_nonce_ends_when_it_is_idle_or_old_but_only_a_right_answer_is_stale() {
    let secrets = Secrets::new("u", "vedette", "p");
    let wrong = Secrets::new("u", "vedette", "q");
    let mut now = start();
    let mut book = NonceBook::new();
    let nonce = book.issue(now, [7; 16]);
    let good = answer(&secrets, "PLAY", "*", &nonce);
    let issued = now;
    // Used, it lives on; but not for ever.
    while now + limits::IDLE <= issued + limits::LIFE {
        now += limits::IDLE;
        assert_eq!(book.verify(now, &good, "PLAY", secrets.ha1()), Verdict::Granted);
    }
    now = issued + limits::LIFE + Duration::from_millis(1);
    assert_eq!(book.verify(now, &good, "PLAY", secrets.ha1()), Verdict::Stale);
    assert_eq!(book.verify(now, &good, "PLAY", wrong.ha1()), Verdict::Denied);

    let nonce = book.issue(now, [8; 16]);
    let good = answer(&secrets, "PLAY", "*", &nonce);
    now += limits::IDLE + Duration::from_millis(1);
    assert_eq!(book.verify(now, &good, "PLAY", secrets.ha1()), Verdict::Stale);
}

#[test]
fn a_nonce_of_another_connection_is_stale() {
    let secrets = Secrets::new("u", "vedette", "p");
    let now = start();
    let nonce = NonceBook::new().issue(now, [1; 16]);
    let mut other = NonceBook::new();
    other.issue(now, [2; 16]);
    let answer = answer(&secrets, "PLAY", "*", &nonce);
    assert_eq!(other.verify(now, &answer, "PLAY", secrets.ha1()), Verdict::Stale);
}

#[test]
fn a_connection_has_no_more_nonces_than_its_limit() {
    let secrets = Secrets::new("u", "vedette", "p");
    let now = start();
    let mut book = NonceBook::new();
    let nonces: Vec<String> =
        (0..=limits::NONCES as u8).map(|n| book.issue(now, [n; 16])).collect();
    assert_eq!(book.nonces.len(), limits::NONCES);
    let mut verify = |nonce: &str| {
        book.verify(now, &answer(&secrets, "PLAY", "*", nonce), "PLAY", secrets.ha1())
    };
    assert_eq!(verify(&nonces[0]), Verdict::Stale);
    assert_eq!(verify(&nonces[1]), Verdict::Granted);
    assert_eq!(verify(&nonces[limits::NONCES]), Verdict::Granted);
}

#[test]
fn the_challenges_stand_in_the_order_players_need() {
    assert_eq!(
        challenges("vedette", "abc", false),
        [
            "Digest realm=\"vedette\", nonce=\"abc\", algorithm=SHA-256, qop=\"auth\"",
            "Digest realm=\"vedette\", nonce=\"abc\", algorithm=MD5, qop=\"auth\"",
        ]
    );
    assert!(challenges("a\"b", "c", true).iter().all(|c| c.ends_with(", stale=true")));
    assert!(challenges("a\"b", "c", true)[0].starts_with("Digest realm=\"ab\", nonce="));
}

#[test]
fn what_was_not_offered_is_told_from_what_is_malformed() {
    let base = "username=\"u\", realm=\"r\", nonce=\"n\", uri=\"*\", response=\"00\"";
    let error = |more: &str| match Authorization::parse(&format!("Digest {base}{more}")) {
        Err(error) => error,
        other => panic!("{other:?}"),
    };
    use AuthorizationError::{Missing, NotOffered, Scheme, Syntax};
    assert_eq!(error(", algorithm=SHA-512-256"), NotOffered("algorithm"));
    assert_eq!(error(", algorithm=MD5-sess"), NotOffered("algorithm"));
    assert_eq!(error(", qop=auth-int, nc=1, cnonce=x"), NotOffered("qop"));
    assert_eq!(error(", userhash=true"), NotOffered("userhash"));
    assert_eq!(error(", qop=auth, cnonce=x"), Missing("nc"));
    assert_eq!(error(", qop=auth, nc=1"), Missing("cnonce"));
    assert_eq!(error(", algorithm=SHA-256"), Missing("qop"));
    for syntax in
        [", qop=auth, nc=+1, cnonce=x", ", x", ", x=\"", " x=y", ", qop=auth, nc=, cnonce=x"]
    {
        assert_eq!(error(syntax), Syntax, "{syntax}");
    }
    for (value, expected) in [
        ("Digest realm=\"r\"", Missing("username")),
        ("Bearer abc", Scheme),
        ("Digest", Syntax),
        ("", Syntax),
    ] {
        assert!(matches!(Authorization::parse(value), Err(e) if e == expected), "{value}");
    }
}

#[test]
fn quoted_values_are_unescaped() {
    let answer =
        digest(r#"Digest username="a\"b, c=d" , realm=r,nonce="n" ,uri="*",response="AB", x=y"#);
    assert_eq!((answer.username.as_str(), answer.realm.as_str()), ("a\"b, c=d", "r"));
    assert_eq!(answer.response, "ab");
}

#[test]
fn basic_is_a_name_and_a_password_with_colons() {
    // u:p:ä
    let Ok(Authorization::Basic(basic)) = Authorization::parse("basic dTpwOsOk") else { panic!() };
    assert_eq!((basic.username.as_str(), basic.password.as_str()), ("u", "p:ä"));
    for bad in ["Basic !", "Basic dQ==", "Basic /w=="] {
        assert!(Authorization::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn secrets_are_not_in_debug_output() {
    let answer = format!("{:?}", rfc_answer("MD5", "8ca523f5e9506fed4657c9700eebdbec"));
    assert!(answer.contains("Mufasa") && !answer.contains("8ca5") && !answer.contains(RFC_NONCE));
    let basic = format!("{:?}", Authorization::parse("Basic dTpzZWNyZXQ="));
    assert!(basic.contains("\"u\"") && !basic.contains("secret"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn nothing_in_an_authorization_panics(
        basic in any::<bool>(),
        noise in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        const EYED: &[char] = &['=', '"', ',', '\\', ' ', 'a', 'é'];
        let noise = noise.iter().map(|&b| EYED[usize::from(b) % EYED.len()]);
        let scheme = if basic { "Basic " } else { "Digest " };
        let value: String = scheme.chars().chain(noise).collect();
        let _ = Authorization::parse(&value);
    }
}
