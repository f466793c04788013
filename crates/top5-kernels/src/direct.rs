//! Direct convolution, for any kernel, stride, dilation and grouping, in one loop nest, in f32 and in bf16.
//!
//! ```text
//! x: input, y: output (blocks of 16 channels), w: packed weights [out block][in block][tap][lane][16]
//! for every image, output block k, output row, tile of P pixels:
//!     acc[P] = bias[k]
//!     for input block b, tap t, lane l:            one channel of one kernel element
//!         acc[p] += x[image, b, row, pixel p + t, l] · w[k][b][t][l]        for p in 0..P
//!     y[image, k, row, tile] = epilogue(acc)
//! ```
//!
//! The tile is kept in registers: for OB output blocks it holds OB·P accumulators, OB weights and one broadcast input
//! (Georganas et al., "Anatomy of High-Performance Deep Learning Convolutions on SIMD Architectures", SC 2018).
//!
//! With sixteen registers of eight floats (AVX2) that is 2·3 or 1·6. Weights of many input channels do not stay in the first-level
//! cache from tile to tile there, so all pixels of a piece meet those of some input blocks, then those of the next ones: in
//! passes, between which the sums wait in y. They are the same to the bit as those of one pass.
//!
//! In bf16 a lane is a pair of channels: weights are packed as `[out block][in block][tap][pair of lanes][16][2]`, so that one
//! broadcast pair meets one block of weights. Of several groups the first pairs of all are one block, and so on. Sums and the
//! epilogue are in f32, the output either. With AMX, sixteen pixels of such pairs meet sixteen channels at once (`amx.rs`).
//!
//! With n products per output, the result differs from the exact one (of the same operands, rounded or not) by at most
//! `(n + 2)·2⁻²⁴·Σ|x·w|`: the bound for sums in any order.

mod amx;
mod dots;
mod grouped;
mod pieces;
mod spread;
mod tiles;

pub(crate) use amx::divided;
pub(crate) use tiles::AHEAD;

use crate::bf16::Bf16;
use crate::block::{Block, BlockBf16, LANES};
use crate::conv::{
    Algorithm, Bound, ConvGeom, ConvNest, Convolution, Epilogue, Forward, Group, Identity, Input,
    InputGradient, MOST_GROUPED, Output, Problem, Transposed,
};
use crate::element::Element;
use crate::isa::{Isa, TileSizes};
use crate::pixel::Pixel;
use crate::precision::Precision;
use crate::simd::{Kernel, Simd, is_f32};
use crate::threads::{SharedMut, Threads};
use crate::transpose::{transpose, transpose_block};
use amx::{Grid, GridTiles};
use pieces::Pieces;
use std::marker::PhantomData;
use std::sync::Arc;
use tiles::Tiles;

/// In f32.
pub(crate) const FORWARD: Algorithm<dyn Forward> = Algorithm {
    name: "direct",
    precision: Precision::F32,
    serves: "any convolution, fully connected layers",
    memory: "none",
    bound: Bound::Sum,
    make: |isa, problem| Some(Arc::new(Direct::<f32>::new(isa, problem))),
};

/// In bf16.
pub(crate) const FORWARD_BF16: Algorithm<dyn Forward> = Algorithm {
    precision: Precision::Bf16,
    memory: "none; while training the weights in pairs",
    bound: Bound::RoundedSum,
    serves: "any convolution that reads nothing beyond an image, fully connected layers",
    make: |isa, problem| Some(Arc::new(Direct::<Bf16>::within_image(isa, problem)?)),
    ..FORWARD
};

/// In bf16, by the tiles of AMX.
pub(crate) const FORWARD_AMX: Algorithm<dyn Forward> = Algorithm {
    name: "amx",
    serves: "the same, of at most 32 lanes",
    make: |isa, problem| Some(Arc::new(Direct::<Bf16>::in_grid(isa, problem)?)),
    ..FORWARD_BF16
};

