//! Motion JPEG: each picture is a JPEG file of its own (ITU-T T.81), so decoding begins anywhere.
//!
//! Only headers are read, up to the first scan; what is entropy-coded is never looked at.

use std::ops::Range;

use super::mjpeg_tables::{HUFFMAN, Huffman};

/// Markers (T.81 table B.1).
pub mod marker {
    /// Start of frame, baseline.
    pub const SOF0: u8 = 0xc0;
    /// Start of frame, extended: the same with tables of 16 bits.
    pub const SOF1: u8 = 0xc1;
    /// Huffman tables.
    pub const DHT: u8 = 0xc4;
    /// Start of image.
    pub const SOI: u8 = 0xd8;
    /// End of image.
    pub const EOI: u8 = 0xd9;
    /// Start of scan.
    pub const SOS: u8 = 0xda;
    /// Quantization tables.
    pub const DQT: u8 = 0xdb;
    /// Restart interval.
    pub const DRI: u8 = 0xdd;
    /// Application segment 0: JFIF.
    pub const APP0: u8 = 0xe0;
}

/// The most segments before the first scan: some dozen are usual.
const MAX_SEGMENTS: usize = 256;

/// What is known of a Motion JPEG track; a decoder needs nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

/// Why bytes are no JPEG picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("JPEG: {0}")]
pub struct JpegError(pub &'static str);

impl Parameters {
    /// Of a picture.
    pub fn of(picture: &[u8]) -> Result<Self, JpegError> {
        let picture = Picture::parse(picture)?;
        Ok(Self { width: picture.width.into(), height: picture.height.into() })
    }

    /// Of a picture that is of another size.
    #[must_use]
    pub fn updated_by(&self, picture: &[u8]) -> Option<Self> {
        Self::of(picture).ok().filter(|new| new != self)
    }
}

/// Whether there is a picture with a scan.
#[must_use]
pub fn is_picture(unit: &[u8]) -> bool {
    Picture::parse(unit).is_ok()
}

/// How the chrominance is sampled, as far as RFC 2435 has a type for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// 4:2:2: a unit of two luminance blocks side by side.
    Half,
    /// 4:2:0: a unit of four.
    Quarter,
}

/// A quantization table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantization<'a> {
    /// Entries of 16 bits rather than 8.
    pub wide: bool,
    /// 64 entries in zigzag order.
    pub entries: &'a [u8],
}

#[derive(Clone, Copy, Debug, Default)]
struct Component {
    id: u8,
    sampling: u8,
    quantization: u8,
    /// Of the scan: DC in the upper half, AC in the lower.
    huffman: u8,
}

