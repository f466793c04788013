//! Direct convolution in bf16, in the loop nest of [`conv`](crate::conv).
//!
//! Input and weights are bf16, sums and the epilogue f32, the output either. Weights are packed as
//! `[out block][in block][tap][pair of lanes][16][2]`, so that one broadcast pair of input channels meets one block of
//! weights. Of groups that share blocks the first pairs of all groups are one block, and so on (see
//! [`grouped`](super::grouped)). With `n` products per output, the result differs from the exact one of the same rounded
//! operands by at most `(n + 2) · 2⁻²⁴ · Σ|x·w|`, for every order of the sums.

use super::{Bf16, Bf16Isa, KernelBf16, SimdBf16, Vector};
use crate::block::Block;
use crate::conv::{AHEAD, ConvGeom, Epilogue, Piece, Split, Strides};
use crate::pixel::Pixel;
use crate::simd::Simd;
use crate::threads::{Shore, Threads};
use std::array::from_fn;

/// Direct convolution in bf16, with its work split into jobs.
#[derive(Clone, Debug)]
pub struct DirectBf16 {
    isa: Bf16Isa,
    name: String,
    pub(super) geom: ConvGeom,
    split: Split,
}

/// Multiply-accumulates that make a job worth starting.
const JOB: usize = 1 << 20;

impl DirectBf16 {
    /// The kernel for this geometry, whose input strides count bf16 elements.
    pub fn new(isa: Bf16Isa, geom: ConvGeom) -> Self {
        let split = Split::new(&geom, isa.tile(), JOB);
        Self { isa, name: format!("bf16_conv_{}_{isa}", split.method()), geom, split }
    }

    /// Whether all that an image's last pixel reads is within the image: an odd last lane is read with a neighbour.
    pub fn stays_within_image(&self) -> bool {
        let ConvGeom { rows, cols, blocks, lanes, x, .. } = &self.geom;
        let last = self.geom.first.iter().max().map_or(0, |&f| f) + blocks;
        let tap = self.geom.taps.iter().max().map_or(0, |&tap| tap);
        let pixel = if self.geom.batch_is_row { 0 } else { (cols - 1) * x.pixel };
        let start = x.offset + (last - 1) * x.block + (rows - 1) * x.row + pixel;
        start + tap + lanes.next_multiple_of(2) <= x.image
    }

    /// Its name, as [`Direct`](crate::conv::Direct)'s: `bf16_conv_direct_2x14_avx512`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its geometry.
    pub fn geom(&self) -> &ConvGeom {
        &self.geom
    }

    /// Blocks of pairs for one tap.
    fn pairs(&self) -> usize {
        self.group().div_ceil(2)
    }

    /// Lanes after which those of the next group follow.
    fn group(&self) -> usize {
        self.geom.grouped().unwrap_or(self.geom.lanes)
    }

    /// Blocks of weights of one output block.
    pub(super) fn weight_stride(&self) -> usize {
        self.geom.blocks * self.geom.taps.len() * self.pairs()
    }

    /// Blocks of packed weights.
    pub fn packed_len(&self) -> usize {
        self.geom.out_blocks() * self.weight_stride()
    }

    /// Rounds weights that are packed for direct convolution in f32 into pairs.
    ///
    /// # Panics
    /// If a length is not that of this geometry.
    pub fn pack(&self, threads: &Threads, weights: &[Block], packed: &mut [Block]) {
        assert_eq!(weights.len(), self.geom.packed_len(), "packed for another geometry");
        assert_eq!(packed.len(), self.packed_len(), "memory for another geometry");
        let (lanes, taps) = (self.geom.lanes, self.geom.blocks * self.geom.taps.len());
        threads.chunks(packed, self.weight_stride(), |k, packed| {
            let weights = weights[k * taps * lanes..].chunks_exact(lanes);
            for (packed, weights) in packed.chunks_exact_mut(self.pairs()).zip(weights) {
                self.isa.run(Rows { weights, group: self.group(), packed });
            }
        });
    }

