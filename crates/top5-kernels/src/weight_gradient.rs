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

mod split;

pub(crate) use split::{Split, Strip, Strips};

use crate::block::{Block, LANES, Layout};
use crate::conv::{ConvGeom, Strides};
use crate::elementwise::JOB;
use crate::isa::{Isa, Kernel};
use crate::multiply::{Floats, Multiply};
use crate::simd::Simd;
use crate::threads::{Shore, Threads};
use std::array::from_fn;
use std::ops::Range;

/// The weight gradient of one convolution.
#[derive(Clone, Debug)]
pub struct WeightGradient {
    isa: Isa,
    split: Split,
}

/// Most output and input blocks of a job.
const GROUP: [usize; 2] = [8, 4];

impl WeightGradient {
    /// The kernel for the geometry of the forward pass: its `y` is where the output's gradient is.
    pub fn new(isa: Isa, geom: ConvGeom) -> Self {
        Self { isa, split: Split::new(geom, GROUP) }
    }

    /// Its name: `f32_conv_weight_gradient_avx512`.
    pub fn name(&self) -> String {
        format!("f32_conv_weight_gradient_{}", self.isa)
    }

    /// Blocks of scratch memory for at most `n` images.
    pub fn workspace(&self, n: usize) -> usize {
        self.split.copies(&self.strips(n))
    }

    fn strips(&self, n: usize) -> Strips {
        let (images, cols) = self.split.geom.extent(n);
        Strips::new(&self.split.geom, images, cols)
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
        let geom = &self.split.geom;
        geom.check(n, x.len(), dy.len());
        let strips = self.strips(n);
        self.split.run(threads, &strips, (work, 0), dw, |job, _| {
            let block = geom.first[job.ks.start] + job.bs.start;
            let operands = Operands {
                x: x.as_ptr(),
                dy: dy.as_ptr(),
                x_at: Strides { offset: geom.x.offset + block * geom.x.block, ..geom.x },
                dy_at: Strides { offset: geom.y.offset + job.ks.start * geom.y.block, ..geom.y },
            };
            self.isa.run(InPlace { job, operands });
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
            // SAFETY: `WeightGradient::run` has checked the geometry, of whose pixels the strips are.
            unsafe { self.job.add(Floats(simd), &self.operands, &strip) };
        }
    }
}

/// One job: all taps of all pairs of some blocks.
pub(crate) struct Job<'a> {
    pub(crate) geom: &'a ConvGeom,
    /// A packed gradient, of which the pairs are this job's alone.
    dw: Shore,
    pub(crate) ks: Range<usize>,
    /// Input blocks, counted from the first that the output blocks read.
    pub(crate) bs: Range<usize>,
    strips: &'a Strips,
    part: Range<usize>,
}

/// Where the blocks of a job are, counted from its first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operands {
    pub(crate) x: *const f32,
    pub(crate) dy: *const Block,
    pub(crate) x_at: Strides,
    pub(crate) dy_at: Strides,
}

impl Operands {
    /// Where a pixel of the `k`-th output block's gradient is, and before taps and lanes that of the `b`-th input block.
    #[inline(always)]
    fn start(&self, [k, b]: [usize; 2], image: usize, row: usize, col: usize) -> [usize; 2] {
        let place = |s: &Strides, block: usize| {
            s.offset + image * s.image + block * s.block + row * s.row + col * s.pixel
        };
        [place(&self.x_at, b), place(&self.dy_at, k)]
    }
}

