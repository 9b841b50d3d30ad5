use proptest::prelude::*;

use super::*;

#[track_caller]
fn transport(value: &str) -> Transport {
    let mut list = Transport::parse_list(value).expect("parses");
    assert_eq!(list.len(), 1);
    list.remove(0)
}

fn npt(start: Option<i64>, end: Option<i64>) -> Range {
    let at = |ms: i64| Npt::At(WallSpan::from_micros(ms * 1_000));
    Range::Npt(NptRange { start: start.map(at), end: end.map(at) })
}

fn utc(text: &str) -> WallTime {
    parse_clock(text).expect("a time")
}

#[test]
fn the_transports_players_ask_for_are_understood() {
    let vlc_udp = transport("RTP/AVP;unicast;client_port=50170-50171");
    assert_eq!(
        vlc_udp,
        Transport { client_port: Some((50_170, 50_171)), ..Transport::unicast(Lower::Udp) }
    );
    let ffmpeg_udp = transport("RTP/AVP/UDP;unicast;client_port=13560-13561");
    assert_eq!((ffmpeg_udp.rtp_avp, ffmpeg_udp.lower), (true, Lower::Udp));
    let tcp = transport("RTP/AVP/TCP;unicast;interleaved=2-3");
    assert_eq!((tcp.lower, tcp.interleaved), (Lower::Tcp, Some((2, 3))));
    let multicast = transport("RTP/AVP;multicast;ttl=16;port=5000-5001");
    assert!(multicast.multicast);
    assert_eq!((multicast.ttl, multicast.port), (Some(16), Some((5_000, 5_001))));
}

#[test]
fn transport_parameters_are_read_in_any_case_with_blanks_and_quotes() {
    let t = transport("rtp/avp/tcp ; UNICAST ;Interleaved = 0-1; MODE=\"RECORD\" ;SSRC=a1B2c3D4");
    assert!(t.rtp_avp && t.record);
    assert_eq!((t.lower, t.interleaved), (Lower::Tcp, Some((0, 1))));
    assert_eq!(t.ssrc, Some(0xa1b2_c3d4));
    assert!(!transport("RTP/AVP;mode=\"PLAY\"").record);
    assert!(transport("RTP/AVP;mode=receive").record);
}

#[test]
fn a_list_of_transports_keeps_its_order_and_what_we_do_not_speak_in_it() {
    let list = Transport::parse_list(
        "RTP/SAVP;unicast;client_port=1-2, RAW/RAW/UDP;unicast,RTP/AVP/SCTP;mode=\"PLAY,RECORD\",\
         RTP/AVP/TCP;unicast",
    )
    .expect("parses");
    let spoken: Vec<bool> = list.iter().map(|t| t.rtp_avp).collect();
    assert_eq!(spoken, [false, false, false, true]);
}

#[test]
fn one_port_stands_for_a_pair() {
    assert_eq!(transport("RTP/AVP;client_port=8000").client_port, Some((8_000, 8_001)));
    assert_eq!(transport("RTP/AVP/TCP;interleaved=4").interleaved, Some((4, 5)));
}

