//! The reference: an engine of plain f64 loops, forward and backward, for every op.
//!
//! It is what the other engines are compared with, so it shares no code with them and prefers the definition to the
//! fast form. Its own gradients are checked by central differences, its own results by the reference files.

mod array;
mod combine;
mod conv;
mod elementwise;
#[cfg(test)]
mod gradients;
mod linear;
mod norm;
mod pool;

use array::Array;
use top5_graph::ops::{Flatten, Input};
use top5_graph::random::Stream;
use top5_graph::{
    Engine, EngineError, Forward, Graph, Loss, Node, NodeId, Op, Sgd, Shape, StepOptions, Tensor,
    Weights,
};

/// For each node, for each of its parameters and buffers, the values.
type Values = Vec<Vec<Vec<f64>>>;

/// Runs a graph in f64. Weights, gradients and momenta are kept in f64 from one call to the next, and rounded to f32
/// where they are handed out.
pub struct ReferenceEngine {
    graph: Graph,
    batch: usize,
    params: Values,
    gradients: Values,
    momenta: Values,
    /// The gradients as the caller sees and may change them.
    buffer: Vec<f32>,
}

impl ReferenceEngine {
    /// An engine for up to `batch` samples at once, with all parameters and buffers zero.
    pub fn new(graph: Graph, batch: usize) -> Self {
        let zeros = |learned_only: bool| -> Values {
            let param = |param: &top5_graph::Param| {
                let len = if param.learned || !learned_only { param.elements() } else { 0 };
                vec![0.0; len]
            };
            let node = |node: &Node| node.spec.params.iter().map(param).collect();
            graph.nodes().iter().map(node).collect()
        };
        let (params, gradients, momenta) = (zeros(false), zeros(true), zeros(true));
        let buffer = vec![0.0; gradients.iter().flatten().map(Vec::len).sum()];
        Self { graph, batch: batch.max(1), params, gradients, momenta, buffer }
    }

    /// The number of samples in `images`.
    fn count(&self, images: &[f32]) -> Result<usize, EngineError> {
        let sample: usize = self.graph.input().iter().product();
        let n = images.len() / sample;
        if images.len() != n * sample || !(1..=self.batch).contains(&n) {
            return Err(EngineError::Images { sample, batch: self.batch, got: images.len() });
        }
        Ok(n)
    }

    /// The outputs of all nodes; in training mode when there is a seed.
    fn run(&self, images: &[f64], seed: Option<u64>) -> Vec<Array> {
        let n = images.len() / self.graph.nodes()[0].shape().elements();
        let mut outputs: Vec<Array> = Vec::with_capacity(self.graph.nodes().len());
        for node in self.graph.nodes() {
            let output = if node.inputs.is_empty() {
                let zeros = Array::zeros(n, node.shape());
                Array { data: images.to_vec(), ..zeros }
            } else {
                let inputs: Vec<&Array> =
                    node.inputs.iter().map(|id| &outputs[id.index()]).collect();
                forward(node, &inputs, &self.params[node.id.index()], seed)
            };
            outputs.push(output);
        }
        outputs
    }

    /// The gradients of all activations (by node) and of all parameters, from those of some activations.
    fn run_back(
        &self,
        outputs: &[Array],
        starts: Vec<(NodeId, Array)>,
        seed: u64,
    ) -> (Vec<Array>, Values) {
        let mut gradients: Vec<Array> = outputs.iter().map(Array::zeros_like).collect();
        let zeros = |values: &Vec<Vec<f64>>| values.iter().map(|v| vec![0.0; v.len()]).collect();
        let mut dparams: Values = self.gradients.iter().map(zeros).collect();
        for (node, start) in starts {
            let sum = gradients[node.index()].zip(&start, |a, b| a + b);
            gradients[node.index()] = sum;
        }
        for node in self.graph.nodes().iter().rev() {
            let at = node.id.index();
            let inputs: Vec<&Array> = node.inputs.iter().map(|id| &outputs[id.index()]).collect();
            let mut dinputs: Vec<Array> = inputs.iter().map(|x| x.zeros_like()).collect();
            let context = Context { node, inputs: &inputs, params: &self.params[at], seed };
            backward(&context, &gradients[at], &mut dinputs, &mut dparams[at]);
            for (id, dinput) in node.inputs.iter().zip(dinputs) {
                let sum = gradients[id.index()].zip(&dinput, |a, b| a + b);
                gradients[id.index()] = sum;
            }
        }
        (gradients, dparams)
    }

