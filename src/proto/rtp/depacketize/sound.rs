//! Sound of which each packet is a frame: Opus (RFC 7587), L16 and G.711 (RFC 3551 §4.5.11, §4.5.14).

use std::collections::VecDeque;

use super::{Codec, DepacketizeError, Format, Frame, Told, Unsupported, own};
use crate::proto::{
    codec::{Parameters, g711, opus, pcm},
    rtp::{extension::Replayed, receive::Received},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Sound {
    parameters: Parameters,
    told: Told,
}

impl Sound {
    /// Opus. A sender that does not say whether it sends stereo may do so at any time, and a decoder
    /// told of two channels loses nothing with one.
    pub(super) fn opus(format: &Format<'_>) -> Result<Self, Unsupported> {
        if format.clock_rate != opus::CLOCK_RATE {
            let detail = format!("clock rate {}, not 48000", format.clock_rate);
            return Err(Unsupported::Format { encoding: "opus", detail });
        }
        let channels = if format.parameter("sprop-stereo") == Some("0") { 1 } else { 2 };
        let parameters = Parameters::Opus(opus::Parameters::joined(channels));
        Ok(Self { parameters, told: Told::default() })
    }

    /// L16.
    pub(super) fn pcm(format: &Format<'_>) -> Self {
        let (sample_rate, channels) = samples(format);
        let parameters = Parameters::Pcm(pcm::Parameters { sample_rate, channels });
        Self { parameters, told: Told::default() }
    }

    /// G.711.
    pub(super) fn g711(law: g711::Law, format: &Format<'_>) -> Self {
        let (sample_rate, channels) = samples(format);
        let parameters = Parameters::G711(g711::Parameters { law, sample_rate, channels });
        Self { parameters, told: Told::default() }
    }
}

/// Sampling rate and channels of what has no header: one channel where nothing is said.
fn samples(format: &Format<'_>) -> (u32, u8) {
    (format.clock_rate, format.channels.unwrap_or(1).max(1))
}

impl Codec for Sound {
    fn push(
        &mut self,
        received: Received,
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), DepacketizeError> {
        let Received { packet, ticks, arrived, lost, fresh } = received;
        self.told.add(lost, fresh);
        let replayed = Replayed::of(&packet);
        let mut data = packet.payload;
        match &self.parameters {
            // What is less than a sampling instant is none.
            Parameters::Pcm(p) => data.truncate(data.len() - data.len() % p.frame()),
            Parameters::G711(p) => {
                data.truncate(data.len() - data.len() % usize::from(p.channels.max(1)));
            }
            _ if !data.is_empty() && opus::samples(&data).is_none() => {
                self.told.drop_one();
                return Err(DepacketizeError::Malformed("an Opus packet that lasts too long"));
            }
            _ => {}
        }
        if !data.is_empty() {
            frames.push_back(self.told.frame(ticks, arrived, own(data), None, replayed));
        }
        Ok(())
    }

    fn parameters(&self) -> Option<&Parameters> {
        Some(&self.parameters)
    }
}
