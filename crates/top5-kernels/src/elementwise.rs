//! Operations on one pixel at a time.

use crate::block::{Block, Layout};
use crate::isa::Isa;
use crate::pixel::Pixel;
use crate::simd::{Kernel, Simd};
use crate::threads::Threads;

/// An activation to read: its memory and where its pixels are.
pub type Operand<'a, P = Block> = (&'a [P], &'a Layout);

/// What becomes of a pixel.
pub trait Pointwise<const N: usize>: Copy + Sync {
    /// The new value of `y`, from its old value and N inputs.
    fn apply<S: Simd>(self, simd: S, y: S::V, x: [S::V; N]) -> S::V;
}

/// Declares pointwise operations: `Name { fields } |simd, y, [inputs]| value`.
macro_rules! pointwise {
    ($($(#[$doc:meta])* $name:ident $(($field:ident))? |$s:ident, $y:pat_param, [$($x:ident),*]| $n:literal $body:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name $((
            #[doc = concat!("The ", stringify!($field), ".")]
            pub f32,
        ))?;

        impl Pointwise<$n> for $name {
            #[inline(always)]
            fn apply<S: Simd>(self, $s: S, $y: S::V, [$($x),*]: [S::V; $n]) -> S::V {
                $(let $field = self.0;)?
                $body
            }
        }
    )*};
}

pointwise! {
    /// `y ← x`
    Copy1 |_s, _, [x]| 1 x;
    /// `y ← y + x`
    Accumulate |s, y, [x]| 1 s.add(y, x);
    /// `y ← a + b`
    Add |s, _, [a, b]| 2 s.add(a, b);
    /// `y ← max(0, a + b)`
    AddRelu |s, _, [a, b]| 2 s.relu(s.add(a, b));
    /// `y ← max(0, y)`, in place.
    Rectify |s, y, []| 0 s.relu(y);
    /// `y ← max(0, x)`
    Relu |s, _, [x]| 1 s.relu(x);
    /// `y ← factor·x`
    Times(factor) |s, _, [x]| 1 s.mul(s.splat(factor), x);
    /// `y ← y + factor·x`
    AccumulateTimes(factor) |s, y, [x]| 1 s.mul_add(s.splat(factor), x, y);
    /// `y ← y` where the output of a ReLU is positive, 0 elsewhere: its gradient, in place.
    MaskPositive |s, y, [out]| 1 s.select_positive(out, y);
    /// `dx ← dx + dy` where the output of a ReLU is positive.
    ReluGradient |s, dx, [out, dy]| 2 s.add(dx, s.select_positive(out, dy));
    /// `dx ← dx + dy·y·(1 − y)`, the gradient of a sigmoid whose output is y.
    SigmoidGradient |s, dx, [out, dy]| 2 s.mul_add(s.mul(dy, out), s.sub(s.splat(1.0), out), dx);
}

/// `dx ← dx + dy·slope·(amplitude − y²/amplitude)`, the gradient of `amplitude·tanh(slope·x)` whose output is y.
#[derive(Clone, Copy, Debug)]
pub struct TanhGradient {
    /// Largest output.
    pub amplitude: f32,
    /// Factor of the argument.
    pub slope: f32,
}

impl Pointwise<2> for TanhGradient {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, dx: S::V, [y, dy]: [S::V; 2]) -> S::V {
        let square = s.mul(s.mul(y, y), s.splat(-1.0 / self.amplitude));
        let slope = s.mul(s.splat(self.slope), s.add(s.splat(self.amplitude), square));
        s.mul_add(dy, slope, dx)
    }
}

/// Pixels that make a job worth starting.
pub(crate) const JOB: usize = 512;

/// Applies `op` to every pixel of `n` images. All layouts have the same channels, height and width.
pub fn pointwise<const N: usize, P: Pixel>(
    isa: Isa,
    threads: &Threads,
    n: usize,
    op: impl Pointwise<N>,
    inputs: [Operand<'_, P>; N],
    (y, layout): (&mut [P], &Layout),
) {
    let per_job = JOB.div_ceil(layout.plane().max(1));
    threads.planes((y, layout), n, per_job, |plane, y| {
        let inputs = inputs.map(|(x, l)| (&x[l.plane_at(plane)], l));
        isa.run(Plane { op, inputs, y, layout });
    });
}

struct Plane<'a, const N: usize, O, P> {
    op: O,
    inputs: [Operand<'a, P>; N],
    y: &'a mut [P],
    layout: &'a Layout,
}

impl<const N: usize, O: Pointwise<N>, P: Pixel> Kernel for Plane<'_, N, O, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { op, inputs, y, layout } = self;
        if layout.is_dense() && inputs.iter().all(|(_, l)| l.is_dense()) {
            let len = y.len();
            return line(simd, op, inputs.map(|(x, _)| &x[..len]), y);
        }
        for row in 0..layout.height {
            let inputs = inputs.map(|(x, l)| l.pixels(x, row));
            line(simd, op, inputs, layout.pixels_mut(y, row));
        }
    }
}

/// Applies `op` to pixels that follow each other. No closure, which loses the instruction set where it is not inlined.
#[inline(always)]
fn line<const N: usize, S: Simd, P: Pixel>(
    simd: S,
    op: impl Pointwise<N>,
    inputs: [&[P]; N],
    y: &mut [P],
) {
    for (i, y) in y.iter_mut().enumerate() {
        let mut values = [simd.zero(); N];
        for k in 0..N {
            values[k] = inputs[k][i].load(simd);
        }
        y.store(simd, op.apply(simd, y.load(simd), values));
    }
}

/// `y ← f(x)` element by element; unused lanes stay zero, whatever f(0) is.
pub fn map(
    threads: &Threads,
    n: usize,
    f: impl Fn(f32) -> f32 + Sync,
    (x, from): Operand<'_>,
    (y, to): (&mut [Block], &Layout),
) {
    threads.planes((y, to), n, 1, |plane, y| {
        let lanes = to.lanes(plane % to.blocks());
        let x = &x[from.plane_at(plane)];
        for row in 0..to.height {
            for (y, x) in to.pixels_mut(y, row).iter_mut().zip(from.pixels(x, row)) {
                for lane in 0..lanes {
                    y.0[lane] = f(x.0[lane]);
                }
                y.0[lanes..].fill(0.0);
            }
        }
    });
}
