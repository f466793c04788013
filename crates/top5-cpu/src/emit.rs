//! The forward steps of each unit.

use crate::lower::{Lowering, Mode};
use crate::precision::is_factor;
use crate::step::{BufferId, Extent, Normalisation, What};
use top5_graph::ops::{Activation, Dropout, LocalResponseNorm};
use top5_graph::{Node, NodeId, Op, Window};
use top5_kernels::lrn::LrnGeom;
use top5_kernels::norm;
use top5_kernels::pool::{Divisor, PoolGeom};
use top5_kernels::{LANES, Layout, Precision};

/// The pooling geometry of a window.
pub(crate) fn pool_geom(window: &Window) -> PoolGeom {
    let &Window { kernel, stride, pad, pad_end, dilation, ceil: _ } = window;
    PoolGeom { kernel, stride, pad, pad_end, dilation }
}

/// The constants of a local response normalisation.
pub(crate) fn lrn_geom(op: &LocalResponseNorm) -> LrnGeom {
    LrnGeom { size: op.size, alpha: op.alpha_of_sum(), beta: op.beta, k: op.k }
}

/// What an average pooling does, if the op is one.
pub(crate) fn average(node: &Node) -> Option<(PoolGeom, Divisor)> {
    let geom = pool_geom(&node.spec.window?);
    if let Op::AvgPool2d(op) = &node.op {
        let divisor = if op.count_include_pad { Divisor::Padded } else { Divisor::Inside };
        Some((geom, divisor))
    } else if matches!(node.op, Op::GlobalAvgPool(_)) {
        Some((geom, Divisor::Inside))
    } else if matches!(node.op, Op::Subsampling(_)) {
        Some((geom, Divisor::One))
    } else {
        None
    }
}

/// The channels of the inputs of a concatenation, as (first, number).
pub(crate) fn pieces<'a>(
    lowering: &'a Lowering<'_>,
    node: &'a Node,
) -> impl Iterator<Item = (usize, usize)> + 'a {
    node.inputs.iter().scan(0, |at, &input| {
        let count = lowering.graph.node(input).shape().channels();
        *at += count;
        Some((*at - count, count))
    })
}

