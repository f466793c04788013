//! Direct convolution in groups that are no whole blocks of channels: several share a block, or a block cuts some.
//!
//! Output channel o of a group with I inputs and O outputs reads the inputs I·⌊o/O⌋ + i, i in 0..I. Packed weights have zeros
//! for all other channels of the blocks that sixteen outputs read; here they meet no zeros:
//!
//! ```text
//! v[t][i] = Σ w[k][t][I·g + i]                          over the groups g of an output block, which have no output in common
//! s[pixel][i] = x[pixel][I·⌊o/O⌋ + i]                   for the sixteen outputs o, picked from the blocks where these are
//! acc[p] += s[pixel p + t][i] · v[t][i]                 for every tap t, i in 0..I
//! ```
//!
//! What was picked is kept in lines ([`Lines`]). At stride 1, three taps that are neighbouring pixels also share what was
//! loaded: what is pixel `c` for the first of them is pixel `c − 1` for the second and `c − 2` for the third. In bf16 a factor
//! is a pair of channels, and weights are packed without the zeros. Where an instruction set spreads the channels of groups of four and
//! eight, they need no lines ([`Tiles::run_spread`]).

use super::tiles::Tiles;
use crate::block::{Block, LANES};
use crate::conv::{ConvGeom, Group};
use crate::element::Element;
use crate::lines::{Lines, Picks};
use crate::pixel::Pixel;
use crate::precision::Precision;
use crate::simd::{Kernel, Simd, is_f32};

/// Most blocks of all lines of a tile, about a first-level cache.
const LINES: usize = 512;

impl ConvGeom {
    /// v\[`t`\]\[`i`\] of output block `k`, from packed weights; zero where the group has no channel `i`.
    #[inline(always)]
    pub(super) fn without_zeros<S: Simd>(
        &self,
        s: S,
        group: Group,
        weights: &[Block],
        [k, t, i]: [usize; 3],
    ) -> S::V {
        let mut sum = s.zero();
        if i < group.inputs {
            for g in self.groups_of(group, k) {
                let channel = g * group.inputs + i;
                if let Some(at) = self.packed_index(k, channel / LANES, t, channel % LANES) {
                    sum = s.add(sum, s.load(&weights[at]));
                }
            }
        }
        sum
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
pub(super) use columns;

/// Tiles of P pixels of each row of an output block, in a function of its own.
struct Row<'a, E: Element, Y, const T: usize, const NEXT: bool, const P: usize> {
    tiles: &'a Tiles<'a, E, Y>,
    col: usize,
    /// How many tiles, one after the other.
    count: usize,
    picks: &'a Picks<E>,
    lines: &'a mut Lines<LINES>,
    weights: &'a [Block],
}

impl<E: Element, Y: Pixel, const T: usize, const NEXT: bool, const P: usize> Kernel
    for Row<'_, E, Y, T, NEXT, P>
{
    type Output = ();
    const PRECISION: Precision = E::PRECISION;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { tiles, col, count, picks, lines, weights } = self;
        let geom = tiles.geom;
        let block = geom.first[tiles.piece.k] * geom.x.block;
        let at = geom.x.offset + tiles.piece.image * geom.x.image + block + col * geom.x.pixel;
        let taps = geom.tap_runs::<T>();
        for row in tiles.piece.rows.clone() {
            let starts = taps.clone().map(|run| at + row * geom.x.row + run.offset);
            // SAFETY: the kernel's `run` has checked that all elements are there, and these pixels are the piece's; see
            // `Tiles::tile`. The input has all lanes of the blocks of a group, of which there are sixteen (`geom.grouped`),
            // for every pixel and tap: the first and the last pixel of a line are such, the others lie between.
            unsafe {
                lines.pick_all(s, picks, (tiles.x.as_ptr(), geom.x.block), starts);
                for tile in 0..count {
                    tiles.grouped_tile::<S, T, NEXT, P>(s, [row, col], tile * P, lines, weights);
                }
            }
        }
    }
}

