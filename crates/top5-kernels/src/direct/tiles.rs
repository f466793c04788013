//! The tiles of a piece of direct convolution, in f32 and in bf16.

use super::pieces::Piece;
use crate::block::{Block, LANES};
use crate::conv::{ConvGeom, Epilogue, Strides};
use crate::element::Element;
use crate::pixel::Pixel;
use crate::precision::Precision;
use crate::simd::{Kernel, Simd};
use crate::threads::SharedMut;

/// Blocks of weights from those in use to those that are asked for: as far as memory is late. The processor's own
/// prefetching ends at every page.
pub(crate) const AHEAD: usize = 64;

/// The distance of pixels at stride 2, in elements.
const TWO_BLOCKS: usize = 2 * LANES;

/// A piece of the work with its operands. Pieces write different pixels of `y`.
pub(crate) struct Tiles<'a, E, Y> {
    /// For whose operands all that follows has been checked.
    pub(crate) geom: &'a ConvGeom,
    pub(crate) x: &'a [E],
    /// As they are packed for this precision, from output block `first` on.
    pub(crate) w: &'a [Block],
    pub(crate) first: usize,
    pub(crate) epilogue: &'a Epilogue<'a, Y>,
    pub(crate) y: SharedMut<Y>,
    pub(crate) piece: Piece,
}

/// Calls [`Tiles::with_pixel`] for the width at hand; those that the instruction set has no registers for are not compiled.
macro_rules! by_width {
    ($width:expr, $ob:literal, $rows:literal, [$($p:literal)*], $strip:expr, $s:expr, $row:expr, $col:expr) => {
        match $width {
            $($p if const { $p <= S::TILE[$ob - 1] } => {
                $s.run(Tile::<E, Y, $ob, $p, { $p / $rows }> { strip: $strip, row: $row, col: $col });
            },)*
            _ => unreachable!("no tile is wider than the instruction set's"),
        }
    };
}

/// P pixels of OB output blocks: the first Q in a row, the others in the next one. Each shape is a function of its own: compilers
/// take long for one that has all.
struct Tile<'a, E, Y, const OB: usize, const P: usize, const Q: usize> {
    strip: &'a Tiles<'a, E, Y>,
    row: usize,
    col: usize,
}

impl<E: Element, Y: Pixel, const OB: usize, const P: usize, const Q: usize> Kernel
    for Tile<'_, E, Y, OB, P, Q>
{
    type Output = ();
    const PRECISION: Precision = E::PRECISION;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: the kernel's `run` has checked that all elements are there; see `Tiles::tile`.
        unsafe { self.strip.with_pixel::<S, OB, P, Q>(s, self.row, self.col) }
    }
}

