//! A network as a value: nodes in topological order.

use crate::op::Op;
use crate::param::Param;
use crate::shape::Shape;
use crate::spec::Spec;
use std::panic::Location;

/// The position of a node in its graph. Inputs of a node have smaller positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) usize);

impl NodeId {
    /// The position, for tables with one entry per node.
    pub fn index(self) -> usize {
        self.0
    }
}

/// One layer.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its position.
    pub id: NodeId,
    /// Its name, unique in the graph; its parameters are called `name.role`.
    pub name: String,
    /// What it is.
    pub op: Op,
    /// Where its inputs come from.
    pub inputs: Vec<NodeId>,
    /// What there is to say about it.
    pub spec: Spec,
    /// The line of the page that added it.
    pub at: &'static Location<'static>,
}

impl Node {
    /// The full name of one of its parameters.
    pub fn param_name(&self, param: &Param) -> String {
        format!("{}.{}", self.name, param.role)
    }

    /// Shape of its output, for one sample.
    pub fn shape(&self) -> Shape {
        self.spec.output
    }
}

/// A result of the network: the logits, or an auxiliary classifier's.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// `logits`, or the auxiliary head's name.
    pub name: String,
    /// The node whose output it is.
    pub node: NodeId,
    /// The weight of its loss in training.
    pub weight: f32,
}

/// A network. Immutable; built by [`crate::net`].
#[derive(Clone, Debug)]
pub struct Graph {
    pub(crate) name: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) outputs: Vec<Output>,
}

impl Graph {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Channels, height and width of the input.
    pub fn input(&self) -> [usize; 3] {
        match self.nodes[0].shape() {
            Shape::Map(chw) => chw,
            Shape::Flat(n) => [n, 1, 1],
        }
    }

    /// All nodes; each after its inputs.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The node of this name.
    pub fn find(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The logits first, then the auxiliary outputs.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// The main output.
    pub fn logits(&self) -> &Node {
        self.node(self.outputs[0].node)
    }

    /// Number of classes: the channels of the main output.
    pub fn classes(&self) -> usize {
        self.logits().shape().channels()
    }

    /// Full names of all parameters and buffers, in the order of the nodes.
    pub fn params(&self) -> impl Iterator<Item = (String, &Param)> {
        let named = |node| move |param| (Node::param_name(node, param), param);
        self.nodes.iter().flat_map(move |node| node.spec.params.iter().map(named(node)))
    }

    /// Number of learned parameters, auxiliary heads included.
    pub fn param_count(&self) -> usize {
        self.nodes.iter().map(|node| node.spec.param_count()).sum()
    }

    /// Multiply-accumulates of one sample, auxiliary heads included (see [`Graph::inference`]).
    pub fn macs(&self) -> u64 {
        self.nodes.iter().map(|node| node.spec.macs).sum()
    }

    /// Elements of all activations of one sample.
    pub fn activations(&self) -> usize {
        self.nodes.iter().map(|node| node.shape().elements()).sum()
    }

    /// For each node, the nodes that use it.
    pub fn users(&self) -> Vec<Vec<NodeId>> {
        let mut users = vec![Vec::new(); self.nodes.len()];
        for node in &self.nodes {
            for input in &node.inputs {
                users[input.0].push(node.id);
            }
        }
        users
    }
}
