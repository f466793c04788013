//! What a graph means: a symbolic tensor for the value of each node, for its gradient, and for the gradient of each
//! parameter. Nothing here knows of units, buffers or steps.

use super::terms::{Tensor, Terms};
use crate::purpose::Mode;
use top5_graph::ops::Activation;
use top5_graph::{
    GateRule, Graph, Kernels, LrnRule, Node, NodeId, Op, ReluRule, Rule, Signals, Window,
};

/// The names of operations: the same for the meaning of a graph and for the effects of steps.
pub(super) mod names {
    use top5_graph::{Node, Shape, Window};
    use top5_kernels::pool::PoolGeom;

    pub(crate) fn window(window: &Window) -> String {
        let Window { kernel, stride, pad, pad_end, dilation, ceil: _ } = window;
        format!("{kernel:?} /{stride:?} +{pad:?} {pad_end:?} ·{dilation:?}")
    }

    pub(crate) fn geom(geom: &PoolGeom) -> String {
        let PoolGeom { kernel, stride, pad, pad_end, dilation } = geom;
        format!("{kernel:?} /{stride:?} +{pad:?} {pad_end:?} ·{dilation:?}")
    }

    pub(crate) fn map(shape: Shape) -> [usize; 3] {
        let [h, w] = shape.size();
        [shape.channels(), h, w]
    }

    /// An op that is one step forward and one backward.
    pub(crate) fn alone(node: &Node) -> String {
        format!("{} of {}", node.op.name(), node.id.index())
    }

    /// `what` is the parameters' common name, `statistics` where mean and variance come from.
    pub(crate) fn normal(weight: &str, bias: &str, statistics: &str, eps: f32) -> String {
        format!("normalise by {weight}, {bias} with {statistics} and {eps}")
    }
}

/// What a graph means.
pub(super) struct Meaning {
    /// For each node.
    pub(super) values: Vec<Tensor>,
    /// The gradient of each learned parameter that a loss depends on, by full name.
    pub(super) parameters: Vec<(String, Tensor)>,
    /// For each batch normalisation, by name, what its running statistics follow.
    pub(super) statistics: Vec<(String, Tensor)>,
    /// For each node, whether an output depends on it.
    pub(super) used: Vec<bool>,
    /// For each node, whether its gradient is wanted: it depends on a learned parameter, or on where signals end.
    pub(super) learns: Vec<bool>,
    /// What signals end in.
    pub(super) signals: Vec<Option<Tensor>>,
}

struct Reading<'g> {
    graph: &'g Graph,
    mode: Mode,
    signals: Option<&'g Signals>,
    terms: &'g mut Terms,
    values: Vec<Tensor>,
    gradients: Vec<Option<Tensor>>,
    parameters: Vec<(String, Tensor)>,
}

impl Meaning {
    pub(super) fn of(
        graph: &Graph,
        mode: Mode,
        signals: Option<&Signals>,
        terms: &mut Terms,
    ) -> Self {
        let nodes = graph.nodes();
        let mut reading = Reading {
            graph,
            mode,
            signals,
            terms,
            values: Vec::new(),
            gradients: vec![None; nodes.len()],
            parameters: Vec::new(),
        };
        for node in nodes {
            let value = reading.value(node);
            reading.values.push(value);
        }
        let mut learns = vec![false; nodes.len()];
        for node in nodes {
            let begins = match signals {
                Some(signals) => signals.to.contains(&node.id),
                None => node.spec.params.iter().any(|param| param.learned),
            };
            learns[node.id.index()] =
                begins || node.inputs.iter().any(|input| learns[input.index()]);
        }
        let mut used = vec![false; nodes.len()];
        graph.outputs().iter().for_each(|output| used[output.node.index()] = true);
        for node in nodes.iter().rev().filter(|node| node.id.index() > 0) {
            if used[node.id.index()] {
                node.inputs.iter().for_each(|input| used[input.index()] = true);
            }
        }
        let mut ends = Vec::new();
        if let Some(signals) = signals {
            let [channels, ..] = reading.shape(signals.from);
            let seed = reading.terms.apply("seed".to_owned(), &[], channels);
            reading.give(signals.from, seed);
            for node in nodes.iter().rev() {
                if let Some(dy) = reading.gradients[node.id.index()] {
                    reading.undo(node, dy);
                }
            }
            ends.extend(signals.to.iter().map(|to| reading.gradients[to.index()]));
        }
        let mut statistics = Vec::new();
        if mode == Mode::Training {
            for output in graph.outputs() {
                let logits = reading.values[output.node.index()];
                let channels = reading.terms.channels(logits);
                let loss = format!("loss times {}", output.weight);
                let dy = reading.terms.apply(loss, &[logits], channels);
                reading.give(output.node, dy);
            }
            for node in nodes.iter().rev() {
                if let Some(dy) = reading.gradients[node.id.index()] {
                    reading.undo(node, dy);
                }
            }
            for node in nodes.iter().filter(|node| matches!(node.op, Op::BatchNorm2d(_))) {
                let x = reading.values[node.inputs[0].index()];
                statistics.push((node.name.clone(), reading.statistics(x)));
            }
        }
        let Reading { values, parameters, .. } = reading;
        Self { values, parameters, statistics, used, learns, signals: ends }
    }
}

