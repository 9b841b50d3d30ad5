//! JPEG (RFC 2435): scan data put together, with a JPEG file's headers before it that say what the
//! packets' own headers said.
//!
//! The size is said in units of 8 pixels in one byte each: up to 2,040. For larger pictures senders
//! write 0, and no field is left for the truth, so those are refused. (ONVIF puts it into a header
//! extension with the picture's own headers; cameras that do so offer H.264 as well.) Whether a
//! picture is one field of two is not looked at, as no other receiver does.

use std::collections::{BTreeMap, VecDeque};

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    Codec, DepacketizeError, Frame,
    gather::{Gather, Open},
    limits,
};
use crate::proto::{
    codec::{
        Parameters,
        mjpeg::{Parameters as MjpegParameters, marker},
        mjpeg_tables::{self, HUFFMAN, QUANTIZERS},
    },
    rtp::{
        extension::Replayed,
        packetize::mjpeg::{MAIN, MORE, RESTARTS},
        receive::Received,
    },
};

/// Headers of the file, as a rule; and the bytes that are made room for at first.
const HEADERS: usize = 1_024;
const FIRST_ROOM: usize = 64 << 10;

/// JFIF 1.1: so that players know that it is YCbCr.
const JFIF: &[u8] = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00";

/// See the module.
#[derive(Debug)]
pub(super) struct Mjpeg {
    parameters: Option<Parameters>,
    pictures: Gather<Picture>,
    /// Room that the next one is given at first: a picture keeps all that it was given.
    room: usize,
    /// By quality factor of 128 to 254: they come once, and hold for all pictures with it.
    tables: BTreeMap<u8, Tables>,
}

/// A picture that came in part.
#[derive(Debug)]
struct Picture {
    size: MjpegParameters,
    data: BytesMut,
    /// Where in `data` the scan begins.
    scan: usize,
    pieces: usize,
}

/// Quantization tables as DQT segments have them.
#[derive(Clone, Debug)]
struct Tables {
    /// Luminance and chrominance: whether entries have 16 bits, and the entries.
    tables: [(bool, Bytes); 2],
}

/// The headers of a packet.
#[derive(Clone, Copy, Debug)]
struct Header {
    offset: usize,
    kind: u8,
    quality: u8,
    width: u32,
    height: u32,
    restart_interval: u16,
}

const fn malformed(what: &'static str) -> DepacketizeError {
    DepacketizeError::Malformed(what)
}

impl Mjpeg {
    pub(super) fn new() -> Self {
        let (pictures, tables) = (Gather::new(), BTreeMap::new());
        Self { parameters: None, pictures, room: FIRST_ROOM, tables }
    }

    fn take(
        &mut self,
        received: Received,
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), DepacketizeError> {
        let Received { packet, ticks, arrived, lost, fresh } = received;
        self.pictures.add(lost, fresh);
        if self.pictures.has_another_than(ticks) {
            // It was not said to be whole; but nothing is missing before the next.
            self.finish(frames);
        }
        if self.pictures.skips(ticks) {
            return Ok(());
        }
        let replayed = Replayed::of(&packet);
        let mut data = packet.payload;
        let header = Header::read(&mut data)?;
        if header.offset == 0 {
            self.pictures.abandon();
            let tables = self.tables(header.quality, &mut data)?;
            let mut whole = BytesMut::with_capacity(HEADERS + data.len().max(self.room));
            header.write(&tables, &mut whole);
            let size = MjpegParameters { width: header.width, height: header.height };
            let scan = whole.len();
            let part = Picture { size, data: whole, scan, pieces: 0 };
            self.pictures.open = Some(Open { ticks, arrived, replayed, part });
        }
        let Some(Open { part: open, .. }) = &mut self.pictures.open else {
            self.pictures.skip_headless(ticks);
            return Ok(());
        };
        if header.offset != open.data.len() - open.scan {
            return Err(malformed("a JPEG fragment that is not where the last one ended"));
        }
        open.pieces += 1;
        if header.offset + data.len() > limits::FRAME || open.pieces > limits::PIECES {
            return Err(DepacketizeError::TooLong);
        }
        open.data.put_slice(&data);
        if packet.header.marker {
            self.finish(frames);
        }
        Ok(())
    }

    fn finish(&mut self, frames: &mut VecDeque<Frame>) {
        let Some(open) = self.pictures.open.take() else { return };
        let mut picture = open.part;
        if picture.data.len() == picture.scan {
            self.pictures.told.drop_one();
            return;
        }
        if !picture.data.ends_with(&[0xff, marker::EOI]) {
            picture.data.put_slice(&[0xff, marker::EOI]);
        }
        self.room = picture.data.len() + picture.data.len() / 8;
        let now = Parameters::Mjpeg(picture.size);
        let new = (self.parameters.as_ref() != Some(&now)).then_some(now);
        if new.is_some() {
            self.parameters.clone_from(&new);
        }
        let (data, told) = (picture.data.freeze(), &mut self.pictures.told);
        frames.push_back(told.frame(open.ticks, open.arrived, data, new, open.replayed));
    }

