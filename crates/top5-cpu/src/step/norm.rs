//! Steps that normalise: by statistics of a channel, or across channels; and their gradients.

use super::{At, Done, Memory, Operands, Operate, Zeros, call, either, operands, operands_of};
use crate::buffer::BufferId;
use crate::packed::{ParamId, Params};
use crate::statistics::{Measured, merge_moments, merge_sums, synchronising};
use top5_kernels::lrn::{self, LrnGeom};
use top5_kernels::norm::{self, Normal};
use top5_kernels::{Block, BlockBf16, Pixel};

/// A batch normalisation, or another affine map per channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Normalisation {
    pub(crate) weight: ParamId,
    pub(crate) bias: ParamId,
    pub(crate) statistics: StatisticsAt,
    pub(crate) eps: f32,
    pub(crate) relu: bool,
}

/// Where mean and variance are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatisticsAt {
    /// Parameters.
    Param(ParamId),
    /// The batch's.
    Batch(BufferId),
}

impl StatisticsAt {
    fn buffer(self) -> Option<BufferId> {
        match self {
            Self::Param(_) => None,
            Self::Batch(buffer) => Some(buffer),
        }
    }
}

impl Normalisation {
    /// Its values, with the batch's statistics if it uses them.
    fn values<'a>(&self, params: &Params<'a>, of_batch: &'a [Block]) -> Normal<'a> {
        let statistics = match self.statistics {
            StatisticsAt::Param(param) => params.of(param),
            StatisticsAt::Batch(_) => of_batch,
        };
        Normal {
            statistics,
            weight: params.of(self.weight),
            bias: params.of(self.bias),
            eps: self.eps,
            of_batch: self.statistics.buffer().is_some(),
            relu: self.relu,
        }
    }
}

/// Mean and variance of x over the batch, which the running ones are to follow.
#[derive(Clone, Debug)]
pub(crate) struct BatchStatistics {
    pub(crate) running: ParamId,
    pub(crate) momentum: f32,
    pub(crate) x: BufferId,
    pub(crate) statistics: BufferId,
    pub(crate) work: BufferId,
}

impl Operate for BatchStatistics {
    operands_of!([x] -> [statistics, work]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let ((threads, n), layout) = (at.batch(), at.layout(self.x));
        let writes = [at.range(self.statistics), at.range(self.work)];
        let ([statistics, work], [x]) = memory.arena.lend(writes, [at.range(self.x)]);
        norm::statistics(at.isa, threads, n, (x, layout), work, statistics);
        let mut count = (n * layout.height * layout.width) as f64;
        if let Some(reducer) = synchronising(&mut memory.outside.reducer) {
            count = merge_moments(*reducer, at.node, layout, statistics, count)?;
        }
        let statistics = statistics[..2 * layout.blocks()].to_vec();
        let (running, momentum) = (self.running, self.momentum);
        memory.outside.measured.push(Measured { running, momentum, statistics, count });
        Ok(0.0)
    }
}

/// x normalised, then another map added if there is one, then the ReLU if there is one.
#[derive(Clone, Debug)]
pub(crate) struct Normalise {
    pub(crate) by: Normalisation,
    pub(crate) x: BufferId,
    pub(crate) sum: Option<BufferId>,
    pub(crate) y: BufferId,
}

impl Operate for Normalise {
    fn reads(&self) -> Operands {
        operands([Some(self.x), self.by.statistics.buffer(), self.sum])
    }

    fn writes(&self) -> Operands {
        operands([Some(self.y)])
    }

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        let reads = [at.range(self.x), at.range(self.by.statistics.buffer()), at.range(self.sum)];
        let ([y], [x, statistics, sum]) = memory.arena.lend([at.range(self.y)], reads);
        let values = self.by.values(&at.params, statistics);
        let [from, to] = [self.x, self.y].map(|id| at.layout(id));
        macro_rules! normalise {
            ($p:ty) => {{
                let sum = self.sum.map(|id| (<$p>::of(sum), at.layout(id)));
                let (x, y) = ((<$p>::of(x), from), (<$p>::of_mut(y), to));
                norm::normalise(at.isa, threads, n, &values, x, sum, y);
            }};
        }
        if at.is_bf16(self.y) {
            normalise!(BlockBf16)
        } else {
            normalise!(Block)
        }
        Ok(0.0)
    }

    fn fused(&self) -> [bool; 3] {
        [false, self.sum.is_some(), self.by.relu]
    }
}