    /// Computes `n` images: `x` with the packed weights `w` to `y`.
    ///
    /// # Panics
    /// If an operand is too short for the geometry. Where lanes are odd in number, one element more is read than they
    /// are.
    pub fn run<P: Pixel>(
        &self,
        threads: &Threads,
        n: usize,
        x: &[Bf16],
        w: &[Block],
        epilogue: &Epilogue<'_, P>,
        y: &mut [P],
    ) {
        let geom = &self.geom;
        geom.check(n, x.len().saturating_sub(geom.lanes.min(geom.depth) % 2), y.len());
        assert_eq!(w.len(), self.packed_len(), "the weights are packed for another geometry");
        assert!(epilogue.bias.is_none_or(|bias| bias.len() >= geom.out_blocks()));
        if let Some((add, at)) = epilogue.add {
            ConvGeom { y: at, ..geom.clone() }.check(n, x.len(), add.len());
        }
        let y = Shore(y.as_mut_ptr());
        self.split.run(threads, n, geom, epilogue, |piece| {
            self.isa.run(Strip { kernel: self, x, w, epilogue, y, piece });
        });
    }
}

/// The weights of one tap, two rows to a block. Those of groups that share it have no output in common.
struct Rows<'a> {
    weights: &'a [Block],
    group: usize,
    packed: &'a mut [Block],
}

impl KernelBf16 for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<D: SimdBf16>(self, simd: D) {
        let floats = simd.floats();
        for (pair, packed) in self.packed.iter_mut().enumerate() {
            let mut rows = [floats.zero(); 2];
            for i in 0..2 {
                for weights in self.weights.iter().skip(2 * pair + i).step_by(self.group) {
                    rows[i] = floats.add(rows[i], floats.load(weights));
                }
            }
            floats.store(packed, simd.pairs(rows[0], rows[1]));
        }
    }
}

/// A piece of the work. Pieces write different pixels of `y`.
pub(super) struct Strip<'a, O> {
    pub(super) kernel: &'a DirectBf16,
    pub(super) x: &'a [Bf16],
    pub(super) w: &'a [Block],
    epilogue: &'a Epilogue<'a, O>,
    y: Shore<O>,
    pub(super) piece: Piece,
}

/// Calls [`Strip::tile`] for the width at hand.
macro_rules! by_width {
    ($width:expr, $ob:literal, $rows:literal, [$($p:literal)*], $strip:expr, $simd:expr, $row:expr, $col:expr) => {
        match $width {
            // SAFETY: `DirectBf16::run` has checked that all elements are there; see `Strip::tile`.
            $($p => unsafe { $strip.tile::<D, $ob, $p, { $p / $rows }>($simd, $row, $col) },)*
            _ => unreachable!("tiles are at most 14 pixels wide"),
        }
    };
}

