//! CAMERAS, "Describing themselves".

use super::*;
use crate::proto::rtp::depacketize;

fn describe(sdp: &str) -> Description {
    Talk::with("rtsp://cam/live").described_by(&[], sdp).1
}

/// Where the first track is asked for, with this base and this control.
fn uri(base: Option<&str>, control: &str) -> String {
    let sdp =
        format!("v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:{control}\r\n");
    let base = base.map(|base| format!("Content-Base: {base}"));
    let headers: Vec<&str> = base.as_deref().into_iter().collect();
    Talk::with("rtsp://cam:8554/live?ch=1").described_by(&headers, &sdp).0.uri_of(0)
}

#[test]
fn sdp_without_o_line() {
    let description = describe("v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n");
    assert_eq!(description.media.len(), 1);
    assert_eq!(description.media[0].formats[0].encoding, "h264");
}

#[test]
fn lines_that_make_no_sense_are_passed_over() {
    let description = describe(
        "o=\nm\n=\n\u{0}a=b\na=rtpmap:96\nm=video 0 RTP/AVP 96 x 200 97\na=rtpmap:abc H264\na=rtpmap:98 x/1\na=fmtp:96\na=rtpmap:97 H265\n",
    );
    let types: Vec<_> = description.media[0].formats.iter().map(|f| f.payload_type).collect();
    assert_eq!(types, [96, 97]);
    assert_eq!(description.media[0].formats[1].encoding, "h265");
    assert_eq!(description.media[0].formats[1].clock_rate, 90_000, "where none is said");
}

#[test]
fn trailing_spaces_in_rtpmap_and_headers() {
    let sdp =
        "v=0 \r\nm=video 0 RTP/AVP 96 \r\na=rtpmap:96  H264/90000 \t\r\na=control:track1 \r\n";
    let headers = ["Content-Type: application/sdp  ", "Content-Base:   rtsp://cam/live/  "];
    let (mut talk, description) = Talk::with("rtsp://cam/live").described_by(&headers, sdp);
    let format = &description.media[0].formats[0];
    assert_eq!((format.encoding.as_str(), format.clock_rate), ("h264", 90_000));
    assert_eq!(talk.uri_of(0), "rtsp://cam/live/track1");
}

#[test]
fn no_content_type_on_describe() {
    for content_type in
        [&[][..], &["Content-Type: application/sdp; charset=utf-8"], &["Content-Type: text/plain"]]
    {
        let (_, description) = Talk::with("rtsp://cam/live").described_by(content_type, SDP);
        assert_eq!(description.media.len(), 2);
    }
    let mut talk = Talk::with("rtsp://cam/live").asked_for_options();
    talk.asks("DESCRIBE");
    talk.answers(200, &["Content-Type: application/sdp"], "");
    assert!(matches!(talk.failed(), ClientError::Protocol(_)), "nothing at all");
}

#[test]
fn content_base_without_a_scheme() {
    for base in ["192.168.1.9:554/live/", "cam:8554/live/", "//cam/live/", "/live/"] {
        let uri = uri(Some(base), "track1");
        assert!(
            uri.starts_with("rtsp://cam:8554/") && uri.ends_with("/live/track1"),
            "{base} {uri}"
        );
    }
}

#[test]
fn content_base_with_another_host() {
    let base = Some("rtsp://192.168.1.9:554/live/");
    assert_eq!(uri(base, "track1"), "rtsp://cam:8554/live/track1");
    // The login is signed for our host alone.
    assert_eq!(uri(base, "rtsp://evil.example/x"), "rtsp://cam:8554/x");
    let sdp = format!("a=control:rtsp://evil.example/all\r\n{SDP}").replace("a=control:*\r\n", "");
    let (mut talk, _) = Talk::with("rtsp://cam/live").described_by(&[], &sdp);
    talk.client.play(talk.now);
    assert_eq!(talk.asks("PLAY").uri, "rtsp://cam/all");
}

#[test]
fn content_base_that_is_none_is_as_if_it_were_not_there() {
    assert_eq!(uri(Some(""), "track1"), "rtsp://cam:8554/live?ch=1/track1");
    assert_eq!(uri(None, "track1"), "rtsp://cam:8554/live?ch=1/track1");
}

#[test]
fn control_urls_absolute() {
    assert_eq!(uri(None, "rtsp://cam:8554/live/trackID=1"), "rtsp://cam:8554/live/trackID=1");
    assert_eq!(uri(None, "rtsp://cam:8554/live?ch=1&t=2"), "rtsp://cam:8554/live?ch=1&t=2");
    assert_eq!(
        uri(Some("rtsp://cam:8554/live/"), "/live/track 1"),
        "rtsp://cam:8554/live/track%201"
    );
}

#[test]
fn control_urls_relative() {
    assert_eq!(uri(Some("rtsp://cam:8554/live/"), "track1"), "rtsp://cam:8554/live/track1");
    assert_eq!(uri(Some("rtsp://cam:8554/live"), "track1"), "rtsp://cam:8554/live/track1");
    assert_eq!(uri(Some("rtsp://cam:8554/live/"), "/track1"), "rtsp://cam:8554/live/track1");
}

#[test]
fn control_urls_that_are_a_star() {
    assert_eq!(uri(Some("rtsp://cam:8554/live/"), "*"), "rtsp://cam:8554/live/");
    assert_eq!(uri(Some("rtsp://cam:8554/live/"), ""), "rtsp://cam:8554/live/");
}