impl<E: Element, Y: Pixel> Tiles<'_, E, Y> {
    /// All tiles, of a geometry with groups. `weights` are those of the piece's output block without zeros, in the order of taps
    /// and of factors of a group.
    #[inline(always)]
    pub(crate) fn run_grouped<S: Simd>(&self, s: S, group: Group, weights: &[Block]) {
        if const { is_f32::<Self>() && S::SPREADS } && self.geom.in_threes() {
            match (group.inputs, group.outputs) {
                (4, 4) => return self.run_spread::<S, 4>(s, weights),
                (8, 8) => return self.run_spread::<S, 8>(s, weights),
                _ => {}
            }
        }
        match (self.geom.in_threes(), self.geom.x.pixel == LANES) {
            (true, true) => self.grouped_tiles::<S, 3, true>(s, group, weights),
            (true, false) => self.grouped_tiles::<S, 3, false>(s, group, weights),
            (false, _) => self.grouped_tiles::<S, 1, true>(s, group, weights),
        }
    }

    /// With taps in runs of T. `NEXT`: the pixels of a line that a tap meets are neighbours.
    #[inline(always)]
    fn grouped_tiles<S: Simd, const T: usize, const NEXT: bool>(
        &self,
        s: S,
        group: Group,
        weights: &[Block],
    ) {
        let (geom, cols) = (self.geom, &self.piece.cols);
        let picks = Picks::new(geom, group, self.piece.k);
        let mut lines = Lines::new::<T>(geom, geom.taps.len() / T, group.inputs.div_ceil(E::DEPTH));
        // Where registers are few and tiles narrow, a line serves several: what it costs is spread among them.
        let several = const { S::GROUPED_TILE < S::TILE[0] };
        let widest = S::GROUPED_TILE.min(lines.widest());
        let tiles = cols.len().div_ceil(widest);
        let mut col = cols.start;
        let mut tile = 0;
        while tile < tiles {
            let width = (cols.end - col).div_ceil(tiles - tile);
            let same =
                if several { (lines.widest() / width).min((cols.end - col) / width) } else { 1 };
            let count = same.min(tiles - tile);
            lines.begin(count * width);
            macro_rules! by_width {
                ($($p:literal)*) => {
                    match width {
                        $($p if const { $p <= S::GROUPED_TILE } => s.run(Row::<E, Y, T, NEXT, $p> {
                            tiles: self, col, count, picks: &picks, lines: &mut lines, weights,
                        }),)*
                        _ => unreachable!("no tile is wider than the instruction set's"),
                    }
                };
            }
            by_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
            col += count * width;
            tile += count;
        }
    }

    /// Computes P pixels of an output block from the lines for `row`, which begin at column `col`: those from their
    /// `first` on.
    ///
    /// # Safety
    /// As [`Tiles::tile`].
    #[inline(always)]
    unsafe fn grouped_tile<S: Simd, const T: usize, const NEXT: bool, const P: usize>(
        &self,
        s: S,
        [row, col]: [usize; 2],
        first: usize,
        lines: &Lines<LINES>,
        weights: &[Block],
    ) {
        let mut acc: [[S::V; P]; 1] = self.biases(s);
        let (steps, width, apart) = (lines.steps(), lines.width(), lines.apart());
        // What the loops below rely on, which check nothing themselves.
        assert!(width >= (first + P - 1) * apart + T);
        assert!(weights.len() >= self.geom.taps.len() * steps);
        for (number, run) in self.geom.tap_runs::<T>().enumerate() {
            let pixels = &lines.of_run(number)[..steps * width];
            for i in 0..steps {
                // SAFETY: the taps are some of the geometry's, and a line has `width` pixels for each of the steps (asserted
                // above). Loops, since a closure that is not inlined has none of the instruction set.
                unsafe {
                    let pixels = pixels.as_ptr().add(i * width + first * apart);
                    let mut factors = [s.zero(); T];
                    for t in 0..T {
                        factors[t] = s.load(weights.get_unchecked(run.taps[t] * steps + i));
                    }
                    if NEXT {
                        columns!(c < P + T - 1, {
                            let value = s.load(&*pixels.add(c));
                            for t in 0..T {
                                if t <= c && c - t < P {
                                    acc[0][c - t] = E::mul_add(s, value, factors[t], acc[0][c - t]);
                                }
                            }
                        });
                    } else {
                        for t in 0..T {
                            for p in 0..P {
                                let value = s.load(&*pixels.add(p * apart + t));
                                acc[0][p] = E::mul_add(s, value, factors[t], acc[0][p]);
                            }
                        }
                    }
                }
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.finish::<S, 1, P, P>(s, row, col + first, acc) }
    }
}
