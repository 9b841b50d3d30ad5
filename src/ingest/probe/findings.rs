//! What a probe found, in words. Codes never change their meaning; words may.

use super::{
    super::{PullError, rtsp::RtspSource, source::Offer},
    Measured, Watch,
};
use crate::{
    model::{Finding, clock_apart},
    proto::{codec::Parameters, time::WallTime},
    task::{Failure, chain},
};

/// Key frames further apart make live view and seeking slow.
const LONG_GROUP: f64 = 4.0;
/// Pictures further apart are a hole.
const LONG_STEP_US: i64 = 1_500_000;
/// A camera whose clock is no further off is right.
const CLOCK_US: i64 = 5_000_000;
/// A clock before 2001 was never set.
const EVER_SET: WallTime = WallTime::from_micros(978_307_200_000_000);
/// A declared frame rate that is off by more is a lie.
const RATE_OFF: f64 = 0.1;

/// Nothing could be learnt, and why.
pub(super) fn of_error(error: &PullError) -> Finding {
    let said = chain(error);
    let (code, message) = match error {
        PullError::Connect { .. } | PullError::ConnectTimeout { .. } => (
            "unreachable",
            format!("{said}: nothing answers there; is the camera on, and is this its address?"),
        ),
        PullError::NoAnswer { .. } => {
            ("no_answer", format!("{said}: it takes the connection but does not answer RTSP"))
        }
        PullError::Unauthorized { .. } => ("wrong_password", said),
        PullError::NotFound { .. } => (
            "wrong_path",
            format!("{said}: the part of the address after the host is another on this camera"),
        ),
        PullError::Refused { status: 453 | 503, .. } => {
            ("busy", format!("{said}: it has as many viewers as it takes"))
        }
        PullError::Refused { .. } => ("refused", said),
        PullError::NoUsableTrack { .. } => ("no_usable_track", said),
        PullError::Protocol { .. } => ("not_understood", said),
        PullError::UdpSilent { .. } => ("udp_silent", said),
        other => (other.reason().as_str(), said),
    };
    Finding::problem(code, message)
}

impl Watch {
    pub(super) fn findings(
        &self,
        source: &RtspSource,
        watched: f64,
        ended: Option<String>,
    ) -> Vec<Finding> {
        let mut found = Vec::new();
        if let Some(why) = ended {
            found.push(Finding::problem(
                "stopped_early",
                format!("stopped after {watched:.1} s: {why}"),
            ));
        }
        for offer in source.offers() {
            match self.taken(source, offer) {
                Some((measured, declared)) => {
                    measured.findings(offer, declared, watched, &mut found);
                }
                None => self.left_out(source, offer, &mut found),
            }
        }
        let has_sound = source.offers().iter().any(|o| o.media == "audio");
        if self.audio && !has_sound {
            found.push(Finding::note("no_audio", "the camera offers no sound"));
        }
        for what in &self.broken {
            found.push(Finding::problem("broken_packets", format!("broken packets: {what}")));
        }
        if self.parameter_changes > 0 {
            let times = self.parameter_changes;
            found.push(Finding::problem(
                "format_changed",
                format!("the picture format changed {times} time(s) while watched"),
            ));
        }
        if self.tracks.len() > 1 && watched >= 12.0 && self.tracks.iter().any(|t| t.reports == 0) {
            found.push(Finding::problem(
                "no_sender_reports",
                "no RTCP sender reports on every track: sound and picture are aligned by arrival",
            ));
        }
        found.extend(self.clock());
        found
    }

    /// Of a camera whose clock is off, what it writes into the picture is wrong too.
    fn clock(&self) -> Option<Finding> {
        let (said, ahead) = (self.said?, self.ahead?);
        if said < EVER_SET {
            let message = "the camera's clock was never set: have it follow a time server";
            return Some(Finding::problem("clock_unset", message));
        }
        (ahead.as_micros().abs() > CLOCK_US).then(|| {
            let message = format!(
                "the camera's clock is {}: have it follow a time server (footage is filed by the \
                 recorder's clock)",
                clock_apart(ahead)
            );
            Finding::problem("clock_off", message)
        })
    }

