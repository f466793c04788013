//! The tiles of a piece of direct convolution, in f32 and in bf16.

use super::split::Piece;
use super::{ConvGeom, Epilogue, Strides};
use crate::block::{Block, LANES};
use crate::multiply::{Multiply, Sums};
use crate::pixel::Pixel;
use crate::simd::Simd;
use crate::threads::Shore;
use std::array::from_fn;

/// Blocks of weights from those in use to those that are asked for: as far as memory is late. The processor's own
/// prefetching ends at every page.
pub(crate) const AHEAD: usize = 64;

/// A piece of the work. Pieces write different pixels of `y`.
pub(crate) struct Strip<'a, X, Y> {
    /// For whose operands all that follows has been checked.
    pub(crate) geom: &'a ConvGeom,
    pub(crate) x: &'a [X],
    /// As they are packed for this precision.
    pub(crate) w: &'a [Block],
    pub(crate) epilogue: &'a Epilogue<'a, Y>,
    pub(crate) y: Shore<Y>,
    pub(crate) piece: Piece,
}

/// Calls [`Strip::with_pixel`] for the width at hand.
macro_rules! by_width {
    ($width:expr, $ob:literal, $rows:literal, [$($p:literal)*], $strip:expr, $m:expr, $row:expr, $col:expr) => {
        match $width {
            // SAFETY: the kernel's `run` has checked that all elements are there; see `Strip::tile`.
            $($p => unsafe { $strip.with_pixel::<M, $ob, $p, { $p / $rows }>($m, $row, $col) },)*
            _ => unreachable!("tiles are at most 14 pixels wide"),
        }
    };
}

