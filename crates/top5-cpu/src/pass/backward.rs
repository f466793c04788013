//! The backward steps: one rule per op, in reverse order.
//!
//! A value's gradient has a buffer as soon as something adds to it. When a unit is reached, all that read its value
//! have been passed, so its gradient is complete: a fused ReLU is then undone in place, and the unit's own rule sends
//! the gradient on to its inputs and parameters. What leads to no output gets no gradient, and what depends on no
//! parameter.

use super::emission::Emission;
use super::forward::{average, lrn_geom, pool_geom};
use super::pieces;
use crate::geometry::layout_of;
use crate::ir::{BufferId, Extent, Program};
use crate::step::Kernel;
use crate::step::conv::{ConvBias, ConvInput, ConvWeights, Nest};
use crate::step::loss::{EuclideanRbfGradient, Loss, SoftmaxGradient};
use crate::step::moves::{CopyChannels, Seed, SubsampleGradient, Unflatten};
use crate::step::norm::{LrnGradient, NormaliseGradient};
use crate::step::pointwise::{
    DropoutGradient, MaskPositive, Rectify, ReluGradient, Scale, ScaleFactorGradient,
    ScaledTanhGradient, SigmoidGradient, Times,
};
use crate::step::pool::{AverageGradient, MaxPoolGradient};
use top5_graph::ops::{Activation, Dropout};
use top5_graph::{GateRule, LrnRule, Node, NodeId, Op, ReluRule, Rule, Signals};
use top5_kernels::conv::InputGradient;
use top5_kernels::norm;
use top5_kernels::{LANES, Layout};

/// Appends loss and backward steps.
pub(super) fn backward(emission: Emission<'_>) -> Emission<'_> {
    let design = emission.design;
    let gradients = vec![None; design.graph.nodes().len()];
    let mut backward = Backward { on: emission, gradients };
    for output in design.graph.outputs() {
        let logits = backward.on.value_again(output.node);
        let (dy, fresh) = backward.gradient(output.node);
        backward.on.step(output.node, Loss { weight: output.weight, logits, dy }, fresh);
    }
    for node in design.graph.nodes().iter().rev() {
        let dy = backward.gradients[node.id.index()];
        if let (true, Some(dy)) = (backward.on.home(node.id) == node.id, dy) {
            backward.undo(node, dy);
        }
    }
    backward.on
}

/// Appends the steps that take a seed from a node backward to others.
pub(super) fn signals(emission: Emission<'_>, signals: &Signals) -> Program {
    let design = emission.design;
    let gradients = vec![None; design.graph.nodes().len()];
    let mut backward = Backward { on: emission, gradients };
    let (dy, fresh) = backward.gradient(signals.from);
    backward.on.step(signals.from, Seed { dy }, fresh);
    let mut ends = vec![None; design.graph.nodes().len()];
    for node in design.graph.nodes().iter().rev() {
        let x = backward.gradients[node.id.index()];
        let (true, Some(x)) = (backward.on.home(node.id) == node.id, x) else { continue };
        // A copy: what follows may change it in place.
        if signals.to.iter().any(|&to| backward.on.home(to) == node.id) {
            let y = backward.on.new_activation(layout_of(node.shape()));
            backward.on.step(node.id, Times { factor: 1.0, x, y }, true);
            ends[node.id.index()] = Some(y);
        }
        backward.undo(node, x);
    }
    let ends = signals.to.iter().map(|&to| ends[backward.on.home(to).index()]).collect();
    backward.on.program(ends)
}

struct Backward<'d> {
    on: Emission<'d>,
    /// The gradients of the values, by home.
    gradients: Vec<Option<BufferId>>,
}

