//! Vectors of sixteen floats.
//!
//! The trait has the few operations that the kernels need; all intrinsics are in its implementations. A vector always
//! has the 16 lanes of a [`Block`]: one register of AVX-512, two of AVX2, four of NEON and of WebAssembly's simd128, an
//! array for the portable path. Holding a token (a value of the implementing type) proves that the CPU has the
//! instructions.

#[cfg_attr(not(target_arch = "x86_64"), expect(unused, reason = "only x86-64 has AMX"))]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod neon;
mod scalar;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
pub(crate) use neon::Neon;
pub(crate) use scalar::Scalar;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) use simd128::Simd128;

use crate::bf16::Bf16;
use crate::block::{Block, BlockBf16, LANES};
use crate::precision::Precision;
use std::array::from_fn;

/// A computation that is written once for all instruction sets. Mark `run` `#[inline(always)]`, so that it is compiled
/// anew within each of them.
pub trait Kernel {
    /// What it returns.
    type Output;
    /// What it multiplies: pairs of bf16 have instructions of their own.
    const PRECISION: Precision = Precision::F32;

    /// Computes with the vectors of `simd`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Whether a kernel multiplies floats.
pub(crate) const fn is_f32<K: Kernel>() -> bool {
    matches!(K::PRECISION, Precision::F32)
}

/// Operations on sixteen floats, or on sixteen pairs of bf16, at once.
///
/// A *pair* is two numbers whose products are added, 32 bits together: two channels of one pixel that lie next to each other,
/// or, for weight gradients, the same place of two images. A vector of pairs holds them as the bits of its floats, the first
/// number in the lower half.
pub trait Simd: Copy + Send + Sync {
    /// Sixteen floats, or pairs.
    type V: Copy;

    /// Most pixels of a convolution tile for one and two blocks of output channels, by the number of registers;
    /// 0 where that many blocks do not fit.
    const TILE: [usize; 2];
    /// Whether the registers hold a tile of two output blocks, but not all of its weights beside it.
    const SCARCE: bool = false;
    /// Blocks of weights that stay in a first-level cache while a pass of a direct convolution meets all its pixels;
    /// `usize::MAX` for one pass.
    const PASS: usize = usize::MAX;
    /// Most pixels of a tile of groups, where factors of three taps are kept beside the sums.
    const GROUPED_TILE: usize = Self::TILE[0];
    /// Accumulators of a weight-gradient tile.
    const GRADIENT_TILE: usize;
    /// Whether there are processors with AMX beside it.
    const AMX: bool = false;
    /// Whether [`Simd::spread`] of groups of four and eight is one instruction for each register.
    const SPREADS: bool = false;

    /// Runs a kernel in a function of its own, compiled for these instructions. A kernel of several shapes runs each as one:
    /// compilers take very long for a function that has them all.
    fn run<K: Kernel>(self, kernel: K) -> K::Output;

