//! Pooling, plane by plane.

use crate::block::{Block, Layout};
use crate::elementwise::Operand;
use crate::isa::{Isa, Kernel};
use crate::simd::Simd;
use crate::threads::Threads;

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

struct Max<'a> {
    geom: &'a PoolGeom,
    x: Operand<'a>,
    y: (&'a mut [Block], &'a Layout),
}

impl Kernel for Max<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { geom, x: (x, input), y: (y, output) } = self;
        windows!(geom, input, output, |_at, out, rows, cols| {
            let mut best = s.splat(f32::NEG_INFINITY);
            for row in rows.positions() {
                for col in cols.positions() {
                    let larger = s.max(best, s.load(&x[input.start(row) + col]));
                    // A NaN is unequal to itself, and stays.
                    best = s.select_equal(best, best, larger, best);
                }
            }
            s.store(&mut y[out], best);
        });
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
                    left = s.sub(left, taken);
                    let dx = &mut dx[dl.start(row) + col];
                    s.store(dx, if self.write { taken } else { s.add(s.load(dx), taken) });
                }
            }
        });
    }
}

struct Average<'a> {
    geom: &'a PoolGeom,
    divisor: Divisor,
    x: Operand<'a>,
    y: (&'a mut [Block], &'a Layout),
}

impl Kernel for Average<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { geom, divisor, x: (x, input), y: (y, output) } = self;
        let size = [input.height, input.width];
        windows!(geom, input, output, |at, out, rows, cols| {
            let mut sum = s.zero();
            for row in rows.positions() {
                for col in cols.positions() {
                    sum = s.add(sum, s.load(&x[input.start(row) + col]));
                }
            }
            let mean = s.mul(sum, s.splat(divisor.reciprocal(geom, at, size)));
            s.store(&mut y[out], mean);
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

/// The plane of `x` with this number.
fn plane<'a>((x, layout): Operand<'a>, i: usize) -> &'a [Block] {
    &x[layout.plane_at(i)]
}

/// Maximum over each window; padding never wins. Every window holds at least one element.
pub fn max(
    isa: Isa,
    threads: &Threads,
    n: usize,
    geom: &PoolGeom,
    x: Operand<'_>,
    (y, output): (&mut [Block], &Layout),
) {
    threads.planes((y, output), n, 1, |i, y| {
        isa.run(Max { geom, x: (plane(x, i), x.1), y: (y, output) });
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
pub fn average(
    isa: Isa,
    threads: &Threads,
    n: usize,
    geom: &PoolGeom,
    divisor: Divisor,
    x: Operand<'_>,
    (y, output): (&mut [Block], &Layout),
) {
    threads.planes((y, output), n, 1, |i, y| {
        isa.run(Average { geom, divisor, x: (plane(x, i), x.1), y: (y, output) });
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
