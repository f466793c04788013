//! Direct convolution in bf16 by the tiles of AMX: up to sixteen pixels meet sixteen channels in one instruction.
//!
//! ```text
//! for every image, OB output blocks, T tiles of M pixels of a row:
//!     acc[T][OB] = 0                                     M pixels × 16 channels each
//!     for input block b, tap t:
//!         acc[i][j] += x[pixels of i + t, b] · w[j][b][t]          M × lanes times lanes × 16
//!     y = epilogue(acc)
//! ```
//!
//! Weights are packed as for the other kernels in bf16, where those of a block and a tap are a tile as they lie; so are the pixels of
//! an input. All tiles of a piece have the same number of pixels, that which rows divide into best: the last of a row begins before
//! the end of the one before it where they would not fit, and only its own pixels are stored.
//!
//! Zeros between groups are multiplied as well: a tile takes the same time for any number of channels up to sixteen.

use super::tiles::Tiles;
use crate::bf16::Bf16;
use crate::block::{Block, LANES};
use crate::conv::ConvGeom;
use crate::element::Element;
use crate::pixel::Pixel;
use crate::precision::Precision;
use crate::simd::amx::{Amx, AmxTiles, MOST_PAIRS, MOST_ROWS, Sums};
use crate::simd::{Kernel, Simd, is_f32};

/// What the pieces of one geometry have in common.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    /// Bytes from a pixel of an output block's first input block to what each tap of each block reads.
    steps: Vec<usize>,
    pairs: usize,
}

impl Grid {
    /// If a pixel's channels fit a tile, and products are not too many.
    pub(super) fn new(geom: &ConvGeom) -> Option<Self> {
        let pairs = geom.lanes.div_ceil(2);
        if pairs > MOST_PAIRS || geom.blocks.saturating_mul(geom.taps.len()) > MOST_STEPS {
            return None;
        }
        let taps = |b: usize| geom.taps.iter().map(move |tap| b * geom.x.block + tap);
        let steps = (0..geom.blocks).flat_map(taps).map(|at| at * size_of::<Bf16>()).collect();
        Some(Self { steps, pairs })
    }

    /// Products that are computed for each that is asked for: those of lanes without a channel, of zeros between groups, and
    /// those that a tile of few pixels has time for.
    pub(super) fn excess(&self, geom: &ConvGeom, images: usize) -> f64 {
        let lanes = match geom.group {
            Some(group) => (geom.blocks * LANES) as f64 / group.inputs as f64,
            None => LANES.max(geom.lanes) as f64 / geom.lanes as f64,
        };
        let cols = if geom.batch_is_row { images } else { geom.cols };
        let (tiles, pixels) = divided(cols.max(1));
        lanes * (tiles * pixels.max(LEAST_ROWS)) as f64 / cols.max(1) as f64
    }
}

/// Most steps of a pixel, whose places are in memory.
const MOST_STEPS: usize = 1 << 16;

/// Tiles of fewer pixels take as long as those of so many.
const LEAST_ROWS: usize = 8;

/// The number of tiles for a row, and the pixels of each.
pub(crate) fn divided(cols: usize) -> (usize, usize) {
    let tiles = cols.div_ceil(MOST_ROWS).max(1);
    (tiles, cols.div_ceil(tiles).max(1))
}

/// A piece whose tiles are multiplied by AMX.
pub(super) struct GridTiles<'a, E, Y> {
    pub(super) grid: &'a Grid,
    /// In bf16, with all lanes of all input blocks in `x`, one more if they are odd in number.
    pub(super) tiles: Tiles<'a, E, Y>,
}

/// Some pixels of a row.
#[derive(Clone, Copy)]
struct Place {
    row: usize,
    col: usize,
    /// Pixels that an earlier tile has stored.
    stored: usize,
}

