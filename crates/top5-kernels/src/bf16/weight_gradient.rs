//! The gradient of a convolution with respect to its weights in bf16, in the loop nest of
//! [`weight_gradient`](crate::weight_gradient).
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

use super::{Bf16Isa, KernelBf16, SimdBf16};
use crate::block::{Block, LANES};
use crate::conv::{ConvGeom, Strides};
use crate::multiply::Pairs;
use crate::simd::Simd;
use crate::threads::Threads;
use crate::weight_gradient::{Job, Operands, Split, Strip, Strips};

/// The weight gradient of one convolution, multiplied in bf16.
#[derive(Clone, Debug)]
pub struct WeightGradientBf16 {
    isa: Bf16Isa,
    split: Split,
}

/// Most output and input blocks of a job: their strips are half of a second-level cache.
const GROUP: [usize; 2] = [16, 8];

impl WeightGradientBf16 {
    /// The kernel for the geometry of the forward pass, as that of [`WeightGradient`](crate::weight_gradient::WeightGradient).
    pub fn new(isa: Bf16Isa, geom: ConvGeom) -> Self {
        Self { isa, split: Split::new(geom, GROUP) }
    }

    /// Its name: `bf16_conv_weight_gradient_avx512`.
    pub fn name(&self) -> String {
        format!("bf16_conv_weight_gradient_{}", self.isa)
    }

    /// Blocks of scratch memory for at most `n` images and this many threads.
    pub fn workspace(&self, n: usize, threads: usize) -> usize {
        let strips = self.strips(n);
        let [x, dy] = self.lengths(&strips);
        self.split.copies(&strips) + threads * (x + dy)
    }

    /// Vectors that are rounded for each that is multiplied.
    pub fn roundings(&self) -> f64 {
        let ([outputs, inputs], geom) = (self.split.largest(), &self.split.geom);
        let products = outputs * inputs * geom.taps.len() * geom.lanes;
        (outputs as f64 + (inputs * geom.lanes) as f64 / LANES as f64) / products as f64
    }

    /// Strips of pairs.
    fn strips(&self, n: usize) -> Strips {
        let geom = &self.split.geom;
        let (images, cols) = geom.extent(n);
        let (images, cols) =
            if geom.batch_is_row { (images, cols.div_ceil(2)) } else { (images.div_ceil(2), cols) };
        Strips::new(geom, images, cols)
    }

    /// Blocks of the largest strips of the input and of the output's gradient.
    fn lengths(&self, strips: &Strips) -> [usize; 2] {
        let (geom, [images, rows, cols]) = (&self.split.geom, strips.largest());
        let strip = Strip { images: 0..images, rows: 0..rows, cols: 0..cols };
        let [outputs, inputs] = self.split.largest();
        let [x, dy] = [Source::input(geom), Source::gradient(geom)].map(|s| s.len(&strip));
        [inputs * x, outputs * dy]
    }

    /// Writes the packed gradient to `dw`. Places of `dw` that hold no weight become zero.
    ///
    /// # Panics
    /// If an operand is too short for the geometry, or `work` than [`WeightGradientBf16::workspace`].
    pub fn run(
        &self,
        threads: &Threads,
        n: usize,
        x: &[f32],
        dy: &[Block],
        work: &mut [Block],
        dw: &mut [Block],
    ) {
        self.split.geom.check(n, x.len(), dy.len());
        let strips = self.strips(n);
        let lengths = self.lengths(&strips);
        let scratch = lengths[0] + lengths[1];
        self.split.run(threads, &strips, (work, scratch), dw, |job, scratch| {
            let (x_strip, dy_strip) = scratch.split_at_mut(lengths[0]);
            self.isa.run(Rounded { job, n, x, dy: Block::flat(dy), x_strip, dy_strip });
        });
    }
}

/// A job whose strips are rounded first.
struct Rounded<'a> {
    job: &'a Job<'a>,
    n: usize,
    x: &'a [f32],
    dy: &'a [f32],
    x_strip: &'a mut [Block],
    dy_strip: &'a mut [Block],
}

impl KernelBf16 for Rounded<'_> {
    type Output = ();

    #[inline(always)]
    fn run<D: SimdBf16>(self, simd: D) {
        let Self { job, n, x, dy, x_strip, dy_strip } = self;
        let (input, gradient) = (Source::input(job.geom), Source::gradient(job.geom));
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
            };
            let strip = Strip { images: 0..images, rows: 0..rows, cols: 0..cols };
            // SAFETY: for every block of the job that has lanes the strips hold the pieces of all pixels, each with all taps and
            // lanes.
            unsafe { job.add(Pairs(simd), &operands, &strip) };
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
struct Source {
    /// In floats.
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

impl Source {
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
        pieces * self.floats(strip).div_ceil(LANES)
    }

    /// Where the strip's pairs are, in floats.
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
    fn round<D: SimdBf16>(
        &self,
        simd: D,
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
fn pair_up<D: SimdBf16>(simd: D, a: &[f32], b: &[f32], to: &mut [Block]) {
    let floats = simd.floats();
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let (whole, rest) = to.split_at_mut(a.len());
    if b.is_empty() {
        for (to, a) in whole.iter_mut().zip(a) {
            floats.store(to, simd.pairs(floats.load_floats(a), floats.zero()));
        }
    } else {
        for ((to, a), b) in whole.iter_mut().zip(a).zip(b) {
            floats.store(to, simd.pairs(floats.load_floats(a), floats.load_floats(b)));
        }
    }
    for to in rest {
        let (a, b) = (padded(a_rest), padded(b_rest));
        floats.store(to, simd.pairs(floats.load(&a), floats.load(&b)));
    }
}

fn padded(rest: &[f32]) -> Block {
    let mut block = Block::ZERO;
    block.0[..rest.len()].copy_from_slice(rest);
    block
}
