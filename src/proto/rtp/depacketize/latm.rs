//! AAC as MP4A-LATM (RFC 6416, and RFC 3016 before it): the multiplex of ISO/IEC 14496-3 §1.7.3 with
//! one program of one layer, whose configuration comes in SDP, in-band, or both. What is recorded is
//! the AAC within.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::{
    Codec, DepacketizeError, Format, Frame, Unsupported,
    gather::{Gather, Open},
    hexadecimal, limits, own,
};
use crate::proto::{
    codec::{
        Parameters, aac,
        bits::{Bits, End},
    },
    rtp::{extension::Replayed, receive::Received},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Latm {
    clock_rate: u32,
    /// The configuration may stand before each element.
    in_band: bool,
    mux: Option<Mux>,
    parameters: Option<Parameters>,
    elements: Gather<BytesMut>,
}

/// StreamMuxConfig, as far as frames are found by it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mux {
    aac: aac::Parameters,
    /// Frames of one element.
    frames: u32,
}

/// Why a configuration or an element was refused.
type Refused = &'static str;

const SHORT: Refused = "LATM: ends too soon";

fn short(_: End) -> Refused {
    SHORT
}

impl Latm {
    pub(super) fn new(format: &Format<'_>) -> Result<Self, Unsupported> {
        let refused = |detail: String| Unsupported::Format { encoding: "MP4A-LATM", detail };
        // 1 where it does not say so (RFC 6416 §6.1).
        let in_band = format.parameter("cpresent") != Some("0");
        let mux = match format.parameter("config") {
            None => None,
            Some(config) => {
                let bytes =
                    hexadecimal(config).ok_or_else(|| refused("config is no hex".to_owned()))?;
                match Mux::read(&mut Bits::new(&bytes)) {
                    Ok(mux) => Some(mux),
                    // What comes in-band then has to do.
                    Err(_) if in_band => None,
                    Err(why) => return Err(refused(why.to_owned())),
                }
            }
        };
        if mux.is_none() && !in_band {
            return Err(refused("no config, in-band or here".to_owned()));
        }
        let parameters = mux.as_ref().map(|mux| Parameters::Aac(mux.aac.clone()));
        Ok(Self {
            clock_rate: format.clock_rate,
            in_band,
            mux,
            parameters,
            elements: Gather::new(),
        })
    }

    fn take(
        &mut self,
        received: Received,
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), DepacketizeError> {
        let Received { packet, ticks, arrived, lost, fresh } = received;
        self.elements.add(lost, fresh);
        // The last packet of an element has the marker: without it, it is not whole.
        if self.elements.has_another_than(ticks) {
            self.elements.abandon();
        }
        if self.elements.skips(ticks) {
            return Ok(());
        }
        let replayed = Replayed::of(&packet);
        let marker = packet.header.marker;
        let have = self.elements.open.as_ref().map_or(0, |open| open.part.len());
        if have + packet.payload.len() > limits::FRAME {
            return Err(DepacketizeError::TooLong);
        }
        let (arrived, replayed, data) = match self.elements.open.take() {
            None if marker => (arrived, replayed, packet.payload),
            None => {
                let part = BytesMut::from(&packet.payload[..]);
                self.elements.open = Some(Open { ticks, arrived, replayed, part });
                return Ok(());
            }
            Some(mut open) => {
                open.part.extend_from_slice(&packet.payload);
                if !marker {
                    self.elements.open = Some(open);
                    return Ok(());
                }
                (open.arrived, open.replayed, open.part.freeze())
            }
        };
        let found = self.element(&data).map_err(DepacketizeError::Malformed)?;
        let Some(aac) = self.mux.as_ref().map(|mux| &mux.aac) else { return Ok(()) };
        let step = u64::from(aac.frame_length) * u64::from(self.clock_rate);
        let step = i64::try_from(step / u64::from(aac.sample_rate.max(1))).unwrap_or(0);
        let mut at = ticks;
        let mut new = found.new;
        for frame in found.frames {
            if !frame.is_empty() {
                let told = &mut self.elements.told;
                let frame = told.frame(at, arrived, own(frame), new.take(), replayed);
                frames.push_back(frame);
            }
            at = at.saturating_add(step);
        }
        Ok(())
    }

