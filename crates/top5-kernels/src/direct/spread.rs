//! Direct convolution in groups of four or eight channels, where one instruction spreads a channel over its group.
//!
//! Sixteen outputs read the same sixteen inputs then, each of a group the same G of them, and nothing has to be picked and kept
//! first ([`super::grouped`]):
//!
//! ```text
//! acc[p] += spread(x[pixel p + t], i) · v[t][i]         for every tap t, i in 0..G
//! ```
//!
//! Taps come in runs of three neighbouring pixels. At stride 1 they share what was spread: what is pixel `c` for the first of
//! them is pixel `c − 1` for the second and `c − 2` for the third.

use super::grouped::columns;
use super::tiles::Tiles;
use crate::block::{Block, LANES};
use crate::element::Element;
use crate::pixel::Pixel;
use crate::simd::{Kernel, Simd};

/// P pixels of each row of an output block, in a function of its own.
struct Column<'a, E: Element, Y, const G: usize, const NEXT: bool, const P: usize> {
    tiles: &'a Tiles<'a, E, Y>,
    col: usize,
    weights: &'a [Block],
}

impl<E: Element, Y: Pixel, const G: usize, const NEXT: bool, const P: usize> Kernel
    for Column<'_, E, Y, G, NEXT, P>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.tiles.piece.rows.clone() {
            // SAFETY: the kernel's `run` has checked that all elements are there, which are floats, and these pixels are the
            // piece's; see `Tiles::tile`.
            unsafe { self.tiles.spread_tile::<S, G, NEXT, P>(s, row, self.col, self.weights) }
        }
    }
}

impl<E: Element, Y: Pixel> Tiles<'_, E, Y> {
    /// All tiles, of groups of G channels with taps in runs of three. `weights` are those of the piece's output block without
    /// zeros, in the order of taps and of factors of a group.
    #[inline(always)]
    pub(super) fn run_spread<S: Simd, const G: usize>(&self, s: S, weights: &[Block]) {
        if self.geom.x.pixel == LANES {
            self.columns::<S, G, true>(s, weights);
        } else {
            self.columns::<S, G, false>(s, weights);
        }
    }

    #[inline(always)]
    fn columns<S: Simd, const G: usize, const NEXT: bool>(&self, s: S, weights: &[Block]) {
        let cols = &self.piece.cols;
        let tiles = cols.len().div_ceil(S::GROUPED_TILE);
        let mut col = cols.start;
        for tile in 0..tiles {
            let width = (cols.end - col).div_ceil(tiles - tile);
            macro_rules! by_width {
                ($($p:literal)*) => {
                    match width {
                        $($p if const { $p <= S::GROUPED_TILE } => {
                            s.run(Column::<E, Y, G, NEXT, $p> { tiles: self, col, weights });
                        })*
                        _ => unreachable!("no tile is wider than the instruction set's"),
                    }
                };
            }
            by_width!(1 2 3 4);
            col += width;
        }
    }

    /// Computes P pixels of an output block.
    ///
    /// # Safety
    /// As [`Tiles::tile`]; the input consists of floats, and output blocks read one input block each.
    #[inline(always)]
    unsafe fn spread_tile<S: Simd, const G: usize, const NEXT: bool, const P: usize>(
        &self,
        s: S,
        row: usize,
        col: usize,
        weights: &[Block],
    ) {
        let geom = self.geom;
        let mut acc: [[S::V; P]; 1] = self.biases(s);
        let at = geom.x.offset + self.piece.image * geom.x.image + row * geom.x.row;
        let at = at + col * geom.x.pixel + geom.first[self.piece.k] * geom.x.block;
        assert!(weights.len() >= geom.taps.len() * G);
        for run in geom.tap_runs::<3>() {
            // SAFETY: `geom.check` asserted that the input has all lanes of the block, of which there are sixteen
            // (`geom.grouped`), for every pixel and tap (the caller's promise); the weights are as many as asserted above.
            unsafe {
                let x = self.x.as_ptr().cast::<f32>().add(at + run.offset);
                macro_rules! each_channel {
                    ($($i:literal)*) => {
                        $(if const { $i < G } {
                            let mut factors = [s.zero(); 3];
                            for t in 0..3 {
                                factors[t] = s.load(weights.get_unchecked(run.taps[t] * G + $i));
                            }
                            if NEXT {
                                columns!(c < P + 2, {
                                    let pixel = &*x.add(c * LANES).cast();
                                    let value = s.spread::<G, $i>(pixel);
                                    for t in 0..3 {
                                        if t <= c && c - t < P {
                                            acc[0][c - t] = s.mul_add(value, factors[t], acc[0][c - t]);
                                        }
                                    }
                                });
                            } else {
                                for t in 0..3 {
                                    for p in 0..P {
                                        let pixel = &*x.add(p * geom.x.pixel + t * LANES).cast();
                                        let value = s.spread::<G, $i>(pixel);
                                        acc[0][p] = s.mul_add(value, factors[t], acc[0][p]);
                                    }
                                }
                            }
                        })*
                    };
                }
                each_channel!(0 1 2 3 4 5 6 7);
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.finish::<S, 1, P, P>(s, row, col, acc) }
    }
}
