use proptest::prelude::*;

use super::*;

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect()
}

fn parse(text: &str) -> Result<Config, Mistakes> {
    Config::parse("v.toml", text, [])
}

fn from_env(pairs: &[(&str, &str)]) -> Result<Config, Mistakes> {
    Config::parse("v.toml", "", env(pairs))
}

/// Mistakes as "source key".
fn places(result: Result<Config, Mistakes>) -> Vec<String> {
    let mistakes = result.expect_err("there are mistakes").0;
    mistakes.into_iter().map(|m| format!("{} {}", m.source, m.key)).collect()
}

/// The message of the only mistake.
fn message(result: Result<Config, Mistakes>) -> String {
    let mut mistakes = result.expect_err("there is a mistake").0;
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    mistakes.remove(0).message
}

#[test]
fn the_commented_default_is_the_default() {
    let text = include_str!("../../config/vedette.toml");
    assert_eq!(parse(text), Ok(Config::default()));
    assert_eq!(parse(""), Ok(Config::default()));
}

/// So that nobody adds a setting without telling about it.
#[test]
fn the_commented_default_names_every_key() {
    let is_key = |key: &str| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let text = include_str!("../../config/vedette.toml");
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.split_once(" = ").is_some_and(|(key, _)| is_key(key)) => rest,
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut source = Source::new();
    source.file("v.toml", &uncommented);
    let config = Config::read(&mut source);
    assert_eq!(source.unset(), Vec::<String>::new());
    assert_eq!(source.finish(), Ok(()));
    assert_eq!(config.database, Config::default().database);
}

#[test]
fn the_environment_sets_any_key_over_the_file() {
    let text = "[http]\nlisten = \"127.0.0.1:1\"\nbase_path = \"/nvr\"\n\
                [[volumes]]\npath = \"/a\"\nmax_bytes = 5\n";
    let config = Config::parse(
        "v.toml",
        text,
        env(&[
            ("VEDETTE_HTTP__LISTEN", "[::1]:2"),
            ("VEDETTE_RTSP__UDP_PORTS", "50000-50099"),
            ("VEDETTE_RTSP__MULTICAST", "239.192.1.0/24"),
            ("VEDETTE_DATABASE__PATH", "/data/index.db"),
            ("VEDETTE_VOLUMES__0__MIN_FREE_BYTES", "2GiB"),
            ("VEDETTE_VOLUMES__1__PATH", "/b/"),
            ("VEDETTE_RECORDING__SEGMENT_SECONDS", "2"),
            ("VEDETTE_LOG__FORMAT", "json"),
            ("VEDETTE_ADMIN_PASSWORD", "hunter2"),
            ("VEDETTE_METRICS_TOKEN", "scrape"),
            ("VEDETTE_CONFIG", "/elsewhere.toml"),
            ("HOME", "/root"),
        ]),
    )
    .unwrap();
    assert_eq!(config.http.listen.to_string(), "[::1]:2");
    assert_eq!(config.http.base_path, "/nvr");
    assert_eq!(config.rtsp.udp_ports, 50_000..=50_099);
    let groups = config.rtsp.multicast.unwrap();
    assert_eq!((groups.first.to_string(), groups.groups), ("239.192.1.0".to_owned(), 256));
    assert_eq!((groups.port, groups.ttl), (30_000, 1));
    assert_eq!(config.database.key_file, Path::new("/data/vedette.key"));
    let a = Volume { path: "/a".into(), max_bytes: Some(5), min_free_bytes: 2 << 30 };
    assert_eq!(config.volumes, [a, Volume::at("/b".into())]);
    assert_eq!(config.recording.segment, Duration::from_secs(2));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.auth.admin_password.unwrap().expose(), "hunter2");
    assert_eq!(config.metrics.token.unwrap().expose(), "scrape");
}

