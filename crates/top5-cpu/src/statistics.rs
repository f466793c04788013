//! The statistics of a batch: how the running ones follow them when a step is done, and how they are those of several
//! processes' images.

use crate::packed::{PackedParams, ParamId};
use top5_graph::{EngineError, NodeId, Reducer};
use top5_kernels::{Block, LANES, Layout};

/// The statistics of one batch.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) running: ParamId,
    pub(crate) momentum: f32,
    /// Mean and biased variance, a block of each in turn.
    pub(crate) statistics: Vec<Block>,
    /// Values per channel.
    pub(crate) count: f64,
}

impl Measured {
    /// Lets the running statistics follow; the variance is made unbiased.
    pub(crate) fn follow(&self, packed: &PackedParams, values: &mut [Block]) {
        let unbiased = self.count / (self.count.max(2.0) - 1.0);
        let running = values[packed.range(self.running)].iter_mut();
        for (i, (running, batch)) in running.zip(&self.statistics).enumerate() {
            let factor = if i % 2 == 0 { 1.0 } else { unbiased };
            for (running, &batch) in running.0.iter_mut().zip(&batch.0) {
                let change = f64::from(batch) * factor - f64::from(*running);
                *running = (f64::from(*running) + f64::from(self.momentum) * change) as f32;
            }
        }
    }
}

/// The reducer, if batch normalisation is over all processes.
pub(crate) fn synchronising<'a, 'b>(
    reducer: &'a mut Option<&'b mut dyn Reducer>,
) -> Option<&'a mut &'b mut dyn Reducer> {
    reducer.as_mut().filter(|reducer| reducer.synchronises())
}

/// Adds sums over processes: of `channels` pairs, whose first and second elements `sums` gives and takes.
fn merge(
    reducer: &mut dyn Reducer,
    node: NodeId,
    layout: &Layout,
    blocks: &mut [Block],
    count: f64,
    [to, from]: [&dyn Fn([f64; 2], f64) -> [f64; 2]; 2],
) -> Result<f64, EngineError> {
    let channels = layout.channels;
    let pair = |blocks: &[Block], c: usize| {
        [0, 1].map(|i| f64::from(blocks[2 * (c / LANES) + i].0[c % LANES]))
    };
    let mut sums = vec![count; 1 + 2 * channels];
    for c in 0..channels {
        [sums[1 + c], sums[1 + channels + c]] = to(pair(blocks, c), count);
    }
    reducer.statistics(node, &mut sums)?;
    let count = sums[0];
    for c in 0..channels {
        let merged = from([sums[1 + c], sums[1 + channels + c]], count);
        for (i, value) in merged.into_iter().enumerate() {
            blocks[2 * (c / LANES) + i].0[c % LANES] = value as f32;
        }
    }
    Ok(count)
}

/// Mean and variance of the images of all processes, in place of those of this one; returns the number of values.
pub(crate) fn merge_moments(
    reducer: &mut dyn Reducer,
    node: NodeId,
    layout: &Layout,
    statistics: &mut [Block],
    count: f64,
) -> Result<f64, EngineError> {
    let sums = |[mean, var]: [f64; 2], count: f64| [count * mean, count * (var + mean * mean)];
    let moments = |[sum, squares]: [f64; 2], count: f64| {
        let mean = sum / count;
        [mean, (squares / count - mean * mean).max(0.0)]
    };
    merge(reducer, node, layout, statistics, count, [&sums, &moments])
}

/// The sums of a normalisation's backward pass over all processes, in place of those of this one; returns the number of
/// values.
pub(crate) fn merge_sums(
    reducer: &mut dyn Reducer,
    node: NodeId,
    layout: &Layout,
    sums: &mut [Block],
    count: f64,
) -> Result<f64, EngineError> {
    let same = |sums: [f64; 2], _: f64| sums;
    merge(reducer, node, layout, sums, count, [&same, &same])
}
