//! Weight gradients in bf16 by the tiles of AMX.
//!
//! ```text
//! acc[l][k] += Σ x[l][p] · dy[p][k]        for the sixteen lanes l of a tap and up to sixteen pixels p of a row, each a pair
//! ```
//!
//! A pair is the same pixel of two images, as in [`rounded`](super::rounded). Each job lays the strip that is next into scratch
//! memory, rounded: the gradient pixel by pixel, which is a tile as it lies; the input lane by lane, so that a tile of one tap is
//! sixteen rows of neighbouring pixels, and that of another tap begins some pixels later. That asks for pixels that are
//! neighbours: of a convolution with a stride only those of one tap are, which are laid one after the other.
//!
//! All tiles of a strip have the same number of pixels. Where a row is no multiple of it, the last tile goes beyond its end, where
//! the gradient is zero; what the input holds there is multiplied by that.

use super::jobs::Job;
use super::strips::Strip;
use crate::bf16::Bf16;
use crate::block::{Block, LANES};
use crate::conv::ConvGeom;
use crate::direct::divided;
use crate::precision::Precision;
use crate::simd::amx::{Amx, MOST_ROWS, Sums};
use crate::simd::{Kernel, Simd};

/// Whether tiles serve this loop nest: channels in whole blocks, pixels that are neighbours, and rows that are no batch.
pub(super) fn serves(geom: &ConvGeom) -> bool {
    let one = geom.taps.len() == 1;
    let offsets = [geom.x.offset, geom.x.image, geom.x.block, geom.x.row, geom.x.pixel];
    let whole = |at: &usize| at.is_multiple_of(LANES);
    let blocks = geom.lanes == LANES && offsets.iter().chain(&geom.taps).all(whole);
    blocks && !geom.batch_is_row && (one || geom.x.pixel == LANES)
}

/// Where a strip is laid.
struct Laid {
    images: usize,
    rows: usize,
    /// Tiles of a row, and pixels of a tile.
    tiles: usize,
    pixels: usize,
    /// Pixels of the input from an image to the next, and from a row to the next.
    x_image: usize,
    x_row: usize,
    /// Pixels of a lane of the input, and blocks of its sixteen lanes: a lane is an odd number of blocks, so that lanes do not all
    /// want the same places of a cache.
    x_lane: usize,
}

impl Laid {
    fn new(geom: &ConvGeom, [images, rows, cols]: [usize; 3]) -> Self {
        let tap = geom.taps.iter().max().map_or(0, |tap| tap / LANES);
        let one = geom.taps.len() == 1;
        // Pixels of one tap are one row.
        let [images, rows, cols] =
            if one { [1, 1, images * rows * cols] } else { [images, rows, cols] };
        let x_row = geom.x.row / LANES;
        let x_image = if one { cols } else { rows.saturating_sub(1) * x_row + cols + tap };
        let x_image = x_image.next_multiple_of(LANES);
        // One block more for what the last tile reads beyond its row.
        let x_lane = ((images * x_image / LANES + 1) | 1) * LANES;
        let (tiles, pixels) = divided(cols);
        Self { images, rows, tiles, pixels, x_image, x_row, x_lane }
    }

    /// Blocks of a row of an output block.
    fn dy_row(&self) -> usize {
        self.tiles * self.pixels
    }

    /// Blocks of an output block.
    fn dy_len(&self) -> usize {
        self.images * self.rows * self.dy_row()
    }

    /// Bytes from the first pixel of a lane to those of each tile.
    fn steps(&self) -> Vec<usize> {
        let places = (0..self.images * self.rows).flat_map(|i| {
            let start = i / self.rows * self.x_image + i % self.rows * self.x_row;
            (0..self.tiles).map(move |tile| start + tile * self.pixels)
        });
        places.map(|pixel| pixel * size_of::<f32>()).collect()
    }
}

/// Blocks of the largest strips of so many inputs, and with those of so many outputs.
pub(super) fn scratch(
    geom: &ConvGeom,
    [outputs, inputs]: [usize; 2],
    largest: [usize; 3],
) -> (usize, usize) {
    let x = inputs.saturating_mul(Laid::new(geom, largest).x_lane);
    // The tiles of a row go less than a block beyond its end.
    let [images, rows, cols] = largest;
    let dy = if geom.taps.len() == 1 {
        images * rows * cols + LANES
    } else {
        images * rows * (cols + LANES)
    };
    (x, x.saturating_add(outputs.saturating_mul(dy)))
}

