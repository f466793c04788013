//! AArch64 NEON: four registers of four floats.

use super::{Kernel, Simd};
use crate::block::Block;
use std::arch::aarch64::*;
use std::array::from_fn;

/// Exists only where the program is compiled for CPUs that have NEON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neon;

/// Calls intrinsics of NEON on all quarters.
macro_rules! neon {
    ($e:expr) => {
        // SAFETY: this module exists only where every function may use NEON; memory operands are
        // references to whole blocks of 64 bytes, of which quarter `i` starts `16 · i` bytes into them.
        unsafe { $e }
    };
}

impl Simd for Neon {
    type V = [float32x4_t; 4];

    const TILE: [usize; 2] = [5, 0];
    const GRADIENT_TILE: usize = 5;

    /// Every function of such a program may use the instructions.
    #[inline(never)]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [neon!(vdupq_n_f32(x)); 4]
    }

    #[inline(always)]
    fn load(self, x: &Block) -> Self::V {
        from_fn(|i| neon!(vld1q_f32(x.0.as_ptr().add(4 * i))))
    }

    #[inline(always)]
    fn store(self, y: &mut Block, x: Self::V) {
        for i in 0..4 {
            neon!(vst1q_f32(y.0.as_mut_ptr().add(4 * i), x[i]));
        }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| neon!(vaddq_f32(a[i], b[i])))
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| neon!(vsubq_f32(a[i], b[i])))
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| neon!(vmulq_f32(a[i], b[i])))
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| neon!(vdivq_f32(a[i], b[i])))
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        from_fn(|i| neon!(vfmaq_f32(c[i], a[i], b[i])))
    }

    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        from_fn(|i| neon!(vsqrtq_f32(a[i])))
    }

    /// Not `vmaxq_f32`, which returns NaN where either is.
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| neon!(vbslq_f32(vcgtq_f32(a[i], b[i]), a[i], b[i])))
    }

    #[inline(always)]
    fn select_equal(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V {
        from_fn(|i| neon!(vbslq_f32(vceqq_f32(a[i], b[i]), yes[i], no[i])))
    }

    #[inline(always)]
    fn select_positive(self, a: Self::V, yes: Self::V) -> Self::V {
        from_fn(|i| neon!(vbslq_f32(vcgtzq_f32(a[i]), yes[i], vdupq_n_f32(0.0))))
    }
}
