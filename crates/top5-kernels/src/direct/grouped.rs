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
//! pixel `c − 1` for the second and `c − 2` for the third. In bf16 the vectors, which then hold two channels, are packed
//! without the zeros.

use super::tiles::Tiles;
use crate::block::{Block, LANES};
use crate::conv::{ConvGeom, MOST_GROUPED};
use crate::element::Element;
use crate::pixel::Pixel;
use crate::simd::Simd;
use std::array::from_fn;

/// T taps whose pixels are neighbours, in the order of the pixels.
struct Run<const T: usize> {
    /// The offset of the first one.
    offset: usize,
    /// Their numbers.
    taps: [usize; T],
}

impl ConvGeom {
    /// Whether the stride is 1 and the taps are runs of three. In a backward pass these descend.
    fn in_threes(&self) -> bool {
        let run = |taps: &[usize]| {
            let next = |i: usize| taps[i].abs_diff(taps[i + 1]) == LANES;
            next(0) && next(1) && taps[0] != taps[2]
        };
        self.x.pixel == LANES
            && self.taps.len().is_multiple_of(3)
            && self.taps.chunks_exact(3).all(run)
    }

    /// The taps in runs of T, if they are such.
    fn tap_runs<const T: usize>(&self) -> impl Iterator<Item = Run<T>> {
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

impl<E: Element, Y: Pixel> Tiles<'_, E, Y> {
    /// The sums of vectors that have no output in common, in the first places.
    #[inline(always)]
    pub(super) fn without_zeros<S: Simd>(&self, simd: S, group: usize) -> [Block; MOST_GROUPED] {
        let mut sums = [Block::ZERO; MOST_GROUPED];
        let stride = self.geom.weight_stride();
        let taps = self.w[self.piece.k * stride..][..stride].chunks_exact(LANES);
        for (sums, lanes) in sums.chunks_exact_mut(group).zip(taps) {
            for (i, sum) in sums.iter_mut().enumerate() {
                let of_groups = lanes[i..].iter().step_by(group);
                let total = of_groups.fold(simd.zero(), |sum, w| simd.add(sum, simd.load(w)));
                simd.store(sum, total);
            }
        }
        sums
    }

    /// All tiles, of a geometry with groups of so many channels. `weights` are those of the piece's output block without
    /// zeros, in the order of taps and of channels of a group.
    #[inline(always)]
    pub(crate) fn run_grouped<S: Simd>(&self, s: S, group: usize, weights: &[Block]) {
        if self.geom.in_threes() {
            self.grouped_tiles::<S, 3>(s, group, weights);
        } else {
            self.grouped_tiles::<S, 1>(s, group, weights);
        }
    }

    /// With taps in runs of T.
    #[inline(always)]
    fn grouped_tiles<S: Simd, const T: usize>(&self, s: S, group: usize, weights: &[Block]) {
        let cols = &self.piece.cols;
        let tiles = cols.len().div_ceil(S::TILE[0]);
        for row in self.piece.rows.clone() {
            let mut col = cols.start;
            for tile in 0..tiles {
                let width = (cols.end - col).div_ceil(tiles - tile);
                macro_rules! by_width {
                    ($($p:literal)*) => {
                        match width {
                            // SAFETY: the kernel's `run` has checked that all elements are there, and these pixels are
                            // the piece's; see `Tiles::tile`.
                            $($p => unsafe {
                                self.grouped_tile::<S, T, $p>(s, row, col, group, weights)
                            },)*
                            _ => unreachable!("tiles are at most 14 pixels wide"),
                        }
                    };
                }
                by_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
                col += width;
            }
        }
    }

    /// Computes P pixels of an output block.
    ///
    /// # Safety
    /// As [`Tiles::tile`].
    #[inline(always)]
    unsafe fn grouped_tile<S: Simd, const T: usize, const P: usize>(
        &self,
        s: S,
        row: usize,
        col: usize,
        group: usize,
        weights: &[Block],
    ) {
        let geom = self.geom;
        let steps = group / E::DEPTH;
        let mut acc: [[S::V; P]; 1] = self.biases(s);
        let pixel = if T > 1 { LANES } else { geom.x.pixel };
        let block = geom.first[self.piece.k] * geom.x.block;
        let at = geom.x.offset + self.piece.image * geom.x.image + block;
        let at = at + row * geom.x.row + col * pixel;
        for run in geom.tap_runs::<T>() {
            for i in 0..steps {
                let weights: [S::V; T] = from_fn(|t| s.load(&weights[run.taps[t] * steps + i]));
                columns!(c < P + T - 1, {
                    // SAFETY: `geom.check` asserted that the input has all lanes of this block, as `geom.group` says so,
                    // for every pixel and tap (first promise of the caller), and this one is a pixel with a tap.
                    let x: &[E; LANES] =
                        unsafe { &*self.x.as_ptr().add(at + run.offset + c * pixel).cast() };
                    let value = E::spread(s, x, group, i);
                    for t in 0..T {
                        if t <= c && c - t < P {
                            acc[0][c - t] = E::mul_add(s, value, weights[t], acc[0][c - t]);
                        }
                    }
                });
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.finish::<S, 1, P, P>(s, row, col, acc) }
    }
}
