//! What is drawn as one block: a layer and the elementwise layers after it, and the units that blocks form.
//!
//! The blocks that an output needs form a strand. A strand is cut wherever a single value passes: what lies between two cuts is
//! a unit, either one block or a module of several (a residual block, an inception module) that ends in the block that joins
//! its branches. Equal units in a row are kept once, with their number.

use std::ops::Range;

use top5_graph::{Graph, Node, NodeId};

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

/// Blocks between two cuts; the last one joins the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Positions in [`Drawing::blocks`].
    pub(crate) blocks: Range<usize>,
    /// How often it comes in a row.
    pub(crate) repeat: usize,
}

/// The units that lead to one output.
#[derive(Clone, Debug)]
pub(crate) struct Strand {
    /// Name of the output; none for layers that no output needs.
    pub(crate) output: Option<String>,
    pub(crate) units: Vec<Unit>,
}

/// A graph as it is drawn.
#[derive(Clone, Debug)]
pub(crate) struct Drawing {
    pub(crate) blocks: Vec<Block>,
    /// The logits' strand first.
    pub(crate) strands: Vec<Strand>,
}

impl Drawing {
    pub(crate) fn new(graph: &Graph) -> Self {
        let merged = merge(graph);
        let mut drawing = Self { blocks: Vec::new(), strands: Vec::new() };
        // Position in `drawing.blocks` of each merged block.
        let mut drawn: Vec<Option<usize>> = vec![None; merged.len()];
        for (output, end) in ends(graph, &merged) {
            let strand = ancestors(&merged, end, &drawn);
            if strand.is_empty() {
                continue;
            }
            let units = drawing.append(graph, &merged, &strand, &mut drawn);
            drawing.strands.push(Strand { output, units });
        }
        drawing
    }

    /// Appends the blocks of a strand, equal units once.
    fn append(
        &mut self,
        graph: &Graph,
        merged: &[Block],
        strand: &[usize],
        drawn: &mut [Option<usize>],
    ) -> Vec<Unit> {
        let mut units: Vec<Unit> = Vec::new();
        let mut last: Option<&[usize]> = None;
        for range in cut(merged, strand) {
            let members = &strand[range];
            let repeats = members.len() > 1
                && last.is_some_and(|last| {
                    signature(graph, merged, strand, last)
                        == signature(graph, merged, strand, members)
                });
            last = Some(members);
            if let (true, Some(unit)) = (repeats, units.last_mut()) {
                unit.repeat += 1;
                for (position, &member) in unit.blocks.clone().zip(members) {
                    self.blocks[position].nodes.extend(merged[member].nodes.iter().cloned());
                    drawn[member] = Some(position);
                }
                continue;
            }
            let start = self.blocks.len();
            for &member in members {
                let inputs = merged[member].inputs.iter().filter_map(|&input| drawn[input]);
                let inputs = inputs.collect();
                drawn[member] = Some(self.blocks.len());
                self.blocks.push(Block { inputs, ..merged[member].clone() });
            }
            units.push(Unit { blocks: start..self.blocks.len(), repeat: 1 });
        }
        units
    }
}

