//! AVX-512: one register of sixteen floats.

use super::Simd;
use crate::block::Block;
use std::arch::x86_64::*;

/// Proof that the CPU has AVX-512 F, VL, BW and DQ (and AVX2 and FMA).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// The token, if the CPU has the instructions.
    #[inline]
    pub(crate) fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma"))
        .then_some(Self(()))
    }
}

/// Calls intrinsics of AVX-512 F and DQ.
macro_rules! avx512 {
    ($e:expr) => {
        // SAFETY: `self` is an `Avx512`, which `new` makes only where the CPU has the instructions; memory operands are
        // references to whole blocks of 64 bytes.
        unsafe { $e }
    };
}

impl Simd for Avx512 {
    type V = __m512;

    const TILE: [usize; 2] = [14, 14];
    const GRADIENT_TILE: usize = 16;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        avx512!(_mm512_set1_ps(x))
    }

    #[inline(always)]
    fn load(self, x: &Block) -> __m512 {
        avx512!(_mm512_load_ps(x.0.as_ptr()))
    }

    #[inline(always)]
    fn store(self, y: &mut Block, x: __m512) {
        avx512!(_mm512_store_ps(y.0.as_mut_ptr(), x))
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_div_ps(a, b))
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        avx512!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        avx512!(_mm512_sqrt_ps(a))
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_max_ps(a, b))
    }

    #[inline(always)]
    fn select_equal(self, a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
        avx512!(_mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b), no, yes))
    }

    #[inline(always)]
    fn select_positive(self, a: __m512, yes: __m512) -> __m512 {
        avx512!(_mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, _mm512_setzero_ps()), yes))
    }
}
