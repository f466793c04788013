//! The gradient of a convolution with respect to its weights and bias.
//!
//! ```text
//! for some output blocks and some input blocks that they read:                one job
//!     for strip of pixels of one or more images:
//!         for pairs of output blocks k, input block b, tap t:
//!             acc[l][k] += x[image, b, pixel + t, l] · dy[image, k, pixel]    for all pixels of the strip
//! ```
//!
//! A tile of accumulators is some lanes of one tap for some output blocks. The strips of a job's blocks stay in the
//! second-level cache while all pairs are formed, those of one pair in the first. Where there are few jobs, the strips are
//! split into a number of parts that depends on the geometry and the number of images alone, summed in order at the end. With
//! n products per weight, the result differs from the exact one by at most `(n + 2)·2⁻²⁴·Σ|x·dy|`.

mod grouped;
mod jobs;
mod rounded;
mod strips;
mod tiled;

pub(crate) use grouped::WEIGHT_GRADIENT_GROUPED;

use crate::bf16::Bf16;
use crate::block::{Block, LANES};
use crate::conv::{Algorithm, Bound, Convolution, Identity, Problem, Strides, WeightGradient};
use crate::direct::AMX;
use crate::element::Element;
use crate::isa::Isa;
use crate::precision::Precision;
use crate::simd::{Kernel, Simd};
use crate::threads::Threads;
use jobs::{Job, Jobs, Operands};
use rounded::Rounded;
use std::marker::PhantomData;
use std::sync::Arc;
use strips::Strips;
use tiled::Tiled;

/// In f32.
pub(crate) const WEIGHT_GRADIENT: Algorithm<dyn WeightGradient> = Algorithm {
    name: "weight_gradient",
    precision: Precision::F32,
    serves: "any convolution, fully connected layers",
    memory: "copies of the gradient where jobs are few",
    bound: Bound::Sum,
    make: |isa, problem| Some(Arc::new(Direct::<f32>::new(isa, problem))),
};

/// In bf16.
pub(crate) const WEIGHT_GRADIENT_BF16: Algorithm<dyn WeightGradient> = Algorithm {
    precision: Precision::Bf16,
    memory: "the same, and rounded strips",
    bound: Bound::RoundedSum,
    make: |isa, problem| Some(Arc::new(Direct::<Bf16>::new(isa, problem))),
    ..WEIGHT_GRADIENT
};

/// In bf16, by the tiles of AMX.
pub(crate) const WEIGHT_GRADIENT_AMX: Algorithm<dyn WeightGradient> = Algorithm {
    name: "amx_weight_gradient",
    serves: "convolutions of whole blocks of channels, with one tap or without a stride",
    make: |isa, problem| Some(Arc::new(Direct::<Bf16>::in_tiles(isa, problem)?)),
    ..WEIGHT_GRADIENT_BF16
};

/// The weight gradient of one convolution, multiplied in one precision.
#[derive(Debug)]
struct Direct<E> {
    identity: Identity,
    jobs: Jobs,
    /// By the tiles of AMX.
    tiled: bool,
    element: PhantomData<E>,
}

/// Multiply-adds of f32 in the time that a vector takes to be rounded, stored and read again.
const ROUNDING: f64 = 8.0;

impl<E: Element> Direct<E> {
    fn new(isa: Isa, problem: &Problem) -> Self {
        let most = match E::PRECISION {
            Precision::F32 => [8, 4],
            // Their rounded strips are half of a second-level cache.
            Precision::Bf16 => [16, 8],
        };
        let jobs = Jobs::new(problem.geom().clone(), most);
        let identity = Identity {
            name: format!("{}_conv_weight_gradient_{isa}", E::PRECISION),
            method: E::METHOD,
            isa,
            precision: E::PRECISION,
            problem: problem.clone(),
        };
        Self { identity, jobs, tiled: false, element: PhantomData }
    }

    /// The strips of `n` images; in bf16 two of them are one, or two pixels where these are the images.
    fn strips(&self, n: usize) -> Strips {
        let geom = self.problem().geom();
        let (images, cols) = geom.extent(n);
        match (E::PRECISION, geom.batch_is_row) {
            (Precision::F32, _) => Strips::new(geom, images, cols),
            (Precision::Bf16, true) => Strips::new(geom, images, cols.div_ceil(2)),
            (Precision::Bf16, false) => Strips::new(geom, images.div_ceil(2), cols),
        }
    }
}