impl Job<'_> {
    /// The packed gradient of output block k with respect to the `b`-th input block that it reads.
    ///
    /// # Safety
    /// Both are blocks of the geometry.
    #[inline(always)]
    unsafe fn pair(&self, k: usize, b: usize) -> *mut Block {
        let piece = self.geom.taps.len() * self.geom.lanes;
        // SAFETY: the packed gradient has `packed_len` blocks, a piece for each pair.
        unsafe { self.dw.pointer().add((k * self.geom.blocks + b) * piece) }
    }

    /// The strips whose products it adds.
    pub(crate) fn strips(&self) -> impl Iterator<Item = Strip> {
        self.part.clone().map(|number| self.strips.at(number))
    }

    /// Writes zeros.
    fn clear(&self) {
        for k in self.ks.clone() {
            for b in self.bs.clone() {
                for i in 0..self.geom.taps.len() * self.geom.lanes {
                    // SAFETY: the pair is within the packed gradient, and this job's alone.
                    unsafe { *self.pair(k, b).add(i) = Block::ZERO };
                }
            }
        }
    }

    /// Adds the products of one strip for all pairs.
    ///
    /// # Safety
    /// The elements of the strip's pixels are where `operands` say, those of all taps and lanes.
    #[inline(always)]
    pub(crate) unsafe fn add<M: Multiply>(&self, m: M, operands: &Operands, strip: &Strip) {
        let geom = self.geom;
        // Tiles of few lanes take more output blocks, so that there are enough accumulators.
        let most =
            [4, 2].into_iter().find(|&ob| M::Floats::GRADIENT_TILE / ob >= geom.lanes.min(8));
        let mut k = self.ks.start;
        while k < self.ks.end {
            let left = self.ks.end - k;
            let taken = match most.unwrap_or(1) {
                4 if left >= 4 => 4,
                2.. if left >= 2 => 2,
                _ => 1,
            };
            for b in self.bs.clone() {
                let lanes = geom.lanes_of(geom.first[k] + b);
                let mut tap = 0;
                while tap < geom.taps.len() {
                    // One output block and few lanes: several taps, for the same reason.
                    let most = M::Floats::GRADIENT_TILE.checked_div(lanes).unwrap_or(0);
                    let together = most.min(geom.taps.len() - tap).min(3);
                    if taken == 1 && together > 1 {
                        macro_rules! by_taps {
                            ($(($t:literal: $($l:literal)*))*) => {
                                match (together, lanes) {
                                    // SAFETY: as below.
                                    $($(($t, $l) if $l * $t <= M::Floats::GRADIENT_TILE => unsafe {
                                        self.taps::<M, $l, $t>(m, operands, strip, [k, b], tap)
                                    },)*)*
                                    _ => unreachable!("a tile has at most 16 accumulators"),
                                }
                            };
                        }
                        by_taps!((2: 1 2 3 4 5 6 7 8) (3: 1 2 3 4 5));
                        tap += together;
                        continue;
                    }
                    let mut lane = 0;
                    while lane < lanes {
                        let width = (lanes - lane).min(M::Floats::GRADIENT_TILE / taken);
                        macro_rules! by_shape {
                            ($(($ob:literal: $($l:literal)*))*) => {
                                match (taken, width) {
                                    // SAFETY: the caller's promise; blocks and lanes are there.
                                    $($(($ob, $l) if $l * $ob <= M::Floats::GRADIENT_TILE => unsafe {
                                        self.tile::<M, $l, $ob>(m, operands, strip, [k, b], tap, lane)
                                    },)*)*
                                    _ => unreachable!("a tile has at most 16 accumulators"),
                                }
                            };
                        }
                        by_shape!((1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
                            (2: 1 2 3 4 5 6 7 8) (4: 1 2 3 4));
                        lane += width;
                    }
                    tap += 1;
                }
            }
            k += taken;
        }
    }

    /// Adds one strip's products for all L lanes of T taps from `first` on and output block k.
    ///
    /// # Safety
    /// As [`Job::tile`] for these taps and lanes.
    #[inline(always)]
    unsafe fn taps<M: Multiply, const L: usize, const T: usize>(
        &self,
        m: M,
        operands: &Operands,
        strip: &Strip,
        [k, b]: [usize; 2],
        first: usize,
    ) {
        let (geom, sums) = (self.geom, m.floats());
        let &Operands { x: x_start, dy: dy_start, x_at, dy_at } = operands;
        let (from_k, from_b) = (k - self.ks.start, b - self.bs.start);
        let mut acc = [[sums.zero(); L]; T];
        let mut taps = [0; T];
        taps.copy_from_slice(&geom.taps[first..first + T]);
        for image in strip.images.clone() {
            for row in strip.rows.clone() {
                let [at, from] = operands.start([from_k, from_b], image, row, strip.cols.start);
                // SAFETY: the caller's first promise; the last step beyond is not read from.
                unsafe {
                    let mut x = x_start.add(at);
                    let mut dy = dy_start.add(from);
                    for _ in strip.cols.clone() {
                        let gradient = m.load(&*dy);
                        for t in 0..T {
                            for l in 0..L {
                                let value = m.splat(*x.add(taps[t] + l));
                                acc[t][l] = m.mul_add(value, gradient, acc[t][l]);
                            }
                        }
                        x = x.wrapping_add(x_at.pixel);
                        dy = dy.wrapping_add(dy_at.pixel);
                    }
                }
            }
        }
        for t in 0..T {
            for l in 0..L {
                // SAFETY: the caller's promise.
                let sum = unsafe { &mut *self.pair(k, b).add((first + t) * geom.lanes + l) };
                sums.store(sum, sums.add(sums.load(sum), acc[t][l]));
            }
        }
    }

    /// Adds one strip's products for L lanes of a tap and OB output blocks.
    ///
    /// # Safety
    /// - That of [`Job::add`];
    /// - the strip, `tap`, `lane + L − 1`, the output blocks `k` to `k + OB − 1` and the `b`-th input block that they read
    ///   are within the geometry; these pairs are this job's.
    #[inline(always)]
    unsafe fn tile<M: Multiply, const L: usize, const OB: usize>(
        &self,
        m: M,
        operands: &Operands,
        strip: &Strip,
        [k, b]: [usize; 2],
        tap: usize,
        lane: usize,
    ) {
        let (geom, sums) = (self.geom, m.floats());
        let &Operands { x: x_start, dy: dy_start, x_at, dy_at } = operands;
        let (from_k, from_b) = (k - self.ks.start, b - self.bs.start);
        let place = tap * geom.lanes + lane;
        let mut acc = [[sums.zero(); OB]; L];
        for ob in 0..OB {
            for l in 0..L {
                // SAFETY: the caller's second promise.
                acc[l][ob] = sums.load(unsafe { &*self.pair(k + ob, b).add(place + l) });
            }
        }
        for image in strip.images.clone() {
            for row in strip.rows.clone() {
                let [at, from] = operands.start([from_k, from_b], image, row, strip.cols.start);
                // SAFETY: the caller's first promise; the last step beyond is not read from.
                unsafe {
                    let mut x = x_start.add(at + geom.taps[tap] + lane);
                    let mut dy = dy_start.add(from);
                    for _ in strip.cols.clone() {
                        let gradient: [M::Factors; OB] =
                            from_fn(|ob| m.load(&*dy.add(ob * dy_at.block)));
                        for l in 0..L {
                            let value = m.splat(*x.add(l));
                            for ob in 0..OB {
                                acc[l][ob] = m.mul_add(value, gradient[ob], acc[l][ob]);
                            }
                        }
                        x = x.wrapping_add(x_at.pixel);
                        dy = dy.wrapping_add(dy_at.pixel);
                    }
                }
            }
        }
        for ob in 0..OB {
            for l in 0..L {
                // SAFETY: the caller's second promise.
                sums.store(unsafe { &mut *self.pair(k + ob, b).add(place + l) }, acc[l][ob]);
            }
        }
    }
}

