//! What the loop nests of convolutions multiply: floats, or pairs of bf16.
//!
//! Either way a vector of sixteen factors meets another, and sixteen products, or sums of two, are added to sixteen sums in
//! f32. What is written over [`Element`] serves both precisions.

use crate::bf16::Bf16;
use crate::block::{Block, BlockBf16, LANES};
use crate::conv::{Bound, Input};
use crate::precision::Precision;
use crate::simd::Simd;
use std::fmt;

/// What the input of a convolution consists of, and how sixteen of its factors are multiplied at once.
pub(crate) trait Element: Copy + Send + Sync + fmt::Debug + 'static {
    /// What products are of.
    const PRECISION: Precision;
    /// Lanes of the input that are one factor.
    const DEPTH: usize;
    /// What direct algorithms are called in explanations of a choice.
    const METHOD: &'static str;
    /// What their results may be off by.
    const BOUND: Bound;
    /// For each number of a vector of factors, the channel of a pixel that goes there; negative for none.
    type Picks: Copy;
    /// None for any.
    const NO_PICKS: Self::Picks;

    /// The elements of an activation, if it consists of such.
    fn of(input: Input<'_>) -> Option<&[Self]>;

    /// The same factor sixteen times: the float, or the pair that its bits are.
    fn splat<S: Simd>(simd: S, x: f32) -> S::V;
    /// The same factor sixteen times: the one at `x`.
    ///
    /// # Safety
    /// There are [`Element::DEPTH`] elements.
    unsafe fn splat_at<S: Simd>(simd: S, x: *const Self) -> S::V;
    /// Picks a channel as the `i`-th number of the factor in this lane.
    fn pick_for(picks: &mut Self::Picks, lane: usize, i: usize, channel: usize);
    /// A pixel's channels where some were picked, `others` elsewhere.
    fn pick<S: Simd>(simd: S, others: S::V, x: &[Self; LANES], picks: &Self::Picks) -> S::V;
    /// `c` and the products of `a` and `b`.
    fn mul_add<S: Simd>(simd: S, a: S::V, b: S::V, c: S::V) -> S::V;
}

impl Element for f32 {
    const PRECISION: Precision = Precision::F32;
    const DEPTH: usize = 1;
    const METHOD: &'static str = "direct";
    const BOUND: Bound = Bound::Sum;
    type Picks = [i32; LANES];
    const NO_PICKS: Self::Picks = [-1; LANES];

    fn of(input: Input<'_>) -> Option<&[Self]> {
        match input {
            Input::F32(blocks) => Some(Block::flat(blocks)),
            Input::Bf16(_) => None,
        }
    }

    #[inline(always)]
    fn splat<S: Simd>(simd: S, x: f32) -> S::V {
        simd.splat(x)
    }

    #[inline(always)]
    unsafe fn splat_at<S: Simd>(simd: S, x: *const Self) -> S::V {
        // SAFETY: the caller's promise.
        simd.splat(unsafe { *x })
    }

    fn pick_for(picks: &mut Self::Picks, lane: usize, _: usize, channel: usize) {
        picks[lane] = channel as i32;
    }

    #[inline(always)]
    fn pick<S: Simd>(simd: S, others: S::V, x: &[Self; LANES], picks: &Self::Picks) -> S::V {
        simd.pick(others, simd.load_floats(x), picks)
    }

    #[inline(always)]
    fn mul_add<S: Simd>(simd: S, a: S::V, b: S::V, c: S::V) -> S::V {
        simd.mul_add(a, b, c)
    }
}

/// In pairs.
impl Element for Bf16 {
    const PRECISION: Precision = Precision::Bf16;
    const DEPTH: usize = 2;
    const METHOD: &'static str = "bf16";
    const BOUND: Bound = Bound::RoundedSum;
    type Picks = [i16; 2 * LANES];
    const NO_PICKS: Self::Picks = [-1; 2 * LANES];

    fn of(input: Input<'_>) -> Option<&[Self]> {
        match input {
            Input::Bf16(blocks) => Some(BlockBf16::flat(blocks)),
            Input::F32(_) => None,
        }
    }

    #[inline(always)]
    fn splat<S: Simd>(simd: S, x: f32) -> S::V {
        simd.splat_pair(x.to_bits())
    }

    #[inline(always)]
    unsafe fn splat_at<S: Simd>(simd: S, x: *const Self) -> S::V {
        // SAFETY: the caller's promise; all bits are valid.
        let bits = unsafe { x.cast::<u32>().read_unaligned() };
        simd.splat_pair(if cfg!(target_endian = "big") { bits.rotate_left(16) } else { bits })
    }

    fn pick_for(picks: &mut Self::Picks, lane: usize, i: usize, channel: usize) {
        picks[2 * lane + i] = channel as i16;
    }

    #[inline(always)]
    fn pick<S: Simd>(simd: S, others: S::V, x: &[Self; LANES], picks: &Self::Picks) -> S::V {
        simd.pick_pairs(others, x, picks)
    }

    #[inline(always)]
    fn mul_add<S: Simd>(simd: S, a: S::V, b: S::V, c: S::V) -> S::V {
        simd.dot(a, b, c)
    }
}
