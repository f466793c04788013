//! The unit of storage, and where the pixels of an activation are.

use crate::bf16::Bf16;
use std::ops::Range;

/// Channels per block.
pub const LANES: usize = 16;

/// Sixteen channels of one pixel; one cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C, align(64))]
pub struct Block(pub [f32; LANES]);

impl Block {
    /// Sixteen zeros.
    pub const ZERO: Self = Self([0.0; LANES]);

    /// The values of `blocks`, one after the other.
    pub fn flat(blocks: &[Self]) -> &[f32] {
        // SAFETY: a Block is repr(C) around 16 floats and as large as they are (the assertion below), so the slice
        // covers exactly blocks.len()·16 initialised floats, borrowed for as long.
        unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), blocks.len() * LANES) }
    }

    /// The values of `blocks`, one after the other, to be changed in place.
    pub fn flat_mut(blocks: &mut [Self]) -> &mut [f32] {
        // SAFETY: as in `flat`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(blocks.as_mut_ptr().cast(), blocks.len() * LANES) }
    }
}

const _: () = assert!(size_of::<Block>() == LANES * size_of::<f32>());

/// Sixteen channels of one pixel in bf16; half a cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C, align(32))]
pub struct BlockBf16(pub [Bf16; LANES]);

impl BlockBf16 {
    /// Sixteen zeros.
    pub const ZERO: Self = Self([Bf16(0); LANES]);

    /// The numbers of `blocks`, one after the other.
    pub fn flat(blocks: &[Self]) -> &[Bf16] {
        // SAFETY: a BlockBf16 is repr(C) around 16 numbers and as large as they are, so the slice covers exactly
        // blocks.len()·16 initialised numbers, borrowed for as long.
        unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), blocks.len() * LANES) }
    }
}

const _: () = assert!(2 * size_of::<BlockBf16>() == size_of::<Block>());

/// Where the pixels of one image's activation are, in blocks of sixteen channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Channels.
    pub channels: usize,
    /// Rows, without the halo.
    pub height: usize,
    /// Columns, without the halo.
    pub width: usize,
    /// Zero rows above and below, zero columns left and right.
    pub halo: [usize; 2],
    /// Blocks between the last plane of an image and the first of the next: where this is some channels of a larger map,
    /// the planes of the others.
    pub gap: usize,
}

impl Layout {
    /// A map without a halo.
    pub fn new(channels: usize, height: usize, width: usize) -> Self {
        Self { channels, height, width, halo: [0, 0], gap: 0 }
    }

    /// Number of channel blocks.
    pub fn blocks(&self) -> usize {
        self.channels.div_ceil(LANES)
    }

    /// Channels in use in this block.
    pub fn lanes(&self, block: usize) -> usize {
        self.channels.saturating_sub(block * LANES).min(LANES)
    }

    /// Blocks from one row to the next.
    pub fn row(&self) -> usize {
        self.width + 2 * self.halo[1]
    }

    /// Blocks of one plane, halo included.
    pub fn plane(&self) -> usize {
        (self.height + 2 * self.halo[0]) * self.row()
    }

    /// Blocks from one image to the next.
    pub fn image(&self) -> usize {
        self.blocks() * self.plane() + self.gap
    }

    /// Blocks from the first plane of `n` images to their last.
    pub fn len(&self, n: usize) -> usize {
        (n * self.image()).saturating_sub(self.gap)
    }

    /// Whether the planes of `n` images are within so many blocks, however large the numbers.
    pub(crate) fn fits(&self, n: usize, blocks: usize) -> bool {
        let padded = |axis: usize, size: usize| self.halo[axis].checked_mul(2)?.checked_add(size);
        let image = || {
            let plane = padded(0, self.height)?.checked_mul(padded(1, self.width)?)?;
            self.blocks().checked_mul(plane)?.checked_add(self.gap)
        };
        let end = image().and_then(|image| image.checked_mul(n));
        end.is_some_and(|end| end.saturating_sub(self.gap) <= blocks)
    }

    /// Where the plane with this number is, counted over the channel blocks of all images.
    pub fn plane_at(&self, number: usize) -> Range<usize> {
        let (image, block) = (number / self.blocks(), number % self.blocks());
        let start = image * self.image() + block * self.plane();
        start..start + self.plane()
    }

    /// The layout of `channels` channels of this map, as a part of it.
    pub fn part(&self, channels: usize) -> Self {
        let part = Self { channels, gap: 0, ..*self };
        Self { gap: self.image() - part.image(), ..part }
    }

    /// Position in its plane of the pixel at row `y`, column 0 (halo not counted).
    pub fn start(&self, y: usize) -> usize {
        (y + self.halo[0]) * self.row() + self.halo[1]
    }

    /// The pixels of row `y` of a plane.
    pub fn pixels<'a, P>(&self, plane: &'a [P], y: usize) -> &'a [P] {
        &plane[self.start(y)..][..self.width]
    }

    /// The pixels of row `y` of a plane, to be changed in place.
    pub fn pixels_mut<'a, P>(&self, plane: &'a mut [P], y: usize) -> &'a mut [P] {
        &mut plane[self.start(y)..][..self.width]
    }

    /// Whether rows follow each other without a gap.
    pub fn is_dense(&self) -> bool {
        self.halo == [0, 0]
    }

    /// Writes zeros to the halo of a plane.
    pub fn clear_halo<P: Copy + Default>(&self, plane: &mut [P]) {
        let (row, left) = (self.row(), self.halo[1]);
        let (top, rest) = plane.split_at_mut(self.halo[0] * row);
        let (body, bottom) = rest.split_at_mut(self.height * row);
        top.fill(P::default());
        bottom.fill(P::default());
        for line in body.chunks_exact_mut(row) {
            line[..left].fill(P::default());
            line[left + self.width..].fill(P::default());
        }
    }
}
