//! The tiles of a piece of direct convolution, in f32 and in bf16.

use super::pieces::Piece;
use crate::block::{Block, LANES};
use crate::conv::{ConvGeom, Epilogue, Strides};
use crate::element::Element;
use crate::pixel::Pixel;
use crate::precision::Precision;
use crate::simd::{Kernel, Simd, is_f32};
use crate::threads::{SharedMut, share};
use std::ops::Range;

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

/// Runs [`Row`]s of the width at hand; those that the instruction set has no registers for are not compiled.
macro_rules! by_width {
    ($width:expr, $ob:literal, $rows:literal, [$($p:literal)*], $strip:expr, $s:expr, $pass:expr, $at:expr, $count:expr) => {
        match $width {
            $($p if const { $p <= S::TILE[$ob - 1] } => {
                let (strip, pass, at, count) = ($strip, $pass, $at, $count);
                $s.run(Row::<E, Y, $ob, $p, { $p / $rows }> { strip, pass, at, count });
            },)*
            _ => unreachable!("no tile is wider than the instruction set's"),
        }
    };
}

/// Calls the body with every sum of a tile at (`row`, `col`), and its place in an activation with these strides. A short loop
/// that is unrolled: a sum that a loop indexes would live in memory all along.
macro_rules! each_sum {
    ($tiles:expr, [$row:expr, $col:expr], $strides:expr, $acc:expr, |$sum:ident, $at:ident| $body:expr) => {{
        let (to, piece): (&Strides, &Piece) = ($strides, &$tiles.piece);
        let start = to.offset + piece.image * to.image + $row * to.row + $col * to.pixel;
        for ob in 0..OB {
            let start = start + (piece.k + ob) * to.block;
            for p in 0..Q {
                let ($sum, $at) = (&mut $acc[ob][p], start + p * to.pixel);
                $body
            }
            for p in Q..P {
                let ($sum, $at) = (&mut $acc[ob][p], start + to.row + (p - Q) * to.pixel);
                $body
            }
        }
    }};
}

/// Tiles of P pixels of OB output blocks, one after the other: the first Q of each in one row, the others in the next one. Each shape is
/// a function of its own: compilers take long for one that has all.
struct Row<'a, E: Element, Y, const OB: usize, const P: usize, const Q: usize> {
    strip: &'a Tiles<'a, E, Y>,
    pass: &'a Range<usize>,
    /// Where the first one begins.
    at: [usize; 2],
    count: usize,
}

impl<E: Element, Y: Pixel, const OB: usize, const P: usize, const Q: usize> Kernel
    for Row<'_, E, Y, OB, P, Q>
{
    type Output = ();
    const PRECISION: Precision = E::PRECISION;

    /// Fixes the distance of pixels at compile time where it is a common one, so that the tiles' addresses need no
    /// arithmetic.
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.strip.geom.x.pixel {
            // Strides 1 and 2 over blocks, then 2 and 4 over the planes of a first layer.
            LANES => self.tiles(s, LANES),
            TWO_BLOCKS => self.tiles(s, TWO_BLOCKS),
            2 => self.tiles(s, 2),
            4 => self.tiles(s, 4),
            pixel => self.tiles(s, pixel),
        }
    }
}

impl<E: Element, Y: Pixel, const OB: usize, const P: usize, const Q: usize>
    Row<'_, E, Y, OB, P, Q>
{
    /// All, where pixels are so far apart.
    #[inline(always)]
    fn tiles<S: Simd>(&self, s: S, pixel: usize) {
        let [row, col] = self.at;
        for tile in 0..self.count {
            // SAFETY: the kernel's `run` has checked that all elements are there; see `Tiles::tile`.
            unsafe {
                self.strip.tile::<S, OB, P, Q>(s, self.pass, [row, col + tile * Q], pixel);
            }
        }
    }
}

