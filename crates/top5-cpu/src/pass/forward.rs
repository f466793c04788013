//! The forward steps of each unit.

use super::Design;
use super::emission::Emission;
use super::op;
use super::precision::is_factor;
use crate::buffer::BufferId;
use top5_graph::Node;

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

impl Emission<'_> {
    /// Appends the steps of the unit that `node` heads.
    fn emit(&mut self, node: &Node) {
        let y = self.values[node.id.index()].unwrap_or_else(|| self.new_value(node.id));
        op::of(&node.op).emit(self, node, y);
    }

    /// What a unit reads, in the precision of its result `y` (but for factors).
    pub(super) fn inputs(&mut self, node: &Node, y: BufferId) -> Vec<BufferId> {
        let bf16 = self.is_bf16(y);
        let inputs = node.inputs.iter().enumerate();
        inputs.map(|(i, &input)| self.operand(input, bf16 && !is_factor(node, i))).collect()
    }

    /// The only such input.
    pub(super) fn input(&mut self, node: &Node, y: BufferId) -> BufferId {
        self.inputs(node, y)[0]
    }
}
