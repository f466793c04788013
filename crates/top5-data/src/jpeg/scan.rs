//! One pass over the image: the order of its blocks, and what the Huffman codes of each say (T.81, F.2 for sequential
//! files, G.2 for progressive ones).
//!
//! Damage is met as in libjpeg: a code that is in no table reads as 0, and of data that end early, the rest is empty.

use top5_kernels::jpeg;

use super::bits::{Bits, End};
use super::frame::{Component, Frame};
use super::huffman::{END, Table};
use super::{Coefficients, ZIGZAG, damaged};
use crate::error::ImageError;

/// What a scan says of a block.
#[derive(Clone, Copy, Debug)]
pub(super) enum Codes {
    /// All of it.
    Sequential,
    /// The first bits of its mean, down to bit `low`.
    DcFirst { low: u32 },
    /// One more bit of it.
    DcNext { low: u32 },
    /// The first bits of coefficients `from..=to`.
    AcFirst { from: usize, to: usize, low: u32 },
    /// One more bit of them.
    AcNext { from: usize, to: usize, low: u32 },
}

impl Codes {
    /// From the last three bytes of the scan header: first and last coefficient, then the bit positions.
    pub(super) fn new(
        progressive: bool,
        components: usize,
        header: [u8; 3],
    ) -> Result<Self, ImageError> {
        let [from, to] = [header[0], header[1]].map(usize::from);
        let [high, low] = [header[2] >> 4, header[2] & 15].map(u32::from);
        let sound = from <= to && to < 64 && low <= 13 && (high == 0 || high == low + 1);
        match (progressive, from, high) {
            (false, ..) => Ok(Self::Sequential),
            (true, 0, 0) if sound && to == 0 => Ok(Self::DcFirst { low }),
            (true, 0, _) if sound && to == 0 => Ok(Self::DcNext { low }),
            (true, 1.., 0) if sound && components == 1 => Ok(Self::AcFirst { from, to, low }),
            (true, 1.., _) if sound && components == 1 => Ok(Self::AcNext { from, to, low }),
            _ => Err(damaged("the parameters of a progressive scan")),
        }
    }

    /// Notes how many bits a component's coefficients lack after the scan, the first one of the file or a later one.
    pub(super) fn note(self, component: &mut Component, first: bool) {
        let (range, low) = match self {
            Self::Sequential => (0..=63, 0),
            Self::DcFirst { low } | Self::DcNext { low } => (0..=0, low),
            Self::AcFirst { from, to, low } | Self::AcNext { from, to, low } => (from..=to, low),
        };
        component.lacking_before = if first { [0; 64] } else { component.lacking };
        component.lacking[range].fill(low as i8);
    }

    /// Whether it needs a table for means, and one for the other coefficients.
    pub(super) fn tables(self) -> [bool; 2] {
        match self {
            Self::Sequential => [true, true],
            Self::DcFirst { .. } => [true, false],
            Self::DcNext { .. } => [false, false],
            Self::AcFirst { .. } | Self::AcNext { .. } => [false, true],
        }
    }
}

/// Reads the blocks of a scan, one after the other.
pub(super) trait Coder {
    /// Reads the next block, of the scan's member `slot`, into what earlier scans gave. In the file's order, all
    /// coefficients behind the number returned are still zero, if they were.
    fn block(&mut self, slot: usize, block: &mut Coefficients) -> usize;

    /// Goes past the restart marker of this number.
    fn restart(&mut self, number: u8) -> Result<(), ImageError>;

    /// Whether the segment's data have ended, and the blocks that are left of it are empty.
    fn has_ended(&self) -> bool;

    /// Called after each unit. Fails where the file ends.
    fn end_unit(&mut self) -> Result<(), ImageError>;
}

/// Where a unit has a block.
struct Place {
    slot: usize,
    component: usize,
    /// Blocks of the component per unit, and which of them it is.
    size: [usize; 2],
    at: [usize; 2],
}