impl<E: Element, Y: Pixel> Tiles<'_, E, Y> {
    /// All tiles, of a geometry without groups that share blocks.
    #[inline(always)]
    pub(crate) fn run_dense<S: Simd>(&self, s: S) {
        let widest = S::TILE[self.piece.ob - 1];
        // Narrow maps: two rows at once, so that a weight that was loaded meets more than a few pixels.
        let pairs = self.piece.ob == 2 && 2 * self.piece.cols.len() <= widest;
        // As few tiles as possible, and none much narrower than the others.
        let tiles = self.piece.cols.len().div_ceil(widest);
        let mut row = self.piece.rows.start;
        while row < self.piece.rows.end {
            if const { S::TILE[1] > 0 } && pairs && row + 1 < self.piece.rows.end {
                let (width, col) = (self.piece.cols.len(), self.piece.cols.start);
                by_width!(2 * width, 2, 2, [2 4 6 8 10 12 14], self, s, row, col);
                row += 2;
                continue;
            }
            let mut col = self.piece.cols.start;
            for tile in 0..tiles {
                let width = (self.piece.cols.end - col).div_ceil(tiles - tile);
                if const { S::TILE[1] > 0 } && self.piece.ob == 2 {
                    by_width!(width, 2, 1, [1 2 3 4 5 6 7 8 9 10 11 12 13 14], self, s, row, col);
                } else {
                    by_width!(width, 1, 1, [1 2 3 4 5 6 7 8 9 10 11 12 13 14], self, s, row, col);
                }
                col += width;
            }
            row += 1;
        }
    }

    /// Fixes the distance of pixels at compile time where it is a common one, so that the tile's addresses need no
    /// arithmetic.
    ///
    /// # Safety
    /// As [`Tiles::tile`].
    #[inline(always)]
    unsafe fn with_pixel<S: Simd, const OB: usize, const P: usize, const Q: usize>(
        &self,
        s: S,
        row: usize,
        col: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.geom.x.pixel {
                // Strides 1 and 2 over blocks, then 2 and 4 over the planes of a first layer.
                LANES => self.tile::<S, OB, P, Q>(s, row, col, LANES),
                TWO_BLOCKS => self.tile::<S, OB, P, Q>(s, row, col, TWO_BLOCKS),
                2 => self.tile::<S, OB, P, Q>(s, row, col, 2),
                4 => self.tile::<S, OB, P, Q>(s, row, col, 4),
                pixel => self.tile::<S, OB, P, Q>(s, row, col, pixel),
            }
        }
    }

    /// Computes P pixels of OB output blocks: the first Q in `row`, the others in the next one.
    ///
    /// # Safety
    /// - `geom.check` passed for the lengths of `x` and `y` (and of the activation to add), with an element of `x` to
    ///   spare where a factor is a pair and lanes are odd in number; `w` holds the factors of the piece's output blocks;
    /// - `row` (and the next one, if P > Q), `col + Q − 1` and `k + OB − 1` are within the output, and `pixel` is
    ///   `geom.x.pixel`;
    /// - nothing else accesses these pixels of `y` meanwhile.
    #[inline(always)]
    unsafe fn tile<S: Simd, const OB: usize, const P: usize, const Q: usize>(
        &self,
        s: S,
        row: usize,
        col: usize,
        pixel: usize,
    ) {
        let geom = self.geom;
        let mut acc: [[S::V; P]; OB] = self.biases(s);
        let at = geom.x.offset + self.piece.image * geom.x.image + row * geom.x.row + col * pixel;
        // SAFETY: all offsets are below what `geom.check` asserted (first promise of the caller).
        unsafe {
            let x = self.x.as_ptr().add(at);
            let steps = geom.lanes.div_ceil(E::DEPTH);
            let stride = geom.blocks * geom.taps.len() * steps;
            let below = if P > Q { geom.x.row } else { 0 };
            let next_tile = if P > Q { 2 * below } else { Q * pixel };
            let mut w = self.w.as_ptr().add((self.piece.k - self.first) * stride);
            let first = geom.first[self.piece.k];
            for b in first..first + geom.blocks {
                let filled = geom.lanes_of(b).div_ceil(E::DEPTH);
                for &tap in &geom.taps {
                    if filled > 0 {
                        let x = x.add(b * geom.x.block + tap);
                        // A tile's pixels are too few in a row for the processor to notice what comes next.
                        let ask = |p: usize| {
                            let p = if p < Q { p * pixel } else { below + (p - Q) * pixel };
                            s.prefetch(x.wrapping_add(next_tile + p).cast());
                        };
                        // At once where a condition in the loop below would cost the sums their registers.
                        if const { S::TILE[1] == 0 } {
                            (0..P).for_each(ask);
                        }
                        for step in 0..filled {
                            let lane = step * E::DEPTH;
                            let mut weights = [s.zero(); OB];
                            for ob in 0..OB {
                                weights[ob] = s.load(&*w.add(ob * stride + step));
                                s.prefetch(w.wrapping_add(ob * stride + step + AHEAD));
                            }
                            if const { S::TILE[1] > 0 } && lane < P {
                                ask(lane);
                            }
                            // Two loops without a condition: they are unrolled, so that acc is in registers.
                            for p in 0..Q {
                                let value = E::splat_at(s, x.add(p * pixel + lane));
                                for ob in 0..OB {
                                    acc[ob][p] = E::mul_add(s, value, weights[ob], acc[ob][p]);
                                }
                            }
                            let next = x.add(below);
                            for p in Q..P {
                                let value = E::splat_at(s, next.add((p - Q) * pixel + lane));
                                for ob in 0..OB {
                                    acc[ob][p] = E::mul_add(s, value, weights[ob], acc[ob][p]);
                                }
                            }
                        }
                    }
                    w = w.add(steps);
                }
            }
            self.finish::<S, OB, P, Q>(s, row, col, acc);
        }
    }

    /// The sums before the first product.
    #[inline(always)]
    pub(super) fn biases<S: Simd, const OB: usize, const P: usize>(&self, s: S) -> [[S::V; P]; OB] {
        let mut acc = [[s.zero(); P]; OB];
        if let Some(bias) = self.epilogue.bias {
            for ob in 0..OB {
                acc[ob] = [s.load(&bias[self.piece.k + ob]); P];
            }
        }
        acc
    }

    /// Stores the sums of a tile after the rest of the epilogue.
    ///
    /// # Safety
    /// As [`Tiles::tile`].
    #[inline(always)]
    pub(super) unsafe fn finish<S: Simd, const OB: usize, const P: usize, const Q: usize>(
        &self,
        s: S,
        row: usize,
        col: usize,
        mut acc: [[S::V; P]; OB],
    ) {
        let (geom, epilogue) = (self.geom, self.epilogue);
        // Every pass is a short loop that is unrolled: a sum that a loop indexes would live in memory all along.
        macro_rules! each_sum {
            ($strides:expr, |$sum:ident, $at:ident| $body:expr) => {{
                let to: &Strides = $strides;
                let start = to.offset + self.piece.image * to.image + row * to.row + col * to.pixel;
                for ob in 0..OB {
                    let start = start + (self.piece.k + ob) * to.block;
                    for p in 0..Q {
                        let ($sum, $at) = (&mut acc[ob][p], start + p * to.pixel);
                        $body
                    }
                    for p in Q..P {
                        let ($sum, $at) = (&mut acc[ob][p], start + to.row + (p - Q) * to.pixel);
                        $body
                    }
                }
            }};
        }
        let y = self.y.pointer();
        // SAFETY: all places are within `y` and the activation to add by `geom.check`, and those of `y` ours alone (first
        // and third promise of the caller).
        unsafe {
            if let Some((add, at)) = epilogue.add {
                let add = add.as_ptr();
                each_sum!(&at, |sum, at| *sum = s.add(*sum, (*add.add(at)).load(s)));
            }
            if epilogue.accumulate {
                each_sum!(&geom.y, |sum, at| *sum = s.add(*sum, (*y.add(at)).load(s)));
            }
            if epilogue.relu {
                each_sum!(&geom.y, |sum, _at| *sum = s.relu(*sum));
            }
            each_sum!(&geom.y, |sum, at| (*y.add(at)).store(s, *sum));
        }
    }
}
