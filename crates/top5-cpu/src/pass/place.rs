//! Which values are made in the memory of a concatenation that reads them.
//!
//! A value that nothing else reads always can be. In inference in f32 so can one that others read, too, as DenseNet's
//! concatenations, each of which is the start of the next one: all of a block of layers lie in the memory of its last. Then no
//! step may read what lies in the memory that it writes to.

use super::fuse::Units;
use super::pieces;
use crate::geometry::conv_shape;
use crate::geometry::layout_of;
use top5_graph::{Node, NodeId, Op};
use top5_kernels::{LANES, Layout};

/// For each value, by home: the concatenation in whose memory it is made, and its first channel there, if all inputs are whole
/// blocks. `shares`: other steps may read it there.
pub(super) fn places(
    units: &Units<'_>,
    halos: &[[usize; 2]],
    bf16: bool,
    shares: bool,
) -> Vec<Option<(NodeId, usize)>> {
    let graph = units.graph;
    let mut places = vec![None; graph.nodes().len()];
    let mut wholes: Vec<NodeId> = graph.nodes().iter().map(|node| node.id).collect();
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
            let free = units.head_of(home.id).tail == input && places[home.id.index()].is_none();
            let once = node.inputs.iter().filter(|&&it| units.home(it) == home.id).count() == 1;
            if !free || !once || !writes_parts(units, home) {
                continue;
            }
            let alone = units.only_user(input).is_some();
            let [own, whole] = [home.id, node.id].map(|id| halos[id.index()]);
            // Vectors are read as dense ones.
            let readable =
                own[0] <= whole[0] && own[1] <= whole[1] && home.shape().size() != [1, 1];
            let shared = shares && readable && !units.shown[input.index()];
            if !alone && !shared {
                continue;
            }
            let before = (places.clone(), wholes.clone());
            places[home.id.index()] = Some((node.id, first));
            let root = wholes[node.id.index()];
            wholes.iter_mut().filter(|whole| **whole == home.id).for_each(|whole| *whole = root);
            if shares && reads_own_memory(units, &places, &wholes, root) {
                (places, wholes) = before;
            }
        }
    }
    places
}

/// Whether a step reads from the memory of `root` while it writes there.
fn reads_own_memory(
    units: &Units<'_>,
    places: &[Option<(NodeId, usize)>],
    wholes: &[NodeId],
    root: NodeId,
) -> bool {
    let within = |id: NodeId| wholes[id.index()] == root;
    let units_there =
        units.graph.nodes().iter().filter(|node| units.home(node.id) == node.id && within(node.id));
    let mut reads = units_there.flat_map(|node| {
        let inputs = node.inputs.iter().copied().chain(units.head_of(node.id).sum);
        inputs.map(move |input| (node.id, units.home(input)))
    });
    // A concatenation does not read what is made in it.
    reads.any(|(reader, home)| {
        within(home) && places[home.index()].is_none_or(|(whole, _)| whole != reader)
    })
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
    use top5_graph::{Var, concat, k, net};

    /// The first channels of what is placed, for concatenations of these numbers of channels.
    fn placed(channels: [usize; 2], bf16: bool) -> Vec<Option<usize>> {
        let graph = net("concat", [3, 5, 5], |x| {
            let a = x.conv(channels[0], 1).relu();
            concat([a, x.conv(channels[1], k(3).pad(1))]).global_avg_pool().linear(3)
        })
        .unwrap();
        let units = Units::fuse(&graph, Mode::Inference.facts(), &[], &[]);
        let places = places(&units, &vec![[0, 0]; graph.nodes().len()], bf16, false);
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

    /// The names of what is made in the memory of a concatenation, and of that.
    fn shared(body: impl for<'g> FnOnce(Var<'g>) -> Var<'g>) -> Vec<(String, String)> {
        let graph = net("concat", [16, 5, 5], |x| body(x).global_avg_pool().linear(3)).unwrap();
        let units = Units::fuse(&graph, Mode::Inference.facts(), &[], &[]);
        let places = places(&units, &vec![[0, 0]; graph.nodes().len()], false, true);
        let name = |id: NodeId| graph.node(id).name.clone();
        let placed = graph.nodes().iter().zip(places);
        placed.filter_map(|(node, at)| Some((name(node.id), name(at?.0)))).collect()
    }

    #[test]
    fn concatenations_that_grow_share_memory() {
        fn grow(x: Var<'_>) -> Var<'_> {
            concat([x, x.batch_norm().conv(16, 1).conv(16, 1)])
        }
        let placed = shared(|x| grow(grow(x.conv(16, 1))).relu());
        let want = [
            ("conv1", "concat1"),
            ("conv3", "concat1"),
            ("concat1", "concat2"),
            ("conv5", "concat2"),
        ];
        assert_eq!(placed, want.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn no_step_reads_the_memory_that_it_writes() {
        let placed = shared(|x| {
            let y = x.conv(16, 1);
            concat([y, y.conv(16, 1)]).relu()
        });
        assert_eq!(placed, [("conv1".to_owned(), "concat1".to_owned())]);
    }

    #[test]
    fn pieces_in_bf16_start_at_whole_blocks_of_memory() {
        // A plane has 25 pixels of half a block.
        assert_eq!(placed([32, 16], true), [Some(0), Some(32)]);
        assert_eq!(placed([16, 16], true), [None, None]);
    }
}
