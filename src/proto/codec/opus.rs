//! Opus (RFC 6716): a unit is one packet. What a packet says of itself stands in its first byte.

/// Samples a second of every Opus clock, whatever was recorded (RFC 7587 §4.1).
pub const CLOCK_RATE: u32 = 48_000;

/// The most samples of one packet: 120 ms (RFC 6716 §3.2.5).
pub const MAX_SAMPLES: u32 = 5_760;

/// What an Opus decoder is told before the first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// What the decoder should put out: 1 or 2. Any decoder makes either of either.
    pub channels: u8,
    /// Samples to drop from the beginning of a stream. 0 where it was joined on its way: all that
    /// comes then belongs to its time.
    pub pre_skip: u16,
    /// Samples a second before encoding; 0: not known. Of no consequence.
    pub input_sample_rate: u32,
}

impl Parameters {
    /// Of a stream joined on its way, with that many channels.
    #[must_use]
    pub fn joined(channels: u8) -> Self {
        Self { channels: channels.clamp(1, 2), pre_skip: 0, input_sample_rate: 0 }
    }
}

/// Samples a packet holds, at [`CLOCK_RATE`] (RFC 6716 §3.1 and §3.2). `None` for what is no packet.
#[must_use]
pub fn samples(packet: &[u8]) -> Option<u32> {
    let &first = packet.first()?;
    let frame = match first >> 3 {
        // SILK: 10, 20, 40, 60 ms.
        configuration @ 0..12 => match configuration % 4 {
            0 => 480,
            1 => 960,
            2 => 1_920,
            _ => 2_880,
        },
        // Hybrid: 10, 20 ms.
        configuration @ 12..16 => 480 << (configuration % 2),
        // CELT: 2.5, 5, 10, 20 ms.
        configuration => 120 << (configuration % 4),
    };
    let frames = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    Some(frame * frames).filter(|&samples| samples > 0 && samples <= MAX_SAMPLES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_bytes_say_how_long_a_packet_lasts() {
        // 20 ms CELT alone; twice; SILK 60 ms; hybrid 10 ms; 48 times 2.5 ms; one of 120 ms.
        for (packet, expected) in [
            (&[0xfc_u8][..], Some(960)),
            (&[0xfd, 0], Some(1_920)),
            (&[0x58], Some(2_880)),
            (&[0x60], Some(480)),
            (&[0xe3, 48], Some(5_760)),
            (&[0x5a, 0, 0], Some(5_760)),
            (&[0xe3], None),
            (&[0xff, 7], None),
            (&[0xff, 0], None),
            (&[], None),
        ] {
            assert_eq!(samples(packet), expected, "{packet:?}");
        }
    }

    proptest! {
        #[test]
        fn no_packet_lasts_longer_than_one_may(packet in proptest::collection::vec(any::<u8>(), 0..4)) {
            prop_assert!(samples(&packet).is_none_or(|s| (1..=MAX_SAMPLES).contains(&s)));
        }
    }
}
