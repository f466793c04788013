//! The bits of entropy-coded data (T.81, B.1.1.5): bytes without their stuffing, read in words, up to the next marker.
//!
//! Of data that end early, the rest reads as zeros, as in libjpeg; [`Bits::overrun`] says that it was needed.

use super::damaged;
use crate::error::ImageError;

/// Zeros behind the data of a segment, so that each of its bytes begins a whole word.
const PADDING: usize = 8;

/// What follows the data of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The file ends.
    File,
    /// A marker, of this number.
    Marker(u8),
}

/// A segment of a scan: the data between two markers.
pub(super) struct Bits<'a> {
    file: &'a [u8],
    /// First byte of the file behind the segment's data: that of the marker.
    at: usize,
    end: End,
    /// The data, and zeros.
    data: Vec<u8>,
    /// Number of bytes that are data.
    length: usize,
    reader: Reader,
}

/// A place among the bits. Copied while a block is read, so that it stays in registers.
#[derive(Clone, Copy, Default)]
pub(super) struct Reader {
    /// Bits that were read ahead, the next one on top. Below `count` of them are further ones or zeros.
    buffer: u64,
    count: u32,
    /// The next byte to be read ahead; may lie behind the data.
    next: usize,
}

impl<'a> Bits<'a> {
    /// Opens the segment that begins at byte `at` of the file.
    pub(super) fn new(file: &'a [u8], at: usize) -> Self {
        let mut bits = Self {
            file,
            at,
            end: End::File,
            data: Vec::new(),
            length: 0,
            reader: Reader::default(),
        };
        bits.open();
        bits
    }

    /// Takes the data from `at` to the next marker.
    fn open(&mut self) {
        self.reader = Reader::default();
        self.data.clear();
        let file = self.file;
        loop {
            let rest = file.get(self.at..).unwrap_or_default();
            let plain = position(rest, 0xFF);
            self.data.extend(&rest[..plain]);
            // Of several 0xFF, the last one counts; a zero behind it makes it data.
            let filled = rest[plain..].iter().take_while(|&&byte| byte == 0xFF).count();
            match rest.get(plain + filled) {
                Some(0) => self.data.push(0xFF),
                Some(&marker) => {
                    self.at += plain;
                    self.end = End::Marker(marker);
                    break;
                }
                None => {
                    self.at += plain;
                    self.end = End::File;
                    break;
                }
            }
            self.at += plain + filled + 1;
        }
        self.length = self.data.len();
        self.data.resize(self.length + PADDING, 0);
    }

    /// What follows the data.
    pub(super) fn end(&self) -> End {
        self.end
    }

    /// Position in the file of what follows the data.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Whether more bits were read than there are.
    pub(super) fn overrun(&self) -> bool {
        8 * self.reader.next > 8 * self.length + self.reader.count as usize
    }

    /// The place where reading goes on, and the data.
    pub(super) fn reader(&mut self) -> (&mut Reader, &[u8]) {
        (&mut self.reader, &self.data)
    }

    /// The next `count` bits, at most 16, as a number.
    pub(super) fn take(&mut self, count: u32) -> i32 {
        self.reader.refill(&self.data);
        self.reader.take(count)
    }

    /// Goes past the restart marker of this number. Where another one is found, libjpeg's rule decides: it is passed over,
    /// or what should be here was lost. Then the segment is empty, and the answer false.
    pub(super) fn restart(&mut self, number: u8) -> Result<bool, ImageError> {
        loop {
            let End::Marker(marker) = self.end else {
                return Err(damaged("it ends before a restart marker"));
            };
            let ahead = marker.wrapping_sub(0xD0 + number) & 7;
            let restart = (0xD0..=0xD7).contains(&marker);
            // Any other marker, or one of the next two restarts.
            if marker >= 0xC0 && (!restart || matches!(ahead, 1 | 2)) {
                self.data.clear();
                self.data.resize(PADDING, 0);
                (self.length, self.reader) = (0, Reader::default());
                return Ok(false);
            }
            let rest = self.file.get(self.at..).unwrap_or_default();
            self.at += rest.iter().take_while(|&&byte| byte == 0xFF).count() + 1;
            self.open();
            // One of the last two came late.
            if restart && !matches!(ahead, 6 | 7) {
                return Ok(true);
            }
        }
    }
}

