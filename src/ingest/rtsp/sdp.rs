//! What retina drops of an SDP and we need: every parameter set (it takes one PPS only), and which
//! way a track flows. Reads leniently: a line that makes no sense is passed over.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;

/// One media section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Media {
    /// `video`, `audio`, `application`.
    pub(super) kind: String,
    /// The first payload type.
    pub(super) payload_type: Option<u8>,
    /// `a=sendonly`: in ONVIF's words a back channel, from us to the camera.
    pub(super) send_only: bool,
    /// Parameter sets of its first payload type, in the order given.
    pub(super) parameter_sets: Vec<Bytes>,
}

/// No camera sends more; a hostile one may.
const MAX_MEDIA: usize = 32;
const MAX_SETS: usize = 64;

/// The media sections of `sdp`.
pub(super) fn media(sdp: &[u8]) -> Vec<Media> {
    let mut found: Vec<Media> = Vec::new();
    for line in sdp.split(|&b| b == b'\n' || b == b'\r') {
        let line = String::from_utf8_lossy(line);
        if let Some(rest) = line.strip_prefix("m=") {
            if found.len() == MAX_MEDIA {
                break;
            }
            let mut words = rest.split_ascii_whitespace();
            let kind = words.next().unwrap_or_default().to_owned();
            let payload_type = words.nth(2).and_then(|word| word.parse().ok());
            found.push(Media { kind, payload_type, ..Media::default() });
        } else if let (Some(attribute), Some(media)) = (line.strip_prefix("a="), found.last_mut()) {
            attribute_of(media, attribute.trim());
        }
    }
    found
}

fn attribute_of(media: &mut Media, attribute: &str) {
    if attribute.eq_ignore_ascii_case("sendonly") {
        media.send_only = true;
    }
    let Some((payload_type, formats)) =
        attribute.strip_prefix("fmtp:").and_then(|rest| rest.split_once(' '))
    else {
        return;
    };
    if payload_type.parse().ok() != media.payload_type {
        return;
    }
    for format in formats.split(';') {
        let Some((name, value)) = format.trim().split_once('=') else { continue };
        // RFC 6184 §8.1, RFC 7798 §7.1.
        if matches!(name, "sprop-parameter-sets" | "sprop-vps" | "sprop-sps" | "sprop-pps") {
            let sets = value.split(',').filter_map(|set| STANDARD.decode(set.trim()).ok());
            let room = MAX_SETS.saturating_sub(media.parameter_sets.len());
            let sets = sets.filter(|set| !set.is_empty()).map(Bytes::from);
            media.parameter_sets.extend(sets.take(room));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_parameter_set_and_the_direction_are_found() {
        let sdp = b"v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
            a=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z0IAHg==,aM4=,aM8=\r\n\
            a=fmtp:97 sprop-parameter-sets=Z0I=\r\n\
            m=audio 0 RTP/AVP 0\r\na=sendonly\r\n";
        let media = media(sdp);
        assert_eq!(media.len(), 2);
        assert_eq!(media[0].payload_type, Some(96));
        let sets: Vec<_> = media[0].parameter_sets.iter().map(|set| set[0]).collect();
        assert_eq!(sets, [0x67, 0x68, 0x68]);
        assert!(!media[0].send_only && media[1].send_only);
    }

    #[test]
    fn an_empty_format_list_is_a_section_without_a_payload_type() {
        assert_eq!(media(b"m=video 0 RTP/AVP \n")[0].payload_type, None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(sdp in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = media(&sdp);
        }

        #[test]
        fn lines_in_any_order_are_read_without_panic(
            lines in proptest::collection::vec("(m=[a-z]* ?0? ?R? ?[0-9]{0,4}|a=fmtp:[0-9]{0,3} ?[a-z;=,-]*)", 0..20),
        ) {
            let _ = media(lines.join("\r\n").as_bytes());
        }
    }
}
