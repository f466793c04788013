//! A network as ONNX has it: nodes that name the values they read and write, and tensors by name.
//!
//! It comes from a file ([`super::read`]) or from a graph, so that the writer, and the comparison of a file with the networks that are
//! known, walk over one thing.

use super::external::Place;
use super::intake::Intake;
use crate::element::Element;
use std::collections::{BTreeMap, BTreeSet};
use top5_graph::onnx::{Attribute as SpecAttribute, Constant};
use top5_graph::{Graph, Kernels, Node};

/// The name of a graph's input in what is written.
pub(super) const INPUT: &str = "input";
/// The name of its output.
pub(super) const LOGITS: &str = "logits";

const BIAS: &str = "bias";

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
    Floats(Vec<f32>),
    Text(String),
}

/// One node.
#[derive(Clone, Debug)]
pub(super) struct ModelNode {
    pub(super) op: String,
    pub(super) attributes: BTreeMap<String, Attribute>,
    /// Empty for an input that is left out.
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
}

/// What a tensor holds.
#[derive(Clone, Debug)]
pub(super) enum Content<'a> {
    /// A parameter of a node of the graph: the node's position, and the parameter's role.
    Param(usize, &'static str),
    /// Floats of the file, little-endian.
    Stored(Element, &'a [u8]),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    /// Values in another file.
    Outside(Place),
}

/// A tensor.
#[derive(Clone, Debug)]
pub(super) struct ModelTensor<'a> {
    pub(super) dims: Vec<usize>,
    pub(super) content: Content<'a>,
}

/// A network.
#[derive(Clone, Debug)]
pub(super) struct Model<'a> {
    pub(super) nodes: Vec<ModelNode>,
    pub(super) tensors: BTreeMap<String, ModelTensor<'a>>,
    /// Its name and, where they are known, its channels, height and width.
    pub(super) input: (String, [Option<usize>; 3]),
    /// The names of its results, the one that counts first.
    pub(super) outputs: Vec<String>,
    /// Free text beside it.
    pub(super) metadata: BTreeMap<String, String>,
    /// What the file does to its input before the network's first layer, which is none of the nodes; or why that is not known.
    pub(super) intake: Result<Option<Intake>, String>,
    /// The ops that a file has after its logits.
    pub(super) tail: Vec<String>,
}

/// The graph's nodes in ONNX, in order. `folded` has, for each convolution that takes up the affine map after it, that map.
pub(super) fn of_graph<'a>(graph: &Graph, folded: &BTreeMap<usize, usize>) -> Model<'a> {
    let taken_up: BTreeSet<usize> = folded.values().copied().collect();
    let [c, h, w] = graph.input();
    let mut model = Model {
        nodes: Vec::new(),
        tensors: BTreeMap::new(),
        input: (INPUT.to_owned(), [Some(c), Some(h), Some(w)]),
        outputs: vec![LOGITS.to_owned()],
        metadata: BTreeMap::new(),
        intake: Ok(None),
        tail: Vec::new(),
    };
    let mut values: Vec<String> = Vec::new();
    for node in graph.nodes() {
        let inputs: Vec<String> =
            node.inputs.iter().map(|input| values[input.index()].clone()).collect();
        let value = match inputs.first() {
            None => INPUT.to_owned(),
            // Dropout, and what a convolution has taken up.
            Some(first) if node.spec.onnx.is_empty() || taken_up.contains(&node.id.index()) => {
                first.clone()
            }
            Some(_) => {
                let folds = folded.contains_key(&node.id.index());
                model.push_layer(graph, node, inputs, folds)
            }
        };
        values.push(value);
    }
    let last = values[graph.logits().id.index()].clone();
    if last != LOGITS {
        model.push("Identity", BTreeMap::new(), vec![last], LOGITS);
    }
    model
}

/// Ops after the logits, that change none of their order.
const TAIL: [&str; 9] = [
    "Softmax",
    "LogSoftmax",
    "Sigmoid",
    "ArgMax",
    "TopK",
    "Identity",
    "Cast",
    "Squeeze",
    "Reshape",
];