    /// Why a track would not be recorded.
    fn left_out(&self, source: &RtspSource, offer: &Offer, found: &mut Vec<Finding>) {
        let codec = offer.encoding.to_uppercase();
        let same_kind = source.offers().iter().any(|o| o.media == offer.media && o.taken.is_some());
        found.push(match offer.media.as_str() {
            "video" | "image" if same_kind => Finding::note(
                "track_left_out",
                format!("a second video track ({codec}) is left out: a stream has one"),
            ),
            "video" | "image" => Finding::problem(
                "video_not_recorded",
                format!("a video track of {codec} is not recorded"),
            ),
            "audio" if !self.audio => Finding::note(
                "track_left_out",
                format!("a sound track of {codec} is left out, since sound was not asked for"),
            ),
            "audio" if same_kind => Finding::note(
                "track_left_out",
                format!(
                    "another sound track ({codec}) is left out: a stream has one, and one of a \
                     camera's may be for speaking to it"
                ),
            ),
            "audio" => Finding::problem(
                "audio_not_recorded",
                format!("sound was asked for, but a sound track of {codec} is not recorded"),
            ),
            media => Finding::note(
                "track_left_out",
                format!(
                    "a track of {media} ({codec}) is left out: it is neither picture nor sound"
                ),
            ),
        });
    }
}

impl Measured {
    fn findings(
        &self,
        offer: &Offer,
        declared: Option<f64>,
        watched: f64,
        found: &mut Vec<Finding>,
    ) {
        let media = &offer.media;
        let mut problem = |code, message: String| found.push(Finding::problem(code, message));
        if self.units == 0 {
            problem("nothing_came", format!("the {media} track was started, but nothing came"));
            return;
        }
        if self.said_bye {
            problem(
                "track_ended",
                format!("the camera ended its {media} while watched (RTCP BYE)"),
            );
        }
        if self.parameters.is_none() {
            let message = "no parameter sets came, neither in the SDP nor in-band";
            problem("no_parameter_sets", message.to_owned());
        }
        if self.damaged > 0 {
            let (damaged, units, lost) = (self.damaged, self.units, self.lost);
            let message =
                format!("{damaged} of {units} {media} units lost packets ({lost} packets)");
            problem("packet_loss", message);
        }
        if self.backward > 0 {
            let message = format!("the {media} clock stepped back {} time(s)", self.backward);
            problem("clock_stepped_back", message);
        }
        if media == "video" {
            self.video(declared, watched, found);
        }
        found.extend(self.parameters.as_ref().and_then(browsers));
    }

    fn video(&self, declared: Option<f64>, watched: f64, found: &mut Vec<Finding>) {
        let mut problem = |code, message: String| found.push(Finding::problem(code, message));
        if let (Some(declared), Some(measured)) = (declared, self.fps())
            && declared > 0.0
            && (measured / declared - 1.0).abs() > RATE_OFF
        {
            let message = format!("{declared:.0} frames a second declared, {measured:.1} sent");
            problem("frame_rate_differs", message);
        }
        let since_key = self.keys.last().map_or(0.0, |key| (self.newest - key) as f64 / 1e6);
        match self.key_interval() {
            Some(interval) if interval > LONG_GROUP => problem(
                "key_frames_far_apart",
                format!(
                    "a key frame only every {interval:.0} s: seeking and going live take that \
                     long; set the camera to one every 1 to 2 s"
                ),
            ),
            None if self.keys.is_empty() => problem(
                "no_key_frame",
                format!(
                    "no key frame within {watched:.0} s: until one comes nothing can be shown or \
                     recorded; set the camera to one every 1 to 2 s"
                ),
            ),
            None if since_key > LONG_GROUP => problem(
                "key_frames_far_apart",
                format!(
                    "no second key frame within {since_key:.0} s: seeking and going live take that \
                     long; set the camera to one every 1 to 2 s"
                ),
            ),
            _ => {}
        }
        if self.largest_step > LONG_STEP_US {
            let seconds = self.largest_step as f64 / 1e6;
            problem("hole_in_video", format!("a hole of {seconds:.1} s in the video"));
        }
    }
}

/// What browsers make of it.
fn browsers(parameters: &Parameters) -> Option<Finding> {
    of_codec(parameters.name())
}

fn of_codec(name: &str) -> Option<Finding> {
    let message = match name {
        "H.265" => {
            "H.265 plays in browsers only where the machine decodes it by itself (Safari; Chrome and \
             Edge on most), and in players; H.264 plays everywhere"
        }
        "MJPEG" => "MJPEG plays in no browser's video, and takes ten times the disk of H.264",
        name if name.starts_with("G.7") || name == "L16" => {
            return Some(Finding::note(
                "browser_codec",
                format!("browsers do not play {name} sound in video; AAC or Opus they do"),
            ));
        }
        _ => return None,
    };
    Some(Finding::note("browser_codec", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_browsers_do_not_play_is_named_by_its_codec() {
        for name in ["H.265", "MJPEG", "G.711 A-law", "L16"] {
            let found = of_codec(name).unwrap();
            assert_eq!(found.code, "browser_codec");
            assert!(found.message.contains(name), "{}", found.message);
        }
        for name in ["H.264", "AAC", "Opus"] {
            assert_eq!(of_codec(name), None, "{name}");
        }
    }
}