impl Reader {
    /// Reads ahead: at least 56 bits are there afterwards.
    #[inline(always)]
    pub(super) fn refill(&mut self, data: &[u8]) {
        let word = data.get(self.next..).and_then(|rest| rest.first_chunk());
        self.buffer |= word.map_or(0, |word| u64::from_be_bytes(*word)) >> self.count;
        self.next += (63 - self.count as usize) / 8;
        self.count |= 56;
    }

    /// Bits that are there.
    #[inline(always)]
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The next `COUNT` bits, which stay.
    #[inline(always)]
    pub(super) fn peek(&self, count: u32) -> usize {
        (self.buffer >> (64 - count)) as usize
    }

    /// Passes over bits that are there.
    #[inline(always)]
    pub(super) fn skip(&mut self, count: u32) {
        self.buffer <<= count;
        self.count -= count;
    }

    /// The next `count` bits, which are there, at most 31.
    #[inline(always)]
    pub(super) fn take(&mut self, count: u32) -> i32 {
        let value = (self.buffer >> 1 >> (63 - count)) as i32;
        self.skip(count);
        value
    }

    /// A number of `size` bits, which are there, whose first one is its sign (T.81, F.2.2.1).
    #[inline(always)]
    pub(super) fn signed(&mut self, size: u32) -> i32 {
        let negative = self.buffer >> 63 == 0 && size > 0;
        self.take(size) - if negative { (1 << size) - 1 } else { 0 }
    }
}

/// Number of bytes before the first one that is `wanted`; all of them if none is.
fn position(bytes: &[u8], wanted: u8) -> usize {
    let has = |chunk: &&[u8]| chunk.iter().fold(false, |has, &byte| has | (byte == wanted));
    let without = bytes.chunks_exact(32).take_while(|chunk| !has(chunk)).count() * 32;
    let rest = &bytes[without..];
    without + rest.iter().position(|&byte| byte == wanted).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stuffing_is_removed_and_markers_end_the_data() {
        let file = [0x12, 0xFF, 0, 0x34, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0xD9, 0x56];
        let mut bits = Bits::new(&file, 0);
        assert_eq!([16, 16].map(|count| bits.take(count)), [0x12FF, 0x34FF]);
        assert_eq!((bits.end(), bits.position()), (End::Marker(0xD9), 7));
        assert!(!bits.overrun());
        assert_eq!(bits.take(1), 0);
        assert!(bits.overrun());
    }

    #[test]
    fn long_data_are_read_in_order() {
        let file: Vec<u8> = (0..1000).map(|i| (i % 255) as u8).collect();
        let mut bits = Bits::new(&file, 0);
        let mut expected = file.iter().flat_map(|byte| (0..8).rev().map(move |i| byte >> i & 1));
        for count in (1..=16).cycle().take_while(|_| true).take(900) {
            let number = expected.by_ref().take(count).fold(0, |n, bit| n << 1 | i32::from(bit));
            assert_eq!(bits.take(count as u32), number);
        }
        assert_eq!(bits.end(), End::File);
    }

    #[test]
    fn signs_are_in_the_first_bit() {
        let mut bits = Bits::new(&[0b0100_1101, 0b1000_0000], 0);
        let (reader, data) = bits.reader();
        reader.refill(data);
        assert_eq!([0, 1, 1, 2, 2, 3].map(|size| reader.signed(size)), [0, -1, 1, -3, 3, -4]);
    }

    #[test]
    fn restarts_are_found_as_libjpeg_finds_them() {
        let file = |marker: u8| [0x11, 0xFF, marker, 0x22, 0xFF, 0xD3, 0x33, 0xFF, 0xD9];
        let next = |marker: u8| {
            let file = file(marker);
            let mut bits = Bits::new(&file, 0);
            let whole = bits.restart(3).unwrap();
            (whole, bits.take(8))
        };
        assert_eq!(next(0xD3), (true, 0x22), "the right one");
        assert_eq!(next(0xD4), (false, 0), "this one was lost");
        assert_eq!(next(0xD5), (false, 0), "two were lost");
        assert_eq!(next(0xD6), (true, 0x22), "too far ahead: a wrong number");
        assert_eq!(next(0xD2), (true, 0x33), "an earlier one");
        assert_eq!(next(0xD1), (true, 0x33), "an earlier one");
        assert_eq!(next(0xD0), (true, 0x22), "too far behind: a wrong number");
        assert_eq!(next(0x05), (true, 0x33), "no marker of JPEG");
        assert_eq!(next(0xD9), (false, 0), "the image ends");
        assert!(Bits::new(&[0x11], 0).restart(0).is_err());
    }
}
