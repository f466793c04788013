//! Pooling, plane by plane. Maxima are exact; the mean of n values differs from the exact one by at most
//! `(n + 2)·2⁻²⁴·Σ|x|/n`.

use crate::block::{Block, Layout};
use crate::elementwise::Operand;
use crate::isa::Isa;
use crate::pixel::Pixel;
use crate::simd::{Kernel, Simd};
use crate::threads::Threads;
use std::ops::Range;

/// A pooling window. Pairs are `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolGeom {
    /// Size of the window.
    pub kernel: [usize; 2],
    /// Step.
    pub stride: [usize; 2],
    /// Padding before the first row and column.
    pub pad: [usize; 2],
    /// Padding after the last row and column, as far as averages count it.
    pub pad_end: [usize; 2],
    /// Distance between elements of the window.
    pub dilation: [usize; 2],
}

impl PoolGeom {
    /// Along `axis`, the input positions (of `size`) that output `o` sees.
    #[inline(always)]
    fn taps(&self, axis: usize, o: usize, size: usize) -> Taps {
        let (start, pad, step) = (o * self.stride[axis], self.pad[axis], self.dilation[axis]);
        let turns = |distance: usize| if step == 1 { distance } else { distance.div_ceil(step) };
        let first = turns(pad.saturating_sub(start));
        let end = turns((size + pad).saturating_sub(start)).min(self.kernel[axis]).max(first);
        Taps { at: (start + first * step).wrapping_sub(pad), step, len: end - first }
    }

    /// Along `axis`, the positions from the first to the last element of a window.
    fn span(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1) * self.dilation[axis] + 1
    }

    /// Along `axis`, how many elements an average counts when padding counts.
    fn padded_count(&self, axis: usize, o: usize, size: usize) -> usize {
        let start = o * self.stride[axis];
        self.kernel[axis].min((size + self.pad[axis] + self.pad_end[axis]).saturating_sub(start))
    }
}

/// Some positions along an axis.
#[derive(Clone, Copy)]
struct Taps {
    /// The first; meaningless if there is none.
    at: usize,
    step: usize,
    len: usize,
}

impl Taps {
    #[inline(always)]
    fn positions(self) -> impl Iterator<Item = usize> {
        (0..self.len).map(move |i| self.at + i * self.step)
    }
}

/// What an average is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divisor {
    /// The elements of the window within the input and its padding.
    Padded,
    /// The elements of the window within the input.
    Inside,
    /// One: a sum.
    One,
}

impl Divisor {
    #[inline(always)]
    fn reciprocal(self, g: &PoolGeom, [y, x]: [usize; 2], [h, w]: [usize; 2]) -> f32 {
        let count = match self {
            Self::Padded => g.padded_count(0, y, h) * g.padded_count(1, x, w),
            Self::Inside => g.taps(0, y, h).len * g.taps(1, x, w).len,
            Self::One => 1,
        };
        1.0 / count.max(1) as f32
    }
}

/// Runs the body for every window: `at` are the output's coordinates, `out` is its position in its plane, `rows` and `cols`
/// are the taps. A macro, because a closure that is not inlined loses the instruction set.
macro_rules! windows {
    ($geom:expr, $input:expr, $output:expr, |$at:ident, $out:ident, $rows:ident, $cols:ident| $body:expr) => {
        for y in 0..$output.height {
            let $rows = $geom.taps(0, y, $input.height);
            for x in 0..$output.width {
                let $cols = $geom.taps(1, x, $input.width);
                let ($at, $out) = ([y, x], $output.start(y) + x);
                $body
            }
        }
    };
}

/// How the values of a window become one.
trait Reduce: Copy + Sync {
    /// The result for no value.
    fn start<S: Simd>(self, s: S) -> S::V;
    /// One more value.
    fn join<S: Simd>(self, s: S, so_far: S::V, value: S::V) -> S::V;
    /// What the result of the window of output `at` is multiplied with.
    fn factor(self, geom: &PoolGeom, at: [usize; 2], size: [usize; 2]) -> Option<f32>;
}

#[derive(Clone, Copy)]
struct Max;

impl Reduce for Max {
    #[inline(always)]
    fn start<S: Simd>(self, s: S) -> S::V {
        s.splat(f32::NEG_INFINITY)
    }

    #[inline(always)]
    fn join<S: Simd>(self, s: S, best: S::V, value: S::V) -> S::V {
        // A NaN is unequal to itself, and stays.
        s.select_equal(best, best, s.max(best, value), best)
    }

