//! ONVIF replay: what is told of each unit beside its RTP time, and which pictures are wanted.

use std::collections::BTreeSet;

use super::Item;
use crate::proto::{
    access_unit::{AccessUnit, Track, TrackIndex},
    codec::Parameters,
    rtp::Replayed,
    rtsp::server::{Frames, Replay},
    time::WallSpan,
};

/// What a session that replays has in mind between two PLAYs.
#[derive(Debug)]
pub(super) struct Replaying {
    asked: Replay,
    frames: Frames,
    /// Tracks whose next unit does not follow the one before.
    torn: BTreeSet<TrackIndex>,
    /// The key frame sent last.
    intra: Option<WallSpan>,
}

impl Replaying {
    pub(super) fn new(asked: Replay, frames: Frames) -> Self {
        Self { asked, frames, torn: BTreeSet::new(), intra: None }
    }

    /// Goes on for another PLAY.
    pub(super) fn go_on(&mut self, asked: Replay, frames: Option<Frames>) {
        self.asked = asked;
        self.frames = frames.unwrap_or(self.frames);
    }

    /// The units that come next do not follow those before.
    pub(super) fn tear(&mut self, tracks: impl Iterator<Item = TrackIndex>) {
        self.torn.extend(tracks);
        self.intra = None;
    }

    pub(super) const fn frames(&self) -> Frames {
        self.frames
    }

    /// Whether it knows the end by a flag and needs no BYE.
    pub(super) const fn sees_the_end(&self) -> bool {
        self.asked.required
    }

    /// Whether a unit is of the kind that was asked for.
    pub(super) fn keeps(&mut self, item: &Item, track: &Track) -> bool {
        if !track.parameters.is_video() {
            return true;
        }
        match self.frames {
            Frames::All => true,
            Frames::Predicted => is_referred_to(&item.unit, track),
            Frames::Intra { every } => {
                let near = self
                    .intra
                    .is_some_and(|before| (item.at - before).as_micros().abs() < every.as_micros());
                let wanted = item.unit.random_access && !near;
                if wanted {
                    self.intra = Some(item.at);
                }
                wanted
            }
        }
    }

    /// What the unit's packets say; `next` is the one of its track that follows, if that is
    /// known, and none will when all is `drained`.
    pub(super) fn say(
        &mut self,
        item: &Item,
        next: Option<&Item>,
        drained: bool,
        backward: bool,
    ) -> Replayed {
        let key = item.unit.random_access;
        let torn = self.torn.remove(&item.unit.track);
        // Backwards every group is a jump: footage is of one piece as long as its run is.
        let beyond = |next: &Item| {
            if backward { next.run.id != item.run.id } else { next.fresh }
        };
        Replayed {
            wall: item.unit.wall,
            clean: key,
            end: next.map_or(drained, beyond),
            discontinuity: torn || item.fresh || (backward && key),
            terminal: next.is_none() && drained,
            cseq: self.asked.cseq,
        }
    }
}

/// Whether other pictures are decoded from this one. What cannot be told is kept.
fn is_referred_to(unit: &AccessUnit, track: &Track) -> bool {
    if !matches!(track.parameters, Parameters::H264(_) | Parameters::H265(_)) {
        return true;
    }
    let mut rest = unit.body.as_ref();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some((nal, tail)) = tail.split_at_checked(length) else { return true };
        rest = tail;
        let Some(&first) = nal.first() else { continue };
        match &track.parameters {
            // ITU-T H.264 §7.4.1: nal_ref_idc of a slice.
            Parameters::H264(_) if (1..=5).contains(&(first & 0x1f)) => return first & 0x60 != 0,
            // ITU-T H.265 table 7-1: even types below 16 are sub-layer non-reference pictures.
            Parameters::H265(_) if (first >> 1) & 0x3f < 16 => return first & 0x02 != 0,
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{
        codec::h264,
        time::{MediaTime, Timescale, WallTime},
    };
    use bytes::Bytes;

    fn track() -> Track {
        let sps = b"\x67\x42\xc0\x0c\xd9\x01\x41\xfb\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x01\xe0\xf1\x42\xa4\x80";
        let pps = Bytes::from_static(b"\x68\xcb\x83\xcb\x20");
        let h264 = h264::Parameters::new(Bytes::from_static(sps), vec![pps]).unwrap();
        Track { timescale: Timescale::VIDEO, parameters: Parameters::H264(h264) }
    }

    fn unit(body: &'static [u8]) -> AccessUnit {
        AccessUnit {
            track: TrackIndex(0),
            number: 0,
            dts: MediaTime::ZERO,
            cts: 0,
            wall: WallTime::default(),
            random_access: false,
            head: Bytes::new(),
            body: Bytes::from_static(body),
        }
    }

    #[test]
    fn a_picture_that_no_other_needs_is_told_from_one_that_is_needed() {
        assert!(is_referred_to(&unit(b"\x00\x00\x00\x02\x41\x9a"), &track()));
        assert!(!is_referred_to(&unit(b"\x00\x00\x00\x02\x01\x9a"), &track()));
        // Behind a delimiter and a SEI.
        let behind = b"\x00\x00\x00\x02\x09\x30\x00\x00\x00\x02\x06\x05\x00\x00\x00\x02\x01\x9a";
        assert!(!is_referred_to(&unit(behind), &track()));
        assert!(is_referred_to(&unit(b"\x00\x00\x00\x09\x01"), &track()), "malformed: kept");
    }
}