    /// The tables of a picture; `data` stands behind the headers of its first packet.
    fn tables(&mut self, quality: u8, data: &mut Bytes) -> Result<Tables, DepacketizeError> {
        if quality < 128 {
            let tables = mjpeg_tables::quantization(quality);
            let tables = tables.ok_or(malformed("a reserved JPEG quality factor"))?;
            let own = tables.map(|table| (false, Bytes::copy_from_slice(&table)));
            return Ok(Tables { tables: own });
        }
        let short = malformed("JPEG quantization tables longer than their packet");
        let &[_, precision, l0, l1] = data.first_chunk::<MORE>().ok_or(short)?;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if data.len() < MORE + length {
            return Err(short);
        }
        let mut entries = data.split_to(MORE + length).split_off(MORE);
        if length == 0 {
            let known = self.tables.get(&quality).cloned();
            return known.ok_or(malformed("JPEG quantization tables that never came"));
        }
        let mut next = |place: u8| {
            let wide = precision >> place & 1 == 1;
            let len = QUANTIZERS * if wide { 2 } else { 1 };
            // Not a slice: that would keep the packet for as long as the session lasts.
            let table = (entries.len() >= len).then(|| entries.split_to(len));
            table.map(|table| (wide, Bytes::copy_from_slice(&table)))
        };
        let luminance = next(0).ok_or(malformed("half a JPEG quantization table"))?;
        let chrominance = next(1).unwrap_or_else(|| luminance.clone());
        let tables = Tables { tables: [luminance, chrominance] };
        if quality < 255 {
            self.tables.insert(quality, tables.clone());
        }
        Ok(tables)
    }
}

impl Codec for Mjpeg {
    fn push(
        &mut self,
        packet: Received,
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), DepacketizeError> {
        let ticks = packet.ticks;
        self.take(packet, frames).inspect_err(|_| {
            self.pictures.open = None;
            self.pictures.skip_headless(ticks);
        })
    }

    fn parameters(&self) -> Option<&Parameters> {
        self.parameters.as_ref()
    }

    fn remember(&mut self, known: &Parameters) {
        if matches!(known, Parameters::Mjpeg(_)) {
            self.parameters = Some(known.clone());
        }
    }
}

impl Header {
    /// Takes the main header, and that for restart markers, from the beginning of `data`.
    fn read(data: &mut Bytes) -> Result<Self, DepacketizeError> {
        let short = malformed("a JPEG packet shorter than its header");
        let &[_, o0, o1, o2, kind, quality, width, height] =
            data.first_chunk::<MAIN>().ok_or(short)?;
        let mut used = MAIN;
        let mut restart_interval = 0;
        if kind & RESTARTS != 0 {
            let (_, rest) = data.split_at_checked(MAIN).ok_or(short)?;
            let &[i0, i1, _, _] = rest.first_chunk::<MORE>().ok_or(short)?;
            restart_interval = u16::from_be_bytes([i0, i1]);
            used += MORE;
        }
        if !matches!(kind & !RESTARTS, 0 | 1) {
            return Err(malformed("a JPEG type that is not of RFC 2435"));
        }
        if width == 0 || height == 0 {
            return Err(malformed("a JPEG picture beyond 2,040 pixels, whose size RTP cannot say"));
        }
        *data = data.split_off(used);
        Ok(Self {
            offset: u32::from_be_bytes([0, o0, o1, o2]) as usize,
            kind: kind & !RESTARTS,
            quality,
            width: u32::from(width) * 8,
            height: u32::from(height) * 8,
            restart_interval,
        })
    }

    /// A JPEG file's headers.
    fn write(&self, tables: &Tables, to: &mut BytesMut) {
        to.put_slice(&[0xff, marker::SOI]);
        to.put_slice(JFIF);
        for (n, (wide, entries)) in (0_u8..).zip(&tables.tables) {
            to.put_slice(&[0xff, marker::DQT]);
            to.put_u16(3 + entries.len() as u16);
            to.put_u8(u8::from(*wide) << 4 | n);
            to.put_slice(entries);
        }
        let wide = tables.tables.iter().any(|(wide, _)| *wide);
        to.put_slice(&[0xff, if wide { marker::SOF1 } else { marker::SOF0 }]);
        to.put_slice(&[0, 17, 8]);
        // At most 2,040.
        to.put_u16(self.height as u16);
        to.put_u16(self.width as u16);
        let luminance = if self.kind == 0 { 0x21 } else { 0x22 };
        to.put_slice(&[3, 1, luminance, 0, 2, 0x11, 1, 3, 0x11, 1]);
        for table in &HUFFMAN {
            to.put_slice(&[0xff, marker::DHT]);
            to.put_u16(3 + table.codes.len() as u16);
            to.put_u8(table.place);
            to.put_slice(table.codes);
        }
        if self.restart_interval > 0 {
            to.put_slice(&[0xff, marker::DRI, 0, 4]);
            to.put_u16(self.restart_interval);
        }
        to.put_slice(&[0xff, marker::SOS, 0, 12, 3, 1, 0x00, 2, 0x11, 3, 0x11, 0, 63, 0]);
    }
}
