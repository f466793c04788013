//! Arithmetic codes (T.81, annex D): every decision is a yes or a no, whose likelihood is learned in a bin of its own. Which
//! decisions make a coefficient is said in F.1.4 for sequential files, in G.1.3 for progressive ones.

use super::ZIGZAG;
use super::bits::{Bits, End};
use super::scan::{Coder, Codes};
use super::{Coefficients, damaged};
use crate::error::ImageError;

/// Numbers of each kind of table.
const TABLES: usize = 16;
/// Bins of a table for means, and of one for the other coefficients.
const DC_BINS: usize = 64;
const AC_BINS: usize = 256;
/// Where the bins of the second kind begin, and the bin that learns nothing.
const AC: usize = TABLES * DC_BINS;
const FIXED: usize = AC + TABLES * AC_BINS;
/// Bins of a table for means from which the length of a number is told; for the other coefficients, of short and of long
/// waves. The bits of a number of that length come so many bins behind.
const DC_LENGTH: usize = 20;
const AC_LENGTHS: [usize; 2] = [189, 217];
const TO_BITS: usize = 14;

/// How a table's decisions depend on what came before (B.2.4.3).
#[derive(Clone, Copy)]
pub(super) struct Conditioning {
    /// Bits that a step between two means has at least to be small, and at most.
    dc: [[u8; 2]; TABLES],
    /// The last coefficient of the short ones.
    ac: [u8; TABLES],
}

impl Default for Conditioning {
    fn default() -> Self {
        Self { dc: [[0, 1]; TABLES], ac: [5; TABLES] }
    }
}

impl Conditioning {
    /// Reads the segment that sets it.
    pub(super) fn read(&mut self, segment: &[u8]) -> Result<(), ImageError> {
        for &[number, value] in segment.as_chunks().0 {
            let number = usize::from(number);
            let bounds = [value & 15, value >> 4];
            if number >= 2 * TABLES || number < TABLES && bounds[0] > bounds[1] {
                return Err(damaged("the conditioning of its arithmetic codes"));
            }
            match number.checked_sub(TABLES) {
                None => self.dc[number] = bounds,
                Some(number) => self.ac[number] = value,
            }
        }
        Ok(())
    }
}

/// A scan of arithmetic codes.
pub(super) struct Arithmetic<'a> {
    bits: Bits<'a>,
    codes: Codes,
    conditioning: Conditioning,
    /// For each member of the scan, the numbers of its tables.
    tables: Vec<[usize; 2]>,
    /// For each member, its last mean and the bins that come with the last step to it.
    means: [i16; 4],
    steps: [usize; 4],
    /// Each bin's state, and 128 where no is unlikely.
    bins: Vec<u8>,
    /// The interval, what lies in it, and how many bits of that are read ahead; negative before the first ones.
    interval: u32,
    code: u32,
    ahead: i32,
    /// The codes made no sense: what is left of the segment is empty.
    broken: bool,
}

impl<'a> Arithmetic<'a> {
    pub(super) fn new(
        bits: Bits<'a>,
        codes: Codes,
        conditioning: Conditioning,
        tables: Vec<[usize; 2]>,
    ) -> Self {
        let mut coder = Self {
            bits,
            codes,
            conditioning,
            tables,
            means: [0; 4],
            steps: [0; 4],
            bins: Vec::new(),
            interval: 0,
            code: 0,
            ahead: 0,
            broken: false,
        };
        coder.begin();
        coder
    }

    /// Position in the file of what follows the scan.
    pub(super) fn position(&self) -> usize {
        self.bits.position()
    }

    /// Nothing has been learned.
    fn begin(&mut self) {
        self.bins.clear();
        self.bins.resize(FIXED, 0);
        self.bins.push((STATES.len() - 1) as u8);
        (self.means, self.steps, self.broken) = ([0; 4], [0; 4], false);
        (self.interval, self.code, self.ahead) = (0, 0, -16);
    }

