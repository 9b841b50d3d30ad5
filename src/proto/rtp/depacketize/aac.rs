//! AAC as MPEG-4 elementary streams (RFC 3640): any lengths of the header fields, so the low and
//! the high bit-rate modes alike; several access units a packet, or one in several packets.
//!
//! Interleaving is refused: no camera does it, and it would have to be put in order over seconds.

use std::{collections::VecDeque, time::Duration};

use bytes::{Bytes, BytesMut};

use super::{
    Codec, DepacketizeError, Format, Frame, Unsupported,
    gather::{Gather, Open},
    hexadecimal, own,
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
pub(super) struct Aac {
    parameters: Parameters,
    layout: Layout,
    /// RTP ticks of one frame.
    step: i64,
    units: Gather<Unit>,
}

/// Bits of the fields of an AU header (§4.1).
#[derive(Clone, Copy, Debug)]
struct Layout {
    size: u32,
    index: u32,
    index_delta: u32,
    cts_delta: u32,
    dts_delta: u32,
    random_access: bool,
    stream_state: u32,
    /// Of the length of what stands between headers and data.
    auxiliary: u32,
}

/// A frame that came in part, and its size as the AU header says it.
#[derive(Debug)]
struct Unit {
    size: usize,
    data: BytesMut,
}

const SHORT: DepacketizeError = DepacketizeError::Malformed("AU headers longer than their packet");

fn short(_: End) -> DepacketizeError {
    SHORT
}

impl Aac {
    pub(super) fn new(format: &Format<'_>) -> Result<Self, Unsupported> {
        let refused = |detail: String| Unsupported::Format { encoding: "mpeg4-generic", detail };
        let number = |name| match format.parameter(name).map(str::parse::<u32>) {
            None => Ok(0),
            Some(Ok(value)) => Ok(value),
            Some(Err(_)) => Err(refused(format!("{name} is no number"))),
        };
        let bits = |name| number(name).map(|bits| bits.min(32));
        let layout = Layout {
            size: bits("sizelength")?,
            index: bits("indexlength")?,
            index_delta: bits("indexdeltalength")?,
            cts_delta: bits("ctsdeltalength")?,
            dts_delta: bits("dtsdeltalength")?,
            random_access: number("randomaccessindication")? != 0,
            stream_state: bits("streamstateindication")?,
            auxiliary: bits("auxiliarydatasizelength")?,
        };
        let mode = format.parameter("mode").unwrap_or("AAC-hbr");
        if !mode.get(..4).is_some_and(|name| name.eq_ignore_ascii_case("AAC-")) {
            return Err(refused(format!("mode {}", mode.chars().take(32).collect::<String>())));
        }
        // §3.3.6, where it is only named.
        let layout = if layout.size == 0 && mode.eq_ignore_ascii_case("AAC-hbr") {
            Layout { size: 13, index: 3, index_delta: 3, ..layout }
        } else {
            layout
        };
        if !(1..=16).contains(&layout.size) {
            return Err(refused(format!("sizelength {}", layout.size)));
        }
        if number("maxdisplacement")? > 0 {
            return Err(refused("interleaving".to_owned()));
        }
        // Cameras write configurations that are none; then what rtpmap says has to do.
        let config = format.parameter("config").and_then(hexadecimal);
        let config = config.and_then(|config| aac::Parameters::new(config).ok());
        let channels = format.channels.unwrap_or(1);
        let parameters = match config {
            Some(parameters) => parameters,
            None => aac::Parameters::lc(format.clock_rate, channels)
                .map_err(|error| refused(error.to_string()))?,
        };
        let ticks = u64::from(parameters.frame_length) * u64::from(format.clock_rate)
            / u64::from(parameters.sample_rate.max(1));
        Ok(Self {
            parameters: Parameters::Aac(parameters),
            layout,
            step: i64::try_from(ticks).unwrap_or(1_024),
            units: Gather::new(),
        })
    }

    fn take(
        &mut self,
        received: Received,
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), DepacketizeError> {
        let Received { packet, ticks, arrived, lost, fresh } = received;
        self.units.add(lost, fresh);
        let replayed = Replayed::of(&packet);
        let mut data = packet.payload;
        if data.is_empty() {
            return Ok(());
        }
        let sizes = self.layout.sizes(&mut data)?;
        let [size] = sizes.get() else {
            self.units.abandon();
            return self.several(sizes.get(), data, (ticks, arrived, replayed), frames);
        };
        let size = *size;
        if data.len() >= size {
            self.units.abandon();
            data.truncate(size);
            if !data.is_empty() {
                frames.push_back(self.units.told.frame(ticks, arrived, own(data), None, replayed));
            }
            return Ok(());
        }
        if self.units.skips(ticks) {
            return Ok(());
        }
        // Whether it has its beginning shows at its end: by its length.
        if self.units.open.as_ref().is_some_and(|o| (o.ticks, o.part.size) != (ticks, size)) {
            self.units.abandon();
        }
        let Open { part: unit, .. } = self.units.open.get_or_insert_with(|| {
            let part = Unit { size, data: BytesMut::with_capacity(size) };
            Open { ticks, arrived, replayed, part }
        });
        data.truncate(unit.size - unit.data.len());
        unit.data.extend_from_slice(&data);
        let whole = unit.data.len() == unit.size;
        if whole && let Some(Open { ticks, arrived, replayed, part }) = self.units.open.take() {
            let data = part.data.freeze();
            frames.push_back(self.units.told.frame(ticks, arrived, data, None, replayed));
        } else if packet.header.marker {
            self.units.abandon();
            if lost == 0 {
                return Err(DepacketizeError::Malformed("a frame shorter than its AU header says"));
            }
        }
        Ok(())
    }

    /// The frames of one packet: each whole.
    fn several(
        &mut self,
        sizes: &[usize],
        mut data: Bytes,
        (ticks, arrived, replayed): (i64, Duration, Option<Replayed>),
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), DepacketizeError> {
        let mut at = ticks;
        for &size in sizes {
            if size > data.len() {
                self.units.told.drop_one();
                return Err(DepacketizeError::Malformed("AU sizes beyond their packet"));
            }
            let frame = data.split_to(size);
            if !frame.is_empty() {
                frames.push_back(self.units.told.frame(at, arrived, own(frame), None, replayed));
            }
            at = at.saturating_add(self.step);
        }
        Ok(())
    }
}

impl Codec for Aac {
    fn push(
        &mut self,
        received: Received,
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), DepacketizeError> {
        self.take(received, frames)
    }

    fn parameters(&self) -> Option<&Parameters> {
        Some(&self.parameters)
    }
}

/// The sizes of a packet's access units.
struct Sizes {
    sizes: [usize; MAX_UNITS],
    count: usize,
}

/// More frames than these do not share a packet: half a second of sound.
const MAX_UNITS: usize = 64;

impl Sizes {
    fn get(&self) -> &[usize] {
        self.sizes.get(..self.count).unwrap_or_default()
    }
}

impl Layout {
    /// Takes the headers off `data`.
    fn sizes(&self, data: &mut Bytes) -> Result<Sizes, DepacketizeError> {
        let &[high, low] = data.first_chunk::<2>().ok_or(SHORT)?;
        let bits = usize::from(u16::from_be_bytes([high, low]));
        let mut headers = data.split_off(2);
        if headers.len() < bits.div_ceil(8) {
            return Err(SHORT);
        }
        *data = headers.split_off(bits.div_ceil(8));
        let mut bits = Bits::first(&headers, bits);
        let mut found = Sizes { sizes: [0; MAX_UNITS], count: 0 };
        // What is left over is padding.
        while bits.remaining() >= self.size as usize {
            let first = found.count == 0;
            let size = bits.read(self.size).map_err(short)?;
            let index =
                bits.read(if first { self.index } else { self.index_delta }).map_err(short)?;
            if index > 0 && !first {
                return Err(DepacketizeError::Malformed("interleaved access units"));
            }
            for delta in [self.cts_delta, self.dts_delta] {
                if delta > 0 && bits.flag().map_err(short)? {
                    bits.skip(delta as usize).map_err(short)?;
                }
            }
            bits.skip(usize::from(self.random_access) + self.stream_state as usize)
                .map_err(short)?;
            let Some(place) = found.sizes.get_mut(found.count) else {
                return Err(DepacketizeError::Malformed("more access units than share a packet"));
            };
            *place = size as usize;
            found.count += 1;
        }
        if found.count == 0 {
            return Err(DepacketizeError::Malformed("no AU header"));
        }
        if self.auxiliary > 0 {
            let bits = Bits::new(data).read(self.auxiliary).map_err(short)?;
            let len = bits.saturating_add(self.auxiliary).div_ceil(8) as usize;
            if len > data.len() {
                return Err(SHORT);
            }
            *data = data.split_off(len);
        }
        Ok(found)
    }
}
