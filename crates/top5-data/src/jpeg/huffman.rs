//! Huffman codes (T.81, annex C and F.2.2.3), and the bits that they are read from.

use super::damaged;
use crate::error::ImageError;

/// Codes up to this length are found by one look-up.
const SHORT: u32 = 9;

/// A Huffman table.
pub(super) struct Table {
    /// By the next `SHORT` bits: length << 8 | symbol; 0 where the code is longer.
    short: Vec<u16>,
    /// By length: the first code that is too great for it, and what is added to a code for its symbol's number.
    end: [u32; 17],
    offset: [i32; 17],
    symbols: Vec<u8>,
}

impl Table {
    /// Reads a table from a segment: the number of codes of each length, then their symbols. Also the bytes read.
    pub(super) fn read(segment: &[u8]) -> Result<(Self, usize), ImageError> {
        let counts = segment.get(..16).ok_or_else(|| damaged("a short Huffman table"))?;
        let total: usize = counts.iter().map(|&count| usize::from(count)).sum();
        let symbols = segment.get(16..16 + total).filter(|_| total <= 256);
        let symbols = symbols.ok_or_else(|| damaged("a short Huffman table"))?.to_vec();
        let mut table = Self { short: vec![0; 1 << SHORT], end: [0; 17], offset: [0; 17], symbols };
        let (mut code, mut number) = (0u32, 0usize);
        for length in 1..=16u32 {
            let count = u32::from(counts[length as usize - 1]);
            if code + count > 1 << length {
                return Err(damaged("a Huffman table with too many codes"));
            }
            table.offset[length as usize] = number as i32 - code as i32;
            for _ in 0..count {
                if length <= SHORT {
                    let entry = (length as u16) << 8 | u16::from(table.symbols[number]);
                    let from = (code << (SHORT - length)) as usize;
                    table.short[from..from + (1 << (SHORT - length))].fill(entry);
                }
                (code, number) = (code + 1, number + 1);
            }
            table.end[length as usize] = code;
            code <<= 1;
        }
        Ok((table, 16 + total))
    }
}

/// The bits of entropy-coded data, up to the next marker.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Bits that were read ahead, the next one on top; below them zeros.
    buffer: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, buffer: 0, count: 0 }
    }

    /// Reads ahead, unless a marker or the end is reached.
    fn fill(&mut self) {
        while self.count <= 56 {
            let Some(&byte) = self.bytes.get(self.at) else { return };
            if byte == 0xFF {
                // A zero follows a byte that is data; anything else makes it a marker.
                if self.bytes.get(self.at + 1) != Some(&0) {
                    return;
                }
                self.at += 1;
            }
            self.at += 1;
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    fn skip(&mut self, count: u32) -> Result<(), ImageError> {
        if count > self.count {
            return Err(damaged("its data end early"));
        }
        self.buffer <<= count;
        self.count -= count;
        Ok(())
    }

    /// The next `count` bits, at most 16, as a number.
    pub(super) fn take(&mut self, count: u32) -> Result<i32, ImageError> {
        if count == 0 {
            return Ok(0);
        }
        if self.count < count {
            self.fill();
        }
        let value = self.buffer >> (64 - count);
        self.skip(count)?;
        Ok(value as i32)
    }

    /// The next symbol.
    pub(super) fn symbol(&mut self, table: &Table) -> Result<u8, ImageError> {
        if self.count < 16 {
            self.fill();
        }
        let entry = table.short[(self.buffer >> (64 - SHORT)) as usize];
        if entry != 0 {
            self.skip(u32::from(entry >> 8))?;
            return Ok(entry as u8);
        }
        for length in SHORT + 1..=16 {
            let code = (self.buffer >> (64 - length)) as u32;
            if code < table.end[length as usize] {
                let number = code as i32 + table.offset[length as usize];
                let symbol = usize::try_from(number).ok().and_then(|n| table.symbols.get(n));
                let symbol = *symbol.ok_or_else(|| damaged("a wrong Huffman code"))?;
                self.skip(length)?;
                return Ok(symbol);
            }
        }
        Err(damaged("a wrong Huffman code"))
    }

    /// A number of `size` bits whose first bit is its sign (T.81, F.2.2.1).
    pub(super) fn signed(&mut self, size: u32) -> Result<i32, ImageError> {
        if size > 15 {
            return Err(damaged("a coefficient is out of range"));
        }
        let value = self.take(size)?;
        let negative = size > 0 && value < 1 << (size - 1);
        Ok(if negative { value - (1 << size) + 1 } else { value })
    }

    /// Goes past the restart marker of this number, which must be next.
    pub(super) fn restart(&mut self, number: u8) -> Result<(), ImageError> {
        // The rest of the last byte, and what is left before the marker, is no data.
        (self.buffer, self.count) = (0, 0);
        while self.bytes.get(self.at..self.at + 2) == Some(&[0xFF, 0xFF]) {
            self.at += 1;
        }
        let expected = [0xFF, 0xD0 + number];
        if self.bytes.get(self.at..self.at + 2) != Some(&expected[..]) {
            return Err(damaged("a restart marker is missing"));
        }
        self.at += 2;
        Ok(())
    }

    /// Bytes read so far; those that were read ahead are data, among which no marker is.
    pub(super) fn position(&self) -> usize {
        self.at
    }
}
