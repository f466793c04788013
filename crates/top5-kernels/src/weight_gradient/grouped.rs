//! The weight gradient of groups that are no whole blocks of channels: several share a block, or a block cuts some.
//!
//! All pairs of channels of two blocks would be products of which those between groups are thrown away. Here the inputs that
//! sixteen outputs read are picked first ([`Lines`]), so that both operands are vectors:
//!
//! ```text
//! s[pixel][i] = x[pixel][I·⌊o/O⌋ + i]                   for the sixteen outputs o of a block
//! acc[t][i] += s[pixel + t][i] · dy[pixel]              for all pixels of a row, every tap t, i in 0..I
//! ```
//!
//! A row of inputs is picked once, and meets the gradients of all rows of outputs that its taps belong to.
//!
//! A job is an output block and some rows of the images, in a number of parts that depends on the geometry and the number of
//! images alone; they are summed in order, and go to their places in the packed gradient. With n products per weight, the
//! result differs from the exact one by at most `(n + 2)·2⁻²⁴·Σ|x·dy|`.

use crate::block::{Block, LANES};
use crate::conv::{
    Algorithm, Bound, ConvGeom, Convolution, Group, Identity, MOST_GROUPED, Problem, WeightGradient,
};
use crate::isa::Isa;
use crate::lines::{Lines, Picks, Run};
use crate::precision::Precision;
use crate::simd::{Kernel, Simd};
use crate::threads::{Threads, share};
use std::ops::Range;
use std::sync::Arc;

/// Jobs that are enough to share among threads.
const JOBS: usize = 16;

/// Most blocks of a line: whole rows of most maps, half of a first-level cache.
const LINE: usize = 256;

/// Most inputs of a group at once: with three taps they are twelve sums.
const INPUTS: usize = 4;

/// Multiply-adds of the direct algorithm in the time of one of this.
const PRODUCT: f64 = 1.4;

/// And in the time in which a vector is picked from one block, stored and read again.
const PICK: f64 = 4.0;

/// In f32.
pub(crate) const WEIGHT_GRADIENT_GROUPED: Algorithm<dyn WeightGradient> = Algorithm {
    name: "grouped_weight_gradient",
    precision: Precision::F32,
    serves: "groups that are no whole blocks of channels",
    memory: "copies of the gradient",
    bound: Bound::Sum,
    make: |isa, problem| Some(Arc::new(Grouped::new(isa, problem)?)),
};

/// The weight gradient of one convolution in groups.
#[derive(Debug)]
struct Grouped {
    identity: Identity,
    group: Group,
}

impl Grouped {
    fn new(isa: Isa, problem: &Problem) -> Option<Self> {
        let group = problem.geom().grouped().filter(|_| !problem.geom().batch_is_row)?;
        let identity = Identity {
            name: format!("f32_conv_grouped_weight_gradient_{isa}"),
            method: "groups",
            isa,
            precision: Precision::F32,
            problem: problem.clone(),
        };
        Some(Self { identity, group })
    }

    fn geom(&self) -> &ConvGeom {
        self.problem().geom()
    }

    /// Vectors of the gradient of an output block.
    fn vectors(&self) -> usize {
        self.geom().taps.len() * self.group.inputs
    }

    /// Into how many parts the rows of `n` images are split.
    fn parts(&self, n: usize) -> usize {
        JOBS.div_ceil(self.geom().out_blocks()).min(n * self.geom().rows).max(1)
    }

    /// Sums the parts of the gradient of output block `k`, and writes them where they belong.
    fn gather(&self, k: usize, copies: &[Block], dw: &mut [Block]) {
        let (geom, Group { inputs, outputs }) = (self.geom(), self.group);
        let (vectors, start) = (self.vectors(), k * geom.weight_stride());
        let step = geom.out_blocks() * vectors;
        dw.fill(Block::ZERO);
        for at in 0..vectors {
            let mut sum = Block::ZERO;
            for copy in copies[k * vectors + at..].iter().step_by(step) {
                sum.0.iter_mut().zip(copy.0).for_each(|(sum, part)| *sum += part);
            }
            for output in k * LANES..((k + 1) * LANES).min(geom.out_channels) {
                let channel = output / outputs * inputs + at % inputs;
                let place = [channel / LANES, at / inputs, channel % LANES];
                if let Some(place) = geom.packed_index(k, place[0], place[1], place[2]) {
                    dw[place - start].0[output % LANES] = sum.0[output % LANES];
                }
            }
        }
    }
}