impl Direct<Bf16> {
    fn in_tiles(isa: Isa, problem: &Problem) -> Option<Self> {
        let there = isa == Isa::Amx && tiled::serves(problem.geom());
        let direct = there.then(|| Self::new(isa, problem))?;
        let name = format!("{}_conv_{}_{isa}", Precision::Bf16, WEIGHT_GRADIENT_AMX.name);
        let identity = Identity { name, method: "amx", ..direct.identity };
        Some(Self { identity, tiled: true, ..direct })
    }
}

impl<E: Element> Direct<E> {
    /// Blocks of scratch memory for the largest strips of a job's inputs, and of all its strips.
    fn scratch(&self, strips: &Strips) -> (usize, usize) {
        match (E::PRECISION, self.tiled) {
            (Precision::F32, _) => (0, 0),
            (Precision::Bf16, false) => rounded::scratch(&self.jobs, strips),
            (Precision::Bf16, true) => {
                tiled::scratch(self.problem().geom(), self.jobs.largest(), strips.largest())
            }
        }
    }
}

impl<E: Element> Convolution for Direct<E> {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    /// In bf16 images are multiplied in pairs, which are rounded first.
    fn cost(&self) -> f64 {
        if matches!(E::PRECISION, Precision::F32) {
            return 1.0;
        }
        let images = self.problem().images();
        let product = if self.tiled { AMX } else { self.isa().dot() };
        let pairs = product * images.div_ceil(2) as f64 / images as f64;
        // Vectors that are rounded for each that is multiplied.
        let ([outputs, inputs], geom) = (self.jobs.largest(), self.problem().geom());
        let products = outputs * inputs * geom.taps.len() * geom.lanes;
        let rounded = outputs as f64 + (inputs * geom.lanes) as f64 / LANES as f64;
        pairs + ROUNDING * (rounded / products as f64)
    }

    fn bound(&self) -> Bound {
        E::BOUND
    }

    fn workspace(&self, threads: usize) -> usize {
        let strips = self.strips(self.problem().images());
        let scratch = self.scratch(&strips).1;
        threads.saturating_mul(scratch).saturating_add(self.jobs.copies(&strips))
    }
}

impl<E: Element> WeightGradient for Direct<E> {
    fn run(
        &self,
        threads: &Threads,
        n: usize,
        x: &[Block],
        dy: &[Block],
        work: &mut [Block],
        dw: &mut [Block],
    ) {
        let geom = self.problem().geom();
        let x = Block::flat(x);
        geom.check(n, x.len(), dy.len());
        let strips = self.strips(n);
        if matches!(E::PRECISION, Precision::Bf16) {
            let (first, scratch) = self.scratch(&strips);
            return self.jobs.run(threads, &strips, (work, scratch), dw, |job, scratch| {
                let (x_strip, dy_strip) = scratch.split_at_mut(first);
                if self.tiled {
                    return self.isa().run(Tiled { job, n, x, dy, x_strip, dy_strip });
                }
                self.isa().run(Rounded { job, n, x, dy: Block::flat(dy), x_strip, dy_strip });
            });
        }
        self.jobs.run(threads, &strips, (work, 0), dw, |job, _| {
            let block = geom.first[job.ks.start] + job.bs.start;
            let operands = Operands {
                x: x.as_ptr(),
                dy: dy.as_ptr(),
                x_at: Strides { offset: geom.x.offset + block * geom.x.block, ..geom.x },
                dy_at: Strides { offset: geom.y.offset + job.ks.start * geom.y.block, ..geom.y },
                ahead: [strips.ahead(&geom.x), strips.ahead(&geom.y)],
            };
            self.isa().run(InPlace { job, operands });
        });
    }
}

/// A job whose strips are read where they are.
struct InPlace<'a> {
    job: &'a Job<'a>,
    operands: Operands,
}

impl Kernel for InPlace<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for strip in self.job.strips() {
            // SAFETY: `run` has checked the geometry, of whose pixels the strips are.
            unsafe { self.job.add::<f32, S>(simd, &self.operands, &strip) };
        }
    }
}
