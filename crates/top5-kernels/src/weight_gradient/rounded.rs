//! Strips of pairs of bf16, rounded on the way.
//!
//! The sum over pixels has pairs of products if the same pixel of two images is one pair:
//!
//! ```text
//! acc[l][k] += x[2i, b, pixel + t, l] · dy[2i, k, pixel] + x[2i + 1, b, pixel + t, l] · dy[2i + 1, k, pixel]
//! ```
//!
//! Pixels next to each other would be another pair, but a tap moves them apart by one. The images of a pair are rounded on the
//! way: each job lays the strip that is next, rounded, into scratch memory that stays in the second-level cache, where a
//! pair takes the place of a float. A whole rounded copy would take memory, and time to write and read it again; a strip is
//! rounded as often as there are jobs that read it, each time for many products. The last of an odd number of images is a
//! pair with zeros. Of a fully connected layer, whose pixels are the images, two pixels are a pair.
//!
//! Operands are rounded once, products are exact, and sums are kept in f32. With n products per weight, the result
//! differs from the exact one of the rounded operands by at most `(n + 2)·2⁻²⁴·Σ|x·dy|`.

use super::jobs::{Job, Jobs, Operands};
use super::strips::{Strip, Strips};
use crate::bf16::Bf16;
use crate::block::{Block, LANES};
use crate::conv::{ConvGeom, Strides};
use crate::precision::Precision;
use crate::simd::{Kernel, Simd};

/// Blocks of the largest strips of a job's inputs, and of all its strips.
pub(super) fn scratch(jobs: &Jobs, strips: &Strips) -> (usize, usize) {
    let (geom, [images, rows, cols]) = (&jobs.geom, strips.largest());
    let strip = Strip { images: 0..images, rows: 0..rows, cols: 0..cols };
    let [outputs, inputs] = jobs.largest();
    let x = inputs.saturating_mul(Operand::input(geom).len(&strip));
    let dy = outputs.saturating_mul(Operand::gradient(geom).len(&strip));
    (x, x.saturating_add(dy))
}

/// A job whose strips are rounded first.
pub(super) struct Rounded<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) n: usize,
    pub(super) x: &'a [f32],
    pub(super) dy: &'a [f32],
    pub(super) x_strip: &'a mut [Block],
    pub(super) dy_strip: &'a mut [Block],
}

impl Kernel for Rounded<'_> {
    type Output = ();
    const PRECISION: Precision = Precision::Bf16;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { job, n, x, dy, x_strip, dy_strip } = self;
        let (input, gradient) = (Operand::input(job.geom), Operand::gradient(job.geom));
        let first = job.geom.first[job.ks.start];
        for strip in job.strips() {
            let (x_len, dy_len) = (input.len(&strip), gradient.len(&strip));
            for (i, b) in job.bs.clone().enumerate() {
                // Beyond the input's last element nothing is read.
                if job.geom.lanes_of(first + b) > 0 {
                    let to = &mut x_strip[i * x_len..][..x_len];
                    input.round(simd, n, x, first + b, &strip, to);
                }
            }
            for (i, k) in job.ks.clone().enumerate() {
                let to = &mut dy_strip[i * dy_len..][..dy_len];
                gradient.round(simd, n, dy, k, &strip, to);
            }
            let Strip { images, rows, cols } = &strip;
            let size = [images.len(), rows.len(), cols.len()];
            // Pixels without anything between them are one row.
            let [images, rows, cols] = match input.piece {
                Piece::Image => size,
                Piece::Row | Piece::Pixel => [1, 1, size.iter().product()],
            };
            let operands = Operands {
                x: x_strip.as_ptr().cast(),
                dy: dy_strip.as_ptr(),
                x_at: input.rounded(&strip),
                dy_at: scaled(&gradient.rounded(&strip), |floats| floats / LANES),
                ahead: [0; 2],
            };
            let strip = Strip { images: 0..images, rows: 0..rows, cols: 0..cols };
            // SAFETY: for every block of the job that has lanes the strips hold the pieces of all pixels, each with all taps and
            // lanes.
            unsafe { job.add::<Bf16, S>(simd, &operands, &strip) };
        }
    }
}

/// In another unit.
fn scaled(s: &Strides, scale: impl Fn(usize) -> usize) -> Strides {
    Strides {
        offset: scale(s.offset),
        image: scale(s.image),
        block: scale(s.block),
        row: scale(s.row),
        pixel: scale(s.pixel),
    }
}

/// Where an operand is, and which of its floats follow each other in a strip.
struct Operand {
    /// In s.
    at: Strides,
    /// Floats that are read from a pixel's first on.
    reach: usize,
    batch_is_row: bool,
    piece: Piece,
}

