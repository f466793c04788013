//! Direct convolution, for any kernel, stride, dilation and grouping, in one loop nest.
//!
//! ```text
//! x: input, y: output (blocks of 16 channels), w: packed weights [out block][in block][tap][lane][16]
//! for every image, output block k, output row, tile of P pixels:
//!     acc[P] = bias[k]
//!     for input block b, tap t, lane l:            one channel of one kernel element
//!         acc[p] += x[image, b, row, pixel p + t, l] · w[k][b][t][l]        for p in 0..P
//!     y[image, k, row, tile] = epilogue(acc)
//! ```
//!
//! What differs between uses is only where things are, so [`ConvGeom`] holds strides and a list of tap offsets:
//!
//! - a convolution has one tap per kernel element, and reads a halo instead of testing for edges;
//! - a first layer reads plain planes: its blocks are the input channels, its taps the kernel's rows, its lanes the
//!   kernel's columns, which are contiguous in memory;
//! - a fully connected layer is a 1×1 convolution whose row of pixels is the batch;
//! - the gradient with respect to the input is a convolution over the output's gradient with transposed weights; for a
//!   stride s it is s² of them (one per residue of the position), each writing every s-th pixel;
//! - groups that do not fill whole blocks are packed with zeros between them, which groups of 4 and of 8 channels skip.
//!
//! The tile is kept in registers: for OB output blocks it holds OB·P accumulators, OB weights and one broadcast input
//! (Georganas et al., "Anatomy of High-Performance Deep Learning Convolutions on SIMD Architectures", SC 2018).
//!
//! With n products per output, the result differs from the exact one by at most `(n + 2)·2⁻²⁴·Σ|x·w|`: the bound for sums in
//! any order.

mod dots;
mod grouped;
mod split;
mod strip;

pub(crate) use split::Split;
pub(crate) use strip::{AHEAD, Strip};

use crate::block::{Block, LANES};
use crate::isa::{Isa, Kernel};
use crate::multiply::Floats;
use crate::simd::Simd;
use crate::threads::{Shore, Threads};

/// Where the operand of a loop nest is: an offset and the distances between neighbours. In floats for the input, in
/// blocks for the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strides {
    /// Position of the first element.
    pub offset: usize,
    /// From image to image.
    pub image: usize,
    /// From channel block to channel block.
    pub block: usize,
    /// From row to row.
    pub row: usize,
    /// From pixel to pixel.
    pub pixel: usize,
}

/// The geometry of a convolution-like loop nest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvGeom {
    /// Output rows.
    pub rows: usize,
    /// Output columns; ignored when the batch is the row.
    pub cols: usize,
    /// The pixels of the only row are the images of the batch (fully connected layers).
    pub batch_is_row: bool,
    /// Output channels in all.
    pub out_channels: usize,
    /// For each output block, the first input block that it reads.
    pub first: Vec<usize>,
    /// Number of input blocks that an output block reads.
    pub blocks: usize,
    /// Channel-like elements of a whole block in the packed weights.
    pub lanes: usize,
    /// Channel-like elements of the input in all; the last block may be cut short.
    pub depth: usize,
    /// Where groups share a block: the channels of one. An output channel then reads only those of its only input block
    /// that are in the group of the same place, and weights of the others are zeros. Elsewhere [`LANES`].
    pub group: usize,
    /// For each tap, the offset of its element from the pixel, in floats.
    pub taps: Vec<usize>,
    /// Where the input is, in floats.
    pub x: Strides,
    /// Where the output is, in blocks.
    pub y: Strides,
}

impl ConvGeom {
    /// Blocks of output channels.
    pub fn out_blocks(&self) -> usize {
        self.first.len()
    }

    /// Packed blocks of one output block.
    pub fn weight_stride(&self) -> usize {
        self.blocks.saturating_mul(self.taps.len()).saturating_mul(self.lanes)
    }

    /// Packed blocks in all.
    pub fn packed_len(&self) -> usize {
        self.out_blocks().saturating_mul(self.weight_stride())
    }

    /// The packed block that holds, for the 16 channels of output block `k`, the weights of input block `b` (an absolute
    /// number), tap `t`, lane `l`. `None` if `k` does not read `b`.
    pub fn packed_index(&self, k: usize, b: usize, t: usize, l: usize) -> Option<usize> {
        let relative = b.checked_sub(self.first[k]).filter(|&r| r < self.blocks)?;
        Some(((k * self.blocks + relative) * self.taps.len() + t) * self.lanes + l)
    }

    /// Elements of input block `b` that are there.
    #[inline(always)]
    pub fn lanes_of(&self, b: usize) -> usize {
        self.depth.saturating_sub(b * self.lanes).min(self.lanes)
    }

    /// Channels of a group, where the kernels skip the zeros between the groups of a block.
    pub(crate) fn grouped(&self) -> Option<usize> {
        let few = self.taps.len().saturating_mul(self.group) <= grouped::MOST;
        (matches!(self.group, 4 | 8) && few).then_some(self.group)
    }

    /// (images, columns) of a run with `n` images.
    pub(crate) fn extent(&self, n: usize) -> (usize, usize) {
        if self.batch_is_row { (1, n) } else { (n, self.cols) }
    }

    /// Whether rows follow each other without a gap at these strides, so that all pixels are one row.
    pub(crate) fn is_one_row(&self, strides: &Strides) -> bool {
        !self.batch_is_row && strides.row == self.cols * strides.pixel
    }

