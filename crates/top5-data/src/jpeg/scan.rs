//! One pass over the image: from Huffman codes to coefficients (T.81, F.2 for sequential files, G for progressive ones).

use super::huffman::{Bits, Table};
use super::{Coefficients, Component, Frame, ZIGZAG, damaged, idct};
use crate::error::ImageError;

/// What a scan's codes stand for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Codes {
    /// Whole blocks.
    Sequential,
    /// The first bits of each block's mean, down to bit `low`.
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
}

/// A scan about to be decoded.
pub(super) struct Scan<'a> {
    pub(super) bits: Bits<'a>,
    pub(super) codes: Codes,
    /// Units between restart markers; 0 for none.
    pub(super) restart: usize,
    pub(super) dc: &'a [Option<Table>; 4],
    pub(super) ac: &'a [Option<Table>; 4],
}

/// What one block leaves to the next: the mean of the component's last one, and how many blocks have nothing to come.
#[derive(Default)]
struct Memory {
    means: [i32; 4],
    empty: u32,
}

/// A member of the scan: the component's number and those of its tables.
pub(super) type Member = (usize, usize, usize);

impl Scan<'_> {
    /// Decodes all units; the number of bytes that they took.
    pub(super) fn run(
        &mut self,
        frame: &mut Frame,
        members: &[Member],
    ) -> Result<usize, ImageError> {
        // A scan of one component has its blocks one by one; of several, as many per unit as their factors say.
        let (columns, rows) = match members {
            [(index, ..)] => {
                let component = &frame.components[*index];
                (component.width.div_ceil(8), component.height.div_ceil(8))
            }
            _ => (frame.width.div_ceil(8 * frame.h), frame.height.div_ceil(8 * frame.v)),
        };
        let mut memory = Memory::default();
        for unit in 0..columns * rows {
            if self.restart > 0 && unit > 0 && unit.is_multiple_of(self.restart) {
                self.bits.restart(((unit / self.restart - 1) % 8) as u8)?;
                memory = Memory::default();
            }
            let (x, y) = (unit % columns, unit / columns);
            for (slot, member) in members.iter().enumerate() {
                let component = &mut frame.components[member.0];
                let (h, v) = if members.len() == 1 { (1, 1) } else { (component.h, component.v) };
                for block in 0..h * v {
                    let (column, row) = (x * h + block % h, y * v + block / h);
                    self.block(component, member, [column, row], &mut memory, slot)?;
                }
            }
        }
        Ok(self.bits.position())
    }

    fn block(
        &mut self,
        component: &mut Component,
        &(_, dc, ac): &Member,
        [column, row]: [usize; 2],
        memory: &mut Memory,
        slot: usize,
    ) -> Result<(), ImageError> {
        let (dc, ac) = (|| table(self.dc, dc), || table(self.ac, ac));
        let at = row * component.columns + column;
        match self.codes {
            Codes::Sequential => {
                let (dc, ac) = (dc()?, ac()?);
                let mut block = [0; 64];
                self.bits.sequential(&mut block, dc, ac, &mut memory.means[slot])?;
                let unread = || damaged("a quantisation table is missing");
                let quantisers = component.quantisers.as_ref().ok_or_else(unread)?;
                let stride = component.columns * 8;
                let samples = &mut component.samples[row * 8 * stride + column * 8..];
                idct::inverse(&block, quantisers, samples, stride);
                Ok(())
            }
            Codes::DcFirst { low } => {
                let mean = self.bits.mean(dc()?, &mut memory.means[slot])?;
                component.blocks[at][0] = (mean << low) as i16;
                Ok(())
            }
            Codes::DcNext { low } => {
                component.blocks[at][0] |= (self.bits.take(1)? << low) as i16;
                Ok(())
            }
            Codes::AcFirst { from, to, low } => {
                let ac = ac()?;
                self.bits.first(&mut component.blocks[at], ac, [from, to], low, &mut memory.empty)
            }
            Codes::AcNext { from, to, low } => {
                let ac = ac()?;
                self.bits.next(&mut component.blocks[at], ac, [from, to], low, &mut memory.empty)
            }
        }
    }
}