/// A job whose strips are laid out for tiles first.
pub(super) struct Tiled<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) n: usize,
    pub(super) x: &'a [f32],
    pub(super) dy: &'a [Block],
    pub(super) x_strip: &'a mut [Block],
    pub(super) dy_strip: &'a mut [Block],
}

impl Kernel for Tiled<'_> {
    type Output = ();
    const PRECISION: Precision = Precision::Bf16;

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        if const { !S::AMX } {
            unreachable!("AMX is beside AVX-512");
        }
        let job = self.job;
        for strip in job.strips() {
            let Strip { images, rows, cols } = &strip;
            let laid = Laid::new(job.geom, [images.len(), rows.len(), cols.len()]);
            for i in 0..job.bs.len() {
                self.lay_input(s, &laid, &strip, i);
            }
            for i in 0..job.ks.len() {
                self.lay_gradient(s, &laid, &strip, i);
            }
            self.multiply(s, &laid);
        }
    }
}

impl Tiled<'_> {
    /// The `i`-th input block of the job.
    #[inline(always)]
    fn lay_input<S: Simd>(&mut self, s: S, laid: &Laid, strip: &Strip, i: usize) {
        let (job, at) = (self.job, &self.job.geom.x);
        let block = job.geom.first[job.ks.start] + job.bs.start + i;
        // Beyond the input's last element nothing is read.
        if job.geom.lanes_of(block) == 0 {
            return;
        }
        let len = laid.x_lane;
        let mut lanes = Lanes {
            to: &mut self.x_strip[i * len..][..len],
            lane: laid.x_lane / LANES,
            next: 0,
            columns: [Block::ZERO; LANES],
            filled: 0,
        };
        let one = job.geom.taps.len() == 1;
        for image in strip.images.clone() {
            let start = at.offset + block * at.block + 2 * image * at.image;
            let first = start + strip.rows.start * at.row + strip.cols.start * at.pixel;
            let next = if 2 * image + 1 < self.n { at.image } else { 0 };
            if one {
                for row in 0..strip.rows.len() {
                    for col in 0..strip.cols.len() {
                        lanes.push(s, pair(s, self.x, first + row * at.row + col * at.pixel, next));
                    }
                }
            } else {
                let tap = job.geom.taps.iter().max().map_or(0, |tap| tap / LANES);
                let pixels = (laid.rows - 1) * laid.x_row + strip.cols.len() + tap;
                for pixel in 0..pixels {
                    lanes.push(s, pair(s, self.x, first + pixel * LANES, next));
                }
                lanes.fill(s);
            }
        }
        lanes.fill(s);
        lanes.finish();
    }

    /// The `i`-th output block of the job.
    #[inline(always)]
    fn lay_gradient<S: Simd>(&mut self, s: S, laid: &Laid, strip: &Strip, i: usize) {
        let at = &self.job.geom.y;
        let block = self.job.ks.start + i;
        let len = laid.dy_len();
        let one = self.job.geom.taps.len() == 1;
        let (mut to, row_end) = (i * len, laid.dy_row());
        for image in strip.images.clone() {
            let two = 2 * image + 1 < self.n;
            for row in strip.rows.clone() {
                let start = at.offset + 2 * image * at.image + block * at.block + row * at.row;
                for (done, col) in strip.cols.clone().enumerate() {
                    let place = start + col * at.pixel;
                    let next = if two { s.load(&self.dy[place + at.image]) } else { s.zero() };
                    let pair = s.pairs(s.load(&self.dy[place]), next);
                    s.store(&mut self.dy_strip[to + done], pair);
                }
                to += strip.cols.len();
                if !one {
                    let end = to + row_end - strip.cols.len();
                    self.dy_strip[to..end].fill(Block::ZERO);
                    to = end;
                }
            }
        }
        self.dy_strip[to..(i + 1) * len].fill(Block::ZERO);
    }

    /// Adds the products of the strip that is laid out.
    #[inline(always)]
    fn multiply<S: Simd>(&self, s: S, laid: &Laid) {
        let job = self.job;
        let amx = Amx::new().expect("the engine chooses an available instruction set");
        let registers = amx.tiles(LANES, laid.pixels);
        let steps = laid.steps();
        let mut sums: Sums = [[[Block::ZERO; MOST_ROWS]; 2]; 2];
        let taps = job.geom.taps.len();
        let first = job.geom.first[job.ks.start];
        // Blocks that are there come first.
        let blocks = job.bs.clone().take_while(|b| job.geom.lanes_of(first + b) > 0).count();
        let lane = laid.x_lane * size_of::<f32>();
        let x = |a: usize| {
            let place = a / taps * laid.x_lane * LANES + job.geom.taps[a % taps] / LANES;
            self.x_strip.as_ptr().cast::<f32>().wrapping_add(place).cast::<Bf16>()
        };
        let dy = |k: usize| self.dy_strip.as_ptr().wrapping_add(k * laid.dy_len());
        let (outputs, inputs) = (job.ks.len(), blocks * taps);
        for k in (0..outputs).step_by(2) {
            for a in (0..inputs).step_by(2) {
                let (two_k, two_a) = (k + 1 < outputs, a + 1 < inputs);
                // SAFETY: the strips hold the pixels of all steps for each of the job's blocks that is there, and of all lanes
                // and taps, at most a tile beyond the end of a row.
                unsafe {
                    match (two_a, two_k) {
                        (true, true) => registers.multiply::<2, 2>(
                            [x(a), x(a + 1)],
                            lane,
                            &steps,
                            [dy(k), dy(k + 1)],
                            &mut sums,
                        ),
                        (true, false) => registers.multiply::<2, 1>(
                            [x(a), x(a + 1)],
                            lane,
                            &steps,
                            [dy(k)],
                            &mut sums,
                        ),
                        (false, true) => registers.multiply::<1, 2>(
                            [x(a)],
                            lane,
                            &steps,
                            [dy(k), dy(k + 1)],
                            &mut sums,
                        ),
                        (false, false) => {
                            registers.multiply::<1, 1>([x(a)], lane, &steps, [dy(k)], &mut sums)
                        }
                    }
                }
                for (a, sums) in (a..inputs).zip(&sums) {
                    for (k, sums) in (k..outputs).zip(sums) {
                        let b = job.bs.start + a / taps;
                        let lanes = job.geom.lanes_of(first + b);
                        // SAFETY: the pair is one of the job's, the tap is one of the geometry's.
                        unsafe { job.add_sums(s, [job.ks.start + k, b], a % taps, &sums[..lanes]) };
                    }
                }
            }
        }
        if job.past {
            s.fence();
        }
    }
}

