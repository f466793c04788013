//! AVX2 with FMA: two registers of eight floats.

use super::{Kernel, Simd};
use crate::block::{Block, LANES};
use std::arch::x86_64::*;

/// Proof that the CPU has AVX2 and FMA.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// The token, if the CPU has the instructions.
    #[inline]
    pub(crate) fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }
}

/// Calls intrinsics of AVX, AVX2 and FMA on both halves.
macro_rules! avx2 {
    ($e:expr) => {
        // SAFETY: `self` is an `Avx2`, which `new` makes only where the CPU has the instructions; memory operands are
        // references to whole blocks of 64 bytes, or to as many that need no alignment, and the second half starts 32
        // bytes into them.
        unsafe { $e }
    };
}

impl Simd for Avx2 {
    type V = [__m256; 2];

    const TILE: [usize; 2] = [6, 3];
    const SCARCE: bool = true;
    const PASS: usize = 256;
    const GROUPED_TILE: usize = 4;
    const GRADIENT_TILE: usize = 6;
    const SPREADS: bool = true;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma")]
        #[inline(never)]
        fn enter<K: Kernel>(simd: Avx2, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        avx2!(enter(self, kernel))
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        let x = avx2!(_mm256_set1_ps(x));
        [x, x]
    }

    #[inline(always)]
    fn load(self, x: &Block) -> Self::V {
        avx2!([_mm256_load_ps(x.0.as_ptr()), _mm256_load_ps(x.0.as_ptr().add(8))])
    }

    #[inline(always)]
    fn store(self, y: &mut Block, x: Self::V) {
        avx2!({
            _mm256_store_ps(y.0.as_mut_ptr(), x[0]);
            _mm256_store_ps(y.0.as_mut_ptr().add(8), x[1]);
        })
    }

    #[inline(always)]
    fn prefetch(self, at: *const Block) {
        // SAFETY: a prefetch is a hint: it changes no state of the program, and no address makes it fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    fn prefetch_early(self, at: *const Block) {
        // SAFETY: a prefetch is a hint: it changes no state of the program, and no address makes it fault.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        avx2!([_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        avx2!([_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        avx2!([_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        avx2!([_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        avx2!([_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])])
    }

    #[inline(always)]
    fn mul_add_all<const P: usize>(
        self,
        a: [Self::V; P],
        b: &Block,
        mut c: [Self::V; P],
    ) -> [Self::V; P] {
        for half in 0..2 {
            let b = avx2!(_mm256_load_ps(b.0.as_ptr().add(8 * half)));
            for p in 0..P {
                c[p][half] = avx2!(_mm256_fmadd_ps(a[p][half], b, c[p][half]));
            }
        }
        c
    }

    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        avx2!([_mm256_sqrt_ps(a[0]), _mm256_sqrt_ps(a[1])])
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        avx2!([_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn select_equal(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V {
        let half = |i: usize| {
            avx2!(_mm256_blendv_ps(no[i], yes[i], _mm256_cmp_ps::<_CMP_EQ_OQ>(a[i], b[i])))
        };
        [half(0), half(1)]
    }

    #[inline(always)]
    fn select_positive(self, a: Self::V, yes: Self::V) -> Self::V {
        let half = |i: usize| {
            avx2!(_mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a[i], _mm256_setzero_ps()), yes[i]))
        };
        [half(0), half(1)]
    }

    #[inline(always)]
    fn load_floats(self, x: &[f32; LANES]) -> Self::V {
        avx2!([_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x.as_ptr().add(8))])
    }

    /// The upper bits of a pick tell its half, and whether there is one.
    #[inline(always)]
    fn pick(self, others: Self::V, x: Self::V, picks: &[i32; LANES]) -> Self::V {
        let half = |i: usize| {
            avx2!({
                let picks = _mm256_loadu_si256(picks.as_ptr().add(8 * i).cast());
                let upper = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(picks));
                let low = _mm256_permutevar8x32_ps(x[0], picks);
                let high = _mm256_permutevar8x32_ps(x[1], picks);
                let picked = _mm256_blendv_ps(low, high, upper);
                _mm256_blendv_ps(picked, others[i], _mm256_castsi256_ps(picks))
            })
        };
        [half(0), half(1)]
    }

    #[inline(always)]
    fn spread<const G: usize, const I: usize>(self, x: &[f32; LANES]) -> Self::V {
        const { assert!(G == 4 || G == 8) };
        if G == 8 {
            return avx2!([_mm256_broadcast_ss(&x[I]), _mm256_broadcast_ss(&x[8 + I])]);
        }
        // Four channels are what this instruction moves among themselves.
        let [low, high] = self.load_floats(x);
        match I {
            0 => avx2!([_mm256_permute_ps::<0x00>(low), _mm256_permute_ps::<0x00>(high)]),
            1 => avx2!([_mm256_permute_ps::<0x55>(low), _mm256_permute_ps::<0x55>(high)]),
            2 => avx2!([_mm256_permute_ps::<0xaa>(low), _mm256_permute_ps::<0xaa>(high)]),
            _ => avx2!([_mm256_permute_ps::<0xff>(low), _mm256_permute_ps::<0xff>(high)]),
        }
    }
}
