//! Local response normalisation across channels.
//!
//! ```text
//! forward:   s_c = k + a·Σ_{j near c} x_j²,   y_c = x_c·s_c^(−beta)
//! backward:  dx_c = dy_c·s_c^(−beta) − 2·a·beta·x_c·Σ_{j near c} dy_j·x_j·s_j^(−beta−1)
//! ```
//!
//! A window of channels reaches into the blocks beside that of its channel. What is summed is therefore copied first, for
//! some pixels at a time, to where the channels of a pixel lie one after the other: there a window's sum for sixteen channels
//! is a sum of vectors, each one float further. The backward pass does so twice, and takes each power once.

use crate::block::{Block, LANES, Layout};
use crate::elementwise::{JOB, Operand};
use crate::isa::Isa;
use crate::pixel::Pixel;
use crate::simd::{Kernel, Simd};
use crate::threads::{SharedMut, Threads};
use std::ops::Range;

/// Constants of the normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LrnGeom {
    /// Channels in a window; odd, below 64.
    pub size: usize,
    /// Factor of the sum of squares.
    pub alpha: f32,
    /// Exponent.
    pub beta: f32,
    /// Constant under the power.
    pub k: f32,
}

/// Channels on each side of a block that its windows may reach, in whole blocks.
const REACH: usize = 2;
/// Most pixels of a place.
const PIXELS: usize = 8;
/// Most blocks of channels of a place.
const BLOCKS: usize = 16;
/// Blocks of a place, with those on both sides that the sums of sums reach.
const SLOTS: usize = BLOCKS + 4 * REACH;

impl LrnGeom {
    /// Whole blocks on each side of a block that its windows reach.
    fn reach(&self) -> usize {
        (self.size / 2).div_ceil(LANES)
    }

    /// `k + a·Σ` of the window around each channel of a slot.
    #[inline(always)]
    fn base<S: Simd>(&self, s: S, squares: &Line, slot: usize) -> S::V {
        s.mul_add(self.window_sum(s, squares, slot), s.splat(self.alpha), s.splat(self.k))
    }

    /// The sum over the window around each channel of a slot.
    #[inline(always)]
    fn window_sum<S: Simd>(&self, s: S, line: &Line, slot: usize) -> S::V {
        let start = slot * LANES - self.size / 2;
        let mut sum = s.zero();
        for window in Block::flat(line)[start..start + self.size - 1 + LANES].windows(LANES) {
            sum = s.add(sum, s.load_floats(window.try_into().expect("sixteen floats")));
        }
        sum
    }
}

/// `base^(−exponent)` lane by lane; by square roots for AlexNet's and GoogLeNet's 0.75.
#[inline(always)]
fn inverse_power<S: Simd>(s: S, base: S::V, exponent: f32) -> S::V {
    if exponent == 0.75 {
        let root = s.sqrt(base);
        return s.div(s.splat(1.0), s.mul(root, s.sqrt(root)));
    }
    let mut lanes = Block::ZERO;
    s.store(&mut lanes, base);
    s.load(&Block(lanes.0.map(|b| b.powf(-exponent))))
}

/// Some pixels of a row, and some blocks of their channels.
struct Place {
    row: usize,
    cols: Range<usize>,
    blocks: Range<usize>,
    /// Blocks of the map.
    total: usize,
}

impl Place {
    /// All of these rows.
    fn all(rows: Range<usize>, layout: &Layout) -> impl Iterator<Item = Self> {
        let (width, total) = (layout.width, layout.blocks());
        let cols = move || (0..width).step_by(PIXELS).map(move |at| at..width.min(at + PIXELS));
        let blocks = move || (0..total).step_by(BLOCKS).map(move |at| at..total.min(at + BLOCKS));
        rows.flat_map(move |row| cols().map(move |cols| (row, cols))).flat_map(
            move |(row, cols)| {
                blocks().map(move |blocks| Self { row, cols: cols.clone(), blocks, total })
            },
        )
    }

    /// The slots of its blocks and so many on both sides.
    fn slots(&self, beside: usize) -> Range<usize> {
        2 * REACH - beside..2 * REACH + self.blocks.len() + beside
    }

    /// The block of a slot, if the map has it.
    fn block(&self, slot: usize) -> Option<usize> {
        (self.blocks.start + slot).checked_sub(2 * REACH).filter(|&block| block < self.total)
    }

    /// Where its pixels of this block are in an image.
    fn within(&self, layout: &Layout, block: usize) -> Range<usize> {
        let start = block * layout.plane() + layout.start(self.row);
        start + self.cols.start..start + self.cols.end
    }
}

/// A value for each channel of a pixel that a place reads.
type Line = [Block; SLOTS];

/// A value for each channel of the pixels of a place; zero beyond those of the map.
struct Lines([Line; PIXELS]);

impl Lines {
    #[inline(always)]
    fn new() -> Self {
        Self([[Block::ZERO; SLOTS]; PIXELS])
    }

    #[inline(always)]
    fn clear(&mut self, slot: usize) {
        for line in &mut self.0 {
            line[slot] = Block::ZERO;
        }
    }

    /// The squares of the channels in these slots.
    #[inline(always)]
    fn square<S: Simd, P: Pixel>(
        &mut self,
        s: S,
        (x, layout): Operand<'_, P>,
        place: &Place,
        slots: Range<usize>,
    ) {
        for slot in slots {
            let Some(block) = place.block(slot) else {
                self.clear(slot);
                continue;
            };
            for (line, x) in self.0.iter_mut().zip(&x[place.within(layout, block)]) {
                let x = x.load(s);
                s.store(&mut line[slot], s.mul(x, x));
            }
        }
    }
}

