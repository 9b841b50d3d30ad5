//! AAC: AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1).
//!
//! Implementation to come from the files work package; the shape is fixed.

use bytes::Bytes;

/// What an AAC decoder needs before the first frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// AudioSpecificConfig, byte-exact.
    pub config: Bytes,
    /// Samples a second of the decoder's output core (without SBR doubling).
    pub sample_rate: u32,
    /// Channels.
    pub channels: u8,
    /// Samples in one frame: 1024, or 960.
    pub frame_length: u32,
    /// Audio object type: 2 is AAC-LC.
    pub object_type: u8,
}

/// Why an AudioSpecificConfig was refused.
#[derive(Debug, thiserror::Error)]
#[error("AudioSpecificConfig: {0}")]
pub struct ConfigError(pub &'static str);

impl Parameters {
    /// Parses an AudioSpecificConfig.
    pub fn new(_config: Bytes) -> Result<Self, ConfigError> {
        todo!()
    }

    /// AAC-LC with frames of 1,024 samples, as for a stream described by rate and channels only.
    pub fn lc(_sample_rate: u32, _channels: u8) -> Result<Self, ConfigError> {
        todo!()
    }

    /// `mp4a.40.2` and the like (RFC 6381 §3.3).
    #[must_use]
    pub fn rfc6381(&self) -> String {
        format!("mp4a.40.{}", self.object_type)
    }
}
