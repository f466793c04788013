//! JPEG (ITU-T T.81), to the pixels that libjpeg-turbo gives, bit for bit: published accuracies were measured on those, and
//! another rounding turns some answers in ten thousand.
//!
//! Baseline and progressive files with 8-bit samples in gray, YCbCr, RGB, CMYK and YCCK, in Huffman or arithmetic codes;
//! lossless files and those of 12 bits are refused. Damage that libjpeg warns of and fills in is filled in, as by Pillow, which does not show
//! the warnings; of progressive files that are not complete, the rest is estimated. Files that end early are refused, as by
//! Pillow, unless all that they lack is the last marker, and so are those whose data break off at a marker that there is none of.
//!
//! ```text
//! markers ── tables ──▶ scan: codes to coefficients ──▶ idct: samples ──▶ colour: upsampled, converted
//!                         ▲ bits, huffman or arithmetic
//! ```

mod arithmetic;
mod bits;
mod colour;
mod frame;
mod huffman;
mod scan;
mod smooth;
mod standard;
mod transform;

use crate::error::ImageError;
use crate::image::Image;
use crate::limits::Limits;
use arithmetic::{Arithmetic, Conditioning};
use bits::Bits;
use colour::Colours;
use frame::Frame;
use huffman::Table;
use scan::{Codes, Huffman, Tables};

const FORMAT: &str = "JPEG";
/// Most passes over the image that a file may ask for: progressive files have about ten.
const MAX_SCANS: usize = 100;

/// Position in the block of the k-th coefficient of a file. Runs of zeros that leave the block end at its last one.
const ZIGZAG: [u8; 128] = {
    let order = [
        0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27,
        20, 13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
        58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
    ];
    let (mut table, mut k) = ([63; 128], 0);
    while k < order.len() {
        table[k] = order[k];
        k += 1;
    }
    table
};

fn damaged(reason: impl Into<String>) -> ImageError {
    ImageError::Damaged { format: FORMAT, reason: reason.into() }
}

/// The coefficients of 8×8 samples, in row order.
type Coefficients = [i16; 64];
/// What a block's coefficients are multiplied by, in row order; the upper half of 16 bits as negative numbers.
type Quantisers = [i16; 64];

/// A decoder on its way through a file.
struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
    limits: &'a Limits,
    quantisers: [Option<Quantisers>; 4],
    dc: [Option<Table>; 4],
    ac: [Option<Table>; 4],
    conditioning: Conditioning,
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
        conditioning: Conditioning::default(),
        restart: 0,
        jfif: false,
        adobe: None,
        frame: None,
    };
    decoder.read()
}

impl<'a> Decoder<'a> {
    fn read(&mut self) -> Result<Image, ImageError> {
        // Whether the only scan has been read. What follows tells whether its data were data: libjpeg looks, too.
        let mut whole = false;
        loop {
            let Some(marker) = self.marker() else {
                if whole || self.frame.as_ref().is_some_and(Frame::is_complete) {
                    return self.finish();
                }
                return Err(damaged("it ends before its end-of-image marker"));
            };
            match marker {
                0xD9 => return self.finish(),
                0x01 | 0xD0..=0xD7 => continue,
                0xD8 => return Err(damaged("an image begins inside of it")),
                0xDA if whole => return Err(damaged("a scan follows the last one")),
                0xC0..=0xCF | 0xDA..=0xDD | 0xE0..=0xEF | 0xFE => {}
                _ => return Err(damaged(format!("its data break off at byte {}", self.at - 2))),
            }
            let segment = match (self.segment(), marker) {
                // Nothing is lost where it is not read.
                (Err(_), 0xDC | 0xE0..=0xEF | 0xFE) if whole => return self.finish(),
                (segment, _) => segment?,
            };
            match marker {
                0xC0..=0xC2 | 0xC9 | 0xCA => self.start_frame(marker, segment)?,
                0xC4 => self.huffman_tables(segment)?,
                0xCC => self.conditioning.read(segment)?,
                0xDB => self.quantisation_tables(segment)?,
                0xDD => self.restart = usize::from(word(segment, 0)?),
                0xDA => whole = self.scan(segment)?,
                0xE0 => self.jfif |= segment.starts_with(b"JFIF\0"),
                0xEE if segment.starts_with(b"Adobe") => self.adobe = segment.get(11).copied(),
                0xC3 | 0xC5..=0xCF => return Err(damaged("it is lossless or hierarchical")),
                _ => {}
            }
        }
    }

