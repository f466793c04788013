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

pub(crate) use grouped::columns;
pub(crate) use split::{Piece, Split};

use crate::block::{Block, LANES};
use crate::isa::{Isa, Kernel};
use crate::simd::Simd;
use crate::threads::{Shore, Threads};
use std::array::from_fn;

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

/// Blocks of weights from those in use to those that are asked for: as far as memory is late. The processor's own
/// prefetching ends at every page.
pub(crate) const AHEAD: usize = 64;

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
        assert!(epilogue.bias.is_none_or(|bias| bias.len() >= geom.out_blocks()));
        if let Some((add, at)) = epilogue.add {
            ConvGeom { y: at, ..geom.clone() }.check(n, x.len(), add.len());
        }
        let y = Shore(y.as_mut_ptr());
        self.split.run(threads, n, geom, epilogue, |piece| {
            self.isa.run(Strip { geom, x, w, epilogue, y, piece });
        });
    }
}

/// A piece of the work. Pieces write different pixels of `y`.
struct Strip<'a> {
    geom: &'a ConvGeom,
    x: &'a [f32],
    w: &'a [Block],
    epilogue: &'a Epilogue<'a>,
    y: Shore,
    piece: Piece,
}

/// Calls [`Strip::with_pixel`] for the width at hand.
macro_rules! by_width {
    ($width:expr, $ob:literal, $rows:literal, [$($p:literal)*], $strip:expr, $simd:expr, $row:expr, $col:expr) => {
        match $width {
            // SAFETY: `Direct::run` has checked that all elements are there; see `Strip::tile`.
            $($p => unsafe { $strip.with_pixel::<S, $ob, $p, { $p / $rows }>($simd, $row, $col) },)*
            _ => unreachable!("tiles are at most 14 pixels wide"),
        }
    };
}

impl Kernel for Strip<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if let Some(group) = self.geom.grouped() {
            return self.run_grouped(simd, group);
        }
        let blocks = self.x.as_ptr().cast::<Block>().is_aligned();
        if S::GRADIENT_TILE >= LANES && blocks && self.geom.suits_dots() {
            // SAFETY: `Direct::run` has checked that all elements are there; see `Strip::tile`.
            return unsafe { self.dots(simd) };
        }
        let widest = S::TILE[self.piece.ob - 1];
        // Narrow maps: two rows at once, so that a weight that was loaded meets more than a few pixels.
        let pairs = self.piece.ob == 2 && 2 * self.piece.cols.len() <= widest;
        // As few tiles as possible, and none much narrower than the others.
        let tiles = self.piece.cols.len().div_ceil(widest);
        let mut row = self.piece.rows.start;
        while row < self.piece.rows.end {
            if S::TILE[1] > 0 && pairs && row + 1 < self.piece.rows.end {
                let (width, col) = (self.piece.cols.len(), self.piece.cols.start);
                by_width!(2 * width, 2, 2, [2 4 6 8 10 12 14], self, simd, row, col);
                row += 2;
                continue;
            }
            let mut col = self.piece.cols.start;
            for tile in 0..tiles {
                let width = (self.piece.cols.end - col).div_ceil(tiles - tile);
                if S::TILE[1] > 0 && self.piece.ob == 2 {
                    by_width!(width, 2, 1, [1 2 3 4 5 6 7 8 9 10 11 12 13 14], self, simd, row, col);
                } else {
                    by_width!(width, 1, 1, [1 2 3 4 5 6 7 8 9 10 11 12 13 14], self, simd, row, col);
                }
                col += width;
            }
            row += 1;
        }
    }
}

