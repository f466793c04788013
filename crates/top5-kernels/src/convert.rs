//! Activations from f32 to bf16 and back.

use crate::block::{Block, BlockBf16};
use crate::isa::Isa;
use crate::pixel::Pixel;
use crate::precision::Precision;
use crate::simd::{Kernel, Simd};
use crate::threads::Threads;

/// Pixels that make a job of [`narrow`] and [`widen`].
const JOB: usize = 2048;

/// Rounds `x` to `y`.
///
/// # Panics
/// If `y` is shorter than `x`.
pub fn narrow(isa: Isa, threads: &Threads, x: &[Block], y: &mut [BlockBf16]) {
    struct Piece<'a>(&'a [Block], &'a mut [BlockBf16]);
    impl Kernel for Piece<'_> {
        type Output = ();
        const PRECISION: Precision = Precision::Bf16;
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            for (x, y) in self.0.iter().zip(self.1) {
                y.store(simd, x.load(simd));
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
