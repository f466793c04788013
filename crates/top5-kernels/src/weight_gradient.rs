//! The gradient of a convolution with respect to its weights and bias.
//!
//! ```text
//! for every output block k, input block b it reads:                           one job
//!     for image, strip of rows, tap t:
//!         acc[l] += x[image, b, pixel + t, l] · dy[image, k, pixel]           for all pixels of the strip
//! ```
//!
//! The accumulators are 16 lanes of one tap; each job owns a contiguous piece of the packed gradient. Where there are
//! few jobs, the images are split into a number of parts that depends on the geometry alone, summed in order at the end.

use crate::block::{Block, LANES, Layout};
use crate::conv::ConvGeom;
use crate::isa::{Isa, Kernel};
use crate::simd::Simd;
use crate::threads::Threads;

/// The weight gradient of one convolution.
#[derive(Clone, Debug)]
pub struct WeightGradient {
    isa: Isa,
    geom: ConvGeom,
    rows_per_strip: usize,
}

/// Jobs that are enough to share among threads.
const JOBS: usize = 16;

impl WeightGradient {
    /// The kernel for the geometry of the forward pass: its `y` is where the output's gradient is.
    pub fn new(isa: Isa, geom: ConvGeom) -> Self {
        // A strip's rows of both operands stay in the first cache while the taps pass over them.
        let rows_per_strip = (192 / geom.cols.max(1)).clamp(1, geom.rows.max(1));
        Self { isa, geom, rows_per_strip }
    }

    /// Its name: `f32_conv_weight_gradient_avx512`.
    pub fn name(&self) -> String {
        format!("f32_conv_weight_gradient_{}", self.isa)
    }

    /// Into how many parts the images are split.
    fn parts(&self, n: usize) -> usize {
        let (images, _) = self.geom.extent(n);
        let jobs = self.geom.out_blocks() * self.geom.blocks;
        JOBS.div_ceil(jobs).min(images).max(1)
    }

    /// Blocks of scratch memory for at most `n` images.
    pub fn workspace(&self, n: usize) -> usize {
        match self.parts(n) {
            1 => 0,
            parts => parts * self.geom.packed_len(),
        }
    }

    /// Writes the packed gradient to `dw`. Places of `dw` that hold no weight become zero.
    pub fn run(
        &self,
        threads: &Threads,
        n: usize,
        x: &[f32],
        dy: &[Block],
        work: &mut [Block],
        dw: &mut [Block],
    ) {
        let geom = &self.geom;
        geom.check(n, x.len(), dy.len());
        assert_eq!(dw.len(), geom.packed_len(), "the gradient is packed for another geometry");
        let (images, cols) = geom.extent(n);
        let parts = self.parts(n);
        let piece = geom.taps.len() * geom.lanes;
        let jobs = geom.out_blocks() * geom.blocks;
        let compute = |part: usize, job: usize, dw: &mut [Block]| {
            let (k, b) = (job / geom.blocks, geom.first[job / geom.blocks] + job % geom.blocks);
            let images = part * images / parts..(part + 1) * images / parts;
            let strip = self.rows_per_strip;
            dw.fill(Block::ZERO);
            self.isa.run(Pair { geom, x, dy, dw, images, cols, strip, k, b });
        };
        if parts == 1 {
            threads.chunks(dw, piece, |job, dw| compute(0, job, dw));
            return;
        }
        let work = &mut work[..parts * dw.len()];
        threads.chunks(work, piece, |i, dw| compute(i / jobs, i % jobs, dw));
        let len = dw.len();
        let work = &*work;
        threads.chunks(dw, piece, |job, dw| {
            for (i, sum) in dw.iter_mut().enumerate() {
                let at = job * piece + i;
                *sum = work[at];
                for part in 1..parts {
                    let more = &work[part * len + at];
                    sum.0.iter_mut().zip(&more.0).for_each(|(a, b)| *a += b);
                }
            }
        });
    }
}

/// One job: all taps of one pair of blocks.
struct Pair<'a> {
    geom: &'a ConvGeom,
    x: &'a [f32],
    dy: &'a [Block],
    dw: &'a mut [Block],
    images: std::ops::Range<usize>,
    cols: usize,
    strip: usize,
    k: usize,
    b: usize,
}