/// Whether the op is a convolution by its weight.
fn is_convolution(node: &Node) -> bool {
    let kernels = node.spec.convolution.as_ref().map(|convolution| &convolution.kernels);
    kernels.is_some_and(|kernels| *kernels != Kernels::Repeated)
}

/// The name of what an average pooling does.
fn average(node: &Node) -> Option<String> {
    let window: Window = node.spec.window?;
    let divisor = if let Op::AvgPool2d(op) = &node.op {
        if op.count_include_pad { "Padded" } else { "Inside" }
    } else if matches!(node.op, Op::GlobalAvgPool(_)) {
        "Inside"
    } else if matches!(node.op, Op::Subsampling(_)) {
        "One"
    } else {
        return None;
    };
    Some(format!("mean {} {divisor}", names::window(&window)))
}

impl Reading<'_> {
    fn input(&self, node: &Node, i: usize) -> Tensor {
        self.values[node.inputs[i].index()]
    }

    fn shape(&self, id: NodeId) -> [usize; 3] {
        names::map(self.graph.node(id).shape())
    }

    fn statistics(&mut self, x: Tensor) -> Tensor {
        let channels = self.terms.channels(x);
        self.terms.apply("statistics".to_owned(), &[x], channels)
    }

    /// The name and arguments of a normalisation of x.
    fn normal(&mut self, node: &Node, x: Tensor) -> (String, Vec<Tensor>) {
        let [weight, bias] = ["weight", "bias"].map(|role| format!("{}.{role}", node.name));
        match (&node.op, self.mode) {
            (Op::BatchNorm2d(op), Mode::Training) => {
                let args = vec![x, self.statistics(x)];
                (names::normal(&weight, &bias, "the batch's", op.eps), args)
            }
            (Op::BatchNorm2d(op), Mode::Inference) => {
                let running = format!("those of {}", node.name);
                (names::normal(&weight, &bias, &running, op.eps), vec![x])
            }
            _ => (names::normal(&weight, &bias, "none", 0.0), vec![x]),
        }
    }

    fn has(node: &Node, role: &str) -> bool {
        node.spec.params.iter().any(|param| param.role == role)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "what has no arm is one step, or refused")]
    fn value(&mut self, node: &Node) -> Tensor {
        let [channels, h, w] = self.shape(node.id);
        let is_vector = node.inputs.first().is_some_and(|&x| self.shape(x)[1..] == [1, 1]);
        let mut apply = |name: String, args: &[Tensor]| self.terms.apply(name, args, channels);
        if node.inputs.is_empty() {
            return apply("images".to_owned(), &[]);
        }
        let x = self.values[node.inputs[0].index()];
        match &node.op {
            Op::Input(_) => x,
            _ if is_convolution(node) => {
                let bias = Self::has(node, "bias").then(|| format!("{}.bias", node.name));
                apply(format!("convolve by {}.weight, {bias:?} to {h}×{w}", node.name), &[x])
            }
            Op::MaxPool2d(op) => {
                apply(format!("max {} to {h}×{w}", names::window(&op.window)), &[x])
            }
            Op::AvgPool2d(_) | Op::GlobalAvgPool(_) => {
                let name = average(node).expect("it is an average");
                apply(format!("{name} to {h}×{w}"), &[x])
            }
            Op::Subsampling(_) => {
                let name = average(node).expect("it is an average");
                let sums = apply(format!("{name} to {h}×{w}"), &[x]);
                let (name, args) = self.normal(node, sums);
                self.terms.apply(name, &args, channels)
            }
            Op::BatchNorm2d(_) => {
                let (name, args) = self.normal(node, x);
                self.terms.apply(name, &args, channels)
            }
            Op::LocalResponseNorm(op) => {
                let (size, alpha) = (op.size, op.alpha_of_sum());
                apply(format!("lrn {size} {alpha} {} {}", op.beta, op.k), &[x])
            }
            Op::Activation(Activation::Relu) => apply("relu".to_owned(), &[x]),
            Op::Dropout(op) => match self.mode {
                Mode::Inference => x,
                Mode::Training => apply(format!("drop {} of {}", op.p, node.id.index()), &[x]),
            },
            Op::Add(_) => (1..node.inputs.len()).fold(x, |sum, i| {
                let more = self.values[node.inputs[i].index()];
                self.terms.add(sum, more)
            }),
            Op::Scale(_) => {
                let factors = self.values[node.inputs[1].index()];
                apply("scale".to_owned(), &[x, factors])
            }
            Op::MulConstant(op) if op.factor == 1.0 => x,
            Op::MulConstant(op) => apply(format!("times {}", op.factor), &[x]),
            Op::Concat(_) => {
                let parts: Vec<Tensor> =
                    node.inputs.iter().map(|input| self.values[input.index()]).collect();
                self.terms.concat(&parts)
            }
            Op::SliceChannels(op) => self.terms.slice(x, op.start, op.len),
            Op::PadChannels(op) => {
                let inner = self.terms.channels(x);
                let before = self.terms.zeros(op.before);
                let after = self.terms.zeros(channels - inner - op.before);
                self.terms.concat(&[before, x, after])
            }
            Op::Subsample(op) => apply(format!("every {} to {h}×{w}", op.stride), &[x]),
            Op::Flatten(_) if is_vector => x,
            Op::Flatten(_) => apply("flatten".to_owned(), &[x]),
            Op::EuclideanRbf(_) => apply(format!("distances to {}.codes", node.name), &[x]),
            _ => apply(format!("{} to {h}×{w}", names::alone(node)), &[x]),
        }
    }

    /// Adds to the gradient of a node.
    fn give(&mut self, id: NodeId, dx: Tensor) {
        let sum = match self.gradients[id.index()] {
            Some(sum) => self.terms.add(sum, dx),
            None => dx,
        };
        self.gradients[id.index()] = Some(sum);
    }

    /// Gives an operation's result to the `i`-th input.
    fn give_result(&mut self, node: &Node, i: usize, name: String, args: &[Tensor]) {
        let [channels, h, w] = self.shape(node.inputs[i]);
        let dx = self.terms.apply(format!("{name} to {h}×{w}"), args, channels);
        self.give(node.inputs[i], dx);
    }

    fn rule(&self) -> Rule {
        self.signals.map_or(Rule::gradient(), |signals| signals.rule)
    }

    fn learn(&mut self, node: &Node, role: &str, name: &str, args: &[Tensor]) {
        if self.signals.is_none() && Self::has(node, role) {
            let gradient = self.terms.apply(name.to_owned(), args, 1);
            self.parameters.push((format!("{}.{role}", node.name), gradient));
        }
    }

    /// The gradients of a normalisation of x.
    fn undo_normal(&mut self, node: &Node, x: Tensor, dy: Tensor) -> Tensor {
        let (name, mut args) = self.normal(node, x);
        args.push(dy);
        self.learn(node, "weight", &format!("dweight: {name}"), &args);
        self.learn(node, "bias", &format!("dbias: {name}"), &args);
        let channels = self.terms.channels(x);
        // By statistics that stay it is a factor for each channel.
        let batch = matches!(node.op, Op::BatchNorm2d(_)) && self.mode == Mode::Training;
        let of_dx = if batch { &args[..] } else { &[dy] };
        self.terms.apply(format!("dx: {name}"), of_dx, channels)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "what has no arm is one step, or refused")]
    fn undo(&mut self, node: &Node, dy: Tensor) {
        if node.inputs.is_empty() {
            return;
        }
        let (x, y) = (self.input(node, 0), self.values[node.id.index()]);
        match &node.op {
            Op::Input(_) => {}
            _ if is_convolution(node) => {
                self.learn(node, "weight", "dweight", &[x, dy]);
                self.learn(node, "bias", "dbias", &[dy]);
                let name = format!("dx: convolve by {}.weight", node.name);
                self.give_result(node, 0, name, &[dy]);
            }
            Op::MaxPool2d(op) => {
                let name = format!("dx: max {}", names::window(&op.window));
                self.give_result(node, 0, name, &[x, y, dy]);
            }
            Op::AvgPool2d(_) | Op::GlobalAvgPool(_) => {
                let name = average(node).expect("it is an average");
                self.give_result(node, 0, format!("dx: {name}"), &[dy]);
            }
            Op::Subsampling(_) => self.undo_subsampling(node, x, dy),
            Op::BatchNorm2d(_) => {
                let dx = self.undo_normal(node, x, dy);
                self.give(node.inputs[0], dx);
            }
            Op::LocalResponseNorm(_) if self.rule().lrn == LrnRule::Identity => {
                self.give(node.inputs[0], dy);
            }
            Op::LocalResponseNorm(op) => {
                let (size, alpha) = (op.size, op.alpha_of_sum());
                let name = format!("dx: lrn {size} {alpha} {} {}", op.beta, op.k);
                self.give_result(node, 0, name, &[x, dy]);
            }
            Op::Activation(Activation::Relu) => self.undo_relu(node, y, dy),
            Op::Dropout(_) if self.mode == Mode::Inference => self.give(node.inputs[0], dy),
            Op::Dropout(op) => {
                let channels = self.terms.channels(y);
                let name = format!("drop {} of {}", op.p, node.id.index());
                let dx = self.terms.apply(name, &[dy], channels);
                self.give(node.inputs[0], dx);
            }
            Op::Add(_) => node.inputs.iter().for_each(|&input| self.give(input, dy)),
            Op::Scale(_) => self.undo_scale(node, x, dy),
            Op::MulConstant(op) if op.factor == 1.0 => self.give(node.inputs[0], dy),
            Op::MulConstant(op) => {
                let channels = self.terms.channels(x);
                let dx = self.terms.apply(format!("times {}", op.factor), &[dy], channels);
                self.give(node.inputs[0], dx);
            }
            Op::Concat(_) | Op::SliceChannels(_) | Op::PadChannels(_) => {
                self.undo_channels(node, dy);
            }
            Op::Subsample(op) => {
                self.give_result(node, 0, format!("dx: every {}", op.stride), &[dy]);
            }
            Op::Flatten(_) if self.shape(node.inputs[0])[1..] == [1, 1] => {
                self.give(node.inputs[0], dy);
            }
            Op::Flatten(_) => self.give_result(node, 0, "unflatten".to_owned(), &[dy]),
            Op::EuclideanRbf(_) => {
                let name = format!("dx: distances to {}.codes", node.name);
                self.give_result(node, 0, name, &[x, dy]);
            }
            _ => self.give_result(node, 0, format!("dx: {}", names::alone(node)), &[dy]),
        }
    }

    fn undo_subsampling(&mut self, node: &Node, x: Tensor, dy: Tensor) {
        let name = average(node).expect("it is an average");
        let [channels, h, w] = self.shape(node.id);
        let sums = self.terms.apply(format!("{name} to {h}×{w}"), &[x], channels);
        let dsums = self.undo_normal(node, sums, dy);
        self.give_result(node, 0, format!("dx: {name}"), &[dsums]);
    }

    fn undo_scale(&mut self, node: &Node, x: Tensor, dy: Tensor) {
        let factors = self.input(node, 1);
        let channels = self.terms.channels(x);
        let dx = self.terms.apply("scale".to_owned(), &[dy, factors], channels);
        self.give(node.inputs[0], dx);
        if self.rule().gates == GateRule::Through {
            self.give_result(node, 1, "dx: scale".to_owned(), &[x, dy]);
        }
    }

    fn undo_relu(&mut self, node: &Node, y: Tensor, dy: Tensor) {
        let (channels, rule) = (self.terms.channels(y), self.rule().relu);
        let mut dx = dy;
        if rule != ReluRule::Plain {
            dx = self.terms.apply("rectify".to_owned(), &[dx], channels);
        }
        if rule != ReluRule::Deconvnet {
            dx = self.terms.apply("mask".to_owned(), &[y, dx], channels);
        }
        self.give(node.inputs[0], dx);
    }

    fn undo_channels(&mut self, node: &Node, dy: Tensor) {
        if let Op::SliceChannels(op) = &node.op {
            let channels = self.shape(node.inputs[0])[0];
            let before = self.terms.zeros(op.start);
            let after = self.terms.zeros(channels - op.start - op.len);
            let dx = self.terms.concat(&[before, dy, after]);
            return self.give(node.inputs[0], dx);
        }
        let mut from = if let Op::PadChannels(op) = &node.op { op.before } else { 0 };
        for &input in &node.inputs {
            let count = self.shape(input)[0];
            let dx = self.terms.slice(dy, from, count);
            self.give(input, dx);
            from += count;
        }
    }
}