#[test]
fn ports_that_are_none_are_an_error() {
    for bad in [
        "RTP/AVP;client_port=65536-65537",
        "RTP/AVP;client_port=65535",
        "RTP/AVP;client_port=",
        "RTP/AVP;client_port=a-b",
        "RTP/AVP;client_port=+1-2",
        "RTP/AVP/TCP;interleaved=255",
        "RTP/AVP/TCP;interleaved=0-256",
        "",
        " , ",
    ] {
        assert!(Transport::parse_list(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn an_answered_transport_is_written_as_players_read_it() {
    let udp = Transport {
        client_port: Some((50_170, 50_171)),
        server_port: Some((20_000, 20_001)),
        ssrc: Some(0x00ab_cdef),
        source: Some("10.0.0.1".into()),
        ..Transport::unicast(Lower::Udp)
    };
    assert_eq!(
        udp.to_string(),
        "RTP/AVP;unicast;source=10.0.0.1;client_port=50170-50171;server_port=20000-20001;\
         ssrc=00ABCDEF"
    );
    let tcp = Transport { interleaved: Some((0, 1)), ..Transport::unicast(Lower::Tcp) };
    assert_eq!(tcp.to_string(), "RTP/AVP/TCP;unicast;interleaved=0-1");
}

#[test]
fn the_npt_ranges_players_send_are_understood() {
    for (text, range) in [
        ("npt=0.000-", npt(Some(0), None)),
        ("npt=60-120", npt(Some(60_000), Some(120_000))),
        ("npt=33.960-", npt(Some(33_960), None)),
        ("npt=0:01:00-", npt(Some(60_000), None)),
        ("npt=12:05:35.3-", npt(Some(43_535_300), None)),
        ("npt=80-0", npt(Some(80_000), Some(0))),
        ("npt=-20", npt(None, Some(20_000))),
        ("NPT = 1. - 2.5 ;time=19970123T143720Z", npt(Some(1_000), Some(2_500))),
        ("npt=10;time=nonsense;", npt(Some(10_000), None)),
        ("npt=now-", Range::Npt(NptRange { start: Some(Npt::Now), end: None })),
        (
            "npt=5-NOW",
            Range::Npt(NptRange {
                start: Some(Npt::At(WallSpan::from_secs(5))),
                end: Some(Npt::Now),
            }),
        ),
    ] {
        assert_eq!(Range::parse(text), Ok(range), "{text}");
    }
}

#[test]
fn clock_ranges_are_understood_with_and_without_a_fraction() {
    let ten = WallTime::from_micros(1_795_341_600_000_000);
    let range = |start, end| Ok(Range::Clock(ClockRange { start, end }));
    assert_eq!(Range::parse("clock=20261122T100000Z-"), range(Some(ten), None));
    let both = Range::parse("Clock=20261122t100000.25z-20261122T100000.123456789Z");
    let at = |us| Some(ten + WallSpan::from_micros(us));
    assert_eq!(both, range(at(250_000), at(123_456)));
    // GStreamer's whole time; reversed for playing backwards; the end alone.
    assert_eq!(
        Range::parse("clock=19000101T000000Z-20000101T000000Z"),
        range(Some(utc("19000101T000000Z")), Some(utc("20000101T000000Z")))
    );
    assert_eq!(
        Range::parse("clock=20261122T100001Z-20261122T100000Z"),
        range(at(1_000_000), Some(ten))
    );
    assert_eq!(Range::parse("clock=-20261122T100000Z"), range(None, Some(ten)));
    assert_eq!(utc("20161231T235960Z"), utc("20161231T235959Z"));
}

#[test]
fn smpte_and_unknown_units_are_told_from_nonsense() {
    assert_eq!(Range::parse("smpte=10:07:00-10:07:33:05.01"), Ok(Range::Unsupported));
    assert_eq!(Range::parse("smpte-30-drop=10:07:00-"), Ok(Range::Unsupported));
    for bad in [
        "",
        "npt",
        "npt=",
        "npt=-",
        "npt=a-b",
        "npt=1-2-3",
        "npt=-5-",
        "npt=1:60:00-",
        "npt=1:00-",
        "npt=0:00:60-",
        "npt=1.5.5-",
        "npt=+1-",
        "npt=99999999999999999999-",
        "npt=9223372036854775807-",
        "clock=20261122-",
        "clock=20261122T1000Z-",
        "clock=20260230T100000Z-",
        "clock=20261122T100061Z-",
        "clock=2026é122T100000Z-",
    ] {
        assert!(Range::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn ranges_are_written_as_players_read_them() {
    assert_eq!(npt(Some(60_000), Some(120_500)).to_string(), "npt=60.000-120.500");
    assert_eq!(npt(Some(0), None).to_string(), "npt=0.000-");
    let now = Range::Npt(NptRange { start: Some(Npt::Now), end: None });
    assert_eq!(now.to_string(), "npt=now-");
    let clock = Range::Clock(ClockRange {
        start: Some(utc("20261122T100000Z")),
        end: Some(utc("20261122T100000.250Z")),
    });
    assert_eq!(clock.to_string(), "clock=20261122T100000Z-20261122T100000.25Z");
}

#[test]
fn a_session_is_written_without_a_blank_and_read_with_one() {
    let session = Session { id: "a1b2".into(), timeout: Some(60) };
    assert_eq!(session.to_string(), "a1b2;timeout=60");
    assert_eq!(Session::parse(" a1b2 ; Timeout = 60"), Ok(session));
    assert_eq!(Session::parse("x"), Ok(Session { id: "x".into(), timeout: None }));
    assert!(Session::parse(";timeout=60").is_err());
}

#[test]
fn rtp_info_is_read_as_it_is_written() {
    let entries = [
        RtpInfo { url: "rtsp://h/a/trackID=0".into(), seq: Some(65_535), rtptime: Some(u32::MAX) },
        RtpInfo { url: "rtsp://h/a/trackID=1".into(), seq: None, rtptime: Some(0) },
    ];
    let text = RtpInfo::write_list(&entries);
    assert_eq!(
        text,
        "url=rtsp://h/a/trackID=0;seq=65535;rtptime=4294967295,url=rtsp://h/a/trackID=1;rtptime=0"
    );
    assert_eq!(RtpInfo::parse_list(&text).as_deref(), Ok(&entries[..]));
    assert!(RtpInfo::parse_list("seq=1").is_err());
}

#[test]
fn factors_are_finite_and_not_zero() {
    assert_eq!(factor(" 2.000000"), Ok(2.0));
    assert_eq!(factor("-1"), Ok(-1.0));
    for bad in ["0", "-0.0", "inf", "NaN", "1e999", "", "fast"] {
        assert!(factor(bad).is_err(), "{bad}");
    }
}

#[test]
fn option_tags_are_gathered_over_lines_and_commas() {
    let mut headers = Headers::new();
    headers.push("Require", "onvif-replay, play.basic");
    headers.push("require", "x");
    headers.push("Proxy-Require", "y,");
    assert_eq!(required(&headers), ["onvif-replay", "play.basic", "x", "y"]);
}

#[test]
fn accept_is_judged_by_its_closest_range() {
    let accepts_sdp = |value: &str| {
        let mut headers = Headers::new();
        headers.push("Accept", value);
        accepts(&headers, "application/sdp")
    };
    assert!(accepts(&Headers::new(), "application/sdp"));
    for yes in ["application/sdp", "text/html, Application/SDP;q=0.5", "application/*", "*/*", ""] {
        assert!(accepts_sdp(yes), "{yes}");
    }
    for no in ["application/rtsl", "text/*", "application/sdp;q=0, */*", "application/sdp; q=0.0"] {
        assert!(!accepts_sdp(no), "{no}");
    }
}

#[test]
fn onvif_values_are_understood() {
    assert_eq!((yes_no("No"), yes_no(" yes")), (Ok(false), Ok(true)));
    assert!(yes_no("maybe").is_err());
    assert_eq!(Frames::parse("all"), Ok(Frames::All));
    assert_eq!(Frames::parse("Intra"), Ok(Frames::Intra(None)));
    assert_eq!(Frames::parse("intra/4000"), Ok(Frames::Intra(Some(WallSpan::from_secs(4)))));
    assert_eq!(Frames::parse("predicted"), Ok(Frames::Predicted));
    for bad in ["", "intra/", "intra/-1", "intra/x", "some"] {
        assert!(Frames::parse(bad).is_err(), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn a_written_range_is_read_again(
        npt in any::<bool>(),
        start in prop::option::of(0_i64..4_000_000_000_000_000),
        end in prop::option::of(0_i64..4_000_000_000_000_000),
    ) {
        if start.is_none() && end.is_none() {
            return Ok(());
        }
        let range = if npt {
            let at = |us| Npt::At(WallSpan::from_micros(us));
            Range::Npt(NptRange { start: start.map(at), end: end.map(at) })
        } else {
            let at = WallTime::from_micros;
            Range::Clock(ClockRange { start: start.map(at), end: end.map(at) })
        };
        prop_assert_eq!(Range::parse(&range.to_string()), Ok(range));
    }

    #[test]
    fn a_written_transport_is_read_again(
        tcp in any::<bool>(),
        interleaved in any::<Option<(u8, u8)>>(),
        client_port in any::<Option<(u16, u16)>>(),
        server_port in any::<Option<(u16, u16)>>(),
        ssrc in any::<Option<u32>>(),
        record in any::<bool>(),
        destination in prop::option::of("[a-f0-9:.]{1,20}"),
    ) {
        let lower = if tcp { Lower::Tcp } else { Lower::Udp };
        let transport = Transport {
            interleaved, client_port, server_port, ssrc, record, destination,
            ..Transport::unicast(lower)
        };
        prop_assert_eq!(Transport::parse_list(&transport.to_string()), Ok(vec![transport]));
    }

    #[test]
    fn nothing_in_a_header_panics(
        start in 0_usize..7,
        noise in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        const STARTS: [&str; 7] = ["npt=", "clock=", "smpte=", "RTP/AVP;", "url=", "intra/", ""];
        const EYED: &[char] = &['-', '=', ';', ':', ',', '.', '/', '0', '9', 'T', 'Z', '"', ' ', 'é'];
        let noise = noise.iter().map(|&b| EYED[usize::from(b) % EYED.len()]);
        let value: String = STARTS[start].chars().chain(noise).collect();
        let _ = Transport::parse_list(&value);
        let _ = Range::parse(&value);
        let _ = Session::parse(&value);
        let _ = RtpInfo::parse_list(&value);
        let _ = (factor(&value), yes_no(&value), Frames::parse(&value));
    }
}