impl Lowering<'_> {
    /// Appends the steps of the unit that `node` heads, if it heads one.
    pub(crate) fn emit(&mut self, node: &Node) {
        let id = node.id;
        if self.home(id) != id {
            return;
        }
        let y = self.kept_value(id).unwrap_or_else(|| self.new_value(id));
        let bf16 = self.is_bf16(y);
        // What a convolution reads, its kernel says.
        let convolves = self.slots[id.index()].conv.is_some();
        let inputs = node.inputs.iter().enumerate().filter(|_| !convolves);
        let x: Vec<BufferId> =
            inputs.map(|(i, &input)| self.operand(input, bf16 && !is_factor(node, i))).collect();
        let ragged = !node.shape().channels().is_multiple_of(LANES);
        match &node.op {
            Op::Input(_) => self.emit_input(id, y),
            Op::Conv2d(_) | Op::TableConv2d(_) | Op::Linear(_) => self.emit_conv(node, y),
            Op::MaxPool2d(op) => {
                self.step(id, What::MaxPool(pool_geom(&op.window)), [x[0]], [y], true);
            }
            Op::AvgPool2d(_) | Op::GlobalAvgPool(_) => self.emit_average(node, x[0], y),
            Op::Subsampling(_) => {
                let layout = self.layout_with([0, 0], id);
                let sums = self.new_activation(layout);
                self.sides[id.index()] = Some(sums);
                self.emit_average(node, x[0], sums);
                self.step(id, What::Normalise(self.normalisation(node)), [sums], [y], true);
            }
            Op::BatchNorm2d(op) => {
                let normal = self.normalisation(node);
                if self.machinery.mode == Mode::Inference {
                    return self.step(id, What::Normalise(normal), [x[0]], [y], true);
                }
                let layout = Layout::new(node.shape().channels(), 1, 1);
                let blocks = layout.blocks();
                let statistics = self.new_buffer(layout, Extent::Fixed(2 * blocks));
                let work = self.new_buffer(layout, Extent::PerImage(norm::workspace(blocks)));
                self.sides[id.index()] = Some(statistics);
                let running = self.slots[id.index()].statistics.expect("assigned");
                let what = What::BatchStatistics { running, momentum: op.momentum };
                self.step(id, what, [x[0]], [statistics, work], true);
                let sum = self.heads[id.index()].sum.map(|sum| self.value(sum));
                self.emit_normalised(node, [x[0], statistics], sum, y);
            }
            Op::LocalResponseNorm(op) => {
                self.step(id, What::Lrn(lrn_geom(op)), [x[0]], [y], true);
            }
            Op::Activation(Activation::Relu) => self.step(id, What::Relu, [x[0]], [y], true),
            Op::Activation(Activation::Sigmoid) => self.step(id, What::Sigmoid, [x[0]], [y], true),
            Op::Activation(Activation::ScaledTanh) => {
                self.step(id, What::ScaledTanh, [x[0]], [y], true);
            }
            &Op::Dropout(Dropout { p }) => self.step(id, What::Dropout { p }, [x[0]], [y], true),
            Op::Add(_) => {
                let relu = self.heads[id.index()].relu;
                self.step(id, What::Add { relu }, [x[0], x[1]], [y], true);
                for &more in &x[2..] {
                    self.step(id, What::Times(1.0), [more], [y], false);
                }
            }
            Op::Scale(_) => {
                let what = What::Scale { relu: self.heads[id.index()].relu };
                match self.heads[id.index()].sum {
                    Some(sum) => {
                        let sum = self.operand(sum, bf16);
                        self.step(id, what, [x[0], x[1], sum], [y], true);
                    }
                    None => self.step(id, what, [x[0], x[1]], [y], true),
                }
            }
            Op::MulConstant(op) => self.step(id, What::Times(op.factor), [x[0]], [y], true),
            Op::Concat(_) => {
                let pieces = pieces(self, node).zip(x).zip(&node.inputs);
                let copied = pieces.filter(|&(_, &input)| !self.is_placed(input));
                let copied: Vec<_> = copied.map(|(piece, _)| piece).enumerate().collect();
                for (i, ((to, count), x)) in copied {
                    let what = match i {
                        0 => What::CopyChannels { from: 0, to, count, zero: ragged },
                        _ => What::PlaceChannels { to, count },
                    };
                    self.step(id, what, [x], [y], i == 0);
                }
            }
            Op::SliceChannels(op) => {
                let (from, count) = (op.start, op.len);
                let what = What::CopyChannels { from, to: 0, count, zero: ragged };
                self.step(id, what, [x[0]], [y], true);
            }
            Op::PadChannels(op) => {
                let count = self.graph.node(node.inputs[0]).shape().channels();
                let what = What::CopyChannels { from: 0, to: op.before, count, zero: true };
                self.step(id, what, [x[0]], [y], true);
            }
            Op::Subsample(op) => self.step(id, What::Subsample(op.stride), [x[0]], [y], true),
            Op::Flatten(_) => self.step(id, What::Flatten, [x[0]], [y], true),
            Op::Softmax(_) => self.step(id, What::Softmax, [x[0]], [y], true),
            Op::EuclideanRbf(_) => {
                let codes = self.slots[id.index()].weight.expect("assigned");
                self.step(id, What::EuclideanRbf { codes }, [x[0]], [y], true);
            }
        }
    }

    /// The images, in the form that the first layers read.
    pub(crate) fn emit_input(&mut self, id: NodeId, y: BufferId) {
        let what = if self.plain_input { What::PadPlanes } else { What::Pack };
        self.step(id, what, [], [y], true);
    }

    fn emit_conv(&mut self, node: &Node, y: BufferId) {
        let head = self.heads[node.id.index()];
        let unit = self.slots[node.id.index()].conv.clone().expect("assigned");
        let (kernel, weight, bias) = (unit.kernel, unit.weight, unit.bias);
        let x = match Precision::ALL.map(|precision| kernel.reads(precision)) {
            [true, true] => self.value(node.inputs[0]),
            [_, bf16] => self.operand(node.inputs[0], bf16),
        };
        let sum = head.sum.map(|sum| self.operand(sum, self.is_bf16(y)));
        let work = self.scratch(kernel.workspace(self.machinery.threads));
        let what = What::Conv { kernel, weight, bias, relu: head.relu };
        match sum {
            Some(sum) => self.step(node.id, what, [x, sum], [y, work], true),
            None => self.step(node.id, what, [x], [y, work], true),
        }
    }

    /// The value of a normalisation from what was normalised, its statistics and what is added.
    pub(crate) fn emit_normalised(
        &mut self,
        node: &Node,
        [x, statistics]: [BufferId; 2],
        sum: Option<BufferId>,
        y: BufferId,
    ) {
        let what = What::Normalise(self.normalisation(node));
        match sum {
            Some(sum) => self.step(node.id, what, [x, statistics, sum], [y], true),
            None => self.step(node.id, what, [x, statistics], [y], true),
        }
    }

    fn emit_average(&mut self, node: &Node, x: BufferId, y: BufferId) {
        let (geom, divisor) = average(node).expect("the node is an average");
        self.step(node.id, What::Average(geom, divisor), [x], [y], true);
    }

    /// The normalisation that `node` is.
    pub(crate) fn normalisation(&self, node: &Node) -> Normalisation {
        let slots = &self.slots[node.id.index()];
        let (eps, of_batch) = if let Op::BatchNorm2d(op) = &node.op {
            (op.eps, self.machinery.mode == Mode::Training)
        } else {
            (0.0, false)
        };
        Normalisation {
            weight: slots.weight.expect("assigned"),
            bias: slots.bias.expect("assigned"),
            statistics: if of_batch { None } else { slots.statistics },
            eps,
            sum: of_batch && self.heads[node.id.index()].sum.is_some(),
            relu: self.heads[node.id.index()].relu,
        }
    }
}
