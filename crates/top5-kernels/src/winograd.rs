//! Winograd's minimal filtering F(4×4, 3×3) and F(2×2, 3×3) for convolutions with a 3×3 kernel and stride 1.
//!
//! An output tile of m×m pixels is `Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A` of the kernel g and the input tile d of T×T pixels,
//! T = m + 2 (Winograd 1980; Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016; the matrices are
//! in filter.rs): with m = 4, 36 multiplications per channel instead of 144. Summed over channels, the products at each
//! of the T² positions are a matrix product:
//!
//! ```text
//! U[T²] = G g Gᵀ           once per weights            [position][input channel][16 outputs]
//! V[T²] = Bᵀ d B           for a chunk of tiles        [position][input block][tile][16]
//! M[T²] = Σ_channels U·V   for a group of outputs      [position][output block][tile][16]
//! Y     = Aᵀ M A           and the epilogue
//! ```
//!
//! Of several groups, outputs of whole blocks are multiplied with the input blocks of their groups alone; blocks that groups share
//! have zeros among their weights.
//!
//! With C input channels, an output differs from the exact one by at most
//! `(C + R)·2⁻²⁴·|Aᵀ|[Σ_channels (|G||g||G|ᵀ) ⊙ (|B|ᵀ|d||B|)]|A|`, where `|·|` is the size of every entry: R roundings in the
//! transforms and C in the sum ([`Bound::Transforms`]).
//!
//! F(2×2, 3×3) multiplies 4 times per output and channel pair where F(4×4, 3×3) multiplies 2.25 times. It pays where the
//! larger tile does not fit the map, as in maps of 2×2 pixels, and where there are so few tiles that most of the time goes
//! into reading U, which has 16 positions instead of 36.

mod cost;
mod filter;
mod gradient;
mod inputs;
mod outputs;
mod places;
mod products;
mod weights;

pub(crate) use gradient::{WEIGHT_GRADIENT_2, WEIGHT_GRADIENT_4};

use crate::block::{Block, LANES};
use crate::conv::{
    Algorithm, Bound, ConvGeom, Convolution, Epilogue, Forward, Group, Identity, Input,
    InputGradient, Output, Problem, Transposed,
};
use crate::isa::Isa;
use crate::pixel::Pixel;
use crate::precision::Precision;
use crate::threads::{SharedMut, Threads};
use filter::Tile;
use inputs::Inputs;
use outputs::Outputs;
use places::{apart, taps};
use products::Products;
use std::ops::Range;
use std::sync::Arc;
use weights::Source;

const FORWARD: Algorithm<dyn Forward> = Algorithm {
    name: "winograd_2x3",
    precision: Precision::F32,
    serves: "3×3 of stride 1",
    memory: "tiles in transit, transformed weights (×16/9)",
    bound: Tile::Two.bound(),
    make: |isa, problem| Some(Arc::new(Winograd::new(isa, problem, Tile::Two)?)),
};

const INPUT_GRADIENT: Algorithm<dyn InputGradient> = Algorithm {
    name: FORWARD.name,
    precision: FORWARD.precision,
    serves: FORWARD.serves,
    memory: FORWARD.memory,
    bound: FORWARD.bound,
    make: |isa, problem| Some(Arc::new(Winograd::new(isa, problem, Tile::Two)?)),
};

/// F(2×2, 3×3).
pub(crate) const FORWARD_2: Algorithm<dyn Forward> = FORWARD;

/// F(4×4, 3×3).
pub(crate) const FORWARD_4: Algorithm<dyn Forward> = Algorithm {
    name: "winograd_4x3",
    memory: "tiles in transit, transformed weights (×4)",
    bound: Tile::Four.bound(),
    make: |isa, problem| Some(Arc::new(Winograd::new(isa, problem, Tile::Four)?)),
    ..FORWARD
};

/// F(2×2, 3×3).
pub(crate) const INPUT_GRADIENT_2: Algorithm<dyn InputGradient> = INPUT_GRADIENT;

/// F(4×4, 3×3).
pub(crate) const INPUT_GRADIENT_4: Algorithm<dyn InputGradient> = Algorithm {
    name: FORWARD_4.name,
    memory: FORWARD_4.memory,
    bound: FORWARD_4.bound,
    make: |isa, problem| Some(Arc::new(Winograd::new(isa, problem, Tile::Four)?)),
    ..INPUT_GRADIENT
};

