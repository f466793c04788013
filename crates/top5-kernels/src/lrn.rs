//! Local response normalisation across channels.
//!
//! ```text
//! forward:   s_c = k + a·Σ_{j near c} x_j²,   y_c = x_c·s_c^(−beta)
//! backward:  dx_c = dy_c·s_c^(−beta) − 2·a·beta·x_c·Σ_{j near c} dy_j·x_j·s_j^(−beta−1)
//! ```

use crate::block::{Block, LANES, Layout};
use crate::elementwise::Operand;
use crate::isa::{Isa, Kernel};
use crate::simd::Simd;
use crate::threads::Threads;

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
/// Blocks of one neighbourhood.
const SPAN: usize = 2 * REACH + 1;

/// The blocks around one block of one pixel; zero outside the channels.
struct Neighbourhood([Block; SPAN]);

impl Neighbourhood {
    #[inline(always)]
    fn new(block: usize, blocks: usize, mut value: impl FnMut(usize) -> Block) -> Self {
        Self(std::array::from_fn(|i| match (block + i).checked_sub(REACH) {
            Some(b) if b < blocks => value(b),
            Some(_) | None => Block::ZERO,
        }))
    }

    /// The sum over the window of `size` around each channel of the middle block.
    #[inline(always)]
    fn window_sum<S: Simd>(&self, s: S, size: usize) -> S::V {
        let flat = Block::flat(&self.0);
        let start = REACH * LANES - size / 2;
        let mut sum = s.zero();
        for shift in start..start + size {
            let mut lanes = Block::ZERO;
            lanes.0.copy_from_slice(&flat[shift..shift + LANES]);
            sum = s.add(sum, s.load(&lanes));
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

struct Image<'a> {
    geom: &'a LrnGeom,
    x: Operand<'a>,
    dy: Option<Operand<'a>>,
    out: &'a mut [Block],
    ol: &'a Layout,
}

impl Image<'_> {
    /// s of block `b` of the pixel at (row, col).
    #[inline(always)]
    fn base<S: Simd>(&self, s: S, b: usize, row: usize, col: usize) -> S::V {
        let (x, xl) = self.x;
        let squares = Neighbourhood::new(b, xl.blocks(), |b| {
            Block(x[b * xl.plane() + xl.start(row) + col].0.map(|v| v * v))
        });
        let sum = squares.window_sum(s, self.geom.size);
        s.mul_add(sum, s.splat(self.geom.alpha), s.splat(self.geom.k))
    }
}

impl Kernel for Image<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ((x, xl), geom) = (self.x, self.geom);
        let blocks = xl.blocks();
        for b in 0..blocks {
            for row in 0..xl.height {
                for col in 0..xl.width {
                    let pixel = s.load(&x[b * xl.plane() + xl.start(row) + col]);
                    let base = self.base(s, b, row, col);
                    let power = inverse_power(s, base, geom.beta);
                    let out = b * self.ol.plane() + self.ol.start(row) + col;
                    let Some((dy, dl)) = self.dy else {
                        s.store(&mut self.out[out], s.mul(pixel, power));
                        continue;
                    };
                    let terms = Neighbourhood::new(b, blocks, |b| {
                        let base = self.base(s, b, row, col);
                        let power = s.div(inverse_power(s, base, geom.beta), base);
                        let dy = s.load(&dy[b * dl.plane() + dl.start(row) + col]);
                        let x = s.load(&x[b * xl.plane() + xl.start(row) + col]);
                        let mut term = Block::ZERO;
                        s.store(&mut term, s.mul(s.mul(dy, x), power));
                        term
                    });
                    let sum = terms.window_sum(s, geom.size);
                    let factor = s.mul(s.splat(-2.0 * geom.alpha * geom.beta), pixel);
                    let direct = s.mul(s.load(&dy[b * dl.plane() + dl.start(row) + col]), power);
                    let gradient = s.mul_add(factor, sum, direct);
                    let dx = &mut self.out[out];
                    s.store(dx, s.add(s.load(dx), gradient));
                }
            }
        }
    }
}

/// `y_c = x_c·s_c^(−beta)`
pub fn forward(
    isa: Isa,
    threads: &Threads,
    n: usize,
    geom: &LrnGeom,
    (x, xl): Operand<'_>,
    (y, yl): (&mut [Block], &Layout),
) {
    assert!(geom.size < 2 * REACH * LANES);
    threads.chunks(&mut y[..n * yl.image()], yl.image(), |image, out| {
        let x = (&x[image * xl.image()..][..xl.len(1)], xl);
        isa.run(Image { geom, x, dy: None, out, ol: yl });
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
    (dx, ol): (&mut [Block], &Layout),
) {
    assert!(geom.size < 2 * REACH * LANES);
    threads.chunks(&mut dx[..n * ol.image()], ol.image(), |image, out| {
        let x = (&x[image * xl.image()..][..xl.len(1)], xl);
        let dy = Some((&dy[image * dl.image()..][..dl.len(1)], dl));
        isa.run(Image { geom, x, dy, out, ol });
    });
}
