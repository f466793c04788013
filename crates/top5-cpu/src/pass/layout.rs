//! Where the pixels of each value are.

use super::fuse::Units;
use super::op;
use crate::geometry::conv_shape;
use crate::geometry::layout_of;
use top5_graph::{Graph, NodeId};
use top5_kernels::Layout;

/// The rows and columns of zeros around each value, by home: the most that a convolution reading it needs.
pub(super) fn halos(graph: &Graph, units: &Units<'_>) -> Vec<[usize; 2]> {
    let mut halos = vec![[0, 0]; graph.nodes().len()];
    for node in graph.nodes() {
        let Some(shape) = conv_shape(graph, node) else { continue };
        let halo: &mut [usize; 2] = &mut halos[units.home(node.inputs[0]).index()];
        let needed = shape.input_halo();
        *halo = [halo[0].max(needed[0]), halo[1].max(needed[1])];
    }
    halos
}

/// The layouts of all values.
#[derive(Clone, Debug)]
pub(super) struct Maps {
    halos: Vec<[usize; 2]>,
    /// For each value that is made in the memory of a concatenation: that, and the first channel.
    pub(super) places: Vec<Option<(NodeId, usize)>>,
    /// The input is stored in plain planes.
    pub(super) plain_input: bool,
}

impl Maps {
    pub(super) fn new(
        units: &Units<'_>,
        halos: Vec<[usize; 2]>,
        places: Vec<Option<(NodeId, usize)>>,
    ) -> Self {
        Self { halos, places, plain_input: is_input_plain(units) }
    }

    /// Where the pixels of a node's value are.
    pub(super) fn layout(&self, units: &Units<'_>, id: NodeId) -> Layout {
        let (home, shape) = (units.home(id), units.graph.node(id).shape());
        match self.places[home.index()] {
            Some((whole, _)) => self.layout(units, whole).part(shape.channels()),
            None => Layout { halo: self.halos[home.index()], ..layout_of(shape) },
        }
    }

    /// Whether a node's value is made in the memory of this concatenation.
    pub(super) fn is_placed(&self, units: &Units<'_>, id: NodeId, whole: NodeId) -> bool {
        self.places[units.home(id).index()].is_some_and(|(within, _)| within == whole)
    }

    /// The home of the concatenation in whose memory a value is made, or its own.
    pub(super) fn whole(&self, units: &Units<'_>, home: NodeId) -> NodeId {
        self.places[home.index()].map_or(home, |(whole, _)| self.whole(units, units.home(whole)))
    }
}

/// Few channels are stored in plain planes, if all that reads them can read that.
fn is_input_plain(units: &Units<'_>) -> bool {
    let input = units.graph.nodes()[0].id;
    let [channels, ..] = units.graph.input();
    let readers = units.users(input);
    let reads_planes = |id: &NodeId| op::of(&units.graph.node(*id).op).reads_planes();
    let shown = units.shown[input.index()];
    channels < 8 && !readers.is_empty() && !shown && readers.iter().all(reads_planes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purpose::Mode;
    use top5_graph::{Var, k, net};

    fn maps(body: impl for<'g> FnOnce(Var<'g>) -> Var<'g>) -> (Vec<[usize; 2]>, bool) {
        let graph = net("maps", [3, 9, 9], body).unwrap();
        let units = Units::fuse(&graph, Mode::Inference.facts(), &[], &[]);
        let halos = halos(&graph, &units);
        let none = vec![None; graph.nodes().len()];
        (halos.clone(), Maps::new(&units, halos, none).plain_input)
    }

    #[test]
    fn a_value_has_the_largest_halo_that_a_reader_needs() {
        let (halos, plain) = maps(|x| {
            let y = x.conv(4, 1).relu();
            y.conv(4, k(3).pad(1)) + y.conv(4, k([1, 5]).pad([0, 2]))
        });
        assert_eq!((halos[1], plain), ([1, 2], true));
    }

    #[test]
    fn an_input_that_a_pool_reads_is_in_blocks() {
        assert!(!maps(|x| x.conv(3, k(3)) + x.max_pool(k(3))).1);
    }
}