#[test]
fn rtsps_needs_a_port_of_its_own_a_certificate_and_its_key() {
    let tls = "[tls]\ncert = \"/c.pem\"\nkey = \"/k.pem\"\n";
    let listen = |port| format!("[rtsp]\ntls_listen = \"0.0.0.0:{port}\"\n");
    let config = parse(&(listen(8322) + tls)).unwrap();
    assert_eq!(config.rtsp.tls_listen.unwrap().port(), 8322);
    assert_eq!(config.tls, Some(Tls { cert: "/c.pem".into(), key: "/k.pem".into() }));
    let both = ["v.toml:2 rtsp.tls_listen", "v.toml:2 rtsp.tls_listen"];
    assert_eq!(places(parse(&listen(8322))), both);
    assert_eq!(places(parse(&(listen(8554) + tls))), both[1..]);
    let unused = ["v.toml:2 tls.cert", "v.toml:3 tls.key"];
    assert_eq!(places(parse(tls)), unused, "nothing would be encrypted");
    let open = "[auth]\nmode = \"none\"\n[http]\nlisten = \"127.0.0.1:1\"\n".to_owned();
    let loopback = "[rtsp]\nlisten = \"127.0.0.1:2\"\ntls_listen = \"0.0.0.0:3\"\n";
    assert_eq!(places(parse(&(open + loopback + tls))), ["v.toml:7 rtsp.tls_listen"]);
}

#[test]
fn all_mistakes_are_named_at_once_with_key_and_place() {
    let text = "
[http]
listen = \"here\"
lisen = \"0.0.0.0:80\"
[recording]
segment_seconds = 1
sync_interval_seconds = \"5\"
[[volumes]]
max_bytes = \"many\"
[htpp]
[tls]
cert = \"x.pem\"
";
    let result = Config::parse(
        "v.toml",
        text,
        env(&[
            ("VEDETTE_RTSP__LISTEN", "nowhere"),
            ("VEDETTE_RTSP__PORT", "1"),
            ("VEDETTE_X", "1"),
        ]),
    );
    let printed = result.as_ref().unwrap_err().to_string();
    assert_eq!(printed.lines().count(), 11, "{printed}");
    let mut places = places(result);
    places.sort();
    assert_eq!(
        places,
        [
            "VEDETTE_RTSP__LISTEN rtsp.listen",
            "VEDETTE_RTSP__PORT rtsp.port",
            "VEDETTE_X x",
            "v.toml:10 htpp",
            "v.toml:12 tls.cert",
            "v.toml:3 http.listen",
            "v.toml:4 http.lisen",
            "v.toml:6 recording.segment_seconds",
            "v.toml:7 recording.sync_interval_seconds",
            "v.toml:9 volumes.0.max_bytes",
            "v.toml:9 volumes.0.path",
        ]
    );
    assert!(printed.contains("[http] has: base_path, listen"), "{printed}");
}

#[test]
fn a_file_that_is_no_toml_is_one_mistake_with_its_line() {
    assert_eq!(places(parse("[http]\nlisten = \nbase_path = \"/x\"")), ["v.toml:2 TOML"]);
}

#[test]
fn sections_and_lists_must_be_written_as_such() {
    assert_eq!(message(parse("http = 1")), "is a section: write [http]");
    assert_eq!(
        message(parse("[volumes]\npath = \"/a\"")),
        "is a list of tables: write [[volumes]]"
    );
    assert_eq!(message(parse("volumes = [1]")), "is a list of tables: write [[volumes]]");
    assert_eq!(message(parse("[http.listen]\nport = 1")), "is text, not table");
    assert_eq!(places(parse("\"http.listen\" = \"0.0.0.0:1\"")).len(), 1);
    assert_eq!(places(parse("[http]\n\"a.b\" = 1")), ["v.toml:2 http.\"a.b\""]);
}

#[test]
fn volumes_in_the_environment_are_numbered_without_a_hole() {
    assert_eq!(
        places(from_env(&[("VEDETTE_VOLUMES__1__PATH", "/b")])),
        ["VEDETTE_VOLUMES__1__PATH volumes.1.path"]
    );
}

#[test]
fn without_passwords_only_loopback_may_listen() {
    let none = ("VEDETTE_AUTH__MODE", "none");
    assert_eq!(places(from_env(&[none])), ["default http.listen", "default rtsp.listen"]);
    let http = ("VEDETTE_HTTP__LISTEN", "127.0.0.1:8080");
    let rtsp = |listen| ("VEDETTE_RTSP__LISTEN", listen);
    assert_eq!(
        places(from_env(&[none, http, rtsp("192.168.1.2:8554")])),
        ["VEDETTE_RTSP__LISTEN rtsp.listen"]
    );
    for loopback in ["[::1]:8554", "127.9.9.9:8554", "[::ffff:127.0.0.1]:8554"] {
        let config = from_env(&[none, http, rtsp(loopback)]).unwrap();
        assert_eq!(config.auth.mode, Mode::None);
    }
}

