//! What is drawn as one block: a layer and the elementwise layers after it.

use top5_graph::{Family, Graph, Node, NodeId};

/// A layer, and the followers that nothing else reads the input of.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// The nodes of each repetition, in order: one unless the block is in a repeated unit.
    pub(crate) nodes: Vec<Vec<NodeId>>,
    /// The blocks it reads.
    pub(crate) inputs: Vec<usize>,
}

impl Block {
    /// The layer that it is named after.
    pub(crate) fn leader<'g>(&self, graph: &'g Graph) -> &'g Node {
        graph.node(self.nodes[0][0])
    }

    /// The elementwise layers after it.
    pub(crate) fn followers<'g>(&self, graph: &'g Graph) -> impl Iterator<Item = &'g Node> {
        self.nodes[0][1..].iter().map(|&id| graph.node(id))
    }
}

/// All nodes as blocks, in topological order.
pub(crate) fn merge(graph: &Graph) -> Vec<Block> {
    let users = graph.users();
    let mut blocks: Vec<Block> = Vec::new();
    let mut block_of: Vec<usize> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let follows = match node.inputs[..] {
            [input] => {
                let before = graph.node(input);
                // What lies side by side is normalised for whoever reads it (DenseNet): that is no part of the module.
                let side_by_side =
                    node.spec.family == Family::Normalisation && stacks(graph, before);
                node.spec.trails && users[input.index()].len() == 1 && !side_by_side
            }
            _ => false,
        };
        if follows {
            let block = block_of[node.inputs[0].index()];
            blocks[block].nodes[0].push(node.id);
            block_of.push(block);
        } else {
            let inputs = node.inputs.iter().map(|input| block_of[input.index()]).collect();
            block_of.push(blocks.len());
            blocks.push(Block { nodes: vec![vec![node.id]], inputs });
        }
    }
    blocks
}

/// Whether a layer puts its inputs beside each other, so that its result is larger than each.
pub(crate) fn stacks(graph: &Graph, node: &Node) -> bool {
    let channels = node.shape().channels();
    node.inputs.len() > 1
        && node.inputs.iter().all(|&input| graph.node(input).shape().channels() < channels)
}
