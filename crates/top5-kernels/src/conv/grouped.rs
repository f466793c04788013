//! Direct convolution in groups of 4 or 8 channels, several of which share a block.
//!
//! Packed weights have zeros between the groups: the vector of lane `l` has those of the outputs in `l`'s group, and for G
//! channels per group the vectors of lanes `i, G + i, 2G + i, …` have no output in common. Their sum, which is exact,
//! holds for all outputs the weight of channel `i` of their group, and meets a pixel in which every group's channel `i`
//! is spread over the group:
//!
//! ```text
//! v[t][i] = Σ w[k][t][G·g + i]                          over the groups g of a block
//! acc[p] += spread(x[pixel p + t], i) · v[t][i]         for every tap t, i in 0..G
//! ```
//!
//! At stride 1, three taps that are neighbouring pixels share what is spread: what is pixel `c` for the first of them is
//! pixel `c − 1` for the second and `c − 2` for the third.

use super::{ConvGeom, Strip};
use crate::block::{Block, LANES};
use crate::simd::Simd;
use std::array::from_fn;

/// Most vectors of weights for one output block. They are summed once for each piece, onto the stack.
pub(super) const MOST: usize = 72;

/// T taps whose pixels are neighbours, in the order of the pixels.
pub(crate) struct Run<const T: usize> {
    /// The offset of the first one.
    pub(crate) offset: usize,
    /// Their numbers.
    pub(crate) taps: [usize; T],
}

impl ConvGeom {
    /// Whether the stride is 1 and the taps are runs of three. In a backward pass these descend.
    pub(crate) fn in_threes(&self) -> bool {
        let run = |taps: &[usize]| {
            let next = |i: usize| taps[i].abs_diff(taps[i + 1]) == LANES;
            next(0) && next(1) && taps[0] != taps[2]
        };
        self.x.pixel == LANES
            && self.taps.len().is_multiple_of(3)
            && self.taps.chunks_exact(3).all(run)
    }

    /// The taps in runs of T, if they are such.
    pub(crate) fn tap_runs<const T: usize>(&self) -> impl Iterator<Item = Run<T>> {
        self.taps.chunks_exact(T).enumerate().map(|(run, taps)| {
            let descend = taps[0] > taps[T - 1];
            let tap = |s: usize| run * T + if descend { T - 1 - s } else { s };
            Run { offset: taps[0].min(taps[T - 1]), taps: from_fn(tap) }
        })
    }
}

/// Repeats the body for every column below a constant: a sum that a loop indexes would live in memory.
macro_rules! columns {
    ($c:ident < $end:expr, $body:block) => {
        columns!(@ [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15] $c < $end, $body)
    };
    (@ [$($column:literal)*] $c:ident < $end:expr, $body:block) => {
        $(if $column < $end {
            let $c: usize = $column;
            $body
        })*
    };
}
pub(crate) use columns;

/// Calls [`Strip::grouped_tile`] for the width at hand.
macro_rules! by_width {
    ($width:expr, [$($p:literal)*], $strip:expr, $simd:expr, $row:expr, $col:expr, $weights:expr) => {
        match $width {
            // SAFETY: `Direct::run` has checked that all elements are there; see `Strip::grouped_tile`.
            $($p => unsafe { $strip.grouped_tile::<S, T, $p>($simd, $row, $col, $weights) },)*
            _ => unreachable!("tiles are at most 14 pixels wide"),
        }
    };
}

impl Strip<'_> {
    /// Computes the piece, whose geometry has groups of so many channels.
    #[inline(always)]
    pub(super) fn run_grouped<S: Simd>(&self, simd: S, group: usize) {
        let mut sums = [Block::ZERO; MOST];
        let stride = self.geom.weight_stride();
        let taps = self.w[self.piece.k * stride..][..stride].chunks_exact(LANES);
        for (sums, lanes) in sums.chunks_exact_mut(group).zip(taps) {
            for (i, sum) in sums.iter_mut().enumerate() {
                let of_groups = lanes[i..].iter().step_by(group);
                let total = of_groups.fold(simd.zero(), |sum, w| simd.add(sum, simd.load(w)));
                simd.store(sum, total);
            }
        }
        if self.geom.in_threes() {
            self.grouped_tiles::<S, 3>(simd, &sums);
        } else {
            self.grouped_tiles::<S, 1>(simd, &sums);
        }
    }

    /// With taps in runs of T.
    #[inline(always)]
    fn grouped_tiles<S: Simd, const T: usize>(&self, simd: S, weights: &[Block; MOST]) {
        let cols = &self.piece.cols;
        let tiles = cols.len().div_ceil(S::TILE[0]);
        for row in self.piece.rows.clone() {
            let mut col = cols.start;
            for tile in 0..tiles {
                let width = (cols.end - col).div_ceil(tiles - tile);
                by_width!(width, [1 2 3 4 5 6 7 8 9 10 11 12 13 14], self, simd, row, col, weights);
                col += width;
            }
        }
    }

    /// Computes P pixels of an output block.
    ///
    /// # Safety
    /// As [`Strip::tile`].
    #[inline(always)]
    unsafe fn grouped_tile<S: Simd, const T: usize, const P: usize>(
        &self,
        simd: S,
        row: usize,
        col: usize,
        weights: &[Block; MOST],
    ) {
        let (geom, group) = (self.geom, self.geom.group);
        let mut acc: [[S::V; P]; 1] = self.biases(simd);
        let pixel = if T > 1 { LANES } else { geom.x.pixel };
        let block = geom.first[self.piece.k] * geom.x.block;
        let at = geom.x.offset + self.piece.image * geom.x.image + block;
        let at = at + row * geom.x.row + col * pixel;
        for run in geom.tap_runs::<T>() {
            for i in 0..group {
                let weights: [S::V; T] = from_fn(|s| simd.load(&weights[run.taps[s] * group + i]));
                columns!(c < P + T - 1, {
                    // SAFETY: `geom.check` asserted that the input has all lanes of this block, as `geom.group` says so,
                    // for every pixel and tap (first promise of the caller), and this one is a pixel with a tap.
                    let x: &[f32; LANES] =
                        unsafe { &*self.x.as_ptr().add(at + run.offset + c * pixel).cast() };
                    let value = simd.spread(simd.load_floats(x), group, i);
                    for s in 0..T {
                        if s <= c && c - s < P {
                            acc[0][c - s] = simd.mul_add(value, weights[s], acc[0][c - s]);
                        }
                    }
                });
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.finish::<S, 1, P, P>(simd, row, col, acc) }
    }
}