impl Strip<'_> {
    /// Fixes the distance of pixels at compile time where it is a common one, so that the tile's addresses need no
    /// arithmetic.
    ///
    /// # Safety
    /// As [`Strip::tile`].
    #[inline(always)]
    unsafe fn with_pixel<S: Simd, const OB: usize, const P: usize, const Q: usize>(
        &self,
        simd: S,
        row: usize,
        col: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.geom.x.pixel {
                LANES => self.tile::<S, OB, P, Q>(simd, row, col, LANES),
                pixel => self.tile::<S, OB, P, Q>(simd, row, col, pixel),
            }
        }
    }

    /// Computes P pixels of OB output blocks: the first Q in `row`, the others in the next one.
    ///
    /// # Safety
    /// - `geom.check` passed for the lengths of `x` and `y` (and of the activation to add), and `w.len()` is
    ///   `packed_len()`;
    /// - `row` (and the next one, if P > Q), `col + Q − 1` and `k + OB − 1` are within the output, and `pixel` is
    ///   `geom.x.pixel`;
    /// - nothing else accesses these pixels of `y` meanwhile.
    #[inline(always)]
    unsafe fn tile<S: Simd, const OB: usize, const P: usize, const Q: usize>(
        &self,
        simd: S,
        row: usize,
        col: usize,
        pixel: usize,
    ) {
        let geom = self.geom;
        let mut acc: [[S::V; P]; OB] = self.biases(simd);
        let at = geom.x.offset + self.piece.image * geom.x.image + row * geom.x.row + col * pixel;
        // SAFETY: all offsets are below what `geom.check` asserted (first promise of the caller).
        unsafe {
            let x = self.x.as_ptr().add(at);
            let stride = geom.weight_stride();
            let below = if P > Q { geom.x.row } else { 0 };
            let next_tile = if P > Q { 2 * below } else { Q * pixel };
            let mut w = self.w.as_ptr().add(self.piece.k * stride);
            let first = geom.first[self.piece.k];
            for b in first..first + geom.blocks {
                let lanes = geom.lanes_of(b);
                for &tap in &geom.taps {
                    if lanes > 0 {
                        let x = x.add(b * geom.x.block + tap);
                        for lane in 0..lanes {
                            let weights: [S::V; OB] =
                                from_fn(|ob| simd.load(&*w.add(ob * stride + lane)));
                            for ob in 0..OB {
                                simd.prefetch(w.wrapping_add(ob * stride + lane + AHEAD));
                            }
                            // A tile's pixels are too few in a row for the processor to notice what comes next.
                            if lane < P {
                                let p = if lane < Q {
                                    lane * pixel
                                } else {
                                    below + (lane - Q) * pixel
                                };
                                simd.prefetch(x.wrapping_add(next_tile + p).cast());
                            }
                            // Two loops without a condition: they are unrolled, so that acc is in registers.
                            for p in 0..Q {
                                let value = simd.splat(*x.add(p * pixel + lane));
                                for ob in 0..OB {
                                    acc[ob][p] = simd.mul_add(value, weights[ob], acc[ob][p]);
                                }
                            }
                            let next = x.add(below);
                            for p in Q..P {
                                let value = simd.splat(*next.add((p - Q) * pixel + lane));
                                for ob in 0..OB {
                                    acc[ob][p] = simd.mul_add(value, weights[ob], acc[ob][p]);
                                }
                            }
                        }
                    }
                    w = w.add(geom.lanes);
                }
            }
            self.finish::<S, OB, P, Q>(simd, row, col, acc);
        }
    }

    /// The sums before the first product.
    #[inline(always)]
    fn biases<S: Simd, const OB: usize, const P: usize>(&self, simd: S) -> [[S::V; P]; OB] {
        let mut acc = [[simd.zero(); P]; OB];
        if let Some(bias) = self.epilogue.bias {
            for ob in 0..OB {
                acc[ob] = [simd.load(&bias[self.piece.k + ob]); P];
            }
        }
        acc
    }

    /// Stores the sums of a tile after the rest of the epilogue.
    ///
    /// # Safety
    /// As [`Strip::tile`].
    #[inline(always)]
    unsafe fn finish<S: Simd, const OB: usize, const P: usize, const Q: usize>(
        &self,
        simd: S,
        row: usize,
        col: usize,
        mut acc: [[S::V; P]; OB],
    ) {
        let Self { geom, epilogue, .. } = self;
        // Every pass is a short loop that is unrolled: a sum that a loop indexes would live in memory all along.
        macro_rules! each_sum {
            ($strides:expr, |$sum:ident, $at:ident| $body:expr) => {{
                let s: &Strides = $strides;
                let start = s.offset + self.piece.image * s.image + row * s.row + col * s.pixel;
                for ob in 0..OB {
                    let start = start + (self.piece.k + ob) * s.block;
                    for p in 0..Q {
                        let ($sum, $at) = (&mut acc[ob][p], start + p * s.pixel);
                        $body
                    }
                    for p in Q..P {
                        let ($sum, $at) = (&mut acc[ob][p], start + s.row + (p - Q) * s.pixel);
                        $body
                    }
                }
            }};
        }
        let y = self.y.pointer();
        // SAFETY: all places are within `y` and the activation to add by `geom.check`, and those of `y` ours alone (first
        // and third promise of the caller).
        unsafe {
            if let Some((add, at)) = epilogue.add {
                let add = add.as_ptr();
                each_sum!(&at, |sum, at| *sum = simd.add(*sum, simd.load(&*add.add(at))));
            }
            if epilogue.accumulate {
                each_sum!(&geom.y, |sum, at| *sum = simd.add(*sum, simd.load(&*y.add(at))));
            }
            if epilogue.relu {
                each_sum!(&geom.y, |sum, _at| *sum = simd.relu(*sum));
            }
            each_sum!(&geom.y, |sum, at| simd.store(&mut *y.add(at), *sum));
        }
    }
}