/// In f32.
pub(crate) const INPUT_GRADIENT: Algorithm<dyn InputGradient> = Algorithm {
    name: "direct",
    precision: Precision::F32,
    serves: "any convolution",
    memory: "transposed weights; of a fully connected layer some for each thread",
    bound: Bound::Sum,
    make: |isa, problem| Some(Arc::new(Direct::<f32>::new(isa, problem))),
};

/// In bf16.
pub(crate) const INPUT_GRADIENT_BF16: Algorithm<dyn InputGradient> = Algorithm {
    precision: Precision::Bf16,
    memory: "transposed weights, and in pairs",
    bound: Bound::RoundedSum,
    serves: FORWARD_BF16.serves,
    make: |isa, problem| Some(Arc::new(Direct::<Bf16>::within_image(isa, problem)?)),
    ..INPUT_GRADIENT
};

/// In bf16, by the tiles of AMX.
pub(crate) const INPUT_GRADIENT_AMX: Algorithm<dyn InputGradient> = Algorithm {
    name: FORWARD_AMX.name,
    serves: FORWARD_AMX.serves,
    make: |isa, problem| Some(Arc::new(Direct::<Bf16>::in_grid(isa, problem)?)),
    ..INPUT_GRADIENT_BF16
};

/// Direct convolution on one instruction set, with its work split into jobs.
#[derive(Debug)]
struct Direct<E> {
    identity: Identity,
    pieces: Pieces,
    /// Where tiles are multiplied by AMX.
    grid: Option<Grid>,
    element: PhantomData<E>,
}

/// Multiply-accumulates of f32 that make a job worth starting.
const JOB: u64 = 1 << 19;

/// Most pixels of a tile of AMX for one and two blocks of output channels: two registers of sixteen.
const AMX_TILE: [usize; 2] = [32, 32];

/// As [`JOB`], by AMX.
const AMX_JOB: u64 = 1 << 23;

/// The time of a product by AMX as a share of that of one in f32.
pub(crate) const AMX: f64 = 0.12;

/// Multiply-accumulates in the time that a number takes to be rounded to bf16 and read again.
const ROUNDING: f64 = 6.0;

impl<E: Element> Direct<E> {
    fn new(isa: Isa, problem: &Problem) -> Self {
        let geom = problem.geom();
        let job = match E::PRECISION {
            // The weights are transposed once for each job.
            Precision::F32 if geom.suits_dots() => 4 * JOB,
            Precision::F32 => JOB,
            Precision::Bf16 => 2 * JOB,
        };
        let pieces = Pieces::new(geom, isa.tiles(), job);
        let identity = Identity {
            // With the largest tile, output blocks × pixels (`f32_conv_direct_2x14_avx512`); for groups that are no whole blocks,
            // with their inputs instead of the output blocks (`f32_conv_grouped_4x14_avx512`).
            name: format!("{}_conv_{}_{isa}", E::PRECISION, pieces.method("direct")),
            method: E::METHOD,
            isa,
            precision: E::PRECISION,
            problem: problem.clone(),
        };
        Self { identity, pieces, grid: None, element: PhantomData }
    }

    /// If all that an image's last pixel reads is within the image: an odd last lane is read with a neighbour.
    fn within_image(isa: Isa, problem: &Problem) -> Option<Self> {
        let geom = problem.geom();
        let ConvNest { rows, cols, blocks, lanes, x, .. } = &**geom;
        let last = geom.first.iter().max().map_or(0, |&f| f) + blocks;
        let tap = geom.taps.iter().max().map_or(0, |&tap| tap);
        let pixel = if geom.batch_is_row { 0 } else { cols.saturating_sub(1) * x.pixel };
        let start = x.offset + (last - 1) * x.block + rows.saturating_sub(1) * x.row + pixel;
        let within = start + tap + lanes.next_multiple_of(2) <= x.image;
        within.then(|| Self::new(isa, problem))
    }

    /// Groups whose zeros are skipped.
    fn grouped(&self) -> Option<Group> {
        self.problem().geom().grouped().filter(|_| self.grid.is_none())
    }

