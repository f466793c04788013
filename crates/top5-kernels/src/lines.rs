//! Inputs of groups of channels that are no whole blocks, picked for the sixteen outputs of a block.
//!
//! Output channel o of a group with I inputs and O outputs reads the inputs I·⌊o/O⌋ + i, i in 0..I. For each i a vector has the
//! input of each of sixteen outputs:
//!
//! ```text
//! s[pixel][i] = x[pixel][I·⌊o/O⌋ + i]                   for the sixteen outputs o, picked from the blocks where these are
//! ```
//!
//! What was picked from a row of pixels is kept in a *line* for as long as other taps or the next rows of outputs read it. In bf16
//! a factor is a pair of channels.

use crate::block::{Block, LANES};
use crate::conv::{ConvGeom, Group, MOST_GROUPED, MOST_INPUTS, MOST_SOURCES};
use crate::element::Element;
use crate::precision::Precision;
use crate::simd::{Kernel, Simd};
use std::array::from_fn;

/// T taps whose pixels are neighbours, in the order of the pixels.
pub(crate) struct Run<const T: usize> {
    /// The offset of the first one.
    pub(crate) offset: usize,
    /// Their numbers.
    pub(crate) taps: [usize; T],
}

impl ConvGeom {
    /// Whether the taps are runs of three neighbours, and outputs whole pixels apart. In a backward pass the taps descend.
    pub(crate) fn in_threes(&self) -> bool {
        let run = |taps: &[usize]| {
            let next = |i: usize| taps[i].abs_diff(taps[i + 1]) == LANES;
            next(0) && next(1) && taps[0] != taps[2]
        };
        let whole = self.x.pixel > 0 && self.x.pixel.is_multiple_of(LANES);
        whole && self.taps.len().is_multiple_of(3) && self.taps.chunks_exact(3).all(run)
    }

    /// The taps in runs of T, if they are such.
    pub(crate) fn tap_runs<const T: usize>(&self) -> impl Iterator<Item = Run<T>> + Clone {
        self.taps.chunks_exact(T).enumerate().map(|(run, taps)| {
            let descend = taps[0] > taps[T - 1];
            let tap = |s: usize| run * T + if descend { T - 1 - s } else { s };
            Run { offset: taps[0].min(taps[T - 1]), taps: from_fn(tap) }
        })
    }
}

/// Which channels are picked for an output block.
pub(crate) struct Picks<E: Element> {
    /// For each factor of a group those from each block that it is picked from.
    picks: [[E::Picks; MOST_SOURCES]; MOST_INPUTS],
    /// These blocks, counted from the first that the output block reads.
    sources: [[usize; MOST_SOURCES]; MOST_INPUTS],
    /// Their number.
    counts: [usize; MOST_INPUTS],
}

impl<E: Element> Picks<E> {
    pub(crate) fn new(geom: &ConvGeom, group: Group, k: usize) -> Self {
        let picks = [[E::NO_PICKS; MOST_SOURCES]; MOST_INPUTS];
        let sources = [[0; MOST_SOURCES]; MOST_INPUTS];
        let mut of_block = Self { picks, sources, counts: [0; MOST_INPUTS] };
        for i in 0..group.inputs {
            let factor = i / E::DEPTH;
            let (sources, count) = (&mut of_block.sources[factor], &mut of_block.counts[factor]);
            for output in k * LANES..((k + 1) * LANES).min(geom.out_channels) {
                let channel = output / group.outputs * group.inputs + i;
                let source = channel / LANES - geom.first[k];
                let known = sources[..*count].iter().position(|&known| known == source);
                let at = known.unwrap_or(*count);
                sources[at] = source;
                *count = (*count).max(at + 1);
                let picks = &mut of_block.picks[factor][at];
                E::pick_for(picks, output % LANES, i % E::DEPTH, channel % LANES);
            }
        }
        of_block
    }
}

/// The lines of some pixels, of at most N blocks.
pub(crate) struct Lines<const N: usize> {
    /// The position in x of the first pixel of each one.
    at: [usize; MOST_GROUPED],
    /// The line of each run of taps.
    of_runs: [usize; MOST_GROUPED],
    memory: [Block; N],
    /// How many there are.
    count: usize,
    /// Factors of a group.
    steps: usize,
    /// Pixels of a line.
    width: usize,
    /// Elements of x from a pixel to the next one.
    pixel: usize,
    /// Pixels from one that a tap meets to the next.
    apart: usize,
    /// Taps of a run.
    taps: usize,
    /// Elements of x to a row that is picked later.
    next: usize,
}

impl<const N: usize> Lines<N> {
    /// So many, for runs of T taps, and factors of a group.
    pub(crate) fn new<const T: usize>(geom: &ConvGeom, count: usize, steps: usize) -> Self {
        let (pixel, apart) = if T > 1 { (LANES, geom.x.pixel / LANES) } else { (geom.x.pixel, 1) };
        let ([at, of_runs], memory) = ([[0; MOST_GROUPED]; 2], [Block::ZERO; N]);
        let next = 2 * geom.x.row;
        Self { at, of_runs, memory, count, steps, width: 0, pixel, apart, taps: T, next }
    }