impl Backward<'_> {
    /// The buffer of the gradient of a node's value, and whether nothing was added to it yet.
    fn gradient(&mut self, id: NodeId) -> (BufferId, bool) {
        let home = self.on.home(id).index();
        if let Some(buffer) = self.gradients[home] {
            return (buffer, false);
        }
        let layout = self.gradient_layout(id);
        let buffer = self.on.new_activation(layout);
        self.gradients[home] = Some(buffer);
        (buffer, true)
    }

    /// Where the pixels of the gradient of a node's value are.
    fn gradient_layout(&self, id: NodeId) -> Layout {
        let design = self.on.design;
        let mut maker = design.graph.node(self.on.home(id));
        // The gradient of a normalisation's input takes the place of its output's.
        while self.may_undo_in_place(maker) {
            maker = design.graph.node(self.on.home(maker.inputs[0]));
        }
        // The backward pass of the convolution that made the value reads beyond its edges, unless it ends there.
        let conv = design.conv(maker.id).filter(|_| self.wants_gradient(maker.inputs[0]));
        let halo = conv.map_or([0, 0], |conv| conv.shape.gradient_halo());
        Layout { halo, gap: 0, ..self.on.layout(id) }
    }

    /// Whether a parameter depends on the gradient of this node.
    fn wants_gradient(&self, id: NodeId) -> bool {
        self.on.design.learns[id.index()]
    }

    /// Whether the gradient of the node's value is of no more use when that of its input is computed, and is not that of a
    /// sum, which would have other edges.
    fn may_undo_in_place(&self, node: &Node) -> bool {
        let units = &self.on.design.units;
        let is_summand =
            || units.heads.iter().any(|head| head.sum.map(|sum| units.home(sum)) == Some(node.id));
        matches!(node.op, Op::BatchNorm2d(_))
            && units.head_of(node.id).sum.is_none()
            && !is_summand()
    }

    /// Makes `dy` the gradient of a node's value, if nothing was added to that yet and the pixels are in the same places.
    fn hand_over(&mut self, id: NodeId, dy: BufferId) -> bool {
        let fits = self.on.layout_of(dy) == self.gradient_layout(id);
        let gradient = &mut self.gradients[self.on.home(id).index()];
        if gradient.is_some() || !fits {
            return false;
        }
        *gradient = Some(dy);
        true
    }

    /// Whether a max-pooling is all that reads the value that this node makes with its ReLU, so that the pooling's backward
    /// pass can undo the ReLU: the largest element of a window is positive or gets no gradient.
    fn is_pooled_alone(&self, home: NodeId) -> bool {
        let head = self.on.design.units.head_of(home);
        let masks = head.relu && !matches!(self.on.design.graph.node(home).op, Op::BatchNorm2d(_));
        let user = self.on.design.units.only_user(head.tail);
        // By other rules the signal, not the value alone, says what passes.
        let masks = masks && self.rule().relu == ReluRule::Plain;
        masks && user.is_some_and(|user| matches!(user.op, Op::MaxPool2d(_)))
    }

    /// The rule by which gradients go back.
    fn rule(&self) -> Rule {
        self.on.design.signals.map_or(Rule::gradient(), |signals| signals.rule)
    }

    /// The steps that take the gradient `dy` of the node's value to its inputs and parameters.
    fn undo(&mut self, node: &Node, dy: BufferId) {
        let id = node.id;
        let normalises = matches!(node.op, Op::BatchNorm2d(_));
        let (relu, rule) = (self.on.design.units.head_of(id).relu, self.rule().relu);
        let rectifies = relu || matches!(node.op, Op::Activation(Activation::Relu));
        if rectifies && rule != ReluRule::Plain {
            self.on.step(id, Rectify { dy }, false);
        }
        let masks = relu && rule != ReluRule::Deconvnet;
        if masks && !normalises && !self.is_pooled_alone(id) {
            let y = self.on.value_again(id);
            self.on.step(id, MaskPositive { y, dy }, false);
        }
        match &node.op {
            Op::Input(_) => {}
            Op::Conv2d(_) | Op::TableConv2d(_) | Op::Linear(_) => self.undo_conv(node, dy),
            Op::Subsampling(_) => self.undo_subsampling(node, dy),
            Op::BatchNorm2d(_) => self.undo_norm(node, dy),
            Op::Add(_) => self.undo_sum(node, dy),
            Op::MaxPool2d(_)
            | Op::AvgPool2d(_)
            | Op::GlobalAvgPool(_)
            | Op::LocalResponseNorm(_)
            | Op::Activation(_)
            | Op::Dropout(_)
            | Op::Scale(_)
            | Op::MulConstant(_)
            | Op::Concat(_)
            | Op::SliceChannels(_)
            | Op::PadChannels(_)
            | Op::Subsample(_)
            | Op::Flatten(_)
            | Op::Softmax(_)
            | Op::EuclideanRbf(_) => {
                for i in 0..node.inputs.len() {
                    self.undo_to(node, i, dy);
                }
            }
        }
    }

    /// The step that takes the gradient `dy` of a node's value to its `i`-th input.
    fn undo_to(&mut self, node: &Node, i: usize, dy: BufferId) {
        let (id, input) = (node.id, node.inputs[i]);
        if !self.wants_gradient(input) {
            return;
        }
        /// The gradient, from a struct of dx and what it needs: x and y, which may have to be computed before.
        macro_rules! to {
            ($dx:ident, $kernel:expr) => {{
                let ($dx, fresh) = self.gradient(input);
                let kernel: Kernel = $kernel.into();
                self.on.step(id, kernel, fresh);
            }};
        }
        match &node.op {
            Op::MaxPool2d(op) => {
                let relu = self.is_pooled_alone(self.on.home(input));
                let (geom, x) = (pool_geom(&op.window), self.on.value_again(input));
                let y = self.on.value_again(id);
                to!(dx, MaxPoolGradient { geom, relu, x, y, dy, dx });
            }
            Op::AvgPool2d(_) | Op::GlobalAvgPool(_) | Op::Subsampling(_) => {
                let (geom, divisor) = average(node).expect("the node is an average");
                to!(dx, AverageGradient { geom, divisor, dy, dx });
            }
            Op::LocalResponseNorm(_) if self.rule().lrn == LrnRule::Identity => {
                to!(y, Times { factor: 1.0, x: dy, y });
            }
            Op::LocalResponseNorm(op) => {
                let (geom, x) = (lrn_geom(op), self.on.value_again(input));
                to!(dx, LrnGradient { geom, x, dy, dx });
            }
            Op::Activation(Activation::Relu) if self.rule().relu == ReluRule::Deconvnet => {
                to!(y, Times { factor: 1.0, x: dy, y });
            }
            Op::Activation(activation) => {
                let y = self.on.value_again(id);
                match activation {
                    Activation::Relu => to!(dx, ReluGradient { y, dy, dx }),
                    Activation::Sigmoid => to!(dx, SigmoidGradient { y, dy, dx }),
                    Activation::ScaledTanh => to!(dx, ScaledTanhGradient { y, dy, dx }),
                }
            }
            Op::Dropout(_) if !self.on.design.facts.dropout => {
                to!(y, Times { factor: 1.0, x: dy, y });
            }
            &Op::Dropout(Dropout { p }) => to!(dx, DropoutGradient { p, dy, dx }),
            Op::Scale(_) if i == 0 => {
                let factors = self.on.value_again(node.inputs[1]);
                to!(y, Scale { relu: false, x: dy, factors, sum: None, y });
            }
            Op::Scale(_) if self.rule().gates == GateRule::Held => {}
            Op::Scale(_) => {
                let x = self.on.value_again(node.inputs[0]);
                to!(df, ScaleFactorGradient { x, dy, df });
            }
            Op::MulConstant(op) => to!(y, Times { factor: op.factor, x: dy, y }),
            Op::Concat(_) | Op::SliceChannels(_) | Op::PadChannels(_) => {
                let (from, to, count, zero) = self.channels_back(node, i);
                to!(y, CopyChannels { x: dy, y, from, to, count, zero });
            }
            Op::Subsample(op) => {
                let stride = op.stride;
                to!(dx, SubsampleGradient { stride, dy, dx });
            }
            Op::Flatten(_) => to!(dx, Unflatten { dy, dx }),
            Op::Softmax(_) => {
                let y = self.on.value_again(id);
                to!(dx, SoftmaxGradient { y, dy, dx });
            }
            Op::EuclideanRbf(_) => {
                let codes = self.on.design.params.of_node[id.index()].weight.expect("assigned");
                let x = self.on.value_again(input);
                to!(dx, EuclideanRbfGradient { codes, x, dy, dx });
            }
            Op::Input(_)
            | Op::Conv2d(_)
            | Op::TableConv2d(_)
            | Op::Linear(_)
            | Op::BatchNorm2d(_)
            | Op::Add(_) => {}
        }
    }

    /// Which channels of the gradient of a move of channels become which of its `i`-th input's: first, first, number; and
    /// whether that leaves gaps.
    fn channels_back(&self, node: &Node, i: usize) -> (usize, usize, usize, bool) {
        let graph = self.on.design.graph;
        let count = graph.node(node.inputs[i]).shape().channels();
        let ragged = !count.is_multiple_of(LANES);
        if let Op::SliceChannels(op) = &node.op {
            (0, op.start, op.len, true)
        } else if let Op::PadChannels(op) = &node.op {
            (op.before, 0, count, ragged)
        } else {
            let (from, count) = pieces(graph, node).nth(i).expect("each input is a piece");
            (from, 0, count, ragged)
        }
    }

    /// Scratch memory of a normalisation's sums: results, and per image.
    fn normalisation_scratch(&mut self, layout: &Layout) -> [BufferId; 2] {
        let blocks = norm::workspace(layout.blocks());
        let sums = self.on.scratch(2 * layout.blocks());
        [sums, self.on.new_buffer(*layout, Extent::PerImage(blocks))]
    }

    fn undo_subsampling(&mut self, node: &Node, dy: BufferId) {
        let x = self.on.sides[node.id.index()].expect("made by the forward pass");
        let layout = self.on.layout_of(x);
        let dx = self.on.new_activation(layout);
        let [sums, work] = self.normalisation_scratch(&layout);
        let by = self.on.normalisation(node, None);
        let (sum, y, dx_at) = (false, None, Some(dx));
        let kernel = NormaliseGradient { by, sum, x, y, dy, dx: dx_at, sums, work };
        self.on.step(node.id, kernel, true);
        self.undo_to(node, 0, dx);
    }

    /// The gradients of a batch normalisation's input and parameters, and of what was added to it.
    fn undo_norm(&mut self, node: &Node, dy: BufferId) {
        let input = node.inputs[0];
        if self.on.design.signals.is_some() {
            return self.undo_running_norm(node, dy);
        }
        let head = *self.on.design.units.head_of(node.id);
        let x = self.on.value_again(input);
        let layout = self.on.layout(input);
        let [sums, work] = self.normalisation_scratch(&layout);
        let by = self.on.normalisation(node, self.on.sides[node.id.index()]);
        let sum = head.sum.is_some();
        let kernel = NormaliseGradient { by, sum, x, y: None, dy, dx: None, sums, work };
        // The kernel computes the input's gradient whether it is needed or not.
        let needed = self.wants_gradient(input);
        if self.may_undo_in_place(node) && (!needed || self.hand_over(input, dy)) {
            return self.on.step(node.id, kernel, false);
        }
        let (dx, fresh) =
            if needed { self.gradient(input) } else { (self.on.new_activation(layout), true) };
        let y = (sum && head.relu).then(|| self.on.value_again(node.id));
        self.on.step(node.id, NormaliseGradient { y, dx: Some(dx), ..kernel }, fresh);
        if let Some(sum) = head.sum
            && self.wants_gradient(sum)
            && !self.hand_over(sum, dy)
        {
            self.copy_gradient(node, sum, dy);
        }
    }

    /// The gradient of the input of a normalisation by running statistics, which stay.
    fn undo_running_norm(&mut self, node: &Node, dy: BufferId) {
        let input = node.inputs[0];
        if !self.wants_gradient(input) {
            return;
        }
        let x = self.on.value_again(input);
        let layout = self.on.layout(input);
        let [sums, work] = self.normalisation_scratch(&layout);
        let mut by = self.on.normalisation(node, None);
        by.relu &= self.rule().relu != ReluRule::Deconvnet;
        let (dx, fresh) = self.gradient(input);
        let (sum, y, dx) = (false, None, Some(dx));
        self.on.step(node.id, NormaliseGradient { by, sum, x, y, dy, dx, sums, work }, fresh);
    }

    fn copy_gradient(&mut self, node: &Node, to: NodeId, dy: BufferId) {
        let (y, fresh) = self.gradient(to);
        self.on.step(node.id, Times { factor: 1.0, x: dy, y }, fresh);
    }

    /// The gradient of each summand is that of the sum: one takes over its memory, the others get copies.
    fn undo_sum(&mut self, node: &Node, dy: BufferId) {
        let inputs = node.inputs.iter().copied().filter(|&input| self.wants_gradient(input));
        let homes: Vec<NodeId> = inputs.map(|input| self.on.home(input)).collect();
        let mut heir = None;
        for (i, &home) in homes.iter().enumerate() {
            let once = homes.iter().filter(|&&other| other == home).count() == 1;
            if heir.is_none() && once && self.hand_over(home, dy) {
                heir = Some(i);
            }
        }
        for (i, &home) in homes.iter().enumerate() {
            if heir != Some(i) {
                self.copy_gradient(node, home, dy);
            }
        }
    }

    /// The gradients of a convolution's weights, bias and input.
    fn undo_conv(&mut self, node: &Node, dy: BufferId) {
        if self.on.design.signals.is_none() {
            self.undo_conv_parameters(node, dy);
        }
        if self.wants_gradient(node.inputs[0]) {
            self.undo_conv_input(node, dy);
        }
    }

    fn undo_conv_parameters(&mut self, node: &Node, dy: BufferId) {
        let x = self.on.value_again(node.inputs[0]);
        let design = self.on.design;
        let unit = design.conv(node.id).expect("it is a convolution");
        let (weight, at) = (unit.weight, self.on.layout_of(dy));
        let geom = unit.shape.forward(&unit.source, &at);
        let kernel = design.machinery.weight_gradient(&geom).kernel;
        let work = self.on.scratch(kernel.workspace(design.machinery.threads));
        let mask = unit.packing.mask();
        self.on.step(node.id, ConvWeights { kernel, weight, mask, x, dy, work }, true);
        if let Some(bias) = unit.bias {
            let planes = Extent::PerImage(at.blocks());
            let work = self.on.new_buffer(Layout::new(LANES, 1, 1), planes);
            self.on.step(node.id, ConvBias { bias, dy, work }, true);
        }
    }

    fn undo_conv_input(&mut self, node: &Node, dy: BufferId) {
        let (dx, fresh) = self.gradient(node.inputs[0]);
        let design = self.on.design;
        let unit = design.conv(node.id).expect("it is a convolution");
        let [dy_at, dx_at] = [dy, dx].map(|buffer| self.on.layout_of(buffer));
        let nests = unit.shape.backward(&dy_at, &dx_at).into_iter();
        let nest = |(geom, elements)| {
            let kernel = design.machinery.input_gradient(&geom).kernel;
            Nest { kernel, elements }
        };
        let nests: Vec<Nest> = nests.map(nest).collect();
        let threads = design.machinery.threads;
        let most = |len: &dyn Fn(&dyn InputGradient) -> usize| {
            nests.iter().map(|nest| len(&*nest.kernel)).max().unwrap_or(0)
        };
        let work = self.on.scratch(most(&|kernel| kernel.workspace(threads)));
        let transposed = self.on.scratch(most(&|kernel| kernel.transposed_len()));
        let rounds = nests.iter().any(Nest::rounds);
        let rounded = rounds.then(|| self.on.convert(node.id, dy));
        let (forward, weight) = (unit.packing.geom.clone(), unit.weight);
        let covers = unit.shape.covers_input();
        let kernel =
            ConvInput { nests, forward, weight, covers, dy, rounded, dx, work, transposed };
        self.on.step(node.id, kernel, fresh);
    }
}
