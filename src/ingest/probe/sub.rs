//! Whether there is a smaller stream beside the one that was looked at. Cameras do not say so over
//! RTSP, but most kinds have it at an address that follows from the main one's.

use std::time::Duration;

use tokio::time::timeout;
use url::Url;

use super::{
    super::{
        PullError, PullTarget,
        rtsp::{RtspContext, RtspSource},
        source::{Dial, Source},
    },
    ProbeReport,
};
use crate::model::{Finding, shown};

/// For everything together.
const WITHIN: Duration = Duration::from_secs(6);

/// In which part of an address, what stands there for main and for sub.
const HABITS: [(&str, &str); 12] = [
    // Path and query of several makers, each ending where something else begins.
    ("/streaming/channels/101", "/Streaming/Channels/102"),
    ("/streaming/channels/1", "/Streaming/Channels/2"),
    ("subtype=0", "subtype=1"),
    ("preview_01_main", "Preview_01_sub"),
    ("/videomain", "/videoSub"),
    ("/stream1", "/stream2"),
    ("stream=0", "stream=1"),
    ("/ch0_0", "/ch0_1"),
    ("/av0_0", "/av0_1"),
    ("/live/main", "/live/sub"),
    ("/main", "/sub"),
    ("/11", "/12"),
];

/// Where the smaller stream of a camera with such an address would be.
fn guess(url: &Url) -> Option<Url> {
    let place = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let lower = place.to_ascii_lowercase();
    let changed = HABITS.iter().find_map(|(main, sub)| {
        let at = lower.rfind(main)?;
        let rest = place.get(at + main.len()..)?;
        // A longer number or word is another address.
        if rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            return None;
        }
        // Keeps the case of what comes before the part that differs.
        let kept = main.chars().zip(sub.chars());
        let kept = kept.take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count();
        Some(format!("{}{}{rest}", place.get(..at + kept)?, sub.get(kept..)?))
    })?;
    let mut guessed = url.clone();
    let (path, query) = match changed.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (changed.as_str(), None),
    };
    guessed.set_path(path);
    guessed.set_query(query);
    Some(guessed)
}

/// Asks for it there, at the same host and with the same login.
pub(super) async fn look(target: &PullTarget, context: &RtspContext, report: &mut ProbeReport) {
    let Some(url) = guess(target.url()) else { return };
    let other = target.at(url);
    let text = shown(other.url().as_str());
    match timeout(WITHIN, RtspSource::connect(&other, context)).await {
        Ok(Ok(source)) => {
            source.close().await;
            report.findings.push(Finding::note(
                "sub_stream_found",
                format!("there is a second stream, probably smaller: {text}"),
            ));
            report.sub_stream = Some(text);
        }
        Ok(Err(PullError::NotFound { .. } | PullError::Refused { .. })) => {
            report.findings.push(Finding::note(
                "sub_stream_missing",
                format!(
                    "no smaller stream at the usual address ({text}): many pictures side by side \
                     will cost more"
                ),
            ));
        }
        // Says nothing about it.
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_stream_is_looked_for_where_cameras_of_that_kind_have_it() {
        for (main, sub) in [
            ("/Streaming/Channels/101", Some("/Streaming/Channels/102")),
            ("/Streaming/channels/1?x=1", Some("/Streaming/channels/2?x=1")),
            ("/cam/realmonitor?channel=1&subtype=0", Some("/cam/realmonitor?channel=1&subtype=1")),
            (
                "/cam/realmonitor?channel=1&subtype=0&a=b",
                Some("/cam/realmonitor?channel=1&subtype=1&a=b"),
            ),
            ("/h264Preview_01_main", Some("/h264Preview_01_sub")),
            ("/h265Preview_01_main", Some("/h265Preview_01_sub")),
            ("/videoMain", Some("/videoSub")),
            ("/stream1", Some("/stream2")),
            ("/stream10", None),
            ("/user=a_channel=1_stream=0.sdp", Some("/user=a_channel=1_stream=1.sdp")),
            ("/door/main", Some("/door/sub")),
            ("/live/main", Some("/live/sub")),
            ("/11", Some("/12")),
            ("/112", None),
            ("/axis-media/media.amp", None),
            ("/", None),
        ] {
            let url: Url = format!("rtsp://10.0.0.7:554{main}").parse().unwrap();
            let sub = sub.map(|sub| format!("rtsp://10.0.0.7:554{sub}"));
            assert_eq!(guess(&url).map(String::from), sub, "{main}");
        }
    }
}
