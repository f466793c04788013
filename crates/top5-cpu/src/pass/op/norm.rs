//! Batch normalisation that is not folded into the convolution before it, and local response normalisation.

use super::Lower;
use crate::buffer::{BufferId, Extent};
use crate::pass::emission::Emission;
use crate::pass::gradients::Backward;
use crate::step::norm::{
    BatchStatistics, Lrn, LrnGradient, Normalisation, Normalise, NormaliseGradient, StatisticsAt,
};
use crate::step::pointwise::Times;
use top5_graph::ops::{BatchNorm2d, LocalResponseNorm};
use top5_graph::{LrnRule, Node, Op, ReluRule};
use top5_kernels::Layout;
use top5_kernels::lrn::LrnGeom;
use top5_kernels::norm;

impl Lower for BatchNorm2d {
    fn takes_bf16(&self) -> bool {
        true
    }

    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId) {
        let x = on.input(node, y);
        emit_norm(on, node, self, x, y);
    }

    fn undo(&self, on: &mut Backward<'_>, node: &Node, dy: BufferId) {
        undo_norm(on, node, dy);
    }
}

fn emit_norm(on: &mut Emission<'_>, node: &Node, op: &BatchNorm2d, x: BufferId, y: BufferId) {
    let mut statistics = None;
    if on.design.facts.batch_statistics {
        let layout = Layout::new(node.shape().channels(), 1, 1);
        let blocks = layout.blocks();
        let buffer = on.new_buffer(layout, Extent::Fixed(2 * blocks));
        let work = on.new_buffer(layout, Extent::PerImage(norm::workspace(blocks)));
        let params = &on.design.params.of_node[node.id.index()];
        let running = params.statistics.expect("assigned");
        let momentum = op.momentum;
        let measure = BatchStatistics { running, momentum, x, statistics: buffer, work };
        on.step(node.id, measure, true);
        on.sides[node.id.index()] = Some(buffer);
        statistics = Some(buffer);
    }
    let sum = on.design.units.head_of(node.id).sum.map(|sum| on.operand(sum, on.is_bf16(y)));
    let by = normalisation(on, node, statistics);
    on.step(node.id, Normalise { by, x, sum, y }, true);
}

/// The gradients of a batch normalisation's input and parameters, and of what was added to it.
fn undo_norm(on: &mut Backward<'_>, node: &Node, dy: BufferId) {
    let input = node.inputs[0];
    if on.on.design.signals.is_some() {
        return undo_running(on, node, dy);
    }
    let head = *on.on.design.units.head_of(node.id);
    let x = on.on.value_again(input);
    let layout = on.on.layout(input);
    let [sums, work] = normalisation_scratch(&mut on.on, &layout);
    let by = normalisation(&on.on, node, on.on.sides[node.id.index()]);
    let sum = head.sum.is_some();
    let kernel = NormaliseGradient { by, sum, x, y: None, dy, dx: None, sums, work };
    // The kernel computes the input's gradient whether it is needed or not.
    let needed = on.wants_gradient(input);
    if on.may_undo_in_place(node) && (!needed || on.hand_over(input, dy)) {
        return on.on.step(node.id, kernel, false);
    }
    let (dx, fresh) =
        if needed { on.gradient(input) } else { (on.on.new_activation(layout), true) };
    let y = (sum && head.relu).then(|| on.on.value_again(node.id));
    on.on.step(node.id, NormaliseGradient { y, dx: Some(dx), ..kernel }, fresh);
    if let Some(sum) = head.sum
        && on.wants_gradient(sum)
        && !on.hand_over(sum, dy)
    {
        on.copy_gradient(node, sum, dy);
    }
}

/// The gradient of the input of a normalisation by running statistics, which stay.
fn undo_running(on: &mut Backward<'_>, node: &Node, dy: BufferId) {
    let input = node.inputs[0];
    if !on.wants_gradient(input) {
        return;
    }
    let x = on.on.value_again(input);
    let layout = on.on.layout(input);
    let [sums, work] = normalisation_scratch(&mut on.on, &layout);
    let mut by = normalisation(&on.on, node, None);
    by.relu &= on.rule().relu != ReluRule::Deconvnet;
    let (dx, fresh) = on.gradient(input);
    let (sum, y, dx) = (false, None, Some(dx));
    on.on.step(node.id, NormaliseGradient { by, sum, x, y, dy, dx, sums, work }, fresh);
}

/// The normalisation that `node` is, by the batch's statistics if there are such.
pub(in crate::pass) fn normalisation(
    on: &Emission<'_>,
    node: &Node,
    of_batch: Option<BufferId>,
) -> Normalisation {
    let params = &on.design.params.of_node[node.id.index()];
    let eps = if let Op::BatchNorm2d(op) = &node.op { op.eps } else { 0.0 };
    let statistics = match of_batch {
        Some(buffer) => StatisticsAt::Batch(buffer),
        None => StatisticsAt::Param(params.statistics.expect("assigned")),
    };
    Normalisation {
        weight: params.weight.expect("assigned"),
        bias: params.bias.expect("assigned"),
        statistics,
        eps,
        relu: on.design.units.head_of(node.id).relu,
    }
}

/// Scratch memory of a normalisation's sums: results, and per image.
pub(super) fn normalisation_scratch(on: &mut Emission<'_>, layout: &Layout) -> [BufferId; 2] {
    let blocks = norm::workspace(layout.blocks());
    let sums = on.scratch(2 * layout.blocks());
    [sums, on.new_buffer(*layout, Extent::PerImage(blocks))]
}

/// The constants of a local response normalisation.
fn lrn_geom(op: &LocalResponseNorm) -> LrnGeom {
    LrnGeom { size: op.size, alpha: op.alpha_of_sum(), beta: op.beta, k: op.k }
}

impl Lower for LocalResponseNorm {
    fn takes_bf16(&self) -> bool {
        true
    }

    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId) {
        let (geom, x) = (lrn_geom(self), on.input(node, y));
        on.step(node.id, Lrn { geom, x, y }, true);
    }

    fn undo(&self, on: &mut Backward<'_>, node: &Node, dy: BufferId) {
        for (_, input) in on.wanting(node) {
            if on.rule().lrn == LrnRule::Identity {
                on.send(node, input, |y| Times { factor: 1.0, x: dy, y });
                continue;
            }
            let (geom, x) = (lrn_geom(self), on.on.value_again(input));
            on.send(node, input, |dx| LrnGradient { geom, x, dy, dx });
        }
    }
}