/// Blocks of V that a job may fill, so that M and U stay in a second-level cache beside it.
const V_BLOCKS: usize = 1 << 13;
/// Most tiles of a chunk of one job, and of a chunk that all jobs share.
const CHUNK: [usize; 2] = [28, 64];
/// Tiles that threads share.
const SHARED: usize = 128;
/// Groups of outputs from which on threads share tiles.
const GROUPS: usize = 4;
/// Tiles from which on a chunk is worth reading U.
const LEAST: usize = 8;

/// The kernel for one geometry and largest batch.
#[derive(Debug)]
struct Winograd {
    identity: Identity,
    tile: Tile,
    /// For each kernel element, in row-major order, its tap.
    taps: [usize; 9],
    /// Tiles per image: rows, columns.
    tiles: [usize; 2],
    /// Output blocks of a group.
    group: usize,
    /// Tiles of a chunk.
    chunk: usize,
    /// Most chunks.
    chunks: usize,
    /// The transform of all chunks is shared, the groups are the jobs. Otherwise the chunks are.
    split: bool,
}

impl Winograd {
    /// The kernel for a 3×3 convolution of stride 1 over channel blocks; `None` for others.
    fn new(isa: Isa, problem: &Problem, tile: Tile) -> Option<Self> {
        let (geom, images) = (problem.geom(), problem.images());
        let taps = taps(geom)?;
        // Output blocks that read the same inputs.
        let pairs = geom.first.chunks(2).all(|firsts| firsts[0] == firsts[firsts.len() - 1]);
        // Scarce registers hold six pixels of one block or three of two, which read twice the weights: transformed, these are many.
        let sizes = isa.tiles();
        let group = if sizes.dense[1] > 0 && !sizes.scarce && pairs { 2 } else { 1 };
        let tiles = [geom.rows, geom.cols].map(|size| size.div_ceil(tile.side()));
        let total = (tiles[0] * tiles[1] * images).max(1);
        let most = (V_BLOCKS / (tile.positions() * geom.blocks)).clamp(8, CHUNK[0]);
        // Few tiles: the threads share them, so that each reads a part of U only, and once. With few outputs, that would leave
        // threads without work, or fetching from another core more than they compute.
        let split = total <= SHARED && geom.out_blocks().div_ceil(group) >= GROUPS;
        let chunk = if split {
            total.div_ceil(total.div_ceil(CHUNK[1]))
        } else {
            total.div_ceil((total.div_ceil(most)).next_multiple_of(4)).max(LEAST.min(total))
        };
        let chunks = total.div_ceil(chunk);
        let identity = Identity {
            name: format!("f32_conv_winograd_{}x3_{isa}", tile.side()),
            method: tile.method(),
            isa,
            precision: Precision::F32,
            problem: problem.clone(),
        };
        Some(Self { identity, tile, taps, tiles, group, chunk, chunks, split })
    }

    fn geom(&self) -> &ConvGeom {
        self.problem().geom()
    }

    /// Blocks of the transformed weights.
    fn transformed_len(&self) -> usize {
        let last = self.group_range(self.groups() - 1).len();
        (self.groups() - 1) * self.group_len()
            + self.tile.positions() * apart(self.geom().blocks * LANES * last)
    }

    /// Blocks of V for one chunk.
    fn v_len(&self) -> usize {
        self.tile.positions() * self.v_step()
    }

    fn v_step(&self) -> usize {
        apart(self.v_blocks() * self.chunk)
    }

    /// Input blocks of V: all that the groups share, or those that one group reads.
    fn v_blocks(&self) -> usize {
        if self.split { self.geom().in_blocks() } else { self.geom().blocks }
    }

    /// The first input block that group `g` reads.
    fn first(&self, g: usize) -> usize {
        self.geom().first[g * self.group]
    }

    /// Blocks of M for one chunk and group.
    fn m_len(&self) -> usize {
        self.tile.positions() * apart(self.group * self.chunk)
    }

    /// Blocks of scratch memory for this many threads, with transformed weights.
    fn transformed_workspace(&self, threads: usize) -> usize {
        if self.split {
            self.split_workspace(threads, 1, 0)
        } else {
            threads.saturating_mul(self.v_len() + self.m_len())
        }
    }

    /// Output blocks of group `g`.
    fn group_range(&self, g: usize) -> Range<usize> {
        g * self.group..((g + 1) * self.group).min(self.geom().out_blocks())
    }

    fn groups(&self) -> usize {
        self.geom().out_blocks().div_ceil(self.group)
    }