    /// Most pixels that a line serves.
    pub(crate) fn widest(&self) -> usize {
        (N / (self.count * self.steps)).saturating_sub(self.taps) / self.apart + 1
    }

    /// Begins lines that serve so many pixels.
    pub(crate) fn begin(&mut self, pixels: usize) {
        self.width = (pixels - 1) * self.apart + self.taps;
        self.at.fill(usize::MAX);
    }

    /// Factors of a group.
    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    /// Pixels of a line.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Pixels from one that a tap meets to the next.
    pub(crate) fn apart(&self) -> usize {
        self.apart
    }

    /// A line: its pixels for each factor of a group, one after the other.
    pub(crate) fn line(&self, line: usize) -> &[Block] {
        let len = self.steps * self.width;
        &self.memory[line * len..][..len]
    }

    /// The line of a run of taps, of those that [`Lines::pick_all`] was given last.
    pub(crate) fn of_run(&self, run: usize) -> &[Block] {
        self.line(self.of_runs[run])
    }

    /// Picks the lines that begin at these positions of `x`, one for each run of taps, unless they are kept.
    ///
    /// # Safety
    /// As [`Lines::pick`], for each of these lines.
    #[inline(always)]
    pub(crate) unsafe fn pick_all<E: Element, S: Simd>(
        &mut self,
        s: S,
        picks: &Picks<E>,
        x: (*const E, usize),
        starts: impl Iterator<Item = usize> + Clone,
    ) {
        for (line, start) in self.of_runs[..self.count].iter_mut().zip(starts.clone()) {
            let kept = self.at[..self.count].iter().position(|&at| at == start);
            *line = kept.unwrap_or(usize::MAX);
        }
        for (run, start) in starts.enumerate() {
            if self.of_runs[run] == usize::MAX {
                // There are as many lines as runs, so that one is free.
                let used = &self.of_runs[..self.count];
                let free = (0..self.count).find(|line| !used.contains(line)).unwrap_or(0);
                self.of_runs[run] = free;
                // SAFETY: the caller's promise.
                unsafe { self.pick(s, picks, x, [free, start]) };
            }
        }
    }

    /// Picks a line from `x`, whose blocks of channels are `block` elements apart.
    ///
    /// # Safety
    /// `x` has sixteen elements from each of the line's pixels on, in each block that is picked from.
    #[inline(always)]
    pub(crate) unsafe fn pick<E: Element, S: Simd>(
        &mut self,
        s: S,
        picks: &Picks<E>,
        (x, block): (*const E, usize),
        [line, start]: [usize; 2],
    ) {
        self.at[line] = start;
        let &mut Self { width, pixel, next, .. } = self;
        let len = self.steps * width;
        let to = &mut self.memory[line * len..][..len];
        s.run(Line { picks, x: x.wrapping_add(start), block, pixel, next, width, to });
    }
}

/// One line, in a function of its own.
struct Line<'a, E: Element> {
    picks: &'a Picks<E>,
    /// Of which the caller of [`Lines::pick`] has promised that there is enough.
    x: *const E,
    /// Elements from a block of channels to the next one.
    block: usize,
    /// Elements from a pixel to the next one.
    pixel: usize,
    /// Elements to the row that is picked after the next ones.
    next: usize,
    width: usize,
    to: &'a mut [Block],
}

impl<E: Element> Kernel for Line<'_, E> {
    type Output = ();
    const PRECISION: Precision = E::PRECISION;

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let factors = std::mem::take(&mut self.to).chunks_exact_mut(self.width);
        for (i, factors) in factors.enumerate() {
            match self.picks.counts[i] {
                1 => self.factors::<S, 1>(s, i, factors),
                2 => self.factors::<S, 2>(s, i, factors),
                3 => self.factors::<S, 3>(s, i, factors),
                _ => self.factors::<S, MOST_SOURCES>(s, i, factors),
            }
        }
    }
}

impl<E: Element> Line<'_, E> {
    /// The `i`-th factor of every pixel, from B blocks, or from fewer.
    #[inline(always)]
    fn factors<S: Simd, const B: usize>(&self, s: S, i: usize, factors: &mut [Block]) {
        // Copies, which no store to a line can change.
        let picks: [E::Picks; B] = from_fn(|n| self.picks.picks[i][n]);
        let from: [usize; B] = from_fn(|n| self.picks.sources[i][n] * self.block);
        for (pixel, factor) in factors.iter_mut().enumerate() {
            let mut picked = s.zero();
            for n in 0..B {
                let x = self.x.wrapping_add(from[n] + pixel * self.pixel);
                // SAFETY: the promise of the caller of `Lines::pick`, whose blocks these are.
                picked = E::pick(s, picked, unsafe { &*x.cast() }, &picks[n]);
                if i == 0 {
                    s.prefetch(x.wrapping_add(self.next).cast());
                }
            }
            s.store(factor, picked);
        }
    }
}
