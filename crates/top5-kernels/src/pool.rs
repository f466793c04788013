//! Pooling, plane by plane.

use crate::block::{Block, Layout};
use crate::elementwise::Operand;
use crate::isa::{Isa, Kernel};
use crate::simd::Simd;
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
    /// Along `axis`, the input positions (of `size`) that output `o` sees, as a range of window elements.
    fn taps(&self, axis: usize, o: usize, size: usize) -> Range<usize> {
        let (start, pad, step) = (o * self.stride[axis], self.pad[axis], self.dilation[axis]);
        let first = pad.saturating_sub(start).div_ceil(step);
        let end = (size + pad).saturating_sub(start).div_ceil(step).min(self.kernel[axis]);
        first..end.max(first)
    }

    /// Along `axis`, the input position of window element `tap` of output `o`.
    fn position(&self, axis: usize, o: usize, tap: usize) -> usize {
        o * self.stride[axis] + tap * self.dilation[axis] - self.pad[axis]
    }

    /// Along `axis`, the positions from the first to the last element of a window.
    fn span(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1) * self.dilation[axis] + 1
    }

    /// Along `axis`, the outputs (of `outputs`) whose windows are within the input (of `size`) as a whole.
    fn whole_windows(&self, axis: usize, size: usize, outputs: usize) -> Range<usize> {
        let span = self.span(axis);
        let first = self.pad[axis].div_ceil(self.stride[axis]);
        let end = (size + self.pad[axis])
            .checked_sub(span)
            .map_or(0, |room| room / self.stride[axis] + 1);
        first..end.min(outputs).max(first)
    }

    /// Along `axis`, how many elements an average counts when padding counts.
    fn padded_count(&self, axis: usize, o: usize, size: usize) -> usize {
        let start = o * self.stride[axis];
        self.kernel[axis].min((size + self.pad[axis] + self.pad_end[axis]).saturating_sub(start))
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
    fn reciprocal(self, g: &PoolGeom, [y, x]: [usize; 2], [h, w]: [usize; 2]) -> f32 {
        let count = match self {
            Self::Padded => g.padded_count(0, y, h) * g.padded_count(1, x, w),
            Self::Inside => g.taps(0, y, h).len() * g.taps(1, x, w).len(),
            Self::One => 1,
        };
        1.0 / count.max(1) as f32
    }
}

/// One plane of a pooling: the kernels below differ in what they do to it.
struct Plane<'a, B> {
    geom: &'a PoolGeom,
    input: &'a Layout,
    output: &'a Layout,
    body: B,
}

impl<B> Plane<'_, B> {
    /// Calls `visit` with (output position, input row, input column) of every element of the window at (y, x).
    #[inline(always)]
    fn window(&self, [y, x]: [usize; 2], mut visit: impl FnMut(usize, usize)) {
        let cols = self.geom.taps(1, x, self.input.width);
        for r in self.geom.taps(0, y, self.input.height) {
            let row = self.input.start(self.geom.position(0, y, r));
            for s in cols.clone() {
                visit(row, self.geom.position(1, x, s));
            }
        }
    }

    /// Calls `visit` for every output pixel, in row-major order: its coordinates and its position in its plane.
    #[inline(always)]
    fn outputs(&self, mut visit: impl FnMut([usize; 2], usize)) {
        for y in 0..self.output.height {
            let row = self.output.start(y);
            for x in 0..self.output.width {
                visit([y, x], row + x);
            }
        }
    }
}

struct Max<'a> {
    x: &'a [Block],
    y: &'a mut [Block],
}

impl Kernel for Plane<'_, &mut Max<'_>> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let geom = self.geom;
        let width = self.input.width;
        let inside = geom.whole_windows(1, width, self.output.width);
        for oy in 0..self.output.height {
            let rows = geom.taps(0, oy, self.input.height);
            for ox in 0..self.output.width {
                let (at, rows) = ([oy, ox], rows.clone());
                let max = match (inside.contains(&ox), geom.kernel[1]) {
                    (true, 2) => self.largest::<S, 2>(s, at, rows, 0..2),
                    (true, 3) => self.largest::<S, 3>(s, at, rows, 0..3),
                    _ => self.largest::<S, 0>(s, at, rows, geom.taps(1, ox, width)),
                };
                s.store(&mut self.body.y[self.output.start(oy) + ox], max);
            }
        }
    }
}

impl Plane<'_, &mut Max<'_>> {
    /// The largest element of a window. Its columns are `cols`, COLS of them if that is not 0.
    #[inline(always)]
    fn largest<S: Simd, const COLS: usize>(
        &self,
        s: S,
        [oy, ox]: [usize; 2],
        rows: Range<usize>,
        cols: Range<usize>,
    ) -> S::V {
        let mut best = s.splat(f32::NEG_INFINITY);
        let step = self.geom.dilation[1];
        let count = if COLS > 0 { COLS } else { cols.len() };
        if count == 0 {
            return best;
        }
        let first = self.geom.position(1, ox, cols.start);
        for r in rows {
            let row = self.input.start(self.geom.position(0, oy, r));
            let x = &self.body.x[row + first..][..(count - 1) * step + 1];
            for c in 0..count {
                let larger = s.max(best, s.load(&x[c * step]));
                // A NaN is unequal to itself, and stays.
                best = s.select_equal(best, best, larger, best);
            }
        }
        best
    }
}

