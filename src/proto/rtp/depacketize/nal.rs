//! H.264 and H.265: payloads into NAL units, NAL units into access units.
//!
//! # When an access unit ends
//!
//! With the marker, as both RFCs say, if there is a slice by then: some cameras set it on SEI. When
//! the time stamp changes: some never set it. And when a picture's first slice, or a delimiter,
//! comes behind slices. Parameter sets and SEI behind the last slice belong to the next one (H.264
//! §7.4.1.2.3, H.265 §7.4.2.4.4). A camera that marks every slice is found out by its second slice,
//! and from then on not believed.
//!
//! # What loss costs
//!
//! The access unit it fell into. Where it fell between two time stamps that is the one before, if
//! it had no marker yet, and the one behind, if its first slice is not there.
//!
//! # Memory
//!
//! Until a unit is whole its payloads are slices of the packets; then memory of the very size is
//! taken, and they are copied into it.

use std::{collections::VecDeque, time::Duration};

use bytes::{Bytes, BytesMut};

use super::{
    Codec as Depacketize, DepacketizeError, Format, Frame, Told, Unsupported,
    family::{self, Header, Part, Payload},
    limits,
};
use crate::proto::{
    codec::{
        Parameters, h264,
        nal::{annex_b, find_start_code, nals},
        sets::{self, Codec, Sets},
    },
    rtp::{extension::Replayed, receive::Received},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// See the module.
#[derive(Debug)]
pub(super) struct Nal {
    codec: Codec,
    /// Decoding order numbers stand in the payloads (H.265).
    don: bool,
    parameters: Option<Parameters>,
    /// Sets that came while there are no parameters yet.
    gathered: Sets,
    /// Two fields may make one picture.
    fields: bool,
    told: Told,
    unit: Unit,
    /// The last NAL unit is being put together from fragments.
    fragment: bool,
    pieces: Vec<Bytes>,
    nals: Vec<Place>,
    /// What remains of the unit with this time is of no use.
    skipping: Option<i64>,
    /// Packets were lost before what comes now: its beginning may be missing.
    gap: bool,
    /// When the packet came that is looked at.
    now: Duration,
    /// A unit of this time was ended by its marker.
    marked: Option<i64>,
    marks_lie: bool,
}

/// The unit that is being put together.
#[derive(Debug, Default)]
struct Unit {
    ticks: i64,
    arrived: Duration,
    replayed: Option<Replayed>,
    /// Of the whole, with lengths.
    bytes: usize,
    slices: bool,
    /// First slices of a picture.
    firsts: u8,
    /// From this NAL unit on all belong to the next one, if no further slice of this one comes.
    boundary: Option<usize>,
}

/// A NAL unit among the pieces.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Where it does not stand in the pieces.
    header: Option<Header>,
    /// Its first piece; the next one's first is its end.
    from: usize,
    part: Part,
}

/// Why a packet ends what is being put together.
enum Stop {
    /// Loss.
    Hit,
    Broken(DepacketizeError),
}

impl From<DepacketizeError> for Stop {
    fn from(error: DepacketizeError) -> Self {
        Self::Broken(error)
    }
}

impl Nal {
    pub(super) fn new(codec: Codec, format: &Format<'_>) -> Result<Self, Unsupported> {
        let encoding = if codec == Codec::H264 { "H264" } else { "H265" };
        let number = |name| format.parameter(name).and_then(|value| value.parse::<u32>().ok());
        if codec == Codec::H264 && number("packetization-mode").is_some_and(|mode| mode > 1) {
            let detail = "packetization mode 2 (interleaved)".to_owned();
            return Err(Unsupported::Format { encoding, detail });
        }
        let mut described = Vec::new();
        for name in ["sprop-parameter-sets", "sprop-vps", "sprop-sps", "sprop-pps"] {
            let sets = format.parameter(name).unwrap_or_default().split(',');
            let sets = sets.filter_map(|set| STANDARD.decode(set.trim()).ok()).take(MAX_SETS);
            for set in sets {
                // Some write them as in a file.
                described.extend(annex_b(&set).map(Bytes::copy_from_slice));
            }
        }
        let parameters = sets::merged(codec, None, &Sets::sorted(codec, &described));
        let mut new = Self {
            codec,
            don: codec == Codec::H265 && number("sprop-max-don-diff").is_some_and(|most| most > 0),
            parameters: None,
            gathered: Sets::default(),
            fields: false,
            told: Told::default(),
            unit: Unit::default(),
            fragment: false,
            pieces: Vec::new(),
            nals: Vec::new(),
            skipping: None,
            // Nobody promises that a session begins with a unit's first packet.
            gap: true,
            now: Duration::ZERO,
            marked: None,
            marks_lie: false,
        };
        new.set(parameters);
        Ok(new)
    }