    /// Multiply-accumulates of one image, as executed.
    pub fn macs(&self) -> usize {
        let cols = if self.batch_is_row { 1 } else { self.cols };
        let lanes = self
            .grouped()
            .unwrap_or_else(|| (0..self.blocks).map(|b| self.lanes_of(self.first[0] + b)).sum());
        self.rows * cols * self.taps.len() * lanes * self.out_blocks() * LANES
    }

    /// Asserts that every element a run with `n` images touches is within `x` floats and `y` blocks, and that no two
    /// outputs have one place. Sums that overflow are too large.
    pub(crate) fn check(&self, n: usize, x: usize, y: usize) {
        let (images, cols) = self.extent(n);
        if [images, self.rows, cols].contains(&0) {
            return;
        }
        assert!(
            self.lanes > 0 && self.blocks > 0 && !self.taps.is_empty() && !self.first.is_empty()
        );
        let axes = |s: &Strides, blocks: usize| {
            [(s.image, images), (s.block, blocks), (s.row, self.rows), (s.pixel, cols)]
        };
        let reach = |s: &Strides, blocks: usize| {
            axes(s, blocks).into_iter().fold(s.offset, |reach, (stride, count)| {
                reach.saturating_add(stride.saturating_mul(count - 1))
            })
        };
        let last = self.first.iter().max().map_or(0, |&f| f).saturating_add(self.blocks);
        let read = last.min(self.depth.div_ceil(self.lanes)).max(1);
        if self.group < LANES {
            let whole = self.lanes == LANES && last.saturating_mul(LANES) <= self.depth;
            assert!(whole && self.blocks == 1, "the groups of a block are not alone in it");
        }
        let tap = self.taps.iter().max().map_or(0, |&t| t);
        let input = reach(&self.x, read).saturating_add(tap);
        assert!(input.saturating_add(self.lanes.min(self.depth)) <= x, "the input is too short");
        assert!(reach(&self.y, self.out_blocks()) < y, "the output is too short");
        let mut axes = axes(&self.y, self.out_blocks());
        axes.sort_unstable();
        axes.into_iter().filter(|&(_, count)| count > 1).fold(0, |within, (stride, count)| {
            assert!(stride > within, "two outputs have one place");
            within + stride * (count - 1)
        });
    }

    /// Asserts that the epilogue's operands are there for a run with `n` images and `x` floats of input.
    pub(crate) fn check_epilogue<P>(&self, n: usize, x: usize, epilogue: &Epilogue<'_, P>) {
        assert!(epilogue.bias.is_none_or(|bias| bias.len() >= self.out_blocks()));
        if let Some((add, at)) = epilogue.add {
            Self { y: at, ..self.clone() }.check(n, x, add.len());
        }
    }
}

/// What happens to a tile before it is stored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a, P = Block> {
    /// Added first; one block per output block.
    pub bias: Option<&'a [Block]>,
    /// Added next: another activation, and where it is.
    pub add: Option<(&'a [P], Strides)>,
    /// Then `max(0, ·)`.
    pub relu: bool,
    /// The result is added to what the output holds.
    pub accumulate: bool,
}

/// Direct convolution on one instruction set, with its work split into jobs.
#[derive(Clone, Debug)]
pub struct Direct {
    isa: Isa,
    name: String,
    geom: ConvGeom,
    split: Split,
}

/// Multiply-accumulates that make a job worth starting.
const JOB: usize = 1 << 19;

impl Direct {
    /// The kernel for this geometry.
    pub fn new(isa: Isa, geom: ConvGeom) -> Self {
        // The weights are transposed once for each job.
        let job = if geom.suits_dots() { 4 * JOB } else { JOB };
        let split = Split::new(&geom, isa.tile(), job);
        Self { isa, name: format!("f32_conv_{}_{isa}", split.method()), geom, split }
    }

    /// Its name, with the largest tile (output blocks × pixels): `f32_conv_direct_2x14_avx512`. For groups that share
    /// blocks, with their channels instead of the output blocks: `f32_conv_grouped_4x14_avx512`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its geometry.
    pub fn geom(&self) -> &ConvGeom {
        &self.geom
    }

    /// Computes `n` images: `x` (floats) with the packed weights `w` to `y`.
    pub fn run(
        &self,
        threads: &Threads,
        n: usize,
        x: &[f32],
        w: &[Block],
        epilogue: &Epilogue<'_>,
        y: &mut [Block],
    ) {
        let geom = &self.geom;
        geom.check(n, x.len(), y.len());
        assert_eq!(w.len(), geom.packed_len(), "the weights are packed for another geometry");
        geom.check_epilogue(n, x.len(), epilogue);
        let y = Shore(y.as_mut_ptr());
        self.split.run(threads, n, geom, epilogue, |piece| {
            self.isa.run(Strip { geom, x, w, epilogue, y, piece });
        });
    }
}

impl Kernel for Strip<'_, f32, Block> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if let Some(group) = self.geom.grouped() {
            let weights = self.without_zeros(simd, group);
            return self.run_grouped(Floats(simd), group, &weights);
        }
        let blocks = self.x.as_ptr().cast::<Block>().is_aligned();
        if S::GRADIENT_TILE >= LANES && blocks && self.geom.suits_dots() {
            // SAFETY: `Direct::run` has checked that all elements are there; see `Strip::tile`.
            return unsafe { self.dots(simd) };
        }
        self.run_dense(Floats(simd));
    }
}