    #[inline(always)]
    fn factor(self, _: &PoolGeom, _: [usize; 2], _: [usize; 2]) -> Option<f32> {
        None
    }
}

#[derive(Clone, Copy)]
struct Mean(Divisor);

impl Reduce for Mean {
    #[inline(always)]
    fn start<S: Simd>(self, s: S) -> S::V {
        s.zero()
    }

    #[inline(always)]
    fn join<S: Simd>(self, s: S, sum: S::V, value: S::V) -> S::V {
        s.add(sum, value)
    }

    #[inline(always)]
    fn factor(self, geom: &PoolGeom, at: [usize; 2], size: [usize; 2]) -> Option<f32> {
        Some(self.0.reciprocal(geom, at, size))
    }
}

/// One plane, reduced.
struct Pool<'a, P, R> {
    reduce: R,
    geom: &'a PoolGeom,
    x: Operand<'a, P>,
    y: (&'a mut [P], &'a Layout),
}

impl<P: Pixel, R: Reduce> Kernel for Pool<'_, P, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (geom, input, output) = (self.geom, self.x.1, self.y.1);
        // The outputs whose windows are within the input's columns.
        let first = geom.pad[1].div_ceil(geom.stride[1]).min(output.width);
        let reach = (input.width + geom.pad[1] + 1).saturating_sub(geom.span(1));
        let whole = first..reach.div_ceil(geom.stride[1]).clamp(first, output.width);
        for y in 0..output.height {
            for x in 0..whole.start {
                self.window(s, y, x);
            }
            match (geom.kernel, geom.stride[1], geom.dilation) {
                ([..=3, 2], 2, [1, 1]) => self.windows::<S, 2, 2>(s, y, whole.clone()),
                ([..=3, 3], 1, [1, 1]) => self.windows::<S, 3, 1>(s, y, whole.clone()),
                ([..=3, 3], 2, [1, 1]) => self.windows::<S, 3, 2>(s, y, whole.clone()),
                _ => {
                    for x in whole.clone() {
                        self.window(s, y, x);
                    }
                }
            }
            for x in whole.end..output.width {
                self.window(s, y, x);
            }
        }
    }
}

impl<P: Pixel, R: Reduce> Pool<'_, P, R> {
    /// Any window.
    #[inline(always)]
    fn window<S: Simd>(&mut self, s: S, y: usize, x: usize) {
        let (geom, reduce, input) = (self.geom, self.reduce, self.x.1);
        let size = [input.height, input.width];
        let cols = geom.taps(1, x, input.width);
        let mut value = reduce.start(s);
        for row in geom.taps(0, y, input.height).positions() {
            for col in cols.positions() {
                value = reduce.join(s, value, self.x.0[input.start(row) + col].load(s));
            }
        }
        if let Some(factor) = reduce.factor(geom, [y, x], size) {
            value = s.mul(value, s.splat(factor));
        }
        self.y.0[self.y.1.start(y) + x].store(s, value);
    }

    /// The windows of a row of outputs `xs`, each of at most three rows and of `WIDTH` columns within the input. What two of
    /// them share of their columns is reduced once.
    #[inline(always)]
    fn windows<S: Simd, const WIDTH: usize, const STRIDE: usize>(
        &mut self,
        s: S,
        y: usize,
        xs: Range<usize>,
    ) {
        if xs.is_empty() {
            return;
        }
        let (geom, reduce, (x, input)) = (self.geom, self.reduce, self.x);
        let size = [input.height, input.width];
        let rows = geom.taps(0, y, input.height);
        let mut lines = [&x[..0]; 3];
        for (line, row) in lines.iter_mut().zip(rows.positions()) {
            *line = &input.pixels(x, row)[xs.start * STRIDE - geom.pad[1]..];
        }
        let lines = &lines[..rows.len];
        // A macro: a closure may lose the instruction set.
        macro_rules! column {
            ($col:expr) => {{
                let mut value = reduce.start(s);
                for line in lines {
                    value = reduce.join(s, value, line[$col].load(s));
                }
                value
            }};
        }
        let factor = reduce.factor(geom, [y, xs.start], size);
        let mut columns = [s.zero(); WIDTH];
        for i in STRIDE..WIDTH {
            columns[i] = column!(i - STRIDE);
        }
        let y = &mut self.y.1.pixels_mut(self.y.0, y)[xs];
        for (x, y) in y.iter_mut().enumerate() {
            for i in 0..WIDTH - STRIDE {
                columns[i] = columns[i + STRIDE];
            }
            for i in WIDTH - STRIDE..WIDTH {
                columns[i] = column!(x * STRIDE + i);
            }
            let mut value = columns[0];
            for i in 1..WIDTH {
                value = reduce.join(s, value, columns[i]);
            }
            if let Some(factor) = factor {
                value = s.mul(value, s.splat(factor));
            }
            y.store(s, value);
        }
    }
}

