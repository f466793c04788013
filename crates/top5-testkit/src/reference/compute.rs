//! Forward and backward through a graph, node by node.

use super::array::Array;
use super::norm::Moments;
use super::{Values, combine, conv, elementwise, linear, norm, pool};
use top5_graph::ops::{Flatten, Input};
use top5_graph::random::Stream;
use top5_graph::{
    EngineError, GateRule, Graph, LrnRule, Node, NodeId, Op, Rule, Shape, Statistics, Stop,
};

/// Adds sums over processes.
pub(super) type Synchronise<'a> =
    Option<&'a mut dyn FnMut(NodeId, &mut [f64]) -> Result<(), EngineError>>;

/// What a pass depends on beside images and parameters.
#[derive(Clone, Copy)]
pub(super) struct Mode<'a> {
    pub(super) statistics: Statistics,
    /// Of the dropout masks; without one nothing is dropped.
    pub(super) seed: Option<u64>,
    pub(super) rule: Rule,
    pub(super) stop: Option<&'a Stop>,
}

impl Mode<'_> {
    /// As at inference.
    pub(super) fn inference() -> Self {
        Self { statistics: Statistics::Running, seed: None, rule: Rule::gradient(), stop: None }
    }

    fn go_on(&self) -> Result<(), EngineError> {
        if self.stop.is_some_and(Stop::is_set) { Err(EngineError::Stopped) } else { Ok(()) }
    }
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
            forward(node, &inputs, params, moments.as_ref(), mode.seed)
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
        let (dy, dparams) = (&gradients[at], &mut dparams[at]);
        match (&node.op, &run.moments[at]) {
            (Op::BatchNorm2d(op), Some(moments)) => {
                let (x, dx) = (inputs[0], &mut dinputs[0]);
                let normal = norm::Normal { op, params: &params[at], moments };
                norm::batch_backward(normal, node.id, x, dy, dx, dparams, &mut synchronise)?;
            }
            _ => {
                let context = Context { node, inputs: &inputs, params: &params[at], mode };
                backward(&context, dy, &mut dinputs, dparams);
            }
        }
        for (id, dinput) in node.inputs.iter().zip(dinputs) {
            let sum = gradients[id.index()].zip(&dinput, |a, b| a + b);
            gradients[id.index()] = sum;
        }
    }
    Ok((gradients, dparams))
}

/// The output of one node; with dropout where there is a seed.
fn forward(
    node: &Node,
    inputs: &[&Array],
    params: &[Vec<f64>],
    moments: Option<&Moments>,
    seed: Option<u64>,
) -> Array {
    let x = inputs[0];
    let shape = node.shape();
    match &node.op {
        Op::Input(Input { .. }) => x.clone(),
        Op::Conv2d(op) => {
            let connections = conv::grouped(x.c, op.out_channels, op.groups);
            conv::forward(&op.window, &connections, params, x, shape)
        }
        Op::TableConv2d(op) => {
            let connections: Vec<_> = op.connections().collect();
            conv::forward(&op.window, &connections, params, x, shape)
        }
        Op::Linear(_) => linear::forward(params, x, shape),
        Op::MaxPool2d(op) => pool::max(op, x, shape),
        Op::AvgPool2d(op) => pool::avg(op, x, shape),
        Op::AdaptiveAvgPool2d(_) => pool::adaptive(x, shape),
        Op::GlobalAvgPool(_) => pool::global(x, shape),
        Op::Subsampling(op) => pool::subsampling(op, params, x, shape),
        Op::BatchNorm2d(op) => {
            let moments = moments.expect("a batch normalisation has statistics");
            norm::batch(norm::Normal { op, params, moments }, x)
        }
        Op::LocalResponseNorm(op) => norm::local_response(op, x),
        Op::Activation(op) => elementwise::activation(*op, x),
        Op::Dropout(op) => match seed {
            Some(seed) => elementwise::dropout(op, stream(seed, node), x),
            None => x.clone(),
        },
        Op::Add(_) => combine::add(inputs, shape),
        Op::Scale(_) => combine::scale(x, inputs[1]),
        Op::MulConstant(op) => x.map(|x| x * f64::from(op.factor)),
        Op::Concat(_) => combine::concat(inputs, shape),
        Op::SliceChannels(op) => combine::slice(op, x, shape),
        Op::PadChannels(op) => combine::pad(op, x, shape),
        Op::Subsample(op) => combine::subsample(op, x, shape),
        Op::Flatten(Flatten) => reshaped(x, shape),
        Op::Softmax(_) => elementwise::softmax(x),
        Op::EuclideanRbf(_) => linear::euclidean_rbf(&params[0], x, shape),
    }
}

