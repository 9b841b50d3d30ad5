//! What each request is answered with, over the wire.

use super::{recorded::twenty_seconds, trick::told, *};

async fn status(client: &mut Client, text: &str) -> u16 {
    client.ask(text).await.status.as_u16()
}

#[tokio::test(start_paused = true)]
async fn options_name_all_that_is_done() {
    let bench = Bench::new().await;
    let answer = bench.client().await.ask("OPTIONS *").await;
    let public: Vec<_> = told(&answer, "Public").split(", ").collect();
    for method in [
        "OPTIONS",
        "DESCRIBE",
        "SETUP",
        "PLAY",
        "PAUSE",
        "TEARDOWN",
        "GET_PARAMETER",
        "SET_PARAMETER",
        "ANNOUNCE",
        "RECORD",
    ] {
        assert!(public.contains(&method), "{public:?}");
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn each_wrong_request_has_its_own_code() {
    let bench = Bench::recorded(twenty_seconds(300)).await;
    let url = bench.url("/door/recording");
    let mut client = bench.client().await;
    for (request, code) in [
        (format!("FLY {url}"), 501),
        (format!("RECORD {url}"), 454),
        (format!("REDIRECT {url}"), 405),
        (format!("ANNOUNCE {url}"), 415),
        (format!("PLAY {url}"), 454),
        (format!("PLAY {url}\nSession: unknown"), 454),
        (format!("DESCRIBE {url}\nAccept: text/html"), 406),
        (format!("DESCRIBE {url}\nRequire: teleport"), 551),
        (format!("SETUP {url}/trackID=0\nTransport: RTP/SAVP;unicast;client_port=1-2"), 461),
        (format!("SETUP {url}/trackID=0"), 400),
        (bench.url("/").replace("rtsp:", "DESCRIBE rtsp:"), 404),
    ] {
        assert_eq!(status(&mut client, &request).await, code, "{request}");
    }
    let refused = client.ask(&format!("REDIRECT {url}")).await;
    assert!(told(&refused, "Allow").contains("PLAY"));
    let refused = client.ask("OPTIONS *\nProxy-Require: play.basic, x").await;
    assert_eq!(told(&refused, "Unsupported"), "x");
    let mut client = bench.client().await;
    client.raw(b"OPTIONS * RTSP/2.0\r\nCSeq: 0\r\n\r\n").await;
    assert_eq!(client.answer().await.status.as_u16(), 505);
    let mut client = bench.client().await;
    client.raw(b"OPTIONS * RTSP/1.0\r\n\r\nbad\r\n\r\n").await;
    let rest = client.rest().await;
    let rest = String::from_utf8_lossy(&rest);
    assert_eq!(rest.matches("RTSP/1.0 400").count(), 2, "without a CSeq, and no request: {rest}");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn names_are_read_in_any_case_and_a_frame_on_no_channel_is_dropped() {
    let bench = Bench::recorded(twenty_seconds(300)).await;
    let mut client = bench.client().await;
    let base = format!("{}/", bench.url("/door/recording"));
    let setup = format!(
        "SETUP {base}trackID=0\ntRANSPORT: foo/bar;x, rtp/avp/tcp;UNICAST;Interleaved=6-7;mode=\"play\""
    );
    let answer = client.ask(&setup).await;
    assert!(told(&answer, "Transport").contains("interleaved=6-7"), "the first that we have");
    client.raw(b"$\x09\x00\x04none$\x06\x00\x02ab").await;
    let answer = client.ask(&format!("PLAY {base}\nRANGE: NPT=5-")).await;
    assert_eq!((answer.status.as_u16(), told(&answer, "Range")), (200, "npt=5.000-20.000"));
    bench.stop().await;
}