/// The result's image, of which a job has some rows.
struct Out<'a, P> {
    image: SharedMut<P>,
    layout: &'a Layout,
    rows: Range<usize>,
}

impl<P: Pixel> Out<'_, P> {
    /// The pixels of a block of a place in these rows.
    #[inline(always)]
    fn pixels(&mut self, place: &Place, block: usize) -> &mut [P] {
        let Range { start, end } = place.within(self.layout, block);
        // SAFETY: `split` made this of an image that lies within the result and of rows that no other job has; places are
        // of these rows and of the columns and blocks of x, which are those of the result (asserted there).
        unsafe { std::slice::from_raw_parts_mut(self.image.pointer().add(start), end - start) }
    }
}

/// Calls `job` with the number of an image and some rows of its result, for all of `n`.
fn split<P: Pixel>(
    threads: &Threads,
    n: usize,
    (geom, x): (&LrnGeom, &Layout),
    (y, layout): (&mut [P], &Layout),
    job: impl Fn(usize, Out<'_, P>) + Sync,
) {
    assert!(!geom.size.is_multiple_of(2) && geom.size < 2 * REACH * LANES, "size of the window");
    let sizes = |l: &Layout| (l.channels, l.height, l.width);
    assert_eq!(sizes(x), sizes(layout), "what is read and the result");
    assert!(layout.fits(n, y.len()), "the images are not within the result");
    let rows = JOB.div_ceil((layout.width * layout.blocks()).max(1));
    let jobs = layout.height.div_ceil(rows);
    let y = SharedMut(y.as_mut_ptr());
    threads.run(n * jobs, |i| {
        let (image, first) = (i / jobs, i % jobs * rows);
        let rows = first..layout.height.min(first + rows);
        let image_of = SharedMut(y.pointer().wrapping_add(image * layout.image()));
        job(image, Out { image: image_of, layout, rows });
    });
}

struct Forward<'a, P> {
    geom: &'a LrnGeom,
    x: Operand<'a, P>,
    y: Out<'a, P>,
}

impl<P: Pixel> Kernel for Forward<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { geom, x: (x, layout), mut y } = self;
        let mut squares = Lines::new();
        for place in Place::all(y.rows.clone(), layout) {
            squares.square(s, (x, layout), &place, place.slots(geom.reach()));
            for (block, slot) in place.blocks.clone().zip(place.slots(0)) {
                let x = &x[place.within(layout, block)];
                for ((line, x), y) in squares.0.iter().zip(x).zip(y.pixels(&place, block)) {
                    let power = inverse_power(s, geom.base(s, line, slot), geom.beta);
                    y.store(s, s.mul(x.load(s), power));
                }
            }
        }
    }
}

struct Gradient<'a> {
    geom: &'a LrnGeom,
    x: Operand<'a>,
    dy: Operand<'a>,
    dx: Out<'a, Block>,
}

impl Kernel for Gradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { geom, x: (x, xl), dy: (dy, dl), mut dx } = self;
        let factor = s.splat(-2.0 * geom.alpha * geom.beta);
        let reach = geom.reach();
        let [mut squares, mut terms, mut powers] = [Lines::new(), Lines::new(), Lines::new()];
        for place in Place::all(dx.rows.clone(), xl) {
            squares.square(s, (x, xl), &place, place.slots(2 * reach));
            for slot in place.slots(reach) {
                let Some(block) = place.block(slot) else {
                    terms.clear(slot);
                    continue;
                };
                let (x, dy) = (&x[place.within(xl, block)], &dy[place.within(dl, block)]);
                for (i, (x, dy)) in x.iter().zip(dy).enumerate() {
                    let base = geom.base(s, &squares.0[i], slot);
                    let power = inverse_power(s, base, geom.beta);
                    let product = s.mul(s.load(dy), s.load(x));
                    s.store(&mut powers.0[i][slot], power);
                    s.store(&mut terms.0[i][slot], s.mul(product, s.div(power, base)));
                }
            }
            for (block, slot) in place.blocks.clone().zip(place.slots(0)) {
                let (x, dy) = (&x[place.within(xl, block)], &dy[place.within(dl, block)]);
                for (i, dx) in dx.pixels(&place, block).iter_mut().enumerate() {
                    let through = s.mul(factor, s.load(&x[i]));
                    let sum = geom.window_sum(s, &terms.0[i], slot);
                    let direct = s.mul(s.load(&dy[i]), s.load(&powers.0[i][slot]));
                    s.store(dx, s.add(s.load(dx), s.mul_add(through, sum, direct)));
                }
            }
        }
    }
}

/// `y_c = x_c·s_c^(−beta)`
pub fn forward<P: Pixel>(
    isa: Isa,
    threads: &Threads,
    n: usize,
    geom: &LrnGeom,
    (x, xl): Operand<'_, P>,
    y: (&mut [P], &Layout),
) {
    split(threads, n, (geom, xl), y, |image, y| {
        let x = (&x[image * xl.image()..][..xl.len(1)], xl);
        isa.run(Forward { geom, x, y });
    });
}

/// Adds the gradient to `dx`.
pub fn gradient(
    isa: Isa,
    threads: &Threads,
    n: usize,
    geom: &LrnGeom,
    (x, xl): Operand<'_>,
    (dy, dl): Operand<'_>,
    dx: (&mut [Block], &Layout),
) {
    split(threads, n, (geom, xl), dx, |image, dx| {
        let x = (&x[image * xl.image()..][..xl.len(1)], xl);
        let dy = (&dy[image * dl.image()..][..dl.len(1)], dl);
        isa.run(Gradient { geom, x, dy, dx });
    });
}
