//! Where tiles are, and the elements of a kernel among the taps of a geometry.

use crate::block::LANES;
use crate::conv::ConvGeom;

/// Blocks from one position to the next where a position has `len`: an odd number, so that the lines that a tile's
/// transform writes do not compete for one place of the cache.
pub(super) const fn apart(len: usize) -> usize {
    len | 1
}

/// Image, row and column of a tile and those after it.
#[derive(Clone, Copy)]
pub(super) struct Places {
    /// Rows and columns of tiles in an image.
    tiles: [usize; 2],
    pub(super) at: [usize; 3],
}

impl Places {
    #[inline(always)]
    pub(super) fn new(tiles: [usize; 2], first: usize) -> Self {
        let [down, across] = tiles;
        let at = [first / (down * across), first / across % down, first % across];
        Self { tiles, at }
    }

    #[inline(always)]
    pub(super) fn advance(&mut self) {
        let [n, down, across] = &mut self.at;
        *across += 1;
        if *across == self.tiles[1] {
            *across = 0;
            *down += 1;
            if *down == self.tiles[0] {
                *down = 0;
                *n += 1;
            }
        }
    }
}

/// For each kernel element, in row-major order, its tap; `None` if the geometry is not a dense 3×3 convolution of stride
/// 1 over channel blocks.
pub(super) fn taps(geom: &ConvGeom) -> Option<[usize; 9]> {
    // Every block that is read exists: the products do not stop at the depth.
    let whole_depth = geom.lanes == LANES && geom.depth.div_ceil(LANES) >= geom.in_blocks();
    let unit = geom.x.pixel == LANES && geom.y.pixel == 1 && !geom.batch_is_row;
    let whole = [geom.x.offset, geom.x.image, geom.x.block, geom.x.row];
    if !whole_depth || !unit || whole.iter().any(|at| !at.is_multiple_of(LANES)) {
        return None;
    }
    let tap = |i: usize| {
        let place = i / 3 * geom.x.row + i % 3 * LANES;
        geom.taps.iter().position(|&tap| tap == place)
    };
    let found: Option<Vec<usize>> = (0..9).map(tap).collect();
    // Each tap is one element: where rows are not apart, several elements would find the same.
    let each = |found: &Vec<usize>| (0..9).all(|tap| found.contains(&tap));
    found.filter(|found| geom.taps.len() == 9 && each(found))?.try_into().ok()
}