    /// Blocks of weights of one output block in the form that the loop nest reads.
    fn own_stride(&self) -> usize {
        let geom = self.problem().geom();
        match E::PRECISION {
            Precision::F32 => geom.weight_stride(),
            Precision::Bf16 => match self.grouped() {
                Some(group) => geom.taps.len() * group.inputs.div_ceil(2),
                None => geom.blocks * geom.taps.len() * geom.lanes.div_ceil(2),
            },
        }
    }

    /// Blocks of weights in that form.
    fn own_len(&self) -> usize {
        self.problem().geom().out_blocks() * self.own_stride()
    }

    /// Rounds packed weights into pairs.
    fn pair_up(&self, threads: &Threads, weights: &[Block], own: &mut [Block]) {
        let geom = self.problem().geom();
        assert_eq!(weights.len(), geom.packed_len(), "packed for another geometry");
        assert_eq!(own.len(), self.own_len(), "memory for another geometry");
        let (lanes, taps) = (geom.lanes, geom.blocks * geom.taps.len());
        threads.chunks(own, self.own_stride(), |k, own| {
            if let Some(group) = self.grouped() {
                return self.isa().run(GroupedRows { geom, group, weights, k, own });
            }
            let weights = weights[k * taps * lanes..].chunks_exact(lanes);
            for (own, weights) in own.chunks_exact_mut(lanes.div_ceil(2)).zip(weights) {
                self.isa().run(Rows { weights, own });
            }
        });
    }

    /// Packed weights in the form that the loop nest reads: as they are, or rounded to `work`.
    fn own<'w>(
        &self,
        threads: &Threads,
        weights: &'w [Block],
        work: &'w mut [Block],
    ) -> &'w [Block] {
        match E::PRECISION {
            Precision::F32 => weights,
            Precision::Bf16 => {
                let own = &mut work[..self.own_len()];
                self.pair_up(threads, weights, own);
                own
            }
        }
    }

    /// Computes `n` images from weights in the form that the loop nest reads. Where lanes are odd in number, one element
    /// more is read than they are.
    fn compute<P: Pixel>(
        &self,
        threads: &Threads,
        n: usize,
        x: &[E],
        w: &[Block],
        epilogue: &Epilogue<'_, P>,
        y: &mut [P],
    ) {
        let geom = self.problem().geom();
        let odd = geom.lanes.min(geom.depth) % E::DEPTH;
        geom.check(n, x.len().saturating_sub(odd), y.len());
        if self.grid.is_some() {
            geom.check_whole_input(n, x.len());
        }
        assert_eq!(w.len(), self.own_len(), "the weights are packed for another geometry");
        epilogue.check(geom, n);
        let y = SharedMut(y.as_mut_ptr());
        self.pieces.run(threads, n, geom, epilogue, (&mut [], 0), |piece, _| {
            let tiles = Tiles { geom, x, w, first: 0, epilogue, y, piece };
            match &self.grid {
                Some(grid) => self.isa().run(GridTiles { grid, tiles }),
                None => self.isa().run(tiles),
            }
        });
    }

    /// Blocks of weights that a job of [`Direct::compute_transposed`] transposes at once, if that serves the gradient.
    fn transposed_by_job(&self) -> Option<usize> {
        let geom = self.problem().geom();
        let float = matches!(E::PRECISION, Precision::F32);
        (float && geom.batch_is_row).then(|| 2 * geom.weight_stride())
    }

    /// As [`Direct::compute`], where each output block is one piece: its weights, `len` blocks of `work`, are transposed for it
    /// and read from a cache.
    fn compute_transposed(
        &self,
        threads: &Threads,
        n: usize,
        x: &[E],
        weights: &Transposed<'_>,
        epilogue: &Epilogue<'_>,
        (work, len): (&mut [Block], usize),
        y: &mut [Block],
    ) {
        let geom = self.problem().geom();
        geom.check(n, x.len(), y.len());
        epilogue.check(geom, n);
        let y = SharedMut(y.as_mut_ptr());
        let stride = geom.weight_stride();
        self.pieces.run(threads, n, geom, epilogue, (work, len), |piece, own| {
            for (i, own) in own[..piece.ob * stride].chunks_exact_mut(stride).enumerate() {
                transpose_block(self.isa(), weights, geom, piece.k + i, own);
            }
            self.isa().run(Tiles { geom, x, w: own, first: piece.k, epilogue, y, piece });
        });
    }
}

