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
//! second-level cache while all pairs are formed, those of one pair in the first. Where there are few jobs, the images are
//! split into a number of parts that depends on the geometry alone, summed in order at the end. With n products per weight,
//! the result differs from the exact one by at most `(n + 2)·2⁻²⁴·Σ|x·dy|`.

use crate::block::{Block, LANES, Layout};
use crate::conv::{ConvGeom, Strides};
use crate::elementwise::JOB;
use crate::isa::{Isa, Kernel};
use crate::simd::Simd;
use crate::threads::{Shore, Threads};
use std::ops::Range;

/// The weight gradient of one convolution.
#[derive(Clone, Debug)]
pub struct WeightGradient {
    isa: Isa,
    geom: ConvGeom,
    /// Runs of output blocks that read the same input blocks, cut to the length of a job's.
    rows: Vec<Range<usize>>,
    /// Input blocks of a job.
    columns: usize,
}

/// Jobs that are enough to share among threads.
const JOBS: usize = 16;
/// Most output and input blocks of a job.
const GROUP: [usize; 2] = [8, 4];
/// Pixels of a strip.
const STRIP: usize = 160;
/// Blocks that the parts' gradients may take together.
const PARTS_BLOCKS: usize = 1 << 17;

impl WeightGradient {
    /// The kernel for the geometry of the forward pass: its `y` is where the output's gradient is.
    pub fn new(isa: Isa, geom: ConvGeom) -> Self {
        let [mut high, mut wide] = GROUP;
        loop {
            let rows = runs(&geom, high);
            let jobs = rows.len() * geom.blocks.div_ceil(wide);
            let parts = JOBS.div_ceil(jobs.max(1));
            let splits = !geom.batch_is_row && parts * geom.packed_len() <= PARTS_BLOCKS;
            if parts == 1 || splits || high * wide == 1 {
                return Self { isa, geom, rows, columns: wide };
            }
            if wide > 1 {
                wide /= 2;
            } else {
                high /= 2;
            }
        }
    }

    /// Its name: `f32_conv_weight_gradient_avx512`.
    pub fn name(&self) -> String {
        format!("f32_conv_weight_gradient_{}", self.isa)
    }

    fn jobs(&self) -> usize {
        self.rows.len() * self.geom.blocks.div_ceil(self.columns)
    }

    /// Into how many parts the images are split.
    fn parts(&self, n: usize) -> usize {
        let (images, _) = self.geom.extent(n);
        JOBS.div_ceil(self.jobs()).min(images).max(1)
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
        let (parts, jobs) = (self.parts(n), self.jobs());
        let per_row = geom.blocks.div_ceil(self.columns);
        let compute = |part: usize, job: usize, dw: Shore| {
            let first = job % per_row * self.columns;
            let job = Job {
                geom,
                x,
                dy,
                dw,
                images: part * images / parts..(part + 1) * images / parts,
                cols,
                ks: self.rows[job / per_row].clone(),
                bs: first..(first + self.columns).min(geom.blocks),
            };
            self.isa.run(job);
        };
        if parts == 1 {
            let dw = Shore(dw.as_mut_ptr());
            return threads.run(jobs, |job| compute(0, job, dw));
        }
        let len = dw.len();
        let work = &mut work[..parts * len];
        let copies = Shore(work.as_mut_ptr());
        threads.run(parts * jobs, |i| {
            // A copy of its own for each part; `work` holds as many.
            let copy = Shore(copies.pointer().wrapping_add(i / jobs * len));
            compute(i / jobs, i % jobs, copy);
        });
        let work = &*work;
        let piece = geom.taps.len() * geom.lanes;
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

/// The output blocks in runs of at most `most` that read the same input blocks.
fn runs(geom: &ConvGeom, most: usize) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut k = 0;
    while k < geom.out_blocks() {
        let same = geom.first[k..].iter().take_while(|&&first| first == geom.first[k]).count();
        runs.push(k..k + same.min(most));
        k += same.min(most);
    }
    runs
}

/// One job: all taps of all pairs of some blocks, over some images.
struct Job<'a> {
    geom: &'a ConvGeom,
    x: &'a [f32],
    dy: &'a [Block],
    /// A packed gradient, of which the pairs are this job's alone.
    dw: Shore,
    images: Range<usize>,
    cols: usize,
    ks: Range<usize>,
    /// Input blocks, counted from the first that the output blocks read.
    bs: Range<usize>,
}

/// Some pixels of some images: a part of one, or several as a whole.
#[derive(Clone)]
struct Strip {
    images: Range<usize>,
    rows: Range<usize>,
    cols: Range<usize>,
}