struct MaxGradient<'a> {
    geom: &'a PoolGeom,
    x: Operand<'a>,
    y: Operand<'a>,
    dy: Operand<'a>,
    dx: (&'a mut [Block], &'a Layout),
    /// A ReLU came before: no gradient passes where the maximum is not positive.
    relu: bool,
    /// dx holds nothing yet, and no element is in two windows.
    write: bool,
}

impl Kernel for MaxGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { geom, x: (x, input), y: (y, yl), dy: (dy, output), .. } = self;
        let (dx, dl) = self.dx;
        windows!(geom, input, output, |at, out, rows, cols| {
            let max = s.load(&y[yl.start(at[0]) + at[1]]);
            // What is left of dy: the first element that equals the maximum takes it.
            let mut left = s.load(&dy[out]);
            if self.relu {
                left = s.select_positive(max, left);
            }
            for row in rows.positions() {
                for col in cols.positions() {
                    let value = s.load(&x[input.start(row) + col]);
                    let taken = s.select_equal(value, max, left, s.zero());
                    // No difference: what is left would wait for what was taken.
                    left = s.select_equal(value, max, s.zero(), left);
                    let dx = &mut dx[dl.start(row) + col];
                    s.store(dx, if self.write { taken } else { s.add(s.load(dx), taken) });
                }
            }
        });
    }
}

struct AverageGradient<'a> {
    geom: &'a PoolGeom,
    divisor: Divisor,
    dy: Operand<'a>,
    dx: (&'a mut [Block], &'a Layout),
}

impl Kernel for AverageGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { geom, divisor, dy: (dy, output), dx: (dx, input) } = self;
        let size = [input.height, input.width];
        windows!(geom, input, output, |at, out, rows, cols| {
            let share = s.splat(divisor.reciprocal(geom, at, size));
            let share = s.mul(share, s.load(&dy[out]));
            for row in rows.positions() {
                for col in cols.positions() {
                    let dx = &mut dx[input.start(row) + col];
                    s.store(dx, s.add(s.load(dx), share));
                }
            }
        });
    }
}

/// The `i`-th of `n` windows that divide an axis of `size` elements, as PyTorch's adaptive pooling does.
#[inline(always)]
fn adaptive_window(i: usize, n: usize, size: usize) -> Range<usize> {
    i * size / n..((i + 1) * size).div_ceil(n)
}

/// Runs the body for every adaptive window, as `windows!` does: `rows` and `cols` are ranges.
macro_rules! adaptive_windows {
    ($input:expr, $output:expr, |$out:ident, $rows:ident, $cols:ident| $body:expr) => {
        for y in 0..$output.height {
            let $rows = adaptive_window(y, $output.height, $input.height);
            for x in 0..$output.width {
                let $cols = adaptive_window(x, $output.width, $input.width);
                let $out = $output.start(y) + x;
                $body
            }
        }
    };
}

struct AdaptiveAverage<'a, P> {
    x: Operand<'a, P>,
    y: (&'a mut [P], &'a Layout),
}

impl<P: Pixel> Kernel for AdaptiveAverage<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ((x, input), (y, output)) = (self.x, self.y);
        adaptive_windows!(input, output, |out, rows, cols| {
            let mut sum = s.zero();
            for row in rows.clone() {
                for col in cols.clone() {
                    sum = s.add(sum, x[input.start(row) + col].load(s));
                }
            }
            let count = rows.len() * cols.len();
            y[out].store(s, s.mul(sum, s.splat(1.0 / count as f32)));
        });
    }
}

struct AdaptiveAverageGradient<'a> {
    dy: Operand<'a>,
    dx: (&'a mut [Block], &'a Layout),
}

