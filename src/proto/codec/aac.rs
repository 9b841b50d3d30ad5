//! AAC: AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1).

use bytes::Bytes;

use super::bits::{Bits, End};

/// Sampling frequencies by index (table 1.18); 15 stands for 24 explicit bits.
const SAMPLE_RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

/// Configurations are some bytes long; an `esds` could claim more.
const MAX_CONFIG: usize = 1_024;

/// What an AAC decoder needs before the first frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// AudioSpecificConfig, byte-exact.
    pub config: Bytes,
    /// Samples a second of the decoder's output core (without SBR doubling).
    pub sample_rate: u32,
    /// Channels.
    pub channels: u8,
    /// Samples of the core in one frame: 1024, or 960; with low delay 512 or 480.
    pub frame_length: u32,
    /// Audio object type: 2 is AAC-LC, 5 and 29 are LC with SBR (and PS) declared.
    pub object_type: u8,
}

/// Why an AudioSpecificConfig was refused.
#[derive(Debug, thiserror::Error)]
#[error("AudioSpecificConfig: {0}")]
pub struct ConfigError(pub &'static str);

impl From<End> for ConfigError {
    fn from(_: End) -> Self {
        Self("too short")
    }
}

impl Parameters {
    /// Parses an AudioSpecificConfig. SBR signalled only behind the configuration proper (implicit
    /// and backward-compatible signalling) is left to the decoder.
    pub fn new(config: Bytes) -> Result<Self, ConfigError> {
        if config.len() > MAX_CONFIG {
            return Err(ConfigError("too long"));
        }
        let (read, _) = Self::read(&mut Bits::new(&config))?;
        Ok(Self { config, ..read })
    }

    /// The one that stands among other bits (LATM), and passes over it.
    pub fn embedded(bits: &mut Bits<'_>) -> Result<Self, ConfigError> {
        let start = *bits;
        let (_, length_known) = Self::read(bits)?;
        if !length_known {
            return Err(ConfigError("object type or channels that cannot stand among other bits"));
        }
        let config = start.copy(bits.position() - start.position())?;
        Self::new(config.into())
    }

    /// All but the bytes; and whether it ends where `bits` then stands: further fields of some
    /// object types, and what names channels one by one, are not read to their end.
    fn read(bits: &mut Bits<'_>) -> Result<(Self, bool), ConfigError> {
        let object_type = audio_object_type(bits)?;
        let sample_rate = sampling_frequency(bits)?;
        let channel_configuration = bits.read(4)?;
        let mut core = object_type;
        if matches!(object_type, 5 | 29) {
            sampling_frequency(bits)?;
            core = audio_object_type(bits)?;
        }
        // GASpecificConfig (§4.4.1), which all of these share.
        if !matches!(core, 1..=4 | 6 | 7 | 17 | 19..=23) {
            return Err(ConfigError("object type is not general audio"));
        }
        let short = bits.read(1)? == 1;
        let frame_length = match (core, short) {
            (23, false) => 512,
            (23, true) => 480,
            (_, false) => 1_024,
            (_, true) => 960,
        };
        if bits.read(1)? == 1 {
            bits.read(14)?; // coreCoderDelay
        }
        bits.read(1)?; // extensionFlag
        let channels = match channel_configuration {
            0 => program_config_channels(bits)?,
            count @ 1..=6 => u8::try_from(count).unwrap_or(0),
            7 | 12 | 14 => 8,
            11 => 7,
            _ => return Err(ConfigError("reserved channel configuration")),
        };
        if channels == 0 {
            return Err(ConfigError("no channels"));
        }
        let length_known = matches!(core, 1..=4) && channel_configuration != 0;
        let config = Bytes::new();
        Ok((Self { config, sample_rate, channels, frame_length, object_type }, length_known))
    }

    /// AAC-LC with frames of 1,024 samples, as for a stream described by rate and channels only.
    pub fn lc(sample_rate: u32, channels: u8) -> Result<Self, ConfigError> {
        let configuration = match channels {
            1..=6 => channels,
            8 => 7,
            _ => return Err(ConfigError("no configuration for that many channels")),
        };
        let mut bits = 2_u64; // AAC-LC
        let mut length = 5;
        let mut put = |value: u32, count: u32| {
            bits = (bits << count) | u64::from(value);
            length += count;
        };
        match SAMPLE_RATES.iter().position(|&rate| rate == sample_rate) {
            Some(index) => put(u32::try_from(index).unwrap_or(0), 4),
            None if sample_rate < 1 << 24 => {
                put(15, 4);
                put(sample_rate, 24);
            }
            None => return Err(ConfigError("sample rate")),
        }
        put(u32::from(configuration), 4);
        put(0, 3); // frameLengthFlag, dependsOnCoreCoder, extensionFlag
        let bytes = (bits << (64 - length)).to_be_bytes();
        let used = bytes.len().min(length.div_ceil(8) as usize);
        Self::new(Bytes::copy_from_slice(bytes.get(..used).unwrap_or_default()))
    }

    /// `mp4a.40.2` and the like (RFC 6381 §3.3).
    #[must_use]
    pub fn rfc6381(&self) -> String {
        format!("mp4a.40.{}", self.object_type)
    }
}

fn audio_object_type(bits: &mut Bits<'_>) -> Result<u8, ConfigError> {
    let object_type = match bits.read(5)? {
        31 => 32 + bits.read(6)?,
        object_type => object_type,
    };
    u8::try_from(object_type).map_err(|_| ConfigError("object type"))
}

fn sampling_frequency(bits: &mut Bits<'_>) -> Result<u32, ConfigError> {
    let index = bits.read(4)?;
    let rate = if index == 15 {
        Some(bits.read(24)?).filter(|&rate| rate > 0)
    } else {
        SAMPLE_RATES.get(index as usize).copied()
    };
    rate.ok_or(ConfigError("sampling frequency"))
}

/// `program_config_element` (§4.4.1.1), which names the channels one by one.
fn program_config_channels(bits: &mut Bits<'_>) -> Result<u8, ConfigError> {
    bits.read(10)?; // element_instance_tag, object_type, sampling_frequency_index
    let main = bits.read(4)? + bits.read(4)? + bits.read(4)?; // front, side, back
    let lfe = bits.read(2)?;
    bits.read(7)?; // num_assoc_data_elements, num_valid_cc_elements
    for mixdown in [4, 4, 3] {
        if bits.read(1)? == 1 {
            bits.read(mixdown)?;
        }
    }
    let mut channels = lfe;
    for _ in 0..main {
        channels += 1 + bits.read(1)?; // a pair or a single
        bits.read(4)?;
    }
    u8::try_from(channels).map_err(|_| ConfigError("too many channels"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(config: &'static [u8]) -> Parameters {
        Parameters::new(Bytes::from_static(config)).expect("valid")
    }

    #[test]
    fn lc_at_44100_in_stereo_is_read() {
        let p = parse(&[0x12, 0x10]);
        assert_eq!(
            (p.object_type, p.sample_rate, p.channels, p.frame_length),
            (2, 44_100, 2, 1024)
        );
        assert_eq!(p.rfc6381(), "mp4a.40.2");
    }

    #[test]
    fn declared_sbr_keeps_the_cores_rate() {
        // HE-AAC: object type 5, 22,050 Hz, stereo, doubled to 44,100, core object type 2.
        let p = parse(&[0x2b, 0x92, 0x08, 0x00]);
        assert_eq!((p.object_type, p.sample_rate, p.channels), (5, 22_050, 2));
    }

    #[test]
    fn an_explicit_rate_and_a_short_frame_are_read() {
        // 00010 1111 (24 bits: 12,345) 0001 1 0 0
        let p = Parameters::lc(12_345, 1).expect("valid");
        assert_eq!((p.sample_rate, p.channels, p.config.len()), (12_345, 1, 5));
        let mut short = p.config.to_vec();
        short[4] |= 0b0000_0100;
        let p = Parameters::new(short.into()).expect("valid");
        assert_eq!((p.sample_rate, p.frame_length), (12_345, 960));
    }

    #[test]
    fn channels_named_one_by_one_are_counted() {
        // LC, 48 kHz, configuration 0; element: one front pair, one LFE.
        let bits = concat!(
            "00010", "0011", "0000", "0", "0", "0", "0000", "01", "0011", "0001", "0000", "0000",
            "01", "000", "0000", "0", "0", "0", "1", "0000",
        );
        let bytes: Vec<u8> = bits
            .as_bytes()
            .chunks(8)
            .map(|c| c.iter().enumerate().map(|(i, &b)| (b - b'0') << (7 - i)).sum())
            .collect();
        assert_eq!(Parameters::new(bytes.into()).expect("valid").channels, 3);
    }

    #[test]
    fn rates_and_channels_lead_to_a_configuration_and_back() {
        for rate in [8_000, 16_000, 44_100, 48_000] {
            for channels in [1, 2, 6, 8] {
                let p = Parameters::lc(rate, channels).expect("valid");
                assert_eq!((p.sample_rate, p.channels, p.config.len()), (rate, channels, 2));
            }
        }
        assert!(Parameters::lc(48_000, 7).is_err());
        assert!(Parameters::lc(1 << 24, 2).is_err());
    }

    proptest! {
        #[test]
        fn any_configuration_is_read_or_refused(config in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(p) = Parameters::new(config.into()) {
                prop_assert!(p.sample_rate > 0 && p.channels > 0);
            }
        }
    }
}
