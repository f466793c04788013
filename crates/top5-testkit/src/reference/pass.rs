//! Forward and backward through a graph, node by node.

use super::array::Array;
use super::compute::{At, Compute, Gradients, Mode};
use super::moments::{Moments, Synchronise};
use super::{Values, norm};
use top5_graph::{EngineError, Graph, NodeId, Op, Statistics, each_op};

/// The arithmetic of an op.
fn definition(op: &Op) -> &dyn Compute {
    each_op!(op, op => op)
}

/// A forward pass.
pub(super) struct Run {
    /// The output of each node.
    pub(super) outputs: Vec<Array>,
    /// What each batch normalisation normalised with.
    pub(super) moments: Vec<Option<Moments>>,
}

/// Runs `graph` on images in `[n, c, h, w]`.
pub(super) fn run(
    graph: &Graph,
    params: &Values,
    images: &[f64],
    mode: &Mode<'_>,
    mut synchronise: Synchronise<'_>,
) -> Result<Run, EngineError> {
    let n = images.len() / graph.nodes()[0].shape().elements();
    let mut run = Run { outputs: Vec::with_capacity(graph.nodes().len()), moments: Vec::new() };
    for node in graph.nodes() {
        mode.go_on()?;
        let params = &params[node.id.index()];
        let inputs: Vec<&Array> = node.inputs.iter().map(|id| &run.outputs[id.index()]).collect();
        let moments = match (&node.op, mode.statistics) {
            (Op::BatchNorm2d(_), Statistics::Running) => Some(Moments::running(params)),
            (Op::BatchNorm2d(_), Statistics::Batch) => {
                Some(Moments::of(inputs[0], node.id, &mut synchronise)?)
            }
            _ => None,
        };
        let output = if inputs.is_empty() {
            Array { data: images.to_vec(), ..Array::zeros(n, node.shape()) }
        } else {
            let moments = moments.as_ref();
            definition(&node.op).forward(&At { node, inputs: &inputs, params, moments, mode })
        };
        run.outputs.push(output);
        run.moments.push(moments);
    }
    Ok(run)
}

/// The gradients of all activations (by node) and of all parameters, from those of some activations.
pub(super) fn run_back(
    graph: &Graph,
    params: &Values,
    run: &Run,
    starts: Vec<(NodeId, Array)>,
    mode: &Mode<'_>,
    mut synchronise: Synchronise<'_>,
) -> Result<(Vec<Array>, Values), EngineError> {
    let mut gradients: Vec<Array> = run.outputs.iter().map(Array::zeros_like).collect();
    let mut dparams = super::zeros(graph, true);
    for (node, start) in starts {
        let sum = gradients[node.index()].zip(&start, |a, b| a + b);
        gradients[node.index()] = sum;
    }
    for node in graph.nodes().iter().rev() {
        mode.go_on()?;
        let at = node.id.index();
        let inputs: Vec<&Array> = node.inputs.iter().map(|id| &run.outputs[id.index()]).collect();
        let mut dinputs: Vec<Array> = inputs.iter().map(|x| x.zeros_like()).collect();
        let (dy, moments) = (&gradients[at], run.moments[at].as_ref());
        let to = Gradients { inputs: &mut dinputs, params: &mut dparams[at] };
        let at = At { node, inputs: &inputs, params: &params[at], moments, mode };
        if let Op::BatchNorm2d(op) = &node.op {
            norm::batch_backward(op, &at, dy, to, &mut synchronise)?;
        } else {
            definition(&node.op).backward(&at, dy, to);
        }
        for (id, dinput) in node.inputs.iter().zip(dinputs) {
            let sum = gradients[id.index()].zip(&dinput, |a, b| a + b);
            gradients[id.index()] = sum;
        }
    }
    Ok((gradients, dparams))
}
