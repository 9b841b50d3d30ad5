//! G.711: 8-bit companded sound; a unit is any number of samples, one byte a channel's sample.

/// The companding law.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Law {
    /// µ-law (PCMU).
    Mu,
    /// A-law (PCMA).
    A,
}

/// What a G.711 decoder needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parameters {
    /// Which law.
    pub law: Law,
    /// Samples a second: 8,000, from some cameras 16,000.
    pub sample_rate: u32,
    /// Channels, interleaved.
    pub channels: u8,
}

impl Parameters {
    /// The ISO BMFF (QuickTime) sample entry that ffmpeg, VLC and Chromium read: `ulaw` or `alaw`.
    #[must_use]
    pub const fn sample_entry(&self) -> &'static str {
        match self.law {
            Law::Mu => "ulaw",
            Law::A => "alaw",
        }
    }
}
