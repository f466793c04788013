//! Which values are made in the memory of the concatenation that reads them.

use super::fuse::Units;
use super::{conv_shape, pieces};
use crate::geometry::layout_of;
use top5_graph::{Node, NodeId, Op};
use top5_kernels::{LANES, Layout};

/// For each value, by home: the concatenation in whose memory it is made, and its first channel there. So is all that nothing
/// else reads, if all inputs are whole blocks.
pub(super) fn places(
    units: &Units<'_>,
    halos: &[[usize; 2]],
    bf16: bool,
) -> Vec<Option<(NodeId, usize)>> {
    let graph = units.graph;
    let mut places = vec![None; graph.nodes().len()];
    for node in graph.nodes().iter().filter(|node| matches!(node.op, Op::Concat(_))) {
        let halo = halos[units.home(node.id).index()];
        let plane = Layout { halo, ..layout_of(node.shape()) }.plane();
        // In bf16 two pixels are a block of memory, at the start of which a piece starts.
        let starts = |first: usize| !bf16 || (first / LANES * plane).is_multiple_of(2);
        let fits = |(first, count): (usize, usize)| count.is_multiple_of(LANES) && starts(first);
        if units.home(node.id) != node.id || !pieces(graph, node).all(fits) {
            continue;
        }
        for ((first, _), &input) in pieces(graph, node).zip(&node.inputs) {
            let home = graph.node(units.home(input));
            let alone = units.head_of(home.id).tail == input && units.only_user(input).is_some();
            if alone && writes_parts(units, home) {
                places[home.id.index()] = Some((node.id, first));
            }
        }
    }
    places
}

/// Whether a unit can write its value among the planes of a larger map.
fn writes_parts(units: &Units<'_>, home: &Node) -> bool {
    conv_shape(units.graph, home).is_some_and(|conv| !conv.fully_connected)
        || matches!(
            home.op,
            Op::BatchNorm2d(_) | Op::MaxPool2d(_) | Op::AvgPool2d(_) | Op::Concat(_)
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purpose::Mode;
    use top5_graph::{concat, k, net};

    /// The first channels of what is placed, for concatenations of these numbers of channels.
    fn placed(channels: [usize; 2], bf16: bool) -> Vec<Option<usize>> {
        let graph = net("concat", [3, 5, 5], |x| {
            let a = x.conv(channels[0], 1).relu();
            concat([a, x.conv(channels[1], k(3).pad(1))]).global_avg_pool().linear(3)
        })
        .unwrap();
        let units = Units::fuse(&graph, Mode::Inference.facts(), &[], &[]);
        let places = places(&units, &vec![[0, 0]; graph.nodes().len()], bf16);
        let convs = graph.nodes().iter().filter(|node| node.name.starts_with("conv"));
        convs.map(|conv| places[conv.id.index()].map(|(_, first)| first)).collect()
    }

    #[test]
    fn whole_blocks_are_made_in_place() {
        assert_eq!(placed([32, 16], false), [Some(0), Some(32)]);
    }

    #[test]
    fn ragged_channels_are_copied() {
        assert_eq!(placed([20, 16], false), [None, None]);
    }

    #[test]
    fn pieces_in_bf16_start_at_whole_blocks_of_memory() {
        // A plane has 25 pixels of half a block.
        assert_eq!(placed([32, 16], true), [Some(0), Some(32)]);
        assert_eq!(placed([16, 16], true), [None, None]);
    }
}
