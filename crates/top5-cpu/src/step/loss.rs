//! Steps on vectors: softmax, LeNet-5's radial basis functions, the loss.

use super::{At, Done, Memory, Operate, Run, Zeros, call, operands_of};
use crate::buffer::BufferId;
use crate::loss::{self, Target};
use crate::packed::ParamId;
use top5_kernels::Block;

/// Exponentials that sum to one.
#[derive(Clone, Debug)]
pub(crate) struct Softmax {
    pub(crate) x: BufferId,
    pub(crate) y: BufferId,
}

impl Operate for Softmax {
    operands_of!([x] -> [y]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        call!(at, memory, [x: self.x], y: self.y => {
            loss::softmax(at.run.n, x.1.channels, x.0, y.0);
        });
        Ok(0.0)
    }
}

/// The gradient of [`Softmax`], added.
#[derive(Clone, Debug)]
pub(crate) struct SoftmaxGradient {
    pub(crate) y: BufferId,
    pub(crate) dy: BufferId,
    pub(crate) dx: BufferId,
}

impl Operate for SoftmaxGradient {
    operands_of!([y, dy] -> [dx]);

    fn needs_zero(&self) -> Zeros {
        Zeros::Everywhere
    }

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        call!(at, memory, [y: self.y, dy: self.dy], dx: self.dx => {
            loss::softmax_gradient(at.run.n, y.1.channels, y.0, dy.0, dx.0);
        });
        Ok(0.0)
    }
}

/// Minus the squared distances of x to the codes.
#[derive(Clone, Debug)]
pub(crate) struct EuclideanRbf {
    pub(crate) codes: ParamId,
    pub(crate) x: BufferId,
    pub(crate) y: BufferId,
}

impl Operate for EuclideanRbf {
    operands_of!([x] -> [y]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let codes = Block::flat(at.params.of(self.codes));
        call!(at, memory, [x: self.x], y: self.y => {
            let sizes = [x.1.channels, y.1.channels];
            loss::euclidean_rbf(at.run.n, sizes, codes, x.0, y.0);
        });
        Ok(0.0)
    }
}

/// The gradient of [`EuclideanRbf`], added.
#[derive(Clone, Debug)]
pub(crate) struct EuclideanRbfGradient {
    pub(crate) codes: ParamId,
    pub(crate) x: BufferId,
    pub(crate) dy: BufferId,
    pub(crate) dx: BufferId,
}

impl Operate for EuclideanRbfGradient {
    operands_of!([x, dy] -> [dx]);

    fn needs_zero(&self) -> Zeros {
        Zeros::Everywhere
    }

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let codes = Block::flat(at.params.of(self.codes));
        call!(at, memory, [x: self.x, dy: self.dy], dx: self.dx => {
            let sizes = [x.1.channels, dy.1.channels];
            loss::euclidean_rbf_gradient(at.run.n, sizes, codes, x.0, dy.0, dx.0);
        });
        Ok(0.0)
    }
}

/// The gradient of `weight` times the loss of the logits, which it returns; also added.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    pub(crate) weight: f32,
    pub(crate) logits: BufferId,
    pub(crate) dy: BufferId,
}

impl Operate for Loss {
    operands_of!([logits] -> [dy]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let Run { n, targets, smoothing, scale, .. } = *at.run;
        let target = Target { targets, smoothing, weight: self.weight, scale };
        Ok(call!(at, memory, [x: self.logits], dy: self.dy => {
            loss::cross_entropy(n, target, x.1.channels, x.0, dy.0, at.accumulate)
        }))
    }
}