impl Model<'_> {
    /// Puts the nodes into an order in which each comes after those that it reads, if there is one. Files should have it, and those
    /// that tools have rewritten do not always.
    pub(super) fn sort(&mut self) {
        let outputs = self.nodes.iter().enumerate();
        let makers: BTreeMap<&str, usize> = outputs
            .flat_map(|(at, node)| node.outputs.iter().map(move |name| (name.as_str(), at)))
            .collect();
        let makers: Vec<Vec<usize>> = self
            .nodes
            .iter()
            .map(|node| node.inputs.iter().filter_map(|name| makers.get(name.as_str()).copied()))
            .map(Iterator::collect)
            .collect();
        if makers.iter().enumerate().all(|(at, makers)| makers.iter().all(|&maker| maker < at)) {
            return;
        }
        let mut place = vec![None; makers.len()];
        let mut placed = 0;
        for root in 0..makers.len() {
            let mut stack = vec![(root, 0)];
            while let Some((at, next)) = stack.pop() {
                if place[at].is_some() {
                    continue;
                }
                match makers[at].get(next) {
                    // In a circle there is no order.
                    Some(_) if stack.len() > makers.len() => return,
                    Some(&maker) => stack.extend([(at, next + 1), (maker, 0)]),
                    None => {
                        place[at] = Some(placed);
                        placed += 1;
                    }
                }
            }
        }
        let nodes = place.into_iter().zip(std::mem::take(&mut self.nodes));
        let mut nodes: Vec<_> = nodes.collect();
        nodes.sort_by_key(|(place, _)| *place);
        self.nodes = nodes.into_iter().map(|(_, node)| node).collect();
    }

    /// Takes what is made of the logits for the logits: their softmax, the best class.
    pub(super) fn strip_tail(&mut self) {
        let makers = self.nodes.iter();
        let makers: BTreeMap<&str, &ModelNode> = makers
            .flat_map(|node| node.outputs.iter().map(move |name| (name.as_str(), node)))
            .collect();
        for output in &mut self.outputs {
            let mut left = makers.len();
            while left > 0
                && let Some(maker) = makers.get(output.as_str())
                && TAIL.contains(&maker.op.as_str())
                && let Some(input) = maker.inputs.first()
            {
                left -= 1;
                output.clone_from(input);
                self.tail.push(maker.op.clone());
            }
        }
        let mut seen = BTreeSet::new();
        self.outputs.retain(|output| seen.insert(output.clone()));
    }

    fn push(
        &mut self,
        op: &str,
        attributes: BTreeMap<String, Attribute>,
        inputs: Vec<String>,
        output: &str,
    ) {
        let outputs = vec![output.to_owned()];
        self.nodes.push(ModelNode { op: op.to_owned(), attributes, inputs, outputs });
    }

    /// Appends the chain of a layer; returns the name of its value. One that folds an affine map has a bias.
    fn push_layer(
        &mut self,
        graph: &Graph,
        node: &Node,
        inputs: Vec<String>,
        folds: bool,
    ) -> String {
        let mut value = inputs;
        let last = node.spec.onnx.len() - 1;
        for (i, link) in node.spec.onnx.iter().enumerate() {
            if let Some((input, axes)) = &link.unsqueezed {
                let name = format!("{}.{i}.unsqueezed", node.name);
                let axes = self.constant(&format!("{name}.axes"), &Constant::Ints(axes.clone()));
                self.push("Unsqueeze", BTreeMap::new(), vec![value[*input].clone(), axes], &name);
                value[*input] = name;
            }
            for param in node.spec.params.iter().filter(|_| link.params) {
                let name = node.param_name(param);
                let dims = dense_shape(graph, node, param.role).unwrap_or(param.shape.clone());
                let content = Content::Param(node.id.index(), param.role);
                self.tensors.insert(name.clone(), ModelTensor { dims, content });
                value.push(name);
            }
            if folds && link.params && node.spec.params.iter().all(|param| param.role != BIAS) {
                let name = format!("{}.{BIAS}", node.name);
                let content = Content::Param(node.id.index(), BIAS);
                let dims = vec![node.shape().channels()];
                self.tensors.insert(name.clone(), ModelTensor { dims, content });
                value.push(name);
            }
            let output = match (i == last, node.id == graph.logits().id) {
                (true, true) => LOGITS.to_owned(),
                (true, false) => node.name.clone(),
                (false, _) => format!("{}.{i}", node.name),
            };
            for (j, constant) in link.constants.iter().enumerate() {
                value.push(self.constant(&format!("{}.{i}.constant{j}", node.name), constant));
            }
            let attributes = link.attributes.iter().map(|(name, value)| {
                let value = match value {
                    SpecAttribute::Int(value) => Attribute::Int(*value),
                    SpecAttribute::Ints(values) => Attribute::Ints(values.clone()),
                    SpecAttribute::Float(value) => Attribute::Float(*value),
                };
                ((*name).to_owned(), value)
            });
            self.push(link.op_type, attributes.collect(), value, &output);
            value = vec![output];
        }
        value.pop().unwrap_or_default()
    }

    fn constant(&mut self, name: &str, constant: &Constant) -> String {
        let tensor = match constant {
            Constant::Floats(dims, values) => ModelTensor {
                dims: dims.iter().map(|&d| d as usize).collect(),
                content: Content::Floats(values.clone()),
            },
            Constant::Ints(values) => {
                ModelTensor { dims: vec![values.len()], content: Content::Ints(values.clone()) }
            }
        };
        self.tensors.insert(name.to_owned(), tensor);
        name.to_owned()
    }
}

