//! AAC as MPEG-4 elementary streams (RFC 3640): any lengths of the header fields, so the low and
//! the high bit-rate modes alike; several access units a packet, or one in several packets.
//!
//! Interleaving is refused: no camera does it, and it would have to be put in order over seconds.

use std::{collections::VecDeque, time::Duration};

use bytes::{Bytes, BytesMut};

use super::{Codec, DepacketizeError, Format, Frame, Told, Unsupported, own};
use crate::proto::{
    codec::{Parameters, aac},
    rtp::{extension::Replayed, receive::Received},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Aac {
    parameters: Parameters,
    layout: Layout,
    /// RTP ticks of one frame.
    step: i64,
    told: Told,
    /// A frame that came in part.
    open: Option<Open>,
    /// Its other parts are of no use.
    skipping: Option<i64>,
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

#[derive(Debug)]
struct Open {
    ticks: i64,
    arrived: Duration,
    replayed: Option<Replayed>,
    size: usize,
    data: BytesMut,
}

const SHORT: DepacketizeError = DepacketizeError::Malformed("AU headers longer than their packet");

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
        let config = format.parameter("config").and_then(hex);
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
            told: Told::default(),
            open: None,
            skipping: None,
        })
    }

    fn take(
        &mut self,
        received: Received,
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), DepacketizeError> {
        let Received { packet, ticks, arrived, lost, fresh } = received;
        self.told.add(lost, fresh);
        if (lost > 0 || fresh)
            && let Some(open) = self.open.take()
        {
            self.told.drop_one();
            self.skipping = Some(open.ticks).filter(|_| !fresh);
        }
        let replayed = Replayed::of(&packet);
        let mut data = packet.payload;
        if data.is_empty() {
            return Ok(());
        }
        let sizes = self.layout.sizes(&mut data)?;
        let [size] = sizes.get() else {
            self.abandon();
            return self.several(sizes.get(), data, (ticks, arrived, replayed), frames);
        };
        let size = *size;
        if data.len() >= size {
            self.abandon();
            data.truncate(size);
            if !data.is_empty() {
                frames.push_back(self.told.frame(ticks, arrived, own(data), None, replayed));
            }
            return Ok(());
        }
        if self.skipping == Some(ticks) {
            return Ok(());
        }
        self.skipping = None;
        // Whether it has its beginning shows at its end: by its length.
        if self.open.as_ref().is_some_and(|open| (open.ticks, open.size) != (ticks, size)) {
            self.abandon();
        }
        let open = self.open.get_or_insert_with(|| Open {
            ticks,
            arrived,
            replayed,
            size,
            data: BytesMut::with_capacity(size),
        });
        data.truncate(open.size - open.data.len());
        open.data.extend_from_slice(&data);
        let whole = open.data.len() == open.size;
        if whole && let Some(Open { ticks, arrived, replayed, data, .. }) = self.open.take() {
            frames.push_back(self.told.frame(ticks, arrived, data.freeze(), None, replayed));
        } else if packet.header.marker {
            self.abandon();
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
                self.told.drop_one();
                return Err(DepacketizeError::Malformed("AU sizes beyond their packet"));
            }
            let frame = data.split_to(size);
            if !frame.is_empty() {
                frames.push_back(self.told.frame(at, arrived, own(frame), None, replayed));
            }
            at = at.saturating_add(self.step);
        }
        Ok(())
    }

    fn abandon(&mut self) {
        if self.open.take().is_some() {
            self.told.drop_one();
        }
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
        let mut bits = Bits { data: &headers, at: 0, end: bits };
        let mut found = Sizes { sizes: [0; MAX_UNITS], count: 0 };
        // What is left over is padding.
        while bits.left() >= self.size as usize {
            let first = found.count == 0;
            let size = bits.read(self.size)?;
            let index = bits.read(if first { self.index } else { self.index_delta })?;
            if index > 0 && !first {
                return Err(DepacketizeError::Malformed("interleaved access units"));
            }
            for delta in [self.cts_delta, self.dts_delta] {
                if delta > 0 && bits.read(1)? == 1 {
                    bits.read(delta)?;
                }
            }
            bits.read(u32::from(self.random_access) + self.stream_state)?;
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
            let mut bits = Bits { data: &data[..], at: 0, end: data.len().saturating_mul(8) };
            let len =
                bits.read(self.auxiliary)?.saturating_add(self.auxiliary).div_ceil(8) as usize;
            if len > data.len() {
                return Err(SHORT);
            }
            *data = data.split_off(len);
        }
        Ok(found)
    }
}

/// Most significant bit first.
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    end: usize,
}

impl Bits<'_> {
    const fn left(&self) -> usize {
        self.end.saturating_sub(self.at)
    }

    /// The lowest 32 of `count` bits.
    fn read(&mut self, count: u32) -> Result<u32, DepacketizeError> {
        if self.left() < count as usize {
            return Err(SHORT);
        }
        (0..count).try_fold(0_u32, |value, _| {
            let byte = self.data.get(self.at / 8).ok_or(SHORT)?;
            let bit = (byte >> (7 - self.at % 8)) & 1;
            self.at += 1;
            Ok(value << 1 | u32::from(bit))
        })
    }
}

/// `config`: bytes in hexadecimal.
fn hex(text: &str) -> Option<Bytes> {
    let digits = text.trim().trim_matches('"').as_bytes();
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let bytes = digits.chunks(2).map(|pair| match *pair {
        [high, low] => Some(nibble(high)? << 4 | nibble(low)?),
        _ => None,
    });
    bytes.collect::<Option<Vec<u8>>>().filter(|config| !config.is_empty()).map(Bytes::from)
}
