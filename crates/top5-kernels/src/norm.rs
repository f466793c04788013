//! Batch normalisation, optionally followed by a sum and a ReLU: statistics, application, and the backward pass.
//!
//! ```text
//! forward:   mean, var over images and pixels;  y = (x − mean)·weight/√(var + eps) + bias (+ summand)
//! backward:  x̂ = (x − mean)/√(var + eps)
//!            dbias = Σ dy, dweight = Σ dy·x̂, dx = weight/√(var + eps)·(dy − dbias/m − x̂·dweight/m)
//! ```
//!
//! (Ioffe & Szegedy, ICML 2015, algorithm 1 and section 3). Sums are f32 within a plane and f64 across planes. The
//! variance of a plane is taken about its own mean, while the plane is in the cache, so that a mean far from zero costs no
//! digits; planes are combined as Chan, Golub & LeVeque do (The American Statistician, 1983).
//!
//! A ReLU's gradient passes where its output is positive. Without a summand that output is computed again from x, by the
//! same operations, so that the backward pass need not read it.

use crate::block::{Block, LANES, Layout};
use crate::elementwise::{JOB, Operand};
use crate::isa::Isa;
use crate::pixel::Pixel;
use crate::simd::{Kernel, Simd};
use crate::threads::Threads;

/// Planes that make a job worth starting.
fn planes_per_job(layout: &Layout) -> usize {
    JOB.div_ceil((layout.height * layout.width).max(1))
}

/// The plane with this number.
fn part<'a, P>((x, layout): Operand<'a, P>, plane: usize) -> Operand<'a, P> {
    (&x[layout.plane_at(plane)], layout)
}

/// The mean of a plane, and the sum of the squares of the differences from it.
struct Moments<'a> {
    x: Operand<'a>,
    out: &'a mut [Block],
}

impl Kernel for Moments<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (x, layout) = self.x;
        let share = s.splat(1.0 / (layout.height * layout.width) as f32);
        let mut sum = s.zero();
        for row in 0..layout.height {
            let mut line = s.zero();
            for pixel in layout.pixels(x, row) {
                line = s.add(line, s.load(pixel));
            }
            sum = s.add(sum, line);
        }
        let mean = s.mul(sum, share);
        // What rounding left: the sum of the differences is not quite zero.
        let [mut rest, mut squares] = [s.zero(); 2];
        for row in 0..layout.height {
            let [mut line, mut line_squares] = [s.zero(); 2];
            for pixel in layout.pixels(x, row) {
                let difference = s.sub(s.load(pixel), mean);
                line = s.add(line, difference);
                line_squares = s.mul_add(difference, difference, line_squares);
            }
            rest = s.add(rest, line);
            squares = s.add(squares, line_squares);
        }
        let rest = s.mul(rest, share);
        s.store(&mut self.out[0], s.add(mean, rest));
        s.store(&mut self.out[1], squares);
    }
}

/// Blocks of scratch memory per image for layouts of this many channel blocks.
pub fn workspace(blocks: usize) -> usize {
    2 * blocks
}

/// Writes mean and biased variance of every channel over `n` images to `statistics`: two blocks per channel block. `work`
/// has [`workspace`] blocks per image.
pub fn statistics(
    isa: Isa,
    threads: &Threads,
    n: usize,
    x: Operand<'_>,
    work: &mut [Block],
    statistics: &mut [Block],
) {
    let layout = x.1;
    let blocks = layout.blocks();
    let moments = &mut work[..n * workspace(blocks)];
    let per_job = planes_per_job(layout);
    threads.chunks(moments, 2 * per_job, |job, out| {
        for (i, out) in out.chunks_exact_mut(2).enumerate() {
            isa.run(Moments { x: part(x, job * per_job + i), out });
        }
    });
    let moments = &*moments;
    let area = (layout.height * layout.width) as f64;
    threads.chunks(&mut statistics[..2 * blocks], 2, |k, out| {
        let planes = || (0..n).map(|image| &moments[2 * (image * blocks + k)..][..2]);
        let mut mean = [0.0f64; LANES];
        for plane in planes() {
            mean.iter_mut().zip(plane[0].0).for_each(|(mean, m)| *mean += f64::from(m));
        }
        let mean = mean.map(|sum| sum / n as f64);
        let mut squares = [0.0f64; LANES];
        for plane in planes() {
            for lane in 0..LANES {
                let difference = f64::from(plane[0].0[lane]) - mean[lane];
                squares[lane] += f64::from(plane[1].0[lane]) + area * difference * difference;
            }
        }
        out[0] = Block(mean.map(|mean| mean as f32));
        out[1] = Block(squares.map(|sum| (sum / (n as f64 * area)) as f32));
    });
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

/// What a normalisation does to the channels of one block.
struct Constants<V> {
    mean: V,
    /// 1/√(var + eps)
    deviation: V,
    /// weight/√(var + eps)
    factor: V,
    bias: V,
}

impl Normal<'_> {
    #[inline(always)]
    fn constants<S: Simd>(&self, s: S, k: usize) -> Constants<S::V> {
        let variance = s.add(s.load(&self.statistics[2 * k + 1]), s.splat(self.eps));
        let deviation = s.div(s.splat(1.0), s.sqrt(variance));
        Constants {
            mean: s.load(&self.statistics[2 * k]),
            deviation,
            factor: s.mul(s.load(&self.weight[k]), deviation),
            bias: s.load(&self.bias[k]),
        }
    }
}