    /// Loss and its gradient with respect to every output of the network.
    fn loss(
        &self,
        outputs: &[Array],
        labels: &[u32],
        smoothing: f64,
    ) -> (f64, Vec<(NodeId, Array)>) {
        let mut total = 0.0;
        let mut starts = Vec::new();
        for head in self.graph.outputs() {
            let scores = &outputs[head.node.index()];
            let weight = f64::from(head.weight);
            let (loss, start) = elementwise::cross_entropy(scores, labels, smoothing, weight);
            total += loss;
            starts.push((head.node, start));
        }
        (total, starts)
    }

    fn tensor_of(&self, outputs: &[Array], id: NodeId) -> Tensor {
        let output = &outputs[id.index()];
        let shape = [vec![output.n], self.graph.node(id).shape().dims()].concat();
        tensor(shape, &output.data)
    }

    /// Values by name; those of the learned parameters, or of the buffers too.
    fn named(&self, values: &Values, learned_only: bool) -> Weights {
        let params = self.graph.params().zip(values.iter().flatten());
        params
            .filter(|((_, param), _)| param.learned || !learned_only)
            .map(|((name, param), values)| (name, tensor(param.shape.clone(), values)))
            .collect()
    }
}

fn tensor(shape: Vec<usize>, values: &[f64]) -> Tensor {
    let values = values.iter().map(|&v| v as f32).collect();
    Tensor::new(shape, values).expect("as many values as the shape says")
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

fn zero(values: &mut Values) {
    values.iter_mut().flatten().flatten().for_each(|v| *v = 0.0);
}

/// Reads the tensors into `values`; `weights` has been checked.
fn read(graph: &Graph, weights: &Weights, values: &mut Values) {
    for ((name, _), values) in graph.params().zip(values.iter_mut().flatten()) {
        if let Some(tensor) = weights.tensor(&name) {
            *values = wide(tensor.data());
        }
    }
}

impl Engine for ReferenceEngine {
    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn load(&mut self, weights: &Weights) -> Result<(), EngineError> {
        weights.check(&self.graph)?;
        read(&self.graph, weights, &mut self.params);
        zero(&mut self.momenta);
        Ok(())
    }

    fn weights(&self) -> Weights {
        self.named(&self.params, false)
    }

    fn forward(&mut self, images: &[f32], keep: &[NodeId]) -> Result<Forward, EngineError> {
        self.count(images)?;
        let outputs = self.run(&wide(images), None);
        Ok(Forward {
            logits: self.tensor_of(&outputs, self.graph.logits().id),
            kept: keep.iter().map(|&id| self.tensor_of(&outputs, id)).collect(),
        })
    }

    fn gradients(
        &mut self,
        images: &[f32],
        labels: &[u32],
        options: &StepOptions,
    ) -> Result<Loss, EngineError> {
        let n = self.count(images)?;
        if labels.len() != n {
            return Err(EngineError::Labels { expected: n, got: labels.len() });
        }
        let heads = self.graph.outputs().iter().map(|head| self.graph.node(head.node));
        if let Some(node) = heads.clone().find(|node| node.shape().size() != [1, 1]) {
            let why = "the loss is defined for one vector of scores; pool the map first";
            return Err(EngineError::Unsupported { node: node.name.clone(), why: why.to_owned() });
        }
        let classes = heads.map(|node| node.shape().channels()).min().unwrap_or(0);
        if let Some(index) = labels.iter().position(|&label| label as usize >= classes) {
            return Err(EngineError::Label { index, label: labels[index], classes });
        }
        let outputs = self.run(&wide(images), Some(options.seed));
        let smoothing = f64::from(options.label_smoothing);
        let (value, starts) = self.loss(&outputs, labels, smoothing);
        (_, self.gradients) = self.run_back(&outputs, starts, options.seed);
        let flat = self.gradients.iter().flatten().flatten();
        self.buffer = flat.map(|&g| g as f32).collect();
        for node in self.graph.nodes() {
            if let Op::BatchNorm2d(op) = &node.op {
                let input = &outputs[node.inputs[0].index()];
                norm::follow(op, &mut self.params[node.id.index()], input);
            }
        }
        let logits = &outputs[self.graph.logits().id.index()];
        Ok(Loss { value, logits: tensor(vec![n, self.graph.classes()], &logits.data) })
    }

    fn gradient_buffer(&mut self) -> &mut [f32] {
        &mut self.buffer
    }

    fn gradient_tensors(&self) -> Weights {
        let mut buffer = self.buffer.iter().copied().map(f64::from);
        let mut values = self.gradients.clone();
        values.iter_mut().flatten().flatten().zip(&mut buffer).for_each(|(v, b)| *v = b);
        self.named(&values, true)
    }

    fn update(&mut self, sgd: &Sgd) {
        let [lr, momentum, decay] = [sgd.lr, sgd.momentum, sgd.weight_decay].map(f64::from);
        let params = self.params.iter_mut().flatten();
        let gradients = self.gradients.iter().flatten();
        let momenta = self.momenta.iter_mut().flatten();
        let mut buffer = self.buffer.iter();
        for ((params, gradients), momenta) in params.zip(gradients).zip(momenta) {
            // The gradients and momenta of a buffer are empty.
            for ((w, &exact), v) in params.iter_mut().zip(gradients).zip(momenta) {
                let &seen = buffer.next().expect("one element per learned value");
                // What the caller left as it was keeps its precision.
                let g = if exact as f32 == seen { exact } else { f64::from(seen) } + decay * *w;
                *v = momentum * *v + g;
                *w -= lr * if sgd.nesterov { g + momentum * *v } else { *v };
            }
        }
    }

    fn momenta(&self) -> Weights {
        self.named(&self.momenta, true)
    }

    fn load_momenta(&mut self, momenta: &Weights) -> Result<(), EngineError> {
        momenta.check_learned(&self.graph)?;
        read(&self.graph, momenta, &mut self.momenta);
        Ok(())
    }
}

/// The output of one node; in training mode when there is a seed.
fn forward(node: &Node, inputs: &[&Array], params: &[Vec<f64>], seed: Option<u64>) -> Array {
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
        Op::GlobalAvgPool(_) => pool::global(x, shape),
        Op::Subsampling(op) => pool::subsampling(op, params, x, shape),
        Op::BatchNorm2d(op) => norm::batch(op, params, x, seed.is_some()),
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
    seed: u64,
}

/// Writes the gradients of the node's inputs and parameters, all of which come in zero. Training mode.
fn backward(
    &Context { node, inputs, params, seed }: &Context<'_>,
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
        Op::GlobalAvgPool(_) => pool::global_backward(dy, dx),
        Op::Subsampling(op) => pool::subsampling_backward(op, params, x, dy, dx, dparams),
        Op::BatchNorm2d(op) => norm::batch_backward(op, params, x, dy, dx, dparams),
        Op::LocalResponseNorm(op) => norm::local_response_backward(op, x, dy, dx),
        Op::Activation(op) => *dx = elementwise::activation_backward(*op, x, dy),
        Op::Dropout(op) => *dx = elementwise::dropout(op, stream(seed, node), dy),
        Op::Add(_) => dinputs.iter_mut().for_each(|dx| *dx = dy.clone()),
        Op::Scale(_) => combine::scale_backward(x, inputs[1], dy, dinputs),
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