/// The pixel at a place and the one that is so much farther on; none if that is 0.
#[inline(always)]
fn pair<S: Simd>(s: S, x: &[f32], place: usize, next: usize) -> S::V {
    let (pixels, _) = x[place..].as_chunks();
    let second =
        if next > 0 { s.load_floats(&x[place + next..].as_chunks().0[0]) } else { s.zero() };
    s.pairs(s.load_floats(&pixels[0]), second)
}

/// An input block being laid lane by lane: sixteen pixels are turned at once.
struct Lanes<'a> {
    to: &'a mut [Block],
    /// Blocks of a lane.
    lane: usize,
    /// Where in each lane the next sixteen pixels go.
    next: usize,
    columns: [Block; LANES],
    filled: usize,
}

impl Lanes<'_> {
    #[inline(always)]
    fn push<S: Simd>(&mut self, s: S, pixel: S::V) {
        s.store(&mut self.columns[self.filled], pixel);
        self.filled += 1;
        if self.filled == LANES {
            self.turn(s);
        }
    }

    /// Zeros up to a whole number of sixteen pixels.
    #[inline(always)]
    fn fill<S: Simd>(&mut self, s: S) {
        if self.filled > 0 {
            self.columns[self.filled..].fill(Block::ZERO);
            self.turn(s);
        }
    }

    #[inline(always)]
    fn turn<S: Simd>(&mut self, s: S) {
        let mut rows = [s.zero(); LANES];
        for i in 0..LANES {
            rows[i] = s.load(&self.columns[i]);
        }
        let columns = s.transpose(rows);
        for l in 0..LANES {
            s.store(&mut self.to[l * self.lane + self.next], columns[l]);
        }
        (self.next, self.filled) = (self.next + 1, 0);
    }

    /// Zeros to the end of each lane.
    fn finish(self) {
        for lane in self.to.chunks_exact_mut(self.lane) {
            lane[self.next..].fill(Block::ZERO);
        }
    }
}
