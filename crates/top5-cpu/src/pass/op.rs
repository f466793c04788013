//! What the engine makes of each op: its steps forward and backward, beside each other. A family of ops is a file.

mod conv;
mod moves;
mod norm;
mod pointwise;
mod pool;

pub(super) use moves::emit_input;
pub(super) use norm::normalisation;

use super::emission::Emission;
use super::gradients::Backward;
use crate::buffer::BufferId;
use crate::purpose::Facts;
use top5_graph::{Node, Op, each_op};

/// How an op is lowered. The node is that of the op; it heads its unit.
pub(super) trait Lower {
    /// Whether it does nothing: its value is that of its first input.
    fn is_alias(&self, _node: &Node, _facts: Facts) -> bool {
        false
    }

    /// Whether it can read the network's input as plain planes.
    fn reads_planes(&self) -> bool {
        false
    }

    /// Whether its step reads and writes bf16. Of a convolution the kernel says that.
    fn takes_bf16(&self) -> bool {
        false
    }

    /// Appends the steps that make its value, in `y`.
    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId);

    /// Appends the steps that take the gradient `dy` of its value to its inputs, where these want one, and parameters.
    fn undo(&self, on: &mut Backward<'_>, node: &Node, dy: BufferId);
}

/// How an op is lowered.
pub(super) fn of(op: &Op) -> &dyn Lower {
    each_op!(op, op => op)
}
