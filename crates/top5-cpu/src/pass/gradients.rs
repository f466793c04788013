//! The gradients of values, and what the rules of the ops do with them.

use super::emission::Emission;
use crate::buffer::BufferId;
use crate::step::Kernel;
use crate::step::pointwise::Times;
use top5_graph::{Node, NodeId, Op, ReluRule, Rule};
use top5_kernels::Layout;

/// Backward steps in the making, after the forward ones.
pub(super) struct Backward<'d> {
    pub(super) on: Emission<'d>,
    /// The gradients of the values, by home.
    pub(super) gradients: Vec<Option<BufferId>>,
}

impl<'d> Backward<'d> {
    /// After these forward steps, without a gradient yet.
    pub(super) fn new(on: Emission<'d>) -> Self {
        let gradients = vec![None; on.design.graph.nodes().len()];
        Self { on, gradients }
    }

    /// The buffer of the gradient of a node's value, and whether nothing was added to it yet.
    pub(super) fn gradient(&mut self, id: NodeId) -> (BufferId, bool) {
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
        let halo = conv.map_or([0, 0], |conv| match (design.signals, conv.shape.merged()) {
            (Some(_), Some(merged)) => merged.halo,
            _ => conv.shape.gradient_halo(),
        });
        Layout { halo, gap: 0, ..self.on.layout(id) }
    }

    /// Whether a parameter depends on the gradient of this node.
    pub(super) fn wants_gradient(&self, id: NodeId) -> bool {
        self.on.design.learns[id.index()]
    }

    /// Whether the gradient of the node's value is of no more use when that of its input is computed, and is not that of a
    /// sum, which would have other edges.
    pub(super) fn may_undo_in_place(&self, node: &Node) -> bool {
        let units = &self.on.design.units;
        let is_summand =
            || units.heads.iter().any(|head| head.sum.map(|sum| units.home(sum)) == Some(node.id));
        matches!(node.op, Op::BatchNorm2d(_))
            && units.head_of(node.id).sum.is_none()
            && !is_summand()
    }

    /// Makes `dy` the gradient of a node's value, if nothing was added to that yet and the pixels are in the same places.
    pub(super) fn hand_over(&mut self, id: NodeId, dy: BufferId) -> bool {
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
    pub(super) fn is_pooled_alone(&self, home: NodeId) -> bool {
        let head = self.on.design.units.head_of(home);
        let masks = head.relu && !matches!(self.on.design.graph.node(home).op, Op::BatchNorm2d(_));
        let user = self.on.design.units.only_user(head.tail);
        // By other rules the signal, not the value alone, says what passes.
        let masks = masks && self.rule().relu == ReluRule::Plain;
        masks && user.is_some_and(|user| matches!(user.op, Op::MaxPool2d(_)))
    }

    /// The rule by which gradients go back.
    pub(super) fn rule(&self) -> Rule {
        self.on.design.signals.map_or(Rule::gradient(), |signals| signals.rule)
    }

    /// The inputs of a node that want a gradient, with their places.
    pub(super) fn wanting(&self, node: &Node) -> Vec<(usize, NodeId)> {
        let inputs = node.inputs.iter().copied().enumerate();
        inputs.filter(|&(_, input)| self.wants_gradient(input)).collect()
    }

    /// Appends a step of `node` that makes the gradient of a value, or adds to it.
    pub(super) fn send<K: Into<Kernel>>(
        &mut self,
        node: &Node,
        to: NodeId,
        kernel: impl FnOnce(BufferId) -> K,
    ) {
        let (dx, fresh) = self.gradient(to);
        self.on.step(node.id, kernel(dx), fresh);
    }

    /// Adds `dy` to the gradient of a value.
    pub(super) fn copy_gradient(&mut self, node: &Node, to: NodeId, dy: BufferId) {
        self.send(node, to, |y| Times { factor: 1.0, x: dy, y });
    }
}
