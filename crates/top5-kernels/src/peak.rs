//! The rate of multiply-adds that a machine reaches when nothing else limits it: what measured rates are compared with.
//!
//! ```text
//! acc[c] = acc[c] · a + b        for every chain c, over and over
//! ```
//!
//! Each chain waits for its own last result only, and there are as many chains as registers hold beside `a` and `b`:
//! more than the latency of a multiply-add needs. Memory is not touched.

use crate::block::{Block, LANES};
use crate::isa::Isa;
use crate::simd::{Kernel, Simd};
use crate::threads::Threads;
use std::array::from_fn;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Jobs per thread: the threads finish together although one may begin late.
const JOBS: usize = 8;

/// Runs chains of multiply-adds in all `threads`, each job of `rounds` of them; returns how many floating-point
/// operations that were, two per multiply-add. Whoever times the call knows the peak.
pub fn multiply_adds(isa: Isa, threads: &Threads, rounds: u32) -> u64 {
    let operations = AtomicU64::new(0);
    threads.run(threads.count() * JOBS, |_| {
        operations.fetch_add(isa.run(Chains { rounds }), Relaxed);
    });
    operations.into_inner()
}

struct Chains {
    rounds: u32,
}

impl Kernel for Chains {
    type Output = u64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> u64 {
        match S::TILE[0] {
            12.. => self.chains::<S, 12>(simd),
            5..12 => self.chains::<S, 5>(simd),
            0..5 => self.chains::<S, 3>(simd),
        }
    }
}

impl Chains {
    #[inline(always)]
    fn chains<S: Simd, const N: usize>(&self, simd: S) -> u64 {
        // Unknown to the compiler; the values stay near 1.
        let [a, b] = black_box([Block([0.5; LANES]), Block([0.5; LANES])]);
        let (a, b) = (simd.load(&a), simd.load(&b));
        let mut acc: [S::V; N] = from_fn(|c| simd.splat(1.0 + c as f32));
        for _ in 0..self.rounds {
            for c in 0..N {
                acc[c] = simd.mul_add(acc[c], a, b);
            }
        }
        let mut results = [Block::ZERO; N];
        for c in 0..N {
            simd.store(&mut results[c], acc[c]);
        }
        black_box(&results);
        u64::from(self.rounds) * (2 * N * LANES) as u64
    }
}
