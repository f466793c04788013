//! Blocks: where branches part and meet again, as in inception modules, residual units and the gates of squeeze and excitation;
//! and the network without some of these branches (for residual networks: Veit et al., NIPS 2016, "Residual Networks Behave Like
//! Ensembles of Relatively Shallow Networks").

use std::collections::BTreeSet;

use top5_graph::ops::{Add, Concat, Scale};
use top5_graph::{Family, Graph, GraphError, Node, NodeId, Op, Var, concat, net, sum};

/// A join of branches, and what lies between it and the node that all of them start at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where the branches meet.
    pub join: NodeId,
    /// The last node before the join that every path to it goes through.
    pub fork: NodeId,
    /// One for each input of the join.
    pub branches: Vec<Branch>,
    /// Whether the last branch gives a factor for each channel of the first (Hu et al., CVPR 2018, equation 4).
    pub gated: bool,
}

/// A way from the fork to the join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The input of the join that it ends at.
    pub end: NodeId,
    /// Its layers in their order: none where the join reads the fork. Branches may share some.
    pub layers: Vec<NodeId>,
}

/// All blocks of a network, in the order of their joins.
pub fn blocks(graph: &Graph) -> Vec<Block> {
    let joins = graph.nodes().iter().filter(|node| is_join(node));
    joins.map(|join| block(graph, join)).collect()
}

/// The network in which the given branches, each a join and the position of an input, give zeros; gates that are left out multiply
/// nothing. Parameters keep their names, so that it is a form of the network. Auxiliary heads are left out. Other pairs change
/// nothing. Fails where an op of several inputs is none that is known here.
pub fn without(graph: &Graph, off: &BTreeSet<(NodeId, usize)>) -> Result<Graph, GraphError> {
    let rebuilt = net(graph.name(), graph.input(), |image| {
        let mut made: Vec<Var<'_>> = Vec::with_capacity(graph.nodes().len());
        for node in graph.nodes() {
            let input = |at: usize| {
                let var = made[node.inputs[at].index()];
                let is_off = is_join(node) && off.contains(&(node.id, at));
                if is_off { var.times(0.0).named(format!("{}.{at}.off", node.name)) } else { var }
            };
            let gates_off = is_gated(&node.op) && off.contains(&(node.id, 1));
            let var = match node.inputs.len() {
                0 => image,
                _ if gates_off => {
                    made.push(input(0));
                    continue;
                }
                1 => input(0).apply(node.op.clone()),
                inputs => joined(&node.op, (0..inputs).map(input).collect()),
            };
            made.push(var.named(&node.name));
        }
        made[graph.logits().id.index()]
    });
    Ok(rebuilt?.inference())
}

/// An op on several inputs; where it is another one, the builder says that it does not take one input.
fn joined<'g>(op: &Op, parts: Vec<Var<'g>>) -> Var<'g> {
    if *op == Add.into() {
        sum(parts)
    } else if *op == Concat.into() {
        concat(parts)
    } else if is_gated(op) {
        parts[0].scale(parts[1])
    } else {
        parts[0].apply(op.clone())
    }
}

fn is_gated(op: &Op) -> bool {
    *op == Scale.into()
}

fn is_join(node: &Node) -> bool {
    node.spec.family == Family::Join && node.inputs.len() > 1
}

fn block(graph: &Graph, join: &Node) -> Block {
    // From the join backward, the latest node first: once a single one is left, every path goes through it.
    let mut open: BTreeSet<NodeId> = join.inputs.iter().copied().collect();
    while open.len() > 1 {
        let last = open.pop_last().expect("there is more than one");
        open.extend(&graph.node(last).inputs);
    }
    let fork = open.first().copied().unwrap_or(join.id);
    let branches = join.inputs.iter().map(|&end| branch(graph, fork, end)).collect();
    Block { join: join.id, fork, branches, gated: is_gated(&join.op) }
}

fn branch(graph: &Graph, fork: NodeId, end: NodeId) -> Branch {
    let mut layers = BTreeSet::new();
    let mut open = vec![end];
    while let Some(node) = open.pop() {
        if node > fork && layers.insert(node) {
            open.extend(&graph.node(node).inputs);
        }
    }
    Branch { end, layers: layers.into_iter().collect() }
}