/// The bias gradient: `db[k]` is the sum of `dy` over `n` images and all pixels, in f64 over images. `work` has a block for
/// each plane.
pub fn sum_pixels(
    isa: Isa,
    threads: &Threads,
    n: usize,
    layout: &Layout,
    dy: &[Block],
    work: &mut [Block],
    db: &mut [Block],
) {
    struct Plane<'a> {
        layout: &'a Layout,
        plane: &'a [Block],
        sum: &'a mut Block,
    }
    impl Kernel for Plane<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            // Several sums, since each addition waits for the one before.
            let mut sums = [simd.zero(); 4];
            for y in 0..self.layout.height {
                let pixels = self.layout.pixels(self.plane, y).chunks_exact(4);
                for (i, pixel) in pixels.remainder().iter().enumerate() {
                    sums[i] = simd.add(sums[i], simd.load(pixel));
                }
                for pixels in pixels {
                    for i in 0..4 {
                        sums[i] = simd.add(sums[i], simd.load(&pixels[i]));
                    }
                }
            }
            let [a, b, c, d] = sums;
            simd.store(self.sum, simd.add(simd.add(a, b), simd.add(c, d)));
        }
    }
    let blocks = layout.blocks();
    let work = &mut work[..n * blocks];
    let per_job = JOB.div_ceil((layout.height * layout.width).max(1));
    threads.chunks(work, per_job, |job, work| {
        for (i, sum) in work.iter_mut().enumerate() {
            let plane = &dy[layout.plane_at(job * per_job + i)];
            isa.run(Plane { layout, plane, sum });
        }
    });
    for (k, db) in db[..blocks].iter_mut().enumerate() {
        let mut sum = [0.0f64; LANES];
        for part in work.iter().skip(k).step_by(blocks) {
            sum.iter_mut().zip(part.0).for_each(|(sum, part)| *sum += f64::from(part));
        }
        *db = Block(sum.map(|sum| sum as f32));
    }
}