/// Reads all units of a scan of these components. `restart` is the number of units between restart markers; 0 for none.
pub(super) fn read(
    frame: &mut Frame,
    members: &[usize],
    restart: usize,
    coder: &mut impl Coder,
) -> Result<(), ImageError> {
    // A scan of one component has its blocks one by one; of several, as many per unit as their factors say.
    let alone = members.len() == 1;
    let (columns, rows, rows_per_unit) = if alone {
        let component = &frame.components[members[0]];
        (component.width.div_ceil(8), component.height.div_ceil(8), component.v)
    } else {
        (frame.width.div_ceil(8 * frame.h), frame.height.div_ceil(8 * frame.v), 1)
    };
    let mut places = Vec::new();
    for (slot, &index) in members.iter().enumerate() {
        let component = &frame.components[index];
        let size = if alone { [1, 1] } else { [component.h, component.v] };
        places.extend((0..size[0] * size[1]).map(|i| Place {
            slot,
            component: index,
            size,
            at: [i % size[0], i / size[0]],
        }));
    }
    let (mut left, mut number) = (restart, 0);
    for y in 0..rows {
        for x in 0..columns {
            if left == 0 && restart > 0 {
                coder.restart(number)?;
                (left, number) = (restart, (number + 1) % 8);
            }
            left = left.wrapping_sub(1);
            if !coder.has_ended() {
                frame.last_good = y / rows_per_unit;
            }
            for place in &places {
                let column = x * place.size[0] + place.at[0];
                let row = y * place.size[1] + place.at[1];
                frame.read_block(place.component, [column, row], |block| {
                    coder.block(place.slot, block)
                });
            }
            coder.end_unit()?;
        }
    }
    Ok(())
}

impl Frame {
    /// Reads a block, to its place among the coefficients or at once to samples.
    #[inline(always)]
    fn read_block(
        &mut self,
        component: usize,
        [column, row]: [usize; 2],
        read: impl FnOnce(&mut Coefficients) -> usize,
    ) {
        let component = &mut self.components[component];
        if let Some(block) = component.blocks.get_mut(row * component.columns + column) {
            read(block);
            return;
        }
        let mut block = [0; 64];
        let last = read(&mut block);
        let stride = component.columns * 8;
        let samples = &mut component.samples[row * 8 * stride + column * 8..];
        let quantisers = component.quantisers.as_ref().expect("the scan's header was read");
        jpeg::inverse(&block, last, quantisers, samples, stride);
    }
}

/// Huffman tables of a member of the scan, those that it needs.
#[derive(Clone, Copy)]
pub(super) struct Tables<'a> {
    pub(super) dc: Option<&'a Table>,
    pub(super) ac: Option<&'a Table>,
}

/// A scan of Huffman codes.
pub(super) struct Huffman<'a> {
    bits: Bits<'a>,
    codes: Codes,
    tables: Vec<Tables<'a>>,
    /// What one block leaves to the next: the mean of the component's last one, and how many blocks have nothing to come.
    means: [i32; 4],
    empty: u32,
    /// The segment's data have ended, and the blocks that are left of it are empty.
    ended: bool,
}

impl<'a> Huffman<'a> {
    pub(super) fn new(bits: Bits<'a>, codes: Codes, tables: Vec<Tables<'a>>) -> Self {
        Self { bits, codes, tables, means: [0; 4], empty: 0, ended: false }
    }

    /// Position in the file of what follows the scan.
    pub(super) fn position(&self) -> usize {
        self.bits.position()
    }
}

impl Coder for Huffman<'_> {
    #[inline(always)]
    fn block(&mut self, slot: usize, block: &mut Coefficients) -> usize {
        if self.ended {
            return 0;
        }
        let Tables { dc, ac } = self.tables[slot];
        let (bits, mean) = (&mut self.bits, &mut self.means[slot]);
        match (self.codes, dc, ac) {
            (Codes::Sequential, Some(dc), Some(ac)) => {
                return sequential(bits, block, dc, ac, mean);
            }
            (Codes::DcFirst { low }, Some(dc), _) => {
                let (reader, data) = bits.reader();
                reader.refill(data);
                *mean = mean.wrapping_add(dc.step(reader).value);
                block[0] = (*mean << low) as i16;
            }
            (Codes::DcNext { low }, ..) => block[0] |= (bits.take(1) << low) as i16,
            (Codes::AcFirst { from, to, low }, _, Some(ac)) => {
                first(bits, block, ac, [from, to], low, &mut self.empty);
            }
            (Codes::AcNext { from, to, low }, _, Some(ac)) => {
                next(bits, block, ac, [from, to], low, &mut self.empty);
            }
            _ => unreachable!("the tables that the codes need are there"),
        }
        63
    }

    fn restart(&mut self, number: u8) -> Result<(), ImageError> {
        self.ended &= !self.bits.restart(number)?;
        (self.means, self.empty) = ([0; 4], 0);
        Ok(())
    }

    #[inline(always)]
    fn has_ended(&self) -> bool {
        self.ended
    }

    #[inline(always)]
    fn end_unit(&mut self) -> Result<(), ImageError> {
        if self.bits.overrun() && !self.ended {
            if self.bits.end() == End::File {
                return Err(damaged("its data end early"));
            }
            self.ended = true;
        }
        Ok(())
    }
}