    /// Goes past the next marker, whose second byte it returns, unless the file ends. Bytes that are none are passed over,
    /// as libjpeg does.
    fn marker(&mut self) -> Option<u8> {
        let rest = self.bytes.get(self.at..)?;
        let at =
            rest.windows(2).position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xFF))?;
        self.at += at + 2;
        Some(rest[at + 1])
    }

    /// Goes past the segment that follows a marker.
    fn segment(&mut self) -> Result<&'a [u8], ImageError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = usize::from(word(rest, 0)?);
        let segment = rest.get(2..length.max(2));
        self.at += length.max(2);
        segment.ok_or_else(|| damaged("a segment is longer than the file"))
    }

    fn start_frame(&mut self, marker: u8, segment: &[u8]) -> Result<(), ImageError> {
        if self.frame.is_some() {
            return Err(damaged("a second frame header"));
        }
        self.frame = Some(Frame::read(marker, segment, self.limits, self.bytes.len())?);
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
                let number = number.iter().fold(0, |value, &byte| value << 8 | u16::from(byte));
                table[usize::from(at)] = number as i16;
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

    /// Decodes one scan, and goes past it. Whether it was the whole image.
    fn scan(&mut self, header: &[u8]) -> Result<bool, ImageError> {
        let frame = self.frame.as_mut().ok_or_else(|| damaged("a scan before the frame header"))?;
        frame.scans += 1;
        if frame.scans > MAX_SCANS {
            return Err(damaged(format!("more than {MAX_SCANS} scans")));
        }
        let count = usize::from(byte(header, 0)?);
        if !(1..=4).contains(&count) || header.len() != 4 + 2 * count {
            return Err(damaged("the length of a scan header"));
        }
        let (choices, spectrum) = header[1..].split_at(2 * count);
        let codes = Codes::new(frame.progressive, count, [spectrum[0], spectrum[1], spectrum[2]])?;
        if frame.scans == 1 {
            let in_scans = frame.progressive || count < frame.components.len();
            frame.allocate(in_scans, self.limits)?;
            if !frame.progressive {
                fill(&mut self.dc, standard::dc());
                fill(&mut self.ac, standard::ac());
            }
        }
        let mut members = Vec::with_capacity(count);
        for &[id, _] in choices.as_chunks().0 {
            let index = frame.components.iter().position(|component| component.id == id);
            let index = index.ok_or_else(|| damaged("a scan of a component that is not there"))?;
            if members.contains(&index) {
                return Err(damaged("a scan has a component twice"));
            }
            let component = &mut frame.components[index];
            let quantisers = component.quantisers.or(self.quantisers[component.table]);
            let missing = || damaged("a quantisation table is missing");
            component.quantisers = Some(quantisers.ok_or_else(missing)?);
            codes.note(component, frame.scans == 1);
            members.push(index);
        }
        let bits = Bits::new(self.bytes, self.at);
        let numbers = choices.as_chunks().0.iter();
        let numbers = numbers.map(|&[_, n]| [n >> 4, n & 15].map(usize::from));
        self.at = if frame.arithmetic {
            let mut coder = Arithmetic::new(bits, codes, self.conditioning, numbers.collect());
            scan::read(frame, &members, self.restart, &mut coder)?;
            coder.position()
        } else {
            let tables = numbers.map(|numbers| table_choice(&self.dc, &self.ac, codes, numbers));
            let mut coder = Huffman::new(bits, codes, tables.collect::<Result<_, _>>()?);
            scan::read(frame, &members, self.restart, &mut coder)?;
            coder.position()
        };
        Ok(frame.components[0].blocks.is_empty())
    }

    fn finish(&mut self) -> Result<Image, ImageError> {
        let mut frame = self.frame.take().ok_or_else(|| damaged("it has no frame"))?;
        if frame.components.iter().all(|component| component.quantisers.is_none()) {
            return Err(damaged("it has no scan"));
        }
        frame.transform();
        let ids: Vec<u8> = frame.components.iter().map(|component| component.id).collect();
        let pixels = std::mem::take(&mut frame.pixels);
        Ok(Colours::of(&ids, self.jfif, self.adobe).image(&frame, pixels))
    }
}

/// The tables that codes need, by their numbers.
fn table_choice<'a>(
    dc: &'a [Option<Table>; 4],
    ac: &'a [Option<Table>; 4],
    codes: Codes,
    numbers: [usize; 2],
) -> Result<Tables<'a>, ImageError> {
    let [needs_dc, needs_ac] = codes.tables();
    let table = |tables: &'a [Option<Table>; 4], number: usize, needed: bool| {
        let table = tables.get(number).and_then(Option::as_ref);
        if needed && table.is_none() {
            Err(damaged("a Huffman table is missing"))
        } else {
            Ok(table)
        }
    };
    let dc = table(dc, numbers[0], needs_dc)?;
    if needs_dc && !dc.is_some_and(Table::is_of_means) {
        return Err(damaged("a Huffman table with sizes over 15 bits"));
    }
    Ok(Tables { dc, ac: table(ac, numbers[1], needs_ac)? })
}

/// Puts tables where none were given.
fn fill(tables: &mut [Option<Table>], standard: [Option<Table>; 2]) {
    for (table, standard) in tables.iter_mut().zip(standard) {
        if table.is_none() {
            *table = standard;
        }
    }
}

fn byte(segment: &[u8], at: usize) -> Result<u8, ImageError> {
    segment.get(at).copied().ok_or_else(|| damaged("a short segment"))
}

fn word(segment: &[u8], at: usize) -> Result<u16, ImageError> {
    Ok(u16::from_be_bytes([byte(segment, at)?, byte(segment, at + 1)?]))
}
