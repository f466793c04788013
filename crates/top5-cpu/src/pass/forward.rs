//! The forward steps of each unit.

use super::emission::Emission;
use super::precision::is_factor;
use super::{Design, pieces};
use crate::ir::{BufferId, Extent};
use crate::step::conv::Conv;
use crate::step::loss::{EuclideanRbf, Softmax};
use crate::step::moves::{CopyChannels, Flatten, Pack, PadPlanes, PlaceChannels, Subsample};
use crate::step::norm::{BatchStatistics, Lrn, Normalisation, Normalise, StatisticsAt};
use crate::step::pointwise::{Add, Dropout, Relu, Scale, ScaledTanh, Sigmoid, Times};
use crate::step::pool::{Average, MaxPool};
use top5_graph::ops::{self, Activation, BatchNorm2d, LocalResponseNorm};
use top5_graph::{Node, NodeId, Op, Window};
use top5_kernels::lrn::LrnGeom;
use top5_kernels::norm;
use top5_kernels::pool::{Divisor, PoolGeom};
use top5_kernels::{LANES, Layout, Precision};

/// The forward steps of all units.
pub(super) fn forward<'d>(design: &'d Design<'d>) -> Emission<'d> {
    let mut emission = Emission::new(design);
    for node in design.graph.nodes() {
        if emission.home(node.id) == node.id {
            emission.emit(node);
        }
    }
    emission
}

/// The pooling geometry of a window.
pub(super) fn pool_geom(window: &Window) -> PoolGeom {
    let &Window { kernel, stride, pad, pad_end, dilation, ceil: _ } = window;
    PoolGeom { kernel, stride, pad, pad_end, dilation }
}

/// The constants of a local response normalisation.
pub(super) fn lrn_geom(op: &LocalResponseNorm) -> LrnGeom {
    LrnGeom { size: op.size, alpha: op.alpha_of_sum(), beta: op.beta, k: op.k }
}