fn table(tables: &[Option<Table>; 4], number: usize) -> Result<&Table, ImageError> {
    let table = tables.get(number).and_then(Option::as_ref);
    table.ok_or_else(|| damaged("a Huffman table is missing"))
}

impl Bits<'_> {
    /// A block's mean: coded as the difference to the component's last one.
    fn mean(&mut self, table: &Table, last: &mut i32) -> Result<i32, ImageError> {
        let size = self.symbol(table)?;
        *last = last.wrapping_add(self.signed(u32::from(size))?);
        Ok(*last)
    }

    fn sequential(
        &mut self,
        block: &mut Coefficients,
        dc: &Table,
        ac: &Table,
        last: &mut i32,
    ) -> Result<(), ImageError> {
        block[0] = self.mean(dc, last)? as i16;
        self.first(block, ac, [1, 63], 0, &mut 0)
    }

    /// Runs of zeros and the values between them.
    fn first(
        &mut self,
        block: &mut Coefficients,
        table: &Table,
        [from, to]: [usize; 2],
        low: u32,
        empty: &mut u32,
    ) -> Result<(), ImageError> {
        if *empty > 0 {
            *empty -= 1;
            return Ok(());
        }
        let mut k = from;
        while k <= to {
            let symbol = self.symbol(table)?;
            let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            if size == 0 && run < 15 {
                // Only in a progressive file does the run count further blocks.
                *empty = (1 << run) - 1 + self.take(run)? as u32;
                return Ok(());
            }
            k += run as usize;
            if size > 0 {
                let at = ZIGZAG.get(k).filter(|_| k <= to);
                let at = *at.ok_or_else(|| damaged("a run of zeros leaves its block"))?;
                block[usize::from(at)] = (self.signed(size)? << low) as i16;
            }
            k += 1;
        }
        Ok(())
    }

    /// One more bit of each value that is there, and values of one bit that begin now.
    fn next(
        &mut self,
        block: &mut Coefficients,
        table: &Table,
        [from, to]: [usize; 2],
        low: u32,
        empty: &mut u32,
    ) -> Result<(), ImageError> {
        let bit = 1i16 << low;
        let mut k = from;
        while *empty == 0 && k <= to {
            let symbol = self.symbol(table)?;
            let (run, size) = (u32::from(symbol >> 4), symbol & 15);
            let mut begins = 0;
            match size {
                0 if run < 15 => {
                    *empty = (1 << run) + self.take(run)? as u32;
                    break;
                }
                0 => {}
                1 => begins = if self.take(1)? == 1 { bit } else { -bit },
                _ => return Err(damaged("a value of one bit has more")),
            }
            // The run counts places that are still zero; values on the way get their bit.
            let mut zeros = run;
            while k <= to {
                let value = &mut block[usize::from(ZIGZAG[k])];
                if *value != 0 {
                    self.refine(value, bit)?;
                } else if zeros == 0 {
                    *value = begins;
                    break;
                } else {
                    zeros -= 1;
                }
                k += 1;
            }
            if begins != 0 && k > to {
                return Err(damaged("a run of zeros leaves its block"));
            }
            k += 1;
        }
        if *empty > 0 {
            for &at in ZIGZAG.get(k..=to).unwrap_or_default() {
                let value = &mut block[usize::from(at)];
                if *value != 0 {
                    self.refine(value, bit)?;
                }
            }
            *empty -= 1;
        }
        Ok(())
    }

    fn refine(&mut self, value: &mut i16, bit: i16) -> Result<(), ImageError> {
        if self.take(1)? == 1 && *value & bit == 0 {
            *value = value.wrapping_add(if *value >= 0 { bit } else { -bit });
        }
        Ok(())
    }
}