    fn set(&mut self, parameters: Option<Parameters>) {
        if let Some(Parameters::H264(known)) = &parameters {
            self.fields = h264::may_have_fields(&known.sps);
        }
        self.parameters = parameters;
    }

    fn take(&mut self, received: Received, frames: &mut VecDeque<Frame>) -> Result<(), Stop> {
        let Received { packet, ticks, arrived, lost, fresh } = received;
        if self.skipping.is_some_and(|skipped| skipped != ticks || fresh) {
            self.skipping = None;
            self.gap = false;
        }
        self.told.add(lost, fresh);
        self.now = arrived;
        if lost > 0 || fresh {
            let hit = !self.nals.is_empty();
            self.abandon();
            if hit && self.unit.ticks == ticks && !fresh {
                self.skipping = Some(ticks);
            } else if self.skipping.is_none() {
                self.gap = true;
            }
        }
        if self.skipping.is_some() {
            return Ok(());
        }
        self.reach(ticks, frames)?;
        let replayed = Replayed::of(&packet);
        if self.nals.is_empty() {
            self.unit = Unit { ticks, arrived, replayed, ..Unit::default() };
        } else if let (Some(unit), Some(last)) = (&mut self.unit.replayed, replayed) {
            (unit.end, unit.terminal) = (last.end, last.terminal);
        }
        let marker = packet.header.marker;
        self.payload(packet.payload, ticks, frames)?;
        if marker && !self.marks_lie {
            self.close(frames)?;
            if self.unit.slices {
                self.finish(self.unit.boundary.unwrap_or(self.nals.len()), frames);
                self.marked = Some(ticks);
            }
        }
        Ok(())
    }

    /// What comes now is of this time.
    fn reach(&mut self, ticks: i64, frames: &mut VecDeque<Frame>) -> Result<(), Stop> {
        if self.nals.is_empty() || self.unit.ticks == ticks {
            return Ok(());
        }
        // No packet is missing, so a fragment without an end is whole.
        self.close(frames)?;
        if self.unit.slices {
            self.finish(self.unit.boundary.unwrap_or(self.nals.len()), frames);
        }
        // What stands before slices counts as of their time.
        (self.unit.ticks, self.unit.arrived) = (ticks, self.now);
        Ok(())
    }

    fn payload(
        &mut self,
        mut payload: Bytes,
        ticks: i64,
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), Stop> {
        while let Some(code) = start_code_len(&payload) {
            payload = payload.split_off(code);
        }
        if payload.is_empty() {
            return Ok(());
        }
        match family::open(self.codec, self.don, payload)? {
            Payload::Single(nal) => self.whole(None, nal, frames),
            Payload::Split(header, rest) => self.whole(Some(header), rest, frames),
            Payload::Aggregate(mut aggregate) => {
                while let Some((nal, later)) = aggregate.next()? {
                    if later > 0 {
                        self.reach(ticks.saturating_add(i64::from(later)), frames)?;
                    }
                    self.whole(None, nal, frames)?;
                }
                Ok(())
            }
            Payload::Fragment { header, first, last, data } => {
                if first {
                    self.close(frames)?;
                    self.begin(Some(header))?;
                    self.fragment = true;
                } else if !self.fragment {
                    if self.gap {
                        return Err(Stop::Hit);
                    }
                    return Err(
                        DepacketizeError::Malformed("a fragment without a beginning").into()
                    );
                }
                self.piece(data)?;
                if last { self.close(frames) } else { Ok(()) }
            }
            Payload::Other => Ok(()),
        }
    }

    fn whole(
        &mut self,
        header: Option<Header>,
        nal: Bytes,
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), Stop> {
        self.close(frames)?;
        self.begin(header)?;
        self.piece(nal)?;
        self.fragment = true;
        self.close(frames)
    }

    fn begin(&mut self, header: Option<Header>) -> Result<(), DepacketizeError> {
        if self.nals.len() >= limits::PIECES {
            return Err(DepacketizeError::TooLong);
        }
        self.unit.bytes += 4 + header.map_or(0, |_| family::header_len(self.codec));
        self.nals.push(Place { header, from: self.pieces.len(), part: Part::None });
        Ok(())
    }

    fn piece(&mut self, data: Bytes) -> Result<(), DepacketizeError> {
        if data.is_empty() {
            return Ok(());
        }
        self.unit.bytes += data.len();
        if self.unit.bytes > limits::FRAME || self.pieces.len() >= limits::PIECES {
            return Err(DepacketizeError::TooLong);
        }
        self.pieces.push(data);
        Ok(())
    }

