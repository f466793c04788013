//! Values that the backward pass computes again instead of keeping them.
//!
//! A normalisation is a pass over memory, and its values are about half of all that the backward pass reads. Where
//! another value is added to it, as at the end of a residual block, that one may have to be computed first, and so on:
//! the sums of a stage are a chain, of which most are computed several times so that none of them takes memory for long.
//! That pays only where the maps are large.

use super::Design;
use super::emission::Emission;
use super::op::{emit_input, normalisation};
use crate::buffer::BufferId;
use crate::step::norm::Normalise;
use top5_graph::{Node, NodeId, Op};

/// Values of an image from which on its sums and the image itself are not kept: fewer are small beside the parameters.
const LARGE: usize = 1 << 16;

/// Most sums that are computed for one value.
const CHAIN: usize = 4;

/// Of the forward pass's values, by home, those that the backward pass finds. It computes again what it can for little:
/// normalisations, concatenations of them, and a large input.
pub(super) fn kept(design: &Design<'_>, values: &[Option<BufferId>]) -> Vec<Option<BufferId>> {
    let units = &design.units;
    let shown = units.shown_values();
    let mut kept = values.to_vec();
    // For each value that is given up, by home, the sums that it takes to have it again.
    let mut sums = vec![0; kept.len()];
    for node in design.graph.nodes() {
        let at = node.id.index();
        if units.home(node.id) != node.id || shown[at] {
            continue;
        }
        let [h, w] = node.shape().size();
        let large = node.shape().channels() * h * w > LARGE;
        let is_piece_given_up = |input: &NodeId| {
            let home = units.home(*input).index();
            design.maps.places[home].is_some() && kept[home].is_none()
        };
        let normalises = matches!(node.op, Op::BatchNorm2d(_)) && design.facts.batch_statistics;
        let cheap = match units.heads[at].sum {
            Some(sum) if normalises => {
                sums[at] = 1 + sums[units.home(sum).index()];
                large && sums[at] <= CHAIN
            }
            Some(_) | None => {
                normalises
                    || matches!(node.op, Op::Input(_)) && large
                    || matches!(node.op, Op::Concat(_)) && node.inputs.iter().all(is_piece_given_up)
            }
        };
        if cheap {
            kept[at] = None;
        } else {
            sums[at] = 0;
        }
    }
    kept
}

impl Emission<'_> {
    /// The buffer of a node's value in the backward pass. One that was not kept is computed again, once.
    pub(super) fn value_again(&mut self, id: NodeId) -> BufferId {
        let home = self.home(id);
        if let Some(buffer) = self.values[home.index()] {
            return buffer;
        }
        let node = self.design.graph.node(home);
        if matches!(node.op, Op::BatchNorm2d(_)) {
            return self.normalised_again(node, true);
        }
        let y = self.new_value(home);
        if matches!(node.op, Op::Input(_)) {
            emit_input(self, home, y);
        } else {
            for &input in &node.inputs {
                self.value_again(input);
            }
        }
        y
    }

    /// The value of a normalisation, in a new buffer that others find or not. What was added to it is not kept for them.
    fn normalised_again(&mut self, node: &Node, keep: bool) -> BufferId {
        let design = self.design;
        let x = self.value_again(node.inputs[0]);
        let sum = design.units.head_of(node.id).sum.map(|sum| {
            let home = design.graph.node(self.home(sum));
            if self.values[home.id.index()].is_none() && matches!(home.op, Op::BatchNorm2d(_)) {
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
        let by = normalisation(self, node, self.sides[node.id.index()]);
        self.step(node.id, Normalise { by, x, sum, y }, true);
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choose::Machinery;
    use crate::pass::forward::forward;
    use crate::purpose::Mode;
    use crate::tuning::Tuning;
    use top5_graph::{Graph, k, net};
    use top5_kernels::{Isa, Precision};

    /// The names of the units whose values are given up.
    fn given_up(graph: &Graph) -> Vec<&str> {
        let (tuning, isa, mode) = (Tuning::default(), Isa::Scalar, Mode::Training);
        let (exact, compact, precision) = (false, false, Precision::F32);
        let machinery =
            Machinery { isa, threads: 1, batch: 1, exact, compact, precision, tuning, mode };
        let design = Design::new(graph, &machinery, &[], None).unwrap();
        let values = forward(&design).values;
        let kept = kept(&design, &values);
        let lost = graph
            .nodes()
            .iter()
            .filter(|node| values[node.id.index()].is_some() && kept[node.id.index()].is_none());
        lost.map(|node| node.name.as_str()).collect()
    }

    fn sums(size: usize) -> Graph {
        net("sums", [16, size, size], |mut x| {
            x = x.conv_bn(16, 1).relu();
            for _ in 0..5 {
                x = (x.conv_bn(16, k(3).pad(1)) + x).relu();
            }
            x.global_avg_pool().linear(3)
        })
        .unwrap()
    }

    #[test]
    fn small_sums_and_inputs_are_kept() {
        assert_eq!(given_up(&sums(8)), ["bn1"]);
    }

    #[test]
    fn chains_of_large_sums_are_cut() {
        assert_eq!(given_up(&sums(80)), ["input", "bn1", "bn2", "bn3", "bn4", "bn5"]);
    }
}
