//! JPEG (ITU-T T.81), to the pixels that libjpeg gives, bit for bit: published accuracies were measured on those, and
//! another rounding turns some answers in ten thousand.
//!
//! Baseline and progressive Huffman-coded files with 8-bit samples in gray, YCbCr, RGB, CMYK and YCCK; what cameras and the
//! web do not write (arithmetic coding, lossless, 12 bits) is refused. Where libjpeg warns of damage and fills in, this is
//! an error.
//!
//! ```text
//! markers ── tables ──▶ scan: Huffman codes to coefficients ──▶ idct: samples ──▶ colour: upsampled, converted
//! ```

mod colour;
mod huffman;
mod idct;
mod scan;

use crate::decode::{Limits, too_large};
use crate::error::ImageError;
use crate::image::Image;
use colour::Colours;
use huffman::{Bits, Table};
use scan::{Codes, Scan};

const FORMAT: &str = "JPEG";
/// Most passes over the image that a file may ask for: progressive files have about ten.
const MAX_SCANS: usize = 100;
/// No file holds more pixels per byte: a header that claims more is lying.
const MOST_PIXELS_PER_BYTE: u64 = 1032 * 8;

/// Position in the block of the k-th coefficient of a file.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

fn damaged(reason: impl Into<String>) -> ImageError {
    ImageError::Damaged { format: FORMAT, reason: reason.into() }
}

/// The coefficients of 8×8 samples, in row order.
type Coefficients = [i16; 64];
/// Divisors of a block's coefficients, in row order.
type Quantisers = [u16; 64];

/// One colour component of the image.
struct Component {
    id: u8,
    /// Relative resolution, 1 to 4.
    h: usize,
    v: usize,
    /// Number of its quantisation table.
    table: usize,
    /// Size in samples.
    width: usize,
    height: usize,
    /// Blocks per row and column, filled up to whole units of an interleaved scan.
    columns: usize,
    rows: usize,
    /// The table as it was when the component's first scan began.
    quantisers: Option<Quantisers>,
    /// Coefficients, of a progressive file alone.
    blocks: Vec<Coefficients>,
    /// Samples, `columns * 8` per row.
    samples: Vec<u8>,
}

/// What the frame header says.
struct Frame {
    width: usize,
    height: usize,
    progressive: bool,
    /// Largest `h` and `v` of all components.
    h: usize,
    v: usize,
    components: Vec<Component>,
}

/// A decoder on its way through a file.
struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
    limits: &'a Limits,
    quantisers: [Option<Quantisers>; 4],
    dc: [Option<Table>; 4],
    ac: [Option<Table>; 4],
    /// Units between restart markers; 0 for none.
    restart: usize,
    jfif: bool,
    /// Adobe's number for the colours.
    adobe: Option<u8>,
    frame: Option<Frame>,
}

/// Decodes a file. Sizes are judged from the header, before anything is allocated.
pub(crate) fn decode(bytes: &[u8], limits: &Limits) -> Result<Image, ImageError> {
    let mut decoder = Decoder {
        bytes,
        at: 2,
        limits,
        quantisers: [None; 4],
        dc: [const { None }; 4],
        ac: [const { None }; 4],
        restart: 0,
        jfif: false,
        adobe: None,
        frame: None,
    };
    decoder.read()
}

impl<'a> Decoder<'a> {
    fn read(&mut self) -> Result<Image, ImageError> {
        let mut scans = 0;
        loop {
            let marker = self.marker()?;
            match marker {
                0xD9 => return self.finish(),
                0x01 | 0xD0..=0xD8 => continue,
                _ => {}
            }
            let segment = self.segment()?;
            match marker {
                0xC0..=0xC2 => self.start_frame(segment, marker == 0xC2)?,
                0xC4 => self.huffman_tables(segment)?,
                0xDB => self.quantisation_tables(segment)?,
                0xDD => self.restart = usize::from(word(segment, 0)?),
                0xDA => {
                    scans += 1;
                    if scans > MAX_SCANS {
                        return Err(damaged(format!("more than {MAX_SCANS} scans")));
                    }
                    self.scan(segment)?;
                }
                0xE0 => self.jfif |= segment.starts_with(b"JFIF\0"),
                0xEE if segment.starts_with(b"Adobe") => self.adobe = segment.get(11).copied(),
                0xC3 | 0xC5..=0xCF => {
                    return Err(damaged("it is lossless, hierarchical or arithmetic-coded"));
                }
                _ => {}
            }
        }
    }