impl<X: Copy, Y: Pixel> Strip<'_, X, Y> {
    /// All tiles, of a geometry without groups that share blocks.
    #[inline(always)]
    pub(crate) fn run_dense<M: Multiply<Element = X>>(&self, m: M) {
        let widest = M::TILE[self.piece.ob - 1];
        // Narrow maps: two rows at once, so that a weight that was loaded meets more than a few pixels.
        let pairs = self.piece.ob == 2 && 2 * self.piece.cols.len() <= widest;
        // As few tiles as possible, and none much narrower than the others.
        let tiles = self.piece.cols.len().div_ceil(widest);
        let mut row = self.piece.rows.start;
        while row < self.piece.rows.end {
            if M::TILE[1] > 0 && pairs && row + 1 < self.piece.rows.end {
                let (width, col) = (self.piece.cols.len(), self.piece.cols.start);
                by_width!(2 * width, 2, 2, [2 4 6 8 10 12 14], self, m, row, col);
                row += 2;
                continue;
            }
            let mut col = self.piece.cols.start;
            for tile in 0..tiles {
                let width = (self.piece.cols.end - col).div_ceil(tiles - tile);
                if M::TILE[1] > 0 && self.piece.ob == 2 {
                    by_width!(width, 2, 1, [1 2 3 4 5 6 7 8 9 10 11 12 13 14], self, m, row, col);
                } else {
                    by_width!(width, 1, 1, [1 2 3 4 5 6 7 8 9 10 11 12 13 14], self, m, row, col);
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
    /// As [`Strip::tile`].
    #[inline(always)]
    unsafe fn with_pixel<
        M: Multiply<Element = X>,
        const OB: usize,
        const P: usize,
        const Q: usize,
    >(
        &self,
        m: M,
        row: usize,
        col: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.geom.x.pixel {
                LANES => self.tile::<M, OB, P, Q>(m, row, col, LANES),
                pixel => self.tile::<M, OB, P, Q>(m, row, col, pixel),
            }
        }
    }

    /// Computes P pixels of OB output blocks: the first Q in `row`, the others in the next one.
    ///
    /// # Safety
    /// - `geom.check` passed for the lengths of `x` and `y` (and of the activation to add), with an element of `x` to
    ///   spare where a factor is a pair and lanes are odd in number; `w` holds the factors of the geometry;
    /// - `row` (and the next one, if P > Q), `col + Q − 1` and `k + OB − 1` are within the output, and `pixel` is
    ///   `geom.x.pixel`;
    /// - nothing else accesses these pixels of `y` meanwhile.
    #[inline(always)]
    unsafe fn tile<M: Multiply<Element = X>, const OB: usize, const P: usize, const Q: usize>(
        &self,
        m: M,
        row: usize,
        col: usize,
        pixel: usize,
    ) {
        let (geom, floats) = (self.geom, m.floats());
        let mut acc: [[Sums<M>; P]; OB] = self.biases(m);
        let at = geom.x.offset + self.piece.image * geom.x.image + row * geom.x.row + col * pixel;
        // SAFETY: all offsets are below what `geom.check` asserted (first promise of the caller).
        unsafe {
            let x = self.x.as_ptr().add(at);
            let steps = geom.lanes.div_ceil(M::DEPTH);
            let stride = geom.blocks * geom.taps.len() * steps;
            let below = if P > Q { geom.x.row } else { 0 };
            let next_tile = if P > Q { 2 * below } else { Q * pixel };
            let mut w = self.w.as_ptr().add(self.piece.k * stride);
            let first = geom.first[self.piece.k];
            for b in first..first + geom.blocks {
                let filled = geom.lanes_of(b).div_ceil(M::DEPTH);
                for &tap in &geom.taps {
                    if filled > 0 {
                        let x = x.add(b * geom.x.block + tap);
                        for step in 0..filled {
                            let lane = step * M::DEPTH;
                            let weights: [M::Factors; OB] =
                                from_fn(|ob| m.load(&*w.add(ob * stride + step)));
                            for ob in 0..OB {
                                floats.prefetch(w.wrapping_add(ob * stride + step + AHEAD));
                            }
                            // A tile's pixels are too few in a row for the processor to notice what comes next.
                            if lane < P {
                                let p = if lane < Q {
                                    lane * pixel
                                } else {
                                    below + (lane - Q) * pixel
                                };
                                floats.prefetch(x.wrapping_add(next_tile + p).cast());
                            }
                            // Two loops without a condition: they are unrolled, so that acc is in registers.
                            for p in 0..Q {
                                let value = m.splat_at(x.add(p * pixel + lane));
                                for ob in 0..OB {
                                    acc[ob][p] = m.mul_add(value, weights[ob], acc[ob][p]);
                                }
                            }
                            let next = x.add(below);
                            for p in Q..P {
                                let value = m.splat_at(next.add((p - Q) * pixel + lane));
                                for ob in 0..OB {
                                    acc[ob][p] = m.mul_add(value, weights[ob], acc[ob][p]);
                                }
                            }
                        }
                    }
                    w = w.add(steps);
                }
            }
            self.finish::<M, OB, P, Q>(m, row, col, acc);
        }
    }

    /// The sums before the first product.
    #[inline(always)]
    pub(super) fn biases<M: Multiply, const OB: usize, const P: usize>(
        &self,
        m: M,
    ) -> [[Sums<M>; P]; OB] {
        let floats = m.floats();
        let mut acc = [[floats.zero(); P]; OB];
        if let Some(bias) = self.epilogue.bias {
            for ob in 0..OB {
                acc[ob] = [floats.load(&bias[self.piece.k + ob]); P];
            }
        }
        acc
    }

    /// Stores the sums of a tile after the rest of the epilogue.
    ///
    /// # Safety
    /// As [`Strip::tile`].
    #[inline(always)]
    pub(super) unsafe fn finish<M: Multiply, const OB: usize, const P: usize, const Q: usize>(
        &self,
        m: M,
        row: usize,
        col: usize,
        mut acc: [[Sums<M>; P]; OB],
    ) {
        let (geom, epilogue, floats) = (self.geom, self.epilogue, m.floats());
        // Every pass is a short loop that is unrolled: a sum that a loop indexes would live in memory all along.
        macro_rules! each_sum {
            ($strides:expr, |$sum:ident, $at:ident| $body:expr) => {{
                let s: &Strides = $strides;
                let start = s.offset + self.piece.image * s.image + row * s.row + col * s.pixel;
                for ob in 0..OB {
                    let start = start + (self.piece.k + ob) * s.block;
                    for p in 0..Q {
                        let ($sum, $at) = (&mut acc[ob][p], start + p * s.pixel);
                        $body
                    }
                    for p in Q..P {
                        let ($sum, $at) = (&mut acc[ob][p], start + s.row + (p - Q) * s.pixel);
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
                each_sum!(&at, |sum, at| *sum = floats.add(*sum, (*add.add(at)).load(floats)));
            }
            if epilogue.accumulate {
                each_sum!(&geom.y, |sum, at| *sum = floats.add(*sum, (*y.add(at)).load(floats)));
            }
            if epilogue.relu {
                each_sum!(&geom.y, |sum, _at| *sum = floats.relu(*sum));
            }
            each_sum!(&geom.y, |sum, at| m.store(&mut *y.add(at), *sum));
        }
    }
}