impl<E: Element, Y: Pixel> Kernel for GridTiles<'_, E, Y> {
    type Output = ();
    const PRECISION: Precision = E::PRECISION;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if const { is_f32::<Self>() || !S::AMX } {
            unreachable!("AMX multiplies bf16, beside AVX-512");
        }
        let piece = &self.tiles.piece;
        let (per_row, pixels) = divided(piece.cols.len());
        let place = |i: usize| {
            let start = piece.cols.start + i % per_row * pixels;
            let col = start.min(piece.cols.end - pixels);
            Place { row: piece.rows.start + i / per_row, col, stored: start - col }
        };
        let amx = Amx::new().expect("the engine chooses an available instruction set");
        let registers = amx.tiles(pixels, self.grid.pairs);
        let mut sums: Sums = [[[Block::ZERO; MOST_ROWS]; 2]; 2];
        let count = piece.rows.len() * per_row;
        let mut i = 0;
        while i < count {
            let two = [place(i), place((i + 1).min(count - 1))];
            // SAFETY: `Direct::compute` has checked that all elements are there; places are those of the piece, each once.
            unsafe {
                match (i + 1 < count, piece.ob) {
                    (true, 2) => self.tile::<S, 2, 2>(s, &registers, two, &mut sums),
                    (true, _) => self.tile::<S, 2, 1>(s, &registers, two, &mut sums),
                    (false, 2) => self.tile::<S, 1, 2>(s, &registers, [two[0]], &mut sums),
                    (false, _) => self.tile::<S, 1, 1>(s, &registers, [two[0]], &mut sums),
                }
            }
            i += 2;
        }
    }
}

impl<E: Element, Y: Pixel> GridTiles<'_, E, Y> {
    /// T tiles of OB output blocks.
    ///
    /// # Safety
    /// As [`Tiles::tile`] for all pixels of these places, the stored ones as far as `x` goes, of a piece of OB output blocks.
    #[inline(always)]
    unsafe fn tile<S: Simd, const T: usize, const OB: usize>(
        &self,
        s: S,
        registers: &AmxTiles,
        places: [Place; T],
        sums: &mut Sums,
    ) {
        let (geom, piece) = (self.tiles.geom, &self.tiles.piece);
        let (x, steps) = (&geom.x, &self.grid.steps);
        let start = x.offset + piece.image * x.image + geom.first[piece.k] * x.block;
        let stride = steps.len() * self.grid.pairs;
        // SAFETY: the caller's promise: inputs of each place at each step, weights of OB output blocks.
        unsafe {
            let x = places.map(|at| {
                self.tiles.x.as_ptr().add(start + at.row * x.row + at.col * x.pixel).cast()
            });
            let mut w = [self.tiles.w.as_ptr(); OB];
            for (ob, w) in w.iter_mut().enumerate() {
                *w = w.add((piece.k + ob - self.tiles.first) * stride);
            }
            registers.multiply(x, geom.x.pixel * size_of::<Bf16>(), steps, w, sums);
        }
        for (at, sums) in places.iter().zip(&*sums) {
            let mut p = at.stored;
            while p < registers.pixels() {
                // SAFETY: the caller's promise, of pixels that no earlier tile has stored.
                p += unsafe {
                    match registers.pixels() - p {
                        8.. => self.store::<S, OB, 8>(s, at, p, sums),
                        4..8 => self.store::<S, OB, 4>(s, at, p, sums),
                        _ => self.store::<S, OB, 1>(s, at, p, sums),
                    }
                };
            }
        }
    }

    /// Stores P pixels of a tile after the epilogue, and says how many.
    ///
    /// # Safety
    /// As [`Tiles::finish`] for these pixels.
    #[inline(always)]
    unsafe fn store<S: Simd, const OB: usize, const P: usize>(
        &self,
        s: S,
        at: &Place,
        p: usize,
        sums: &[[Block; MOST_ROWS]; 2],
    ) -> usize {
        let mut acc: [[S::V; P]; OB] = self.tiles.biases(s);
        for ob in 0..OB {
            for i in 0..P {
                acc[ob][i] = s.add(acc[ob][i], s.load(&sums[ob][p + i]));
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.tiles.finish::<S, OB, P, P>(s, at.row, at.col + p, acc) };
        P
    }
}

const _: () = assert!(LANES == MOST_ROWS);
