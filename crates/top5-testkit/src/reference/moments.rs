//! What batch normalisation normalises with: running statistics, or those of a batch, over several processes if asked.

use super::array::Array;
use top5_graph::ops::BatchNorm2d;
use top5_graph::{EngineError, NodeId};

/// Adds sums over processes.
pub(super) type Synchronise<'a> =
    Option<&'a mut dyn FnMut(NodeId, &mut [f64]) -> Result<(), EngineError>>;

/// The values of channel `c`, sample after sample.
pub(super) fn channel(x: &Array, c: usize) -> impl Iterator<Item = f64> {
    (0..x.n).flat_map(move |n| x.plane(n, c).iter().copied())
}

/// Mean and biased variance of each channel over the batch and all positions.
fn statistics(x: &Array) -> Vec<(f64, f64)> {
    let count = (x.n * x.area()) as f64;
    (0..x.c)
        .map(|c| {
            let mean = channel(x, c).sum::<f64>() / count;
            (mean, channel(x, c).map(|v| (v - mean).powi(2)).sum::<f64>() / count)
        })
        .collect()
}

/// What a batch normalisation normalises with.
pub(super) struct Moments {
    /// How many values each channel's statistics are of; `None` for the running ones, which depend on no input.
    pub(super) count: Option<f64>,
    /// Mean and biased variance of each channel.
    pub(super) channels: Vec<(f64, f64)>,
}

impl Moments {
    /// The running ones in `params`.
    pub(super) fn running(params: &[Vec<f64>]) -> Self {
        let channels = params[2].iter().copied().zip(params[3].iter().copied()).collect();
        Self { count: None, channels }
    }

    /// Those of the batch `x`, or of the batches of all processes.
    pub(super) fn of(
        x: &Array,
        node: NodeId,
        synchronise: &mut Synchronise<'_>,
    ) -> Result<Self, EngineError> {
        let count = (x.n * x.area()) as f64;
        let Some(synchronise) = synchronise else {
            return Ok(Self { count: Some(count), channels: statistics(x) });
        };
        let sum = |c: usize| channel(x, c).sum::<f64>();
        let squares = |c: usize| channel(x, c).map(|v| v * v).sum::<f64>();
        let mut sums = vec![count];
        sums.extend((0..x.c).map(sum).chain((0..x.c).map(squares)));
        synchronise(node, &mut sums)?;
        let count = sums[0];
        let moments = |c: usize| {
            let mean = sums[1 + c] / count;
            (mean, (sums[1 + x.c + c] / count - mean * mean).max(0.0))
        };
        Ok(Self { count: Some(count), channels: (0..x.c).map(moments).collect() })
    }

    /// For each channel, the mean and 1/√(var + eps).
    pub(super) fn constants(&self, op: &BatchNorm2d) -> Vec<(f64, f64)> {
        let inverse = |var: f64| 1.0 / (var + f64::from(op.eps)).sqrt();
        self.channels.iter().map(|&(mean, var)| (mean, inverse(var))).collect()
    }
}