    /// The NAL unit that is open is whole.
    fn close(&mut self, frames: &mut VecDeque<Frame>) -> Result<(), Stop> {
        if !std::mem::take(&mut self.fragment) {
            return Ok(());
        }
        let Some(&Place { header, from, .. }) = self.nals.last() else { return Ok(()) };
        self.cut_zeros(from);
        let header_len = family::header_len(self.codec);
        let (start, len) = self.start(header, from);
        let [a, b, ..] = start;
        let rest = start.get(header_len..).unwrap_or_default();
        let then = rest.first().copied().filter(|_| len > header_len);
        let part = family::part(self.codec, [a, b], then, len);
        let suspect = match part {
            // Slices are searched when they are copied.
            Part::Slice { .. } => start_code_len(rest).is_some(),
            _ => true,
        };
        if suspect && let Some(flat) = self.with_start_codes(header, from) {
            self.pieces.truncate(from);
            self.nals.pop();
            for nal in annex_b(&flat) {
                let nal = flat.slice_ref(nal);
                let start = [0, 1].map(|n| nal.get(n).copied().unwrap_or(0));
                let then = nal.get(header_len).copied();
                let part = family::part(self.codec, start, then, nal.len());
                if part != Part::None {
                    self.begin(None)?;
                    self.piece(nal)?;
                    self.settle(part, frames)?;
                }
            }
            return Ok(());
        }
        if part == Part::None {
            self.pieces.truncate(from);
            self.nals.pop();
            return Ok(());
        }
        self.settle(part, frames)
    }

    /// The last NAL unit is this part: to which access unit does it belong?
    fn settle(&mut self, part: Part, frames: &mut VecDeque<Frame>) -> Result<(), Stop> {
        let Some(at) = self.nals.len().checked_sub(1) else { return Ok(()) };
        if let Some(nal) = self.nals.last_mut() {
            nal.part = part;
        }
        let again = self.marked == Some(self.unit.ticks) && !self.gap;
        // The second field of a picture begins like a picture.
        let field = self.fields && self.unit.firsts == 1;
        match part {
            Part::Slice { first: false } if !self.unit.slices && (self.gap || again) => {
                self.marks_lie |= again;
                return Err(Stop::Hit);
            }
            Part::Slice { first } => {
                if first && self.unit.slices && !field {
                    self.finish(self.unit.boundary.unwrap_or(at), frames);
                }
                self.unit.boundary = None;
                self.unit.slices = true;
                self.unit.firsts = self.unit.firsts.saturating_add(u8::from(first));
            }
            Part::Delimiter if self.unit.slices && !field => {
                self.finish(self.unit.boundary.unwrap_or(at), frames);
            }
            Part::Delimiter | Part::Set | Part::Before => {
                if self.unit.slices {
                    self.unit.boundary.get_or_insert(at);
                }
            }
            // Of a unit that is gone already.
            Part::Behind if at == 0 && again => self.forget(),
            Part::Behind | Part::None => {}
        }
        Ok(())
    }

    /// A NAL unit's first bytes, and how many there are in all.
    fn start(&self, header: Option<Header>, from: usize) -> ([u8; 6], usize) {
        let header = header.unwrap_or_default();
        let header_len = self.nals.last().and_then(|nal| nal.header);
        let header = header.iter().take(header_len.map_or(0, |_| family::header_len(self.codec)));
        let pieces = self.pieces.get(from..).unwrap_or_default();
        let mut start = [0; 6];
        let mut len = header.len();
        for (to, byte) in start.iter_mut().zip(header.chain(pieces.iter().flatten())) {
            *to = *byte;
        }
        len += pieces.iter().map(Bytes::len).sum::<usize>();
        (start, len)
    }

    /// No NAL unit ends in a zero byte.
    fn cut_zeros(&mut self, from: usize) {
        while self.pieces.len() > from
            && let Some(last) = self.pieces.last_mut()
        {
            let zeros = last.iter().rev().take_while(|&&byte| byte == 0).count();
            last.truncate(last.len() - zeros);
            self.unit.bytes -= zeros;
            if !last.is_empty() {
                return;
            }
            self.pieces.pop();
        }
    }

    /// The open NAL unit in one, if it holds start codes.
    fn with_start_codes(&self, header: Option<Header>, from: usize) -> Option<Bytes> {
        match (header, self.pieces.get(from..)?) {
            (None, [nal]) => find_start_code(nal).map(|_| nal.clone()),
            (header, pieces) => {
                let mut flat = BytesMut::new();
                if let Some(header) = header {
                    flat.extend_from_slice(header.get(..family::header_len(self.codec))?);
                }
                pieces.iter().for_each(|piece| flat.extend_from_slice(piece));
                find_start_code(&flat).map(|_| flat.freeze())
            }
        }
    }

