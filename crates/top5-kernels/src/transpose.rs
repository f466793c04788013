//! Weights for the backward pass: inputs and outputs swapped.

use crate::block::{Block, LANES};
use crate::conv::{ConvGeom, Transposed};
use crate::isa::Isa;
use crate::simd::{Kernel, Simd};
use crate::threads::Threads;

/// Packs the weights of a forward pass for the loop nest `geom` of its backward pass.
pub(crate) fn transpose(
    isa: Isa,
    threads: &Threads,
    &Transposed { forward, weights, elements }: &Transposed<'_>,
    geom: &ConvGeom,
    packed: &mut [Block],
) {
    assert_eq!(weights.len(), forward.packed_len(), "the weights are packed for another geometry");
    assert!(elements.len() == geom.taps.len() && geom.lanes == LANES && forward.lanes == LANES);
    // A piece: a pair of blocks.
    threads.chunks(packed, elements.len() * LANES, |pair, piece| {
        let place = [pair / geom.blocks, pair % geom.blocks];
        transpose_pair(isa, &Transposed { forward, weights, elements }, geom, place, piece);
    });
}

/// Packs the weights of a block of the convolution's inputs, the `k`-th of the outputs here. They are read once, from all over
/// memory.
///
/// # Panics
/// If the weights are packed for another geometry, or `packed` is too short.
pub(crate) fn transpose_block(
    isa: Isa,
    weights: &Transposed<'_>,
    geom: &ConvGeom,
    k: usize,
    packed: &mut [Block],
) {
    let piece = weights.elements.len() * LANES;
    assert!(piece == geom.taps.len() * geom.lanes && weights.forward.lanes == LANES);
    for (b, piece) in packed[..geom.blocks * piece].chunks_exact_mut(piece).enumerate() {
        transpose_pair(isa, weights, geom, [k, b], piece);
    }
}

/// Packs the weights between the `k`-th block of outputs and the `b`-th block that it reads.
fn transpose_pair(
    isa: Isa,
    &Transposed { forward, weights, elements }: &Transposed<'_>,
    geom: &ConvGeom,
    [k, b]: [usize; 2],
    piece: &mut [Block],
) {
    let block = geom.first[k] + b;
    // The last block of a group may reach beyond the outputs.
    let source = |block: usize, element: usize| {
        let there = block < forward.out_blocks();
        there.then(|| forward.packed_index(block, k, element, 0)).flatten()
    };
    for (tile, &element) in piece.chunks_exact_mut(LANES).zip(elements) {
        match source(block, element) {
            Some(at) => {
                let later = source(block + AHEAD, element).unwrap_or(at);
                let [from, later] = [at, later].map(|at| &weights[at..][..LANES]);
                isa.run(Tile { from, later, to: tile });
            }
            None => tile.fill(Block::ZERO),
        }
    }
}

/// Blocks from that in use to one that is asked for: they lie so far apart that the processor does not foresee them.
const AHEAD: usize = 4;

struct Tile<'a> {
    from: &'a [Block],
    /// What will be read soon.
    later: &'a [Block],
    to: &'a mut [Block],
}

impl Kernel for Tile<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut rows = [s.zero(); LANES];
        for i in 0..LANES {
            rows[i] = s.load(&self.from[i]);
            s.prefetch(&self.later[i]);
        }
        let columns = s.transpose(rows);
        for i in 0..LANES {
            s.store(&mut self.to[i], columns[i]);
        }
    }
}
