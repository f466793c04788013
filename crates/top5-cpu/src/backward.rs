//! The backward steps: one rule per op, in reverse order.
//!
//! A value's gradient has a buffer as soon as something adds to it. When a unit is reached, all that read its value
//! have been passed, so its gradient is complete: a fused ReLU is then undone in place, and the unit's own rule sends
//! the gradient on to its inputs and parameters. What leads to no output gets no gradient.

use crate::choose::ConvKernel;
use crate::emit::{average, lrn_geom, pieces, pool_geom};
use crate::lower::Lowering;
use crate::step::{BufferId, Nest, What};
use top5_graph::ops::{Activation, Dropout};
use top5_graph::{Node, NodeId, Op};
use top5_kernels::weight_gradient::WeightGradient;
use top5_kernels::{LANES, Layout};

/// The gradients of the values, by home.
struct Gradients(Vec<Option<BufferId>>);

impl Lowering<'_> {
    /// Appends loss and backward steps.
    pub(crate) fn backward(&mut self) {
        let mut gradients = Gradients(vec![None; self.graph.nodes().len()]);
        for output in self.graph.outputs() {
            let logits = self.value(output.node);
            let (dy, fresh) = self.gradient(&mut gradients, output.node);
            let what = What::Loss { weight: output.weight };
            self.step(output.node, what, [logits], [dy], fresh);
        }
        for node in self.graph.nodes().iter().rev() {
            let dy = gradients.0[node.id.index()];
            if let (true, Some(dy)) = (self.home(node.id) == node.id, dy) {
                self.undo(&mut gradients, node, dy);
            }
        }
    }

    /// The buffer of the gradient of a node's value, and whether nothing was added to it yet.
    fn gradient(&mut self, gradients: &mut Gradients, id: NodeId) -> (BufferId, bool) {
        let home = self.home(id).index();
        if let Some(buffer) = gradients.0[home] {
            return (buffer, false);
        }
        // The backward pass of the convolution that made the value reads beyond its edges.
        let conv = self.slots[home].conv.as_ref();
        let halo = conv.map_or([0, 0], |conv| conv.shape.gradient_halo());
        let layout = Layout { halo, ..self.layout(id) };
        let buffer = self.new_activation(layout);
        gradients.0[home] = Some(buffer);
        (buffer, true)
    }

    /// The steps that take the gradient `dy` of the node's value to its inputs and parameters.
    fn undo(&mut self, gradients: &mut Gradients, node: &Node, dy: BufferId) {
        let id = node.id;
        let y = self.value(id);
        let x: Vec<BufferId> = node.inputs.iter().map(|&input| self.value(input)).collect();
        let normalises = matches!(node.op, Op::BatchNorm2d(_));
        if self.heads[id.index()].relu && !normalises {
            self.step(id, What::MaskPositive, [y], [dy], false);
        }
        // The input itself needs no gradient.
        let needed = |lowering: &Self, i: usize| lowering.home(node.inputs[i]).index() != 0;
        macro_rules! to_input {
            ($i:expr, $what:expr, $reads:expr) => {
                if needed(self, $i) {
                    let (dx, fresh) = self.gradient(gradients, node.inputs[$i]);
                    self.step(id, $what, $reads, [dx], fresh);
                }
            };
        }
        match &node.op {
            Op::Input(_) => {}
            Op::Conv2d(_) | Op::TableConv2d(_) | Op::Linear(_) => {
                self.undo_conv(node, x[0], dy);
                if needed(self, 0) {
                    let (dx, fresh) = self.gradient(gradients, node.inputs[0]);
                    self.undo_conv_input(node, dy, dx, fresh);
                }
            }
            Op::MaxPool2d(op) => {
                to_input!(0, What::MaxPoolGradient(pool_geom(&op.window)), [x[0], y, dy]);
            }
            Op::AvgPool2d(_) | Op::GlobalAvgPool(_) => {
                let (geom, divisor) = average(node).expect("the node is an average");
                to_input!(0, What::AverageGradient(geom, divisor), [dy]);
            }
            Op::Subsampling(_) => {
                let sums = self.sides[id.index()].expect("made by the forward pass");
                let layout = self.program.buffers[sums.0].layout;
                let d_sums = self.new_activation(layout);
                let scratch = self.scratch(2 * layout.blocks());
                let what = What::NormaliseGradient(self.normalisation(node));
                self.step(id, what, [sums, y, dy], [d_sums, scratch], true);
                let (geom, divisor) = average(node).expect("the node is an average");
                to_input!(0, What::AverageGradient(geom, divisor), [d_sums]);
            }
            Op::BatchNorm2d(_) => {
                let statistics = self.sides[id.index()].expect("made by the forward pass");
                let layout = self.layout(node.inputs[0]);
                let (dx, fresh) = if needed(self, 0) {
                    self.gradient(gradients, node.inputs[0])
                } else {
                    (self.new_activation(layout), true)
                };
                let scratch = self.scratch(2 * layout.blocks());
                let what = What::NormaliseGradient(self.normalisation(node));
                self.step(id, what, [x[0], y, dy, statistics], [dx, scratch], fresh);
            }
            Op::LocalResponseNorm(op) => {
                to_input!(0, What::LrnGradient(lrn_geom(op)), [x[0], dy]);
            }
            Op::Activation(Activation::Relu) => to_input!(0, What::ReluGradient, [y, dy]),
            Op::Activation(Activation::Sigmoid) => to_input!(0, What::SigmoidGradient, [y, dy]),
            Op::Activation(Activation::ScaledTanh) => {
                to_input!(0, What::ScaledTanhGradient, [y, dy]);
            }
            &Op::Dropout(Dropout { p }) => to_input!(0, What::DropoutGradient { p }, [dy]),
            Op::Add(_) => {
                for i in 0..node.inputs.len() {
                    to_input!(i, What::Times(1.0), [dy]);
                }
            }
            Op::Scale(_) => {
                to_input!(0, What::Scale, [dy, x[1]]);
                to_input!(1, What::ScaleFactorGradient, [x[0], dy]);
            }
            Op::MulConstant(op) => to_input!(0, What::Times(op.factor), [dy]),
            Op::Concat(_) => {
                let pieces: Vec<_> = pieces(self, node).enumerate().collect();
                for (i, (from, count)) in pieces {
                    let zero = !count.is_multiple_of(LANES);
                    to_input!(i, What::CopyChannels { from, to: 0, count, zero }, [dy]);
                }
            }
            Op::SliceChannels(op) => {
                let (to, count) = (op.start, op.len);
                to_input!(0, What::CopyChannels { from: 0, to, count, zero: true }, [dy]);
            }
            Op::PadChannels(op) => {
                let count = self.graph.node(node.inputs[0]).shape().channels();
                let zero = !count.is_multiple_of(LANES);
                to_input!(0, What::CopyChannels { from: op.before, to: 0, count, zero }, [dy]);
            }
            Op::Subsample(op) => to_input!(0, What::SubsampleGradient(op.stride), [dy]),
            Op::Flatten(_) => to_input!(0, What::Unflatten, [dy]),
            Op::Softmax(_) => to_input!(0, What::SoftmaxGradient, [y, dy]),
            Op::EuclideanRbf(_) => {
                let codes = self.slots[id.index()].weight.expect("assigned");
                to_input!(0, What::EuclideanRbfGradient { codes }, [x[0], dy]);
            }
        }
    }

    /// The gradients of a convolution's weights and bias.
    fn undo_conv(&mut self, node: &Node, x: BufferId, dy: BufferId) {
        let unit = self.slots[node.id.index()].conv.clone().expect("assigned");
        let at = self.program.buffers[dy.0].layout;
        let kernel = WeightGradient::new(self.machinery.isa, unit.shape.forward(&unit.source, &at));
        let scratch = self.scratch(kernel.workspace(usize::MAX));
        let mask = unit.packing.mask();
        let what = What::ConvWeights { kernel, weight: unit.weight, mask };
        self.step(node.id, what, [x, dy], [scratch], true);
        if let Some(bias) = unit.bias {
            self.step(node.id, What::ConvBias { bias }, [dy], [], true);
        }
    }

    /// The gradient of a convolution's input.
    fn undo_conv_input(&mut self, node: &Node, dy: BufferId, dx: BufferId, fresh: bool) {
        let unit = self.slots[node.id.index()].conv.clone().expect("assigned");
        let [dy_at, dx_at] = [dy, dx].map(|buffer| self.program.buffers[buffer.0].layout);
        let nests: Vec<Nest> = unit
            .shape
            .backward(&dy_at, &dx_at)
            .into_iter()
            .map(|(geom, elements)| Nest { kernel: self.machinery.choose(&geom), elements })
            .collect();
        let threads = self.machinery.threads;
        let most = |len: &dyn Fn(&ConvKernel) -> usize| {
            nests.iter().map(|nest| len(&nest.kernel)).max().unwrap_or(0)
        };
        let [work, u, transposed] = [
            most(&|kernel| kernel.workspace(threads)),
            most(&ConvKernel::transformed_len),
            most(&|kernel| kernel.geom().packed_len()),
        ]
        .map(|blocks| self.scratch(blocks));
        let covers = unit.shape.covers_input();
        let what =
            What::ConvInput { nests, forward: unit.packing.geom, weight: unit.weight, covers };
        self.step(node.id, what, [dy], [dx, work, u, transposed], fresh);
    }
}
