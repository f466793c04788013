//! Values that the backward pass computes again instead of keeping them.
//!
//! A normalisation is a pass over memory, and its values are about half of all that the backward pass reads. Where
//! another value is added to it, as at the end of a residual block, that one may have to be computed first, and so on:
//! the sums of a stage are a chain, of which most are computed several times so that none of them takes memory for long.
//! That pays only where the maps are large.

use crate::lower::Lowering;
use crate::step::BufferId;
use top5_graph::{Node, NodeId, Op};

/// Values of an image from which on its sums and the image itself are not kept: fewer are small beside the parameters.
const LARGE: usize = 1 << 16;

/// Most sums that are computed for one value.
const CHAIN: usize = 4;

impl Lowering<'_> {
    /// Gives up the values that the backward pass can compute again for little: normalisations, concatenations of them, and
    /// a large input.
    pub(crate) fn forget_values(&mut self) {
        // For each value that is given up, by home, the sums that it takes to have it again.
        let mut sums = vec![0; self.graph.nodes().len()];
        let mut shown = vec![false; sums.len()];
        for node in self.graph.nodes().iter().filter(|node| self.pinned[node.id.index()]) {
            shown[self.home(node.id).index()] = true;
        }
        for node in self.graph.nodes() {
            let at = node.id.index();
            let head = &self.heads[at];
            if self.home(node.id) != node.id || shown[at] {
                continue;
            }
            let [h, w] = node.shape().size();
            let large = node.shape().channels() * h * w > LARGE;
            let is_forgotten_piece = |input: &NodeId| {
                let home = self.home(*input).index();
                self.places[home].is_some() && self.values[home].is_none()
            };
            let cheap = match (&node.op, head.sum) {
                (Op::BatchNorm2d(_), Some(sum)) => {
                    sums[at] = 1 + sums[self.home(sum).index()];
                    large && sums[at] <= CHAIN
                }
                (op, _) => {
                    matches!(op, Op::BatchNorm2d(_))
                        || matches!(op, Op::Input(_)) && large
                        || matches!(op, Op::Concat(_)) && node.inputs.iter().all(is_forgotten_piece)
                }
            };
            if cheap {
                self.values[at] = None;
            } else {
                sums[at] = 0;
            }
        }
    }

    /// The buffer of a node's value in the backward pass. One that was not kept is computed again, once.
    pub(crate) fn value_again(&mut self, id: NodeId) -> BufferId {
        let home = self.home(id);
        if let Some(buffer) = self.kept_value(home) {
            return buffer;
        }
        let node = self.graph.node(home);
        if matches!(node.op, Op::BatchNorm2d(_)) {
            return self.normalised_again(node, true);
        }
        let y = self.new_value(home);
        if matches!(node.op, Op::Input(_)) {
            self.emit_input(home, y);
        } else {
            for &input in &node.inputs {
                self.value_again(input);
            }
        }
        y
    }

    /// The value of a normalisation, in a new buffer that others find or not. What was added to it is not kept for them.
    fn normalised_again(&mut self, node: &Node, keep: bool) -> BufferId {
        let x = self.value_again(node.inputs[0]);
        let statistics = self.sides[node.id.index()].expect("made by the forward pass");
        let sum = self.heads[node.id.index()].sum.map(|sum| {
            let home = self.graph.node(self.home(sum));
            if self.kept_value(home.id).is_none() && matches!(home.op, Op::BatchNorm2d(_)) {
                self.normalised_again(home, false)
            } else {
                self.value_again(sum)
            }
        });
        let y = if keep {
            self.new_value(node.id)
        } else {
            let layout = self.layout(node.id);
            self.new_activation(layout)
        };
        self.emit_normalised(node, [x, statistics], sum, y);
        y
    }
}
