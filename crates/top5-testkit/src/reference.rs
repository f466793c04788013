//! The reference: a device of plain f64 loops, forward and backward, for every op.
//!
//! It is what the other engines are compared with, so it shares no code with them and prefers the definition to the
//! fast form. Its own gradients are checked by central differences, its own results by the reference files.

mod array;
mod combine;
mod compute;
mod conv;
mod elementwise;
#[cfg(test)]
mod gradients;
mod linear;
mod moments;
mod network;
mod norm;
mod optimizer;
mod pass;
mod pool;
#[cfg(test)]
mod signals;
mod training;

use std::sync::Arc;
use top5_graph::{
    Device, EngineError, Graph, Network, Retain, Tensor, Training, TrainingOptions, Weights,
};

use network::ReferenceNetwork;
use training::ReferenceTraining;

/// For each node, for each of its parameters and buffers, the values.
type Values = Vec<Vec<Vec<f64>>>;

/// Runs graphs in f64. Parameters, gradients and optimiser state are kept in f64 from one call to the next, and rounded
/// to f32 where they are handed out.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReferenceDevice;

impl Device for ReferenceDevice {
    fn network(
        &self,
        graph: &Graph,
        weights: Weights,
        _retain: Retain,
    ) -> Result<Arc<dyn Network>, EngineError> {
        Ok(Arc::new(ReferenceNetwork::new(graph, &weights)?))
    }

    fn training(
        &self,
        graph: &Graph,
        weights: &Weights,
        options: &TrainingOptions,
    ) -> Result<Box<dyn Training>, EngineError> {
        Ok(Box::new(ReferenceTraining::new(graph, weights, options)?))
    }
}

/// The number of samples in `images`.
fn count(graph: &Graph, batch: usize, images: &[f32]) -> Result<usize, EngineError> {
    let sample: usize = graph.input().iter().product();
    let n = images.len() / sample;
    if images.len() != n * sample || !(1..=batch).contains(&n) {
        return Err(EngineError::Images { sample, batch, got: images.len() });
    }
    Ok(n)
}

fn tensor(shape: Vec<usize>, values: &[f64]) -> Tensor {
    let values = values.iter().map(|&v| v as f32).collect();
    Tensor::new(shape, values).expect("as many values as the shape says")
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// Zeros for all parameters, and for all buffers unless only the learned ones count.
fn zeros(graph: &Graph, learned_only: bool) -> Values {
    let param = |param: &top5_graph::Param| {
        let len = if param.learned || !learned_only { param.elements() } else { 0 };
        vec![0.0; len]
    };
    graph.nodes().iter().map(|node| node.spec.params.iter().map(param).collect()).collect()
}

/// Reads the tensors into `values`; `weights` has been checked.
fn read(graph: &Graph, weights: &Weights, values: &mut Values) {
    for ((name, _), values) in graph.params().zip(values.iter_mut().flatten()) {
        if let Some(tensor) = weights.tensor(&name) {
            *values = wide(tensor.data());
        }
    }
}

/// Values by name; those of the learned parameters, or of the buffers too.
fn named(graph: &Graph, values: &Values, learned_only: bool) -> Weights {
    let params = graph.params().zip(values.iter().flatten());
    params
        .filter(|((_, param), _)| param.learned || !learned_only)
        .map(|((name, param), values)| (name, tensor(param.shape.clone(), values)))
        .collect()
}
