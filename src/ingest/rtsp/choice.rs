//! Which of a camera's tracks are pulled: the first video track and the first sound track that can
//! be recorded.

use crate::{
    ingest::{
        PullError,
        source::{SourceCodec, SourceTrack},
    },
    proto::{
        codec::Parameters,
        rtp::depacketize::{self, Depacketizer, Unsupported},
        rtsp::client::describe::{Description, Format, Media},
        time::Timescale,
    },
};

/// A track to set up.
pub(super) struct Chosen {
    /// Its place in the description.
    pub(super) media: usize,
    /// The payload type it will have.
    pub(super) payload_type: u8,
    pub(super) depacketizer: Depacketizer,
    pub(super) source: SourceTrack,
}

/// What to set up, video first.
pub(super) fn choose(
    description: &Description,
    audio: bool,
    remembered: Option<&Parameters>,
) -> Result<Vec<Chosen>, PullError> {
    let media = || description.media.iter().enumerate();
    let mut refusals = vec![None; description.media.len()];
    let mut first = |kind: &str, back: &dyn Fn(&Media) -> bool| {
        media().filter(|(_, m)| m.kind == kind && !back(m)).find_map(|(at, m)| {
            track(at, m, remembered)
                .inspect_err(|why| {
                    if let Some(refusal) = refusals.get_mut(at) {
                        refusal.clone_from(why);
                    }
                })
                .ok()
        })
    };
    let mut chosen: Vec<Chosen> = first("video", &|_| false).into_iter().collect();
    // A camera whose video we cannot record is no camera that only sends sound.
    let offers_video = media().any(|(_, m)| matches!(m.kind.as_str(), "video" | "image"));
    if audio && (!chosen.is_empty() || !offers_video) {
        // A back channel; unless the camera means its own side by the word.
        let video = chosen.first().and_then(|chosen| description.media.get(chosen.media));
        let own_side = video.is_some_and(|video| video.send_only);
        chosen.extend(first("audio", &|m| m.send_only && !own_side));
    }
    if chosen.is_empty() {
        let offered = media().zip(&refusals).take(16).map(|((_, m), why)| {
            let name = m.formats.first().map_or_else(|| "nothing".to_owned(), Format::name);
            let why = why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            format!("{}/{name}{why}", m.kind)
        });
        return Err(PullError::NoUsableTrack { offered: offered.collect() });
    }
    Ok(chosen)
}