    /// Computes `n` images: `x` with the transformed weights `u` to `y`.
    fn run_transformed<X: Pixel, Y: Pixel>(
        &self,
        threads: &Threads,
        n: usize,
        x: &[X],
        u: &[Block],
        epilogue: &Epilogue<'_, Y>,
        work: &mut [Block],
        y: &mut [Y],
    ) {
        assert_eq!(u.len(), self.transformed_len(), "the weights are packed for another geometry");
        let len = self.group_len();
        let group = |g: usize| &u[g * len..][..len.min(u.len() - g * len)];
        self.check(n, x.len(), epilogue, y.len());
        if self.split {
            let shape = [self.geom().blocks, 1, 0];
            return self.run_split(threads, n, x, epilogue, shape, work, y, |g, _, _, each| {
                each(group(g));
            });
        }
        let out = SharedMut(y.as_mut_ptr());
        let total = n * self.tiles[0] * self.tiles[1];
        let range = |c: usize| c * self.chunk..((c + 1) * self.chunk).min(total);
        let chunks = total.div_ceil(self.chunk);
        threads.run_with_scratch(chunks, work, self.v_len() + self.m_len(), |c, scratch| {
            let (v, m) = scratch.split_at_mut(self.v_len());
            for g in 0..self.groups() {
                self.inputs_of_group(x, range(c), g, v);
                let (v, u, bs, tiles) = (&*v, group(g), 0..self.geom().blocks, range(c));
                self.isa().run(Products { kernel: self, v, u, bs, m, tiles: tiles.len(), g });
                self.isa().run(Outputs { kernel: self, m, tiles, g, epilogue, y: out });
            }
        });
    }

    /// What makes V of input block `b` of a chunk, block `to` of V.
    fn inputs<'a, X: Pixel>(
        &'a self,
        x: &'a [X],
        tiles: Range<usize>,
        [b, to]: [usize; 2],
        v: SharedMut,
    ) -> Inputs<'a, X> {
        let (geom, tile, first, at) = (self.geom(), self.tile, tiles.start, 0..tiles.len());
        let (tiles, len, blocks) = (self.tiles, self.chunk, self.v_blocks());
        Inputs { geom, tile, tiles, x, first, at, len, b, to, blocks, v }
    }

    /// Makes V of the input blocks that group `g` reads, where the group before does not.
    fn inputs_of_group<X: Pixel>(&self, x: &[X], tiles: Range<usize>, g: usize, v: &mut [Block]) {
        if g > 0 && self.first(g) == self.first(g - 1) {
            return;
        }
        for b in 0..self.geom().blocks {
            let v = SharedMut(v.as_mut_ptr());
            self.isa().run(self.inputs(x, tiles.clone(), [self.first(g) + b, b], v));
        }
    }

    /// Asserts that a run reads and writes nothing but `x` and `y` pixels, and the epilogue's operands.
    fn check<Y>(&self, n: usize, x: usize, epilogue: &Epilogue<'_, Y>, y: usize) {
        self.geom().check(n, x.saturating_mul(LANES), y);
        epilogue.check(self.geom(), n);
    }

    /// A run whose threads share V, `piece` input blocks and `wide` groups at a time. `weights` gives the part of U that
    /// belongs to a group and some input blocks to what it is given, with `own` blocks of scratch memory of its own.
    /// `work` has [`Winograd::split_workspace`] blocks.
    fn run_split<X: Pixel, Y: Pixel>(
        &self,
        threads: &Threads,
        n: usize,
        x: &[X],
        epilogue: &Epilogue<'_, Y>,
        [piece, wide, own]: [usize; 3],
        work: &mut [Block],
        y: &mut [Y],
        weights: impl Fn(usize, Range<usize>, &mut [Block], &mut dyn FnMut(&[Block])) + Sync,
    ) {
        let blocks = self.geom().blocks;
        let total = n * self.tiles[0] * self.tiles[1];
        let chunks = total.div_ceil(self.chunk);
        let range = |c: usize| c * self.chunk..((c + 1) * self.chunk).min(total);
        let (v, scratch) = work.split_at_mut(chunks * self.v_len());
        let shared = SharedMut(v.as_mut_ptr());
        // Jobs: input blocks of a chunk. V is written in pieces that interleave, one per position.
        let all = self.geom().in_blocks();
        threads.run(chunks * all, |job| {
            let (c, b) = (job / all, job % all);
            let v = SharedMut(shared.pointer().wrapping_add(c * self.v_len()));
            self.isa().run(self.inputs(x, range(c), [b, b], v));
        });
        let (v, out) = (&*v, SharedMut(y.as_mut_ptr()));
        let of_group = chunks * self.m_len();
        let len = wide * of_group + own;
        threads.run_with_scratch(self.groups().div_ceil(wide), scratch, len, |job, scratch| {
            let (m, own) = scratch.split_at_mut(wide * of_group);
            let groups = job * wide..((job + 1) * wide).min(self.groups());
            for start in (0..blocks).step_by(piece) {
                let bs = start..(start + piece).min(blocks);
                for (g, m) in groups.clone().zip(m.chunks_exact_mut(of_group)) {
                    weights(g, bs.clone(), own, &mut |u| {
                        let vs = v.chunks_exact(self.v_len());
                        for (c, (v, m)) in vs.zip(m.chunks_exact_mut(self.m_len())).enumerate() {
                            let (kernel, bs, tiles, y) = (self, bs.clone(), range(c), out);
                            let complete = bs.end == blocks;
                            self.isa().run(Products { kernel, v, u, bs, m, tiles: tiles.len(), g });
                            if complete {
                                self.isa().run(Outputs { kernel, m, tiles, g, epilogue, y });
                            }
                        }
                    });
                }
            }
        });
    }

    /// Blocks of scratch memory of [`Winograd::run_split`], where `wide` groups and `own` blocks belong to a job.
    fn split_workspace(&self, threads: usize, wide: usize, own: usize) -> usize {
        let of_thread = wide * self.chunks * self.m_len() + own;
        threads.saturating_mul(of_thread).saturating_add(self.chunks * self.v_len())
    }

    /// Blocks of U of a whole group.
    fn group_len(&self) -> usize {
        self.tile.positions() * apart(self.geom().blocks * LANES * self.group)
    }
}

