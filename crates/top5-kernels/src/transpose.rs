//! Weights for the backward pass: inputs and outputs swapped.

use crate::block::{Block, LANES};
use crate::conv::{ConvGeom, Transposed};
use crate::isa::{Isa, Kernel};
use crate::simd::Simd;
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
        // A block of the convolution's inputs, which are the outputs here, and a block of its outputs.
        let (k, block) = (pair / geom.blocks, geom.first[pair / geom.blocks] + pair % geom.blocks);
        for (tile, &element) in piece.chunks_exact_mut(LANES).zip(elements) {
            // The last block of a group may reach beyond the outputs.
            let source = (block < forward.out_blocks())
                .then(|| forward.packed_index(block, k, element, 0))
                .flatten();
            match source {
                Some(source) => isa.run(Tile { from: &weights[source..][..LANES], to: tile }),
                None => tile.fill(Block::ZERO),
            }
        }
    });
}

struct Tile<'a> {
    from: &'a [Block],
    to: &'a mut [Block],
}

impl Kernel for Tile<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut rows = [s.zero(); LANES];
        for i in 0..LANES {
            rows[i] = s.load(&self.from[i]);
        }
        let columns = s.transpose(rows);
        for i in 0..LANES {
            s.store(&mut self.to[i], columns[i]);
        }
    }
}
