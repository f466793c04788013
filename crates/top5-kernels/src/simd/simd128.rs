//! WebAssembly's simd128: four vectors of four floats.

use super::{Kernel, Simd};
use crate::block::Block;
use std::arch::wasm32::*;
use std::array::from_fn;

/// Exists only in modules that are compiled with simd128: who lacks it refuses the whole module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Simd128;

impl Simd for Simd128 {
    type V = [v128; 4];

    const TILE: [usize; 2] = [2, 0];
    const GRADIENT_TILE: usize = 2;

    /// Every function of such a program may use the instructions.
    #[inline(never)]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [f32x4_splat(x); 4]
    }

    #[inline(always)]
    fn load(self, x: &Block) -> Self::V {
        from_fn(|i| f32x4(x.0[4 * i], x.0[4 * i + 1], x.0[4 * i + 2], x.0[4 * i + 3]))
    }

    #[inline(always)]
    fn store(self, y: &mut Block, x: Self::V) {
        for i in 0..4 {
            // SAFETY: a quarter of a block is 16 bytes, and starts `16 · i` bytes into it.
            unsafe { v128_store(y.0.as_mut_ptr().add(4 * i).cast(), x[i]) }
        }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| f32x4_add(a[i], b[i]))
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| f32x4_sub(a[i], b[i]))
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| f32x4_mul(a[i], b[i]))
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| f32x4_div(a[i], b[i]))
    }

    /// Two roundings: simd128 has no fused operation.
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        from_fn(|i| f32x4_add(f32x4_mul(a[i], b[i]), c[i]))
    }

    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        from_fn(|i| f32x4_sqrt(a[i]))
    }

    /// `a > b ? a : b`, unlike `f32x4_max`, which returns NaN where either is.
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| f32x4_pmax(b[i], a[i]))
    }

    #[inline(always)]
    fn select_equal(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V {
        from_fn(|i| v128_bitselect(yes[i], no[i], f32x4_eq(a[i], b[i])))
    }

    #[inline(always)]
    fn select_positive(self, a: Self::V, yes: Self::V) -> Self::V {
        from_fn(|i| v128_and(f32x4_gt(a[i], f32x4_splat(0.0)), yes[i]))
    }
}