#[test]
fn volumes_must_be_absolute_and_apart() {
    for (paths, wrong) in [
        (["/a", "/a/"], "/a is a volume already"),
        (["/a", "/a/b"], "must not share a folder with /a"),
        (["/a/b", "/a"], "must not share a folder with /a/b"),
        (["/a", "b"], "must be absolute: it is remembered with the footage"),
        (["/a", ""], "is empty"),
    ] {
        let text =
            format!("[[volumes]]\npath = {:?}\n[[volumes]]\npath = {:?}", paths[0], paths[1]);
        assert_eq!(message(parse(&text)), wrong);
    }
    assert!(parse("[[volumes]]\npath = \"/a\"\n[[volumes]]\npath = \"/ab\"").is_ok());
}

#[test]
fn ports_and_addresses_that_cannot_work_are_refused() {
    let taken = from_env(&[("VEDETTE_RTSP__LISTEN", "127.0.0.1:8080")]);
    assert_eq!(message(taken), "port 8080 is that of http.listen");
    for ports in ["40001-40998", "40000-40998", "40000", "50000-40001", "1000-1001", "0-99999"] {
        assert_eq!(
            places(from_env(&[("VEDETTE_RTSP__UDP_PORTS", ports)])),
            ["VEDETTE_RTSP__UDP_PORTS rtsp.udp_ports"],
            "{ports}"
        );
    }
    for groups in ["192.168.0.0/24", "239.0.0.0/8", "239.1.1.1/24", "239.1.1.1/33", "groups"] {
        let wrong = from_env(&[("VEDETTE_RTSP__MULTICAST", groups)]);
        assert_eq!(places(wrong), ["VEDETTE_RTSP__MULTICAST rtsp.multicast"], "{groups}");
    }
    let odd = from_env(&[("VEDETTE_RTSP__MULTICAST_PORT", "30001")]);
    assert_eq!(places(odd), ["VEDETTE_RTSP__MULTICAST_PORT rtsp.multicast_port"]);
    for (key, value) in [("PORT", "30000"), ("TTL", "4"), ("INTERFACE", "192.168.1.1")] {
        let name = format!("VEDETTE_RTSP__MULTICAST_{key}");
        let alone = places(from_env(&[(&name, value)]));
        assert_eq!(alone, [format!("{name} rtsp.multicast_{}", key.to_lowercase())]);
        assert!(from_env(&[(&name, value), ("VEDETTE_RTSP__MULTICAST", "239.1.1.0/24")]).is_ok());
    }
    let level = from_env(&[("VEDETTE_LOG__LEVEL", "info,vedette=loud")]);
    assert_eq!(places(level), ["VEDETTE_LOG__LEVEL log.level"]);
}

#[test]
fn an_empty_variable_and_those_of_kubernetes_are_not_ours() {
    let config = from_env(&[
        ("VEDETTE_ADMIN_PASSWORD", ""),
        ("VEDETTE_HTTP__LISTEN", ""),
        ("VEDETTE_PORT", "tcp://10.0.0.1:8080"),
        ("VEDETTE_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("VEDETTE_SERVICE_HOST", "10.0.0.1"),
    ]);
    assert_eq!(config, Ok(Config::default()));
}

#[test]
fn a_secret_set_twice_is_a_mistake_and_none_is_ever_repeated() {
    let both = from_env(&[
        ("VEDETTE_ADMIN_PASSWORD", "hunter2"),
        ("VEDETTE_AUTH__ADMIN_PASSWORD", "hunter3"),
        ("VEDETTE_METRICS_TOKEN", "hunter4\nand more"),
    ]);
    let mistakes = both.unwrap_err();
    assert_eq!(mistakes.0.len(), 2);
    assert!(!format!("{mistakes} {mistakes:?}").contains("hunter"), "{mistakes}");
    let config = from_env(&[("VEDETTE_ADMIN_PASSWORD", "hunter2")]).unwrap();
    assert!(!format!("{config:?}").contains("hunter"));
}

#[test]
fn a_secret_in_a_broken_file_is_not_repeated() {
    for line in [
        "admin_password = hunter2",
        "admin_password = 'hunter2",
        "admin_password = \"hunter2",
        "admin_password = \"\\hunter2\"",
        "admin_password hunter2",
        "admin_password = \"hunter2\" hunter2",
        "admin_password = [\"hunter2\"]",
    ] {
        let mistakes = parse(&format!("[auth]\n{line}\n")).unwrap_err();
        assert!(!format!("{mistakes} {mistakes:?}").contains("hunter2"), "{mistakes}");
    }
}

#[test]
fn a_named_file_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v.toml");
    assert_eq!(places(Config::load(Some(&path), [])).len(), 1);
    fs::write(&path, "[http]\nlisten = \"127.0.0.1:9\"").unwrap();
    assert_eq!(Config::load(Some(&path), []).unwrap().http.listen.port(), 9);
}

