//! Which ops become one step, and which nodes share a value.

use super::op;
use crate::geometry::conv_shape;
use crate::purpose::Facts;
use top5_graph::ops::Activation;
use top5_graph::{Graph, Node, NodeId, Op};

/// A graph cut into units.
#[derive(Clone, Debug)]
pub(super) struct Units<'g> {
    pub(super) graph: &'g Graph,
    users: Vec<Vec<NodeId>>,
    /// For each node, whether its activation is read when the steps are done.
    pub(super) shown: Vec<bool>,
    /// Where signals end: their signals are not those of other nodes.
    ends: Vec<NodeId>,
    /// For each node, what is fused to it.
    pub(super) heads: Vec<Head>,
    /// For each node, the node whose value is its own: itself, or what it is fused into or an alias of.
    home: Vec<NodeId>,
}

/// What is fused to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) norm: Option<NodeId>,
    pub(super) sum: Option<NodeId>,
    pub(super) relu: bool,
    /// The last node of the unit.
    pub(super) tail: NodeId,
}

impl<'g> Units<'g> {
    /// Decides what is fused to what. Vectors that are maps of one pixel still have values of their own.
    pub(super) fn fuse(graph: &'g Graph, facts: Facts, pinned: &[NodeId], ends: &[NodeId]) -> Self {
        let nodes = graph.nodes();
        let mut shown = vec![false; nodes.len()];
        let outputs = graph.outputs().iter().map(|output| output.node);
        pinned.iter().copied().chain(outputs).for_each(|id| shown[id.index()] = true);
        let single = |node: &Node| Head { norm: None, sum: None, relu: false, tail: node.id };
        let heads = nodes.iter().map(single).collect();
        let home = nodes.iter().map(|node| node.id).collect();
        let ends = ends.to_vec();
        let mut units = Self { graph, users: graph.users(), shown, ends, heads, home };
        for node in nodes {
            if units.home[node.id.index()] == node.id {
                let head = units.head(node, facts);
                units.heads[node.id.index()] = head;
                // Everything between head and tail is computed with the head.
                let mut inner = node.id;
                while inner != head.tail {
                    inner = units.users[inner.index()][0];
                    units.home[inner.index()] = node.id;
                }
                if op::of(&node.op).is_alias(node, facts) && !units.ends.contains(&node.id) {
                    units.home[node.id.index()] = units.home(node.inputs[0]);
                }
            }
        }
        units
    }

    /// What is fused to a node that is not fused itself.
    fn head(&self, node: &Node, facts: Facts) -> Head {
        let mut head = Head { norm: None, sum: None, relu: false, tail: node.id };
        let convolves = conv_shape(self.graph, node).is_some();
        let normalises = matches!(node.op, Op::BatchNorm2d(_));
        let adds = matches!(node.op, Op::Add(_)) && node.inputs.len() == 2;
        let scales = matches!(node.op, Op::Scale(_)) && !facts.backward;
        let folds = convolves && !facts.batch_statistics;
        if folds
            && let Some(norm) = self.only_user_of(head.tail, |op| matches!(op, Op::BatchNorm2d(_)))
        {
            (head.norm, head.tail) = (Some(norm.id), norm.id);
        }
        // Whatever is last before the sum adds it.
        let last = if facts.batch_statistics { normalises } else { convolves || scales };
        if last && let Some(sum) = self.only_user_of(head.tail, |op| matches!(op, Op::Add(_))) {
            let other = sum.inputs.iter().find(|&&input| input != head.tail);
            // The other summand must exist by now.
            if let (2, Some(&other)) = (sum.inputs.len(), other)
                && other.index() < node.id.index()
            {
                (head.sum, head.tail) = (Some(other), sum.id);
            }
        }
        let is_relu = |op: &Op| matches!(op, Op::Activation(Activation::Relu));
        if (convolves || adds || normalises || scales)
            && let Some(relu) = self.only_user_of(head.tail, is_relu)
        {
            (head.relu, head.tail) = (true, relu.id);
        }
        head
    }

