//! Steps that compute each element, or each channel, from those at its place, and their gradients.

use super::{At, Done, Memory, Operands, Operate, Zeros, call, either, operands, operands_of};
use crate::buffer::BufferId;
use crate::loss;
use top5_graph::ops::{self, Activation};
use top5_graph::random::Stream;
use top5_kernels::elementwise::{self, map, pointwise};
use top5_kernels::{Block, BlockBf16, Pixel, channels};

/// `max(0, x)`
#[derive(Clone, Debug)]
pub(crate) struct Relu {
    pub(crate) x: BufferId,
    pub(crate) y: BufferId,
}

impl Operate for Relu {
    operands_of!([x] -> [y]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        either!(at, memory, [x: self.x], y: self.y => {
            pointwise(at.isa, threads, n, elementwise::Relu, [x], y);
        });
        Ok(0.0)
    }
}

/// `1/(1 + e^−x)`
#[derive(Clone, Debug)]
pub(crate) struct Sigmoid {
    pub(crate) x: BufferId,
    pub(crate) y: BufferId,
}

impl Operate for Sigmoid {
    operands_of!([x] -> [y]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        let sigmoid = |x: f32| (1.0 / (1.0 + (-f64::from(x)).exp())) as f32;
        call!(at, memory, [x: self.x], y: self.y => map(threads, n, sigmoid, x, y));
        Ok(0.0)
    }
}

/// LeNet-5's `A·tanh(S·x)`
#[derive(Clone, Debug)]
pub(crate) struct ScaledTanh {
    pub(crate) x: BufferId,
    pub(crate) y: BufferId,
}

impl Operate for ScaledTanh {
    operands_of!([x] -> [y]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        let [amplitude, slope] =
            [Activation::TANH_AMPLITUDE, Activation::TANH_SLOPE].map(f64::from);
        let tanh = |x: f32| (amplitude * (slope * f64::from(x)).tanh()) as f32;
        call!(at, memory, [x: self.x], y: self.y => map(threads, n, tanh, x, y));
        Ok(0.0)
    }
}

/// x with the dropout factor of each element.
#[derive(Clone, Debug)]
pub(crate) struct Dropout {
    pub(crate) p: f32,
    pub(crate) x: BufferId,
    pub(crate) y: BufferId,
}

impl Operate for Dropout {
    operands_of!([x] -> [y]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        drop_out(self.p, [self.x, self.y], at, memory);
        Ok(0.0)
    }
}

/// The gradient of [`Dropout`], which has the same factors; also added.
#[derive(Clone, Debug)]
pub(crate) struct DropoutGradient {
    pub(crate) p: f32,
    pub(crate) dy: BufferId,
    pub(crate) dx: BufferId,
}

impl Operate for DropoutGradient {
    operands_of!([dy] -> [dx]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        drop_out(self.p, [self.dy, self.dx], at, memory);
        Ok(0.0)
    }
}

fn drop_out(p: f32, [from, to]: [BufferId; 2], at: &At<'_>, memory: &mut Memory<'_, '_, '_>) {
    let (threads, n) = at.batch();
    let stream = Stream::new(at.run.seed, at.node.index() as u64);
    let masks = loss::Masks { op: ops::Dropout { p }, stream, first: at.run.first };
    call!(at, memory, [x: from], y: to => {
        loss::dropout(threads, n, &masks, x, y, at.accumulate);
    });
}

/// `a + b`
#[derive(Clone, Debug)]
pub(crate) struct Add {
    pub(crate) relu: bool,
    pub(crate) a: BufferId,
    pub(crate) b: BufferId,
    pub(crate) y: BufferId,
}

impl Operate for Add {
    operands_of!([a, b] -> [y]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let ((threads, n), relu) = (at.batch(), self.relu);
        either!(at, memory, [a: self.a, b: self.b], y: self.y => {
            if relu {
                pointwise(at.isa, threads, n, elementwise::AddRelu, [a, b], y);
            } else {
                pointwise(at.isa, threads, n, elementwise::Add, [a, b], y);
            }
        });
        Ok(0.0)
    }

    fn fused(&self) -> [bool; 3] {
        [false, false, self.relu]
    }
}

/// `factor·x`; also added.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    pub(crate) factor: f32,
    pub(crate) x: BufferId,
    pub(crate) y: BufferId,
}