    /// AudioMuxElement.
    fn element(&mut self, data: &Bytes) -> Result<Found, Refused> {
        let bits = &mut Bits::new(data);
        let mut new = None;
        if self.in_band && !bits.flag().map_err(short)? {
            let mux = Mux::read(bits)?;
            if self.mux.as_ref() != Some(&mux) {
                let parameters = Parameters::Aac(mux.aac.clone());
                new = (self.parameters.as_ref() != Some(&parameters)).then_some(parameters);
                self.mux = Some(mux);
            }
            if new.is_some() {
                self.parameters.clone_from(&new);
            }
        }
        let mux = self.mux.as_ref().ok_or("LATM: no configuration yet")?;
        let mut frames = Vec::with_capacity(mux.frames as usize);
        for _ in 0..mux.frames {
            // PayloadLengthInfo: bytes up to one that is not 255.
            let mut length = 0;
            loop {
                let byte = bits.read(8).map_err(short)? as usize;
                length += byte;
                if byte != 255 {
                    break;
                }
            }
            let frame = if let Some(rest) = bits.aligned() {
                data.slice_ref(rest.get(..length).ok_or(SHORT)?)
            } else {
                bits.copy(length * 8).map_err(short)?.into()
            };
            bits.skip(length * 8).map_err(short)?;
            frames.push(frame);
        }
        Ok(Found { frames, new })
    }
}

struct Found {
    frames: Vec<Bytes>,
    new: Option<Parameters>,
}

impl Mux {
    /// StreamMuxConfig (§1.7.3.2), up to its end.
    fn read(bits: &mut Bits<'_>) -> Result<Self, Refused> {
        let long = bits.flag().map_err(short)?;
        if long {
            if bits.flag().map_err(short)? {
                return Err("LATM: audioMuxVersionA");
            }
            value(bits)?; // taraBufferFullness
        }
        if !bits.flag().map_err(short)? {
            return Err("LATM: streams of different framing");
        }
        let frames = bits.read(6).map_err(short)? + 1;
        if bits.read(4).map_err(short)? > 0 || bits.read(3).map_err(short)? > 0 {
            return Err("LATM: more than one program or layer");
        }
        let aac = if long {
            let length = value(bits)?;
            let config = bits.copy(length).map_err(short)?;
            bits.skip(length).map_err(short)?;
            aac::Parameters::new(config.into()).map_err(|e| e.0)?
        } else {
            aac::Parameters::embedded(bits).map_err(|e| e.0)?
        };
        if bits.read(3).map_err(short)? != 0 {
            return Err("LATM: frames of a fixed length");
        }
        bits.skip(8).map_err(short)?; // latmBufferFullness
        if bits.flag().map_err(short)? {
            // otherData stands behind the frames and is not looked at; only its length is here.
            if long {
                value(bits)?;
            } else {
                while bits.read(9).map_err(short)? & 0x100 != 0 {}
            }
        }
        if bits.flag().map_err(short)? {
            bits.skip(8).map_err(short)?; // crcCheckSum
        }
        Ok(Self { aac, frames })
    }
}

/// LatmGetValue().
fn value(bits: &mut Bits<'_>) -> Result<usize, Refused> {
    let bytes = bits.read(2).map_err(short)? + 1;
    bits.read(8 * bytes).map(|value| value as usize).map_err(short)
}

impl Codec for Latm {
    fn push(
        &mut self,
        packet: Received,
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), DepacketizeError> {
        let (ticks, marker) = (packet.ticks, packet.packet.header.marker);
        self.take(packet, frames).inspect_err(|_| {
            self.elements.open = None;
            self.elements.told.drop_one();
            // Several elements may have one time only by mistake: but what is behind its end may.
            if !marker {
                self.elements.skip(ticks);
            }
        })
    }

    fn parameters(&self) -> Option<&Parameters> {
        self.parameters.as_ref()
    }
}