/// The first payload type that can be recorded; else why the first cannot, where there is more to
/// say than its name.
fn track(
    at: usize,
    media: &Media,
    remembered: Option<&Parameters>,
) -> Result<Chosen, Option<String>> {
    let mut refusal = None;
    for format in &media.formats {
        let described = depacketize::Format {
            encoding: &format.encoding,
            clock_rate: format.clock_rate,
            channels: format.channels,
            fmtp: &format.parameters,
        };
        let Some(timescale) = Timescale::new(format.clock_rate) else { continue };
        let mut depacketizer = match Depacketizer::new(&described) {
            Ok(depacketizer) => depacketizer,
            Err(Unsupported::Encoding(_)) => continue,
            Err(why) => {
                refusal.get_or_insert(why.to_string());
                continue;
            }
        };
        let video = media.kind == "video";
        if let Some(remembered) = remembered.filter(|_| video) {
            depacketizer.remember(remembered);
        }
        let codec = depacketizer
            .parameters()
            .map_or(SourceCodec::Coming { video }, |known| SourceCodec::Known(known.clone()));
        if codec.is_video() != video {
            continue;
        }
        let source = SourceTrack { timescale, codec, declared_fps: media.frame_rate };
        return Ok(Chosen { media: at, payload_type: format.payload_type, depacketizer, source });
    }
    Err(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x264's.
    const SPS: &str = "Z01AHtoCgL/lwEQAAAMABAAAAwDIPFi6gA==";
    const PPS: &str = "aO8PyA==";

    /// Kinds of what is chosen, `!` where its parameters are still to come; or what is offered.
    fn chosen(sdp: &str) -> Result<Vec<(usize, &'static str)>, Vec<String>> {
        let description = Description::parse(format!("v=0\r\n{sdp}").as_bytes());
        match choose(&description, true, None) {
            Ok(chosen) => Ok(chosen
                .iter()
                .map(|c| match &c.source.codec {
                    SourceCodec::Known(known) => (c.media, known.name()),
                    SourceCodec::Coming { .. } => (c.media, "!"),
                })
                .collect()),
            Err(PullError::NoUsableTrack { offered }) => Err(offered),
            Err(other) => panic!("{other}"),
        }
    }

    fn h264(sprop: &str) -> String {
        format!(
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1{sprop}\r\n"
        )
    }

    #[test]
    fn missing_invalid_or_annex_b_sprop_parameter_sets() {
        for sprop in [
            "",
            ";sprop-parameter-sets=",
            ";sprop-parameter-sets=%%,=",
            ";sprop-parameter-sets=Z0I=,aM4=",
        ] {
            assert_eq!(chosen(&h264(sprop)), Ok(vec![(0, "!")]), "{sprop}: they come in-band");
        }
        let good = format!(";sprop-parameter-sets={SPS},{PPS}");
        assert_eq!(chosen(&h264(&good)), Ok(vec![(0, "H.264")]));
        // Behind start codes, each for itself.
        let annex_b = ";sprop-parameter-sets=AAAAAWdNQB7aAoC/5cBEAAADAAQAAAMAyDxYuoA=,AAAAAWjvD8g=";
        assert_eq!(chosen(&h264(annex_b)), Ok(vec![(0, "H.264")]));
    }

    #[test]
    fn bytes_after_the_sps() {
        // Zero bytes, and a start code.
        let sprop = ";sprop-parameter-sets=Z01AHtoCgL/lwEQAAAMABAAAAwDIPFi6gAAAAAE=,aO8PyA==";
        assert_eq!(chosen(&h264(sprop)), Ok(vec![(0, "H.264")]));
    }

    #[test]
    fn h265_with_no_vps_in_sdp() {
        let sdp = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\na=fmtp:96 sprop-sps=QgEB;sprop-pps=RAHB\r\n";
        assert_eq!(chosen(sdp), Ok(vec![(0, "!")]));
    }

    #[test]
    fn a_metadata_or_back_channel_track_nobody_asked_for_is_left_out() {
        let back = "m=audio 0 RTP/AVP 0\r\na=sendonly\r\n";
        let metadata = "m=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\n";
        let own = "m=audio 0 RTP/AVP 8\r\n";
        let video = h264("");
        assert_eq!(
            chosen(&format!("{metadata}{video}{back}{own}{own}")),
            Ok(vec![(1, "!"), (3, "G.711 A-law")])
        );
        // It means its own side by the word.
        assert_eq!(
            chosen(&format!("{video}a=sendonly\r\n{back}")),
            Ok(vec![(0, "!"), (1, "G.711 µ-law")])
        );
    }

    #[test]
    fn a_second_payload_type_is_taken_where_the_first_says_nothing() {
        let sdp = "m=video 0 RTP/AVP 50 96\r\na=rtpmap:96 H264/90000\r\n";
        let description = Description::parse(sdp.as_bytes());
        let chosen = choose(&description, true, None).expect("a track");
        assert_eq!((chosen[0].media, chosen[0].payload_type), (0, 96));
    }

    #[test]
    fn a_camera_that_only_sends_sound_is_one_but_not_one_whose_video_is_not_recorded() {
        let sound = "m=audio 0 RTP/AVP 0\r\n";
        assert_eq!(chosen(sound), Ok(vec![(0, "G.711 µ-law")]));
        let other = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 X-Unheard/90000\r\n";
        let offered = ["video/x-unheard", "audio/pcmu"].map(str::to_owned).to_vec();
        assert_eq!(chosen(&format!("{other}{sound}")), Err(offered));
        assert_eq!(chosen("m=video 0 RTP/AVP \r\n"), Err(vec!["video/nothing".to_owned()]));
        assert_eq!(chosen(""), Err(Vec::new()));
        assert_eq!(
            choose(&Description::parse(sound.as_bytes()), false, None).map(|c| c.len()).ok(),
            None,
            "sound was not asked for"
        );
    }
}