/// A whole block, into one of zeros. The number of its last coefficient.
#[inline(always)]
fn sequential(
    bits: &mut Bits<'_>,
    block: &mut Coefficients,
    dc: &Table,
    ac: &Table,
    mean: &mut i32,
) -> usize {
    let (place, data) = bits.reader();
    let mut reader = *place;
    reader.refill(data);
    *mean = mean.wrapping_add(dc.step(&mut reader).value);
    block[0] = *mean as i16;
    let mut next = 1;
    let last = loop {
        if reader.count() < 32 {
            reader.refill(data);
        }
        let step = ac.step(&mut reader);
        if step.run == END {
            break next - 1;
        }
        let k = next + step.run;
        block[usize::from(ZIGZAG[k & 127] & 63)] = step.value as i16;
        next = k + 1;
        if next > 63 {
            break 63;
        }
    };
    *place = reader;
    last
}

/// Runs of zeros and the values between them.
fn first(
    bits: &mut Bits<'_>,
    block: &mut Coefficients,
    table: &Table,
    [from, to]: [usize; 2],
    low: u32,
    empty: &mut u32,
) {
    if *empty > 0 {
        *empty -= 1;
        return;
    }
    let (place, data) = bits.reader();
    let mut reader = *place;
    let mut k = from;
    while k <= to {
        reader.refill(data);
        let symbol = table.symbol(&mut reader);
        let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        if size == 0 && run < 15 {
            // The run counts further blocks.
            *empty = (1 << run) - 1 + reader.take(run) as u32;
            break;
        }
        k += run as usize;
        if size > 0 {
            block[usize::from(ZIGZAG[k & 127] & 63)] = (reader.signed(size) << low) as i16;
        }
        k += 1;
    }
    *place = reader;
}

/// One more bit of each value that is there, and values of one bit that begin now.
fn next(
    bits: &mut Bits<'_>,
    block: &mut Coefficients,
    table: &Table,
    [from, to]: [usize; 2],
    low: u32,
    empty: &mut u32,
) {
    let bit = 1i16 << low;
    let mut k = from;
    while *empty == 0 && k <= to {
        let (reader, data) = bits.reader();
        reader.refill(data);
        let symbol = table.symbol(reader);
        let (run, size) = (u32::from(symbol >> 4), symbol & 15);
        if size == 0 && run < 15 {
            *empty = (1 << run) + reader.take(run) as u32;
            break;
        }
        let begins = match size {
            0 => 0,
            _ if reader.take(1) == 1 => bit,
            _ => -bit,
        };
        // The run counts places that are still zero; values on the way get their bit.
        let mut zeros = run;
        while k <= to {
            let value = &mut block[usize::from(ZIGZAG[k])];
            if *value != 0 {
                refine(bits, value, bit);
            } else if zeros == 0 {
                break;
            } else {
                zeros -= 1;
            }
            k += 1;
        }
        if begins != 0 {
            block[usize::from(ZIGZAG[k])] = begins;
        }
        k += 1;
    }
    if *empty > 0 {
        for &at in ZIGZAG.get(k..=to).unwrap_or_default() {
            let value = &mut block[usize::from(at)];
            if *value != 0 {
                refine(bits, value, bit);
            }
        }
        *empty -= 1;
    }
}

#[inline(always)]
fn refine(bits: &mut Bits<'_>, value: &mut i16, bit: i16) {
    if bits.take(1) == 1 && *value & bit == 0 {
        *value = value.wrapping_add(if *value >= 0 { bit } else { -bit });
    }
}
