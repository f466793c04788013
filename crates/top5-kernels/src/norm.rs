//! Batch normalisation, optionally followed by a ReLU: statistics, application, and the backward pass.
//!
//! ```text
//! forward:   mean, var over images and pixels;  y = (x − mean)·weight/√(var + eps) + bias
//! backward:  x̂ = (x − mean)/√(var + eps)
//!            dbias = Σ dy, dweight = Σ dy·x̂, dx = weight/√(var + eps)·(dy − dbias/m − x̂·dweight/m)
//! ```
//!
//! (Ioffe & Szegedy, ICML 2015, algorithm 1 and section 3). Sums are f32 within a plane and f64 across images; the
//! variance is a second pass over the differences from the mean.

use crate::block::{Block, LANES, Layout};
use crate::elementwise::Operand;
use crate::isa::{Isa, Kernel};
use crate::simd::Simd;
use crate::threads::Threads;

/// Sums two values per channel over the images' planes of one block: what `visit` makes of each pixel.
fn sums<K: Kernel<Output = [Block; 2]>>(
    isa: Isa,
    n: usize,
    plane: impl Fn(usize) -> K,
) -> [[f64; LANES]; 2] {
    let mut sums = [[0.0; LANES]; 2];
    for image in 0..n {
        let parts = isa.run(plane(image));
        for (sum, part) in sums.iter_mut().zip(parts) {
            sum.iter_mut().zip(part.0).for_each(|(sum, part)| *sum += f64::from(part));
        }
    }
    sums
}

/// The sum of a plane's differences from a center, and of their squares.
struct Moments<'a> {
    x: Operand<'a>,
    center: Block,
}

impl Kernel for Moments<'_> {
    type Output = [Block; 2];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [Block; 2] {
        let (x, layout) = self.x;
        let center = s.load(&self.center);
        let [mut sum, mut squares] = [s.zero(); 2];
        for row in 0..layout.height {
            for pixel in layout.pixels(x, row) {
                let difference = s.sub(s.load(pixel), center);
                sum = s.add(sum, difference);
                squares = s.mul_add(difference, difference, squares);
            }
        }
        let mut out = [Block::ZERO; 2];
        s.store(&mut out[0], sum);
        s.store(&mut out[1], squares);
        out
    }
}

/// Writes mean and biased variance of every channel over `n` images to `statistics`: two blocks per channel block.
pub fn statistics(
    isa: Isa,
    threads: &Threads,
    n: usize,
    (x, layout): Operand<'_>,
    statistics: &mut [Block],
) {
    let count = (n * layout.height * layout.width) as f64;
    threads.chunks(&mut statistics[..2 * layout.blocks()], 2, |k, out| {
        let moments = |center: Block| {
            sums(isa, n, |image| {
                let x = &x[image * layout.image() + k * layout.plane()..][..layout.plane()];
                Moments { x: (x, layout), center }
            })
        };
        let mean = moments(Block::ZERO)[0].map(|sum| (sum / count) as f32);
        // The rounding of the mean is corrected: var = E[d²] − E[d]² for the differences d from the rounded mean.
        let [rest, squares] = moments(Block(mean));
        let variance = |lane: usize| {
            let rest: f64 = rest[lane] / count;
            (squares[lane] / count - rest * rest).max(0.0) as f32
        };
        out[0] = Block(mean);
        out[1] = Block(std::array::from_fn(variance));
    });
}

/// `1/√(var + eps)`
pub fn inverse_deviation(variance: &Block, eps: f32) -> Block {
    Block(variance.0.map(|v| (1.0 / (f64::from(v) + f64::from(eps)).sqrt()) as f32))
}

/// The learned and measured values of one normalisation, one block per channel block each.
#[derive(Clone, Copy, Debug)]
pub struct Normal<'a> {
    /// Mean and variance, alternating.
    pub statistics: &'a [Block],
    /// Learned factor.
    pub weight: &'a [Block],
    /// Learned offset.
    pub bias: &'a [Block],
    /// Added to the variance.
    pub eps: f32,
    /// The statistics are those of these images, so that the gradient flows through them as well.
    pub of_batch: bool,
    /// Whether a ReLU follows.
    pub relu: bool,
}

/// `y = (x − mean)·weight/√(var + eps) + bias`, then the ReLU if there is one.
pub fn normalise(
    isa: Isa,
    threads: &Threads,
    n: usize,
    normal: &Normal<'_>,
    (x, xl): Operand<'_>,
    (y, yl): (&mut [Block], &Layout),
) {
    struct Plane<'a> {
        x: Operand<'a>,
        y: (&'a mut [Block], &'a Layout),
        mean: Block,
        factor: Block,
        bias: Block,
        relu: bool,
    }
    impl Kernel for Plane<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let Self { x: (x, xl), y: (y, yl), relu, .. } = self;
            let [mean, factor, bias] = [self.mean, self.factor, self.bias].map(|b| s.load(&b));
            for row in 0..yl.height {
                for (y, x) in yl.pixels_mut(y, row).iter_mut().zip(xl.pixels(x, row)) {
                    let value = s.mul_add(s.sub(s.load(x), mean), factor, bias);
                    s.store(y, if relu { s.relu(value) } else { value });
                }
            }
        }
    }
    threads.chunks(&mut y[..n * yl.image()], yl.plane(), |plane, y| {
        let k = plane % yl.blocks();
        let deviation = inverse_deviation(&normal.statistics[2 * k + 1], normal.eps);
        let factor = Block(std::array::from_fn(|l| normal.weight[k].0[l] * deviation.0[l]));
        isa.run(Plane {
            x: (&x[plane * xl.plane()..][..xl.plane()], xl),
            y: (y, yl),
            mean: normal.statistics[2 * k],
            factor,
            bias: normal.bias[k],
            relu: normal.relu,
        });
    });
}

