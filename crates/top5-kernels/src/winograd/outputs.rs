//! Y, the outputs of a forward pass.

use super::Winograd;
use super::filter::{F2, F4, Filter, Tile};
use super::places::{Places, apart};
use crate::block::Block;
use crate::conv::{Epilogue, Strides};
use crate::pixel::Pixel;
use crate::simd::{Kernel, Simd};
use crate::threads::SharedMut;
use std::ops::Range;

/// The outputs of one group for a chunk.
pub(super) struct Outputs<'a, Y> {
    pub(super) kernel: &'a Winograd,
    pub(super) m: &'a [Block],
    pub(super) tiles: Range<usize>,
    pub(super) g: usize,
    pub(super) epilogue: &'a Epilogue<'a, Y>,
    pub(super) y: SharedMut<Y>,
}

impl<Y: Pixel> Kernel for Outputs<'_, Y> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.kernel.tile {
            Tile::Two => self.tiles::<F2, S, 2, 4>(s),
            Tile::Four => self.tiles::<F4, S, 4, 6>(s),
        }
    }
}

impl<Y: Pixel> Outputs<'_, Y> {
    #[inline(always)]
    fn tiles<F: Filter<M, T>, S: Simd, const M: usize, const T: usize>(&self, s: S) {
        for (i, k) in self.kernel.group_range(self.g).enumerate() {
            let mut places = Places::new(self.kernel.tiles, self.tiles.start);
            for t in 0..self.tiles.len() {
                self.output::<F, S, M, T>(s, i, k, t, places.at);
                places.advance();
            }
        }
    }

    /// `Aᵀ M A` and the epilogue for one tile of output block `k`, the group's `i`-th.
    #[inline(always)]
    fn output<F: Filter<M, T>, S: Simd, const M: usize, const T: usize>(
        &self,
        s: S,
        i: usize,
        k: usize,
        t: usize,
        [n, down, across]: [usize; 3],
    ) {
        let geom = self.kernel.geom();
        let size = [geom.rows - down * M, geom.cols - across * M];
        let place =
            |at: &Strides| at.offset + n * at.image + k * at.block + down * M * at.row + across * M;
        let group = self.kernel.group_range(self.g).len();
        let from = i * self.kernel.chunk + t;
        assert!(
            from < group * self.kernel.chunk
                && self.m.len() >= T * T * apart(group * self.kernel.chunk)
        );
        let step = apart(group * self.kernel.chunk);
        let mut half = [[s.zero(); T]; M];
        for c in 0..T {
            let mut column = [s.zero(); T];
            for r in 0..T {
                // SAFETY: (r·T + c)·step + from is below T²·step, which M has (asserted above).
                column[r] = s.load(unsafe { self.m.get_unchecked((r * T + c) * step + from) });
            }
            let column = F::output(s, column);
            for r in 0..M {
                half[r][c] = column[r];
            }
        }
        let y = place(&geom.y);
        let add = self.epilogue.add.map(|(add, at)| (&add[place(&at)..], at.row));
        let bias = self.epilogue.bias.map_or(s.zero(), |bias| s.load(&bias[k]));
        // SAFETY: the rows and columns below `size` are outputs of the image, so they are within `y` (`geom.check` in
        // `Winograd::run`), and only this job writes these tiles of k.
        unsafe {
            if size[0] >= M && size[1] >= M {
                self.finish::<F, S, M, T>(s, &half, bias, y, add, [M; 2]);
            } else {
                self.finish::<F, S, M, T>(s, &half, bias, y, add, size);
            }
        }
    }

    /// The second half of the transform, the epilogue, and the pixels of the tile at block `y` of the output.
    ///
    /// # Safety
    /// The first `rows` rows and `cols` columns (at most M) from there on are within y, and this job's alone.
    #[inline(always)]
    unsafe fn finish<F: Filter<M, T>, S: Simd, const M: usize, const T: usize>(
        &self,
        s: S,
        half: &[[S::V; T]; M],
        bias: S::V,
        y: usize,
        add: Option<(&[Y], usize)>,
        [rows, cols]: [usize; 2],
    ) {
        for r in 0..rows.min(M) {
            let line = F::output(s, half[r]);
            let add = add.map(|(add, row)| &add[r * row..][..cols.min(M)]);
            for c in 0..cols.min(M) {
                // SAFETY: the caller's promise.
                let y = unsafe { &mut *self.y.pointer().add(y + r * self.kernel.geom().y.row + c) };
                let mut value = s.add(line[c], bias);
                if let Some(add) = add {
                    value = s.add(value, add[c].load(s));
                }
                if self.epilogue.accumulate {
                    value = s.add(value, y.load(s));
                }
                y.store(s, if self.epilogue.relu { s.relu(value) } else { value });
            }
        }
    }
}