    /// The next decision, of a bin (D.2).
    fn decide(&mut self, bin: usize) -> bool {
        while self.interval < 0x8000 {
            self.ahead -= 1;
            if self.ahead < 0 {
                self.code = self.code << 8 | self.bits.take(8) as u32;
                self.ahead += 8;
                if self.ahead < 0 {
                    self.ahead += 1;
                    if self.ahead == 0 {
                        self.interval = 0x8000;
                    }
                }
            }
            self.interval <<= 1;
        }
        let (likely, state) = (self.bins[bin] & 0x80, &STATES[usize::from(self.bins[bin] & 0x7F)]);
        self.interval -= state.unlikely;
        let lower = self.interval << self.ahead;
        // The greater part of the interval goes to what is likely, whichever part that is.
        let exchanged = self.interval < state.unlikely;
        let expected = if self.code >= lower {
            self.code -= lower;
            self.interval = state.unlikely;
            exchanged
        } else if self.interval < 0x8000 {
            !exchanged
        } else {
            return likely != 0;
        };
        if expected {
            self.bins[bin] = likely | state.after_likely;
            return likely != 0;
        }
        self.bins[bin] = likely ^ state.after_unlikely;
        likely == 0
    }

    /// The length of a number less one, from the bin of its second bit on: its highest bit, and that bit's bin.
    fn length(&mut self, mut bin: usize, mut highest: i32) -> Option<(i32, usize)> {
        while self.decide(bin) {
            highest <<= 1;
            if highest == 0x8000 {
                return None;
            }
            bin += 1;
        }
        Some((highest, bin))
    }

    /// A number, from its highest bit less one.
    fn number(&mut self, highest: i32, bin: usize, negative: bool) -> i32 {
        let (mut value, mut bit) = (highest, highest >> 1);
        while bit > 0 {
            if self.decide(bin + TO_BITS) {
                value |= bit;
            }
            bit >>= 1;
        }
        if negative { -(value + 1) } else { value + 1 }
    }

    /// A block's mean, coded as the step from the component's last one. None where the codes make no sense.
    fn mean(&mut self, slot: usize) -> Option<i16> {
        let table = self.tables[slot][0];
        let base = table * DC_BINS;
        let bin = base + self.steps[slot];
        if !self.decide(bin) {
            self.steps[slot] = 0;
            return Some(self.means[slot]);
        }
        let negative = self.decide(bin + 1);
        let mut at = bin + 2 + usize::from(negative);
        let mut highest = i32::from(self.decide(at));
        if highest > 0 {
            (highest, at) = self.length(base + DC_LENGTH, highest)?;
        }
        let [least, most] = self.conditioning.dc[table].map(|bits| (1 << bits) >> 1);
        let sign = 4 * usize::from(negative);
        self.steps[slot] = match highest {
            _ if highest < least => 0,
            _ if highest > most => 12 + sign,
            _ => 4 + sign,
        };
        let step = self.number(highest, at, negative);
        self.means[slot] = self.means[slot].wrapping_add(step as i16);
        Some(self.means[slot])
    }

    /// Coefficients `from..=to` of a block, down to bit `low`. None where the codes make no sense.
    fn first(
        &mut self,
        block: &mut Coefficients,
        table: usize,
        [from, to]: [usize; 2],
        low: u32,
    ) -> Option<()> {
        let base = AC + table * AC_BINS;
        let mut k = from;
        while k <= to {
            let mut bin = base + 3 * (k - 1);
            if self.decide(bin) {
                break;
            }
            while !self.decide(bin + 1) {
                (bin, k) = (bin + 3, k + 1);
                if k > to {
                    return None;
                }
            }
            let negative = self.decide(FIXED);
            let mut at = bin + 2;
            let mut highest = i32::from(self.decide(at));
            if highest > 0 && self.decide(at) {
                let long = usize::from(k > usize::from(self.conditioning.ac[table]));
                (highest, at) = self.length(base + AC_LENGTHS[long], 2)?;
            }
            let number = self.number(highest, at, negative);
            block[usize::from(ZIGZAG[k])] = (number << low) as i16;
            k += 1;
        }
        Some(())
    }