struct MaxGradient<'a> {
    x: &'a [Block],
    y: (&'a [Block], &'a Layout),
    dy: &'a [Block],
    dx: (&'a mut [Block], &'a Layout),
    /// A ReLU came before: no gradient passes where the maximum is not positive.
    relu: bool,
    /// dx holds nothing yet, and no element is in two windows.
    write: bool,
}

impl Kernel for Plane<'_, &mut MaxGradient<'_>> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let geom = self.geom;
        let width = self.input.width;
        let inside = geom.whole_windows(1, width, self.output.width);
        for oy in 0..self.output.height {
            let rows = geom.taps(0, oy, self.input.height);
            for ox in 0..self.output.width {
                let (at, rows) = ([oy, ox], rows.clone());
                match (inside.contains(&ox), geom.kernel[1]) {
                    (true, 2) => self.scatter::<S, 2>(s, at, rows, 0..2),
                    (true, 3) => self.scatter::<S, 3>(s, at, rows, 0..3),
                    _ => self.scatter::<S, 0>(s, at, rows, geom.taps(1, ox, width)),
                }
            }
        }
    }
}

impl Plane<'_, &mut MaxGradient<'_>> {
    /// Takes the gradient of one output to the first element which equals the maximum. The window's columns are `cols`,
    /// COLS of them if that is not 0.
    #[inline(always)]
    fn scatter<S: Simd, const COLS: usize>(
        &mut self,
        s: S,
        [oy, ox]: [usize; 2],
        rows: Range<usize>,
        cols: Range<usize>,
    ) {
        let MaxGradient { x, y: (y, yl), dy, dx: (dx, dl), relu, write } = &mut *self.body;
        let max = s.load(&y[yl.start(oy) + ox]);
        // What is left of dy: the first element that equals the maximum takes it.
        let mut left = s.load(&dy[self.output.start(oy) + ox]);
        if *relu {
            left = s.select_positive(max, left);
        }
        let step = self.geom.dilation[1];
        let count = if COLS > 0 { COLS } else { cols.len() };
        if count == 0 {
            return;
        }
        let first = self.geom.position(1, ox, cols.start);
        for r in rows {
            let row = self.geom.position(0, oy, r);
            let span = (count - 1) * step + 1;
            let x = &x[self.input.start(row) + first..][..span];
            let dx = &mut dx[dl.start(row) + first..][..span];
            for c in 0..count {
                let taken = s.select_equal(s.load(&x[c * step]), max, left, s.zero());
                left = s.sub(left, taken);
                let sum = if *write { taken } else { s.add(s.load(&dx[c * step]), taken) };
                s.store(&mut dx[c * step], sum);
            }
        }
    }
}

struct Average<'a> {
    x: &'a [Block],
    y: &'a mut [Block],
    divisor: Divisor,
}

impl Kernel for Plane<'_, &mut Average<'_>> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Average { x, y, divisor } = &mut *self.body;
        let this = Plane { body: (), geom: self.geom, input: self.input, output: self.output };
        let size = [this.input.height, this.input.width];
        this.outputs(|at, out| {
            let mut sum = s.zero();
            this.window(at, |row, col| sum = s.add(sum, s.load(&x[row + col])));
            let mean = s.mul(sum, s.splat(divisor.reciprocal(this.geom, at, size)));
            s.store(&mut y[out], mean);
        });
    }
}

struct AverageGradient<'a> {
    dy: &'a [Block],
    dx: &'a mut [Block],
    divisor: Divisor,
}

impl Kernel for Plane<'_, &mut AverageGradient<'_>> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let AverageGradient { dy, dx, divisor } = &mut *self.body;
        let this = Plane { body: (), geom: self.geom, input: self.input, output: self.output };
        let size = [this.input.height, this.input.width];
        this.outputs(|at, out| {
            let share = s.splat(divisor.reciprocal(this.geom, at, size));
            let share = s.mul(share, s.load(&dy[out]));
            this.window(at, |row, col| {
                let dx = &mut dx[row + col];
                s.store(dx, s.add(s.load(dx), share));
            });
        });
    }
}

/// The plane of `x` with this number.
fn plane<'a>((x, layout): Operand<'a>, i: usize) -> &'a [Block] {
    &x[i * layout.plane()..][..layout.plane()]
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
    threads.chunks(&mut y[..n * output.image()], output.plane(), |i, y| {
        let body = &mut Max { x: plane(x, i), y };
        isa.run(Plane { geom, input: x.1, output, body });
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
    threads.chunks(&mut dx[..n * dl.image()], dl.plane(), |i, dx| {
        if !(accumulate || all) {
            dx.fill(Block::ZERO);
        }
        let y = (plane(y, i), y.1);
        let write = apart && !accumulate;
        let (x, input, dy, output) = (plane(x, i), x.1, plane(dy, i), dy.1);
        let body = &mut MaxGradient { x, y, dy, dx: (dx, dl), relu, write };
        isa.run(Plane { geom, input, output, body });
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
    threads.chunks(&mut y[..n * output.image()], output.plane(), |i, y| {
        let body = &mut Average { x: plane(x, i), y, divisor };
        isa.run(Plane { geom, input: x.1, output, body });
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
    threads.chunks(&mut dx[..n * input.image()], input.plane(), |i, dx| {
        let body = &mut AverageGradient { dy: plane(dy, i), dx, divisor };
        isa.run(Plane { geom, input, output: dy.1, body });
    });
}