impl Kernel for Job<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let geom = self.geom;
        for k in self.ks.clone() {
            for b in self.bs.clone() {
                for i in 0..geom.taps.len() * geom.lanes {
                    // SAFETY: the pair is within the packed gradient, and this job's alone.
                    unsafe { *self.pair(k, b).add(i) = Block::ZERO };
                }
            }
        }
        let linear =
            geom.x.row == self.cols * geom.x.pixel && geom.y.row == self.cols * geom.y.pixel;
        let (rows, cols) = if linear { (1, geom.rows * self.cols) } else { (geom.rows, self.cols) };
        let (down, across) = if rows == 1 { (1, STRIP) } else { (STRIP.div_ceil(cols), cols) };
        let step = (STRIP / (rows * cols).max(1)).max(1);
        for image in self.images.clone().step_by(step) {
            let images = image..(image + step).min(self.images.end);
            for row in (0..rows).step_by(down) {
                for col in (0..cols).step_by(across) {
                    let rows = row..(row + down).min(rows);
                    let cols = col..(col + across).min(cols);
                    self.strip(simd, &Strip { images: images.clone(), rows, cols });
                }
            }
        }
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

    /// Where a pixel of output block k's gradient is, and before taps and lanes that of the `b`-th input block.
    #[inline(always)]
    fn start(&self, [k, b]: [usize; 2], image: usize, row: usize, col: usize) -> [usize; 2] {
        let place = |s: &Strides, block: usize| {
            s.offset + image * s.image + block * s.block + row * s.row + col * s.pixel
        };
        [place(&self.geom.x, self.geom.first[k] + b), place(&self.geom.y, k)]
    }

    /// Adds the products of one strip for all pairs.
    #[inline(always)]
    fn strip<S: Simd>(&self, simd: S, strip: &Strip) {
        let geom = self.geom;
        // Tiles of few lanes take more output blocks, so that there are enough accumulators.
        let most = [4, 2].into_iter().find(|&ob| S::GRADIENT_TILE / ob >= geom.lanes.min(8));
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
                    let most = S::GRADIENT_TILE.checked_div(lanes).unwrap_or(0);
                    let together = most.min(geom.taps.len() - tap).min(3);
                    if taken == 1 && together > 1 {
                        macro_rules! by_taps {
                            ($(($t:literal: $($l:literal)*))*) => {
                                match (together, lanes) {
                                    // SAFETY: as below.
                                    $($(($t, $l) if $l * $t <= S::GRADIENT_TILE => unsafe {
                                        self.taps::<S, $l, $t>(simd, strip, [k, b], tap)
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
                        let width = (lanes - lane).min(S::GRADIENT_TILE / taken);
                        macro_rules! by_shape {
                            ($(($ob:literal: $($l:literal)*))*) => {
                                match (taken, width) {
                                    // SAFETY: `WeightGradient::run` has checked the geometry; blocks and lanes are there.
                                    $($(($ob, $l) if $l * $ob <= S::GRADIENT_TILE => unsafe {
                                        self.tile::<S, $l, $ob>(simd, strip, [k, b], tap, lane)
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
    unsafe fn taps<S: Simd, const L: usize, const T: usize>(
        &self,
        simd: S,
        strip: &Strip,
        [k, b]: [usize; 2],
        first: usize,
    ) {
        let Self { geom, x, dy, .. } = *self;
        let mut acc = [[simd.zero(); L]; T];
        let mut taps = [0; T];
        taps.copy_from_slice(&geom.taps[first..first + T]);
        for image in strip.images.clone() {
            for row in strip.rows.clone() {
                let [at, from] = self.start([k, b], image, row, strip.cols.start);
                // SAFETY: all offsets are below what `geom.check` asserted; the last step beyond is not read from.
                unsafe {
                    let mut x = x.as_ptr().add(at);
                    let mut dy = dy.as_ptr().add(from);
                    for _ in strip.cols.clone() {
                        let gradient = simd.load(&*dy);
                        for t in 0..T {
                            for l in 0..L {
                                let value = simd.splat(*x.add(taps[t] + l));
                                acc[t][l] = simd.mul_add(value, gradient, acc[t][l]);
                            }
                        }
                        x = x.wrapping_add(geom.x.pixel);
                        dy = dy.wrapping_add(geom.y.pixel);
                    }
                }
            }
        }
        for t in 0..T {
            for l in 0..L {
                // SAFETY: the caller's promise.
                let sum = unsafe { &mut *self.pair(k, b).add((first + t) * geom.lanes + l) };
                simd.store(sum, simd.add(simd.load(sum), acc[t][l]));
            }
        }
    }

    /// Adds one strip's products for L lanes of a tap and OB output blocks.
    ///
    /// # Safety
    /// - `geom.check` passed for the lengths of `x` and `dy`, and `dw` is a packed gradient;
    /// - the strip, `tap`, `lane + L − 1`, the output blocks `k` to `k + OB − 1` and the `b`-th input block that they read
    ///   are within the geometry; these pairs are this job's.
    #[inline(always)]
    unsafe fn tile<S: Simd, const L: usize, const OB: usize>(
        &self,
        simd: S,
        strip: &Strip,
        [k, b]: [usize; 2],
        tap: usize,
        lane: usize,
    ) {
        let Self { geom, x, dy, .. } = *self;
        let place = tap * geom.lanes + lane;
        let mut acc = [[simd.zero(); OB]; L];
        for ob in 0..OB {
            for l in 0..L {
                // SAFETY: the caller's second promise.
                acc[l][ob] = simd.load(unsafe { &*self.pair(k + ob, b).add(place + l) });
            }
        }
        for image in strip.images.clone() {
            for row in strip.rows.clone() {
                let [at, from] = self.start([k, b], image, row, strip.cols.start);
                // SAFETY: all offsets are below what `geom.check` asserted; the last step beyond is not read from.
                unsafe {
                    let mut x = x.as_ptr().add(at + geom.taps[tap] + lane);
                    let mut dy = dy.as_ptr().add(from);
                    for _ in strip.cols.clone() {
                        let mut gradient = [simd.zero(); OB];
                        for ob in 0..OB {
                            gradient[ob] = simd.load(&*dy.add(ob * geom.y.block));
                        }
                        for l in 0..L {
                            let value = simd.splat(*x.add(l));
                            for ob in 0..OB {
                                acc[l][ob] = simd.mul_add(value, gradient[ob], acc[l][ob]);
                            }
                        }
                        x = x.wrapping_add(geom.x.pixel);
                        dy = dy.wrapping_add(geom.y.pixel);
                    }
                }
            }
        }
        for ob in 0..OB {
            for l in 0..L {
                // SAFETY: the caller's second promise.
                simd.store(unsafe { &mut *self.pair(k + ob, b).add(place + l) }, acc[l][ob]);
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