impl Kernel for AdaptiveAverageGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ((dy, output), (dx, input)) = (self.dy, self.dx);
        adaptive_windows!(input, output, |out, rows, cols| {
            let count = rows.len() * cols.len();
            let share = s.mul(s.splat(1.0 / count as f32), s.load(&dy[out]));
            for row in rows.clone() {
                for col in cols.clone() {
                    let dx = &mut dx[input.start(row) + col];
                    s.store(dx, s.add(s.load(dx), share));
                }
            }
        });
    }
}

/// The plane of `x` with this number.
fn plane<'a, P>((x, layout): Operand<'a, P>, i: usize) -> &'a [P] {
    &x[layout.plane_at(i)]
}

/// Maximum over each window; padding never wins. Every window holds at least one element.
pub fn max<P: Pixel>(
    isa: Isa,
    threads: &Threads,
    n: usize,
    geom: &PoolGeom,
    x: Operand<'_, P>,
    (y, output): (&mut [P], &Layout),
) {
    threads.planes((y, output), n, 1, |i, y| {
        isa.run(Pool { reduce: Max, geom, x: (plane(x, i), x.1), y: (y, output) });
    });
}

/// The gradient of [`max`], written to `dx` or (with `accumulate`) added: each output's goes to the first of the largest
/// elements of its window. With `relu`, that of outputs which are not positive goes nowhere: the gradient before a ReLU
/// that made x.
pub fn max_gradient(
    isa: Isa,
    threads: &Threads,
    n: usize,
    geom: &PoolGeom,
    x: Operand<'_>,
    y: Operand<'_>,
    dy: Operand<'_>,
    (dx, dl): (&mut [Block], &Layout),
    relu: bool,
    accumulate: bool,
) {
    let apart = [0, 1].iter().all(|&axis| geom.stride[axis] >= geom.span(axis));
    let output = [dy.1.height, dy.1.width];
    let all = [0, 1].iter().all(|&axis| {
        let size = [dl.height, dl.width][axis];
        geom.kernel[axis] == geom.stride[axis]
            && geom.dilation[axis] == 1
            && geom.pad[axis] == 0
            && output[axis] * geom.stride[axis] == size
    });
    threads.planes((dx, dl), n, 1, |i, dx| {
        if !(accumulate || all) {
            dx.fill(Block::ZERO);
        }
        let [x, y, dy] = [x, y, dy].map(|operand| (plane(operand, i), operand.1));
        let write = apart && !accumulate;
        isa.run(MaxGradient { geom, x, y, dy, dx: (dx, dl), relu, write });
    });
}

/// Mean (or sum) over each window.
pub fn average<P: Pixel>(
    isa: Isa,
    threads: &Threads,
    n: usize,
    geom: &PoolGeom,
    divisor: Divisor,
    x: Operand<'_, P>,
    (y, output): (&mut [P], &Layout),
) {
    threads.planes((y, output), n, 1, |i, y| {
        let (reduce, x) = (Mean(divisor), (plane(x, i), x.1));
        isa.run(Pool { reduce, geom, x, y: (y, output) });
    });
}

/// Adds to `dx` the gradient of [`average`].
pub fn average_gradient(
    isa: Isa,
    threads: &Threads,
    n: usize,
    geom: &PoolGeom,
    divisor: Divisor,
    dy: Operand<'_>,
    (dx, input): (&mut [Block], &Layout),
) {
    threads.planes((dx, input), n, 1, |i, dx| {
        isa.run(AverageGradient { geom, divisor, dy: (plane(dy, i), dy.1), dx: (dx, input) });
    });
}

/// Mean over the windows that divide a map into the rows and columns of `y`: the `i`-th of n along an axis covers the elements
/// `⌊i·size/n⌋ … ⌈(i + 1)·size/n⌉ − 1`.
pub fn adaptive_average<P: Pixel>(
    isa: Isa,
    threads: &Threads,
    n: usize,
    x: Operand<'_, P>,
    (y, output): (&mut [P], &Layout),
) {
    threads.planes((y, output), n, 1, |i, y| {
        isa.run(AdaptiveAverage { x: (plane(x, i), x.1), y: (y, output) });
    });
}

/// Adds to `dx` the gradient of [`adaptive_average`].
pub fn adaptive_average_gradient(
    isa: Isa,
    threads: &Threads,
    n: usize,
    dy: Operand<'_>,
    (dx, input): (&mut [Block], &Layout),
) {
    threads.planes((dx, input), n, 1, |i, dx| {
        isa.run(AdaptiveAverageGradient { dy: (plane(dy, i), dy.1), dx: (dx, input) });
    });
}
