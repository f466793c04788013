//! Huffman codes (T.81, annex C and F.2.2.3). One look-up gives a short code and the number behind it at once.

use super::bits::Reader;
use super::damaged;
use crate::error::ImageError;

/// Codes up to this length, with the number behind them, are found by one look-up.
const SHORT: u32 = 10;

/// What a symbol stands for in a block: a run of zeros, then a number. The symbol of a mean (DC) has no run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) run: usize,
    pub(super) value: i32,
}

/// The run of the symbol that ends a block: from wherever it stands, it leaves the block.
pub(super) const END: usize = 64;

/// A Huffman table.
pub(super) struct Table {
    /// By the next `SHORT` bits: bits of code and number << 0, run << 8, number << 16; 0 where they are more.
    steps: Box<[u32; 1 << SHORT]>,
    /// By the next `SHORT` bits: length << 8 | symbol; 0 where the code is longer.
    short: Box<[u16; 1 << SHORT]>,
    /// By length: the first code that is too great for it, and what is added to a code for its symbol's number.
    end: [u32; 17],
    offset: [i32; 17],
    symbols: [u8; 256],
}

impl Table {
    /// Reads a table from a segment: the number of codes of each length, then their symbols. Also the bytes read.
    pub(super) fn read(segment: &[u8]) -> Result<(Self, usize), ImageError> {
        let counts = segment.first_chunk().ok_or_else(|| damaged("a short Huffman table"))?;
        let total: usize = counts.iter().map(|&count| usize::from(count)).sum();
        let symbols = segment.get(16..16 + total).filter(|_| total <= 256);
        let symbols = symbols.ok_or_else(|| damaged("a short Huffman table"))?;
        Ok((Self::new(counts, symbols)?, 16 + total))
    }

    /// A table from the number of codes of each length and their symbols, at most 256.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Self, ImageError> {
        let mut table = Self {
            steps: Box::new([0; 1 << SHORT]),
            short: Box::new([0; 1 << SHORT]),
            end: [0; 17],
            offset: [0; 17],
            symbols: [0; 256],
        };
        table.symbols[..symbols.len()].copy_from_slice(symbols);
        let (mut code, mut number) = (0u32, 0usize);
        for length in 1..=16u32 {
            let count = u32::from(counts[length as usize - 1]);
            // The code of ones alone is left free.
            if count > 0 && code + count >= 1 << length {
                return Err(damaged("a Huffman table with too many codes"));
            }
            table.offset[length as usize] = number as i32 - code as i32;
            for _ in 0..count {
                if length <= SHORT {
                    let entry = (length as u16) << 8 | u16::from(symbols[number]);
                    let from = (code << (SHORT - length)) as usize;
                    let places = from..from + (1 << (SHORT - length));
                    table.short[places.clone()].fill(entry);
                    fill_steps(&mut table.steps[places], length, symbols[number]);
                }
                (code, number) = (code + 1, number + 1);
            }
            table.end[length as usize] = code;
            code <<= 1;
        }
        Ok(table)
    }

    /// Whether all symbols are sizes of a mean, which 15 bits are enough for.
    pub(super) fn is_of_means(&self) -> bool {
        self.symbols.iter().all(|&symbol| symbol < 16)
    }

    /// The next symbol. 17 bits must be there; those of a code that the table lacks are passed over, and it reads as 0.
    #[inline(always)]
    pub(super) fn symbol(&self, reader: &mut Reader) -> u8 {
        let entry = self.short[reader.peek(SHORT)];
        if entry == 0 {
            return self.long_symbol(reader);
        }
        reader.skip(u32::from(entry >> 8));
        entry as u8
    }

    #[cold]
    fn long_symbol(&self, reader: &mut Reader) -> u8 {
        for length in SHORT + 1..=16 {
            let code = reader.peek(length) as u32;
            if code < self.end[length as usize] {
                reader.skip(length);
                return self.symbols[(code as i32 + self.offset[length as usize]) as usize & 255];
            }
        }
        reader.skip(17);
        0
    }

    /// The next step through a block. 32 bits must be there.
    #[inline(always)]
    pub(super) fn step(&self, reader: &mut Reader) -> Step {
        let entry = self.steps[reader.peek(SHORT)];
        if entry == 0 {
            return self.long_step(reader);
        }
        reader.skip(entry & 0xFF);
        Step { run: (entry >> 8) as usize & 0xFF, value: entry as i32 >> 16 }
    }

    fn long_step(&self, reader: &mut Reader) -> Step {
        let symbol = self.symbol(reader);
        Step { run: run(symbol), value: reader.signed(u32::from(symbol & 15)) }
    }
}

/// Zeros before the number of this symbol; of sixteen zeros, the last one passes for the number.
fn run(symbol: u8) -> usize {
    if symbol & 15 == 0 && symbol < 0xF0 { END } else { usize::from(symbol >> 4) }
}

/// Fills the entries of [`Table::steps`] that begin with the code of this length and symbol: as many for each number as there
/// are bits left behind it.
fn fill_steps(steps: &mut [u32], length: u32, symbol: u8) {
    let size = u32::from(symbol & 15);
    let Some(rest) = SHORT.checked_sub(length + size) else { return };
    for (number, steps) in (0..).zip(steps.chunks_exact_mut(1 << rest)) {
        let negative = size > 0 && number < 1 << (size - 1);
        let value: i32 = if negative { number - (1 << size) + 1 } else { number };
        steps.fill((value as u32) << 16 | (run(symbol) as u32) << 8 | (length + size));
    }
}