impl Convolution for Grouped {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The direct algorithm multiplies all channels of some blocks. With a stride more inputs are picked for each output.
    fn cost(&self) -> f64 {
        let (geom, Group { inputs, outputs }) = (self.geom(), self.group);
        let taps = geom.taps.len() as f64;
        let apart = (geom.x.pixel as f64 / LANES as f64).max(1.0);
        let picked = if geom.in_threes() { apart * apart } else { taps.sqrt() };
        let sources = geom.blocks.min((LANES - 1).div_ceil(outputs) + 1) as f64;
        PRODUCT.mul_add(taps, PICK * picked * sources) * inputs as f64
            / (taps * (geom.blocks * LANES) as f64)
    }

    fn bound(&self) -> Bound {
        Bound::Sum
    }

    fn workspace(&self, _: usize) -> usize {
        let copies = self.parts(self.problem().images()) * self.geom().out_blocks();
        copies.saturating_mul(self.vectors())
    }
}

impl WeightGradient for Grouped {
    fn run(
        &self,
        threads: &Threads,
        n: usize,
        x: &[Block],
        dy: &[Block],
        work: &mut [Block],
        dw: &mut [Block],
    ) {
        let (geom, group) = (self.geom(), self.group);
        geom.check(n, x.len() * LANES, dy.len());
        assert_eq!(dw.len(), geom.packed_len(), "the gradient is packed for another geometry");
        let (parts, blocks, vectors) = (self.parts(n), geom.out_blocks(), self.vectors());
        let copies = &mut work[..parts * blocks * vectors];
        let x = Block::flat(x);
        threads.chunks(copies, vectors, |job, sums| {
            let (part, k) = (job / blocks, job % blocks);
            let rows = share(n * geom.rows, parts, part);
            sums.fill(Block::ZERO);
            self.isa().run(Piece { geom, group, x, dy, k, rows, sums });
        });
        let copies = &*copies;
        threads.chunks(dw, geom.weight_stride(), |k, dw| self.gather(k, copies, dw));
    }
}

/// Some rows of all images, counted through them, for an output block.
struct Piece<'a> {
    /// For whose operands all that follows has been checked.
    geom: &'a ConvGeom,
    group: Group,
    x: &'a [f32],
    dy: &'a [Block],
    k: usize,
    rows: Range<usize>,
    /// Of every tap and input of a group.
    sums: &'a mut [Block],
}

impl Kernel for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if self.geom.in_threes() { self.images::<S, 3>(s) } else { self.images::<S, 1>(s) }
    }
}

impl Piece<'_> {
    /// All rows, with taps in runs of T.
    #[inline(always)]
    fn images<S: Simd, const T: usize>(mut self, s: S) {
        let (geom, inputs) = (self.geom, self.group.inputs);
        let picks = &Picks::new(geom, self.group, self.k);
        let mut lines = Lines::new::<T>(geom, 1, inputs);
        let most = INPUTS.min(S::GRADIENT_TILE / T).max(1);
        let wide = inputs.div_ceil(inputs.div_ceil(most));
        let tiles = geom.cols.div_ceil(lines.widest());
        let all = self.rows.clone();
        while self.rows.start < all.end {
            let image = self.rows.start / geom.rows;
            self.rows.end = all.end.min((image + 1) * geom.rows);
            let mut col = 0;
            for tile in 0..tiles {
                let width = (geom.cols - col).div_ceil(tiles - tile);
                lines.begin(width);
                let (lines, piece, cols) = (&mut lines, &mut self, col..col + width);
                macro_rules! by_inputs {
                    ($($i:literal)*) => {
                        match wide {
                            $($i if const { $i == 1 || $i * T <= S::GRADIENT_TILE } => {
                                s.run(Rows::<T, $i> { piece, lines, picks, image, cols });
                            },)*
                            _ => unreachable!("no more inputs than there are accumulators for"),
                        }
                    };
                }
                by_inputs!(1 2 3 4);
                col += width;
            }
            self.rows.start = self.rows.end;
        }
    }
}