impl<E: Element, Y: Pixel> Tiles<'_, E, Y> {
    /// All tiles, of a geometry without groups that share blocks: in passes over as many of the input blocks as have weights that stay
    /// in a first-level cache while all pixels meet them. Sums wait in the output meanwhile, and are the same as in one pass.
    #[inline(always)]
    pub(crate) fn run_dense<S: Simd>(&self, s: S) {
        let Self { geom, piece, .. } = self;
        let of_block = geom.taps.len() * geom.lanes * piece.ob;
        // Only what is f32 can wait, and only where nothing else is.
        let waits = const { is_f32::<Self>() && Y::PER_BLOCK == 1 } && !self.epilogue.accumulate;
        let several = piece.rows.len() > 1 || piece.cols.len() > S::TILE[piece.ob - 1];
        let most = if waits && several { (S::PASS / of_block).max(1) } else { geom.blocks };
        let passes = geom.blocks.div_ceil(most);
        for i in 0..passes {
            self.pass(s, &share(geom.blocks, passes, i));
        }
    }

    /// All tiles over these input blocks.
    #[inline(always)]
    fn pass<S: Simd>(&self, s: S, pass: &Range<usize>) {
        let widest = S::TILE[self.piece.ob - 1];
        let (cols, start) = (self.piece.cols.len(), self.piece.cols.start);
        // Narrow maps: two rows at once, so that a weight that was loaded meets more than a few pixels.
        let pairs = self.piece.ob == 2 && 2 * cols <= widest;
        // As few tiles as possible, and none much narrower than the others: some are one pixel wider than the rest.
        let tiles = cols.div_ceil(widest);
        let (narrow, wider) = (cols / tiles, cols % tiles);
        let mut row = self.piece.rows.start;
        while row < self.piece.rows.end {
            if const { S::TILE[1] > 0 } && pairs && row + 1 < self.piece.rows.end {
                let at = [row, start];
                by_width!(2 * cols, 2, 2, [2 4 6 8 10 12 14], self, s, pass, at, 1);
                row += 2;
                continue;
            }
            let wide = narrow + 1;
            for (width, count, col) in
                [(wide, wider, start), (narrow, tiles - wider, start + wide * wider)]
            {
                if count == 0 {
                    continue;
                }
                let at = [row, col];
                if const { S::TILE[1] > 0 } && self.piece.ob == 2 {
                    by_width!(width, 2, 1, [1 2 3 4 5 6 7 8 9 10 11 12 13 14], self, s, pass, at, count);
                } else {
                    by_width!(width, 1, 1, [1 2 3 4 5 6 7 8 9 10 11 12 13 14], self, s, pass, at, count);
                }
            }
            row += 1;
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
        pass: &Range<usize>,
        [row, col]: [usize; 2],
        pixel: usize,
    ) {
        let geom = self.geom;
        let mut acc: [[S::V; P]; OB] = if const { S::PASS == usize::MAX } || pass.start == 0 {
            self.biases(s)
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.waiting::<S, OB, P, Q>(s, [row, col]) }
        };
        let at = geom.x.offset + self.piece.image * geom.x.image + row * geom.x.row + col * pixel;
        // SAFETY: all offsets are below what `geom.check` asserted (first promise of the caller).
        unsafe {
            let x = self.x.as_ptr().add(at);
            let steps = geom.lanes.div_ceil(E::DEPTH);
            let stride = geom.blocks * geom.taps.len() * steps;
            let below = if P > Q { geom.x.row } else { 0 };
            let next_tile = if P > Q { 2 * below } else { Q * pixel };
            let w = self.w.as_ptr().add((self.piece.k - self.first) * stride);
            let mut w = w.add(pass.start * geom.taps.len() * steps);
            let first = geom.first[self.piece.k];
            for b in first + pass.start..first + pass.end {
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
                        if const { S::SCARCE || S::TILE[1] == 0 } {
                            (0..P).for_each(ask);
                        }
                        for step in 0..filled {
                            let lane = step * E::DEPTH;
                            // Loops without a condition: they are unrolled, so that acc is in registers. Weights that a
                            // cache holds by the second tile are not asked for.
                            if const { is_f32::<Self>() && S::SCARCE && OB > 1 && P == S::TILE[1] }
                            {
                                let mut values = [s.zero(); P];
                                for p in 0..Q {
                                    values[p] = E::splat_at(s, x.add(p * pixel + lane));
                                }
                                for p in Q..P {
                                    let next = x.add(below + (p - Q) * pixel);
                                    values[p] = E::splat_at(s, next.add(lane));
                                }
                                for ob in 0..OB {
                                    let weights = &*w.add(ob * stride + step);
                                    acc[ob] = s.mul_add_all(values, weights, acc[ob]);
                                }
                                continue;
                            }
                            let mut weights = [s.zero(); OB];
                            for ob in 0..OB {
                                weights[ob] = s.load(&*w.add(ob * stride + step));
                                s.prefetch(w.wrapping_add(ob * stride + step + AHEAD));
                            }
                            if const { !S::SCARCE && S::TILE[1] > 0 } && lane < P {
                                ask(lane);
                            }
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
            if const { S::PASS == usize::MAX } || pass.end == geom.blocks {
                self.finish::<S, OB, P, Q>(s, row, col, acc);
            } else {
                self.wait::<S, OB, P, Q>(s, [row, col], acc);
            }
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

    /// The sums that an earlier pass left in the output.
    ///
    /// # Safety
    /// As [`Tiles::tile`].
    #[inline(always)]
    unsafe fn waiting<S: Simd, const OB: usize, const P: usize, const Q: usize>(
        &self,
        s: S,
        [row, col]: [usize; 2],
    ) -> [[S::V; P]; OB] {
        let (mut acc, y) = ([[s.zero(); P]; OB], self.y.pointer());
        // SAFETY: all places are within `y` by `geom.check`, and ours alone (first and third promise of the caller).
        unsafe {
            each_sum!(self, [row, col], &self.geom.y, acc, |sum, at| *sum = (*y.add(at)).load(s));
        }
        acc
    }

    /// Leaves the sums in the output for the next pass.
    ///
    /// # Safety
    /// As [`Tiles::tile`].
    #[inline(always)]
    unsafe fn wait<S: Simd, const OB: usize, const P: usize, const Q: usize>(
        &self,
        s: S,
        [row, col]: [usize; 2],
        mut acc: [[S::V; P]; OB],
    ) {
        let y = self.y.pointer();
        // SAFETY: as in `waiting`.
        unsafe {
            each_sum!(self, [row, col], &self.geom.y, acc, |sum, at| (*y.add(at)).store(s, *sum));
        }
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
        let y = self.y.pointer();
        // SAFETY: all places are within `y` and the activation to add by `geom.check`, and those of `y` ours alone (first
        // and third promise of the caller).
        unsafe {
            if let Some((add, at)) = epilogue.add {
                let add = add.as_ptr();
                each_sum!(self, [row, col], &at, acc, |sum, at| *sum =
                    s.add(*sum, (*add.add(at)).load(s)));
            }
            if epilogue.accumulate {
                each_sum!(self, [row, col], &geom.y, acc, |sum, at| *sum =
                    s.add(*sum, (*y.add(at)).load(s)));
            }
            if epilogue.relu {
                each_sum!(self, [row, col], &geom.y, acc, |sum, _at| *sum = s.relu(*sum));
            }
            each_sum!(self, [row, col], &geom.y, acc, |sum, at| (*y.add(at)).store(s, *sum));
        }
    }
}