    /// The same where flattening a map of one pixel does nothing, unless the map has a halo and so is no vector.
    pub(super) fn with_vectors(self, halos: &[[usize; 2]]) -> Self {
        let mut home: Vec<NodeId> = Vec::with_capacity(self.home.len());
        for node in self.graph.nodes() {
            let old = self.home(node.id);
            let input = node.inputs.first().copied().filter(|&input| {
                let is_pixel = self.graph.node(input).shape().size() == [1, 1];
                let is_dense = halos[self.home(input).index()] == [0, 0];
                let ends = self.ends.contains(&node.id);
                matches!(node.op, Op::Flatten(_)) && is_pixel && is_dense && !ends
            });
            home.push(match input {
                Some(input) => home[input.index()],
                None if old == node.id => old,
                None => home[old.index()],
            });
        }
        Self { home, ..self }
    }

    /// The node whose value this one's is.
    pub(super) fn home(&self, id: NodeId) -> NodeId {
        self.home[id.index()]
    }

    pub(super) fn head_of(&self, id: NodeId) -> &Head {
        &self.heads[id.index()]
    }

    /// The nodes that read a node.
    pub(super) fn users(&self, id: NodeId) -> &[NodeId] {
        &self.users[id.index()]
    }

    /// The only reader of a node's activation, if nothing else needs it.
    pub(super) fn only_user(&self, id: NodeId) -> Option<&'g Node> {
        match self.users(id) {
            [user] if !self.shown[id.index()] => Some(self.graph.node(*user)),
            [..] => None,
        }
    }

    fn only_user_of(&self, id: NodeId, is: impl Fn(&Op) -> bool) -> Option<&'g Node> {
        self.only_user(id).filter(|user| is(&user.op))
    }

    /// For each node, by home, whether its value is read when the steps are done.
    pub(super) fn shown_values(&self) -> Vec<bool> {
        let mut shown = vec![false; self.shown.len()];
        for node in self.graph.nodes().iter().filter(|node| self.shown[node.id.index()]) {
            shown[self.home(node.id).index()] = true;
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purpose::Mode;
    use top5_graph::{k, net};

    fn residual() -> Graph {
        net("residual", [16, 8, 8], |x| {
            let y = x.conv_bn(16, k(3).pad(1)).relu().conv_bn(16, k(3).pad(1));
            (y + x).relu().dropout(0.5).global_avg_pool().flatten().linear(3)
        })
        .unwrap()
    }

    fn homes(graph: &Graph, mode: Mode) -> Vec<(&str, &str)> {
        let units = Units::fuse(graph, mode.facts(), &[], &[]);
        let units = units.with_vectors(&vec![[0, 0]; graph.nodes().len()]);
        let pairs = graph.nodes().iter().map(|node| (node, graph.node(units.home(node.id))));
        let shared = pairs.filter(|(node, home)| node.id != home.id);
        shared.map(|(node, home)| (node.name.as_str(), home.name.as_str())).collect()
    }

    #[test]
    fn inference_fuses_all_that_follows_a_convolution() {
        let fused = [
            ("bn1", "conv1"),
            ("relu1", "conv1"),
            ("bn2", "conv2"),
            ("add1", "conv2"),
            ("relu2", "conv2"),
            ("dropout1", "conv2"),
            ("flatten1", "avgpool1"),
        ];
        assert_eq!(homes(&residual(), Mode::Inference), fused);
    }

    #[test]
    fn training_keeps_what_is_normalised_and_drops() {
        let fused = [("relu1", "bn1"), ("add1", "bn2"), ("relu2", "bn2"), ("flatten1", "avgpool1")];
        assert_eq!(homes(&residual(), Mode::Training), fused);
    }

    #[test]
    fn what_is_shown_is_not_fused_away() {
        let graph = residual();
        let sum = graph.find("add1").unwrap().id;
        let units = Units::fuse(&graph, Mode::Inference.facts(), &[sum], &[]);
        let conv = graph.find("conv2").unwrap().id;
        assert_eq!(units.head_of(conv).tail, sum);
        assert_eq!(units.home(graph.find("relu2").unwrap().id), graph.find("relu2").unwrap().id);
    }

    #[test]
    fn a_pixel_with_a_halo_is_no_vector() {
        let graph = residual();
        let units = Units::fuse(&graph, Mode::Inference.facts(), &[], &[]);
        let halos = vec![[1, 1]; graph.nodes().len()];
        let flatten = graph.find("flatten1").unwrap().id;
        assert_eq!(units.with_vectors(&halos).home(flatten), flatten);
    }
}
