//! bfloat16: the upper half of an f32, and vectors that multiply pairs of them.
//!
//! A bf16 has the range of an f32 and 8 bits of precision. Products of two are exact in f32, sums are kept in f32. A
//! *pair* is two numbers whose products are added, 32 bits together: two channels of one pixel that lie next to each other,
//! or, for weight gradients, the same place of two images. The instruction for it multiplies sixteen pairs and adds both
//! products to sixteen sums, twice the work of an f32 instruction.
//!
//! [`SimdBf16`] is to these kernels what [`Simd`] is to the others, and [`Bf16Isa::run`] is their door.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod conv;
mod portable;
mod weight_gradient;

pub use conv::DirectBf16;
pub use weight_gradient::WeightGradientBf16;

use crate::block::{Block, LANES};
use crate::isa::{Isa, Kernel};
use crate::pixel::{BlockBf16, Pixel};
use crate::simd::Simd;
use crate::threads::Threads;
#[cfg(target_arch = "x86_64")]
use avx512::Avx512Bf16;
use portable::Portable;
use std::fmt;

/// A number in bfloat16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(pub u16);

impl Bf16 {
    /// The nearest one, of two the even one. Denormals become zero and NaN stays NaN, as the instructions have it.
    pub fn from_f32(x: f32) -> Self {
        let bits = x.to_bits();
        Self(if x.is_nan() {
            (bits >> 16) as u16 | 0x40
        } else if x.abs() < f32::MIN_POSITIVE {
            (bits >> 16) as u16 & 0x8000
        } else {
            ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
        })
    }

    /// The same number.
    pub fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    /// The numbers of `blocks`, one after the other.
    pub fn flat(blocks: &[BlockBf16]) -> &[Self] {
        // SAFETY: a BlockBf16 is repr(C) around 16 of these and as large as they are, so the slice covers exactly
        // blocks.len()·16 initialised numbers, borrowed for as long.
        unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), blocks.len() * LANES) }
    }
}

/// Operations on sixteen pairs at once.
pub trait SimdBf16: Copy + Send + Sync {
    /// The vectors of f32 that go with them.
    type Floats: Simd;
    /// Sixteen pairs.
    type Pairs: Copy;

    /// Most pixels of a convolution tile for one and two blocks of output channels; 0 where that many do not fit.
    const TILE: [usize; 2];

    /// The operations on f32.
    fn floats(self) -> Self::Floats;
    /// The same pair in all lanes: its first number in the lower half.
    fn splat(self, pair: u32) -> Self::Pairs;
    /// From memory: the bits of each float are a pair.
    fn load(self, x: &Block) -> Self::Pairs;
    /// In every group of `group` of a pixel's channels, 2, 4 or 8, its pair `i` in all lanes of the group.
    fn spread(self, x: &[Bf16; LANES], group: usize, i: usize) -> Self::Pairs;
    /// `c + a₁b₁ + a₀b₀` in every lane, rounded after each sum.
    fn dot(self, a: Self::Pairs, b: Self::Pairs, c: Vector<Self>) -> Vector<Self>;
    /// Rounded as [`Bf16::from_f32`] does.
    fn narrow(self, x: Vector<Self>) -> BlockBf16;
    /// The pairs of `a`, the first numbers, and `b`, both rounded, as bits of floats.
    fn pairs(self, a: Vector<Self>, b: Vector<Self>) -> Vector<Self>;
}

/// Sixteen floats of the vectors that go with `D`.
pub type Vector<D> = <<D as SimdBf16>::Floats as Simd>::V;

/// A computation on pairs, written once. Mark `run` `#[inline(always)]`, as for [`Kernel`].
pub trait KernelBf16 {
    /// What it returns.
    type Output;

    /// Computes with the vectors of `simd`.
    fn run<D: SimdBf16>(self, simd: D) -> Self::Output;
}

/// Who multiplies pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bf16Isa {
    /// Portable Rust, which rounds as the instructions do, slowly.
    Portable,
    /// x86-64 with AVX-512 and AVX-512 BF16.
    Avx512,
}

impl Bf16Isa {
    /// The one that goes with an instruction set, if there is one. A machine may have the instruction set without it.
    pub fn of(isa: Isa) -> Option<Self> {
        match isa {
            Isa::Scalar => Some(Self::Portable),
            Isa::Avx2 | Isa::Neon | Isa::Simd128 => None,
            Isa::Avx512 => Some(Self::Avx512),
        }
    }

    /// [`SimdBf16::TILE`], on any machine; the portable one's where no machine of this kind has it.
    pub(crate) fn tile(self) -> [usize; 2] {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512Bf16::TILE,
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 => Portable::TILE,
            Self::Portable => Portable::TILE,
        }
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512Bf16::new().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 => false,
        }
    }

    /// Its name in kernel names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "scalar",
            Self::Avx512 => "avx512",
        }
    }

    /// Runs a kernel compiled for it.
    ///
    /// # Panics
    /// If this machine does not have it.
    #[inline]
    pub fn run<K: KernelBf16>(self, kernel: K) -> K::Output {
        match self {
            Self::Portable => kernel.run(Portable::default()),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma")]
                fn enter<K: KernelBf16>(simd: Avx512Bf16, kernel: K) -> K::Output {
                    kernel.run(simd)
                }
                let simd = Avx512Bf16::new().expect("the engine chooses an available one");
                // SAFETY: the token exists only where the CPU has these features.
                unsafe { enter(simd, kernel) }
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 => panic!("{self} is not an instruction set of this machine"),
        }
    }
}

impl fmt::Display for Bf16Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Pixels that make a job of [`narrow`] and [`widen`].
const JOB: usize = 2048;

/// Rounds `x` to `y`.
///
/// # Panics
/// If `y` is shorter than `x`.
pub fn narrow(isa: Bf16Isa, threads: &Threads, x: &[Block], y: &mut [BlockBf16]) {
    struct Piece<'a>(&'a [Block], &'a mut [BlockBf16]);
    impl KernelBf16 for Piece<'_> {
        type Output = ();
        #[inline(always)]
        fn run<D: SimdBf16>(self, simd: D) {
            for (x, y) in self.0.iter().zip(self.1) {
                y.store_bf16(simd, x.load(simd.floats()));
            }
        }
    }
    threads.chunks(&mut y[..x.len()], JOB, |i, y| isa.run(Piece(&x[i * JOB..], y)));
}

/// The numbers of `x` as f32.
///
/// # Panics
/// If `y` is shorter than `x`.
pub fn widen(isa: Isa, threads: &Threads, x: &[BlockBf16], y: &mut [Block]) {
    struct Piece<'a>(&'a [BlockBf16], &'a mut [Block]);
    impl Kernel for Piece<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            for (x, y) in self.0.iter().zip(self.1) {
                y.store(simd, x.load(simd));
            }
        }
    }
    threads.chunks(&mut y[..x.len()], JOB, |i, y| isa.run(Piece(&x[i * JOB..], y)));
}