/// One plane of the backward pass.
struct Backward<'a, O> {
    x: Operand<'a>,
    /// The output, if a ReLU followed: its gradient passes where it is positive.
    y: Option<Operand<'a>>,
    dy: Operand<'a>,
    mean: Block,
    deviation: Block,
    body: O,
}

impl<O> Backward<'_, O> {
    /// Calls `visit` with (row, column, dy, x̂) of every pixel.
    #[inline(always)]
    fn pixels<S: Simd>(&self, s: S, mut visit: impl FnMut(usize, usize, S::V, S::V)) {
        let [mean, deviation] = [self.mean, self.deviation].map(|b| s.load(&b));
        let ((x, xl), (dy, dl)) = (self.x, self.dy);
        for row in 0..xl.height {
            let mask = self.y.map(|(y, yl)| yl.pixels(y, row));
            for (col, (x, dy)) in xl.pixels(x, row).iter().zip(dl.pixels(dy, row)).enumerate() {
                let mut gradient = s.load(dy);
                if let Some(mask) = mask {
                    gradient = s.select_positive(s.load(&mask[col]), gradient);
                }
                visit(row, col, gradient, s.mul(s.sub(s.load(x), mean), deviation));
            }
        }
    }
}

/// Sums dy and dy·x̂.
struct GradientSums;

impl Kernel for Backward<'_, GradientSums> {
    type Output = [Block; 2];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [Block; 2] {
        let [mut sum, mut product] = [s.zero(); 2];
        self.pixels(s, |_, _, dy, normal| {
            sum = s.add(sum, dy);
            product = s.mul_add(dy, normal, product);
        });
        let mut out = [Block::ZERO; 2];
        s.store(&mut out[0], sum);
        s.store(&mut out[1], product);
        out
    }
}

/// Writes or adds dx.
struct InputGradient<'a> {
    dx: &'a mut [Block],
    layout: &'a Layout,
    factor: Block,
    /// Means of dy and of dy·x̂.
    means: [Block; 2],
    accumulate: bool,
}

impl Kernel for Backward<'_, &mut InputGradient<'_>> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, y, dy, mean, deviation, body } = self;
        let this = Backward { x, y, dy, mean, deviation, body: () };
        let factor = s.load(&body.factor);
        let means = body.means.map(|b| s.load(&b));
        let keep = s.splat(f32::from(u8::from(body.accumulate)));
        this.pixels(s, |row, col, dy, normal| {
            let dx = &mut body.dx[body.layout.start(row) + col];
            let centred = s.sub(s.sub(dy, means[0]), s.mul(normal, means[1]));
            s.store(dx, s.mul_add(factor, centred, s.mul(keep, s.load(dx))));
        });
    }
}

/// The backward pass. `sums` gets dbias and dweight of every channel block, alternating; `dx` is written or added to.
/// `y` is the output, needed if a ReLU follows.
pub fn gradient(
    isa: Isa,
    threads: &Threads,
    n: usize,
    normal: &Normal<'_>,
    x: Operand<'_>,
    y: Operand<'_>,
    dy: Operand<'_>,
    sums_out: &mut [Block],
    (dx, layout): (&mut [Block], &Layout),
    accumulate: bool,
) {
    let blocks = layout.blocks();
    let share = if normal.of_batch { 1.0 / (n * layout.height * layout.width) as f64 } else { 0.0 };
    fn part<'a>((x, l): Operand<'a>, plane: usize) -> Operand<'a> {
        (&x[plane * l.plane()..][..l.plane()], l)
    }
    let mask = |plane: usize| normal.relu.then(|| part(y, plane));
    let backward = |plane: usize| {
        let k = plane % blocks;
        let deviation = inverse_deviation(&normal.statistics[2 * k + 1], normal.eps);
        (part(x, plane), mask(plane), part(dy, plane), normal.statistics[2 * k], deviation)
    };
    threads.chunks(&mut sums_out[..2 * blocks], 2, |k, out| {
        let sums = sums(isa, n, |image| {
            let (x, y, dy, mean, deviation) = backward(image * blocks + k);
            Backward { x, y, dy, mean, deviation, body: GradientSums }
        });
        out[0] = Block(sums[0].map(|sum| sum as f32));
        out[1] = Block(sums[1].map(|sum| sum as f32));
    });
    let sums = &*sums_out;
    threads.chunks(&mut dx[..n * layout.image()], layout.plane(), |plane, dx| {
        let k = plane % blocks;
        if !accumulate {
            dx.fill(Block::ZERO);
        }
        let (x, y, dy, mean, deviation) = backward(plane);
        let factor = Block(std::array::from_fn(|l| normal.weight[k].0[l] * deviation.0[l]));
        let means =
            [0, 1].map(|i| Block(sums[2 * k + i].0.map(|sum| (f64::from(sum) * share) as f32)));
        let body = &mut InputGradient { dx, layout, factor, means, accumulate };
        isa.run(Backward { x, y, dy, mean, deviation, body });
    });
}
