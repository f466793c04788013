//! The work of a weight gradient: jobs of some pairs of blocks, and where these are few also parts, runs of strips. The split
//! depends on the geometry and the number of images alone.

use super::strips::{Strip, Strips};
use crate::block::Block;
use crate::conv::{ConvGeom, Strides};
use crate::element::Element;
use crate::simd::Simd;
use crate::threads::{SharedMut, Threads, share};
use std::ops::Range;

/// How the work is split, for every precision.
#[derive(Clone, Debug)]
pub(super) struct Jobs {
    pub(super) geom: ConvGeom,
    /// Runs of output blocks that read the same input blocks, cut to the length of a job's.
    rows: Vec<Range<usize>>,
    /// Input blocks of a job.
    columns: usize,
}

/// Jobs that are enough to share among threads.
const JOBS: usize = 16;
/// Blocks of a gradient above which it is written past the caches: half of a last-level cache.
const STREAMED: usize = 1 << 18;
/// Blocks that the parts' gradients may take together.
const PARTS_BLOCKS: usize = 1 << 17;

impl Jobs {
    /// For this geometry, with at most so many output and input blocks to a job.
    pub(super) fn new(geom: ConvGeom, [mut high, mut wide]: [usize; 2]) -> Self {
        loop {
            let rows = runs(&geom, high);
            let jobs = rows.len() * geom.blocks.div_ceil(wide);
            let parts = JOBS.div_ceil(jobs.max(1));
            let splits = !geom.batch_is_row && parts * geom.packed_len() <= PARTS_BLOCKS;
            if parts == 1 || splits || high * wide == 1 {
                return Self { geom, rows, columns: wide };
            }
            if wide > 1 {
                wide /= 2;
            } else {
                high /= 2;
            }
        }
    }

    fn jobs(&self) -> usize {
        self.rows.len() * self.geom.blocks.div_ceil(self.columns)
    }

    /// Most output and input blocks of a job.
    pub(super) fn largest(&self) -> [usize; 2] {
        let high = self.rows.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
        [high, self.columns.min(self.geom.blocks)]
    }

    /// Into how many parts the strips are split.
    fn parts(&self, strips: &Strips) -> usize {
        JOBS.div_ceil(self.jobs()).min(strips.count()).max(1)
    }

    /// Blocks of the copies of the gradient for its parts.
    pub(super) fn copies(&self, strips: &Strips) -> usize {
        match self.parts(strips) {
            1 => 0,
            parts => parts * self.geom.packed_len(),
        }
    }

