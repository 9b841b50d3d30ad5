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
fn track(at: usize, media: &Media, remembered: Option<&Parameters>) -> Result<Chosen, Option<String>> {
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
            Err(why @ Unsupported::Format { .. }) => {
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