/// What is copied as a whole, from its first float to its last.
#[derive(Clone, Copy)]
enum Piece {
    Image,
    Row,
    Pixel,
}

impl Operand {
    fn new(at: Strides, reach: usize, geom: &ConvGeom, taps: usize) -> Self {
        let piece = if geom.batch_is_row {
            Piece::Pixel
        } else if taps > 1 {
            Piece::Image
        } else if at.pixel == LANES && reach <= LANES {
            Piece::Row
        } else {
            Piece::Pixel
        };
        Self { at, reach, batch_is_row: geom.batch_is_row, piece }
    }

    fn input(geom: &ConvGeom) -> Self {
        let tap = geom.taps.iter().max().map_or(0, |&tap| tap);
        Self::new(geom.x, tap + geom.lanes.min(geom.depth), geom, geom.taps.len())
    }

    fn gradient(geom: &ConvGeom) -> Self {
        Self::new(scaled(&geom.y, |blocks| blocks * LANES), LANES, geom, 1)
    }

    /// Rows and columns of a piece.
    fn piece(&self, strip: &Strip) -> [usize; 2] {
        match self.piece {
            Piece::Image => [strip.rows.len(), strip.cols.len()],
            Piece::Row => [1, strip.cols.len()],
            Piece::Pixel => [1, 1],
        }
    }

    /// Floats of a piece.
    fn floats(&self, strip: &Strip) -> usize {
        let [rows, cols] = self.piece(strip).map(|count| count.saturating_sub(1));
        rows * self.at.row + cols * self.at.pixel + self.reach
    }

    /// Blocks of a strip of one channel block.
    fn len(&self, strip: &Strip) -> usize {
        let Strip { images, rows, cols } = strip;
        let pieces = match self.piece {
            Piece::Image => images.len(),
            Piece::Row => images.len() * rows.len(),
            Piece::Pixel => images.len() * rows.len() * cols.len(),
        };
        pieces.saturating_mul(self.floats(strip).div_ceil(LANES))
    }

    /// Where the strip's pairs are, in s.
    fn rounded(&self, strip: &Strip) -> Strides {
        let block = self.len(strip) * LANES;
        let piece = self.floats(strip).next_multiple_of(LANES);
        let (image, row, pixel) = match self.piece {
            Piece::Image => (piece, self.at.row, self.at.pixel),
            Piece::Row => (strip.rows.len() * piece, piece, self.at.pixel),
            Piece::Pixel => {
                let row = strip.cols.len() * piece;
                (strip.rows.len() * row, row, piece)
            }
        };
        Strides { offset: 0, image, block, row, pixel }
    }

    /// Rounds a strip of one channel block.
    #[inline(always)]
    fn round<S: Simd>(
        &self,
        simd: S,
        n: usize,
        source: &[f32],
        block: usize,
        strip: &Strip,
        to: &mut [Block],
    ) {
        let (at, [rows, cols], len) = (&self.at, self.piece(strip), self.floats(strip));
        let mut pieces = to.chunks_exact_mut(len.div_ceil(LANES));
        for image in strip.images.clone() {
            for row in strip.rows.clone().step_by(rows) {
                for col in strip.cols.clone().step_by(cols) {
                    let (pair, next) =
                        if self.batch_is_row { (col, at.pixel) } else { (image, at.image) };
                    let start = at.offset + block * at.block + pair * next;
                    let start = start + image * at.image + row * at.row + col * at.pixel;
                    let a = &source[start..][..len];
                    let b = if 2 * pair + 1 < n { &source[start + next..][..len] } else { &[] };
                    let to = pieces.next().expect("a strip has as many pieces");
                    pair_up(simd, a, b, to);
                }
            }
        }
    }
}

/// The pairs of two images' floats, or of one image's and zeros.
#[inline(always)]
fn pair_up<S: Simd>(s: S, a: &[f32], b: &[f32], to: &mut [Block]) {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let (whole, rest) = to.split_at_mut(a.len());
    if b.is_empty() {
        for (to, a) in whole.iter_mut().zip(a) {
            s.store(to, s.pairs(s.load_floats(a), s.zero()));
        }
    } else {
        for ((to, a), b) in whole.iter_mut().zip(a).zip(b) {
            s.store(to, s.pairs(s.load_floats(a), s.load_floats(b)));
        }
    }
    for to in rest {
        let (a, b) = (padded(a_rest), padded(b_rest));
        s.store(to, s.pairs(s.load(&a), s.load(&b)));
    }
}

fn padded(rest: &[f32]) -> Block {
    let mut block = Block::ZERO;
    block.0[..rest.len()].copy_from_slice(rest);
    block
}