/// The shape of the dense weight of the convolution that a layer is, where it is not the layer's own.
fn dense_shape(graph: &Graph, node: &Node, role: &str) -> Option<Vec<usize>> {
    let convolution = node.spec.convolution.as_ref().filter(|_| role == "weight")?;
    if convolution.kernels == Kernels::Dense {
        return None;
    }
    let inputs = graph.node(node.inputs[0]).shape().channels();
    let [r, s] = convolution.window.kernel;
    Some(vec![node.shape().channels(), inputs / convolution.groups, r, s])
}

impl ModelTensor<'_> {
    /// Number of elements; the reader has checked that it is no larger than the file.
    pub(super) fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Its values, if it holds integers.
    pub(super) fn ints(&self) -> Option<&[i64]> {
        match &self.content {
            Content::Ints(values) => Some(values),
            Content::Param(..) | Content::Stored(..) | Content::Floats(_) | Content::Outside(_) => {
                None
            }
        }
    }

    /// Its values, if it holds floats.
    pub(super) fn values(&self) -> Option<Vec<f32>> {
        match &self.content {
            Content::Floats(values) => Some(values.clone()),
            Content::Stored(element, bytes) => Some(element.values(bytes)),
            Content::Param(..) | Content::Ints(_) | Content::Outside(_) => None,
        }
    }

    /// The first of its values.
    pub(super) fn first(&self) -> Option<f32> {
        match &self.content {
            Content::Floats(values) => values.first().copied(),
            Content::Stored(element, bytes) => {
                bytes.get(..element.size()).map(|bytes| element.values(bytes)[0])
            }
            Content::Ints(values) => values.first().map(|&value| value as f32),
            Content::Param(..) | Content::Outside(_) => None,
        }
    }
}

impl ModelNode {
    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        match self.attributes.get(name) {
            Some(Attribute::Int(value)) => *value,
            _ => default,
        }
    }

    pub(super) fn float(&self, name: &str, default: f32) -> f32 {
        match self.attributes.get(name) {
            Some(Attribute::Float(value)) => *value,
            _ => default,
        }
    }

    pub(super) fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attributes.get(name) {
            Some(Attribute::Ints(values)) => Some(values),
            _ => None,
        }
    }
}
