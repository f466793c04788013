//! What the loop nests of convolutions multiply: floats, or pairs of bf16.
//!
//! Either way a vector of sixteen factors meets another, and sixteen products, or sums of two, are added to sixteen sums in
//! f32. What is written over [`Element`] serves both precisions.

use crate::bf16::Bf16;
use crate::block::LANES;
use crate::isa::Precision;
use crate::simd::Simd;
use std::fmt;

/// What the input of a convolution consists of, and how sixteen of its factors are multiplied at once.
pub(crate) trait Element: Copy + Send + Sync + fmt::Debug + 'static {
    /// What products are of.
    const PRECISION: Precision;
    /// Lanes of the input that are one factor.
    const DEPTH: usize;

    /// The same factor sixteen times: the float, or the pair that its bits are.
    fn splat<S: Simd>(simd: S, x: f32) -> S::V;
    /// The same factor sixteen times: the one at `x`.
    ///
    /// # Safety
    /// There are [`Element::DEPTH`] elements.
    unsafe fn splat_at<S: Simd>(simd: S, x: *const Self) -> S::V;
    /// In every group of `group` of a pixel's channels, 4 or 8, its factor `i` for all of them.
    fn spread<S: Simd>(simd: S, x: &[Self; LANES], group: usize, i: usize) -> S::V;
    /// `c` and the products of `a` and `b`.
    fn mul_add<S: Simd>(simd: S, a: S::V, b: S::V, c: S::V) -> S::V;
}

impl Element for f32 {
    const PRECISION: Precision = Precision::F32;
    const DEPTH: usize = 1;

    #[inline(always)]
    fn splat<S: Simd>(simd: S, x: f32) -> S::V {
        simd.splat(x)
    }

    #[inline(always)]
    unsafe fn splat_at<S: Simd>(simd: S, x: *const Self) -> S::V {
        // SAFETY: the caller's promise.
        simd.splat(unsafe { *x })
    }

    #[inline(always)]
    fn spread<S: Simd>(simd: S, x: &[Self; LANES], group: usize, i: usize) -> S::V {
        simd.spread(simd.load_floats(x), group, i)
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

    #[inline(always)]
    fn spread<S: Simd>(simd: S, x: &[Self; LANES], group: usize, i: usize) -> S::V {
        simd.spread_pairs(x, group, i)
    }

    #[inline(always)]
    fn mul_add<S: Simd>(simd: S, a: S::V, b: S::V, c: S::V) -> S::V {
        simd.dot(a, b, c)
    }
}