    /// Lets `add` add all strips to `dw`. `work` are the copies, and after them the scratch memory of each thread, of which
    /// the length is given.
    pub(super) fn run(
        &self,
        threads: &Threads,
        strips: &Strips,
        (work, scratch): (&mut [Block], usize),
        dw: &mut [Block],
        add: impl Fn(&Job<'_>, &mut [Block]) + Sync,
    ) {
        let geom = &self.geom;
        assert_eq!(dw.len(), geom.packed_len(), "the gradient is packed for another geometry");
        let (parts, jobs) = (self.parts(strips), self.jobs());
        let (copies, work) = work.split_at_mut(self.copies(strips));
        let (count, len) = (strips.count(), dw.len());
        let sums = if parts == 1 { dw.as_mut_ptr() } else { copies.as_mut_ptr() };
        let sums = SharedMut(sums);
        let per_row = geom.blocks.div_ceil(self.columns);
        // Where all lanes are there, nothing is left to be cleared.
        let full = geom.in_blocks() * geom.lanes <= geom.depth;
        let alone = full && parts == 1 && count == 1;
        let past = alone && len > STREAMED;
        threads.run_with_scratch(parts * jobs, work, scratch, |i, scratch| {
            let (part, i) = (i / jobs, i % jobs);
            let first = i % per_row * self.columns;
            let job = Job {
                geom,
                // A copy of its own for each part; there are as many.
                dw: SharedMut(sums.pointer().wrapping_add(part * len)),
                ks: self.rows[i / per_row].clone(),
                bs: first..(first + self.columns).min(geom.blocks),
                strips,
                part: share(count, parts, part),
                alone,
                past,
            };
            if !alone {
                job.clear();
            }
            add(&job, scratch);
        });
        if parts == 1 {
            return;
        }
        let copies = &*copies;
        let piece = geom.taps.len() * geom.lanes;
        threads.chunks(dw, piece, |job, dw| {
            for (i, sum) in dw.iter_mut().enumerate() {
                let at = job * piece + i;
                *sum = copies[at];
                for part in 1..parts {
                    let more = &copies[part * len + at];
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

/// One job: all taps of all pairs of some blocks.
pub(super) struct Job<'a> {
    pub(super) geom: &'a ConvGeom,
    /// A packed gradient, of which the pairs are this job's alone.
    dw: SharedMut,
    pub(super) ks: Range<usize>,
    /// Input blocks, counted from the first that the output blocks read.
    pub(super) bs: Range<usize>,
    strips: &'a Strips,
    part: Range<usize>,
    /// There is one strip, whose products are the gradient: nothing is added to.
    alone: bool,
    /// What is written goes past the caches.
    pub(super) past: bool,
}

/// Where the blocks of a job are, counted from its first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operands {
    pub(super) x: *const f32,
    pub(super) dy: *const Block,
    pub(super) x_at: Strides,
    pub(super) dy_at: Strides,
    /// How much farther on the next strip is, of x and of dy; 0 if it is in a cache.
    pub(super) ahead: [usize; 2],
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
    pub(super) fn strips(&self) -> impl Iterator<Item = Strip> {
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
    pub(super) unsafe fn add<E: Element, S: Simd>(&self, s: S, operands: &Operands, strip: &Strip) {
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
                                    $($(($t, $l) if const { $l * $t <= S::GRADIENT_TILE } => unsafe {
                                        self.taps::<E, S, $l, $t>(s, operands, strip, [k, b], tap)
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
                        // Each block of the next strip is asked for once.
                        let asks = [k == self.ks.start, b == self.bs.start];
                        let once = |i: usize| asks[i] && tap == 0 && lane == 0;
                        let ahead = [0, 1].map(|i| if once(i) { operands.ahead[i] } else { 0 });
                        let width = (lanes - lane).min(S::GRADIENT_TILE / taken);
                        macro_rules! by_shape {
                            ($(($ob:literal: $($l:literal)*))*) => {
                                match (taken, width) {
                                    // SAFETY: the caller's promise; blocks and lanes are there.
                                    $($(($ob, $l) if const { $l * $ob <= S::GRADIENT_TILE } => unsafe {
                                        self.tile::<E, S, $l, $ob>(s, operands, strip, [k, b], [tap, lane], ahead)
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
        if self.past {
            s.fence();
        }
    }

    /// What so far is in a place of the gradient.
    #[inline(always)]
    fn so_far<S: Simd>(&self, s: S, place: &Block) -> S::V {
        if self.alone { s.zero() } else { s.load(place) }
    }

    /// Writes to a place of the gradient.
    #[inline(always)]
    fn put<S: Simd>(&self, s: S, place: &mut Block, sum: S::V) {
        if self.past {
            s.stream(place, sum);
        } else {
            s.store(place, sum);
        }
    }

    /// Adds sums of the first lanes of a tap.
    ///
    /// # Safety
    /// The output block `k` and the `b`-th input block that it reads are a pair of this job, the tap and as many lanes are within
    /// the geometry.
    #[inline(always)]
    pub(super) unsafe fn add_sums<S: Simd>(
        &self,
        s: S,
        [k, b]: [usize; 2],
        tap: usize,
        sums: &[Block],
    ) {
        for (l, sum) in sums.iter().enumerate() {
            // SAFETY: the caller's promise.
            let place = unsafe { &mut *self.pair(k, b).add(tap * self.geom.lanes + l) };
            self.put(s, place, s.add(self.so_far(s, place), s.load(sum)));
        }
    }

    /// Adds one strip's products for all L lanes of T taps from `first` on and output block k.
    ///
    /// # Safety
    /// As [`Job::tile`] for these taps and lanes.
    #[inline(always)]
    unsafe fn taps<E: Element, S: Simd, const L: usize, const T: usize>(
        &self,
        s: S,
        operands: &Operands,
        strip: &Strip,
        [k, b]: [usize; 2],
        first: usize,
    ) {
        let geom = self.geom;
        let &Operands { x: x_start, dy: dy_start, x_at, dy_at, .. } = operands;
        let (from_k, from_b) = (k - self.ks.start, b - self.bs.start);
        let mut acc = [[s.zero(); L]; T];
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
                        let gradient = s.load(&*dy);
                        for t in 0..T {
                            for l in 0..L {
                                let value = E::splat(s, *x.add(taps[t] + l));
                                acc[t][l] = E::mul_add(s, value, gradient, acc[t][l]);
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
                self.put(s, sum, s.add(self.so_far(s, sum), acc[t][l]));
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
    unsafe fn tile<E: Element, S: Simd, const L: usize, const OB: usize>(
        &self,
        s: S,
        operands: &Operands,
        strip: &Strip,
        [k, b]: [usize; 2],
        [tap, lane]: [usize; 2],
        ahead: [usize; 2],
    ) {
        let geom = self.geom;
        let &Operands { x: x_start, dy: dy_start, x_at, dy_at, .. } = operands;
        let (from_k, from_b) = (k - self.ks.start, b - self.bs.start);
        let place = tap * geom.lanes + lane;
        let mut acc = [[s.zero(); OB]; L];
        for ob in 0..OB {
            for l in 0..L {
                // SAFETY: the caller's second promise.
                acc[l][ob] = self.so_far(s, unsafe { &*self.pair(k + ob, b).add(place + l) });
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
                        let mut gradient = [s.zero(); OB];
                        for ob in 0..OB {
                            gradient[ob] = s.load(&*dy.add(ob * dy_at.block));
                        }
                        s.prefetch_early(x.wrapping_add(ahead[0]).cast());
                        for ob in 0..OB {
                            s.prefetch_early(dy.wrapping_add(ob * dy_at.block + ahead[1]));
                        }
                        for l in 0..L {
                            let value = E::splat(s, *x.add(l));
                            for ob in 0..OB {
                                acc[l][ob] = E::mul_add(s, value, gradient[ob], acc[l][ob]);
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
                let sum = unsafe { &mut *self.pair(k + ob, b).add(place + l) };
                self.put(s, sum, acc[l][ob]);
            }
        }
    }
}