impl<O: Pixel> KernelBf16 for Strip<'_, O> {
    type Output = ();

    #[inline(always)]
    fn run<D: SimdBf16>(self, simd: D) {
        if self.kernel.geom.grouped().is_some() {
            return self.run_grouped(simd);
        }
        let widest = D::TILE[self.piece.ob - 1];
        // Narrow maps: two rows at once, so that a weight that was loaded meets more than a few pixels.
        let two_rows = self.piece.ob == 2 && 2 * self.piece.cols.len() <= widest;
        // As few tiles as possible, and none much narrower than the others.
        let tiles = self.piece.cols.len().div_ceil(widest);
        let mut row = self.piece.rows.start;
        while row < self.piece.rows.end {
            if D::TILE[1] > 0 && two_rows && row + 1 < self.piece.rows.end {
                let (width, col) = (self.piece.cols.len(), self.piece.cols.start);
                by_width!(2 * width, 2, 2, [2 4 6 8 10 12 14], self, simd, row, col);
                row += 2;
                continue;
            }
            let mut col = self.piece.cols.start;
            for tile in 0..tiles {
                let width = (self.piece.cols.end - col).div_ceil(tiles - tile);
                if D::TILE[1] > 0 && self.piece.ob == 2 {
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

/// Two neighbours, the first in the lower half.
///
/// # Safety
/// Both are there.
#[inline(always)]
unsafe fn pair_at(x: *const Bf16) -> u32 {
    // SAFETY: the caller's promise; all bits are valid.
    let bits = unsafe { x.cast::<u32>().read_unaligned() };
    if cfg!(target_endian = "big") { bits.rotate_left(16) } else { bits }
}

impl<O: Pixel> Strip<'_, O> {
    /// Computes P pixels of OB output blocks: the first Q in `row`, the others in the next one.
    ///
    /// # Safety
    /// - `geom.check` passed for the lengths of `x` and `y` (and of the activation to add), with an element of `x` to
    ///   spare where lanes are odd in number, and `w.len()` is `packed_len()`;
    /// - `row` (and the next one, if P > Q), `col + Q − 1` and `k + OB − 1` are within the output;
    /// - nothing else accesses these pixels of `y` meanwhile.
    #[inline(always)]
    unsafe fn tile<D: SimdBf16, const OB: usize, const P: usize, const Q: usize>(
        &self,
        simd: D,
        row: usize,
        col: usize,
    ) {
        let (kernel, floats) = (self.kernel, simd.floats());
        let geom = &kernel.geom;
        let mut acc: [[Vector<D>; P]; OB] = self.biases(simd);
        let pixel = geom.x.pixel;
        let at = geom.x.offset + self.piece.image * geom.x.image + row * geom.x.row + col * pixel;
        // SAFETY: all offsets are below what `geom.check` asserted (first promise of the caller).
        unsafe {
            let x = self.x.as_ptr().add(at);
            let stride = kernel.weight_stride();
            let below = if P > Q { geom.x.row } else { 0 };
            let next_tile = if P > Q { 2 * below } else { Q * pixel };
            let mut w = self.w.as_ptr().add(self.piece.k * stride);
            let first = geom.first[self.piece.k];
            for b in first..first + geom.blocks {
                let pairs = geom.lanes_of(b).div_ceil(2);
                for &tap in &geom.taps {
                    if pairs > 0 {
                        let x = x.add(b * geom.x.block + tap);
                        for pair in 0..pairs {
                            let weights: [D::Pairs; OB] =
                                from_fn(|ob| simd.load(&*w.add(ob * stride + pair)));
                            for ob in 0..OB {
                                floats.prefetch(w.wrapping_add(ob * stride + pair + AHEAD));
                            }
                            // Two pixels of the next tile, which often share a cache line.
                            if 2 * pair < P {
                                let p = 2 * pair;
                                let p = if p < Q { p * pixel } else { below + (p - Q) * pixel };
                                floats.prefetch(x.wrapping_add(next_tile + p).cast());
                            }
                            // Two loops without a condition: they are unrolled, so that acc is in registers.
                            for p in 0..Q {
                                let value = simd.splat(pair_at(x.add(p * pixel + 2 * pair)));
                                for ob in 0..OB {
                                    acc[ob][p] = simd.dot(value, weights[ob], acc[ob][p]);
                                }
                            }
                            let next = x.add(below);
                            for p in Q..P {
                                let at = next.add((p - Q) * pixel + 2 * pair);
                                let value = simd.splat(pair_at(at));
                                for ob in 0..OB {
                                    acc[ob][p] = simd.dot(value, weights[ob], acc[ob][p]);
                                }
                            }
                        }
                    }
                    w = w.add(kernel.pairs());
                }
            }
            self.finish::<D, OB, P, Q>(simd, row, col, acc);
        }
    }

    /// The sums before the first product.
    #[inline(always)]
    pub(super) fn biases<D: SimdBf16, const OB: usize, const P: usize>(
        &self,
        simd: D,
    ) -> [[Vector<D>; P]; OB] {
        let floats = simd.floats();
        let mut acc = [[floats.zero(); P]; OB];
        if let Some(bias) = self.epilogue.bias {
            for ob in 0..OB {
                acc[ob] = [floats.load(&bias[self.piece.k + ob]); P];
            }
        }
        acc
    }

    /// Stores the sums of a tile after the rest of the epilogue.
    ///
    /// # Safety
    /// As [`Strip::tile`].
    #[inline(always)]
    pub(super) unsafe fn finish<D: SimdBf16, const OB: usize, const P: usize, const Q: usize>(
        &self,
        simd: D,
        row: usize,
        col: usize,
        mut acc: [[Vector<D>; P]; OB],
    ) {
        let (geom, epilogue, floats) = (&self.kernel.geom, self.epilogue, simd.floats());
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
                each_sum!(&at, |sum, at| *sum = floats.add(*sum, (*add.add(at)).load(floats)));
            }
            if epilogue.accumulate {
                each_sum!(&geom.y, |sum, at| *sum = floats.add(*sum, (*y.add(at)).load(floats)));
            }
            if epilogue.relu {
                each_sum!(&geom.y, |sum, _at| *sum = floats.relu(*sum));
            }
            each_sum!(&geom.y, |sum, at| (*y.add(at)).store_bf16(simd, *sum));
        }
    }
}
