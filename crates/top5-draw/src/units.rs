//! The units that blocks form.
//!
//! The blocks that an output needs form a strand. A strand is cut wherever a single value passes: what lies between two cuts is
//! a unit, either one block or a module of several (a residual block, an inception module) that ends in the block that joins
//! its branches. Equal units in a row are kept once, with their number, also where each adds as many channels as the one before
//! (DenseNet); so are equal branches within a unit (ResNeXt).

use std::ops::Range;

use top5_graph::{Graph, NodeId};

use crate::block::{Block, merge};
use crate::fold::{Folded, Paths, growth, title};

/// Blocks between two cuts; the last one joins the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Positions in [`Drawing::blocks`].
    pub(crate) blocks: Range<usize>,
    /// How often it comes in a row.
    pub(crate) repeat: usize,
    /// Channels that each of these has more than the one before.
    pub(crate) growth: usize,
    /// What the names of its layers begin with, in the first and in the last of these; empty where they begin differently.
    pub(crate) titles: [String; 2],
    /// Branches that stand for several.
    pub(crate) paths: Vec<Paths>,
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
            let folded = Folded::new(graph, merged, members);
            let grown = last.filter(|_| members.len() > 1);
            let grown = grown.and_then(|last| growth(graph, merged, strand, [last, members]));
            last = Some(members);
            let repeats = |unit: &&mut Unit| {
                grown.is_some_and(|grown| unit.repeat == 1 || grown == unit.growth)
            };
            if let Some(unit) = units.last_mut().filter(repeats) {
                unit.repeat += 1;
                unit.growth = grown.unwrap_or_default();
                unit.titles[1] = title(graph, merged, members);
                let mut positions = unit.blocks.clone();
                for &member in members {
                    let of = folded.stands_for(member);
                    let position = if of == member { positions.next() } else { drawn[of] };
                    drawn[member] = position;
                    let position = position.expect("equal units have equal branches");
                    self.blocks[position].nodes.extend(merged[member].nodes.iter().cloned());
                }
                continue;
            }
            let start = self.blocks.len();
            for &member in members {
                let of = folded.stands_for(member);
                if let (true, Some(position)) = (of != member, drawn[of]) {
                    drawn[member] = Some(position);
                    self.blocks[position].nodes.extend(merged[member].nodes.iter().cloned());
                    continue;
                }
                let mut inputs: Vec<usize> = Vec::new();
                for input in merged[member].inputs.iter().filter_map(|&input| drawn[input]) {
                    // Of equal branches, the one that is drawn.
                    if !inputs.contains(&input) || !folded.joins(member) {
                        inputs.push(input);
                    }
                }
                drawn[member] = Some(self.blocks.len());
                self.blocks.push(Block { inputs, ..merged[member].clone() });
            }
            let title = title(graph, merged, members);
            units.push(Unit {
                blocks: start..self.blocks.len(),
                repeat: 1,
                growth: 0,
                titles: [title.clone(), title],
                paths: folded.paths(drawn),
            });
        }
        units
    }
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
    fn modules_that_grow_evenly_are_kept_once_with_their_growth_and_names() {
        fn layer(x: Var<'_>, i: usize) -> Var<'_> {
            let _layer = x.scope(format!("dense.layer{i}"));
            concat([x, x.batch_norm().relu().conv(4, k(3).pad(1))])
        }
        let graph = net("n", [3, 8, 8], |x| {
            (1..=4).fold(x.conv(6, 1), layer).batch_norm().relu().linear_head()
        })
        .unwrap();
        let drawing = Drawing::new(&graph);
        let dense = drawing.strands[0].units.iter().find(|unit| unit.repeat > 1).unwrap();
        assert_eq!((dense.repeat, dense.growth), (4, 4));
        assert_eq!(dense.titles, ["dense.layer1", "dense.layer4"]);
    }

    #[test]
    fn equal_branches_are_kept_once() {
        let graph = net("n", [3, 8, 8], |x| {
            (0..3)
                .fold(x.conv(8, 1), |x, _| {
                    let path = |_| x.conv(4, 1).relu().conv(8, k(3).pad(1));
                    top5_graph::sum((0..5).map(path).collect::<Vec<_>>()) + x
                })
                .linear_head()
        })
        .unwrap();
        let drawing = Drawing::new(&graph);
        let unit = drawing.strands[0].units.iter().find(|unit| unit.repeat == 3).unwrap();
        let [paths] = &unit.paths[..] else { panic!("{unit:?}") };
        assert_eq!((paths.count, paths.blocks.len()), (5, 2));
        // Every node is drawn, in all repetitions.
        for block in &paths.blocks {
            assert_eq!(drawing.blocks[*block].nodes.len(), 15);
        }
        let nodes = drawing.blocks.iter().flat_map(|block| block.nodes.iter().flatten());
        assert_eq!(nodes.count(), graph.nodes().len());
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