/// All nodes as blocks, in topological order.
fn merge(graph: &Graph) -> Vec<Block> {
    let users = graph.users();
    let mut blocks: Vec<Block> = Vec::new();
    let mut block_of: Vec<usize> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let follows = match node.inputs[..] {
            [input] => node.spec.trails && users[input.index()].len() == 1,
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

/// The blocks that strands end in: those of the outputs, then those that nothing reads.
fn ends(graph: &Graph, merged: &[Block]) -> Vec<(Option<String>, usize)> {
    let holds = |node: NodeId| merged.iter().position(|block| block.nodes[0].contains(&node));
    let outputs = graph.outputs().iter();
    let outputs = outputs.filter_map(|o| Some((Some(o.name.clone()), holds(o.node)?)));
    let read = |block: usize| merged.iter().any(|other| other.inputs.contains(&block));
    let unread = (0..merged.len()).filter(|&block| !read(block)).map(|block| (None, block));
    outputs.chain(unread).collect()
}

/// The blocks that `end` needs and that are not drawn, in topological order.
fn ancestors(merged: &[Block], end: usize, drawn: &[Option<usize>]) -> Vec<usize> {
    let mut needed = vec![false; merged.len()];
    needed[end] = true;
    for block in (0..=end).rev().filter(|&block| drawn[block].is_none()) {
        if needed[block] {
            merged[block].inputs.iter().for_each(|&input| needed[input] = true);
        }
    }
    (0..=end).filter(|&block| needed[block] && drawn[block].is_none()).collect()
}

/// Ranges of a strand's positions, each ending where only the value of its last block is needed later.
fn cut(merged: &[Block], strand: &[usize]) -> Vec<Range<usize>> {
    let mut last_user: Vec<usize> = (0..strand.len()).collect();
    for (position, &block) in strand.iter().enumerate() {
        for input in &merged[block].inputs {
            if let Ok(source) = strand.binary_search(input) {
                last_user[source] = position;
            }
        }
    }
    let (mut ranges, mut start, mut reach) = (Vec::new(), 0, 0);
    for (position, &last) in last_user.iter().enumerate() {
        if reach <= position {
            ranges.push(start..position + 1);
            start = position + 1;
        }
        reach = reach.max(last);
    }
    ranges
}

/// What has to agree for units to count as equal: their layers, shapes and wiring.
fn signature(graph: &Graph, merged: &[Block], strand: &[usize], unit: &[usize]) -> String {
    let place = |block: &usize| strand.binary_search(block);
    let first = unit.first().map(place);
    let mut text = String::new();
    for block in unit {
        for &id in &merged[*block].nodes[0] {
            let spec = &graph.node(id).spec;
            text +=
                &format!("{} {} {} {};", spec.kind, spec.label, spec.output, spec.param_count());
        }
        for input in &merged[*block].inputs {
            match (place(input), first) {
                (Ok(at), Some(Ok(first))) => text += &format!("{},", at as isize - first as isize),
                _ => text += &format!("outside {input},"),
            }
        }
        text += "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use top5_graph::{Var, concat, k, net};

    fn residual(x: Var<'_>, channels: usize) -> Var<'_> {
        let y = x.conv_bn(channels, k(3).pad(1)).relu().conv_bn(channels, k(3).pad(1));
        let shortcut = if x.channels() == channels { x } else { x.conv_bn(channels, 1) };
        (y + shortcut).relu()
    }

    #[test]
    fn followers_join_their_layer_unless_something_else_reads_it() {
        let graph = net("n", [3, 8, 8], |x| {
            let x = x.conv_bn(4, 1).relu();
            let y = x.relu();
            concat([x, y]).flatten().linear(2)
        })
        .unwrap();
        let drawing = Drawing::new(&graph);
        let leaders: Vec<_> =
            drawing.blocks.iter().map(|block| block.leader(&graph).spec.kind).collect();
        assert_eq!(leaders, ["Input", "Conv2d", "ReLU", "Concat", "Linear"]);
        let units: Vec<_> = drawing.strands[0].units.iter().map(|u| u.blocks.clone()).collect();
        assert_eq!(units, [0..1, 1..2, 2..4, 4..5]);
    }

    #[test]
    fn equal_modules_in_a_row_are_kept_once_with_all_their_nodes() {
        let graph = net("n", [3, 8, 8], |x| {
            (0..5).fold(x.conv(4, 1), |x, i| residual(x, if i < 4 { 4 } else { 8 })).linear_head()
        })
        .unwrap();
        let drawing = Drawing::new(&graph);
        let repeats: Vec<_> = drawing.strands[0].units.iter().map(|unit| unit.repeat).collect();
        assert_eq!(repeats, [1, 1, 4, 1, 1, 1]);
        let mut nodes: Vec<usize> = drawing
            .blocks
            .iter()
            .flat_map(|block| block.nodes.iter().flatten().map(|id| id.index()))
            .collect();
        nodes.sort_unstable();
        assert_eq!(nodes, (0..graph.nodes().len()).collect::<Vec<_>>());
    }

    #[test]
    fn auxiliary_heads_are_strands_of_their_own() {
        let graph = net("n", [3, 8, 8], |x| {
            let x = x.conv(4, 1).relu();
            x.conv(2, 1).global_avg_pool().linear(10).output("aux", 0.3);
            residual(x, 4).linear_head()
        })
        .unwrap();
        let drawing = Drawing::new(&graph);
        let names: Vec<_> = drawing.strands.iter().map(|s| s.output.as_deref()).collect();
        assert_eq!(names, [Some("logits"), Some("aux")]);
        assert_eq!(drawing.strands[1].units.len(), 3);
    }

    trait Head {
        fn linear_head(self) -> Self;
    }

    impl Head for Var<'_> {
        fn linear_head(self) -> Self {
            self.global_avg_pool().flatten().linear(10)
        }
    }
}