impl<V: Copy> Constants<V> {
    #[inline(always)]
    fn apply<S: Simd<V = V>>(&self, s: S, x: V) -> V {
        s.mul_add(s.sub(x, self.mean), self.factor, self.bias)
    }
}

/// `y = (x − mean)·weight/√(var + eps) + bias`, then the summand if there is one, then the ReLU if there is one.
pub fn normalise<P: Pixel>(
    isa: Isa,
    threads: &Threads,
    n: usize,
    normal: &Normal<'_>,
    x: Operand<'_, P>,
    summand: Option<Operand<'_, P>>,
    (y, yl): (&mut [P], &Layout),
) {
    struct Plane<'a, P> {
        normal: &'a Normal<'a>,
        k: usize,
        x: Operand<'a, P>,
        summand: Option<Operand<'a, P>>,
        y: (&'a mut [P], &'a Layout),
    }
    impl<P: Pixel> Kernel for Plane<'_, P> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let Self { normal, k, x: (x, xl), summand, y: (y, yl) } = self;
            let constants = normal.constants(s, k);
            for row in 0..yl.height {
                let (x, y) = (xl.pixels(x, row), yl.pixels_mut(y, row));
                if let Some((summand, sl)) = summand {
                    for ((y, x), summand) in y.iter_mut().zip(x).zip(sl.pixels(summand, row)) {
                        let value = s.add(constants.apply(s, x.load(s)), summand.load(s));
                        y.store(s, if normal.relu { s.relu(value) } else { value });
                    }
                } else {
                    for (y, x) in y.iter_mut().zip(x) {
                        let value = constants.apply(s, x.load(s));
                        y.store(s, if normal.relu { s.relu(value) } else { value });
                    }
                }
            }
        }
    }
    threads.planes((y, yl), n, planes_per_job(yl), |plane, y| {
        isa.run(Plane {
            normal,
            k: plane % yl.blocks(),
            x: part(x, plane),
            summand: summand.map(|summand| part(summand, plane)),
            y: (y, yl),
        });
    });
}

/// Sums dy and dy·x̂ over a plane, dy being masked by the ReLU before.
struct Sums<'a> {
    normal: &'a Normal<'a>,
    k: usize,
    x: Operand<'a>,
    /// The output, where it cannot be computed from x; the mask is written to dy then.
    y: Option<Operand<'a>>,
    dy: (&'a mut [Block], &'a Layout),
    out: &'a mut [Block],
}

impl Kernel for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { normal, k, x: (x, xl), y, dy: (dy, dl), out } = self;
        let constants = normal.constants(s, k);
        let [mut sum, mut product] = [s.zero(); 2];
        for row in 0..xl.height {
            let (x, dy) = (xl.pixels(x, row), dl.pixels_mut(dy, row));
            let [mut line, mut line_product] = [s.zero(); 2];
            macro_rules! pixel {
                ($x:expr, $dy:expr) => {{
                    let normal = s.mul(s.sub($x, constants.mean), constants.deviation);
                    line = s.add(line, $dy);
                    line_product = s.mul_add($dy, normal, line_product);
                }};
            }
            if let Some((y, yl)) = y {
                for ((dy, x), y) in dy.iter_mut().zip(x).zip(yl.pixels(y, row)) {
                    let masked = s.select_positive(s.load(y), s.load(dy));
                    s.store(dy, masked);
                    pixel!(s.load(x), masked);
                }
            } else if normal.relu {
                for (dy, x) in dy.iter().zip(x) {
                    let x = s.load(x);
                    let masked = s.select_positive(constants.apply(s, x), s.load(dy));
                    pixel!(x, masked);
                }
            } else {
                for (dy, x) in dy.iter().zip(x) {
                    let dy = s.load(dy);
                    pixel!(s.load(x), dy);
                }
            }
            sum = s.add(sum, line);
            product = s.add(product, line_product);
        }
        s.store(&mut out[0], sum);
        s.store(&mut out[1], product);
    }
}

/// dx of a plane: in place of dy, written, or added.
struct InputGradient<'a> {
    normal: &'a Normal<'a>,
    k: usize,
    x: Operand<'a>,
    /// Whether dy is still to be masked.
    mask: bool,
    /// Means of dy and of dy·x̂.
    means: [Block; 2],
    dy: Option<Operand<'a>>,
    dx: (&'a mut [Block], &'a Layout),
    accumulate: bool,
}

