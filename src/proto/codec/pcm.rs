//! Uncompressed sound of 16 bits, big-endian, as RTP's L16 has it (RFC 3551 §4.5.11); a unit is any
//! number of samples of all channels.

/// Bytes of one channel's sample.
pub const SAMPLE: usize = 2;

/// What a player must know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parameters {
    /// Samples a second.
    pub sample_rate: u32,
    /// Channels, interleaved.
    pub channels: u8,
}

impl Parameters {
    /// QuickTime's sample entry for it: the one that ffmpeg, GStreamer and VLC of any age read. (The
    /// newer `ipcm` of ISO/IEC 23003-5 is unknown to ffmpeg before 6.1.)
    pub const SAMPLE_ENTRY: &'static str = "twos";

    /// Bytes of one sampling instant; at least those of one channel.
    #[must_use]
    pub fn frame(&self) -> usize {
        SAMPLE * usize::from(self.channels.max(1))
    }
}