    /// Goes past the next marker, whose second byte it returns. Bytes that are none are passed over, as libjpeg does.
    fn marker(&mut self) -> Result<u8, ImageError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let found =
            rest.windows(2).position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xFF));
        let at = found.ok_or_else(|| damaged("it ends before its end-of-image marker"))?;
        self.at += at + 2;
        Ok(rest[at + 1])
    }

    /// Goes past the segment that follows a marker.
    fn segment(&mut self) -> Result<&'a [u8], ImageError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = usize::from(word(rest, 0)?);
        let segment = rest.get(2..length.max(2));
        self.at += length.max(2);
        segment.ok_or_else(|| damaged("a segment is longer than the file"))
    }

    fn start_frame(&mut self, segment: &[u8], progressive: bool) -> Result<(), ImageError> {
        if self.frame.is_some() {
            return Err(damaged("a second frame header"));
        }
        if byte(segment, 0)? != 8 {
            return Err(damaged("its samples do not have 8 bits"));
        }
        let (height, width) = (word(segment, 1)?, word(segment, 3)?);
        let count = usize::from(byte(segment, 5)?);
        self.check_size(u32::from(width), u32::from(height))?;
        let (width, height) = (usize::from(width), usize::from(height));
        if !matches!(count, 1 | 3 | 4) {
            return Err(damaged(format!("{count} colour components")));
        }
        let headers: Vec<[u8; 3]> =
            segment[6..].chunks_exact(3).map(|header| [header[0], header[1], header[2]]).collect();
        if headers.len() != count {
            return Err(damaged("the length of its frame header"));
        }
        let factors = |header: &[u8; 3]| [header[1] >> 4, header[1] & 15].map(usize::from);
        let most = |i: usize| headers.iter().map(|header| factors(header)[i]).max().unwrap_or(0);
        let (most_h, most_v) = (most(0), most(1));
        let [units_x, units_y] =
            [width.div_ceil(8 * most_h.max(1)), height.div_ceil(8 * most_v.max(1))];
        let mut components = Vec::with_capacity(count);
        for header in &headers {
            let ([h, v], table) = (factors(header), usize::from(header[2]));
            let divides =
                (1..=4).contains(&h) && (1..=4).contains(&v) && most_h % h == 0 && most_v % v == 0;
            if !divides || table > 3 {
                return Err(damaged(format!("sampling factors {h}x{v}, table {table}")));
            }
            components.push(Component {
                id: header[0],
                h,
                v,
                table,
                width: (width * h).div_ceil(most_h),
                height: (height * v).div_ceil(most_v),
                columns: units_x * h,
                rows: units_y * v,
                quantisers: None,
                blocks: Vec::new(),
                samples: Vec::new(),
            });
        }
        let blocks: usize = components.iter().map(|c| c.columns * c.rows).sum();
        let output = width * height * count.min(3);
        let needed = 64 * blocks * if progressive { 3 } else { 1 } + output;
        if needed as u64 > self.limits.bytes {
            let memory = format!("{} bytes of memory", self.limits.bytes);
            return Err(too_large(FORMAT, width as u32, height as u32, memory));
        }
        for component in &mut components {
            let blocks = component.columns * component.rows;
            component.samples = vec![0; 64 * blocks];
            component.blocks = vec![[0; 64]; if progressive { blocks } else { 0 }];
        }
        self.frame = Some(Frame { width, height, progressive, h: most_h, v: most_v, components });
        Ok(())
    }

    fn check_size(&self, width: u32, height: u32) -> Result<(), ImageError> {
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 {
            return Err(ImageError::Empty { format: FORMAT });
        }
        if width.max(height) > self.limits.side {
            let limit = format!("{} pixels per side", self.limits.side);
            return Err(too_large(FORMAT, width, height, limit));
        }
        if pixels > self.limits.pixels {
            return Err(too_large(FORMAT, width, height, format!("{} pixels", self.limits.pixels)));
        }
        if pixels / MOST_PIXELS_PER_BYTE > self.bytes.len() as u64 {
            return Err(damaged(format!("{width}x{height} pixels in {} bytes", self.bytes.len())));
        }
        Ok(())
    }

    fn quantisation_tables(&mut self, mut segment: &[u8]) -> Result<(), ImageError> {
        while !segment.is_empty() {
            let head = segment[0];
            let (size, index) = (1 + usize::from(head >> 4), usize::from(head & 15));
            let place = self.quantisers.get_mut(index).filter(|_| size <= 2);
            let place = place.ok_or_else(|| damaged("a quantisation table's number"))?;
            let numbers = segment.get(1..1 + 64 * size);
            let numbers = numbers.ok_or_else(|| damaged("a short quantisation table"))?;
            let mut table = [0; 64];
            for (number, &at) in numbers.chunks_exact(size).zip(&ZIGZAG) {
                table[usize::from(at)] =
                    number.iter().fold(0, |value, &byte| value << 8 | u16::from(byte));
            }
            *place = Some(table);
            segment = &segment[1 + 64 * size..];
        }
        Ok(())
    }

    fn huffman_tables(&mut self, mut segment: &[u8]) -> Result<(), ImageError> {
        while !segment.is_empty() {
            let head = segment[0];
            let tables = if head >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            let place = tables.get_mut(usize::from(head & 15)).filter(|_| head >> 4 <= 1);
            let place = place.ok_or_else(|| damaged("a Huffman table's number"))?;
            let (table, length) = Table::read(&segment[1..])?;
            *place = Some(table);
            segment = &segment[1 + length..];
        }
        Ok(())
    }

    /// Decodes one scan, and goes past it.
    fn scan(&mut self, header: &[u8]) -> Result<(), ImageError> {
        let frame = self.frame.as_mut().ok_or_else(|| damaged("a scan before the frame header"))?;
        let count = usize::from(byte(header, 0)?);
        if !(1..=4).contains(&count) || header.len() != 4 + 2 * count {
            return Err(damaged("the length of a scan header"));
        }
        let mut members: Vec<scan::Member> = Vec::with_capacity(count);
        for member in header[1..1 + 2 * count].chunks_exact(2) {
            let index = frame.components.iter().position(|c| c.id == member[0]);
            let index = index.ok_or_else(|| damaged("a scan of a component that is not there"))?;
            if members.iter().any(|&(other, ..)| other == index) {
                return Err(damaged("a scan has a component twice"));
            }
            let component = &mut frame.components[index];
            if component.quantisers.is_none() {
                component.quantisers = self.quantisers[component.table];
            }
            members.push((index, usize::from(member[1] >> 4), usize::from(member[1] & 15)));
        }
        let spectrum = &header[1 + 2 * count..];
        let codes = Codes::new(frame.progressive, count, [spectrum[0], spectrum[1], spectrum[2]])?;
        let bits = Bits::new(self.bytes.get(self.at..).unwrap_or_default());
        let mut scan = Scan { bits, codes, restart: self.restart, dc: &self.dc, ac: &self.ac };
        self.at += scan.run(frame, &members)?;
        Ok(())
    }

    fn finish(&mut self) -> Result<Image, ImageError> {
        let mut frame = self.frame.take().ok_or_else(|| damaged("it has no frame"))?;
        for component in &mut frame.components {
            let unread = || damaged("a component without a scan or a quantisation table");
            let quantisers = component.quantisers.ok_or_else(unread)?;
            let stride = component.columns * 8;
            for (index, block) in component.blocks.iter().enumerate() {
                let (row, column) = (index / component.columns, index % component.columns);
                let at = row * 8 * stride + column * 8;
                idct::inverse(block, &quantisers, &mut component.samples[at..], stride);
            }
        }
        let ids: Vec<u8> = frame.components.iter().map(|component| component.id).collect();
        Ok(Colours::of(&ids, self.jfif, self.adobe).image(&frame))
    }
}

fn byte(segment: &[u8], at: usize) -> Result<u8, ImageError> {
    segment.get(at).copied().ok_or_else(|| damaged("a short segment"))
}

fn word(segment: &[u8], at: usize) -> Result<u16, ImageError> {
    Ok(u16::from_be_bytes([byte(segment, at)?, byte(segment, at + 1)?]))
}