/// What an average pooling does, if the op is one.
pub(super) fn average(node: &Node) -> Option<(PoolGeom, Divisor)> {
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

impl Emission<'_> {
    /// Appends the steps of the unit that `node` heads.
    fn emit(&mut self, node: &Node) {
        let id = node.id;
        let y = self.values[id.index()].unwrap_or_else(|| self.new_value(id));
        let bf16 = self.is_bf16(y);
        if self.design.conv(id).is_some() {
            return self.emit_conv(node, y);
        }
        let inputs = node.inputs.iter().enumerate();
        let inputs: Vec<BufferId> =
            inputs.map(|(i, &input)| self.operand(input, bf16 && !is_factor(node, i))).collect();
        let Some(&x) = inputs.first() else { return self.emit_input(id, y) };
        match &node.op {
            Op::Input(_) | Op::Conv2d(_) | Op::TableConv2d(_) | Op::Linear(_) => {}
            Op::MaxPool2d(op) => {
                self.step(id, MaxPool { geom: pool_geom(&op.window), x, y }, true);
            }
            Op::AvgPool2d(_) | Op::GlobalAvgPool(_) => self.emit_average(node, x, y),
            Op::Subsampling(_) => self.emit_subsampling(node, x, y),
            Op::BatchNorm2d(op) => self.emit_norm(node, op, x, y),
            Op::LocalResponseNorm(op) => self.step(id, Lrn { geom: lrn_geom(op), x, y }, true),
            Op::Activation(Activation::Relu) => self.step(id, Relu { x, y }, true),
            Op::Activation(Activation::Sigmoid) => self.step(id, Sigmoid { x, y }, true),
            Op::Activation(Activation::ScaledTanh) => self.step(id, ScaledTanh { x, y }, true),
            Op::Dropout(_) if !self.design.facts.dropout => {
                self.step(id, Times { factor: 1.0, x, y }, true);
            }
            &Op::Dropout(ops::Dropout { p }) => self.step(id, Dropout { p, x, y }, true),
            Op::Add(_) => {
                let relu = self.design.units.head_of(id).relu;
                self.step(id, Add { relu, a: x, b: inputs[1], y }, true);
                for &x in &inputs[2..] {
                    self.step(id, Times { factor: 1.0, x, y }, false);
                }
            }
            Op::Scale(_) => {
                let head = self.design.units.head_of(id);
                let sum = head.sum.map(|sum| self.operand(sum, bf16));
                self.step(id, Scale { relu: head.relu, x, factors: inputs[1], sum, y }, true);
            }
            Op::MulConstant(op) => self.step(id, Times { factor: op.factor, x, y }, true),
            Op::Concat(_) => self.emit_concat(node, &inputs, y),
            Op::SliceChannels(op) => {
                let (from, count, zero) = (op.start, op.len, !op.len.is_multiple_of(LANES));
                self.step(id, CopyChannels { x, y, from, to: 0, count, zero }, true);
            }
            Op::PadChannels(op) => {
                let count = self.design.graph.node(node.inputs[0]).shape().channels();
                self.step(
                    id,
                    CopyChannels { x, y, from: 0, to: op.before, count, zero: true },
                    true,
                );
            }
            Op::Subsample(op) => self.step(id, Subsample { stride: op.stride, x, y }, true),
            Op::Flatten(_) => self.step(id, Flatten { x, y }, true),
            Op::Softmax(_) => self.step(id, Softmax { x, y }, true),
            Op::EuclideanRbf(_) => {
                let codes = self.design.params.of_node[id.index()].weight.expect("assigned");
                self.step(id, EuclideanRbf { codes, x, y }, true);
            }
        }
    }

    /// The images, in the form that the first layers read.
    pub(super) fn emit_input(&mut self, id: NodeId, y: BufferId) {
        if self.design.maps.plain_input {
            self.step(id, PadPlanes { y }, true);
        } else {
            self.step(id, Pack { y }, true);
        }
    }

    fn emit_conv(&mut self, node: &Node, y: BufferId) {
        let design = self.design;
        let unit = design.conv(node.id).expect("it is a convolution");
        let head = design.units.head_of(node.id);
        let kernel = unit.kernel.clone();
        let x = match Precision::ALL.map(|precision| kernel.reads(precision)) {
            [true, true] => self.value(node.inputs[0]),
            [_, bf16] => self.operand(node.inputs[0], bf16),
        };
        let sum = head.sum.map(|sum| self.operand(sum, self.is_bf16(y)));
        let work = self.scratch(kernel.workspace(design.machinery.threads));
        let (weight, bias, relu) = (unit.weight, unit.bias, head.relu);
        self.step(node.id, Conv { kernel, weight, bias, relu, x, sum, y, work }, true);
    }

    fn emit_average(&mut self, node: &Node, x: BufferId, y: BufferId) {
        let (geom, divisor) = average(node).expect("the node is an average");
        self.step(node.id, Average { geom, divisor, x, y }, true);
    }

    fn emit_subsampling(&mut self, node: &Node, x: BufferId, y: BufferId) {
        let layout = Layout { halo: [0, 0], ..self.layout(node.id) };
        let sums = self.new_activation(layout);
        self.sides[node.id.index()] = Some(sums);
        self.emit_average(node, x, sums);
        let by = self.normalisation(node, None);
        self.step(node.id, Normalise { by, x: sums, sum: None, y }, true);
    }

    fn emit_norm(&mut self, node: &Node, op: &BatchNorm2d, x: BufferId, y: BufferId) {
        let mut statistics = None;
        if self.design.facts.batch_statistics {
            let layout = Layout::new(node.shape().channels(), 1, 1);
            let blocks = layout.blocks();
            let buffer = self.new_buffer(layout, Extent::Fixed(2 * blocks));
            let work = self.new_buffer(layout, Extent::PerImage(norm::workspace(blocks)));
            let slots = &self.design.params.of_node[node.id.index()];
            let running = slots.statistics.expect("assigned");
            let momentum = op.momentum;
            let measure = BatchStatistics { running, momentum, x, statistics: buffer, work };
            self.step(node.id, measure, true);
            self.sides[node.id.index()] = Some(buffer);
            statistics = Some(buffer);
        }
        let sum = self.design.units.head_of(node.id).sum.map(|sum| self.value(sum));
        let by = self.normalisation(node, statistics);
        self.step(node.id, Normalise { by, x, sum, y }, true);
    }

    /// Copies what is not made in its place.
    fn emit_concat(&mut self, node: &Node, inputs: &[BufferId], y: BufferId) {
        let design = self.design;
        let zero = !node.shape().channels().is_multiple_of(LANES);
        let pieces = pieces(design.graph, node).zip(inputs).zip(&node.inputs);
        let copied = pieces.filter(|&(_, &input)| !design.maps.is_placed(&design.units, input));
        for (i, (((to, count), &x), _)) in copied.enumerate() {
            if i == 0 {
                self.step(node.id, CopyChannels { x, y, from: 0, to, count, zero }, true);
            } else {
                self.step(node.id, PlaceChannels { x, y, to, count }, false);
            }
        }
    }

    /// The normalisation that `node` is, by the batch's statistics if there are such.
    pub(super) fn normalisation(&self, node: &Node, of_batch: Option<BufferId>) -> Normalisation {
        let slots = &self.design.params.of_node[node.id.index()];
        let eps = if let Op::BatchNorm2d(op) = &node.op { op.eps } else { 0.0 };
        let statistics = match of_batch {
            Some(buffer) => StatisticsAt::Batch(buffer),
            None => StatisticsAt::Slot(slots.statistics.expect("assigned")),
        };
        Normalisation {
            weight: slots.weight.expect("assigned"),
            bias: slots.bias.expect("assigned"),
            statistics,
            eps,
            relu: self.design.units.head_of(node.id).relu,
        }
    }
}
