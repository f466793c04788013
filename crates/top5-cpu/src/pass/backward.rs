//! The backward steps: one rule per op, in reverse order.
//!
//! A value's gradient has a buffer as soon as something adds to it. When a unit is reached, all that read its value
//! have been passed, so its gradient is complete: a fused ReLU is then undone in place, and the unit's own rule ([`op`]) sends
//! the gradient on to its inputs and parameters. What leads to no output gets no gradient, and what depends on no
//! parameter.

use super::emission::Emission;
use super::gradients::Backward;
use super::op;
use crate::buffer::BufferId;
use crate::geometry::layout_of;
use crate::ir::Program;
use crate::step::loss::Loss;
use crate::step::moves::Seed;
use crate::step::pointwise::{MaskPositive, Rectify, Times};
use top5_graph::ops::Activation;
use top5_graph::{Node, Op, ReluRule, Signals};

/// Appends loss and backward steps.
pub(super) fn backward(emission: Emission<'_>) -> Emission<'_> {
    let design = emission.design;
    let mut backward = Backward::new(emission);
    for output in design.graph.outputs() {
        let logits = backward.on.value_again(output.node);
        let (dy, fresh) = backward.gradient(output.node);
        backward.on.step(output.node, Loss { weight: output.weight, logits, dy }, fresh);
    }
    for node in design.graph.nodes().iter().rev() {
        let dy = backward.gradients[node.id.index()];
        if let (true, Some(dy)) = (backward.on.home(node.id) == node.id, dy) {
            undo(&mut backward, node, dy);
        }
    }
    backward.on
}

/// Appends the steps that take a seed from a node backward to others.
pub(super) fn signals(emission: Emission<'_>, signals: &Signals) -> Program {
    let design = emission.design;
    let mut backward = Backward::new(emission);
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
        undo(&mut backward, node, x);
    }
    let ends = signals.to.iter().map(|&to| ends[backward.on.home(to).index()]).collect();
    backward.on.program(ends)
}

/// The steps that take the gradient `dy` of the node's value to its inputs and parameters.
fn undo(backward: &mut Backward<'_>, node: &Node, dy: BufferId) {
    let id = node.id;
    let normalises = matches!(node.op, Op::BatchNorm2d(_));
    let (relu, rule) = (backward.on.design.units.head_of(id).relu, backward.rule().relu);
    let rectifies = relu || matches!(node.op, Op::Activation(Activation::Relu));
    if rectifies && rule != ReluRule::Plain {
        backward.on.step(id, Rectify { dy }, false);
    }
    let masks = relu && rule != ReluRule::Deconvnet;
    if masks && !normalises && !backward.is_pooled_alone(id) {
        let y = backward.on.value_again(id);
        backward.on.step(id, MaskPositive { y, dy }, false);
    }
    op::of(&node.op).undo(backward, node, dy);
}