#[test]
fn control_urls_with_query_strings() {
    let base = Some("rtsp://cam:8554/cam/realmonitor?channel=1&subtype=0/");
    let uri_of = "rtsp://cam:8554/cam/realmonitor?channel=1&subtype=0/trackID=0";
    assert_eq!(uri(base, "trackID=0"), uri_of);
    assert_eq!(uri(Some("rtsp://cam:8554/live"), "?track=1"), "rtsp://cam:8554/live?track=1");
    assert_eq!(
        uri(Some("rtsp://cam:8554/live/"), "t?u=rtsp://x/y"),
        "rtsp://cam:8554/live/t?u=rtsp://x/y"
    );
}

#[test]
fn a_control_url_without_end_is_no_address() {
    let sdp = format!("v=0\r\nm=video 0 RTP/AVP 96\r\na=control:{}\r\n", "x".repeat(9_000));
    let (mut talk, description) = Talk::with("rtsp://cam/live").described_by(&[], &sdp);
    assert_eq!(description.media[0].control, None);
    assert_eq!(talk.uri_of(0), "rtsp://cam/live");
}

#[test]
fn payload_type_50() {
    let description = describe(
        "v=0\r\nm=video 0 RTP/AVP 50\r\nm=video 0 RTP/AVP 50 96\r\na=rtpmap:96 H264/90000\r\n",
    );
    assert_eq!(description.media[0].formats[0].encoding, "");
    assert_eq!(description.media[0].formats[0].name(), "payload type 50");
    let names: Vec<_> = description.media[1].formats.iter().map(|f| f.encoding.as_str()).collect();
    assert_eq!(names, ["", "h264"]);
}

#[test]
fn static_types_without_rtpmap() {
    let sdp = "v=0\r\nm=audio 0 RTP/AVP 0 8 9 10 11\r\nm=video 0 RTP/AVP 26\r\n";
    let description = describe(sdp);
    let audio: Vec<_> = description.media[0]
        .formats
        .iter()
        .map(|f| (f.encoding.as_str(), f.clock_rate, f.channels))
        .collect();
    let expected = [
        ("pcmu", 8_000, Some(1)),
        ("pcma", 8_000, Some(1)),
        ("g722", 8_000, Some(1)),
        ("l16", 44_100, Some(2)),
        ("l16", 44_100, Some(1)),
    ];
    assert_eq!(audio, expected);
    assert_eq!(description.media[1].formats[0].encoding, "jpeg");
}

#[test]
fn sdp_frame_rate_that_is_a_lie() {
    // It is kept as what it is: the camera's word, for the probe to compare.
    let declared = |line: &str| {
        describe(&format!("v=0\r\nm=video 0 RTP/AVP 96\r\n{line}\r\n")).media[0].frame_rate
    };
    assert_eq!(declared("a=framerate:25.0"), Some(25.0));
    for lie in ["a=framerate:0", "a=framerate:-1", "a=framerate:NaN", "a=framerate:inf"] {
        assert_eq!(declared(lie), None, "{lie}");
    }
}

#[test]
fn a_metadata_or_back_channel_track_nobody_asked_for() {
    let description = describe(
        "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
         m=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\n\
         m=audio 0 RTP/AVP 0\r\na=sendonly\r\n",
    );
    let media = description.media.iter().map(|m| (m.kind.as_str(), m.send_only));
    let media: Vec<_> = media.collect();
    assert_eq!(media, [("video", false), ("application", false), ("audio", true)]);
    assert_eq!(description.media[1].formats[0].encoding, "vnd.onvif.metadata");
}

#[test]
fn an_empty_format_list_is_a_section_without_formats() {
    assert!(describe("v=0\r\nm=video 0 RTP/AVP \r\n").media[0].formats.is_empty());
}

#[test]
fn parameters_over_several_lines_are_one() {
    let description = describe(
        "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
         a=fmtp:96 packetization-mode=1; \r\na=fmtp:96 sprop-parameter-sets=Z0I=,aM4=\r\n",
    );
    let format = &description.media[0].formats[0];
    let parsed = depacketize::Format {
        encoding: &format.encoding,
        clock_rate: format.clock_rate,
        channels: format.channels,
        fmtp: &format.parameters,
    };
    assert_eq!(parsed.parameter("packetization-mode"), Some("1"));
    assert_eq!(parsed.parameter("Sprop-Parameter-Sets"), Some("Z0I=,aM4="));
}

#[test]
fn what_is_kept_of_a_description_is_bounded() {
    use crate::proto::rtsp::client::describe::limits;
    let mut sdp = "m=video 0 RTP/AVP 96\r\n".repeat(200);
    sdp += &format!("m=video 0 RTP/AVP{}\r\n", " 96".repeat(300));
    assert_eq!(Description::parse(sdp.as_bytes()).media.len(), limits::MEDIA);
    let sdp = format!(
        "m=video 0 RTP/AVP{}\r\n{}",
        " 96".repeat(300),
        format!("a=fmtp:96 {}\r\n", "x".repeat(4_000)).repeat(20)
    );
    let media = &Description::parse(sdp.as_bytes()).media[0];
    assert_eq!(media.formats.len(), limits::FORMATS);
    assert!(media.formats[0].parameters.len() <= limits::PARAMETERS);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(sdp in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let _ = Description::parse(&sdp);
    }

    #[test]
    fn lines_in_any_order_are_read_without_panic(
        lines in proptest::collection::vec("(m=[a-z]* ?0? ?R? ?[0-9]{0,4}|a=(fmtp|rtpmap):[0-9]{0,3} ?[a-z;=,/0-9-]*)", 0..20),
    ) {
        let _ = Description::parse(lines.join("\r\n").as_bytes());
    }
}