impl Kernel for Pair<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let geom = self.geom;
        let lanes = geom.lanes_of(self.b);
        for image in self.images.clone() {
            for start in (0..geom.rows).step_by(self.strip) {
                let rows = start..(start + self.strip).min(geom.rows);
                for tap in 0..geom.taps.len() {
                    let mut lane = 0;
                    while lane < lanes {
                        let width = (lanes - lane).min(S::GRADIENT_TILE);
                        let rows = rows.clone();
                        macro_rules! by_width {
                            ($($l:literal)*) => {
                                match width {
                                    // SAFETY: `WeightGradient::run` has checked the geometry; the lanes are there.
                                    $($l if $l <= S::GRADIENT_TILE => unsafe {
                                        self.tap::<S, $l>(simd, image, rows, tap, lane)
                                    },)*
                                    _ => unreachable!("a tile has at most 16 lanes"),
                                }
                            };
                        }
                        by_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
                        lane += width;
                    }
                }
            }
        }
    }
}

impl Pair<'_> {
    /// Adds one strip's products for L lanes of a tap.
    ///
    /// # Safety
    /// - `geom.check` passed for the lengths of `x` and `dy`, and `dw` holds `taps·lanes` blocks;
    /// - `image`, `rows`, `tap` and `lane + L − 1` are within the geometry.
    #[inline(always)]
    unsafe fn tap<S: Simd, const L: usize>(
        &mut self,
        simd: S,
        image: usize,
        rows: std::ops::Range<usize>,
        tap: usize,
        lane: usize,
    ) {
        let Self { geom, x, dy, .. } = *self;
        let dw = &mut self.dw[tap * geom.lanes + lane..][..L];
        let mut acc: [S::V; L] = std::array::from_fn(|l| simd.load(&dw[l]));
        for row in rows {
            let at = geom.x.offset
                + image * geom.x.image
                + self.b * geom.x.block
                + row * geom.x.row
                + geom.taps[tap]
                + lane;
            let from =
                geom.y.offset + image * geom.y.image + self.k * geom.y.block + row * geom.y.row;
            // SAFETY: all offsets are below what `geom.check` asserted.
            unsafe {
                let mut x = x.as_ptr().add(at);
                let mut dy = dy.as_ptr().add(from);
                for col in 0..self.cols {
                    let gradient = simd.load(&*dy);
                    for l in 0..L {
                        acc[l] = simd.mul_add(simd.splat(*x.add(l)), gradient, acc[l]);
                    }
                    if col + 1 < self.cols {
                        x = x.add(geom.x.pixel);
                        dy = dy.add(geom.y.pixel);
                    }
                }
            }
        }
        dw.iter_mut().zip(acc).for_each(|(dw, acc)| simd.store(dw, acc));
    }
}

/// The bias gradient: `db[k]` is the sum of `dy` over `n` images and all pixels, in f64 over images.
pub fn sum_pixels(
    isa: Isa,
    threads: &Threads,
    n: usize,
    layout: &Layout,
    dy: &[Block],
    db: &mut [Block],
) {
    struct Plane<'a> {
        layout: &'a Layout,
        plane: &'a [Block],
    }
    impl Kernel for Plane<'_> {
        type Output = Block;
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Block {
            let mut sum = simd.zero();
            for y in 0..self.layout.height {
                for pixel in self.layout.pixels(self.plane, y) {
                    sum = simd.add(sum, simd.load(pixel));
                }
            }
            let mut block = Block::ZERO;
            simd.store(&mut block, sum);
            block
        }
    }
    threads.chunks(&mut db[..layout.blocks()], 1, |k, db| {
        let mut sum = [0.0f64; LANES];
        for image in 0..n {
            let plane = &dy[image * layout.image() + k * layout.plane()..][..layout.plane()];
            let part = isa.run(Plane { layout, plane });
            sum.iter_mut().zip(part.0).for_each(|(sum, part)| *sum += f64::from(part));
        }
        db[0] = Block(sum.map(|sum| sum as f32));
    });
}
