//! Instruction sets: which there are, and the one door through which the engine enters code for them.

use crate::precision::Precision;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
use crate::simd::Neon;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use crate::simd::Simd128;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512, amx::Amx};
use crate::simd::{Kernel, Scalar, Simd, is_f32};
use std::fmt;

/// An instruction set that kernels are compiled for. A choice of the engine, never of the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Portable Rust.
    Scalar,
    /// AArch64 with NEON.
    Neon,
    /// WebAssembly compiled with simd128.
    Simd128,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 F, VL, BW and DQ.
    Avx512,
    /// The same with AVX-512 BF16 and AMX's tiles of bf16, on Linux. In f32 it is AVX-512.
    Amx,
}

/// The sizes of an instruction set's tiles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TileSizes {
    /// [`Simd::TILE`]
    pub(crate) dense: [usize; 2],
    /// [`Simd::SCARCE`]
    pub(crate) scarce: bool,
    /// [`Simd::GROUPED_TILE`]
    pub(crate) grouped: usize,
    /// [`Simd::GRADIENT_TILE`]
    pub(crate) gradient: usize,
}

impl TileSizes {
    fn of<S: Simd>() -> Self {
        Self {
            dense: S::TILE,
            scarce: S::SCARCE,
            grouped: S::GROUPED_TILE,
            gradient: S::GRADIENT_TILE,
        }
    }
}

impl Isa {
    /// All that there are, the portable one first.
    pub const ALL: [Self; 6] =
        [Self::Scalar, Self::Neon, Self::Simd128, Self::Avx2, Self::Avx512, Self::Amx];

    /// All instruction sets of this machine, the portable one first, the best one last.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// The best instruction set of this machine for such products, if there are kernels that multiply them; else the best one.
    pub fn detect(precision: Precision) -> Self {
        let serves = |isa: Self| isa != Self::Amx || precision == Precision::Bf16;
        let best = Self::ALL.into_iter().rfind(|&isa| serves(isa) && isa.is_available());
        best.unwrap_or(Self::Scalar)
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Neon => cfg!(all(target_arch = "aarch64", target_feature = "neon")),
            Self::Simd128 => cfg!(all(target_arch = "wasm32", target_feature = "simd128")),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::<false>::new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Amx => Avx512::<true>::new().is_some() && Amx::new().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 | Self::Amx => false,
        }
    }

    /// Whether there are kernels that multiply this with it. A machine may have the instruction set without it: see
    /// [`Isa::can_multiply`].
    pub fn multiplies(self, precision: Precision) -> bool {
        match precision {
            Precision::F32 => true,
            // Portable Rust rounds as the instructions do, slowly.
            Precision::Bf16 => matches!(self, Self::Scalar | Self::Avx512 | Self::Amx),
        }
    }

    /// Whether this machine has the instructions that multiply this.
    pub fn can_multiply(self, precision: Precision) -> bool {
        match (self, precision) {
            #[cfg(target_arch = "x86_64")]
            (Self::Avx512, Precision::Bf16) => Avx512::<true>::new().is_some(),
            _ => self.is_available() && self.multiplies(precision),
        }
    }

    /// The time of a product of pairs as a share of that of one of floats: processors with AMX leave those to it, and have half
    /// as many units for them as for floats.
    pub(crate) fn dot(self) -> f64 {
        if self == Self::Amx { 2.0 } else { 1.0 }
    }

    /// Its name in kernel names and options: `scalar`, `neon`, `simd128`, `avx2`, `avx512`, `amx`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Neon => "neon",
            Self::Simd128 => "simd128",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
        }
    }

    /// The sizes of its tiles, on any machine; the portable ones where no machine of this kind has it.
    pub(crate) fn tiles(self) -> TileSizes {
        match self {
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Self::Neon => TileSizes::of::<Neon>(),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Self::Simd128 => TileSizes::of::<Simd128>(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => TileSizes::of::<Avx2>(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Amx => TileSizes::of::<Avx512<false>>(),
            _ => TileSizes::of::<Scalar>(),
        }
    }

    /// Runs a kernel compiled for this instruction set. Where that is known not to multiply what the kernel does, nothing is
    /// compiled: an inline constant is a branch that the compiler leaves out before it makes code.
    ///
    /// # Panics
    /// If this machine does not have it, or not what the kernel multiplies.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            Self::Scalar => Scalar.run(kernel),
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Self::Neon if const { is_f32::<K>() } => Neon.run(kernel),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Self::Simd128 if const { is_f32::<K>() } => Simd128.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 if const { is_f32::<K>() } => {
                Avx2::new().expect("the engine chooses an available instruction set").run(kernel)
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Amx if const { is_f32::<K>() } => {
                let simd = Avx512::<false>::new();
                simd.expect("the engine chooses an available instruction set").run(kernel)
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Amx => {
                let simd = Avx512::<true>::new();
                simd.expect("the engine chooses an available instruction set").run(kernel)
            }
            _ => panic!(
                "{self} is no instruction set of this machine, or none for what is multiplied"
            ),
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
