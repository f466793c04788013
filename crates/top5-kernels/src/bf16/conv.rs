//! Direct convolution in bf16, in the loop nest of [`conv`](crate::conv).
//!
//! Input and weights are bf16, sums and the epilogue f32, the output either. Weights are packed as
//! `[out block][in block][tap][pair of lanes][16][2]`, so that one broadcast pair of input channels meets one block of
//! weights. Of groups that share blocks the first pairs of all groups are one block, and so on. With `n` products per
//! output, the result differs from the exact one of the same rounded operands by at most `(n + 2) · 2⁻²⁴ · Σ|x·w|`, for
//! every order of the sums.

use super::{Bf16, Bf16Isa, KernelBf16, SimdBf16};
use crate::block::Block;
use crate::conv::{ConvGeom, Epilogue, Split, Strip};
use crate::multiply::Pairs;
use crate::pixel::Pixel;
use crate::simd::Simd;
use crate::threads::{Shore, Threads};

/// Direct convolution in bf16, with its work split into jobs.
#[derive(Clone, Debug)]
pub struct DirectBf16 {
    isa: Bf16Isa,
    name: String,
    geom: ConvGeom,
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
    fn weight_stride(&self) -> usize {
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
        geom.check_epilogue(n, x.len(), epilogue);
        let y = Shore(y.as_mut_ptr());
        self.split.run(threads, n, geom, epilogue, |piece| {
            self.isa.run(Strip { geom, x, w, epilogue, y, piece });
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

impl<Y: Pixel> KernelBf16 for Strip<'_, Bf16, Y> {
    type Output = ();

    #[inline(always)]
    fn run<D: SimdBf16>(self, simd: D) {
        match self.geom.grouped() {
            Some(group) => {
                let len = self.geom.taps.len() * group / 2;
                let weights = &self.w[self.piece.k * len..][..len];
                self.run_grouped(Pairs(simd), group, weights);
            }
            None => self.run_dense(Pairs(simd)),
        }
    }
}