impl Kernel for InputGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { normal, k, x: (x, xl), mask, dy, dx: (dx, dl), accumulate, .. } = self;
        let constants = normal.constants(s, k);
        let means = [s.load(&self.means[0]), s.load(&self.means[1])];
        for row in 0..xl.height {
            let (x, dx) = (xl.pixels(x, row), dl.pixels_mut(dx, row));
            macro_rules! gradient {
                ($x:expr, $dy:expr) => {{
                    let (x, dy) = (s.load($x), s.load($dy));
                    let dy = if mask { s.select_positive(constants.apply(s, x), dy) } else { dy };
                    let normal = s.mul(s.sub(x, constants.mean), constants.deviation);
                    let centred = s.sub(s.sub(dy, means[0]), s.mul(normal, means[1]));
                    s.mul(constants.factor, centred)
                }};
            }
            match dy {
                None => {
                    for (dx, x) in dx.iter_mut().zip(x) {
                        let value = gradient!(x, dx);
                        s.store(dx, value);
                    }
                }
                Some((dy, dyl)) if accumulate => {
                    for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dyl.pixels(dy, row)) {
                        let value = s.add(s.load(dx), gradient!(x, dy));
                        s.store(dx, value);
                    }
                }
                Some((dy, dyl)) => {
                    for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dyl.pixels(dy, row)) {
                        let value = gradient!(x, dy);
                        s.store(dx, value);
                    }
                }
            }
        }
    }
}

/// The sums of the backward pass over `n` images: `sums` gets dbias and dweight of every channel block, alternating. `work`
/// has [`workspace`] blocks per image.
///
/// `y` is the output if a ReLU followed a sum: `dy` is masked in place then, and is the gradient of the summand too.
///
/// # Panics
/// If `dy` is a part of a larger map, or an operand is too short.
pub fn gradient_sums(
    isa: Isa,
    threads: &Threads,
    n: usize,
    normal: &Normal<'_>,
    x: Operand<'_>,
    y: Option<Operand<'_>>,
    (dy, layout): (&mut [Block], &Layout),
    work: &mut [Block],
    sums: &mut [Block],
) {
    let blocks = layout.blocks();
    let per_job = planes_per_job(layout);
    assert_eq!(layout.gap, 0, "dy is a part of a larger map");
    let dy = &mut dy[..n * layout.image()];
    let of_planes = &mut work[..n * workspace(blocks)];
    threads.chunk_pairs(
        (&mut *dy, per_job * layout.plane()),
        (&mut *of_planes, 2 * per_job),
        |job, dy, out| {
            let planes = dy.chunks_exact_mut(layout.plane()).zip(out.chunks_exact_mut(2));
            for (i, (dy, out)) in planes.enumerate() {
                let plane = job * per_job + i;
                let (k, y) = (plane % blocks, y.map(|y| part(y, plane)));
                isa.run(Sums { normal, k, x: part(x, plane), y, dy: (dy, layout), out });
            }
        },
    );
    let of_planes = &*of_planes;
    threads.chunks(&mut sums[..2 * blocks], 2, |k, out| {
        for (i, out) in out.iter_mut().enumerate() {
            let mut sum = [0.0f64; LANES];
            for image in 0..n {
                let part = &of_planes[2 * (image * blocks + k) + i].0;
                sum.iter_mut().zip(part).for_each(|(sum, &part)| *sum += f64::from(part));
            }
            *out = Block(sum.map(|sum| sum as f32));
        }
    });
}

/// The gradient of x over `n` images, with the `sums` of [`gradient_sums`] over `count` values per channel, which may be those
/// of more images than these. It takes the place of `dy`, or is written (or, with `accumulate`, added) to a `dx` of its own.
/// `masked`: `dy` was masked by a ReLU's output.
///
/// # Panics
/// If `dy` is a part of a larger map, or an operand is too short.
pub fn input_gradient(
    isa: Isa,
    threads: &Threads,
    n: usize,
    normal: &Normal<'_>,
    x: Operand<'_>,
    masked: bool,
    (dy, layout): (&mut [Block], &Layout),
    sums: &[Block],
    count: f64,
    dx: Option<(&mut [Block], &Layout)>,
    accumulate: bool,
) {
    let blocks = layout.blocks();
    let per_job = planes_per_job(layout);
    assert_eq!(layout.gap, 0, "dy is a part of a larger map");
    let dy = &mut dy[..n * layout.image()];
    let share = if normal.of_batch { 1.0 / count } else { 0.0 };
    let (from, to, out) = match dx {
        None => (None, dy, layout),
        Some((dx, out)) => (Some((&*dy, layout)), dx, out),
    };
    threads.planes((to, out), n, per_job, |plane, dx| {
        let k = plane % blocks;
        let mean = |sum: f32| (f64::from(sum) * share) as f32;
        isa.run(InputGradient {
            normal,
            k,
            x: part(x, plane),
            mask: normal.relu && !masked,
            means: [0, 1].map(|i| Block(sums[2 * k + i].0.map(mean))),
            dy: from.map(|dy| part(dy, plane)),
            dx: (dx, out),
            accumulate,
        });
    });
}
