//! U, the transform of the weights.
//!
//! Training computes it anew in each step, for the forward pass and, from transposed weights, for the backward pass.

use super::Winograd;
use super::filter::{F2, F4, Filter, Tile};
use super::outputs::Outputs;
use super::places::apart;
use super::products::Products;
use crate::block::{Block, LANES};
use crate::conv::{ConvGeom, Convolution, Epilogue, Transposed};
use crate::simd::{Kernel, Simd};
use crate::threads::{SharedMut, Threads};
use std::ops::Range;

/// Blocks of U above which it is written past the caches: half of a last-level cache.
const STREAMED: usize = 1 << 18;
/// Input blocks of a piece of U that is used at once: with M, it stays in a second-level cache.
const PIECE: usize = 4;

/// Fewest tiles of a chunk for which alone U is transformed.
const LONE: usize = 48;

/// Weights that are packed for direct convolution.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source<'a> {
    /// For the geometry at hand.
    Packed(&'a [Block]),
    /// Of the forward pass, for a loop nest of the backward pass over all its inputs.
    Transposed(Transposed<'a>),
}

impl Source<'_> {
    /// Asserts that these are weights for `geom`.
    fn check(&self, geom: &ConvGeom) {
        match *self {
            Self::Packed(direct) => {
                assert_eq!(direct.len(), geom.packed_len(), "weights for another geometry");
            }
            Self::Transposed(Transposed { forward, weights, elements }) => {
                assert_eq!(weights.len(), forward.packed_len(), "weights for another geometry");
                let sizes = [forward.out_blocks(), forward.taps.len()];
                assert_eq!(sizes, [geom.in_blocks(), 9], "another geometry");
                assert!(elements.len() == 9 && forward.lanes == LANES);
            }
        }
    }

    /// Where the 9·16 blocks of weights of output block `k` and its input block `b` are; anywhere, if there are none.
    #[inline(always)]
    fn place(&self, geom: &ConvGeom, [k, b]: [usize; 2]) -> *const Block {
        let (at, weights) = match *self {
            Self::Packed(direct) => (k * geom.blocks + b, direct),
            Self::Transposed(Transposed { forward, weights, .. }) => {
                let b = geom.first[k] + b;
                let first = forward.first.get(b).map_or(0, |&first| first);
                (b.wrapping_mul(forward.blocks).wrapping_add(k.wrapping_sub(first)), weights)
            }
        };
        weights.as_ptr().wrapping_add(at.wrapping_mul(9 * LANES))
    }

    /// The weights of output block `k` and its input block `b`, sixteen blocks for each tap: where they are, or put into
    /// `own`.
    #[inline(always)]
    fn pair<'b, S: Simd>(
        &'b self,
        s: S,
        geom: &ConvGeom,
        [k, b]: [usize; 2],
        own: &'b mut [Block; 9 * LANES],
    ) -> &'b [Block] {
        match *self {
            Self::Packed(direct) => &direct[(k * geom.blocks + b) * 9 * LANES..][..9 * LANES],
            Self::Transposed(Transposed { forward, weights, elements }) => {
                for tap in 0..9 {
                    let put = &mut own[tap * LANES..][..LANES];
                    // Outputs of one group do not read the inputs of another.
                    let Some(at) = forward.packed_index(geom.first[k] + b, k, elements[tap], 0)
                    else {
                        put.fill(Block::ZERO);
                        continue;
                    };
                    let tile = &weights[at..][..LANES];
                    let mut rows = [s.zero(); LANES];
                    for i in 0..LANES {
                        rows[i] = s.load(&tile[i]);
                    }
                    let columns = s.transpose(rows);
                    for i in 0..LANES {
                        s.store(&mut put[i], columns[i]);
                    }
                }
                own
            }
        }
    }
}

impl Winograd {
    /// Transforms weights.
    pub(super) fn transform(&self, threads: &Threads, source: Source<'_>, packed: &mut [Block]) {
        let geom = self.geom();
        source.check(geom);
        assert_eq!(packed.len(), self.transformed_len(), "the transform has another length");
        let u = SharedMut(packed.as_mut_ptr());
        let stream = packed.len() > STREAMED;
        // Jobs: an input block of a group of outputs. Each writes pieces that interleave with the others'.
        threads.run(self.groups() * geom.blocks, |job| {
            let (g, b) = (job / geom.blocks, job % geom.blocks);
            // The groups before this one are whole, so this is within `packed` (its length is asserted above).
            let u = SharedMut(u.pointer().wrapping_add(g * self.group_len()));
            let bs = 0..geom.blocks;
            self.isa().run(Weights { kernel: self, source, u, bs, g, b, stream });
        });
    }

    /// Blocks of scratch memory for [`Winograd::run_direct`].
    pub(super) fn direct_workspace(&self, threads: usize) -> usize {
        if self.split {
            let [_, wide, own] = self.direct_shape();
            self.split_workspace(threads, wide, own)
        } else {
            self.transformed_workspace(threads).saturating_add(self.transformed_len())
        }
    }

    /// Input blocks of a piece, groups of a job, and blocks of a piece of U.
    fn direct_shape(&self) -> [usize; 3] {
        let piece = PIECE.min(self.geom().blocks);
        // Where there are many groups, two of them read each piece of V.
        let wide = if self.groups() >= 16 { 2 } else { 1 };
        [piece, wide, self.tile.positions() * apart(piece * LANES * self.group)]
    }