/// Some columns of a piece's rows of an image: I inputs of T taps at once, in a function of its own.
struct Rows<'a, 'p, const T: usize, const I: usize> {
    piece: &'a mut Piece<'p>,
    lines: &'a mut Lines<LINE>,
    picks: &'a Picks<f32>,
    image: usize,
    cols: Range<usize>,
}

impl<const T: usize, const I: usize> Kernel for Rows<'_, '_, T, I> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { piece, lines, picks, image, cols } = self;
        let geom = piece.geom;
        let at = geom.x.offset + image * geom.x.image + geom.first[piece.k] * geom.x.block;
        let at = at + cols.start * geom.x.pixel;
        let from = geom.y.offset + image * geom.y.image + piece.k * geom.y.block;
        let from = from + cols.start * geom.y.pixel;
        let first = piece.rows.start % geom.rows;
        let end = first + piece.rows.len();
        // Of each run of taps the next row of outputs. Rows of inputs come in their order, each once.
        let mut next = [first; MOST_GROUPED];
        let place = |run: &Run<T>, row: usize| at + row * geom.x.row + run.offset;
        loop {
            let left = geom.tap_runs::<T>().zip(&next).filter(|&(_, &row)| row < end);
            let Some(start) = left.map(|(run, &row)| place(&run, row)).min() else { return };
            // SAFETY: `geom.check` asserted that the input has all lanes of the blocks of a group, of which there are sixteen
            // (`geom.grouped`), for every pixel and tap. The first and the last pixel of the line are such, the others lie
            // between.
            unsafe { lines.pick(s, picks, (piece.x.as_ptr(), geom.x.block), [0, start]) };
            for (run, row) in geom.tap_runs::<T>().zip(&mut next) {
                if *row < end && place(&run, *row) == start {
                    let dy = &piece.dy[from + *row * geom.y.row..];
                    let line = Row { lines, dy, pixel: geom.y.pixel, pixels: cols.len() };
                    line.add_all::<S, T, I>(s, piece.group.inputs, run.taps, piece.sums);
                    *row += 1;
                }
            }
        }
    }
}

/// A line, and the gradient of the outputs of a row.
struct Row<'a> {
    lines: &'a Lines<LINE>,
    dy: &'a [Block],
    /// Blocks of dy from a pixel to the next.
    pixel: usize,
    pixels: usize,
}

impl Row<'_> {
    /// Adds all products for these taps.
    #[inline(always)]
    fn add_all<S: Simd, const T: usize, const I: usize>(
        &self,
        s: S,
        inputs: usize,
        taps: [usize; T],
        sums: &mut [Block],
    ) {
        let mut i = 0;
        while i < inputs {
            let places = taps.map(|tap| tap * inputs + i);
            if i + I <= inputs {
                self.add::<S, T, I>(s, i, places, sums);
                i += I;
            } else {
                self.add::<S, T, 1>(s, i, places, sums);
                i += 1;
            }
        }
    }

    /// Adds the products for I inputs from `i` on to the sums from these places on.
    #[inline(always)]
    fn add<S: Simd, const T: usize, const I: usize>(
        &self,
        s: S,
        i: usize,
        places: [usize; T],
        sums: &mut [Block],
    ) {
        let &Self { lines, dy, pixel, pixels } = self;
        let (width, apart) = (lines.width(), lines.apart());
        let x = &lines.line(0)[i * width..][..I * width];
        assert!((pixels - 1) * apart + T <= width && (pixels - 1) * pixel < dy.len());
        let mut acc = [[s.zero(); T]; I];
        for i in 0..I {
            for t in 0..T {
                acc[i][t] = s.load(&sums[places[t] + i]);
            }
        }
        for p in 0..pixels {
            // SAFETY: the last pixel is within both (asserted above), and x has I lines of this width.
            unsafe {
                let dy = s.load(dy.get_unchecked(p * pixel));
                for i in 0..I {
                    for t in 0..T {
                        let x = s.load(x.get_unchecked(i * width + p * apart + t));
                        acc[i][t] = s.mul_add(x, dy, acc[i][t]);
                    }
                }
            }
        }
        for i in 0..I {
            for t in 0..T {
                s.store(&mut sums[places[t] + i], acc[i][t]);
            }
        }
    }
}