/// The gradient of [`Normalise`], and those of its two parameters.
#[derive(Clone, Debug)]
pub(crate) struct NormaliseGradient {
    pub(crate) by: Normalisation,
    /// Another map was added.
    pub(crate) sum: bool,
    pub(crate) x: BufferId,
    /// The output, where a ReLU followed a sum: dy is masked in place then, and is the gradient of the summand too.
    pub(crate) y: Option<BufferId>,
    pub(crate) dy: BufferId,
    /// Also added; `None`: it takes the place of dy.
    pub(crate) dx: Option<BufferId>,
    pub(crate) sums: BufferId,
    pub(crate) work: BufferId,
}

impl Operate for NormaliseGradient {
    fn gradients(&self) -> [Option<ParamId>; 2] {
        [Some(self.by.weight), Some(self.by.bias)]
    }

    fn reads(&self) -> Operands {
        operands([Some(self.x), self.by.statistics.buffer(), self.y])
    }

    fn writes(&self) -> Operands {
        let result = self.dx.unwrap_or(self.dy);
        let dy = self.dx.map(|_| self.dy);
        operands([Some(result), Some(self.sums), Some(self.work), dy])
    }

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let ((threads, n), accumulate) = (at.batch(), at.accumulate);
        let writes =
            [at.range(self.dy), at.range(self.dx), at.range(self.sums), at.range(self.work)];
        let reads = [at.range(self.x), at.range(self.by.statistics.buffer()), at.range(self.y)];
        let ([dy, dx, sums, work], [x, statistics, y]) = memory.arena.lend(writes, reads);
        let y = self.y.map(|id| (y, at.layout(id)));
        let dx = self.dx.map(|id| (dx, at.layout(id)));
        let values = self.by.values(&at.params, statistics);
        let (x, dy) = ((x, at.layout(self.x)), (dy, at.layout(self.dy)));
        let (dy, layout) = dy;
        norm::gradient_sums(at.isa, threads, n, &values, x, y, (&mut *dy, layout), work, sums);
        let learns = memory.outside.gradients.is_some();
        let learned = [(self.by.bias, 0), (self.by.weight, 1)].into_iter();
        for (param, first) in learned.filter(|_| learns) {
            let out = at.gradient(&mut memory.outside.gradients, param).iter_mut();
            out.zip(sums.iter().skip(first).step_by(2)).for_each(|(out, sum)| *out = *sum);
        }
        let mut count = (n * layout.height * layout.width) as f64;
        let reducer = synchronising(&mut memory.outside.reducer);
        if let (true, Some(reducer)) = (values.of_batch, reducer) {
            count = merge_sums(*reducer, at.node, layout, sums, count)?;
        }
        let (masked, sums, dy) = (y.is_some(), &*sums, (dy, layout));
        norm::input_gradient(
            at.isa, threads, n, &values, x, masked, dy, sums, count, dx, accumulate,
        );
        Ok(0.0)
    }

    fn fused(&self) -> [bool; 3] {
        [false, self.sum, self.by.relu]
    }
}

/// Each element over a power of what its neighbours among the channels are.
#[derive(Clone, Debug)]
pub(crate) struct Lrn {
    pub(crate) geom: LrnGeom,
    pub(crate) x: BufferId,
    pub(crate) y: BufferId,
}

impl Operate for Lrn {
    operands_of!([x] -> [y]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        either!(at, memory, [x: self.x], y: self.y => {
            lrn::forward(at.isa, threads, n, &self.geom, x, y);
        });
        Ok(0.0)
    }
}

/// The gradient of [`Lrn`], added.
#[derive(Clone, Debug)]
pub(crate) struct LrnGradient {
    pub(crate) geom: LrnGeom,
    pub(crate) x: BufferId,
    pub(crate) dy: BufferId,
    pub(crate) dx: BufferId,
}

impl Operate for LrnGradient {
    operands_of!([x, dy] -> [dx]);

    fn needs_zero(&self) -> Zeros {
        Zeros::Everywhere
    }

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        call!(at, memory, [x: self.x, dy: self.dy], dx: self.dx => {
            lrn::gradient(at.isa, threads, n, &self.geom, x, dy, dx);
        });
        Ok(0.0)
    }
}