    /// As [`Winograd::run_transformed`], with weights that are packed for direct convolution. Where there are few tiles, U is never in
    /// memory as a whole: each group transforms what it needs, some input blocks at a time.
    pub(super) fn run_direct(
        &self,
        threads: &Threads,
        n: usize,
        x: &[Block],
        source: Source<'_>,
        epilogue: &Epilogue<'_>,
        work: &mut [Block],
        y: &mut [Block],
    ) {
        if !self.split {
            let (u, work) = work.split_at_mut(self.transformed_len());
            self.transform(threads, source, u);
            return self.run_transformed(threads, n, x, u, epilogue, work, y);
        }
        source.check(self.geom());
        self.check(n, x.len(), epilogue, y.len());
        let chunks = (n * self.tiles[0] * self.tiles[1]).div_ceil(self.chunk);
        if threads.count() > 1 && chunks.is_multiple_of(threads.count()) && self.chunk >= LONE {
            return self.run_apart(threads, chunks, n, x, source, epilogue, work, y);
        }
        let shape = self.direct_shape();
        self.run_split(threads, n, x, epilogue, shape, work, y, |g, bs, u, each| {
            self.transform_piece(source, g, bs, u);
            each(u);
        });
    }

    /// U of some input blocks of a group of outputs.
    fn transform_piece(&self, source: Source<'_>, g: usize, bs: Range<usize>, u: &mut [Block]) {
        let u = SharedMut(u.as_mut_ptr());
        for b in bs.clone() {
            let bs = bs.clone();
            self.isa().run(Weights { kernel: self, source, u, bs, g, b, stream: false });
        }
    }

    /// A run with as many chunks for each thread. Each group of outputs reads V again, which other threads would have to
    /// fetch from this one; U is transformed for each chunk anew instead. A part of [`Winograd::run_direct`], with its scratch
    /// memory.
    fn run_apart(
        &self,
        threads: &Threads,
        chunks: usize,
        n: usize,
        x: &[Block],
        source: Source<'_>,
        epilogue: &Epilogue<'_>,
        work: &mut [Block],
        y: &mut [Block],
    ) {
        let [piece, _, own] = self.direct_shape();
        let total = n * self.tiles[0] * self.tiles[1];
        let out = SharedMut(y.as_mut_ptr());
        let len = self.v_len() + self.m_len() + own;
        threads.run_with_scratch(chunks, work, len, |c, scratch| {
            let (v, rest) = scratch.split_at_mut(self.v_len());
            let (m, u) = rest.split_at_mut(self.m_len());
            let tiles = c * self.chunk..((c + 1) * self.chunk).min(total);
            for b in 0..self.geom().in_blocks() {
                self.isa().run(self.inputs(x, tiles.clone(), [b, b], SharedMut(v.as_mut_ptr())));
            }
            for g in 0..self.groups() {
                for start in (0..self.geom().blocks).step_by(piece) {
                    let bs = start..(start + piece).min(self.geom().blocks);
                    self.transform_piece(source, g, bs.clone(), u);
                    let (kernel, v, u, m, tiles) = (self, &*v, &*u, &mut *m, tiles.len());
                    self.isa().run(Products { kernel, v, u, bs, m, tiles, g });
                }
                let (kernel, m, tiles, y) = (self, &*m, tiles.clone(), out);
                self.isa().run(Outputs { kernel, m, tiles, g, epilogue, y });
            }
        });
    }
}

/// U of one input block of a group of outputs.
struct Weights<'a> {
    kernel: &'a Winograd,
    source: Source<'a>,
    /// Where the piece for the input blocks `bs` begins; at each position it has sixteen blocks for each of
    /// them and of the group's outputs, and what keeps the positions apart.
    u: SharedMut,
    bs: Range<usize>,
    g: usize,
    b: usize,
    /// Write past the caches.
    stream: bool,
}

impl Kernel for Weights<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.kernel.tile {
            Tile::Two => self.transform::<F2, S, 2, 4>(s),
            Tile::Four => self.transform::<F4, S, 4, 6>(s),
        }
    }
}

impl Weights<'_> {
    /// `G g Gᵀ` of all pairs.
    #[inline(always)]
    fn transform<F: Filter<M, T>, S: Simd, const M: usize, const T: usize>(self, s: S) {
        let Self { kernel, source, u, bs, g, b, stream } = self;
        let range = kernel.group_range(g);
        let len = range.len();
        assert!(bs.contains(&b));
        let step = apart(bs.len() * LANES * len);
        let mut own = [Block::ZERO; 9 * LANES];
        for (i, k) in range.enumerate() {
            let pair = source.pair(s, kernel.geom(), [k, b], &mut own);
            let next = source.place(kernel.geom(), [k, b + 1]);
            for lane in 0..LANES {
                // Nine lines of the next pair: they are read in an order that the processor does not foresee.
                for tap in 0..9 {
                    s.prefetch(next.wrapping_add(tap * LANES + lane));
                }
                let mut half = [[s.zero(); 3]; T];
                for c in 0..3 {
                    let mut column = [s.zero(); 3];
                    for r in 0..3 {
                        column[r] = s.load(&pair[kernel.taps[r * 3 + c] * LANES + lane]);
                    }
                    let column = F::weight(s, column);
                    for r in 0..T {
                        half[r][c] = column[r];
                    }
                }
                for r in 0..T {
                    let line = F::weight(s, half[r]);
                    for c in 0..T {
                        let at = (r * T + c) * step + ((b - bs.start) * LANES + lane) * len + i;
                        // SAFETY: at < T²·step (b is asserted above), so this is within the piece; only this job
                        // writes its input block b.
                        let u = unsafe { &mut *u.pointer().add(at) };
                        if stream {
                            s.stream(u, line[c]);
                        } else {
                            s.store(u, line[c]);
                        }
                    }
                }
            }
        }
        s.fence();
    }
}