#[test]
fn sizes_are_written_as_people_write_them() {
    let size = |text: &str| {
        let text = format!("[[volumes]]\npath = \"/a\"\nmax_bytes = {text}");
        parse(&text).ok().map(|config| config.volumes[0].max_bytes.unwrap())
    };
    assert_eq!(size("12"), Some(12));
    assert_eq!(size("\"12\""), Some(12));
    assert_eq!(size("\"500GB\""), Some(500_000_000_000));
    assert_eq!(size("\"1.5 tb\""), Some(1_500_000_000_000));
    assert_eq!(size("\"200GiB\""), Some(200 << 30));
    assert_eq!(size("\"9007199254740993 B\""), Some(9_007_199_254_740_993), "to the byte");
    for wrong in [
        "-1",
        "1.5",
        "\"\"",
        "\"GB\"",
        "\"5G\"",
        "\"1..5GB\"",
        "\"-1GB\"",
        "\"1e3\"",
        "\"99999999999TB\"",
        "\"5 µB\"",
        "true",
    ] {
        assert_eq!(size(wrong), None, "{wrong}");
    }
}

#[test]
fn a_base_path_has_one_slash_in_front_and_none_behind() {
    let base = |text: &str| {
        from_env(&[("VEDETTE_HTTP__BASE_PATH", text)]).ok().map(|config| config.http.base_path)
    };
    assert_eq!(base("/nvr/").as_deref(), Some("/nvr"));
    assert_eq!(base("/").as_deref(), Some(""));
    for wrong in ["nvr", "/a//b", "/a b", "/{x}", "/a?b"] {
        assert_eq!(base(wrong), None, "{wrong}");
    }
}

proptest! {
    #[test]
    fn no_file_and_no_environment_makes_it_panic(
        text in ".{0,200}",
        name in "VEDETTE_[A-Z0-9_]{0,30}",
        value in ".{0,40}",
    ) {
        let _ = Config::parse("v.toml", &text, [(name, value)]);
    }

    #[test]
    fn no_value_of_a_known_key_makes_it_panic(
        key in prop::sample::select(vec![
            "HTTP__LISTEN", "HTTP__BASE_PATH", "RTSP__UDP_PORTS", "VOLUMES__0__PATH",
            "VOLUMES__0__MAX_BYTES", "RECORDING__SEGMENT_SECONDS", "LOG__LEVEL", "AUTH__MODE",
        ]),
        value in "[0-9a-zA-Z.:/ \\-\u{b5}]{0,20}",
    ) {
        let _ = Config::parse("v.toml", "", [(format!("VEDETTE_{key}"), value)]);
    }
}

#[test]
fn zero_days_of_retention_are_for_ever() {
    let text = "[retention]\nevents_days = 0\naudit_days = 30\n";
    let retention = parse(text).unwrap().retention;
    assert_eq!(retention.events, None);
    assert_eq!(retention.audit, Some(std::time::Duration::from_secs(30 * 86_400)));
    assert_eq!(retention.gaps, Config::default().retention.gaps);
    assert!(parse("[retention]\ngaps_days = -1\n").is_err());
}
