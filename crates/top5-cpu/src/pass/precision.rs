//! Which activations of a plan in bf16 are stored in bf16, half the memory to write and read.
//!
//! A value is in bf16 if what makes it can round it, something that reads it takes bf16, and it is no output. Where a reader
//! wants the other precision than a value has, it reads a copy; so do those who ask for an activation, which changes nothing
//! where it is not part of a fused step. What a reader computes is the same either way: it takes bf16 as a whole or not at
//! all. Before a backward pass all values are in f32; convolutions in bf16 read copies, and weight gradients in bf16 round on
//! the way.

use super::fuse::Units;
use super::layout::Maps;
use super::op;
use super::params::Params;
use top5_graph::{Node, NodeId, Op};
use top5_kernels::Precision;

/// Whether the `i`-th input of a node is the factors of a scale, which are in f32 always.
pub(super) fn is_factor(node: &Node, i: usize) -> bool {
    i == 1 && matches!(node.op, Op::Scale(_))
}

/// For each value, by home, whether it is in bf16.
pub(super) fn in_bf16(units: &Units<'_>, maps: &Maps, params: &Params) -> Vec<bool> {
    let graph = units.graph;
    let outputs: Vec<NodeId> = graph.outputs().iter().map(|output| output.node).collect();
    let whole = |id: NodeId| maps.whole(units, units.home(id)).index();
    let mut pays = vec![false; graph.nodes().len()];
    let mut can = vec![true; graph.nodes().len()];
    for node in graph.nodes() {
        can[whole(node.id)] &= !outputs.contains(&node.id);
        if units.home(node.id) == node.id {
            let takes = takes_bf16(params, node);
            can[whole(node.id)] &= takes;
            for input in inputs(units, node) {
                pays[units.home(input).index()] |= takes;
            }
        }
    }
    graph.nodes().iter().map(|node| can[whole(node.id)] && pays[whole(node.id)]).collect()
}

/// What a unit reads in the precision of its kernel or of its value.
fn inputs(units: &Units<'_>, node: &Node) -> impl Iterator<Item = NodeId> {
    let inputs = node.inputs.iter().enumerate().filter(|&(i, _)| !is_factor(node, i));
    inputs.map(|(_, &input)| input).chain(units.head_of(node.id).sum)
}

/// Whether the step of a unit reads and writes bf16.
fn takes_bf16(params: &Params, node: &Node) -> bool {
    match &params.of_node[node.id.index()].conv {
        Some(unit) => unit.kernel.reads(Precision::Bf16) && unit.kernel.writes(Precision::Bf16),
        None => op::of(&node.op).takes_bf16(),
    }
}