/// What the backward rule of a node reads beside the gradient of its output.
struct Context<'a> {
    node: &'a Node,
    inputs: &'a [&'a Array],
    params: &'a [Vec<f64>],
    mode: &'a Mode<'a>,
}

/// Writes the gradients of the node's inputs and parameters, all of which come in zero.
fn backward(
    &Context { node, inputs, params, mode }: &Context<'_>,
    dy: &Array,
    dinputs: &mut [Array],
    dparams: &mut [Vec<f64>],
) {
    let ([x, ..], [dx, ..]) = (inputs, &mut *dinputs) else { return };
    match &node.op {
        Op::Input(Input { .. }) => {}
        Op::Conv2d(op) => {
            let connections = conv::grouped(x.c, op.out_channels, op.groups);
            conv::backward(&op.window, &connections, params, x, dy, dx, dparams);
        }
        Op::TableConv2d(op) => {
            let connections: Vec<_> = op.connections().collect();
            conv::backward(&op.window, &connections, params, x, dy, dx, dparams);
        }
        Op::Linear(_) => linear::backward(params, x, dy, dx, dparams),
        Op::MaxPool2d(op) => pool::max_backward(op, x, dy, dx),
        Op::AvgPool2d(op) => pool::avg_backward(op, x, dy, dx),
        Op::AdaptiveAvgPool2d(_) => pool::adaptive_backward(dy, dx),
        Op::GlobalAvgPool(_) => pool::global_backward(dy, dx),
        Op::Subsampling(op) => pool::subsampling_backward(op, params, x, dy, dx, dparams),
        Op::BatchNorm2d(_) => unreachable!("it has a backward pass of its own"),
        Op::LocalResponseNorm(op) => match mode.rule.lrn {
            LrnRule::Derivative => norm::local_response_backward(op, x, dy, dx),
            LrnRule::Identity => *dx = dy.clone(),
        },
        Op::Activation(op) => {
            *dx = elementwise::activation_backward(*op, mode.rule.relu, x, dy);
        }
        Op::Dropout(op) => match mode.seed {
            Some(seed) => *dx = elementwise::dropout(op, stream(seed, node), dy),
            None => *dx = dy.clone(),
        },
        Op::Add(_) => dinputs.iter_mut().for_each(|dx| *dx = dy.clone()),
        Op::Scale(_) => {
            combine::scale_backward(x, inputs[1], dy, dinputs);
            if mode.rule.gates == GateRule::Held {
                dinputs[1] = dinputs[1].zeros_like();
            }
        }
        Op::MulConstant(op) => *dx = dy.map(|dy| dy * f64::from(op.factor)),
        Op::Concat(_) => combine::concat_backward(dy, dinputs),
        Op::SliceChannels(op) => combine::slice_backward(op, dy, dx),
        Op::PadChannels(op) => combine::pad_backward(op, dy, dx),
        Op::Subsample(op) => combine::subsample_backward(op, dy, dx),
        Op::Flatten(Flatten) => dx.data.clone_from(&dy.data),
        Op::Softmax(_) => *dx = elementwise::softmax_backward(x, dy),
        Op::EuclideanRbf(_) => linear::euclidean_rbf_backward(&params[0], x, dy, dx),
    }
}

/// The dropout stream of a node.
fn stream(seed: u64, node: &Node) -> Stream {
    Stream::new(seed, node.id.index() as u64)
}

fn reshaped(x: &Array, shape: Shape) -> Array {
    Array { data: x.data.clone(), ..Array::zeros(x.n, shape) }
}
