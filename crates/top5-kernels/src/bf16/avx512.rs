//! Pairs of bf16 with AVX-512 BF16.

use super::{Bf16, SimdBf16};
use crate::block::{Block, LANES};
use crate::pixel::BlockBf16;
use crate::simd::Avx512;
use std::arch::x86_64::*;

/// Proof that the CPU has AVX-512 BF16 and what [`Avx512`] proves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512Bf16(Avx512);

impl Avx512Bf16 {
    /// The token, if the CPU has the instructions.
    #[inline]
    pub(crate) fn new() -> Option<Self> {
        Avx512::new().filter(|_| is_x86_feature_detected!("avx512bf16")).map(Self)
    }
}

/// Calls intrinsics of AVX-512 F and BF16.
macro_rules! avx512 {
    ($e:expr) => {
        // SAFETY: `self` is an `Avx512Bf16`, which `new` makes only where the CPU has the instructions; memory operands
        // are references to whole blocks of 64 bytes, or to 32 bytes that need no alignment; vectors of the same size are
        // the same bits.
        unsafe { $e }
    };
}

impl SimdBf16 for Avx512Bf16 {
    type Floats = Avx512;
    type Pairs = __m512i;

    const TILE: [usize; 2] = [14, 14];

    #[inline(always)]
    fn floats(self) -> Avx512 {
        self.0
    }

    #[inline(always)]
    fn splat(self, pair: u32) -> __m512i {
        avx512!(_mm512_set1_epi32(pair.cast_signed()))
    }

    #[inline(always)]
    fn load(self, x: &Block) -> __m512i {
        avx512!(_mm512_load_si512(x.0.as_ptr().cast()))
    }

    #[inline(always)]
    fn spread(self, x: &[Bf16; LANES], group: usize, i: usize) -> __m512i {
        avx512!({
            // A group of channels is half as many pairs.
            let pairs = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
            let firsts = _mm512_and_epi32(pairs, _mm512_set1_epi32(-(group as i32 / 2)));
            let places = _mm512_add_epi32(firsts, _mm512_set1_epi32(i as i32));
            let x = _mm512_castsi256_si512(_mm256_loadu_si256(x.as_ptr().cast()));
            _mm512_permutexvar_epi32(places, x)
        })
    }

    #[inline(always)]
    fn dot(self, a: __m512i, b: __m512i, c: __m512) -> __m512 {
        avx512!({
            let bits = |x: __m512i| std::mem::transmute::<__m512i, __m512bh>(x);
            _mm512_dpbf16_ps(c, bits(a), bits(b))
        })
    }

    #[inline(always)]
    fn pairs(self, a: __m512, b: __m512) -> __m512 {
        avx512!({
            // The numbers of `a`, then those of `b`.
            let halves = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(b, a));
            let mut places = [0u16; 2 * LANES];
            let mut i = 0;
            while i < 2 * LANES {
                places[i] = (i / 2 + i % 2 * LANES) as u16;
                i += 1;
            }
            let places = std::mem::transmute::<[u16; 2 * LANES], __m512i>(places);
            _mm512_castsi512_ps(_mm512_permutexvar_epi16(places, halves))
        })
    }

    #[inline(always)]
    fn narrow(self, x: __m512) -> BlockBf16 {
        avx512!(std::mem::transmute::<__m256bh, BlockBf16>(_mm512_cvtneps_pbh(x)))
    }
}