impl Direct<Bf16> {
    /// By the tiles of AMX, which read all lanes of all blocks.
    fn in_grid(isa: Isa, problem: &Problem) -> Option<Self> {
        let geom = problem.geom();
        let grid = (isa == Isa::Amx).then(|| Grid::new(geom))??;
        let direct = Self::within_image(isa, problem)?;
        let tiles = TileSizes { dense: AMX_TILE, ..isa.tiles() };
        let pieces = Pieces::new(geom, tiles, AMX_JOB);
        let name = format!("{}_conv_{}_{isa}", Precision::Bf16, pieces.method("amx"));
        let identity = Identity { name, method: FORWARD_AMX.name, ..direct.identity };
        Some(Self { identity, pieces, grid: Some(grid), ..direct })
    }
}

impl<E: Element> Convolution for Direct<E> {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    /// In bf16 two products may cost as much as one, but while training the input is rounded first.
    fn cost(&self) -> f64 {
        if matches!(E::PRECISION, Precision::F32) {
            return 1.0;
        }
        let geom = self.problem().geom();
        let lanes = geom.grouped().map_or(geom.lanes, |group| group.inputs);
        let pairs = match &self.grid {
            Some(grid) => AMX * grid.excess(geom, self.problem().images()),
            None => self.isa().dot() * lanes.div_ceil(2) as f64 / lanes as f64,
        };
        let rounded = if self.problem().training() { geom.x.image } else { 0 };
        pairs + ROUNDING * rounded as f64 / geom.macs() as f64
    }

    fn bound(&self) -> Bound {
        E::BOUND
    }

    /// While training, weights are rounded in each run.
    fn workspace(&self, _: usize) -> usize {
        match E::PRECISION {
            Precision::Bf16 if self.problem().training() => self.own_len(),
            Precision::F32 | Precision::Bf16 => 0,
        }
    }
}

impl Forward for Direct<f32> {
    fn reads(&self, input: Precision) -> bool {
        input == Precision::F32
    }

    fn writes(&self, output: Precision) -> bool {
        output == Precision::F32
    }

    fn packs(&self) -> bool {
        false
    }

    fn packed_len(&self) -> usize {
        self.problem().geom().packed_len()
    }

    fn pack(&self, _: &Threads, weights: &[Block], own: &mut [Block]) {
        own.copy_from_slice(weights);
    }

    fn run(
        &self,
        threads: &Threads,
        n: usize,
        x: Input<'_>,
        weights: &[Block],
        _: &mut [Block],
        y: Output<'_>,
    ) {
        let (Input::F32(x), Output::F32(y, epilogue)) = (x, y) else {
            panic!("{} reads and writes f32", self.name());
        };
        self.compute(threads, n, Block::flat(x), weights, &epilogue, y);
    }
}

impl Forward for Direct<Bf16> {
    fn reads(&self, input: Precision) -> bool {
        input == Precision::Bf16
    }

    fn writes(&self, _: Precision) -> bool {
        true
    }

    fn packs(&self) -> bool {
        !self.problem().training()
    }

    fn packed_len(&self) -> usize {
        if self.packs() { self.own_len() } else { self.problem().geom().packed_len() }
    }

    fn pack(&self, threads: &Threads, weights: &[Block], own: &mut [Block]) {
        self.pair_up(threads, weights, own);
    }

    fn run(
        &self,
        threads: &Threads,
        n: usize,
        x: Input<'_>,
        weights: &[Block],
        work: &mut [Block],
        y: Output<'_>,
    ) {
        let Input::Bf16(x) = x else { panic!("{} reads bf16", self.name()) };
        let weights = if self.packs() { weights } else { self.own(threads, weights, work) };
        let x = BlockBf16::flat(x);
        match y {
            Output::F32(y, epilogue) => self.compute(threads, n, x, weights, &epilogue, y),
            Output::Bf16(y, epilogue) => self.compute(threads, n, x, weights, &epilogue, y),
        }
    }
}

