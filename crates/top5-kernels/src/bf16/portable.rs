//! Pairs of bf16 in portable Rust, with the rounding of the instructions.

use super::{Bf16, SimdBf16};
use crate::block::{Block, LANES};
use crate::pixel::BlockBf16;
use crate::simd::Scalar;
use std::array::from_fn;

/// Portable Rust.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable(Scalar);

impl Default for Portable {
    fn default() -> Self {
        Self(Scalar)
    }
}

/// The numbers of a pair.
#[inline(always)]
fn split(pair: u32) -> [f32; 2] {
    [f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000)]
}

impl SimdBf16 for Portable {
    type Floats = Scalar;
    type Pairs = [u32; LANES];

    const TILE: [usize; 2] = [2, 0];

    #[inline(always)]
    fn floats(self) -> Scalar {
        self.0
    }

    #[inline(always)]
    fn splat(self, pair: u32) -> Self::Pairs {
        [pair; LANES]
    }

    #[inline(always)]
    fn load(self, x: &Block) -> Self::Pairs {
        x.0.map(f32::to_bits)
    }

    #[inline(always)]
    fn spread(self, x: &[Bf16; LANES], group: usize, i: usize) -> Self::Pairs {
        from_fn(|lane| {
            let first = (lane & group.wrapping_neg()) + 2 * i;
            u32::from(x[first].0) | u32::from(x[first + 1].0) << 16
        })
    }

    /// Products of two bf16 are exact in f32, so that this rounds as a fused operation would.
    #[inline(always)]
    fn dot(self, a: Self::Pairs, b: Self::Pairs, c: [f32; LANES]) -> [f32; LANES] {
        from_fn(|i| {
            let ([a0, a1], [b0, b1]) = (split(a[i]), split(b[i]));
            c[i] + a1 * b1 + a0 * b0
        })
    }

    #[inline(always)]
    fn pairs(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        let bits = |x: f32| u32::from(Bf16::from_f32(x).0);
        from_fn(|i| f32::from_bits(bits(a[i]) | bits(b[i]) << 16))
    }

    #[inline(always)]
    fn narrow(self, x: [f32; LANES]) -> BlockBf16 {
        BlockBf16(x.map(Bf16::from_f32))
    }
}
