//! The SDP that answers DESCRIBE (RFC 2326 appendix C, RFC 8866).
//!
//! `a=range:clock=` comes first and `a=range:npt=` last: ffmpeg reads garbage from a clock line
//! that comes last, GStreamer in ONVIF mode takes the first line, and VLC has a seek bar only
//! with npt.

use std::net::IpAddr;

use crate::proto::{
    access_unit::{Track, TrackIndex},
    codec::Parameters,
    time::{WallSpan, WallTime},
};

/// What is described.
#[derive(Clone, Debug)]
pub struct Description<'a> {
    /// `s=`: the camera's name.
    pub name: &'a str,
    /// `o=`: numeric, the same for the same content.
    pub id: u64,
    /// `o=`: grows when the content described changes.
    pub version: u64,
    /// `o=`, and by its family `c=`: the address the client reached us at.
    pub address: IpAddr,
    /// In order; their places are their [`TrackIndex`]es.
    pub tracks: &'a [Track],
    /// Live, or how long.
    pub extent: Extent,
}

/// How far what is described reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// `npt=now-`.
    Live,
    /// Recorded footage.
    Recorded {
        /// Capture time of its first picture.
        start: WallTime,
        /// Where it ends, as of now.
        end: WallTime,
        /// Its length in npt: gaps closed up.
        length: WallSpan,
    },
}

/// The text of `description`.
#[must_use]
pub fn write(description: &Description<'_>) -> String {
    let _ = description;
    todo!()
}

/// What `a=control:` says of a track; it goes behind `Content-Base`: `trackID=0`.
#[must_use]
pub fn control(track: TrackIndex) -> String {
    format!("trackID={}", track.0)
}

/// Inverse of [`control`], for the last part of a SETUP's path.
#[must_use]
pub fn parse_control(control: &str) -> Option<TrackIndex> {
    let _ = control;
    todo!()
}

/// The payload type of a track: what [`write`] says and RTP packets must bear. Static where
/// RFC 3551 §6 has one that fits, else 96 and up by the track's place.
#[must_use]
pub fn payload_type(track: TrackIndex, parameters: &Parameters) -> u8 {
    let _ = (track, parameters);
    todo!()
}