    /// The first `count` NAL units are an access unit; the others begin the next one.
    fn finish(&mut self, count: usize, frames: &mut VecDeque<Frame>) {
        let end = self.nals.get(count).map_or(self.pieces.len(), |nal| nal.from);
        let data = self.copy(count, end);
        let sets = self.nals.iter().take(count).any(|nal| nal.part == Part::Set);
        let parameters = if sets { self.learn(&data) } else { None };
        let Unit { ticks, arrived, replayed, .. } = self.unit;
        frames.push_back(self.told.frame(ticks, arrived, data, parameters, replayed));
        self.gap = false;
        self.marked = None;
        self.nals.drain(..count.min(self.nals.len()));
        self.pieces.drain(..end.min(self.pieces.len()));
        self.nals.iter_mut().for_each(|nal| nal.from -= end);
        // What remains begins with no slice; where one follows, it is told of later.
        let bytes = self.pieces.iter().map(Bytes::len).sum::<usize>() + 6 * self.nals.len();
        self.unit = Unit { ticks, arrived: self.now, bytes, ..Unit::default() };
    }

    /// The one copy.
    fn copy(&self, count: usize, end: usize) -> Bytes {
        let header_len = family::header_len(self.codec);
        let nals = self.nals.get(..count).unwrap_or_default();
        let pieces = self.pieces.get(..end).unwrap_or_default();
        let headers = nals.iter().filter(|nal| nal.header.is_some()).count() * header_len;
        let size = pieces.iter().map(Bytes::len).sum::<usize>() + 4 * nals.len() + headers;
        let mut data = Vec::with_capacity(size);
        let mut start_codes = false;
        for (at, nal) in nals.iter().enumerate() {
            let until = nals.get(at + 1).map_or(end, |next| next.from);
            let own = pieces.get(nal.from..until).unwrap_or_default();
            let header = nal.header.as_ref().and_then(|h| h.get(..header_len)).unwrap_or_default();
            let len = header.len() + own.iter().map(Bytes::len).sum::<usize>();
            // At most `limits::FRAME`.
            data.extend_from_slice(&(len as u32).to_be_bytes());
            let begin = data.len();
            data.extend_from_slice(header);
            own.iter().for_each(|piece| data.extend_from_slice(piece));
            if matches!(nal.part, Part::Slice { .. }) {
                start_codes |= find_start_code(data.get(begin..).unwrap_or_default()).is_some();
            }
        }
        if start_codes {
            let whole = data;
            data = Vec::with_capacity(whole.len() + whole.len() / 3);
            for nal in nals_of(&whole).flat_map(annex_b) {
                data.extend_from_slice(&(nal.len() as u32).to_be_bytes());
                data.extend_from_slice(nal);
            }
        }
        Bytes::from(data)
    }

    /// The parameters after a unit that brings sets, where that changes them.
    fn learn(&mut self, unit: &Bytes) -> Option<Parameters> {
        let new = match &self.parameters {
            Some(known) => known.updated_by(unit),
            None => {
                for nal in nals_of(unit) {
                    self.gathered.add(self.codec, Bytes::copy_from_slice(nal));
                }
                sets::merged(self.codec, None, &self.gathered)
            }
        };
        if new.is_some() {
            self.set(new.clone());
        }
        new
    }

    /// What is being put together is dropped.
    fn abandon(&mut self) {
        if !self.nals.is_empty() {
            self.told.drop_one();
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.nals.clear();
        self.pieces.clear();
        self.fragment = false;
        self.unit = Unit { ticks: self.unit.ticks, ..Unit::default() };
    }
}

impl Depacketize for Nal {
    fn push(
        &mut self,
        received: Received,
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), DepacketizeError> {
        let (ticks, marker) = (received.ticks, received.packet.header.marker);
        let stopped = self.take(received, frames);
        if stopped.is_err() {
            if self.nals.is_empty() {
                self.told.drop_one();
            }
            self.abandon();
            self.skipping = Some(ticks);
        }
        if marker && !self.marks_lie && self.skipping == Some(ticks) {
            self.skipping = None;
            self.gap = false;
            self.marked = Some(ticks);
        }
        match stopped {
            Ok(()) | Err(Stop::Hit) => Ok(()),
            Err(Stop::Broken(error)) => Err(error),
        }
    }

    fn parameters(&self) -> Option<&Parameters> {
        self.parameters.as_ref()
    }

    fn remember(&mut self, known: &Parameters) {
        let described = self.parameters.take();
        self.set(sets::with_remembered(described, Some(known)));
    }
}

/// No camera describes more; a hostile one may.
const MAX_SETS: usize = 64;

fn nals_of(unit: &[u8]) -> impl Iterator<Item = &[u8]> {
    nals(unit).map_while(Result::ok)
}

/// Bytes of the Annex B start code that `data` begins with.
fn start_code_len(data: &[u8]) -> Option<usize> {
    match data {
        [0, 0, 1, ..] => Some(3),
        [0, 0, 0, 1, ..] => Some(4),
        _ => None,
    }
}
