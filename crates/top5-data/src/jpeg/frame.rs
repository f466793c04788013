//! What the frame header says (T.81, B.2.2), and the memory that the image takes on its way.

use super::{Coefficients, FORMAT, Quantisers, byte, damaged, word};
use crate::error::ImageError;
use crate::limits::{Limits, reserved, too_large};

/// No file holds more pixels per byte: a header that claims more is lying.
const MOST_PIXELS_PER_BYTE: u64 = 1032 * 8;

/// One colour component of the image.
pub(super) struct Component {
    pub(super) id: u8,
    /// Relative resolution, 1 to 4.
    pub(super) h: usize,
    pub(super) v: usize,
    /// Number of its quantisation table.
    pub(super) table: usize,
    /// Size in samples.
    pub(super) width: usize,
    pub(super) height: usize,
    /// Blocks per row and column, filled up to whole units of an interleaved scan.
    pub(super) columns: usize,
    pub(super) rows: usize,
    /// The table as it was when the component's first scan began.
    pub(super) quantisers: Option<Quantisers>,
    /// For each coefficient of a file, the number of bits that no scan has given yet, -1 for all; and the same before the
    /// component's last scan.
    pub(super) lacking: [i8; 64],
    pub(super) lacking_before: [i8; 64],
    /// Coefficients, where they come in several scans.
    pub(super) blocks: Vec<Coefficients>,
    /// Samples, `columns * 8` per row.
    pub(super) samples: Vec<u8>,
}

/// The image as the frame header describes it.
pub(super) struct Frame {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) progressive: bool,
    pub(super) arithmetic: bool,
    /// Largest `h` and `v` of all components.
    pub(super) h: usize,
    pub(super) v: usize,
    pub(super) components: Vec<Component>,
    /// Scans begun.
    pub(super) scans: usize,
    /// The last row of units to which the last scan's data reached.
    pub(super) last_good: usize,
    /// Memory for the pixels.
    pub(super) pixels: Vec<u8>,
}

impl Frame {
    /// Reads the header that followed this marker, of a file of `length` bytes.
    pub(super) fn read(
        marker: u8,
        segment: &[u8],
        limits: &Limits,
        length: usize,
    ) -> Result<Self, ImageError> {
        if byte(segment, 0)? != 8 {
            return Err(damaged("its samples do not have 8 bits"));
        }
        let (height, width) = (word(segment, 1)?, word(segment, 3)?);
        let count = usize::from(byte(segment, 5)?);
        check_size(u32::from(width), u32::from(height), limits, length)?;
        let (width, height) = (usize::from(width), usize::from(height));
        if !matches!(count, 1 | 3 | 4) {
            return Err(damaged(format!("{count} colour components")));
        }
        let headers = segment[6..].as_chunks::<3>().0;
        if headers.len() != count {
            return Err(damaged("the length of its frame header"));
        }
        let factors = |header: &[u8; 3]| [header[1] >> 4, header[1] & 15].map(usize::from);
        let most = |i: usize| headers.iter().map(|header| factors(header)[i]).max().unwrap_or(0);
        let (most_h, most_v) = (most(0), most(1));
        let [units_x, units_y] =
            [width.div_ceil(8 * most_h.max(1)), height.div_ceil(8 * most_v.max(1))];
        let mut components = Vec::with_capacity(count);
        for header in headers {
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
                lacking: [-1; 64],
                lacking_before: [-1; 64],
                blocks: Vec::new(),
                samples: Vec::new(),
            });
        }
        Ok(Self {
            width,
            height,
            progressive: matches!(marker, 0xC2 | 0xCA),
            arithmetic: matches!(marker, 0xC9 | 0xCA),
            h: most_h,
            v: most_v,
            components,
            scans: 0,
            last_good: 0,
            pixels: Vec::new(),
        })
    }

    /// Takes the memory for samples and pixels, and for the coefficients where they come in several scans.
    pub(super) fn allocate(&mut self, in_scans: bool, limits: &Limits) -> Result<(), ImageError> {
        let blocks: usize = self.components.iter().map(|c| c.columns * c.rows).sum();
        let output = self.width * self.height * self.components.len().min(3);
        let needed = 64 * blocks * if in_scans { 3 } else { 1 } + output;
        let size = [self.width, self.height].map(|side| side as u32);
        if needed as u64 > limits.bytes {
            let memory = format!("{} bytes of memory", limits.bytes);
            return Err(too_large(FORMAT, size[0], size[1], memory));
        }
        self.pixels = reserved(output, FORMAT, size)?;
        for component in &mut self.components {
            let blocks = component.columns * component.rows;
            component.samples = reserved(64 * blocks, FORMAT, size)?;
            component.samples.resize(64 * blocks, 0);
            if in_scans {
                component.blocks = reserved(blocks, FORMAT, size)?;
                component.blocks.resize(blocks, [0; 64]);
            }
        }
        Ok(())
    }

    /// Whether all bits of all coefficients have been read.
    pub(super) fn is_complete(&self) -> bool {
        self.components.iter().all(|component| component.lacking == [0; 64])
    }
}

fn check_size(width: u32, height: u32, limits: &Limits, length: usize) -> Result<(), ImageError> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(ImageError::Empty { format: FORMAT });
    }
    limits.check_size(FORMAT, width, height)?;
    if pixels / MOST_PIXELS_PER_BYTE > length as u64 {
        return Err(damaged(format!("{width}x{height} pixels in {length} bytes")));
    }
    Ok(())
}
