//! Direct convolution in bf16 in groups of 4 or 8 channels, several of which share a block: as in f32 (see
//! [`conv::grouped`](crate::conv)), with pairs of channels, and weights that were packed without the zeros.

use super::conv::Strip;
use super::{Bf16, SimdBf16, Vector};
use crate::block::LANES;
use crate::conv::columns;
use crate::pixel::Pixel;
use std::array::from_fn;

/// Calls [`Strip::grouped_tile`] for the width at hand.
macro_rules! by_width {
    ($width:expr, [$($p:literal)*], $strip:expr, $simd:expr, $row:expr, $col:expr) => {
        match $width {
            // SAFETY: `DirectBf16::run` has checked that all elements are there; see `Strip::grouped_tile`.
            $($p => unsafe { $strip.grouped_tile::<D, T, $p>($simd, $row, $col) },)*
            _ => unreachable!("tiles are at most 14 pixels wide"),
        }
    };
}

impl<O: Pixel> Strip<'_, O> {
    /// Computes the piece, whose geometry has groups that share blocks.
    #[inline(always)]
    pub(super) fn run_grouped<D: SimdBf16>(&self, simd: D) {
        if self.kernel.geom.in_threes() {
            self.grouped_tiles::<D, 3>(simd);
        } else {
            self.grouped_tiles::<D, 1>(simd);
        }
    }

    /// With taps in runs of T.
    #[inline(always)]
    fn grouped_tiles<D: SimdBf16, const T: usize>(&self, simd: D) {
        let cols = &self.piece.cols;
        let tiles = cols.len().div_ceil(D::TILE[0]);
        for row in self.piece.rows.clone() {
            let mut col = cols.start;
            for tile in 0..tiles {
                let width = (cols.end - col).div_ceil(tiles - tile);
                by_width!(width, [1 2 3 4 5 6 7 8 9 10 11 12 13 14], self, simd, row, col);
                col += width;
            }
        }
    }

    /// Computes P pixels of an output block.
    ///
    /// # Safety
    /// As [`Strip::tile`].
    #[inline(always)]
    unsafe fn grouped_tile<D: SimdBf16, const T: usize, const P: usize>(
        &self,
        simd: D,
        row: usize,
        col: usize,
    ) {
        let geom = &self.kernel.geom;
        let (group, pairs) = (geom.group, geom.group / 2);
        let mut acc: [[Vector<D>; P]; 1] = self.biases(simd);
        let pixel = if T > 1 { LANES } else { geom.x.pixel };
        let block = geom.first[self.piece.k] * geom.x.block;
        let at = geom.x.offset + self.piece.image * geom.x.image + block;
        let at = at + row * geom.x.row + col * pixel;
        let stride = self.kernel.weight_stride();
        let weights = &self.w[self.piece.k * stride..][..stride];
        for run in geom.tap_runs::<T>() {
            for i in 0..pairs {
                let weights: [D::Pairs; T] =
                    from_fn(|s| simd.load(&weights[run.taps[s] * pairs + i]));
                columns!(c < P + T - 1, {
                    // SAFETY: `geom.check` asserted that the input has all lanes of this block, as `geom.group` says so,
                    // for every pixel and tap (first promise of the caller), and this one is a pixel with a tap.
                    let x: &[Bf16; LANES] =
                        unsafe { &*self.x.as_ptr().add(at + run.offset + c * pixel).cast() };
                    let value = simd.spread(x, group, i);
                    for s in 0..T {
                        if s <= c && c - s < P {
                            acc[0][c - s] = simd.dot(value, weights[s], acc[0][c - s]);
                        }
                    }
                });
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.finish::<D, 1, P, P>(simd, row, col, acc) }
    }
}
