//! Vectors of SSE2, which is part of x86-64: its instructions need no test of the machine.

use core::arch::x86_64::*;

use super::Lanes;

/// A register.
#[derive(Clone, Copy)]
pub(in super::super) struct Sse2(__m128i);

/// Calls intrinsics of SSE2.
macro_rules! sse2 {
    ($call:expr) => {
        // SAFETY: every x86-64 CPU has SSE2, and none of these intrinsics takes a pointer.
        unsafe { $call }
    };
}

impl Sse2 {
    /// The first four lanes of both, in turns.
    #[inline(always)]
    fn zip_low(self, other: Self) -> Self {
        Self(sse2!(_mm_unpacklo_epi16(self.0, other.0)))
    }

    /// The last four lanes of both, in turns.
    #[inline(always)]
    fn zip_high(self, other: Self) -> Self {
        Self(sse2!(_mm_unpackhi_epi16(self.0, other.0)))
    }

    /// The low and the high half.
    #[inline(always)]
    fn halves(register: __m128i) -> [u64; 2] {
        sse2!([
            _mm_cvtsi128_si64(register) as u64,
            _mm_cvtsi128_si64(_mm_unpackhi_epi64(register, register)) as u64,
        ])
    }
}

impl Lanes for Sse2 {
    type Wide = [__m128i; 2];

    #[inline(always)]
    fn load(&[a, b, c, d, e, f, g, h]: &[i16; 8]) -> Self {
        Self(sse2!(_mm_setr_epi16(a, b, c, d, e, f, g, h)))
    }

    #[inline(always)]
    fn load_bytes(bytes: &[u8; 8]) -> Self {
        let bytes = i64::from_le_bytes(*bytes);
        Self(sse2!(_mm_unpacklo_epi8(_mm_cvtsi64_si128(bytes), _mm_setzero_si128())))
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        Self(sse2!(_mm_add_epi16(self.0, other.0)))
    }

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        Self(sse2!(_mm_sub_epi16(self.0, other.0)))
    }

    #[inline(always)]
    fn times(self, other: Self) -> Self {
        Self(sse2!(_mm_mullo_epi16(self.0, other.0)))
    }

    #[inline(always)]
    fn shifted<const BITS: i32>(self) -> Self {
        Self(sse2!(_mm_slli_epi16::<BITS>(self.0)))
    }

    #[inline(always)]
    fn scaled(self, factor: i16) -> Self {
        // Twice the number, half the result: its halves are rounded up.
        sse2!({
            let twice = _mm_mulhi_epi16(_mm_add_epi16(self.0, self.0), _mm_set1_epi16(factor));
            Self(_mm_srai_epi16::<1>(_mm_add_epi16(twice, _mm_set1_epi16(1))))
        })
    }

    #[inline(always)]
    fn any(self) -> bool {
        sse2!(_mm_movemask_epi8(_mm_cmpeq_epi8(self.0, _mm_setzero_si128()))) != 0xFFFF
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        Self(sse2!(_mm_or_si128(self.0, other.0)))
    }

    #[inline(always)]
    fn widened<const BITS: i32>(self) -> Self::Wide {
        // Behind a lane of zeros, a number is 2^16 of itself.
        sse2!({
            let zero = Self(_mm_setzero_si128());
            let down = _mm_cvtsi32_si128(16 - BITS);
            [zero.zip_low(self), zero.zip_high(self)].map(|wide| _mm_sra_epi32(wide.0, down))
        })
    }

    #[inline(always)]
    fn dot(self, other: Self, [a, b]: [i16; 2]) -> Self::Wide {
        sse2!({
            let factors = _mm_setr_epi16(a, b, a, b, a, b, a, b);
            [self.zip_low(other), self.zip_high(other)].map(|pair| _mm_madd_epi16(pair.0, factors))
        })
    }

    #[inline(always)]
    fn wide_sum(a: Self::Wide, b: Self::Wide) -> Self::Wide {
        sse2!([_mm_add_epi32(a[0], b[0]), _mm_add_epi32(a[1], b[1])])
    }

    #[inline(always)]
    fn wide_difference(a: Self::Wide, b: Self::Wide) -> Self::Wide {
        sse2!([_mm_sub_epi32(a[0], b[0]), _mm_sub_epi32(a[1], b[1])])
    }

    #[inline(always)]
    fn narrowed<const BITS: i32>(a: Self::Wide) -> Self {
        sse2!({
            let half = _mm_set1_epi32(1 << (BITS - 1));
            let [low, high] = a.map(|a| _mm_srai_epi32::<BITS>(_mm_add_epi32(a, half)));
            Self(_mm_packs_epi32(low, high))
        })
    }

    #[inline(always)]
    fn transposed(rows: [Self; 8]) -> [Self; 8] {
        // Lane 8·i + j of all goes to 8·j + i: its number's six bits are turned by one place, three times.
        let turned = |v: [Self; 8]| -> [Self; 8] {
            std::array::from_fn(|i| {
                let (a, b) = (v[i / 2], v[i / 2 + 4]);
                if i % 2 == 0 { a.zip_low(b) } else { a.zip_high(b) }
            })
        };
        turned(turned(turned(rows)))
    }

    #[inline(always)]
    fn samples(columns: [Self; 8]) -> [[u8; 8]; 8] {
        let [a, b, c, d, e, f, g, h] = columns;
        // Two columns in a register, as bytes; then their number's six bits are turned by one place, three times.
        let pairs = [[a, b], [c, d], [e, f], [g, h]]
            .map(|[even, odd]| sse2!(_mm_packs_epi16(even.0, odd.0)));
        let turned = |v: [__m128i; 4]| {
            sse2!([
                _mm_unpacklo_epi8(v[0], v[2]),
                _mm_unpackhi_epi8(v[0], v[2]),
                _mm_unpacklo_epi8(v[1], v[3]),
                _mm_unpackhi_epi8(v[1], v[3]),
            ])
        };
        let rows = turned(turned(turned(pairs)));
        let mut samples = [[0; 8]; 8];
        for (samples, rows) in samples.chunks_exact_mut(2).zip(rows) {
            // Adding 128 is changing the sign.
            let rows = Self::halves(sse2!(_mm_xor_si128(rows, _mm_set1_epi8(i8::MIN))));
            samples.copy_from_slice(&rows.map(u64::to_le_bytes));
        }
        samples
    }

    #[inline(always)]
    fn bytes_in_turns(lanes: [Self; 3]) -> [u8; 24] {
        let sixes = sse2!({
            let [a, b, c] = lanes.map(|lanes| _mm_packus_epi16(lanes.0, lanes.0));
            let pairs = _mm_unpacklo_epi8(a, b);
            let single = _mm_unpacklo_epi8(c, _mm_setzero_si128());
            // Three bytes and a zero; then six bytes and two zeros.
            let fours = [_mm_unpacklo_epi16(pairs, single), _mm_unpackhi_epi16(pairs, single)];
            let second = _mm_set1_epi64x(0xFFFF_FF00_0000);
            fours.map(|four| {
                let first = _mm_and_si128(four, _mm_set1_epi64x(0xFF_FFFF));
                _mm_or_si128(first, _mm_and_si128(_mm_srli_epi64::<8>(four), second))
            })
        });
        let [[p, q], [r, s]] = sixes.map(Self::halves);
        let words = [p | q << 48, q >> 16 | r << 32, r >> 32 | s << 16];
        let mut bytes = [0; 24];
        for (bytes, word) in bytes.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}
