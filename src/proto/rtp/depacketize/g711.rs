//! G.711 (RFC 3551 §4.5.14): each packet's samples are a frame.

use std::collections::VecDeque;

use super::{Codec, DepacketizeError, Format, Frame, Told, Unsupported, own};
use crate::proto::{
    codec::{
        Parameters,
        g711::{Law, Parameters as G711Parameters},
    },
    rtp::{extension::Replayed, receive::Received},
};

/// See the module.
#[derive(Debug)]
pub(super) struct G711 {
    parameters: Parameters,
    /// Bytes of one sampling instant.
    instant: usize,
    told: Told,
}

impl G711 {
    pub(super) fn new(law: Law, format: &Format<'_>) -> Result<Self, Unsupported> {
        let channels = format.channels.unwrap_or(1).max(1);
        if format.clock_rate == 0 {
            let detail = "no clock rate".to_owned();
            return Err(Unsupported::Format { encoding: "G.711", detail });
        }
        let sample_rate = format.clock_rate;
        let parameters = Parameters::G711(G711Parameters { law, sample_rate, channels });
        Ok(Self { parameters, instant: usize::from(channels), told: Told::default() })
    }
}

impl Codec for G711 {
    fn push(
        &mut self,
        received: Received,
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), DepacketizeError> {
        let Received { packet, ticks, arrived, lost, fresh } = received;
        self.told.add(lost, fresh);
        let replayed = Replayed::of(&packet);
        let mut samples = packet.payload;
        samples.truncate(samples.len() - samples.len() % self.instant);
        if !samples.is_empty() {
            frames.push_back(self.told.frame(ticks, arrived, own(samples), None, replayed));
        }
        Ok(())
    }

    fn parameters(&self) -> Option<&Parameters> {
        Some(&self.parameters)
    }
}
