//! Steps that pool windows, and their gradients.

use super::{At, Done, Memory, Operate, Zeros, call, either, operands_of};
use crate::buffer::BufferId;
use top5_kernels::pool::{self, Divisor, PoolGeom};

/// The maximum of each window of x.
#[derive(Clone, Debug)]
pub(crate) struct MaxPool {
    pub(crate) geom: PoolGeom,
    pub(crate) x: BufferId,
    pub(crate) y: BufferId,
}

impl Operate for MaxPool {
    operands_of!([x] -> [y]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        either!(at, memory, [x: self.x], y: self.y => {
            pool::max(at.isa, threads, n, &self.geom, x, y);
        });
        Ok(0.0)
    }
}

/// The mean, or the sum, of each window of x.
#[derive(Clone, Debug)]
pub(crate) struct Average {
    pub(crate) geom: PoolGeom,
    pub(crate) divisor: Divisor,
    pub(crate) x: BufferId,
    pub(crate) y: BufferId,
}

impl Operate for Average {
    operands_of!([x] -> [y]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        either!(at, memory, [x: self.x], y: self.y => {
            pool::average(at.isa, threads, n, &self.geom, self.divisor, x, y);
        });
        Ok(0.0)
    }
}

/// The gradient of [`MaxPool`]; also added. `relu`: x is the output of a ReLU, which is undone as well.
#[derive(Clone, Debug)]
pub(crate) struct MaxPoolGradient {
    pub(crate) geom: PoolGeom,
    pub(crate) relu: bool,
    pub(crate) x: BufferId,
    pub(crate) y: BufferId,
    pub(crate) dy: BufferId,
    pub(crate) dx: BufferId,
}

impl Operate for MaxPoolGradient {
    operands_of!([x, y, dy] -> [dx]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let ((threads, n), accumulate) = (at.batch(), at.accumulate);
        let Self { geom, relu, .. } = self;
        call!(at, memory, [x: self.x, y: self.y, dy: self.dy], dx: self.dx => {
            pool::max_gradient(at.isa, threads, n, geom, x, y, dy, dx, *relu, accumulate);
        });
        Ok(0.0)
    }
}

/// The gradient of [`Average`], added.
#[derive(Clone, Debug)]
pub(crate) struct AverageGradient {
    pub(crate) geom: PoolGeom,
    pub(crate) divisor: Divisor,
    pub(crate) dy: BufferId,
    pub(crate) dx: BufferId,
}

impl Operate for AverageGradient {
    operands_of!([dy] -> [dx]);

    fn needs_zero(&self) -> Zeros {
        Zeros::Everywhere
    }

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        call!(at, memory, [dy: self.dy], dx: self.dx => {
            pool::average_gradient(at.isa, threads, n, &self.geom, self.divisor, dy, dx);
        });
        Ok(0.0)
    }
}

/// The mean of each of the windows that divide x into the rows and columns of y.
#[derive(Clone, Debug)]
pub(crate) struct AdaptiveAverage {
    pub(crate) x: BufferId,
    pub(crate) y: BufferId,
}

impl Operate for AdaptiveAverage {
    operands_of!([x] -> [y]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        either!(at, memory, [x: self.x], y: self.y => {
            pool::adaptive_average(at.isa, threads, n, x, y);
        });
        Ok(0.0)
    }
}

/// The gradient of [`AdaptiveAverage`], added.
#[derive(Clone, Debug)]
pub(crate) struct AdaptiveAverageGradient {
    pub(crate) dy: BufferId,
    pub(crate) dx: BufferId,
}

impl Operate for AdaptiveAverageGradient {
    operands_of!([dy] -> [dx]);

    fn needs_zero(&self) -> Zeros {
        Zeros::Everywhere
    }

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        call!(at, memory, [dy: self.dy], dx: self.dx => {
            pool::adaptive_average_gradient(at.isa, threads, n, dy, dx);
        });
        Ok(0.0)
    }
}