impl<E: Element> InputGradient for Direct<E> {
    fn reads(&self) -> Precision {
        E::PRECISION
    }

    fn transposed_len(&self, threads: usize) -> usize {
        let whole = self.problem().geom().packed_len();
        self.transposed_by_job().map_or(whole, |len| threads.saturating_mul(len))
    }

    fn run(
        &self,
        threads: &Threads,
        n: usize,
        dy: Input<'_>,
        weights: &Transposed<'_>,
        accumulate: bool,
        work: &mut [Block],
        transposed: &mut [Block],
        dx: &mut [Block],
    ) {
        let Some(dy) = E::of(dy) else { panic!("{} reads {}", self.name(), E::PRECISION) };
        let transposed = &mut transposed[..self.transposed_len(threads.count())];
        let epilogue = Epilogue { accumulate, ..Epilogue::default() };
        if let Some(len) = self.transposed_by_job() {
            let work = (transposed, len);
            return self.compute_transposed(threads, n, dy, weights, &epilogue, work, dx);
        }
        transpose(self.isa(), threads, weights, self.problem().geom(), transposed);
        let weights = self.own(threads, transposed, work);
        self.compute(threads, n, dy, weights, &epilogue, dx);
    }
}

/// The weights of one tap, two rows to a block.
struct Rows<'a> {
    weights: &'a [Block],
    own: &'a mut [Block],
}

impl Kernel for Rows<'_> {
    type Output = ();
    const PRECISION: Precision = Precision::Bf16;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (pair, own) in self.own.iter_mut().enumerate() {
            let mut rows = [s.zero(); 2];
            for (row, weights) in rows.iter_mut().zip(&self.weights[2 * pair..]) {
                *row = s.load(weights);
            }
            s.store(own, s.pairs(rows[0], rows[1]));
        }
    }
}

/// The weights of an output block of groups without zeros, two channels of a group to a block.
struct GroupedRows<'a> {
    geom: &'a ConvGeom,
    group: Group,
    weights: &'a [Block],
    k: usize,
    own: &'a mut [Block],
}

impl Kernel for GroupedRows<'_> {
    type Output = ();
    const PRECISION: Precision = Precision::Bf16;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { geom, group, weights, k, own } = self;
        let pairs = group.inputs.div_ceil(2);
        for (at, own) in own.iter_mut().enumerate() {
            let (t, i) = (at / pairs, at % pairs * 2);
            let first = geom.without_zeros(s, group, weights, [k, t, i]);
            let second = geom.without_zeros(s, group, weights, [k, t, i + 1]);
            s.store(own, s.pairs(first, second));
        }
    }
}

impl<E: Element, Y: Pixel> Kernel for Tiles<'_, E, Y> {
    type Output = ();
    const PRECISION: Precision = E::PRECISION;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if let Some(group) = self.geom.grouped() {
            let (k, taps) = (self.piece.k, self.geom.taps.len());
            if const { !is_f32::<Self>() } {
                let len = taps * group.inputs.div_ceil(2);
                return self.run_grouped(s, group, &self.w[k * len..][..len]);
            }
            let mut weights = [Block::ZERO; MOST_GROUPED];
            for (at, vector) in weights[..taps * group.inputs].iter_mut().enumerate() {
                let place = [k, at / group.inputs, at % group.inputs];
                s.store(vector, self.geom.without_zeros(s, group, self.w, place));
            }
            return self.run_grouped(s, group, &weights);
        }
        let blocks = self.x.as_ptr().cast::<Block>().is_aligned();
        if const { is_f32::<Self>() && S::GRADIENT_TILE >= LANES }
            && blocks
            && self.geom.suits_dots()
        {
            // SAFETY: `Direct::compute` has checked that all elements are there, which are floats; see `Tiles::tile`.
            return unsafe { self.dots(s) };
        }
        self.run_dense(s);
    }
}
