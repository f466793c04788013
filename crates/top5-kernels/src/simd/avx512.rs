//! AVX-512: one register of sixteen floats.

use super::{Kernel, Simd};
use crate::bf16::Bf16;
use crate::block::{Block, BlockBf16, LANES};
use std::arch::x86_64::*;

/// Proof that the CPU has AVX-512 F, VL, BW and DQ (and AVX2 and FMA), and with `BF16` also AVX-512 BF16.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512<const BF16: bool>(());

impl<const BF16: bool> Avx512<BF16> {
    /// The token, if the CPU has the instructions.
    #[inline]
    pub(crate) fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && (!BF16 || is_x86_feature_detected!("avx512bf16")))
        .then_some(Self(()))
    }
}

/// Calls intrinsics of AVX-512 F, BW and DQ, and where `BF16` is true of BF16.
macro_rules! avx512 {
    ($e:expr) => {
        // SAFETY: `self` is an `Avx512`, which `new` makes only where the CPU has the instructions; memory operands are
        // references to whole blocks of 64 bytes, or to as many or 32 that need no alignment; vectors of the same size are
        // the same bits.
        unsafe { $e }
    };
}

impl<const BF16: bool> Simd for Avx512<BF16> {
    type V = __m512;

    const TILE: [usize; 2] = [14, 14];
    const GRADIENT_TILE: usize = 16;
    const AMX: bool = BF16;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
        #[inline(never)]
        fn enter<K: Kernel, S: Simd>(simd: S, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma")]
        #[inline(never)]
        fn enter_bf16<K: Kernel, S: Simd>(simd: S, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        if const { BF16 } {
            avx512!(enter_bf16(self, kernel))
        } else {
            avx512!(enter(self, kernel))
        }
    }

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
    fn widen(self, x: &BlockBf16) -> __m512 {
        avx512!({
            let half = _mm256_load_si256(x.0.as_ptr().cast());
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)))
        })
    }

    /// Without the instruction in integers: half of the last place is added, a little less where the last bit is even.
    #[inline(always)]
    fn narrow(self, x: __m512) -> BlockBf16 {
        if BF16 {
            return avx512!(std::mem::transmute::<__m256bh, BlockBf16>(_mm512_cvtneps_pbh(x)));
        }
        /// `_mm512_fpclass_ps_mask`'s denormal numbers.
        const DENORMAL: i32 = 0x20;
        avx512!({
            let bits = _mm512_castps_si512(x);
            let upper = _mm512_srli_epi32::<16>(bits);
            let odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
            let half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
            let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, half));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
            let quiet = _mm512_set1_epi32(0x40);
            let rounded = _mm512_mask_or_epi32(rounded, nan, upper, quiet);
            let denormal = _mm512_fpclass_ps_mask::<DENORMAL>(x);
            let sign = _mm512_set1_epi32(0x8000);
            let rounded = _mm512_mask_and_epi32(rounded, denormal, upper, sign);
            std::mem::transmute::<__m256i, BlockBf16>(_mm512_cvtepi32_epi16(rounded))
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

    #[inline(always)]
    fn transpose(self, rows: [__m512; LANES]) -> [__m512; LANES] {
        // Closures lose the instruction set where they are not inlined, so these are macros.
        macro_rules! pairs {
            ($unpack:ident, $a:expr, $b:expr) => {
                avx512!(_mm512_castpd_ps($unpack(_mm512_castps_pd($a), _mm512_castps_pd($b))))
            };
        }
        macro_rules! quarters {
            ($pick:literal, $a:expr, $b:expr) => {
                avx512!(_mm512_shuffle_f32x4::<$pick>($a, $b))
            };
        }
        let mut twos = rows;
        for i in 0..8 {
            twos[2 * i] = avx512!(_mm512_unpacklo_ps(rows[2 * i], rows[2 * i + 1]));
            twos[2 * i + 1] = avx512!(_mm512_unpackhi_ps(rows[2 * i], rows[2 * i + 1]));
        }
        // In quarter q of vector 4i + c: column 4q + c of rows 4i to 4i + 3.
        let mut fours = rows;
        for i in 0..4 {
            fours[4 * i] = pairs!(_mm512_unpacklo_pd, twos[4 * i], twos[4 * i + 2]);
            fours[4 * i + 1] = pairs!(_mm512_unpackhi_pd, twos[4 * i], twos[4 * i + 2]);
            fours[4 * i + 2] = pairs!(_mm512_unpacklo_pd, twos[4 * i + 1], twos[4 * i + 3]);
            fours[4 * i + 3] = pairs!(_mm512_unpackhi_pd, twos[4 * i + 1], twos[4 * i + 3]);
        }
        let mut columns = rows;
        for c in 0..4 {
            let even = quarters!(0x88, fours[c], fours[4 + c]);
            let odd = quarters!(0xdd, fours[c], fours[4 + c]);
            let even_below = quarters!(0x88, fours[8 + c], fours[12 + c]);
            let odd_below = quarters!(0xdd, fours[8 + c], fours[12 + c]);
            columns[c] = quarters!(0x88, even, even_below);
            columns[4 + c] = quarters!(0x88, odd, odd_below);
            columns[8 + c] = quarters!(0xdd, even, even_below);
            columns[12 + c] = quarters!(0xdd, odd, odd_below);
        }
        columns
    }

    #[inline(always)]
    fn load_floats(self, x: &[f32; LANES]) -> __m512 {
        avx512!(_mm512_loadu_ps(x.as_ptr()))
    }

    #[inline(always)]
    fn pick(self, others: __m512, x: __m512, picks: &[i32; LANES]) -> __m512 {
        avx512!({
            let picks = _mm512_loadu_si512(picks.as_ptr().cast());
            let none = _mm512_movepi32_mask(picks);
            _mm512_mask_permutexvar_ps(others, !none, picks, x)
        })
    }

    #[inline(always)]
    fn splat_pair(self, pair: u32) -> __m512 {
        avx512!(_mm512_castsi512_ps(_mm512_set1_epi32(pair.cast_signed())))
    }

    #[inline(always)]
    fn pick_pairs(self, others: __m512, x: &[Bf16; LANES], picks: &[i16; 2 * LANES]) -> __m512 {
        avx512!({
            let picks = _mm512_loadu_si512(picks.as_ptr().cast());
            let none = _mm512_movepi16_mask(picks);
            let x = _mm512_castsi256_si512(_mm256_loadu_si256(x.as_ptr().cast()));
            let others = _mm512_castps_si512(others);
            _mm512_castsi512_ps(_mm512_mask_permutexvar_epi16(others, !none, picks, x))
        })
    }

    #[inline(always)]
    fn dot(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        assert!(BF16, "kernels of bf16 are entered with its instructions");
        avx512!({
            let bits = |x: __m512| std::mem::transmute::<__m512, __m512bh>(x);
            _mm512_dpbf16_ps(c, bits(a), bits(b))
        })
    }

    #[inline(always)]
    fn pairs(self, a: __m512, b: __m512) -> __m512 {
        assert!(BF16, "kernels of bf16 are entered with its instructions");
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
    fn stream(self, y: &mut Block, x: __m512) {
        avx512!(_mm512_stream_ps(y.0.as_mut_ptr(), x))
    }

    #[inline(always)]
    fn fence(self) {
        avx512!(_mm_sfence())
    }
}