    /// One more bit of coefficients `from..=to` of a block. None where the codes make no sense.
    fn next(
        &mut self,
        block: &mut Coefficients,
        table: usize,
        [from, to]: [usize; 2],
        low: u32,
    ) -> Option<()> {
        let base = AC + table * AC_BINS;
        let bit = 1i16 << low;
        let value = |k: usize| usize::from(ZIGZAG[k]);
        // The end of the block was told up to here.
        let told = (1..=to).rev().find(|&k| block[value(k)] != 0).unwrap_or(0);
        let mut k = from;
        while k <= to {
            let mut bin = base + 3 * (k - 1);
            if k > told && self.decide(bin) {
                break;
            }
            loop {
                let value = &mut block[value(k)];
                if *value != 0 {
                    if self.decide(bin + 2) {
                        *value = value.wrapping_add(if *value < 0 { -bit } else { bit });
                    }
                    break;
                }
                if self.decide(bin + 1) {
                    *value = if self.decide(FIXED) { -bit } else { bit };
                    break;
                }
                (bin, k) = (bin + 3, k + 1);
                if k > to {
                    return None;
                }
            }
            k += 1;
        }
        Some(())
    }

    /// None where the codes make no sense.
    fn read(&mut self, slot: usize, block: &mut Coefficients) -> Option<()> {
        let table = self.tables[slot][1];
        match self.codes {
            Codes::Sequential => {
                block[0] = self.mean(slot)?;
                self.first(block, table, [1, 63], 0)
            }
            Codes::DcFirst { low } => {
                block[0] = self.mean(slot)? << low;
                Some(())
            }
            Codes::DcNext { low } => {
                block[0] |= i16::from(self.decide(FIXED)) << low;
                Some(())
            }
            Codes::AcFirst { from, to, low } => self.first(block, table, [from, to], low),
            Codes::AcNext { from, to, low } => self.next(block, table, [from, to], low),
        }
    }
}

impl Coder for Arithmetic<'_> {
    fn block(&mut self, slot: usize, block: &mut Coefficients) -> usize {
        if !self.broken {
            self.broken = self.read(slot, block).is_none();
        }
        63
    }

    fn restart(&mut self, number: u8) -> Result<(), ImageError> {
        self.bits.restart(number)?;
        self.begin();
        Ok(())
    }

    /// Never: the data may end before the codes do, and zeros follow.
    fn has_ended(&self) -> bool {
        false
    }

    fn end_unit(&mut self) -> Result<(), ImageError> {
        if self.bits.end() == End::File && self.bits.overrun() {
            return Err(damaged("its data end early"));
        }
        Ok(())
    }
}

/// What a bin has learned (table D.3).
struct State {
    /// Part of the interval that goes to the unlikely answer.
    unlikely: u32,
    /// The next state after either answer; 128 where the answers change places.
    after_unlikely: u8,
    after_likely: u8,
}

const fn state(unlikely: u32, after_unlikely: u8, after_likely: u8, exchange: u8) -> State {
    State { unlikely, after_unlikely: after_unlikely | exchange << 7, after_likely }
}