impl Convolution for Winograd {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The algorithm multiplies the zeros between groups.
    fn cost(&self) -> f64 {
        let zeros = |group: Group| (self.geom().blocks * LANES) as f64 / group.inputs as f64;
        cost::cost(self.problem(), self.tile) * self.geom().grouped().map_or(1.0, zeros)
    }

    fn bound(&self) -> Bound {
        self.tile.bound()
    }

    fn workspace(&self, threads: usize) -> usize {
        if self.problem().training() {
            self.direct_workspace(threads)
        } else {
            self.transformed_workspace(threads)
        }
    }
}

impl Forward for Winograd {
    /// While training, activations are in f32.
    fn reads(&self, input: Precision) -> bool {
        input == Precision::F32 || !self.problem().training()
    }

    fn writes(&self, output: Precision) -> bool {
        Forward::reads(self, output)
    }

    fn packs(&self) -> bool {
        !self.problem().training()
    }

    fn packed_len(&self) -> usize {
        if self.packs() { self.transformed_len() } else { self.geom().packed_len() }
    }

    fn pack(&self, threads: &Threads, weights: &[Block], own: &mut [Block]) {
        self.transform(threads, Source::Packed(weights), own);
    }

    fn run(
        &self,
        threads: &Threads,
        n: usize,
        x: Input<'_>,
        w: &[Block],
        work: &mut [Block],
        y: Output<'_>,
    ) {
        match (x, y) {
            (Input::F32(x), Output::F32(y, epilogue)) if self.problem().training() => {
                self.run_direct(threads, n, x, Source::Packed(w), &epilogue, work, y);
            }
            _ if self.problem().training() => panic!("{} trains in f32", self.name()),
            (Input::F32(x), Output::F32(y, epilogue)) => {
                self.run_transformed(threads, n, x, w, &epilogue, work, y);
            }
            (Input::F32(x), Output::Bf16(y, epilogue)) => {
                self.run_transformed(threads, n, x, w, &epilogue, work, y);
            }
            (Input::Bf16(x), Output::F32(y, epilogue)) => {
                self.run_transformed(threads, n, x, w, &epilogue, work, y);
            }
            (Input::Bf16(x), Output::Bf16(y, epilogue)) => {
                self.run_transformed(threads, n, x, w, &epilogue, work, y);
            }
        }
    }
}

impl InputGradient for Winograd {
    fn reads(&self) -> Precision {
        Precision::F32
    }

    fn transposed_len(&self, _: usize) -> usize {
        0
    }

    fn run(
        &self,
        threads: &Threads,
        n: usize,
        dy: Input<'_>,
        weights: &Transposed<'_>,
        accumulate: bool,
        work: &mut [Block],
        _: &mut [Block],
        dx: &mut [Block],
    ) {
        let Input::F32(dy) = dy else { panic!("{} reads f32", self.name()) };
        let epilogue = Epilogue { accumulate, ..Epilogue::default() };
        self.run_direct(threads, n, dy, Source::Transposed(*weights), &epilogue, work, dx);
    }
}