impl Operate for Times {
    operands_of!([x] -> [y]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let ((threads, n), isa, factor) = (at.batch(), at.isa, self.factor);
        either!(at, memory, [x: self.x], y: self.y => {
            match (factor == 1.0, at.accumulate) {
                (true, false) => pointwise(isa, threads, n, elementwise::Copy1, [x], y),
                (true, true) => pointwise(isa, threads, n, elementwise::Accumulate, [x], y),
                (false, false) => pointwise(isa, threads, n, elementwise::Times(factor), [x], y),
                (false, true) => {
                    pointwise(isa, threads, n, elementwise::AccumulateTimes(factor), [x], y);
                }
            }
        });
        Ok(0.0)
    }
}

/// x times a factor per image and channel, and another map if there is one; also added.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    pub(crate) relu: bool,
    pub(crate) x: BufferId,
    pub(crate) factors: BufferId,
    pub(crate) sum: Option<BufferId>,
    pub(crate) y: BufferId,
}

impl Operate for Scale {
    fn reads(&self) -> Operands {
        operands([Some(self.x), Some(self.factors), self.sum])
    }

    fn writes(&self) -> Operands {
        operands([Some(self.y)])
    }

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        let &Self { relu, x, factors, sum, y } = self;
        let layouts = [x, y].map(|id| at.layout(id));
        let reads = [at.range(x), at.range(factors), at.range(sum)];
        let ([out], [map, factors, add]) = memory.arena.lend([at.range(y)], reads);
        macro_rules! scale {
            ($p:ty) => {{
                let add = sum.map(|sum| (<$p>::of(add), at.layout(sum)));
                let epilogue = channels::ScaleEpilogue { add, accumulate: at.accumulate, relu };
                let (x, y) = ((<$p>::of(map), layouts[0]), (<$p>::of_mut(out), layouts[1]));
                channels::scale(at.isa, threads, n, x, factors, &epilogue, y);
            }};
        }
        if at.is_bf16(y) {
            scale!(BlockBf16)
        } else {
            scale!(Block)
        }
        Ok(0.0)
    }

    fn fused(&self) -> [bool; 3] {
        [false, self.sum.is_some(), self.relu]
    }
}

/// The gradient of [`Scale`] with respect to the factors; also added.
#[derive(Clone, Debug)]
pub(crate) struct ScaleFactorGradient {
    pub(crate) x: BufferId,
    pub(crate) dy: BufferId,
    pub(crate) df: BufferId,
}

impl Operate for ScaleFactorGradient {
    operands_of!([x, dy] -> [df]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        call!(at, memory, [x: self.x, dy: self.dy], df: self.df => {
            channels::scale_factor_gradient(at.isa, threads, n, x, dy, df.0, at.accumulate);
        });
        Ok(0.0)
    }
}

/// dy in place: zero where the output of a ReLU is not positive.
#[derive(Clone, Debug)]
pub(crate) struct MaskPositive {
    pub(crate) y: BufferId,
    pub(crate) dy: BufferId,
}

impl Operate for MaskPositive {
    operands_of!([y] -> [dy]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        call!(at, memory, [y: self.y], dy: self.dy => {
            pointwise(at.isa, threads, n, elementwise::MaskPositive, [y], dy);
        });
        Ok(0.0)
    }
}

/// dy in place: zero where it is not positive.
#[derive(Clone, Debug)]
pub(crate) struct Rectify {
    pub(crate) dy: BufferId,
}

impl Operate for Rectify {
    operands_of!([] -> [dy]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        call!(at, memory, [], dy: self.dy => {
            pointwise(at.isa, threads, n, elementwise::Rectify, [], dy);
        });
        Ok(0.0)
    }
}

/// A gradient that is added, from an output and its gradient.
macro_rules! gradient_of_output {
    ($(#[$doc:meta] $name:ident: $op:expr;)*) => {$(
        #[$doc]
        #[derive(Clone, Debug)]
        pub(crate) struct $name {
            pub(crate) y: BufferId,
            pub(crate) dy: BufferId,
            pub(crate) dx: BufferId,
        }

        impl Operate for $name {
            operands_of!([y, dy] -> [dx]);

            fn needs_zero(&self) -> Zeros {
                Zeros::Everywhere
            }

            fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
                let (threads, n) = at.batch();
                call!(at, memory, [y: self.y, dy: self.dy], dx: self.dx => {
                    pointwise(at.isa, threads, n, $op, [y, dy], dx);
                });
                Ok(0.0)
            }
        }
    )*};
}

gradient_of_output! {
    /// The gradient of [`Relu`], added.
    ReluGradient: elementwise::ReluGradient;
    /// The gradient of [`Sigmoid`], added.
    SigmoidGradient: elementwise::SigmoidGradient;
    /// The gradient of [`ScaledTanh`], added.
    ScaledTanhGradient: elementwise::TanhGradient {
        amplitude: Activation::TANH_AMPLITUDE,
        slope: Activation::TANH_SLOPE,
    };
}