/// The last one, in which both answers stay as likely, is for bins that learn nothing.
const STATES: [State; 114] = [
    state(0x5a1d, 1, 1, 1),
    state(0x2586, 14, 2, 0),
    state(0x1114, 16, 3, 0),
    state(0x080b, 18, 4, 0),
    state(0x03d8, 20, 5, 0),
    state(0x01da, 23, 6, 0),
    state(0x00e5, 25, 7, 0),
    state(0x006f, 28, 8, 0),
    state(0x0036, 30, 9, 0),
    state(0x001a, 33, 10, 0),
    state(0x000d, 35, 11, 0),
    state(0x0006, 9, 12, 0),
    state(0x0003, 10, 13, 0),
    state(0x0001, 12, 13, 0),
    state(0x5a7f, 15, 15, 1),
    state(0x3f25, 36, 16, 0),
    state(0x2cf2, 38, 17, 0),
    state(0x207c, 39, 18, 0),
    state(0x17b9, 40, 19, 0),
    state(0x1182, 42, 20, 0),
    state(0x0cef, 43, 21, 0),
    state(0x09a1, 45, 22, 0),
    state(0x072f, 46, 23, 0),
    state(0x055c, 48, 24, 0),
    state(0x0406, 49, 25, 0),
    state(0x0303, 51, 26, 0),
    state(0x0240, 52, 27, 0),
    state(0x01b1, 54, 28, 0),
    state(0x0144, 56, 29, 0),
    state(0x00f5, 57, 30, 0),
    state(0x00b7, 59, 31, 0),
    state(0x008a, 60, 32, 0),
    state(0x0068, 62, 33, 0),
    state(0x004e, 63, 34, 0),
    state(0x003b, 32, 35, 0),
    state(0x002c, 33, 9, 0),
    state(0x5ae1, 37, 37, 1),
    state(0x484c, 64, 38, 0),
    state(0x3a0d, 65, 39, 0),
    state(0x2ef1, 67, 40, 0),
    state(0x261f, 68, 41, 0),
    state(0x1f33, 69, 42, 0),
    state(0x19a8, 70, 43, 0),
    state(0x1518, 72, 44, 0),
    state(0x1177, 73, 45, 0),
    state(0x0e74, 74, 46, 0),
    state(0x0bfb, 75, 47, 0),
    state(0x09f8, 77, 48, 0),
    state(0x0861, 78, 49, 0),
    state(0x0706, 79, 50, 0),
    state(0x05cd, 48, 51, 0),
    state(0x04de, 50, 52, 0),
    state(0x040f, 50, 53, 0),
    state(0x0363, 51, 54, 0),
    state(0x02d4, 52, 55, 0),
    state(0x025c, 53, 56, 0),
    state(0x01f8, 54, 57, 0),
    state(0x01a4, 55, 58, 0),
    state(0x0160, 56, 59, 0),
    state(0x0125, 57, 60, 0),
    state(0x00f6, 58, 61, 0),
    state(0x00cb, 59, 62, 0),
    state(0x00ab, 61, 63, 0),
    state(0x008f, 61, 32, 0),
    state(0x5b12, 65, 65, 1),
    state(0x4d04, 80, 66, 0),
    state(0x412c, 81, 67, 0),
    state(0x37d8, 82, 68, 0),
    state(0x2fe8, 83, 69, 0),
    state(0x293c, 84, 70, 0),
    state(0x2379, 86, 71, 0),
    state(0x1edf, 87, 72, 0),
    state(0x1aa9, 87, 73, 0),
    state(0x174e, 72, 74, 0),
    state(0x1424, 72, 75, 0),
    state(0x119c, 74, 76, 0),
    state(0x0f6b, 74, 77, 0),
    state(0x0d51, 75, 78, 0),
    state(0x0bb6, 77, 79, 0),
    state(0x0a40, 77, 48, 0),
    state(0x5832, 80, 81, 1),
    state(0x4d1c, 88, 82, 0),
    state(0x438e, 89, 83, 0),
    state(0x3bdd, 90, 84, 0),
    state(0x34ee, 91, 85, 0),
    state(0x2eae, 92, 86, 0),
    state(0x299a, 93, 87, 0),
    state(0x2516, 86, 71, 0),
    state(0x5570, 88, 89, 1),
    state(0x4ca9, 95, 90, 0),
    state(0x44d9, 96, 91, 0),
    state(0x3e22, 97, 92, 0),
    state(0x3824, 99, 93, 0),
    state(0x32b4, 99, 94, 0),
    state(0x2e17, 93, 86, 0),
    state(0x56a8, 95, 96, 1),
    state(0x4f46, 101, 97, 0),
    state(0x47e5, 102, 98, 0),
    state(0x41cf, 103, 99, 0),
    state(0x3c3d, 104, 100, 0),
    state(0x375e, 99, 93, 0),
    state(0x5231, 105, 102, 0),
    state(0x4c0f, 106, 103, 0),
    state(0x4639, 107, 104, 0),
    state(0x415e, 103, 99, 0),
    state(0x5627, 105, 106, 1),
    state(0x50e7, 108, 107, 0),
    state(0x4b85, 109, 103, 0),
    state(0x5597, 110, 109, 0),
    state(0x504f, 111, 107, 0),
    state(0x5a10, 110, 111, 1),
    state(0x5522, 112, 109, 0),
    state(0x59eb, 112, 111, 1),
    state(0x5a1d, 113, 113, 0),
];
