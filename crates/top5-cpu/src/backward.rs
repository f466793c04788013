//! The backward steps: one rule per op, in reverse order.
//!
//! A value's gradient has a buffer as soon as something adds to it. When a unit is reached, all that read its value
//! have been passed, so its gradient is complete: a fused ReLU is then undone in place, and the unit's own rule sends
//! the gradient on to its inputs and parameters. What leads to no output gets no gradient.

use crate::emit::{average, lrn_geom, pieces, pool_geom};
use crate::lower::Lowering;
use crate::step::{BufferId, Extent, Nest, What};
use top5_graph::ops::{Activation, Dropout};
use top5_graph::{Node, NodeId, Op};
use top5_kernels::conv::InputGradient;
use top5_kernels::norm;
use top5_kernels::{LANES, Layout, Precision};

/// The gradients of the values, by home.
struct Gradients(Vec<Option<BufferId>>);

impl Lowering<'_> {
    /// Appends loss and backward steps.
    pub(crate) fn backward(&mut self) {
        let mut gradients = Gradients(vec![None; self.graph.nodes().len()]);
        for output in self.graph.outputs() {
            let logits = self.value_again(output.node);
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
        let layout = self.gradient_layout(id);
        let buffer = self.new_activation(layout);
        gradients.0[home] = Some(buffer);
        (buffer, true)
    }

    /// Where the pixels of the gradient of a node's value are.
    fn gradient_layout(&self, id: NodeId) -> Layout {
        let mut maker = self.graph.node(self.home(id));
        // The gradient of a normalisation's input takes the place of its output's.
        while self.may_undo_in_place(maker) {
            maker = self.graph.node(self.home(maker.inputs[0]));
        }
        // The backward pass of the convolution that made the value reads beyond its edges, unless it ends there.
        let conv = self.slots[maker.id.index()].conv.as_ref();
        let conv = conv.filter(|_| self.learns[maker.inputs[0].index()]);
        let halo = conv.map_or([0, 0], |conv| conv.shape.gradient_halo());
        self.layout_with(halo, id)
    }

    /// Whether the gradient of the node's value is of no more use when that of its input is computed, and is not that of a
    /// sum, which would have other edges.
    fn may_undo_in_place(&self, node: &Node) -> bool {
        let is_summand =
            || self.heads.iter().any(|head| head.sum.map(|sum| self.home(sum)) == Some(node.id));
        matches!(node.op, Op::BatchNorm2d(_))
            && self.heads[node.id.index()].sum.is_none()
            && !is_summand()
    }

    /// Makes `dy` the gradient of a node's value, if nothing was added to that yet and the pixels are in the same places.
    fn hand_over(&self, gradients: &mut Gradients, id: NodeId, dy: BufferId) -> bool {
        let gradient = &mut gradients.0[self.home(id).index()];
        let fits = self.program.buffers[dy.0].layout == self.gradient_layout(id);
        if gradient.is_some() || !fits {
            return false;
        }
        *gradient = Some(dy);
        true
    }

    /// The steps that take the gradient `dy` of the node's value to its inputs and parameters.
    fn undo(&mut self, gradients: &mut Gradients, node: &Node, dy: BufferId) {
        let id = node.id;
        let normalises = matches!(node.op, Op::BatchNorm2d(_));
        if self.heads[id.index()].relu && !normalises && !self.is_pooled_alone(id) {
            let y = self.value_again(id);
            self.step(id, What::MaskPositive, [y], [dy], false);
        }
        // What depends on no parameter needs no gradient.
        let needed = |lowering: &Self, i: usize| lowering.learns[node.inputs[i].index()];
        macro_rules! to_input {
            ($i:expr, $what:expr, [$($read:expr),*]) => {
                if needed(self, $i) {
                    let reads = [$($read),*];
                    let (dx, fresh) = self.gradient(gradients, node.inputs[$i]);
                    self.step(id, $what, reads, [dx], fresh);
                }
            };
        }
        macro_rules! x {
            ($i:expr) => {
                self.value_again(node.inputs[$i])
            };
        }
        macro_rules! y {
            () => {
                self.value_again(id)
            };
        }
        match &node.op {
            Op::Input(_) => {}
            Op::Conv2d(_) | Op::TableConv2d(_) | Op::Linear(_) => {
                let x = x!(0);
                self.undo_conv(node, x, dy);
                if needed(self, 0) {
                    let (dx, fresh) = self.gradient(gradients, node.inputs[0]);
                    self.undo_conv_input(node, dy, dx, fresh);
                }
            }
            Op::MaxPool2d(op) => {
                let (geom, input) = (pool_geom(&op.window), self.home(node.inputs[0]));
                let relu = self.is_pooled_alone(input);
                to_input!(0, What::MaxPoolGradient { geom, relu }, [x!(0), y!(), dy]);
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
                let work = self.normalisation_work(&layout);
                let what = What::NormaliseGradient(self.normalisation(node));
                self.step(id, what, [sums], [d_sums, scratch, work, dy], true);
                let (geom, divisor) = average(node).expect("the node is an average");
                to_input!(0, What::AverageGradient(geom, divisor), [d_sums]);
            }
            Op::BatchNorm2d(_) => self.undo_norm(gradients, node, dy),
            Op::LocalResponseNorm(op) => {
                to_input!(0, What::LrnGradient(lrn_geom(op)), [x!(0), dy]);
            }
            Op::Activation(Activation::Relu) => to_input!(0, What::ReluGradient, [y!(), dy]),
            Op::Activation(Activation::Sigmoid) => to_input!(0, What::SigmoidGradient, [y!(), dy]),
            Op::Activation(Activation::ScaledTanh) => {
                to_input!(0, What::ScaledTanhGradient, [y!(), dy]);
            }
            &Op::Dropout(Dropout { p }) => to_input!(0, What::DropoutGradient { p }, [dy]),
            Op::Add(_) => self.undo_sum(gradients, node, dy),
            Op::Scale(_) => {
                to_input!(0, What::Scale { relu: false }, [dy, x!(1)]);
                to_input!(1, What::ScaleFactorGradient, [x!(0), dy]);
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
            Op::Softmax(_) => to_input!(0, What::SoftmaxGradient, [y!(), dy]),
            Op::EuclideanRbf(_) => {
                let codes = self.slots[id.index()].weight.expect("assigned");
                to_input!(0, What::EuclideanRbfGradient { codes }, [x!(0), dy]);
            }
        }
    }

    /// Whether a max-pooling is all that reads the value that this node makes with its ReLU, so that the pooling's backward
    /// pass can undo the ReLU: the largest element of a window is positive or gets no gradient.
    fn is_pooled_alone(&self, home: NodeId) -> bool {
        let head = &self.heads[home.index()];
        let masks = head.relu && !matches!(self.graph.node(home).op, Op::BatchNorm2d(_));
        let user = self.only_user(head.tail);
        masks && user.is_some_and(|user| matches!(user.op, Op::MaxPool2d(_)))
    }

    /// Scratch memory of a normalisation's sums.
    fn normalisation_work(&mut self, layout: &Layout) -> BufferId {
        let blocks = norm::workspace(layout.blocks());
        self.new_buffer(*layout, Extent::PerImage(blocks))
    }

    /// The gradients of a batch normalisation's input and parameters, and of what was added to it.
    fn undo_norm(&mut self, gradients: &mut Gradients, node: &Node, dy: BufferId) {
        let x = self.value_again(node.inputs[0]);
        let statistics = self.sides[node.id.index()].expect("made by the forward pass");
        let (input, layout) = (node.inputs[0], self.layout(node.inputs[0]));
        let sums = self.scratch(2 * layout.blocks());
        let work = self.normalisation_work(&layout);
        let what = What::NormaliseGradient(self.normalisation(node));
        // The kernel computes one whether it is needed or not.
        let needed = self.learns[input.index()];
        if self.may_undo_in_place(node) && (!needed || self.hand_over(gradients, input, dy)) {
            return self.step(node.id, what, [x, statistics], [dy, sums, work], false);
        }
        let (dx, fresh) = if needed {
            self.gradient(gradients, input)
        } else {
            (self.new_activation(layout), true)
        };
        let Some(sum) = self.heads[node.id.index()].sum else {
            return self.step(node.id, what, [x, statistics], [dx, sums, work, dy], fresh);
        };
        let writes = [dx, sums, work, dy];
        if self.heads[node.id.index()].relu {
            let y = self.value_again(node.id);
            self.step(node.id, what, [x, statistics, y], writes, fresh);
        } else {
            self.step(node.id, what, [x, statistics], writes, fresh);
        }
        if self.learns[sum.index()] && !self.hand_over(gradients, sum, dy) {
            let (dx, fresh) = self.gradient(gradients, sum);
            self.step(node.id, What::Times(1.0), [dy], [dx], fresh);
        }
    }

    /// The gradient of each summand is that of the sum: one takes over its memory, the others get copies.
    fn undo_sum(&mut self, gradients: &mut Gradients, node: &Node, dy: BufferId) {
        let learn = node.inputs.iter().filter(|input| self.learns[input.index()]);
        let homes: Vec<NodeId> = learn.map(|&input| self.home(input)).collect();
        let mut heir = None;
        for (i, &home) in homes.iter().enumerate() {
            let once = homes.iter().filter(|&&other| other == home).count() == 1;
            if heir.is_none() && once && self.hand_over(gradients, home, dy) {
                heir = Some(i);
            }
        }
        for (i, &home) in homes.iter().enumerate() {
            if heir != Some(i) {
                let (dx, fresh) = self.gradient(gradients, home);
                self.step(node.id, What::Times(1.0), [dy], [dx], fresh);
            }
        }
    }

    /// The gradients of a convolution's weights and bias.
    fn undo_conv(&mut self, node: &Node, x: BufferId, dy: BufferId) {
        let unit = self.slots[node.id.index()].conv.clone().expect("assigned");
        let at = self.program.buffers[dy.0].layout;
        let kernel = self.machinery.weight_gradient(&unit.shape.forward(&unit.source, &at)).kernel;
        let scratch = self.scratch(kernel.workspace(self.machinery.threads));
        let mask = unit.packing.mask();
        let what = What::ConvWeights { kernel, weight: unit.weight, mask };
        self.step(node.id, what, [x, dy], [scratch], true);
        if let Some(bias) = unit.bias {
            let planes = self.new_buffer(Layout::new(LANES, 1, 1), Extent::PerImage(at.blocks()));
            self.step(node.id, What::ConvBias { bias }, [dy], [planes], true);
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
            .map(|(geom, elements)| Nest {
                kernel: self.machinery.input_gradient(&geom).kernel,
                elements,
            })
            .collect();
        let threads = self.machinery.threads;
        let most = |len: &dyn Fn(&dyn InputGradient) -> usize| {
            nests.iter().map(|nest| len(&*nest.kernel)).max().unwrap_or(0)
        };
        let work = self.scratch(most(&|kernel| kernel.workspace(threads)));
        let transposed = self.scratch(most(&|kernel| kernel.transposed_len()));
        let rounds = nests.iter().any(|nest| nest.kernel.reads() == Precision::Bf16);
        let covers = unit.shape.covers_input();
        let what =
            What::ConvInput { nests, forward: unit.packing.geom, weight: unit.weight, covers };
        if rounds {
            let rounded = self.convert(node.id, dy);
            return self.step(node.id, what, [dy, rounded], [dx, work, transposed], fresh);
        }
        self.step(node.id, what, [dy], [dx, work, transposed], fresh);
    }
}
