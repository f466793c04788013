//! Direct convolution to few channels: a vector is sixteen input channels instead of sixteen output channels.
//!
//! ```text
//! acc[c][p] += x[image, b, pixel p + t, 0..16] · w[b][t][0..16][c]        for input block b, tap t
//! y[pixel p][c] = the sum of the lanes of acc[c][p]
//! ```
//!
//! A tap of an input block takes as many multiply-adds as there are output channels, where it takes sixteen otherwise:
//! the gradient of the input of LeNet's second convolution has six channels.

use super::tiles::Tiles;
use crate::block::{Block, LANES};
use crate::conv::{ConvGeom, Strides};
use crate::element::Element;
use crate::pixel::Pixel;
use crate::simd::Simd;

/// Most output channels.
const CHANNELS: usize = 8;
/// Most pairs of an input block and a tap: their weights are on the stack.
const PAIRS: usize = 32;
/// Most pixels of a tile, with three channels.
const PIXELS: usize = 7;
/// Fewest pixels for which the weights are transposed.
const LEAST: usize = 64;

impl ConvGeom {
    /// Whether vectors of input channels serve this loop nest better.
    pub(super) fn suits_dots(&self) -> bool {
        let Strides { offset, image, block, row, pixel } = self.x;
        let few = self.out_blocks() == 1 && self.out_channels <= CHANNELS && !self.batch_is_row;
        let pairs = self.blocks * self.taps.len();
        let whole = self.lanes == LANES
            && self.first.iter().all(|first| (first + self.blocks) * LANES <= self.depth)
            && [offset, image, block, row, pixel].iter().all(|at| at.is_multiple_of(LANES))
            && self.taps.iter().all(|tap| tap.is_multiple_of(LANES));
        few && whole && pairs <= PAIRS && self.rows * self.cols >= LEAST
    }
}

/// The weights of each pair, a vector of input channels for each output channel.
type Weights = [[Block; CHANNELS]; PAIRS];

/// The sums of each pixel and channel, still in lanes. Those of channels that do not exist are zero.
type Sums = [[Block; CHANNELS]; PIXELS + 1];

impl<E: Element, Y: Pixel> Tiles<'_, E, Y> {
    /// All pixels of the piece.
    ///
    /// # Safety
    /// As [`Tiles::tile`] for all rows and columns of the piece, of a geometry that suits; E is f32.
    #[inline(always)]
    pub(super) unsafe fn dots<S: Simd>(&self, s: S) {
        let mut w: Weights = [[Block::ZERO; CHANNELS]; PAIRS];
        for (w, packed) in w.iter_mut().zip(self.w.chunks_exact(LANES)) {
            let mut rows = [s.zero(); LANES];
            for lane in 0..LANES {
                rows[lane] = s.load(&packed[lane]);
            }
            let columns = s.transpose(rows);
            for c in 0..CHANNELS {
                s.store(&mut w[c], columns[c]);
            }
        }
        let mut sums: Sums = [[Block::ZERO; CHANNELS]; PIXELS + 1];
        let tiles = self.piece.cols.len().div_ceil(PIXELS);
        for row in self.piece.rows.clone() {
            let mut col = self.piece.cols.start;
            for tile in 0..tiles {
                let width = (self.piece.cols.end - col).div_ceil(tiles - tile);
                macro_rules! by_width {
                    ($($p:literal)*) => {
                        match width {
                            // SAFETY: the pixels are those of the piece; the caller's promise.
                            $($p => unsafe { self.dots_of::<S, $p>(s, &w, row, col, &mut sums) },)*
                            _ => unreachable!("tiles are at most 7 pixels wide"),
                        }
                    };
                }
                by_width!(1 2 3 4 5 6 7);
                col += width;
            }
        }
    }

    /// P pixels of a row.
    ///
    /// # Safety
    /// As [`Tiles::tile`], of a geometry that suits; E is f32.
    #[inline(always)]
    unsafe fn dots_of<S: Simd, const P: usize>(
        &self,
        s: S,
        w: &Weights,
        row: usize,
        col: usize,
        sums: &mut Sums,
    ) {
        let mut c = 0;
        while c < self.geom.out_channels {
            // SAFETY: the caller's promise; there are as many channels from c on.
            unsafe {
                match self.geom.out_channels - c {
                    1 => self.sums::<S, P, 1>(s, w, row, col, c, sums),
                    2 => self.sums::<S, P, 2>(s, w, row, col, c, sums),
                    _ => self.sums::<S, P, 3>(s, w, row, col, c, sums),
                }
            }
            c += 3;
        }
        for pair in 0..P.div_ceil(2) {
            let mut rows = [s.zero(); LANES];
            for i in 0..LANES {
                rows[i] = s.load(&sums[2 * pair + i / CHANNELS][i % CHANNELS]);
            }
            let mut columns = s.transpose(rows);
            for step in [8, 4, 2, 1] {
                for i in 0..step {
                    columns[i] = s.add(columns[i], columns[i + step]);
                }
            }
            // The channels of one pixel, then those of the next.
            let mut two = Block::ZERO;
            s.store(&mut two, columns[0]);
            for (p, sums) in (2 * pair..P).zip(two.0.chunks_exact(CHANNELS)) {
                let mut block = Block::ZERO;
                block.0[..CHANNELS].copy_from_slice(sums);
                let [[bias]] = self.biases::<_, 1, 1>(s);
                let acc = [[s.add(bias, s.load(&block))]];
                // SAFETY: the caller's promise.
                unsafe { self.finish::<_, 1, 1, 1>(s, row, col + p, acc) };
            }
        }
    }

    /// The sums of C channels from `first` on.
    ///
    /// # Safety
    /// As [`Tiles::tile`], of a geometry that suits; E is f32 and has these channels.
    #[inline(always)]
    unsafe fn sums<S: Simd, const P: usize, const C: usize>(
        &self,
        s: S,
        w: &Weights,
        row: usize,
        col: usize,
        first: usize,
        sums: &mut Sums,
    ) {
        let geom = self.geom;
        let mut acc = [[s.zero(); P]; C];
        let at = geom.x.offset
            + self.piece.image * geom.x.image
            + geom.first[0] * geom.x.block
            + row * geom.x.row
            + col * geom.x.pixel;
        let mut w = w.iter();
        for b in 0..geom.blocks {
            for (&tap, w) in geom.taps.iter().zip(&mut w) {
                for p in 0..P {
                    let at = at + b * geom.x.block + tap + p * geom.x.pixel;
                    // SAFETY: below what `geom.check` asserted; all offsets are whole blocks of `x`, whose memory is
                    // blocks.
                    let x = s.load(unsafe { &*self.x.as_ptr().add(at).cast::<Block>() });
                    for c in 0..C {
                        acc[c][p] = s.mul_add(x, s.load(&w[first + c]), acc[c][p]);
                    }
                }
            }
        }
        for p in 0..P {
            for c in 0..C {
                s.store(&mut sums[p][first + c], acc[c][p]);
            }
        }
    }
}