/// A picture's headers.
#[derive(Clone, Debug)]
pub struct Picture<'a> {
    /// Pixels across.
    pub width: u16,
    /// Pixels down.
    pub height: u16,
    /// Minimum coded units between restart markers; 0: there are none.
    pub restart_interval: u16,
    /// Where the entropy-coded bytes lie; no EOI at their end.
    pub scan: Range<usize>,
    start_of_frame: u8,
    precision: u8,
    components: [Component; 3],
    count: u8,
    /// The scan is of all components and all coefficients.
    whole_scan: bool,
    quantization: [Option<Quantization<'a>>; 4],
    /// By class and destination; `None` stands for those of annex K.
    huffman: [[Option<&'a [u8]>; 4]; 2],
}

impl<'a> Picture<'a> {
    /// Reads up to the first scan.
    pub fn parse(data: &'a [u8]) -> Result<Self, JpegError> {
        let mut picture = Picture {
            width: 0,
            height: 0,
            restart_interval: 0,
            scan: 0..0,
            start_of_frame: 0,
            precision: 0,
            components: [Component::default(); 3],
            count: 0,
            whole_scan: false,
            quantization: [None; 4],
            huffman: [[None; 4]; 2],
        };
        let mut rest = data.strip_prefix(&[0xff, marker::SOI]).ok_or(JpegError("no beginning"))?;
        for _ in 0..MAX_SEGMENTS {
            let (kind, body, after) = segment(rest)?;
            rest = after;
            match kind {
                // All but DHT, JPG and DAC begin a frame.
                0xc0..=0xcf if !matches!(kind, marker::DHT | 0xc8 | 0xcc) => {
                    picture.frame(kind, body)?;
                }
                marker::DHT => picture.huffman_tables(body)?,
                marker::DQT => picture.quantization_tables(body)?,
                marker::DRI => match body {
                    &[high, low] => picture.restart_interval = u16::from_be_bytes([high, low]),
                    _ => return Err(JpegError("restart interval")),
                },
                marker::SOS => {
                    picture.scan_header(body)?;
                    let scan = rest.strip_suffix(&[0xff, marker::EOI]).unwrap_or(rest);
                    let start = data.len() - rest.len();
                    picture.scan = start..start + scan.len();
                    if scan.is_empty() {
                        return Err(JpegError("nothing behind its headers"));
                    }
                    return Ok(picture);
                }
                _ => {}
            }
        }
        Err(JpegError("too many segments"))
    }

    fn frame(&mut self, kind: u8, body: &[u8]) -> Result<(), JpegError> {
        let Some((&[precision, h0, h1, w0, w1, count], components)) = body.split_first_chunk()
        else {
            return Err(JpegError("frame header"));
        };
        self.start_of_frame = kind;
        self.precision = precision;
        (self.width, self.height) = (u16::from_be_bytes([w0, w1]), u16::from_be_bytes([h0, h1]));
        self.count = count;
        if self.width == 0 || self.height == 0 || components.len() != usize::from(count) * 3 {
            return Err(JpegError("frame header"));
        }
        for (component, bytes) in self.components.iter_mut().zip(components.chunks_exact(3)) {
            if let &[id, sampling, quantization] = bytes {
                *component = Component { id, sampling, quantization, huffman: 0 };
            }
        }
        Ok(())
    }

    fn scan_header(&mut self, body: &[u8]) -> Result<(), JpegError> {
        let Some((&count, rest)) = body.split_first() else {
            return Err(JpegError("scan header"));
        };
        let Some((components, spectrum)) = rest.split_at_checked(usize::from(count) * 2) else {
            return Err(JpegError("scan header"));
        };
        if self.width == 0 || spectrum.len() != 3 {
            return Err(JpegError("scan header"));
        }
        self.whole_scan = count == self.count && spectrum == [0, 63, 0];
        for (component, bytes) in self.components.iter_mut().zip(components.chunks_exact(2)) {
            if let &[id, huffman] = bytes {
                self.whole_scan &= component.id == id;
                component.huffman = huffman;
            }
        }
        Ok(())
    }

    fn quantization_tables(&mut self, mut body: &'a [u8]) -> Result<(), JpegError> {
        let broken = JpegError("quantization tables");
        while let Some((&what, rest)) = body.split_first() {
            let wide = what >> 4 != 0;
            let (entries, rest) =
                rest.split_at_checked(if wide { 128 } else { 64 }).ok_or(broken)?;
            let place = self.quantization.get_mut(usize::from(what & 15)).ok_or(broken)?;
            *place = Some(Quantization { wide, entries });
            body = rest;
        }
        Ok(())
    }

    fn huffman_tables(&mut self, mut body: &'a [u8]) -> Result<(), JpegError> {
        let broken = JpegError("Huffman tables");
        while let Some((&what, rest)) = body.split_first() {
            let counts = rest.get(..16).ok_or(broken)?;
            let symbols: usize = counts.iter().map(|&n| usize::from(n)).sum();
            let (codes, rest) = rest.split_at_checked(16 + symbols).ok_or(broken)?;
            let class = self.huffman.get_mut(usize::from(what >> 4)).ok_or(broken)?;
            *class.get_mut(usize::from(what & 15)).ok_or(broken)? = Some(codes);
            body = rest;
        }
        Ok(())
    }

    /// Its sampling and its tables for luminance and chrominance.
    ///
    /// # Errors
    ///
    /// What makes it a picture that RFC 2435 cannot carry: whoever receives it builds headers of
    /// his own, with the Huffman tables of annex K, for one scan of three components.
    pub fn for_rtp(&self) -> Result<(Sampling, [Quantization<'a>; 2]), &'static str> {
        if !matches!(self.start_of_frame, marker::SOF0 | marker::SOF1) {
            return Err("not baseline (progressive, lossless or arithmetic)");
        }
        if self.precision != 8 || self.count != 3 || !self.whole_scan {
            return Err("not three components of 8 bits in one scan");
        }
        let [y, cb, cr] = self.components;
        let sampling = match (y.sampling, cb.sampling, cr.sampling) {
            (0x21, 0x11, 0x11) => Sampling::Half,
            (0x22, 0x11, 0x11) => Sampling::Quarter,
            _ => return Err("sampled neither 4:2:2 nor 4:2:0"),
        };
        if cb.quantization != cr.quantization {
            return Err("more than two quantization tables");
        }
        let standard = |component: Component, destination: u8| {
            let of = |class: usize, place: u8| {
                let tables = self.huffman.get(class)?;
                *tables.get(usize::from(place))?
            };
            let is = |class: u8, place: u8| {
                let own = of(usize::from(class), place);
                let known = |h: &Huffman| h.place == class << 4 | destination;
                let annex_k = HUFFMAN.iter().find(|h| known(h)).map(|h| h.codes);
                own.is_none_or(|own| Some(own) == annex_k)
            };
            is(0, component.huffman >> 4) && is(1, component.huffman & 15)
        };
        if !(standard(y, 0) && standard(cb, 1) && standard(cr, 1)) {
            return Err("Huffman tables of its own");
        }
        let table = |component: Component| {
            let table = self.quantization.get(usize::from(component.quantization)).copied();
            table.flatten().ok_or("no quantization tables")
        };
        Ok((sampling, [table(y)?, table(cb)?]))
    }
}

/// Kind and body of the first segment, and what follows it.
fn segment(data: &[u8]) -> Result<(u8, &[u8], &[u8]), JpegError> {
    let broken = JpegError("ends before its scan");
    // Any number of 0xff may go before a marker.
    let fill = data.iter().take_while(|&&byte| byte == 0xff).count();
    let rest = data.get(fill..).unwrap_or_default();
    if fill == 0 {
        return Err(if data.is_empty() { broken } else { JpegError("no marker") });
    }
    let (&kind, rest) = rest.split_first().ok_or(broken)?;
    if matches!(kind, 0x01 | 0xd0..=0xd7) {
        return Ok((kind, &[], rest));
    }
    if matches!(kind, 0 | marker::SOI | marker::EOI) {
        return Err(broken);
    }
    let (length, _) = rest.split_first_chunk::<2>().ok_or(broken)?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (whole, rest) = rest.split_at_checked(length).ok_or(broken)?;
    Ok((kind, whole.get(2..).ok_or(JpegError("segment length"))?, rest))
}

#[cfg(test)]
#[path = "mjpeg_tests.rs"]
mod tests;