    /// All lanes the same.
    fn splat(self, x: f32) -> Self::V;
    /// From memory.
    fn load(self, x: &Block) -> Self::V;
    /// To memory.
    fn store(self, y: &mut Block, x: Self::V);
    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a − b`
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`, rounded once where the CPU can.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Each of `c` and the product of this one of `a` with `b`, which takes one register at a time where registers are
    /// [scarce](Simd::SCARCE).
    #[inline(always)]
    fn mul_add_all<const P: usize>(
        self,
        a: [Self::V; P],
        b: &Block,
        mut c: [Self::V; P],
    ) -> [Self::V; P] {
        let b = self.load(b);
        for p in 0..P {
            c[p] = self.mul_add(a[p], b, c[p]);
        }
        c
    }
    /// `√a`
    fn sqrt(self, a: Self::V) -> Self::V;
    /// The larger one; `b` where either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `yes` where `a = b`, `no` elsewhere.
    fn select_equal(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V;
    /// `yes` where `a > 0`, zero elsewhere.
    fn select_positive(self, a: Self::V, yes: Self::V) -> Self::V;

    /// From memory in bf16.
    #[inline(always)]
    fn widen(self, x: &BlockBf16) -> Self::V {
        self.load(&Block(x.0.map(Bf16::to_f32)))
    }

    /// To bf16, rounded as [`Bf16::from_f32`] does.
    #[inline(always)]
    fn narrow(self, x: Self::V) -> BlockBf16 {
        let mut y = Block::ZERO;
        self.store(&mut y, x);
        BlockBf16(y.0.map(Bf16::from_f32))
    }

    /// Rows to columns: lane `j` of the result's vector `i` is lane `i` of vector `j`.
    #[inline(always)]
    fn transpose(self, rows: [Self::V; LANES]) -> [Self::V; LANES] {
        let mut from = [Block::ZERO; LANES];
        for i in 0..LANES {
            self.store(&mut from[i], rows[i]);
        }
        let mut columns = rows;
        for i in 0..LANES {
            let mut column = Block::ZERO;
            for j in 0..LANES {
                column.0[j] = from[j].0[i];
            }
            columns[i] = self.load(&column);
        }
        columns
    }

    /// From memory that is aligned to a float.
    #[inline(always)]
    fn load_floats(self, x: &[f32; LANES]) -> Self::V {
        self.load(&Block(*x))
    }

    /// In each lane that of `x` which `picks` names, below [`LANES`]; that of `others` where it is negative.
    #[inline(always)]
    fn pick(self, others: Self::V, x: Self::V, picks: &[i32; LANES]) -> Self::V {
        let (mut from, mut to) = (Block::ZERO, Block::ZERO);
        self.store(&mut from, x);
        self.store(&mut to, others);
        for (to, &pick) in to.0.iter_mut().zip(picks) {
            if let Ok(lane) = usize::try_from(pick) {
                *to = from.0[lane];
            }
        }
        self.load(&to)
    }

    /// The `I`-th channel of each group of G channels, in all lanes of its group.
    #[inline(always)]
    fn spread<const G: usize, const I: usize>(self, x: &[f32; LANES]) -> Self::V {
        self.load(&Block(from_fn(|lane| x[lane / G * G + I])))
    }

    /// The numbers of `a`, and after each of them that of `b`, rounded as [`Bf16::from_f32`] does: sixteen pairs.
    #[inline(always)]
    fn pairs(self, a: Self::V, b: Self::V) -> Self::V {
        let [a, b] = [a, b].map(|x| self.narrow(x).0);
        self.load(&Block(from_fn(|i| pair_of(a[i], b[i]))))
    }

    /// The same pair in all lanes, from its bits.
    #[inline(always)]
    fn splat_pair(self, pair: u32) -> Self::V {
        self.splat(f32::from_bits(pair))
    }

    /// As [`Simd::pick`], for each of the numbers of sixteen pairs.
    #[inline(always)]
    fn pick_pairs(self, others: Self::V, x: &[Bf16; LANES], picks: &[i16; 2 * LANES]) -> Self::V {
        let mut to = Block::ZERO;
        self.store(&mut to, others);
        for (to, picks) in to.0.iter_mut().zip(picks.chunks_exact(2)) {
            let bits = to.to_bits();
            let number = |i: usize| match usize::try_from(picks[i]) {
                Ok(channel) => x[channel],
                Err(_) => Bf16((bits >> (16 * i)) as u16),
            };
            *to = pair_of(number(0), number(1));
        }
        self.load(&to)
    }

    /// `c + a₁b₁ + a₀b₀` of pairs a and b and floats c, rounded after each sum.
    #[inline(always)]
    fn dot(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        let mut sums = [Block::ZERO; 3];
        for (sum, x) in sums.iter_mut().zip([a, b, c]) {
            self.store(sum, x);
        }
        let [a, b, c] = sums.map(|block| block.0);
        // Products of two bf16 are exact in f32, so that this rounds as a fused operation would.
        self.load(&Block(from_fn(|i| {
            let ([a0, a1], [b0, b1]) = (numbers_of(a[i]), numbers_of(b[i]));
            c[i] + a1 * b1 + a0 * b0
        })))
    }

    /// To memory, past the caches where the CPU can, for what is too large for them. [`Simd::fence`] comes before
    /// another thread reads it.
    #[inline(always)]
    fn stream(self, y: &mut Block, x: Self::V) {
        self.store(y, x);
    }

    /// Orders what was streamed before what follows.
    #[inline(always)]
    fn fence(self) {}

    /// Asks for a cache line that will be read soon. Any address may be named, also one where nothing is.
    #[inline(always)]
    fn prefetch(self, _at: *const Block) {}

    /// The same, for one that will be read later: it goes to the second-level cache.
    #[inline(always)]
    fn prefetch_early(self, _at: *const Block) {}

    /// All lanes zero.
    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.0)
    }

    /// `max(0, x)`, NaN for NaN.
    #[inline(always)]
    fn relu(self, x: Self::V) -> Self::V {
        self.max(self.zero(), x)
    }
}

/// A pair, as the bits of a float.
#[inline(always)]
fn pair_of(first: Bf16, second: Bf16) -> f32 {
    f32::from_bits(u32::from(first.0) | u32::from(second.0) << 16)
}

/// The numbers of a pair.
#[inline(always)]
fn numbers_of(pair: f32) -> [f32; 2] {
    let pair = pair.to_bits();
    [f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000)]
}
