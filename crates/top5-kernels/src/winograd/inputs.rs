//! V, the transform of the input, which the forward pass and the weight gradient have in common.

use super::filter::{F2, F4, Filter, Tile};
use super::places::{Places, apart};
use crate::block::LANES;
use crate::conv::{ConvGeom, Strides};
use crate::pixel::Pixel;
use crate::simd::{Kernel, Simd};
use crate::threads::SharedMut;
use std::ops::Range;

/// V of one input block, for some tiles.
pub(super) struct Inputs<'a, X> {
    /// That of a run which has been checked.
    pub(super) geom: &'a ConvGeom,
    pub(super) tile: Tile,
    /// Tiles per image: rows, columns.
    pub(super) tiles: [usize; 2],
    pub(super) x: &'a [X],
    /// The tile that is the first of V.
    pub(super) first: usize,
    /// Those to transform, counted from there.
    pub(super) at: Range<usize>,
    /// Tiles that V has room for.
    pub(super) len: usize,
    pub(super) b: usize,
    /// The block of V that it becomes, and how many there are.
    pub(super) to: usize,
    pub(super) blocks: usize,
    /// Nothing else accesses these tiles of the input block.
    pub(super) v: SharedMut,
}

impl<X: Pixel> Kernel for Inputs<'_, X> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.tile {
            Tile::Two => self.tiles::<F2, S, 2, 4>(s),
            Tile::Four => self.tiles::<F4, S, 4, 6>(s),
        }
    }
}

impl<X: Pixel> Inputs<'_, X> {
    #[inline(always)]
    fn tiles<F: Filter<M, T>, S: Simd, const M: usize, const T: usize>(&self, s: S) {
        let geom = self.geom;
        let Strides { offset, image, block, row, .. } = geom.x;
        let start = |[n, down, across]: [usize; 3]| {
            (offset + n * image + self.b * block + down * M * row) / LANES + across * M
        };
        let mut places = Places::new(self.tiles, self.first + self.at.start);
        for t in self.at.clone() {
            let [_, down, across] = places.at;
            // Rows and columns of the tile that some output of the image needs; the others count as zero.
            let size = [geom.rows + 2 - down * M, geom.cols + 2 - across * M];
            let from = start(places.at);
            places.advance();
            // What the next tile reads beyond this one: rows of maps are too short for the processor to notice.
            let next = self.x.as_ptr().wrapping_add(start(places.at));
            for r in 0..T {
                for col in T - M..T {
                    s.prefetch(next.wrapping_add(r * row / LANES + col).cast());
                }
            }
            // SAFETY: rows and columns below `size` are read by the outputs of the image, so they are within `x` (the
            // geometry has been checked). `to` is a block and t a tile of V, which has T²·apart(blocks·len) blocks; these
            // tiles of the block are ours alone.
            unsafe {
                if size[0] >= T && size[1] >= T {
                    self.transform::<F, S, M, T>(s, from, [T; 2], t);
                } else {
                    self.transform::<F, S, M, T>(s, from, size, t);
                }
            }
        }
    }

    /// `Bᵀ d B` of the tile whose first pixel is block `from` of x.
    ///
    /// # Safety
    /// The first `rows` rows and `cols` columns of the tile are within x; `t` is a tile of V, and nothing else accesses
    /// that tile of the input block.
    #[inline(always)]
    unsafe fn transform<F: Filter<M, T>, S: Simd, const M: usize, const T: usize>(
        &self,
        s: S,
        from: usize,
        [rows, cols]: [usize; 2],
        t: usize,
    ) {
        let row = self.geom.x.row / LANES;
        // Loops, not closures: what is not inlined loses the instruction set.
        let mut half = [[s.zero(); T]; T];
        for col in 0..T {
            let mut column = [s.zero(); T];
            for r in 0..T {
                if r < rows && col < cols {
                    // SAFETY: within x, by the caller's first promise.
                    column[r] = unsafe { self.x.get_unchecked(from + r * row + col) }.load(s);
                }
            }
            let column = F::input(s, column);
            for r in 0..T {
                half[r][col] = column[r];
            }
        }
        let (to, step) = (self.to * self.len + t, apart(self.blocks * self.len));
        for r in 0..T {
            let line = F::input(s, half[r]);
            for c in 0..T {
                // SAFETY: within V and ours alone, by the caller's second promise.
                s.store(unsafe { &mut *self.v.pointer().add(to + (r * T + c) * step) }, line[c]);
                // Where the next tile goes.
                s.prefetch(self.v.pointer().wrapping_add(to + (r * T + c) * step + 1));
            }
        }
    }
}
